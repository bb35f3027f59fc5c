/* search.c - `emr search`: the best merge of some models, as commands score them. */
#include "combining.h"
#include "evaluation.h"
#include "folder.h"
#include "searching.h"

#include <stdlib.h>
#include <string.h>

/* ---- the call ---- */

static int check_commands(const arguments *a)
{
    if (!a->search.n_evaluate && !a->dry_run)
        return complain(EXIT_USAGE,
                        "search: --evaluate 'COMMAND {}' is missing: what prints a model's score");
    for (size_t i = 0; i < a->search.n_evaluate; i++)
        if (!names_model(a->search.evaluate[i]))
            return complain(EXIT_USAGE,
                            "--evaluate: '%.200s' does not say where the model's path goes: {} stands for it",
                            a->search.evaluate[i]);
    return EXIT_DONE;
}

static int check_trials_usage(const arguments *a)
{
    const search_arguments *s = &a->search;
    const char *other = s->k                  ? "--k"
                        : s->partner          ? "--partner"
                        : s->pool             ? "--pool"
                        : s->has_stop_kinship ? "--stop-kinship"
                        : s->generations      ? "--generations"
                        : s->metric           ? "--metric"
                                              : NULL;
    if (other)
        return complain(EXIT_USAGE, "search: %s is of greedy merging, which --trials replaces", other);
    if (!s->vary)
        return complain(EXIT_USAGE,
                        "--trials: --vary PARAMETER[,PARAMETER...] is missing: what to draw at random");
    if (!a->method)
        return complain(EXIT_USAGE,
                        "--trials: --method M is missing (emr combine --methods lists the methods)");
    return EXIT_DONE;
}

static int check_greedy_usage(const arguments *a)
{
    const search_arguments *s = &a->search;
    if (s->vary)
        return complain(EXIT_USAGE, "--vary: is for --trials N");
    if (!a->base && (s->partner != EMR_SEARCH_PARTNER_NONE || s->has_stop_kinship))
        return complain(
            EXIT_USAGE,
            "search: --base CHECKPOINT is missing: kinship is that of the changes to it (without one, "
            "--partner none)");
    for (size_t i = 0; i < a->n_tasks; i++)
        if (a->tasks[i].has_weight)
            return complain(
                EXIT_USAGE,
                "--task: '%.255s' has a weight behind its checkpoint: candidates are of any two models",
                a->tasks[i].name);
    return EXIT_DONE;
}

/* The log names them. */
static int check_task_names(const arguments *a)
{
    for (size_t i = 0; i < a->n_tasks; i++) {
        json_t *name = json_string(a->tasks[i].name);
        json_decref(name);
        if (!name)
            return complain(EXIT_USAGE, "--task: '%.255s': the name is no valid UTF-8", a->tasks[i].name);
    }
    return EXIT_DONE;
}

static int check_search_method(const arguments *a, const emr_method **method)
{
    emr_error error = {.text = ""};
    emr_status status = find_method(method, a->method ? a->method : "slerp", &error);
    if (status)
        return complain_status(status, &error);
    bool needs_base =
        (*method)->base == EMR_METHOD_BASE_REQUIRED || (*method)->base == EMR_METHOD_BASE_BESIDE;
    if (needs_base && !a->base)
        return complain(EXIT_USAGE, "search: --method %s needs --base CHECKPOINT", (*method)->name);
    if (!a->search.trials && ((*method)->min_tasks > 2 || (*method)->max_tasks == 1))
        return complain(EXIT_USAGE, "search: --method %s does not merge two models", (*method)->name);
    return EXIT_DONE;
}

static int check_search_usage(const arguments *a, const emr_method **method)
{
    if (a->n_files)
        return complain(
            EXIT_USAGE,
            "%s: not expected here (a model is given as --task NAME=CHECKPOINT or --task CHECKPOINT)",
            a->files[0]);
    if (!a->n_tasks)
        return complain(EXIT_USAGE, "search: at least one --task [NAME=]CHECKPOINT is needed");
    if (!a->output && !a->dry_run)
        return complain(EXIT_USAGE, "search: -o DIR is missing: where candidates and the log go");
    if (a->output && to_standard_output(a))
        return complain(EXIT_USAGE, "search: -o needs a folder");
    int exit_status = a->search.trials ? check_trials_usage(a) : check_greedy_usage(a);
    if (!exit_status)
        exit_status = check_commands(a);
    if (!exit_status)
        exit_status = check_task_names(a);
    return exit_status ? exit_status : check_search_method(a, method);
}

/* ---- what a log is of ---- */

static json_t *words_json(const char *const *words, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, text_json(words[i]));
    return array;
}

static json_t *model_facts_json(const char *name, const char *path, const emr_model *model)
{
    model_size size = measure_model(model);
    return json_pack("{s:s, s:o, s:I, s:i}", "name", name, "path", text_json(path), "bytes",
                     (json_int_t)size.bytes, "tensors", (int)size.n_tensors);
}

static json_t *models_json(const search_job *j)
{
    json_t *models = json_array();
    for (size_t i = 0; i < j->a->n_tasks; i++)
        json_array_append_new(
            models, model_facts_json(j->a->tasks[i].name, j->a->tasks[i].path, j->inputs.models[i]));
    return models;
}

