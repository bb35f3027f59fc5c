/* bytes.h - little-endian numbers in byte buffers of any alignment, on machines of either byte order. */
#ifndef EMR_CORE_BYTES_H
#define EMR_CORE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A constant that the compiler folds. */
static inline bool emr_is_little_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static inline uint16_t emr_load16(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t emr_load32(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t emr_load64(const void *p)
{
    return (uint64_t)emr_load32(p) | (uint64_t)emr_load32((const uint8_t *)p + 4) << 32;
}

static inline void emr_store16(void *p, uint16_t v)
{
    uint8_t *b = (uint8_t *)p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

static inline void emr_store32(void *p, uint32_t v)
{
    emr_store16(p, (uint16_t)v);
    emr_store16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}

static inline void emr_store64(void *p, uint64_t v)
{
    emr_store32(p, (uint32_t)v);
    emr_store32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

static inline uint32_t emr_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float emr_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint64_t emr_f64_bits(double f)
{
    uint64_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline double emr_f64_from_bits(uint64_t u)
{
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline unsigned emr_popcount64(uint64_t v)
{
    v -= (v >> 1) & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + ((v >> 2) & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)((v * 0x0101010101010101u) >> 56);
}

#endif
