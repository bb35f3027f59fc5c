/* check_codes.c - see check_codes.h. What a kernel reads lies at the very end of what was allocated for
 * it, so that a sanitizer sees when it reads on. */
#include "check_codes.h"

#include "core/bytes.h"
#include "numeric/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, N_MAX = EMR_CHUNK, FIRST_MAX = 1200 };

/* A kind with a coding. */
typedef struct tried_coding {
    const char *name;
    size_t member; /* of emr_kernels */
    size_t n_scales;
    uint32_t rate;
    bool has_unified;
} tried_coding;

#define MEMBER(name) #name, offsetof(emr_kernels, name)

static const tried_coding tried[] = {
    {MEMBER(mask), 1, 64, true},          {MEMBER(two_sided), 2, 64, true},
    {MEMBER(sign), 1, 64, false},         {MEMBER(thin), 1, 32, false},
    {MEMBER(thin), 1, 16, false},         {MEMBER(thin), 1, 8, false},
    {MEMBER(thin), 1, 4, false},          {MEMBER(thin), 1, 2, false},
    {MEMBER(levels), 1, 128, false},      {MEMBER(levels), 1, 192, false},
    {MEMBER(levels), 1, 256, false},      {MEMBER(differences), 1, 1024, false},
    {MEMBER(differences), 1, 2048, false}};
enum { N_TRIED = sizeof tried / sizeof tried[0] };

static emr_code_kernels members_of(const emr_kernels *k, const tried_coding *t)
{
    return *(const emr_code_kernels *)(const void *)((const uint8_t *)k + t->member);
}

static bool is_kind(const tried_coding *t, const char *name)
{
    return strcmp(t->name, name) == 0;
}

/* Memory that ends where its contents do. */
static uint8_t *allocate_exactly(size_t n)
{
    uint8_t *p = malloc(n ? n : 1);
    if (!p)
        abort();
    return p;
}

static void fill_bits(uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(next_bits() >> 32);
}

/* Bytes of codes that a run may read: to its last parameter's, of thinned ones to the end of their group. */
static size_t code_bytes(const tried_coding *t, size_t n)
{
    if (is_kind(t, "thin"))
        n = (n + EMR_GROUP - 1) / EMR_GROUP * EMR_GROUP;
    return (n * t->rate + EMR_CODE_UNIT - 1) / EMR_CODE_UNIT;
}

static void fill_codes(const tried_coding *t, uint8_t *to, size_t bytes, flavour f)
{
    if (is_kind(t, "differences") && !chance(4))
        fill_values(to, t->rate == 1024 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32, bytes / (t->rate / 512), f);
    else
        fill_bits(to, bytes);
}

static void fill_columns(uint8_t *to, size_t n)
{
    fill_values(to, EMR_DTYPE_BF16, n, chance(8) ? ANY_BITS : ORDINARY);
    for (size_t i = 0; i < n && !chance(3); i++)
        to[2 * i + 1] &= 0x7f;
}

static float random_scale(void)
{
    return chance(8) ? value_of(chance(2) ? HUGE_VALUES : ANY_BITS) : chance(12) ? 0 : ordinary() * 2;
}

/* A run over a base that is there. */
static emr_run random_run(const tried_coding *t, size_t n)
{
    static float levels[16];
    emr_run r = {.n = n, .first_code = below(FIRST_MAX), .group = next_bits() >> below(60)};
    r.first_code = chance(2) ? r.first_code / 16 * 16 : r.first_code;
    r.coding = (emr_coding){.rate = t->rate, .seed = (uint32_t)(next_bits() >> 32), .levels = levels};
    r.stream = chance(2); /* takes effect where the output is aligned */
    for (size_t i = 0; i < 16; i++)
        levels[i] = value_of(ORDINARY);
    for (size_t i = 0; i < EMR_SCALES_MAX; i++)
        r.scales[i] = random_scale();
    return r;
}

