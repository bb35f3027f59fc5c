/* harvest.c - the checkpoints in a folder, for --tasks: all, or those whose names match a pattern. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"
#include "folder.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

typedef struct harvest {
    arguments *a;
    const char *word; /* as given */
    const char *place;
    folder entries; /* those that match */
    size_t taken, passed, hidden;
    bool has_base;            /* among those passed over */
    char *names[NAMES_SHOWN]; /* of those passed over */
} harvest;

/* The base's file or folder, or the folder that its file lies in. */
static bool is_base_itself(const arguments *a, const char *path)
{
    if (!a->base || base_is_made(a))
        return false;
    char *around = is_folder(a->base) ? NULL : path_folder(a->base);
    bool same = is_same_file(path, a->base) || (around && is_same_file(path, *around ? around : "."));
    free(around);
    return same;
}

/* Whether the i-th entry, a shard, is spoken for by another one: its index, or the first shard. */
static bool is_further_shard(const folder *entries, size_t i)
{
    const char *name = entries->names[i];
    size_t stem = model_stem(name);
    const char *ending = name + checkpoint_stem(name);
    for (size_t k = 0; k < entries->n; k++) {
        const char *other = entries->names[k];
        size_t end = checkpoint_stem(other);
        if (model_stem(other) != stem || strncmp(name, other, stem) != 0)
            continue;
        if (k < i && is_shard(other) && strcmp(other + end, ending) == 0)
            return true;
        if (strcmp(other + end, ".safetensors.index.json") == 0 && strcmp(ending, ".safetensors") == 0)
            return true;
    }
    return false;
}

static void pass_over(harvest *h, const char *name)
{
    if (h->passed < NAMES_SHOWN)
        h->names[h->passed] = strdup(name);
    h->passed++;
}

static int harvest_entry(harvest *h, size_t i, path_fn take)
{
    const char *name = h->entries.names[i];
    char *path = join_path(h->place, name);
    if (!path)
        return complain(EXIT_SYSTEM, "out of memory");
    bool is_model = is_folder(path) ? is_checkpoint_folder(path) : checkpoint_stem(name) != 0;
    bool is_base = is_base_itself(h->a, path);
    h->has_base = h->has_base || is_base;
    if (is_model && !is_base) {
        if (!is_shard(name) || !is_further_shard(&h->entries, i)) {
            h->taken++;
            return take(h->a, "--tasks", path);
        }
    } else {
        pass_over(h, name);
    }
    free(path);
    return EXIT_DONE;
}

/* Leaves the entries that match. Hidden ones match a pattern that begins with '.', and never no pattern. */
static void choose_entries(harvest *h, const char *pattern)
{
    size_t n = 0;
    for (size_t i = 0; i < h->entries.n; i++) {
        char *name = h->entries.names[i];
        if (pattern ? fnmatch(pattern, name, FNM_PERIOD) == 0 : *name != '.') {
            h->entries.names[n++] = name;
        } else {
            h->hidden += !pattern;
            free(name);
        }
    }
    h->entries.n = n;
}

static void report_passed(const harvest *h)
{
    char names[NAMES_TEXT], hidden[64] = "";
    if (h->hidden)
        snprintf(hidden, sizeof hidden, "%s%zu hidden", h->passed ? " and " : "", h->hidden);
    if (!h->a->quiet && h->passed + h->hidden)
        complain(0, "note: --tasks '%.300s': passed over, being %sno checkpoint: %s%s", h->word,
                 h->has_base ? "the base or " : "",
                 names_text((const char *const *)h->names, h->passed, names), hidden);
}

static int harvest_folder(harvest *h, const char *pattern, path_fn take)
{
    int status = EXIT_DONE, why = read_folder(&h->entries, *h->place ? h->place : ".");
    if (why)
        return complain(EXIT_SYSTEM, "--tasks: '%s' cannot be read: %s", h->place, strerror(why));
    choose_entries(h, pattern);
    for (size_t i = 0; !status && i < h->entries.n; i++)
        status = harvest_entry(h, i, take);
    if (!status && !h->taken)
        status = complain(EXIT_USAGE,
                          "--tasks: no checkpoint %s '%s' (folders with checkpoints, *.safetensors, "
                          "*.gguf)",
                          pattern ? "matches" : "lies in", h->word);
    else if (!status)
        report_passed(h);
    for (size_t i = 0; i < NAMES_SHOWN; i++)
        free(h->names[i]);
    return status;
}

int each_checkpoint(arguments *a, const char *word, path_fn take)
{
    harvest h = {.a = a, .word = word, .place = word};
    const char *pattern = NULL;
    char *around = NULL;
    if (!is_folder(word)) {
        pattern = path_name(word);
        around = path_folder(word);
        h.place = around;
        if (!around)
            return complain(EXIT_SYSTEM, "out of memory");
    }
    int status;
    if (pattern && path_exists(word))
        status = complain(EXIT_USAGE,
                          "--tasks: '%s' is one file: that is for --task (a pattern must be quoted)", word);
    else if (pattern && *around && !is_folder(around))
        status = complain(
            EXIT_USAGE, "--tasks: '%s' is no folder (only the last part of a path may be a pattern)", around);
    else if (pattern && !strpbrk(pattern, "*?["))
        status = complain(EXIT_USAGE,
                          "--tasks: '%s' is not there (a folder, a quoted pattern for names in one, or "
                          "@FILE with a line a task is expected)",
                          word);
    else
        status = harvest_folder(&h, pattern, take);
    free_folder(&h.entries);
    free(around);
    return status;
}
