/* test_multiply_kinds.c - products with the weights of modulators of every kind, mixed in a batch, over
 * windows of any length or over memory of the host's, with rows that are the tensor's or parts of those: what
 * emr/product.h says, to the last bit, for every variant of the kernels. Formulas and order of sums are written
 * out once more here. */
#include "support.h"

#include "modulator/modulator.h"
#include "numeric/convert.h"

#include <math.h>

enum { LANES = 32, CHUNK = 16384, UNIT = 512, BATCH = 21, PLACE = 700, MOST_ROWS = 40 };

/* A tensor that begins within flat space, and what all tasks share of it. */
typedef struct matrix {
    size_t n_rows, n_columns, count;
    uint64_t flat; /* its first parameter */
    bool
        homemade; /* modulators are made by the host: flat is 0, and the rows of a task have one scale each */
    emr_dtype base_dtype;
    uint8_t *base;
    float *wide; /* the same in f32 */
    float *unified;
} matrix;

/* A task of one kind. Windows end after `longest` parameters. */
typedef struct coded_task {
    const matrix *of;
    emr_tensor_code code;
    uint32_t thinning; /* log2 */
    uint64_t longest;
    uint8_t *codes;   /* of parameter flat / UNIT * UNIT and on; of differences, of PLACE / UNIT * UNIT */
    uint8_t *columns; /* or NULL */
    float *scales;    /* by row, and by chunk in flat space */
    size_t n_slots;
    float *weights; /* as emr_modulator_apply gives them in F32 */
    emr_modulator *modulator;
} coded_task;

static bool is_differences(const coded_task *t)
{
    return t->code.kind == &emr_kind_differences;
}

static size_t scale_slot(const coded_task *t, uint64_t i)
{
    size_t row = (size_t)(i / t->of->n_columns);
    return t->of->homemade || t->code.kind->has_unified
               ? row * t->code.kind->n_scales
               : row + (size_t)((t->of->flat + i) / CHUNK - t->of->flat / CHUNK);
}

/* The code of parameter i, of up to 4 bits. */
static uint32_t code_of(const coded_task *t, uint64_t i)
{
    uint32_t bits = t->code.coding.rate / 64, code = 0;
    for (uint32_t k = 0; k < bits; k++) {
        uint64_t bit = (t->of->flat % UNIT + i) * bits + k;
        code |= (uint32_t)(t->codes[bit / 8] >> bit % 8 & 1) << k;
    }
    return code;
}

/* Thinned: 1 or -1 where the parameter is kept, else 0. */
static float thin_step(const coded_task *t, uint64_t i)
{
    uint32_t k = t->thinning, q = 1u << k;
    uint64_t flat = t->of->flat + i, group = flat / 64, run = flat % 64 / q;
    uint32_t x = t->code.coding.seed ^ (uint32_t)group * 0x9E3779B1u ^ (uint32_t)(group >> 32) * 0x85EBCA77u;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    if ((x >> (run * k) & (q - 1)) != flat % q)
        return 0;
    uint64_t bit = (group - t->of->flat / UNIT * (UNIT / 64)) * (64 / q) + run;
    return t->codes[bit / 8] >> bit % 8 & 1 ? 1 : -1;
}

static float difference_of(const coded_task *t, uint64_t i)
{
    float d;
    size_t size = t->code.coding.rate / 64 / 8;
    emr_convert(EMR_DTYPE_F32, &d, size == 2 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32,
                t->codes + (PLACE % UNIT + i) * size, 1);
    return d;
}

static float column_of(const coded_task *t, uint64_t i)
{
    return t->columns ? emr_bf16_to_f32(emr_load16(t->columns + i % t->of->n_columns * 2)) : 1;
}

/* v[c] of a kind without unified values, but for scales of columns. */
static float step_of(const coded_task *t, uint64_t i)
{
    if (is_differences(t))
        return difference_of(t, i);
    if (t->code.kind->number == EMR_MODULATOR_KIND_THIN)
        return thin_step(t, i);
    uint32_t code = code_of(t, i);
    return t->code.kind->number == EMR_MODULATOR_KIND_LEVELS ? t->code.coding.levels[code] : code ? 1 : -1;
}

