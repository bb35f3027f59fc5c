/* test_modulator.c - modulators that the host makes over its own memory. */
#include "support.h"

#include <math.h>

enum { COUNT = 600, MOST_RESCALERS = COUNT };

/* One tensor's modulation with the memory that it borrows. */
typedef struct source {
    emr_modulation m;
    uint8_t unified[4 * COUNT + 4], mask[COUNT / 8 + 1];
    float rescalers[MOST_RESCALERS];
} source;

static source *make_source(const char *name, emr_dtype dtype, uint64_t n_rescalers, size_t shift, rng *r)
{
    source *s = calloc(1, sizeof *s);
    size_t size = emr_dtype_bits(dtype) / 8;
    for (size_t i = 0; i < COUNT; i++) {
        float value = rng_normal(r);
        emr_convert(dtype, s->unified + shift + i * size, EMR_DTYPE_F32, &value, 1);
    }
    for (size_t i = 0; i < sizeof s->mask; i++)
        s->mask[i] = (uint8_t)rng_next(r);
    for (size_t i = 0; i < n_rescalers; i++)
        s->rescalers[i] = fabsf(rng_normal(r));
    s->m = EMR_INIT(emr_modulation);
    s->m.name = name;
    s->m.count = COUNT;
    s->m.unified = s->unified + shift;
    s->m.mask = s->mask;
    s->m.rescalers = s->rescalers;
    s->m.n_rescalers = n_rescalers;
    s->m.unified_dtype = dtype;
    return s;
}

static emr_modulator *make_modulator(void)
{
    emr_modulator *modulator;
    emr_error error;
    assert_ok(emr_modulator_create(&modulator, NULL, &error), &error);
    return modulator;
}

/* W = base + lambda * (mask ? unified : 0), element by element, rounding by rounding. */
static void expect_weight(const source *s, uint64_t i, emr_dtype base_dtype, const uint8_t *base,
                          emr_dtype out_dtype, uint8_t *out)
{
    emr_dtype unified_dtype = s->m.unified_dtype;
    volatile float step;
    float u;
    double w;
    emr_convert(EMR_DTYPE_F64, &w, base_dtype, base, 1);
    if (!(s->mask[i / 8] >> i % 8 & 1)) {
        emr_convert(out_dtype, out, base_dtype, base, 1);
        return;
    }
    emr_convert(EMR_DTYPE_F32, &u, unified_dtype,
                (const uint8_t *)s->m.unified + i * (emr_dtype_bits(unified_dtype) / 8), 1);
    step = s->rescalers[i / (COUNT / s->m.n_rescalers)] * u;
    w = base_dtype == EMR_DTYPE_F64 ? w + (double)step : (double)((float)w + step);
    emr_convert(out_dtype, out, EMR_DTYPE_F64, &w, 1);
}

static const emr_dtype floats[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                   EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};

/* Applies random ranges of one tensor for all dtypes of base and output. */
static void check_ranges(emr_modulator *modulator, uint32_t tensor, const source *s, rng *r)
{
    static uint8_t base[8 * COUNT + 8], out[8 * COUNT + 8];
    emr_error error;
    for (size_t k = 0; k < 36; k++) {
        emr_dtype from = floats[k / 6], to = floats[k % 6];
        size_t from_size = emr_dtype_bits(from) / 8, to_size = emr_dtype_bits(to) / 8;
        uint64_t first = rng_below(r, COUNT + 1), n = rng_below(r, COUNT - first + 1);
        size_t shift = (size_t)rng_below(r, 8);
        for (size_t i = 0; i < n; i++) {
            float value = rng_normal(r);
            emr_convert(from, base + shift + i * from_size, EMR_DTYPE_F32, &value, 1);
        }
        memset(out, 0xee, sizeof out);
        assert_ok(test_apply(modulator, tensor, first, n, from, base + shift, to, out, &error), &error);
        for (size_t i = 0; i < n; i++) {
            uint8_t expected[8];
            expect_weight(s, first + i, from, base + shift + i * from_size, to, expected);
            assert_memory_equal(out + i * to_size, expected, to_size);
        }
        assert_int_equal(out[n * to_size], 0xee);
        if (from == to) { /* in place */
            assert_ok(test_apply(modulator, tensor, first, n, from, base + shift, to, base + shift, &error),
                      &error);
            assert_memory_equal(base + shift, out, n * to_size);
        }
    }
}

