/* planes.h - the bytes of equal elements sorted by their place in the element: first the lowest byte of each,
 * then the next lowest of each, and so on. The bytes of a float's exponent resemble each other, those of its
 * mantissa do not: apart, the former compress and the latter need not be tried. */
#ifndef EMR_BUNDLE_PLANES_H
#define EMR_BUNDLE_PLANES_H

#include <stddef.h>
#include <stdint.h>

/* n bytes of elements of `width` bytes, 2 or 4; n is a multiple of the width. The two do not overlap. */
void emr_split_planes(uint8_t *restrict planes, const uint8_t *restrict elements, size_t n, unsigned width);
void emr_join_planes(uint8_t *restrict elements, const uint8_t *restrict planes, size_t n, unsigned width);

#endif
