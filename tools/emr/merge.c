/* merge.c - `emr merge` and `emr add`: checkpoints in, one bundle out. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* Everything that a merge holds, released in one place. */
typedef struct job {
    session session;
    emr_bundle *before; /* `add`: the bundle that is added to */
    emr_model *base, **models;
    emr_merge *merge;
    emr_file *file;
    emr_file *journal; /* --resume */
} job;

static int check_usage(const arguments *a, bool adds)
{
    if (adds && !a->n_files)
        return complain(EXIT_USAGE, "add: the BUNDLE to add to is missing");
    if (a->n_files > adds)
        return complain(EXIT_USAGE, "%s: not expected here (a task is given as --task NAME=CHECKPOINT)",
                        a->files[adds]);
    if (!a->base) /* an embedded one may lack tensors of which every task has its own */
        return complain(EXIT_USAGE, "%s: --base CHECKPOINT is missing", a->command);
    if (!a->n_tasks)
        return complain(EXIT_USAGE, "%s: at least one --task NAME=CHECKPOINT is needed", a->command);
    for (size_t i = 0; i < a->n_tasks; i++)
        if (!a->tasks[i].path)
            return complain(EXIT_USAGE, "--task: '%s' must be NAME=CHECKPOINT", a->tasks[i].name);
    if (!a->output && !a->dry_run)
        return complain(EXIT_USAGE, "%s: -o OUT.emr is missing", a->command);
    if (a->resume && a->output && to_standard_output(a))
        return complain(EXIT_USAGE, "%s: --resume needs a file to write to", a->command);
    if (a->output && a->json && !a->dry_run && to_standard_output(a))
        return complain(EXIT_USAGE, "%s: --json and -o - both want standard output", a->command);
    return EXIT_DONE;
}

static emr_status open_models(job *j, const arguments *a, emr_error *error)
{
    j->models = calloc(a->n_tasks, sizeof(emr_model *));
    if (!j->models)
        return EMR_ENOMEM;
    emr_status status = EMR_OK;
    if (a->n_files)
        status = emr_bundle_open_file(&j->before, a->files[0], NULL, error);
    if (!status && !base_is_zeros(a))
        status = open_base(&j->base, a, NULL, NULL, error);
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = open_task(&j->models[i], a->tasks[i].path, a, error);
    if (!status && base_is_zeros(a))
        status = open_base(&j->base, a, j->before, j->models[0], error);
    return status;
}

static emr_status set_models(job *j, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    if (j->before)
        status = emr_merge_extend(j->merge, j->before, error);
    if (!status)
        status = check_kinds(a, j->models, j->base, error);
    if (!status)
        status = check_adapters(a, j->models, j->base, j->before, error);
    if (!status)
        status = emr_merge_set_base(j->merge, j->base, error);
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = emr_merge_add_task(j->merge, a->tasks[i].name, j->models[i], error);
    return status;
}

static const char *action_name(uint32_t action)
{
    return action == EMR_ACTION_MERGE ? "merge" : action == EMR_ACTION_KEEP ? "keep" : "private";
}

/* The plan's rows, which after the run are the report's. */
static json_t *tensors_json(const emr_merge *merge)
{
    json_t *rows = json_array();
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &t) == EMR_OK; i++)
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:o, s:s, s:s, s:i, s:I}", "name", t.name, "dtype",
                                        emr_dtype_name(t.dtype), "shape", shape_json(t.rank, t.shape),
                                        "action", action_name(t.action), "reason", t.reason, "private_tasks",
                                        (int)t.n_private, "zeroed", (json_int_t)t.zeroed));
    return rows;
}

static emr_status print_plan(const job *j, const arguments *a, emr_error *error)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    char in[32], out[32], peak[32], shape[256];
    emr_status status = emr_merge_get_plan(j->merge, &s, error);
    if (status)
        return status;
    const share parts = count_share(j->merge, j->models, a->n_tasks, j->base);
    note_share(a, &parts, j->base);
    if (a->json) {
        json_t *root =
            json_pack("{s:o, s:o, s:I, s:I, s:I}", "base", text_json(a->base), "tensors",
                      tensors_json(j->merge), "bytes_in", (json_int_t)s.bytes_in, "bytes_out_at_most",
                      (json_int_t)s.bytes_out, "peak_memory", (json_int_t)s.peak_memory);
        add_share_json(root, &parts);
        print_json(root);
        return EMR_OK;
    }
    for (uint32_t i = 0; emr_merge_get_plan_tensor(j->merge, i, &t) == EMR_OK; i++) {
        printf("%-8s %-8s ", action_name(t.action), emr_dtype_name(t.dtype));
        print_name(t.name, 0);
        printf(" %s: %s\n", shape_text(t.rank, t.shape, shape), t.reason);
    }
    if (base_is_zeros(a)) {
        printf("the base is zeros for ");
        print_name(j->before ? "the bundle's first task" : a->tasks[0].name, 0);
        puts(j->before ? "'s float tensors" : "'s float tensors, and is embedded");
    }
    printf("%u tensors, %u merged; reads %s, writes at most %s, works in %s\n", s.n_tensors, s.n_merged,
           size_text(s.bytes_in, in), size_text(s.bytes_out, out), size_text(s.peak_memory, peak));
    print_share(&parts);
    return EMR_OK;
}

