/* agreement.c - see agreement.h. A task is done with before the next: sums of positive and of negative values are
 * kept side by side until the sign is known. */
#include "method/agreement.h"

#include "core/memory.h"

#include <string.h>

void emr_agreement_begin(emr_agreement *a, float *memory, size_t n, bool elects)
{
    *a = (emr_agreement){.total = memory,
                         .plus = memory + n,
                         .minus = memory + 2 * n,
                         .plus_weight = memory + 3 * n,
                         .minus_weight = memory + 4 * n,
                         .n = n,
                         .elects = elects};
    memset(memory, 0, (elects ? EMR_AGREEMENT_FLOATS : 1) * n * sizeof *memory);
}

static void add_to_total(float *restrict total, const float *restrict sparse, float weight, size_t n)
{
    for (size_t i = 0; i < n; i++)
        total[i] += sparse[i] * weight;
}

static void add_to_sides(float *restrict plus, float *restrict minus, const float *restrict sparse,
                         float weight, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float d = sparse[i] * weight;
        plus[i] += d > 0 ? d : 0;
        minus[i] += d < 0 ? d : 0;
    }
}

static void add_to_weights(float *restrict plus, float *restrict minus, const float *restrict sparse,
                           float weight, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float d = sparse[i] * weight;
        plus[i] += d > 0 ? weight : 0;
        minus[i] += d < 0 ? weight : 0;
    }
}

static float weight_of(const emr_method_tensor *tensor, uint32_t input)
{
    return (float)emr_method_value(tensor, input, EMR_AGREEMENT_WEIGHT);
}

static bool is_normalized(const emr_method_tensor *tensor)
{
    return emr_method_value(tensor, 0, EMR_AGREEMENT_NORMALIZE) != 0;
}

void emr_agreement_add(const emr_agreement *a, const emr_method_tensor *tensor, uint32_t input,
                       const float *sparse)
{
    float weight = weight_of(tensor, input);
    add_to_total(a->total, sparse, weight, a->n);
    if (!a->elects)
        return;
    add_to_sides(a->plus, a->minus, sparse, weight, a->n);
    if (is_normalized(tensor))
        add_to_weights(a->plus_weight, a->minus_weight, sparse, weight, a->n);
}

/* What the sum of all is divided by. */
static float total_weight(const emr_method_tensor *tensor)
{
    float sum = 0;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        sum += weight_of(tensor, t);
    return sum < 1e-8F && sum > -1e-8F ? 1 : sum;
}

/* What is of the side that was elected; of none where the sum overflowed both ways. Both are looked at, so that there is no
 * jump. */
static void take_side(float *restrict out, const float *restrict total, const float *restrict plus,
                      const float *restrict minus, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float up = plus[i], down = minus[i];
        out[i] = total[i] >= 0 ? up : total[i] < 0 ? down : 0;
    }
}

static void divide_elected(float *restrict out, float *restrict weights, const emr_agreement *a)
{
    take_side(weights, a->total, a->plus_weight, a->minus_weight, a->n);
    for (size_t i = 0; i < a->n; i++)
        out[i] /= weights[i] == 0 ? 1 : weights[i];
}

static void take_elected(const emr_agreement *a, bool normalizes, float lambda, float *out)
{
    take_side(out, a->total, a->plus, a->minus, a->n);
    if (normalizes)
        divide_elected(out, a->plus, a);
    for (size_t i = 0; i < a->n; i++)
        out[i] *= lambda;
}

float emr_agreement_divisor(const emr_method_tensor *tensor)
{
    return is_normalized(tensor) ? total_weight(tensor) : 1;
}

void emr_agreement_end(const emr_agreement *a, const emr_method_tensor *tensor, float *out)
{
    float lambda = (float)emr_method_value(tensor, 0, EMR_AGREEMENT_LAMBDA);
    bool normalizes = is_normalized(tensor);
    if (a->elects) {
        take_elected(a, normalizes, lambda, out);
        return;
    }
    float divisor = emr_agreement_divisor(tensor);
    for (size_t i = 0; i < a->n; i++)
        out[i] = a->total[i] / divisor * lambda;
}

void emr_agreement_combine(const emr_method_chunk *c, bool elects, emr_sparsify_fn sparsify)
{
    for (size_t at = 0; at < c->n; at += EMR_AGREEMENT_STEP) {
        size_t n = (size_t)emr_min(EMR_AGREEMENT_STEP, c->n - at);
        float *room = c->scratch + EMR_AGREEMENT_FLOATS * n;
        emr_agreement a;
        emr_agreement_begin(&a, c->scratch, n, elects);
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
            const float *sparse = sparsify ? sparsify(c, t, at, n, room) : c->inputs[t] + at;
            emr_agreement_add(&a, c->tensor, t, sparse);
        }
        emr_agreement_end(&a, c->tensor, c->out + at);
    }
}