/* What is added to the base's weight. */
static float change_of(const coded_task *t, uint64_t i)
{
    const float *scales = t->scales + (is_differences(t) ? 0 : scale_slot(t, i));
    uint32_t code = is_differences(t) || t->code.kind->number == EMR_MODULATOR_KIND_THIN ? 0 : code_of(t, i);
    volatile float r = is_differences(t) ? 1 : scales[0];
    if (t->code.kind->number == EMR_MODULATOR_KIND_MASK)
        return code ? r * t->of->unified[i] : 0;
    if (t->code.kind->number == EMR_MODULATOR_KIND_TWO_SIDED)
        return (code ? scales[0] : -scales[1]) * t->of->unified[i];
    r = r * column_of(t, i);
    return r * step_of(t, i);
}

/* The task as a modulator's source. */

static uint32_t one_tensor(const void *user)
{
    (void)user;
    return 1;
}

static const char *tensor_name(const void *user, uint32_t tensor)
{
    (void)user;
    (void)tensor;
    return "w";
}

static uint64_t tensor_count(const void *user, uint32_t tensor)
{
    (void)tensor;
    return ((const coded_task *)user)->of->count;
}

static emr_tensor_code tensor_code(const void *user, uint32_t tensor)
{
    (void)tensor;
    return ((const coded_task *)user)->code;
}

static uint64_t tensor_groups(const void *user, uint32_t tensor)
{
    (void)tensor;
    return ((const coded_task *)user)->of->n_rows;
}

static void window_coded(const coded_task *t, uint64_t first, emr_code_window *w)
{
    uint64_t column = first % t->of->n_columns, flat = t->of->flat + first;
    w->n = (size_t)emr_min(w->n, t->of->n_columns - column);
    if (!t->code.kind->has_unified)
        w->n = (size_t)emr_min(w->n, CHUNK - flat % CHUNK);
    w->codes = t->codes + (flat / UNIT - t->of->flat / UNIT) * t->code.coding.rate;
    w->first_code = flat % UNIT;
    w->group = flat / UNIT * (UNIT / 64);
    w->columns = t->columns ? t->columns + column * 2 : NULL;
    memcpy(w->scales, t->scales + scale_slot(t, first), t->code.kind->n_scales * sizeof(float));
}

static emr_status tensor_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                                emr_window_parts parts, emr_code_window *w, emr_error *error)
{
    const coded_task *t = user;
    (void)tensor;
    (void)parts;
    (void)error;
    *w = (emr_code_window){.n = (size_t)emr_min(want, t->longest), .unified_dtype = EMR_DTYPE_F32};
    if (is_differences(t)) {
        uint64_t place = PLACE + first;
        w->codes = t->codes + (place / UNIT - PLACE / UNIT) * t->code.coding.rate;
        w->first_code = place % UNIT;
        w->scales[0] = 1;
        return EMR_OK;
    }
    if (t->code.kind->has_unified)
        w->unified = t->of->unified + first;
    window_coded(t, first, w);
    return EMR_OK;
}

static bool share_unified(const void *user, const void *other, uint32_t tensor)
{
    (void)tensor;
    return ((const coded_task *)user)->of == ((const coded_task *)other)->of;
}

static void no_destroy(void *user, const emr_allocator *allocator)
{
    (void)user;
    (void)allocator;
}

static const emr_modulator_source coded_source = {
    .n_tensors = one_tensor,
    .tensor_name = tensor_name,
    .tensor_count = tensor_count,
    .code = tensor_code,
    .n_groups = tensor_groups,
    .window = tensor_window,
    .share_unified = share_unified,
    .destroy = no_destroy,
};

