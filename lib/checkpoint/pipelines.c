/* pipelines.c - see pipelines.h. */
#include "checkpoint/pipelines.h"

#include "checkpoint/bytes.h"
#include "checkpoint/sort.h"
#include "checkpoint/weights_name.h"
#include "io/source.h"

#include <string.h>

enum { PIPELINE_MAX = 1 << 20, REF_MAX = 200 };

/* Names in a directory that are kept. */
typedef struct name_list {
    const emr_allocator *allocator;
    const char *beginning; /* of all that are kept */
    char **names;
    size_t n, capacity;
    bool no_memory;
} name_list;

static void keep_name(void *user, const char *name)
{
    name_list *l = user;
    if (*name == '.' || strncmp(name, l->beginning, strlen(l->beginning)) != 0 || l->no_memory)
        return;
    char *copy = emr_copy_string(l->allocator, name);
    l->no_memory =
        !copy || !emr_grow(l->allocator, (void **)&l->names, &l->capacity, l->n + 1, sizeof *l->names);
    if (l->no_memory)
        emr_release(l->allocator, copy);
    else
        l->names[l->n++] = copy;
}

static void free_names(name_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        emr_release(l->allocator, l->names[i]);
    emr_release(l->allocator, l->names);
}

static size_t count_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* "checkpoint-500" comes before "checkpoint-1000". */
static int by_text(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t n = 0;
    while (x[n] && x[n] == y[n])
        n++;
    while (n && count_digits(x + n - 1)) /* numbers are compared whole */
        n--;
    size_t k = count_digits(x + n), m = count_digits(y + n);
    return k && m && k != m ? (k < m ? -1 : 1) : strcmp(x, y);
}

/* Keeps those of the names that are folders in that directory. */
static void keep_folders(name_list *l, const emr_source *source, const char *path)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        char *joined = emr_join_path(l->allocator, path, l->names[i]);
        bool is_folder = joined && emr_source_kind_of(source, joined) == EMR_PATH_DIRECTORY;
        l->no_memory = l->no_memory || !joined;
        emr_release(l->allocator, joined);
        if (is_folder)
            l->names[n++] = l->names[i];
        else
            emr_release(l->allocator, l->names[i]);
    }
    l->n = n;
    emr_sort(l->names, n, sizeof *l->names, by_text);
}

/* The folders in a directory, in order; none where it cannot be read. */
static emr_status list_folders(name_list *l, const emr_source *source, const char *path,
                               const char *beginning, const emr_allocator *a, emr_error *error)
{
    *l = (name_list){.allocator = a, .beginning = beginning};
    (void)emr_source_list(source, path, keep_name, l, NULL);
    keep_folders(l, source, path);
    return l->no_memory ? emr_no_memory(error, path) : EMR_OK;
}

static void note_weights(void *user, const char *name)
{
    bool *found = user;
    *found = *found || emr_weights_name_read(name).form != EMR_WEIGHTS_NONE;
}

/* Whether "NAME", quotation marks included, stands in the text. */
static bool is_quoted(const char *text, size_t n, const char *name)
{
    size_t k = strlen(name);
    for (size_t i = 0; i + k + 2 <= n; i++)
        if (text[i] == '"' && text[i + 1 + k] == '"' && memcmp(text + i + 1, name, k) == 0)
            return true;
    return false;
}

emr_status emr_folders_find(emr_word_list *list, const emr_source *source, const char *path,
                            const char *pipeline, const emr_allocator *a, emr_error *error)
{
    name_list folders;
    emr_text text = {.bytes = NULL};
    char *joined = pipeline ? emr_join_path(a, path, pipeline) : NULL;
    emr_error ignored; /* what cannot be read names no folder */
    if (pipeline && !joined)
        return emr_no_memory(error, path);
    if (joined && emr_read_text(&text, source, a, joined, PIPELINE_MAX, &ignored) == EMR_ENOMEM) {
        emr_release(a, joined);
        return emr_no_memory(error, path);
    }
    emr_release(a, joined);
    emr_status status = list_folders(&folders, source, path, "", a, error);
    for (size_t i = 0; !status && i < folders.n; i++) {
        bool found = false;
        if (pipeline && !is_quoted(text.bytes, text.n, folders.names[i]))
            continue;
        joined = emr_join_path(a, path, folders.names[i]);
        status = joined ? EMR_OK : emr_no_memory(error, path);
        if (joined)
            (void)emr_source_list(source, joined, note_weights, &found, NULL);
        if (found)
            emr_word_list_add(list, folders.names[i]);
        emr_release(a, joined);
    }
    free_names(&folders);
    emr_release(a, text.bytes);
    return status;
}

