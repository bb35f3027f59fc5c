/* kinds_bundle.c - see kinds_bundle.h. Written after docs/bundle-format.md, not after the library. */
#include "kinds_bundle.h"

#include "bundle/writer.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/resources.h"

#include <math.h>

/* Rows that are whole in a chunk, that lie in two, and of more than one chunk; vectors of every sort. */
static const test_tensor kinds_tensors[KINDS_TENSORS] = {
    {"square", EMR_DTYPE_F32, 2, {9, 40}},    {"bias", EMR_DTYPE_F32, 1, {70}},
    {"long", EMR_DTYPE_F32, 2, {3, 6001}},    {"narrow", EMR_DTYPE_F32, 2, {30, 7}},
    {"cube", EMR_DTYPE_F32, 3, {8, 3, 5}},    {"empty", EMR_DTYPE_F32, 2, {0, 40}},
    {"longer", EMR_DTYPE_F32, 2, {2, 20000}}, {"scalar", EMR_DTYPE_F32, 0, {0}},
    {"tall", EMR_DTYPE_F32, 2, {700, 8}},     {"experts", EMR_DTYPE_F32, 3, {8, 12, 160}},
    {"ids", EMR_DTYPE_F32, 1, {5}},
};

const emr_modulator_record kinds_of_all[] = {
    {.kind = EMR_MODULATOR_KIND_MASK, .mask_rule = EMR_MASK_RULE_NEAREST, .rescale = 4, .error = 0.5f},
    {.kind = EMR_MODULATOR_KIND_SIGN,
     .has_columns = 1,
     .vectors_dtype = EMR_DTYPE_BF16,
     .rescale = 4,
     .cosine = 0.75f},
    {.kind = EMR_MODULATOR_KIND_TWO_SIDED, .rescale = 3},
    {.kind = EMR_MODULATOR_KIND_THIN,
     .thinning = 2,
     .seed = 0x12345678,
     .vectors_dtype = EMR_DTYPE_F32,
     .rescale = 5},
    {.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 8, .vectors_dtype = EMR_DTYPE_BF16, .rescale = 2},
    {.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 3, .vectors_dtype = EMR_DTYPE_F32, .rescale = 3},
    {.kind = EMR_MODULATOR_KIND_THIN,
     .thinning = 5,
     .seed = 7,
     .vectors_dtype = EMR_DTYPE_BF16,
     .coefficient = 1.25f},
    {.kind = EMR_MODULATOR_KIND_SIGN, .vectors_dtype = EMR_DTYPE_F32, .rescale = 3},
};
const emr_modulator_record kinds_paper_mask = {
    .kind = EMR_MODULATOR_KIND_MASK, .rescale = 2, .error = NAN, .cosine = NAN, .coefficient = NAN};
const uint32_t n_kinds_of_all = sizeof kinds_of_all / sizeof *kinds_of_all;

const char *kinds_tensor_name(uint32_t tensor)
{
    return kinds_tensors[tensor].name;
}

uint64_t kinds_count(uint32_t tensor)
{
    return test_tensor_count(&kinds_tensors[tensor]);
}

uint64_t kinds_rows(uint32_t tensor)
{
    return !kinds_count(tensor) ? 0 : kinds_tensors[tensor].rank < 2 ? 1 : kinds_tensors[tensor].shape[0];
}

uint64_t kinds_columns(uint32_t tensor)
{
    return kinds_rows(tensor) ? kinds_count(tensor) / kinds_rows(tensor) : 0;
}

bool kinds_is_vector(uint32_t tensor)
{
    return kinds_tensors[tensor].rank < 2 || kinds_columns(tensor) < 8;
}

uint64_t kinds_slot(const kinds_bundle *k, uint32_t tensor, uint64_t parameter)
{
    const emr_tensor_record *t = &k->tensors[tensor];
    return t->first_row + parameter / kinds_columns(tensor) + (t->first_param + parameter) / 16384;
}

