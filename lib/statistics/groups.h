/* groups.h - which tensors of an alignment count, and over what they are added up: themselves, their layer, their
 * kind, the model. */
#ifndef EMR_STATISTICS_GROUPS_H
#define EMR_STATISTICS_GROUPS_H

#include "align/alignment.h"
#include "statistics/places.h"

#define EMR_GROUP_NONE UINT32_MAX

/* What a merged tensor of the alignment adds to. */
typedef struct emr_grouped_tensor {
    uint64_t count;               /* of its elements, those that count */
    uint32_t tensor, layer, kind; /* groups; EMR_GROUP_NONE: it does not count */
} emr_grouped_tensor;

/* A layer, or a kind. */
typedef struct emr_place_group {
    uint64_t count;
    int64_t layer; /* -1: none */
    uint32_t n_tensors;
    char name[24];
} emr_place_group;

typedef struct emr_groups {
    emr_grouped_tensor *tensors; /* one for each merged tensor of the alignment */
    uint32_t *entries;           /* of each group of one tensor, its entry */
    emr_place_group *layers, *kinds;
    uint32_t n_tensors, n_layers, n_kinds;
    uint64_t count;
} emr_groups;

/* max_rows and skip_missing: those of emr_statistics_options. */
emr_status emr_groups_find(emr_groups *groups, const emr_alignment *alignment, uint64_t max_rows,
                           bool skip_missing, emr_error *error);
void emr_groups_free(emr_groups *groups, const emr_allocator *allocator);

#endif
