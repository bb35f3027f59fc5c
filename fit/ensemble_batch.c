/* ensemble_batch.c - samples as the host hands them in, looked at before anything is made of them. */
#include "ensemble.h"

#include <math.h>

static emr_status check_sizes(const emr_ensemble_batch *b, const emr_ensemble *e, emr_error *error)
{
    const uint64_t most = SIZE_MAX / sizeof(double);
    if (!b->n || !b->n_sources || !b->n_columns)
        return emr_error_format(
            error, EMR_EINVAL,
            "emr_ensemble_batch: %u samples, %u sources, %u columns: there must be one at "
            "least of each",
            (uint64_t)b->n, (uint64_t)b->n_sources, (uint64_t)b->n_columns);
    uint64_t widest = e && e->sides[SIDE_KEY].matrices[DOWN].columns > b->n_columns
                          ? e->sides[SIDE_KEY].matrices[DOWN].columns
                          : b->n_columns;
    if (b->n > most / b->n_sources / widest || (e && b->n > most / e->sides[SIDE_X].matrices[DOWN].columns))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_batch: %u samples of %u sources are more than memory can hold",
                                (uint64_t)b->n, (uint64_t)b->n_sources);
    return EMR_OK;
}

static emr_status check_parts(const emr_ensemble_batch *b, const emr_ensemble *e, bool has_labels,
                              emr_error *error)
{
    if (!b->values || (e && !b->x) || (has_labels && !b->labels))
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_batch: %s missing",
                                !b->values   ? "values are"
                                : e && !b->x ? "x is"
                                             : "labels are");
    if (e && !b->keys && b->n_columns != e->sides[SIDE_KEY].matrices[DOWN].columns)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_batch: keys are missing, and values of %u columns cannot be "
                                "keys, whose width is %u",
                                (uint64_t)b->n_columns, (uint64_t)e->sides[SIDE_KEY].matrices[DOWN].columns);
    for (size_t i = 0; has_labels && i < b->n; i++)
        if (b->labels[i] >= (b->n_columns == 1 ? 2 : b->n_columns))
            return emr_error_format(error, EMR_EINVAL,
                                    b->n_columns == 1
                                        ? "sample %u: its label is %u, and of a single column it is 0 or 1"
                                        : "sample %u: its label is %u, and there are %u columns",
                                    (uint64_t)i, (uint64_t)b->labels[i], (uint64_t)b->n_columns);
    return EMR_OK;
}

/* The first that is not finite, or n. */
static size_t find_nonfinite(const float *values, size_t n)
{
    size_t i = 0;
    while (i < n && isfinite(values[i]))
        i++;
    return i;
}

/* Of x, which is no source's. */
static emr_status check_x(const float *x, size_t n, size_t width, emr_error *error)
{
    size_t at = find_nonfinite(x, n * width);
    return at == n * width ? EMR_OK
                           : emr_error_format(error, EMR_ENONFINITE, "sample %u: x[%u] is NaN or infinite",
                                              (uint64_t)(at / width), (uint64_t)(at % width));
}

static emr_status check_sources(const char *what, const float *values, const emr_ensemble_batch *b,
                                size_t width, emr_error *error)
{
    size_t n = b->n * b->n_sources * width, at = find_nonfinite(values, n), source = at / width;
    return at == n
               ? EMR_OK
               : emr_error_format(error, EMR_ENONFINITE, "sample %u, source %u: %s[%u] is NaN or infinite",
                                  (uint64_t)(source / b->n_sources), (uint64_t)(source % b->n_sources), what,
                                  (uint64_t)(at % width));
}

emr_status fit_ensemble_take(ensemble_samples *samples, const emr_ensemble *e,
                             const emr_ensemble_batch *given, bool has_labels, emr_error *error)
{
    emr_ensemble_batch *b = &samples->batch;
    samples->rows = NULL;
    emr_status status = FIT_TAKE(b, given, emr_ensemble_batch, n_columns, error);
    if (!status)
        status = check_sizes(b, e, error);
    if (!status)
        status = check_parts(b, e, has_labels, error);
    if (!status)
        status = check_sources("values", b->values, b, b->n_columns, error);
    if (!status && e)
        status = check_x(b->x, b->n, e->sides[SIDE_X].matrices[DOWN].columns, error);
    if (!status && e && b->keys)
        status = check_sources("keys", b->keys, b, e->sides[SIDE_KEY].matrices[DOWN].columns, error);
    if (!b->keys)
        b->keys = b->values;
    samples->n = b->n;
    return status;
}
