/* test_convert.c - element types, and conversions of every code against a reference made from a code's
 * fields. */
#include "support.h"

#include <float.h>
#include <math.h>

/* A format by its fields; what a code is worth follows from these alone. */
typedef struct format {
    emr_dtype dtype;
    unsigned exponent_bits, mantissa_bits;
    bool has_infinity;
} format;

static const format formats[] = {{EMR_DTYPE_F16, 5, 10, true},
                                 {EMR_DTYPE_BF16, 8, 7, true},
                                 {EMR_DTYPE_F8_E4M3, 4, 3, false},
                                 {EMR_DTYPE_F8_E5M2, 5, 2, true}};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

static const emr_dtype floats[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                   EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
enum { N_FLOATS = sizeof floats / sizeof floats[0] };

static uint32_t sign_of(const format *f)
{
    return 1u << (f->exponent_bits + f->mantissa_bits);
}

static uint32_t largest(const format *f)
{
    uint32_t all_ones = sign_of(f) - 1;
    return f->has_infinity ? all_ones - (1u << f->mantissa_bits) : all_ones - 1;
}

static double value_of(const format *f, uint32_t code)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1;
    uint32_t magnitude = code & (sign_of(f) - 1), mantissa = code & ((1u << f->mantissa_bits) - 1);
    int exponent = (int)(magnitude >> f->mantissa_bits);
    double value;
    if (magnitude > largest(f))
        value = f->has_infinity && mantissa == 0 ? INFINITY : NAN;
    else if (exponent == 0)
        value = ldexp(mantissa, 1 - bias - (int)f->mantissa_bits);
    else
        value = ldexp(mantissa + (1u << f->mantissa_bits), exponent - bias - (int)f->mantissa_bits);
    return code & sign_of(f) ? -value : value;
}

static uint32_t beyond(const format *f)
{
    return f->has_infinity ? largest(f) + 1 : largest(f);
}

/* The code nearest to a value, by bisection over the codes; ties go to the even code. */
static uint32_t nearest(const format *f, double value)
{
    uint32_t low = 0, high = largest(f) + 1, sign = signbit(value) ? sign_of(f) : 0;
    double magnitude = fabs(value), top = value_of(f, largest(f));
    double past = top + (top - value_of(f, largest(f) - 1)); /* where the next value would be */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        *(value_of(f, middle) <= magnitude ? &low : &high) = middle;
    }
    double above = high > largest(f) ? past : value_of(f, high), below = value_of(f, low);
    if (magnitude - below > above - magnitude || (magnitude - below == above - magnitude && low % 2))
        low++;
    return sign | (low > largest(f) ? beyond(f) : low);
}

static uint32_t load_code(const format *f, const void *p)
{
    uint16_t wide;
    if (f->exponent_bits + f->mantissa_bits == 7)
        return *(const uint8_t *)p;
    memcpy(&wide, p, sizeof wide);
    return wide;
}

static uint32_t from_f64(const format *f, double value)
{
    unsigned char out[2];
    assert_int_equal(emr_convert(f->dtype, out, EMR_DTYPE_F64, &value, 1), EMR_OK);
    return load_code(f, out);
}

static uint32_t from_f32(const format *f, float value)
{
    unsigned char out[2];
    assert_int_equal(emr_convert(f->dtype, out, EMR_DTYPE_F32, &value, 1), EMR_OK);
    return load_code(f, out);
}

static bool is_nan(const format *f, uint32_t code)
{
    return isnan(value_of(f, code));
}

static bool same_bits(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

static void every_code_widens_exactly_and_comes_back(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_FORMATS; k++) {
        const format *f = &formats[k];
        for (uint32_t code = 0; code < 2 * sign_of(f); code++) {
            uint16_t stored = (uint16_t)code;
            float narrow;
            double wide, expected = value_of(f, code);
            assert_int_equal(emr_convert(EMR_DTYPE_F32, &narrow, f->dtype, &stored, 1), EMR_OK);
            assert_int_equal(emr_convert(EMR_DTYPE_F64, &wide, f->dtype, &stored, 1), EMR_OK);
            assert_true(same_bits((double)narrow, expected));
            assert_true(same_bits(wide, expected));
            if (isnan(expected)) {
                assert_true(is_nan(f, from_f32(f, narrow)));
                assert_true(is_nan(f, from_f64(f, wide)));
            } else if (isinf(expected) && !f->has_infinity) {
                fail();
            } else {
                assert_int_equal(from_f32(f, narrow), code);
                assert_int_equal(from_f64(f, wide), code);
            }
        }
    }
}

