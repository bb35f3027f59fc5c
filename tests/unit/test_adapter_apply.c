/* test_adapter_apply.c - a base with an adapter in it, against the formulas of emr/adapter.h in plain C, bit
 * for bit, whatever ranges are read; which tensors belong together; and what is refused. */
#include "craft.h"

#include <math.h>
#include <stdio.h>

/* A pair of models, and what the base becomes. */
typedef struct pair {
    test_model base, adapter;
    emr_model *applied;
} pair;

#define N_OF(tensors) (sizeof(tensors) / sizeof((tensors)[0]))

static emr_status apply_pair(pair *p, const test_tensor *base, size_t n_base, const test_tensor *adapter,
                             size_t n_adapter, const char *config, emr_error *error)
{
    rng r = {n_base * 977 + n_adapter * 31 + strlen(config)};
    p->base = test_model_create("base.safetensors", base, n_base, SOURCE_MEMORY);
    p->adapter = test_model_create("french", adapter, n_adapter, SOURCE_IO);
    test_model_randomise(&p->base, &r);
    test_model_randomise(&p->adapter, &r);
    assert_int_equal(emr_model_set_metadata(p->adapter.model, EMR_ADAPTER_CONFIG, config, NULL), EMR_OK);
    assert_int_equal(emr_model_set_metadata(p->base.model, "format", "pt", NULL), EMR_OK);
    return emr_adapter_apply(&p->applied, p->base.model, p->adapter.model, NULL, error);
}

static void free_pair(pair *p)
{
    emr_model_destroy(&p->applied);
    test_model_destroy(&p->adapter);
    test_model_destroy(&p->base);
}

#define APPLY(p, base, adapter, config)                                                                      \
    do {                                                                                                     \
        emr_error apply_error;                                                                               \
        assert_ok(apply_pair((p), (base), N_OF(base), (adapter), N_OF(adapter), (config), &apply_error),     \
                  &apply_error);                                                                             \
    } while (0)

/* It must be refused with a sentence that says both words. */
static void check_refused(const test_tensor *base, size_t n_base, const test_tensor *adapter,
                          size_t n_adapter, const char *config, emr_status want, const char *says)
{
    pair p;
    emr_error error = {.text = ""};
    emr_status status = apply_pair(&p, base, n_base, adapter, n_adapter, config, &error);
    if (status != want || !is_sentence(&error, says, ""))
        fail_msg("%s: status %d, '%s' does not say '%s'", config, (int)status, error.text, says);
    assert_null(p.applied);
    free_pair(&p);
}

#define REFUSED(base, adapter, config, status, says)                                                         \
    check_refused((base), N_OF(base), (adapter), N_OF(adapter), (config), (status), (says))

static float *floats_of(const emr_model *m, const char *name)
{
    const emr_tensor *t = emr_model_find_tensor(m, name);
    emr_error error;
    if (!t)
        fail_msg("no tensor '%s'", name);
    float *values = calloc((size_t)emr_tensor_count(t) + 1, sizeof *values);
    assert_ok(emr_tensor_read_floats(t, 0, (size_t)emr_tensor_count(t), values, &error), &error);
    return values;
}

/* The tensor holds these values, each rounded once; whole, and in pieces that begin and end anywhere. */
static void check_values(const pair *p, const char *name, const float *want)
{
    const emr_tensor *t = emr_model_find_tensor(p->applied, name),
                     *w = emr_model_find_tensor(p->base.model, name);
    size_t n = (size_t)emr_tensor_count(t), bytes = (size_t)emr_tensor_bytes(t), size = bytes / n;
    unsigned char *expected = malloc(bytes), *got = malloc(bytes + 1) + 1; /* out of line */
    rng r = {n + 5};
    emr_error error;
    assert_int_equal(emr_tensor_dtype(t), emr_tensor_dtype(w));
    assert_true(emr_tensor_same_shape(t, w));
    assert_int_equal(emr_convert(emr_tensor_dtype(t), expected, EMR_DTYPE_F32, want, n), EMR_OK);
    assert_ok(emr_tensor_read(t, 0, got, bytes, &error), &error);
    for (size_t i = 0; i < n; i++)
        if (memcmp(expected + i * size, got + i * size, size) != 0)
            fail_msg("%s: element %zu of %zu is not %.9g", name, i, n, (double)want[i]);
    for (int k = 0; k < (n > 4000 ? 8 : 40); k++) {
        size_t at = rng_below(&r, bytes), some = 1 + rng_below(&r, bytes - at);
        assert_ok(emr_tensor_read(t, at, got, some, &error), &error);
        assert_memory_equal(got, expected + at, some);
    }
    free(expected);
    free(got - 1);
}

/* W + s B A, as it is stored: rows and columns of W, which is the transpose or not. */
static float *lora_values(const pair *p, const char *weight, const char *a_name, const char *b_name,
                          size_t rows, size_t columns, size_t rank, float scale, bool transposed)
{
    float *w = floats_of(p->base.model, weight), *a = floats_of(p->adapter.model, a_name),
          *b = floats_of(p->adapter.model, b_name);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            size_t out = transposed ? j : i, in = transposed ? i : j, n_in = transposed ? rows : columns;
            volatile float sum = 0;
            for (size_t k = 0; k < rank; k++) {
                volatile float product = b[out * rank + k] * a[k * n_in + in];
                sum = sum + product;
            }
            volatile float scaled = sum * scale;
            w[i * columns + j] = w[i * columns + j] + scaled;
        }
    free(a);
    free(b);
    return w;
}

