/* order.h - combined tensors in the order of their names' bytes. */
#ifndef EMR_COMBINE_ORDER_H
#define EMR_COMBINE_ORDER_H

#include "combine/combination.h"

void emr_combined_sort(const emr_combined **tensors, size_t n);

#endif
