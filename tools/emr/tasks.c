/* tasks.c - which tasks the command line names: --task, and --tasks with a folder, a pattern or a list. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"
#include "folder.h"
#include "remote.h"

#include <stdlib.h>
#include <string.h>

enum { TASKS_MAX = 65536 };

static int lack_memory(void)
{
    return complain(EXIT_SYSTEM, "out of memory");
}

/* Takes both strings over. */
static int append_task(arguments *a, char *name, char *path, bool derived)
{
    int status = EXIT_DONE;
    if (!name || (!path && derived)) {
        status = lack_memory();
    } else if (a->n_tasks == TASKS_MAX) {
        status = complain(EXIT_USAGE, "more than %d tasks", TASKS_MAX);
    } else if (a->n_tasks == a->tasks_capacity) {
        size_t capacity = a->tasks_capacity ? 2 * a->tasks_capacity : 64;
        task_argument *tasks = realloc(a->tasks, capacity * sizeof *tasks);
        if (!tasks) {
            status = lack_memory();
        } else {
            a->tasks = tasks;
            a->tasks_capacity = capacity;
        }
    }
    if (!status) {
        a->tasks[a->n_tasks++] = (task_argument){.name = name, .path = path, .derived = derived};
        return EXIT_DONE;
    }
    free(name);
    free(path);
    return status;
}

/* A checkpoint that gives its task the name; takes `path` over. `where` begins the error line. */
static int append_path(arguments *a, const char *where, char *path)
{
    char *name = path ? name_after_path(path) : NULL;
    int status = EXIT_DONE;
    if (!name)
        status = lack_memory();
    else if (!*name || strchr(name, '='))
        status = complain(EXIT_USAGE, "%s: '%.*s' gives a task no name: NAME=CHECKPOINT does", where,
                          shown_length(path), path);
    if (!status)
        return append_task(a, name, path, true);
    free(name);
    free(path);
    return status;
}

/* CHECKPOINT:WEIGHT, where no file has that name: cuts the weight off. */
static bool split_weight(char *path, double *weight)
{
    char *colon = strrchr(path, ':');
    bool is_whole = path_exists(path) &&
                    !is_address(path); /* of an address, what follows the last ':' is a weight or a port */
    if (!colon || is_whole || !parse_number(colon + 1, colon + strlen(colon), weight))
        return false;
    *colon = '\0';
    return true;
}

/* Whether all that is wrong with a path is a weight behind it that is no number: the bytes of the path before it. */
static size_t before_wrong_weight(const char *path)
{
    char *colon = strrchr(path, ':'), *before = colon ? strndup(path, (size_t)(colon - path)) : NULL;
    size_t n = before && *before && !path_exists(path) && path_exists(before) ? (size_t)(colon - path) : 0;
    free(before);
    return n;
}

/* Of the task that was appended last, if it was. */
static int keep_weight(arguments *a, int status, bool has_weight, double weight)
{
    if (!status && has_weight) {
        a->tasks[a->n_tasks - 1].has_weight = true;
        a->tasks[a->n_tasks - 1].weight = weight;
    }
    return status;
}

/* NAME=CHECKPOINT or CHECKPOINT; relative ones lie in `place`. The first '=' ends the name, whatever files
 * are there: what a command means does not depend on that. */
