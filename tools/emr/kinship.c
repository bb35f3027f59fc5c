/* kinship.c - `emr kinship`: what the task vectors of several checkpoints, or of a bundle's tasks, have in common. */
#define _POSIX_C_SOURCE 200809L

#include "kinship.h"

#include "folder.h"
#include "heatmap.h"

#include <stdlib.h>
#include <string.h>

/* A name that promises a picture of another kind. */
static bool has_picture_name(const char *path)
{
    static const char *const others[] = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", ".html"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof others / sizeof *others; i++)
        if (strcmp(dot, others[i]) == 0)
            return true;
    return false;
}

static int check_kinship_usage(const arguments *a)
{
    if (a->n_files > 1)
        return complain(EXIT_USAGE,
                        "%s: not expected here (a task is given as --task NAME=CHECKPOINT or --task "
                        "CHECKPOINT; a pattern for --tasks must be quoted)",
                        a->files[1]);
    if (a->n_files && is_folder(a->files[0]))
        return complain(EXIT_USAGE, "%s: a folder and no bundle (a checkpoint is given as --task %s)",
                        a->files[0], a->files[0]);
    if (a->n_files && a->n_tasks)
        return complain(EXIT_USAGE, "kinship: either a BUNDLE or --task, not both");
    if (!a->n_files && !a->base)
        return complain(EXIT_USAGE, "kinship: --base CHECKPOINT is missing");
    if (!a->n_files && !a->n_tasks)
        return complain(EXIT_USAGE, "kinship: at least one --task [NAME=]CHECKPOINT is needed");
    if (a->n_files && (a->apply_adapters || a->n_rename_words))
        return complain(EXIT_USAGE,
                        "kinship: --rename and --apply-adapters are for checkpoints, not for a bundle");
    if (a->apply_adapters && base_is_made(a))
        return complain(EXIT_USAGE, "--apply-adapters: --base must be the model that they belong to, not %s",
                        a->base);
    if (a->published & PUBLISHED_SPLIT && a->per)
        return complain(EXIT_USAGE,
                        "kinship: --published split is of the model alone, not --per anything else");
    if (a->published & PUBLISHED_LOW_PRECISION && a->n_quantiles)
        return complain(EXIT_USAGE, "kinship: --quantiles does not go with --published low-precision");
    if (a->output && has_picture_name(a->output))
        return complain(EXIT_USAGE, "--heat-map: '%s': the picture is SVG, and its name ends in .svg",
                        a->output);
    if (a->output && to_standard_output(a) && a->json)
        return complain(EXIT_USAGE, "kinship: --heat-map - does not go with --json");
    return EXIT_DONE;
}

emr_kinship_options kinship_options(const arguments *a)
{
    return (emr_kinship_options){.size = sizeof(emr_kinship_options),
                                 .metric = a->metric,
                                 .absolute = (a->published & PUBLISHED_ABSOLUTE) != 0};
}

/* ---- models */

emr_status open_bundle_models(kinship_job *j, const arguments *a, emr_error *error)
{
    merge_job *in = &j->inputs;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_status status = emr_bundle_open_file(&in->before, a->files[0], NULL, error);
    if (!status)
        status = emr_bundle_get_info(in->before, &info);
    if (!status && !a->base && !info.has_base)
        status = fail_with(error, EMR_EINVAL, a->files[0],
                           "the base is not embedded: --base CHECKPOINT is needed");
    if (status)
        return status;
    status = a->base ? open_base(&in->base, a, in->before, NULL, error)
                     : emr_bundle_open_base(&in->base, in->before, NULL, error);
    j->n_tasks = info.n_tasks;
    in->models = calloc(info.n_tasks + (size_t)1, sizeof(emr_model *));
    j->names = calloc(info.n_tasks + (size_t)1, sizeof *j->names);
    if (!status && (!in->models || !j->names))
        status = EMR_ENOMEM;
    for (uint32_t t = 0; !status && t < info.n_tasks; t++) {
        emr_view_options options = EMR_INIT(emr_view_options);
        options.check = t ? EMR_BASE_CHECK_NONE : EMR_BASE_CHECK_FIRST;
        emr_task_info task = EMR_INIT(emr_task_info);
        status = emr_bundle_get_task(in->before, t, &task);
        j->names[t] = task.name;
        if (!status)
            status = emr_bundle_open_task(&in->models[t], in->before, t, in->base, &options, error);
    }
    return status;
}

