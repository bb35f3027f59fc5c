/* della.c - DELLA (arXiv 2406.11617) as mergekit has it, with an election and without: as DARE, but the larger a value is
 * among those of its row, the likelier it stays. A row is the whole of the first dimension's element; a vector is one row.
 *
 *     r = its rank by magnitude in its row, 0 the smallest; of equal ones those in front are smaller
 *     p = (density - epsilon) + r / (columns - 1) * 2 * epsilon      in f64; a single column has r = 0
 *     it stays if its random word (draw.h) is below floor(p * 2^32)
 *
 * What stays is rescaled (rescale.h); then as in agreement.h. Where density is 1 nothing is drawn. */
#include "method/agreement.h"
#include "method/draw.h"
#include "method/rescale.h"

#include "core/bytes.h"
#include "core/error.h"

#include <string.h>

enum { DENSITY = EMR_AGREEMENT_PARAMETERS, EPSILON, RESCALE, N_PARAMETERS };

#define DELLA_PARAMETERS(normalizes)                                                                         \
    {                                                                                                        \
        EMR_AGREEMENT_PARAMETER_LIST(normalizes),                                                            \
            [DENSITY] = {.name = "density", .initial = 1, .least = 0, .most = 1, .per_task = 1},             \
            [EPSILON] = {.name = "epsilon", .initial = 0.15, .least = 0, .most = 1, .per_task = 1},          \
            [RESCALE] = EMR_RESCALE_PARAMETER                                                                \
    }
static const emr_method_parameter della_parameters[N_PARAMETERS] = DELLA_PARAMETERS(1);
static const emr_method_parameter linear_parameters[N_PARAMETERS] = DELLA_PARAMETERS(0);

/* Floats of scratch for each element: what is sorted, twice; its words, what is kept, and the sums. */
enum { SORTED_FLOATS = 4, DELLA_SCRATCH = SORTED_FLOATS + 2 + EMR_AGREEMENT_FLOATS };

typedef struct della_memory {
    uint64_t *items, *room;
    uint32_t *words;
    float *kept, *sums;
} della_memory;

static della_memory lay_out_della(const emr_method_chunk *c)
{
    float *scratch = c->scratch;
    return (della_memory){.items = (uint64_t *)(void *)scratch,
                          .room = (uint64_t *)(void *)scratch + c->n,
                          .words = (uint32_t *)(void *)(scratch + SORTED_FLOATS * c->n),
                          .kept = scratch + (SORTED_FLOATS + 1) * c->n,
                          .sums = scratch + (SORTED_FLOATS + 2) * c->n};
}

static double della_density(const emr_method_tensor *tensor, uint32_t input)
{
    return emr_method_value(tensor, input, DENSITY);
}

static uint32_t della_rescale(const emr_method_tensor *tensor)
{
    return (uint32_t)emr_method_value(tensor, 0, RESCALE);
}

static uint64_t della_row_length(const emr_method_tensor *tensor)
{
    return tensor->rank < 2 ? tensor->count : tensor->count / tensor->shape[0];
}

static bool drops_some(const emr_method_tensor *tensor)
{
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        if (della_density(tensor, t) < 1)
            return true;
    return false;
}

static uint32_t needed_della_stages(const emr_method_tensor *tensor)
{
    return drops_some(tensor) && della_rescale(tensor) == EMR_RESCALE_NORM;
}

static emr_status check_della(const emr_method_tensor *tensor, emr_error *error)
{
    if (della_row_length(tensor) > UINT32_MAX)
        return emr_fail(error, EMR_EINVAL, "rows of %u elements are too long to be ranked",
                        della_row_length(tensor));
    for (uint32_t t = 0; t < tensor->n_inputs; t++) {
        double density = della_density(tensor, t), epsilon = emr_method_value(tensor, t, EPSILON);
        if (density < 1 && !(density - epsilon > 0 && density + epsilon < 1))
            return emr_fail(error, EMR_EINVAL,
                            "task '%K': density - epsilon must be above 0 and density + epsilon below 1, for "
                            "these are the probabilities of a row's smallest and largest value",
                            tensor->inputs[t]);
    }
    return EMR_OK;
}

