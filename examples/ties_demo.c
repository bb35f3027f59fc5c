/* ties_demo.c - TIES-Merging from files to a file, streamed on all processors.
 *
 *     ties BASE OUT DENSITY LAMBDA TASK...
 *
 * Without arguments small models are merged, written in shards, read again, and compared with the definition
 * in plain C. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp */

#include "ties.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static emr_status write_merged(const ties_recipe *r, const char *path, uint64_t shard_bytes, emr_error *error)
{
    emr_model *model = NULL;
    emr_pool *pool = NULL;
    emr_status status = emr_pool_create(&pool, NULL, error);
    if (!status)
        status = ties_open(&model, r, error);
    if (!status) {
        const emr_resources resources = {.size = sizeof resources, .executor = emr_pool_executor(pool)};
        const emr_checkpoint_write_options options = {
            .size = sizeof options, .resources = &resources, .shard_bytes = shard_bytes, .replace = 1};
        status = emr_checkpoint_write(model, path, &options, error);
    }
    emr_model_destroy(&model);
    emr_pool_destroy(&pool);
    return status;
}

/* A model's values lie in one array, of which each tensor is a part; "ids" are bytes of the first value. */
enum { N_TASKS = 3, N_MODELS = 1 + N_TASKS, N_VALUES = 6050, N_PARTS = 3 };
static const struct part {
    const char *name;
    emr_dtype dtype;
    size_t first;
    uint64_t count;
} parts[N_PARTS] = {
    {"weight", EMR_DTYPE_F32, 0, 6000}, {"bias", EMR_DTYPE_F32, 6000, 50}, {"ids", EMR_DTYPE_U8, 0, 4}};

static float values[N_MODELS][N_VALUES];

/* Coarse, so that some magnitudes are equal and some sums are 0. */
static void make_values(void)
{
    for (size_t m = 0; m < N_MODELS; m++)
        for (size_t i = 0; i < N_VALUES; i++)
            values[m][i] = (float)((i * (31 + 2 * m) + m * 17) % 257) / 64 - 2;
}

