/* arranged.h - models that show the tensors of another one otherwise than it has them: under other names, fitted
 * into other shapes, cut into first rows and the rest. They remember how a tensor is called and shaped in its own
 * model (emr_own), so that what was merged in one arrangement can be given back in the other. */
#ifndef EMR_MODEL_ARRANGED_H
#define EMR_MODEL_ARRANGED_H

#include "model/model.h"

/* What a tensor of an arranged model is in its own model. */
struct emr_own {
    const char *name;
    const uint64_t *shape; /* of the same rank */
    const emr_tensor
        *rest;    /* the rows after these, another tensor of the arranged model; NULL: there are none */
    bool is_rest; /* these are such rows */
};

/* Whether a tensor has another shape in its own model, or is only its first rows there. */
bool emr_arranged_is_reshaped(const emr_tensor *tensor);

/* An empty model that tensors of `source` are added to, which it borrows; with the source's name and metadata. */
emr_status emr_arranged_create(emr_model **arranged, const emr_model *source, const emr_allocator *allocator,
                               emr_error *error);

/* Bytes that such a model takes, and took while it grew; beside them each of its readers takes
 * `options.scratch_bytes`. */
uint64_t emr_arranged_memory(const emr_model *arranged);

/* A tensor as it is in the source. */
emr_status emr_arranged_keep(emr_model *arranged, const emr_tensor *tensor, emr_error *error);

/* A tensor under another name. */
emr_status emr_arranged_rename(emr_model *arranged, const emr_tensor *tensor, const char *name,
                               emr_error *error);

/* A tensor in another shape of its rank: elements that both shapes have, and zeros elsewhere. EMR_EUNSUPPORTED for
 * one whose bytes are to be pushed, or that has elements of less than a byte. */
emr_status emr_arranged_fit(emr_model *arranged, const emr_tensor *tensor, const char *name,
                            const uint64_t *shape, emr_error *error);

/* A tensor with more rows: its own are those from `first` on, those before and behind them are zeros. It counts as one
 * that has this shape in its own model too. With `first` the number of all rows none are its own: `source` is then
 * only what the zeros are like. EMR_EUNSUPPORTED as above. */
emr_status emr_arranged_pad(emr_model *arranged, const emr_tensor *source, const char *name, uint64_t first,
                            uint64_t rows, emr_error *error);

/* The rows of a tensor from `first` on, of which those before were added last. `name` is the tensor's. */
emr_status emr_arranged_add_rest(emr_model *arranged, const emr_tensor *tensor, const char *name,
                                 uint64_t first, emr_error *error);

/* What such rows are called where nobody has named them: "embed[1000:]". NULL: no memory. */
char *emr_rest_name(const emr_allocator *allocator, const char *name, uint64_t first);

/* The opposite: a tensor whose first rows are one tensor and whose rest is another. */
emr_status emr_arranged_join(emr_model *arranged, const emr_tensor *first, const emr_tensor *rest,
                             const char *name, emr_error *error);

#endif
