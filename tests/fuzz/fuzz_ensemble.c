/* fuzz_ensemble.c - any bytes as a saved ensemble: it is refused in a sentence, or it is one, which takes no more memory than is said below,
 * comes back to the bit when it is saved again, and weighs sources. An input is a byte of choices and a safetensors file. */
#include "saved.h"

#include <emr/fit/ensemble.h>

enum { CHOICE_TRAINS = 1 };
enum { SAMPLES = 2, SOURCES = 2, COLUMNS = 3 };

/* Of weights: in f64, with m and v. */
enum { FIXED = 64 << 10, TIMES = 64 };

static emr_ensemble *opened(const emr_model *file, const emr_ensemble_options *options)
{
    emr_ensemble *ensemble;
    emr_error error = {0};
    emr_status status = fuzz_status(emr_ensemble_open(&ensemble, file, options, &error), &error);
    promise((status == EMR_OK) == (ensemble != NULL));
    promise(status == EMR_OK || status == EMR_EFORMAT);
    return ensemble;
}

static emr_buffer *saved_network(const emr_ensemble *ensemble)
{
    emr_model *model;
    emr_error error = {0};
    promise(fuzz_status(emr_ensemble_open_model(ensemble, &model, &error), &error) == EMR_OK);
    return saved_bytes(model);
}

static void check_saved(const emr_ensemble *ensemble)
{
    emr_buffer *one = saved_network(ensemble);
    emr_model *file = saved_open(one);
    emr_ensemble *again = opened(file, NULL);
    promise(again);
    emr_model_destroy(&file);
    promise(saved_same(one, saved_network(again)));
    emr_ensemble_destroy(&again);
}

/* Numbers from -2 to 2; free them. */
static float *numbers(size_t n)
{
    float *made = malloc(n * sizeof *made);
    for (size_t i = 0; i < n; i++)
        made[i] = (float)(i % 5) - 2;
    return made;
}

static void check_use(emr_ensemble *ensemble, const emr_model *file, uint8_t choices)
{
    static const uint32_t labels[SAMPLES] = {0, 2};
    const size_t x_width = (size_t)emr_tensor_shape(emr_model_find_tensor(file, "x.down.weight"))[1],
                 key_width = (size_t)emr_tensor_shape(emr_model_find_tensor(file, "l.down.weight"))[1];
    float *x = numbers(SAMPLES * x_width), *keys = numbers(SAMPLES * SOURCES * key_width),
          *values = numbers(SAMPLES * SOURCES * COLUMNS), weights[SAMPLES][SOURCES], out[SAMPLES][COLUMNS];
    const emr_ensemble_batch batch = {sizeof batch, x, keys, values, labels, SAMPLES, SOURCES, COLUMNS};
    double loss;
    emr_error error = {0};
    emr_status status =
        fuzz_status(emr_ensemble_combine(ensemble, &batch, &weights[0][0], &out[0][0], &error), &error);
    promise(status == EMR_OK || status == EMR_ENONFINITE);
    for (size_t i = 0; !status && i < SAMPLES; i++)
        promise(weights[i][0] >= 0 && weights[i][1] >= 0 && weights[i][0] + weights[i][1] > 0.999f &&
                weights[i][0] + weights[i][1] < 1.001f);
    if (choices & CHOICE_TRAINS) {
        status = fuzz_status(emr_ensemble_train(ensemble, &batch, &loss, &error), &error);
        promise(status == EMR_OK || status == EMR_ENONFINITE);
    }
    free(x);
    free(keys);
    free(values);
}

static void read_network(const emr_model *file, uint8_t choices, size_t size)
{
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    const emr_allocator allocator = fuzz_allocator(&budget);
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator};
    emr_ensemble_options options = {.size = sizeof options, .resources = &resources};
    emr_ensemble *ensemble = opened(file, &options);
    budget.cap = SIZE_MAX / 2; /* of saving, too */
    if (ensemble) {
        check_saved(ensemble);
        check_use(ensemble, file, choices);
    }
    emr_ensemble_destroy(&ensemble);
    promise(budget.now == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    saved_read(data, size, read_network);
    return 0;
}
