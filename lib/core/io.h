/* io.h - calling a host's I/O table: each call gives EMR_OK, or what the caller is to fail with, and in *why
 * the callback's own words, if it had any, for emr_fail_because(). The member that is called must be there.
 */
#ifndef EMR_CORE_IO_H
#define EMR_CORE_IO_H

#include "emr/io.h"

/* Checks an I/O table by the size rule and copies it. */
emr_status emr_io_take(emr_io *taken, const emr_io *given, emr_error *error);

emr_status emr_io_read(const emr_io *io, uint64_t offset, void *destination, size_t n, emr_error *why);
emr_status emr_io_write(const emr_io *io, uint64_t offset, const void *source, size_t n, emr_error *why);
emr_status emr_io_length(const emr_io *io, uint64_t *bytes, emr_error *why);
emr_status emr_io_map(const emr_io *io, uint64_t offset, size_t n, const void **window, emr_error *why);
/* Nothing to do where the table has no unmap, or `window` is NULL. */
void emr_io_unmap(const emr_io *io, const void *window, size_t n);
/* Nothing to do where the table has no sync. */
emr_status emr_io_sync(const emr_io *io, emr_error *why);

#endif