static json_t *policy_json(const arguments *a)
{
    const emr_policy *p = &a->policy;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:b, s:b, s:b}", "keep",
                     words_json(p->private_globs, p->n_private_globs), "merge",
                     words_json(p->merge_globs, p->n_merge_globs), "base_globs",
                     words_json(p->base_globs, p->n_base_globs), "absent_globs",
                     words_json(p->absent_globs, p->n_absent_globs), "heads",
                     words_json(a->head_globs, a->n_head_globs), "rename",
                     words_json(a->rename_words, a->n_rename_words), "on_missing", (int)p->on_missing,
                     "on_mismatch", (int)p->on_mismatch, "on_nonfinite", (int)a->merge.on_nonfinite, "dtype",
                     (int)a->dtype, "combine_heads", a->combine_heads != 0, "dequantise", a->dequantise != 0,
                     "no_side_files", a->no_side_files != 0);
}

/* What decides about scores; not how many generations or trials there are, so that a search can be gone on with. */
static json_t *settings_json(const search_job *j)
{
    static const char *const partners[] = {"lowest", "highest", "none"},
                             *const pools[] = {"all", "top", "last"},
                             *const metrics[] = {"pearson", "cosine", "euclid"};
    const arguments *a = j->a;
    const search_arguments *s = &a->search;
    json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:I, s:o, s:o}", "strategy",
                             s->trials ? "trials" : "greedy", "method", j->method->name, "set",
                             words_json(a->set_words, a->n_set_words), "models", models_json(j), "evaluate",
                             words_json(s->evaluate, s->n_evaluate), "minimise", s->minimise != 0, "seed",
                             (json_int_t)a->seed, "policy", policy_json(a), "base",
                             j->inputs.base ? model_facts_json("", a->base, j->inputs.base) : json_null());
    if (s->trials) {
        json_object_set_new(root, "vary", json_string(s->vary));
        return root;
    }
    json_object_set_new(root, "k", json_integer(s->k ? s->k : 3));
    json_object_set_new(root, "partner", json_string(partners[s->partner]));
    json_object_set_new(root, "pool", json_string(pools[s->pool]));
    json_object_set_new(root, "metric", json_string(metrics[s->metric]));
    json_object_set_new(root, "stop_kinship", s->has_stop_kinship ? json_real(s->stop_kinship) : json_null());
    return root;
}

/* ---- the run ---- */

/* A candidate has the form of what its files beside the weights come from: the base, or the first model. */
static const char *ending_of_candidates(const search_job *j)
{
    bool has_base = j->a->base && !base_is_made(j->a) && j->method->base != EMR_METHOD_BASE_INPUT;
    const char *like = has_base ? j->a->base : j->a->tasks[0].path;
    size_t stem = checkpoint_stem(like);
    if (is_folder(like) || !stem || strcmp(like + stem, ".safetensors.index.json") == 0)
        return "";
    return strcmp(like + stem, ".gguf") == 0 ? ".gguf" : ".safetensors";
}

static emr_status stop_if_interrupted(void *user, const emr_progress *progress, emr_error *error)
{
    (void)user, (void)progress, (void)error;
    return interrupted ? EMR_ECANCELED : EMR_OK;
}

static emr_status open_job(search_job *j, emr_error *error)
{
    j->ending = ending_of_candidates(j);
    j->inputs.session.resources.progress = stop_if_interrupted;
    emr_status status = open_merge_models(&j->inputs, j->a, error);
    if (!status)
        status = check_kinds(j->a, j->inputs.models, j->inputs.base, error);
    if (!status)
        status = check_adapters(j->a, j->inputs.models, j->inputs.base, NULL, error);
    if (!status && j->a->search.trials)
        status = take_varied(j, error);
    return status;
}

static emr_status run_search(search_job *j, emr_error *error)
{
    emr_status status = open_search_log(&j->log, j->a->output, settings_json(j), j->a->search.retry, error);
    if (!status)
        status = j->a->search.trials ? search_by_trials(j, error) : search_greedily(j, error);
    if (j->failed) /* what the library says of a callback says less */
        *error = j->error;
    return j->failed ? j->failed : status;
}

static void close_job(search_job *j)
{
    for (size_t i = 0; i < j->n_candidates; i++)
        emr_model_destroy(&j->candidates[i]);
    free(j->candidates);
    free(j->varied);
    emr_search_destroy(&j->search);
    close_search_log(&j->log);
    close_merge_models(&j->inputs, j->a);
}

static int run_search_job(search_job *j)
{
    emr_error error = {.text = ""};
    emr_status status = open_job(j, &error);
    if (!status) /* what is wrong with the first candidate is said before anything is written */
        status = j->a->dry_run ? print_search_plan(j, &error) : check_first_candidate(j, &error);
    int exit_status = status || j->a->dry_run ? EXIT_DONE : take_search_folder(j->a);
    if (exit_status)
        return exit_status;
    if (!status && !j->a->dry_run)
        status = run_search(j, &error);
    if (status)
        return complain_status(status, &error);
    if (!j->a->quiet)
        note_codes(j->a, j->inputs.base, j->inputs.models);
    return j->a->dry_run ? EXIT_DONE : print_search_report(j);
}

int command_search(const arguments *a)
{
    search_job j = {.a = a};
    int exit_status = check_search_usage(a, &j.method);
    if (!exit_status)
        exit_status = session_open(&j.inputs.session, a, "searching");
    if (exit_status)
        return exit_status;
    exit_status = run_search_job(&j);
    close_job(&j);
    session_close(&j.inputs.session);
    return exit_status;
}
