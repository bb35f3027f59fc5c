/* test_blocks.c - ggml's blocks: the definition in numbers, what is nearest, what is at the edges; and tensors
 * that lie in them. That all of it is as ggml has it is the test blocks_package's to say. */
#include "support.h"

#include <float.h>
#include <math.h>

enum { N = EMR_BLOCK_VALUES, MANY = 64 * N, BYTES_MAX = 34 };

static const emr_block_type types[] = {EMR_BLOCK_TYPE_Q4_0, EMR_BLOCK_TYPE_Q4_1, EMR_BLOCK_TYPE_Q5_0,
                                       EMR_BLOCK_TYPE_Q5_1, EMR_BLOCK_TYPE_Q8_0};
enum { N_TYPES = sizeof types / sizeof types[0] };

static void sizes_and_names(void **state)
{
    static const uint32_t bytes[N_TYPES] = {18, 20, 22, 24, 34};
    static const char *const names[N_TYPES] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"};
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        assert_int_equal(emr_block_bytes(types[i]), bytes[i]);
        assert_string_equal(emr_block_name(types[i]), names[i]);
    }
    for (emr_block_type type = 0; type < 50; type++)
        if (type < 2 || type > 8 || type == 4 || type == 5) {
            assert_int_equal(emr_block_bytes(type), 0);
            assert_string_equal(emr_block_name(type), "?");
        }
}

static void what_is_no_block_is_refused(void **state)
{
    float values[N] = {0};
    uint8_t blocks[BYTES_MAX];
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        assert_int_equal(emr_quantise(types[i], blocks, values, 31), EMR_EINVAL);
        assert_int_equal(emr_dequantise(types[i], values, blocks, 1), EMR_EINVAL);
        assert_int_equal(emr_quantise(types[i], NULL, values, N), EMR_EINVAL);
        assert_int_equal(emr_quantise(types[i], blocks, NULL, N), EMR_EINVAL);
        assert_int_equal(emr_dequantise(types[i], NULL, blocks, N), EMR_EINVAL);
        assert_int_equal(emr_dequantise(types[i], values, NULL, N), EMR_EINVAL);
        assert_int_equal(emr_quantise(types[i], NULL, NULL, 0), EMR_OK);
        assert_int_equal(emr_dequantise(types[i], NULL, NULL, 0), EMR_OK);
    }
    assert_int_equal(emr_quantise(EMR_BLOCK_TYPE_NONE, blocks, values, N), EMR_EINVAL);
    assert_int_equal(emr_dequantise(1, values, blocks, N), EMR_EINVAL);
    assert_int_equal(emr_dequantise(UINT32_MAX, values, blocks, N), EMR_EINVAL);
}

/* The header's table, with numbers in halves that are exact: 0.5 is 0x3800 in F16, -3 is 0xc200. */
static void every_code_stands_for_its_value(void **state)
{
    uint8_t b[BYTES_MAX] = {0x00, 0x38, 0x00, 0xc2};
    float values[N];
    (void)state;
    for (int k = 0; k < 256; k++) {
        b[2] = (uint8_t)k;
        assert_int_equal(emr_dequantise(EMR_BLOCK_TYPE_Q8_0, values, b, N), EMR_OK);
        assert_true(values[0] == (float)(k < 128 ? k : k - 256) * 0.5f);
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 32; k++) {
            for (size_t type = 0; type < 4; type++) {
                bool has_minimum = type % 2, five = type >= 2;
                uint8_t *codes = b + (has_minimum ? 4 : 2);
                memset(b + 2, 0, sizeof b - 2);
                if (has_minimum)
                    b[3] = 0xc2;
                if (five) {
                    codes[i / 8] = (uint8_t)(k / 16 << i % 8);
                    codes += 4;
                } else if (k >= 16) {
                    continue;
                }
                codes[i % 16] = (uint8_t)(k % 16 << (i < 16 ? 0 : 4));
                assert_int_equal(emr_dequantise(types[type], values, b, N), EMR_OK);
                int middle = has_minimum ? 0 : five ? 16 : 8;
                float least = has_minimum ? -3 : 0;
                for (int j = 0; j < N; j++)
                    assert_true(values[j] == (float)((j == i ? k : 0) - middle) * 0.5f + least);
            }
        }
}

