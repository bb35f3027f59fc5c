/* folder.c - what lies in a folder, and paths. */
#define _POSIX_C_SOURCE 200809L

#include "folder.h"
#include "remote.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int add_name(folder *f, const char *name)
{
    if (f->n == f->capacity) {
        size_t capacity = f->capacity ? 2 * f->capacity : 64;
        char **names = realloc(f->names, capacity * sizeof *names);
        if (!names)
            return ENOMEM;
        f->names = names;
        f->capacity = capacity;
    }
    f->names[f->n] = strdup(name);
    return f->names[f->n] ? (f->n++, 0) : ENOMEM;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int read_folder(folder *f, const char *path)
{
    *f = (folder){0};
    DIR *d = opendir(path);
    int failed = d ? 0 : errno;
    while (!failed) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            failed = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            failed = add_name(f, entry->d_name);
    }
    if (d)
        closedir(d);
    if (f->n)
        qsort(f->names, f->n, sizeof *f->names, by_bytes);
    return failed;
}

void free_folder(folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->names[i]);
    free(f->names);
    *f = (folder){0};
}

char *join_path(const char *place, const char *name)
{
    size_t n = *name == '/' ? 0 : strlen(place);
    bool slash = n && place[n - 1] != '/';
    char *joined = malloc(n + slash + strlen(name) + 1);
    if (!joined)
        return NULL;
    memcpy(joined, place, n);
    if (slash)
        joined[n] = '/';
    strcpy(joined + n + slash, name);
    return joined;
}

const char *path_name(const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    while (n && path[n - 1] != '/')
        n--;
    return path + n;
}

char *path_folder(const char *path)
{
    return strndup(path, (size_t)(path_name(path) - path));
}

bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

bool path_exists(const char *path)
{
    struct stat about;
    return is_address(path) || stat(path, &about) == 0;
}

bool is_same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}
