/* convert.h - exact widening to f32 and f64, and rounding to nearest even, for every float dtype. The scalar
 * definitions are here because the kernels' reference reads them too. */
#ifndef EMR_NUMERIC_CONVERT_H
#define EMR_NUMERIC_CONVERT_H

#include "emr/dtype.h"
#include "core/bytes.h"

/* Bytes per element of a float dtype. */
static inline size_t emr_float_size(emr_dtype dtype)
{
    return dtype == EMR_DTYPE_F64                              ? 8
           : dtype == EMR_DTYPE_F32                            ? 4
           : dtype == EMR_DTYPE_F16 || dtype == EMR_DTYPE_BF16 ? 2
                                                               : 1;
}

float emr_f16_to_f32(uint16_t h);
uint16_t emr_f32_to_f16(float f);

static inline float emr_bf16_to_f32(uint16_t h)
{
    return emr_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t emr_f32_to_bf16(float f)
{
    uint32_t u = emr_f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) /* NaN: keep its sign and upper payload, make it quiet */
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* n elements of any float dtype but F64, widened exactly; F64 is rounded. */
void emr_load_f32(float *to, emr_dtype from, const void *source, size_t n);
/* n elements of any float dtype, widened exactly. */
void emr_load_f64(double *to, emr_dtype from, const void *source, size_t n);
/* n values rounded once into a float dtype. */
void emr_store_f32(emr_dtype to, void *destination, const float *from, size_t n);
void emr_store_f64(emr_dtype to, void *destination, const double *from, size_t n);

#endif
