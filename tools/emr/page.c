/* page.c - `emr report`: one page about a bundle, or about a base and its tasks, for people to read. */
#define _POSIX_C_SOURCE 200809L

#include "page.h"

#include <stdlib.h>
#include <string.h>

static int check_report_usage(const arguments *a)
{
    if (!a->output)
        return complain(EXIT_USAGE, "report: -o OUT.html is missing");
    if (a->json && to_standard_output(a))
        return complain(EXIT_USAGE, "report: -o - does not go with --json");
    if (a->n_files > 1)
        return complain(EXIT_USAGE,
                        "%s: not expected here (a task is given as --task NAME=CHECKPOINT or --task "
                        "CHECKPOINT; a pattern for --tasks must be quoted)",
                        a->files[1]);
    if (a->n_files && a->n_tasks)
        return complain(EXIT_USAGE, "report: either a BUNDLE or --task, not both");
    if (!a->n_files && (!a->base || !a->n_tasks))
        return complain(EXIT_USAGE,
                        "report: needs a BUNDLE, or --base CHECKPOINT and --task [NAME=]CHECKPOINT");
    if (a->n_files && (a->apply_adapters || a->n_rename_words))
        return complain(EXIT_USAGE,
                        "report: --rename and --apply-adapters are for checkpoints, not for a bundle");
    if (a->apply_adapters && base_is_made(a))
        return complain(EXIT_USAGE, "--apply-adapters: --base must be the model that they belong to, not %s",
                        a->base);
    return EXIT_DONE;
}

/* ---- models */

/* A bundle without its base: names alone. */
static emr_status open_bare_bundle(kinship_job *j, emr_error *error)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_status status = emr_bundle_get_info(j->inputs.before, &info);
    (void)error;
    j->names = calloc(info.n_tasks + (size_t)1, sizeof *j->names);
    if (!j->names)
        return EMR_ENOMEM;
    for (uint32_t t = 0; !status && t < info.n_tasks; t++) {
        emr_task_info task = EMR_INIT(emr_task_info);
        status = emr_bundle_get_task(j->inputs.before, t, &task);
        j->names[t] = task.name;
    }
    j->n_tasks = info.n_tasks;
    return status;
}

static emr_status open_bundle_page(page *p, emr_error *error)
{
    kinship_job *j = &p->models;
    emr_status status;
    status = emr_bundle_open_file(&j->inputs.before, p->a->files[0], NULL, error);
    if (status == EMR_EFORMAT && !looks_like_bundle(p->a->files[0]))
        status =
            fail_with(error, EMR_EFORMAT, p->a->files[0],
                      "is no bundle; checkpoints are given as --base CHECKPOINT --task [NAME=]CHECKPOINT");
    if (!status)
        status = emr_bundle_get_info(j->inputs.before, &p->info);
    if (status)
        return status;
    p->has_vectors = p->a->base || p->info.has_base;
    if (p->has_vectors) {
        emr_bundle_destroy(&j->inputs.before);
        status = open_bundle_models(j, p->a, error);
    } else {
        status = open_bare_bundle(j, error);
    }
    p->bundle = j->inputs.before;
    return status;
}

/* What a merge would do with checkpoints, to tell what is not merged and why. Nothing is read. */
static emr_status plan_merge(page *p, emr_error *error)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_plan_summary summary = EMR_INIT(emr_plan_summary);
    options.policy = &p->a->policy;
    emr_status status = emr_merge_create(&p->plan, &options, error);
    if (!status)
        status = emr_merge_set_base(p->plan, p->models.inputs.base, error);
    for (uint32_t t = 0; !status && t < p->models.n_tasks; t++)
        status = emr_merge_add_task(p->plan, p->models.names[t], p->models.inputs.models[t], error);
    return status ? status : emr_merge_get_plan(p->plan, &summary, error);
}

static emr_status open_page(page *p, emr_error *error)
{
    emr_status status;
    if (p->a->n_files)
        return open_bundle_page(p, error);
    p->has_vectors = true;
    status = open_checkpoint_models(&p->models, p->a, error);
    return status ? status : plan_merge(p, error);
}

/* ---- the command */

static emr_status gather_page(page *p, emr_error *error)
{
    emr_status status = open_page(p, error);
    p->n_tasks = p->models.n_tasks;
    if (!status)
        status = page_gather_tasks(p);
    if (!status && p->has_vectors)
        status = page_run_statistics(p, error);
    if (!status)
        status = page_gather_tensors(p);
    if (!status && p->bundle)
        status = page_gather_masks(p, error);
    if (!status && p->has_vectors)
        status = page_gather_vectors(p, error);
    return status ? status : page_gather_kept(p, error);
}

static emr_status write_html(const char *text, size_t n, const arguments *a, emr_error *error)
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

/* All of it is made before the file is, which appears whole or not at all. */
static emr_status make_html(const page *p, size_t *n, emr_error *error)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, n);
    if (!to)
        return EMR_ENOMEM;
    page_write(to, p);
    bool written = !ferror(to);
    written = fclose(to) == 0 && written;
    emr_status status = written ? write_html(text, *n, p->a, error) : EMR_ENOMEM;
    free(text);
    return status;
}

static emr_status tell_written(const page *p, size_t n)
{
    char size[32];
    if (p->a->json)
        return print_json(json_pack("{s:o, s:I, s:i, s:i, s:I, s:b}", "output", text_json(p->a->output),
                                    "bytes", (json_int_t)n, "tasks", (int)p->n_tasks, "tensors",
                                    (int)p->n_tensors, "params", (json_int_t)p->params, "vectors",
                                    (int)p->has_vectors))
                   ? EMR_EIO
                   : EMR_OK;
    if (!p->a->quiet && !to_standard_output(p->a))
        printf("%s: %u tasks, %llu parameters in %u tensors, %s\n", p->a->output, p->n_tasks,
               (unsigned long long)p->params, p->n_tensors, size_text(n, size));
    return EMR_OK;
}

static emr_status run_report(page *p, emr_error *error)
{
    size_t n = 0;
    emr_status status = gather_page(p, error);
    hide_progress();
    if (!status && !p->a->quiet && !p->bundle)
        note_codes(p->a, p->models.inputs.base, p->models.inputs.models);
    if (!status)
        status = make_html(p, &n, error);
    return status ? status : tell_written(p, n);
}

static void free_page(page *p)
{
    emr_statistics_destroy(&p->models.statistics);
    emr_merge_destroy(&p->plan);
    close_kinship_models(&p->models, p->a);
    page_free_places(&p->layers);
    page_free_places(&p->kinds);
    free(p->tasks);
    free(p->order);
    free(p->tensors);
    free(p->shown_at);
}

int command_report(const arguments *a)
{
    page p = {.a = a, .info = EMR_INIT(emr_bundle_info)};
    emr_error error = {.text = ""};
    int exit_status = check_report_usage(a);
    if (!exit_status)
        exit_status = check_places(a);
    if (!exit_status)
        exit_status = session_open(&p.models.inputs.session, a, "reporting");
    if (exit_status)
        return exit_status;
    emr_status status = run_report(&p, &error);
    hint_at_dequantise(a, p.models.inputs.base, status, &error);
    hide_progress();
    if (status)
        exit_status = complain_status(status, &error);
    free_page(&p);
    session_close(&p.models.inputs.session);
    return exit_status;
}
