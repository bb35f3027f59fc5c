/* custom_allocator.c - all of the library's memory out of one fixed arena: nothing from anywhere else,
 * everything back at the end, and too small an arena is an ordinary error. */
#include <emr/emr.h>

#include <stdio.h>
#include <stdlib.h>

/* Precedes what is handed out; blocks lie one after another. 64 is the largest alignment ever asked for. */
typedef struct block {
    _Alignas(64) struct block *next;
    size_t bytes; /* of this block, with this header */
    int used;
} block;

typedef struct arena {
    block *first;
    size_t in_use, peak;
} arena;

static arena arena_over(void *memory, size_t bytes)
{
    block *all = memory;
    *all = (block){NULL, bytes, 0};
    return (arena){all, 0, 0};
}

/* First fit. A host whose executor has several threads would take a lock here and in arena_free. */
static void *arena_alloc(void *user, size_t bytes, size_t alignment)
{
    arena *a = user;
    block *b = a->first;
    if (alignment > sizeof(block) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = sizeof(block) + (bytes + sizeof(block) - 1) / sizeof(block) * sizeof(block);
    while (b && (b->used || b->bytes < bytes))
        b = b->next;
    if (!b)
        return NULL;
    if (b->bytes > bytes) {
        block *rest = b + bytes / sizeof(block);
        *rest = (block){b->next, b->bytes - bytes, 0};
        *b = (block){rest, bytes, 0};
    }
    b->used = 1;
    a->in_use += bytes;
    a->peak = a->in_use > a->peak ? a->in_use : a->peak;
    return b + 1;
}

static void arena_free(void *user, void *pointer)
{
    arena *a = user;
    block *freed = (block *)pointer - 1;
    freed->used = 0;
    a->in_use -= freed->bytes;
    for (block *b = a->first; b; b = b->next)
        while (!b->used && b->next && !b->next->used) {
            b->bytes += b->next->bytes;
            b->next = b->next->next;
        }
}

enum { COUNT = 1000, BASE = 0, N_MODELS = 3 };

/* A model over the host's values. 0, or the status of what failed, like all of the library's calls. */
static emr_status make_model(emr_model **model, const float *values, const emr_allocator *allocator,
                             emr_error *error)
{
    const emr_model_options options = {.size = sizeof options, .allocator = allocator};
    const uint64_t shape[] = {COUNT};
    const emr_tensor_desc weight = {.size = sizeof weight,
                                    .name = "weight",
                                    .shape = shape,
                                    .rank = 1,
                                    .dtype = EMR_DTYPE_F32,
                                    .data = values};
    emr_status status = emr_model_create(model, &options, error);
    return status ? status : emr_model_add(*model, &weight, error);
}

/* Merges two tasks, opens the bundle and computes the first one's weights, all within the arena. After a
 * failure the rest is skipped, and what was made is given back as ever. */
static emr_status merge_and_apply(arena *a, float values[N_MODELS][COUNT], float *weights, emr_error *error)
{
    static const char *const names[N_MODELS] = {"base", "french", "german"};
    const emr_allocator allocator = {
        .size = sizeof allocator, .user = a, .alloc = arena_alloc, .free = arena_free};
    const emr_resources resources = {
        .size = sizeof resources, .allocator = &allocator, .memory_bytes = 6 << 20};
    const emr_merge_options options = {.size = sizeof options, .resources = &resources};
    const emr_bundle_options bundle_options = {.size = sizeof bundle_options, .allocator = &allocator};
    emr_model *models[N_MODELS] = {NULL};
    emr_merge *merge = NULL;
    emr_bundle *bundle = NULL;
    emr_modulator *modulator = NULL;
    emr_buffer *buffer = NULL;
    const emr_application all = {.size = sizeof all,
                                 .count = COUNT, /* of the only tensor, number 0 */
                                 .base = values[BASE],
                                 .base_dtype = EMR_DTYPE_F32,
                                 .out = weights,
                                 .out_dtype = EMR_DTYPE_F32};

    emr_status status = emr_merge_create(&merge, &options, error);
    for (size_t i = 0; i < N_MODELS && !status; i++) {
        status = make_model(&models[i], values[i], &allocator, error);
        if (!status)
            status = i == BASE ? emr_merge_set_base(merge, models[i], error)
                               : emr_merge_add_task(merge, names[i], models[i], error);
    }
    if (!status)
        status = emr_buffer_create(&buffer, &allocator, error);
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(buffer), error);
    if (!status)
        status = emr_merge_run(merge, error);
    if (!status)
        status = emr_bundle_open(&bundle, emr_buffer_io(buffer), NULL, &bundle_options, error);
    if (!status)
        status = emr_bundle_open_modulator(&modulator, bundle, 0, &allocator, error);
    if (!status)
        status = emr_modulator_apply(modulator, &all, error);

    emr_modulator_destroy(&modulator);
    emr_bundle_destroy(&bundle);
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_model_destroy(&models[i]);
    return status;
}

/* Nothing in use, and one free block again. */
static int is_whole(const arena *a)
{
    return a->in_use == 0 && !a->first->used && a->first->next == NULL;
}

int main(void)
{
    static _Alignas(64) unsigned char memory[8 << 20];
    static float values[N_MODELS][COUNT], weights[COUNT];
    emr_error error;
    int wrong = 0;
    /* french moves by 1, german by 3 the same way: u = 3, lambda 1 / 3 */
    for (size_t i = 0; i < COUNT; i++) {
        values[BASE][i] = (float)i;
        values[1][i] = (float)i + 1;
        values[2][i] = (float)i + 3;
    }

    arena large = arena_over(memory, sizeof memory);
    emr_status status = merge_and_apply(&large, values, weights, &error);
    printf("8 MiB: %s, at most %zu KiB in use\n", status ? error.text : "success", large.peak >> 10);
    for (size_t i = 0; i < COUNT; i++)
        wrong += weights[i] < (float)i + 0.999f || weights[i] > (float)i + 1.001f;
    wrong += status != EMR_OK || large.peak == 0 || !is_whole(&large);

    arena small = arena_over(memory, 64 << 10);
    status = merge_and_apply(&small, values, weights, &error);
    printf("64 KiB: %s\n", status ? error.text : "success");
    wrong += status != EMR_ENOMEM || !is_whole(&small);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