/* Whether a variant applies a run, in which all but `out` is set, as the reference does. */
static bool same_apply(const emr_kernels *k, const tried_coding *t, emr_run r, bool in_place,
                       const char *values)
{
    static _Alignas(64) uint8_t a[N_MAX * 8 + 2 * GUARD], b[N_MAX * 8 + 2 * GUARD];
    const void *base = r.base;
    size_t offset = chance(2) ? 0 : below(GUARD);
    memset(a, 0x5a, sizeof a);
    memset(b, 0x5a, sizeof b);
    if (in_place) {
        memcpy(a + offset, base, r.n * emr_float_size(r.base_dtype));
        memcpy(b + offset, base, r.n * emr_float_size(r.base_dtype));
    }
    r.out = a + offset;
    r.base = in_place ? r.out : base;
    members_of(&emr_kernels_c, t).apply(&r);
    r.out = b + offset;
    r.base = in_place ? r.out : base;
    members_of(k, t).apply(&r);
    if (memcmp(a, b, sizeof a) == 0)
        return true;
    printf(
        "%s: apply differs: %s of %u, %zu parameters from %zu, base %s, out %s, columns %d, scale %a, %s\n",
        k->name, t->name, t->rate, r.n, r.first_code, emr_dtype_name(r.base_dtype),
        emr_dtype_name(r.out_dtype), r.columns != NULL, (double)r.scales[0], values);
    return false;
}

static const float zeros[N_MAX]; /* what no base is as good as */

/* Whether a variant, and the reference, apply the run without a base as the reference does to a base of zeros. */
static bool same_without_base(const emr_kernels *k, const tried_coding *t, emr_run r)
{
    static _Alignas(64) uint8_t a[N_MAX * 8 + 2 * GUARD], b[N_MAX * 8 + 2 * GUARD];
    const emr_kernels *const tries[] = {&emr_kernels_c, k};
    size_t offset = chance(2) ? 0 : below(GUARD);
    memset(a, 0x5a, sizeof a);
    r.base_dtype = EMR_DTYPE_F32;
    r.base = zeros;
    r.out = a + offset;
    members_of(&emr_kernels_c, t).apply(&r);
    r.base = NULL;
    r.out = b + offset;
    for (size_t i = 0; i < 2; i++) {
        memset(b, 0x5a, sizeof b);
        members_of(tries[i], t).apply(&r);
        if (memcmp(a, b, sizeof a) == 0)
            continue;
        printf("%s: apply without a base differs: %s of %u, %zu parameters from %zu, out %s, scale %a\n",
               tries[i]->name, t->name, t->rate, r.n, r.first_code, emr_dtype_name(r.out_dtype),
               (double)r.scales[0]);
        return false;
    }
    return true;
}

static bool check_apply(const emr_kernels *k, const tried_coding *t, emr_dtype base, emr_dtype unified,
                        emr_dtype out, size_t n, bool nonfinite)
{
    char values[32];
    flavour f = (flavour)below(N_FLAVOURS);
    emr_run r = random_run(t, n);
    size_t offset = below(8), bytes = code_bytes(t, r.first_code + n), unified_size = emr_float_size(unified);
    uint8_t *base_values = allocate_exactly(offset + n * emr_float_size(base)),
            *codes = allocate_exactly(bytes);
    uint8_t *unified_values = allocate_exactly(offset + n * unified_size), *columns = allocate_exactly(2 * n);
    fill_codes(t, codes, bytes, f);
    fill_columns(columns, n);
    if (nonfinite) {
        fill_nonfinite(base_values + offset, base, n);
        fill_nonfinite(unified_values + offset, unified, n);
    } else {
        fill_values(base_values + offset, base, n, f);
        fill_values(unified_values + offset, unified, n, f);
    }
    r.base = base_values + offset;
    r.base_dtype = base;
    r.out_dtype = out;
    r.codes = codes;
    if (t->has_unified) {
        r.unified = unified_values + offset;
        r.unified_dtype = unified;
    }
    if (is_kind(t, "sign") && chance(2))
        r.columns = columns;
    if (!t->has_unified && r.scales[0] == 0 && chance(2))
        r.codes = NULL;
    snprintf(values, sizeof values, nonfinite ? "not finite" : "flavour %d", (int)f);
    bool same = same_apply(k, t, r, base == out && chance(2), values) && same_without_base(k, t, r);
    free(base_values);
    free(codes);
    free(unified_values);
    free(columns);
    return same;
}

static bool same_lane(float a, float b)
{
    return a != a ? b != b : emr_f32_bits(a) == emr_f32_bits(b); /* of NaNs the payload may differ */
}

/* Accumulators of both, with a row after them as guard. */
enum { LANES_TRIED = EMR_DOT_VECTORS * EMR_DOT_ROWS + 1 }; /* one of them nobody's */

static float lanes_a[LANES_TRIED][EMR_LANES], lanes_b[LANES_TRIED][EMR_LANES];

