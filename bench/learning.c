/* learning.c - libemr-fit: a step of AdaMerging on checkpoints in files, page cache warm, against plainly reading the tasks' weights
 * twice, once for products with the gradient and once for merging; and against moving all bytes that a step must: the base's
 * twice, too, the gradient's in, the merged weights' out. */
#include "bandwidth.h"
#include "measure.h"
#include "merging.h"
#include "model_files.h"
#include "rows.h"
#include "settings.h"

#include <emr/fit/coefficients.h>

#include <stdio.h>
#include <string.h>

enum { READ_BYTES = 1 << 16 };

typedef struct learning {
    const team *team;
    emr_model *models[65]; /* the base, then tasks */
    unsigned n_tasks;
    uint64_t params;
    emr_coefficients *coefficients;
    float *gradient; /* of the largest tensor */
    uint8_t *merged;
} learning;

static void take_gradients(void *arg)
{
    const learning *l = arg;
    emr_error error;
    for (uint32_t i = 0; i < emr_model_n_tensors(l->models[0]); i++) {
        const emr_tensor *tensor = emr_model_tensor(l->models[0], i);
        check(emr_coefficients_gradient(l->coefficients, emr_tensor_name(tensor), 0, emr_tensor_count(tensor),
                                        EMR_DTYPE_F32, l->gradient, &error),
              &error);
    }
    check(emr_coefficients_step(l->coefficients, NULL, &error), &error);
}

static void apply_merged(void *arg)
{
    const learning *l = arg;
    emr_error error;
    emr_weights weights = {.size = sizeof weights};
    uint8_t *at = l->merged;
    for (weights.tensor = 0; weights.tensor < emr_model_n_tensors(l->models[0]); weights.tensor++) {
        weights.data = at;
        check(emr_coefficients_apply(l->coefficients, &weights, 1, &error), &error);
        at += emr_tensor_bytes(emr_model_tensor(l->models[0], weights.tensor));
    }
}

static void step(void *arg)
{
    take_gradients(arg);
    apply_merged(arg);
}

/* A share of a model's tensors; with `merged`, which is as large, what is read is written there. */
static void move_share(const learning *l, const emr_model *model, size_t share, uint8_t *merged)
{
    uint8_t bytes[READ_BYTES];
    emr_error error;
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *tensor = emr_model_tensor(model, i);
        const size_t total = (size_t)emr_tensor_bytes(tensor), k = l->team->executor->concurrency;
        const size_t end = share_begin(total, share + 1, k, READ_BYTES);
        for (size_t at = share_begin(total, share, k, READ_BYTES); at < end; at += READ_BYTES) {
            size_t n = end - at < READ_BYTES ? end - at : READ_BYTES;
            check(emr_tensor_read(tensor, at, merged ? merged + at : bytes, n, &error), &error);
        }
        merged = merged ? merged + total : NULL;
    }
}

static void read_share(void *arg, size_t share)
{
    const learning *l = arg;
    for (unsigned task = 1; task <= l->n_tasks; task++)
        move_share(l, l->models[task], share, NULL);
}

static void read_twice(void *arg)
{
    const learning *l = arg;
    for (int pass = 0; pass < 2; pass++)
        team_run(l->team, l->team->executor->concurrency, read_share, arg);
}

/* A share of the gradient of every tensor. */
static void read_gradient(const learning *l, size_t share)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(l->models[0]); i++) {
        const size_t n = (size_t)emr_tensor_count(emr_model_tensor(l->models[0], i)) / (READ_UNIT / 4) *
                         (READ_UNIT / 4),
                     k = l->team->executor->concurrency;
        const size_t first = share_begin(n, share, k, READ_UNIT / 4),
                     end = share_begin(n, share + 1, k, READ_UNIT / 4);
        volatile uint64_t sum = read_through(l->gradient + first, (end - first) * sizeof *l->gradient);
        (void)sum;
    }
}

