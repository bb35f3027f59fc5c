/* fuzz_spec.c - any text as a permutation spec: it is refused in a sentence, or it has groups and layers that can be asked for, and comes
 * back the same when it is written and read again. Where it fits a small model, that model's units can be brought into any order and
 * back. An input is the text. */
#include "fuzz_units.h"

/* What a spec takes of its allocator: a text of a few bytes is an object of a few hundred. */
enum { FIXED = 64 << 10, TIMES = 256 };

static emr_permutation_spec *parsed(const char *text, size_t size, const emr_allocator *allocator)
{
    emr_permutation_spec *spec;
    emr_error error = {0};
    emr_status status = fuzz_status(emr_permutation_spec_parse(&spec, text, size, allocator, &error), &error);
    promise((status == EMR_OK) == (spec != NULL));
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_ELIMIT);
    return spec;
}

static emr_buffer *written(const emr_permutation_spec *spec)
{
    emr_buffer *buffer = fuzz_buffer();
    emr_error error = {0};
    promise(fuzz_status(emr_permutation_spec_write(spec, emr_buffer_io(buffer), &error), &error) == EMR_OK);
    return buffer;
}

static void check_layers(const emr_permutation_spec *spec)
{
    emr_fit_layer layer = EMR_INIT(emr_fit_layer);
    uint32_t n = emr_permutation_spec_n_layers(spec);
    for (uint32_t i = 0; i < n; i++)
        promise(emr_permutation_spec_get_layer(spec, i, &layer) == EMR_OK && *layer.weight && *layer.site &&
                layer.input_axis <= 1);
    promise(emr_permutation_spec_get_layer(spec, n, &layer) == EMR_ENOTFOUND);
}

static void check_written(const emr_permutation_spec *spec)
{
    emr_buffer *once = written(spec);
    emr_permutation_spec *again = parsed(emr_buffer_data(once), (size_t)emr_buffer_bytes(once), NULL);
    promise(again != NULL);
    emr_buffer *twice = written(again);
    promise(emr_buffer_bytes(once) == emr_buffer_bytes(twice));
    promise(memcmp(emr_buffer_data(once), emr_buffer_data(twice), (size_t)emr_buffer_bytes(once)) == 0);
    emr_permutation_spec_destroy(&again);
    emr_buffer_destroy(&once);
    emr_buffer_destroy(&twice);
}

static void check_fit(const emr_permutation_spec *spec, fuzz_random *random)
{
    emr_error error = {0};
    emr_model *model = units_model(), *opened = NULL;
    emr_permutation *p = units_permutation(spec, random);
    emr_status status = fuzz_status(emr_permutation_spec_check(spec, model, &error), &error);
    if (p && !status) /* elements that belong to two entries are seen when it is opened */
        status = fuzz_status(emr_permutation_open_model(p, model, &opened, &error), &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH);
    if (opened)
        units_check_order(p, model, random);
    emr_model_destroy(&opened);
    emr_permutation_destroy(&p);
    emr_model_destroy(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    const emr_allocator allocator = fuzz_allocator(&budget);
    fuzz_random random = fuzz_random_make(size);
    char *text = (char *)fuzz_copy(data, size);
    emr_permutation_spec *spec = parsed(text, size, &allocator);
    free(text);
    if (spec) {
        check_layers(spec);
        check_written(spec);
        check_fit(spec, &random);
    }
    emr_permutation_spec_destroy(&spec);
    promise(budget.now == 0);
    return 0;
}
