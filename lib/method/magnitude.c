/* magnitude.c - see magnitude.h. A cut's position splits a chunk in two: keys that equal the cut's are above it in front of
 * the position, and below it from there on. */
#include "method/magnitude.h"

#include "core/memory.h"

static float magnitude_of(float x)
{
    return x < 0 ? -x : x;
}

void emr_magnitude_keys(const emr_method_chunk *c, uint32_t list, float *keys)
{
    const float *values = c->inputs[list];
    for (size_t i = 0; i < c->n; i++)
        keys[i] = magnitude_of(values[i]);
}

/* How many of n elements from `at` on lie in front of the cut's position. */
static size_t in_front(const emr_method_chunk *c, const double *cut, size_t at, size_t n)
{
    double left = cut[1] - (double)(c->position + at);
    return left <= 0 ? 0 : left >= (double)n ? n : (size_t)left;
}

void emr_magnitude_keep(const emr_method_chunk *c, const double *cut, size_t at, size_t n,
                        const float *values, float *kept)
{
    size_t front = in_front(c, cut, at, n);
    float key = (float)cut[0];
    for (size_t i = 0; i < front; i++)
        kept[i] = magnitude_of(values[i]) >= key ? values[i] : 0;
    for (size_t i = front; i < n; i++)
        kept[i] = magnitude_of(values[i]) > key ? values[i] : 0;
}

void emr_magnitude_drop(const emr_method_chunk *c, const double *cut, size_t at, size_t n,
                        const float *values, float *kept)
{
    size_t front = in_front(c, cut, at, n);
    float key = (float)cut[0];
    for (size_t i = 0; i < front; i++)
        kept[i] = magnitude_of(values[i]) < key ? values[i] : 0;
    for (size_t i = front; i < n; i++)
        kept[i] = magnitude_of(values[i]) <= key ? values[i] : 0;
}
