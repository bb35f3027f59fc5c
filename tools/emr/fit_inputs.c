/* fit_inputs.c - what `emr fit` reads: models, the permutation spec, grams, permutations. */
#include "fitting.h"

#include "configuration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static emr_status open_files(fit_job *j, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    j->models = calloc(a->n_files, sizeof(emr_model *));
    if (!j->models)
        return EMR_ENOMEM;
    for (size_t i = 0; !status && i < a->n_files; i++, j->n_models++)
        status = open_task(&j->models[i], a->files[i], a, error);
    return status;
}

emr_status open_fit_models(fit_job *j, const arguments *a, emr_error *error)
{
    if (a->n_files)
        return open_files(j, a, error);
    emr_status status = open_merge_models(&j->inputs, a, error);
    if (!status)
        status = check_kinds(a, j->inputs.models, j->inputs.base, error);
    if (!status)
        status = check_adapters(a, j->inputs.models, j->inputs.base, NULL, error);
    j->models = j->inputs.models;
    j->n_models = a->n_tasks;
    return status;
}

/* A whole file; free it. */
static emr_status read_file(char **text, size_t *n, const char *path, emr_error *error)
{
    emr_file *file;
    uint64_t bytes;
    emr_status status = emr_file_open(&file, path, NULL, error);
    if (status)
        return status;
    const emr_io *io = emr_file_io(file);
    status = io->length(io->user, &bytes, error);
    *text = status ? NULL : malloc((size_t)bytes + 1);
    *n = status ? 0 : (size_t)bytes;
    if (!status)
        status = *text ? io->read(io->user, 0, *text, *n, error) : EMR_ENOMEM;
    emr_file_close(&file);
    if (status)
        free(*text);
    return status;
}

/* A spec's sentences do not know in which file it stood. */
static emr_status parse_spec(fit_job *j, const char *path, emr_error *error)
{
    char *text;
    size_t n;
    emr_status status = read_file(&text, &n, path, error);
    if (status)
        return status;
    status = emr_permutation_spec_parse(&j->spec, text, n, NULL, error);
    free(text);
    const emr_error plain = *error;
    if (status && plain.text[0])
        fail_with(error, status, path, "%s", plain.text);
    return status ? status : emr_permutation_spec_check(j->spec, j->models[0], error);
}

/* By the first model's tensors and its config.json. */
static emr_status derive_spec(fit_job *j, const arguments *a, emr_error *error)
{
    const emr_derive_options options = {.size = sizeof options, .residual = a->fit.residual};
    json_t *config;
    emr_status status = configuration_load(&config, j->models[0], error);
    char *text = config ? json_dumps(config, 0) : NULL;
    if (!status && config && !text)
        status = EMR_ENOMEM;
    if (!status)
        status = emr_permutation_spec_derive(&j->spec, j->models[0], text, &options, error);
    free(text);
    json_decref(config);
    return status;
}

emr_status open_fit_spec(fit_job *j, const arguments *a, emr_error *error)
{
    return a->fit.spec ? parse_spec(j, a->fit.spec, error) : derive_spec(j, a, error);
}

static emr_status open_gram(emr_gram **gram, const char *path, emr_error *error)
{
    emr_model *model;
    emr_status status = emr_checkpoint_open(&model, path, NULL, error);
    if (status)
        return status;
    status = emr_gram_open(gram, model, NULL, error);
    emr_model_destroy(&model);
    return status;
}

/* Sites that the sum lacks begin at 0: grams may be of other sites, pass by pass. */
static emr_status add_gram(emr_gram *sum, const char *path, emr_error *error)
{
    emr_gram *more;
    emr_gram_site site = EMR_INIT(emr_gram_site), first = EMR_INIT(emr_gram_site);
    uint32_t number;
    emr_status status = open_gram(&more, path, error);
    if (status)
        return status;
    (void)emr_gram_get_site(sum, 0, &first);
    for (uint32_t i = 0; !status && emr_gram_get_site(more, i, &site) == EMR_OK; i++) {
        if (site.n_models != first.n_models)
            status =
                fail_with(error, EMR_EMISMATCH, path, "the gram is of %u models, and the one before it of %u",
                          site.n_models, first.n_models);
        else if (emr_gram_find_site(sum, site.name, &number, NULL))
            status = emr_gram_add_site(sum, site.name, site.widths, &number, error);
    }
    if (!status)
        status = emr_gram_add(sum, more, error);
    emr_gram_destroy(&more);
    return status;
}

static emr_status take_gram(emr_gram **gram, const char *path, size_t n_models, emr_error *error)
{
    emr_gram_site site = EMR_INIT(emr_gram_site);
    if (*gram)
        return add_gram(*gram, path, error);
    emr_status status = open_gram(gram, path, error);
    if (status)
        return status;
    if (emr_gram_get_site(*gram, 0, &site))
        return fail_with(error, EMR_EFORMAT, path, "the gram has no sites");
    return site.n_models == n_models
               ? EMR_OK
               : fail_with(error, EMR_EMISMATCH, path, "the gram is of %u models, and one of %zu is needed",
                           site.n_models, n_models);
}

