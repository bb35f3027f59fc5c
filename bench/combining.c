/* combining.c - combined models file to file, page cache warm, against plainly reading the same files and writing as many
 * bytes, in turns, each in a process of its own; and what memory every method takes on many tasks. */
#define _GNU_SOURCE

#include "measure.h"
#include "merging.h"
#include "model_files.h"
#include "plain_files.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SETTINGS_MAX = 4, OVERHEAD_MIB = 32 /* that a process may have beside its working memory */ };

/* A way to combine that is measured. */
typedef struct recipe_row {
    const char *name, *method; /* method NULL: statistics of the task vectors, which write nothing */
    struct {
        const char *name;
        double value;
    } settings[SETTINGS_MAX];
    bar most; /* of plain reading and writing, wall and processor time */
} recipe_row;

typedef struct combining {
    const model_recipe *files;
    const recipe_row *row;
    const emr_method *method;
    unsigned threads, n_tasks;
    uint64_t memory, bytes_out;
    const char *output;
} combining;

static emr_model *open_input(const combining *w, size_t source)
{
    emr_error error;
    emr_model *model;
    check(emr_checkpoint_open(&model, model_path(w->files, source).text, NULL, &error), &error);
    return model;
}

static void task_name_of(size_t i, char name[32])
{
    snprintf(name, 32, "task%zu", i);
}

/* ---- what is measured */

/* Parameters without a default, and density, that something may be cut or dropped. */
static void set_required(const combining *w, emr_combination *c)
{
    emr_error error;
    for (uint32_t i = 0; i < w->method->n_parameters; i++) {
        const emr_method_parameter *p = &w->method->parameters[i];
        bool is_density = strcmp(p->name, "density") == 0;
        if (isnan(p->initial) || is_density)
            check(emr_combination_set_parameter(c, p->name, EMR_EVERY_TASK, NULL, is_density ? 0.2 : 0.5,
                                                &error),
                  &error);
    }
}

static void set_parameters(const combining *w, emr_combination *c)
{
    emr_error error;
    set_required(w, c);
    for (size_t i = 0; w->row && i < SETTINGS_MAX && w->row->settings[i].name; i++)
        check(emr_combination_set_parameter(c, w->row->settings[i].name, EMR_EVERY_TASK, NULL,
                                            w->row->settings[i].value, &error),
              &error);
}

/* Where it is one more input, it may be one too many. */
static bool takes_base(const combining *w)
{
    const emr_method *m = w->method;
    return m->base != EMR_METHOD_BASE_INPUT || !m->max_tasks || w->n_tasks < m->max_tasks;
}

static emr_combination *create_combination(const combining *w, const emr_resources *resources,
                                           emr_model *const *models)
{
    emr_error error;
    emr_combination *c;
    char name[32];
    emr_combination_options options = EMR_INIT(emr_combination_options);
    options.method = w->method;
    options.resources = resources;
    check(emr_combination_create(&c, &options, &error), &error);
    if (takes_base(w))
        check(emr_combination_set_base(c, models[0], &error), &error);
    for (size_t i = 0; i < w->n_tasks; i++) {
        task_name_of(i, name);
        check(emr_combination_add_task(c, name, models[i + 1], &error), &error);
    }
    set_parameters(w, c);
    return c;
}

static void write_combined(const combining *w, const emr_resources *resources, emr_model *const *models)
{
    emr_error error;
    emr_model *model;
    int descriptor;
    emr_combination *c = create_combination(w, resources, models);
    check(emr_combination_open_model(c, &model, &error), &error);
    emr_resources writing = *resources;
    writing.memory_bytes /= 2; /* as the program has it: readers have the other half */
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    options.resources = &writing;
    emr_io io = plain_output(w->output, &descriptor);
    check(emr_safetensors_write(model, &io, &options, &error), &error);
    close(descriptor);
    emr_model_destroy(&model);
    emr_combination_destroy(&c);
}

static void run_statistics(const combining *w, const emr_resources *resources, emr_model *const *models)
{
    emr_error error;
    emr_statistics *s;
    char name[32];
    emr_statistics_options options = EMR_INIT(emr_statistics_options);
    options.resources = resources;
    check(emr_statistics_create(&s, &options, &error), &error);
    check(emr_statistics_set_base(s, models[0], &error), &error);
    for (size_t i = 0; i < w->n_tasks; i++) {
        task_name_of(i, name);
        check(emr_statistics_add_task(s, name, models[i + 1], &error), &error);
    }
    check(emr_statistics_run(s, &error), &error);
    emr_statistics_destroy(&s);
}

static void combine_files(void *arg)
{
    const combining *w = arg;
    emr_model *models[SOURCES_MAX];
    team t = team_create(w->threads);
    t.resources.memory_bytes = w->memory;
    for (size_t i = 0; i <= w->n_tasks; i++)
        models[i] = open_input(w, i);
    if (w->method)
        write_combined(w, &t.resources, models);
    else
        run_statistics(w, &t.resources, models);
    destroy_models(models, w->n_tasks + 1);
    team_destroy(&t);
}

static void pass_plainly(void *arg)
{
    const combining *w = arg;
    path_text paths[SOURCES_MAX];
    const char *inputs[SOURCES_MAX];
    team t = team_create(w->threads);
    for (size_t i = 0; i <= w->n_tasks; i++) {
        paths[i] = model_path(w->files, i);
        inputs[i] = paths[i].text;
    }
    plain_pass(&t, inputs, w->n_tasks + 1, w->output, w->bytes_out);
    team_destroy(&t);
}

