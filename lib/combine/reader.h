/* reader.h - chunks of a tensor that is combined: what its inputs are there, and what the method makes of them.
 *
 * A reader is one thread's memory for chunks of at most `capacity` elements. A task vector is the difference of
 * the weights in f32, or where base or task is F64, in f64 and then rounded to f32. Methods see finite numbers alone. */
#ifndef EMR_COMBINE_READER_H
#define EMR_COMBINE_READER_H

#include "combine/combination.h"

typedef struct emr_combine_reader {
    const emr_combination *combination;
    size_t capacity;
    float **buffers;      /* of each input */
    const float **inputs; /* where its values are: its buffer, or the host's memory */
    float *base, *out, *scratch;
    double *wide_base, *wide_task; /* NULL: no tensor is F64 */
    uint8_t *raw;                  /* elements as they are stored; NULL: all are F32 */
} emr_combine_reader;

/* Elements [first, first + n) of a tensor, which are to stand from place `at` on in the reader's memory. */
typedef struct emr_combine_range {
    uint64_t first;
    size_t n, at;
} emr_combine_range;

/* Memory for a capacity; `combines`: more than inputs is asked for. */
uint64_t emr_reader_bytes(const emr_combination *combination, size_t capacity, bool combines);
/* Lays a reader out in that much memory, which begins at a cache line. */
void emr_reader_place(emr_combine_reader *reader, const emr_combination *combination, size_t capacity,
                      bool combines, void *memory);

/* Reads the range's inputs and the base. EMR_ENONFINITE where the combination is to fail then. */
emr_status emr_reader_load(emr_combine_reader *reader, const emr_combined *tensor,
                           const emr_combine_range *range, emr_error *error);

/* What was loaded as the method sees it; `seen` is the tensor with what was found. */
emr_method_chunk emr_reader_chunk(const emr_combine_reader *reader, const emr_combined *tensor,
                                  const emr_method_tensor *seen, const emr_combine_range *range);

/* Loads elements and combines them into `out`, in the tensor's dtype and at any alignment. */
emr_status emr_reader_combine(emr_combine_reader *reader, const emr_combined *tensor, const double *found,
                              uint64_t first, size_t n, void *out, emr_error *error);

#endif
