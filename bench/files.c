/* files.c - merging and applying file to file, page cache warm, against plainly reading the same files and
 * writing as many bytes; each in a process of its own, whose peak memory is taken. */
#define _GNU_SOURCE

#include "measure.h"
#include "merging.h"
#include "model_files.h"
#include "plain_files.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include <stdio.h>
#include <unistd.h>

enum { OVERHEAD_MIB = 32 }; /* that a process may have beside its working memory */

typedef struct work {
    const model_recipe *recipe;
    unsigned threads;
    uint64_t memory;    /* of a merge */
    const char *output; /* what is written */
    const char *bundle; /* what is applied */
    uint64_t bytes_out; /* of the plain pass */
    bool applying;      /* the plain pass is like that of applying */
} work;

static emr_model *open_model(const work *w, size_t source)
{
    emr_error error;
    emr_model *model;
    check(emr_checkpoint_open(&model, model_path(w->recipe, source).text, NULL, &error), &error);
    return model;
}

static void merge_files(void *arg)
{
    const work *w = arg;
    int descriptor;
    emr_model *models[SOURCES_MAX];
    team t = team_create(w->threads);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.resources = &t.resources;
    t.resources.memory_bytes = w->memory;
    for (size_t i = 0; i <= w->recipe->n_tasks; i++)
        models[i] = open_model(w, i);
    emr_io io = plain_output(w->output, &descriptor);
    run_merge(&options, models, w->recipe->n_tasks, &io);
    close(descriptor);
    destroy_models(models, w->recipe->n_tasks + 1);
    team_destroy(&t);
}

static void apply_checked(const work *w, emr_base_check when)
{
    emr_error error;
    int descriptor;
    emr_bundle *bundle;
    emr_model *base = open_model(w, 0), *model;
    team t = team_create(w->threads);
    check(emr_bundle_open_file(&bundle, w->bundle, NULL, &error), &error);
    emr_view_options view = EMR_INIT(emr_view_options);
    view.resources = &t.resources;
    view.check = when;
    check(emr_bundle_open_task(&model, bundle, 0, base, &view, &error), &error);
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    options.resources = &t.resources;
    emr_io io = plain_output(w->output, &descriptor);
    check(emr_safetensors_write(model, &io, &options, &error), &error);
    close(descriptor);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    team_destroy(&t);
}

static void apply_to_file(void *arg)
{
    apply_checked(arg, EMR_BASE_CHECK_FIRST);
}

static void apply_in_one_pass(void *arg)
{
    apply_checked(arg, EMR_BASE_CHECK_WRITE);
}

static void copy_plainly(void *arg)
{
    const work *w = arg;
    path_text paths[SOURCES_MAX];
    const char *inputs[SOURCES_MAX];
    size_t n = w->applying ? 1 : w->recipe->n_tasks + 1;
    team t = team_create(w->threads);
    for (size_t i = 0; i < n; i++) {
        paths[i] = model_path(w->recipe, i);
        inputs[i] = paths[i].text;
    }
    if (w->applying)
        inputs[n++] = w->bundle;
    plain_pass(&t, inputs, n, w->output, w->bytes_out);
    team_destroy(&t);
}

/* Runs in a child and removes what it wrote, before the system begins to bring it to the disk. */
static cost run_and_unlink(void (*what)(void *arg), work *w)
{
    cost c = run_in_child(what, w);
    unlink(w->output);
    return c;
}

static void measure_against_plain(const settings *s, work *w, const char *name, bar ratio_bar)
{
    double times[RUNS_MAX], plain_times[RUNS_MAX], ratios[RUNS_MAX], peak = 0;
    void (*subject)(void *) = w->applying ? apply_to_file : merge_files;
    const char *verb = w->applying ? "apply" : "merge";
    for (unsigned i = 0; i < s->runs; i++) { /* in turns, so that both meet the same machine */
        cost c = run_and_unlink(subject, w), plain = run_and_unlink(copy_plainly, w);
        times[i] = c.seconds;
        plain_times[i] = plain.seconds;
        ratios[i] = c.seconds / plain.seconds;
        peak = c.peak_mib > peak ? c.peak_mib : peak;
    }
    row(median(times, s->runs), "s", no_bar(), "files: %s %s", verb, name);
    row(median(plain_times, s->runs), "s", no_bar(), "files: %s %s, plain reads and writes", verb, name);
    row(median(ratios, s->runs), "of plain", ratio_bar, "files: %s %s, ratio", verb, name);
    row(peak, "MiB", w->applying ? no_bar() : at_most((double)w->memory / 0x1p20 + OVERHEAD_MIB),
        "files: %s %s, peak memory", verb, name);
}

/* What has to be read and written anyway if a task is to lie beside its base: one file after the other, as cp
 * does. */
static void copy_base_and_output(void *arg)
{
    const work *w = arg;
    path_text copy;
    snprintf(copy.text, sizeof copy.text, "%s/copy", w->recipe->directory);
    plain_copy(model_path(w->recipe, 0).text, copy.text);
    unlink(copy.text);
    plain_copy(w->output, copy.text);
    unlink(copy.text);
}

