/* fuzz_units.c - see fuzz_units.h. */
#include "fuzz_units.h"

#include <emr/fit/fit.h>

typedef struct units_tensor {
    const char *name;
    emr_dtype dtype;
    uint32_t rank;
    uint64_t shape[2];
} units_tensor;

static const units_tensor tensors[] = {
    {"a.weight", EMR_DTYPE_F32, 2, {6, 2}}, {"a.bias", EMR_DTYPE_F16, 1, {6}},
    {"a.steps", EMR_DTYPE_I64, 1, {6}},     {"b.weight", EMR_DTYPE_F32, 2, {3, 12}},
    {"n", EMR_DTYPE_F64, 1, {6}},           {"q", EMR_DTYPE_BF16, 2, {8, 3}},
    {"k", EMR_DTYPE_BF16, 2, {4, 3}},       {"v", EMR_DTYPE_U8, 2, {4, 3}},
    {"o", EMR_DTYPE_F32, 2, {3, 8}},        {"s", EMR_DTYPE_U8, 1, {12}}};

const char units_spec[] =
    "{\"format\":\"emr-permutation-spec\",\"version\":1,"
    "\"layers\":[{\"weight\":\"b.weight\",\"site\":\"b\"},{\"weight\":\"o\",\"site\":\"o\",\"bias\":\"b\","
    "\"input_axis\":0}],"
    "\"groups\":[{\"name\":\"a\",\"size\":6,\"sites\":[\"b\"],\"axes\":[{\"tensor\":\"a.weight\",\"axis\":0},"
    "{\"tensor\":\"a.bias\",\"axis\":0},{\"tensor\":\"a.steps\",\"axis\":0,\"match\":false},"
    "{\"tensor\":\"b.weight\",\"axis\":1,\"inner\":2,\"input\":true}]},"
    "{\"name\":\"n\",\"size\":6,\"blocks\":3,\"sites\":[],\"axes\":[{\"tensor\":\"n\",\"axis\":0}]},"
    "{\"name\":\"h\",\"heads\":4,\"kv_heads\":2,\"head_dim\":2,\"qk\":\"free\",\"sites\":[\"o\"],\"qk_site\":"
    "\"x\","
    "\"q\":[{\"tensor\":\"q\",\"axis\":0},{\"tensor\":\"s\",\"axis\":0,\"stride\":3}],\"k\":[{\"tensor\":"
    "\"k\",\"axis\":0}],"
    "\"v\":[{\"tensor\":\"v\",\"axis\":0}],\"o\":[{\"tensor\":\"o\",\"axis\":1,\"input\":true}]}]}";

emr_model *units_model(void)
{
    static uint8_t bytes[256];
    emr_model *model = fuzz_model("units");
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + i / 7);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        desc.name = tensors[i].name;
        desc.dtype = tensors[i].dtype;
        desc.rank = tensors[i].rank;
        desc.shape = tensors[i].shape;
        desc.data = bytes + i;
        promise(emr_model_add(model, &desc, NULL) == EMR_OK);
    }
    return model;
}

/* Rows of 0 ... columns - 1, each in an order at random; of blocks, blocks and what is in them. */
static uint32_t *random_units(size_t rows, size_t columns, size_t block, fuzz_random *r)
{
    uint32_t *units = malloc((rows * columns + 1) * sizeof *units);
    promise(units != NULL);
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < columns; i++) {
            uint32_t *of = units + row * columns;
            size_t first = i - i % block, k = first + fuzz_below(r, i - first + 1);
            of[i] = of[k];
            of[k] = (uint32_t)i;
        }
    return units;
}

static void set_heads(emr_permutation *p, const emr_unit_group *g, fuzz_random *r)
{
    size_t kv = g->n_kv_heads, dim = g->head_dim;
    uint32_t *arrays[4] = {random_units(1, kv, kv, r), random_units(kv, g->n_heads / kv, g->n_heads / kv, r),
                           random_units(kv, dim, g->fixed_qk ? 1 : dim, r), random_units(kv, dim, dim, r)};
    const emr_head_units units = {sizeof units, arrays[0], arrays[1], arrays[2], arrays[3]};
    emr_error error = {0};
    promise(fuzz_status(emr_permutation_set_heads(p, g->name, &units, &error), &error) == EMR_OK);
    for (size_t i = 0; i < 4; i++)
        free(arrays[i]);
}

emr_permutation *units_permutation(const emr_permutation_spec *spec, fuzz_random *r)
{
    enum { MOST = 100000 };
    emr_permutation *p;
    emr_error error = {0};
    uint64_t all = 0;
    for (uint32_t i = 0; i < emr_permutation_spec_n_groups(spec); i++) {
        emr_unit_group g = EMR_INIT(emr_unit_group);
        promise(emr_permutation_spec_get_group(spec, i, &g) == EMR_OK && g.name && *g.name);
        promise(g.n_units ? g.n_units % g.n_blocks == 0 : g.n_heads % g.n_kv_heads == 0 && g.head_dim);
        all += g.n_units + (uint64_t)g.n_heads * g.head_dim;
    }
    if (all > MOST)
        return NULL;
    promise(fuzz_status(emr_permutation_create(&p, spec, NULL, &error), &error) == EMR_OK);
    for (uint32_t i = 0; i < emr_permutation_spec_n_groups(spec); i++) {
        emr_unit_group g = EMR_INIT(emr_unit_group);
        promise(emr_permutation_spec_get_group(spec, i, &g) == EMR_OK);
        if (!g.n_units) {
            set_heads(p, &g, r);
            continue;
        }
        uint32_t *units = random_units(1, (size_t)g.n_units, (size_t)(g.n_units / g.n_blocks), r);
        promise(fuzz_status(emr_permutation_set_units(p, g.name, units, &error), &error) == EMR_OK);
        free(units);
    }
    return p;
}

static emr_model *reordered(const emr_permutation *p, const emr_model *model)
{
    emr_model *opened;
    emr_error error = {0};
    promise(fuzz_status(emr_permutation_open_model(p, model, &opened, &error), &error) == EMR_OK);
    promise(emr_model_n_tensors(opened) == emr_model_n_tensors(model));
    return opened;
}

void units_check_order(const emr_permutation *p, const emr_model *model, fuzz_random *r)
{
    emr_permutation *inverse;
    emr_error error = {0};
    promise(fuzz_status(emr_permutation_invert(p, &inverse, &error), &error) == EMR_OK);
    emr_model *there = reordered(p, model), *back = reordered(inverse, there);
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *was = emr_model_tensor(model, i), *is = emr_model_tensor(back, i);
        uint8_t one[256], other[256];
        size_t n = (size_t)emr_tensor_bytes(was);
        promise(n <= sizeof one && emr_tensor_bytes(is) == n);
        fuzz_read_tensor(emr_model_tensor(there, i), r, true);
        promise(emr_tensor_read(was, 0, one, n, NULL) == EMR_OK);
        promise(fuzz_status(emr_tensor_read(is, 0, other, n, &error), &error) == EMR_OK);
        promise(memcmp(one, other, n) == 0);
    }
    emr_model_destroy(&back);
    emr_model_destroy(&there);
    emr_permutation_destroy(&inverse);
}
