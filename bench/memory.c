/* memory.c - merging in memory through the public API, as a host would: tensors of host memory in, results to
 * a sink that takes no notice of them; and to a bundle, in each kind of modulator, whose bytes nobody keeps.
 * Against plainly reading the same bytes. */
#include "kinds.h"
#include "measure.h"
#include "merging.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include <stdio.h>

enum { TENSORS = 16, ROW = 1024 };

typedef struct hosted {
    const synthetic_models *values;
    const team *team;
    const bench_kind *kind;
    emr_model *models[SOURCES_MAX];
} hosted;

static emr_model *layered_model(const synthetic_models *m, size_t source)
{
    emr_model *model = create_model();
    for (size_t i = 0; i < TENSORS; i++) {
        char name[32];
        size_t n = m->n / TENSORS;
        snprintf(name, sizeof name, "layers.%zu.weight", i);
        add_matrix(model, name, m->dtype, n / ROW, ROW, m->sources[source] + i * n * m->size);
    }
    return model;
}

static void merge_hosted(void *arg)
{
    const hosted *h = arg;
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.resources = &h->team->resources;
    run_merge(&options, h->models, h->values->n_tasks, NULL);
}

static emr_status forget_bytes(void *user, uint64_t offset, const void *bytes, size_t n, emr_error *error)
{
    (void)user;
    (void)error;
    (void)offset;
    (void)bytes;
    (void)n;
    return EMR_OK;
}

static void code_hosted(void *arg)
{
    const hosted *h = arg;
    emr_io nowhere = EMR_INIT(emr_io);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    nowhere.write = forget_bytes;
    options.resources = &h->team->resources;
    options.modulation = &h->kind->spec;
    options.compression = EMR_COMPRESSION_NONE;
    run_merge(&options, h->models, h->values->n_tasks, &nowhere);
}

static void read_hosted(void *arg)
{
    const hosted *h = arg;
    synthetic_read(h->values, h->team);
}

static void measure_merge(const settings *s, hosted *h, unsigned threads)
{
    team t = team_create(threads);
    const char *dtype = emr_dtype_name(h->values->dtype);
    h->team = &t;
    comparison c = take_turns(s->runs, merge_hosted, read_hosted, h);
    row(synthetic_bytes(h->values) / c.subject / 1e9, "GB/s", no_bar(), "memory: merge %s, %zu tasks, %s",
        dtype, h->values->n_tasks, threads_of(threads).text);
    row(1 / c.ratio, "of read", no_bar(), "memory: merge %s, %zu tasks, %s, ratio", dtype, h->values->n_tasks,
        threads_of(threads).text);
    team_destroy(&t);
}

static void measure_kinds(const settings *s, hosted *h)
{
    team t = team_create(s->threads);
    h->team = &t;
    for (h->kind = bench_kinds; h->kind->name; h->kind++) {
        comparison c = take_turns(s->runs, code_hosted, read_hosted, h);
        row(1 / c.ratio, "of read", h->kind->shares_unified || h->kind->bits > 1 ? no_bar() : at_least(0.85),
            "memory: make %s, %s, %zu tasks, %s, ratio", h->kind->name, emr_dtype_name(h->values->dtype),
            h->values->n_tasks, threads_of(s->threads).text);
    }
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
        h.models[i] = layered_model(&m, i);
    measure_merge(s, &h, 1);
    if (s->threads > 1)
        measure_merge(s, &h, s->threads);
    measure_kinds(s, &h);
    destroy_models(h.models, m.n_tasks + 1);
    synthetic_destroy(&m);
}

void bench_memory(const settings *s)
{
    measure_dtype(s, EMR_DTYPE_F32);
    measure_dtype(s, EMR_DTYPE_BF16);
}
