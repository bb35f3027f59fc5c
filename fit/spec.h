/* spec.h - a permutation spec as it is kept, and how it is built up. */
#ifndef EMR_FIT_SPEC_H
#define EMR_FIT_SPEC_H

#include "emr/fit/permutation.h"

#include "host.h"

#include <stdatomic.h>

/* Which order an axis follows: that of a group's units, or of what part of a group of heads. */
typedef enum spec_part { PART_UNITS, PART_Q, PART_K, PART_V, PART_O, N_PARTS } spec_part;

/* Elements [offset, offset + outer * n * inner) of a tensor's axis are a part's n units, as [outer, n, inner]; with a stride,
 * a head begins so many elements behind the one before. */
typedef struct spec_axis {
    char *tensor;
    uint64_t offset, outer, inner, stride;
    uint32_t axis;
    spec_part part;
    bool is_input;   /* units are read here, not made */
    bool is_matched; /* it says something about how similar units are */
} spec_axis;

typedef struct spec_group {
    char *name;
    spec_axis *axes;
    size_t n_axes, axes_room;
    char **sites; /* where the units can be seen, or what o reads */
    size_t n_sites, sites_room;
    char *qk_site; /* the input of q and k; NULL: there is none */
    uint64_t n_units;
    uint32_t n_blocks, n_heads, n_kv_heads, head_dim;
    bool is_heads, fixed_qk;
} spec_group;

typedef struct spec_layer {
    char *weight, *bias, *site;
    uint32_t input_axis;
} spec_layer;

struct emr_permutation_spec {
    fit_host host;
    spec_group *groups;
    size_t n_groups, groups_room;
    spec_layer *layers;
    size_t n_layers, layers_room;
    atomic_size_t references;
    bool lacks_memory; /* something could not be added, and was written here instead: */
    spec_group no_group;
    spec_axis no_axis;
    spec_layer no_layer;
};

/* Limits of what comes from files. */
enum { SPEC_NAMES_MAX = 4096, SPEC_RANK_MAX = 8 };
#define SPEC_UNITS_MAX (UINT32_C(1) << 24)

emr_permutation_spec *spec_create(const emr_allocator *allocator, emr_error *error);
emr_permutation_spec *spec_share(const emr_permutation_spec *spec);
void spec_release(emr_permutation_spec *spec);

/* Building. Where memory is short they note that, and go on; names are copied. A group is valid until the next is added. */
spec_group *spec_add_group(emr_permutation_spec *spec, const char *name);
spec_axis *spec_add_axis(emr_permutation_spec *spec, spec_group *group, const char *tensor, uint32_t axis);
void spec_add_site(emr_permutation_spec *spec, spec_group *group, const char *site);
void spec_set_text(emr_permutation_spec *spec, char **text, const char *value);
spec_layer *spec_add_layer(emr_permutation_spec *spec, const char *weight, const char *bias,
                           const char *site);

/* Units of a part. */
uint64_t spec_part_units(const spec_group *group, spec_part part);

/* The place on its axis of part p's unit: of outer index o and inner index i. */
uint64_t spec_place(const spec_group *group, const spec_axis *axis, uint64_t o, uint64_t unit, uint64_t i);

const spec_group *spec_find_group(const emr_permutation_spec *spec, const char *name, bool is_heads);

/* Whether what was built is whole: names, sizes, and no element of an axis in two places. */
emr_status spec_validate(const emr_permutation_spec *spec, emr_error *error);

#endif