/* A look into a cache. */
typedef struct cache_search {
    const emr_allocator *allocator;
    const char *path;
    bool no_memory;
} cache_search;

static char *cache_path(cache_search *c, const char *directory, const char *name)
{
    char *joined = emr_join_path(c->allocator, directory, name);
    c->no_memory = c->no_memory || !joined;
    return joined;
}

static bool has_folder(cache_search *c, const char *directory, const char *name)
{
    char *joined = cache_path(c, directory, name);
    bool is_folder = joined && emr_system_kind(joined, NULL) == EMR_PATH_DIRECTORY;
    emr_release(c->allocator, joined);
    return is_folder;
}

/* The only folder of that beginning in a directory; NULL where there is none. Several are told: they are
 * `what`. */
static emr_status only_folder(char **next, cache_search *c, const char *directory, const char *beginning,
                              const char *what, emr_error *error)
{
    name_list folders;
    emr_word_list words = {.n = 0};
    emr_status status = list_folders(&folders, NULL, directory, beginning, c->allocator, error);
    for (size_t i = 0; i < folders.n; i++)
        emr_word_list_add(&words, folders.names[i]);
    if (!status && folders.n > 1)
        status = emr_fail(error, EMR_EFORMAT, "%F: %s: give the path of one: %s", directory, what,
                          emr_word_list_end(&words));
    if (!status && folders.n == 1)
        *next = cache_path(c, directory, folders.names[0]);
    free_names(&folders);
    return status;
}

/* The snapshot that refs/main names; NULL where it is not there. */
static char *main_snapshot(cache_search *c, const char *snapshots)
{
    emr_text text = {.bytes = NULL};
    char *name = NULL, *ref = cache_path(c, c->path, "refs/main"), *found = NULL;
    emr_error ignored;
    if (ref && emr_read_text(&text, NULL, c->allocator, ref, REF_MAX, &ignored) == EMR_ENOMEM)
        c->no_memory = true;
    const char *bytes = text.bytes;
    size_t n = bytes ? text.n : 0;
    while (n && (bytes[n - 1] == '\n' || bytes[n - 1] == '\r' || bytes[n - 1] == ' '))
        n--;
    if (n && *bytes != '.' && !memchr(bytes, '/', n) && !memchr(bytes, 0, n)) {
        name = emr_join_strings(c->allocator, bytes, n, "");
        c->no_memory = c->no_memory || !name;
    }
    if (name && has_folder(c, snapshots, name))
        found = cache_path(c, snapshots, name);
    emr_release(c->allocator, name);
    emr_release(c->allocator, text.bytes);
    emr_release(c->allocator, ref);
    return found;
}

static emr_status find_snapshot(char **next, cache_search *c, emr_error *error)
{
    char *snapshots = cache_path(c, c->path, "snapshots");
    *next = snapshots ? main_snapshot(c, snapshots) : NULL;
    emr_status status = EMR_OK;
    if (snapshots && !*next)
        status = only_folder(next, c, snapshots, "", "several snapshots of a model", error);
    if (!status && !*next)
        status = emr_fail(error, EMR_EFORMAT,
                          "%F: a model in the hub's cache, but no snapshot of it (an unfinished download?)",
                          c->path);
    emr_release(c->allocator, snapshots);
    return status;
}

/* Whether the last part of a path is "blobs". */
static bool is_blobs(const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    return n >= 5 && memcmp(path + n - 5, "blobs", 5) == 0 && (n == 5 || path[n - 6] == '/');
}

emr_status emr_cache_follow(char **next, const char *path, const emr_allocator *a, emr_error *error)
{
    cache_search c = {.allocator = a, .path = path};
    emr_status status = EMR_OK;
    *next = NULL;
    if (has_folder(&c, path, "snapshots") && (has_folder(&c, path, "refs") || has_folder(&c, path, "blobs")))
        status = find_snapshot(next, &c, error);
    else if (has_folder(&c, path, "../blobs") && has_folder(&c, path, "../snapshots") && is_blobs(path))
        status = emr_fail(
            error, EMR_EFORMAT,
            "%F: in the hub's cache, files have names in 'snapshots' alone: give the folder above this",
            path);
    else
        status = only_folder(next, &c, path, "models--", "a cache of several models", error);
    if (c.no_memory) /* whatever came of it */
        status = emr_no_memory(error, path);
    if (status) {
        emr_release(a, *next);
        *next = NULL;
    }
    return status;
}
