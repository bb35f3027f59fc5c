/* gguf_bytes.h - a GGUF header from its beginning on. It is read in growing pieces, because nothing says how
 * long it is; what was read over stays in memory. */
#ifndef EMR_CHECKPOINT_GGUF_BYTES_H
#define EMR_CHECKPOINT_GGUF_BYTES_H

#include "checkpoint/gguf.h"

/* Sees to it that n bytes from where we are can be looked at. The header may move in memory. */
emr_status emr_gguf_need(emr_gguf_header *header, uint64_t n, emr_error *error);

/* The next number. */
emr_status emr_gguf_take32(emr_gguf_header *header, uint32_t *value, emr_error *error);
emr_status emr_gguf_take64(emr_gguf_header *header, uint64_t *value, emr_error *error);

/* Past a key or a tensor's name: 1 to `most` bytes of UTF-8, none of them zero. Where it is something else
 * there is no saying its name: it is called `which` ("key") and a number. */
emr_status emr_gguf_skip_name(emr_gguf_header *header, uint64_t most, const char *which, uint64_t number,
                              emr_error *error);

/* Past an entry of the metadata, the number-th. */
emr_status emr_gguf_read_entry(emr_gguf_header *header, uint64_t number, emr_error *error);

/* The metadata without what they say of files that the model was split into, from the magic on: how a file
 * of its own begins. `to` has room for as much as there is before the tensors' descriptions, or is NULL.
 * Returns the bytes. */
size_t emr_gguf_put_metadata(emr_gguf_header *header, uint8_t *to);

/* The string that stands somewhere as text for a message, cut at a character. */
const char *emr_gguf_text(const emr_gguf_header *header, size_t string, char text[EMR_GGUF_NAME_BYTES + 1]);

/* EMR_EFORMAT about the header; or about its `kind` ("tensor") that begins with that string. */
emr_status emr_gguf_bad(const emr_gguf_header *header, const char *what, emr_error *error);
emr_status emr_gguf_bad_at(const emr_gguf_header *header, const char *kind, size_t string, const char *what,
                           emr_error *error);

#endif
