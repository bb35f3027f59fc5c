/* permutation.h - a permutation as it is kept: arrays of indices for every group of its spec. */
#ifndef EMR_FIT_PERMUTATION_INSIDE_H
#define EMR_FIT_PERMUTATION_INSIDE_H

#include "spec.h"

typedef struct group_units {
    uint32_t *units;              /* of a group of units; else NULL, and */
    uint32_t *kv, *slot, *qk, *v; /* as in emr_head_units */
} group_units;

struct emr_permutation {
    fit_host host;
    emr_permutation_spec *spec; /* shared */
    group_units *groups;        /* one for each */
};

/* Which arrays a group of heads has, by number. */
enum { HEADS_KV, HEADS_SLOT, HEADS_QK, HEADS_V, HEADS_ARRAYS };
uint32_t *fit_heads_array(const group_units *units, int which);
/* How many rows and columns an array has; the numbers of a row are a permutation of its columns'. */
size_t fit_heads_rows(const spec_group *group, int which);
size_t fit_heads_columns(const spec_group *group, int which);

/* The old number of a part's new unit. */
uint64_t fit_permuted_unit(const spec_group *group, const group_units *units, spec_part part, uint64_t unit);

bool fit_permutation_same_group(const spec_group *group, const group_units *a, const group_units *b);
emr_status fit_permutation_copy(const emr_permutation *from, const fit_host *host, emr_permutation **copy,
                                emr_error *error);

#endif
