/* recipe_models.c - the recipe's file, and the models that it names. */
#define _POSIX_C_SOURCE 200809L

#include "folder.h"
#include "recipe_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The whole file; its length is in *n. */
static int read_file(const char *path, char **text, size_t *n)
{
    FILE *file = fopen(path, "rb");
    *text = file ? malloc(RECIPE_BYTES_MAX + 2) : NULL;
    *n = *text ? fread(*text, 1, RECIPE_BYTES_MAX + 1, file) : 0;
    bool is_whole = *text && !ferror(file);
    int why = errno;
    if (file)
        fclose(file);
    return is_whole ? EXIT_DONE
                    : complain(EXIT_SYSTEM, "--config: %s cannot be read: %s", path, strerror(why));
}

static int check_recipe_places(const recipe *r, const arguments *a)
{
    int exit_status = check_input_place(a, a->config, "the recipe");
    for (size_t i = 0; !exit_status && i < r->n_models; i++) {
        char what[400];
        snprintf(what, sizeof what, "a model of the recipe, in line %u", r->models[i].line);
        exit_status = check_input_place(a, r->models[i].path, what);
        if (!exit_status && r->models[i].adapter)
            exit_status = check_input_place(a, r->models[i].adapter, what);
    }
    return exit_status;
}

int read_recipe_file(recipe_job *w, const arguments *a)
{
    emr_error error = {.text = ""};
    size_t n;
    int exit_status = read_file(a->config, &w->text, &n);
    if (exit_status)
        return exit_status;
    emr_status status = recipe_read(&w->recipe, w->text, n, a->config, &error);
    if (!status)
        status = recipe_check(&w->recipe, &error);
    if (status)
        return complain_status(status, &error);
    for (size_t i = 0; !a->quiet && i < w->recipe.n_notes; i++)
        complain(0, "note: %s: line %u: %s", a->config, w->recipe.notes[i].line, w->recipe.notes[i].text);
    return check_recipe_places(&w->recipe, a);
}

/* What a hub's name would stand for is not fetched. */
static emr_status check_path(const recipe *r, const recipe_model *m, const char *path, emr_error *error)
{
    return path_exists(path)
               ? EMR_OK
               : emr_error_format(
                     error, EMR_EIO,
                     "%F: line %u: model '%s' is no file or folder here, and nothing is downloaded: give "
                     "the folder that it was downloaded to",
                     r->name, (uint64_t)m->line, path);
}

static emr_status open_input(recipe_input *in, const recipe *r, const recipe_model *m, const arguments *a,
                             const emr_resources *resources, emr_error *error)
{
    emr_status status = check_path(r, m, m->path, error);
    if (!status)
        status = open_task(&in->file, m->path, a, error);
    in->model = in->file;
    if (status || !m->adapter)
        return status;
    status = check_path(r, m, m->adapter, error);
    if (!status)
        status = open_checkpoint(&in->adapter, m->adapter, a, error);
    if (!status)
        status = emr_adapter_apply(&in->applied, in->file, in->adapter, resources, error);
    in->model = in->applied;
    return status;
}

/* MODEL or MODEL+ADAPTER, of which the last bytes. */
static char *whole_name(const recipe_model *m)
{
    enum { NAME_MAX_BYTES = 255 };
    size_t size = strlen(m->path) + (m->adapter ? strlen(m->adapter) : 0) + 2;
    char *text = malloc(size);
    if (!text)
        return NULL;
    snprintf(text, size, "%s%s%s", m->path, m->adapter ? "+" : "", m->adapter ? m->adapter : "");
    size_t n = strlen(text);
    char *tail = strdup(n > NAME_MAX_BYTES ? text + n - NAME_MAX_BYTES : text);
    free(text);
    return tail;
}

static bool is_name_taken(const recipe_job *w, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (w->inputs[i].name && strcmp(w->inputs[i].name, name) == 0)
            return true;
    return false;
}

/* The name of its file or folder, as with --task; where that is another's already, as the recipe has it. */
static emr_status name_input(recipe_job *w, size_t i)
{
    const recipe_model *m = &w->recipe.models[i];
    char *name = name_after_path(m->adapter ? m->adapter : m->path);
    if (name && (!*name || strlen(name) > 255 || is_name_taken(w, i, name))) {
        free(name);
        name = whole_name(m);
    }
    w->inputs[i].name = name;
    return name ? EMR_OK : EMR_ENOMEM;
}

emr_status open_inputs(recipe_job *w, const arguments *a, const emr_resources *resources, emr_error *error)
{
    const recipe *r = &w->recipe;
    emr_status status = EMR_OK;
    w->inputs = calloc(r->n_models, sizeof *w->inputs);
    if (!w->inputs)
        return EMR_ENOMEM;
    for (size_t i = 0; !status && i < r->n_models; i++) {
        status = open_input(&w->inputs[i], r, &r->models[i], a, resources, error);
        if (!status)
            status = name_input(w, i);
    }
    return status;
}

void close_inputs(recipe_job *w)
{
    for (size_t i = 0; w->inputs && i < w->recipe.n_models; i++) {
        emr_model_destroy(&w->inputs[i].applied);
        emr_model_destroy(&w->inputs[i].adapter);
        emr_model_destroy(&w->inputs[i].file);
        free(w->inputs[i].name);
    }
    free(w->inputs);
}

const emr_model *donor_model(const recipe_job *w)
{
    const recipe *r = &w->recipe;
    size_t first = r->modules[0].slices[0].sources[0].model;
    return w->inputs[r->base != RECIPE_NO_MODEL ? r->base : first].model;
}
