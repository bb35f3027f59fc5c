/* test_kinds.c - kinds of modulators that the library does not have, made of nothing but a table entry and
 * kernels: two scales, one for each side of the unified vector; and levels, codes of 1 to 4 bits without a
 * unified vector. Everything above the kernels takes them as they are. */
#include "support.h"

#include "bundle/bundle.h"
#include "modulator/modulator.h"
#include "numeric/convert.h"

enum { LANES = 32, BATCH = 11 };

static uint32_t code_at(const uint8_t *codes, size_t i, uint32_t bits)
{
    uint32_t code = 0;
    for (size_t k = 0; k < bits; k++)
        code |= (uint32_t)(codes[(i * bits + k) / 8] >> (i * bits + k) % 8 & 1) << k;
    return code;
}

/* The kinds' formulas. */

static float two_sided_weight(float base, float unified, uint32_t code, uint32_t bits, const float *scales)
{
    float step = (code ? scales[0] : -scales[1]) * unified;
    (void)bits;
    return base + step;
}

static float levels_weight(float base, float unified, uint32_t code, uint32_t bits, const float *scales)
{
    float step = scales[0] * ((float)code - (float)((1u << bits) - 1) / 2);
    (void)unified;
    return base + step;
}

typedef float (*weight_fn)(float base, float unified, uint32_t code, uint32_t bits, const float *scales);

/* Their kernels. */

static float load_one(emr_dtype dtype, const void *values, size_t i)
{
    float value;
    emr_load_f32(&value, dtype, (const uint8_t *)values + i * emr_float_size(dtype), 1);
    return value;
}

static void apply_by(const emr_run *r, weight_fn weight)
{
    for (size_t i = 0; i < r->n; i++) {
        float w = weight(load_one(r->base_dtype, r->base, i),
                         r->unified ? load_one(r->unified_dtype, r->unified, i) : 0,
                         code_at(r->codes, r->first_code + i, r->bits), r->bits, r->scales);
        emr_store_f32(r->out_dtype, (uint8_t *)r->out + i * emr_float_size(r->out_dtype), &w, 1);
    }
}

static void dot_by(const emr_dot *d, size_t n_scales, weight_fn weight)
{
    for (size_t c = 0; c < d->n; c++)
        for (size_t b = 0; b < d->n_vectors; b++) {
            size_t v = d->shared ? 0 : b, bit = c * d->bits;
            uint32_t code = 0;
            for (size_t k = 0; k < d->bits; k++, bit++)
                code |= (uint32_t)(d->codes[v * EMR_DOT_WORDS * d->bits + bit / 32] >> bit % 32 & 1) << k;
            float w = weight(load_one(d->base_dtype, d->base, c),
                             d->unified ? load_one(d->unified_dtype, d->unified, c) : 0, code, d->bits,
                             d->scales + v * n_scales);
            float term = w * d->x[b * d->stride + c];
            d->lanes[b][c % LANES] = d->lanes[b][c % LANES] + term;
        }
}

static void apply_two_sided(const emr_run *run)
{
    apply_by(run, two_sided_weight);
}

static void dot_two_sided(const emr_dot *dot)
{
    dot_by(dot, 2, two_sided_weight);
}

static void apply_levels(const emr_run *run)
{
    apply_by(run, levels_weight);
}

static void dot_levels(const emr_dot *dot)
{
    dot_by(dot, 1, levels_weight);
}

static const emr_code_kernels *two_sided_kernels(const emr_kernels *variant)
{
    static const emr_code_kernels plain = {.apply = apply_two_sided, .dot = dot_two_sided}, none = {0};
    return variant == &emr_kernels_c ? &plain : &none;
}

static const emr_code_kernels *levels_kernels(const emr_kernels *variant)
{
    static const emr_code_kernels plain = {.apply = apply_levels, .dot = dot_levels}, none = {0};
    return variant == &emr_kernels_c ? &plain : &none;
}

