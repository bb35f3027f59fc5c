/* scales.c - which scale belongs to which elements of a code, from two shapes alone. */
#include "role/role.h"

/* The block of a dimension of `n` elements with `scales` scales. */
static bool find_block(uint64_t n, uint64_t scales, uint64_t *block)
{
    uint64_t power = 1, least;
    *block = n ? n : 1;
    if (scales <= 1)
        return scales == 1 || n == 0;
    if (scales > n)
        return false;
    least = n / scales + (n % scales != 0);
    while (power < least)
        power *= 2;
    if ((n - 1) / power + 1 == scales) { /* no other power of two gives more than one */
        *block = power;
        return true;
    }
    *block = n / scales;
    return n % scales == 0;
}

bool emr_scale_layout_find(emr_scale_layout *layout, const emr_tensor *code, const emr_tensor *scale)
{
    layout->one = scale->count == 1;
    layout->row = code->rank > 0;
    if (!layout->one && scale->rank > code->rank)
        return false;
    for (uint32_t i = 0; i < code->rank; i++) {
        uint64_t n = code->shape[i], scales = !layout->one && i < scale->rank ? scale->shape[i] : 1;
        if (!find_block(n, scales, &layout->block[i]))
            return false;
        bool last = i + 1 == code->rank && code->rank > 1;
        layout->row = layout->row && layout->block[i] == (last && n ? n : 1);
    }
    return true;
}
