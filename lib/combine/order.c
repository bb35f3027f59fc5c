/* order.c - see order.h: heap sort, in place. Names differ, so there is one order. */
#include "combine/order.h"

#include <string.h>

static bool is_named_before(const emr_combined *a, const emr_combined *b)
{
    return strcmp(a->sample->name, b->sample->name) < 0;
}

static void swap_tensors(const emr_combined **a, const emr_combined **b)
{
    const emr_combined *kept = *a;
    *a = *b;
    *b = kept;
}

/* Lets what is at place i sink to where nothing below comes behind it. */
static void sink_down(const emr_combined **heap, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_named_before(heap[child], heap[child + 1]))
            child++;
        if (!is_named_before(heap[i], heap[child]))
            return;
        swap_tensors(&heap[i], &heap[child]);
    }
}

void emr_combined_sort(const emr_combined **tensors, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sink_down(tensors, i, n);
    for (size_t left = n; left > 1; left--) {
        swap_tensors(&tensors[0], &tensors[left - 1]);
        sink_down(tensors, 0, left - 1);
    }
}
