/* combine.c - `emr combine`: one model out of many. */
#include "combining.h"
#include "heads.h"

#include <stdlib.h>
#include <string.h>

/* What a recipe says itself. */
static int check_recipe_usage(const arguments *a)
{
    const char *other = a->method           ? "--method"
                        : a->base           ? "--base"
                        : a->n_tasks        ? "--task"
                        : a->n_set_words    ? "--set"
                        : a->n_rename_words ? "--rename"
                        : a->dtype          ? "--out-dtype"
                        : a->apply_adapters ? "--apply-adapters"
                        : a->n_head_globs   ? "--heads"
                        : a->combine_heads  ? "--combine-heads"
                                            : NULL;
    return other ? complain(EXIT_USAGE, "--config: does not go with %s: the recipe says what is combined",
                            other)
                 : EXIT_DONE;
}

static int check_method_usage(const arguments *a, const emr_method **method)
{
    emr_error error = {.text = ""};
    if (!a->method)
        return complain(EXIT_USAGE, "combine: --method M or --config FILE is missing (emr combine --methods "
                                    "lists the methods)");
    emr_status status = find_method(method, a->method, &error);
    if (status)
        return complain_status(status, &error);
    bool needs_base =
        (*method)->base == EMR_METHOD_BASE_REQUIRED || (*method)->base == EMR_METHOD_BASE_BESIDE;
    if (needs_base && !a->base)
        return complain(EXIT_USAGE, "combine: --method %s needs --base CHECKPOINT", a->method);
    if (!a->n_tasks)
        return complain(EXIT_USAGE, "combine: at least one --task [NAME=]CHECKPOINT[:WEIGHT] is needed");
    if (a->combine_heads && !a->n_head_globs)
        return complain(EXIT_USAGE, "--combine-heads: --heads GLOB says which tensors are heads");
    if (a->apply_adapters && (!a->base || base_is_made(a)))
        return complain(EXIT_USAGE, "--apply-adapters: --base must be the model that they belong to%s%s",
                        a->base ? ", not " : "", a->base ? a->base : "");
    return EXIT_DONE;
}

static bool has_recipe_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (strcmp(dot, ".yml") == 0 || strcmp(dot, ".yaml") == 0);
}

static int check_usage(const arguments *a, const emr_method **method)
{
    if (a->n_files && has_recipe_name(a->files[0]))
        return complain(EXIT_USAGE, "%s: not expected here (a recipe is given as --config %s)", a->files[0],
                        a->files[0]);
    if (a->n_files)
        return complain(
            EXIT_USAGE,
            "%s: not expected here (a task is given as --task NAME=CHECKPOINT or --task CHECKPOINT; "
            "a pattern for --tasks must be quoted)",
            a->files[0]);
    int exit_status = a->config ? check_recipe_usage(a) : check_method_usage(a, method);
    if (exit_status)
        return exit_status;
    if (a->policy.on_mismatch == EMR_ON_MISMATCH_PAD)
        return complain(EXIT_USAGE,
                        "--on-mismatch: 'pad' is not for combined models; error, private and rows are");
    if (!a->output && !a->dry_run)
        return complain(EXIT_USAGE, "combine: -o OUT.safetensors or DIR/ is missing");
    if (a->output && to_standard_output(a) && ((a->json && !a->dry_run) || a->shard_bytes))
        return complain(EXIT_USAGE, "combine: -o - goes with neither --json nor --shard-size");
    return EXIT_DONE;
}

emr_combination_options combination_options(const combine_job *j, const arguments *a,
                                            const emr_policy *policy)
{
    return (emr_combination_options){.size = sizeof(emr_combination_options),
                                     .method = j->method,
                                     .resources = &j->inputs.session.resources,
                                     .policy = policy,
                                     .head_globs = a->head_globs,
                                     .n_head_globs = a->n_head_globs,
                                     .combine_heads = a->combine_heads,
                                     .seed = a->seed,
                                     .dtype = j->dtype,
                                     .on_nonfinite = a->merge.on_nonfinite == EMR_ON_NONFINITE_ZERO
                                                         ? EMR_COMBINATION_NONFINITE_ZERO
                                                         : EMR_COMBINATION_NONFINITE_ERROR};
}

