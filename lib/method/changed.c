/* changed.c - see changed.h. */
#include "method/changed.h"

#include <string.h>

static float epsilon_of(const emr_method_tensor *tensor)
{
    return (float)emr_method_value(tensor, 0, EMR_CHANGED_EPSILON);
}

static void count_changes(float *restrict counts, const float *restrict tau, size_t n, float epsilon)
{
    for (size_t i = 0; i < n; i++)
        counts[i] += emr_is_changed(tau[i], epsilon);
}

void emr_count_changed(const emr_method_chunk *c, size_t at, size_t n, float *counts)
{
    memset(counts, 0, n * sizeof *counts);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        count_changes(counts, c->inputs[t] + at, n, epsilon_of(c->tensor));
}

static void add_changes(float *restrict sums, const float *restrict tau, size_t n, float epsilon)
{
    for (size_t i = 0; i < n; i++)
        sums[i] += tau[i] * emr_is_changed(tau[i], epsilon);
}

/* Where several tasks have changed a parameter, the boost is the last one's, and is not used. */
static void note_boost(float *restrict boosts, const float *restrict tau, size_t n, float epsilon,
                       float boost)
{
    for (size_t i = 0; i < n; i++)
        boosts[i] = emr_is_changed(tau[i], epsilon) != 0 ? boost : boosts[i];
}

void emr_combine_changed(const emr_method_chunk *c, const double *boosts)
{
    float *restrict counts = c->scratch, *restrict last = c->scratch + c->n, *restrict out = c->out;
    emr_count_changed(c, 0, c->n, counts);
    memset(out, 0, c->n * sizeof *out);
    memset(last, 0, c->n * sizeof *last);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        add_changes(out, c->inputs[t], c->n, epsilon_of(c->tensor));
        note_boost(last, c->inputs[t], c->n, epsilon_of(c->tensor), boosts ? (float)boosts[t] : 1);
    }
    for (size_t i = 0; i < c->n; i++)
        out[i] = counts[i] > 1 ? out[i] / counts[i] : out[i] * last[i];
}
