/* finite.c - see finite.h. */
#include "finite.h"

#include <string.h>

static int is_finite_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000) != 0x7f800000;
}

static int all_finite(const float *values, size_t n)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= !is_finite_float(values[i]);
    return !bad;
}

emr_status fit_check_finite(const char *what, const float *values, size_t n_rows, size_t n_columns,
                            size_t stride, const uint8_t *keep, emr_error *error)
{
    for (size_t row = 0; row < n_rows; row++, values += stride) {
        if ((keep && !keep[row]) || all_finite(values, n_columns))
            continue;
        size_t column = 0;
        while (is_finite_float(values[column]))
            column++;
        return emr_error_format(error, EMR_ENONFINITE, "%s: value %u of row %u is NaN or infinite", what,
                                (uint64_t)column, (uint64_t)row);
    }
    return EMR_OK;
}
