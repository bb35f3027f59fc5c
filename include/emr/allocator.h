/* allocator.h - where the library's memory comes from. */
#ifndef EMR_ALLOCATOR_H
#define EMR_ALLOCATOR_H

#include "emr/export.h"

/* The host's allocator. A NULL pointer to one means malloc and free (EMR_EINVAL in a freestanding build,
 * which has neither). The struct is copied; `user` is borrowed until the last handle made with it is gone.
 * Both functions may be called from the executor's threads. */
typedef struct emr_allocator {
    size_t size; /* sizeof(emr_allocator) */
    void *user;
    /* `bytes` > 0 bytes at an address divisible by `alignment` (a power of two, at most 64), or NULL. */
    void *(*alloc)(void *user, size_t bytes, size_t alignment);
    /* Gives back what alloc returned. Never called with NULL. */
    void (*free)(void *user, void *pointer);
} emr_allocator;

#endif
