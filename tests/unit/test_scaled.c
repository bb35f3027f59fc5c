/* test_scaled.c - codes with scales, read as the weights that they stand for: values against the definition
 * of each format, written here once more; which tensors are there then; and what is refused. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

static const emr_checkpoint_read_options dequantising = {.size = sizeof dequantising, .dequantise = 1};

/* ---- what a number stands for, from the definitions ---- */

/* Sign, exponent, mantissa; `special` tells how infinities and NaN are written. */
static double value_of_float8(uint8_t b, int mantissa_bits, int bias, bool is_fnuz)
{
    int exponent = (b & 127) >> mantissa_bits, mantissa = b & ((1 << mantissa_bits) - 1);
    double sign = b & 128 ? -1 : 1;
    if (is_fnuz ? b == 128 : mantissa_bits == 3 ? (b & 127) == 127 : exponent == 31 && mantissa)
        return NAN;
    if (!is_fnuz && mantissa_bits == 2 && exponent == 31)
        return sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

static double value_of_code(emr_dtype dtype, uint8_t b)
{
    switch (dtype) {
    case EMR_DTYPE_F8_E4M3:
        return value_of_float8(b, 3, 7, false);
    case EMR_DTYPE_F8_E5M2:
        return value_of_float8(b, 2, 15, false);
    case EMR_DTYPE_F8_E4M3FNUZ:
        return value_of_float8(b, 3, 8, true);
    case EMR_DTYPE_F8_E5M2FNUZ:
        return value_of_float8(b, 2, 16, true);
    default:
        return (int8_t)b;
    }
}

static double value_of_scale(const test_model *m, size_t tensor, uint64_t i)
{
    const emr_tensor *t = emr_model_tensor(m->model, (uint32_t)tensor);
    float value;
    if (!emr_dtype_is_float(emr_tensor_dtype(t)))
        return m->data[tensor][i] == 255 ? (double)NAN : ldexp(1, m->data[tensor][i] - 127);
    assert_int_equal(emr_tensor_read_floats(t, i, 1, &value, NULL), EMR_OK);
    return (double)value;
}

/* ---- models ---- */

static emr_buffer *write_model(const test_model *m)
{
    emr_buffer *file = test_buffer_new();
    emr_error error;
    assert_ok(emr_safetensors_write(m->model, emr_buffer_io(file), NULL, &error), &error);
    return file;
}

/* A code with its scales: both shapes, and how many elements of each dimension share a scale. */
typedef struct scaled_case {
    const char *what;
    test_tensor code, scale;
    uint64_t block[4];
} scaled_case;

/* clang-format off */
#define SHAPE(...) sizeof((uint64_t[]){0, __VA_ARGS__}) / 8 - 1, {__VA_ARGS__}
#define W(dtype, ...) {"l.weight", EMR_DTYPE_##dtype, SHAPE(__VA_ARGS__)}
#define S(dtype, ...) {"l.weight_scale", EMR_DTYPE_##dtype, SHAPE(__VA_ARGS__)}
#define WHOLE 1000000

static const scaled_case scaled_cases[] = {
    {"a tensor", W(F8_E4M3, 7, 9), S(F32, 1), {WHOLE, WHOLE}},
    {"a tensor, [1, 1]", W(F8_E4M3, 7, 9), S(BF16, 1, 1), {WHOLE, WHOLE}},
    {"a tensor, [1, 1, 1]", W(F8_E5M2, 7, 9), S(F16, 1, 1, 1), {WHOLE, WHOLE}},
    {"a row", W(F8_E4M3, 33, 1027), S(F32, 33, 1), {1, WHOLE}},
    {"a row, [n]", W(F8_E5M2, 33, 17), S(F64, 33), {1, WHOLE}},
    {"a row of a square", W(I8, 17, 17), S(BF16, 17), {1, WHOLE}},
    {"a column", W(F8_E4M3, 40, 700), S(F32, 1, 700), {WHOLE, 1}},
    {"a block of 128, ragged", W(F8_E4M3, 300, 577), S(F32, 3, 5), {128, 128}},
    {"a block of 128 that would divide otherwise", W(F8_E4M3, 192, 384), S(F32, 2, 3), {128, 128}},
    {"a block of 1 x 128", W(F8_E4M3FNUZ, 5, 260), S(F32, 5, 3), {1, 128}},
    {"a block of 50", W(F8_E4M3, 250, 500), S(F32, 5, 10), {50, 50}},
    {"a block of 3", W(I8, 15, 15), S(F32, 5, 5), {3, 3}},
    {"powers of two a block", W(F8_E4M3, 300, 577), S(F8_E8M0, 3, 5), {128, 128}},
    {"MXFP8", W(F8_E4M3, 6, 160), S(U8, 6, 5), {1, 32}},
    {"MXFP8, ragged", W(F8_E5M2, 6, 150), S(F8_E8M0, 6, 5), {1, 32}},
    {"experts, a row each", W(F8_E4M3, 3, 20, 30), S(F32, 3, 20, 1), {1, 1, WHOLE}},
    {"experts, a column each", W(F8_E4M3, 3, 20, 30), S(F32, 3, 1, 30), {1, WHOLE, 1}},
    {"experts, one each", W(F8_E5M2FNUZ, 3, 20, 30), S(F32, 3), {1, WHOLE, WHOLE}},
    {"experts, a block each", W(F8_E4M3, 2, 130, 140), S(F32, 2, 2, 2), {1, 128, 128}},
    {"rank 1", W(F8_E4M3, 70), S(F32, 3), {32}},
    {"rank 0", {"l.weight", EMR_DTYPE_F8_E4M3, 0, {0}}, {"l.weight_scale", EMR_DTYPE_F32, 0, {0}}, {0}},
    {"no elements", W(F8_E4M3, 0, 5), S(F32, 1), {WHOLE, WHOLE}},
    {"no rows, no scales", W(F8_E4M3, 0, 5), S(F32, 0, 1), {1, WHOLE}},
    {"one scale for more than is computed at a time", W(F8_E4M3, 3, 70000), S(F32, 3, 1), {1, WHOLE}},
};
/* clang-format on */

static uint64_t scale_number(const scaled_case *c, uint64_t element)
{
    uint64_t number = 0, stride = 1;
    for (uint32_t i = c->code.rank; i-- > 0;) {
        uint64_t n = c->code.shape[i], at = element % n;
        element /= n;
        number += at / c->block[i] * stride;
        stride *= (n + c->block[i] - 1) / c->block[i];
    }
    return number;
}

static void check_value(const scaled_case *c, double want, float got, uint64_t element)
{
    float rounded = (float)want; /* codes have 8 bits at most, scales 24: the product is exact in a double */
    if (isnan(want) ? !isnan(got) : memcmp(&rounded, &got, sizeof got) != 0)
        fail_msg("%s: element %llu is %.9g, not %.9g", c->what, (unsigned long long)element, (double)got,
                 want);
}

static void check_scaled(const scaled_case *c, uint64_t seed)
{
    rng r = {seed};
    emr_error error;
    emr_model *model;
    const test_tensor tensors[] = {c->code, c->scale};
    test_model m = test_model_create("m", tensors, 2, SOURCE_MEMORY);
    test_model_randomise(&m, &r);
    uint64_t n = test_tensor_count(&c->code);
    for (uint64_t i = 0; i < n; i++) /* every code, NaN too */
        m.data[0][i] = (uint8_t)rng_next(&r);
    emr_buffer *file = write_model(&m);
    assert_ok(emr_safetensors_open(&model, emr_buffer_io(file), "m", &dequantising, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), 1);
    const emr_tensor *t = emr_model_find_tensor(model, "l.weight");
    assert_ptr_equal(t, emr_model_tensor(model, 0));
    assert_null(emr_model_find_tensor(model, "l.weight_scale"));
    assert_int_equal(emr_tensor_dtype(t), EMR_DTYPE_F32);
    assert_int_equal(emr_tensor_count(t), n);
    float *values = malloc((n + 1) * sizeof *values);
    for (int round = 0; round < 20; round++) { /* everything, then any range */
        uint64_t first = round ? rng_below(&r, n + 1) : 0, count = round ? rng_below(&r, n - first + 1) : n;
        assert_ok(emr_tensor_read_floats(t, first, (size_t)count, values, &error), &error);
        for (uint64_t i = 0; i < count; i++)
            check_value(c,
                        value_of_code(c->code.dtype, m.data[0][first + i]) *
                            value_of_scale(&m, 1, scale_number(c, first + i)),
                        values[i], first + i);
    }
    free(values);
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
    test_model_destroy(&m);
}

static void weights_are_codes_times_scales(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scaled_cases / sizeof scaled_cases[0]; i++)
        check_scaled(&scaled_cases[i], i + 1);
}

