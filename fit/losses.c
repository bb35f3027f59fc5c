/* losses.c - see emr/fit/losses.h. */
#include "emr/fit/losses.h"

#include "finite.h"
#include "host.h"

#include "emr/elementary.h"

#include <string.h>

/* Logits that were checked, and how many of their rows count. */
typedef struct checked_logits {
    emr_logits given;
    size_t n_kept;
} checked_logits;

static bool is_kept(const checked_logits *l, size_t row)
{
    return !l->given.keep || l->given.keep[row];
}

static emr_status take_logits(checked_logits *l, const char *call, const emr_logits *given, emr_error *error)
{
    if (!given)
        return emr_error_format(error, EMR_EINVAL, "%s: NULL", call);
    emr_logits *taken = &l->given;
    emr_status status = FIT_TAKE(taken, given, emr_logits, reserved, error);
    if (status)
        return status;
    taken->row_stride = taken->row_stride ? taken->row_stride : taken->n_columns;
    if (!taken->data)
        return emr_error_format(error, EMR_EINVAL, "%s: the logits have no data", call);
    if (!taken->n_columns || taken->row_stride < taken->n_columns)
        return emr_error_format(error, EMR_EINVAL,
                                "%s: logits have at least one column, and rows at least as far apart", call);
    l->n_kept = 0;
    for (size_t row = 0; row < taken->n_rows; row++)
        l->n_kept += is_kept(l, row);
    if (!l->n_kept)
        return emr_error_format(error, EMR_EINVAL, "%s: there is no row that counts", call);
    return fit_check_finite(call, taken->data, taken->n_rows, taken->n_columns, taken->row_stride,
                            taken->keep, error);
}

/* The logits of one row: of a lone one z, which is that of a yes, those of no and yes are 0 and z. */
typedef struct classes {
    const float *z;
    size_t n;
    size_t first; /* the class that the row's first column is */
    float pair[2];
    double most;
    double log_sum; /* log(sum of exp(z - most)) */
    double entropy; /* log(sum) less the mean, over p, of z - most */
} classes;

static void take_classes(classes *c, const checked_logits *l, size_t row)
{
    const float *z = l->given.data + row * l->given.row_stride;
    c->first = l->given.n_columns == 1;
    c->pair[0] = 0;
    c->pair[1] = *z;
    c->z = c->first ? c->pair : z;
    c->n = c->first ? 2 : l->given.n_columns;
    c->most = (double)c->z[0];
    for (size_t i = 1; i < c->n; i++)
        c->most = (double)c->z[i] > c->most ? (double)c->z[i] : c->most;
    double sum = 0, weighted = 0;
    for (size_t i = 0; i < c->n; i++) {
        double below = (double)c->z[i] - c->most, e = emr_exp(below);
        sum += e;
        weighted += e * below;
    }
    c->log_sum = emr_log(sum);
    c->entropy = c->log_sum - weighted / sum;
}

static double log_probability(const classes *c, size_t i)
{
    return ((double)c->z[i] - c->most) - c->log_sum;
}

/* Of a row that does not count it is 0. */
static void clear_row(const checked_logits *l, size_t row, float *gradient)
{
    for (size_t i = 0; gradient && i < l->given.n_columns; i++)
        gradient[row * l->given.row_stride + i] = 0;
}

emr_status emr_entropy(const emr_logits *logits, double *loss, float *gradient, emr_error *error)
{
    checked_logits l;
    classes c;
    double sum = 0;
    emr_status status = take_logits(&l, "emr_entropy", logits, error);
    if (status)
        return status;
    size_t n_columns = l.given.n_columns;
    double most = l.given.per_log_classes ? emr_log(n_columns > 1 ? (double)n_columns : 2) : 1;
    double share = 1 / (most * (double)l.n_kept);
    for (size_t row = 0; row < l.given.n_rows; row++) {
        if (!is_kept(&l, row)) {
            clear_row(&l, row, gradient);
            continue;
        }
        take_classes(&c, &l, row);
        sum += c.entropy;
        for (size_t i = c.first; gradient && i < c.n; i++) {
            double log_p = log_probability(&c, i);
            gradient[row * l.given.row_stride + i - c.first] =
                (float)(-emr_exp(log_p) * (log_p + c.entropy) * share);
        }
    }
    if (loss)
        *loss = sum * share;
    return EMR_OK;
}

