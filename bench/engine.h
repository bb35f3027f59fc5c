/* engine.h - an engine at work, as the groups `session` and `serving` measure it: its base lies in host memory,
 * the bundle in a mapping; it switches all tensors of a model to another task, or multiplies by them. */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include "kinds.h"
#include "measure.h"
#include "settings.h"
#include "synthetic.h"

enum { TENSORS = 8, TASKS = 8, COLUMNS = 4096 };

typedef struct engine {
    const team *team;
    synthetic_models values;
    const bench_kind *kind; /* of all tasks' modulators */
    emr_dtype unified_dtype;
    size_t unified_size;          /* 0: there is no unified vector */
    emr_model *models[1 + TASKS]; /* the base and the tasks */
    emr_buffer *file, *memory;    /* as it was written, and as it is read: mapped */
    emr_bundle *bundle;
    emr_session *session;
    uint8_t *weights; /* the engine's own */
    emr_weights targets[TENSORS];
    float *x, *y;
    uint32_t task;
    uint32_t batch[TASKS]; /* tasks of a batch */
    size_t n_vectors;
    uint64_t n_columns; /* of a product's row */
    bool change;        /* products are without the base */
    uint64_t sums[THREADS_MAX];
} engine;

/* Its models, a raw bundle of them, and memory for its weights and vectors. */
engine engine_create(const settings *s, const team *t, const bench_kind *kind, emr_dtype dtype,
                     emr_dtype unified);
void engine_destroy(engine *e);

size_t tensor_params(const engine *e);

/* The name of one, written into `name`. */
const char *engine_tensor(char *name, size_t size, size_t i);

/* Bundles and sessions of their own, for those that are compared with the first. */
void make_bundle(engine *e, int compression);
void destroy_bundle(engine *e);
void open_session(engine *e, uint64_t mask_bytes);

/* Vector i of the next products is of task i mod n_tasks. */
void set_batch(engine *e, size_t n_vectors, size_t n_tasks);

/* By that batch: all rows of tensor 0. */
emr_product product_of(const engine *e);

/* What is measured, by an engine: all tensors to the next task; all tensors by the batch. */
void switch_task(void *e);
void multiply_batch(void *e);

#endif