/* One of each kind, in every coding. */
static const struct {
    uint32_t kind, thinning, n_levels, bits; /* of differences */
    bool columns;
} all_kinds[] = {
    {EMR_MODULATOR_KIND_MASK, 0, 0, 0, false},
    {EMR_MODULATOR_KIND_MASK, 0, 0, 0, false},
    {EMR_MODULATOR_KIND_TWO_SIDED, 0, 0, 0, false},
    {EMR_MODULATOR_KIND_TWO_SIDED, 0, 0, 0, false},
    {EMR_MODULATOR_KIND_SIGN, 0, 0, 0, false},
    {EMR_MODULATOR_KIND_SIGN, 0, 0, 0, true},
    {EMR_MODULATOR_KIND_THIN, 1, 0, 0, false},
    {EMR_MODULATOR_KIND_THIN, 2, 0, 0, false},
    {EMR_MODULATOR_KIND_THIN, 3, 0, 0, false},
    {EMR_MODULATOR_KIND_THIN, 4, 0, 0, false},
    {EMR_MODULATOR_KIND_THIN, 5, 0, 0, false},
    {EMR_MODULATOR_KIND_LEVELS, 0, 4, 0, false},
    {EMR_MODULATOR_KIND_LEVELS, 0, 8, 0, false},
    {EMR_MODULATOR_KIND_LEVELS, 0, 16, 0, false},
    {0, 0, 0, 16, false},
    {0, 0, 0, 32, false},
};
enum { TASKS = sizeof all_kinds / sizeof all_kinds[0] };

static void fill_columns(coded_task *t, rng *r)
{
    t->columns = malloc(t->of->n_columns * 2);
    for (size_t c = 0; c < t->of->n_columns; c++)
        emr_store16(t->columns + c * 2, emr_f32_to_bf16(rng_below(r, 9) ? fabsf(rng_normal(r)) : 0));
}

static void fill_codes(coded_task *t, rng *r)
{
    size_t n = (UNIT + t->of->count) / UNIT + 1, bytes = n * t->code.coding.rate;
    t->codes = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        t->codes[i] = (uint8_t)rng_next(r);
    for (size_t i = 0; is_differences(t) && i < n * UNIT; i++) {
        float d = rng_below(r, 5) ? rng_normal(r) : 0;
        emr_convert(t->code.coding.rate == 64 * 16 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32,
                    t->codes + i * t->code.coding.rate / 512, EMR_DTYPE_F32, &d, 1);
    }
}

/* A modulator over the task's memory: as a host makes it, if it can. */
static void make_task_modulator(coded_task *t, const emr_kernels *variant, uint32_t n_levels)
{
    emr_modulator members = {.kernels = variant, .source = &coded_source, .user = t};
    assert_int_equal(emr_allocator_take(&members.allocator, NULL, NULL), EMR_OK);
    if (!t->of->homemade || is_differences(t)) {
        assert_int_equal(emr_modulator_open(&t->modulator, &members, NULL), EMR_OK);
        return;
    }
    const emr_modulation w = {.size = sizeof w,
                              .name = "w",
                              .unified = t->code.kind->has_unified ? t->of->unified : NULL,
                              .unified_dtype = EMR_DTYPE_F32,
                              .mask = t->codes,
                              .rescalers = t->scales,
                              .columns = t->columns,
                              .count = t->of->count,
                              .n_rescalers = t->of->n_rows,
                              .kind = t->code.kind->number,
                              .thinning = t->thinning ? 1u << t->thinning : 0,
                              .n_levels = n_levels,
                              .seed = t->code.coding.seed};
    assert_int_equal(emr_modulator_create(&t->modulator, NULL, NULL), EMR_OK);
    assert_int_equal(emr_modulator_add(t->modulator, &w, NULL), EMR_OK);
    t->modulator->kernels = variant;
}