static bool may_have_columns(uint32_t tensor)
{
    return !kinds_is_vector(tensor) && kinds_rows(tensor) >= 8 && kinds_columns(tensor) <= 65536;
}

static bool is_elected(const emr_modulator_record *m)
{
    return m->kind <= EMR_MODULATOR_KIND_TWO_SIDED;
}

static uint64_t bits_of_64(const emr_modulator_record *m)
{
    return m->kind == EMR_MODULATOR_KIND_SIGN   ? 64
           : m->kind == EMR_MODULATOR_KIND_THIN ? 64u >> m->thinning
           : m->n_levels <= 4                   ? 128
           : m->n_levels == 8                   ? 192
                                                : 256;
}

/* ---- contents ---- */

static kinds_stream draw_bytes(rng *r, uint64_t n)
{
    kinds_stream s = {malloc((size_t)n + 1), n};
    for (uint64_t i = 0; i < n; i++)
        s.bytes[i] = (unsigned char)(rng_next(r) >> 32);
    return s;
}

static uint16_t draw_bf16(rng *r, bool positive)
{
    float value = rng_below(r, 9) ? rng_normal(r) : 0;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)(bits >> 16 & (positive ? 0x7fff : 0xffff));
}

static kinds_stream draw_bf16s(rng *r, uint64_t n, bool positive)
{
    kinds_stream s = {malloc((size_t)n * 2 + 1), n * 2};
    for (uint64_t i = 0; i < n; i++)
        emr_store16(s.bytes + 2 * i, draw_bf16(r, positive));
    return s;
}

static kinds_stream draw_floats(rng *r, uint64_t n, bool positive)
{
    kinds_stream s = {malloc((size_t)n * 4 + 1), n * 4};
    for (uint64_t i = 0; i < n; i++) {
        float value = rng_below(r, 9) ? rng_normal(r) : 0;
        emr_store32(s.bytes + 4 * i, emr_f32_bits(positive && value <= 0 ? -value + 0 : value));
    }
    return s;
}

static void lay_out_tensors(kinds_bundle *k)
{
    uint64_t base = 0;
    for (uint32_t i = 0; i < KINDS_TENSORS; i++) {
        emr_tensor_record *t = &k->tensors[i];
        bool merged = i < KINDS_MERGED, vector = kinds_is_vector(i);
        *t = (emr_tensor_record){.rank = (uint16_t)kinds_tensors[i].rank,
                                 .dtype = EMR_DTYPE_F32,
                                 .merged = merged,
                                 .base_offset = base};
        base += (kinds_count(i) * 4 + 63) / 64 * 64;
        if (!merged)
            continue;
        t->first_param = k->summary.flat_params;
        t->first_row = k->summary.n_rows;
        t->first_place = vector ? k->extent.n_differences : k->extent.n_columns;
        k->summary.flat_params += (kinds_count(i) + 63) / 64 * 64;
        k->summary.merged_params += kinds_count(i);
        k->summary.n_rows += kinds_rows(i);
        k->extent.n_differences += vector ? kinds_count(i) : 0;
        k->extent.n_columns += may_have_columns(i) ? kinds_columns(i) : 0;
    }
}

