/* pairs_template.h - sums over vectors and over every two of them, for one instruction set: pairs_c.c with the
 * vectors of kernels_template.h, after which each variant's file includes this, and with vectors of
 * V_DOUBLE_BYTES bytes of doubles. What is rare is left to pairs_c.c: F64 and F8 sources, and values that are not
 * finite. */

#include "numeric/pairs.h"

#define INLINE inline __attribute__((always_inline))
#define ALONE  __attribute__((noinline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

typedef double doubles __attribute__((vector_size(V_DOUBLE_BYTES)));
typedef float narrow_doubles __attribute__((vector_size(V_DOUBLE_BYTES / 2)));
/* The same anywhere in memory: copied in one piece. */
typedef double doubles_anywhere __attribute__((vector_size(V_DOUBLE_BYTES), aligned(8), may_alias));
typedef float narrow_anywhere __attribute__((vector_size(V_DOUBLE_BYTES / 2), aligned(4), may_alias));

enum { DOUBLES = V_DOUBLE_BYTES / 8, PARTS = EMR_PAIR_LANES / DOUBLES };

/* EMR_PAIR_LANES accumulators, or as many elements. */
typedef struct lanes8 {
    doubles part[PARTS];
} lanes8;

static INLINE lanes8 load_lanes(const double *from)
{
    lanes8 x;
    UNROLL
    for (size_t p = 0; p < PARTS; p++)
        x.part[p] = *(const doubles_anywhere *)(const void *)(from + p * DOUBLES);
    return x;
}

static INLINE void store_lanes(double *to, lanes8 x)
{
    UNROLL
    for (size_t p = 0; p < PARTS; p++)
        *(doubles_anywhere *)(void *)(to + p * DOUBLES) = x.part[p];
}

static INLINE lanes8 widen_lanes(const float *from)
{
    lanes8 x;
    UNROLL
    for (size_t p = 0; p < PARTS; p++) {
        narrow_doubles narrow = *(const narrow_anywhere *)(const void *)(from + p * DOUBLES);
        x.part[p] = __builtin_convertvector(narrow, doubles);
    }
    return x;
}

static INLINE lanes8 add_lanes(lanes8 x, lanes8 y)
{
    UNROLL
    for (size_t p = 0; p < PARTS; p++)
        x.part[p] = x.part[p] + y.part[p];
    return x;
}

static INLINE lanes8 add_lane_products(lanes8 sums, lanes8 x, lanes8 y)
{
    UNROLL
    for (size_t p = 0; p < PARTS; p++)
        sums.part[p] = sums.part[p] + x.part[p] * y.part[p];
    return sums;
}

static INLINE lanes8 subtract_lanes(lanes8 x, lanes8 y)
{
    UNROLL
    for (size_t p = 0; p < PARTS; p++)
        x.part[p] = x.part[p] - y.part[p];
    return x;
}

/* Eight elements, and their magnitudes. */
typedef struct vector_lanes {
    lanes8 sums, magnitudes, squares, fourths;
} vector_lanes;

static INLINE void add_eight(vector_lanes *to, lanes8 x, lanes8 size)
{
    lanes8 square = x;
    UNROLL
    for (size_t p = 0; p < PARTS; p++)
        square.part[p] = x.part[p] * x.part[p];
    to->sums = add_lanes(to->sums, x);
    to->magnitudes = add_lanes(to->magnitudes, size);
    to->squares = add_lanes(to->squares, square);
    to->fourths = add_lane_products(to->fourths, square, square);
}

/* What a block's reading has found so far. */
typedef struct pair_reading {
    vector_lanes sums;
    v16 largest, check; /* `check` gets a number less itself, which is 0, or a NaN */
} pair_reading;

static INLINE v16 load_difference(unsigned dtype, const uint8_t *x, unsigned base_dtype, const uint8_t *base)
{
    return base ? v_sub(load16(dtype, x), load16(base_dtype, base)) : load16(dtype, x);
}

/* 32 elements; their signs are bits. */
static INLINE void read_32(pair_reading *r, double *numbers, uint32_t bits[2], v16 x, v16 y)
{
    float values[32], sizes[32];
    bits[0] = v_bits(v_greater(x, v_zero()), v_greater(y, v_zero()));
    bits[1] = v_bits(v_greater(v_zero(), x), v_greater(v_zero(), y));
    r->check = v_add(r->check, v_add(v_sub(x, x), v_sub(y, y)));
    r->largest = v_max(r->largest, v_max(v_abs(x), v_abs(y)));
    v_store_f32(values, x);
    v_store_f32(values + 16, y);
    v_store_f32(sizes, v_abs(x));
    v_store_f32(sizes + 16, v_abs(y));
    for (size_t i = 0; i < 32; i += EMR_PAIR_LANES) {
        lanes8 wide = widen_lanes(values + i);
        store_lanes(numbers + i, wide);
        add_eight(&r->sums, wide, widen_lanes(sizes + i));
    }
}

static INLINE void read_64(pair_reading *r, double *numbers, emr_signs *signs, unsigned dtype,
                           const uint8_t *x, unsigned base_dtype, const uint8_t *base)
{
    size_t size = emr_float_size(dtype), base_size = emr_float_size(base_dtype);
    uint32_t bits[2][2];
    for (size_t h = 0; h < 2; h++) {
        const uint8_t *at = x + h * 32 * size, *base_at = base ? base + h * 32 * base_size : NULL;
        read_32(r, numbers + h * 32, bits[h], load_difference(dtype, at, base_dtype, base_at),
                load_difference(dtype, at + 16 * size, base_dtype, base ? base_at + 16 * base_size : NULL));
    }
    signs->above = bits[0][0] | (uint64_t)bits[1][0] << 32;
    signs->below = bits[0][1] | (uint64_t)bits[1][1] << 32;
}

