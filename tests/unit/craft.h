/* craft.h - safetensors files put together by hand, right and wrong ones. */
#ifndef EMR_TESTS_CRAFT_H
#define EMR_TESTS_CRAFT_H

#include "support.h"

typedef struct crafted {
    unsigned char *bytes;
    size_t n;
} crafted;

/* The header's length, the header as it stands, and `data` bytes of data: byte i is (unsigned char)(7 * i).
 */
crafted craft(const char *header, size_t data);
/* The same with any bytes as the header, and any number as its length. */
crafted craft_raw(uint64_t length, const void *header, size_t header_bytes, size_t data);
void crafted_free(crafted *file);

/* The name under which the functions below open a file: messages must say it. */
#define CRAFTED_NAME "crafted.safetensors"

emr_status crafted_open(const crafted *file, emr_memory *memory, emr_model **model, emr_error *error);

/* The file must open; destroy the model and free the file when done. */
emr_model *assert_opens_at(const crafted *file, emr_memory *memory, int line);
#define assert_opens(file, memory) assert_opens_at((file), (memory), __LINE__)

/* The file must be refused with that status and one line that says its name and `named`. Frees the file. */
void assert_refused_at(crafted file, emr_status status, const char *named, int line);
#define assert_refused(file, status, named) assert_refused_at((file), (status), (named), __LINE__)

/* Whether `error` is a sentence in one line that holds both words. */
bool is_sentence(const emr_error *error, const char *word, const char *other);

#endif
