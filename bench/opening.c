/* opening.c - how long it takes to open a bundle of many tensors, in how much memory, and to get one tensor
 * of one task out of it. */
#define _GNU_SOURCE

#include "measure.h"
#include "merging.h"
#include "plain_files.h"
#include "rows.h"
#include "settings.h"

#include <stdio.h>
#include <unistd.h>

enum { PARAMS = 4, TASKS = 2, SAMPLES = 15 };

static void tensor_name(size_t i, char name[64])
{
    snprintf(name, 64, "model.layers.%zu.self_attn.q_proj.weight", i);
}

/* `n` tensors that all have the same few values. */
static emr_model *tiny_tensors(size_t n, const float same[PARAMS])
{
    emr_model *model = create_model();
    char name[64];
    for (size_t i = 0; i < n; i++) {
        tensor_name(i, name);
        add_matrix(model, name, EMR_DTYPE_F32, 1, PARAMS, same);
    }
    return model;
}

/* Those of the base and of each task. */
static const float values[1 + TASKS][PARAMS] = {{1, 2, 3, 4}, {1.5f, 2.5f, 2.5f, 4}, {1.25f, 1.5f, 3, 5}};

typedef struct opening {
    const char *path;
    size_t n_tensors;
} opening;

static void make_bundle(void *arg)
{
    const opening *o = arg;
    emr_model *models[1 + TASKS];
    int descriptor;
    for (size_t i = 0; i <= TASKS; i++)
        models[i] = tiny_tensors(o->n_tensors, values[i]);
    emr_io io = plain_output(o->path, &descriptor);
    run_merge(NULL, models, TASKS, &io);
    close(descriptor);
    destroy_models(models, 1 + TASKS);
}

static emr_bundle *open_bundle(const opening *o)
{
    emr_error error;
    emr_bundle *bundle;
    check(emr_bundle_open_file(&bundle, o->path, NULL, &error), &error);
    return bundle;
}

static void open_and_destroy(void *arg)
{
    emr_bundle *bundle = open_bundle(arg);
    emr_bundle_destroy(&bundle);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void read_tensor(const emr_bundle *bundle, const char *name)
{
    emr_error error = {.text = "the bundle lacks a tensor"};
    emr_modulator *modulator;
    float weights[PARAMS];
    emr_application a = EMR_INIT(emr_application);
    a.base = values[0];
    a.out = weights;
    a.base_dtype = a.out_dtype = EMR_DTYPE_F32;
    a.count = PARAMS;
    check(emr_bundle_open_modulator(&modulator, bundle, 1, NULL, &error), &error);
    check(emr_modulator_find_tensor(modulator, name, &a.tensor), &error);
    check(emr_modulator_apply(modulator, &a, &error), &error);
    emr_modulator_destroy(&modulator);
}

/* Milliseconds, taken in a child: the parent's heap stays small, so that children begin with little memory.
 */
typedef struct samples {
    opening opening;
    double opens[SAMPLES], reads[SAMPLES];
} samples;

static void take_samples(void *arg)
{
    samples *s = arg;
    char name[64];
    tensor_name(s->opening.n_tensors / 2, name);
    for (size_t i = 0; i < SAMPLES; i++) {
        double start = now();
        open_and_destroy(&s->opening);
        s->opens[i] = 1e3 * (now() - start);
        emr_bundle *bundle = open_bundle(&s->opening);
        start = now();
        read_tensor(bundle, name);
        s->reads[i] = 1e3 * (now() - start);
        emr_bundle_destroy(&bundle);
    }
}

static void measure_opening(opening *o)
{
    samples *s = allocate_shared(sizeof *s);
    bool largest = o->n_tensors == 100000;
    s->opening = *o;
    run_in_child(make_bundle, o);
    run_in_child(take_samples, s);
    double peak = run_in_child(open_and_destroy, o).peak_mib - run_in_child(do_nothing, o).peak_mib;
    row(median(s->opens, SAMPLES), "ms", largest ? at_most(20) : no_bar(), "open: %zu tensors", o->n_tensors);
    row(peak, "MiB", largest ? at_most(64) : no_bar(), "open: %zu tensors, memory", o->n_tensors);
    row(median(s->reads, SAMPLES), "ms", no_bar(), "open: %zu tensors, then one tensor of one task",
        o->n_tensors);
    release_large(s, sizeof *s);
    unlink(o->path);
}

void bench_open(const settings *s)
{
    char path[512];
    snprintf(path, sizeof path, "%s/bundle.emr", s->directory);
    for (size_t n = 10; n <= size_of_run(s, 100000, 1000); n *= n == 10 ? 100 : 10)
        measure_opening(&(opening){path, n});
}
