/* steps_bundles.c - bundles: opened, looked at, checked, made smaller; the models and modulators in them. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

static emr_status open_file(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_buffer *file = find_object(w, KIND_FILE, need_text(step, "file"));
    (void)result;
    if (!file)
        give_up("no such file:", need_text(step, "file"));
    return open_bundle(w, need_text(step, "bundle"), file, error);
}

static json_t *shape_of(const uint64_t *shape, uint32_t rank)
{
    json_t *dimensions = json_array();
    for (uint32_t i = 0; i < rank; i++)
        json_array_append_new(dimensions, json_integer((json_int_t)shape[i]));
    return dimensions;
}

static json_t *metadata_of(const emr_bundle *bundle, uint32_t task)
{
    json_t *metadata = json_object();
    const char *key, *value;
    for (uint32_t i = 0; !emr_bundle_get_metadata(bundle, task, i, &key, &value); i++)
        json_object_set_new(metadata, key, json_string(value));
    return metadata;
}

static json_t *privates_of(const emr_bundle *bundle, uint32_t task)
{
    json_t *privates = json_array();
    emr_private_info p = EMR_INIT(emr_private_info);
    for (uint32_t i = 0; !emr_bundle_get_private(bundle, task, i, &p); i++)
        json_array_append_new(privates,
                              json_pack("[sso]", p.name, emr_dtype_name(p.dtype), shape_of(p.shape, p.rank)));
    return privates;
}

static json_t *task_of(const emr_bundle *bundle, uint32_t task, const emr_task_info *t)
{
    emr_modulation_spec s = EMR_INIT(emr_modulation_spec);
    emr_bundle_get_modulation(bundle, task, &s, NULL);
    json_t *spec = json_pack("[iiiiiiiiI]", (int)s.kind, (int)s.thinning, (int)s.n_levels, (int)s.rescale,
                             (int)s.rescale_per, (int)s.mask_rule, (int)s.vectors_dtype,
                             (int)s.without_columns, (json_int_t)s.seed);
    return json_pack("[sIoooo]", t->name, (json_int_t)t->mask_ones, real_of((double)t->rescaler), spec,
                     privates_of(bundle, task), metadata_of(bundle, task));
}

static json_t *info_of(const emr_bundle_info *i)
{
    return json_pack("{si si si sI si si si ss si si si}", "n_tasks", (int)i->n_tasks, "n_tensors",
                     (int)i->n_tensors, "n_merged", (int)i->n_merged, "merged_params",
                     (json_int_t)i->merged_params, "rescale", (int)i->rescale, "rescale_per",
                     (int)i->rescale_per, "tie", (int)i->tie, "unified_dtype",
                     emr_dtype_name(i->unified_dtype), "has_base", (int)i->has_base, "extendable",
                     (int)i->extendable, "n_elected", (int)i->n_elected);
}

static emr_status look_at(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_bundle *bundle = need_bundle(w, step, "bundle");
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_tensor_info t = EMR_INIT(emr_tensor_info);
    json_t *tasks = json_array(), *tensors = json_array();
    (void)error;
    TRY(emr_bundle_get_info(bundle, &info));
    for (uint32_t i = 0; !emr_bundle_get_task(bundle, i, &task); i++)
        json_array_append_new(tasks, task_of(bundle, i, &task));
    for (uint32_t i = 0; !emr_bundle_get_tensor(bundle, i, &t); i++)
        json_array_append_new(tensors, json_pack("[ssoi]", t.name, emr_dtype_name(t.dtype),
                                                 shape_of(t.shape, t.rank), (int)t.merged));
    json_object_set_new(result, "info", info_of(&info));
    json_object_set_new(result, "tasks", tasks);
    json_object_set_new(result, "tensors", tensors);
    json_object_set_new(result, "metadata", metadata_of(bundle, EMR_BASE));
    return EMR_OK;
}

typedef emr_status (*selecting_fn)(const emr_bundle *bundle, const emr_task_selection *tasks,
                                   const emr_io *io, emr_drop_report *report, emr_error *error);

static emr_status select_tasks(world *w, const json_t *step, json_t *result, emr_error *error,
                               selecting_fn write)
{
    const emr_bundle *of = need_bundle(w, step, "of");
    emr_task_selection selection = EMR_INIT(emr_task_selection);
    emr_drop_report r = EMR_INIT(emr_drop_report);
    const char *const *names = get_texts(w, step, "tasks", &selection.n_tasks);
    uint32_t *tasks = new_memory(w, selection.n_tasks * sizeof *tasks);
    for (uint32_t i = 0; i < selection.n_tasks; i++)
        TRY(emr_bundle_find_task(of, names[i], &tasks[i], error));
    selection.tasks = tasks;
    selection.resources = &w->resources;
    emr_buffer *file = new_file(w, need_text(step, "bundle"));
    TRY(write(of, &selection, emr_buffer_io(file), &r, error));
    json_t *report =
        json_pack("{sI sI sI si si so}", "unified", (json_int_t)r.unified, "alone", (json_int_t)r.alone,
                  "shared", (json_int_t)r.shared, "lost_growth", (int)r.lost_growth, "lost_unified",
                  (int)r.lost_unified, "digest", digest_of(emr_buffer_data(file), emr_buffer_bytes(file)));
    json_object_update(result, report);
    json_decref(report);
    return open_bundle(w, need_text(step, "bundle"), file, error);
}

static emr_status drop_tasks(world *w, const json_t *step, json_t *result, emr_error *error)
{
    return select_tasks(w, step, result, error, emr_bundle_drop);
}

static emr_status extract_tasks(world *w, const json_t *step, json_t *result, emr_error *error)
{
    return select_tasks(w, step, result, error, emr_bundle_extract);
}

static emr_status verify_bundle(world *w, const json_t *step, json_t *result, emr_error *error)
{
    (void)result;
    return emr_bundle_verify(need_bundle(w, step, "bundle"), &w->resources, error);
}

static void note_difference(void *user, const emr_base_difference *difference)
{
    json_array_append_new(user, json_pack("[ss]", difference->tensor, difference->why));
}

static emr_status check_base(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_base_check_options options = EMR_INIT(emr_base_check_options);
    options.resources = &w->resources;
    if (!get_flag(step, "all"))
        return emr_bundle_check_base(need_bundle(w, step, "bundle"), need_model(w, step, "base"), &options,
                                     error);
    json_t *differs = json_array();
    json_object_set_new(result, "differs", differs);
    options.differs = note_difference;
    options.user = differs;
    emr_status status =
        emr_bundle_check_base(need_bundle(w, step, "bundle"), need_model(w, step, "base"), &options, error);
    return status == EMR_EMISMATCH && json_array_size(differs) ? EMR_OK : status;
}

static const emr_model *get_base(const world *w, const json_t *step)
{
    return json_object_get(step, "base") ? need_model(w, step, "base") : NULL;
}

static emr_status open_task(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_bundle *bundle = need_bundle(w, step, "bundle");
    emr_view_options options = EMR_INIT(emr_view_options);
    emr_model *model;
    uint32_t task;
    (void)result;
    options.resources = &w->resources;
    options.dtype = get_dtype(step, "dtype");
    options.check = get_word(step, "check", check_words);
    options.f32_vectors = get_flag(step, "f32_vectors");
    TRY(emr_bundle_find_task(bundle, need_text(step, "task"), &task, error));
    TRY(emr_bundle_open_task(&model, bundle, task, get_base(w, step), &options, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status open_view(world *w, const json_t *step, json_t *result, emr_error *error)
{
    static const char *const views[] = {"base", "unified", "mask", NULL};
    const emr_bundle *bundle = need_bundle(w, step, "bundle");
    uint32_t view = get_word(step, "of", views), task = 0;
    emr_model *model;
    (void)result;
    if (view == 2)
        TRY(emr_bundle_find_task(bundle, need_text(step, "task"), &task, error));
    TRY(view == 0   ? emr_bundle_open_base(&model, bundle, NULL, error)
        : view == 1 ? emr_bundle_open_unified(&model, bundle, NULL, error)
                    : emr_bundle_open_mask(&model, bundle, task, NULL, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static void destroy_modulator(void *handle)
{
    emr_modulator *modulator = handle;
    emr_modulator_destroy(&modulator);
}

static emr_status apply_tensor(world *w, emr_modulator *m, uint32_t i, const emr_model *base, emr_dtype dtype,
                               json_t **digest, emr_error *error)
{
    const emr_tensor *tensor = emr_model_find_tensor(base, emr_modulator_tensor_name(m, i));
    emr_application a = EMR_INIT(emr_application);
    a.tensor = i;
    a.count = emr_modulator_tensor_count(m, i);
    a.base_dtype = emr_tensor_dtype(tensor);
    a.out_dtype = dtype ? dtype : a.base_dtype;
    void *weights = new_memory(w, (size_t)emr_tensor_bytes(tensor));
    TRY(emr_tensor_read(tensor, 0, weights, (size_t)emr_tensor_bytes(tensor), error));
    a.base = weights;
    a.out = new_memory(w, bytes_of_elements(a.out_dtype, a.count));
    TRY(emr_modulator_apply(m, &a, error));
    *digest = digest_of(a.out, bytes_of_elements(a.out_dtype, a.count));
    return EMR_OK;
}

static emr_status use_modulator(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const emr_bundle *bundle = need_bundle(w, step, "bundle");
    emr_modulator *m;
    json_t *tensors = json_array();
    uint32_t task;
    json_object_set_new(result, "tensors", tensors);
    TRY(emr_bundle_find_task(bundle, need_text(step, "task"), &task, error));
    TRY(emr_bundle_open_modulator(&m, bundle, task, NULL, error));
    keep_object(w, KIND_NONE, NULL, m, destroy_modulator);
    for (uint32_t i = 0; i < emr_modulator_n_tensors(m); i++) {
        size_t n = (size_t)emr_modulator_n_rescalers(m, i);
        float *rescalers = new_memory(w, n * sizeof *rescalers);
        emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
        json_t *digest;
        TRY(emr_modulator_read_rescalers(m, i, 0, n, rescalers, error));
        TRY(emr_modulator_get_stats(m, i, &stats, error));
        TRY(apply_tensor(w, m, i, need_model(w, step, "base"), get_dtype(step, "dtype"), &digest, error));
        json_array_append_new(tensors, json_pack("[sIoIo]", emr_modulator_tensor_name(m, i), (json_int_t)n,
                                                 digest_of(rescalers, n * sizeof *rescalers),
                                                 (json_int_t)stats.ones, digest));
    }
    return EMR_OK;
}

static void describe_own(world *w, const json_t *step, emr_modulation *own)
{
    uint64_t seed = get_number(step, "seed"), n_scales;
    own->name = "w";
    own->kind = get_word(step, "kind", kind_words);
    own->count = get_number(step, "count");
    own->n_rescalers = get_number(step, "rows");
    own->thinning = own->kind == EMR_MODULATOR_KIND_THIN ? 4 : 0;
    own->n_levels = own->kind == EMR_MODULATOR_KIND_LEVELS ? 16 : 0;
    own->seed = own->kind == EMR_MODULATOR_KIND_THIN ? 7 : 0;
    if (own->kind <= EMR_MODULATOR_KIND_TWO_SIDED) {
        own->unified = drawn(w, EMR_DTYPE_F32, seed, (size_t)own->count);
        own->unified_dtype = EMR_DTYPE_F32;
    }
    own->mask = drawn(w, EMR_DTYPE_U8, seed + 1, (size_t)own->count);
    n_scales = own->n_rescalers * (own->kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1);
    float *scales = drawn(w, EMR_DTYPE_F32, seed + 2, (size_t)n_scales);
    for (uint64_t i = 0; i < n_scales; i++)
        scales[i] = scales[i] < 0 ? -scales[i] : scales[i];
    own->rescalers = scales;
    if (get_flag(step, "columns"))
        own->columns = drawn(w, EMR_DTYPE_BF16, seed + 3, (size_t)(own->count / own->n_rescalers));
}

static emr_status use_own_modulator(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_modulation own = EMR_INIT(emr_modulation);
    emr_application a = EMR_INIT(emr_application);
    emr_product p = EMR_INIT(emr_product);
    emr_modulator *m, *both[2];
    describe_own(w, step, &own);
    a.base_dtype = a.out_dtype = get_dtype(step, "dtype") ? get_dtype(step, "dtype") : EMR_DTYPE_F32;
    a.count = own.count;
    a.base = drawn(w, a.base_dtype, get_number(step, "seed") + 4, (size_t)a.count);
    a.out = new_memory(w, bytes_of_elements(a.out_dtype, a.count));
    p.name = "w";
    p.n_rows = own.n_rescalers;
    p.n_columns = own.count / own.n_rescalers;
    p.batch = 2;
    p.x = drawn(w, EMR_DTYPE_F32, get_number(step, "seed") + 5, (size_t)(2 * p.n_columns));
    p.y = new_memory(w, (size_t)(2 * p.n_rows) * sizeof(float));
    TRY(emr_modulator_create(&m, NULL, error));
    keep_object(w, KIND_NONE, NULL, m, destroy_modulator);
    TRY(emr_modulator_add(m, &own, error));
    TRY(emr_modulator_find_tensor(m, "w", &a.tensor));
    TRY(emr_modulator_apply(m, &a, error));
    both[0] = both[1] = m;
    TRY(emr_modulator_multiply(both, &p, a.base_dtype, a.base, error));
    json_object_set_new(result, "apply", digest_of(a.out, bytes_of_elements(a.out_dtype, a.count)));
    json_object_set_new(result, "multiply", digest_of(p.y, (size_t)(2 * p.n_rows) * sizeof(float)));
    return EMR_OK;
}

const step_kind bundle_steps[] = {
    {"bundle", "bundle file", open_file},
    {"look", "bundle", look_at},
    {"drop", "bundle of tasks", drop_tasks},
    {"extract", "bundle of tasks", extract_tasks},
    {"verify", "bundle", verify_bundle},
    {"check_base", "bundle base all", check_base},
    {"task", "model bundle task base dtype check f32_vectors", open_task},
    {"view", "model bundle of task", open_view},
    {"modulator", "bundle base task dtype", use_modulator},
    {"own_modulator", "kind count rows seed dtype columns", use_own_modulator},
    {NULL, NULL, NULL},
};
