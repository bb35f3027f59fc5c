/* quantised_base.c - an engine whose base lies in 4-bit blocks of its own, which libemr knows nothing of: it has
 * its own kernel for them, and each of its threads does its share of the rows of every product. Acting as tasks,
 * it adds what a task changes to the base's product, by a session that has no base: no weights are written
 * anywhere, and nothing takes memory but the tasks. A batch may mix them. That sums are those of the base's
 * weights and the changes is checked here. */
#include "toy_mlp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 4, THREADS = 2, VALUES = 32, BLOCKS = (TOY_INPUTS + TOY_HIDDEN) * TOY_HIDDEN / VALUES };

/* The engine's format: 32 weights of a row, each a code from 0 to 15 for (code - 8) * scale. */
typedef struct block {
    float scale;
    uint8_t codes[VALUES / 2];
} block;

typedef struct engine {
    block blocks[BLOCKS]; /* the layers', one after another */
    float heads[TOY_TASKS][TOY_CLASSES * TOY_HIDDEN];
    emr_bundle *bundle;
    emr_session *handles[THREADS]; /* one a thread; the first is the session */
} engine;

static void quantise_block(block *b, const float *weights)
{
    float most = 0;
    for (size_t i = 0; i < VALUES; i++) {
        float size = weights[i] < 0 ? -weights[i] : weights[i];
        most = size > most ? size : most;
    }
    b->scale = most / 7;
    memset(b->codes, 0, sizeof b->codes);
    for (size_t i = 0; i < VALUES && most > 0; i++)
        b->codes[i / 2] |= (uint8_t)((unsigned)(weights[i] / b->scale + 8.5f) << i % 2 * 4);
}

static float block_value(const block *b, size_t i)
{
    return (float)((b->codes[i / 2] >> i % 2 * 4 & 15) - 8) * b->scale;
}

static void start_engine(engine *e, const toy *t)
{
    emr_error error;
    for (size_t i = 0; i < BLOCKS; i++)
        quantise_block(&e->blocks[i], t->base + i * VALUES);
    const emr_session_options options = {.size = sizeof options, .without_base = 1};
    toy_must(emr_bundle_open(&e->bundle, emr_buffer_io(t->bundle), "toy.emr", NULL, &error), &error);
    toy_must(emr_session_create(&e->handles[0], e->bundle, NULL, &options, &error), &error);
    for (size_t i = 1; i < THREADS; i++)
        toy_must(emr_session_open_thread(&e->handles[i], e->handles[0], &error), &error);
    for (uint32_t task = 0; task < TOY_TASKS; task++) { /* tensors of a task's own need no base */
        const emr_weights head = {
            .size = sizeof head, .name = "head.weight", .data = e->heads[task], .dtype = EMR_DTYPE_F32};
        toy_must(emr_session_apply(e->handles[0], task, &head, 1, &error), &error);
    }
}

static void stop_engine(engine *e)
{
    for (size_t i = 0; i < THREADS; i++)
        emr_session_destroy(&e->handles[i]);
    emr_bundle_destroy(&e->bundle);
}

/* The engine's kernel: one row times a vector. */
static float multiply_blocks(const block *row, size_t columns, const float *x)
{
    float sum = 0;
    for (size_t c = 0; c < columns; c++)
        sum += block_value(&row[c / VALUES], c % VALUES) * x[c];
    return sum;
}

/* What thread `ith` does of a product: some rows, for all vectors of the batch. */
static void multiply_share(const engine *e, size_t layer, size_t ith, const uint32_t *tasks, size_t batch,
                           const float *x, float *y)
{
    emr_error error;
    float change[BATCH * TOY_HIDDEN];
    const toy_tensor *t = &toy_tensors[layer];
    const size_t from = t->rows * ith / THREADS, n = t->rows * (ith + 1) / THREADS - from;
    const emr_product product = {.size = sizeof product,
                                 .name = t->name, /* or its number, found once */
                                 .first_row = from,
                                 .n_rows = n,
                                 .batch = batch,
                                 .x = x,
                                 .y = change,
                                 .without_base = 1};
    toy_must(emr_session_multiply(e->handles[ith], tasks, &product, &error), &error);
    for (size_t b = 0; b < batch; b++)
        for (size_t r = 0; r < n; r++) {
            const block *row = e->blocks + (toy_offset(layer) + (from + r) * t->columns) / VALUES;
            y[b * t->rows + from + r] =
                multiply_blocks(row, t->columns, x + b * t->columns) + change[b * n + r];
        }
}

