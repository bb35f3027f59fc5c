/* remote_absent.c - the program without libemr-remote. */
#include "remote.h"

#include <string.h>

bool is_address(const char *path)
{
    return strncmp(path, "https://", 8) == 0 || strncmp(path, "http://", 7) == 0 ||
           strncmp(path, "s3://", 5) == 0;
}

emr_status remote_source(const emr_source **source, const char *path, emr_error *error)
{
    *source = NULL;
    return emr_error_set(error, EMR_EUNSUPPORTED, 0, path,
                         "this build reads no addresses (it was made without libcurl, -Dremote=disabled)");
}

int shown_length(const char *path)
{
    return (int)(is_address(path) ? strcspn(path, "?") : strlen(path));
}

void close_remote(void)
{
}
