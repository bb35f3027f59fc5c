/* fuzz.c - see fuzz.h. */
#define _POSIX_C_SOURCE 200809L

#include "fuzz.h"

#include <malloc.h>
#include <stdio.h>

void fuzz_broken(const char *promise, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, promise);
    abort();
}

static bool is_within(const emr_error *error, emr_error_span span)
{
    return (size_t)span.offset + span.length <= strlen(error->text);
}

emr_status fuzz_status(emr_status status, emr_error *error)
{
    promise(strcmp(emr_status_name(status), "EMR_?") != 0);
    if (status) {
        promise(memchr(error->text, 0, sizeof error->text) != NULL);
        promise(error->text[0] && !strpbrk(error->text, "\r\n"));
        promise(error->status == status);
        promise(is_within(error, error->file) && is_within(error, error->task) &&
                is_within(error, error->tensor));
    }
    error->text[0] = '\0';
    return status;
}

/* No room is added, so that a sanitizer sees a step beyond the end. */
static void *budget_alloc(void *user, size_t bytes, size_t alignment)
{
    fuzz_budget *b = user;
    void *p;
    promise(bytes <= b->cap && b->now <= b->cap - bytes);
    if (posix_memalign(&p, alignment, bytes))
        return NULL;
    b->now += malloc_usable_size(p);
    return p;
}

static void budget_free(void *user, void *pointer)
{
    ((fuzz_budget *)user)->now -= malloc_usable_size(pointer);
    free(pointer);
}

emr_allocator fuzz_allocator(fuzz_budget *budget)
{
    return (emr_allocator){sizeof(emr_allocator), budget, budget_alloc, budget_free};
}

uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    promise(copy != NULL);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

fuzz_random fuzz_random_make(uint64_t seed)
{
    return (fuzz_random){(seed + 1) * 0x9e3779b97f4a7c15u | 1};
}

size_t fuzz_below(fuzz_random *r, size_t n)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return (size_t)((r->state * 0x2545f4914f6cdd1du) >> 16) % n;
}

emr_model *fuzz_model(const char *name)
{
    emr_model *model;
    emr_model_options options = EMR_INIT(emr_model_options);
    options.name = name;
    promise(emr_model_create(&model, &options, NULL) == EMR_OK);
    return model;
}

emr_buffer *fuzz_buffer_of(const void *bytes, size_t n)
{
    emr_buffer *buffer;
    promise(emr_buffer_open(&buffer, bytes, n, NULL, NULL) == EMR_OK);
    return buffer;
}

emr_buffer *fuzz_buffer(void)
{
    emr_buffer *buffer;
    promise(emr_buffer_create(&buffer, NULL, NULL) == EMR_OK);
    return buffer;
}

/* Whole, then in pieces: both give the same bytes, or both fail, though not always by the same block. */
static void read_range(const emr_tensor *t, uint64_t offset, size_t n, fuzz_random *r, bool intact)
{
    emr_error error = {0};
    uint8_t *whole = malloc(n ? n : 1), *pieces = malloc(n ? n : 1);
    promise(whole && pieces);
    emr_status status = fuzz_status(emr_tensor_read(t, offset, whole, n, &error), &error), last = EMR_OK;
    promise(!intact || (status != EMR_ECORRUPT && status != EMR_EIO));
    for (size_t at = 0, piece; !last && at < n; at += piece) {
        piece = 1 + fuzz_below(r, n - at);
        last = fuzz_status(emr_tensor_read(t, offset + at, pieces + at, piece, &error), &error);
    }
    promise((status == EMR_OK) == (last == EMR_OK));
    promise(status || !n || memcmp(whole, pieces, n) == 0);
    free(whole);
    free(pieces);
}

void fuzz_read_tensor(const emr_tensor *t, fuzz_random *r, bool intact)
{
    enum { MOST = 9000 }; /* a multiple of 8 */
    emr_error error = {0};
    uint64_t all = emr_tensor_bytes(t);
    size_t n = all < MOST ? (size_t)all : MOST; /* whole elements, whatever they are */
    uint8_t byte;
    read_range(t, 0, n, r, intact);
    if (all > n) {
        uint64_t most = all - n < SIZE_MAX ? all - n : SIZE_MAX;
        read_range(t, all - n, n, r, intact);
        read_range(t, fuzz_below(r, (size_t)most) / 8 * 8, n, r, intact);
    }
    promise(fuzz_status(emr_tensor_read(t, all, &byte, 1, &error), &error) == EMR_EINVAL);
}