static INLINE bool read_pair_block(emr_vector_sums *sums, double *numbers, emr_signs *signs,
                                   const emr_pair_source *s, size_t n, unsigned dtype, unsigned base_dtype)
{
    size_t size = emr_float_size(dtype), base_size = emr_float_size(base_dtype);
    const uint8_t *x = s->values, *base = s->base;
    pair_reading r = {{load_lanes(sums->sums), load_lanes(sums->magnitudes), load_lanes(sums->squares),
                       load_lanes(sums->fourths)},
                      v_set(sums->largest),
                      v_zero()};
    float check[16];
    for (size_t i = 0; i < n; i += 64) {
        uint8_t copies[2][64 * 4];
        const uint8_t *from = x + i * size, *base_from = base ? base + i * base_size : NULL;
        if (n - i < 64) {
            memset(copies, 0, sizeof copies);
            from = memcpy(copies[0], from, (n - i) * size);
            base_from = base ? memcpy(copies[1], base_from, (n - i) * base_size) : NULL;
        }
        read_64(&r, numbers + i, signs + i / 64, dtype, from, base_dtype, base_from);
    }
    v_store_f32(check, r.check);
    for (size_t i = 0; i < 16; i++)
        if (check[i] != 0) /* or NaN */
            return false;
    store_lanes(sums->sums, r.sums.sums);
    store_lanes(sums->magnitudes, r.sums.magnitudes);
    store_lanes(sums->squares, r.sums.squares);
    store_lanes(sums->fourths, r.sums.fourths);
    sums->largest = v_largest(r.largest);
    return true;
}

static ALONE bool read_pairs_f32(emr_vector_sums *sums, double *numbers, emr_signs *signs,
                                 const emr_pair_source *s, size_t n)
{
    return read_pair_block(sums, numbers, signs, s, n, EMR_DTYPE_F32, EMR_DTYPE_F32);
}

static ALONE bool read_pairs_bf16(emr_vector_sums *sums, double *numbers, emr_signs *signs,
                                  const emr_pair_source *s, size_t n)
{
    return read_pair_block(sums, numbers, signs, s, n, EMR_DTYPE_BF16, EMR_DTYPE_BF16);
}

static ALONE bool read_pairs_mixed(emr_vector_sums *sums, double *numbers, emr_signs *signs,
                                   const emr_pair_source *s, size_t n)
{
    return read_pair_block(sums, numbers, signs, s, n, s->dtype, s->base ? s->base_dtype : s->dtype);
}

static bool pairs_read(emr_vector_sums *sums, double *numbers, emr_signs *signs, const emr_pair_source *s,
                       size_t n)
{
    unsigned base_dtype = s->base ? s->base_dtype : s->dtype;
    if (!is_narrow(s->dtype) || !is_narrow(base_dtype))
        return emr_pairs_c.read(sums, numbers, signs, s, n);
    if (s->dtype == EMR_DTYPE_F32 && base_dtype == EMR_DTYPE_F32)
        return read_pairs_f32(sums, numbers, signs, s, n);
    if (s->dtype == EMR_DTYPE_BF16 && base_dtype == EMR_DTYPE_BF16)
        return read_pairs_bf16(sums, numbers, signs, s, n);
    return read_pairs_mixed(sums, numbers, signs, s, n);
}

/* x and `width` others at a time: their accumulators are registers. */
static INLINE void add_pair_lanes(emr_pair_sums *sums, const double *x, const double *others, size_t stride,
                                  size_t width, size_t n)
{
    lanes8 products[V_PAIR_OTHERS], distances[V_PAIR_OTHERS];
    UNROLL
    for (size_t k = 0; k < width; k++) {
        products[k] = load_lanes(sums[k].products);
        distances[k] = load_lanes(sums[k].distances);
    }
    for (size_t i = 0; i < n; i += EMR_PAIR_LANES) {
        lanes8 a = load_lanes(x + i);
        UNROLL
        for (size_t k = 0; k < width; k++) {
            lanes8 b = load_lanes(others + k * stride + i), d = subtract_lanes(a, b);
            products[k] = add_lane_products(products[k], a, b);
            distances[k] = add_lane_products(distances[k], d, d);
        }
    }
    UNROLL
    for (size_t k = 0; k < width; k++) {
        store_lanes(sums[k].products, products[k]);
        store_lanes(sums[k].distances, distances[k]);
    }
}

static void pairs_add(emr_pair_sums *sums, const double *x, const double *others, size_t stride,
                      uint32_t n_others, size_t n)
{
    uint32_t k = 0;
    for (; k + V_PAIR_OTHERS <= n_others; k += V_PAIR_OTHERS)
        add_pair_lanes(sums + k, x, others + k * stride, stride, V_PAIR_OTHERS, n);
    for (; k < n_others; k++)
        add_pair_lanes(sums + k, x, others + k * stride, stride, 1, n);
}

static void pairs_agree(uint64_t *same, uint64_t *both, const emr_signs *x, const emr_signs *others,
                        uint32_t n_others, size_t n_words)
{
    for (uint32_t k = 0; k < n_others; k++) {
        const emr_signs *y = others + k * n_words;
        for (size_t i = 0; i < n_words; i++) {
            same[k] += v_popcount((x[i].above & y[i].above) | (x[i].below & y[i].below));
            both[k] += v_popcount((x[i].above | x[i].below) & (y[i].above | y[i].below));
        }
    }
}

#define PAIR_KERNELS                                                                                         \
    {                                                                                                        \
        .read = pairs_read, .add = pairs_add, .agree = pairs_agree                                           \
    }

#undef INLINE
#undef ALONE
#undef UNROLL
