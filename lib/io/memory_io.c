/* memory_io.c - the stock memory backends: the caller's bytes, and a buffer that grows. */
#include "emr/io.h"

#include "core/memory.h"

#include <string.h>

static int memory_read(void *user, uint64_t offset, void *destination, size_t n)
{
    const emr_memory *m = user;
    if (offset > m->bytes || n > m->bytes - offset)
        return -1;
    memcpy(destination, (const char *)m->data + offset, n);
    return 0;
}

static int memory_length(void *user, uint64_t *bytes)
{
    *bytes = ((const emr_memory *)user)->bytes;
    return 0;
}

static int memory_map(void *user, uint64_t offset, size_t n, const void **window)
{
    const emr_memory *m = user;
    if (offset > m->bytes || n > m->bytes - offset)
        return -1;
    *window = (const char *)m->data + offset;
    return 0;
}

emr_io emr_memory_io(emr_memory *memory)
{
    emr_io io = {
        .size = sizeof io, .user = memory, .read = memory_read, .length = memory_length, .map = memory_map};
    return io;
}

static int buffer_write(void *user, uint64_t offset, const void *source, size_t n)
{
    emr_buffer *b = user;
    emr_allocator allocator;
    uint64_t end;
    if (!emr_add(offset, n, &end) || end > SIZE_MAX / 4 ||
        emr_allocator_take(&allocator, b->allocator, NULL) ||
        !emr_grow(&allocator, &b->data, &b->capacity, (size_t)end, 1))
        return -1;
    memcpy((char *)b->data + offset, source, n);
    b->bytes = end > b->bytes ? (size_t)end : b->bytes;
    return 0;
}

static int buffer_read(void *user, uint64_t offset, void *destination, size_t n)
{
    const emr_buffer *b = user;
    emr_memory m = {b->data, b->bytes};
    return memory_read(&m, offset, destination, n);
}

static int buffer_length(void *user, uint64_t *bytes)
{
    *bytes = ((const emr_buffer *)user)->bytes;
    return 0;
}

emr_io emr_buffer_io(emr_buffer *buffer)
{
    emr_io io = {.size = sizeof io,
                 .user = buffer,
                 .read = buffer_read,
                 .write = buffer_write,
                 .length = buffer_length};
    return io;
}

void emr_buffer_free(emr_buffer *buffer)
{
    emr_allocator allocator;
    if (buffer && !emr_allocator_take(&allocator, buffer->allocator, NULL))
        emr_release(&allocator, buffer->data);
    if (buffer)
        buffer->data = NULL, buffer->bytes = buffer->capacity = 0;
}