/* Checks a value and its negative. */
static void check_rounding(const format *f, double value, uint32_t expected)
{
    assert_int_equal(from_f64(f, value), expected);
    assert_int_equal(from_f64(f, -value), expected | sign_of(f));
    if ((double)(float)value == value) {
        assert_int_equal(from_f32(f, (float)value), expected);
        assert_int_equal(from_f32(f, (float)-value), expected | sign_of(f));
    }
}

static void midpoints_round_to_even_and_their_neighbours_to_the_nearest(void **state)
{
    size_t twice = 0; /* values that would come out wrong if f64 went through f32 */
    (void)state;
    for (size_t k = 0; k < N_FORMATS; k++) {
        const format *f = &formats[k];
        for (uint32_t code = 0; code < largest(f); code++) {
            double middle = (value_of(f, code) + value_of(f, code + 1)) / 2;
            check_rounding(f, middle, code % 2 ? code + 1 : code);
            check_rounding(f, nextafter(middle, 0), code);
            check_rounding(f, nextafter(middle, INFINITY), code + 1);
            check_rounding(f, (double)nextafterf((float)middle, 0), code);
            check_rounding(f, (double)nextafterf((float)middle, INFINITY), code + 1);
            twice += from_f32(f, (float)nextafter(middle, 0)) != code;
            twice += from_f32(f, (float)nextafter(middle, INFINITY)) != code + 1;
        }
    }
    assert_true(twice > 60000);
}

/* dtype.h: infinity, but for e4m3, which has none and stays at its largest value. */
static void overflow_gives_infinity_or_saturates(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_FORMATS; k++) {
        const format *f = &formats[k];
        double top = value_of(f, largest(f)), step = top - value_of(f, largest(f) - 1);
        check_rounding(f, nextafter(top + step / 2, 0), largest(f));
        check_rounding(f, top + step / 2, beyond(f)); /* a tie: the largest code is odd, or saturates */
        check_rounding(f, nextafter(top + step / 2, INFINITY), beyond(f));
        check_rounding(f, top + step, beyond(f));
        check_rounding(f, (double)FLT_MAX, beyond(f));
        check_rounding(f, DBL_MAX, beyond(f));
        check_rounding(f, INFINITY, beyond(f));
    }
    assert_true(value_of(&formats[2], largest(&formats[2])) == 448);
    float narrow;
    double wide = DBL_MAX;
    emr_convert(EMR_DTYPE_F32, &narrow, EMR_DTYPE_F64, &wide, 1);
    assert_true(isinf(narrow));
    wide = (double)FLT_MAX + ldexp(1, 127 - 24); /* the tie */
    emr_convert(EMR_DTYPE_F32, &narrow, EMR_DTYPE_F64, &wide, 1);
    assert_true(isinf(narrow));
    wide = nextafter(wide, 0);
    emr_convert(EMR_DTYPE_F32, &narrow, EMR_DTYPE_F64, &wide, 1);
    assert_true(narrow == FLT_MAX);
}

static void below_half_of_the_smallest_is_zero_with_its_sign(void **state)
{
    static const double tiny[] = {0, DBL_TRUE_MIN, DBL_MIN, 1e-300, 1e-60};
    (void)state;
    for (size_t k = 0; k < N_FORMATS; k++)
        for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++)
            check_rounding(&formats[k], tiny[i], 0);
}