/* Vectors lie one after another. */
static void run_batch(const engine *e, const uint32_t *tasks, size_t batch, const float *inputs,
                      float *scores)
{
    float x[BATCH * TOY_HIDDEN], y[BATCH * TOY_HIDDEN];
    memcpy(x, inputs, batch * TOY_INPUTS * sizeof *inputs);
    for (size_t i = 0; i < TOY_LAYERS; i++) {
        for (size_t ith = 0; ith < THREADS; ith++) /* in an engine at the same time, each in its thread */
            multiply_share(e, i, ith, tasks, batch, x, y);
        toy_activate(y, batch * toy_tensors[i].rows);
        memcpy(x, y, batch * toy_tensors[i].rows * sizeof *x);
    }
    for (size_t b = 0; b < batch; b++)
        toy_multiply(e->heads[tasks[b]], TOY_CLASSES, TOY_HIDDEN, x + b * TOY_HIDDEN,
                     scores + b * TOY_CLASSES);
}

/* One request the plain way: the change's weights are written, and the base's added to them. */
static void run_plainly(const engine *e, uint32_t task, const float *input, float *scores)
{
    static float weights[TOY_HIDDEN * TOY_HIDDEN];
    emr_error error;
    float x[TOY_HIDDEN], y[TOY_HIDDEN];
    memcpy(x, input, TOY_INPUTS * sizeof *input);
    for (size_t i = 0; i < TOY_LAYERS; i++) {
        const toy_tensor *t = &toy_tensors[i];
        const emr_weights change = {
            .size = sizeof change, .name = t->name, .data = weights, .without_base = 1};
        toy_must(emr_session_apply(e->handles[0], task, &change, 1, &error), &error);
        for (size_t k = 0; k < t->rows * t->columns; k++)
            weights[k] += block_value(&e->blocks[(toy_offset(i) + k) / VALUES], k % VALUES);
        toy_multiply(weights, t->rows, t->columns, x, y);
        toy_activate(y, t->rows);
        memcpy(x, y, sizeof x);
    }
    toy_multiply(e->heads[task], TOY_CLASSES, TOY_HIDDEN, x, scores);
}

int main(void)
{
    static engine e;
    const uint32_t tasks[BATCH] = {2, 0, 3, 1};
    float inputs[BATCH * TOY_INPUTS], scores[BATCH * TOY_CLASSES], plain[TOY_CLASSES];
    emr_session_info info = EMR_INIT(emr_session_info);
    double off = 0;
    toy t = toy_create();
    start_engine(&e, &t);
    for (size_t b = 0; b < BATCH; b++)
        toy_input(b, inputs + b * TOY_INPUTS);
    run_batch(&e, tasks, BATCH, inputs, scores);
    for (size_t b = 0; b < BATCH; b++) {
        const float *got = scores + b * TOY_CLASSES;
        run_plainly(&e, tasks[b], inputs + b * TOY_INPUTS, plain);
        for (size_t i = 0; i < TOY_CLASSES; i++) {
            double difference = (double)got[i] - (double)plain[i];
            off = difference > off ? difference : -difference > off ? -difference : off;
        }
        printf("request %zu: task %u says class %zu\n", b, tasks[b], toy_largest(got, TOY_CLASSES));
    }
    const emr_status known = emr_session_get_info(e.handles[0], &info);
    printf("the base takes %zu bytes of the engine's and %llu of the session's; scores are off by at most "
           "%.1e\n",
           sizeof e.blocks, (unsigned long long)info.base_bytes, off);
    stop_engine(&e);
    toy_destroy(&t);
    return known || info.base_bytes || !(off < 1e-4) ? EXIT_FAILURE : EXIT_SUCCESS;
}
