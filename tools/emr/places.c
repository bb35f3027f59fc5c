/* places.c - nothing is written over what is read: an output that is an input, by whatever path or link, is
 * refused before anything is opened for writing. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Something that the output would replace, and is there. */
typedef struct target {
    char *path;
    struct stat about;
} target;

typedef struct targets {
    target *all;
    size_t n, capacity;
    bool failed; /* no memory */
} targets;

static bool same_place(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Takes `path` over. */
static void append_target(targets *t, char *path, const struct stat *about)
{
    if (path && t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 16;
        target *all = realloc(t->all, capacity * sizeof *all);
        if (all) {
            t->all = all;
            t->capacity = capacity;
        }
    }
    if (path && t->n < t->capacity) {
        t->all[t->n++] = (target){path, *about};
        return;
    }
    t->failed = true;
    free(path);
}

/* The same, if it is there. */
static void add_target(targets *t, char *path)
{
    struct stat about;
    if (path && stat(path, &about) != 0)
        free(path);
    else
        append_target(t, path, &about);
}

/* A shell may have led it into a file. */
static void add_standard_output(targets *t)
{
    struct stat about;
    if (fstat(STDOUT_FILENO, &about) == 0 && S_ISREG(about.st_mode))
        append_target(t, strdup("standard output"), &about);
}

static bool is_called_gguf(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot, ".gguf") == 0;
}

/* What a checkpoint of that name would replace or remove in a folder: itself, its shards, their index, and an
 * adapter's configuration; `n` bytes of the name are its stem. */
static void add_checkpoint_targets(targets *t, const char *place, const char *stem, size_t n)
{
    folder f;
    bool is_adapter = n == strlen("adapter_model") && strncmp(stem, "adapter_model", n) == 0;
    read_folder(&f, *place ? place : ".");
    for (size_t i = 0; i < f.n; i++) {
        const char *name = f.names[i];
        bool is_alike = model_stem(name) == n && strncmp(name, stem, n) == 0 &&
                        is_called_gguf(name) == is_called_gguf(stem);
        if (is_alike || (is_adapter && strcmp(name, EMR_ADAPTER_CONFIG) == 0))
            add_target(t, join_path(place, name));
    }
    free_folder(&f);
}

/* What a model in a folder would replace or remove there: whatever loaders take for its weights. */
static void add_folder_targets(targets *t, const char *place)
{
    folder f;
    read_folder(&f, place);
    for (size_t i = 0; i < f.n; i++)
        if (has_usual_name(f.names[i]) || strcmp(f.names[i], EMR_ADAPTER_CONFIG) == 0)
            add_target(t, join_path(place, f.names[i]));
    free_folder(&f);
}

static void add_suffixed(targets *t, const char *path, const char *suffix)
{
    char *whole = malloc(strlen(path) + strlen(suffix) + 1);
    add_target(t, whole ? strcat(strcpy(whole, path), suffix) : NULL);
}

static void find_targets(targets *t, const arguments *a)
{
    if (to_standard_output(a)) {
        add_standard_output(t);
        return;
    }
    add_target(t, strdup(a->output));
    if (a->resume) {
        add_suffixed(t, a->output, ".partial");
        add_suffixed(t, a->output, ".journal.partial");
    }
    if (strcmp(a->command, "apply") != 0 && strcmp(a->command, "export") != 0 &&
        strcmp(a->command, "combine") != 0 && !is_fit(a))
        return;
    if (is_folder(a->output)) {
        add_folder_targets(t, a->output);
    } else {
        const char *name = path_name(a->output);
        char *place = path_folder(a->output);
        if (place && checkpoint_stem(name))
            add_checkpoint_targets(t, place, name, model_stem(name));
        t->failed = t->failed || !place;
        free(place);
    }
}

/* An input, and what messages call it. */
typedef struct input {
    const char *path, *what;
    const targets *targets;
} input;

