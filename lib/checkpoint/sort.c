/* sort.c - see sort.h. A heap sort. */
#include "checkpoint/sort.h"

#include <stdbool.h>

typedef struct array {
    unsigned char *bytes;
    size_t size;
    int (*compare)(const void *a, const void *b);
} array;

static bool is_before(const array *a, size_t i, size_t k)
{
    return a->compare(a->bytes + i * a->size, a->bytes + k * a->size) < 0;
}

static void swap_elements(const array *a, size_t i, size_t k)
{
    unsigned char *x = a->bytes + i * a->size, *y = a->bytes + k * a->size;
    for (size_t b = 0; b < a->size; b++) {
        unsigned char kept = x[b];
        x[b] = y[b];
        y[b] = kept;
    }
}

/* Lets the element i sink until none below it, of the first n, is larger. */
static void sink_element(const array *a, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_before(a, child, child + 1))
            child++;
        if (!is_before(a, i, child))
            return;
        swap_elements(a, i, child);
    }
}

static bool is_sorted(const array *a, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (is_before(a, i, i - 1))
            return false;
    return true;
}

void emr_sort(void *bytes, size_t n, size_t size, int (*compare)(const void *a, const void *b))
{
    const array a = {bytes, size, compare};
    if (is_sorted(&a, n))
        return;
    for (size_t i = n / 2; i-- > 0;)
        sink_element(&a, i, n);
    for (size_t end = n; end-- > 1;) {
        swap_elements(&a, 0, end);
        sink_element(&a, 0, end);
    }
}
