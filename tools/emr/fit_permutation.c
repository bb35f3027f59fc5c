/* fit_permutation.c - `emr fit spec`, `match`, `permute`: which units are which, models in another order. */
#include "fitting.h"

#include <stdlib.h>
#include <string.h>

emr_status make_spec(fit_job *j, const arguments *a, emr_error *error)
{
    (void)j, (void)a, (void)error;
    return EMR_OK; /* it is there */
}

emr_status find_permutation(fit_job *j, const emr_match_options *options, emr_error *error)
{
    emr_match_options o = *options;
    o.resources = &j->inputs.session.resources;
    o.gram = j->n_grams ? j->grams[0] : NULL;
    count_progress("groups");
    emr_status status = emr_match(j->spec, j->models[0], j->models[1], &o, &j->permutation, &j->match, error);
    if (!status && !j->match.n_groups)
        status = fail_with(error, EMR_EMISMATCH, NULL,
                           o.gram ? "the gram has no site of any group of the spec: nothing can be matched"
                                  : "the spec has no groups: nothing can be matched");
    return status;
}

emr_status make_match(fit_job *j, const arguments *a, emr_error *error)
{
    static const emr_match_space spaces[] = {EMR_MATCH_SPACE_WEIGHTS, EMR_MATCH_SPACE_WEIGHTS,
                                             EMR_MATCH_SPACE_ACTIVATIONS, EMR_MATCH_SPACE_BOTH};
    emr_permutation *start = NULL;
    const uint32_t by = a->fit.by || !j->n_grams ? a->fit.by : FIT_BY_ACTIVATIONS;
    emr_match_options options = {.size = sizeof options,
                                 .space = spaces[by],
                                 .similarity = a->fit.similarity,
                                 .balance = a->fit.balance.value,
                                 .use_balance = a->fit.balance.is_given,
                                 .seed = a->seed,
                                 .max_rounds = a->fit.max_rounds,
                                 .patience = a->fit.patience};
    emr_status status = a->fit.start ? open_fit_permutation(&start, j, a->fit.start, error) : EMR_OK;
    options.start = start;
    if (!status)
        status = find_permutation(j, &options, error);
    emr_permutation_destroy(&start);
    if (!status)
        status = emr_permutation_open_indices(j->permutation, &j->merged, error);
    if (!status && a->fit.aligned)
        status = emr_permutation_open_model(j->permutation, j->models[1], &j->aligned, error);
    return status;
}

/* --- permute ---------------------------------------------------------------------------------------------- */

/* SplitMix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void shuffle(uint64_t *state, uint32_t *numbers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        numbers[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t other = (uint32_t)(next_random(state) % i), last = numbers[i - 1];
        numbers[i - 1] = numbers[other];
        numbers[other] = last;
    }
}

/* Blocks among each other, and units in each. */
static emr_status order_units(emr_permutation *p, const emr_unit_group *g, uint64_t *state, emr_error *error)
{
    const uint32_t n = (uint32_t)g->n_units, width = n / g->n_blocks;
    uint32_t *units = calloc(n, sizeof *units), *blocks = calloc(g->n_blocks, sizeof *blocks);
    emr_status status = units && blocks ? EMR_OK : EMR_ENOMEM;
    if (!status) {
        shuffle(state, blocks, g->n_blocks);
        for (uint32_t b = 0; b < g->n_blocks; b++) {
            shuffle(state, units + b * width, width);
            for (uint32_t i = 0; i < width; i++)
                units[b * width + i] += blocks[b] * width;
        }
        status = emr_permutation_set_units(p, g->name, units, error);
    }
    free(units);
    free(blocks);
    return status;
}

static emr_status order_heads(emr_permutation *p, const emr_unit_group *g, uint64_t *state, emr_error *error)
{
    const uint32_t n_kv = g->n_kv_heads, per_kv = g->n_heads / n_kv, d = g->head_dim;
    uint32_t *kv = calloc(n_kv, sizeof *kv), *slot = calloc(g->n_heads, sizeof *slot);
    uint32_t *qk = calloc((size_t)n_kv * d, sizeof *qk), *v = calloc((size_t)n_kv * d, sizeof *v);
    emr_status status = kv && slot && qk && v ? EMR_OK : EMR_ENOMEM;
    if (!status) {
        shuffle(state, kv, n_kv);
        for (uint32_t h = 0; h < n_kv; h++) {
            shuffle(state, slot + h * per_kv, per_kv);
            shuffle(state, qk + (size_t)h * d, d);
            shuffle(state, v + (size_t)h * d, d);
            for (uint32_t i = 0; g->fixed_qk && i < d; i++)
                qk[(size_t)h * d + i] = i;
        }
        const emr_head_units units = {sizeof units, kv, slot, qk, v};
        status = emr_permutation_set_heads(p, g->name, &units, error);
    }
    free(kv);
    free(slot);
    free(qk);
    free(v);
    return status;
}

static emr_status order_at_random(fit_job *j, uint64_t seed, emr_error *error)
{
    emr_unit_group group = EMR_INIT(emr_unit_group);
    emr_status status = emr_permutation_create(&j->permutation, j->spec, NULL, error);
    for (uint32_t i = 0; !status && emr_permutation_spec_get_group(j->spec, i, &group) == EMR_OK; i++)
        status = (group.n_units ? order_units : order_heads)(j->permutation, &group, &seed, error);
    return status;
}

static emr_status turn_round(fit_job *j, emr_error *error)
{
    emr_permutation *inverse;
    emr_status status = emr_permutation_invert(j->permutation, &inverse, error);
    if (status)
        return status;
    emr_permutation_destroy(&j->permutation);
    j->permutation = inverse;
    return EMR_OK;
}

emr_status make_permuted(fit_job *j, const arguments *a, emr_error *error)
{
    emr_status status = a->fit.has_random
                            ? order_at_random(j, a->fit.random, error)
                            : open_fit_permutation(&j->permutation, j, a->fit.permutation, error);
    if (!status && a->fit.inverse)
        status = turn_round(j, error);
    return status ? status : emr_permutation_open_model(j->permutation, j->models[0], &j->merged, error);
}