/* As bitsandbytes computes it: a product, rounded, times 1/127, rounded. */
static void bitsandbytes_divides_by_127(void **state)
{
    enum { ROWS = 5, COLUMNS = 300 };
    const test_tensor tensors[] = {{"l.weight", EMR_DTYPE_I8, 2, {ROWS, COLUMNS}},
                                   {"l.SCB", EMR_DTYPE_F32, 1, {ROWS}},
                                   {"l.weight_format", EMR_DTYPE_U8, 0, {0}},
                                   {"l.bias", EMR_DTYPE_F16, 1, {ROWS}}};
    rng r = {5};
    emr_error error;
    emr_model *model;
    float values[ROWS * COLUMNS];
    test_model m = test_model_create("m", tensors, 4, SOURCE_MEMORY);
    (void)state;
    test_model_randomise(&m, &r);
    emr_buffer *file = write_model(&m);
    assert_ok(emr_safetensors_open(&model, emr_buffer_io(file), "m", &dequantising, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), 2);
    assert_non_null(emr_model_find_tensor(model, "l.bias"));
    const emr_tensor *t = emr_model_find_tensor(model, "l.weight");
    assert_ok(emr_tensor_read_floats(t, 0, ROWS * COLUMNS, values, &error), &error);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        float scale = (float)value_of_scale(&m, 1, i / COLUMNS),
              product = (float)(int8_t)m.data[0][i] * scale;
        float want = product * 0.007874015718698502f;
        assert_memory_equal(&values[i], &want, sizeof want);
    }
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
    test_model_destroy(&m);
}