static const emr_kind kinds[] = {
    {.number = 200,
     .name = "two sides",
     .bits = 1,
     .n_scales = 2,
     .has_unified = true,
     .kernels = two_sided_kernels},
    {.number = 201, .name = "2 levels", .bits = 1, .n_scales = 1, .kernels = levels_kernels},
    {.number = 202, .name = "4 levels", .bits = 2, .n_scales = 1, .kernels = levels_kernels},
    {.number = 203, .name = "8 levels", .bits = 3, .n_scales = 1, .kernels = levels_kernels},
    {.number = 204, .name = "16 levels", .bits = 4, .n_scales = 1, .kernels = levels_kernels},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static weight_fn weight_of(const emr_kind *kind)
{
    return kind->has_unified ? two_sided_weight : levels_weight;
}

/* A row times a vector, in the order that product.h says. */
static float in_order(const float *w, const float *x, size_t n)
{
    volatile float lanes[LANES] = {0};
    for (size_t c = 0; c < n; c++) {
        volatile float term = w[c] * x[c];
        lanes[c % LANES] = lanes[c % LANES] + term;
    }
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

static void expect_product(const float *weights, const float *x, const float *y, size_t n_rows,
                           size_t n_columns)
{
    for (size_t row = 0; row < n_rows; row++) {
        float want = in_order(weights + row * n_columns, x, n_columns);
        assert_memory_equal(&want, &y[row], sizeof want);
    }
}

/* Modulators over windows of any length. */

enum { ROWS = 7, COLUMNS = 70, COUNT = ROWS * COLUMNS, FIRST = 24, TASKS = 3 };

/* A tensor of one task, which begins within the codes. Windows end after `longest` parameters. */
typedef struct coded_tensor {
    const emr_kind *kind;
    const float *base, *unified;
    uint8_t codes[(FIRST + COUNT + 8) / 8 * EMR_CODE_BITS_MAX];
    float scales[ROWS * EMR_SCALES_MAX], weights[COUNT];
    uint64_t n_groups, longest;
} coded_tensor;

static uint32_t one_tensor(const void *user)
{
    (void)user;
    return 1;
}

static const char *coded_name(const void *user, uint32_t tensor)
{
    (void)user;
    (void)tensor;
    return "coded";
}

static uint64_t coded_count(const void *user, uint32_t tensor)
{
    (void)user;
    (void)tensor;
    return COUNT;
}

static uint64_t coded_groups(const void *user, uint32_t tensor)
{
    (void)tensor;
    return ((const coded_tensor *)user)->n_groups;
}

static emr_status coded_scales(void *user, uint32_t tensor, uint64_t first, size_t n, float *scales,
                               emr_error *error)
{
    (void)tensor;
    (void)error;
    memcpy(scales, ((const coded_tensor *)user)->scales + first, n * sizeof *scales);
    return EMR_OK;
}

static emr_status coded_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                               emr_window_parts parts, emr_code_window *w, emr_error *error)
{
    const coded_tensor *t = user;
    uint64_t group = COUNT / t->n_groups, flat = FIRST + first;
    size_t n_scales = t->kind->n_scales;
    *w = (emr_code_window){.n = (size_t)emr_min(emr_min(want, t->longest), group - first % group),
                           .codes = t->codes + emr_code_bytes(t->kind, flat),
                           .first_code = flat % 8};
    if (parts == EMR_WINDOW_ALL && t->kind->has_unified) {
        w->unified = t->unified + first;
        w->unified_dtype = EMR_DTYPE_F32;
    }
    return parts == EMR_WINDOW_CODES
               ? EMR_OK
               : coded_scales(user, tensor, first / group * n_scales, n_scales, w->scales, error);
}

static bool coded_share_unified(const void *user, const void *other, uint32_t tensor)
{
    (void)tensor;
    return ((const coded_tensor *)user)->unified == ((const coded_tensor *)other)->unified;
}

static void coded_destroy(void *user, const emr_allocator *allocator)
{
    (void)user;
    (void)allocator;
}

static const emr_modulator_source coded_source = {
    .n_tensors = one_tensor,
    .tensor_name = coded_name,
    .tensor_count = coded_count,
    .n_groups = coded_groups,
    .read_scales = coded_scales,
    .window = coded_window,
    .share_unified = coded_share_unified,
    .destroy = coded_destroy,
};

static void fill_coded(coded_tensor *t, const emr_kind *kind, const float *base, const float *unified,
                       uint64_t n_groups, rng *r)
{
    *t = (coded_tensor){.kind = kind, .base = base, .unified = unified, .n_groups = n_groups};
    for (size_t i = 0; i < sizeof t->codes; i++)
        t->codes[i] = (uint8_t)rng_next(r);
    for (size_t i = 0; i < n_groups * kind->n_scales; i++)
        t->scales[i] = 0.25f + (float)rng_below(r, 100) / 64;
    for (size_t i = 0; i < COUNT; i++)
        t->weights[i] = weight_of(kind)(base[i], unified[i], code_at(t->codes, FIRST + i, kind->bits),
                                        kind->bits, t->scales + i / (COUNT / n_groups) * kind->n_scales);
}

static void check_applied(emr_modulator *m, const coded_tensor *t, rng *r)
{
    for (size_t round = 0; round < 20; round++) {
        float out[COUNT];
        uint64_t first = round ? rng_below(r, COUNT) : 0, n = round ? 1 + rng_below(r, COUNT - first) : COUNT;
        assert_int_equal(test_apply(m, 0, first, n, EMR_DTYPE_F32, t->base + first, EMR_DTYPE_F32, out, NULL),
                         EMR_OK);
        assert_memory_equal(out, t->weights + first, n * sizeof *out);
    }
}

static void check_told(emr_modulator *m, const coded_tensor *t)
{
    emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
    float scales[ROWS * EMR_SCALES_MAX];
    uint64_t n = t->n_groups * t->kind->n_scales, ones = 0;
    for (size_t i = 0; i < COUNT; i++)
        ones += t->kind->bits == 1 && code_at(t->codes, FIRST + i, 1);
    assert_int_equal(emr_modulator_get_stats(m, 0, &stats, NULL), EMR_OK);
    assert_int_equal(stats.count, COUNT);
    assert_int_equal(stats.ones, ones);
    assert_int_equal(emr_modulator_n_rescalers(m, 0), n);
    assert_int_equal(emr_modulator_read_rescalers(m, 0, 1, (size_t)n - 1, scales, NULL), EMR_OK);
    assert_memory_equal(scales, t->scales + 1, (n - 1) * sizeof *scales);
}

static void check_multiplied(emr_modulator *const of[TASKS], const coded_tensor tasks[TASKS], rng *r)
{
    static float x[BATCH * COLUMNS], y[BATCH * ROWS];
    emr_modulator *batch[BATCH];
    size_t task[BATCH];
    emr_product p = EMR_INIT(emr_product);
    bool mixed = rng_below(r, 3) != 0;
    for (size_t i = 0; i < BATCH * COLUMNS; i++)
        x[i] = rng_normal(r);
    for (size_t b = 0; b < BATCH; b++)
        batch[b] = of[task[b] = mixed ? (size_t)rng_below(r, TASKS) : 0];
    p.x = x;
    p.y = y;
    p.first_row = rng_below(r, ROWS);
    p.n_rows = 1 + rng_below(r, ROWS - p.first_row);
    p.batch = BATCH;
    uint64_t first = p.first_row * COLUMNS;
    assert_int_equal(emr_modulator_multiply(batch, &p, COLUMNS, EMR_DTYPE_F32, tasks[0].base + first, NULL),
                     EMR_OK);
    for (size_t b = 0; b < BATCH; b++)
        expect_product(tasks[task[b]].weights + first, x + b * COLUMNS, y + b * p.n_rows, p.n_rows, COLUMNS);
}

static void check_kind(const emr_kind *kind, const emr_kernels *variant, uint64_t longest, rng *r)
{
    static const uint64_t n_groups[TASKS] = {ROWS, ROWS, 1};
    float base[COUNT], unified[COUNT];
    coded_tensor tasks[TASKS];
    emr_modulator *of[TASKS];
    emr_modulator members = {.kernels = variant, .kind = kind, .source = &coded_source};
    assert_int_equal(emr_allocator_take(&members.allocator, NULL, NULL), EMR_OK);
    for (size_t i = 0; i < COUNT; i++) {
        base[i] = rng_normal(r);
        unified[i] = rng_normal(r);
    }
    for (size_t t = 0; t < TASKS; t++) {
        fill_coded(&tasks[t], kind, base, unified, n_groups[t], r);
        tasks[t].longest = longest;
        members.user = &tasks[t];
        assert_int_equal(emr_modulator_open(&of[t], &members, NULL), EMR_OK);
        check_applied(of[t], &tasks[t], r);
        check_told(of[t], &tasks[t]);
    }
    for (size_t round = 0; round < 10; round++)
        check_multiplied(of, tasks, r);
    for (size_t t = 0; t < TASKS; t++)
        emr_modulator_destroy(&of[t]);
}

static void modulators_are_their_formulas(void **state)
{
    static const uint64_t longest[] = {UINT64_MAX, 64, 37, 5, 1};
    rng r = {23};
    (void)state;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++)
        for (size_t i = 0; i < N_KINDS; i++)
            for (size_t l = 0; l < sizeof longest / sizeof *longest; l++)
                check_kind(&kinds[i], *k, longest[l], &r);
}