static void check_lora(const pair *p, const char *module, size_t rows, size_t columns, size_t rank,
                       float scale, bool transposed)
{
    char weight[99], a[99], b[99];
    snprintf(weight, sizeof weight, "%s.weight", module);
    snprintf(a, sizeof a, "base_model.model.%s.lora_A.weight", module);
    snprintf(b, sizeof b, "base_model.model.%s.lora_B.weight", module);
    float *want = lora_values(p, weight, a, b, rows, columns, rank, scale, transposed);
    check_values(p, weight, want);
    free(want);
}

#define LORA "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":5}"
#define A(module, dtype, r, in)                                                                              \
    {                                                                                                        \
        "base_model.model." module ".lora_A.weight", dtype, 2,                                               \
        {                                                                                                    \
            r, in                                                                                            \
        }                                                                                                    \
    }
#define B(module, dtype, out, r)                                                                             \
    {                                                                                                        \
        "base_model.model." module ".lora_B.weight", dtype, 2,                                               \
        {                                                                                                    \
            out, r                                                                                           \
        }                                                                                                    \
    }
#define W(module, dtype, out, in)                                                                            \
    {                                                                                                        \
        module ".weight", dtype, 2,                                                                          \
        {                                                                                                    \
            out, in                                                                                          \
        }                                                                                                    \
    }

static void linear_layers_of_any_dtype(void **state)
{
    static const emr_dtype weights[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F16},
                           parts[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F8_E4M3};
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 4; k++) {
            const test_tensor base[] = {W("l.q", weights[i], 37, 101),
                                        {"norm", EMR_DTYPE_F64, 1, {7}},
                                        W("l.v", weights[i], 64, 1)},
                              adapter[] = {A("l.q", parts[k], 3, 101), B("l.q", parts[k], 37, 3),
                                           B("l.v", parts[k], 64, 3), A("l.v", parts[k], 3, 1)};
            pair p;
            APPLY(&p, base, adapter, LORA);
            check_lora(&p, "l.q", 37, 101, 3, (float)(5.0 / 3), false);
            check_lora(&p, "l.v", 64, 1, 3, (float)(5.0 / 3), false);
            /* what is not adapted is the base's, in its order; so are metadata */
            assert_int_equal(emr_model_n_tensors(p.applied), 3);
            assert_string_equal(emr_tensor_name(emr_model_tensor(p.applied, 1)), "norm");
            unsigned char bytes[56];
            assert_int_equal(emr_tensor_read(emr_model_tensor(p.applied, 1), 0, bytes, 56, NULL), EMR_OK);
            assert_memory_equal(bytes, p.base.data[1], 56);
            assert_string_equal(emr_model_find_metadata(p.applied, "format"), "pt");
            assert_null(emr_model_find_metadata(p.applied, EMR_ADAPTER_CONFIG));
            free_pair(&p);
        }
}

/* More columns than a panel takes, more rows than are loaded at a time, more elements than are computed at
 * once. */
static void large_layers(void **state)
{
    const test_tensor base[] = {W("wide", EMR_DTYPE_F32, 3, 700), W("tall", EMR_DTYPE_BF16, 3001, 40),
                                W("turned", EMR_DTYPE_F32, 700, 2), W("flat", EMR_DTYPE_F32, 2, 700)},
                      adapter[] = {
                          A("wide", EMR_DTYPE_F32, 4096, 700),   B("wide", EMR_DTYPE_F32, 3, 4096),
                          A("tall", EMR_DTYPE_F16, 64, 40),      B("tall", EMR_DTYPE_F32, 3001, 64),
                          A("turned", EMR_DTYPE_F32, 1500, 700), B("turned", EMR_DTYPE_F32, 2, 1500),
                          A("flat", EMR_DTYPE_F32, 4096, 2),     B("flat", EMR_DTYPE_F32, 700, 4096)};
    pair p;
    (void)state;
    APPLY(&p, base, adapter,
          "{\"peft_type\":\"LORA\",\"rank_pattern\":{\"wide\":4096,\"tall\":64,\"turned\":1500,\"flat\":4096}"
          ",\"lora_"
          "alpha\":8,"
          "\"fan_in_fan_out\":true}"); /* which is for turned, as the shapes say */
    check_lora(&p, "wide", 3, 700, 4096, 8.0f / 4096, false);
    check_lora(&p, "tall", 3001, 40, 64, 8.0f / 64, false);
    check_lora(&p, "turned", 700, 2, 1500, (float)(8.0 / 1500), true);
    check_lora(&p, "flat", 2, 700, 4096, 8.0f / 4096, true);
    free_pair(&p);
}

static void transposed_layers(void **state)
{
    const test_tensor base[] = {W("h.0.c_attn", EMR_DTYPE_F32, 40, 120),
                                W("h.0.c_proj", EMR_DTYPE_F16, 40, 40)},
                      adapter[] = {
                          A("h.0.c_attn", EMR_DTYPE_F32, 3, 40), B("h.0.c_attn", EMR_DTYPE_F32, 120, 3),
                          A("h.0.c_proj", EMR_DTYPE_F32, 3, 40), B("h.0.c_proj", EMR_DTYPE_F32, 40, 3)};
    pair p;
    (void)state;
    APPLY(&p, base, adapter, "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":5,\"fan_in_fan_out\":true}");
    check_lora(&p, "h.0.c_attn", 40, 120, 3, (float)(5.0 / 3), true);
    check_lora(&p, "h.0.c_proj", 40, 40, 3, (float)(5.0 / 3), true);
    free_pair(&p);
    /* a square fits both ways, and then the configuration tells; where that is wrong about others, nobody
     * does */
    REFUSED(base, adapter, LORA, EMR_EUNSUPPORTED, "fan_in_fan_out: false");
    APPLY(&p, ((const test_tensor[]){base[1]}), ((const test_tensor[]){adapter[2], adapter[3]}), LORA);
    check_lora(&p, "h.0.c_proj", 40, 40, 3, (float)(5.0 / 3), false);
    free_pair(&p);
}

