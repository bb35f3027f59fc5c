/* parts.h - a merge in parts: where it is cut, which follows from the plan alone, so that every machine cuts it
 * alike. docs/scale.md says it in words. */
#ifndef EMR_MERGE_PARTS_H
#define EMR_MERGE_PARTS_H

#include "pass/range.h"

#include "emr/status.h"

struct emr_merge_plan;

enum { EMR_PARTS_MAX = 64 << 10 };

/* What part number `part` of `n` goes through. All work is a line: flat space, then kept tensors, then private
 * ones, each weighed by the bytes that it reads; the cuts are at equal shares of it, moved to where one may be:
 * - between kept, and private, tensors;
 * - in flat space at multiples of a superblock and of a chunk; within a row where rows have rescalers, and
 *   within a matrix where a task has scales of its columns, only at the first of them, from which on the part
 *   behind it begins, to have the sums that it goes on with. */
emr_status emr_parts_cut(const struct emr_merge_plan *plan, uint32_t part, uint32_t n, emr_pass_range *range,
                         emr_error *error);

/* Bytes that a part writes, at most. */
uint64_t emr_parts_bytes_out(const struct emr_merge_plan *plan, const emr_pass_range *range);

#endif