static void nan_gives_nan_whatever_its_payload(void **state)
{
    static const uint32_t narrow_bits[] = {0x7f800001, 0xff800001, 0x7fc00000, 0x7fffffff, 0xffbfffff};
    static const uint64_t wide_bits[] = {0x7ff0000000000001, 0xfff0000000000001, 0x7ff8000000000000,
                                         0x7ff00000ffffffff, 0xffffffffffffffff};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        float narrow, from_wide;
        double wide, from_narrow;
        memcpy(&narrow, &narrow_bits[i], sizeof narrow);
        memcpy(&wide, &wide_bits[i], sizeof wide);
        for (size_t k = 0; k < N_FORMATS; k++) {
            uint32_t code;
            unsigned char out[2];
            emr_convert(formats[k].dtype, out, EMR_DTYPE_F32, &narrow_bits[i], 1);
            code = load_code(&formats[k], out);
            assert_true(is_nan(&formats[k], code));
            emr_convert(formats[k].dtype, out, EMR_DTYPE_F64, &wide_bits[i], 1);
            code = load_code(&formats[k], out);
            assert_true(is_nan(&formats[k], code));
        }
        emr_convert(EMR_DTYPE_F32, &from_wide, EMR_DTYPE_F64, &wide_bits[i], 1);
        emr_convert(EMR_DTYPE_F64, &from_narrow, EMR_DTYPE_F32, &narrow_bits[i], 1);
        assert_true(isnan(from_wide) && isnan(from_narrow));
    }
}

/* Random bits as f64 and f32, so that every exponent occurs; values near the formats' ranges more often. */
static double random_value(rng *r)
{
    uint64_t u = rng_next(r);
    double value;
    memcpy(&value, &u, sizeof value);
    if (u % 4)
        value = ldexp((double)(int64_t)rng_next(r), (int)rng_below(r, 300) - 200);
    return isnan(value) ? 1 : value;
}

static void random_values_round_to_the_nearest(void **state)
{
    rng r = {11};
    (void)state;
    for (int i = 0; i < 100000; i++) {
        double value = random_value(&r);
        float narrow;
        assert_int_equal(emr_convert(EMR_DTYPE_F32, &narrow, EMR_DTYPE_F64, &value, 1), EMR_OK);
        assert_true(same_bits((double)narrow, (double)(float)value));
        for (size_t k = 0; k < N_FORMATS; k++) {
            assert_int_equal(from_f64(&formats[k], value), nearest(&formats[k], value));
            assert_int_equal(from_f32(&formats[k], narrow), nearest(&formats[k], (double)narrow));
        }
    }
}

/* Any length, any address, between any two types: as one element after another, and nothing beside them. */
static void buffers_of_any_length_and_alignment(void **state)
{
    enum { MOST = 200 };
    static unsigned char from[8 * MOST + 16], to[8 * MOST + 16], one[8];
    rng r = {5};
    (void)state;
    for (size_t pair = 0; pair < N_FLOATS * N_FLOATS; pair++) {
        emr_dtype a = floats[pair / N_FLOATS], b = floats[pair % N_FLOATS];
        size_t a_size = emr_dtype_bits(a) / 8, b_size = emr_dtype_bits(b) / 8;
        for (size_t n = 0; n <= MOST; n += n < 4 ? 1 : 49) {
            for (size_t shift = 0; shift < 8; shift++) {
                unsigned char *source = from + shift, *target = to + 7 - shift;
                for (size_t i = 0; i < n; i++) {
                    double value = random_value(&r);
                    emr_convert(a, source + i * a_size, EMR_DTYPE_F64, &value, 1);
                }
                memset(to, 0xee, sizeof to);
                assert_int_equal(emr_convert(b, target, a, source, n), EMR_OK);
                for (size_t i = 0; i < n; i++) {
                    emr_convert(b, one, a, source + i * a_size, 1);
                    assert_memory_equal(target + i * b_size, one, b_size);
                }
                for (unsigned char *p = to; p < to + sizeof to; p++)
                    assert_true((p >= target && p < target + n * b_size) || *p == 0xee);
            }
        }
    }
}

static void what_is_no_float_is_not_converted(void **state)
{
    unsigned char buffer[16] = {0};
    (void)state;
    assert_int_equal(emr_convert(EMR_DTYPE_I32, buffer, EMR_DTYPE_F32, buffer + 8, 1), EMR_EINVAL);
    assert_int_equal(emr_convert(EMR_DTYPE_F32, buffer, EMR_DTYPE_BOOL, buffer + 8, 1), EMR_EINVAL);
    assert_int_equal(emr_convert(EMR_DTYPE_F8_E8M0, buffer, EMR_DTYPE_F8_E8M0, buffer + 8, 1), EMR_EINVAL);
    assert_int_equal(emr_convert(EMR_DTYPE_NONE, buffer, EMR_DTYPE_F32, buffer + 8, 1), EMR_EINVAL);
    assert_int_equal(emr_convert(EMR_DTYPE_F32, NULL, EMR_DTYPE_F16, buffer, 1), EMR_EINVAL);
    assert_int_equal(emr_convert(EMR_DTYPE_F32, buffer, EMR_DTYPE_F16, NULL, 1), EMR_EINVAL);
    assert_int_equal(emr_convert(EMR_DTYPE_F32, NULL, EMR_DTYPE_F16, NULL, 0), EMR_OK);
}

