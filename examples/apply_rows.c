/* apply_rows.c - a running engine switches tasks: a bundle in memory, a modulator per task, and weights
 * applied row by row into the engine's own buffer. Nothing is allocated once the engine runs. */
#include <emr/emr.h>

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 48, COLUMNS = 100, COUNT = ROWS * COLUMNS, N_TASKS = 2 };

static emr_error error;

static void must(emr_status status)
{
    if (status != EMR_OK) {
        fprintf(stderr, "apply_rows: %s: %s\n", emr_status_text(status), error.text);
        exit(EXIT_FAILURE);
    }
}

/* malloc that counts: how the engine proves that it allocates nothing while it runs. */
static size_t n_allocations;

static void *count_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    n_allocations++;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void count_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static const emr_allocator counting = {.size = sizeof counting, .alloc = count_alloc, .free = count_free};

/* What the engine keeps per layer: the base's weights, the active task's, and one modulator per task. */
typedef struct layer {
    float base[COUNT];
    float weights[COUNT];
    emr_modulator *modulators[N_TASKS];
    uint32_t tensor; /* the modulators' number for it: bundle-wide, so looked up once */
} layer;

/* Row by row, as an engine does that interleaves this with its own work (here: a row's sum). */
static double switch_task(layer *l, uint32_t task)
{
    double sum = 0;
    for (size_t first = 0; first < COUNT; first += COLUMNS) {
        const emr_application row = {.size = sizeof row,
                                     .tensor = l->tensor,
                                     .first = first,
                                     .count = COLUMNS,
                                     .base = l->base + first,
                                     .base_dtype = EMR_DTYPE_F32,
                                     .out = l->weights + first,
                                     .out_dtype = EMR_DTYPE_F32};
        must(emr_modulator_apply(l->modulators[task], &row, &error));
        for (size_t i = 0; i < COLUMNS; i++)
            sum += (double)l->weights[first + i];
    }
    return sum;
}

/* Only to have a bundle: task 0 adds 1 to every even row and task 1 adds 2 to every odd one. No parameter is
 * moved by both, so each comes back as it was. */
static float task_value(const layer *l, uint32_t task, size_t i)
{
    size_t row = i / COLUMNS;
    return l->base[i] + (row % 2 == task ? (float)(task + 1) : 0);
}

static emr_model *model_over(const float *values)
{
    const uint64_t shape[] = {ROWS, COLUMNS};
    const emr_tensor_desc weight = {.size = sizeof weight,
                                    .name = "layer.weight",
                                    .shape = shape,
                                    .rank = 2,
                                    .dtype = EMR_DTYPE_F32,
                                    .data = values};
    emr_model *model;
    must(emr_model_create(&model, NULL, &error));
    must(emr_model_add(model, &weight, &error));
    return model;
}

static emr_buffer *make_bundle(const layer *l)
{
    static float values[N_TASKS][COUNT];
    static const char *const names[N_TASKS] = {"french", "german"};
    emr_buffer *buffer;
    emr_model *base = model_over(l->base), *tasks[N_TASKS];
    emr_merge *merge;
    must(emr_merge_create(&merge, NULL, &error));
    must(emr_merge_set_base(merge, base, &error));
    for (uint32_t t = 0; t < N_TASKS; t++) {
        for (size_t i = 0; i < COUNT; i++)
            values[t][i] = task_value(l, t, i);
        tasks[t] = model_over(values[t]);
        must(emr_merge_add_task(merge, names[t], tasks[t], &error));
    }
    must(emr_buffer_create(&buffer, NULL, &error));
    must(emr_merge_set_output(merge, emr_buffer_io(buffer), &error));
    must(emr_merge_run(merge, &error));
    emr_merge_destroy(&merge);
    for (size_t t = 0; t < N_TASKS; t++)
        emr_model_destroy(&tasks[t]);
    emr_model_destroy(&base);
    return buffer;
}

int main(void)
{
    static layer l;
    size_t wrong = 0;
    for (size_t i = 0; i < COUNT; i++)
        l.base[i] = (float)(i % 17) / 4;
    emr_buffer *file = make_bundle(&l);

    /* start: everything that the engine will need is allocated here */
    const emr_bundle_options options = {.size = sizeof options, .allocator = &counting};
    emr_bundle *bundle;
    must(emr_bundle_open(&bundle, emr_buffer_io(file), NULL, &options, &error));
    for (uint32_t t = 0; t < N_TASKS; t++)
        must(emr_bundle_open_modulator(&l.modulators[t], bundle, t, &counting, &error));
    must(emr_modulator_find_tensor(l.modulators[0], "layer.weight", &l.tensor));

    /* run: a request for one task, then for the other, and again */
    size_t allocated = n_allocations;
    for (uint32_t request = 0; request < 6; request++) {
        uint32_t task = request % N_TASKS;
        double sum = switch_task(&l, task);
        for (size_t i = 0; i < COUNT; i++)
            wrong += l.weights[i] != task_value(&l, task, i);
        printf("request %u: task %u, sum of weights %.2f\n", request, task, sum);
    }
    if (wrong || n_allocations != allocated)
        fprintf(stderr, "apply_rows: %zu weights are wrong, %zu allocations while running\n", wrong,
                n_allocations - allocated);
    wrong += n_allocations - allocated;

    for (size_t t = 0; t < N_TASKS; t++)
        emr_modulator_destroy(&l.modulators[t]);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&file);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
