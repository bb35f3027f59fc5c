/* status.h - what every call returns, and the sentence that goes with a failure. */
#ifndef EMR_STATUS_H
#define EMR_STATUS_H

#include "emr/export.h"

/* One line a status: name, number, text. The numbers are pinned; new ones are appended. */
#define EMR_STATUS_MAP(X)                                                                                    \
    X(OK, 0, "success")                                                                                      \
    X(EINVAL, -1, "invalid argument or option")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                           \
    X(EIO, -3, "input or output failed")                                                                     \
    X(EFORMAT, -4, "malformed file")                                                                         \
    X(ECORRUPT, -5, "damaged data: a checksum differs")                                                      \
    X(EVERSION, -6, "made by a newer version of libemr")                                                     \
    X(EMISMATCH, -7, "inputs do not fit together")                                                           \
    X(ENONFINITE, -8, "NaN or infinity in a merged tensor")                                                  \
    X(ENOTFOUND, -9, "no such tensor, task or entry")                                                        \
    X(ECANCELED, -10, "canceled by the progress callback")                                                   \
    X(ESTATE, -11, "call out of order")                                                                      \
    X(EUNSUPPORTED, -12, "not supported in this build or for this input")                                    \
    X(ELIMIT, -13, "a limit is too small for this work")                                                     \
    X(EEXIST, -14, "already exists")

typedef enum emr_status {
#define EMR_STATUS_ENUM(name, number, text) EMR_##name = number,
    EMR_STATUS_MAP(EMR_STATUS_ENUM)
#undef EMR_STATUS_ENUM
} emr_status;

#define EMR_ERROR_TEXT_SIZE 512

/* One sentence about what failed, naming file, tensor and task where there are any. Always one line, ends in
 * a zero byte, cut at a character where it would not fit. Owned by the caller; any number of threads may use
 * one each. */
typedef struct emr_error {
    char text[EMR_ERROR_TEXT_SIZE];
} emr_error;

EMR_BEGIN_DECLS

/* The status's text ("out of memory"), or "unknown status" for a number that is none. Static strings. */
EMR_API const char *emr_status_text(emr_status status);

/* The status's name ("EMR_ENOMEM"), or "EMR_?". Static strings. */
EMR_API const char *emr_status_name(emr_status status);

EMR_END_DECLS

#endif
