/* convert.c - see convert.h. Plain C: this is the definition that every faster conversion is checked against.
 */
#include "numeric/convert.h"

/* The layout of a float with fewer bits than f64. */
typedef struct small_float {
    unsigned exponent_bits, mantissa_bits;
    uint32_t largest; /* bits of the largest finite value */
    uint32_t beyond;  /* what finite values past it become */
    uint32_t nan;
} small_float;

static const small_float small_f16 = {5, 10, 0x7bff, 0x7c00, 0x7e00};
static const small_float small_bf16 = {8, 7, 0x7f7f, 0x7f80, 0x7fc0};
static const small_float small_e4m3 = {4, 3, 0x7e, 0x7e, 0x7f}; /* no infinity: saturates */
static const small_float small_e5m2 = {5, 2, 0x7b, 0x7c, 0x7e};

/* Between f64 and f32. Processors differ in what they make of a NaN: here its sign and the upper bits of its
 * payload stay, and it becomes quiet. */
static double widen(float f)
{
    uint64_t u = emr_f32_bits(f);
    return f == f ? (double)f
                  : emr_f64_from_bits(u >> 31 << 63 | (uint64_t)0x7ff8 << 48 | (u & 0x7fffff) << 29);
}

static float narrow(double d)
{
    uint64_t u = emr_f64_bits(d);
    return d == d ? (float)d
                  : emr_f32_from_bits((uint32_t)(u >> 63) << 31 | 0x7fc00000 | (u >> 29 & 0x7fffff));
}

/* Rounds an f64 to nearest even in the small format; returns its bits. */
static uint32_t round_small(const small_float *format, double value)
{
    uint64_t u = emr_f64_bits(value);
    unsigned m = format->mantissa_bits, bits = format->exponent_bits + m;
    uint32_t sign = (uint32_t)(u >> 63) << bits;
    int exponent = (int)(u >> 52 & 0x7ff);
    uint64_t mantissa = u & 0xfffffffffffff;
    if (exponent == 0x7ff)
        return sign | (mantissa ? format->nan : format->beyond);
    int small_exponent = exponent - 1023 + (1 << (format->exponent_bits - 1)) - 1;
    unsigned shift = 52 - m; /* bits of the significand that go */
    if (small_exponent < 1)  /* subnormal in the small format */
        shift += 1 - small_exponent > 60 ? 60 : (unsigned)(1 - small_exponent);
    if (exponent == 0 || shift > 53)
        return sign; /* below half of the smallest subnormal */
    uint64_t significand = mantissa | (uint64_t)1 << 52;
    uint64_t kept = significand >> shift, gone = significand & (((uint64_t)1 << shift) - 1);
    uint64_t half = (uint64_t)1 << (shift - 1);
    kept += gone > half || (gone == half && (kept & 1));
    /* `kept` holds the leading one of a normal number, which the exponent field absorbs, carries included */
    uint64_t result = kept + (small_exponent > 1 ? (uint64_t)(small_exponent - 1) << m : 0);
    return sign | (result > format->largest ? format->beyond : (uint32_t)result);
}

static float widen_small(unsigned exponent_bits, unsigned mantissa_bits, uint32_t bits)
{
    unsigned sign = bits >> (exponent_bits + mantissa_bits);
    uint32_t exponent = bits >> mantissa_bits & ((1u << exponent_bits) - 1);
    uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
    uint32_t bias = 127 - ((1u << (exponent_bits - 1)) - 1);
    if (exponent ==
        0) { /* zero or subnormal: mantissa * 2^(1 - small bias - mantissa_bits), which f32 holds */
        float scale = emr_f32_from_bits((bias + 1 - mantissa_bits) << 23);
        float value = (float)mantissa * scale;
        return sign ? -value : value;
    }
    return emr_f32_from_bits((uint32_t)sign << 31 | (exponent + bias) << 23 |
                             mantissa << (23 - mantissa_bits));
}

float emr_f16_to_f32(uint16_t h)
{
    if ((h & 0x7c00) == 0x7c00) { /* infinity; or NaN, which becomes quiet as it does in processors */
        uint32_t quiet = h & 0x3ff ? 0x400000 : 0;
        return emr_f32_from_bits((uint32_t)(h & 0x8000) << 16 | 0x7f800000 | quiet |
                                 (uint32_t)(h & 0x3ff) << 13);
    }
    return widen_small(5, 10, h);
}

uint16_t emr_f32_to_f16(float f)
{
    uint32_t u = emr_f32_bits(f);
    uint32_t magnitude = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (magnitude > 0x7f800000) /* NaN: keep its upper payload, make it quiet */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x38800000 && magnitude < 0x47800000) { /* a normal f16, up to rounding over the top */
        uint32_t rounded = magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1);
        return (uint16_t)(sign | rounded >> 13);
    }
    return (uint16_t)round_small(&small_f16, (double)f);
}

static float e4m3_to_f32(uint8_t b)
{
    if ((b & 0x7f) == 0x7f)
        return emr_f32_from_bits((uint32_t)(b & 0x80) << 24 | 0x7fc00000);
    return widen_small(4, 3, b);
}

static float e5m2_to_f32(uint8_t b)
{
    return emr_f16_to_f32((uint16_t)(b << 8)); /* e5m2 is the upper half of f16 */
}