static void embeddings_and_convolutions(void **state)
{
    const test_tensor base[] = {W("wte", EMR_DTYPE_BF16, 211, 24),
                                {"conv.weight", EMR_DTYPE_F32, 4, {12, 5, 3, 3}},
                                {"point.weight", EMR_DTYPE_F16, 4, {12, 5, 1, 1}}},
                      adapter[] = {{"base_model.model.wte.lora_embedding_A", EMR_DTYPE_F32, 2, {3, 211}},
                                   {"base_model.model.wte.lora_embedding_B", EMR_DTYPE_F32, 2, {24, 3}},
                                   {"base_model.model.conv.lora_A.weight", EMR_DTYPE_F32, 4, {3, 5, 3, 3}},
                                   {"base_model.model.conv.lora_B.weight", EMR_DTYPE_F32, 4, {12, 3, 1, 1}},
                                   {"base_model.model.point.lora_A.weight", EMR_DTYPE_F32, 4, {3, 5, 1, 1}},
                                   {"base_model.model.point.lora_B.weight", EMR_DTYPE_F32, 4, {12, 3, 1, 1}}};
    pair p;
    (void)state;
    APPLY(&p, base, adapter, LORA);
    float *want =
        lora_values(&p, "wte.weight", adapter[0].name, adapter[1].name, 211, 24, 3, (float)(5.0 / 3), true);
    check_values(&p, "wte.weight", want);
    free(want);
    check_lora(&p, "conv", 12, 45, 3, (float)(5.0 / 3), false);
    check_lora(&p, "point", 12, 5, 3, (float)(5.0 / 3), false);
    free_pair(&p);
}

static void scales_follow_the_configuration(void **state)
{
    static const struct {
        const char *config;
        double q, v; /* scales of both layers */
    } cases[] = {
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":16}", 16.0 / 3, 16.0 / 3},
        {"{\"lora_alpha\":22.627416997969522,\"use_rslora\":true,\"r\":3.0}",
         22.627416997969522 / 1.7320508075688772, 22.627416997969522 / 1.7320508075688772},
        {"{\"r\":8,\"rank_pattern\":{\"q\":3,\"v\":3},\"lora_alpha\":-2.5e-1}", -0.25 / 3, -0.25 / 3},
        {"{\"r\":3,\"alpha_pattern\":{\"layers.0.q\":9,\"layers\\\\.[1-9]\\\\.v\":12e0},\"lora_alpha\":null}",
         3, 4},
        {"{\"r\":3,\"alpha_pattern\":{\".*\\\\.q\":1,\"q\":2,\"^model.*v$\":0}}", 1.0 / 3, 0},
    };
    const test_tensor base[] = {W("model.layers.0.q", EMR_DTYPE_F32, 8, 9),
                                W("model.layers.1.v", EMR_DTYPE_F32, 7, 6)},
                      adapter[] = {A("model.layers.0.q", EMR_DTYPE_F32, 3, 9),
                                   B("model.layers.0.q", EMR_DTYPE_F32, 8, 3),
                                   A("model.layers.1.v", EMR_DTYPE_F32, 3, 6),
                                   B("model.layers.1.v", EMR_DTYPE_F32, 7, 3)};
    (void)state;
    for (size_t i = 0; i < N_OF(cases); i++) {
        pair p;
        APPLY(&p, base, adapter, cases[i].config);
        check_lora(&p, "model.layers.0.q", 8, 9, 3, (float)cases[i].q, false);
        check_lora(&p, "model.layers.1.v", 7, 6, 3, (float)cases[i].v, false);
        free_pair(&p);
    }
    REFUSED(base, adapter, "{\"r\":4}", EMR_EMISMATCH, "rank 3");
    REFUSED(base, adapter, "{\"r\":3,\"rank_pattern\":{\"v\":4}}", EMR_EMISMATCH, "rank 3");
    REFUSED(base, adapter, "{\"r\":3,\"alpha_pattern\":{\"(q|v)\":4}}", EMR_EUNSUPPORTED, "(q|v)");
    REFUSED(base, adapter, "{\"r\":9223372036854775808}", EMR_EMISMATCH, "rank 3");
    REFUSED(base, adapter, "{\"r\":3,\"lora_alpha\":\"16\"}", EMR_EFORMAT, "lora_alpha");
    REFUSED(base, adapter, "{\"r\":3,\"lora_alpha\":NaN}", EMR_EFORMAT, "JSON");
    REFUSED(base, adapter, "{\"r\":3,\"lora_alpha\":1e99}", EMR_EFORMAT, "lora_alpha");
    REFUSED(base, adapter, "{\"r\":3,\"lora_alpha\":0.12345678901234567890123}", EMR_EFORMAT, "lora_alpha");
    REFUSED(base, adapter, "{\"r\":3,\"alpha_pattern\":[]}", EMR_EFORMAT, "alpha_pattern");
    REFUSED(base, adapter, "{\"r\":3,\"alpha_pattern\":{\"q\":{}}}", EMR_EFORMAT, "alpha_pattern");
    REFUSED(base, adapter, "{\"r\":3,\"use_rslora\":1}", EMR_EFORMAT, "use_rslora");
}

