/* checkpoint_names.c - what names tell of checkpoints: which files are some, which are shards of one model,
 * what a task is called after its checkpoint. */
#define _XOPEN_SOURCE 700 /* realpath */

#include "folder.h"
#include "remote.h"

#include <stdlib.h>
#include <string.h>

static bool has_ending(const char *text, size_t n, const char *ending)
{
    size_t k = strlen(ending);
    return n >= k && memcmp(text + n - k, ending, k) == 0;
}

size_t checkpoint_stem(const char *name)
{
    static const char *const endings[] = {".safetensors.index.json", ".safetensors", ".gguf"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (has_ending(name, n, endings[i]))
            return n - strlen(endings[i]);
    return 0;
}

/* The length of `name` up to "-00001-of-00002" at the end of its first `stem` bytes; 0: no such end. */
static size_t shard_stem(const char *name, size_t stem)
{
    static const char form[] = "-00000-of-00000"; /* 0: any digit */
    const size_t n = sizeof form - 1;
    if (stem <= n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        char c = name[stem - n + i];
        if (form[i] == '0' ? c < '0' || c > '9' : c != form[i])
            return 0;
    }
    return stem - n;
}

bool is_shard(const char *name)
{
    return shard_stem(name, checkpoint_stem(name)) != 0;
}

size_t model_stem(const char *name)
{
    size_t stem = checkpoint_stem(name), shard = shard_stem(name, stem);
    return shard ? shard : stem;
}

static bool is_one_of(const char *name, const char *const *words)
{
    while (*words && strcmp(name, *words) != 0)
        words++;
    return *words != NULL;
}

/* A pipeline's, whose models lie in folders of it (diffusers, sentence-transformers); the hub's cache. */
static const char *const of_collections[] = {"model_index.json", "modules.json", "snapshots", NULL};

bool is_collection(const char *path)
{
    folder f;
    bool found = false;
    read_folder(&f, path);
    for (size_t i = 0; i < f.n && !found; i++)
        found = is_one_of(f.names[i], of_collections);
    free_folder(&f);
    return found;
}

bool is_checkpoint_folder(const char *path)
{
    /* refused with the way to convert them, which is better than passed over */
    static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                          "adapter_model.bin", NULL};
    folder f;
    bool found = is_collection(path);
    read_folder(&f, path);
    for (size_t i = 0; i < f.n && !found; i++)
        found = (f.names[i][0] != '.' && checkpoint_stem(f.names[i])) || is_one_of(f.names[i], pickles);
    free_folder(&f);
    return found;
}

bool has_usual_name(const char *name)
{
    static const char *const usual[] = {"model",         "adapter_model", "diffusion_pytorch_model",
                                        "pytorch_model", "consolidated",  "pytorch_lora_weights"};
    size_t n = model_stem(name);
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        if (strlen(usual[i]) == n && memcmp(usual[i], name, n) == 0)
            return true;
    return false;
}

/* Cuts a path to the folder that it lies in; false where it says no more. */
static bool cut_to_folder(char *path)
{
    char *name = path + (path_name(path) - path);
    size_t n = (size_t)(name - path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    path[n] = '\0';
    return n > 0;
}

/* models--org--chat, as the hub's cache calls the folder of org/chat: "chat". NULL: not called so. */
static const char *cached_name(const char *name)
{
    const char *last = NULL;
    if (strncmp(name, "models--", 8) != 0)
        return NULL;
    for (const char *p = name + 6; *p; p++)
        if (p[0] == '-' && p[1] == '-' && p[2] && p[2] != '-')
            last = p + 2;
    return last;
}

/* The name of a folder; in the hub's cache (models--org--chat/snapshots/HASH) the model's. */
static char *name_after_folder(char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    const char *name = path_name(path), *cached = cached_name(name);
    char *copy = strdup(cached ? cached : *name == '/' ? "" : name);
    if (!cached && copy && cut_to_folder(path) && strcmp(path_name(path), "snapshots") == 0 &&
        cut_to_folder(path) && (cached = cached_name(path_name(path)))) {
        free(copy);
        copy = strdup(cached);
    }
    return copy;
}

/* "." and ".." and nothing at all say as little of a folder as "model" of a file. */
static bool names_nothing(const char *path)
{
    const char *name = path_name(path);
    size_t n = strcspn(name, "/");
    return n == 0 || (n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.');
}

/* An address that ends in '/' is a folder's. */
static bool is_address_of_folder(const char *path)
{
    size_t n = strlen(path);
    return is_address(path) && path[n - 1] == '/';
}

static char *name_after_shown(const char *path)
{
    const char *name = path_name(path);
    size_t n = checkpoint_stem(name) ? model_stem(name) : strlen(name);
    bool is_all = is_folder(path) || is_address_of_folder(path);
    if (!is_all && !has_usual_name(name))
        return strndup(name, n);
    char *copy = is_all ? strdup(path) : path_folder(path);
    for (size_t k = copy ? strlen(copy) : 0; k && is_address_of_folder(copy);)
        copy[--k] = '\0';
    if (copy && names_nothing(copy)) {
        char *whole = realpath(*copy ? copy : ".", NULL);
        if (whole) {
            free(copy);
            copy = whole;
        }
    }
    char *result = copy ? name_after_folder(copy) : NULL;
    free(copy);
    return result;
}

char *name_after_path(const char *path)
{
    char *shown = strndup(path, (size_t)shown_length(path)), *name = shown ? name_after_shown(shown) : NULL;
    free(shown);
    return name;
}