/* A bundle of masks with rescalers per row is opened, and then said to be of another kind: what was the mask
 * of several parameters is one code, what were the rescalers of two rows are the two of one. */

enum { HEIGHT = 48, WIDTH = 960 };

typedef struct recoded_bundle {
    const emr_kind *kind;
    test_set set;
    emr_buffer *buffer;
    emr_bundle *bundle;
    test_model base; /* as the bundle's is now */
    size_t n_rows, n_columns;
    float unified[HEIGHT * WIDTH];
    float *weights[TASKS + 1]; /* the last are the base's */
} recoded_bundle;

/* The formula over what models of the streams and modulators say before. */
static void compute_weights(recoded_bundle *f, uint32_t task)
{
    static uint8_t mask[HEIGHT * WIDTH], codes[HEIGHT * WIDTH / 8];
    float rescalers[HEIGHT];
    size_t n_scales = f->kind->n_scales, count = f->n_rows * f->n_columns;
    emr_model *model;
    emr_modulator *modulator;
    assert_int_equal(emr_bundle_open_mask(&model, f->bundle, task, NULL, NULL), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, mask, sizeof mask, NULL), EMR_OK);
    emr_model_destroy(&model);
    assert_int_equal(emr_bundle_open_modulator(&modulator, f->bundle, task, NULL, NULL), EMR_OK);
    assert_int_equal(emr_modulator_read_rescalers(modulator, 0, 0, HEIGHT, rescalers, NULL), EMR_OK);
    emr_modulator_destroy(&modulator);
    memset(codes, 0, sizeof codes);
    for (size_t i = 0; i < sizeof mask; i++)
        codes[i / 8] |= (uint8_t)(mask[i] << i % 8);
    f->weights[task] = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        f->weights[task][i] = weight_of(f->kind)(((const float *)(void *)f->base.data[0])[i], f->unified[i],
                                                 code_at(codes, i, f->kind->bits), f->kind->bits,
                                                 rescalers + i / f->n_columns * n_scales);
}

