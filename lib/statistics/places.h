/* places.h - where in a network a tensor is, read from its name alone: which layer, and what kind of weights. */
#ifndef EMR_STATISTICS_PLACES_H
#define EMR_STATISTICS_PLACES_H

#include <stdint.h>

enum { EMR_N_PLACE_KINDS = 12 };

/* The number behind the first part "layer", "layers", "h", "block", "blocks", "resblocks" or GGUF's "blk", which another
 * part follows; -1: there is none, or it has more than 18 digits. */
int64_t emr_place_layer(const char *name);

/* A kind's number, in the order of emr/statistics.h. */
uint32_t emr_place_kind(const char *name);

const char *emr_place_kind_name(uint32_t kind);

#endif
