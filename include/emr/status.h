/* status.h - what every call returns, and the sentence that comes with a failure.
 *
 *     emr_error error;
 *     if (emr_bundle_open_file(&bundle, "all.emr", NULL, &error))
 *         fprintf(stderr, "%s\n", error.text);
 */
#ifndef EMR_STATUS_H
#define EMR_STATUS_H

#include "emr/export.h"

/* One line for each status: name, number, text. Numbers never change; new ones are appended. */
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

typedef int32_t emr_status;
enum {
#define EMR_STATUS_ENUM(name, number, text) EMR_##name = number,
    EMR_STATUS_MAP(EMR_STATUS_ENUM)
#undef EMR_STATUS_ENUM
};

#define EMR_ERROR_TEXT_SIZE 480

/* A name inside error.text: bytes [offset, offset + length). Length 0: the sentence names none. Of a name of more
 * than 200 bytes the text has the beginning and the end, with "..." between them. */
typedef struct emr_error_span {
    uint16_t offset;
    uint16_t length;
} emr_error_span;

/* Why a call failed. It needs no initialisation, is filled by every failure of a call that takes one, and is
 * untouched by success. The caller owns it; each thread uses its own. 512 bytes, in every version. */
typedef struct emr_error {
    char text[EMR_ERROR_TEXT_SIZE]; /* one line of UTF-8 that ends in a zero byte, cut where it would not fit
                                     */
    emr_status status;              /* what the call returned */
    int32_t system;        /* errno, or what GetLastError gave on Windows; 0: not the system's fault */
    emr_error_span file;   /* where `text` names the file or model, */
    emr_error_span task;   /* the task, */
    emr_error_span tensor; /* and the tensor */
    uint8_t reserved[12];
} emr_error;

EMR_BEGIN_DECLS

/* The status's text ("out of memory"), or "unknown status". Static strings. */
EMR_API const char *emr_status_text(emr_status status);

/* The status's name ("EMR_ENOMEM"), or "EMR_?". Static strings. */
EMR_API const char *emr_status_name(emr_status status);

/* For callbacks: fills `error` (NULL is allowed) and returns `status`, so that failing reads
 *     return emr_error_set(error, EMR_EIO, errno, "weights.bin", "the connection was lost");
 * `file` may be NULL; neither text may be that of `error` itself. Control characters become '?'. */
EMR_API emr_status emr_error_set(emr_error *error, emr_status status, int32_t system, const char *file,
                                 const char *reason);

/* The same for C code that composes sentences as the library does. Conversions: %F %K %T a file or model, a
 * task, a tensor (const char *, of which the spans take note), %s other text, %u uint64_t, %i int64_t, %% a
 * percent sign. */
EMR_API emr_status emr_error_format(emr_error *error, emr_status status, const char *format, ...);

EMR_END_DECLS

#endif