static void fill_task(coded_task *t, size_t which, const matrix *m, const emr_kernels *variant, rng *r)
{
    const emr_kind *kind = emr_kind_find(all_kinds[which].kind);
    *t = (coded_task){.of = m, .thinning = all_kinds[which].thinning};
    t->code.kind = kind ? kind : &emr_kind_differences;
    t->code.coding =
        kind ? emr_kind_coding(kind, 1u << t->thinning, all_kinds[which].n_levels, (uint32_t)rng_next(r))
             : (emr_coding){.rate = 64 * all_kinds[which].bits};
    assert_true(t->code.coding.rate > 0);
    fill_codes(t, r);
    if (all_kinds[which].columns)
        fill_columns(t, r);
    size_t n = m->n_rows * EMR_SCALES_MAX + m->count / CHUNK + 2;
    t->scales = malloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        t->scales[i] = rng_below(r, 8) ? emr_bf16_to_f32(emr_f32_to_bf16(0.25f + fabsf(rng_normal(r)))) : 0;
    t->longest = UINT64_MAX;
    make_task_modulator(t, variant, all_kinds[which].n_levels);
    t->weights = malloc(m->count * sizeof(float));
    assert_int_equal(
        test_apply(t->modulator, 0, 0, m->count, m->base_dtype, m->base, EMR_DTYPE_F32, t->weights, NULL),
        EMR_OK);
}

static void free_task(coded_task *t)
{
    emr_modulator_destroy(&t->modulator);
    free(t->codes);
    free(t->columns);
    free(t->scales);
    free(t->weights);
}

static matrix make_matrix(size_t n_rows, size_t n_columns, uint64_t flat, emr_dtype base_dtype, rng *r)
{
    matrix m = {.n_rows = n_rows, .n_columns = n_columns, .count = n_rows * n_columns, .flat = flat};
    m.base_dtype = base_dtype;
    m.base = malloc(m.count * 8);
    m.wide = malloc(m.count * sizeof(float));
    m.unified = malloc(m.count * sizeof(float));
    for (size_t i = 0; i < m.count; i++) {
        m.wide[i] = rng_normal(r);
        m.unified[i] = rng_below(r, 7) ? rng_normal(r) : 0;
    }
    emr_convert(base_dtype, m.base, EMR_DTYPE_F32, m.wide, m.count);
    emr_convert(EMR_DTYPE_F32, m.wide, base_dtype, m.base, m.count);
    return m;
}

static void free_matrix(matrix *m)
{
    free(m->base);
    free(m->wide);
    free(m->unified);
}

static void add_product(volatile float *lane, float a, float b)
{
    volatile float term = a * b;
    *lane = *lane + term;
}

static void end_stretch(volatile float t[LANES], volatile float s[LANES], float scale)
{
    for (size_t j = 0; j < LANES; j++) {
        if (scale != 0)
            add_product(&t[j], scale, s[j]);
        s[j] = 0;
    }
}

/* A row of n columns, the tensor's or a part of one, times a vector, in the order of sums. */
static float product_of(const coded_task *task, uint64_t row, size_t n, const float *x)
{
    const matrix *m = task->of;
    volatile float a[LANES] = {0}, s[LANES] = {0}, t[LANES] = {0};
    uint64_t first = row * n;
    bool elected = task->code.kind->has_unified;
    for (size_t c = 0; c < n; c++)
        add_product(&a[c % LANES], elected ? task->weights[first + c] : m->wide[first + c], x[c]);
    float scale = 1;
    for (size_t c = 0; !elected && c < n; c++) {
        if (!is_differences(task)) {
            if (c && (m->flat + first + c) % CHUNK == 0)
                end_stretch(t, s, scale);
            scale = task->scales[scale_slot(task, first + c)];
        }
        volatile float of_column = column_of(task, first + c) * x[c];
        add_product(&s[c % LANES], step_of(task, first + c), of_column);
    }
    end_stretch(t, s, scale);
    for (size_t j = 0; j < LANES; j++)
        a[j] = a[j] + (elected ? 0 : t[j]);
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            a[j] = a[j] + a[j + half];
    return a[0];
}

