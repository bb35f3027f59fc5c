/* steps_files.c - checkpoints and bundles in a folder of the case's own. */
#define _XOPEN_SOURCE 700
#include "steps.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about, (void)kind, (void)where;
    return remove(path);
}

static void remove_folder(void *folder)
{
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *path_in_folder(world *w, const char *name)
{
    if (!w->folder) {
        w->folder = strcpy(new_memory(w, 40), "/tmp/emr-conformance-XXXXXX");
        if (!mkdtemp(w->folder))
            give_up("no folder for files:", w->folder);
        keep_object(w, KIND_NONE, NULL, w->folder, remove_folder);
    }
    size_t length = strlen(w->folder) + strlen(name) + 2;
    char *path = new_memory(w, length);
    snprintf(path, length, "%s/%s", w->folder, name);
    return path;
}

typedef struct written_files {
    const char *folder;
    json_t *files;
} written_files;

static json_t *digest_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char piece[4096];
    uint64_t digest = FNV_START;
    if (!file)
        give_up("absent:", path);
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        digest = add_to_digest(digest, piece, n);
    fclose(file);
    return text_of_digest(digest);
}

static void note_file(void *user, const char *path)
{
    written_files *f = user;
    json_object_set_new(f->files, path + strlen(f->folder) + 1, digest_file(path));
}

static emr_status save_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    const char *path = path_in_folder(w, need_text(step, "path"));
    written_files files = {w->folder, json_object()};
    json_object_set_new(result, "files", files.files);
    options.resources = &w->resources;
    options.shard_bytes = get_number(step, "shard_bytes");
    options.replace = get_flag(step, "replace");
    options.dtype = get_dtype(step, "dtype");
    options.written = note_file;
    options.user = &files;
    return emr_checkpoint_write(need_model(w, step, "model"), path, &options, error);
}

static emr_status load_model(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    emr_model *model;
    (void)result;
    options.map = get_flag(step, "map");
    options.dequantise = get_flag(step, "dequantise");
    options.side_files = get_flag(step, "side_files");
    TRY(emr_checkpoint_open(&model, path_in_folder(w, need_text(step, "path")), &options, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status load_bundle(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_bundle_options options = EMR_INIT(emr_bundle_options);
    const char *path = path_in_folder(w, need_text(step, "path"));
    emr_bundle *bundle;
    options.map = get_flag(step, "map");
    TRY(emr_bundle_open_file(&bundle, path, &options, error));
    keep_bundle(w, need_text(step, "bundle"), bundle);
    json_object_set_new(result, "digest", digest_file(path));
    return EMR_OK;
}

static emr_status look_for_file(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const char *name = need_text(step, "path");
    (void)error;
    json_object_set_new(result, "is_there", json_integer(!access(path_in_folder(w, name), F_OK)));
    return EMR_OK;
}

const step_kind file_steps[] = {
    {"save", "model path shard_bytes replace dtype", save_model},
    {"load", "model path map dequantise side_files", load_model},
    {"load_bundle", "bundle path map", load_bundle},
    {"exists", "path", look_for_file},
    {NULL, NULL, NULL},
};
