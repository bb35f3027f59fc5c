/* checkpoint.h - model files: reading and writing safetensors. */
#ifndef EMR_CHECKPOINT_H
#define EMR_CHECKPOINT_H

#include "emr/executor.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/progress.h"

/* NULL or zero members mean the defaults. */
typedef struct emr_checkpoint_options {
    size_t size;                    /* sizeof(emr_checkpoint_options) */
    const emr_allocator *allocator; /* NULL: malloc and free */
    int map;                        /* opening: offer mapped windows, see emr_file_open */
    int replace;                    /* writing: replace files that exist */
    uint64_t shard_bytes;           /* writing: start a new shard before a file's data grows past this;
                                       0: one file. A tensor is never split. */
    size_t memory_bytes;            /* writing: cap on working memory; 0: 64 MiB */
    const emr_executor *executor;   /* writing: NULL: the calling thread alone */
    emr_progress_fn progress;       /* writing: may be NULL */
    void *progress_user;
} emr_checkpoint_options;

EMR_BEGIN_DECLS

/* Opens a checkpoint: a .safetensors file, a *.safetensors.index.json with its shards, or a directory that
 * holds either (model.safetensors.index.json or the only *.safetensors.index.json, else model.safetensors or
 * the only *.safetensors). Reads headers only. The files stay open until the model is destroyed; tensors come
 * in the order of their data. Every rule of the format is checked: EMR_EFORMAT with a sentence otherwise.
 * Pickle files (.bin, .pt, .pth, .ckpt) are refused with EMR_EUNSUPPORTED.
 * Headers and indexes are JSON by the letter of RFC 8259, with distinct keys in every object, nested at most
 * 64 deep; members that the format does not know are passed over. A header or an index longer than
 * 100,000,000 bytes is refused. Reading one takes at most 24 times its length + 64 KiB of memory, whatever
 * stands in it; the model's tensors and metadata are part of that. */
EMR_API emr_status emr_checkpoint_open(emr_model **model, const char *path,
                                       const emr_checkpoint_options *options, emr_error *error);

/* The same for one safetensors file behind the host's own I/O. `name` is what messages call it. */
EMR_API emr_status emr_safetensors_open(emr_model **model, const emr_io *io, const char *name,
                                        const emr_checkpoint_options *options, emr_error *error);

/* Writes any model (opened, built, or viewed out of a bundle) as safetensors, in the model's order. `path`
 * ends in .safetensors, or in .safetensors.index.json, which stands for the same without ".index.json", or is
 * a directory, in which the name is "model". With shard_bytes set, a directory is made where absent, and
 * where more than one shard is needed NAME-00001-of-0000N.safetensors and NAME.safetensors.index.json are
 * written. Each file appears whole or not at all, the index last. EMR_EEXIST if a file is there and `replace`
 * is 0. */
EMR_API emr_status emr_checkpoint_write(const emr_model *model, const char *path,
                                        const emr_checkpoint_options *options, emr_error *error);

/* One safetensors file written front to back through the host's I/O (a pipe will do). */
EMR_API emr_status emr_safetensors_write(const emr_model *model, const emr_io *io,
                                         const emr_checkpoint_options *options, emr_error *error);

EMR_END_DECLS

#endif
