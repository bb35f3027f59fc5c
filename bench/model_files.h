/* model_files.h - makes the checkpoints that the file benchmarks read. */
#ifndef BENCH_MODEL_FILES_H
#define BENCH_MODEL_FILES_H

#include "measure.h"

typedef enum model_kind {
    MODEL_EVEN,        /* 16 tensors of equal size */
    MODEL_SMALL,       /* tensors of 256 parameters */
    MODEL_TRANSFORMER, /* like a language model: BF16 matrices, F32 norms and biases, integers, a head a task
                        */
    MODEL_SPARSE       /* one tensor, whose file is a hole but for a page here and there */
} model_kind;

typedef struct model_recipe {
    const char *directory;
    model_kind kind;
    emr_dtype dtype; /* of MODEL_EVEN; the others have their own */
    unsigned n_tasks;
    uint64_t params; /* in each source, about */
} model_recipe;

typedef struct path_text {
    char text[512];
} path_text;

/* Of source 0 (the base) or of task `source` - 1. */
path_text model_path(const model_recipe *r, size_t source);

/* Makes all sources, and waits until the disk has them, so that it is at rest afterwards. */
void models_create(const model_recipe *r, const team *t);
void models_unlink(const model_recipe *r);

#endif
