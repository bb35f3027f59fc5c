/* dtype.h - element types and exact conversions between them.
 *
 *     float values[3];
 *     emr_convert(EMR_DTYPE_F32, values, EMR_DTYPE_BF16, weights, 3);
 */
#ifndef EMR_DTYPE_H
#define EMR_DTYPE_H

#include "emr/export.h"
#include "emr/status.h"

/* Numbers never change: bundles store them. Types below EMR_DTYPE_BOOL are floats, which can be merged; all
 * others are carried as bytes. */
typedef uint32_t emr_dtype;
enum {
    EMR_DTYPE_NONE = 0, /* "not set": the default wherever a dtype is optional */
    EMR_DTYPE_F32 = 1,
    EMR_DTYPE_F16 = 2,
    EMR_DTYPE_BF16 = 3,
    EMR_DTYPE_F64 = 4,
    EMR_DTYPE_F8_E4M3 = 5, /* e4m3fn: no infinities, largest value 448 */
    EMR_DTYPE_F8_E5M2 = 6,
    EMR_DTYPE_BOOL = 16,
    EMR_DTYPE_U8 = 17,
    EMR_DTYPE_I8 = 18,
    EMR_DTYPE_U16 = 19,
    EMR_DTYPE_I16 = 20,
    EMR_DTYPE_U32 = 21,
    EMR_DTYPE_I32 = 22,
    EMR_DTYPE_U64 = 23,
    EMR_DTYPE_I64 = 24,
    EMR_DTYPE_F8_E8M0 = 32, /* from here on opaque: block scales and sub-byte types */
    EMR_DTYPE_F8_E4M3FNUZ = 33,
    EMR_DTYPE_F8_E5M2FNUZ = 34,
    EMR_DTYPE_F4 = 35,
    EMR_DTYPE_F6_E2M3 = 36,
    EMR_DTYPE_F6_E3M2 = 37,
    EMR_DTYPE_C64 = 38
};

EMR_BEGIN_DECLS

/* Bits per element (F4 has 4, F6 has 6), or 0 for a number that is no dtype. */
EMR_API uint32_t emr_dtype_bits(emr_dtype dtype);

/* The name as safetensors spells it ("BF16"), or "?". Static strings. */
EMR_API const char *emr_dtype_name(emr_dtype dtype);

/* The dtype with that name, or EMR_DTYPE_NONE. Case matters. */
EMR_API emr_dtype emr_dtype_from_name(const char *name);

/* 1 for the types that can be merged and converted: F32, F16, BF16, F64, F8_E4M3, F8_E5M2. */
EMR_API int emr_dtype_is_float(emr_dtype dtype);

/* Converts n elements between two float dtypes, rounding once, to nearest, ties to even. Widening is exact.
 * - Beyond the largest finite value: infinity, but for F8_E4M3, which has none and gives its largest value.
 * - NaN gives NaN.
 * - Buffers may have any alignment and must not overlap. EMR_EINVAL if either dtype is not a float. */
EMR_API emr_status emr_convert(emr_dtype to, void *destination, emr_dtype from, const void *source, size_t n);

EMR_END_DECLS

#endif
