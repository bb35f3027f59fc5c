/* multi_tenant.c - a server with one batch of requests that belong to different tasks. No task's weights are
 * ever written: each layer is one product in which every vector has its own task, and base and unified values
 * are read once for all of them. What a request gets does not depend on who else is in its batch: that is
 * checked here. */
#include "toy_mlp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8 };

typedef struct server {
    emr_bundle *bundle;
    emr_session *session;
    emr_pool *pool;
    uint32_t layers[TOY_LAYERS];                      /* their numbers in the bundle */
    float heads[TOY_TASKS][TOY_CLASSES * TOY_HIDDEN]; /* small, and private to tasks: kept side by side */
} server;

static void start_server(server *s, const toy *t)
{
    emr_error error;
    const emr_pool_options two = {.size = sizeof two, .threads = 2};
    toy_must(emr_bundle_open(&s->bundle, emr_buffer_io(t->bundle), "toy.emr", NULL, &error), &error);
    toy_must(emr_pool_create(&s->pool, &two, &error), &error);
    const emr_resources resources = {.size = sizeof resources, .executor = emr_pool_executor(s->pool)};
    const emr_session_options options = {
        .size = sizeof options,
        .resources = &resources,
        .mask_bytes = 64 << 20}; /* as many decoded masks as the server can spare memory for */
    toy_must(emr_session_create(&s->session, s->bundle, t->model, &options, &error), &error);
    for (size_t i = 0; i < TOY_LAYERS; i++)
        toy_must(emr_bundle_find_tensor(s->bundle, toy_tensors[i].name, &s->layers[i], &error), &error);
    for (uint32_t task = 0; task < TOY_TASKS; task++) {
        const emr_weights head = {
            .size = sizeof head, .name = "head.weight", .data = s->heads[task], .dtype = EMR_DTYPE_F32};
        toy_must(emr_session_apply(s->session, task, &head, 1, &error), &error);
    }
}

static void stop_server(server *s)
{
    emr_session_destroy(&s->session);
    emr_bundle_destroy(&s->bundle);
    emr_pool_destroy(&s->pool);
}

/* Vectors lie one after another. */
static void run_batch(const server *s, const uint32_t *tasks, size_t batch, const float *inputs,
                      float *scores)
{
    emr_error error;
    float x[BATCH * TOY_HIDDEN], y[BATCH * TOY_HIDDEN];
    memcpy(x, inputs, batch * TOY_INPUTS * sizeof *inputs);
    for (size_t i = 0; i < TOY_LAYERS; i++) {
        const emr_product product = {.size = sizeof product,
                                     .tensor = s->layers[i],
                                     .n_rows = toy_tensors[i].rows,
                                     .batch = batch,
                                     .x = x,
                                     .y = y};
        toy_must(emr_session_multiply(s->session, tasks, &product, &error), &error);
        toy_activate(y, batch * toy_tensors[i].rows);
        memcpy(x, y, batch * toy_tensors[i].rows * sizeof *x);
    }
    for (size_t b = 0; b < batch; b++)
        toy_multiply(s->heads[tasks[b]], TOY_CLASSES, TOY_HIDDEN, x + b * TOY_HIDDEN,
                     scores + b * TOY_CLASSES);
}

/* One request the plain way: its task's weights are written, and multiplied by. */
static void run_plainly(const server *s, uint32_t task, const float *input, float *scores)
{
    static float weights[TOY_HIDDEN * TOY_HIDDEN];
    emr_error error;
    float x[TOY_HIDDEN], y[TOY_HIDDEN];
    memcpy(x, input, TOY_INPUTS * sizeof *input);
    for (size_t i = 0; i < TOY_LAYERS; i++) {
        const emr_weights layer = {
            .size = sizeof layer, .name = toy_tensors[i].name, .data = weights, .dtype = EMR_DTYPE_F32};
        toy_must(emr_session_apply(s->session, task, &layer, 1, &error), &error);
        toy_multiply(weights, toy_tensors[i].rows, toy_tensors[i].columns, x, y);
        toy_activate(y, toy_tensors[i].rows);
        memcpy(x, y, sizeof x);
    }
    toy_multiply(s->heads[task], TOY_CLASSES, TOY_HIDDEN, x, scores);
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = (double)a[i] - (double)b[i];
        difference = difference < 0 ? -difference : difference;
        most = difference > most ? difference : most;
    }
    return most;
}

int main(void)
{
    static server s;
    const uint32_t tasks[BATCH] = {2, 0, 1, 3, 3, 0, 2, 1};
    float inputs[BATCH * TOY_INPUTS], scores[BATCH * TOY_CLASSES], alone[TOY_CLASSES], plain[TOY_CLASSES];
    size_t wrong = 0;
    double off = 0, most;
    toy t = toy_create();
    start_server(&s, &t);
    for (size_t b = 0; b < BATCH; b++)
        toy_input(b, inputs + b * TOY_INPUTS);
    run_batch(&s, tasks, BATCH, inputs, scores);
    for (size_t b = 0; b < BATCH; b++) {
        const float *got = scores + b * TOY_CLASSES;
        run_batch(&s, &tasks[b], 1, inputs + b * TOY_INPUTS, alone);
        wrong += memcmp(got, alone, sizeof alone) != 0;
        run_plainly(&s, tasks[b], inputs + b * TOY_INPUTS, plain);
        most = largest_difference(got, plain, TOY_CLASSES);
        off = most > off ? most : off;
        printf("request %zu: task %u says class %zu\n", b, tasks[b], toy_largest(got, TOY_CLASSES));
    }
    printf("%zu requests get another answer alone than in the batch; scores are off by at most %.1e\n", wrong,
           off);
    stop_server(&s);
    toy_destroy(&t);
    return wrong || !(off < 1e-4) ? EXIT_FAILURE : EXIT_SUCCESS;
}