/* Tells what a user must know of even without asking. */
static void warn(const emr_task_report *r)
{
    if (r->empty_mask)
        complain(0,
                 "note: task '%s' differs from the base, yet nothing of it was elected: it becomes the base",
                 r->name);
    if (r->zeroed)
        complain(0, "note: task '%s': %llu values were not finite and count as unchanged", r->name,
                 (unsigned long long)r->zeroed);
}

static int print_report(const job *j, const arguments *a)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    emr_task_report r = EMR_INIT(emr_task_report);
    json_t *tasks = json_array();
    emr_merge_get_plan(j->merge, &s, NULL);
    double params = s.merged_params ? (double)s.merged_params : 1;
    emr_rescale_per per = a->merge.rescale_per;
    if (j->before) {
        emr_bundle_info info = EMR_INIT(emr_bundle_info);
        emr_bundle_get_info(j->before, &info);
        per = info.rescale_per;
    }
    bool per_model = per == EMR_RESCALE_PER_MODEL;
    bool text = !a->json && !a->quiet && !to_standard_output(a);
    const share parts = count_share(j->merge, j->models, a->n_tasks, j->base);
    if (text)
        printf("%-20s %12s %8s\n", "task", "rescaler", "density");
    for (uint32_t i = 0; emr_merge_get_task_report(j->merge, i, &r) == EMR_OK; i++) {
        double density = (double)r.mask_ones / params;
        char rescaler[32];
        if (per_model)
            snprintf(rescaler, sizeof rescaler, "%.6f", (double)r.rescaler);
        else
            snprintf(rescaler, sizeof rescaler, "per %s", per_name(per));
        if (text) {
            print_name(r.name, 20);
            printf(" %12s %8.4f\n", rescaler, density);
        }
        if (!a->quiet)
            warn(&r);
        json_array_append_new(tasks,
                              json_pack("{s:s, s:o, s:f, s:I, s:b}", "name", r.name, "rescaler",
                                        per_model ? json_real((double)r.rescaler) : json_null(), "density",
                                        density, "zeroed", (json_int_t)r.zeroed, "empty_mask", r.empty_mask));
    }
    if (text)
        print_share(&parts);
    note_share(a, &parts, j->base);
    if (!a->json) {
        json_decref(tasks);
        return EXIT_DONE;
    }
    json_t *root = json_pack("{s:o, s:o, s:o}", "output", text_json(a->output), "tasks", tasks, "tensors",
                             tensors_json(j->merge));
    add_share_json(root, &parts);
    return print_json(root);
}

/* Beside OUT.emr.partial, OUT.emr.journal.partial: what an earlier run left, or new. */
static emr_status open_journal(job *j, const arguments *a, emr_error *error)
{
    const emr_file_options options = {.size = sizeof options, .replace = 1};
    char *path = malloc(strlen(a->output) + sizeof ".journal");
    if (!path)
        return EMR_ENOMEM;
    strcat(strcpy(path, a->output), ".journal");
    emr_status status = emr_file_resume(&j->journal, path, &options, error);
    free(path);
    if (!status)
        status = emr_merge_set_journal(j->merge, emr_file_io(j->journal), a->resume_every, error);
    return status;
}

/* A run that failed leaves what it, or one before it, has done. */
static void close_files(job *j, emr_status status)
{
    if (!status) {
        emr_file_discard(&j->file);
        emr_file_discard(&j->journal);
    }
    emr_file_close(&j->file);
    emr_file_close(&j->journal);
}

static emr_status run_merge(job *j, const arguments *a, emr_error *error)
{
    const emr_io *io;
    emr_status status = open_output(&io, &j->file, a, error);
    if (!status)
        status = emr_merge_set_output(j->merge, io, error);
    if (!status && a->resume)
        status = open_journal(j, a, error);
    if (!status)
        status = emr_merge_run(j->merge, error);
    return status ? status : commit_output(j->file, error);
}

static int merge_or_add(const arguments *a, bool adds)
{
    job j = {0};
    emr_error error = {.text = ""};
    int exit_status = check_usage(a, adds);
    if (exit_status)
        return exit_status;
    exit_status = session_open(&j.session, a, adds ? "adding" : "merging");
    if (exit_status)
        return exit_status;
    emr_merge_options options = a->merge;
    options.resources = &j.session.resources;
    if (base_is_zeros(a)) /* they cost nothing, and applying needs no --base */
        options.embed_base = 1;
    emr_status status = emr_merge_create(&j.merge, &options, &error);
    if (!status)
        status = open_models(&j, a, &error);
    if (!status)
        status = set_models(&j, a, &error);
    if (!status)
        note_kept_blocks(a, j.models, j.base);
    if (!status)
        status = a->dry_run ? print_plan(&j, a, &error) : run_merge(&j, a, &error);
    hint_at_dequantise(a, j.base, status, &error);
    hide_progress();
    if (!status && !a->dry_run)
        exit_status = print_report(&j, a);
    if (status)
        exit_status = complain_status(status, &error);
    emr_merge_destroy(&j.merge);
    close_files(&j, status);
    emr_model_destroy(&j.base);
    emr_bundle_destroy(&j.before);
    for (size_t i = 0; j.models && i < a->n_tasks; i++)
        emr_model_destroy(&j.models[i]);
    free(j.models);
    session_close(&j.session);
    return exit_status;
}

int command_merge(const arguments *a)
{
    return merge_or_add(a, false);
}

int command_add(const arguments *a)
{
    return merge_or_add(a, true);
}