/* The error line, if `path`, which is of the input, is a target. */
static int compare_path(const input *in, const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0)
        return EXIT_DONE;
    for (size_t i = 0; i < in->targets->n; i++)
        if (same_place(&about, &in->targets->all[i].about))
            return complain(EXIT_USAGE, "%s: the output is %s (%s): what is read is never written over",
                            in->targets->all[i].path, in->what, in->path);
    return EXIT_DONE;
}

/* A folder, the checkpoint in it, and those in so many levels of folders below. Beside a file with the usual
 * name of a checkpoint, others are none of it. */
static int compare_folder(const input *in, const char *path, int levels)
{
    folder f;
    bool has_usual = false;
    int status = compare_path(in, path);
    read_folder(&f, path);
    for (size_t i = 0; i < f.n; i++)
        has_usual = has_usual || has_usual_name(f.names[i]);
    for (size_t i = 0; !status && i < f.n; i++) {
        const char *name = f.names[i];
        bool is_model = has_usual ? has_usual_name(name) : checkpoint_stem(name) != 0;
        char *entry = join_path(path, name);
        if (entry && (is_model || strcmp(name, EMR_ADAPTER_CONFIG) == 0))
            status = compare_path(in, entry);
        else if (entry && levels > 0 && is_folder(entry))
            status = compare_folder(in, entry, levels - 1);
        free(entry);
    }
    free_folder(&f);
    return status;
}

/* The shards that an index names; an index that is none is the library's to refuse. */
static int compare_shards(const input *in, const char *index)
{
    json_t *root = json_load_file(index, 0, NULL), *map = json_object_get(root, "weight_map"), *shard;
    const char *tensor;
    char *place = path_folder(index);
    int status = place ? compare_path(in, *place ? place : ".") : EXIT_DONE;
    json_object_foreach(map, tensor, shard)
    {
        char *path =
            !status && place && json_is_string(shard) ? join_path(place, json_string_value(shard)) : NULL;
        if (path)
            status = compare_path(in, path);
        free(path);
    }
    free(place);
    json_decref(root);
    return status;
}

static int compare_input(const targets *t, const char *path, const char *what)
{
    const input in = {path, what, t};
    if (is_folder(path))
        return compare_folder(&in, path, is_collection(path) ? 2 : 0);
    int status = compare_path(&in, path);
    size_t stem = checkpoint_stem(path);
    if (!status && stem && strcmp(path + stem, ".safetensors.index.json") == 0)
        status = compare_shards(&in, path);
    return status;
}

static int compare_inputs(const arguments *a, const targets *t)
{
    int status = EXIT_DONE;
    char what[400];
    /* `drop` may replace its bundle, as its help says: the new one is whole before the old one goes */
    bool may_replace = strcmp(a->command, "drop") == 0 && !to_standard_output(a);
    if (a->base && !base_is_made(a))
        status = compare_input(t, a->base, "the base");
    for (size_t i = 0; !status && i < a->n_tasks; i++) {
        snprintf(what, sizeof what, "the checkpoint of task '%.300s'", a->tasks[i].name);
        if (a->tasks[i].path)
            status = compare_input(t, a->tasks[i].path, what);
    }
    for (size_t i = 0; !status && i < a->n_files && !may_replace; i++)
        status = compare_input(t, a->files[i],
                               is_fit(a)                         ? "a model"
                               : strcmp(a->command, "join") == 0 ? "a part"
                                                                 : "the bundle");
    return status;
}

/* All inputs of the command line, or where `path` is given that one. */
static int compare_places(const arguments *a, const char *path, const char *what)
{
    targets t = {0};
    if (!a->output)
        return EXIT_DONE;
    find_targets(&t, a);
    int status = EXIT_DONE;
    if (t.failed)
        status = complain(EXIT_SYSTEM, "out of memory");
    else if (t.n)
        status = path ? compare_input(&t, path, what) : compare_inputs(a, &t);
    for (size_t i = 0; i < t.n; i++)
        free(t.all[i].path);
    free(t.all);
    return status;
}

int check_places(const arguments *a)
{
    return compare_places(a, NULL, NULL);
}

int check_input_place(const arguments *a, const char *path, const char *what)
{
    return compare_places(a, path, what);
}
