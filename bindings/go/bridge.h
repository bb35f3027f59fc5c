/* bridge.h - the C interface as cgo sees it: the headers, the Go functions that C calls back, and calls through
 * the tables of functions that the library hands out. A callback's `user` is a cell (callback.go). */
#ifndef EMR_GO_BRIDGE_H
#define EMR_GO_BRIDGE_H

#include <emr/emr.h>
#include <stdlib.h>

/* As cgo declares them: without const. */
emr_status emrGoRead(void *user, uint64_t offset, void *destination, size_t n, emr_error *error);
emr_status emrGoWrite(void *user, uint64_t offset, void *source, size_t n, emr_error *error);
emr_status emrGoLength(void *user, uint64_t *bytes, emr_error *error);
emr_status emrGoSync(void *user, emr_error *error);
emr_status emrGoProgress(void *user, emr_progress *progress, emr_error *error);
emr_status emrGoCompute(emr_computation *computation, emr_error *error);
void emrGoWritten(void *user, char *path);
void emrGoDiffers(void *user, emr_base_difference *difference);
emr_status emrGoUnified(void *user, emr_sink_part *part, emr_error *error);
emr_status emrGoMask(void *user, emr_sink_part *part, emr_error *error);
emr_status emrGoRescalers(void *user, emr_sink_part *part, emr_error *error);

/* Stands for the bytes of tensors without elements. */
static inline const void *emr_go_nothing(void)
{
    static const char nothing;
    return &nothing;
}

static inline emr_status emr_go_read(const emr_io *io, uint64_t offset, void *destination, size_t n,
                                     emr_error *error)
{
    return io->read(io->user, offset, destination, n, error);
}

static inline emr_status emr_go_write(const emr_io *io, uint64_t offset, const void *source, size_t n,
                                      emr_error *error)
{
    return io->write(io->user, offset, source, n, error);
}

static inline emr_status emr_go_length(const emr_io *io, uint64_t *bytes, emr_error *error)
{
    return io->length(io->user, bytes, error);
}

static inline emr_status emr_go_sync(const emr_io *io, emr_error *error)
{
    return io->sync(io->user, error);
}

#endif
