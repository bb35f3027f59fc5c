/* fuzz_shard_index.c - any bytes as a shard index beside three small shards: a status, or a model of tensors
 * that are in those shards, without runaway allocation. An index is opened by its path, so each input is
 * written to a file; where there is /dev/shm, or $TMPDIR says so, it stays in memory. */
#define _POSIX_C_SOURCE 200809L

#include "fuzz.h"

#include <stdio.h>
#include <unistd.h>

/* What the library may take to open an index, as emr/checkpoint.h says, and for the shards themselves. */
enum { FIXED = (64 << 10) + (16 << 10), TIMES = 24 };

#define HEADER_A                                                                                             \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"                                       \
    "\"y\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[4,8]}}  "
#define HEADER_B "{\"z\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]}}"
#define HEADER_C "{\"__metadata__\":{\"format\":\"pt\"}}"

typedef struct shard {
    const char *name, *header, *data;
    size_t data_bytes;
} shard;

static const shard shards[] = {
    {"a.safetensors", HEADER_A, "xxxxyyyy", 8},
    {"b.safetensors", HEADER_B, "zzzzzz", 6},
    {"c.safetensors", HEADER_C, "", 0},
};
enum { N_SHARDS = sizeof shards / sizeof shards[0] };

static char directory[200], index_path[256];

static FILE *create(const char *path)
{
    FILE *f = fopen(path, "wb");
    promise(f != NULL);
    return f;
}

static void clean_up(void)
{
    char path[256];
    for (size_t i = 0; i < N_SHARDS; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, shards[i].name);
        unlink(path);
    }
    unlink(index_path);
    rmdir(directory);
}

static void make_directory(void)
{
    const char *wanted = getenv("TMPDIR");
    const char *parent = wanted ? wanted : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char path[256];
    snprintf(directory, sizeof directory, "%s/emr-fuzz-XXXXXX", parent);
    promise(mkdtemp(directory) != NULL);
    snprintf(index_path, sizeof index_path, "%s/model.safetensors.index.json", directory);
    for (size_t i = 0; i < N_SHARDS; i++) {
        uint8_t length[8] = {(uint8_t)strlen(shards[i].header)};
        snprintf(path, sizeof path, "%s/%s", directory, shards[i].name);
        FILE *f = create(path);
        fwrite(length, 1, sizeof length, f);
        fputs(shards[i].header, f);
        fwrite(shards[i].data, 1, shards[i].data_bytes, f);
        promise(fclose(f) == 0);
    }
    atexit(clean_up);
}

/* Nothing comes out but what the shards hold. */
static void check_model(const emr_model *model)
{
    static const char *const names[] = {"x", "y", "z"};
    uint32_t n = emr_model_n_tensors(model);
    promise(n <= 3);
    for (uint32_t i = 0; i < n; i++) {
        emr_error error = {0};
        const emr_tensor *t = emr_model_tensor(model, i);
        uint8_t first;
        size_t known = 0;
        while (known < 3 && strcmp(names[known], emr_tensor_name(t)) != 0)
            known++;
        promise(known < 3);
        promise(fuzz_status(emr_tensor_read(t, 0, &first, 1, &error), &error) == EMR_OK);
        promise(first == (uint8_t)names[known][0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    emr_error error = {0};
    emr_model *model;
    if (!directory[0])
        make_directory();
    FILE *f = create(index_path);
    promise(fwrite(data, 1, size, f) == size && fclose(f) == 0);
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    emr_allocator allocator = fuzz_allocator(&budget);
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.allocator = &allocator;
    emr_status status = emr_checkpoint_open(&model, index_path, &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (model != NULL));
    promise(status != EMR_ENOMEM);
    if (model)
        check_model(model);
    emr_model_destroy(&model);
    promise(budget.now == 0);
    return 0;
}