static void draw_task(kinds_bundle *k, uint32_t task)
{
    const emr_modulator_record *m = &k->modulators[task];
    uint64_t flat = k->summary.flat_params, n_rows = k->summary.n_rows;
    unsigned two = m->kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
    rng r = {(uint64_t)(m->kind * 1000 + m->n_levels * 100 + m->thinning * 10 + m->has_columns + 1)};
    for (uint32_t i = 0; i < KINDS_MERGED; i++)
        for (unsigned side = 0; side < 2; side++)
            k->scales[task][i][side] = (float)rng_below(&r, 1000) / 400;
    if (is_elected(m)) {
        k->streams[EMR_STREAM_MASK][task] = draw_bytes(&r, flat / 8);
        if (k->summary.rescale_per == EMR_PER_ROW_BYTE)
            k->streams[EMR_STREAM_ROW_RESCALERS][task] = draw_floats(&r, n_rows * two, true);
        return;
    }
    k->streams[EMR_STREAM_CODES][task] = draw_bytes(&r, (flat / 64 * bits_of_64(m) + 7) / 8);
    k->streams[EMR_STREAM_SCALES][task] = draw_bf16s(&r, n_rows + flat / 16384 + 1, true);
    if (m->has_columns)
        k->streams[EMR_STREAM_COLUMNS][task] = draw_bf16s(&r, k->extent.n_columns, true);
    k->streams[EMR_STREAM_VECTORS][task] = m->vectors_dtype == EMR_DTYPE_F32
                                               ? draw_floats(&r, k->extent.n_differences, false)
                                               : draw_bf16s(&r, k->extent.n_differences, false);
}

void kinds_draw(kinds_bundle *k, uint8_t rescale_per, const emr_modulator_record *modulators,
                uint32_t n_tasks)
{
    rng r = {99};
    *k = (kinds_bundle){.summary = {.rescale = 2,
                                    .rescale_per = rescale_per,
                                    .unified_dtype = EMR_DTYPE_F32,
                                    .modulator = 1,
                                    .has_base = 1,
                                    .n_tasks = n_tasks,
                                    .n_tensors = KINDS_TENSORS,
                                    .n_merged = KINDS_MERGED},
                        .n_tasks = n_tasks};
    lay_out_tensors(k);
    k->base = draw_floats(&r, (k->tensors[KINDS_TENSORS - 1].base_offset + 64) / 4, false);
    k->unified = draw_floats(&r, k->summary.flat_params, false);
    for (uint32_t t = 0; t < n_tasks; t++) {
        k->modulators[t] = modulators[t];
        k->extent.n_elected += is_elected(&modulators[t]);
        draw_task(k, t);
        if (rescale_per == EMR_PER_MODEL_BYTE && modulators[t].kind == EMR_MODULATOR_KIND_TWO_SIDED)
            k->modulators[t].other_rescaler = k->scales[t][0][1];
    }
}

void kinds_destroy(kinds_bundle *k)
{
    emr_buffer_destroy(&k->buffer);
    free(k->base.bytes);
    free(k->unified.bytes);
    for (uint32_t kind = 0; kind < EMR_N_STREAM_KINDS; kind++)
        for (uint32_t t = 0; t < KINDS_MOST; t++)
            free(k->streams[kind][t].bytes);
    *k = (kinds_bundle){.n_tasks = 0};
}

/* ---- the file ---- */

enum { COARSE = 32 << 10 };

static bool has_kinds(const kinds_bundle *k)
{
    bool others = false;
    for (uint32_t t = 0; t < k->n_tasks; t++)
        others = others || k->modulators[t].kind != EMR_MODULATOR_KIND_MASK;
    return others;
}

/* Whether anything is to be said of a task that needs a record. */
static bool has_records(const kinds_bundle *k)
{
    bool records = has_kinds(k);
    for (uint32_t t = 0; t < k->n_tasks; t++)
        records = records || k->modulators[t].mask_rule || k->modulators[t].rescale > 2 ||
                  !isnan(k->modulators[t].error);
    return records;
}

static void put_stream(emr_writer *w, enum emr_stream_kind kind, uint32_t owner, const kinds_stream *s,
                       uint32_t block)
{
    emr_error error;
    if (!s->n)
        return;
    size_t stream = emr_writer_stream(w, kind, owner, block, EMR_TEXTURE_UNKNOWN);
    assert_ok(emr_writer_append(w, stream, s->bytes, (size_t)s->n, &error), &error);
    assert_ok(emr_writer_end(w, stream, &error), &error);
}

