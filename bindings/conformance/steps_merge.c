/* steps_merge.c - merging: into a bundle or a sink, by pull or push, into nothing or into a bundle that is there. */
#include "steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void destroy_merge(void *handle)
{
    emr_merge *merge = handle;
    emr_merge_destroy(&merge);
}

static void read_modulation(const json_t *from, emr_modulation_spec *spec)
{
    static const char *const rules[] = {"agree", "nearest", NULL};
    allow_keys(from,
               "kind thinning n_levels rescale rescale_per mask_rule vectors_dtype without_columns seed");
    spec->kind = get_word(from, "kind", kind_words);
    spec->thinning = get_count(from, "thinning");
    spec->n_levels = get_count(from, "n_levels");
    spec->rescale = get_word(from, "rescale", rescale_words);
    spec->rescale_per = get_word(from, "rescale_per", rescale_per_words);
    spec->mask_rule = get_word(from, "mask_rule", rules);
    spec->vectors_dtype = get_dtype(from, "vectors_dtype");
    spec->without_columns = get_flag(from, "without_columns");
    spec->seed = get_count(from, "seed");
}

static void read_options(const json_t *from, emr_merge_options *options, emr_modulation_spec *modulation)
{
    static const char *const ties[] = {"zero", "negative", NULL};
    allow_keys(from, "modulation rescale rescale_per tie on_nonfinite unified_dtype embed_base extendable "
                     "block_params measure compression");
    if (json_object_get(from, "modulation")) {
        read_modulation(json_object_get(from, "modulation"), modulation);
        options->modulation = modulation;
    }
    options->rescale = get_word(from, "rescale", rescale_words);
    options->rescale_per = get_word(from, "rescale_per", rescale_per_words);
    options->tie = get_word(from, "tie", ties);
    options->on_nonfinite = get_word(from, "on_nonfinite", nonfinite_words);
    options->unified_dtype = get_dtype(from, "unified_dtype");
    options->embed_base = get_flag(from, "embed_base");
    options->extendable = get_flag(from, "extendable");
    options->block_params = get_count(from, "block_params");
    options->measure = get_flag(from, "measure");
    if (json_object_get(from, "compression"))
        options->compression = (int32_t)get_number(from, "compression");
}

static emr_status set_modulations(emr_merge *merge, const json_t *step, uint32_t first, emr_error *error)
{
    const json_t *modulations = json_object_get(step, "modulations"), *task, *found;
    size_t i, n = 0;
    json_array_foreach(need_array(step, "tasks"), i, task)
    {
        emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
        found = json_object_get(modulations, json_string_value(json_array_get(task, 0)));
        if (!found)
            continue;
        n++;
        read_modulation(found, &spec);
        TRY(emr_merge_set_modulation(merge, first + (uint32_t)i, &spec, error));
    }
    if (n != json_object_size(modulations))
        give_up("modulations of other tasks than there are", "");
    return EMR_OK;
}

static emr_status set_up_merge(world *w, const json_t *step, emr_merge **merge, emr_error *error)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_modulation_spec modulation = EMR_INIT(emr_modulation_spec);
    emr_resources resources = w->resources;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    json_t *task;
    size_t i;
    resources.memory_bytes = get_number(step, "memory");
    options.resources = &resources;
    options.policy = get_policy(w, step);
    options.compression = EMR_COMPRESSION_NONE;
    read_options(json_object_get(step, "options"), &options, &modulation);
    TRY(emr_merge_create(merge, &options, error));
    keep_object(w, KIND_NONE, NULL, *merge, destroy_merge);
    TRY(emr_merge_set_base(*merge, need_model(w, step, "base"), error));
    if (json_object_get(step, "extend")) {
        TRY(emr_merge_extend(*merge, need_bundle(w, step, "extend"), error));
        TRY(emr_bundle_get_info(need_bundle(w, step, "extend"), &info));
    }
    json_array_foreach(need_array(step, "tasks"), i, task)
        TRY(emr_merge_add_task(*merge, need_task_name(task), need_task_model(w, task), error));
    return set_modulations(*merge, step, info.n_tasks, error);
}