/* Values whose codes are known, written and read again. */
static void expect_values(emr_block_type type, const float values[N], const float expected[N])
{
    uint8_t block[BYTES_MAX];
    float back[N];
    assert_int_equal(emr_quantise(type, block, values, N), EMR_OK);
    assert_int_equal(emr_dequantise(type, back, block, N), EMR_OK);
    for (size_t i = 0; i < N; i++)
        if (back[i] != expected[i])
            fail_msg("%s: value %zu, %a, is %a instead of %a", emr_block_name(type), i, (double)values[i],
                     (double)back[i], (double)expected[i]);
}

static void halves_are_rounded_away_from_zero_in_eight_bits(void **state)
{
    float values[N] = {127, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, -2.5f, 126.5f, -126.5f};
    float expected[N] = {127, 1, -1, 2, -2, 3, -3, 127, -127};
    (void)state;
    values[20] = nextafterf(0.5f, 0);
    values[21] = nextafterf(-0.5f, 0);
    values[22] = nextafterf(2.5f, 0);
    expected[22] = 2;
    expect_values(EMR_BLOCK_TYPE_Q8_0, values, expected);
    values[0] = -127; /* the largest magnitude is what counts */
    expected[0] = -127;
    expect_values(EMR_BLOCK_TYPE_Q8_0, values, expected);
}

/* The extreme gets the first code, -8 or -16: of the other sign there is one less. Halves go up, towards the
 * last code, which is downwards where the extreme is positive. */
static void the_extreme_is_exact_in_four_and_five_bits(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2)
        for (int middle = 8; middle <= 16; middle *= 2) {
            emr_block_type type = middle == 8 ? EMR_BLOCK_TYPE_Q4_0 : EMR_BLOCK_TYPE_Q5_0;
            const float s = (float)-sign, most = (float)middle;
            const float values[N] = {most * -s,         most * s, 0,         s,         -s,
                                     s * 0.5f,          s * 1.5f, s * -0.5f, s * -1.5f, s * (most - 0.5f),
                                     -s * (most - 0.5f)};
            const float expected[N] = {most * -s,      (most - 1) * s, 0, s, -s, s, s * 2, 0, -s,
                                       s * (most - 1), -s * (most - 1)};
            expect_values(type, values, expected);
        }
}

static void ties_of_magnitude_go_by_the_first(void **state)
{
    float values[N] = {1, -8, 8}, expected[N] = {1, -8, 7};
    (void)state;
    expect_values(EMR_BLOCK_TYPE_Q4_0, values, expected);
    values[1] = 8;
    values[2] = -8;
    expected[1] = 8;
    expected[2] = -7;
    expect_values(EMR_BLOCK_TYPE_Q4_0, values, expected);
}

static void minimum_and_maximum_are_exact(void **state)
{
    const float values[N] = {-3, 12, -2.5f, -2.75f, 0, 0.5f, 11.5f}, expected[N] = {-3, 12, -2, -3, 0, 1, 12};
    float wide[N], expected_wide[N];
    (void)state;
    expect_values(EMR_BLOCK_TYPE_Q4_1, values, expected);
    for (size_t i = 0; i < N; i++) {
        wide[i] = (float)i - 7;
        expected_wide[i] = wide[i];
    }
    expect_values(EMR_BLOCK_TYPE_Q5_1, wide, expected_wide);
}

static void zeros_and_equal_values(void **state)
{
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        float values[N];
        const float some[] = {0, -0.0f, 1.5f, -1.5f};
        for (size_t k = 0; k < 4; k++) {
            for (size_t i = 0; i < N; i++)
                values[i] = some[k];
            uint8_t block[BYTES_MAX];
            float back[N];
            emr_quantise(types[t], block, values, N);
            emr_dequantise(types[t], back, block, N);
            for (size_t i = 0; i < N; i++) /* d of 1.5 / 127 is rounded to F16 */
                assert_true(fabsf(back[i] - some[k]) <= 0x1p-10f);
        }
    }
}

/* d is 0 in F16 there, or even infinite is its inverse; or it is infinite itself. None of it may be out of a
 * code's range. */
static void what_no_scale_holds_does_no_harm(void **state)
{
    const float some[] = {FLT_MIN, 0x1p-149f, 0x1p-126f, 0x1p-30f, 0x1p40f, FLT_MAX, INFINITY, NAN, -NAN};
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++)
        for (size_t k = 0; k < sizeof some / sizeof *some; k++)
            for (size_t at = 0; at < N; at += 7) {
                float values[N], back[N];
                uint8_t block[BYTES_MAX];
                for (size_t i = 0; i < N; i++)
                    values[i] = (float)((int)i - 16) * 0.01f * (k < 6 && i % 3 ? some[k] : 1);
                values[at] = some[k];
                values[(at + 1) % N] = -some[k];
                assert_int_equal(emr_quantise(types[t], block, values, N), EMR_OK);
                assert_int_equal(emr_dequantise(types[t], back, block, N), EMR_OK);
            }
}

