/* fuzz_config.c - any text as a model's config.json: it changes where it should and is refused where it cannot, without
 * runaway allocation. An input is a byte of choices and the text. */
#include "fuzz.h"

#include "checkpoint/config_text.h"

/* What the library may take, as config_text.h says. */
enum { FIXED = 64 << 10, TIMES = 24 };

static emr_status change_text(emr_config *config, const uint8_t *text, size_t n,
                              const emr_config_change *change, fuzz_budget *budget)
{
    emr_error error = {0};
    emr_allocator allocator = fuzz_allocator(budget);
    emr_status status =
        emr_config_look(config, &allocator, (const char *)text, n, change, "config.json", &error);
    promise(status == EMR_OK || (status == EMR_EFORMAT && (change->dtype || change->drop_quantization)));
    return fuzz_status(status, &error);
}

/* What has changed has nothing left to change; and without a wish nothing changes. */
static void check_text(const uint8_t *text, size_t n, const emr_config_change *change)
{
    const emr_config_change none = {0};
    fuzz_budget budget = {.cap = FIXED + TIMES * n};
    emr_allocator allocator = fuzz_allocator(&budget);
    emr_config first, again, same;
    promise(change_text(&same, text, n, &none, &budget) == EMR_OK && !same.text);
    if (change_text(&first, text, n, change, &budget) == EMR_OK && first.text) {
        promise(change_text(&again, (const uint8_t *)first.text, first.n, change, &budget) == EMR_OK);
        promise(!again.text);
        promise(first.is_diffusers == same.is_diffusers);
        promise(change->dtype || first.n < n);
        emr_release(&allocator, first.text);
    }
    promise(budget.now == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const emr_dtype dtypes[] = {0, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    if (size == 0)
        return 0;
    const emr_config_change change = {.dtype = dtypes[data[0] & 3], .drop_quantization = data[0] & 4};
    uint8_t *text = fuzz_copy(data + 1, size - 1);
    check_text(text, size - 1, &change);
    free(text);
    return 0;
}
