/* combined_world.c - see combined_world.h. */
#include "combined_world.h"

#include <stdio.h>

emr_combination *world_combination(const test_set *s, const emr_combination_options *options,
                                   bool without_base)
{
    emr_combination *c;
    emr_error error;
    assert_ok(emr_combination_create(&c, options, &error), &error);
    if (!without_base)
        assert_ok(emr_combination_set_base(c, s->base.model, &error), &error);
    for (size_t t = 0; t < s->n; t++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu", t);
        assert_ok(emr_combination_add_task(c, name, s->tasks[t].model, &error), &error);
    }
    return c;
}

void world_set(emr_combination *c, const char *parameter, uint32_t task, const char *glob, double value)
{
    emr_error error;
    assert_ok(emr_combination_set_parameter(c, parameter, task, glob, value, &error), &error);
}

emr_model *world_open(emr_combination *c)
{
    emr_model *m;
    emr_error error;
    assert_ok(emr_combination_open_model(c, &m, &error), &error);
    emr_combination_destroy(&c);
    return m;
}

emr_model *world_combine(const test_set *s, const emr_method *method, const double *weights)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    options.method = method;
    emr_combination *c = world_combination(s, &options, false);
    for (uint32_t t = 0; weights && t < s->n; t++)
        world_set(c, "weight", t, NULL, weights[t]);
    return world_open(c);
}

unsigned char *world_read(const emr_tensor *tensor)
{
    size_t n = (size_t)emr_tensor_bytes(tensor);
    unsigned char *bytes = malloc(n + 1);
    emr_error error;
    assert_ok(emr_tensor_read(tensor, 0, bytes, n, &error), &error);
    return bytes;
}

void world_check_ranges(const emr_tensor *tensor, rng *r)
{
    uint64_t bytes = emr_tensor_bytes(tensor);
    unsigned char *whole = world_read(tensor), *part = malloc((size_t)bytes + 1);
    for (int k = 0; k < 12; k++) {
        emr_error error;
        uint64_t first = rng_below(r, bytes + 1);
        size_t n = (size_t)rng_below(r, k % 2 && bytes - first > 40 ? 40 : bytes - first + 1);
        assert_ok(emr_tensor_read(tensor, first, part, n, &error), &error);
        if (memcmp(part, whole + first, n) != 0)
            fail_msg("%s: [%zu, +%zu) reads otherwise than in the whole", emr_tensor_name(tensor),
                     (size_t)first, n);
    }
    free(whole);
    free(part);
}

void world_check_same(const emr_model *a, const emr_model *b)
{
    assert_int_equal(emr_model_n_tensors(a), emr_model_n_tensors(b));
    for (uint32_t i = 0; i < emr_model_n_tensors(a); i++) {
        const emr_tensor *x = emr_model_tensor(a, i), *y = emr_model_tensor(b, i);
        assert_string_equal(emr_tensor_name(x), emr_tensor_name(y));
        assert_int_equal(emr_tensor_dtype(x), emr_tensor_dtype(y));
        assert_int_equal(emr_tensor_bytes(x), emr_tensor_bytes(y));
        unsigned char *p = world_read(x), *q = world_read(y);
        if (memcmp(p, q, (size_t)emr_tensor_bytes(x)) != 0)
            fail_msg("%s differs", emr_tensor_name(x));
        free(p);
        free(q);
    }
}

static double widened(emr_dtype dtype, const unsigned char *bytes, uint64_t i)
{
    double value;
    assert_int_equal(emr_convert(EMR_DTYPE_F64, &value, dtype, bytes + i * (emr_dtype_bits(dtype) / 8), 1),
                     EMR_OK);
    return value;
}

double world_value(const test_model *m, size_t tensor, uint64_t i)
{
    return widened(m->tensors[tensor].dtype, m->data[tensor], i);
}

double world_element(const emr_tensor *tensor, const unsigned char *bytes, uint64_t i)
{
    return widened(emr_tensor_dtype(tensor), bytes, i);
}
