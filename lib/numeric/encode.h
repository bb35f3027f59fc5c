/* encode.h - codes and scales of kinds of modulators that share nothing: signs, thinned signs, levels, and
 * the differences that vectors are kept as. An item at a time: what lies between two multiples of EMR_CHUNK
 * of flat space, of one tensor and task. docs/algorithm.md has the formulas.
 *
 * A stretch is what of a row lies in an item; it has one scale. Scales of columns are known at a tensor's
 * end, from sums that its items leave. The result depends on nothing but the values: on every processor it
 * is the same. */
#ifndef EMR_NUMERIC_ENCODE_H
#define EMR_NUMERIC_ENCODE_H

#include "emr/modulator.h"
#include "numeric/kernels.h"

typedef struct emr_encoding {
    /* in */
    size_t n; /* parameters, 1 to EMR_CHUNK; at most to the next multiple of EMR_CHUNK of flat space */
    const void *base, *task;
    emr_dtype base_dtype, task_dtype;
    bool zero_nonfinite;     /* what is not finite counts as 0; else it is `bad` */
    uint64_t flat;           /* the first parameter's place in flat space, a multiple of EMR_GROUP */
    uint64_t first;          /* and in the tensor */
    uint64_t row_length;     /* C, parameters of a row */
    emr_modulator_kind kind; /* 0: differences */
    emr_rescale rescale;     /* not DEFAULT */
    emr_coding coding;
    uint32_t n_levels;
    bool has_columns; /* of signs */

    /* work */
    float *tau; /* room for n rounded up to a group, and for 64 more */

    /* out */
    uint8_t
        *codes; /* of the item's groups, from bit 0 on, emr_encode_bytes() of them; differences: n numbers */
    uint8_t *scales;    /* BF16, one a stretch, in order; differences: none */
    float *column_sums; /* min(n, C), of emr_encode_fold(); may be NULL without columns */
    size_t n_stretches;
    double tt, tq,
        qq;    /* <tau, tau>, <tau, v> and <v, v>, v being what codes and scales stand for, without columns */
    double rr; /* sum over stretches of scale^2 * length / C */
    uint64_t zeroed; /* what was not finite */
    size_t bad;      /* the first that is not finite, where nothing else is out; or n */
} emr_encoding;

/* What makes the scales of a tensor's columns. */
typedef struct emr_column_fit {
    /* in */
    uint64_t n_columns;
    const double *sums; /* by column, from emr_encode_fold() */
    emr_rescale rescale;
    double tt, rr; /* of all items */
    /* in: of all items; out: with the scales of columns */
    double tq, qq;
    /* out */
    uint8_t *columns; /* BF16 */
} emr_column_fit;

/* Bytes of the codes of an item of n parameters; of differences, of n numbers of `rate` / EMR_GROUP bits. */
static inline size_t emr_encode_bytes(const emr_coding *coding, size_t n)
{
    if (coding->rate >= 16 * EMR_GROUP)
        return n * (coding->rate / EMR_GROUP / 8);
    return ((n + EMR_GROUP - 1) / EMR_GROUP * coding->rate + 7) / 8;
}

/* How many stretches, so scales, an item has. */
static inline size_t emr_encode_stretches(uint64_t first, size_t n, uint64_t row_length)
{
    return (size_t)((first + n - 1) / row_length - first / row_length + 1);
}

/* Puts a group's codes, `rate` bits, where they belong; those of groups after it are 0 then, up to a whole
 * byte. */
static inline void emr_encode_store(uint8_t *codes, uint32_t rate, size_t group, uint64_t word)
{
    size_t bit = group * rate;
    for (uint32_t i = 0; i < rate; i += 8) {
        uint8_t *to = &codes[(bit + i) / 8];
        *to = (uint8_t)((*to & ((1u << bit % 8) - 1)) | word >> i << bit % 8);
    }
}

void emr_encode_item(const emr_kernels *kernels, emr_encoding *encoding);

/* Adds an item's sums to a tensor's, items in order; `sums` is 0 before the first. */
void emr_encode_fold(double *sums, const emr_encoding *encoding);

/* Scales of columns. Where sums in f32 were no use (values so large or so small that products were lost) or
 * all scales of rows are 0, every one is 1. */
void emr_encode_columns(emr_column_fit *fit);

#endif