/* They go on from whatever they hold. */
static void begin_lanes(size_t n)
{
    for (size_t v = 0; v < LANES_TRIED; v++)
        for (size_t j = 0; j < EMR_LANES; j++)
            lanes_a[v][j] = lanes_b[v][j] = v < n ? ordinary() : (float)v;
}

static bool same_lanes(void)
{
    for (size_t v = 0; v < LANES_TRIED; v++)
        for (size_t j = 0; j < EMR_LANES; j++)
            if (!same_lane(lanes_a[v][j], lanes_b[v][j]))
                return false;
    return true;
}

/* Vectors, apart, up to the end of what the last one has. */
static float *random_vectors(size_t n, size_t n_vectors, size_t stride, flavour f)
{
    size_t all = (n_vectors - 1) * stride + n;
    float *x = (float *)(void *)allocate_exactly(all * sizeof *x);
    for (size_t i = 0; i < all; i++)
        x[i] = value_of(f == ANY_BITS ? ORDINARY : f);
    return x;
}

/* Whether a variant, and the reference, multiply without a base as the reference does with a base of zeros. */
static bool same_dot_without_base(const emr_kernels *k, const tried_coding *t, emr_dot d)
{
    const emr_kernels *const tries[] = {&emr_kernels_c, k};
    d.base_dtype = EMR_DTYPE_F32;
    for (size_t i = 0; i < 2; i++) {
        begin_lanes(d.n_vectors);
        d.base = zeros;
        d.lanes = lanes_a;
        members_of(&emr_kernels_c, t).dot(&d);
        d.base = NULL;
        d.lanes = lanes_b;
        members_of(tries[i], t).dot(&d);
        if (same_lanes())
            continue;
        printf("%s: dot without a base differs: %s, %zu columns, %zu vectors, unified %s, shared %d\n",
               tries[i]->name, t->name, d.n, d.n_vectors, emr_dtype_name(d.unified_dtype), d.shared);
        return false;
    }
    return true;
}

/* Kinds with unified values; without a coding, the base alone. */
static bool check_dot(const emr_kernels *k, const tried_coding *t)
{
    uint32_t codes[EMR_DOT_VECTORS * EMR_DOT_WORDS];
    float scales[EMR_DOT_VECTORS * EMR_SCALES_MAX];
    flavour f = (flavour)below(N_FLAVOURS);
    emr_dot d = {.n = (1 + below(EMR_DOT_COLUMNS / EMR_LANES)) * EMR_LANES,
                 .n_vectors = 1 + below(EMR_DOT_VECTORS),
                 .base_dtype = chance(6) ? all_dtypes[below(6)] : narrow_dtypes[below(3)],
                 .shared = chance(2)};
    size_t offset = below(8), base_bytes = d.n * emr_float_size(d.base_dtype);
    uint8_t *base = allocate_exactly(offset + base_bytes), *unified = allocate_exactly(offset + d.n * 4);
    d.stride = d.n + below(40);
    float *x = random_vectors(d.n, d.n_vectors, d.stride, f);
    fill_values(base + offset, d.base_dtype, d.n, f);
    fill_bits((uint8_t *)codes, sizeof codes);
    for (size_t i = 0; i < EMR_DOT_VECTORS * EMR_SCALES_MAX; i++)
        scales[i] = chance(4) ? 0 : ordinary() * 2;
    d.base = base + offset;
    d.x = x;
    if (t) {
        d.unified_dtype = narrow_dtypes[below(3)];
        size_t missing = d.n * (4 - emr_float_size(d.unified_dtype));
        fill_values(unified + offset + missing, d.unified_dtype, d.n, f == ANY_BITS ? ORDINARY : f);
        d.unified = unified + offset + missing;
        d.codes = codes;
        d.scales = scales;
    }
    begin_lanes(d.n_vectors);
    d.lanes = lanes_a;
    (t ? members_of(&emr_kernels_c, t).dot : emr_kernels_c.dot_base)(&d);
    d.lanes = lanes_b;
    (t ? members_of(k, t).dot : k->dot_base)(&d);
    bool same = same_lanes();
    if (!same)
        printf("%s: dot differs: %s, %zu columns, %zu vectors, base %s, unified %s, shared %d, flavour %d\n",
               k->name, t ? t->name : "base", d.n, d.n_vectors, emr_dtype_name(d.base_dtype),
               emr_dtype_name(d.unified_dtype), d.shared, (int)f);
    same = same && (!t || same_dot_without_base(k, t, d));
    free(base);
    free(unified);
    free(x);
    return same;
}

