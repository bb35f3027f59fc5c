/* io.c - see io.h. Freestanding. */
#include "core/io.h"

#include "core/error.h"
#include "core/structs.h"

#include <string.h>

emr_status emr_io_take(emr_io *taken, const emr_io *given, emr_error *error)
{
    return given ? EMR_TAKE(taken, given, emr_io, error) : emr_fail(error, EMR_EINVAL, "emr_io: NULL");
}

/* No callback has said anything yet. */
static void expect_nothing(emr_error *why)
{
    memset(why, 0, sizeof *why);
}

static emr_status settle(emr_status returned, emr_error *why)
{
    why->text[sizeof why->text - 1] = '\0';
    return returned ? emr_callback_status(returned, EMR_EIO) : EMR_OK;
}

emr_status emr_io_read(const emr_io *io, uint64_t offset, void *destination, size_t n, emr_error *why)
{
    expect_nothing(why);
    return settle(io->read(io->user, offset, destination, n, why), why);
}

emr_status emr_io_write(const emr_io *io, uint64_t offset, const void *source, size_t n, emr_error *why)
{
    expect_nothing(why);
    return settle(io->write(io->user, offset, source, n, why), why);
}

emr_status emr_io_length(const emr_io *io, uint64_t *bytes, emr_error *why)
{
    expect_nothing(why);
    return settle(io->length(io->user, bytes, why), why);
}

emr_status emr_io_map(const emr_io *io, uint64_t offset, size_t n, const void **window, emr_error *why)
{
    expect_nothing(why);
    return settle(io->map(io->user, offset, n, window, why), why);
}

void emr_io_unmap(const emr_io *io, const void *window, size_t n)
{
    if (window && io->unmap)
        io->unmap(io->user, window, n);
}

emr_status emr_io_sync(const emr_io *io, emr_error *why)
{
    expect_nothing(why);
    return io->sync ? settle(io->sync(io->user, why), why) : EMR_OK;
}
