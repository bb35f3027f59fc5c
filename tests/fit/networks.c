/* networks.c - see networks.h. */
#include "networks.h"

const test_tensor perceptron[N_PERCEPTRON] = {
    {"fc0.weight", EMR_DTYPE_F64, 2, {N_FIRST, N_INPUTS}},   {"fc0.bias", EMR_DTYPE_F64, 1, {N_FIRST}},
    {"fc1.weight", EMR_DTYPE_F64, 2, {N_SECOND, N_FIRST}},   {"fc1.bias", EMR_DTYPE_F64, 1, {N_SECOND}},
    {"fc2.weight", EMR_DTYPE_F64, 2, {N_OUTPUTS, N_SECOND}}, {"fc2.bias", EMR_DTYPE_F64, 1, {N_OUTPUTS}}};

const test_tensor llama[N_LLAMA] = {
    {"model.embed_tokens.weight", EMR_DTYPE_F32, 2, {50, 24}},
    {"model.layers.0.self_attn.q_proj.weight", EMR_DTYPE_BF16, 2, {24, 24}},
    {"model.layers.0.self_attn.k_proj.weight", EMR_DTYPE_BF16, 2, {12, 24}},
    {"model.layers.0.self_attn.v_proj.weight", EMR_DTYPE_BF16, 2, {12, 24}},
    {"model.layers.0.self_attn.o_proj.weight", EMR_DTYPE_BF16, 2, {24, 24}},
    {"model.layers.0.mlp.gate_proj.weight", EMR_DTYPE_F16, 2, {40, 24}},
    {"model.layers.0.mlp.up_proj.weight", EMR_DTYPE_F16, 2, {40, 24}},
    {"model.layers.0.mlp.down_proj.weight", EMR_DTYPE_F16, 2, {24, 40}},
    {"model.layers.0.input_layernorm.weight", EMR_DTYPE_F32, 1, {24}},
    {"model.layers.0.post_attention_layernorm.weight", EMR_DTYPE_F32, 1, {24}},
    {"model.norm.weight", EMR_DTYPE_F32, 1, {24}},
    {"lm_head.weight", EMR_DTYPE_F32, 2, {50, 24}}};

const char llama_config[] =
    "{\"model_type\": \"llama\", \"num_attention_heads\": 4, \"num_key_value_heads\": 2}";

test_model perceptron_create(const char *name, uint64_t seed)
{
    test_model m = test_model_create(name, perceptron, N_PERCEPTRON, SOURCE_MEMORY);
    rng r = {seed};
    test_model_randomise(&m, &r);
    return m;
}

double *all_elements(const emr_model *model, const char *name)
{
    const emr_tensor *t = emr_model_find_tensor(model, name);
    assert_non_null(t);
    size_t n = (size_t)emr_tensor_count(t), bytes = (size_t)emr_tensor_bytes(t);
    unsigned char *stored = calloc(bytes + 1, 1);
    double *values = calloc(n + 1, sizeof *values);
    emr_error error;
    assert_ok(emr_tensor_read(t, 0, stored, bytes, &error), &error);
    assert_int_equal(emr_convert(EMR_DTYPE_F64, values, emr_tensor_dtype(t), stored, n), EMR_OK);
    free(stored);
    return values;
}

void perceptron_run(const emr_model *model, const double *input, double *outputs, double (*of)[100])
{
    double now[100], next[100];
    memcpy(now, input, N_INPUTS * sizeof *now);
    for (int layer = 0; layer < 3; layer++) {
        char name[2][16] = {"fc0.weight", "fc0.bias"};
        name[0][2] = name[1][2] = (char)('0' + layer);
        const uint64_t *shape = emr_tensor_shape(emr_model_find_tensor(model, name[0]));
        double *weight = all_elements(model, name[0]), *bias = all_elements(model, name[1]);
        assert_true(shape[0] <= 100 && shape[1] <= 100);
        if (of)
            memcpy(of[layer], now, sizeof now);
        for (uint64_t o = 0; o < shape[0]; o++) {
            next[o] = bias[o];
            for (uint64_t i = 0; i < shape[1]; i++)
                next[o] += weight[o * shape[1] + i] * now[i];
            if (layer < 2 && next[o] < 0)
                next[o] = 0;
        }
        memcpy(now, next, sizeof now);
        free(weight);
        free(bias);
    }
    memcpy(outputs, now, N_OUTPUTS * sizeof *outputs);
}

