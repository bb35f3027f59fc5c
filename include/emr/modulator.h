/* modulator.h - one task's modulator: what turns the base and the unified task vector into the task's
 * weights,
 *
 *     W_task = W_base + lambda * (mask ? unified : 0)          (EMR-Merging, equation 6)
 *
 * computed in f32 as multiply, round, add, round (in f64 where the base is f64), then rounded once into the
 * output's dtype. Where the mask is 0 the base comes out bit for bit, converted where dtypes differ. Where it
 * is 1 every NaN comes out as the same one: quiet, positive, its payload 0 (0x7fc00000 in F32).
 *
 *     emr_bundle_open_modulator(&modulator, bundle, task, NULL, &error);
 *     emr_application application = EMR_INIT(emr_application);
 *     emr_modulator_find_tensor(modulator, "layer.0.weight", &application.tensor);
 *     application.count = emr_modulator_tensor_count(modulator, application.tensor);
 *     application.base = base_weights;
 *     application.base_dtype = EMR_DTYPE_BF16;
 *     application.out = weights;
 *     application.out_dtype = EMR_DTYPE_BF16;
 *     emr_modulator_apply(modulator, &application, &error);
 *
 * A modulator comes out of a bundle, or is made by the host over its own memory. It holds its working
 * memory, so applying allocates nothing; use one for each thread. Freestanding. */
#ifndef EMR_MODULATOR_H
#define EMR_MODULATOR_H

#include "emr/allocator.h"
#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/product.h"
#include "emr/status.h"

typedef struct emr_modulator emr_modulator;

/* How a task is coded beside the base. Numbers never change: bundles store them. docs/modulators.md has the
 * formulas, sources and measurements, and says which kind is for what. tau is the task vector, W_task - W_base. */
typedef uint32_t emr_modulator_kind;
enum {
    EMR_MODULATOR_KIND_DEFAULT = 0, /* mask */
    /* with a unified task vector that the tasks share */
    EMR_MODULATOR_KIND_MASK = 1,      /* a bit: lambda * unified, or nothing (EMR-Merging) */
    EMR_MODULATOR_KIND_TWO_SIDED = 2, /* the same bit: lambda * unified, or -lambda' * unified */
    /* with nothing shared: a task is added to, and dropped from, any bundle by itself */
    EMR_MODULATOR_KIND_SIGN = 3, /* a bit: the sign of tau, times a row's and a column's scale */
    EMR_MODULATOR_KIND_THIN = 4, /* the same at one of 2 to 32 positions, which are drawn and so not stored */
    EMR_MODULATOR_KIND_LEVELS = 5 /* one of 3, 4, 8 or 16 levels (1.6 to 4 bits), times a row's scale */
};

/* How scales are computed, from tau and what it is replaced by, unscaled: q. Sums are over what shares the
 * scale; where a denominator is 0 it is 0, and beyond the largest f32 it is that. */
typedef uint32_t emr_rescale;
enum {
    EMR_RESCALE_DEFAULT = 0,  /* what measured best for the kind: docs/modulators.md; for masks L1 */
    EMR_RESCALE_L1 = 1,       /* sum |tau| / sum |q|                                (the paper, equation 5) */
    EMR_RESCALE_L1_MEANS = 2, /* sum over tensors of mean |tau| / the same of |q|   (the authors' program) */
    EMR_RESCALE_L2 = 3,       /* <tau, q> / <q, q>: the least error, a vector that is too short */
    EMR_RESCALE_NORM = 4,     /* |tau| / |q|: the same length */
    EMR_RESCALE_UNBIASED =
        5,                /* <tau, tau> / <tau, q>, at most 4 times L2's: the same projection on tau (after
                                 DRIVE, arXiv 2105.08339) */
    EMR_RESCALE_MIXED = 6 /* thin: between L1 and UNBIASED, by how many positions of a row are kept */
};

