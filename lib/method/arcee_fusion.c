/* arcee_fusion.c - Arcee Fusion as mergekit has it, of one task: its weights where they matter, elsewhere the base's.
 *
 *     importance = |W - B| * KL(softmax of W's row, of B's row), rows along the last dimension, both with 1e-8 added
 *     W where importance >= median + 1.5 (upper quartile - lower quartile) of the tensor, else B
 *
 * In f64; importances are rounded to f32. Quantiles are exact whatever the size: mergekit draws 10^6 elements of larger
 * tensors. The f-quantile of n is the element int(f32(f) f32(n - 1)) in ascending order, as there. */
#include "method/methods.h"

#include "numeric/elementary.h"

enum { N_QUARTILES = 3 };

static uint64_t softmax_length(const emr_method_tensor *tensor)
{
    return tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
}

/* ---- how far two softmaxes are from each other */

typedef struct row_softmax {
    const float *row;
    double largest, sum;
} row_softmax;

static row_softmax softmax_of(const float *row, size_t n)
{
    row_softmax s = {row, (double)row[0], 0};
    for (size_t i = 1; i < n; i++)
        s.largest = (double)row[i] > s.largest ? (double)row[i] : s.largest;
    for (size_t i = 0; i < n; i++)
        s.sum += emr_exp((double)row[i] - s.largest);
    return s;
}

static double softmax_at(const row_softmax *s, size_t i)
{
    return emr_exp((double)s->row[i] - s->largest) / s->sum + 1e-8;
}

static double divergence_of(const float *task, const float *base, size_t n)
{
    row_softmax p = softmax_of(task, n), q = softmax_of(base, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double at = softmax_at(&p, i);
        sum += at * emr_log(at / softmax_at(&q, i));
    }
    return sum > 0 ? sum : 0; /* never below but by rounding */
}

static float importance_at(const emr_method_chunk *c, size_t i, double divergence)
{
    double d = (double)c->inputs[0][i] - (double)c->base[i];
    return (float)((d < 0 ? -d : d) * divergence);
}

static void list_importances(const emr_method_chunk *c, uint32_t list, float *keys)
{
    size_t length = (size_t)c->tensor->row_length;
    (void)list;
    for (size_t row = 0; row < c->n; row += length) {
        double divergence = divergence_of(c->inputs[0] + row, c->base + row, length);
        for (size_t i = row; i < row + length; i++)
            keys[i] = importance_at(c, i, divergence);
    }
}

/* ---- the threshold */

static uint32_t count_quartiles(const emr_method_tensor *tensor)
{
    (void)tensor;
    return 2 * N_QUARTILES;
}

static uint64_t place_quartile(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list)
{
    *list = 0;
    float at = (float)(cut + 1) * 0.25F * (float)(tensor->count - 1);
    return tensor->count - (uint64_t)at;
}

/* In the place of the first cut's key. */
static emr_status settle_threshold(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    (void)tensor, (void)error;
    found[0] = found[2] + 1.5 * (found[4] - found[0]);
    return EMR_OK;
}

static emr_status combine_important(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    list_importances(c, 0, c->scratch);
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = (double)c->scratch[i] >= c->tensor->found[0] ? c->inputs[0][i] : c->base[i];
    return EMR_OK;
}

static const emr_method_stage quartile_cuts = {
    .size = sizeof quartile_cuts,
    .n_found = count_quartiles,
    .list_keys = list_importances,
    .place_cut = place_quartile,
    .settle = settle_threshold,
};

const emr_method emr_method_arcee_fusion = {
    .size = sizeof emr_method_arcee_fusion,
    .name = "arcee_fusion",
    .stages = {&quartile_cuts},
    .row_length = softmax_length,
    .combine = combine_important,
    .scratch_floats = 1,
    .base = EMR_METHOD_BASE_BESIDE,
    .max_tasks = 1,
};
