/* kernels.c - the merge kernels in memory: each variant, dtype and number of tasks, against plainly reading
 * the same bytes.
 *
 * Threads have equal shares of flat space. Sources begin at pages, as those of hosts do; rows that end in
 * "spread" have them moved apart in the caches (synthetic.h). A kernel's output goes where a merge puts it:
 * into a window that is used again and again (here of 256 Ki parameters a thread), since it is on its way
 * into a file. Rows that end in "output kept" write it all to memory instead, which no merge does. What
 * counts as moved is what is read, base and tasks, in both. */
#include "apply_kernels.h"
#include "measure.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include "numeric/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS_MAX = SOURCES_MAX - 1, WINDOW = 16 * EMR_CHUNK };

/* Where results of one thread go: those of flat position i at i % params. */
typedef struct output {
    size_t params;
    uint8_t *unified, *masks; /* masks: params / 8 bytes a task */
} output;

typedef struct merging {
    const emr_kernels *kernels;
    const synthetic_models *models;
    const team *team;
    output outputs[THREADS_MAX];
    size_t n_outputs;
} merging;

static size_t unified_bytes(const output *o)
{
    return o->params * 4;
}

static size_t mask_bytes(const output *o, const synthetic_models *m)
{
    return o->params / 8 * m->n_tasks;
}

static void outputs_create(merging *g, size_t n, size_t params)
{
    g->n_outputs = n;
    for (size_t i = 0; i < n; i++) {
        output *o = &g->outputs[i];
        o->params = params;
        o->unified = allocate_large(unified_bytes(o));
        o->masks = allocate_large(mask_bytes(o, g->models));
    }
}

static void outputs_destroy(merging *g)
{
    for (size_t i = 0; i < g->n_outputs; i++) {
        output *o = &g->outputs[i];
        release_large(o->unified, unified_bytes(o));
        release_large(o->masks, mask_bytes(o, g->models));
    }
}

static void merge_chunk(const merging *g, const output *o, size_t at, const emr_dtype *dtypes)
{
    const synthetic_models *m = g->models;
    const void *tasks[TASKS_MAX];
    uint8_t *masks[TASKS_MAX];
    emr_chunk_task results[TASKS_MAX];
    for (size_t t = 0; t < m->n_tasks; t++) {
        tasks[t] = m->sources[t + 1] + at * m->size;
        masks[t] = o->masks + t * (o->params / 8) + at % o->params / 8;
    }
    emr_chunk chunk = {.n = EMR_CHUNK,
                       .n_tasks = m->n_tasks,
                       .base = m->sources[0] + at * m->size,
                       .tasks = tasks,
                       .task_dtypes = dtypes,
                       .base_dtype = m->dtype,
                       .unified_dtype = EMR_DTYPE_F32,
                       .unified = o->unified + at % o->params * 4,
                       .masks = masks,
                       .results = results};
    g->kernels->merge(&chunk);
    if (chunk.bad != chunk.n) { /* a kernel that gives up is fast */
        fprintf(stderr, "emr-bench: a merge kernel refuses its input\n");
        abort();
    }
}

static void merge_share(void *arg, size_t i)
{
    const merging *g = arg;
    size_t n = g->models->n, k = g->team->executor->concurrency;
    size_t begin = share_begin(n, i, k, EMR_CHUNK), end = share_begin(n, i + 1, k, EMR_CHUNK);
    emr_dtype dtypes[TASKS_MAX];
    for (size_t t = 0; t < TASKS_MAX; t++)
        dtypes[t] = g->models->dtype;
    for (size_t at = begin; at < end; at += EMR_CHUNK)
        merge_chunk(g, &g->outputs[i % g->n_outputs], at, dtypes);
}

static void merge_all(void *arg)
{
    const merging *g = arg;
    team_run(g->team, g->team->executor->concurrency, merge_share, arg);
}

static void read_all(void *arg)
{
    const merging *g = arg;
    synthetic_read(g->models, g->team);
}

/* The C reference takes its time: where it is not the best there is, it merges 8 tasks in two dtypes. */
static bool is_measured(const emr_kernels *k, const synthetic_models *m)
{
    return k != &emr_kernels_c || k == emr_kernels_select() || (m->n_tasks == 8 && m->dtype != EMR_DTYPE_F16);
}

static void measure_merge(const settings *s, merging *g, const char *suffix, bar ratio_bar)
{
    const synthetic_models *m = g->models;
    unsigned runs = g->kernels == &emr_kernels_c && s->runs > 2 ? 2 : s->runs;
    const char *tasks = m->n_tasks == 1 ? "task" : "tasks";
    thread_text threads = threads_of(g->team->executor->concurrency);
    comparison c = take_turns(runs, merge_all, read_all, g);
    row(synthetic_bytes(m) / c.subject / 1e9, "GB/s", no_bar(), "kernels: merge %s, %zu %s, %s, %s%s",
        emr_dtype_name(m->dtype), m->n_tasks, tasks, g->kernels->name, threads.text, suffix);
    row(1 / c.ratio, "of read", ratio_bar, "kernels: merge %s, %zu %s, %s, %s%s, ratio",
        emr_dtype_name(m->dtype), m->n_tasks, tasks, g->kernels->name, threads.text, suffix);
}