static void applying_follows_the_formula(void **state)
{
    static const uint64_t rescalers[] = {1, 2, 3, 8, 25, 150, COUNT};
    static const emr_dtype unified[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
    rng r = {101};
    source *sources[7];
    emr_modulator *modulator = make_modulator();
    (void)state;
    for (size_t t = 0; t < 7; t++) {
        sources[t] = make_source(names[t], unified[t % 3], rescalers[t], t % 4, &r);
        assert_int_equal(emr_modulator_add(modulator, &sources[t]->m, NULL), EMR_OK);
    }
    for (int round = 0; round < 10; round++)
        for (uint32_t t = 0; t < 7; t++)
            check_ranges(modulator, t, sources[t], &r);
    emr_modulator_destroy(&modulator);
    for (size_t t = 0; t < 7; t++)
        free(sources[t]);
}

static void tensors_are_found_by_name_and_number(void **state)
{
    rng r = {103};
    source *a = make_source("a", EMR_DTYPE_F32, 1, 0, &r), *b = make_source("b", EMR_DTYPE_F16, 1, 0, &r);
    emr_modulator *modulator = make_modulator();
    uint32_t tensor;
    (void)state;
    assert_int_equal(emr_modulator_n_tensors(modulator), 0);
    assert_int_equal(emr_modulator_add(modulator, &a->m, NULL), EMR_OK);
    b->m.count = 16;
    assert_int_equal(emr_modulator_add(modulator, &b->m, NULL), EMR_OK);
    assert_int_equal(emr_modulator_n_tensors(modulator), 2);
    assert_string_equal(emr_modulator_tensor_name(modulator, 1), "b");
    assert_null(emr_modulator_tensor_name(modulator, 2));
    assert_int_equal(emr_modulator_tensor_count(modulator, 0), COUNT);
    assert_int_equal(emr_modulator_tensor_count(modulator, 1), 16);
    assert_int_equal(emr_modulator_tensor_count(modulator, 2), 0);
    assert_int_equal(emr_modulator_find_tensor(modulator, "b", &tensor), EMR_OK);
    assert_int_equal(tensor, 1);
    assert_int_equal(emr_modulator_find_tensor(modulator, "c", &tensor), EMR_ENOTFOUND);
    assert_int_equal(emr_modulator_find_tensor(modulator, NULL, &tensor), EMR_EINVAL);
    assert_int_equal(emr_modulator_find_tensor(modulator, "a", NULL), EMR_EINVAL);
    emr_modulator_destroy(&modulator);
    assert_null(modulator);
    emr_modulator_destroy(&modulator);
    emr_modulator_destroy(NULL);
    free(a);
    free(b);
}

static void rescalers_are_read_in_any_range(void **state)
{
    rng r = {105};
    source *s = make_source("a", EMR_DTYPE_F32, 8, 0, &r);
    emr_modulator *modulator = make_modulator();
    float got[9];
    emr_error error;
    (void)state;
    assert_int_equal(emr_modulator_add(modulator, &s->m, NULL), EMR_OK);
    assert_int_equal(emr_modulator_n_rescalers(modulator, 0), 8);
    assert_int_equal(emr_modulator_n_rescalers(modulator, 1), 0);
    for (size_t first = 0; first <= 8; first++) {
        for (size_t n = 0; n <= 8 - first; n++) {
            memset(got, 0xee, sizeof got);
            assert_ok(emr_modulator_read_rescalers(modulator, 0, first, n, got, &error), &error);
            assert_memory_equal(got, s->rescalers + first, n * sizeof *got);
            assert_int_equal(((unsigned char *)&got[n])[0], 0xee);
        }
        assert_int_equal(emr_modulator_read_rescalers(modulator, 0, first, 9 - first, got, &error),
                         EMR_EINVAL);
        assert_true(error.text[0]);
    }
    assert_int_equal(emr_modulator_read_rescalers(modulator, 0, UINT64_MAX, 2, got, NULL), EMR_EINVAL);
    assert_int_equal(emr_modulator_read_rescalers(modulator, 1, 0, 0, got, NULL), EMR_EINVAL);
    assert_int_equal(emr_modulator_read_rescalers(modulator, 0, 0, 1, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_modulator_read_rescalers(NULL, 0, 0, 1, got, NULL), EMR_EINVAL);
    emr_modulator_destroy(&modulator);
    free(s);
}

static void stats_count_the_mask(void **state)
{
    rng r = {107};
    emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
    (void)state;
    for (uint64_t count = 0; count <= COUNT; count += 1 + count / 5) {
        source *s = make_source("a", EMR_DTYPE_F32, 1, 0, &r);
        emr_modulator *modulator = make_modulator();
        uint64_t ones = 0;
        s->m.count = count;
        for (uint64_t i = 0; i < count; i++)
            ones += s->mask[i / 8] >> i % 8 & 1;
        assert_int_equal(emr_modulator_add(modulator, &s->m, NULL), EMR_OK);
        assert_int_equal(emr_modulator_get_stats(modulator, 0, &stats, NULL), EMR_OK);
        assert_true(stats.count == count && stats.ones == ones);
        assert_int_equal(emr_modulator_get_stats(modulator, 1, &stats, NULL), EMR_EINVAL);
        assert_int_equal(emr_modulator_get_stats(modulator, 0, NULL, NULL), EMR_EINVAL);
        emr_modulator_stats small = {.size = sizeof small - 1};
        assert_int_equal(emr_modulator_get_stats(modulator, 0, &small, NULL), EMR_EINVAL);
        emr_modulator_destroy(&modulator);
        free(s);
    }
}

static void check_not_added(emr_modulator *modulator, const emr_modulation *m, emr_status expected)
{
    emr_error error = {.text = ""};
    assert_int_equal(emr_modulator_add(modulator, m, &error), expected);
    assert_true(strlen(error.text) > 0);
    assert_int_equal(emr_modulator_n_tensors(modulator), 1);
}

static void wrong_modulations_are_refused(void **state)
{
    rng r = {109};
    source *s = make_source("a", EMR_DTYPE_F32, 1, 0, &r);
    emr_modulator *modulator = make_modulator();
    (void)state;
    assert_int_equal(emr_modulator_add(modulator, &s->m, NULL), EMR_OK);
    check_not_added(modulator, &s->m, EMR_EEXIST);
    const emr_modulation good = s->m;
    emr_modulation m = good;
    m.name = NULL;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.unified = NULL;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.mask = NULL;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.rescalers = NULL;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.n_rescalers = 0;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.n_rescalers = 7; /* does not divide 600 */
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.n_rescalers = 2 * COUNT;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.unified_dtype = EMR_DTYPE_F64;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.unified_dtype = EMR_DTYPE_NONE;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.size--;
    check_not_added(modulator, &m, EMR_EINVAL);
    check_not_added(modulator, NULL, EMR_EINVAL);
    assert_int_equal(emr_modulator_add(NULL, &good, NULL), EMR_EINVAL);
    assert_int_equal(emr_modulator_create(NULL, NULL, NULL), EMR_EINVAL);
    m = good, m.name = "b";
    assert_int_equal(emr_modulator_add(modulator, &m, NULL), EMR_OK);
    emr_modulator_destroy(&modulator);
    free(s);
}

static void wrong_applications_are_refused(void **state)
{
    rng r = {113};
    source *s = make_source("a", EMR_DTYPE_F32, 1, 0, &r);
    emr_modulator *modulator = make_modulator();
    float w[COUNT] = {0};
    emr_error error;
    (void)state;
    assert_int_equal(emr_modulator_add(modulator, &s->m, NULL), EMR_OK);
    const struct {
        uint32_t tensor;
        uint64_t first, count;
        emr_dtype base, out;
        const void *from;
        void *to;
    } wrong[] = {
        {1, 0, 1, EMR_DTYPE_F32, EMR_DTYPE_F32, w, w},
        {0, 0, COUNT + 1, EMR_DTYPE_F32, EMR_DTYPE_F32, w, w},
        {0, COUNT, 1, EMR_DTYPE_F32, EMR_DTYPE_F32, w, w},
        {0, UINT64_MAX, 2, EMR_DTYPE_F32, EMR_DTYPE_F32, w, w},
        {0, 1, UINT64_MAX, EMR_DTYPE_F32, EMR_DTYPE_F32, w, w},
        {0, 0, 1, EMR_DTYPE_I32, EMR_DTYPE_F32, w, w},
        {0, 0, 1, EMR_DTYPE_F32, EMR_DTYPE_BOOL, w, w},
        {0, 0, 1, EMR_DTYPE_F32, EMR_DTYPE_NONE, w, w},
        {0, 0, 1, EMR_DTYPE_F32, EMR_DTYPE_F32, NULL, w},
        {0, 0, 1, EMR_DTYPE_F32, EMR_DTYPE_F32, w, NULL},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(test_apply(modulator, wrong[i].tensor, wrong[i].first, wrong[i].count, wrong[i].base,
                                    wrong[i].from, wrong[i].out, wrong[i].to, &error),
                         EMR_EINVAL);
    assert_int_equal(test_apply(NULL, 0, 0, 1, EMR_DTYPE_F32, w, EMR_DTYPE_F32, w, &error), EMR_EINVAL);
    assert_int_equal(test_apply(modulator, 0, COUNT, 0, EMR_DTYPE_F32, NULL, EMR_DTYPE_F32, NULL, &error),
                     EMR_OK);
    assert_int_equal(emr_modulator_apply(modulator, NULL, &error), EMR_EINVAL);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(w[i] == 0);
    emr_modulator_destroy(&modulator);
    free(s);
}

/* A host that has weights of its own makes modulators of kinds that need no unified vector, and multiplies by
 * two of them, and by one with a unified vector, in one batch. */

enum { HEIGHT = 24, WIDTH = 40, CELLS = HEIGHT * WIDTH };

typedef struct homemade {
    float base[CELLS], change[CELLS],
        unified[CELLS]; /* change: what each weight should become, less the base's */
    uint8_t codes[CELLS / 2];
    float rescalers[2 * HEIGHT];
    uint8_t columns[WIDTH * 2];
    emr_modulation m;
    emr_modulator *modulator;
} homemade;

static void set_code(uint8_t *codes, size_t i, size_t bits, unsigned code)
{
    for (size_t k = 0; k < bits; k++)
        codes[(i * bits + k) / 8] |= (uint8_t)((code >> k & 1) << (i * bits + k) % 8);
}

static void make_homemade(homemade *h, const float *base, const float *unified, emr_modulator_kind kind,
                          rng *r)
{
    static const float levels[] = {-1.51041761f, -0.452780035f, 0.452780035f, 1.51041761f};
    memset(h, 0, sizeof *h);
    memcpy(h->base, base, sizeof h->base);
    memcpy(h->unified, unified, sizeof h->unified);
    for (size_t i = 0; i < 2 * HEIGHT; i++)
        h->rescalers[i] = 0.5f + fabsf(rng_normal(r));
    for (size_t c = 0; c < WIDTH; c++) {
        float one = 0.25f * (float)(1 + c % 7);
        emr_convert(EMR_DTYPE_BF16, h->columns + c * 2, EMR_DTYPE_F32, &one, 1);
    }
    for (size_t i = 0; i < CELLS; i++) {
        unsigned code = (unsigned)rng_below(r, kind == EMR_MODULATOR_KIND_LEVELS ? 4 : 2);
        const float *scale = h->rescalers + i / WIDTH * (kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1);
        volatile float size = scale[0];
        set_code(h->codes, i, kind == EMR_MODULATOR_KIND_LEVELS ? 2 : 1, code);
        if (kind == EMR_MODULATOR_KIND_SIGN)
            size = size * 0.25f * (float)(1 + i % WIDTH % 7);
        h->change[i] = kind == EMR_MODULATOR_KIND_LEVELS      ? size * levels[code]
                       : kind == EMR_MODULATOR_KIND_TWO_SIDED ? (code ? scale[0] : -scale[1]) * unified[i]
                       : code                                 ? size
                                                              : -size;
    }
    h->m = EMR_INIT(emr_modulation);
    h->m.name = "w";
    h->m.kind = kind;
    h->m.mask = h->codes;
    h->m.rescalers = h->rescalers;
    h->m.columns = kind == EMR_MODULATOR_KIND_SIGN ? h->columns : NULL;
    h->m.count = CELLS;
    h->m.n_rescalers = HEIGHT;
    if (kind == EMR_MODULATOR_KIND_TWO_SIDED) {
        h->m.unified = unified;
        h->m.unified_dtype = EMR_DTYPE_F32;
    }
    h->modulator = make_modulator();
    assert_int_equal(emr_modulator_add(h->modulator, &h->m, NULL), EMR_OK);
}

/* Of thinned modulators, which are drawn, a stranger knows how many change by how much. */
static void check_thinned(const homemade *h, const float *w)
{
    for (size_t group = 0; group < CELLS; group += h->m.thinning) {
        size_t kept = 0;
        for (size_t i = group; i < group + h->m.thinning; i++) {
            volatile float more = h->base[i] + h->rescalers[i / WIDTH],
                           less = h->base[i] - h->rescalers[i / WIDTH];
            kept += w[i] != h->base[i];
            assert_true(w[i] == h->base[i] || w[i] == more || w[i] == less);
        }
        assert_int_equal(kept, 1);
    }
}

static void check_homemade(const homemade *h, float w[CELLS])
{
    assert_int_equal(test_apply(h->modulator, 0, 0, CELLS, EMR_DTYPE_F32, h->base, EMR_DTYPE_F32, w, NULL),
                     EMR_OK);
    if (h->m.kind == EMR_MODULATOR_KIND_THIN) {
        check_thinned(h, w);
        return;
    }
    for (size_t i = 0; i < CELLS; i++) {
        volatile float sum = h->base[i] + h->change[i];
        assert_true(w[i] == sum);
    }
    assert_int_equal(emr_modulator_n_rescalers(h->modulator, 0),
                     h->m.kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 * HEIGHT : HEIGHT);
}

static void hosts_make_modulators_of_every_kind(void **state)
{
    static const emr_modulator_kind kinds[] = {EMR_MODULATOR_KIND_SIGN, EMR_MODULATOR_KIND_THIN,
                                               EMR_MODULATOR_KIND_LEVELS, EMR_MODULATOR_KIND_TWO_SIDED};
    static homemade made[4];
    static float base[CELLS], unified[CELLS], w[4][CELLS], x[4 * WIDTH], y[4 * HEIGHT];
    emr_modulator *batch[4];
    emr_product p = EMR_INIT(emr_product);
    rng r = {131};
    (void)state;
    for (size_t i = 0; i < CELLS; i++) {
        base[i] = rng_normal(&r);
        unified[i] = rng_normal(&r);
    }
    for (size_t i = 0; i < 4 * WIDTH; i++)
        x[i] = rng_normal(&r);
    for (size_t k = 0; k < 4; k++) {
        make_homemade(&made[k], base, unified, kinds[k], &r);
        if (kinds[k] == EMR_MODULATOR_KIND_THIN) { /* the default is one of four */
            emr_modulator_destroy(&made[k].modulator);
            made[k].modulator = make_modulator();
            made[k].m.thinning = 8;
            made[k].m.seed = 5;
            assert_int_equal(emr_modulator_add(made[k].modulator, &made[k].m, NULL), EMR_OK);
        }
        check_homemade(&made[k], w[k]);
        batch[k] = made[k].modulator;
    }
    p.n_rows = HEIGHT;
    p.x = x;
    p.y = y;
    p.batch = 4;
    p.n_columns = WIDTH;
    assert_int_equal(emr_modulator_multiply(batch, &p, EMR_DTYPE_F32, base, NULL), EMR_OK);
    for (size_t b = 0; b < 4; b++)
        for (size_t row = 0; row < HEIGHT; row++) {
            double sum = 0;
            for (size_t c = 0; c < WIDTH; c++)
                sum += (double)w[b][row * WIDTH + c] * (double)x[b * WIDTH + c];
            assert_true(fabs(sum - (double)y[b * HEIGHT + row]) < 1e-3);
        }
    for (size_t k = 0; k < 4; k++)
        emr_modulator_destroy(&made[k].modulator);
}

static void kinds_that_cannot_be_are_refused(void **state)
{
    rng r = {137};
    source *s = make_source("a", EMR_DTYPE_F32, 1, 0, &r);
    emr_modulator *modulator = make_modulator();
    (void)state;
    assert_int_equal(emr_modulator_add(modulator, &s->m, NULL), EMR_OK);
    const emr_modulation good = s->m;
    emr_modulation m = good;
    m.name = "b", m.kind = EMR_MODULATOR_KIND_LEVELS + 1;
    check_not_added(modulator, &m, EMR_EINVAL);
    m.kind = EMR_MODULATOR_KIND_THIN, m.thinning = 12;
    check_not_added(modulator, &m, EMR_EINVAL);
    m.thinning = 64;
    check_not_added(modulator, &m, EMR_EINVAL);
    m.kind = EMR_MODULATOR_KIND_LEVELS, m.n_levels = 5;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.columns = s->mask;
    check_not_added(modulator, &m, EMR_EINVAL);
    m = good, m.name = "b", m.kind = EMR_MODULATOR_KIND_TWO_SIDED, m.unified = NULL;
    check_not_added(modulator, &m, EMR_EINVAL);
    m.kind = EMR_MODULATOR_KIND_SIGN, m.unified_dtype = EMR_DTYPE_NONE;
    assert_int_equal(emr_modulator_add(modulator, &m, NULL), EMR_OK);
    emr_modulator_destroy(&modulator);
    free(s);
}

/* Applying allocates nothing, and every failed request while building is EMR_ENOMEM without a leak. */
static void memory_is_taken_while_building_only(void **state)
{
    rng r = {127};
    source *s = make_source("a", EMR_DTYPE_F32, 3, 0, &r);
    float w[COUNT] = {0};
    bool failed = true;
    (void)state;
    for (size_t k = 0; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_modulator *modulator;
        emr_status status = emr_modulator_create(&modulator, &allocator, NULL);
        if (!status)
            status = emr_modulator_add(modulator, &s->m, NULL);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        counts.fail_at = counts.requests;
        if (!failed)
            assert_int_equal(test_apply(modulator, 0, 0, COUNT, EMR_DTYPE_F32, w, EMR_DTYPE_F32, w, NULL),
                             EMR_OK);
        emr_modulator_destroy(&modulator);
        assert_int_equal(counts.alive, 0);
    }
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applying_follows_the_formula),
        cmocka_unit_test(tensors_are_found_by_name_and_number),
        cmocka_unit_test(rescalers_are_read_in_any_range),
        cmocka_unit_test(stats_count_the_mask),
        cmocka_unit_test(wrong_modulations_are_refused),
        cmocka_unit_test(wrong_applications_are_refused),
        cmocka_unit_test(hosts_make_modulators_of_every_kind),
        cmocka_unit_test(kinds_that_cannot_be_are_refused),
        cmocka_unit_test(memory_is_taken_while_building_only),
    };
    return cmocka_run_group_tests_name("modulator", tests, NULL, NULL);
}
