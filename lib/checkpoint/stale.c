/* stale.c - what is in the way in a folder that a checkpoint is written to: weights of an earlier model in another
 * form, which loaders might take for the new one's. See folder.h.
 *
 * Loaders look for weights by fixed names, in an order that differs between them and their versions: what has one
 * of these names must be part of what was written. Files of other names are somebody's, and stay. */
#include "checkpoint/folder.h"
#include "checkpoint/adapter.h"
#include "checkpoint/side_names.h"
#include "checkpoint/sort.h"
#include "system/system.h"

#include <string.h>

/* STEM ENDING, STEM-00001-of-00002 ENDING, and STEM ENDING.index.json: what transformers, diffusers, PEFT and
 * mistral's loaders look for, and we ourselves. */
static const struct {
    const char *stem, *ending;
} weight_names[] = {
    {"model", ".safetensors"},
    {"model", ".gguf"},
    {"adapter_model", ".safetensors"},
    {"adapter_model", ".bin"},
    {"pytorch_lora_weights", ".safetensors"},
    {"pytorch_lora_weights", ".bin"},
    {"diffusion_pytorch_model", ".safetensors"},
    {"diffusion_pytorch_model", ".bin"},
    {"consolidated", ".safetensors"},
    {"pytorch_model", ".bin"},
    {"tf_model", ".h5"},
    {"flax_model", ".msgpack"},
};

/* What transformers reads without being asked: where one of these is left of an earlier model, and the new one has
 * a file `beside` it, but not this one, the two would be mixed. */
static const struct {
    const char *name, *beside;
} companions[] = {
    {"generation_config.json", "config.json"},
    {"tokenizer.json", "tokenizer_config.json"},
    {"tokenizer.model", "tokenizer_config.json"},
    {"spiece.model", "tokenizer_config.json"},
    {"vocab.json", "tokenizer_config.json"},
    {"vocab.txt", "tokenizer_config.json"},
    {"merges.txt", "tokenizer_config.json"},
    {"added_tokens.json", "tokenizer_config.json"},
    {"special_tokens_map.json", "tokenizer_config.json"},
    {"chat_template.json", "tokenizer_config.json"},
    {"chat_template.jinja", "tokenizer_config.json"},
};

/* "-00001-of-00002", or nothing, then the ending, then ".index.json" or nothing. */
static bool ends_like_weights(const char *rest, const char *ending)
{
    static const char pattern[] = "-00000-of-00000";
    if (*rest == '-') {
        for (const char *p = pattern; *p; p++, rest++)
            if (*p == '0' ? *rest < '0' || *rest > '9' : *rest != *p)
                return false;
    }
    return emr_begins_with(rest, ending) &&
           (strcmp(rest + strlen(ending), "") == 0 || strcmp(rest + strlen(ending), ".index.json") == 0);
}

static bool is_weights_name(const char *name)
{
    for (size_t i = 0; i < sizeof weight_names / sizeof weight_names[0]; i++)
        if (emr_begins_with(name, weight_names[i].stem) &&
            ends_like_weights(name + strlen(weight_names[i].stem), weight_names[i].ending))
            return true;
    return strcmp(name, EMR_ADAPTER_CONFIG) == 0;
}

/* A look through the folder. */
typedef struct stale_listing {
    emr_folder *folder;
    bool (*is_stale)(struct stale_listing *listing, const char *name);
    bool held_model, no_memory;
} stale_listing;

/* Whether a file of that name is among the outputs. False where there is no memory, which is noted. */
static bool is_written_now(stale_listing *l, const char *name)
{
    const emr_folder *f = l->folder;
    char *path = emr_join_strings(f->allocator, f->directory, strlen(f->directory), name);
    bool have = path && emr_outputs_have(f->outputs, path);
    l->no_memory = l->no_memory || !path;
    emr_release(f->allocator, path);
    return have;
}

static bool is_stale_weights(stale_listing *l, const char *name)
{
    bool is_weights = is_weights_name(name);
    l->held_model = l->held_model || is_weights;
    return is_weights && !is_written_now(l, name);
}

static bool is_stale_companion(stale_listing *l, const char *name)
{
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++)
        if (strcmp(name, companions[i].name) == 0)
            return is_written_now(l, companions[i].beside) && !is_written_now(l, name);
    return false;
}

static void note_stale(void *user, const char *name)
{
    stale_listing *l = user;
    emr_folder *f = l->folder;
    if (!l->is_stale(l, name))
        return;
    char *path = emr_join_strings(f->allocator, f->directory, strlen(f->directory), name);
    if (path &&
        emr_grow(f->allocator, (void **)&f->stale, &f->stale_capacity, f->n_stale + 1, sizeof *f->stale)) {
        f->stale[f->n_stale++] = path;
        return;
    }
    l->no_memory = true;
    emr_release(f->allocator, path);
}

static emr_status list_stale(stale_listing *l, emr_error *error)
{
    const char *directory = l->folder->directory;
    emr_error why;
    emr_status status = emr_system_list(directory, note_stale, l, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: the directory cannot be read", directory);
    return l->no_memory ? emr_no_memory(error, directory) : EMR_OK;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

emr_status emr_folder_check(emr_folder *f, emr_error *error)
{
    stale_listing l = {.folder = f, .is_stale = is_stale_weights};
    if (!f->directory)
        return EMR_OK;
    emr_status status = list_stale(&l, error);
    if (!status && l.held_model && f->outputs->options.replace) {
        l.is_stale = is_stale_companion;
        status = list_stale(&l, error);
    }
    if (status || !f->n_stale)
        return status;
    emr_sort(f->stale, f->n_stale, sizeof *f->stale, by_path);
    return f->outputs->options.replace
               ? EMR_OK
               : emr_fail(error, EMR_EEXIST, "%F: already exists: the folder holds a model in another form",
                          f->stale[0]);
}

emr_status emr_folder_clean(const emr_folder *f, emr_error *error)
{
    emr_status status = EMR_OK;
    emr_error why;
    for (size_t i = 0; !status && i < f->n_stale; i++) {
        if (emr_system_kind(f->stale[i], NULL) == EMR_PATH_ABSENT)
            continue;
        status = emr_system_remove(f->stale[i], &why);
        if (status)
            status = emr_fail_because(
                error, status, &why,
                "%F: belongs to the model that was in this folder, and cannot be removed", f->stale[i]);
    }
    return status;
}
