/* engine_switch.c - an engine that is one model at a time and becomes another between requests. It has its
 * own buffers for weights and its own kernels; libemr writes a task's weights into those buffers, heads
 * included, always from the base, so that nothing drifts however often tasks change. Nothing is allocated
 * once the engine runs. */
#include "toy_mlp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The engine: weights of whatever it is now, and who it can be. */
typedef struct engine {
    float weights[TOY_HIDDEN * TOY_INPUTS + TOY_HIDDEN * TOY_HIDDEN + TOY_CLASSES * TOY_HIDDEN];
    emr_weights targets[TOY_TENSORS];
    emr_bundle *bundle;
    emr_session *session;
    emr_pool *pool;
    size_t n_switches;
    uint32_t task;
} engine;

static void start_engine(engine *e, const toy *t)
{
    emr_error error;
    const emr_pool_options two = {.size = sizeof two, .threads = 2};
    /* a real engine: emr_bundle_open_file with .map = 1, and a base whose tensors lie in its own memory */
    toy_must(emr_bundle_open(&e->bundle, emr_buffer_io(t->bundle), "toy.emr", NULL, &error), &error);
    toy_must(emr_pool_create(&e->pool, &two, &error), &error);
    const emr_resources resources = {.size = sizeof resources, .executor = emr_pool_executor(e->pool)};
    const emr_session_options options = {.size = sizeof options, .resources = &resources};
    toy_must(emr_session_create(&e->session, e->bundle, t->model, &options, &error), &error);
    for (size_t i = 0; i < TOY_TENSORS; i++) {
        e->targets[i] = (emr_weights){.size = sizeof e->targets[i],
                                      .name = toy_tensors[i].name,
                                      .data = e->weights + toy_offset(i),
                                      .dtype = EMR_DTYPE_F32}; /* or BF16, F16: what the engine computes in */
    }
    e->task = EMR_BASE;
}

static void stop_engine(engine *e)
{
    emr_session_destroy(&e->session);
    emr_bundle_destroy(&e->bundle);
    emr_pool_destroy(&e->pool);
}

/* Becomes a task, unless it is that already: one call for all its tensors. */
static void become_task(engine *e, uint32_t task)
{
    emr_error error;
    if (task == e->task)
        return;
    toy_must(emr_session_apply(e->session, task, e->targets, TOY_TENSORS, &error), &error);
    e->task = task;
    e->n_switches++;
}

/* The engine's own forward pass knows nothing of tasks. */
static void run_network(const float *weights, const float *input, float *scores)
{
    float x[2][TOY_HIDDEN];
    memcpy(x[0], input, TOY_INPUTS * sizeof *input);
    for (size_t i = 0; i < TOY_TENSORS; i++) {
        const toy_tensor *t = &toy_tensors[i];
        toy_multiply(weights + toy_offset(i), t->rows, t->columns, x[i % 2],
                     i + 1 < TOY_TENSORS ? x[(i + 1) % 2] : scores);
        if (i + 1 < TOY_TENSORS)
            toy_activate(x[(i + 1) % 2], t->rows);
    }
}

/* The same task's weights by another way: the whole model out of the bundle, as a checkpoint would have it.
 */
static void read_expected(const engine *e, const toy *t, uint32_t task, float *weights)
{
    emr_error error;
    emr_model *model;
    toy_must(emr_bundle_open_task(&model, e->bundle, task, t->model, NULL, &error), &error);
    for (size_t i = 0; i < TOY_TENSORS; i++) {
        const emr_tensor *tensor = emr_model_find_tensor(model, toy_tensors[i].name);
        toy_must(
            emr_tensor_read(tensor, 0, weights + toy_offset(i), (size_t)emr_tensor_bytes(tensor), &error),
            &error);
    }
    emr_model_destroy(&model);
}

int main(void)
{
    static engine e;
    static float expected[sizeof e.weights / sizeof e.weights[0]];
    static const uint32_t requests[] = {0, 0, 2, 1, 1, 1, 3, 0, 2};
    size_t wrong = 0;
    toy t = toy_create();
    start_engine(&e, &t);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        float input[TOY_INPUTS], scores[TOY_CLASSES];
        toy_input(i, input);
        become_task(&e, requests[i]);
        run_network(e.weights, input, scores);
        read_expected(&e, &t, requests[i], expected);
        wrong += memcmp(e.weights, expected, sizeof expected) != 0;
        printf("request %zu: task %u says class %zu\n", i, requests[i], toy_largest(scores, TOY_CLASSES));
    }
    printf("%zu switches; %zu requests with weights that are not the task's\n", e.n_switches, wrong);
    wrong += e.n_switches != 6;
    stop_engine(&e);
    toy_destroy(&t);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