/* Numbers are stored in bundles, names in safetensors: neither may change. */
static void dtypes_are_pinned(void **state)
{
    static const struct {
        emr_dtype dtype;
        int number;
        unsigned bits;
        const char *name;
    } rows[] = {
        {EMR_DTYPE_F32, 1, 32, "F32"},
        {EMR_DTYPE_F16, 2, 16, "F16"},
        {EMR_DTYPE_BF16, 3, 16, "BF16"},
        {EMR_DTYPE_F64, 4, 64, "F64"},
        {EMR_DTYPE_F8_E4M3, 5, 8, "F8_E4M3"},
        {EMR_DTYPE_F8_E5M2, 6, 8, "F8_E5M2"},
        {EMR_DTYPE_BOOL, 16, 8, "BOOL"},
        {EMR_DTYPE_U8, 17, 8, "U8"},
        {EMR_DTYPE_I8, 18, 8, "I8"},
        {EMR_DTYPE_U16, 19, 16, "U16"},
        {EMR_DTYPE_I16, 20, 16, "I16"},
        {EMR_DTYPE_U32, 21, 32, "U32"},
        {EMR_DTYPE_I32, 22, 32, "I32"},
        {EMR_DTYPE_U64, 23, 64, "U64"},
        {EMR_DTYPE_I64, 24, 64, "I64"},
        {EMR_DTYPE_F8_E8M0, 32, 8, "F8_E8M0"},
        {EMR_DTYPE_F8_E4M3FNUZ, 33, 8, "F8_E4M3FNUZ"},
        {EMR_DTYPE_F8_E5M2FNUZ, 34, 8, "F8_E5M2FNUZ"},
        {EMR_DTYPE_F4, 35, 4, "F4"},
        {EMR_DTYPE_F6_E2M3, 36, 6, "F6_E2M3"},
        {EMR_DTYPE_F6_E3M2, 37, 6, "F6_E3M2"},
        {EMR_DTYPE_C64, 38, 64, "C64"},
    };
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(rows[i].dtype, rows[i].number);
        assert_int_equal(emr_dtype_bits(rows[i].dtype), rows[i].bits);
        assert_string_equal(emr_dtype_name(rows[i].dtype), rows[i].name);
        assert_int_equal(emr_dtype_from_name(rows[i].name), rows[i].dtype);
        assert_int_equal(emr_dtype_is_float(rows[i].dtype), rows[i].number <= 6);
    }
    for (emr_dtype number = 0; number < 600; number++)
        n += emr_dtype_bits(number) || emr_dtype_bits(UINT32_MAX - number);
    assert_int_equal(n, sizeof rows / sizeof rows[0]);
    static const char *const unknown[] = {"", "f32", "F3", "F322", "BF16 ", "F8", "?"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_int_equal(emr_dtype_from_name(unknown[i]), EMR_DTYPE_NONE);
    assert_int_equal(emr_dtype_from_name(NULL), EMR_DTYPE_NONE);
    assert_string_equal(emr_dtype_name(EMR_DTYPE_NONE), "?");
    assert_string_equal(emr_dtype_name(99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_widens_exactly_and_comes_back),
        cmocka_unit_test(midpoints_round_to_even_and_their_neighbours_to_the_nearest),
        cmocka_unit_test(overflow_gives_infinity_or_saturates),
        cmocka_unit_test(below_half_of_the_smallest_is_zero_with_its_sign),
        cmocka_unit_test(nan_gives_nan_whatever_its_payload),
        cmocka_unit_test(random_values_round_to_the_nearest),
        cmocka_unit_test(buffers_of_any_length_and_alignment),
        cmocka_unit_test(what_is_no_float_is_not_converted),
        cmocka_unit_test(dtypes_are_pinned),
    };
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