/* Applying that checks the base while it writes. */
static void measure_one_pass(const settings *s, work *w, const char *name)
{
    double times[RUNS_MAX], copy_times[RUNS_MAX], ratios[RUNS_MAX];
    for (unsigned i = 0; i < s->runs; i++) {
        times[i] = run_in_child(apply_in_one_pass, w).seconds;
        copy_times[i] = run_and_unlink(copy_base_and_output, w).seconds;
        ratios[i] = times[i] / copy_times[i];
    }
    row(median(times, s->runs), "s", no_bar(), "files: apply %s, base read once", name);
    row(median(copy_times, s->runs), "s", no_bar(), "files: apply %s, copying base and output", name);
    row(median(ratios, s->runs), "of copying", at_most(1.5), "files: apply %s, base read once, ratio", name);
}

/* "8 tasks x 64 Mi F32" */
static void name_files(const model_recipe *r, char name[64])
{
    if (r->kind == MODEL_TRANSFORMER)
        snprintf(name, 64, "%u tasks x transformer of %.0f M", r->n_tasks, (double)r->params / 1e6);
    else if (r->kind == MODEL_SMALL)
        snprintf(name, 64, "%u tasks x %.0f tensors of 256 F32", r->n_tasks, (double)r->params / 256);
    else
        snprintf(name, 64, "%u tasks x %.4g Mi %s", r->n_tasks, (double)r->params / 0x1p20,
                 emr_dtype_name(r->dtype));
}

/* One set of files, merged with each of the memory limits, then applied. */
static void measure_files(const settings *s, const model_recipe *recipe, const uint64_t *memories,
                          size_t n_memories)
{
    path_text output, bundle;
    char name[64], text[128];
    team t = team_create(s->threads);
    name_files(recipe, name);
    models_create(recipe, &t);
    team_destroy(&t);
    snprintf(output.text, sizeof output.text, "%s/output", recipe->directory);
    snprintf(bundle.text, sizeof bundle.text, "%s/bundle.emr", recipe->directory);
    work w = {recipe, s->threads, memories[0], bundle.text, bundle.text, 0, false};
    run_in_child(merge_files, &w); /* warms the page cache, and leaves the bundle for the rest */
    w.output = output.text;
    w.bytes_out = file_bytes(bundle.text);
    for (size_t i = 0; i < n_memories; i++) {
        w.memory = memories[i];
        snprintf(text, sizeof text, "%s, --memory %.0fMi", name, (double)w.memory / 0x1p20);
        measure_against_plain(s, &w, text, at_most(1.25));
    }
    w.applying = true;
    w.bytes_out = file_bytes(model_path(recipe, 0).text);
    measure_against_plain(s, &w, name, no_bar());
    measure_one_pass(s, &w, name);
    unlink(bundle.text);
    models_unlink(recipe);
}

/* What memory a merge of very large models takes: 64 tasks of one tensor. */
static void measure_sparse(const settings *s, uint64_t params)
{
    model_recipe recipe = {s->directory, MODEL_SPARSE, EMR_DTYPE_F32, s->quick ? 4 : 64, params};
    path_text output;
    models_create(&recipe, NULL);
    snprintf(output.text, sizeof output.text, "%s/output", recipe.directory);
    work w = {&recipe, s->threads, 256 << 20, output.text, NULL, 0, false};
    cost c = run_and_unlink(merge_files, &w);
    double bytes = 4.0 * (double)params * (recipe.n_tasks + 1);
    row(bytes / c.seconds / 1e9, "GB/s", no_bar(),
        "files: merge %u tasks x one tensor of %.4g Mi F32, sparse", recipe.n_tasks, (double)params / 0x1p20);
    row(c.peak_mib, "MiB", at_most((double)w.memory / 0x1p20 + OVERHEAD_MIB),
        "files: merge %u tasks x one tensor of %.4g Mi F32, peak memory", recipe.n_tasks,
        (double)params / 0x1p20);
    models_unlink(&recipe);
}

static void measure_table(const settings *s)
{
    static const uint64_t memories[] = {256 << 20, 16 << 20};
    struct {
        model_recipe recipe;
        size_t n_memories;
    } table[] = {
        {{s->directory, MODEL_EVEN, EMR_DTYPE_F32, 8, 64 << 20}, 2},
        {{s->directory, MODEL_EVEN, EMR_DTYPE_BF16, 8, 64 << 20}, 1},
        {{s->directory, MODEL_EVEN, EMR_DTYPE_F32, 64, 4 << 20}, 1},
        {{s->directory, MODEL_SMALL, EMR_DTYPE_F32, 8, 2560000}, 1},
        {{s->directory, MODEL_TRANSFORMER, EMR_DTYPE_BF16, 8, 110000000}, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (s->quick)
            table[i].recipe.params = table[i].recipe.kind == MODEL_TRANSFORMER ? 8 << 20 : 1 << 16;
        measure_files(s, &table[i].recipe, memories, table[i].n_memories);
    }
    measure_sparse(s, size_of_run(s, 16 << 20, 1 << 20));
    if (s->huge)
        measure_sparse(s, 1 << 30);
}

void bench_files(const settings *s)
{
    if (!s->own_files) {
        measure_table(s);
        return;
    }
    model_recipe recipe = {s->directory, MODEL_EVEN, EMR_DTYPE_F32, s->tasks, s->params};
    measure_files(s, &recipe, &s->memory, 1);
}
