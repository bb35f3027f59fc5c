/* memory.c - see memory.h. Freestanding but for the default allocator, which EMR_FREESTANDING leaves out. */
#include "core/memory.h"

#include "core/structs.h"
#include "core/text.h"

#include <string.h>

#ifndef EMR_FREESTANDING
#include <stddef.h>
#include <stdlib.h>

static void *default_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    if (alignment <= _Alignof(max_align_t))
        return malloc(bytes);
    /* aligned_alloc wants a multiple of the alignment */
    return bytes > SIZE_MAX - alignment ? NULL
                                        : aligned_alloc(alignment, (size_t)emr_round_up(bytes, alignment));
}

static void default_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}
#endif

emr_status emr_allocator_take(emr_allocator *taken, const emr_allocator *given, emr_error *error)
{
    if (given) {
        emr_status status = EMR_TAKE(taken, given, emr_allocator, error);
        if (!status && (!taken->alloc || !taken->free))
            status = emr_fail(error, EMR_EINVAL, "emr_allocator: alloc and free are required");
        return status;
    }
#ifndef EMR_FREESTANDING
    *taken = (emr_allocator){sizeof *taken, NULL, default_alloc, default_free};
    return EMR_OK;
#else
    return emr_fail(error, EMR_EINVAL, "a freestanding build needs the caller's allocator");
#endif
}

void *emr_allocate(const emr_allocator *allocator, size_t bytes)
{
    return allocator->alloc(allocator->user, bytes ? bytes : 1,
                            bytes < EMR_SMALL_BYTES ? EMR_SMALL_ALIGNMENT : EMR_ALIGNMENT);
}

void *emr_allocate_array(const emr_allocator *allocator, size_t n, size_t size)
{
    uint64_t bytes;
    if (!emr_mul(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    void *array = emr_allocate(allocator, (size_t)bytes);
    if (array)
        memset(array, 0, (size_t)bytes);
    return array;
}

void emr_release(const emr_allocator *allocator, void *pointer)
{
    if (pointer)
        allocator->free(allocator->user, pointer);
}

char *emr_copy_string(const emr_allocator *allocator, const char *string)
{
    return emr_join_strings(allocator, string, emr_text_length(string), "");
}

char *emr_join_strings(const emr_allocator *allocator, const char *head, size_t n, const char *tail)
{
    size_t tail_bytes = emr_text_length(tail) + 1;
    char *joined = emr_allocate(allocator, n + tail_bytes);
    if (joined) {
        memcpy(joined, head, n);
        memcpy(joined + n, tail, tail_bytes);
    }
    return joined;
}

char *emr_join_path(const emr_allocator *allocator, const char *directory, const char *name)
{
    size_t n = emr_text_length(directory), slash = n && directory[n - 1] != '/',
           name_bytes = emr_text_length(name) + 1;
    char *joined = emr_allocate(allocator, n + slash + name_bytes);
    if (!joined)
        return NULL;
    memcpy(joined, directory, n);
    joined[n] = '/'; /* or what comes next */
    memcpy(joined + n + slash, name, name_bytes);
    return joined;
}

bool emr_grow(const emr_allocator *allocator, void **array, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity)
        return true;
    size_t larger = *capacity > SIZE_MAX / 4 ? needed : *capacity * 2;
    larger = larger < needed ? needed : larger;
    larger = larger < 8 ? 8 : larger;
    void *grown = emr_allocate_array(allocator, larger, size);
    if (!grown)
        return false;
    if (*array)
        memcpy(grown, *array, *capacity * size);
    emr_release(allocator, *array);
    *array = grown;
    *capacity = larger;
    return true;
}