static size_t block_bytes(const emr_kind *kind)
{
    return kind->bits == 3 ? 8192 : 512;
}

static void merge_masks(recoded_bundle *f)
{
    const test_tensor tensor = {"w", EMR_DTYPE_F32, 2, {HEIGHT, WIDTH}};
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.rescale_per = EMR_RESCALE_PER_ROW;
    options.block_params = (uint32_t)block_bytes(f->kind) * 8;
    f->set = test_set_create(&tensor, 1, TASKS, 29, SOURCE_MEMORY);
    f->buffer = test_merge_bundle(&f->set, &options);
    f->bundle = test_bundle_open(f->buffer);
}

static void open_recoded(recoded_bundle *f, const emr_kind *kind)
{
    f->kind = kind;
    merge_masks(f);
    f->n_rows = HEIGHT / kind->n_scales;
    f->n_columns = WIDTH * kind->n_scales / kind->bits;
    const test_tensor tensor = {"w", EMR_DTYPE_F32, 2, {f->n_rows, f->n_columns}};
    f->base = test_model_create("base", &tensor, 1, SOURCE_MEMORY);
    memcpy(f->base.data[0], f->set.base.data[0], f->n_rows * f->n_columns * sizeof(float));
    emr_model *model;
    assert_int_equal(emr_bundle_open_unified(&model, f->bundle, NULL, NULL), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, f->unified, sizeof f->unified, NULL),
                     EMR_OK);
    emr_model_destroy(&model);
    for (uint32_t t = 0; t < TASKS; t++)
        compute_weights(f, t);
    f->weights[TASKS] = (float *)(void *)f->base.data[0];
    emr_bundle *b = f->bundle;
    const uint64_t shape[] = {f->n_rows, f->n_columns};
    b->kind = kind;
    b->summary.n_rows = f->n_rows;
    b->summary.merged_params = b->summary.flat_params = f->n_rows * f->n_columns;
    memcpy(b->index + (b->sections[EMR_SECTION_SHAPES].data - b->index), shape, sizeof shape);
    if (!kind->has_unified)
        b->base_streams[EMR_STREAM_UNIFIED] = EMR_NO_STREAM;
}

