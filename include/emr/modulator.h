/* modulator.h - one task's modulator: what turns the base and the unified task vector into the task's
 * weights,
 *
 *     W_task = W_base + lambda * (mask ? unified : 0)          (EMR-Merging, equation 6)
 *
 * computed in f32 as multiply, round, add, round (in f64 where the base is f64), then one rounding into the
 * output's dtype. Where the mask is 0 the base comes out bit for bit, converted where dtypes differ. Where it
 * is 1 every NaN comes out as the same one: quiet, positive, its payload 0 (0x7fc00000 in F32).
 *
 * A modulator comes from a bundle (emr_bundle_open_modulator) or is made by the host over its own memory. It holds
 * its work memory, so applying allocates nothing; use one modulator per thread. Applying and multiplying by
 * one that the host made over its own memory is concurrent. Freestanding. */
#ifndef EMR_MODULATOR_H
#define EMR_MODULATOR_H

#include "emr/allocator.h"
#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/product.h"
#include "emr/status.h"

typedef struct emr_modulator emr_modulator;

/* One tensor of a host-made modulator. All pointers are borrowed until the modulator is destroyed. */
typedef struct emr_modulation {
    size_t size;            /* sizeof(emr_modulation) */
    const char *name;       /* unique; borrowed */
    uint64_t count;         /* parameters */
    const void *unified;    /* `count` elements of the unified task vector */
    const uint8_t *mask;    /* packed bits: parameter i is bit i % 8 of byte i / 8 */
    const float *rescalers; /* `n_rescalers` numbers: one for the tensor, or one per row */
    uint64_t n_rescalers;   /* divides `count` */
    uint32_t unified_dtype; /* EMR_DTYPE_F32, EMR_DTYPE_F16 or EMR_DTYPE_BF16 */
} emr_modulation;

typedef struct emr_modulation_stats {
    size_t size; /* sizeof(emr_modulation_stats) */
    uint64_t count;
    uint64_t ones; /* parameters whose mask bit is set; density = ones / count */
} emr_modulation_stats;

EMR_BEGIN_DECLS

/* An empty host-made modulator. */
EMR_API emr_status emr_modulator_create(emr_modulator **modulator, const emr_allocator *allocator,
                                        emr_error *error);
EMR_API emr_status emr_modulator_add(emr_modulator *modulator, const emr_modulation *modulation,
                                     emr_error *error);
EMR_API void emr_modulator_destroy(emr_modulator **modulator);

EMR_API size_t emr_modulator_n_tensors(const emr_modulator *modulator);

/* The index of the merged tensor of that name in *tensor, or EMR_ENOTFOUND. */
EMR_API emr_status emr_modulator_find_tensor(const emr_modulator *modulator, const char *name, size_t *tensor);

/* The name of tensor i, or NULL past the end. */
EMR_API const char *emr_modulator_tensor_name(const emr_modulator *modulator, size_t tensor);

/* The number of parameters of tensor i; 0 past the end. */
EMR_API uint64_t emr_modulator_tensor_count(const emr_modulator *modulator, size_t tensor);

/* Writes the task's weights of parameters [first, first + count) of a tensor to `out`. `base` holds the
 * base's values of that same range; any alignment. `out` may be equal to `base` if the dtypes are equal, and
 * may not overlap it otherwise. */
EMR_API emr_status emr_modulator_apply(emr_modulator *modulator, size_t tensor, uint64_t first,
                                       uint64_t count, emr_dtype base_dtype, const void *base,
                                       emr_dtype out_dtype, void *out, emr_error *error);

/* Multiplies rows of a tensor by a batch of vectors, without materialising the weights: product.h says what
 * is computed. modulators[b] is that of vector b's task; it may come more than once, and all must be over the
 * same unified values: one bundle's, or the same memory (EMR_EMISMATCH). The tensor is a matrix of so many
 * columns, which divide its parameters and, for every modulator, those that share a rescaler. `base` holds
 * the base's values of the product's rows; any alignment. Allocates nothing for up to 64 vectors. Blocks of a
 * bundle are decoded as they are reached; a session (session.h) holds them ready. */
EMR_API emr_status emr_modulator_multiply(emr_modulator *const *modulators, const emr_product *product,
                                          uint64_t n_columns, emr_dtype base_dtype, const void *base,
                                          emr_error *error);

/* Counts the tensor's mask bits. Set stats->size first. */
EMR_API emr_status emr_modulator_get_stats(emr_modulator *modulator, size_t tensor, emr_modulation_stats *stats,
                                       emr_error *error);

EMR_END_DECLS

#endif