/* What shares a scale, of kinds with a unified vector. Of the others, it is a row, or what of it lies between two
 * multiples of 16,384 of the bundle's parameters. */
typedef uint32_t emr_rescale_per;
enum {
    EMR_RESCALE_PER_DEFAULT = 0, /* masks that agree: the model; other masks: the row */
    EMR_RESCALE_PER_MODEL = 1,   /* the paper */
    EMR_RESCALE_PER_TENSOR = 2,
    EMR_RESCALE_PER_ROW = 3 /* each index of the first dimension; a tensor of rank < 2 is one row, a tensor
                               without elements has none */
};

/* Where a bit of a mask is 1. */
typedef uint32_t emr_mask_rule;
enum {
    EMR_MASK_RULE_AGREE = 0,  /* tau and the unified value have the same sign (the paper, equation 4) */
    EMR_MASK_RULE_NEAREST = 1 /* and tau is nearer to the unified value than to 0 */
};

/* A kind with its parameters; zero means the default. */
typedef struct emr_modulation_spec {
    size_t size;
    emr_modulator_kind kind;
    uint32_t thinning;           /* thin: parameters for each one that is kept, 2, 4, 8, 16 or 32; 0: 4 */
    uint32_t n_levels;           /* levels: 3, 4, 8 or 16; 0: 4 */
    emr_rescale rescale;         /* all tasks with a unified vector have the same one, */
    emr_rescale_per rescale_per; /* and this, */
    emr_mask_rule mask_rule;     /* and this */
    emr_dtype vectors_dtype;  /* of the differences as which tensors of rank below 2, and those with rows of
                                    fewer than 8, are kept by kinds without: BF16 (the default) or F32 */
    uint32_t without_columns; /* sign: non-zero: no scales of columns */
    uint32_t seed;            /* thin: of the positions; 0: from the task's name */
    uint32_t reserved;
} emr_modulation_spec;

/* How near a task's rebuilt vector v is to its task vector tau, over all merged tensors. NaN: not measured. */
typedef struct emr_fidelity {
    size_t size;
    float error;       /* |v - tau|^2 / |tau|^2: comparable between modulators of one kind and rule alone */
    float cosine;      /* <v, tau> / (|v| |tau|) */
    float coefficient; /* <v, tau> / <tau, tau>: below 1, the task's change is too short */
    uint32_t reserved;
} emr_fidelity;

/* One tensor of a modulator that the host makes: a matrix of `n_rescalers` rows, or a tensor that is one row.
 * All pointers are borrowed until the modulator is destroyed.
 *
 * Codes of every kind are those of a bundle (docs/bundle-format.md), where the tensor's first parameter is
 * the first of the bundle: packed without gaps, the lowest bit first. Signs and masks have a bit for each
 * parameter i, bit i % 8 of byte i / 8. Of thinned ones there are those that are kept: `mask` has 64 /
 * thinning bits for every 64 parameters, and as many for the last ones where they are fewer. */
typedef struct emr_modulation {
    size_t size;
    const char *name;    /* unique; borrowed too */
    const void *unified; /* `count` elements of the unified task vector; NULL where the kind has none */
    const uint8_t *mask; /* codes, packed, to the end of the last one */
    const float
        *rescalers;      /* one for each row; of two-sided ones two: where the mask is 1, and where it is 0 */
    const void *columns; /* sign: BF16, count / n_rescalers scales of columns; NULL: all 1 */
    uint64_t count;      /* parameters */
    uint64_t n_rescalers;    /* divides `count` */
    emr_dtype unified_dtype; /* F32, F16 or BF16, where there are unified values */
    emr_modulator_kind kind; /* 0: mask */
    uint32_t thinning;       /* as emr_modulation_spec's */
    uint32_t n_levels;       /* likewise */
    uint32_t seed;           /* thin: of the positions */
    uint32_t reserved;
} emr_modulation;