static void close_recoded(recoded_bundle *f)
{
    for (size_t t = 0; t < TASKS; t++)
        free(f->weights[t]);
    emr_bundle_destroy(&f->bundle);
    emr_buffer_destroy(&f->buffer);
    test_set_destroy(&f->set);
    test_model_destroy(&f->base);
}

static void check_session_weights(recoded_bundle *f, emr_session *session, rng *r)
{
    static float out[HEIGHT * WIDTH];
    uint64_t count = f->n_rows * f->n_columns;
    for (uint32_t t = 0; t <= TASKS; t++) {
        emr_weights to = EMR_INIT(emr_weights);
        to.name = "w";
        to.data = out;
        to.first = rng_below(r, count);
        to.count = count - to.first;
        assert_int_equal(emr_session_apply(session, t < TASKS ? t : EMR_BASE, &to, 1, NULL), EMR_OK);
        assert_memory_equal(out, f->weights[t] + to.first, to.count * sizeof *out);
    }
}

static void check_session_products(const recoded_bundle *f, emr_session *session, rng *r)
{
    static float x[BATCH * WIDTH * EMR_SCALES_MAX], y[BATCH * HEIGHT];
    uint32_t tasks[BATCH];
    emr_product p = EMR_INIT(emr_product);
    for (size_t i = 0; i < BATCH * f->n_columns; i++)
        x[i] = rng_normal(r);
    for (size_t b = 0; b < BATCH; b++)
        tasks[b] = b % 4 == 3 ? EMR_BASE : (uint32_t)rng_below(r, TASKS);
    p.x = x;
    p.y = y;
    p.n_rows = f->n_rows;
    p.batch = BATCH;
    assert_int_equal(emr_session_multiply(session, tasks, &p, NULL), EMR_OK);
    for (size_t b = 0; b < BATCH; b++)
        expect_product(f->weights[tasks[b] < TASKS ? tasks[b] : TASKS], x + b * f->n_columns,
                       y + b * f->n_rows, f->n_rows, f->n_columns);
}

