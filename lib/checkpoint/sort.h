/* sort.h - sorting in place. The C library's qsort may take memory that is not the host's, and may recurse or
 * grow with the square of n on input made for that; this one does neither. */
#ifndef EMR_CHECKPOINT_SORT_H
#define EMR_CHECKPOINT_SORT_H

#include <stddef.h>

/* As qsort; equal elements come in any order. Elements that are in order already take one look at each. */
void emr_sort(void *array, size_t n, size_t size, int (*compare)(const void *a, const void *b));

#endif
