/* fuzz_adapter.c - any two texts as the configurations of adapters: a status, the same whichever comes first,
 * without runaway allocation; and an adapter of any shapes with the first of them, applied to a small base: a
 * status, or weights that are the same however they are read. An input is two texts, each with a zero byte
 * behind it, and bytes that choose the adapter's tensors. */
#include "fuzz.h"

/* What the library may take to compare them, as emr/adapter.h says; and to apply one, its scratch above all.
 */
enum { FIXED = 64 << 10, TIMES = 50, APPLYING = 6 << 20 };

static emr_model *adapter_with(const char *config)
{
    emr_model *model = fuzz_model("adapter");
    if (emr_model_set_metadata(model, EMR_ADAPTER_CONFIG, config, NULL) != EMR_OK) /* it is not valid UTF-8 */
        emr_model_destroy(&model);
    return model;
}

static emr_status compare_adapters(const emr_model *a, const emr_model *b, size_t size)
{
    static const char *const names[] = {"task 'a'", "task 'b'"};
    const emr_model *models[] = {a, b};
    emr_error error = {0};
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    emr_allocator allocator = fuzz_allocator(&budget);
    const emr_agree_options options = {.size = sizeof options, .allocator = &allocator};
    emr_status status = emr_adapters_agree(models, names, 2, &options, &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EFORMAT);
    promise(status != EMR_EMISMATCH || (strstr(error.text, names[0]) && strstr(error.text, names[1])));
    fuzz_status(status, &error);
    promise(budget.now == 0);
    return status;
}

/* Elements by their place; the first of some are no numbers. */
static emr_status compute_anything(const emr_computation *c, emr_error *error)
{
    const float *odd = c->user;
    (void)error;
    for (size_t i = 0; i < c->count; i++) {
        uint64_t at = c->first + i;
        float value = at == 1 ? *odd : (float)(at % 7) - 3;
        memcpy((char *)c->out + i * sizeof value, &value, sizeof value);
    }
    return EMR_OK;
}

static void add_tensor(emr_model *m, const char *name, const uint64_t *shape, uint32_t rank, const float *odd)
{
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = name;
    desc.shape = shape;
    desc.rank = rank;
    desc.dtype = EMR_DTYPE_F32;
    desc.compute = compute_anything;
    desc.user = (void *)(uintptr_t)odd;
    emr_model_add(m, &desc, NULL); /* names may come twice, and shapes be too large */
}

static const float oddities[] = {0, 1e38f, -0.0f};

static emr_model *base_model(void)
{
    emr_model *m = fuzz_model("base");
    add_tensor(m, "model.q.weight", (const uint64_t[]){4, 6}, 2, &oddities[0]);
    add_tensor(m, "model.q.bias", (const uint64_t[]){4}, 1, &oddities[1]);
    add_tensor(m, "wte.weight", (const uint64_t[]){5, 3}, 2, &oddities[0]);
    add_tensor(m, "conv.weight", (const uint64_t[]){4, 3, 2, 1}, 4, &oddities[2]);
    add_tensor(m, "s.weight", (const uint64_t[]){5, 5}, 2, &oddities[0]);
    return m;
}

/* Three bytes a tensor: a name and two of its dimensions. Without them, one that fits. */
static emr_model *adapter_model(const char *config, const uint8_t *choices, size_t n)
{
    static const char *const names[] = {"q.lora_A.weight",
                                        "q.lora_B.weight",
                                        "q.lora_B.bias",
                                        "q.lora_magnitude_vector",
                                        "wte.lora_embedding_A",
                                        "wte.lora_embedding_B",
                                        "wte.lora_magnitude_vector",
                                        "base_model.model.conv.lora_A.weight",
                                        "base_model.model.conv.lora_B.weight",
                                        "s.lora_A.weight",
                                        "s.lora_B.weight",
                                        "q.ia3_l",
                                        "s.ia3_l",
                                        "conv.ia3_l",
                                        "base_model.model.model.q.base_layer.weight",
                                        "head.weight",
                                        "q.lora_down.weight"};
    static const uint64_t dimensions[] = {0, 1, 2, 3, 4, 5, 6, 8, 64, 65537, 1ull << 31, 1ull << 40};
    static const uint8_t fits[] = {0, 3, 6, 1, 4, 3};
    emr_model *m = fuzz_model("adapter");
    if (emr_model_set_metadata(m, EMR_ADAPTER_CONFIG, config, NULL) != EMR_OK)
        emr_model_destroy(&m);
    if (n < 3) {
        choices = fits;
        n = sizeof fits;
    }
    for (size_t i = 0; m && i + 2 < n && i < 60; i += 3) {
        const char *name = names[choices[i] % 17];
        bool is_conv = strstr(name, "conv.") != NULL, is_a = strstr(name, "_A") != NULL;
        uint64_t one = dimensions[choices[i + 1] % 12], other = dimensions[choices[i + 2] % 12];
        const uint64_t shape[] = {one, other, is_conv && is_a ? 2 : 1, 1};
        add_tensor(m, name, shape, is_conv ? 4 : choices[i] < 200 ? 2 : 1, &oddities[choices[i] % 3]);
    }
    return m;
}

static void apply_adapter(const char *config, const uint8_t *choices, size_t n)
{
    emr_error error = {0};
    fuzz_budget budget = {.cap = APPLYING + TIMES * (strlen(config) + n)};
    fuzz_random random = fuzz_random_make(n);
    emr_allocator allocator = fuzz_allocator(&budget);
    const emr_resources resources = {.size = sizeof resources, .allocator = &allocator};
    emr_model *base = base_model(), *adapter = adapter_model(config, choices, n), *applied = NULL;
    if (adapter) {
        emr_status status =
            fuzz_status(emr_adapter_apply(&applied, base, adapter, &resources, &error), &error);
        promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EFORMAT ||
                status == EMR_EUNSUPPORTED);
        promise((status == EMR_OK) == (applied != NULL));
    }
    for (uint32_t i = 0; applied && i < emr_model_n_tensors(applied); i++)
        fuzz_read_tensor(emr_model_tensor(applied, i), &random, true);
    emr_model_destroy(&applied);
    promise(budget.now == 0);
    emr_model_destroy(&adapter);
    emr_model_destroy(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *text = malloc(size + 2);
    promise(text != NULL);
    memcpy(text, data, size);
    text[size] = text[size + 1] = '\0';
    const char *one = (const char *)text, *two = one + strlen(one) + 1;
    size_t configs = (size_t)(two - one) + strlen(two) + 1;
    const uint8_t *choices = configs < size ? data + configs : data + size;
    emr_model *a = adapter_with(one), *b = adapter_with(two);
    if (a && b) {
        emr_status own_a = compare_adapters(a, a, 2 * strlen(one)),
                   own_b = compare_adapters(b, b, 2 * strlen(two));
        emr_status status = compare_adapters(a, b, size), turned = compare_adapters(b, a, size);
        promise(own_a != EMR_EMISMATCH && own_b != EMR_EMISMATCH); /* each agrees with itself, if it is one */
        promise(status == turned);
        promise((status == EMR_EFORMAT) == (own_a == EMR_EFORMAT || own_b == EMR_EFORMAT));
    }
    emr_model_destroy(&a);
    emr_model_destroy(&b);
    apply_adapter(one, choices, (size_t)(data + size - choices));
    free(text);
    return 0;
}
