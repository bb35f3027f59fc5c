/* merge.c - `emr merge` and `emr add`: checkpoints in, one bundle out. */
#include "cli.h"
#include "heads.h"

#include <stdlib.h>
#include <string.h>

int check_merge(const arguments *a, bool adds)
{
    if (adds && !a->n_files)
        return complain(EXIT_USAGE, "add: the BUNDLE to add to is missing");
    if (a->n_files > adds)
        return complain(
            EXIT_USAGE,
            "%s: not expected here (a task is given as --task NAME=CHECKPOINT or --task CHECKPOINT; "
            "a pattern for --tasks must be quoted)",
            a->files[adds]);
    if (!a->base) /* an embedded one may lack tensors of which every task has its own */
        return complain(EXIT_USAGE, "%s: --base CHECKPOINT is missing", a->command);
    if (!a->n_tasks)
        return complain(EXIT_USAGE, "%s: at least one --task [NAME=]CHECKPOINT is needed", a->command);
    if (a->apply_adapters && base_is_made(a))
        return complain(EXIT_USAGE, "--apply-adapters: --base must be the model that they belong to, not %s",
                        a->base);
    if (!a->output && !a->dry_run)
        return complain(EXIT_USAGE, "%s: -o OUT.emr is missing", a->command);
    if (a->n_parts && !a->part && !a->dry_run && !a->all_parts)
        return complain(EXIT_USAGE, "--parts N is for --dry-run: a part is made by --part I/N");
    if (a->part && (a->resume || a->dry_run))
        return complain(EXIT_USAGE,
                        "--part goes with neither --resume nor --dry-run (--parts N tells of all): "
                        "a part that failed is made again");
    if (a->rate && !a->n_parts)
        return complain(EXIT_USAGE, "--rate goes with --dry-run --parts N");
    if (a->resume && a->output && to_standard_output(a))
        return complain(EXIT_USAGE, "%s: --resume needs a file to write to", a->command);
    if (a->output && a->json && !a->dry_run && to_standard_output(a))
        return complain(EXIT_USAGE, "%s: --json and -o - both want standard output", a->command);
    return check_places(a);
}

static emr_status open_one_task(merge_job *j, const arguments *a, size_t i, emr_error *error)
{
    emr_status status = open_task(&j->models[i], a->tasks[i].path, a, error);
    return status ? status : rename_tensors(&j->models[i], &j->files[i], a, (long)i, error);
}

/* Against nothing, every tensor would be private and the bundle an archive. */
static emr_status check_has_tensors(const emr_model *base, const arguments *a, emr_error *error)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(base); i++)
        if (!side_file_name(emr_tensor_name(emr_model_tensor(base, i))))
            return EMR_OK;
    return fail_with(error, EMR_EMISMATCH, a->base, "%s",
                     base_is_made(a) ? "the first task has no float tensor, so neither has the base"
                                     : "the base has no tensors: is it the file that was meant?");
}

/* The base comes first, but where it is zeros like the first task's tensors. */
emr_status open_merge_models(merge_job *j, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    j->models = calloc(a->n_tasks, sizeof(emr_model *));
    j->files = calloc(a->n_tasks, sizeof(emr_model *));
    if (!j->models || !j->files)
        return EMR_ENOMEM;
    if (a->n_files)
        status = emr_bundle_open_file(&j->before, a->files[0], NULL, error);
    if (!status && a->base && !base_is_made(a))
        status = open_base(&j->base, a, NULL, NULL, error);
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = open_one_task(j, a, i, error);
    if (!status && base_is_made(a))
        status = open_base(&j->base, a, j->before, j->models[0], error);
    if (!status && j->base && !j->before)
        status = check_has_tensors(j->base, a, error);
    if (!status && a->apply_adapters)
        status = apply_adapters(j, a, error);
    if (!status && j->base)
        status = rename_tensors(&j->base, &j->base_file, a, RENAME_BASE, error);
    return status ? status : check_rules_used(a, error);
}

static void destroy_models(emr_model **models, size_t n)
{
    for (size_t i = 0; models && i < n; i++)
        emr_model_destroy(&models[i]);
    free(models);
}

/* Those that are made of others before those that they are of. */
void close_merge_models(merge_job *j, const arguments *a)
{
    destroy_models(j->models, a->n_tasks);
    close_heads(j, a);
    destroy_models(j->unviewed, a->n_tasks);
    destroy_models(j->applied, a->n_tasks);
    destroy_models(j->adapters, a->n_tasks);
    destroy_models(j->files, a->n_tasks);
    emr_model_destroy(&j->whole_base);
    emr_model_destroy(&j->base);
    emr_model_destroy(&j->base_file);
    emr_bundle_destroy(&j->before);
}

/* A base that is made costs nothing, and with it applying needs no --base. Zeros fill up factors of lower
 * rank, unless another way with mismatches was asked for. */
static bool are_all_adapters(const merge_job *j, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!emr_model_find_metadata(j->models[i], EMR_ADAPTER_CONFIG))
            return false;
    return true;
}