static void put_streams(emr_writer *w, const kinds_bundle *k)
{
    put_stream(w, EMR_STREAM_BASE, EMR_BASE, &k->base, k->coarse ? COARSE : 4096);
    if (k->extent.n_elected)
        put_stream(w, EMR_STREAM_UNIFIED, EMR_BASE, &k->unified, k->coarse ? COARSE : 512);
    for (uint32_t kind = 1; kind < EMR_N_STREAM_KINDS; kind++)
        for (uint32_t t = 0; t < k->n_tasks; t++) {
            bool thirds = kind == EMR_STREAM_CODES && k->modulators[t].n_levels == 8;
            uint32_t least = kind == EMR_STREAM_VECTORS ? 2048 : thirds ? 768 : 512;
            uint32_t block = !k->coarse ? least : thirds ? COARSE / 4 * 3 : COARSE;
            put_stream(w, (enum emr_stream_kind)kind, t, &k->streams[kind][t], block);
        }
}

static void index_kinds_tensors(emr_writer *w, const kinds_bundle *k)
{
    for (uint32_t i = 0; i < KINDS_TENSORS; i++) {
        emr_tensor_record t = k->tensors[i];
        emr_hasher hasher;
        emr_hasher_init(&hasher);
        emr_hasher_update(&hasher, k->base.bytes + t.base_offset, (size_t)kinds_count(i) * 4);
        emr_hash128 hash = emr_hasher_digest(&hasher);
        t.hash_low = hash.low;
        t.hash_high = hash.high;
        t.name = emr_writer_string(w, kinds_tensors[i].name);
        t.shape = emr_writer_shape(w, t.rank, kinds_tensors[i].shape);
        t.first_place = has_kinds(k) ? t.first_place : 0;
        emr_encode_tensor(emr_writer_record(w, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE), &t);
    }
}

static void index_kinds_task(emr_writer *w, const kinds_bundle *k, uint32_t t)
{
    const char name[] = {'t', (char)('0' + k->modulators[t].kind), (char)('a' + t), 0};
    const emr_modulator_record *m = &k->modulators[t];
    bool elected = is_elected(m), per_tensor = k->summary.rescale_per == EMR_PER_TENSOR_BYTE;
    unsigned n_scales = m->kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
    emr_task_record task = {.name = emr_writer_string(w, name)};
    if (elected && k->summary.rescale_per == EMR_PER_MODEL_BYTE)
        task.rescaler = k->scales[t][0][0];
    emr_encode_task(emr_writer_record(w, EMR_SECTION_TASKS, EMR_TASK_SIZE), &task);
    memset(emr_writer_record(w, EMR_SECTION_TASK_DTYPES, KINDS_TENSORS), EMR_DTYPE_F32, KINDS_TENSORS);
    for (uint32_t i = 0; elected && per_tensor && i < KINDS_MERGED; i++)
        for (unsigned side = 0; side < n_scales; side++)
            emr_store32(emr_writer_record(w, EMR_SECTION_RESCALERS, 4), emr_f32_bits(k->scales[t][i][side]));
    if (has_records(k))
        emr_encode_modulator(emr_writer_record(w, EMR_SECTION_MODULATORS, EMR_MODULATOR_SIZE), m);
}

void kinds_write(kinds_bundle *k)
{
    emr_env env = {.memory_bytes = 0};
    const emr_writer_limits limits = {.put_bytes = 4096,
                                      .put_blocks = 1,
                                      .loose_bytes = COARSE,
                                      .loose_blocks = 4,
                                      .compression = emr_codec_version() ? 1 : -1,
                                      .features = has_kinds(k) ? EMR_FEATURE_KINDS : 0u};
    emr_workers workers;
    emr_writer *w;
    emr_error error;
    emr_buffer_destroy(&k->buffer);
    k->buffer = test_buffer_new();
    assert_ok(emr_allocator_take(&env.allocator, NULL, &error), &error);
    assert_ok(emr_workers_create(&workers, &env, 1, &error), &error);
    assert_ok(emr_writer_create(&w, emr_buffer_io(k->buffer), &env.allocator, &workers, &limits, &error),
              &error);
    put_streams(w, k);
    emr_encode_summary(emr_writer_record(w, EMR_SECTION_SUMMARY, EMR_SUMMARY_SIZE), &k->summary);
    emr_writer_string(w, "");
    index_kinds_tensors(w, k);
    for (uint32_t t = 0; t < k->n_tasks; t++)
        index_kinds_task(w, k, t);
    assert_ok(emr_writer_finish(w, &error), &error);
    emr_writer_destroy(&w);
    emr_workers_destroy(&workers);
}

