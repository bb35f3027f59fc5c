/* ggml_engine.h - a small transformer as llama computes it, in ggml's graph, where every token of a batch may
 * have a task of its own while the base lies in ggml's memory as it is, in whatever type.
 *
 * Where a plain graph has ggml_mul_mat(W, x), this one has
 * - the change beside it: ggml_mul_mat(W, x) + custom(x), where the custom operation multiplies by what tasks
 *   change (emr_session_multiply without the base; the session has none); or
 * - the whole product: custom(x) alone, over the base where ggml has it, of types that libemr reads.
 * Embeddings and norms, of which every token needs a row of its own task's, come from emr_session_gather
 * likewise. */
#ifndef EMR_GGML_ENGINE_H
#define EMR_GGML_ENGINE_H

#include "ggml_models.h"

enum {
    THREADS = 4, /* of ggml's, at most */
    TOKENS = LENGTH * SEQUENCES
};

typedef enum graph_way { WAY_PLAIN, WAY_CHANGE, WAY_WHOLE } graph_way;

typedef struct operation operation;

/* Tokens side by side: sequences of LENGTH, or vectors that are to be multiplied. */
typedef struct batch {
    size_t n;
    uint32_t tasks[TOKENS]; /* each token's, or EMR_BASE */
    uint64_t tokens[TOKENS];
} batch;

/* A model that can run. */
typedef struct engine {
    const network *net;
    struct ggml_context *weights;
    const emr_bundle *bundle;
    emr_model *base;               /* over `weights`, for whole products */
    emr_session *callers[THREADS]; /* a handle for each of ggml's threads; the first one is the session */
    operation *operations;         /* of the graph in hand */
    const batch *batch;            /* in hand */
    int n_operations;
    int n_callers;
    graph_way way;
    emr_status statuses[THREADS]; /* an operation cannot fail: each thread's first failure waits here */
    emr_error errors[THREADS];
} engine;

/* `bundle` NULL: a plain graph. mask_bytes 0: all codes may stay in memory. */
void open_engine(engine *e, const network *net, struct ggml_context *weights, graph_way way,
                 const emr_bundle *bundle, uint64_t mask_bytes);
void close_engine(engine *e);

/* Logits of sequences: [vocabulary] for each token. */
void run_batch(engine *e, const batch *b, int threads, float *logits);

/* One product by itself, as the graph would have it: x [columns], y [rows] for each token. */
void run_product(engine *e, const batch *b, struct ggml_tensor *weight, const float *x, int threads,
                 float *y);

#endif