static void biases_of_lora(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 8, 9), {"q.bias", EMR_DTYPE_BF16, 1, {8}}},
                      adapter[] = {A("q", EMR_DTYPE_F32, 3, 9),
                                   B("q", EMR_DTYPE_F32, 8, 3),
                                   {"base_model.model.q.lora_B.bias", EMR_DTYPE_F32, 1, {8}}};
    pair p;
    (void)state;
    APPLY(&p, base, adapter, LORA);
    check_lora(&p, "q", 8, 9, 3, (float)(5.0 / 3), false);
    float *want = floats_of(p.base.model, "q.bias"), *b = floats_of(p.adapter.model, adapter[2].name);
    for (size_t i = 0; i < 8; i++) {
        volatile float scaled = b[i] * (float)(5.0 / 3);
        want[i] += scaled;
    }
    check_values(&p, "q.bias", want);
    free(want);
    free(b);
    free_pair(&p);
    REFUSED(((const test_tensor[]){base[0]}), adapter, LORA, EMR_EMISMATCH, "q.bias");
}

/* V m / |V|, where |V| goes over what makes up an output. */
static void check_dora(const pair *p, const char *weight, float *v, size_t rows, size_t columns,
                       bool by_columns, const char *magnitude)
{
    float *m = floats_of(p->adapter.model, magnitude);
    size_t n = by_columns ? columns : rows, run = by_columns ? rows : columns;
    for (size_t o = 0; o < n; o++) {
        double sum = 0;
        for (size_t k = 0; k < run; k++) {
            float x = v[by_columns ? k * columns + o : o * columns + k];
            sum += (double)x * (double)x;
        }
        float factor = (float)((double)m[o] / sqrt(sum));
        for (size_t k = 0; k < run; k++)
            v[by_columns ? k * columns + o : o * columns + k] *= factor;
    }
    check_values(p, weight, v);
    free(m);
    free(v);
}

static void magnitudes_of_dora(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 300, 257),
                                W("c", EMR_DTYPE_F16, 30, 50),
                                W("wte", EMR_DTYPE_F32, 90, 8),
                                {"conv.weight", EMR_DTYPE_F32, 4, {6, 4, 3, 3}}},
                      adapter[] = {
                          A("q", EMR_DTYPE_F32, 3, 257),
                          B("q", EMR_DTYPE_F32, 300, 3),
                          {"base_model.model.q.lora_magnitude_vector", EMR_DTYPE_F32, 1, {300}},
                          A("c", EMR_DTYPE_F32, 3, 30),
                          B("c", EMR_DTYPE_F32, 50, 3),
                          {"base_model.model.c.lora_magnitude_vector.weight", EMR_DTYPE_F32, 1, {50}},
                          {"base_model.model.wte.lora_embedding_A", EMR_DTYPE_F32, 2, {3, 90}},
                          {"base_model.model.wte.lora_embedding_B", EMR_DTYPE_F32, 2, {8, 3}},
                          {"base_model.model.wte.lora_magnitude_vector", EMR_DTYPE_F32, 1, {8}},
                          {"base_model.model.conv.lora_A.weight", EMR_DTYPE_F32, 4, {3, 4, 3, 3}},
                          {"base_model.model.conv.lora_B.weight", EMR_DTYPE_F32, 4, {6, 3, 1, 1}},
                          {"base_model.model.conv.lora_magnitude_vector", EMR_DTYPE_F32, 4, {1, 6, 1, 1}}};
    static const char config[] = "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":5,\"use_dora\":true}";
    float s = (float)(5.0 / 3);
    pair p;
    (void)state;
    APPLY(&p, base, adapter, config);
    check_dora(&p, "q.weight",
               lora_values(&p, "q.weight", adapter[0].name, adapter[1].name, 300, 257, 3, s, false), 300, 257,
               false, adapter[2].name);
    check_dora(&p, "c.weight",
               lora_values(&p, "c.weight", adapter[3].name, adapter[4].name, 30, 50, 3, s, true), 30, 50,
               true, adapter[5].name);
    check_dora(&p, "wte.weight",
               lora_values(&p, "wte.weight", adapter[6].name, adapter[7].name, 90, 8, 3, s, true), 90, 8,
               true, adapter[8].name);
    check_dora(&p, "conv.weight",
               lora_values(&p, "conv.weight", adapter[9].name, adapter[10].name, 6, 36, 3, s, false), 6, 36,
               false, adapter[11].name);
    free_pair(&p);
    REFUSED(base, adapter, LORA, EMR_EFORMAT, "use_dora: false");
    REFUSED(base, ((const test_tensor[]){adapter[0], adapter[1]}), config, EMR_EFORMAT, "no magnitudes");
    REFUSED(base, ((const test_tensor[]){adapter[0], adapter[1], {adapter[2].name, EMR_DTYPE_F32, 1, {257}}}),
            config, EMR_EMISMATCH, "lora_magnitude_vector");
}

static void a_host_can_stop_reading_for_norms(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 300, 257)},
                      adapter[] = {A("q", EMR_DTYPE_F32, 3, 257),
                                   B("q", EMR_DTYPE_F32, 300, 3),
                                   {"base_model.model.q.lora_magnitude_vector", EMR_DTYPE_F32, 1, {300}}};
    test_progress progress = {.stop_at = SIZE_MAX};
    emr_resources resources = EMR_INIT(emr_resources);
    emr_error error;
    emr_model *again;
    pair p;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &progress;
    APPLY(&p, base, adapter, "{\"r\":3,\"use_dora\":true}");
    assert_ok(emr_adapter_apply(&again, p.base.model, p.adapter.model, &resources, &error), &error);
    emr_model_destroy(&again);
    assert_true(progress.calls > 1 && !progress.backwards && progress.done == 300 * 257);
    progress = (test_progress){.stop_at = 1};
    assert_int_equal(emr_adapter_apply(&again, p.base.model, p.adapter.model, &resources, &error),
                     EMR_ECANCELED);
    assert_null(again);
    free_pair(&p);
}