/* Which weights to compute, and from what. */
typedef struct emr_application {
    size_t size;
    const void *base; /* the base's values of the same parameters; any alignment; NULL without it */
    void *out; /* the task's; may be equal to `base` if the dtypes are, and must not overlap it otherwise */
    uint64_t first; /* parameters [first, first + count) of the tensor */
    uint64_t count;
    uint32_t tensor;
    emr_dtype base_dtype;
    emr_dtype out_dtype;
    uint32_t without_base; /* non-zero: the change alone, as if the base's values were +0 of base_dtype F32 */
} emr_application;

typedef struct emr_modulator_stats {
    size_t size;
    uint64_t count; /* parameters */
    uint64_t ones;  /* whose mask bit is set; density = ones / count */
} emr_modulator_stats;

EMR_BEGIN_DECLS

/* An empty modulator for the host to fill. */
EMR_API emr_status emr_modulator_create(emr_modulator **modulator, const emr_allocator *allocator,
                                        emr_error *error);
EMR_API emr_status emr_modulator_add(emr_modulator *modulator, const emr_modulation *modulation,
                                     emr_error *error);
EMR_API void emr_modulator_destroy(emr_modulator **modulator);

EMR_API uint32_t emr_modulator_n_tensors(const emr_modulator *modulator);

/* The number of the merged tensor of that name, or EMR_ENOTFOUND. */
EMR_API emr_status emr_modulator_find_tensor(const emr_modulator *modulator, const char *name,
                                             uint32_t *tensor);

/* The name of a tensor, or NULL past the end; the number of its parameters, or 0. */
EMR_API const char *emr_modulator_tensor_name(const emr_modulator *modulator, uint32_t tensor);
EMR_API uint64_t emr_modulator_tensor_count(const emr_modulator *modulator, uint32_t tensor);

/* How many rescalers a tensor has: 1, or one for each row; two-sided: two for each, the second where the mask is 0. Of a
 * bundle's kinds without a unified vector: one for each row, and one more wherever a row goes on beyond a multiple of
 * 16,384 of the bundle's parameters; where one ends there, a 0 stands between it and the next; none where a tensor is
 * kept as differences. 0 past the end. */
EMR_API uint64_t emr_modulator_n_rescalers(const emr_modulator *modulator, uint32_t tensor);

/* Rescalers [first, first + n) of a tensor. EMR_EFORMAT: a bundle holds one that is negative or not finite.
 */
EMR_API emr_status emr_modulator_read_rescalers(emr_modulator *modulator, uint32_t tensor, uint64_t first,
                                                size_t n, float *rescalers, emr_error *error);

/* Computes weights. */
EMR_API emr_status emr_modulator_apply(emr_modulator *modulator, const emr_application *application,
                                       emr_error *error);

/* Multiplies rows of a tensor by a batch of vectors without materialising the weights: product.h says what
 * is computed. Allocates nothing for up to 64 vectors. Blocks of a bundle are decoded as they are reached; a
 * session (session.h) keeps them ready.
 * - modulators[b] is that of vector b's task; it may occur more than once. They may be of different kinds.
 *   All that have unified values must share them: one bundle's, or the same memory (EMR_EMISMATCH).
 * - The tensor has one number in all of them, whether it is found by name or not.
 * - product->n_columns must be set: modulators do not know a tensor's shape. It divides the number of the tensor's
 *   parameters, and in every modulator the number of those that share a rescaler.
 * - `base` has the base's values of the product's rows; any alignment. It and base_dtype are not looked at where
 *   the product is without_base. */
EMR_API emr_status emr_modulator_multiply(emr_modulator *const *modulators, const emr_product *product,
                                          emr_dtype base_dtype, const void *base, emr_error *error);

/* Counts the tensor's mask bits, none of kinds without a unified vector. Set stats->size first. */
EMR_API emr_status emr_modulator_get_stats(emr_modulator *modulator, uint32_t tensor,
                                           emr_modulator_stats *stats, emr_error *error);

EMR_END_DECLS

#endif