/* The model that is left: no side-cars, those of activations and ComfyUI's marks neither, all else as it was.
 */
static void side_cars_are_gone(void **state)
{
    const test_tensor tensors[] = {
        {"first", EMR_DTYPE_F16, 1, {3}},           {"a.scale_weight", EMR_DTYPE_F32, 0, {0}},
        {"a.weight", EMR_DTYPE_F8_E4M3, 2, {4, 4}}, {"a.scale_input", EMR_DTYPE_F32, 0, {0}},
        {"scaled_fp8", EMR_DTYPE_F8_E4M3, 1, {2}},  {"b.weight", EMR_DTYPE_F8_E4M3, 2, {4, 4}},
        {"b.weight_scale", EMR_DTYPE_F32, 1, {4}},  {"b.input_scale", EMR_DTYPE_F32, 0, {0}},
        {"c.weight", EMR_DTYPE_F8_E4M3, 2, {4, 4}}, {"d.qweight", EMR_DTYPE_I32, 2, {4, 4}},
        {"d.scales", EMR_DTYPE_F16, 2, {1, 4}},     {"d.qzeros", EMR_DTYPE_I32, 2, {1, 1}},
    };
    static const char *const left[] = {"first",     "a.weight", "b.weight", "c.weight",
                                       "d.qweight", "d.scales", "d.qzeros"};
    emr_error error;
    emr_model *model;
    test_model m = test_model_create("m", tensors, sizeof tensors / sizeof tensors[0], SOURCE_MEMORY);
    (void)state;
    assert_ok(emr_model_set_metadata(m.model, "_quantization_metadata", "{}", &error), &error);
    assert_ok(emr_model_set_metadata(m.model, "format", "pt", &error), &error);
    emr_buffer *file = write_model(&m);
    assert_ok(emr_safetensors_open(&model, emr_buffer_io(file), "m", &dequantising, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), sizeof left / sizeof left[0]);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        assert_non_null(emr_model_find_tensor(model, left[i]));
    assert_int_equal(emr_tensor_dtype(emr_model_find_tensor(model, "c.weight")), EMR_DTYPE_F8_E4M3);
    assert_int_equal(emr_model_n_metadata(model), 1);
    assert_non_null(emr_model_find_metadata(model, "format"));
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
    test_model_destroy(&m);
}

static emr_status open_pair(test_tensor code, test_tensor scale, emr_model **model, emr_buffer **file,
                            emr_error *error)
{
    const test_tensor tensors[] = {code, scale};
    test_model m = test_model_create("m", tensors, 2, SOURCE_MEMORY);
    *file = write_model(&m);
    test_model_destroy(&m);
    return emr_safetensors_open(model, emr_buffer_io(*file), "m", &dequantising, error);
}