/* W l, by outputs with the bias and by inputs. */
static void check_scaled(const pair *p, const char *name, const char *vector, size_t run, size_t n)
{
    float *w = floats_of(p->base.model, name), *l = floats_of(p->adapter.model, vector);
    size_t count = (size_t)emr_tensor_count(emr_model_find_tensor(p->base.model, name));
    for (size_t i = 0; i < count; i++)
        w[i] *= l[i / run % n];
    check_values(p, name, w);
    free(w);
    free(l);
}

#define L(module, a, b)                                                                                      \
    {                                                                                                        \
        "base_model.model." module ".ia3_l", EMR_DTYPE_F32, 2,                                               \
        {                                                                                                    \
            a, b                                                                                             \
        }                                                                                                    \
    }

static void vectors_of_ia3(void **state)
{
    const test_tensor base[] = {W("k", EMR_DTYPE_F32, 30, 20),
                                {"k.bias", EMR_DTYPE_F16, 1, {30}},
                                W("down", EMR_DTYPE_BF16, 20, 70),
                                {"down.bias", EMR_DTYPE_F32, 1, {20}},
                                W("turned", EMR_DTYPE_F32, 11, 33),
                                {"turned.bias", EMR_DTYPE_F32, 1, {33}},
                                W("turned_in", EMR_DTYPE_F32, 11, 33),
                                {"conv.weight", EMR_DTYPE_F32, 4, {6, 4, 3, 3}},
                                {"conv_in.weight", EMR_DTYPE_F32, 4, {6, 4, 3, 3}},
                                W("other", EMR_DTYPE_F32, 2, 2)},
                      adapter[] = {L("k", 30, 1),
                                   L("down", 1, 70),
                                   L("turned", 33, 1),
                                   L("turned_in", 1, 11),
                                   {"base_model.model.conv.ia3_l", EMR_DTYPE_F32, 4, {1, 6, 1, 1}},
                                   {"base_model.model.conv_in.ia3_l", EMR_DTYPE_F32, 4, {1, 4, 1, 1}}},
                      square[] = {W("v", EMR_DTYPE_F32, 5, 5)}, square_out[] = {L("v", 5, 1)},
                      square_in[] = {L("v", 1, 5)};
    pair p;
    (void)state;
    APPLY(&p, base, adapter, "{\"peft_type\":\"IA3\"}");
    check_scaled(&p, "k.weight", adapter[0].name, 20, 30);
    check_scaled(&p, "k.bias", adapter[0].name, 1, 30);
    check_scaled(&p, "down.weight", adapter[1].name, 1, 70);
    check_scaled(&p, "turned.weight", adapter[2].name, 1, 33);
    check_scaled(&p, "turned.bias", adapter[2].name, 1, 33);
    check_scaled(&p, "turned_in.weight", adapter[3].name, 33, 11);
    check_scaled(&p, "conv.weight", adapter[4].name, 36, 6);
    check_scaled(&p, "conv_in.weight", adapter[5].name, 9, 4);
    float *bias = floats_of(p.base.model, "down.bias"), *kept = floats_of(p.applied, "down.bias");
    assert_memory_equal(kept, bias, 20 * sizeof(float));
    free(bias);
    free(kept);
    free_pair(&p);
    for (int turned = 0; turned < 2; turned++) {
        const char *config =
            turned ? "{\"peft_type\":\"IA3\",\"fan_in_fan_out\":true}" : "{\"peft_type\":\"IA3\"}";
        APPLY(&p, square, square_out, config);
        check_scaled(&p, "v.weight", square_out[0].name, turned ? 1 : 5, 5);
        free_pair(&p);
        APPLY(&p, square, square_in, config);
        check_scaled(&p, "v.weight", square_in[0].name, turned ? 5 : 1, 5);
        free_pair(&p);
    }
    REFUSED(base, square_out, "{\"peft_type\":\"IA3\"}", EMR_EMISMATCH, "v.weight");
    REFUSED(square, ((const test_tensor[]){L("v", 6, 1)}), "{\"peft_type\":\"IA3\"}", EMR_EMISMATCH, "ia3_l");
    REFUSED(square, ((const test_tensor[]){L("v", 0, 1)}), "{\"peft_type\":\"IA3\"}", EMR_EMISMATCH, "ia3_l");
    REFUSED(square, square_out, "{\"peft_type\":\"LORA\"}", EMR_EUNSUPPORTED, "ia3_l");
}

/* The bytes of a tensor of the result are those of the adapter's. */
static void check_saved(const pair *p, const char *name, size_t which)
{
    const emr_tensor *t = emr_model_find_tensor(p->applied, name);
    unsigned char bytes[512];
    if (!t)
        fail_msg("no tensor '%s'", name);
    assert_true(emr_tensor_same_shape(t, emr_model_tensor(p->adapter.model, (uint32_t)which)));
    assert_int_equal(emr_tensor_read(t, 0, bytes, (size_t)emr_tensor_bytes(t), NULL), EMR_OK);
    assert_memory_equal(bytes, p->adapter.data[which], (size_t)emr_tensor_bytes(t));
}

