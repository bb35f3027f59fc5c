/* error.h - filling an emr_error without the C library's printf. */
#ifndef EMR_CORE_ERROR_H
#define EMR_CORE_ERROR_H

#include "emr/status.h"

#include <stdarg.h>

/* Writes one line into `error` (which may be NULL) and returns `status`, so that failing reads
 *     return emr_fail(error, EMR_EFORMAT, "%F: tensor '%T': offset %u is past the end", file, name, offset);
 * Conversions:
 *     %F %K %T   const char *: a file or model, a task, a tensor; error->file, ->task or ->tensor says where
 *     %s         const char *: any other text
 *     %u %i      uint64_t, int64_t
 *     %%         a percent sign
 * Control characters in strings become '?', because names come from files and the text is promised to be one
 * line. */
emr_status emr_fail(emr_error *error, emr_status status, const char *format, ...);

/* The same after a failure of something below, a callback or a system call, with its reason behind a colon:
 * "all.emr: reading 64 bytes at byte 0 failed: Input/output error". `why` may have no text. A file that both
 * name is named once. */
emr_status emr_fail_because(emr_error *error, emr_status status, const emr_error *why, const char *format,
                            ...);

/* The same with nothing but the reason: what a callback wrote becomes one line whose spans lie in it. */
emr_status emr_fail_as(emr_error *error, emr_status status, const emr_error *why);

/* Puts "format: " before what `error` says, for a caller that knows more than the place that failed. */
void emr_error_prefix(emr_error *error, const char *format, ...);

/* "FILE: out of memory", or "out of memory" where `file` is NULL. Returns EMR_ENOMEM. */
emr_status emr_no_memory(emr_error *error, const char *file);

/* What a call fails with after a host's callback returned something else than EMR_OK. */
static inline emr_status emr_callback_status(emr_status returned, emr_status otherwise)
{
    return returned == EMR_ENOMEM || returned == EMR_ECANCELED ? returned : otherwise;
}

#endif