emr_status open_checkpoint_models(kinship_job *j, const arguments *a, emr_error *error)
{
    emr_status status = open_merge_models(&j->inputs, a, error);
    j->n_tasks = (uint32_t)a->n_tasks;
    j->names = calloc(a->n_tasks + 1, sizeof *j->names);
    if (!status && !j->names)
        status = EMR_ENOMEM;
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        j->names[i] = a->tasks[i].name;
    if (!status)
        status = check_kinds(a, j->inputs.models, j->inputs.base, error);
    if (!status)
        status = check_adapters(a, j->inputs.models, j->inputs.base, NULL, error);
    if (!status)
        note_kept_blocks(a, j->inputs.models, j->inputs.base);
    return status;
}

void close_kinship_models(kinship_job *j, const arguments *a)
{
    for (size_t i = a->n_tasks; j->inputs.models && i < j->n_tasks; i++)
        emr_model_destroy(&j->inputs.models[i]); /* a bundle's */
    close_merge_models(&j->inputs, a);
    free(j->names);
    free(j->matrix);
}

/* ---- statistics */

static emr_status find_published_rows(const kinship_job *j, uint64_t *max_rows, emr_error *error)
{
    const emr_tensor *head = emr_model_find_tensor(j->inputs.base, "lm_head.weight");
    if (!head || !emr_tensor_rank(head))
        return fail_with(
            error, EMR_EMISMATCH, emr_model_name(j->inputs.base),
            "the published program takes as many rows of each tensor as lm_head.weight has, which is "
            "not here: leave rows out of --published");
    *max_rows = emr_tensor_shape(head)[0];
    return EMR_OK;
}

emr_status create_statistics(kinship_job *j, const arguments *a, emr_error *error)
{
    bool low = (a->published & PUBLISHED_LOW_PRECISION) != 0, split = (a->published & PUBLISHED_SPLIT) != 0;
    emr_statistics_options options = EMR_INIT(emr_statistics_options);
    options.resources = &j->inputs.session.resources;
    options.policy = &a->policy;
    options.quantiles = a->quantiles;
    options.n_quantiles = a->n_quantiles;
    options.skip_missing = (a->published & PUBLISHED_MISSING) != 0;
    options.without_tensors = a->per != EMR_STATISTICS_SCOPE_TENSOR && !split;
    options.on_nonfinite = a->merge.on_nonfinite;
    options.rounding = !low    ? EMR_STATISTICS_ROUNDING_NONE
                       : split ? EMR_STATISTICS_ROUNDING_PER_TENSOR
                               : EMR_STATISTICS_ROUNDING_PER_MODEL;
    emr_status status = EMR_OK;
    if (a->published & PUBLISHED_ROWS)
        status = find_published_rows(j, &options.max_rows, error);
    if (!status)
        status = emr_statistics_create(&j->statistics, &options, error);
    if (!status)
        status = emr_statistics_set_base(j->statistics, j->inputs.base, error);
    for (uint32_t t = 0; !status && t < j->n_tasks; t++)
        status = emr_statistics_add_task(j->statistics, j->names[t], j->inputs.models[t], error);
    return status;
}