static void saved_modules_take_the_bases_place(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 8, 9),
                                W("head", EMR_DTYPE_F32, 4, 9),
                                {"q.bias", EMR_DTYPE_F32, 1, {8}},
                                W("old", EMR_DTYPE_F32, 2, 3)},
                      adapter[] = {
                          A("q", EMR_DTYPE_F32, 3, 9),
                          B("q", EMR_DTYPE_F32, 8, 3),
                          {"base_model.model.head.weight", EMR_DTYPE_F16, 2, {5, 9}},
                          {"base_model.model.score.steps", EMR_DTYPE_I64, 1, {2}},
                          {"base_model.model.q.base_layer.bias", EMR_DTYPE_F32, 1, {8}},
                          {"base_model.model.old.modules_to_save.default.weight", EMR_DTYPE_F32, 2, {2, 3}}};
    pair p;
    (void)state;
    APPLY(&p, base, adapter, LORA);
    assert_int_equal(emr_model_n_tensors(p.applied), 5);
    check_saved(&p, "head.weight", 2);
    check_saved(&p, "score.steps", 3);
    check_saved(&p, "q.bias", 4);
    check_saved(&p, "old.weight", 5);
    assert_string_equal(emr_tensor_name(emr_model_tensor(p.applied, 4)), "score.steps");
    check_lora(&p, "q", 8, 9, 3, (float)(5.0 / 3), false);
    free_pair(&p);
    /* the weight that was saved beside its own A and B is what they are added to */
    const test_tensor both[] = {
        adapter[0], adapter[1], {"base_model.model.q.base_layer.weight", EMR_DTYPE_F32, 2, {8, 9}}};
    APPLY(&p, base, both, LORA);
    test_model swapped = p.base;
    p.base = p.adapter;
    float *want = lora_values(&p, both[2].name, both[0].name, both[1].name, 8, 9, 3, (float)(5.0 / 3), false);
    p.base = swapped;
    check_values(&p, "q.weight", want);
    free(want);
    free_pair(&p);
    REFUSED(base,
            ((const test_tensor[]){
                adapter[0], adapter[1], adapter[2], {"head.weight", EMR_DTYPE_F32, 2, {4, 9}}}),
            LORA, EMR_EFORMAT, "one tensor");
}

static void names_may_differ_by_a_prefix(void **state)
{
    static const char *const bases[] = {"model.layers.0.q.weight", "layers.0.q.weight",
                                        "language_model.model.layers.0.q.weight"};
    const test_tensor adapter[] = {A("model.layers.0.q", EMR_DTYPE_F32, 3, 9),
                                   B("model.layers.0.q", EMR_DTYPE_F32, 8, 3)};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const test_tensor base[] = {{"other", EMR_DTYPE_F32, 1, {3}}, {bases[i], EMR_DTYPE_F32, 2, {8, 9}}};
        pair p;
        APPLY(&p, base, adapter, LORA);
        float *want =
            lora_values(&p, bases[i], adapter[0].name, adapter[1].name, 8, 9, 3, (float)(5.0 / 3), false);
        check_values(&p, bases[i], want);
        free(want);
        free_pair(&p);
    }
    const test_tensor two[] = {{bases[1], EMR_DTYPE_F32, 2, {8, 9}}, {bases[2], EMR_DTYPE_F32, 2, {8, 9}}},
                      none[] = {{"model.layers.0.qq.weight", EMR_DTYPE_F32, 2, {8, 9}},
                                {"q.weighty", EMR_DTYPE_F32, 1, {1}},
                                {"xmodel.layers.0.q.weight", EMR_DTYPE_F32, 2, {8, 9}}};
    REFUSED(two, adapter, LORA, EMR_EMISMATCH, "which of them");
    REFUSED(none, adapter, LORA, EMR_EMISMATCH, "model.layers.0.q.weight");
}

