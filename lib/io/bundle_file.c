/* bundle_file.c - opening a bundle that is a file. */
#include "bundle/bundle.h"

static void close_file(void *owner)
{
    emr_file *file = owner;
    emr_file_close(&file);
}

emr_status emr_bundle_open_file(emr_bundle **bundle, const char *path, const emr_bundle_options *given,
                                emr_error *error)
{
    emr_bundle_options options;
    emr_file *file;
    if (bundle)
        *bundle = NULL;
    if (!bundle || !path)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_open_file: NULL");
    emr_status status = EMR_TAKE(&options, given, emr_bundle_options, error);
    if (status)
        return status;
    emr_file_options file_options = EMR_INIT(emr_file_options);
    file_options.allocator = options.allocator;
    file_options.map = options.map;
    status = emr_file_open(&file, path, &file_options, error);
    if (status)
        return status;
    status = emr_bundle_open(bundle, emr_file_io(file), path, given, error);
    if (status) {
        emr_file_close(&file);
        return status;
    }
    (*bundle)->on_destroy = close_file;
    (*bundle)->owner = file;
    return EMR_OK;
}
