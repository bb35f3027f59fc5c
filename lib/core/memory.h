/* memory.h - allocation through the host's allocator, and arithmetic on sizes that cannot overflow
 * unseen. */
#ifndef EMR_CORE_MEMORY_H
#define EMR_CORE_MEMORY_H

#include "emr/allocator.h"
#include "core/error.h"

#include <stdbool.h>

/* Buffers begin at cache lines; small objects need not waste one. */
#define EMR_ALIGNMENT       64
#define EMR_SMALL_ALIGNMENT 16
#define EMR_SMALL_BYTES     512

/* Copies the host's allocator, or the default one for NULL. */
emr_status emr_allocator_take(emr_allocator *taken, const emr_allocator *given, emr_error *error);

/* `bytes` bytes, aligned as above; 0 bytes give a valid pointer too. NULL when there is no memory. */
void *emr_allocate(const emr_allocator *allocator, size_t bytes);
/* n * size zeroed bytes; NULL also where the product overflows. */
void *emr_allocate_array(const emr_allocator *allocator, size_t n, size_t size);
void emr_release(const emr_allocator *allocator, void *pointer);
/* A copy of the string, or NULL. */
char *emr_copy_string(const emr_allocator *allocator, const char *string);

/* The first `n` bytes of `head`, then `tail`, as one string; or NULL. */
char *emr_join_strings(const emr_allocator *allocator, const char *head, size_t n, const char *tail);

/* "DIRECTORY/NAME", or NULL. */
char *emr_join_path(const emr_allocator *allocator, const char *directory, const char *name);

/* Makes room for `needed` elements of `size` bytes in *array, doubling *capacity. False when there is no
 * memory; the array is then as before. New elements are zero. */
bool emr_grow(const emr_allocator *allocator, void **array, size_t *capacity, size_t needed, size_t size);

/* False on overflow. */
static inline bool emr_mul(uint64_t a, uint64_t b, uint64_t *product)
{
    *product = a * b;
    return a == 0 || *product / a == b;
}

static inline bool emr_add(uint64_t a, uint64_t b, uint64_t *sum)
{
    *sum = a + b;
    return *sum >= a;
}

static inline uint64_t emr_round_up(uint64_t n, uint64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline uint64_t emr_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
