/* bytes.c - see bytes.h. */
#include "checkpoint/bytes.h"

#include "checkpoint/foreign.h"
#include "core/error.h"
#include "io/source.h"

emr_status emr_bytes_length(const emr_io *io, const char *path, uint64_t *bytes, emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_length(io, bytes, &why);
    return status ? emr_fail_because(error, status, &why, "%F: its length cannot be had", path) : EMR_OK;
}

emr_status emr_bytes_read(const emr_io *io, const char *path, uint64_t offset, void *destination, size_t n,
                          emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_read(io, offset, destination, n, &why);
    return status ? emr_fail_because(error, status, &why, "%F: reading %u bytes at byte %u failed", path,
                                     (uint64_t)n, offset)
                  : EMR_OK;
}

emr_status emr_bytes_write(const emr_io *io, const char *path, const void *source, size_t n, emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_write(io, 0, source, n, &why);
    return status ? emr_fail_because(error, status, &why, "%F: writing %u bytes failed", path, (uint64_t)n)
                  : EMR_OK;
}

static emr_status read_all_bytes(const emr_io *io, const emr_allocator *allocator, const char *path,
                                 uint64_t most, emr_text *text, emr_error *error)
{
    uint64_t bytes;
    emr_status status = emr_bytes_length(io, path, &bytes, error);
    if (!status && bytes > most)
        status = EMR_ELIMIT;
    if (status)
        return status;
    text->bytes = emr_allocate(allocator, (size_t)bytes);
    if (!text->bytes)
        return emr_no_memory(error, path);
    text->n = (size_t)bytes;
    return emr_bytes_read(io, path, 0, text->bytes, text->n, error);
}

emr_status emr_read_text(emr_text *text, const emr_source *source, const emr_allocator *allocator,
                         const char *path, uint64_t most, emr_error *error)
{
    const emr_file_options options = {.size = sizeof options, .allocator = allocator};
    emr_source_file file;
    *text = (emr_text){.bytes = NULL};
    emr_status status = emr_source_open(&file, source, path, &options, &text->stamp, error);
    if (status)
        return status;
    status = read_all_bytes(emr_source_io(&file), allocator, path, most, text, error);
    if (!status && emr_is_lfs_pointer(text->bytes, text->n))
        status = emr_lfs_refuse(path, error);
    emr_source_close(&file);
    if (status) {
        emr_release(allocator, text->bytes);
        text->bytes = NULL;
    }
    return status;
}
