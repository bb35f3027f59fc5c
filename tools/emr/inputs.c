/* inputs.c - what the command line names, looked up. */
#include "cli.h"

#include <string.h>

int check_one_file(const arguments *a, const char *what)
{
    return a->n_files == 1 ? EXIT_DONE
                           : complain(EXIT_USAGE, "%s: exactly one %s is needed", a->command, what);
}

emr_status open_checkpoint(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    const emr_checkpoint_read_options options = {.size = sizeof options, .dequantise = a->dequantise};
    return emr_checkpoint_open(model, path, &options, error);
}

emr_status open_task(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    const emr_checkpoint_read_options options = {
        .size = sizeof options, .dequantise = a->dequantise, .side_files = !a->no_side_files};
    return emr_checkpoint_open(model, path, &options, error);
}

const char *side_file_name(const char *tensor)
{
    size_t n = sizeof EMR_FILE_PREFIX - 1;
    return strncmp(tensor, EMR_FILE_PREFIX, n) == 0 ? tensor + n : NULL;
}

emr_status find_task(const emr_bundle *bundle, const char *name, uint32_t *task, emr_error *error)
{
    emr_status status = emr_bundle_find_task(bundle, name, task, error);
    if (status != EMR_ENOTFOUND)
        return status;
    return emr_error_format(error, status, "%F: task '%K' is not in the bundle (emr inspect lists its tasks)",
                            emr_bundle_name(bundle), name);
}