static void what_cannot_be_applied_is_refused(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 8, 9),
                                W("f8", EMR_DTYPE_F8_E4M3, 8, 9),
                                W("i8", EMR_DTYPE_I8, 8, 9),
                                {"vector.weight", EMR_DTYPE_F32, 1, {8}},
                                W("none", EMR_DTYPE_F32, 0, 9)},
                      fine[] = {A("q", EMR_DTYPE_F32, 3, 9), B("q", EMR_DTYPE_F32, 8, 3)};
    static const char *const variants[] = {"\"use_qalora\":true",
                                           "\"layer_replication\":[[0,4]]",
                                           "\"target_parameters\":[\"x\"]",
                                           "\"trainable_token_indices\":[1]",
                                           "\"kasa_config\":{\"beta\":1}",
                                           "\"alora_invocation_tokens\":[5]",
                                           "\"arrow_config\":{\"top_k\":1}",
                                           "\"init_lora_weights\":\"pissa_niter_4\"",
                                           "\"init_lora_weights\":\"olora\"",
                                           "\"init_lora_weights\":\"loftq\"",
                                           "\"init_lora_weights\":3"};
    static const char *const kinds[] = {"LOHA", "LOKR", "VERA", "ADALORA", "PROMPT_TUNING", "OFT"};
    char config[200];
    (void)state;
    for (size_t i = 0; i < N_OF(variants); i++) {
        snprintf(config, sizeof config, "{\"r\":3,%s}", variants[i]);
        REFUSED(base, fine, config, EMR_EUNSUPPORTED, "fold it into its model");
    }
    for (size_t i = 0; i < N_OF(kinds); i++) {
        snprintf(config, sizeof config, "{\"r\":3,\"peft_type\":\"%s\"}", kinds[i]);
        REFUSED(base, fine, config, EMR_EUNSUPPORTED, kinds[i]);
    }
    pair p;
    APPLY(&p, base, fine,
          "{\"r\":3,\"use_qalora\":false,\"layer_replication\":null,\"target_parameters\":[],\"kasa_config\":"
          "{},"
          "\"init_lora_weights\":\"gaussian\",\"eva_config\":{\"rho\":2}}");
    free_pair(&p);
    REFUSED(base, fine, "{\"r\":3,\"peft_type\":4}", EMR_EFORMAT, "peft_type");
    REFUSED(base, fine, "[]", EMR_EFORMAT, "no JSON object");
    REFUSED(base, fine, "{\"r\":3", EMR_EFORMAT, "JSON");
    REFUSED(base, ((const test_tensor[]){fine[0]}), LORA, EMR_EFORMAT, "its B is absent");
    REFUSED(base, ((const test_tensor[]){fine[1]}), LORA, EMR_EFORMAT, "its A is absent");
    REFUSED(base, ((const test_tensor[]){{"head.weight", EMR_DTYPE_F32, 1, {2}}}), LORA, EMR_EUNSUPPORTED,
            "no tensor of an adapter");
    REFUSED(base, ((const test_tensor[]){{"lora_unet_q.lora_down.weight", EMR_DTYPE_F32, 2, {3, 9}}}), LORA,
            EMR_EUNSUPPORTED, "lora_down");
    REFUSED(base, ((const test_tensor[]){{"q.hada_w1_a", EMR_DTYPE_F32, 2, {3, 9}}}), LORA, EMR_EUNSUPPORTED,
            "hada_w1_a");
    REFUSED(base, ((const test_tensor[]){A("f8", EMR_DTYPE_F32, 3, 9), B("f8", EMR_DTYPE_F32, 8, 3)}), LORA,
            EMR_EUNSUPPORTED, "dequantise");
    REFUSED(base, ((const test_tensor[]){A("i8", EMR_DTYPE_F32, 3, 9), B("i8", EMR_DTYPE_F32, 8, 3)}), LORA,
            EMR_EUNSUPPORTED, "dequantise");
    REFUSED(base, ((const test_tensor[]){A("q", EMR_DTYPE_I8, 3, 9), B("q", EMR_DTYPE_F32, 8, 3)}), LORA,
            EMR_EUNSUPPORTED, "no float");
    /* the same layer twice, once as a tensor of the base under another prefix */
    REFUSED(base,
            ((const test_tensor[]){fine[0],
                                   fine[1],
                                   {"q.lora_A.weight", EMR_DTYPE_F32, 2, {3, 9}},
                                   {"q.lora_B.weight", EMR_DTYPE_F32, 2, {8, 3}}}),
            LORA, EMR_EFORMAT, "twice");
    emr_error error;
    emr_model *out;
    test_model bare = test_model_create("bare", fine, 2, SOURCE_MEMORY);
    assert_int_equal(emr_adapter_apply(&out, bare.model, bare.model, NULL, &error), EMR_EUNSUPPORTED);
    assert_true(is_sentence(&error, "bare", "adapter_config.json"));
    test_model_destroy(&bare);
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 8, 9),
                                {"vector.weight", EMR_DTYPE_F32, 1, {8}},
                                W("none", EMR_DTYPE_F32, 0, 9),
                                {"conv.weight", EMR_DTYPE_F32, 4, {6, 4, 3, 3}}};
    (void)state;
    REFUSED(base, ((const test_tensor[]){A("q", EMR_DTYPE_F32, 3, 8), B("q", EMR_DTYPE_F32, 8, 3)}), LORA,
            EMR_EMISMATCH, "lora_A");
    REFUSED(base, ((const test_tensor[]){A("q", EMR_DTYPE_F32, 3, 9), B("q", EMR_DTYPE_F32, 7, 3)}), LORA,
            EMR_EMISMATCH, "lora_A");
    REFUSED(base, ((const test_tensor[]){A("q", EMR_DTYPE_F32, 3, 9), B("q", EMR_DTYPE_F32, 8, 4)}), LORA,
            EMR_EMISMATCH, "lora_A");
    REFUSED(base, ((const test_tensor[]){A("q", EMR_DTYPE_F32, 0, 9), B("q", EMR_DTYPE_F32, 8, 0)}),
            "{\"r\":0}", EMR_EUNSUPPORTED, "rank 0");
    REFUSED(base, ((const test_tensor[]){A("q", EMR_DTYPE_F32, 20000, 9), B("q", EMR_DTYPE_F32, 8, 20000)}),
            "{\"r\":20000}", EMR_EUNSUPPORTED, "rank 20000");
    REFUSED(base, ((const test_tensor[]){A("vector", EMR_DTYPE_F32, 3, 9), B("vector", EMR_DTYPE_F32, 8, 3)}),
            LORA, EMR_EMISMATCH, "lora_A");
    REFUSED(base, ((const test_tensor[]){A("none", EMR_DTYPE_F32, 3, 9), B("none", EMR_DTYPE_F32, 0, 3)}),
            LORA, EMR_EMISMATCH, "lora_B");
    REFUSED(base, ((const test_tensor[]){A("conv", EMR_DTYPE_F32, 3, 36), B("conv", EMR_DTYPE_F32, 6, 3)}),
            LORA, EMR_EMISMATCH, "lora_A");
    REFUSED(base,
            ((const test_tensor[]){{"base_model.model.q.lora_A.weight", EMR_DTYPE_F32, 1, {3}},
                                   B("q", EMR_DTYPE_F32, 8, 3)}),
            LORA, EMR_EMISMATCH, "lora_A");
}

