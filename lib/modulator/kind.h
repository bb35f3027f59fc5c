/* kind.h - the kinds of modulators, as data: how a task's weights are coded beside the base. A bundle says
 * which kind its modulators are of; everything that reads, keeps and applies codes asks this table and no
 * more. So a new kind is an entry in kind.c, and its kernels.
 *
 * A kind's weights are computed from
 * - the base's;
 * - a code for each parameter, of some bits;
 * - one or two scales, which a group of parameters shares: those of the model, of a tensor or of a row;
 * - and, where the kind wants it, the unified task vector.
 * Where all scales are 0 they are the base's, but for the signs of zeros.
 *
 * Codes are packed without gaps, the lowest bit first: parameter i of flat space has bits [i * bits,
 * (i + 1) * bits) of its task's stream. So eight codes begin at a byte and fill `bits` of them. Blocks of a
 * stream have `bits` times a power of two of bytes, and no code lies in two. */
#ifndef EMR_MODULATOR_KIND_H
#define EMR_MODULATOR_KIND_H

#include "emr/bundle.h"
#include "numeric/kernels.h"

#include <stdbool.h>

typedef struct emr_kind {
    emr_modulator_kind number;
    const char *name;
    uint32_t bits;     /* of a code: 1 to EMR_CODE_BITS_MAX */
    uint32_t n_scales; /* of a group: 1 to EMR_SCALES_MAX */
    bool has_unified;  /* weights are computed from the unified task vector too */
    /* What computes its weights. A function that a variant lacks is NULL; the C reference has all. */
    const emr_code_kernels *(*kernels)(const emr_kernels *variant);
} emr_kind;

/* The kind of that number, or NULL. */
const emr_kind *emr_kind_find(uint32_t number);

/* A variant's kernels for a kind; where it has none, those of the C reference. */
emr_code_kernels emr_kind_kernels(const emr_kind *kind, const emr_kernels *variant);

/* Where a stream of codes has the eight that parameter n's is one of; so the bytes of n codes, where n is a
 * multiple of 8. */
static inline uint64_t emr_code_bytes(const emr_kind *kind, uint64_t n)
{
    return n / 8 * kind->bits;
}

#endif
