/* toy_mlp.c - see toy_mlp.h. Weights are pseudo-random: what a network computes does not matter here. */
#include "toy_mlp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const toy_tensor toy_tensors[TOY_TENSORS] = {
    {"layers.0.weight", TOY_HIDDEN, TOY_INPUTS},
    {"layers.1.weight", TOY_HIDDEN, TOY_HIDDEN},
    {"head.weight", TOY_CLASSES, TOY_HIDDEN},
};

size_t toy_offset(size_t tensor)
{
    size_t at = 0;
    for (size_t i = 0; i < tensor; i++)
        at += toy_tensors[i].rows * toy_tensors[i].columns;
    return at;
}

void toy_must(emr_status status, const emr_error *error)
{
    if (status != EMR_OK) {
        fprintf(stderr, "%s: %s\n", emr_status_text(status), error->text);
        exit(EXIT_FAILURE);
    }
}

/* Between -1 and 1, the same for the same numbers. */
static float random_value(uint32_t stream, uint32_t i)
{
    uint32_t x = stream * 0x9e3779b9u + i * 0x85ebca6bu + 1;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return (float)((x ^ x >> 16) >> 8) / (float)(1 << 23) - 1;
}

/* The first `n` tensors over some weights. */
static emr_model *model_over(const float *weights, size_t n)
{
    emr_error error;
    emr_model *model;
    toy_must(emr_model_create(&model, NULL, &error), &error);
    for (size_t i = 0; i < n; i++) {
        const uint64_t shape[] = {toy_tensors[i].rows, toy_tensors[i].columns};
        const emr_tensor_desc d = {.size = sizeof d,
                                   .name = toy_tensors[i].name,
                                   .shape = shape,
                                   .rank = 2,
                                   .dtype = EMR_DTYPE_F32,
                                   .data = weights + toy_offset(i)};
        toy_must(emr_model_add(model, &d, &error), &error);
    }
    return model;
}

/* Fine-tuning: every layer moves a little, and there is a head. */
static void fine_tune(const float *base, uint32_t task, float *weights)
{
    for (size_t i = 0; i < toy_offset(TOY_LAYERS); i++)
        weights[i] = base[i] + 0.02f * random_value(task + 10, (uint32_t)i);
    for (size_t i = toy_offset(TOY_LAYERS); i < toy_offset(TOY_TENSORS); i++)
        weights[i] = random_value(task + 20, (uint32_t)i);
}

toy toy_create(void)
{
    toy t = {.base = calloc(toy_offset(TOY_LAYERS), sizeof(float))};
    float *weights[TOY_TASKS];
    emr_model *tasks[TOY_TASKS];
    emr_merge *merge;
    emr_error error;
    for (size_t i = 0; i < toy_offset(TOY_LAYERS); i++)
        t.base[i] = 0.2f * random_value(1, (uint32_t)i);
    t.model = model_over(t.base, TOY_LAYERS);
    toy_must(emr_merge_create(&merge, NULL, &error), &error);
    toy_must(emr_merge_set_base(merge, t.model, &error), &error);
    for (uint32_t i = 0; i < TOY_TASKS; i++) {
        char name[] = {'t', 'a', 's', 'k', ' ', (char)('0' + i), 0};
        weights[i] = calloc(toy_offset(TOY_TENSORS), sizeof(float));
        fine_tune(t.base, i, weights[i]);
        tasks[i] = model_over(weights[i], TOY_TENSORS);
        toy_must(emr_merge_add_task(merge, name, tasks[i], &error), &error);
    }
    toy_must(emr_buffer_create(&t.bundle, NULL, &error), &error);
    toy_must(emr_merge_set_output(merge, emr_buffer_io(t.bundle), &error), &error);
    toy_must(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    for (size_t i = 0; i < TOY_TASKS; i++) {
        emr_model_destroy(&tasks[i]);
        free(weights[i]);
    }
    return t;
}

void toy_destroy(toy *t)
{
    emr_model_destroy(&t->model);
    emr_buffer_destroy(&t->bundle);
    free(t->base);
}

void toy_input(size_t request, float *x)
{
    for (uint32_t i = 0; i < TOY_INPUTS; i++)
        x[i] = random_value((uint32_t)request + 100, i);
}

void toy_activate(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

void toy_multiply(const float *w, size_t rows, size_t columns, const float *x, float *y)
{
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < columns; c++)
            sum += (double)w[r * columns + c] * (double)x[c];
        y[r] = (float)sum;
    }
}

size_t toy_largest(const float *scores, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = scores[i] > scores[best] ? i : best;
    return best;
}