/* It is near the product with the weights, which are rounded. */
static void expect_near(const coded_task *task, uint64_t row, size_t n, const float *x, float y)
{
    const float *w = task->weights + row * n, *base = task->of->wide + row * n;
    double exact = 0, sum = 0;
    for (size_t c = 0; c < n; c++) {
        exact += (double)w[c] * (double)x[c];
        sum += fabs((double)w[c] * (double)x[c]) + fabs((double)base[c] * (double)x[c]);
    }
    assert_true(fabs((double)y - exact) <= 1e-4 * sum + 1e-30);
}

static void check_weights(const coded_task *t)
{
    for (size_t i = 0; i < t->of->count; i++) {
        volatile float w = t->of->wide[i] + change_of(t, i);
        if (t->weights[i] != w)
            fail_msg("%s: %zu", t->code.kind->name, i);
    }
}

/* Without the base a batch gives what it gives with one of zeros, to the bit; and the same again where it is added. */
static void check_change(emr_modulator *const *batch, emr_product p)
{
    float *zeros = calloc(p.n_rows * p.n_columns, sizeof *zeros), *y = malloc(p.batch * p.n_rows * sizeof *y);
    p.y_stride = p.n_rows;
    assert_int_equal(emr_modulator_multiply(batch, &p, EMR_DTYPE_F32, zeros, NULL), EMR_OK);
    memcpy(y, p.y, p.batch * p.n_rows * sizeof *y);
    memset(p.y, 0xa5, p.batch * p.n_rows * sizeof *y);
    p.without_base = 1;
    assert_int_equal(emr_modulator_multiply(batch, &p, 99, NULL, NULL), EMR_OK);
    assert_memory_equal(y, p.y, p.batch * p.n_rows * sizeof *y);
    for (size_t i = 0; i < p.batch * p.n_rows; i++)
        p.y[i] = 0.3f * (float)(i % 7);
    p.add = 1;
    assert_int_equal(emr_modulator_multiply(batch, &p, 99, NULL, NULL), EMR_OK);
    for (size_t i = 0; i < p.batch * p.n_rows; i++) {
        volatile float before = 0.3f * (float)(i % 7);
        assert_true(p.y[i] == before + y[i]);
    }
    free(zeros);
    free(y);
}

/* The weights likewise, of some of the parameters, in a dtype. */
static void check_changed_weights(const coded_task *t, emr_dtype dtype, rng *r)
{
    const matrix *m = t->of;
    uint64_t first = rng_below(r, m->count), n = 1 + rng_below(r, m->count - first);
    float *zeros = calloc(n, sizeof *zeros);
    uint8_t *want = malloc(n * 8), *got = malloc(n * 8);
    emr_application a = EMR_INIT(emr_application);
    assert_int_equal(test_apply(t->modulator, 0, first, n, EMR_DTYPE_F32, zeros, dtype, want, NULL), EMR_OK);
    a.first = first;
    a.count = n;
    a.out = got;
    a.out_dtype = dtype;
    a.without_base = 1;
    assert_int_equal(emr_modulator_apply(t->modulator, &a, NULL), EMR_OK);
    assert_memory_equal(got, want, n * emr_float_size(dtype));
    free(zeros);
    free(want);
    free(got);
}

