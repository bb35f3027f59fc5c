/* modulator.h - what a modulator draws on: memory that the host described, or a bundle. */
#ifndef EMR_MODULATOR_MODULATOR_H
#define EMR_MODULATOR_MODULATOR_H

#include "emr/modulator.h"
#include "core/memory.h"
#include "numeric/kernels.h"

/* A stretch of one tensor in which everything is in memory and one rescaler holds. */
typedef struct emr_mask_window {
    size_t n;
    const void *unified; /* NULL where only the mask was asked for */
    const uint8_t *mask;
    size_t bit; /* of the stretch's first parameter in `mask` */
    float rescaler;
    uint8_t unified_dtype;
} emr_mask_window;

typedef struct emr_modulator_source {
    size_t (*n_tensors)(const void *user);
    const char *(*name)(const void *user, size_t tensor);
    uint64_t (*count)(const void *user, size_t tensor);
    size_t (*find)(const void *user, const char *name); /* EMR_NAMES_NONE if absent */
    /* The longest stretch from parameter `first` on, at most `want` long; valid until the next call. */
    emr_status (*window)(void *user, size_t tensor, uint64_t first, uint64_t want, bool mask_only,
                         emr_mask_window *window, emr_error *error);
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

/* Mask bits [bit, bit + n) counted. */
uint64_t emr_count_ones(const uint8_t *mask, size_t bit, size_t n);

#endif
