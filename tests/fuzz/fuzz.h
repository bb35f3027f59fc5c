/* fuzz.h - what the fuzz targets share: the entry points that libFuzzer calls, promises that end the program
 * when they are broken, and an allocator that holds the library to a bound. */
#ifndef EMR_TESTS_FUZZ_H
#define EMR_TESTS_FUZZ_H

#include <emr/emr.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Defined by each target; the mutator only by those that know their input's structure. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* libFuzzer's own mutations; replay.c has plainer ones. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Says what was broken, and aborts. */
void fuzz_broken(const char *promise, const char *file, int line);
#define promise(condition) ((condition) ? (void)0 : fuzz_broken(#condition, __FILE__, __LINE__))

/* A status that exists; after a failure a sentence in one line, whose names lie within it, and which it makes
 * empty for the next call. */
emr_status fuzz_status(emr_status status, emr_error *error);

/* An allocator that counts, and that breaks a promise when more than `cap` bytes are asked for at a time. */
typedef struct fuzz_budget {
    size_t now, cap;
} fuzz_budget;
emr_allocator fuzz_allocator(fuzz_budget *budget);

/* A copy with nothing after its end, so that a sanitizer sees a read beyond; free it. */
uint8_t *fuzz_copy(const uint8_t *data, size_t size);

/* Random numbers below n > 0, for choices that the input does not make itself. */
typedef struct fuzz_random {
    uint64_t state;
} fuzz_random;
fuzz_random fuzz_random_make(uint64_t seed);
size_t fuzz_below(fuzz_random *random, size_t n);

/* A model without tensors; a buffer over bytes that are borrowed, and one that grows. */
emr_model *fuzz_model(const char *name);
emr_buffer *fuzz_buffer_of(const void *bytes, size_t n);
emr_buffer *fuzz_buffer(void);

/* Reads a tensor at its beginning, its end and somewhere: whole and in pieces, which must agree. Where
 * `intact`, nothing may be found damaged. */
void fuzz_read_tensor(const emr_tensor *tensor, fuzz_random *random, bool intact);

#endif
