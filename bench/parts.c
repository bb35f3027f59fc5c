/* parts.c - a merge in parts against one at once: processor time of all parts and of joining them, and joining against
 * copying the parts; file to file, page cache warm, each in a process of its own. */
#include "measure.h"
#include "model_files.h"
#include "plain_files.h"
#include "rows.h"
#include "settings.h"

#include <stdio.h>
#include <unistd.h>

enum { PARTS = 8, TASKS = 8 };

typedef struct work {
    const model_recipe *recipe;
    unsigned threads;
    uint32_t part, n_parts; /* n_parts 0: at once */
    path_text output, parts[PARTS];
} work;

static void merge_some(void *arg)
{
    const work *w = arg;
    int descriptor;
    emr_error error;
    emr_merge *merge;
    emr_model *models[TASKS + 1];
    team t = team_create(w->threads);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.resources = &t.resources;
    check(emr_merge_create(&merge, &options, &error), &error);
    for (size_t i = 0; i <= TASKS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%zu", i);
        check(emr_checkpoint_open(&models[i], model_path(w->recipe, i).text, NULL, &error), &error);
        check(i ? emr_merge_add_task(merge, name, models[i], &error)
                : emr_merge_set_base(merge, models[0], &error),
              &error);
    }
    if (w->n_parts)
        check(emr_merge_set_part(merge, w->part, w->n_parts, &error), &error);
    emr_io io = plain_output((w->n_parts ? w->parts[w->part] : w->output).text, &descriptor);
    check(emr_merge_set_output(merge, &io, &error), &error);
    check(emr_merge_run(merge, &error), &error);
    close(descriptor);
    emr_merge_destroy(&merge);
    for (size_t i = 0; i <= TASKS; i++)
        emr_model_destroy(&models[i]);
    team_destroy(&t);
}

static void join_all(void *arg)
{
    const work *w = arg;
    int descriptor;
    emr_error error;
    emr_join *join;
    emr_file *files[PARTS];
    team t = team_create(w->threads);
    check(emr_join_create(&join, &t.resources, &error), &error);
    for (size_t i = 0; i < PARTS; i++) {
        check(emr_file_open(&files[i], w->parts[i].text, NULL, &error), &error);
        check(emr_join_add_part(join, emr_file_io(files[i]), w->parts[i].text, &error), &error);
    }
    emr_io io = plain_output(w->output.text, &descriptor);
    check(emr_join_set_output(join, &io, &error), &error);
    check(emr_join_run(join, &error), &error);
    close(descriptor);
    emr_join_destroy(&join);
    for (size_t i = 0; i < PARTS; i++)
        emr_file_close(&files[i]);
    team_destroy(&t);
}

static void copy_all(void *arg)
{
    const work *w = arg;
    path_text copy;
    for (size_t i = 0; i < PARTS; i++) {
        snprintf(copy.text, sizeof copy.text, "%s/copy%zu", w->recipe->directory, i);
        plain_copy(w->parts[i].text, copy.text);
    }
}

static void unlink_copies(const work *w)
{
    path_text copy;
    for (size_t i = 0; i < PARTS; i++) {
        snprintf(copy.text, sizeof copy.text, "%s/copy%zu", w->recipe->directory, i);
        unlink(copy.text);
    }
}

/* In turns, so that all meet the same machine. */
static void measure(const settings *s, work *w)
{
    double once[RUNS_MAX], parts[RUNS_MAX], joins[RUNS_MAX], together[RUNS_MAX], copying[RUNS_MAX];
    for (unsigned i = 0; i < s->runs; i++) {
        w->n_parts = 0;
        once[i] = run_in_child(merge_some, w).processor;
        unlink(w->output.text);
        parts[i] = 0;
        w->n_parts = PARTS;
        for (w->part = 0; w->part < PARTS; w->part++)
            parts[i] += run_in_child(merge_some, w).processor;
        cost join = run_in_child(join_all, w), copy = run_in_child(copy_all, w);
        joins[i] = join.processor;
        copying[i] = copy.seconds / join.seconds;
        together[i] = (parts[i] + join.processor) / once[i];
        unlink_copies(w);
        unlink(w->output.text);
    }
    row(median(once, s->runs), "s", no_bar(), "parts: merge at once, processor time");
    row(median(parts, s->runs), "s", no_bar(), "parts: %d parts, processor time", PARTS);
    row(median(joins, s->runs), "s", no_bar(), "parts: joining, processor time");
    row(median(together, s->runs), "of one merge", at_most(1.15), "parts: parts and joining, processor time");
    row(median(copying, s->runs), "of copying", at_least(0.8), "parts: joining, speed");
}

void bench_parts(const settings *s)
{
    const model_recipe recipe = {s->directory, MODEL_EVEN, EMR_DTYPE_F32, TASKS,
                                 size_of_run(s, 64 << 20, 1 << 16)};
    work w = {.recipe = &recipe, .threads = s->threads};
    team t = team_create(s->threads);
    models_create(&recipe, &t);
    team_destroy(&t);
    snprintf(w.output.text, sizeof w.output.text, "%s/output", recipe.directory);
    for (size_t i = 0; i < PARTS; i++)
        snprintf(w.parts[i].text, sizeof w.parts[i].text, "%s/%zu.part", recipe.directory, i);
    measure(s, &w);
    for (size_t i = 0; i < PARTS; i++)
        unlink(w.parts[i].text);
    models_unlink(&recipe);
}