/* Pushes up to `most` bytes of the tensor that a source wants. */
static emr_status push_some(world *w, emr_merge *merge, uint32_t source, const char *model, size_t most,
                            size_t *at, int *is_done, emr_error *error)
{
    const emr_tensor *tensor;
    uint64_t room;
    char name[600];
    TRY(emr_merge_get_expected(merge, source, &tensor, &room, error));
    *is_done = !tensor;
    if (!tensor || !room)
        return EMR_OK;
    snprintf(name, sizeof name, "%s/%s", model, emr_tensor_name(tensor));
    const tensor_bytes *b = find_object(w, KIND_BYTES, name);
    size_t n = b->size - *at < most ? b->size - *at : most, taken;
    TRY(emr_merge_push(merge, source, b->data + *at, n, &taken, error));
    *at = *at + taken == b->size ? 0 : *at + taken;
    return EMR_OK;
}

static emr_status push_all(world *w, emr_merge *merge, const json_t *step, emr_error *error)
{
    const json_t *tasks = need_array(step, "tasks");
    size_t n = json_array_size(tasks), done = 0;
    size_t *at = new_memory(w, (n + 1) * sizeof *at);
    TRY(emr_merge_begin(merge, error));
    while (done <= n) {
        done = 0;
        for (size_t i = 0; i <= n; i++) {
            const char *model = i ? json_string_value(json_array_get(json_array_get(tasks, i - 1), 1))
                                  : need_text(step, "base");
            int is_done;
            TRY(push_some(w, merge, i ? (uint32_t)i - 1 : EMR_BASE, model, (size_t)get_number(step, "push"),
                          &at[i], &is_done, error));
            done += (size_t)is_done;
        }
    }
    return emr_merge_finish(merge, error);
}

/* What a sink got, in parts of one kind, tensor and task each. */
typedef struct received {
    json_t *parts; /* [tensor, task, kind, digest] */
    uint64_t *digests;
    size_t n;
    emr_dtype unified_dtype;
    size_t scales; /* of a row */
} received;

static emr_status receive(received *r, const char *kind, const emr_sink_part *part, size_t n)
{
    json_t *key = json_pack("[iIs]", (int)part->tensor,
                            part->task == EMR_BASE ? (json_int_t)-1 : (json_int_t)part->task, kind);
    size_t i = 0;
    while (i < r->n && !json_equal(json_array_get(r->parts, i), key))
        i++;
    if (i == r->n) {
        json_array_append(r->parts, key);
        r->digests = realloc(r->digests, ++r->n * sizeof *r->digests);
        r->digests[i] = FNV_START;
    }
    json_decref(key);
    r->digests[i] = add_to_digest(r->digests[i], part->values, n);
    return EMR_OK;
}

static emr_status receive_unified(void *user, const emr_sink_part *part, emr_error *error)
{
    received *r = user;
    (void)error;
    return receive(r, "unified", part, bytes_of_elements(r->unified_dtype, part->n));
}

static emr_status receive_mask(void *user, const emr_sink_part *part, emr_error *error)
{
    (void)error;
    return receive(user, "mask", part, (part->n + 7) / 8);
}

static emr_status receive_rescalers(void *user, const emr_sink_part *part, emr_error *error)
{
    received *r = user;
    (void)error;
    return receive(r, "rescalers", part, part->n * r->scales * sizeof(float));
}

static int compare_parts(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    for (size_t i = 0; i < 2; i++) {
        json_int_t p = json_integer_value(json_array_get(x, i)), q = json_integer_value(json_array_get(y, i));
        if (p != q)
            return p < q ? -1 : 1;
    }
    return strcmp(json_string_value(json_array_get(x, 2)), json_string_value(json_array_get(y, 2)));
}

static void tell_received(received *r, json_t *result)
{
    json_t *sorted = json_array(), **parts = malloc((r->n + 1) * sizeof(json_t *));
    for (size_t i = 0; i < r->n; i++) {
        parts[i] = json_array_get(r->parts, i);
        json_array_append_new(parts[i], text_of_digest(r->digests[i]));
    }
    qsort(parts, r->n, sizeof(json_t *), compare_parts);
    for (size_t i = 0; i < r->n; i++)
        json_array_append(sorted, parts[i]);
    free(parts);
    json_object_set_new(result, "sink", sorted);
}

