/* search_folder.c - the folder in which a search works: whether it may, the candidates in it, and how they come and go.
 * Nothing is deleted but what has a candidate's name. */
#define _XOPEN_SOURCE 700 /* realpath */

#include "folder.h"
#include "searching.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder ---- */

static bool is_inside(const char *place, const char *path)
{
    char *whole = realpath(place, NULL), *real = realpath(path, NULL);
    size_t n = whole ? strlen(whole) : 0;
    bool inside = whole && real && strncmp(real, whole, n) == 0 && (real[n] == '/' || real[n] == '\0');
    free(whole);
    free(real);
    return inside;
}

static int check_inputs_outside(const arguments *a)
{
    if (a->base && !base_is_made(a) && is_inside(a->output, a->base))
        return complain(EXIT_USAGE, "search: the base (%s) lies in %s, where candidates come and go", a->base,
                        a->output);
    for (size_t i = 0; i < a->n_tasks; i++)
        if (is_inside(a->output, a->tasks[i].path))
            return complain(
                EXIT_USAGE,
                "search: the checkpoint of task '%.255s' (%s) lies in %s, where candidates come and go",
                a->tasks[i].name, a->tasks[i].path, a->output);
    return EXIT_DONE;
}

static int check_is_search(const arguments *a)
{
    folder f;
    bool has_log = false;
    int failed = read_folder(&f, a->output);
    for (size_t i = 0; i < f.n; i++)
        has_log = has_log || strcmp(f.names[i], SEARCH_LOG_NAME) == 0;
    int exit_status = EXIT_DONE;
    if (failed)
        exit_status = complain(EXIT_SYSTEM, "%s: %s", a->output, strerror(failed));
    else if (f.n && !has_log)
        exit_status = complain(
            EXIT_USAGE, "%s: holds something else than a search: choose a new or an empty folder", a->output);
    free_folder(&f);
    return exit_status;
}

int take_search_folder(const arguments *a)
{
    if (mkdir(a->output, 0777) && errno != EEXIST)
        return complain(EXIT_SYSTEM, "%s: %s", a->output, strerror(errno));
    if (!is_folder(a->output))
        return complain(EXIT_USAGE, "%s: is no folder", a->output);
    int exit_status = check_is_search(a);
    return exit_status ? exit_status : check_inputs_outside(a);
}

/* ---- candidates ---- */

static char *join_texts(const char *a, const char *b, const char *c)
{
    char *text = malloc(strlen(a) + strlen(b) + strlen(c) + 1);
    return text ? strcat(strcat(strcpy(text, a), b), c) : NULL;
}

static char *path_with(const search_job *j, const char *name, const char *ending, const char *more)
{
    char *file = join_texts(name, ending, more), *path = file ? join_path(j->a->output, file) : NULL;
    free(file);
    return path;
}

char *candidate_path(const search_job *j, const char *name)
{
    return path_with(j, name, j->ending, "");
}

bool has_candidate(const search_job *j, const char *name)
{
    char *path = candidate_path(j, name);
    bool has = path && path_exists(path);
    free(path);
    return has;
}

/* Links are removed, not followed. */
static void delete_tree(const char *path, int levels)
{
    struct stat about;
    if (lstat(path, &about) || !S_ISDIR(about.st_mode)) {
        unlink(path);
        return;
    }
    folder f;
    read_folder(&f, path);
    for (size_t i = 0; levels && i < f.n; i++) {
        char *entry = join_path(path, f.names[i]);
        if (entry)
            delete_tree(entry, levels - 1);
        free(entry);
    }
    free_folder(&f);
    rmdir(path);
}

enum { LEVELS_MAX = 64 };

void delete_candidate(const search_job *j, const char *name)
{
    char *path = candidate_path(j, name);
    if (path)
        delete_tree(path, LEVELS_MAX);
    free(path);
}

void delete_partial(const search_job *j, const char *name)
{
    char *path = path_with(j, name, j->ending, ".partial");
    if (path)
        delete_tree(path, LEVELS_MAX);
    free(path);
}

/* A folder is written beside its place, for its files appear one after the other; a file's writer does that itself. */
static emr_status write_model_to(const search_job *j, const emr_model *model, const char *path,
                                 const char *beside, emr_error *error)
{
    emr_resources resources = j->inputs.session.resources;
    resources.memory_bytes /= 2;
    const emr_checkpoint_write_options options = {.size = sizeof options,
                                                  .resources = &resources,
                                                  .shard_bytes = j->a->shard_bytes,
                                                  .replace = 1,
                                                  .dtype = j->a->dtype};
    if (*j->ending)
        return emr_checkpoint_write(model, path, &options, error);
    emr_status status = emr_checkpoint_write(model, beside, &options, error);
    if (!status && rename(beside, path))
        status = emr_error_set(error, EMR_EIO, errno, path, strerror(errno));
    return status;
}

emr_status write_candidate(const search_job *j, emr_combination *combination, const char *name,
                           emr_error *error)
{
    emr_model *model = NULL;
    char *path = candidate_path(j, name), *beside = path_with(j, name, j->ending, ".partial/");
    emr_status status = path && beside ? EMR_OK : EMR_ENOMEM;
    delete_partial(j, name);
    if (!status)
        status = emr_combination_open_model(combination, &model, error);
    if (!status)
        status = write_model_to(j, model, path, beside, error);
    if (status)
        delete_partial(j, name);
    emr_model_destroy(&model);
    free(path);
    free(beside);
    return status;
}
