/* remote.h - checkpoints by their address, where the program was built with libemr-remote (remote.c;
 * remote_absent.c says that it was not). */
#ifndef EMR_REMOTE_PROGRAM_H
#define EMR_REMOTE_PROGRAM_H

#include <emr/emr.h>

#include <stdbool.h>

/* Whether a path is https://, http:// or s3://. */
bool is_address(const char *path);

/* Where such a path is opened from; credentials for s3 come from the environment and from ~/.aws. */
emr_status remote_source(const emr_source **source, const char *path, emr_error *error);

/* How many bytes of a path are shown: of an address, nothing of what stands behind its '?', where
 * signatures are. */
int shown_length(const char *path);

/* After the last model. */
void close_remote(void);

#endif
