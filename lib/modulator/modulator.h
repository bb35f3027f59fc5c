/* modulator.h - what a modulator draws on: memory that the host described, or a bundle. */
#ifndef EMR_MODULATOR_MODULATOR_H
#define EMR_MODULATOR_MODULATOR_H

#include "emr/modulator.h"
#include "core/memory.h"
#include "numeric/kernels.h"

/* A stretch of one tensor in which everything is in memory and one rescaler holds. */
typedef struct emr_mask_window {
    size_t n;
    const void *unified;
    const uint8_t *mask;
    size_t bit; /* of the stretch's first parameter in `mask` */
    float rescaler;
    uint8_t unified_dtype;
} emr_mask_window;

/* What of a window is wanted; the rest of it may be unset. */
typedef enum emr_window_parts {
    EMR_WINDOW_MASK,     /* n, mask, bit */
    EMR_WINDOW_RESCALED, /* and the rescaler */
    EMR_WINDOW_ALL       /* and the unified values */
} emr_window_parts;

/* The longest stretch from parameter `first` of a tensor on, at most `want` long; valid until the next call.
 */
typedef emr_status (*emr_window_fn)(void *user, size_t tensor, uint64_t first, uint64_t want,
                                    emr_window_parts parts, emr_mask_window *window, emr_error *error);

typedef struct emr_modulator_source {
    size_t (*n_tensors)(const void *user);
    const char *(*name)(const void *user, size_t tensor);
    uint64_t (*count)(const void *user, size_t tensor);
    size_t (*find)(const void *user, const char *name); /* EMR_NAMES_NONE if absent */
    emr_window_fn window;
    /* Parameters from the first on that share a rescaler; so many more share the next. */
    uint64_t (*rescaled)(const void *user, size_t tensor);
    /* Whether one's unified values of a tensor are the other's. */
    bool (*share_unified)(const void *user, const void *other, size_t tensor);
    void (*destroy)(void *user, const emr_allocator *allocator);
} emr_modulator_source;

struct emr_modulator {
    emr_allocator allocator;
    const emr_kernels *kernels;
    const emr_modulator_source *source;
    void *user;
};

/* Takes `user` over; it is destroyed also when this fails. */
emr_status emr_modulator_over(emr_modulator **modulator, const emr_allocator *allocator,
                              const emr_kernels *kernels, const emr_modulator_source *source, void *user,
                              emr_error *error);

/* Where weights come from and in what form they are wanted. */
typedef struct emr_application {
    const emr_kernels *kernels;
    emr_window_fn window;
    void *user;
    size_t tensor;
    emr_dtype base_dtype, out_dtype;
    uint8_t stream; /* as emr_run's */
} emr_application;

/* Weights of parameters [first, first + count), of which `base` has the base's values, window by window. */
emr_status emr_apply_windows(const emr_application *application, uint64_t first, uint64_t count,
                             const void *base, void *out, emr_error *error);

/* Mask bits [bit, bit + n) counted. */
uint64_t emr_count_ones(const uint8_t *mask, size_t bit, size_t n);

#endif
