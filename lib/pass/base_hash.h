/* base_hash.h - the hashes of the base's tensors, taken as a pass reads them: a part of a pass that a step
 * may do without. */
#ifndef EMR_PASS_BASE_HASH_H
#define EMR_PASS_BASE_HASH_H

#include "core/hash.h"
#include "core/save.h"
#include "pass/step.h"

/* One a tensor of the base, in the order of the alignment. They outlive the pass. */
typedef struct emr_base_hashes {
    emr_hash128 *found;          /* right as it is for tensors without elements */
    const emr_hash128 *expected; /* NULL: none are known; */
    const bool *is_expected;     /* else, which ones */
    const char *whose;           /* the bundle whose base is expected */
} emr_base_hashes;

typedef struct emr_base_hash emr_base_hash;

/* Everything given is borrowed. */
emr_status emr_base_hash_create(emr_base_hash **hash, const emr_alignment *alignment,
                                const emr_layout *layout, emr_base_hashes *hashes, emr_error *error);
void emr_base_hash_destroy(emr_base_hash **hash);
uint64_t emr_base_hash_memory(const emr_layout *layout);

/* Notes an item that is to be hashed: its bytes must stay as they are until emr_base_hash_run, which hashes
 * all that was noted, in order, and compares where a tensor ends. EMR_EMISMATCH: another base. */
void emr_base_hash_note(emr_base_hash *hash, const emr_item *item);
emr_status emr_base_hash_run(emr_base_hash *hash, emr_error *error);

/* A tensor that is not merged, at once: begin, bytes, end. */
void emr_base_hash_begin(emr_base_hash *hash);
void emr_base_hash_bytes(emr_base_hash *hash, const void *bytes, size_t n);
emr_status emr_base_hash_end(emr_base_hash *hash, uint32_t entry, emr_error *error);

/* Bytes [0, end) of a tensor that was passing when the work was cut off, once more: so far only the base
 * needs to be read again. */
emr_status emr_base_hash_again(emr_base_hash *hash, const emr_tensor *base, uint64_t end, emr_error *error);

/* Continuing later: hashes of the entries [from, to). */
void emr_base_hash_save(const emr_base_hash *hash, uint32_t from, uint32_t to, emr_put_fn put, void *context);
emr_status emr_base_hash_restore(emr_base_hash *hash, uint32_t from, uint32_t to, emr_get_fn get,
                                 void *context, emr_error *error);

#endif
