/* folder.h - a checkpoint written to a path: whether that is a file or a folder, how weights are called in a
 * folder, what lies beside them, and what is in their way. */
#ifndef EMR_CHECKPOINT_FOLDER_H
#define EMR_CHECKPOINT_FOLDER_H

#include "checkpoint/config_text.h"
#include "checkpoint/outputs.h"
#include "checkpoint/stream.h"

typedef struct emr_folder {
    const emr_allocator *allocator;
    emr_outputs *outputs;
    const emr_model *model;
    char *stem;      /* of the weights' path: what comes before ".safetensors", ".gguf" or a shard's number */
    char *directory; /* with a '/' at its end; NULL: the path is that of a file */
    bool is_gguf;
    emr_config config; /* the model's config.json, where it has one that is looked at */
    char **stale;      /* paths of files that are in the way */
    size_t n_stale, stale_capacity;
} emr_folder;

/* Decides what a path is, and makes the directory if it is one that is not there. `folder` is zero but for its
 * pointers; emr_folder_free must follow. */
emr_status emr_folder_choose(emr_folder *folder, const char *path, emr_output *output, emr_error *error);

/* Writes the model's side files to outputs. Nothing where the path is a file's. */
emr_status emr_folder_write_files(emr_folder *folder, emr_output *output, emr_error *error);

/* Bytes that this will write. */
uint64_t emr_folder_file_bytes(const emr_folder *folder);

/* All outputs are known, if not written. A folder that holds weights which are none of them, and which a loader might
 * take for the model's: EMR_EEXIST, unless outputs are to replace files. Then these are remembered, and so are the
 * files of that model that would be taken for the new one's. */
emr_status emr_folder_check(emr_folder *folder, emr_error *error);

/* After the outputs were put in place: removes what was remembered. Needs no memory. */
emr_status emr_folder_clean(const emr_folder *folder, emr_error *error);

void emr_folder_free(emr_folder *folder);

#endif