void emr_load_f32(float *to, emr_dtype from, const void *source, size_t n)
{
    const uint8_t *s = source;
    switch ((int)from) {
    case EMR_DTYPE_F32:
        if (emr_is_little_endian())
            memcpy(to, source, n * sizeof *to);
        else
            for (size_t i = 0; i < n; i++)
                to[i] = emr_f32_from_bits(emr_load32(s + 4 * i));
        return;
    case EMR_DTYPE_F16:
        for (size_t i = 0; i < n; i++)
            to[i] = emr_f16_to_f32(emr_load16(s + 2 * i));
        return;
    case EMR_DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            to[i] = emr_bf16_to_f32(emr_load16(s + 2 * i));
        return;
    case EMR_DTYPE_F64:
        for (size_t i = 0; i < n; i++)
            to[i] = narrow(emr_f64_from_bits(emr_load64(s + 8 * i)));
        return;
    case EMR_DTYPE_F8_E4M3:
        for (size_t i = 0; i < n; i++)
            to[i] = e4m3_to_f32(s[i]);
        return;
    default:
        for (size_t i = 0; i < n; i++)
            to[i] = e5m2_to_f32(s[i]);
    }
}

#define LOAD_BLOCK 64 /* elements widened at a time where f64 goes by way of f32 */

void emr_load_f64(double *to, emr_dtype from, const void *source, size_t n)
{
    if (from == EMR_DTYPE_F64) {
        for (size_t i = 0; i < n; i++)
            to[i] = emr_f64_from_bits(emr_load64((const uint8_t *)source + 8 * i));
        return;
    }
    float block[LOAD_BLOCK];
    for (size_t done = 0; done < n; done += LOAD_BLOCK) {
        size_t m = n - done < LOAD_BLOCK ? n - done : LOAD_BLOCK;
        emr_load_f32(block, from, (const uint8_t *)source + done * emr_float_size(from), m);
        for (size_t i = 0; i < m; i++)
            to[done + i] = widen(block[i]);
    }
}

void emr_store_f32(emr_dtype to, void *destination, const float *from, size_t n)
{
    uint8_t *d = destination;
    switch ((int)to) {
    case EMR_DTYPE_F32:
        if (emr_is_little_endian())
            memcpy(destination, from, n * sizeof *from);
        else
            for (size_t i = 0; i < n; i++)
                emr_store32(d + 4 * i, emr_f32_bits(from[i]));
        return;
    case EMR_DTYPE_F16:
        for (size_t i = 0; i < n; i++)
            emr_store16(d + 2 * i, emr_f32_to_f16(from[i]));
        return;
    case EMR_DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            emr_store16(d + 2 * i, emr_f32_to_bf16(from[i]));
        return;
    case EMR_DTYPE_F64:
        for (size_t i = 0; i < n; i++)
            emr_store64(d + 8 * i, emr_f64_bits(widen(from[i])));
        return;
    default:
        for (size_t i = 0; i < n; i++)
            d[i] = (uint8_t)round_small(to == EMR_DTYPE_F8_E4M3 ? &small_e4m3 : &small_e5m2, widen(from[i]));
    }
}

void emr_store_f64(emr_dtype to, void *destination, const double *from, size_t n)
{
    uint8_t *d = destination;
    for (size_t i = 0; i < n; i++) {
        switch ((int)to) {
        case EMR_DTYPE_F64:
            emr_store64(d + 8 * i, emr_f64_bits(from[i]));
            break;
        case EMR_DTYPE_F32:
            emr_store32(d + 4 * i, emr_f32_bits(narrow(from[i])));
            break;
        case EMR_DTYPE_F16:
            emr_store16(d + 2 * i, (uint16_t)round_small(&small_f16, from[i]));
            break;
        case EMR_DTYPE_BF16:
            emr_store16(d + 2 * i, (uint16_t)round_small(&small_bf16, from[i]));
            break;
        case EMR_DTYPE_F8_E4M3:
            d[i] = (uint8_t)round_small(&small_e4m3, from[i]);
            break;
        default:
            d[i] = (uint8_t)round_small(&small_e5m2, from[i]);
        }
    }
}

/* Whether stored F32 can be used where they are. */
static bool are_floats(const void *stored)
{
    return emr_is_little_endian() && (uintptr_t)stored % sizeof(float) == 0;
}

emr_status emr_convert(emr_dtype to, void *destination, emr_dtype from, const void *source, size_t n)
{
    if (!emr_dtype_is_float(to) || !emr_dtype_is_float(from) || (n && (!destination || !source)))
        return EMR_EINVAL;
    if (to == from) {
        if (n)
            memcpy(destination, source, n * emr_float_size(to));
        return EMR_OK;
    }
    if (to == EMR_DTYPE_F32 && from != EMR_DTYPE_F64 && are_floats(destination)) {
        emr_load_f32(destination, from, source, n);
        return EMR_OK;
    }
    if (from == EMR_DTYPE_F32 && are_floats(source)) {
        emr_store_f32(to, destination, source, n);
        return EMR_OK;
    }
    double wide[LOAD_BLOCK];
    float single[LOAD_BLOCK];
    for (size_t done = 0; done < n; done += LOAD_BLOCK) {
        size_t m = n - done < LOAD_BLOCK ? n - done : LOAD_BLOCK;
        const uint8_t *s = (const uint8_t *)source + done * emr_float_size(from);
        uint8_t *d = (uint8_t *)destination + done * emr_float_size(to);
        if (from == EMR_DTYPE_F64) {
            emr_load_f64(wide, from, s, m);
            emr_store_f64(to, d, wide, m);
        } else {
            emr_load_f32(single, from, s, m);
            emr_store_f32(to, d, single, m);
        }
    }
    return EMR_OK;
}