/* Some rows, of n columns each. */
static void check_batch(coded_task tasks[TASKS], const matrix *m, size_t n, rng *r)
{
    float *x = malloc(BATCH * n * sizeof *x), *y = malloc(BATCH * MOST_ROWS * sizeof *y);
    emr_modulator *batch[BATCH];
    size_t of[BATCH], some = (size_t)rng_below(r, TASKS), n_some = rng_below(r, 3) ? TASKS : 3;
    emr_product p = EMR_INIT(emr_product);
    for (size_t i = 0; i < BATCH * n; i++)
        x[i] = rng_below(r, 20) ? rng_normal(r) : 0;
    for (size_t b = 0; b < BATCH; b++) {
        of[b] = rng_below(r, 3) && b ? of[b - 1] : (some + (size_t)rng_below(r, n_some)) % TASKS;
        batch[b] = tasks[of[b]].modulator;
    }
    p.x = x;
    p.y = y;
    p.n_columns = n;
    p.first_row = rng_below(r, m->count / n);
    p.n_rows = 1 + rng_below(r, emr_min(m->count / n - p.first_row, MOST_ROWS));
    p.batch = 1 + (size_t)rng_below(r, BATCH);
    const uint8_t *base = m->base + p.first_row * n * emr_float_size(m->base_dtype);
    assert_int_equal(emr_modulator_multiply(batch, &p, m->base_dtype, base, NULL), EMR_OK);
    for (size_t b = 0; b < p.batch; b++)
        for (size_t row = 0; row < p.n_rows; row++) {
            float want = product_of(&tasks[of[b]], p.first_row + row, n, x + b * n);
            if (want != y[b * p.n_rows + row])
                fail_msg("%s: vector %zu, row %zu: %a, not %a", tasks[of[b]].code.kind->name, b, row,
                         (double)y[b * p.n_rows + row], (double)want);
            expect_near(&tasks[of[b]], p.first_row + row, n, x + b * n, want);
        }
    check_change(batch, p);
    free(x);
    free(y);
}

/* A divisor of the matrix's columns: all of them, or any. */
static size_t any_part(const matrix *m, rng *r)
{
    size_t n = rng_below(r, 2) ? m->n_columns : 1 + (size_t)rng_below(r, m->n_columns);
    while (m->n_columns % n)
        n++;
    return n;
}

static void products_of_mixed_batches_follow_the_definition(void **state)
{
    static const struct {
        size_t n_rows, n_columns;
        uint64_t flat;
        emr_dtype base;
    } shapes[] = {
        {10, 24 * 96, 0, EMR_DTYPE_F32}, /* modulators that the host makes */
        {2, 18000, 0, EMR_DTYPE_F16},
        {3, 24 * 96, CHUNK - 448, EMR_DTYPE_BF16}, /* fused experts; a stretch ends within a part */
        {2, 3 * 9600, 2 * CHUNK - 320, EMR_DTYPE_F32},
        {9, 70, CHUNK - 192, EMR_DTYPE_F32},
        {7, 8, 64, EMR_DTYPE_F16},
        {9, 1100, 5 * CHUNK - 1280, EMR_DTYPE_BF16},
        {5, 512, 448, EMR_DTYPE_F64},
        {3, 1023, (uint64_t)3 << 40, EMR_DTYPE_F32},
        {2, 40000, 3 * CHUNK - 640, EMR_DTYPE_BF16},
        {8, 3, 128, EMR_DTYPE_F8_E4M3},
    };
    static const uint64_t longest[] = {UINT64_MAX, 4096, 100, 37, 5, 1};
    rng r = {41};
    (void)state;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            coded_task tasks[TASKS];
            matrix m = make_matrix(shapes[i].n_rows, shapes[i].n_columns, shapes[i].flat, shapes[i].base, &r);
            m.homemade = m.flat == 0;
            for (size_t t = 0; t < TASKS; t++) {
                fill_task(&tasks[t], t, &m, *k, &r);
                if (m.base_dtype != EMR_DTYPE_F64)
                    check_weights(&tasks[t]);
                for (emr_dtype d = EMR_DTYPE_F32; d <= EMR_DTYPE_F8_E5M2; d++)
                    if (emr_dtype_is_float(d))
                        check_changed_weights(&tasks[t], d, &r);
            }
            for (size_t round = 0; round < (m.count > 20000 ? 6 : 60); round++) {
                for (size_t t = 0; t < TASKS; t++)
                    tasks[t].longest = longest[rng_below(&r, m.count > 20000 ? 3 : 6)];
                check_batch(tasks, &m, any_part(&m, &r), &r);
            }
            for (size_t t = 0; t < TASKS; t++)
                free_task(&tasks[t]);
            free_matrix(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_mixed_batches_follow_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