/* ---- weights ---- */

static float number(const kinds_stream *s, uint64_t i, bool wide)
{
    return emr_f32_from_bits(wide ? emr_load32(s->bytes + 4 * i)
                                  : (uint32_t)emr_load16(s->bytes + 2 * i) << 16);
}

static uint32_t code_bits(const kinds_stream *s, uint64_t first, unsigned n)
{
    uint32_t code = 0;
    for (unsigned i = 0; i < n; i++)
        code |= (uint32_t)(s->bytes[(first + i) / 8] >> (first + i) % 8 & 1) << i;
    return code;
}

static uint32_t hash_of(uint32_t seed, uint64_t group)
{
    uint32_t x = seed ^ (uint32_t)group * 0x9E3779B1 ^ (uint32_t)(group >> 32) * 0x85EBCA77;
    x ^= x >> 16;
    x *= 0x7FEB352D;
    x ^= x >> 15;
    x *= 0x846CA68B;
    return x ^ x >> 16;
}

static float level_of(unsigned n_levels, uint32_t code)
{
    static const float of_3[] = {-1.22400636f, 0, 1.22400636f, 0}, half_4[] = {0.452780035f, 1.51041761f};
    static const float half_8[] = {0.245094179f, 0.756005281f, 1.34390928f, 2.1519457f};
    const float *half = n_levels == 4 ? half_4 : half_8;
    if (n_levels == 3)
        return of_3[code];
    assert_true(n_levels == 4 || n_levels == 8);
    uint32_t upper = n_levels / 2;
    return code < upper ? -half[upper - 1 - code] : half[code - upper];
}

/* The scale of a coded task's parameter. */
static float scale_of_stretch(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t i)
{
    return number(&k->streams[EMR_STREAM_SCALES][task], kinds_slot(k, tensor, i), false);
}

/* What a code of a coded task's matrix, and its column's scale, make of r; false: nothing. */
static bool coded_step(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t i, float r,
                       volatile float *step)
{
    const emr_modulator_record *m = &k->modulators[task];
    const kinds_stream *codes = &k->streams[EMR_STREAM_CODES][task];
    uint64_t p = k->tensors[tensor].first_param + i, q = (uint64_t)1 << m->thinning;
    unsigned width = (unsigned)(bits_of_64(m) / 64);
    *step = r;
    if (m->kind == EMR_MODULATOR_KIND_LEVELS) {
        *step = r * level_of(m->n_levels, code_bits(codes, p * width, width));
    } else if (m->kind == EMR_MODULATOR_KIND_THIN) {
        uint64_t run = p % 64 / q, h = hash_of(m->seed, p / 64);
        if (p % q != (h >> run * m->thinning) % q)
            return false;
        *step = code_bits(codes, p / 64 * (64 / q) + run, 1) ? r : -r;
    } else {
        if (m->has_columns && may_have_columns(tensor))
            *step = r * number(&k->streams[EMR_STREAM_COLUMNS][task],
                               k->tensors[tensor].first_place + i % kinds_columns(tensor), false);
        *step = code_bits(codes, p, 1) ? *step : -*step;
    }
    return true;
}

