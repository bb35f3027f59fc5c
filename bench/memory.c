/* memory.c - merging in memory through the public API, as a host would: tensors of host memory in, results to
 * a sink that takes no notice of them; against plainly reading the same bytes. */
#include "measure.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include <stdio.h>

enum { TENSORS = 16, ROW = 1024 };

typedef struct hosted {
    const synthetic_models *values;
    const team *team;
    emr_model *models[SOURCES_MAX];
} hosted;

static emr_model *model_of(const synthetic_models *m, size_t source)
{
    emr_error error;
    emr_model *model;
    check(emr_model_create(&model, NULL, NULL, &error), &error);
    for (size_t i = 0; i < TENSORS; i++) {
        char name[32];
        size_t n = m->n / TENSORS;
        uint64_t shape[2] = {n / ROW, ROW};
        snprintf(name, sizeof name, "layers.%zu.weight", i);
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = name;
        d.dtype = (uint32_t)m->dtype;
        d.rank = 2;
        d.shape = shape;
        d.data = m->sources[source] + i * n * m->size;
        check(emr_model_add(model, &d, &error), &error);
    }
    return model;
}

static void merge(void *arg)
{
    const hosted *h = arg;
    emr_error error;
    emr_merge *merge;
    emr_sink sink = EMR_INIT(emr_sink);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.executor = &h->team->executor;
    check(emr_merge_create(&merge, &options, &error), &error);
    check(emr_merge_set_base(merge, h->models[0], &error), &error);
    for (size_t t = 0; t < h->values->n_tasks; t++) {
        char name[32];
        snprintf(name, sizeof name, "task%zu", t + 1);
        check(emr_merge_add_task(merge, name, h->models[t + 1], &error), &error);
    }
    check(emr_merge_set_sink(merge, &sink, &error), &error);
    check(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
}

static void read_all(void *arg)
{
    const hosted *h = arg;
    synthetic_read(h->values, h->team);
}

static void measure(const settings *s, hosted *h, unsigned threads)
{
    team t = team_create(threads);
    const char *dtype = emr_dtype_name(h->values->dtype);
    h->team = &t;
    comparison c = take_turns(s->runs, merge, read_all, h);
    row(synthetic_bytes(h->values) / c.subject / 1e9, "GB/s", no_bar(), "memory: merge %s, %zu tasks, %s",
        dtype, h->values->n_tasks, threads_of(threads).text);
    row(1 / c.ratio, "of read", no_bar(), "memory: merge %s, %zu tasks, %s, ratio", dtype, h->values->n_tasks,
        threads_of(threads).text);
    team_destroy(&t);
}

static void measure_dtype(const settings *s, emr_dtype dtype)
{
    team all = team_create(s->threads);
    size_t bytes = (size_t)size_of_run(s, 576 << 20, 9 << 20);
    synthetic_models m = synthetic_create(&all, dtype, AT_PAGES, 8, bytes, TENSORS * ROW);
    hosted h = {.values = &m};
    team_destroy(&all);
    for (size_t i = 0; i <= m.n_tasks; i++)
        h.models[i] = model_of(&m, i);
    measure(s, &h, 1);
    if (s->threads > 1)
        measure(s, &h, s->threads);
    for (size_t i = 0; i <= m.n_tasks; i++)
        emr_model_destroy(&h.models[i]);
    synthetic_destroy(&m);
}

void bench_memory(const settings *s)
{
    measure_dtype(s, EMR_DTYPE_F32);
    measure_dtype(s, EMR_DTYPE_BF16);
}
