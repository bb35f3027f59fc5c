/* read_text.c - a small file, whole. */
#include "checkpoint/safetensors.h"
#include "io/file.h"

static emr_status read_bytes(const emr_io *io, const emr_allocator *allocator, const char *path,
                             uint64_t most, char **text, size_t *n, emr_error *error)
{
    uint64_t bytes;
    emr_error why;
    emr_status status = emr_io_length(io, &bytes, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: its length cannot be had", path);
    if (bytes > most)
        return EMR_ELIMIT;
    *text = emr_allocate(allocator, (size_t)bytes);
    if (!*text)
        return emr_no_memory(error, path);
    *n = (size_t)bytes;
    status = emr_io_read(io, 0, *text, *n, &why);
    return status ? emr_fail_because(error, status, &why, "%F: reading it failed", path) : EMR_OK;
}

emr_status emr_read_text(const emr_allocator *allocator, const char *path, uint64_t most, char **text,
                         size_t *n, uint64_t *stamp, emr_error *error)
{
    const emr_file_options options = {.size = sizeof options, .allocator = allocator};
    emr_file *file;
    *text = NULL;
    *n = 0;
    emr_status status = emr_file_open(&file, path, &options, error);
    if (status)
        return status;
    status = read_bytes(emr_file_io(file), allocator, path, most, text, n, error);
    if (!status && stamp)
        *stamp = emr_file_stamp(file);
    emr_file_close(&file);
    if (status) {
        emr_release(allocator, *text);
        *text = NULL;
    }
    return status;
}
