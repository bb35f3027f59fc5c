/* read_text.c - a small file, whole. */
#include "checkpoint/safetensors.h"
#include "io/file.h"

emr_status emr_read_text(const emr_allocator *allocator, const char *path, uint64_t most, char **text,
                         size_t *n, uint64_t *stamp, emr_error *error)
{
    emr_file *file;
    uint64_t bytes = 0;
    *text = NULL;
    emr_status status = emr_file_open(&file, path, 0, allocator, error);
    if (status)
        return status;
    emr_io io = emr_file_io(file);
    if (io.length(io.user, &bytes))
        status = emr_fail(error, EMR_EIO, "%s: its length cannot be known", path);
    else if (bytes > most)
        status = EMR_ELIMIT;
    if (!status && !(*text = emr_allocate(allocator, (size_t)bytes)))
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    if (!status && io.read(io.user, 0, *text, (size_t)bytes))
        status = emr_fail(error, EMR_EIO, "%s: reading it failed", path);
    if (!status && stamp)
        *stamp = emr_file_stamp(file);
    emr_file_close(&file);
    if (status) {
        emr_release(allocator, *text);
        *text = NULL;
    }
    *n = status ? 0 : (size_t)bytes;
    return status;
}