emr_status compute_matrix(kinship_job *j, const arguments *a, emr_error *error)
{
    const emr_kinship_options options = kinship_options(a);
    emr_statistics_group model = EMR_INIT(emr_statistics_group);
    j->matrix = calloc((size_t)j->n_tasks * j->n_tasks + 1, sizeof *j->matrix);
    if (!j->matrix)
        return EMR_ENOMEM;
    if (a->published & PUBLISHED_SPLIT)
        return emr_statistics_split_kinship(j->statistics, &options, j->matrix, error);
    emr_status status = emr_statistics_get_group(j->statistics, EMR_STATISTICS_SCOPE_MODEL, 0, &model);
    return status ? status : emr_kinship(&model, &options, j->matrix, error);
}

/* ---- the picture */

static emr_status write_picture(const char *text, size_t n, const arguments *a, emr_error *error)
{
    const emr_io *io;
    emr_file *file;
    emr_status status = open_output(&io, &file, a, error);
    if (!status)
        status = io->write(io->user, 0, text, n, error);
    if (!status)
        status = commit_output(file, error);
    emr_file_close(&file);
    return status;
}

static emr_status draw_picture(const kinship_job *j, const arguments *a, const size_t *order,
                               emr_error *error)
{
    char *text = NULL, title[128], note[128];
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    if (!to)
        return EMR_ENOMEM;
    snprintf(title, sizeof title, "Kinship: %s", kinship_words(a));
    snprintf(note, sizeof note, "%u tasks, mean of pairs %.4g", j->n_tasks,
             emr_kinship_mean(j->matrix, j->n_tasks));
    const heat_map map = {.title = title,
                          .note = note,
                          .names = j->names,
                          .values = j->matrix,
                          .order = order,
                          .n = j->n_tasks,
                          .is_distance = a->metric == EMR_KINSHIP_METRIC_EUCLID};
    heat_map_write(to, &map);
    bool written = fclose(to) == 0;
    emr_status status = written ? write_picture(text, n, a, error) : EMR_ENOMEM;
    free(text);
    return status;
}

/* ---- the command */

static emr_status report_kinship(kinship_job *j, const arguments *a, emr_error *error)
{
    size_t *order = calloc(j->n_tasks + (size_t)1, sizeof *order);
    bool is_distance = a->metric == EMR_KINSHIP_METRIC_EUCLID;
    emr_status status = compute_matrix(j, a, error);
    if (!status && (!order || !order_by_likeness(j->matrix, j->n_tasks, is_distance, order)))
        status = EMR_ENOMEM;
    if (!status && a->output)
        status = draw_picture(j, a, order, error);
    if (!status && !(a->output && to_standard_output(a)))
        status = print_kinship(j, a, order, error);
    free(order);
    return status;
}

static emr_status run_kinship(kinship_job *j, const arguments *a, emr_error *error)
{
    emr_status status = a->n_files ? open_bundle_models(j, a, error) : open_checkpoint_models(j, a, error);
    if (!status)
        status = create_statistics(j, a, error);
    if (!status && a->dry_run)
        return print_kinship_plan(j, a, error);
    if (!status)
        status = emr_statistics_run(j->statistics, error);
    hide_progress();
    if (!status && !a->quiet && !a->n_files)
        note_codes(a, j->inputs.base, j->inputs.models);
    return status ? status : report_kinship(j, a, error);
}

int command_kinship(const arguments *a)
{
    kinship_job j = {.n_tasks = 0};
    emr_error error = {.text = ""};
    int exit_status = check_kinship_usage(a);
    if (!exit_status && a->output)
        exit_status = check_places(a);
    if (!exit_status)
        exit_status = session_open(&j.inputs.session, a, "comparing");
    if (exit_status)
        return exit_status;
    emr_status status = run_kinship(&j, a, &error);
    hint_at_dequantise(a, j.inputs.base, status, &error);
    hide_progress();
    if (status)
        exit_status = complain_status(status, &error);
    emr_statistics_destroy(&j.statistics);
    close_kinship_models(&j, a);
    session_close(&j.inputs.session);
    return exit_status;
}
