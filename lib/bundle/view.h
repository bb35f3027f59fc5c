/* view.h - models that are computed from a bundle as they are read: what the views of a task (view_task.c)
 * and those of a single stream (view_streams.c) share. */
#ifndef EMR_BUNDLE_VIEW_H
#define EMR_BUNDLE_VIEW_H

#include "bundle/bundle.h"
#include "model/model.h"

enum { EMR_VIEW_PIECE = 8192 }; /* elements computed at a time */

/* A tensor of a view: its bytes come from the view's stream, or from a tensor of a base. */
typedef struct emr_view_tensor {
    struct emr_view *view;
    uint64_t offset;          /* in the stream: bytes; of a mask, parameters */
    emr_derivation from_base; /* its source is NULL where the bytes are in the stream */
    uint32_t merged;          /* its number, if it is merged */
    emr_dtype stored, dtype;  /* in the stream, as given out */
} emr_view_tensor;

typedef struct emr_view {
    const emr_bundle *bundle;
    emr_allocator allocator;
    size_t stream;            /* or EMR_NO_STREAM */
    uint32_t task;            /* whose modulator computes the weights */
    emr_model *own_base;      /* the embedded base, where that is what a task is computed from */
    emr_model *arranged_base; /* the given base as the bundle has it, where that is otherwise */
    emr_model
        *parts; /* tensors that the task has in one piece or in another shape: as the bundle has them, */
    emr_model *wholes;  /* and as the task has them */
    char *not_the_base; /* "is not the base of FILE", where the base is still to be checked; else NULL */
    emr_view_tensor *tensors; /* in the model's order */
} emr_view;

/* A reader's scratch. What it opens, it opens when it first needs it: a task without private tensors needs no
 * cursor, a tensor that is kept from the base needs nothing. */
typedef struct emr_view_scratch {
    emr_modulator *modulator;
    emr_cursor cursor;            /* of the view's stream */
    _Alignas(64) uint8_t bytes[]; /* elements as they are stored, before they are converted */
} emr_view_scratch;

/* An empty model over a copy of `view`, with room for n tensors and `bytes` bytes of scratch. */
emr_status emr_view_create(emr_model **model, const emr_view *view, size_t n, size_t bytes, emr_error *error);

/* Appends a tensor that `desc` describes but for its user: that is a copy of `tensor`. */
emr_status emr_view_add(emr_model *model, const emr_view_tensor *tensor, emr_tensor_desc *desc,
                        emr_error *error);

/* The end of making a view: destroys the model if something failed on the way. */
emr_status emr_view_finish(emr_model **model, emr_status status, emr_error *error);

/* Name, shape and rank of a tensor of the bundle; its dtype there. */
emr_tensor_desc emr_view_describe(const emr_bundle *b, const emr_tensor_record *r);

/* Reads from the view's stream. */
emr_status emr_view_read(const emr_view *view, emr_view_scratch *scratch, uint64_t offset, void *to, size_t n,
                         emr_error *error);

/* emr_compute_fn: the stream's bytes as they are, and as elements of another float dtype. */
emr_status emr_view_compute_stored(const emr_computation *c, emr_error *error);
emr_status emr_view_compute_converted(const emr_computation *c, emr_error *error);

#endif