static bool elected_step_of(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t i,
                            volatile float *step)
{
    uint64_t p = k->tensors[tensor].first_param + i;
    uint64_t row = k->tensors[tensor].first_row + i / kinds_columns(tensor);
    bool two_sided = k->modulators[task].kind == EMR_MODULATOR_KIND_TWO_SIDED;
    bool bit = code_bits(&k->streams[EMR_STREAM_MASK][task], p, 1);
    unsigned side = two_sided && !bit,
             tensor_of_scale = k->summary.rescale_per == EMR_PER_MODEL_BYTE ? 0 : tensor;
    float u = number(&k->unified, p, true), scale = k->scales[task][tensor_of_scale][side];
    if (k->summary.rescale_per == EMR_PER_ROW_BYTE)
        scale = number(&k->streams[EMR_STREAM_ROW_RESCALERS][task], two_sided ? 2 * row + side : row, true);
    if (two_sided ? u == 0 || scale == 0 : !bit)
        return false;
    scale = side ? -scale : scale;
    *step = scale * u;
    return true;
}

static float difference_at(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t i)
{
    return number(&k->streams[EMR_STREAM_VECTORS][task], k->tensors[tensor].first_place + i,
                  k->modulators[task].vectors_dtype == EMR_DTYPE_F32);
}

static float base_weight(const kinds_bundle *k, uint32_t tensor, uint64_t i)
{
    return number(&k->base, k->tensors[tensor].base_offset / 4 + i, true);
}

static float task_weight(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t i)
{
    volatile float step = 0, w = base_weight(k, tensor, i);
    bool there;
    if (!k->tensors[tensor].merged) {
        there = false;
    } else if (is_elected(&k->modulators[task])) {
        there = elected_step_of(k, task, tensor, i, &step);
    } else if (kinds_is_vector(tensor)) {
        step = difference_at(k, task, tensor, i);
        there = step != 0;
    } else {
        float r = scale_of_stretch(k, task, tensor, i);
        there = r != 0 && coded_step(k, task, tensor, i, r, &step);
    }
    return there ? w + step : w;
}

void kinds_weights(const kinds_bundle *k, uint32_t task, uint32_t tensor, float *weights)
{
    for (uint64_t i = 0; i < kinds_count(tensor); i++)
        weights[i] = task_weight(k, task, tensor, i);
}

/* ---- products ---- */

enum { LANES = 32 };

static void add_rounded(volatile float *sum, float a, float b)
{
    volatile float term = a * b;
    *sum = *sum + term;
}

/* What a coded task changes in a row's product. */
static void change_of_row(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t first, uint64_t n,
                          const float *x, volatile float t[LANES])
{
    const bool vector = kinds_is_vector(tensor);
    for (uint64_t c = 0; c < n;) {
        volatile float s[LANES] = {0};
        const uint64_t in_chunk = (k->tensors[tensor].first_param + first + c) % 16384;
        const uint64_t end = vector || n - c < 16384 - in_chunk ? n : c + 16384 - in_chunk;
        const float r = vector ? 1 : scale_of_stretch(k, task, tensor, first + c);
        for (; c < end; c++) {
            volatile float step = 0;
            if (vector)
                add_rounded(&s[c % LANES], difference_at(k, task, tensor, first + c), x[c]);
            else if (coded_step(k, task, tensor, first + c, x[c], &step))
                s[c % LANES] = s[c % LANES] + step;
        }
        for (int j = 0; j < LANES && r != 0; j++)
            add_rounded(&t[j], r, s[j]);
    }
}

float kinds_product(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t row, uint64_t n,
                    const float *x)
{
    volatile float a[LANES] = {0}, t[LANES] = {0};
    const bool changed = task != EMR_BASE, elected = changed && is_elected(&k->modulators[task]);
    const uint64_t first = row * n;
    for (uint64_t c = 0; c < n; c++)
        add_rounded(&a[c % LANES],
                    elected ? task_weight(k, task, tensor, first + c) : base_weight(k, tensor, first + c),
                    x[c]);
    if (changed && !elected) {
        change_of_row(k, task, tensor, first, n, x, t);
        for (int j = 0; j < LANES; j++)
            a[j] = a[j] + t[j];
    }
    for (int half = LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++)
            a[j] = a[j] + a[j + half];
    return a[0];
}