static emr_status check_labels(const checked_logits *l, const uint32_t *labels, emr_error *error)
{
    size_t n_classes = l->given.n_columns > 1 ? l->given.n_columns : 2;
    for (size_t row = 0; row < l->given.n_rows; row++)
        if (is_kept(l, row) && labels[row] >= n_classes)
            return emr_error_format(error, EMR_EINVAL,
                                    "emr_cross_entropy: the label of row %u is %u, of %u classes",
                                    (uint64_t)row, (uint64_t)labels[row], (uint64_t)n_classes);
    return EMR_OK;
}

emr_status emr_cross_entropy(const emr_logits *logits, const uint32_t *labels, double *loss, float *gradient,
                             emr_error *error)
{
    checked_logits l;
    classes c;
    double sum = 0;
    if (!labels)
        return emr_error_format(error, EMR_EINVAL, "emr_cross_entropy: NULL");
    emr_status status = take_logits(&l, "emr_cross_entropy", logits, error);
    if (!status)
        status = check_labels(&l, labels, error);
    if (status)
        return status;
    double share = 1 / (double)l.n_kept;
    for (size_t row = 0; row < l.given.n_rows; row++) {
        if (!is_kept(&l, row)) {
            clear_row(&l, row, gradient);
            continue;
        }
        take_classes(&c, &l, row);
        sum -= log_probability(&c, labels[row]);
        for (size_t i = c.first; gradient && i < c.n; i++)
            gradient[row * l.given.row_stride + i - c.first] =
                (float)((emr_exp(log_probability(&c, i)) - (i == labels[row])) * share);
    }
    if (loss)
        *loss = sum * share;
    return EMR_OK;
}

enum { ABREAST = 64 }; /* features whose sums over tokens are taken at a time */

/* sums[k] = sum over a sample's tokens of y - that of z, of n features. */
static void compare_tokens(const float *y, const float *z, size_t n_tokens, size_t width, size_t n,
                           double *sums)
{
    double of_z[ABREAST] = {0};
    memset(sums, 0, n * sizeof *sums);
    for (size_t token = 0; token < n_tokens; token++, y += width, z += width)
        for (size_t k = 0; k < n; k++) {
            sums[k] += (double)y[k];
            of_z[k] += (double)z[k];
        }
    for (size_t k = 0; k < n; k++)
        sums[k] -= of_z[k];
}

static void write_signs(const double *sums, size_t n_tokens, size_t width, size_t n, double share, bool add,
                        float *gradient)
{
    for (size_t token = 0; token < n_tokens; token++, gradient += width)
        for (size_t k = 0; k < n; k++) {
            float own = (float)(sums[k] > 0 ? share : sums[k] < 0 ? -share : 0);
            gradient[k] = add ? gradient[k] + own : own;
        }
}

emr_status emr_l1(const float *y, const float *z, size_t n, size_t n_tokens, size_t width, int add,
                  double *loss, float *gradient, emr_error *error)
{
    double sum = 0, sums[ABREAST];
    if (!y || !z || !n || !n_tokens || !width)
        return emr_error_format(error, EMR_EINVAL, "emr_l1: NULL, or nothing to compare");
    emr_status status = fit_check_finite("emr_l1: y", y, n * n_tokens, width, width, NULL, error);
    if (!status)
        status = fit_check_finite("emr_l1: z", z, n * n_tokens, width, width, NULL, error);
    if (status)
        return status;
    double share = 1 / ((double)n * (double)width * (double)n_tokens);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < width; k += ABREAST) {
            size_t at = i * n_tokens * width + k, few = width - k < ABREAST ? width - k : ABREAST;
            compare_tokens(y + at, z + at, n_tokens, width, few, sums);
            for (size_t j = 0; j < few; j++)
                sum += sums[j] < 0 ? -sums[j] : sums[j];
            if (gradient)
                write_signs(sums, n_tokens, width, few, share, add, gradient + at);
        }
    if (loss)
        *loss = sum * share;
    return EMR_OK;
}
