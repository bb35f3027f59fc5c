/* fuzz_surgery.c - any bytes as a saved adapter: it is refused in a sentence, or it is one, which takes no more memory than is said
 * below, comes back to the bit when it is saved again, and is applied and fitted. An input is a byte of choices and a safetensors file. */
#include "saved.h"

#include <emr/fit/surgery.h>

enum { CHOICE_RANK = 1, CHOICE_WIDTH = 2 };
enum { RANK = 2, WIDTH = 3 }; /* that are asked for */

/* Of weights: themselves, in f64 with m, v and two gradients each; a block of rows. */
enum { FIXED = 64 << 10, TIMES = 256 };

static emr_surgery *opened(const emr_model *file, const emr_surgery_options *options)
{
    emr_surgery *adapter;
    emr_error error = {0};
    emr_status status = fuzz_status(emr_surgery_open(&adapter, file, "t.final", options, &error), &error);
    promise((status == EMR_OK) == (adapter != NULL));
    promise(status == EMR_OK || status == EMR_ENOTFOUND || status == EMR_EFORMAT || status == EMR_EMISMATCH ||
            status == EMR_ENONFINITE);
    return adapter;
}

static emr_buffer *saved_adapter(const emr_surgery *adapter)
{
    const char *const place = "t.final";
    emr_model *model;
    emr_error error = {0};
    promise(fuzz_status(emr_surgery_open_model(&adapter, &place, 1, &model, &error), &error) == EMR_OK);
    return saved_bytes(model);
}

static void check_saved(const emr_surgery *adapter)
{
    emr_buffer *one = saved_adapter(adapter);
    emr_model *file = saved_open(one);
    emr_surgery *again = opened(file, NULL);
    promise(again && emr_surgery_width(again) == emr_surgery_width(adapter));
    promise(emr_surgery_rank(again) == emr_surgery_rank(adapter));
    emr_model_destroy(&file);
    promise(saved_same(one, saved_adapter(again)));
    emr_surgery_destroy(&again);
}

/* Two rows: the second of one call is the first of another. */
static void check_use(emr_surgery *adapter)
{
    const size_t width = (size_t)emr_surgery_width(adapter);
    float *x = calloc(4 * width, sizeof *x), *y = x + 2 * width, *z = x + 3 * width;
    double loss;
    emr_error error = {0};
    for (size_t i = 0; i < 2 * width; i++)
        x[i] = (float)(i % 5) - 2;
    promise(fuzz_status(emr_surgery_apply(adapter, x, y, 2, &error), &error) == EMR_OK);
    float *second = malloc(width * sizeof *second);
    promise(emr_surgery_apply(adapter, x + width, second, 1, NULL) == EMR_OK);
    promise(memcmp(second, y + width, width * sizeof *second) == 0);
    free(second);
    memset(z, 0, width * sizeof *z);
    emr_status status = fuzz_status(emr_surgery_train(adapter, x, z, 1, &loss, &error), &error);
    promise(status == EMR_OK || status == EMR_ENONFINITE);
    free(x);
}

static void read_adapter(const emr_model *file, uint8_t choices, size_t size)
{
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    const emr_allocator allocator = fuzz_allocator(&budget);
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator};
    emr_surgery_options options = {.size = sizeof options, .resources = &resources};
    options.rank = choices & CHOICE_RANK ? RANK : 0;
    options.width = choices & CHOICE_WIDTH ? WIDTH : 0;
    emr_surgery *adapter = opened(file, &options);
    budget.cap = SIZE_MAX / 2; /* of saving, too */
    if (adapter) {
        promise(!options.rank || emr_surgery_rank(adapter) == RANK);
        promise(!options.width || emr_surgery_width(adapter) == WIDTH);
        check_saved(adapter);
        check_use(adapter);
    }
    emr_surgery_destroy(&adapter);
    promise(budget.now == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    saved_read(data, size, read_adapter);
    return 0;
}
