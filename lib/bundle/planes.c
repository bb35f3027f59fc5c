/* planes.c - see planes.h. Loops that compilers turn into vector code. Freestanding. */
#include "bundle/planes.h"

#include "core/bytes.h"

static void split_planes4(uint8_t *restrict p0, uint8_t *restrict p1, uint8_t *restrict p2,
                          uint8_t *restrict p3, const uint8_t *restrict elements, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t e = emr_load32(elements + 4 * i);
        p0[i] = (uint8_t)e;
        p1[i] = (uint8_t)(e >> 8);
        p2[i] = (uint8_t)(e >> 16);
        p3[i] = (uint8_t)(e >> 24);
    }
}

static void split_planes2(uint8_t *restrict p0, uint8_t *restrict p1, const uint8_t *restrict elements,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t e = emr_load16(elements + 2 * i);
        p0[i] = (uint8_t)e;
        p1[i] = (uint8_t)(e >> 8);
    }
}

void emr_split_planes(uint8_t *restrict planes, const uint8_t *restrict elements, size_t n, unsigned width)
{
    size_t count = n / width;
    if (width == 4)
        split_planes4(planes, planes + count, planes + 2 * count, planes + 3 * count, elements, count);
    else
        split_planes2(planes, planes + count, elements, count);
}

void emr_join_planes(uint8_t *restrict elements, const uint8_t *restrict planes, size_t n, unsigned width)
{
    size_t count = n / width;
    const uint8_t *p = planes;
    for (size_t i = 0; width == 4 && i < count; i++)
        emr_store32(elements + 4 * i, p[i] | (uint32_t)p[count + i] << 8 | (uint32_t)p[2 * count + i] << 16 |
                                          (uint32_t)p[3 * count + i] << 24);
    for (size_t i = 0; width == 2 && i < count; i++)
        emr_store16(elements + 2 * i, (uint16_t)(p[i] | (unsigned)p[count + i] << 8));
}
