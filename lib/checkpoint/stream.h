/* stream.h - a file written front to back: bytes, then tensors, with zeros between them where a format wants
 * some. Tensors are read, which for a bundle's views means computed, in parallel. */
#ifndef EMR_CHECKPOINT_STREAM_H
#define EMR_CHECKPOINT_STREAM_H

#include "emr/checkpoint.h"
#include "checkpoint/unchecked.h"
#include "core/resources.h"
#include "core/work.h"

/* What a call that writes a checkpoint was given, and how far all of its files are: for progress. */
typedef struct emr_output {
    emr_checkpoint_write_options options;
    emr_env env;
    uint64_t done, total; /* bytes of tensors and zeros */
} emr_output;

/* By the size rule. `what` names the function. */
emr_status emr_output_take(emr_output *output, const emr_model *model,
                           const emr_checkpoint_write_options *given, const char *what, emr_error *error);
emr_status emr_output_take_io(emr_io *io, const emr_io *given, emr_error *error);

/* A part of the file in memory. */
typedef struct emr_stream_window {
    uint8_t *bytes;                  /* of the file */
    uint8_t *sources;                /* what derived tensors were computed from; NULL where there are none */
    struct emr_stream_piece *pieces; /* the tensors in it */
    uint32_t *jobs;                  /* the first piece of each job that fills it, and the end */
    size_t used, sources_used, n_pieces, n_jobs;
    size_t job_bytes; /* of the last job */
} emr_stream_window;

typedef struct emr_stream {
    emr_output *output;
    const emr_model *model;
    const emr_io *io;
    emr_workers workers;
    uint64_t position;
    size_t window_bytes, max_pieces;
    emr_stream_window filling, leaving;
    emr_hasher hasher; /* of the source that is passing */
    void **scratches;  /* of the model's computations; one a worker */
} emr_stream;

/* For tensors of one model. Whatever is returned, emr_stream_end must follow. */
emr_status emr_stream_begin(emr_stream *stream, const emr_model *model, const emr_io *io, emr_output *output,
                            emr_error *error);

/* Bytes at once; before the first tensor. */
emr_status emr_stream_put(emr_stream *stream, const void *bytes, size_t n, emr_error *error);

emr_status emr_stream_tensor(emr_stream *stream, const emr_tensor *tensor, emr_error *error);
emr_status emr_stream_zeros(emr_stream *stream, uint64_t n, emr_error *error);

/* Writes what is left, unless `status` says that something failed before, and frees the stream's memory. */
emr_status emr_stream_end(emr_stream *stream, emr_status status, emr_error *error);

/* Bytes of all tensors. */
uint64_t emr_model_bytes(const emr_model *model);

#endif
