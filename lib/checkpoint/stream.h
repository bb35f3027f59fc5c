/* stream.h - a file written front to back: bytes, then tensors, with zeros between them where a format wants
 * some. Tensors are read (which for a bundle's views means computed) in parallel, a window of the file at a
 * time; while one window is read, the one before it is written. */
#ifndef EMR_CHECKPOINT_STREAM_H
#define EMR_CHECKPOINT_STREAM_H

#include "emr/checkpoint.h"
#include "core/work.h"
#include "model/model.h"

typedef struct emr_stream {
    const char *name; /* of the model, for messages */
    emr_allocator allocator;
    emr_workers workers;
    const emr_io *io;
    uint64_t position;
    uint8_t *window, *last_window;
    size_t window_bytes;
    struct emr_stream_piece *pieces;
    size_t n_pieces, max_pieces, used;
    size_t last_used; /* bytes of the last window, which are not yet written */
    emr_progress_fn progress;
    void *progress_user;
    uint64_t *done, total;
} emr_stream;

/* *done goes up by the bytes of tensors and zeros that are written, for progress out of `total`. Whatever is
 * returned, emr_stream_end must follow. */
emr_status emr_stream_begin(emr_stream *stream, const char *name, const emr_io *io,
                            const emr_checkpoint_options *options, const emr_allocator *allocator,
                            uint64_t *done, uint64_t total, emr_error *error);

/* Bytes at once; before the first tensor. */
emr_status emr_stream_put(emr_stream *stream, const void *bytes, size_t n, emr_error *error);

emr_status emr_stream_tensor(emr_stream *stream, const emr_tensor *tensor, emr_error *error);
emr_status emr_stream_zeros(emr_stream *stream, uint64_t n, emr_error *error);

/* Writes what is left, unless `status` says that something failed before, and frees the stream's memory. */
emr_status emr_stream_end(emr_stream *stream, emr_status status, emr_error *error);

/* The options' struct and the output by the size rule, as every function that writes one file takes them.
 * `what` names the function. */
emr_status emr_stream_take(emr_checkpoint_options *taken, emr_allocator *allocator, emr_io *io,
                           const emr_model *model, const emr_checkpoint_options *options, const emr_io *given,
                           const char *what, emr_error *error);

/* Bytes of all tensors. */
uint64_t emr_model_bytes(const emr_model *model);

#endif