static emr_status add_models(emr_combination *c, const merge_job *inputs, const arguments *a,
                             emr_error *error)
{
    emr_status status = check_kinds(a, inputs->models, inputs->base, error);
    if (!status)
        status = check_adapters(a, inputs->models, inputs->base, NULL, error);
    if (!status && inputs->base)
        status = emr_combination_set_base(c, inputs->base, error);
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = emr_combination_add_task(c, a->tasks[i].name, inputs->models[i], error);
    return status;
}

/* The command line as one combination. */
static emr_status plan_arguments(combine_job *j, const arguments *a, emr_error *error)
{
    const emr_combination_options options = combination_options(j, a, &a->policy);
    emr_status status = open_merge_models(&j->inputs, a, error);
    j->parts = calloc(1, sizeof *j->parts);
    if (!status && !j->parts)
        status = EMR_ENOMEM;
    if (status)
        return status;
    j->n_parts = 1;
    status = emr_combination_create(&j->parts->combination, &options, error);
    if (!status)
        status = add_models(j->parts->combination, &j->inputs, a, error);
    if (!status)
        status = apply_settings(j->parts->combination, j, a, error);
    if (!status)
        note_kept_blocks(a, j->inputs.models, j->inputs.base);
    return status;
}

static void close_arguments(combine_job *j, const arguments *a)
{
    emr_model_destroy(&j->labelled);
    for (size_t i = 0; i < j->n_parts; i++) {
        emr_model_destroy(&j->parts[i].model);
        emr_combination_destroy(&j->parts[i].combination);
    }
    free(j->parts);
    close_merge_models(&j->inputs, a);
}

static emr_status open_output_model(combine_job *j, const arguments *a, emr_error *error)
{
    if (a->config)
        return finish_recipe(j, a, error);
    emr_status status = emr_combination_open_model(j->parts->combination, &j->parts->model, error);
    j->model = j->parts->model;
    if (status || !a->n_head_globs)
        return status;
    status = label_heads(&j->labelled, j->model, j->inputs.models, error);
    j->model = j->labelled;
    return status;
}

/* Readers have half of the memory, the writer has the other. */
static emr_status run_combination(combine_job *j, const arguments *a, json_t *written, emr_error *error)
{
    emr_resources resources = j->inputs.session.resources;
    arguments output = *a;
    resources.memory_bytes /= 2;
    emr_status status = open_output_model(j, a, error);
    output.dtype = j->dtype;
    return status ? status : write_checkpoint(j->model, &output, &resources, written, error);
}

/* A sentence about a call names the recipe that made it. */
static void name_recipe(const arguments *a, emr_status status, emr_error *error)
{
    const emr_error plain = *error;
    if (status == EMR_EINVAL && strncmp(plain.text, a->config, strlen(a->config)) != 0)
        fail_with(error, status, a->config, "%s", plain.text);
}

static int run_job(combine_job *j, const arguments *a)
{
    emr_error error = {.text = ""};
    json_t *written = json_array();
    int exit_status = EXIT_DONE;
    emr_status status = a->config ? open_recipe(j, a, &error) : plan_arguments(j, a, &error);
    if (!status)
        status = a->dry_run ? print_combine_plan(j, a, &error) : run_combination(j, a, written, &error);
    hide_progress();
    if (!status && !a->quiet && !a->config) {
        note_codes(a, j->inputs.base, j->inputs.models);
        note_idle_globs(&j->inputs, a);
    }
    if (a->config)
        name_recipe(a, status, &error);
    if (status)
        exit_status = complain_status(status, &error);
    else if (!a->dry_run)
        exit_status = print_combine_report(j, a, written);
    json_decref(written);
    return exit_status;
}

int command_combine(const arguments *a)
{
    combine_job j = {.dtype = a->dtype};
    if (a->list_methods)
        return list_methods(a);
    int exit_status = check_usage(a, &j.method);
    if (!exit_status)
        exit_status = check_places(a);
    if (!exit_status)
        exit_status = session_open(&j.inputs.session, a, "combining");
    if (exit_status)
        return exit_status;
    if (a->config)
        exit_status = take_recipe(&j, a);
    if (!exit_status)
        exit_status = run_job(&j, a);
    if (j.recipe)
        close_recipe(&j);
    else
        close_arguments(&j, a);
    session_close(&j.inputs.session);
    return exit_status;
}
