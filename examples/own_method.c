/* own_method.c - a merging method of the host's own (emr/method.h): the mean of the tasks' changes, but nothing where
 * they are hardly any. The combined model is read like any other, and compared with the formula. */
#include <emr/emr.h>

#include <stdio.h>
#include <stdlib.h>

enum { N = 40000, N_TASKS = 3 };

/* What must be known of a tensor first: the sum of the squares of all changes. It is found in chunks, by any number of
 * threads, and added up in the same order every time. */
static void add_squares(const emr_method_chunk *c, double *sums)
{
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        for (size_t i = 0; i < c->n; i++)
            sums[0] += (double)c->inputs[t][i] * c->inputs[t][i];
}

static uint32_t one_number(const emr_method_tensor *tensor)
{
    (void)tensor;
    return 1;
}

static emr_status combine_mean(const emr_method_chunk *c, emr_error *error)
{
    uint32_t n = c->tensor->n_inputs;
    int is_small = c->tensor->found[0] < 1e-12 * (double)c->tensor->count * n;
    (void)error;
    for (size_t i = 0; i < c->n; i++) {
        c->out[i] = 0;
        for (uint32_t t = 0; t < n && !is_small; t++)
            c->out[i] += c->inputs[t][i] / (float)n;
    }
    return EMR_OK;
}

static const emr_method_stage squares = {
    .size = sizeof squares, .n_found = one_number, .add_sums = add_squares};
static const emr_method quiet_mean = {.size = sizeof quiet_mean,
                                      .name = "quiet_mean",
                                      .base = EMR_METHOD_BASE_REQUIRED,
                                      .stages = {&squares},
                                      .combine = combine_mean};

/* Two tensors in memory: in "noise" no task has changed anything to speak of. */
static float values[1 + N_TASKS][2][N];

static void make_values(void)
{
    uint32_t state = 1;
    for (int m = 0; m <= N_TASKS; m++)
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < N; i++) {
                state = state * 1664525 + 1013904223;
                float drawn = (float)(state >> 8) / 16777216 - 0.5F;
                values[m][k][i] = m == 0 ? drawn : values[0][k][i] + (k ? 1e-7F : 0.01F) * drawn;
            }
}

static void stop_if(emr_status status, const emr_error *error)
{
    if (!status)
        return;
    fprintf(stderr, "own_method: %s\n", error->text);
    exit(1);
}

static emr_model *make_model(int m)
{
    static const char *const names[] = {"weight", "noise"};
    static const uint64_t shape[] = {N};
    emr_model *model;
    emr_error error;
    stop_if(emr_model_create(&model, NULL, &error), &error);
    for (int k = 0; k < 2; k++) {
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        desc.name = names[k];
        desc.dtype = EMR_DTYPE_F32;
        desc.rank = 1;
        desc.shape = shape;
        desc.data = values[m][k];
        stop_if(emr_model_add(model, &desc, &error), &error);
    }
    return model;
}

/* How many elements of the combined model are not the formula's. */
static int count_wrong(const emr_model *combined)
{
    static float got[N];
    emr_error error;
    int wrong = 0;
    for (int k = 0; k < 2; k++) {
        stop_if(emr_tensor_read_floats(emr_model_tensor(combined, (uint32_t)k), 0, N, got, &error), &error);
        for (int i = 0; i < N; i++) {
            float mean = 0;
            for (int m = 1; m <= N_TASKS && k == 0; m++)
                mean += (values[m][k][i] - values[0][k][i]) / N_TASKS;
            wrong += got[i] != values[0][k][i] + mean;
        }
    }
    return wrong;
}

int main(void)
{
    static const char *const names[] = {"math", "code", "law"};
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *combination;
    emr_model *models[1 + N_TASKS], *combined;
    emr_error error;
    make_values();
    for (int m = 0; m <= N_TASKS; m++)
        models[m] = make_model(m);
    options.method = &quiet_mean;
    stop_if(emr_combination_create(&combination, &options, &error), &error);
    stop_if(emr_combination_set_base(combination, models[0], &error), &error);
    for (int m = 0; m < N_TASKS; m++)
        stop_if(emr_combination_add_task(combination, names[m], models[m + 1], &error), &error);
    stop_if(emr_combination_open_model(combination, &combined, &error), &error);
    int wrong = count_wrong(combined);
    printf("%d of %d elements are not the formula's\n", wrong, 2 * N);
    emr_model_destroy(&combined);
    emr_combination_destroy(&combination);
    for (int m = 0; m <= N_TASKS; m++)
        emr_model_destroy(&models[m]);
    return wrong != 0;
}
