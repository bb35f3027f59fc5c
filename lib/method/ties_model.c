/* ties_model.c - TIES-Merging as published (arXiv 2306.01708), with the authors' details: each task vector is trimmed as one
 * over all tensors. k = int(density * count) and one more of its largest values stay, and all that are as large as the
 * smallest of these. The sum over the tasks elects a sign; a sum of exactly 0 elects the sign of the sum of all signs.
 * Of the values that have the elected sign the mean, the sum or the largest, times lambda, is added to the base.
 *
 * The whole model is read three times: for the cuts, for the sum of all signs, and to be combined. */
#include "method/magnitude.h"

#include "core/memory.h"

#include <float.h>
#include <string.h>

enum { DENSITY, LAMBDA, MERGE_FUNC, N_PARAMETERS };
enum { MERGE_MEAN, MERGE_SUM, MERGE_MAX };
enum { STEP = 1024 /* elements at a time, so that sums stay in the nearest cache */ };

static const emr_method_parameter model_parameters[N_PARAMETERS] = {
    [DENSITY] = {.name = "density", .initial = 0.2, .least = 0, .most = 1},
    [LAMBDA] = {.name = "lambda", .initial = 1, .least = -FLT_MAX, .most = FLT_MAX},
    [MERGE_FUNC] = {.name = "merge_func", .initial = MERGE_MEAN, .least = 0, .most = 2, .is_whole = 1},
};

static uint32_t count_model_cuts(const emr_method_tensor *tensor)
{
    return 2 * tensor->n_inputs;
}

static uint64_t place_model_cut(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list)
{
    uint64_t k = emr_magnitude_share(emr_method_value(tensor, 0, DENSITY), tensor->count);
    *list = cut;
    return k < tensor->count ? k + 1 : EMR_MAGNITUDE_ALL;
}

/* What equals the threshold stays. */
static emr_status keep_equal_ones(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    (void)error;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        found[2 * t + 1] = (double)tensor->count;
    return EMR_OK;
}

/* The trimmed values of an input. */
static void trim_input(const emr_method_chunk *c, uint32_t input, size_t at, size_t n, float *kept)
{
    const emr_magnitude_cuts cuts = {.keep = c->tensor->found + 2 * (size_t)input};
    (void)emr_magnitude_sparsify(c, cuts, input, at, n, kept);
}

static void add_kept(float *restrict total, const float *restrict kept, size_t n)
{
    for (size_t i = 0; i < n; i++)
        total[i] += kept[i];
}

static uint32_t one_sum(const emr_method_tensor *tensor)
{
    (void)tensor;
    return 1;
}

/* The sum of the signs that are elected where the sum is not 0. */
static void add_signs(const emr_method_chunk *c, double *sums)
{
    float total[STEP], kept[STEP];
    int64_t signs = 0;
    for (size_t at = 0; at < c->n; at += STEP) {
        size_t n = (size_t)emr_min(STEP, c->n - at);
        memset(total, 0, sizeof total);
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
            trim_input(c, t, at, n, kept);
            add_kept(total, kept, n);
        }
        for (size_t i = 0; i < n; i++)
            signs += (total[i] > 0) - (total[i] < 0);
    }
    sums[0] += (double)signs;
}

/* Of n elements, what the values above 0 and those below come to. */
typedef struct model_votes {
    float *total, *kept;
    float *plus, *minus;
    float *n_plus, *n_minus;
} model_votes;

enum { VOTE_FLOATS = 6 };

static void begin_votes(model_votes *v, float *memory, size_t n)
{
    *v = (model_votes){memory, memory + n, memory + 2 * n, memory + 3 * n, memory + 4 * n, memory + 5 * n};
    memset(memory, 0, VOTE_FLOATS * n * sizeof *memory);
}

static void add_votes(const model_votes *v, size_t n)
{
    const float *kept = v->kept;
    add_kept(v->total, kept, n);
    for (size_t i = 0; i < n; i++) {
        v->plus[i] += kept[i] > 0 ? kept[i] : 0;
        v->minus[i] += kept[i] < 0 ? kept[i] : 0;
    }
    for (size_t i = 0; i < n; i++) {
        v->n_plus[i] += kept[i] > 0 ? 1 : 0;
        v->n_minus[i] += kept[i] < 0 ? 1 : 0;
    }
}

static void take_largest(const model_votes *v, size_t n)
{
    const float *kept = v->kept;
    add_kept(v->total, kept, n);
    for (size_t i = 0; i < n; i++) {
        v->plus[i] = kept[i] > v->plus[i] ? kept[i] : v->plus[i];
        v->minus[i] = kept[i] < v->minus[i] ? kept[i] : v->minus[i];
    }
}

/* Where even the sum of all signs is 0, their program takes the values below 0, but 0 as the largest. */
static void elect_values(const model_votes *v, size_t n, double majority, uint32_t merge_func, float *out)
{
    for (size_t i = 0; i < n; i++) {
        double sign = v->total[i] != 0 ? (double)v->total[i] : majority;
        float value = sign > 0 ? v->plus[i] : v->minus[i];
        float count = sign > 0 ? v->n_plus[i] : v->n_minus[i];
        if (merge_func == MERGE_MEAN)
            value /= count > 1 ? count : 1;
        out[i] = merge_func == MERGE_MAX && sign == 0 ? 0 : value;
    }
}

static emr_status combine_model(const emr_method_chunk *c, emr_error *error)
{
    const emr_method_tensor *tensor = c->tensor;
    double majority = tensor->found[2 * (size_t)tensor->n_inputs];
    uint32_t merge_func = (uint32_t)emr_method_value(tensor, 0, MERGE_FUNC);
    float lambda = (float)emr_method_value(tensor, 0, LAMBDA);
    (void)error;
    for (size_t at = 0; at < c->n; at += STEP) {
        size_t n = (size_t)emr_min(STEP, c->n - at);
        model_votes v;
        begin_votes(&v, c->scratch, n);
        for (uint32_t t = 0; t < tensor->n_inputs; t++) {
            trim_input(c, t, at, n, v.kept);
            if (merge_func == MERGE_MAX)
                take_largest(&v, n);
            else
                add_votes(&v, n);
        }
        elect_values(&v, n, majority, merge_func, c->out + at);
        for (size_t i = at; i < at + n; i++)
            c->out[i] *= lambda;
    }
    return EMR_OK;
}

static const emr_method_stage model_cuts = {
    .size = sizeof model_cuts,
    .n_found = count_model_cuts,
    .list_keys = emr_magnitude_keys,
    .place_cut = place_model_cut,
    .settle = keep_equal_ones,
};

static const emr_method_stage model_signs = {
    .size = sizeof model_signs,
    .n_found = one_sum,
    .add_sums = add_signs,
};

const emr_method emr_method_ties_model = {
    .size = sizeof emr_method_ties_model,
    .name = "ties_model",
    .parameters = model_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&model_cuts, &model_signs},
    .combine = combine_model,
    .scratch_floats = VOTE_FLOATS,
    .base = EMR_METHOD_BASE_REQUIRED,
    .whole_model = 1,
};
