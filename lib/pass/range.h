/* range.h - which of a pass's tensors are gone through, where it is not all of them. */
#ifndef EMR_PASS_RANGE_H
#define EMR_PASS_RANGE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct emr_pass_range {
    /* Of flat space: [first, end) is the range; the pass begins at `begin` before it, from where on the step
     * needs to know what came. Each is where an item may begin. */
    uint64_t begin, first, end;
    uint32_t kept_first, kept_end;       /* entries of the base that are not merged */
    uint64_t private_first, private_end; /* of those that tasks may have as their own (carry.h) */
    uint64_t bytes;                      /* that all of this reads */
} emr_pass_range;

#endif
