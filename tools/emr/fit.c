/* fit.c - `emr fit`: its commands, what each needs, and the order in which things are done. */
#include "fitting.h"

#include <stdlib.h>
#include <string.h>

typedef struct fit_command {
    const char *name, *verb;
    const char *files; /* what is given without an option */
    size_t least, most;
    bool needs_spec;
    emr_status (*make)(fit_job *j, const arguments *a, emr_error *error);
} fit_command;

static const fit_command fit_commands[] = {
    {"fit spec", "reading", "one MODEL", 1, 1, true, make_spec},
    {"fit match", "matching", "two models, A and B,", 2, 2, true, make_match},
    {"fit permute", "permuting", "one MODEL", 1, 1, true, make_permuted},
    {"fit regmean", "merging", NULL, 0, 0, true, make_regmean},
    {"fit pleas", "merging", "two models, A and B,", 2, 2, true, make_pleas},
    {"fit zip", "zipping", "two or more models", 2, 65536, true, make_zip},
    {"fit spectral", "merging", NULL, 0, 0, false, make_spectral},
    {"fit coefficients", "merging", NULL, 0, 0, false, make_coefficients},
    {"fit surgery", "fitting", NULL, 0, 0, false, make_surgery},
};

static const fit_command *find_fit_command(const char *name)
{
    const fit_command *c = fit_commands;
    while (strcmp(c->name, name) != 0)
        c++;
    return c;
}

/* Adapters are fitted on features, without the models. */
static bool reads_models(const fit_command *c)
{
    return c->make != make_surgery;
}

static int check_files(const fit_command *c, const arguments *a)
{
    if (!reads_models(c) && a->n_files)
        return complain(EXIT_USAGE, "%s: not expected here (features are given by --merged and --individual)",
                        a->files[0]);
    if (!c->files && a->n_files)
        return complain(EXIT_USAGE, "%s: not expected here (a model is given as --task NAME=CHECKPOINT)",
                        a->files[0]);
    if (c->files && (a->n_files < c->least || a->n_files > c->most))
        return complain(EXIT_USAGE, "%s: %s must be given, not %zu", c->name, c->files, a->n_files);
    if (!c->files && reads_models(c) && !a->n_tasks)
        return complain(EXIT_USAGE, "%s: at least one --task [NAME=]CHECKPOINT is needed", c->name);
    if (a->fit.spec && a->fit.residual)
        return complain(EXIT_USAGE, "--residual: is of specs that are derived, and --spec gives one");
    return EXIT_DONE;
}

static int check_match_usage(const arguments *a)
{
    bool reads_gram = a->fit.by ? a->fit.by != FIT_BY_WEIGHTS : a->fit.n_gram_words > 0;
    if (reads_gram && !a->fit.n_gram_words)
        return complain(EXIT_USAGE, "--by: activations are in a gram of both models: --gram FILE is missing");
    if (!reads_gram && a->fit.n_gram_words)
        return complain(EXIT_USAGE, "--by: matching by weights reads no gram: leave --gram out");
    if (a->fit.balance.is_given && a->fit.by != FIT_BY_BOTH)
        return complain(EXIT_USAGE, "--balance: is of --by both");
    if (a->fit.aligned && strcmp(a->fit.aligned, "-") == 0)
        return complain(EXIT_USAGE, "--aligned: must be a file or a folder, not standard output");
    if (!a->output && !a->fit.aligned)
        return complain(EXIT_USAGE, "fit match: -o PERMUTATION.safetensors or --aligned OUT is missing");
    return EXIT_DONE;
}

static int check_surgery_usage(const arguments *a)
{
    if (!a->fit.merged || !a->fit.individual)
        return complain(EXIT_USAGE, "fit surgery: features are missing: --merged FILE and --individual FILE");
    if (!a->fit.place)
        return complain(EXIT_USAGE, "fit surgery: --place NAME, the adapter's name, is missing");
    if (a->fit.rate.is_given && !(a->fit.rate.value > 0))
        return complain(EXIT_USAGE, "--rate: must be above 0");
    if (!a->output)
        return complain(EXIT_USAGE, "fit surgery: -o OUT is missing");
    return EXIT_DONE;
}

