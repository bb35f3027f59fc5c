/* kind.h - the kinds of modulators, as data: how a task's weights are coded beside the base. A bundle says
 * which kind its modulators are of; everything that reads, keeps and applies codes asks this table and no
 * more. So a new kind is an entry here, and its kernels.
 *
 * A kind's weights are computed from the base's and, parameter by parameter, a code of some bits; the scales,
 * one or two numbers that a group of parameters shares (all of a model, of a tensor or of a row); and, where
 * the kind wants it, the unified task vector. Where all scales are 0 they are the base's, but for zeros'
 * signs.
 *
 * Codes are packed without gaps, lowest bit first: parameter i of the flat space has bits [i * bits, (i + 1)
 * * bits) of the task's stream of codes. Eight codes begin at a byte and fill `bits` of them. */
#ifndef EMR_MODULATOR_KIND_H
#define EMR_MODULATOR_KIND_H

#include "numeric/kernels.h"

#include <stdbool.h>

enum {
    EMR_KIND_MASK = 1, /* numbers, as bundles store them */

    EMR_CODE_BITS_MAX = 4,
    EMR_SCALES_MAX = 2,
};

typedef struct emr_kind {
    uint32_t number;
    const char *name;
    uint32_t bits;     /* of a code: 1 to EMR_CODE_BITS_MAX */
    uint32_t n_scales; /* of a group: 1 to EMR_SCALES_MAX */
    bool has_unified;  /* weights are computed from the unified task vector too */
} emr_kind;

/* The kind of that number, or NULL. */
const emr_kind *emr_kind_find(uint32_t number);

/* Bytes of n codes, a multiple of 8. */
static inline uint64_t emr_code_bytes(const emr_kind *kind, uint64_t n)
{
    return n / 8 * kind->bits;
}

#endif
