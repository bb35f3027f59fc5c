/* vectors.h - the task vectors tau_t = W_t - W_0 of a base's tensors, read piece by piece and never kept; and what is merged of
 * them. Shared by all that is opened from a handle. */
#ifndef EMR_FIT_VECTORS_H
#define EMR_FIT_VECTORS_H

#include "dots.h"
#include "host.h"

#include "emr/model.h"

#include <stdatomic.h>

enum { FIT_PIECE_MAX = 16384 }; /* elements at a time; whole blocks of dots.h */

typedef struct fit_vector_tensor {
    const emr_tensor *base;
    const emr_tensor **tasks; /* of each task */
} fit_vector_tensor;

typedef struct fit_vectors {
    fit_host host;
    atomic_size_t references;
    const fit_dots *dots;
    fit_vector_tensor *tensors;
    char **names; /* of the tasks */
    const emr_model *base;
    size_t n_tensors;
    uint32_t n_tasks;
    bool are_vectors; /* the tasks' tensors are tau itself */
    size_t piece;     /* elements that a room has space for */
    /* AdaMerging++ (elected.c); NULL: all is kept */
    float *thresholds;
    bool is_positive; /* what is elected where the tasks' sum is 0 */
} fit_vectors;

/* Memory of one thread, for v->piece elements of each. */
typedef struct fit_room {
    double *sums; /* or gradients */
    double *doubles[2];
    void *stored; /* as they are in files */
    float *base;
    float *tau; /* of one task; of all, `stride` apart, where they are elected */
    size_t stride;
} fit_room;

size_t fit_room_bytes(const fit_vectors *vectors, size_t piece);
fit_room fit_room_of(const fit_vectors *vectors, void *memory);

void fit_vectors_release(fit_vectors *vectors);

/* Elements [first, first + n) of a tensor, which has that number. */
typedef struct fit_range {
    size_t tensor;
    uint64_t first;
    size_t n; /* at most v->piece */
} fit_range;

/* Reads the base's elements (which are not needed of task vectors that are given) into room->base; where they are elected, all
 * tasks', too. */
emr_status fit_vectors_read_all(const fit_vectors *vectors, const fit_range *range, fit_room *room,
                                emr_error *error); /* before the election */
emr_status fit_vectors_begin(const fit_vectors *vectors, const fit_range *range, fit_room *room,
                             emr_error *error);

/* Then tau of a task, in f32, until the next: filled up with +0 to whole blocks. Of F64 weights the difference is taken in f64. */
emr_status fit_vectors_read(const fit_vectors *vectors, const fit_range *range, uint32_t task, fit_room *room,
                            fit_source *tau, emr_error *error);

/* W = W_0 + sum of lambda tau, tasks in order, but those whose lambda is 0; `without_base`: the sum alone. */
typedef struct fit_merging {
    const double *lambdas; /* of each task */
    bool without_base;
    emr_dtype dtype; /* of what is written */
} fit_merging;

emr_status fit_vectors_merge(const fit_vectors *vectors, const fit_merging *merging, const fit_range *range,
                             void *out, fit_room *room, emr_error *error);

#endif
