/* property.h - what the property tests share: the formulas of docs/algorithm.md once more in the plainest C,
 * executors with odd habits, and short ways to merge and compare. */
#ifndef EMR_TESTS_PROPERTY_H
#define EMR_TESTS_PROPERTY_H

#include "support.h"

/* All bytes of a tensor; free them. */
unsigned char *tensor_bytes_of(const emr_tensor *t);

/* All rescalers of a task's tensor, and how many they are; free them. */
float *rescalers_of(const emr_bundle *bundle, uint32_t task, uint32_t tensor, size_t *n);

/* Fails unless both hold the same bytes, and says where they begin to differ. */
void assert_same_buffer(const emr_buffer *got, const emr_buffer *want, const char *what);

/* Fails unless the sentence holds `part`, and is one line. */
void assert_says(const emr_error *error, const char *part);

/* Fails unless the sentence's name of the file, task or tensor is `name`; NULL: it has none. */
void assert_names_file(const emr_error *error, const char *name);
void assert_names_task(const emr_error *error, const char *name);
void assert_names_tensor(const emr_error *error, const char *name);

/* 1e-6 relative, 1e-6 absolute below 1e-3; the largest f32 for what is larger still. */
void assert_rescaler(float got, double want);

/* One weight of equation 6, W = W0 + lambda * (M ? u : 0), and what it is made of. */
typedef struct weight_of {
    emr_dtype base_dtype, out_dtype;
    const unsigned char *base;
    bool masked;
    float unified, rescaler;
} weight_of;
void assert_weight(const weight_of *w, const unsigned char *got, const char *tensor, size_t i);

/* An executor that does the work in the calling thread, in reverse, or in a random order. It fails the test
 * where more is asked of it than a host promised: more at a time than its concurrency, or a call from within
 * a call. */
typedef struct odd_executor {
    rng order;
    bool reverse;
    size_t calls;
    uint32_t concurrency;
    bool busy;
} odd_executor;
emr_executor odd_executor_make(odd_executor *state, uint32_t concurrency);

/* Equations 1 to 4 for the float tensors of a set whose models all have the same tensors, all tasks with the options'
 * modulation. Per tensor and,
 * where there is a task, per tensor * n_tasks + task. */
typedef struct reference {
    const test_set *set;
    emr_merge_options options;
    float **tau, **unified;
    unsigned char **mask; /* a byte a parameter */
    double *per_model;    /* two scales a task */
    bool two_sided, nearest;
} reference;
reference reference_make(const test_set *s, const emr_merge_options *options);
void reference_destroy(reference *r);

/* Equation 5, and the other rules, in f64 for a row of a tensor (of which per tensor and per model take no notice); of a
 * two-sided task side 0 is where the mask is 1. */
double reference_scale(const reference *r, size_t task, size_t tensor, uint64_t row, size_t side);
/* How near a task's rebuilt vector is, from these scales. */
emr_fidelity reference_fidelity(const reference *r, size_t task);
uint64_t reference_rows(const reference *r, size_t tensor);

/* Compares everything in a bundle that concerns the reference's tensors, and every rebuilt model. `base` NULL
 * is the embedded one. */
void assert_task_is_formula(const emr_bundle *bundle, uint32_t task, const emr_model *base,
                            const reference *r);
void assert_bundle_is_formula(const emr_bundle *bundle, const emr_model *base, const reference *r);

/* Merges the set into a bundle and compares everything in it, and every rebuilt model, with the reference. */
void assert_merge_is_formula(const test_set *s, const emr_merge_options *options);

/* Stored as `dtype` in one tensor: the value of an f32. */
void test_store(test_model *m, size_t tensor, uint64_t i, float value);

/* Options with so little memory that small models take several windows: 8 MiB. Those of a test that wants
 * other resources point to its own. */
emr_merge_options small_options(void);

/* Resources with so much memory, and the library's defaults. */
emr_resources resources_within(uint64_t memory_bytes);

/* A pool of so many threads; destroy it. */
emr_pool *create_pool(uint32_t threads);

/* A policy that makes the tensors private that one glob matches; NULL: none. The glob's place is borrowed. */
emr_policy private_policy(const char *const *glob);

/* Up to 9 tensors of odd shapes, ranks 0 to 3, some empty. `mixed` gives base and tasks dtypes of their own
 * each; else all is f32. */
test_set random_set(uint64_t seed, size_t n_tasks, bool mixed);

/* The mixed tensors, and integers that one task has changed, and with rich_options a private tensor, an
 * embedded base and 16 MiB: everything that a bundle can hold. */
test_set rich_set(uint64_t seed, size_t n_tasks, test_source source);
emr_merge_options rich_options(emr_rescale_per per);

/* A run by push: begins, pushes every byte that is expected of a set made with SOURCE_PUSHED, at most `chunk`
 * at a time, and finishes. */
emr_status push_set(emr_merge *merge, const test_set *s, size_t chunk, emr_error *error);
/* The same where the set's tasks are those of the merge from `first` on. */
emr_status push_tasks(emr_merge *merge, const test_set *s, size_t first, size_t chunk, emr_error *error);

/* Values that are small multiples of 1/16: sums of them are exact in any order, and ties are common. */
void test_set_on_grid(test_set *s, uint64_t seed);

#endif