/* Items by one of the four bytes of their keys, those of one byte in their order. */
static void sort_by_byte(const uint64_t *items, uint64_t *sorted, size_t n, unsigned shift)
{
    size_t counts[256] = {0}, before = 0;
    for (size_t i = 0; i < n; i++)
        counts[items[i] >> shift & 255]++;
    for (size_t b = 0; b < 256; b++) {
        size_t here = counts[b];
        counts[b] = before;
        before += here;
    }
    for (size_t i = 0; i < n; i++)
        sorted[counts[items[i] >> shift & 255]++] = items[i];
}

/* Places in a row in ascending order of magnitudes: in the lower halves of m->items. The bits of a magnitude order like
 * it. */
static void rank_row(const float *row, size_t n, const della_memory *m)
{
    for (size_t i = 0; i < n; i++)
        m->items[i] = (uint64_t)(emr_f32_bits(row[i]) & 0x7fffffff) << 32 | i;
    sort_by_byte(m->items, m->room, n, 32);
    sort_by_byte(m->room, m->items, n, 40);
    sort_by_byte(m->items, m->room, n, 48);
    sort_by_byte(m->room, m->items, n, 56);
}

/* What stays of a row, divided by its probability or not. */
static void keep_row(const emr_method_tensor *tensor, uint32_t input, const float *row, size_t n,
                     const della_memory *m, size_t at)
{
    double density = della_density(tensor, input), epsilon = emr_method_value(tensor, input, EPSILON);
    bool divides = della_rescale(tensor) == EMR_RESCALE_PROBABILITY;
    double last = n > 1 ? (double)(n - 1) : 1;
    rank_row(row, n, m);
    for (size_t rank = 0; rank < n; rank++) {
        size_t i = (uint32_t)m->items[rank];
        double p = (density - epsilon) + (double)rank / last * 2 * epsilon;
        float value = divides ? row[i] / (float)p : row[i];
        m->kept[at + i] = m->words[at + i] < emr_random_threshold(p) ? value : 0;
    }
}

/* What stays of a chunk's input before it is multiplied. */
static void keep_rows(const emr_method_chunk *c, uint32_t input, const della_memory *m)
{
    size_t columns = (size_t)della_row_length(c->tensor);
    emr_draw_kernels(c->tensor).words(emr_draw_key(c->tensor, input), c->first, c->n, m->words);
    for (size_t at = 0; at < c->n; at += columns)
        keep_row(c->tensor, input, c->inputs[input] + at, columns, m, at);
}

static void add_della_norms(const emr_method_chunk *c, double *sums)
{
    const della_memory m = lay_out_della(c);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        if (della_density(c->tensor, t) >= 1)
            continue;
        keep_rows(c, t, &m);
        sums[2 * (size_t)t] += emr_magnitude_sum(c->inputs[t], c->n);
        sums[2 * (size_t)t + 1] += emr_magnitude_sum(m.kept, c->n);
    }
}

static void mix_rows(const emr_method_chunk *c, bool elects)
{
    const della_memory m = lay_out_della(c);
    const bool restores = della_rescale(c->tensor) == EMR_RESCALE_NORM;
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        bool drops = della_density(c->tensor, t) < 1;
        float scale = drops && restores ? emr_rescale_factor(c->tensor->found, t) : 1;
        if (drops)
            keep_rows(c, t, &m);
        emr_agreement_add(c, elects, t, drops ? m.kept : c->inputs[t], scale, m.sums);
    }
}

static emr_status combine_della(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    mix_rows(c, false);
    return EMR_OK;
}

static emr_status elect_della(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    mix_rows(c, true);
    return EMR_OK;
}

static const emr_method_stage della_norms = {
    .size = sizeof della_norms, .n_found = emr_rescale_norms, .add_sums = add_della_norms};

const emr_method emr_method_della = {
    .size = sizeof emr_method_della,
    .name = "della",
    .parameters = della_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&della_norms},
    .check = check_della,
    .row_length = della_row_length,
    .needed_stages = needed_della_stages,
    .combine = elect_della,
    .scratch_floats = DELLA_SCRATCH,
    .base = EMR_METHOD_BASE_REQUIRED,
};

const emr_method emr_method_della_linear = {
    .size = sizeof emr_method_della_linear,
    .name = "della_linear",
    .parameters = linear_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&della_norms},
    .check = check_della,
    .row_length = della_row_length,
    .needed_stages = needed_della_stages,
    .combine = combine_della,
    .scratch_floats = DELLA_SCRATCH,
    .base = EMR_METHOD_BASE_REQUIRED,
};