static int check_other_usage(const fit_command *c, const arguments *a)
{
    if ((c->make == make_spectral || c->make == make_coefficients) && !a->base)
        return complain(EXIT_USAGE, "%s: --base CHECKPOINT is missing", a->command);
    if (strcmp(a->command, "fit permute") == 0 && !a->fit.permutation == !a->fit.has_random)
        return complain(EXIT_USAGE,
                        "fit permute: either --permutation FILE or --random SEED says how units are ordered");
    if (strcmp(a->command, "fit regmean") == 0 && !a->fit.n_gram_words)
        return complain(EXIT_USAGE, "fit regmean: each task needs --gram NAME=FILE");
    if (strcmp(a->command, "fit zip") == 0 && a->fit.balance.is_given && !a->fit.n_gram_words)
        return complain(EXIT_USAGE, "--balance: is between weights and a gram: --gram FILE is missing");
    if (strcmp(a->command, "fit spectral") == 0 &&
        (!a->method || (strcmp(a->method, "tsv_m") != 0 && strcmp(a->method, "iso_c") != 0)))
        return complain(EXIT_USAGE, "fit spectral: --method tsv_m or --method iso_c is needed");
    if (c->make == make_coefficients && !a->fit.state)
        return complain(EXIT_USAGE, "fit coefficients: --state FILE, what was learned, is missing");
    if (!a->output && !a->dry_run)
        return complain(EXIT_USAGE, "%s: -o OUT is missing", a->command);
    return EXIT_DONE;
}

static int check_usage(const fit_command *c, const arguments *a)
{
    int exit_status = check_files(c, a);
    if (!exit_status)
        exit_status = c->make == make_match     ? check_match_usage(a)
                      : c->make == make_surgery ? check_surgery_usage(a)
                                                : check_other_usage(c, a);
    if (!exit_status && a->output && to_standard_output(a) && ((a->json && !a->dry_run) || a->shard_bytes))
        exit_status = complain(EXIT_USAGE, "%s: -o - goes with neither --json nor --shard-size", a->command);
    return exit_status ? exit_status : check_fit_places(a);
}

static emr_status make_output(fit_job *j, const fit_command *c, const arguments *a, emr_error *error)
{
    emr_status status = reads_models(c) ? open_fit_models(j, a, error) : EMR_OK;
    if (!status && c->needs_spec)
        status = open_fit_spec(j, a, error);
    if (!status)
        status = open_fit_grams(j, a, error);
    return status ? status : c->make(j, a, error);
}

static emr_status write_spec(const fit_job *j, const arguments *a, json_t *written, emr_error *error)
{
    const emr_io *io;
    emr_file *file;
    emr_status status = open_output(&io, &file, a, error);
    if (status)
        return status;
    status = emr_permutation_spec_write(j->spec, io, error);
    if (!status)
        status = commit_output(file, error);
    emr_file_close(&file);
    if (!status)
        json_array_append_new(written, text_json(a->output));
    return status;
}

/* Who computes has half of the memory, the writer has the other. */
static emr_status write_outputs(const fit_job *j, const arguments *a, json_t *written, json_t *aligned,
                                emr_error *error)
{
    emr_resources resources = j->inputs.session.resources;
    arguments second = *a;
    emr_status status = EMR_OK;
    resources.memory_bytes /= 2;
    second.output = a->fit.aligned;
    if (!j->merged)
        return write_spec(j, a, written, error);
    if (a->output)
        status = write_checkpoint(j->configured ? j->configured : j->merged, a, &resources, written, error);
    if (!status && j->aligned)
        status = write_checkpoint(j->aligned, &second, &resources, aligned, error);
    return status;
}

static int run_fit(fit_job *j, const fit_command *c, const arguments *a)
{
    emr_error error = {.text = ""};
    json_t *written = json_array(), *aligned = json_array();
    emr_status status = make_output(j, c, a, &error);
    count_progress(NULL);
    if (!status && !a->dry_run)
        status = write_outputs(j, a, written, aligned, &error);
    hide_progress();
    int exit_status = status       ? complain_status(status, &error)
                      : a->dry_run ? print_fit_plan(j, a)
                                   : print_fit_report(j, a, written, aligned);
    json_decref(written);
    json_decref(aligned);
    return exit_status;
}

int command_fit(const arguments *a)
{
    fit_job j = {.match = EMR_INIT(emr_match_report)};
    const fit_command *c = find_fit_command(a->command);
    int exit_status = check_usage(c, a);
    if (!exit_status)
        exit_status = session_open(&j.inputs.session, a, c->verb);
    if (exit_status)
        return exit_status;
    exit_status = run_fit(&j, c, a);
    close_fit(&j, a);
    session_close(&j.inputs.session);
    return exit_status;
}