/* From value to code and back it is at most half a step, and what F16 takes from the step; of the symmetric
 * types a whole one, at the end without an extreme. */
static void what_comes_back_is_near(void **state)
{
    uint32_t seed = 1;
    (void)state;
    for (size_t t = 0; t < N_TYPES; t++)
        for (int round = 0; round < 500; round++) {
            float values[N], back[N], most = 0;
            uint8_t block[BYTES_MAX];
            for (size_t i = 0; i < N; i++) {
                seed = seed * 1664525 + 1013904223;
                values[i] = ldexpf((float)(int32_t)seed, -31 - round % 10);
                most = fmaxf(most, fabsf(values[i]));
            }
            emr_quantise(types[t], block, values, N);
            emr_dequantise(types[t], back, block, N);
            double levels[N_TYPES] = {8, 15, 16, 31, 127}, step = (double)most / levels[t];
            double allowed = step * (types[t] == EMR_BLOCK_TYPE_Q8_0 ? 0.5 : 1) + (double)most * 0x1p-9;
            for (size_t i = 0; i < N; i++)
                assert_true(fabs((double)back[i] - (double)values[i]) <= allowed);
        }
}

/* 3 x 2 x 96 values in blocks, at an odd address or in a file from an odd byte on. */
enum { SHAPED = 3 * 2 * 96 };

typedef struct block_tensors {
    uint8_t bytes[1 + SHAPED / N * BYTES_MAX];
    float values[SHAPED];
    emr_io io;
} block_tensors;

static emr_status read_blocks(void *user, uint64_t offset, void *to, size_t n, emr_error *error)
{
    const block_tensors *b = user;
    if (offset > sizeof b->bytes || n > sizeof b->bytes - offset)
        return emr_error_set(error, EMR_EIO, 0, "blocks", "beyond the end");
    memcpy(to, b->bytes + offset, n);
    return EMR_OK;
}

static void fill_block_tensors(block_tensors *b, emr_block_type type)
{
    float values[SHAPED];
    for (size_t i = 0; i < SHAPED; i++)
        values[i] = (float)((int)(i * 7919 % 2003) - 1000) * 0.001f;
    memset(b, 0, sizeof *b);
    emr_quantise(type, b->bytes + 1, values, SHAPED);
    emr_dequantise(type, b->values, b->bytes + 1, SHAPED);
    b->io = (emr_io){.size = sizeof b->io, .user = b, .read = read_blocks};
}

static emr_tensor_desc describe(const block_tensors *b, emr_block_type type, const char *name, bool in_file)
{
    static const uint64_t shape[3] = {3, 2, 96};
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = name;
    desc.dtype = EMR_DTYPE_F32;
    desc.rank = 3;
    desc.shape = shape;
    desc.blocks = type;
    if (in_file) {
        desc.io = &b->io;
        desc.offset = 1;
    } else {
        desc.data = b->bytes + 1;
    }
    return desc;
}

static void expect_same_as(const emr_tensor *t, const float *values)
{
    uint8_t bytes[SHAPED * 4];
    float floats[SHAPED];
    emr_error error;
    assert_int_equal(emr_tensor_dtype(t), EMR_DTYPE_F32);
    assert_int_equal(emr_tensor_bytes(t), sizeof bytes);
    for (size_t at = 0; at < sizeof bytes; at += 61)
        for (size_t n = 0; at + n <= sizeof bytes; n = 3 * n + 1) {
            assert_int_equal(emr_tensor_read(t, at, bytes, n, &error), EMR_OK);
            assert_memory_equal(bytes, (const uint8_t *)values + at, n);
        }
    assert_int_equal(emr_tensor_read_floats(t, 33, SHAPED - 33, floats, &error), EMR_OK);
    assert_memory_equal(floats, values + 33, (SHAPED - 33) * 4);
    assert_int_equal(emr_tensor_read(t, sizeof bytes, bytes, 1, &error), EMR_EINVAL);
}

