/* output.c - what -o names: a file that appears when it is whole, or standard output. */
#include "cli.h"

#include <errno.h>
#include <string.h>

bool to_standard_output(const arguments *a)
{
    return strcmp(a->output, "-") == 0;
}

static emr_status write_standard_output(void *user, uint64_t offset, const void *source, size_t n,
                                        emr_error *error)
{
    (void)user, (void)offset; /* every writer goes front to back */
    if (fwrite(source, 1, n, stdout) == n)
        return EMR_OK;
    return emr_error_set(error, EMR_EIO, errno, "standard output", strerror(errno));
}

const emr_io *standard_output(void)
{
    static const emr_io io = {.size = sizeof io, .write = write_standard_output};
    return &io;
}

emr_status open_output(const emr_io **io, emr_file **file, const arguments *a, emr_error *error)
{
    const emr_file_options options = {.size = sizeof options, .replace = a->force};
    *file = NULL;
    *io = standard_output();
    if (to_standard_output(a))
        return EMR_OK;
    emr_status status = (a->resume ? emr_file_resume : emr_file_create)(file, a->output, &options, error);
    if (!status)
        *io = emr_file_io(*file);
    return status;
}

emr_status commit_output(emr_file *file, emr_error *error)
{
    if (!file)
        return EMR_OK;
    return interrupted ? EMR_ECANCELED : emr_file_commit(file, error);
}
