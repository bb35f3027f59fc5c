/* allocator.h - where the library's memory comes from.
 *
 *     emr_allocator allocator = EMR_INIT(emr_allocator);
 *     allocator.user = arena;
 *     allocator.alloc = arena_alloc;
 *     allocator.free = arena_free;
 */
#ifndef EMR_ALLOCATOR_H
#define EMR_ALLOCATOR_H

#include "emr/export.h"

/* The host's allocator. NULL instead of one means malloc and free (EMR_EINVAL in a freestanding build, which
 * has neither).
 * - The struct is copied; `user` is borrowed until the last handle made with it is destroyed.
 * - Both functions may be called from the executor's threads, several at a time: they must be thread-safe
 *   where an executor is used, or where calls run at the same time. */
typedef struct emr_allocator {
    size_t size;
    void *user;
    /* `bytes` > 0 bytes at an address divisible by `alignment` (a power of two, at most 64), or NULL. */
    void *(*alloc)(void *user, size_t bytes, size_t alignment);
    /* Takes back what alloc returned; never called with NULL. */
    void (*free)(void *user, void *pointer);
} emr_allocator;

#endif