static void tensors_read_as_floats(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        block_tensors b;
        emr_model *model, *borrower, *renamed;
        emr_error error;
        fill_block_tensors(&b, types[i]);
        assert_int_equal(emr_model_create(&model, NULL, &error), EMR_OK);
        assert_int_equal(emr_model_create(&borrower, NULL, &error), EMR_OK);
        for (int in_file = 0; in_file < 2; in_file++) {
            emr_tensor_desc desc = describe(&b, types[i], in_file ? "file" : "memory", in_file);
            assert_int_equal(emr_model_add(model, &desc, &error), EMR_OK);
            const emr_tensor *t = emr_model_find_tensor(model, desc.name);
            expect_same_as(t, b.values);
            assert_int_equal(emr_model_add_tensor(borrower, t, &error), EMR_OK);
            expect_same_as(emr_model_find_tensor(borrower, desc.name), b.values);
        }
        const emr_rename rules[] = {{.from = "file", .to = "other"}};
        assert_int_equal(emr_model_create_renamed(&renamed, borrower, rules, 1, NULL, &error), EMR_OK);
        expect_same_as(emr_model_find_tensor(renamed, "other"), b.values);
        expect_same_as(emr_model_find_tensor(renamed, "memory"), b.values);
        emr_model_destroy(&renamed);
        emr_model_destroy(&borrower);
        emr_model_destroy(&model);
    }
}

static void a_block_that_cannot_be_read_is_named(void **state)
{
    block_tensors b;
    emr_model *model;
    emr_error error;
    uint8_t byte;
    (void)state;
    fill_block_tensors(&b, EMR_BLOCK_TYPE_Q8_0);
    emr_tensor_desc desc = describe(&b, EMR_BLOCK_TYPE_Q8_0, "far", true);
    desc.offset = 1 + N;
    assert_int_equal(emr_model_create(&model, NULL, &error), EMR_OK);
    assert_int_equal(emr_model_add(model, &desc, &error), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, &byte, 1, &error), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), SHAPED * 4 - 1, &byte, 1, &error), EMR_EIO);
    assert_non_null(strstr(error.text, "tensor 'far'"));
    emr_model_destroy(&model);
}

static emr_status compute_nothing(const emr_computation *c, emr_error *error)
{
    (void)c, (void)error;
    return EMR_OK;
}

static void expect_refused(const emr_tensor_desc *desc, const char *words)
{
    emr_model *model;
    emr_error error;
    assert_int_equal(emr_model_create(&model, NULL, &error), EMR_OK);
    assert_int_equal(emr_model_add(model, desc, &error), EMR_EINVAL);
    if (!strstr(error.text, words))
        fail_msg("'%s' does not say '%s'", error.text, words);
    assert_int_equal(emr_model_n_tensors(model), 0);
    emr_model_destroy(&model);
}

static void descriptions_that_cannot_be_right(void **state)
{
    static const uint64_t odd[3] = {3, 32, 33}, large[3] = {UINT64_C(1) << 31, UINT64_C(1) << 31, 32};
    block_tensors b;
    (void)state;
    fill_block_tensors(&b, EMR_BLOCK_TYPE_Q4_0);
    const emr_tensor_desc good = describe(&b, EMR_BLOCK_TYPE_Q4_0, "t", false);
    emr_tensor_desc d = good;
    d.blocks = 1;
    expect_refused(&d, "no blocks of type 1");
    d.blocks = UINT32_MAX;
    expect_refused(&d, "no blocks of type 4294967295");
    d = good;
    d.dtype = EMR_DTYPE_F16;
    expect_refused(&d, "must be F32, not F16");
    d = good;
    d.data = NULL;
    expect_refused(&d, "needs data or io");
    d.compute = compute_nothing;
    expect_refused(&d, "needs data or io");
    d = good;
    d.shape = odd;
    expect_refused(&d, "multiple of 32");
    d.rank = 0;
    expect_refused(&d, "multiple of 32");
    d = good;
    d.shape = large;
    expect_refused(&d, "too large");
    d = describe(&b, EMR_BLOCK_TYPE_Q4_0, "t", true);
    d.offset = UINT64_MAX - 4;
    expect_refused(&d, "largest offset");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_names),
        cmocka_unit_test(what_is_no_block_is_refused),
        cmocka_unit_test(every_code_stands_for_its_value),
        cmocka_unit_test(halves_are_rounded_away_from_zero_in_eight_bits),
        cmocka_unit_test(the_extreme_is_exact_in_four_and_five_bits),
        cmocka_unit_test(ties_of_magnitude_go_by_the_first),
        cmocka_unit_test(minimum_and_maximum_are_exact),
        cmocka_unit_test(zeros_and_equal_values),
        cmocka_unit_test(what_no_scale_holds_does_no_harm),
        cmocka_unit_test(what_comes_back_is_near),
        cmocka_unit_test(tensors_read_as_floats),
        cmocka_unit_test(a_block_that_cannot_be_read_is_named),
        cmocka_unit_test(descriptions_that_cannot_be_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