/* Scales that are not known to be anything: a sentence that names both tensors. */
static void odd_scales_are_refused(void **state)
{
    static const test_tensor odd[][2] = {
        {W(F8_E4M3, 8, 8), S(F32, 3, 5)}, {W(F8_E4M3, 8, 8), S(F32, 9, 1)},
        {W(F8_E4M3, 8, 8), S(F32, 0)},    {W(F8_E4M3, 8, 8), S(F32, 8, 1, 1)},
        {W(F8_E4M3, 8, 8), S(U8, 8, 1)},  {W(I8, 8, 8), S(F32, 5)},
        {W(F8_E4M3, 8, 8), S(F32, 64)},   {W(I8, 8, 9), {"l.SCB", EMR_DTYPE_F32, 1, {9}}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        emr_error error;
        emr_model *model;
        emr_buffer *file;
        assert_int_equal(open_pair(odd[i][0], odd[i][1], &model, &file, &error), EMR_EFORMAT);
        assert_null(model);
        assert_true(test_span_is(&error, error.tensor, "l.weight"));
        assert_non_null(strstr(error.text, odd[i][1].name));
        emr_buffer_destroy(&file);
    }
}

/* Scales of 0, NaN or infinity give what the product gives; what a merge does with that is its own rule. */
static void strange_scales_make_strange_weights(void **state)
{
    static const float scales[] = {0, -1, NAN, INFINITY, FLT_MAX, -FLT_MIN};
    test_tensor tensors[] = {W(F8_E4M3, 1, 1), S(F32, 1)};
    (void)state;
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        emr_error error;
        emr_model *model;
        float got, want = 1.5f * scales[i];
        test_model m = test_model_create("m", tensors, 2, SOURCE_MEMORY);
        m.data[0][0] = 0x3c; /* 1.5 */
        memcpy(m.data[1], &scales[i], sizeof(float));
        emr_buffer *file = write_model(&m);
        assert_ok(emr_safetensors_open(&model, emr_buffer_io(file), "m", &dequantising, &error), &error);
        assert_ok(emr_tensor_read_floats(emr_model_tensor(model, 0), 0, 1, &got, &error), &error);
        assert_true(isnan(want) ? isnan(got) : got == want);
        emr_model_destroy(&model);
        emr_buffer_destroy(&file);
        test_model_destroy(&m);
    }
}

static const test_tensor some_tensors[] = {
    W(F8_E4M3, 40, 40),
    S(F32, 40),
    {"m.weight", EMR_DTYPE_I8, 2, {40, 40}},
    {"m.SCB", EMR_DTYPE_F32, 1, {40}},
    {"m.weight_format", EMR_DTYPE_U8, 0, {0}},
};

/* Every allocation fails once, and every read: nothing leaks, and the status says which it was. */
static void faults_are_told(void **state)
{
    test_model m = test_model_create("m", some_tensors, 5, SOURCE_MEMORY);
    emr_buffer *file = write_model(&m);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {.fail_at = k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_checkpoint_read_options options = dequantising;
        emr_error error;
        emr_model *model;
        options.allocator = &allocator;
        status = emr_safetensors_open(&model, emr_buffer_io(file), "m", &options, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
    }
    emr_buffer_destroy(&file);
    test_model_destroy(&m);
}

/* A file that ends while it is read names the tensor. */
static void failed_reads_are_told(void **state)
{
    test_model m = test_model_create("m", some_tensors, 5, SOURCE_MEMORY);
    emr_buffer *file = write_model(&m);
    (void)state;
    for (size_t fail = 0; fail < 2; fail++) {
        test_io reader = {.inner = *emr_buffer_io(file), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
        emr_error error;
        emr_model *model;
        float values[100];
        emr_io io = test_io_make(&reader);
        assert_ok(emr_safetensors_open(&model, &io, "m", &dequantising, &error), &error);
        reader.fail_read = atomic_load(&reader.reads) + fail;
        const emr_tensor *t = emr_model_find_tensor(model, "l.weight");
        assert_int_equal(emr_tensor_read_floats(t, 3, 100, values, &error), EMR_EIO);
        assert_true(test_span_is(&error, error.tensor, fail ? "l.weight_scale" : "l.weight"));
        emr_model_destroy(&model);
    }
    emr_buffer_destroy(&file);
    test_model_destroy(&m);
}

/* Without the option all is as it lies in the file. */
static void nothing_is_dequantised_unasked(void **state)
{
    test_model m = test_model_create("m", some_tensors, 5, SOURCE_MEMORY);
    emr_buffer *file = write_model(&m);
    emr_error error;
    emr_model *model;
    (void)state;
    assert_ok(emr_safetensors_open(&model, emr_buffer_io(file), "m", NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), 5);
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
    test_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_codes_times_scales),
        cmocka_unit_test(bitsandbytes_divides_by_127),
        cmocka_unit_test(side_cars_are_gone),
        cmocka_unit_test(odd_scales_are_refused),
        cmocka_unit_test(strange_scales_make_strange_weights),
        cmocka_unit_test(faults_are_told),
        cmocka_unit_test(failed_reads_are_told),
        cmocka_unit_test(nothing_is_dequantised_unasked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