static int append_word(arguments *a, const char *where, const char *word, const char *place)
{
    const char *equals = strchr(word, '=');
    char *path = join_path(place, equals ? equals + 1 : word);
    double weight = 0;
    if (!path)
        return lack_memory();
    bool may_have_weight = strcmp(a->command, "combine") == 0 || strcmp(a->command, "search") == 0 ||
                           strcmp(a->command, "fit regmean") == 0;
    bool has_weight = may_have_weight && split_weight(path, &weight);
    int status = EXIT_DONE;
    if (equals == word)
        status = complain(EXIT_USAGE, "%s: '%s' has no name", where, word);
    else if (equals && !equals[1])
        status = complain(EXIT_USAGE, "%s: '%s' has no checkpoint", where, word);
    else if (equals && !path_exists(path) && path_exists(word))
        status = complain(EXIT_USAGE,
                          "%s: '%.*s' is read as NAME=CHECKPOINT: a checkpoint with '=' in its path "
                          "needs NAME= before it",
                          where, shown_length(word), word);
    else if (may_have_weight && !has_weight && before_wrong_weight(path))
        status = complain(
            EXIT_USAGE, "%s: '%s': '%s' is no weight: behind '%.*s:' stands a finite number, such as 0.5",
            where, word, path + before_wrong_weight(path) + 1, (int)before_wrong_weight(path), path);
    else if (!equals && !path_exists(path))
        status = complain(EXIT_USAGE,
                          "%s: '%s' is no checkpoint that is there, nor NAME=CHECKPOINT (a "
                          "checkpoint alone gives its task the name of its file or folder)",
                          where, path);
    else if (equals)
        return keep_weight(a, append_task(a, strndup(word, (size_t)(equals - word)), path, false), has_weight,
                           weight);
    else
        return keep_weight(a, append_path(a, where, path), has_weight, weight);
    free(path);
    return status;
}

typedef struct list {
    arguments *a;
    const char *path;
    char *folder;
} list;

static int append_line(void *user, char *line, unsigned number)
{
    const list *l = user;
    char where[300];
    snprintf(where, sizeof where, "--tasks: %.250s, line %u", l->path, number);
    return append_word(l->a, where, line, l->folder);
}

static int append_list(arguments *a, const char *path)
{
    list l = {a, path, path_folder(path)};
    size_t before = a->n_tasks;
    int status = l.folder ? each_line("--tasks", path, append_line, &l) : lack_memory();
    free(l.folder);
    return status || a->n_tasks > before ? status
                                         : complain(EXIT_USAGE, "--tasks: %s names no checkpoint", path);
}

static int append_words(arguments *a, const task_word *word)
{
    if (!word->many)
        return append_word(a, "--task", word->text, "");
    if (word->text[0] == '@')
        return append_list(a, word->text + 1);
    return each_checkpoint(a, word->text, append_path);
}

/* apply and drop: the names of tasks in a bundle. */
static int append_name(arguments *a, const char *word)
{
    if (!*word)
        return complain(EXIT_USAGE, "--task: '' has no name");
    if (strchr(word, '='))
        return complain(EXIT_USAGE, "--task: '%s': here the name of one of the bundle's tasks is expected",
                        word);
    return append_task(a, strdup(word), NULL, false);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(task_argument *const *)a)->name, (*(task_argument *const *)b)->name);
}

static int shown_of_two(const char *path)
{
    int n = shown_length(path);
    return n < 300 ? n : 300;
}

/* Two of one name, where a checkpoint gave it; other twins are found by the library. */
static int check_twins(const arguments *a)
{
    const task_argument **sorted = calloc(a->n_tasks + 1, sizeof *sorted);
    int status = sorted ? EXIT_DONE : lack_memory();
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        sorted[i] = &a->tasks[i];
    if (!status)
        qsort(sorted, a->n_tasks, sizeof *sorted, by_name);
    for (size_t i = 1; !status && i < a->n_tasks; i++) {
        const task_argument *t = sorted[i - 1], *u = sorted[i];
        if (strcmp(t->name, u->name) == 0 && (t->derived || u->derived))
            status = complain(
                EXIT_USAGE, "--task: %.*s and %.*s would both be task '%.255s': name one by NAME=CHECKPOINT",
                shown_of_two((t < u ? t : u)->path), (t < u ? t : u)->path,
                shown_of_two((t < u ? u : t)->path), (t < u ? u : t)->path, t->name);
    }
    free(sorted);
    return status;
}

int take_tasks(arguments *a)
{
    int status = EXIT_DONE;
    bool merges = strcmp(a->command, "apply") != 0 && strcmp(a->command, "drop") != 0;
    for (size_t i = 0; !status && i < a->n_task_words; i++)
        status = merges ? append_words(a, &a->task_words[i]) : append_name(a, a->task_words[i].text);
    return status || !merges ? status : check_twins(a);
}

void free_tasks(arguments *a)
{
    for (size_t i = 0; i < a->n_tasks; i++) {
        free(a->tasks[i].name);
        free(a->tasks[i].path);
    }
    free(a->tasks);
    free(a->task_words);
}