static cost measure_and_unlink(void (*what)(void *arg), combining *w)
{
    cost c = run_in_child(what, w);
    unlink(w->output);
    return c;
}

/* ---- rows */

static void print_ratios(const settings *s, const recipe_row *r, const char *files, cost subject[RUNS_MAX],
                         cost plain[RUNS_MAX])
{
    double seconds[RUNS_MAX], ratios[RUNS_MAX], processor[RUNS_MAX], plain_seconds[RUNS_MAX], peak = 0;
    for (unsigned i = 0; i < s->runs; i++) {
        seconds[i] = subject[i].seconds;
        plain_seconds[i] = plain[i].seconds;
        ratios[i] = subject[i].seconds / plain[i].seconds;
        processor[i] = subject[i].processor / plain[i].processor;
        peak = subject[i].peak_mib > peak ? subject[i].peak_mib : peak;
    }
    row(median(seconds, s->runs), "s", no_bar(), "combine: %s, %s", r->name, files);
    row(median(plain_seconds, s->runs), "s", no_bar(), "combine: %s, %s, plain reads and writes", r->name,
        files);
    row(median(ratios, s->runs), "of plain", r->most, "combine: %s, %s, ratio", r->name, files);
    row(median(processor, s->runs), "of plain", r->most, "combine: %s, %s, processor time", r->name, files);
    row(peak, "MiB", no_bar(), "combine: %s, %s, peak memory", r->name, files);
}

static void measure_row(const settings *s, const recipe_row *r, combining *w, const char *files)
{
    cost subject[RUNS_MAX], plain[RUNS_MAX];
    w->row = r;
    w->method = r->method ? emr_method_find(r->method) : NULL;
    w->bytes_out = r->method ? file_bytes(model_path(w->files, 0).text) : 0;
    for (unsigned i = 0; i < s->runs; i++) { /* in turns, so that both meet the same machine */
        subject[i] = measure_and_unlink(combine_files, w);
        plain[i] = measure_and_unlink(pass_plainly, w);
    }
    print_ratios(s, r, files, subject, plain);
}

static const recipe_row measured_rows[] = {
    {"task_arithmetic", "task_arithmetic", {{"weight", 0.3}}, {BAR_AT_MOST, 1.5}},
    {"dare_linear", "dare_linear", {{"density", 0.2}, {"rescale", 1}}, {BAR_AT_MOST, 1.5}},
    {"dare_linear, rescale 2", "dare_linear", {{"density", 0.2}, {"rescale", 2}}, {BAR_AT_MOST, 1.5}},
    {"dare_ties", "dare_ties", {{"density", 0.2}, {"rescale", 1}}, {BAR_AT_MOST, 3}},
    {"ties", "ties", {{"density", 0.2}}, {BAR_AT_MOST, 3}},
    {"karcher", "karcher", {{NULL, 0}}, {BAR_NONE, 0}},
    {"model_stock", "model_stock", {{NULL, 0}}, {BAR_NONE, 0}},
    {"statistics", NULL, {{NULL, 0}}, {BAR_NONE, 0}},
};

static void measure_times(const settings *s, const model_recipe *files)
{
    char name[64], output[600];
    team t = team_create(s->threads);
    models_create(files, &t);
    team_destroy(&t);
    snprintf(name, sizeof name, "%u tasks x %.4g Mi %s", files->n_tasks, (double)files->params / 0x1p20,
             emr_dtype_name(files->dtype));
    snprintf(output, sizeof output, "%s/output", files->directory);
    combining w = {.files = files,
                   .threads = s->threads,
                   .n_tasks = files->n_tasks,
                   .memory = s->memory,
                   .output = output};
    measure_and_unlink(pass_plainly, &w); /* warms the page cache */
    for (size_t i = 0; i < sizeof measured_rows / sizeof *measured_rows; i++)
        measure_row(s, &measured_rows[i], &w, name);
    models_unlink(files);
}

/* Every method, in as little memory as may be asked for. */
static void measure_peaks(const settings *s)
{
    const uint64_t memory = 32 << 20;
    const model_recipe files = {s->directory, MODEL_EVEN, EMR_DTYPE_F32, s->quick ? 4 : 64,
                                size_of_run(s, 4 << 20, 1 << 16)};
    char output[600];
    team t = team_create(s->threads);
    models_create(&files, &t);
    team_destroy(&t);
    snprintf(output, sizeof output, "%s/output", files.directory);
    for (uint32_t i = 0; emr_method_at(i); i++) {
        combining w = {.files = &files,
                       .threads = s->threads,
                       .method = emr_method_at(i),
                       .n_tasks = files.n_tasks,
                       .memory = memory,
                       .output = output};
        if (w.method->max_tasks && w.method->max_tasks < w.n_tasks)
            w.n_tasks = w.method->max_tasks;
        row(measure_and_unlink(combine_files, &w).peak_mib, "MiB",
            at_most((double)memory / 0x1p20 + OVERHEAD_MIB),
            "combine: %s, %u tasks, --memory 32Mi, peak memory", w.method->name, w.n_tasks);
    }
    models_unlink(&files);
}

void bench_combining(const settings *s)
{
    const uint64_t params = s->own_files ? s->params : size_of_run(s, 110 << 20, 1 << 16);
    const model_recipe floats = {s->directory, MODEL_EVEN, EMR_DTYPE_F32, s->tasks, params};
    const model_recipe halves = {s->directory, MODEL_EVEN, EMR_DTYPE_BF16, s->tasks, params};
    measure_times(s, &floats);
    measure_times(s, &halves);
    if (!s->own_files)
        measure_peaks(s);
}
