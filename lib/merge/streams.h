/* streams.h - what a merge computes for each parameter, as the bundle stores it: values that all tasks share,
 * and planes of one bit a task. The first of each is what a bundle needs; the others are what adding tasks
 * needs (docs/bundle-format.md, "Growth"). */
#ifndef EMR_MERGE_STREAMS_H
#define EMR_MERGE_STREAMS_H

#include "bundle/format.h"

enum { EMR_N_VALUES = 4, EMR_N_PLANES = 3 };

static const enum emr_stream_kind emr_value_kinds[EMR_N_VALUES] = {
    [0] = EMR_STREAM_UNIFIED, [1] = EMR_STREAM_SUMS, [2] = EMR_STREAM_OPPOSITES, [3] = EMR_STREAM_EXTREMES};
static const enum emr_stream_kind emr_plane_kinds[EMR_N_PLANES] = {
    [0] = EMR_STREAM_MASK, [1] = EMR_STREAM_NONZEROS, [2] = EMR_STREAM_UNDECIDED};

/* Bytes of a value. */
static inline size_t emr_value_size(size_t value, uint32_t unified_dtype)
{
    return value == 0 && unified_dtype != EMR_DTYPE_F32 ? 2 : 4;
}

#endif