static void check_bundle_modulators(const recoded_bundle *f)
{
    static float out[HEIGHT * WIDTH];
    uint64_t count = f->n_rows * f->n_columns;
    for (uint32_t t = 0; t < TASKS; t++) {
        emr_modulator *modulator;
        assert_int_equal(emr_bundle_open_modulator(&modulator, f->bundle, t, NULL, NULL), EMR_OK);
        assert_int_equal(emr_modulator_n_rescalers(modulator, 0), f->n_rows * f->kind->n_scales);
        assert_int_equal(test_apply(modulator, 0, 1, count - 1, EMR_DTYPE_F32, f->weights[TASKS] + 1,
                                    EMR_DTYPE_F32, out, NULL),
                         EMR_OK);
        assert_memory_equal(out, f->weights[t] + 1, (count - 1) * sizeof *out);
        emr_modulator_destroy(&modulator);
    }
}

/* Blocks of codes end within rows, and there is room for few of them at a time. Codes of 3 bits are all in
 * one block: those of masks have a power of two of bytes, and theirs have not. */
static void bundles_and_sessions_are_their_formulas(void **state)
{
    rng r = {31};
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        recoded_bundle *f = calloc(1, sizeof *f);
        open_recoded(f, &kinds[i]);
        check_bundle_modulators(f);
        for (size_t blocks = 0; blocks < 14; blocks += 12) {
            emr_session_options options = EMR_INIT(emr_session_options);
            emr_session *session;
            options.check = EMR_BASE_CHECK_NONE;
            options.mask_bytes = blocks * block_bytes(&kinds[i]);
            assert_int_equal(emr_session_create(&session, f->bundle, f->base.model, &options, NULL), EMR_OK);
            check_session_weights(f, session, &r);
            check_session_products(f, session, &r);
            emr_session_destroy(&session);
        }
        close_recoded(f);
        free(f);
    }
}

/* What is for masks alone, or needs a unified vector, is refused for other kinds. */
static void what_a_kind_does_not_have_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        recoded_bundle *f = calloc(1, sizeof *f);
        emr_bundle_info info = EMR_INIT(emr_bundle_info);
        emr_merge *merge;
        emr_model *model;
        emr_error error;
        open_recoded(f, &kinds[i]);
        assert_int_equal(emr_bundle_get_info(f->bundle, &info), EMR_OK);
        assert_int_equal(info.modulator, kinds[i].number);
        if (!kinds[i].has_unified)
            assert_int_equal(emr_bundle_open_unified(&model, f->bundle, NULL, &error), EMR_EUNSUPPORTED);
        static const uint8_t growth[EMR_GROWTH_SIZE + 8 * TASKS];
        f->bundle->sections[EMR_SECTION_GROWTH] = (emr_section){growth, sizeof growth};
        assert_int_equal(emr_merge_create(&merge, NULL, &error), EMR_OK);
        assert_int_equal(emr_merge_extend(merge, f->bundle, &error), EMR_EUNSUPPORTED);
        assert_non_null(strstr(error.text, "no masks"));
        emr_merge_destroy(&merge);
        close_recoded(f);
        free(f);
    }
}

/* The library has one kind, and says so of others. */
static void masks_are_the_only_kind(void **state)
{
    const emr_kind *mask = emr_kind_find(EMR_MODULATOR_KIND_MASK);
    (void)state;
    assert_string_equal(mask->name, "mask");
    assert_int_equal(mask->bits, 1);
    for (uint32_t number = 0; number < 300; number++)
        assert_ptr_equal(emr_kind_find(number), number == EMR_MODULATOR_KIND_MASK ? mask : NULL);
    for (const emr_kernels *const *k = emr_kernels_built(); *k; k++) {
        emr_code_kernels kernels = emr_kind_kernels(mask, *k);
        assert_true(kernels.apply == (*k)->mask.apply && kernels.dot == (*k)->mask.dot);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_kind_does_not_have_is_refused),
        cmocka_unit_test(masks_are_the_only_kind),
        cmocka_unit_test(modulators_are_their_formulas),
        cmocka_unit_test(bundles_and_sessions_are_their_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
