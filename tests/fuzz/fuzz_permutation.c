/* fuzz_permutation.c - any bytes as a saved permutation of a small model's units: it is refused in a sentence and nothing has changed, or
 * it is one, which comes back when it is saved again, and brings the model into its order and back. An input is a byte that is not
 * used and a safetensors file. */
#include "fuzz_units.h"

static emr_permutation_spec *spec_of_units(void)
{
    emr_permutation_spec *spec;
    promise(emr_permutation_spec_parse(&spec, units_spec, strlen(units_spec), NULL, NULL) == EMR_OK);
    return spec;
}

/* The bytes of a permutation's file. */
static emr_buffer *saved(const emr_permutation *p)
{
    emr_buffer *buffer = fuzz_buffer();
    emr_model *model;
    emr_error error = {0};
    promise(fuzz_status(emr_permutation_open_indices(p, &model, &error), &error) == EMR_OK);
    promise(fuzz_status(emr_safetensors_write(model, emr_buffer_io(buffer), NULL, &error), &error) == EMR_OK);
    emr_model_destroy(&model);
    return buffer;
}

static bool same_bytes(const emr_buffer *a, const emr_buffer *b)
{
    return emr_buffer_bytes(a) == emr_buffer_bytes(b) &&
           memcmp(emr_buffer_data(a), emr_buffer_data(b), (size_t)emr_buffer_bytes(a)) == 0;
}

/* What was read is what its tensors say. */
static void check_read(const emr_permutation *p, const emr_permutation_spec *spec, const emr_model *file)
{
    uint32_t units[6];
    emr_permutation *again;
    emr_error error = {0};
    promise(emr_tensor_read(emr_model_find_tensor(file, "a"), 0, units, sizeof units, NULL) == EMR_OK);
    promise(memcmp(units, emr_permutation_units(p, "a"), sizeof units) == 0);
    promise(emr_permutation_create(&again, spec, NULL, NULL) == EMR_OK);
    promise(fuzz_status(emr_permutation_read_indices(again, file, &error), &error) == EMR_OK);
    emr_buffer *one = saved(p), *other = saved(again);
    promise(same_bytes(one, other));
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&other);
    emr_permutation_destroy(&again);
}

static void read_file(const emr_model *file, size_t seed)
{
    emr_error error = {0};
    fuzz_random random = fuzz_random_make(seed);
    emr_permutation_spec *spec = spec_of_units();
    emr_permutation *p = units_permutation(spec, &random);
    emr_buffer *before = saved(p);
    emr_status status = fuzz_status(emr_permutation_read_indices(p, file, &error), &error);
    promise(status == EMR_OK || status == EMR_EMISMATCH || status == EMR_EINVAL);
    if (status) {
        emr_buffer *after = saved(p);
        promise(same_bytes(before, after));
        emr_buffer_destroy(&after);
    } else {
        emr_model *model = units_model();
        check_read(p, spec, file);
        units_check_order(p, model, &random);
        emr_model_destroy(&model);
    }
    emr_buffer_destroy(&before);
    emr_permutation_destroy(&p);
    emr_permutation_spec_destroy(&spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    emr_model *file;
    emr_error error = {0};
    if (!size)
        return 0;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    emr_buffer *buffer = fuzz_buffer_of(bytes, size - 1);
    if (!fuzz_status(emr_safetensors_open(&file, emr_buffer_io(buffer), "p.safetensors", NULL, &error),
                     &error))
        read_file(file, size);
    emr_model_destroy(&file);
    emr_buffer_destroy(&buffer);
    free(bytes);
    return 0;
}