/* Adapters over zeros or ones may have been trained with other ranks, and in other layers: each comes back with
 * its own. */
static emr_status fit_policy(const merge_job *j, const arguments *a, emr_policy *policy, emr_error *error)
{
    bool is_given =
        policy->on_mismatch || policy->on_missing || policy->n_base_globs || policy->n_absent_globs;
    if (knows_policy(j) && is_given)
        return fail_with(error, EMR_EINVAL, a->files[0],
                         "is extendable, and so knows what --on-missing and --on-mismatch were when it was "
                         "made: leave them out");
    if (knows_policy(j) || !base_is_made(a))
        return EMR_OK;
    const emr_model *first = j->before ? j->base : j->models[0];
    if (policy->on_missing == EMR_ON_MISSING_ERROR && are_all_adapters(j, a->n_tasks))
        policy->on_missing = EMR_ON_MISSING_ABSENT;
    if (policy->on_mismatch != EMR_ON_MISMATCH_ERROR || !only_ranks_differ(first, j->models, a->n_tasks))
        return EMR_OK;
    policy->on_mismatch = EMR_ON_MISMATCH_PAD;
    return policy->on_missing != EMR_ON_MISSING_BASE
               ? EMR_OK
               : fail_with(
                     error, EMR_EINVAL, NULL,
                     "the adapters' ranks differ: with --on-missing base one would come back with layers in "
                     "another rank than its own: leave it out, and each comes back with its own layers");
}

static emr_status create_merge(merge_job *j, const arguments *a, emr_error *error)
{
    emr_merge_options options = a->merge;
    emr_policy policy = a->policy;
    options.resources = &j->session.resources;
    options.policy = &policy;
    if (base_is_made(a))
        options.embed_base = 1;
    keep_heads_private(j, &policy);
    emr_status status = fit_policy(j, a, &policy, error);
    return status ? status : emr_merge_create(&j->merge, &options, error);
}

/* A task, and the modulator that it is to have. */
static emr_status add_task_model(merge_job *j, const arguments *a, size_t i, emr_error *error)
{
    emr_bundle_info before = EMR_INIT(emr_bundle_info);
    emr_status status = j->before ? emr_bundle_get_info(j->before, &before) : EMR_OK;
    if (!status)
        status = emr_merge_add_task(j->merge, a->tasks[i].name, j->models[i], error);
    return status ? status
                  : emr_merge_set_modulation(j->merge, before.n_tasks + (uint32_t)i, &a->tasks[i].modulation,
                                             error);
}

static emr_status set_models(merge_job *j, const arguments *a, emr_error *error)
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
        status = add_task_model(j, a, i, error);
    return status;
}

emr_status start_merge(merge_job *j, const arguments *a, emr_error *error)
{
    emr_status status = create_merge(j, a, error);
    return status ? status : set_models(j, a, error);
}

/* Beside OUT.emr.partial, OUT.emr.journal.partial: what an earlier run left, or new. */
static emr_status open_journal(merge_job *j, const arguments *a, emr_error *error)
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

void close_merge_files(merge_job *j, emr_status status)
{
    if (!status) {
        emr_file_discard(&j->file);
        emr_file_discard(&j->journal);
    }
    emr_file_close(&j->file);
    emr_file_close(&j->journal);
}

emr_status run_merge(merge_job *j, const arguments *a, emr_error *error)
{
    const emr_io *io;
    emr_status status = open_output(&io, &j->file, a, error);
    if (!status)
        status = emr_merge_set_output(j->merge, io, error);
    if (!status && a->part)
        status = emr_merge_set_part(j->merge, a->part - 1, a->n_parts, error);
    if (!status && a->resume)
        status = open_journal(j, a, error);
    if (!status)
        status = emr_merge_run(j->merge, error);
    return status ? status : commit_output(j->file, error);
}

static int merge_or_add(const arguments *a, bool adds)
{
    merge_job j = {0};
    emr_error error = {.text = ""};
    int exit_status = check_merge(a, adds);
    if (exit_status)
        return exit_status;
    exit_status = session_open(&j.session, a, adds ? "adding" : "merging");
    if (exit_status)
        return exit_status;
    emr_status status = open_merge_models(&j, a, &error);
    if (!status && a->n_head_globs)
        status = view_heads(&j, a, &error);
    if (!status)
        status = start_merge(&j, a, &error);
    if (!status)
        note_kept_blocks(a, j.models, j.base);
    if (!status)
        status = a->dry_run ? print_merge_plan(&j, a, &error) : run_merge(&j, a, &error);
    hint_at_dequantise(a, j.base, status, &error);
    hide_progress();
    if (!status && !a->quiet)
        note_codes(a, j.base, j.models);
    if (!status && !a->dry_run)
        exit_status = a->part ? print_part_report(&j, a) : print_merge_report(&j, a);
    if (status)
        exit_status = complain_status(status, &error);
    emr_merge_destroy(&j.merge);
    close_merge_files(&j, status);
    close_merge_models(&j, a);
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
