/* craft.h - safetensors files put together by hand, right and wrong ones. */
#ifndef EMR_TESTS_CRAFT_H
#define EMR_TESTS_CRAFT_H

#include "support.h"

typedef struct crafted {
    unsigned char *bytes;
    size_t n;
    emr_buffer *buffer; /* crafted_io's */
} crafted;

/* The header's length, the header as it stands, and `data` bytes of data: byte i is (unsigned char)(7 * i).
 */
crafted craft(const char *header, size_t data);
/* The same with any bytes as the header, and any number as its length. */
crafted craft_raw(uint64_t length, const void *header, size_t header_bytes, size_t data);
void crafted_free(crafted *file);
/* The file as it is now, for reading; valid until it is freed, or its bytes move or get more or fewer. */
const emr_io *crafted_io(crafted *file);

/* The name under which the functions below open a file: messages must say it. */
#define CRAFTED_NAME "crafted.safetensors"

emr_status crafted_open(crafted *file, emr_model **model, emr_error *error);

/* The file must open; destroy the model and free the file when done. */
emr_model *assert_opens_at(crafted *file, int line);
#define assert_opens(file) assert_opens_at((file), __LINE__)

/* The file must be refused with that status and one line that says its name and `named`. Frees the file. */
void assert_refused_at(crafted file, emr_status status, const char *named, int line);
#define assert_refused(file, status, named) assert_refused_at((file), (status), (named), __LINE__)

/* Whether `error` is a sentence in one line that holds both words. */
bool is_sentence(const emr_error *error, const char *word, const char *other);

#endif