emr_permutation_spec *derived_spec(const emr_model *model, const char *config)
{
    emr_permutation_spec *spec;
    emr_error error;
    assert_ok(emr_permutation_spec_derive(&spec, model, config, NULL, &error), &error);
    return spec;
}

/* rows of 0 ... columns - 1, each in a random order. */
static uint32_t *random_rows(size_t rows, size_t columns, rng *r)
{
    uint32_t *units = calloc(rows * columns, sizeof *units);
    for (size_t row = 0; row < rows; row++) {
        uint32_t *of = units + row * columns;
        for (size_t i = 0; i < columns; i++) {
            size_t k = (size_t)rng_below(r, i + 1);
            of[i] = of[k];
            of[k] = (uint32_t)i;
        }
    }
    return units;
}

static void permute_heads(emr_permutation *p, const emr_unit_group *g, rng *r)
{
    size_t kv = g->n_kv_heads;
    uint32_t *arrays[4] = {random_rows(1, kv, r), random_rows(kv, g->n_heads / kv, r),
                           random_rows(kv, g->head_dim, r), random_rows(kv, g->head_dim, r)};
    emr_error error;
    for (size_t i = 0; g->fixed_qk && i < kv * g->head_dim; i++)
        arrays[2][i] = (uint32_t)(i % g->head_dim);
    const emr_head_units units = {sizeof units, arrays[0], arrays[1], arrays[2], arrays[3]};
    assert_ok(emr_permutation_set_heads(p, g->name, &units, &error), &error);
    for (size_t i = 0; i < 4; i++)
        free(arrays[i]);
}

emr_permutation *random_permutation(const emr_permutation_spec *spec, uint64_t seed)
{
    emr_permutation *p;
    emr_error error;
    rng r = {seed};
    assert_ok(emr_permutation_create(&p, spec, NULL, &error), &error);
    for (uint32_t i = 0; i < emr_permutation_spec_n_groups(spec); i++) {
        emr_unit_group g = EMR_INIT(emr_unit_group);
        assert_int_equal(emr_permutation_spec_get_group(spec, i, &g), EMR_OK);
        if (!g.n_units) {
            permute_heads(p, &g, &r);
            continue;
        }
        uint32_t *units = random_rows(1, (size_t)g.n_units, &r);
        assert_ok(emr_permutation_set_units(p, g.name, units, &error), &error);
        free(units);
    }
    return p;
}

emr_gram *perceptron_gram(const emr_model *const *models, uint32_t n, size_t rows, uint64_t seed)
{
    static const uint64_t widths[3] = {N_INPUTS, N_FIRST, N_SECOND};
    emr_gram_options options = EMR_INIT(emr_gram_options);
    emr_gram *gram;
    emr_error error;
    rng r = {seed};
    options.n_models = n;
    assert_ok(emr_gram_create(&gram, &options, &error), &error);
    for (uint32_t layer = 0; layer < 3; layer++) {
        const uint64_t all[4] = {widths[layer], widths[layer], widths[layer], widths[layer]};
        char site[4] = "fc0";
        uint32_t number;
        site[2] = (char)('0' + layer);
        assert_ok(emr_gram_add_site(gram, site, all, &number, &error), &error);
    }
    for (size_t row = 0; row < rows; row++) {
        double input[N_INPUTS], outputs[N_OUTPUTS], of[4][3][100];
        for (size_t i = 0; i < N_INPUTS; i++)
            input[i] = (double)rng_normal(&r);
        for (uint32_t m = 0; m < n; m++)
            perceptron_run(models[m], input, outputs, of[m]);
        for (uint32_t layer = 0; layer < 3; layer++) {
            emr_activations given[4];
            for (uint32_t m = 0; m < n; m++)
                given[m] = (emr_activations){sizeof *given, of[m][layer], 0, EMR_DTYPE_F64, 0};
            assert_ok(emr_gram_feed(gram, layer, given, 1, NULL, &error), &error);
        }
    }
    return gram;
}

bool same_outputs(const emr_model *a, const emr_model *b, double most)
{
    rng r = {12};
    for (int trial = 0; trial < 20; trial++) {
        double input[N_INPUTS], one[N_OUTPUTS], other[N_OUTPUTS];
        for (size_t i = 0; i < N_INPUTS; i++)
            input[i] = (double)rng_normal(&r);
        perceptron_run(a, input, one, NULL);
        perceptron_run(b, input, other, NULL);
        for (size_t i = 0; i < N_OUTPUTS; i++)
            if (!(one[i] - other[i] < most && other[i] - one[i] < most))
                return false;
    }
    return true;
}
