/* modulator.h - what a modulator draws on: memory that the host described, or a bundle. */
#ifndef EMR_MODULATOR_MODULATOR_H
#define EMR_MODULATOR_MODULATOR_H

#include "emr/modulator.h"
#include "core/memory.h"
#include "core/structs.h"
#include "modulator/kind.h"
#include "numeric/kernels.h"

/* A stretch of one tensor in which everything is in memory and the same scales hold. */
typedef struct emr_code_window {
    size_t n;
    const void *unified;  /* of the stretch's first parameter on; kinds without one leave it unset */
    const uint8_t *codes; /* NULL: the weights are the base's, and scales are 0; else as emr_run's */
    size_t first_code;
    uint64_t group;
    const uint8_t *columns; /* of the stretch's first parameter on; NULL: all 1 */
    float scales[EMR_SCALES_MAX];
    emr_dtype unified_dtype;
} emr_code_window;

/* What of a window is wanted; the rest of it may be unset. */
typedef enum emr_window_parts {
    EMR_WINDOW_CODES,  /* n, codes, first_code */
    EMR_WINDOW_SCALED, /* and the scales, those of columns too */
    EMR_WINDOW_ALL     /* and the unified values */
} emr_window_parts;

/* The longest stretch from parameter `first` of a tensor on, at most `want` long; valid until the next call.
 */
typedef emr_status (*emr_code_window_fn)(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                                         emr_window_parts parts, emr_code_window *window, emr_error *error);

/* Where a modulator's parts lie. Tensors are in range. */
typedef struct emr_modulator_source {
    uint32_t (*n_tensors)(const void *user);
    const char *(*tensor_name)(const void *user, uint32_t tensor);
    uint64_t (*tensor_count)(const void *user, uint32_t tensor);
    emr_status (*find_tensor)(const void *user, const char *name, uint32_t *tensor); /* or EMR_ENOTFOUND */
    /* How a tensor is coded. Of kinds without unified values, windows end with rows too. */
    emr_tensor_code (*code)(const void *user, uint32_t tensor);
    /* Groups of as many parameters each, none of which has a scale in common with another. Of kinds
     * without unified values they are rows. 0 where there are no scales; may be where the tensor has no
     * parameters. */
    uint64_t (*n_groups)(const void *user, uint32_t tensor);
    /* All scales of a tensor; [first, first + n) of them, group by group. */
    uint64_t (*n_scales)(const void *user, uint32_t tensor);
    emr_status (*read_scales)(void *user, uint32_t tensor, uint64_t first, size_t n, float *scales,
                              emr_error *error);
    emr_code_window_fn window;
    /* Whether one's unified values of a tensor are the other's. */
    bool (*share_unified)(const void *user, const void *other, uint32_t tensor);
    void (*destroy)(void *user, const emr_allocator *allocator);
} emr_modulator_source;

struct emr_modulator {
    emr_allocator allocator;
    const emr_kernels *kernels;
    const emr_modulator_source *source;
    void *user; /* the source's */
};

/* A modulator with those members. Takes `user` over; it is destroyed also when this fails. */
emr_status emr_modulator_open(emr_modulator **modulator, const emr_modulator *members, emr_error *error);

/* Where weights come from and in what form they are wanted. */
typedef struct emr_weighting {
    const emr_kernels *kernels;
    emr_tensor_code code; /* a kind NULL: the weights are the base's, and windows have no codes */
    emr_code_window_fn window;
    void *user; /* of `window` */
    uint32_t tensor;
    emr_dtype base_dtype, out_dtype;
    bool stream; /* as emr_run's */
} emr_weighting;

/* Weights of parameters [first, first + count), of which `base` has the base's values, window by window. NULL: none
 * is read, they count as +0, and base_dtype is F32. */
emr_status emr_apply_windows(const emr_weighting *weighting, uint64_t first, uint64_t count, const void *base,
                             void *out, emr_error *error);

/* Mask bits [first, first + n) counted. */
uint64_t emr_count_ones(const uint8_t *mask, size_t first, size_t n);

#endif
