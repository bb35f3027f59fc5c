/* fuzz_adapter.c - any two texts as the configurations of adapters: a status, the same whichever comes first,
 * without runaway allocation. An input is two texts with a zero byte between them. */
#include "fuzz.h"

/* What the library may take to compare them, as emr/checkpoint.h says. */
enum { FIXED = 64 << 10, TIMES = 50 };

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
    emr_status status = emr_adapters_agree(models, names, 2, &allocator, &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EFORMAT);
    promise(status != EMR_EMISMATCH || (strstr(error.text, names[0]) && strstr(error.text, names[1])));
    fuzz_status(status, &error);
    promise(budget.now == 0);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *text = malloc(size + 2);
    promise(text != NULL);
    memcpy(text, data, size);
    text[size] = text[size + 1] = '\0';
    const char *one = (const char *)text, *two = one + strlen(one) + 1;
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
    free(text);
    return 0;
}
