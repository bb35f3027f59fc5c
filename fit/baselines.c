/* baselines.c - what an ensemble is compared with, and the usual way to represent an input of many tokens. */
#include "ensemble.h"

#include <math.h>

/* The column that a source says: the largest, the lowest of several; of a single one whether it is above 0. */
static uint32_t answer_of(const float *values, size_t n_columns)
{
    size_t answer = 0;
    if (n_columns == 1)
        return values[0] > 0;
    for (size_t c = 1; c < n_columns; c++)
        if (values[c] > values[answer])
            answer = c;
    return (uint32_t)answer;
}

static uint32_t most_voted(const emr_ensemble_batch *b, const float *values, size_t *votes)
{
    const size_t n_answers = b->n_columns == 1 ? 2 : b->n_columns;
    size_t most = 0;
    for (size_t c = 0; c < n_answers; c++)
        votes[c] = 0;
    for (size_t j = 0; j < b->n_sources; j++)
        votes[answer_of(values + j * b->n_columns, b->n_columns)]++;
    for (size_t c = 1; c < n_answers; c++)
        if (votes[c] > votes[most])
            most = c;
    return (uint32_t)most;
}

emr_status emr_ensemble_vote(const emr_ensemble_batch *batch, uint32_t *answers, emr_error *error)
{
    ensemble_samples s;
    fit_host host;
    if (!answers)
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_vote: NULL");
    emr_status status = fit_ensemble_take(&s, NULL, batch, false, error);
    if (!status)
        status = fit_host_take(&host, NULL, error);
    if (status)
        return status;
    size_t *votes = fit_allocate(&host, s.batch.n_columns + 1, sizeof *votes);
    if (!votes)
        return fit_no_memory(error);
    for (size_t i = 0; i < s.n; i++)
        answers[i] = most_voted(&s.batch, ensemble_values(&s, i), votes);
    fit_release(&host, votes);
    return EMR_OK;
}

static size_t count_right(const ensemble_samples *s, size_t source)
{
    const size_t n = s->batch.n_columns;
    size_t n_right = 0;
    for (size_t i = 0; i < s->n; i++)
        n_right += answer_of(ensemble_values(s, i) + source * n, n) == s->batch.labels[i];
    return n_right;
}

emr_status emr_ensemble_best_source(const emr_ensemble_batch *batch, size_t *source, size_t *n_right,
                                    emr_error *error)
{
    ensemble_samples s;
    size_t best = 0, most = 0;
    if (!source || !n_right)
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_best_source: NULL");
    emr_status status = fit_ensemble_take(&s, NULL, batch, true, error);
    if (status)
        return status;
    for (size_t j = 0; j < s.batch.n_sources; j++) {
        size_t right = count_right(&s, j);
        if (right > most) {
            most = right;
            best = j;
        }
    }
    *source = best;
    *n_right = most;
    return EMR_OK;
}

/* That of an input which is not padding, and finite, or why there is none. */
static emr_status check_input(const float *tokens, size_t input, size_t n_tokens, size_t width,
                              const uint8_t *keep, emr_error *error)
{
    size_t n_kept = 0;
    for (size_t t = 0; t < n_tokens; t++) {
        if (keep && !keep[t])
            continue;
        n_kept++;
        for (size_t k = 0; k < width; k++)
            if (!isfinite(tokens[t * width + k]))
                return emr_error_format(error, EMR_ENONFINITE,
                                        "sample %u: feature %u of token %u is NaN or infinite",
                                        (uint64_t)input, (uint64_t)k, (uint64_t)t);
    }
    return n_kept ? EMR_OK
                  : emr_error_format(error, EMR_EINVAL, "sample %u: all its tokens are padding",
                                     (uint64_t)input);
}

static void pool_input(const float *tokens, size_t n_tokens, size_t width, const uint8_t *keep, float *x)
{
    for (size_t k = 0; k < width; k++)
        x[k] = -INFINITY;
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t k = 0; (!keep || keep[t]) && k < width; k++)
            x[k] = tokens[t * width + k] > x[k] ? tokens[t * width + k] : x[k];
}

emr_status emr_ensemble_pool(const float *embeddings, size_t n, size_t n_tokens, size_t width,
                             const uint8_t *keep, float *x, emr_error *error)
{
    if (!embeddings || !x || !n || !n_tokens || !width || n > SIZE_MAX / sizeof(float) / n_tokens / width)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_pool: there must be embeddings, and room, of one sample, token "
                                "and feature at least");
    const size_t size = n_tokens * width;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < n; i++)
        status =
            check_input(embeddings + i * size, i, n_tokens, width, keep ? keep + i * n_tokens : NULL, error);
    for (size_t i = 0; !status && i < n; i++)
        pool_input(embeddings + i * size, n_tokens, width, keep ? keep + i * n_tokens : NULL, x + i * width);
    return status;
}
