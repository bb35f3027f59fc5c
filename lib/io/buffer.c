/* buffer.c - bytes in memory as I/O: a buffer that grows, and memory of the caller's. Freestanding. */
#include "emr/io.h"

#include "core/memory.h"

#include <string.h>

struct emr_buffer {
    emr_allocator allocator;
    emr_io io;
    const void *data; /* `grown`, or the caller's */
    void *grown;
    size_t bytes, capacity;
};

static bool is_inside(const emr_buffer *b, uint64_t offset, size_t n)
{
    return offset <= b->bytes && n <= b->bytes - offset;
}

static emr_status fail_outside(const emr_buffer *b, emr_error *error)
{
    return emr_fail(error, EMR_EIO, "the buffer has %u bytes", (uint64_t)b->bytes);
}

static emr_status read_from_buffer(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const emr_buffer *b = user;
    if (!is_inside(b, offset, n))
        return fail_outside(b, error);
    if (n)
        memcpy(destination, (const char *)b->data + offset, n);
    return EMR_OK;
}

static emr_status write_to_buffer(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    emr_buffer *b = user;
    uint64_t end;
    if (!emr_add(offset, n, &end) || end > SIZE_MAX / 4 ||
        !emr_grow(&b->allocator, &b->grown, &b->capacity, (size_t)end, 1))
        return emr_no_memory(error, NULL);
    b->data = b->grown;
    if (n)
        memcpy((char *)b->grown + offset, source, n);
    b->bytes = end > b->bytes ? (size_t)end : b->bytes;
    return EMR_OK;
}

static emr_status buffer_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)error;
    *bytes = ((const emr_buffer *)user)->bytes;
    return EMR_OK;
}

static emr_status map_buffer(void *user, uint64_t offset, size_t n, const void **window, emr_error *error)
{
    const emr_buffer *b = user;
    if (!is_inside(b, offset, n))
        return fail_outside(b, error);
    *window = b->data ? (const char *)b->data + offset : NULL;
    return EMR_OK;
}

static emr_status new_buffer(emr_buffer **buffer, const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (!buffer)
        return emr_fail(error, EMR_EINVAL, "a buffer needs a place for its handle");
    *buffer = NULL;
    emr_status status = emr_allocator_take(&allocator, given, error);
    if (status)
        return status;
    emr_buffer *b = emr_allocate_array(&allocator, 1, sizeof *b);
    if (!b)
        return emr_no_memory(error, NULL);
    b->allocator = allocator;
    b->io = (emr_io){.size = sizeof b->io, .user = b, .read = read_from_buffer, .length = buffer_length};
    *buffer = b;
    return EMR_OK;
}

emr_status emr_buffer_create(emr_buffer **buffer, const emr_allocator *allocator, emr_error *error)
{
    emr_status status = new_buffer(buffer, allocator, error);
    if (!status)
        (*buffer)->io.write = write_to_buffer; /* which moves the bytes: no windows */
    return status;
}

emr_status emr_buffer_open(emr_buffer **buffer, const void *data, size_t bytes,
                           const emr_allocator *allocator, emr_error *error)
{
    emr_status status = new_buffer(buffer, allocator, error);
    if (!status && !data && bytes) {
        emr_buffer_destroy(buffer);
        status = emr_fail(error, EMR_EINVAL, "emr_buffer_open: NULL");
    }
    if (status)
        return status;
    (*buffer)->data = data;
    (*buffer)->bytes = bytes;
    (*buffer)->io.map = map_buffer;
    return EMR_OK;
}

void emr_buffer_destroy(emr_buffer **buffer)
{
    if (!buffer || !*buffer)
        return;
    emr_buffer *b = *buffer;
    emr_allocator allocator = b->allocator;
    emr_release(&allocator, b->grown);
    emr_release(&allocator, b);
    *buffer = NULL;
}

const void *emr_buffer_data(const emr_buffer *buffer)
{
    return buffer->data;
}

size_t emr_buffer_bytes(const emr_buffer *buffer)
{
    return buffer->bytes;
}

const emr_io *emr_buffer_io(const emr_buffer *buffer)
{
    return &buffer->io;
}
