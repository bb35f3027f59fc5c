/* fuzz_safetensors.c - any bytes as a safetensors file: a status, or a model whose tensors tile the file's
 * data and can be read, that took no more memory than is said below, and that comes back the same when it is
 * written and opened again. Dequantised it ends with a status too, or with weights that can be read. The
 * input's first byte chooses how it is read; the file follows. */
#include "fuzz.h"

#include "core/hash.h"

enum { CHOICE_MAP = 1 };

/* What the library may take to open a file, as emr/checkpoint.h says. */
enum { FIXED = 64 << 10, TIMES = 24 };

/* What it is given to write one, besides as much for a header as to open it. */
enum { WRITING = 1 << 20 };

enum { READ_TENSORS = 60 };

static size_t check_tensors(const emr_model *model, const uint8_t *bytes, size_t size, fuzz_random *r)
{
    size_t data = 0, at;
    uint32_t n = emr_model_n_tensors(model);
    for (uint32_t i = 0; i < n; i++)
        data += (size_t)emr_tensor_bytes(emr_model_tensor(model, i));
    promise(data <= size);
    at = size - data;
    for (uint32_t i = 0; i < n; i++) { /* in the order of their data, which ends the file */
        const emr_tensor *t = emr_model_tensor(model, i);
        uint8_t first;
        emr_error error = {0};
        promise(emr_model_find_tensor(model, emr_tensor_name(t)) == t);
        if (emr_tensor_bytes(t)) {
            promise(fuzz_status(emr_tensor_read(t, 0, &first, 1, &error), &error) == EMR_OK);
            promise(first == bytes[at]);
        }
        at += (size_t)emr_tensor_bytes(t);
        if (i < READ_TENSORS)
            fuzz_read_tensor(t, r, true);
    }
    return data;
}

static void check_same_tensor(const emr_tensor *a, const emr_tensor *b)
{
    emr_error error = {0};
    size_t n = (size_t)emr_tensor_bytes(a);
    promise(b && emr_tensor_dtype(a) == emr_tensor_dtype(b) && emr_tensor_rank(a) == emr_tensor_rank(b));
    promise(emr_tensor_bytes(b) == n && emr_tensor_count(a) == emr_tensor_count(b));
    for (uint32_t d = 0; d < emr_tensor_rank(a); d++)
        promise(emr_tensor_shape(a)[d] == emr_tensor_shape(b)[d]);
    uint8_t *x = malloc(n + 1), *y = malloc(n + 1);
    promise(x && y);
    promise(fuzz_status(emr_tensor_read(a, 0, x, n, &error), &error) == EMR_OK);
    promise(fuzz_status(emr_tensor_read(b, 0, y, n, &error), &error) == EMR_OK);
    promise(memcmp(x, y, n) == 0);
    free(x);
    free(y);
}

/* Written and opened again it is the same model. */
static void check_rewritten(const emr_model *model, size_t size)
{
    emr_error error = {0};
    fuzz_budget budget = {.cap = WRITING + FIXED + TIMES * size};
    emr_allocator allocator = fuzz_allocator(&budget);
    emr_buffer *buffer = fuzz_buffer();
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator, .memory_bytes = WRITING};
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    emr_model *again;
    options.resources = &resources;
    const emr_io *io = emr_buffer_io(buffer);
    promise(fuzz_status(emr_safetensors_write(model, io, &options, &error), &error) == EMR_OK);
    promise(budget.now == 0);
    promise(fuzz_status(emr_safetensors_open(&again, io, "again", NULL, &error), &error) == EMR_OK);
    promise(emr_model_n_tensors(again) == emr_model_n_tensors(model));
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        check_same_tensor(t, emr_model_find_tensor(again, emr_tensor_name(t)));
    }
    promise(emr_model_n_metadata(again) == emr_model_n_metadata(model));
    for (uint32_t i = 0; i < emr_model_n_metadata(model); i++) {
        const char *key, *value, *other_key, *other_value;
        promise(emr_model_get_metadata(model, i, &key, &value) == EMR_OK);
        promise(emr_model_get_metadata(again, i, &other_key, &other_value) == EMR_OK);
        promise(strcmp(key, other_key) == 0 && strcmp(value, other_value) == 0);
    }
    emr_model_destroy(&again);
    emr_buffer_destroy(&buffer);
}

/* Every tensor has a role, and a side-car's code is one. */
static void check_roles(const emr_model *model)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        emr_tensor_role role = EMR_INIT(emr_tensor_role), of_code = EMR_INIT(emr_tensor_role);
        promise(emr_tensor_get_role(emr_model_tensor(model, i), &role) == EMR_OK);
        promise((role.family != NULL) == (role.role != EMR_ROLE_WEIGHT));
        promise((role.code != NULL) == (role.role == EMR_ROLE_SIDECAR));
        if (role.code)
            promise(emr_tensor_get_role(role.code, &of_code) == EMR_OK && of_code.role == EMR_ROLE_CODE &&
                    of_code.family == role.family);
    }
}

/* The same file, dequantised: all tensors can be read. */
static void check_dequantised(const emr_io *io, emr_checkpoint_read_options options, fuzz_random *random)
{
    emr_error error = {0};
    emr_model *model;
    options.dequantise = 1;
    emr_status status =
        fuzz_status(emr_safetensors_open(&model, io, "input.safetensors", &options, &error), &error);
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_ELIMIT);
    if (status)
        return;
    check_roles(model);
    for (uint32_t i = 0; i < emr_model_n_tensors(model) && i < READ_TENSORS; i++)
        fuzz_read_tensor(emr_model_tensor(model, i), random, true);
    emr_model_destroy(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    emr_error error = {0};
    emr_model *model;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    emr_buffer *file = fuzz_buffer_of(bytes, size - 1);
    emr_io io = *emr_buffer_io(file);
    io.map = data[0] & CHOICE_MAP ? io.map : NULL;
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    emr_allocator allocator = fuzz_allocator(&budget);
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.allocator = &allocator;
    fuzz_random random = fuzz_random_make(emr_hash64(bytes, size - 1));
    emr_status status = emr_safetensors_open(&model, &io, "input.safetensors", &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (model != NULL));
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EUNSUPPORTED);
    if (model) {
        check_tensors(model, bytes, size - 1, &random);
        check_rewritten(model, size);
        check_roles(model);
    }
    bool is_valid = model != NULL;
    emr_model_destroy(&model);
    if (is_valid)
        check_dequantised(&io, options, &random);
    promise(budget.now == 0);
    emr_buffer_destroy(&file);
    free(bytes);
    return 0;
}
