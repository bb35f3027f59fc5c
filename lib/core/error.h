/* error.h - filling an emr_error without the C library's printf. */
#ifndef EMR_CORE_ERROR_H
#define EMR_CORE_ERROR_H

#include "emr/status.h"

/* Writes one line into `error` (which may be NULL) and returns `status`, so that failing reads
 *     return emr_fail(error, EMR_EFORMAT, "%s: tensor '%s': offset %u is past the end", file, name, offset);
 * Conversions: %s const char *, %u uint64_t, %i int64_t, %% a percent sign. Control characters in strings
 * become '?', because names come from files and the text is promised to be one line. */
emr_status emr_fail(emr_error *error, emr_status status, const char *format, ...);

/* Puts "text: " before what `error` holds, for a caller that knows more than the place that failed. */
void emr_error_prefix(emr_error *error, const char *text);

#endif