static bool check_steps(const emr_kernels *k, const tried_coding *t)
{
    flavour f = (flavour)below(N_FLAVOURS);
    emr_step_dot d = {.n = (1 + below(EMR_DOT_COLUMNS / EMR_LANES)) * EMR_LANES,
                      .n_rows = 1 + below(EMR_DOT_ROWS),
                      .n_vectors = 1 + below(EMR_DOT_VECTORS),
                      .coding = random_run(t, 1).coding};
    d.lane_stride = d.n_rows;
    size_t bits = is_kind(t, "thin") ? 1 : t->rate / EMR_GROUP;
    d.code_stride = d.n * bits / 32 + below(4);
    size_t bytes = d.n * bits / 8 + (d.n_rows - 1) * d.code_stride * 4;
    uint8_t *codes = allocate_exactly(bytes), *columns = allocate_exactly(2 * d.n),
            *kept = allocate_exactly(is_kind(t, "thin") ? bytes : 1);
    d.stride = d.n + below(40);
    float *x = random_vectors(d.n, d.n_vectors, d.stride, f);
    fill_codes(t, codes, bytes, f);
    fill_columns(columns, d.n);
    fill_bits(kept, is_kind(t, "thin") ? bytes : 1);
    d.codes = (const uint32_t *)(const void *)codes;
    d.kept = is_kind(t, "thin") ? (const uint32_t *)(const void *)kept : NULL;
    d.columns = is_kind(t, "sign") && chance(2) ? columns : NULL;
    d.x = x;
    begin_lanes(d.n_vectors * d.n_rows);
    d.lanes = lanes_a;
    members_of(&emr_kernels_c, t).dot_steps(&d);
    d.lanes = lanes_b;
    members_of(k, t).dot_steps(&d);
    bool same = same_lanes();
    if (!same)
        printf("%s: dot of steps differs: %s of %u, %zu columns, %zu rows, %zu vectors, columns %d, flavour "
               "%d\n",
               k->name, t->name, t->rate, d.n, d.n_rows, d.n_vectors, d.columns != NULL, (int)f);
    free(codes);
    free(columns);
    free(kept);
    free(x);
    return same;
}

/* What is kept of some groups of a thin task. */
static bool check_draw(const emr_kernels *k, const tried_coding *t)
{
    uint32_t kept[2][40], signs[2][40];
    const size_t first = below(9), n = 1 + below(20), bytes = ((first + n) * t->rate + 7) / 8;
    uint8_t *codes = allocate_exactly(bytes);
    emr_run run = random_run(t, 1);
    fill_bits(codes, bytes);
    run.codes = codes;
    emr_kernels_c.draw(&run, first, n, kept[0], signs[0]);
    k->draw(&run, first, n, kept[1], signs[1]);
    bool same = !memcmp(kept[0], kept[1], 2 * n * sizeof **kept) &&
                !memcmp(signs[0], signs[1], 2 * n * sizeof **signs);
    if (!same)
        printf("%s: draw differs: rate %u, group %zu, %zu of them\n", k->name, t->rate, first, n);
    free(codes);
    return same;
}

static void check_coding(const emr_kernels *k, const tried_coding *t, counts *n)
{
    for (size_t i = 0; i < 2 * 6 * 6 * 3 && members_of(k, t).apply; i++)
        count(n, check_apply(k, t, all_dtypes[i % 6], narrow_dtypes[i / 36 % 3], all_dtypes[i / 6 % 6],
                             1 + below(300), true));
    for (int i = 0; i < 300 && members_of(k, t).apply; i++) {
        emr_dtype base = narrow_dtypes[below(3)], out = chance(2) ? base : narrow_dtypes[below(3)];
        size_t longest = chance(2) ? 40 : chance(8) ? N_MAX : 1000;
        count(n, check_apply(k, t, base, narrow_dtypes[below(3)], out, 1 + below(longest), false));
    }
    for (int i = 0; i < 300 && members_of(k, t).dot; i++)
        count(n, check_dot(k, t));
    for (int i = 0; i < 300 && members_of(k, t).dot_steps; i++)
        count(n, check_steps(k, t));
    for (int i = 0; i < 100 && k->draw && is_kind(t, "thin"); i++)
        count(n, check_draw(k, t));
}

void check_codes(const emr_kernels *k, counts *n)
{
    for (size_t i = 0; i < N_TRIED; i++)
        check_coding(k, &tried[i], n);
    for (int i = 0; i < 300 && k->dot_base; i++)
        count(n, check_dot(k, NULL));
}
