/* resume.h - a pass that can continue after it was cut off: from time to time everything that was computed is
 * made durable, and then a record in a journal says where the pass stands. */
#ifndef EMR_PASS_RESUME_H
#define EMR_PASS_RESUME_H

#include "pass/pass.h"

typedef struct emr_resume emr_resume;

/* `fingerprint` is that of everything on which the output depends, but for the values of tensors. A record is
 * made after every `interval` bytes of input, or somewhat more. The journal's I/O has read, write and length.
 */
emr_status emr_resume_create(emr_resume **resume, const emr_io *journal, uint64_t interval,
                             emr_hash128 fingerprint, const emr_allocator *allocator, emr_error *error);
void emr_resume_destroy(emr_resume **resume);

/* Its memory, for the layout. */
uint64_t emr_resume_memory(void);

/* Goes to where an earlier run of the same work came, if there was one: pass and step are new. *stale: there
 * was one, but what it left is not there; then they are of no more use, and new ones must begin at the front.
 */
emr_status emr_resume_find(emr_resume *resume, emr_pass *pass, bool *stale, emr_error *error);

/* From here on records are made. */
emr_status emr_resume_begin(emr_resume *resume, emr_pass *pass, emr_error *error);

/* For fingerprints: names, dtypes, shapes and metadata of a model, and the stamp of its files. */
void emr_hash_model(emr_hasher *hasher, const emr_model *model);
void emr_hash_number(emr_hasher *hasher, uint64_t number);
void emr_hash_text(emr_hasher *hasher, const char *text);

#endif
