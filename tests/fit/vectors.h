/* vectors.h - results of an independent implementation, as safetensors in the folder that EMR_FIT_VECTORS names. Where there is none, the
 * tests that compare with them say so and pass. */
#ifndef EMR_TESTS_FIT_VECTORS_H
#define EMR_TESTS_FIT_VECTORS_H

#include "support.h"

#include <stdio.h>

/* A file of the folder, or NULL where there is no folder. Destroy it. */
static inline emr_model *test_vectors_open(const char *file)
{
    const char *folder = getenv("EMR_FIT_VECTORS");
    emr_model *model;
    emr_error error;
    if (!folder || !*folder) {
        printf("no vectors here\n");
        return NULL;
    }
    char *path = test_path(folder, file);
    assert_ok(emr_checkpoint_open(&model, path, NULL, &error), &error);
    free(path);
    return model;
}

/* A tensor of F32, F64 or I64 as doubles; n may be NULL. Free it. */
static inline double *test_vectors_read(const emr_model *model, const char *name, size_t *n)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    emr_error error;
    assert_non_null(tensor);
    emr_dtype dtype = emr_tensor_dtype(tensor);
    size_t count = (size_t)emr_tensor_count(tensor), bytes = (size_t)emr_tensor_bytes(tensor);
    double *values = calloc(count + 1, sizeof *values);
    unsigned char *stored = calloc(bytes + 1, 1);
    assert_true(dtype == EMR_DTYPE_F32 || dtype == EMR_DTYPE_F64 || dtype == EMR_DTYPE_I64);
    assert_ok(emr_tensor_read(tensor, 0, stored, bytes, &error), &error);
    for (size_t i = 0; i < count; i++) {
        float f32;
        int64_t i64;
        if (dtype == EMR_DTYPE_F64) {
            memcpy(&values[i], stored + i * sizeof *values, sizeof *values);
        } else if (dtype == EMR_DTYPE_F32) {
            memcpy(&f32, stored + i * sizeof f32, sizeof f32);
            values[i] = (double)f32;
        } else {
            memcpy(&i64, stored + i * sizeof i64, sizeof i64);
            values[i] = (double)i64;
        }
    }
    free(stored);
    if (n)
        *n = count;
    return values;
}

/* The same as f32, which inputs are. Free it. */
static inline float *test_vectors_read_floats(const emr_model *model, const char *name, size_t *n)
{
    size_t count;
    double *values = test_vectors_read(model, name, &count);
    float *floats = calloc(count + 1, sizeof *floats);
    for (size_t i = 0; i < count; i++)
        floats[i] = (float)values[i];
    free(values);
    if (n)
        *n = count;
    return floats;
}

#endif