static void ones_are_for_ia3_alone(void **state)
{
    const test_tensor tensors[] = {L("k", 3, 1),
                                   {"down.ia3_l", EMR_DTYPE_BF16, 2, {1, 2}},
                                   {"a.ia3_l", EMR_DTYPE_F16, 1, {1}},
                                   {"b.ia3_l", EMR_DTYPE_F64, 1, {1}},
                                   {"c.ia3_l", EMR_DTYPE_F8_E4M3, 1, {1}},
                                   {"d.ia3_l", EMR_DTYPE_F8_E5M2, 1, {1}},
                                   {"head.weight", EMR_DTYPE_F32, 1, {2}},
                                   {"head.steps", EMR_DTYPE_I64, 1, {1}}};
    test_model like = test_model_create("like", tensors, 8, SOURCE_MEMORY);
    emr_model *ones;
    emr_error error;
    (void)state;
    assert_ok(emr_adapter_create_ones(&ones, like.model, NULL, &error), &error);
    test_model_destroy(&like);
    assert_string_equal(emr_model_name(ones), "ones");
    assert_int_equal(emr_model_n_tensors(ones), 7);
    for (uint32_t i = 0; i < 7; i++) {
        float *values = floats_of(ones, tensors[i].name);
        for (size_t k = 0; k < emr_tensor_count(emr_model_tensor(ones, i)); k++)
            assert_true(values[k] == (i < 6 ? 1 : 0));
        free(values);
    }
    emr_model_destroy(&ones);
}

static void the_rank_is_a_dimension(void **state)
{
    static const struct {
        const char *name;
        int32_t dimension;
    } cases[] = {{"base_model.model.x.lora_A.weight", 0},
                 {"x.lora_B.weight", 1},
                 {"x.lora_embedding_A", 0},
                 {"x.lora_embedding_B", 1},
                 {"lora_unet_x.lora_down.weight", 0},
                 {"lora_unet_x.lora_up.weight", 1},
                 {"x.lora.down.weight", 0},
                 {"x.lora.up.weight", 1},
                 {"x.lora_B.bias", -1},
                 {"x.lora_magnitude_vector", -1},
                 {"x.weight", -1},
                 {"x.ia3_l", -1},
                 {"lora_A.weight", -1},
                 {".lora_A.weight", -1},
                 {"x.lora_A.weights", -1},
                 {"", -1}};
    (void)state;
    for (size_t i = 0; i < N_OF(cases); i++)
        if (emr_adapter_rank_dimension(cases[i].name) != cases[i].dimension)
            fail_msg("%s", cases[i].name);
}

static void a_weight_that_is_not_a_number_is_always_the_same(void **state)
{
    const test_tensor base[] = {W("q", EMR_DTYPE_F32, 2, 40)},
                      adapter[] = {A("q", EMR_DTYPE_F32, 1, 40), B("q", EMR_DTYPE_F32, 2, 1)};
    pair p;
    (void)state;
    APPLY(&p, base, adapter, "{\"r\":1}");
    const uint32_t odd = 0xffc12345, quiet = 0x7fc00000;
    memcpy(p.base.data[0], &odd, 4);
    uint32_t got;
    assert_int_equal(emr_tensor_read(emr_model_tensor(p.applied, 0), 0, &got, 4, NULL), EMR_OK);
    assert_int_equal(got, quiet);
    free_pair(&p);
}

/* An allocation fails, and a read, wherever it comes. */
static void failures_leave_nothing(void **state)
{
    const test_tensor base[] = {{"layers.q.weight", EMR_DTYPE_F32, 2, {8, 9}},
                                {"layers.k.weight", EMR_DTYPE_F32, 2, {8, 9}},
                                {"x", EMR_DTYPE_F32, 1, {1}}},
                      adapter[] = {
                          A("model.layers.q", EMR_DTYPE_F32, 3, 9),
                          B("model.layers.q", EMR_DTYPE_F32, 8, 3),
                          {"base_model.model.model.layers.q.lora_magnitude_vector", EMR_DTYPE_F32, 1, {8}},
                          A("model.layers.k", EMR_DTYPE_F32, 3, 9),
                          B("model.layers.k", EMR_DTYPE_F32, 8, 3),
                          {"base_model.model.model.layers.k.lora_magnitude_vector", EMR_DTYPE_F32, 1, {8}},
                          {"base_model.model.head", EMR_DTYPE_F32, 1, {1}}};
    pair p;
    emr_status status = EMR_ENOMEM;
    size_t k = 0;
    (void)state;
    APPLY(&p, base, adapter, "{\"r\":3,\"use_dora\":true,\"alpha_pattern\":{\"q\":1}}");
    for (; status; k++) {
        test_allocator counts = {.fail_at = k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_error error = {.text = ""};
        emr_model *again;
        float values[72];
        status = emr_adapter_apply(&again, p.base.model, p.adapter.model, &resources, &error);
        if (!status)
            status = emr_tensor_read_floats(emr_model_tensor(again, 0), 0, 72, values, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_true(!status || is_sentence(&error, "memory", ""));
        emr_model_destroy(&again);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 20);
    free_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layers_of_any_dtype),
        cmocka_unit_test(large_layers),
        cmocka_unit_test(transposed_layers),
        cmocka_unit_test(embeddings_and_convolutions),
        cmocka_unit_test(scales_follow_the_configuration),
        cmocka_unit_test(biases_of_lora),
        cmocka_unit_test(magnitudes_of_dora),
        cmocka_unit_test(a_host_can_stop_reading_for_norms),
        cmocka_unit_test(vectors_of_ia3),
        cmocka_unit_test(saved_modules_take_the_bases_place),
        cmocka_unit_test(names_may_differ_by_a_prefix),
        cmocka_unit_test(what_cannot_be_applied_is_refused),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
        cmocka_unit_test(ones_are_for_ia3_alone),
        cmocka_unit_test(the_rank_is_a_dimension),
        cmocka_unit_test(a_weight_that_is_not_a_number_is_always_the_same),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests_name("adapters applied", tests, NULL, NULL);
}
