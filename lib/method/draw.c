/* draw.c - see draw.h. */
#include "method/draw.h"

#include "core/hash.h"

#include <string.h>

uint64_t emr_draw_key(const emr_method_tensor *tensor, uint32_t input)
{
    const char *name = tensor->inputs[input];
    uint64_t seed = emr_xxh64(name, strlen(name), tensor->seed);
    return emr_xxh64(tensor->name, strlen(tensor->name), seed);
}

/* To ask the processor each time would take longer than to draw thousands. */
emr_random_kernels emr_draw_kernels(const emr_method_tensor *tensor)
{
    const emr_kernels *kernels = tensor->library;
    return emr_random_kernels_of(kernels ? kernels : emr_kernels_select());
}

void emr_method_draw(const emr_method_tensor *tensor, uint32_t input, uint64_t first, size_t n,
                     uint32_t *words)
{
    emr_draw_kernels(tensor).words(emr_draw_key(tensor, input), first, n, words);
}