/* NAME=FILE of --gram: which task's it is. */
static emr_status find_gram_task(const arguments *a, const char *word, size_t *task, emr_error *error)
{
    const char *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word) : 0;
    if (!n || !equals[1])
        return fail_with(error, EMR_EINVAL, NULL, "--gram: '%.300s' must be NAME=FILE, with a task's name",
                         word);
    for (*task = 0; *task < a->n_tasks; (*task)++)
        if (strlen(a->tasks[*task].name) == n && strncmp(a->tasks[*task].name, word, n) == 0)
            return EMR_OK;
    return fail_with(error, EMR_EINVAL, NULL, "--gram: '%.*s' is no task here", n < 300 ? (int)n : 300, word);
}

static emr_status open_task_grams(fit_job *j, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < a->fit.n_gram_words; i++) {
        const char *word = a->fit.gram_words[i];
        size_t task = 0;
        status = find_gram_task(a, word, &task, error);
        if (!status)
            status = take_gram(&j->grams[task], strchr(word, '=') + 1, 1, error);
    }
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        if (!j->grams[i])
            status = fail_with(error, EMR_EINVAL, NULL, "task '%.255s' has no --gram %.255s=FILE",
                               a->tasks[i].name, a->tasks[i].name);
    return status;
}

emr_status open_fit_grams(fit_job *j, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    if (!a->fit.n_gram_words)
        return EMR_OK;
    j->n_grams = a->n_tasks ? a->n_tasks : 1;
    j->grams = calloc(j->n_grams, sizeof(emr_gram *));
    if (!j->grams)
        return EMR_ENOMEM;
    if (a->n_tasks)
        return open_task_grams(j, a, error);
    for (size_t i = 0; !status && i < a->fit.n_gram_words; i++)
        status = take_gram(&j->grams[0], a->fit.gram_words[i], j->n_models, error);
    return status;
}

emr_status open_fit_permutation(emr_permutation **permutation, const fit_job *j, const char *path,
                                emr_error *error)
{
    emr_model *indices = NULL;
    emr_status status = emr_permutation_create(permutation, j->spec, NULL, error);
    if (!status)
        status = emr_checkpoint_open(&indices, path, NULL, error);
    if (!status)
        status = emr_permutation_read_indices(*permutation, indices, error);
    emr_model_destroy(&indices);
    const emr_error plain = *error;
    return status == EMR_EINVAL ? fail_with(error, EMR_EFORMAT, path, "%s", plain.text) : status;
}

/* Whatever `a->output` is. */
static int check_output_place(const arguments *a)
{
    static const char *const what[] = {"the spec",           "the permutation",    "the permutation",
                                       "a file of features", "a file of features", "the state"};
    const char *const others[] = {a->fit.spec,   a->fit.permutation, a->fit.start,
                                  a->fit.merged, a->fit.individual,  a->fit.state};
    int exit_status = check_places(a);
    for (size_t i = 0; !exit_status && i < sizeof others / sizeof others[0]; i++)
        if (others[i])
            exit_status = check_input_place(a, others[i], what[i]);
    for (size_t i = 0; !exit_status && i < a->fit.n_gram_words; i++) {
        const char *equals = a->n_tasks ? strchr(a->fit.gram_words[i], '=') : NULL;
        exit_status = check_input_place(a, equals ? equals + 1 : a->fit.gram_words[i], "a gram");
    }
    return exit_status;
}

int check_fit_places(const arguments *a)
{
    arguments second = *a;
    second.output = a->fit.aligned;
    int exit_status = check_output_place(a);
    if (!exit_status && a->fit.aligned)
        exit_status = check_output_place(&second);
    if (!exit_status && a->fit.aligned && a->output)
        exit_status = check_input_place(&second, a->output, "the permutation");
    if (!exit_status && a->fit.aligned && a->output && strcmp(a->fit.aligned, a->output) == 0)
        exit_status = complain(EXIT_USAGE, "%s: -o and --aligned are the same", a->output);
    return exit_status;
}

void close_fit(fit_job *j, const arguments *a)
{
    emr_model_destroy(&j->configured);
    emr_model_destroy(&j->merged);
    emr_model_destroy(&j->aligned);
    emr_permutation_destroy(&j->permutation);
    for (size_t i = 0; j->grams && i < j->n_grams; i++)
        emr_gram_destroy(&j->grams[i]);
    emr_permutation_spec_destroy(&j->spec);
    for (size_t i = 0; a->n_files && j->models && i < a->n_files; i++)
        emr_model_destroy(&j->models[i]);
    if (a->n_files)
        free(j->models);
    else
        close_merge_models(&j->inputs, a);
    free(j->grams);
    free(j->layers);
}
