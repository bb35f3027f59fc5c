/* support.h - what the tests share: random numbers, models made in memory, backends that fail on demand. */
#ifndef EMR_TESTS_SUPPORT_H
#define EMR_TESTS_SUPPORT_H

#include <emr/emr.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Fails the test with the sentence unless the call succeeded. */
void assert_ok_at(emr_status status, const emr_error *error, const char *file, int line);
#define assert_ok(call, error) assert_ok_at((call), (error), __FILE__, __LINE__)

/* Whether a span of the sentence (error->file, ->task or ->tensor) is that name. */
bool test_span_is(const emr_error *error, emr_error_span span, const char *name);

/* xorshift64*; the seed may be any number but 0. */
typedef struct rng {
    uint64_t state;
} rng;
uint64_t rng_next(rng *r);
uint64_t rng_below(rng *r, uint64_t n);
/* Roughly normal with deviation 1; never NaN. */
float rng_normal(rng *r);

/* One tensor of a test model: its bytes are owned by the test_model. */
typedef struct test_tensor {
    const char *name;
    emr_dtype dtype;
    uint32_t rank;
    uint64_t shape[4];
} test_tensor;

/* How a test model's tensors give their bytes; SOURCE_READ computes them as they are read. */
typedef enum test_source { SOURCE_MEMORY, SOURCE_IO, SOURCE_READ, SOURCE_PUSHED } test_source;

typedef struct test_model {
    emr_model *model;
    size_t n;
    test_tensor *tensors;
    unsigned char **data;
    emr_buffer **buffers;           /* for SOURCE_IO: views of data */
    struct test_elements *computed; /* for SOURCE_READ */
} test_model;

/* An empty model of that name, all defaults. */
emr_model *test_model_new(const char *name);

/* A model with the given tensors, zero-filled. The name strings are borrowed. */
test_model test_model_create(const char *name, const test_tensor *tensors, size_t n, test_source source);
void test_model_destroy(test_model *m);
/* Fills float tensors with normals; others with random bytes (BOOL with 0 and 1). */
void test_model_randomise(test_model *m, rng *r);
/* Fills float tensors with base + spread * normal, exactly as stored; others with the base's bytes. Same
 * tensors as the base in the same order; dtypes may differ. */
void test_model_perturb(test_model *m, const test_model *base, float spread, rng *r);
uint64_t test_tensor_count(const test_tensor *t);

/* A base and n tasks named t0, t1, ... over the same tensors. */
typedef struct test_set {
    test_model base;
    test_model *tasks;
    size_t n;
} test_set;
test_set test_set_create(const test_tensor *tensors, size_t n_tensors, size_t n_tasks, uint64_t seed,
                         test_source source);
void test_set_destroy(test_set *s);
/* The same bytes again, given in another way. */
test_set test_set_copy(const test_set *s, test_source source);

/* A merge of the set with base and tasks set; options may be NULL. */
emr_merge *test_merge_create(const test_set *s, const emr_merge_options *options);
/* Merges into memory by pull; destroy the buffer. */
emr_buffer *test_merge_bundle(const test_set *s, const emr_merge_options *options);
/* Opens a bundle in memory, which must outlive it. */
emr_bundle *test_bundle_open(const emr_buffer *buffer);

/* A shape-varied list: rank 0, empty, odd, wide, tall, one that spans several blocks. */
extern const test_tensor mixed_tensors[];
extern const size_t n_mixed_tensors;

/* An empty buffer that grows, and one over memory that is borrowed; destroy them. */
emr_buffer *test_buffer_new(void);
emr_buffer *test_buffer_of(const void *bytes, size_t n);
/* What a buffer holds, for tests that damage it. */
unsigned char *test_buffer_bytes(const emr_buffer *buffer);
bool test_same_buffers(const emr_buffer *a, const emr_buffer *b);

/* A pool of so many threads; destroy it. */
emr_pool *test_pool_new(uint32_t threads);

/* emr_modulator_apply with everything said in one line. */
emr_status test_apply(emr_modulator *modulator, uint32_t tensor, uint64_t first, uint64_t count,
                      emr_dtype base_dtype, const void *base, emr_dtype out_dtype, void *out,
                      emr_error *error);

/* Resources with these; either may be NULL. */
emr_resources test_resources(const emr_allocator *allocator, const emr_executor *executor);

/* An allocator that counts what is alive and can fail the k-th request (k from 0; SIZE_MAX: never). Like the meter it
 * may be called from threads. */
typedef struct test_allocator {
    _Atomic size_t requests, alive;
    size_t fail_at;
} test_allocator;
emr_allocator test_allocator_make(test_allocator *state);

/* An allocator that measures: bytes that are taken, and the most that ever were. */
typedef struct test_meter {
    _Atomic size_t now, peak;
} test_meter;
emr_allocator test_meter_make(test_meter *state);

/* A progress callback that stops at its call number `stop_at` (from 0; SIZE_MAX: never), saying why if it is
 * told to, and notes whether it was ever called with less than before, or with more than there is. */
typedef struct test_progress {
    uint64_t done, total;
    size_t calls, stop_at;
    const char *why;
    bool backwards;
} test_progress;
emr_status test_progress_note(void *user, const emr_progress *progress, emr_error *error);

/* An emr_io over another that fails from its k-th read on, having read the first half, or its k-th write
 * (SIZE_MAX: never), and counts them. It fails with `status` (0: EMR_EIO), and where there is a `why` with
 * these words and `system`. From the `other_at`-th read or length on it is another object, if there is one.
 */
typedef struct test_io {
    emr_io inner;
    atomic_size_t reads, writes; /* readers are many */
    size_t fail_read, fail_write;
    emr_status status;
    const char *why;
    int32_t system;
    emr_io other;
    size_t other_at;
    atomic_size_t looks; /* reads and lengths */
} test_io;
emr_io test_io_make(test_io *state);

/* A directory of its own for each call, removed with everything in it by test_directory_remove. */
char *test_directory_make(void);
void test_directory_remove(char *path);
/* How many entries it has. */
size_t test_directory_entries(const char *path);
/* "directory/name"; free it. */
char *test_path(const char *directory, const char *name);
void test_write_file(const char *path, const void *bytes, size_t n);
/* A whole file; free it. */
unsigned char *test_read_file(const char *path, size_t *n);

#endif
