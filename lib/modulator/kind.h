/* kind.h - the kinds of modulators, as data: how a task's weights are coded beside the base. A task's kind is in
 * the bundle; everything that reads, keeps and applies codes asks this table and no more. So a new kind is an
 * entry in kind.c, and its kernels.
 *
 * A kind's weights are computed from
 * - the base's;
 * - codes (emr_coding), which lie in a stream of the task's in the order of flat space;
 * - one or two scales, which a group of parameters shares: those of the model, of a tensor or of a row; or, of
 *   kinds without unified values, those of a stretch: of a row, what lies in one chunk of flat space;
 * - perhaps the scales of columns;
 * - and, where the kind wants it, the unified task vector.
 * Where all scales are 0 they are the base's, but for the signs of zeros. */
#ifndef EMR_MODULATOR_KIND_H
#define EMR_MODULATOR_KIND_H

#include "emr/bundle.h"
#include "numeric/kernels.h"

#include <stdbool.h>

typedef struct emr_kind {
    emr_modulator_kind number;
    const char *name;
    uint32_t n_scales; /* of a group: 1 to EMR_SCALES_MAX */
    bool has_unified;  /* weights are computed from the unified task vector too; the scales are in f32 */
    bool has_columns;  /* there may be scales of columns, which all rows share */
    /* What computes its weights. A function that a variant lacks is NULL; the C reference has all. */
    const emr_code_kernels *(*kernels)(const emr_kernels *variant);
} emr_kind;

/* How one tensor of one task is coded. */
typedef struct emr_tensor_code {
    const emr_kind *kind;
    emr_coding coding;
} emr_tensor_code;

/* The kind of that number, or NULL. */
const emr_kind *emr_kind_find(uint32_t number);

/* What the vectors among a task's tensors are coded as, where the task's kind has no unified values: not a kind
 * that a task can have. */
extern const emr_kind emr_kind_differences;

/* The levels of codes of a kind EMR_MODULATOR_KIND_LEVELS: `n` of them, ascending, then 0 for the codes that
 * are left; NULL if there are none for that number. */
const float *emr_kind_levels(uint32_t n);

/* How codes of a kind lie: of EMR_MODULATOR_KIND_THIN where one of `thinning` parameters is kept, of
 * ..._LEVELS where there are that many. The rate is 0 where there can be no such codes. */
emr_coding emr_kind_coding(const emr_kind *kind, uint32_t thinning, uint32_t n_levels, uint32_t seed);

/* A variant's kernels for a kind; where it has none, those of the C reference. */
emr_code_kernels emr_kind_kernels(const emr_kind *kind, const emr_kernels *variant);

/* Bytes of the codes of n parameters from the first one of a stream on, the last byte perhaps in part. */
static inline uint64_t emr_code_bytes(const emr_coding *coding, uint64_t n)
{
    return n / EMR_CODE_UNIT * coding->rate + (n % EMR_CODE_UNIT * coding->rate + 511) / 512;
}

#endif