/* 8 tasks by the best variant are the case that the bar is about, and that is looked at from more sides. */
static bool is_main_case(const merging *g)
{
    return g->kernels == emr_kernels_select() && g->models->n_tasks == 8 && g->models->dtype != EMR_DTYPE_F16;
}

static void measure_windowed(const settings *s, merging *g, const char *suffix)
{
    bool judged = is_main_case(g) && g->models->dtype == EMR_DTYPE_F32;
    outputs_create(g, g->team->executor->concurrency, WINDOW);
    measure_merge(s, g, suffix, judged ? at_least(0.90) : no_bar());
    outputs_destroy(g);
}

static void measure_kept(const settings *s, merging *g)
{
    outputs_create(g, 1, g->models->n);
    measure_merge(s, g, ", output kept", no_bar());
    outputs_destroy(g);
}

static size_t bytes_of_models(const settings *s)
{
    return (size_t)size_of_run(s, 512 << 20, 8 << 20);
}

static void measure_at_pages(const settings *s, const team *teams, size_t n_teams, emr_dtype dtype,
                             size_t n_tasks)
{
    synthetic_models m =
        synthetic_create(&teams[n_teams - 1], dtype, AT_PAGES, n_tasks, bytes_of_models(s), EMR_CHUNK);
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        for (size_t t = 0; t < n_teams && is_measured(*k, &m); t++) {
            merging g = {.kernels = *k, .models = &m, .team = &teams[t]};
            measure_windowed(s, &g, "");
            if (is_main_case(&g))
                measure_kept(s, &g);
        }
    }
    synthetic_destroy(&m);
}

static void measure_spread(const settings *s, const team *teams, size_t n_teams, emr_dtype dtype)
{
    synthetic_models m =
        synthetic_create(&teams[n_teams - 1], dtype, SPREAD, 8, bytes_of_models(s), EMR_CHUNK);
    for (size_t t = 0; t < n_teams; t++) {
        merging g = {.kernels = emr_kernels_select(), .models = &m, .team = &teams[t]};
        measure_windowed(s, &g, ", spread");
    }
    synthetic_destroy(&m);
}

/* BF16 against F32, by parameters per second. */
typedef struct dtype_pair {
    merging bf16, f32;
} dtype_pair;

static void merge_bf16(void *arg)
{
    merge_all(&((dtype_pair *)arg)->bf16);
}

static void merge_f32(void *arg)
{
    merge_all(&((dtype_pair *)arg)->f32);
}

static void measure_pair(const settings *s, const synthetic_models *bf16, const synthetic_models *f32,
                         const team *t)
{
    dtype_pair p = {.bf16 = {.kernels = emr_kernels_select(), .models = bf16, .team = t},
                    .f32 = {.kernels = emr_kernels_select(), .models = f32, .team = t}};
    outputs_create(&p.bf16, t->executor->concurrency, WINDOW);
    outputs_create(&p.f32, t->executor->concurrency, WINDOW);
    comparison c = take_turns(s->runs, merge_bf16, merge_f32, &p);
    row((double)bf16->n / (double)f32->n / c.ratio, "x", at_least(1.4),
        "kernels: merge 8 tasks, %s, %s, BF16 parameters/s over F32", p.f32.kernels->name,
        threads_of(t->executor->concurrency).text);
    outputs_destroy(&p.bf16);
    outputs_destroy(&p.f32);
}

static void compare_dtypes(const settings *s, const team *teams, size_t n_teams)
{
    size_t bytes = bytes_of_models(s);
    const team *all = &teams[n_teams - 1];
    synthetic_models bf16 = synthetic_create(all, EMR_DTYPE_BF16, AT_PAGES, 8, bytes / 2, EMR_CHUNK);
    synthetic_models f32 = synthetic_create(all, EMR_DTYPE_F32, AT_PAGES, 8, bytes, EMR_CHUNK);
    for (size_t t = 0; t < n_teams; t++)
        measure_pair(s, &bf16, &f32, &teams[t]);
    synthetic_destroy(&bf16);
    synthetic_destroy(&f32);
}

void bench_kernels(const settings *s)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
    static const size_t counts[] = {1, 2, 8, 30, 64};
    team teams[2] = {team_create(1)};
    size_t n_teams = 1;
    if (s->threads > 1)
        teams[n_teams++] = team_create(s->threads);
    for (size_t d = 0; d < 3; d++)
        for (size_t c = 0; c < 5; c++)
            if (counts[c] < 64 || dtypes[d] == EMR_DTYPE_F32)
                measure_at_pages(s, teams, n_teams, dtypes[d], counts[c]);
    measure_spread(s, teams, n_teams, EMR_DTYPE_F32);
    measure_spread(s, teams, n_teams, EMR_DTYPE_BF16);
    compare_dtypes(s, teams, n_teams);
    for (size_t d = 0; d < 3; d++)
        bench_apply_kernels(s, teams, n_teams, dtypes[d]);
    for (size_t t = 0; t < n_teams; t++)
        team_destroy(&teams[t]);
}