static emr_status run_to_sink(emr_merge *merge, const json_t *step, json_t *result, emr_error *error)
{
    emr_sink sink = EMR_INIT(emr_sink);
    emr_dtype dtype = get_dtype(json_object_get(step, "options"), "unified_dtype");
    const json_t *modulation = json_object_get(json_object_get(step, "options"), "modulation");
    received r = {.parts = json_array(), .unified_dtype = dtype ? dtype : EMR_DTYPE_F32};
    r.scales = modulation && get_word(modulation, "kind", kind_words) == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
    sink.user = &r;
    sink.unified = receive_unified;
    sink.mask = receive_mask;
    sink.rescalers = receive_rescalers;
    emr_status status = emr_merge_set_sink(merge, &sink, error);
    if (!status)
        status = emr_merge_run(merge, error);
    if (!status)
        tell_received(&r, result);
    json_decref(r.parts);
    free(r.digests);
    return status;
}

static emr_status tell_tensors(emr_merge *merge, json_t *result, emr_error *error)
{
    static const char *const actions[] = {"", "merge", "keep", "private"};
    emr_plan_summary summary = EMR_INIT(emr_plan_summary);
    json_t *tensors = json_array();
    json_object_set_new(result, "tensors", tensors);
    TRY(emr_merge_get_plan(merge, &summary, error));
    for (uint32_t i = 0; i < summary.n_tensors; i++) {
        emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
        TRY(emr_merge_get_plan_tensor(merge, i, &t));
        json_array_append_new(tensors, json_pack("[sssiI]", t.name, actions[t.action], t.reason,
                                                 (int)t.n_private, (json_int_t)t.zeroed));
    }
    return EMR_OK;
}

static void tell_tasks(emr_merge *merge, json_t *result)
{
    emr_task_report t = EMR_INIT(emr_task_report);
    emr_fidelity f = EMR_INIT(emr_fidelity);
    json_t *tasks = json_array();
    json_object_set_new(result, "tasks", tasks);
    for (uint32_t i = 0; !emr_merge_get_task_report(merge, i, &t); i++) {
        emr_merge_get_fidelity(merge, i, &f);
        json_array_append_new(tasks,
                              json_pack("[sIIooiooo]", t.name, (json_int_t)t.mask_ones, (json_int_t)t.zeroed,
                                        real_of((double)t.rescaler), real_of((double)t.other_rescaler),
                                        (int)t.empty_mask, real_of((double)f.error),
                                        real_of((double)f.cosine), real_of((double)f.coefficient)));
    }
}

static emr_status run_to_bundle(world *w, emr_merge *merge, const json_t *step, json_t *result,
                                emr_error *error)
{
    const char *name = need_text(step, "bundle");
    emr_buffer *file = new_file(w, name);
    TRY(emr_merge_set_output(merge, emr_buffer_io(file), error));
    TRY(json_object_get(step, "push") ? push_all(w, merge, step, error) : emr_merge_run(merge, error));
    int is_raw = !json_object_get(json_object_get(step, "options"), "compression");
    json_object_set_new(result, "digest",
                        is_raw ? digest_of(emr_buffer_data(file), emr_buffer_bytes(file)) : json_string(""));
    return open_bundle(w, name, file, error);
}

/* Whether a file is the part that was set. */
static emr_status check_part(world *w, emr_merge *merge, const json_t *step, emr_error *error)
{
    const char *name = json_string_value(json_object_get(step, "check"));
    const emr_buffer *part = name ? find_object(w, KIND_FILE, name) : NULL;
    return part ? emr_merge_check_part(merge, emr_buffer_io(part), name, error) : EMR_OK;
}