static void move_all(void *arg, size_t share)
{
    const learning *l = arg;
    read_share(arg, share);
    move_share(l, l->models[0], share, NULL);
    read_gradient(l, share);
    read_share(arg, share);
    move_share(l, l->models[0], share, l->merged);
}

static void move_plainly(void *arg)
{
    const learning *l = arg;
    team_run(l->team, l->team->executor->concurrency, move_all, arg);
}

static void open_coefficients(learning *l)
{
    emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
    char text[64][8];
    const char *names[64];
    emr_error error;
    for (unsigned t = 0; t < l->n_tasks; t++) {
        snprintf(text[t], sizeof text[t], "task%u", t);
        names[t] = text[t];
    }
    options.resources = &l->team->resources;
    options.base = l->models[0];
    options.tasks = (const emr_model *const *)l->models + 1;
    options.names = names;
    options.n_tasks = l->n_tasks;
    options.map = EMR_COEFFICIENT_MAP_FREE; /* all tasks take part */
    check(emr_coefficients_create(&l->coefficients, &options, &error), &error);
}

static double seconds_of(void (*work)(void *arg), void *arg)
{
    double start = now();
    work(arg);
    return now() - start;
}

static void measure(const settings *s, const team *t, const model_recipe *recipe)
{
    learning l = {.team = t, .n_tasks = recipe->n_tasks, .params = recipe->params};
    uint64_t largest = 0, bytes = 0;
    emr_error error;
    for (unsigned i = 0; i <= l.n_tasks; i++)
        check(emr_checkpoint_open(&l.models[i], model_path(recipe, i).text, NULL, &error), &error);
    for (uint32_t i = 0; i < emr_model_n_tensors(l.models[0]); i++) {
        const emr_tensor *tensor = emr_model_tensor(l.models[0], i);
        largest = emr_tensor_count(tensor) > largest ? emr_tensor_count(tensor) : largest;
        bytes += emr_tensor_bytes(tensor);
    }
    l.gradient = allocate_large((size_t)largest * sizeof *l.gradient);
    l.merged = allocate_large((size_t)bytes);
    for (uint64_t i = 0; i < largest; i++)
        l.gradient[i] = (float)(i % 7) - 3;
    open_coefficients(&l);
    comparison c = take_turns(s->runs, step, read_twice, &l);
    const char *dtype = emr_dtype_name(recipe->dtype);
    row(c.subject, "s", no_bar(), "coefficients: %s, a step of %u tasks of %u Mi, %s", dtype, l.n_tasks,
        (unsigned)(l.params >> 20), threads_of(s->threads).text);
    row(seconds_of(take_gradients, &l), "s", no_bar(), "coefficients: %s, of it gradients", dtype);
    row(seconds_of(apply_merged, &l), "s", no_bar(), "coefficients: %s, of it merged weights", dtype);
    row(c.ratio, "x", at_most(1.3), "coefficients: %s, time of reading the tasks twice", dtype);
    c = take_turns(s->runs, step, move_plainly, &l);
    row(c.ratio, "x", no_bar(), "coefficients: %s, time of moving the same bytes plainly", dtype);
    emr_coefficients_destroy(&l.coefficients);
    release_large(l.gradient, (size_t)largest * sizeof *l.gradient);
    release_large(l.merged, (size_t)bytes);
    destroy_models(l.models, l.n_tasks + 1);
}

void bench_coefficients(const settings *s)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16};
    team t = team_create(s->threads);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        model_recipe recipe = {.directory = s->directory,
                               .kind = MODEL_EVEN,
                               .dtype = dtypes[i],
                               .n_tasks = s->tasks,
                               .params = s->own_files ? s->params : size_of_run(s, 110 << 20, 1 << 18)};
        models_create(&recipe, &t);
        measure(s, &t, &recipe);
        models_unlink(&recipe);
    }
    team_destroy(&t);
}