static emr_status make_model(emr_model **model, const float *from, emr_error *error)
{
    emr_status status = emr_model_create(model, NULL, error);
    for (size_t p = 0; !status && p < N_PARTS; p++) {
        const emr_tensor_desc desc = {.size = sizeof desc,
                                      .name = parts[p].name,
                                      .shape = &parts[p].count,
                                      .rank = 1,
                                      .dtype = parts[p].dtype,
                                      .data = from + parts[p].first};
        status = emr_model_add(*model, &desc, error);
    }
    return status;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A task's vector, trimmed. */
static void trim_vector(const float *base, const float *task, size_t n, double density, float *vector)
{
    static float sorted[N_VALUES];
    size_t k = (size_t)(density * (double)n);
    for (size_t i = 0; i < n; i++) {
        vector[i] = task[i] - base[i];
        sorted[i] = fabsf(vector[i]);
    }
    qsort(sorted, n, sizeof *sorted, compare_floats);
    for (size_t i = 0; i < n; i++)
        if (k == 0 || fabsf(vector[i]) < sorted[n - k])
            vector[i] = 0;
}

/* All float tensors. */
static void merge_directly(const ties_recipe *r, float *out)
{
    static float vectors[N_TASKS][N_VALUES], sums[N_VALUES];
    int majority = 0;
    for (size_t t = 0; t < N_TASKS; t++)
        for (const struct part *p = parts; p->dtype == EMR_DTYPE_F32; p++) /* not "ids" */
            trim_vector(values[0] + p->first, values[t + 1] + p->first, (size_t)p->count, r->density,
                        vectors[t] + p->first);
    for (size_t i = 0; i < N_VALUES; i++) {
        sums[i] = vectors[0][i] + vectors[1][i] + vectors[2][i];
        majority += (sums[i] > 0) - (sums[i] < 0);
    }
    for (size_t i = 0; i < N_VALUES; i++) {
        float elected = sums[i] != 0 ? sums[i] : majority > 0 ? 1 : -1, sum = 0, n = 0;
        for (size_t t = 0; t < N_TASKS; t++) {
            if (vectors[t][i] * elected > 0) {
                sum += vectors[t][i];
                n++;
            }
        }
        out[i] = values[0][i] + (n > 0 ? r->lambda * (sum / n) : 0);
    }
}

/* How many tensors of the checkpoint are not what they should be. */
static int count_wrong(const ties_recipe *r, const char *path, emr_error *error)
{
    static float expected[N_VALUES], got[N_VALUES];
    emr_model *model = NULL;
    int wrong = 0;
    if (emr_checkpoint_open(&model, path, NULL, error))
        return N_PARTS;
    merge_directly(r, expected);
    for (size_t p = 0; p < N_PARTS; p++) {
        const emr_tensor *t = emr_model_find_tensor(model, parts[p].name);
        const float *should = parts[p].dtype == EMR_DTYPE_F32 ? expected + parts[p].first : values[0];
        size_t bytes = (size_t)emr_tensor_bytes(t);
        wrong += emr_tensor_read(t, 0, got, bytes, error) || memcmp(got, should, bytes) != 0;
    }
    emr_model_destroy(&model);
    return wrong;
}

static int check_example(void)
{
    static const char *const files[] = {"merged-00001-of-00002.safetensors",
                                        "merged-00002-of-00002.safetensors", "merged.safetensors.index.json"};
    static const double densities[] = {0.2, 0.01, 1};
    char directory[] = "/tmp/ties.XXXXXX";
    emr_error error = {.text = ""};
    emr_model *models[N_MODELS] = {NULL};
    int wrong = !mkdtemp(directory) || chdir(directory);
    make_values();
    for (size_t m = 0; m < N_MODELS; m++)
        wrong += make_model(&models[m], values[m], &error) != EMR_OK;
    ties_recipe r = {
        .base = models[0], .tasks = {models[1], models[2], models[3]}, .n_tasks = N_TASKS, .lambda = 0.5f};
    for (size_t i = 0; !wrong && i < sizeof densities / sizeof *densities; i++) {
        r.density = densities[i]; /* 0.01 of the bias is not one value */
        wrong += write_merged(&r, "merged.safetensors", 20000, &error) || count_wrong(&r, files[2], &error);
        printf("density %g: %s\n", r.density, wrong ? "wrong" : "as defined");
    }
    if (wrong)
        fprintf(stderr, "ties: %s\n", error.text);
    for (size_t m = 0; m < N_MODELS; m++)
        emr_model_destroy(&models[m]);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        remove(files[i]);
    rmdir(directory);
    return !wrong;
}

int main(int argc, char **argv)
{
    emr_error error;
    emr_model *models[1 + TIES_MAX_TASKS] = {NULL};
    int n_tasks = argc - 5;
    if (argc == 1)
        return check_example() ? EXIT_SUCCESS : EXIT_FAILURE;
    if (n_tasks < 1 || n_tasks > TIES_MAX_TASKS) {
        fprintf(stderr, "usage: ties [BASE OUT DENSITY LAMBDA TASK...]\n");
        return 2;
    }
    ties_recipe r = {.density = atof(argv[3]), .lambda = (float)atof(argv[4]), .n_tasks = (uint32_t)n_tasks};
    int failed = emr_checkpoint_open(&models[0], argv[1], NULL, &error);
    r.base = models[0];
    for (int t = 0; !failed && t < n_tasks; t++) {
        failed = emr_checkpoint_open(&models[t + 1], argv[t + 5], NULL, &error);
        r.tasks[t] = models[t + 1];
    }
    failed = failed || write_merged(&r, argv[2], 0, &error);
    if (failed)
        fprintf(stderr, "ties: %s\n", error.text);
    for (int i = 0; i <= n_tasks; i++)
        emr_model_destroy(&models[i]);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
