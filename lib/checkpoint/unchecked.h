/* unchecked.h - tensors whose base nobody has compared yet (emr_tensor.unchecked). They are read for files
 * alone, and what they are computed from is hashed on the way. */
#ifndef EMR_CHECKPOINT_UNCHECKED_H
#define EMR_CHECKPOINT_UNCHECKED_H

#include "core/hash.h"
#include "model/model.h"

/* The bytes of an element. */
static inline size_t emr_element_bytes(const emr_tensor *tensor)
{
    return emr_dtype_bits(tensor->dtype) / 8;
}

/* Whether an unchecked tensor's elements, each of whole bytes, are computed from its source's; else it has
 * the same bytes. */
static inline bool emr_is_derived(const emr_tensor *tensor)
{
    return tensor->unchecked && tensor->unchecked->derive;
}

/* `n` elements of a derived tensor from `first` on, and in `source` those of its source. */
emr_status emr_derive(const emr_tensor *tensor, void *scratch, uint64_t first, size_t n, void *destination,
                      void *source, emr_error *error);

/* Hashes the source's bytes, piece by piece from the first on. EMR_EMISMATCH where they end with another hash
 * than they are to have. */
emr_status emr_source_hash(emr_hasher *hasher, const emr_tensor *tensor, uint64_t offset, const void *bytes,
                           size_t n, emr_error *error);

/* All bytes of a tensor, unchecked or not, that is not derived. */
emr_status emr_read_whole(const emr_tensor *tensor, void *destination, emr_error *error);

#endif
