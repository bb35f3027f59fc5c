/* fuzz_gguf_split.c - any bytes as the two files of a split GGUF model: a status, or a model that took no
 * more memory than is said below, and that comes back the same when it is written as one file. An input is a
 * byte of choices, the length of the first file in two bytes, the first file and the second. */
#include "fuzz.h"

#include "checkpoint/gguf.h"
#include "core/hash.h"

enum { CHOICE_SECOND = 1 /* is named */, CHOICE_DEQUANTISE = 2, START = 3, N_FILES = 2 };

/* What the library may take to open the files, as emr/checkpoint.h says. */
enum { FIXED = 64 << 10, TIMES = 24, WRITING = 4 << 20 };

static const char *const names[N_FILES] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};

/* The files, where the library's way to open one finds them. */
static emr_buffer *files[N_FILES];

static emr_status open_part(emr_model *model, const char *path, const emr_io **io, const char **name,
                            emr_error *error)
{
    (void)model;
    for (size_t i = 0; i < N_FILES; i++)
        if (strcmp(path, names[i]) == 0) {
            *io = emr_buffer_io(files[i]);
            *name = names[i];
            return EMR_OK;
        }
    return emr_error_set(error, EMR_EIO, 2, path, "there are but two files");
}

static void write_one(const emr_model *model, const emr_buffer *to)
{
    emr_error error = {0};
    fuzz_budget budget = {.cap = WRITING};
    emr_allocator allocator = fuzz_allocator(&budget);
    const emr_resources resources = {
        .size = sizeof resources, .allocator = &allocator, .memory_bytes = 1 << 20};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    promise(fuzz_status(emr_gguf_write(model, emr_buffer_io(to), &options, &error), &error) == EMR_OK);
    promise(budget.now == 0);
}

/* As one file it has the same tensors, and the same bytes when it is written once more. */
static void check_joined(const emr_model *model)
{
    emr_error error = {0};
    emr_buffer *one = fuzz_buffer(), *twice = fuzz_buffer();
    emr_model *again;
    write_one(model, one);
    promise(emr_gguf_open(&again, emr_buffer_io(one), "one.gguf", NULL, &error) == EMR_OK);
    promise(emr_model_n_tensors(again) == emr_model_n_tensors(model));
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *a = emr_model_tensor(model, i), *b = emr_model_tensor(again, i);
        bool is_header =
            strcmp(emr_tensor_name(a), EMR_GGUF_HEADER) == 0; /* may say less than in a file that is alone */
        promise(strcmp(emr_tensor_name(a), emr_tensor_name(b)) == 0);
        promise(is_header || emr_tensor_bytes(a) == emr_tensor_bytes(b));
    }
    write_one(again, twice);
    promise(emr_buffer_bytes(twice) == emr_buffer_bytes(one));
    promise(memcmp(emr_buffer_data(twice), emr_buffer_data(one), emr_buffer_bytes(one)) == 0);
    emr_model_destroy(&again);
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&twice);
}

static void open_split(const emr_model_options *made, size_t named, uint32_t dequantise, uint64_t seed)
{
    emr_error error = {0};
    emr_model *model;
    fuzz_random random = fuzz_random_make(seed);
    const emr_checkpoint_read_options options = {.size = sizeof options, .dequantise = dequantise};
    promise(emr_model_create(&model, made, &error) == EMR_OK);
    emr_status status =
        emr_gguf_load_path(model, emr_buffer_io(files[named]), names[named], &options, open_part, &error);
    fuzz_status(status, &error);
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EUNSUPPORTED || status == EMR_EIO);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(model) && i < 30; i++)
        fuzz_read_tensor(emr_model_tensor(model, i), &random, true);
    if (!status && !dequantise)
        check_joined(model);
    emr_model_destroy(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < START)
        return 0;
    size_t all = size - START, first = data[1] | (size_t)data[2] << 8;
    first = first < all ? first : all;
    uint8_t *bytes[N_FILES] = {fuzz_copy(data + START, first), fuzz_copy(data + START + first, all - first)};
    files[0] = fuzz_buffer_of(bytes[0], first);
    files[1] = fuzz_buffer_of(bytes[1], all - first);
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    emr_allocator allocator = fuzz_allocator(&budget);
    const emr_model_options made = {.size = sizeof made, .allocator = &allocator, .name = names[0]};
    open_split(&made, data[0] & CHOICE_SECOND ? 1 : 0, data[0] & CHOICE_DEQUANTISE, emr_hash64(data, size));
    promise(budget.now == 0);
    for (size_t i = 0; i < N_FILES; i++) {
        emr_buffer_destroy(&files[i]);
        free(bytes[i]);
    }
    return 0;
}