/* A part of a merge is a file and no bundle. */
static emr_status run_part(world *w, emr_merge *merge, const json_t *step, emr_error *error)
{
    const json_t *part = need_array(step, "part");
    emr_buffer *file = new_file(w, need_text(step, "file"));
    TRY(emr_merge_set_part(merge, (uint32_t)json_integer_value(json_array_get(part, 0)),
                           (uint32_t)json_integer_value(json_array_get(part, 1)), error));
    TRY(check_part(w, merge, step, error));
    TRY(emr_merge_set_output(merge, emr_buffer_io(file), error));
    return emr_merge_run(merge, error);
}

static emr_status open_file_to_resume(world *w, const char *name, const char *ending, emr_file **file,
                                      emr_error *error)
{
    char whole[300];
    snprintf(whole, sizeof whole, "%s%s", name, ending);
    TRY(emr_file_resume(file, path_in_folder(w, whole), NULL, error));
    return EMR_OK;
}

/* Into a file, with a journal; after a failure it goes on from there the next time. */
static emr_status run_with_journal(world *w, emr_merge *merge, const json_t *step, emr_error *error)
{
    const char *name = need_text(step, "path");
    emr_file *file, *journal;
    TRY(open_file_to_resume(w, name, "", &file, error));
    emr_status status = open_file_to_resume(w, name, ".journal", &journal, error);
    if (!status) {
        status = emr_merge_set_output(merge, emr_file_io(file), error);
        if (!status)
            status = emr_merge_set_journal(merge, emr_file_io(journal), get_number(step, "journal"), error);
        if (!status)
            status = emr_merge_run(merge, error);
        if (!status)
            status = emr_file_commit(file, error);
        status ? emr_file_close(&journal) : emr_file_discard(&journal);
    }
    emr_file_close(&file);
    return status;
}

static emr_status run_to_file(world *w, emr_merge *merge, const json_t *step, emr_error *error)
{
    emr_file_options options = EMR_INIT(emr_file_options);
    emr_file *file;
    options.replace = get_flag(step, "replace");
    TRY(emr_file_create(&file, path_in_folder(w, need_text(step, "path")), &options, error));
    emr_status status = emr_merge_set_output(merge, emr_file_io(file), error);
    if (!status)
        status = emr_merge_run(merge, error);
    if (!status)
        status = emr_file_commit(file, error);
    emr_file_close(&file);
    return status;
}

static emr_status run_merge(world *w, emr_merge *merge, const json_t *step, json_t *result, emr_error *error)
{
    if (json_object_get(step, "part"))
        return run_part(w, merge, step, error);
    if (get_flag(step, "sink"))
        return run_to_sink(merge, step, result, error);
    if (json_object_get(step, "journal"))
        return run_with_journal(w, merge, step, error);
    if (json_object_get(step, "path"))
        return run_to_file(w, merge, step, error);
    return run_to_bundle(w, merge, step, result, error);
}

static emr_status merge_models(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_merge *merge;
    TRY(set_up_merge(w, step, &merge, error));
    TRY(run_merge(w, merge, step, result, error));
    TRY(tell_tensors(merge, result, error));
    tell_tasks(merge, result);
    return EMR_OK;
}

static void destroy_join(void *join)
{
    emr_join *j = join;
    emr_join_destroy(&j);
}

static emr_status join_parts(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const json_t *parts = need_array(step, "parts");
    emr_join *join;
    TRY(emr_join_create(&join, &w->resources, error));
    keep_object(w, KIND_NONE, NULL, join, destroy_join);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const char *name = json_string_value(json_array_get(parts, i));
        const emr_buffer *part = find_object(w, KIND_FILE, name);
        if (!part)
            give_up("no such file:", name);
        TRY(emr_join_add_part(join, emr_buffer_io(part), name, error));
    }
    const char *name = need_text(step, "bundle");
    emr_buffer *file = new_file(w, name);
    TRY(emr_join_set_output(join, emr_buffer_io(file), error));
    TRY(emr_join_run(join, error));
    json_object_set_new(result, "digest", digest_of(emr_buffer_data(file), emr_buffer_bytes(file)));
    return open_bundle(w, name, file, error);
}

const step_kind merge_steps[] = {
    {"merge",
     "bundle base tasks modulations options policy extend push sink memory path replace journal part check "
     "file",
     merge_models},
    {"join", "bundle parts", join_parts},
    {NULL, NULL, NULL},
};
