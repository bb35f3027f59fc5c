/* serving.c - what engines do beside switching and multiplying in one piece (session.c): threads of the host's
 * that share out every operation, each with a handle of its own; embeddings of a prompt whose tokens have
 * tasks of their own; bases and weights in ggml's blocks; weights that pass through staging; experts whose
 * matrices are fused in one tensor. Everything is in memory, and in F32 but where it says otherwise.
 *
 * All rows are ratios of time but that of bytes. Gathers are of 4,096 rows of 1,024, each of one of 8 tasks;
 * an expert's rows have 512 columns, eight of them in each of the tensor's; staging has room for a million
 * elements. */
#include "engine.h"
#include "merging.h"
#include "rows.h"

#include <stdio.h>
#include <string.h>

enum { ROW = 1024, GATHERED = 4096, EXPERT_ROWS = 8, STAGED = 1 << 20 };

/* An engine that does one thing in two ways. */
typedef struct two_ways {
    engine subject, reference;
} two_ways;

static void switch_subject(void *arg)
{
    switch_task(&((two_ways *)arg)->subject);
}

static void switch_reference(void *arg)
{
    switch_task(&((two_ways *)arg)->reference);
}

static void multiply_subject(void *arg)
{
    multiply_batch(&((two_ways *)arg)->subject);
}

static void multiply_reference(void *arg)
{
    multiply_batch(&((two_ways *)arg)->reference);
}

/* An engine whose threads have handles, and meet after every operation. */
typedef struct callers {
    engine *e;
    size_t n;
    emr_session *handles[THREADS_MAX];
    uint32_t tensor; /* of the operation */
} callers;

static void multiply_rows(void *arg, size_t i)
{
    const callers *c = arg;
    emr_error error;
    emr_product p = product_of(c->e);
    size_t end = share_begin((size_t)p.n_rows, i + 1, c->n, 4);
    p.tensor = c->tensor;
    p.y_stride = (size_t)p.n_rows;
    p.first_row = share_begin((size_t)p.n_rows, i, c->n, 4);
    p.n_rows = end - p.first_row;
    p.y += p.first_row;
    check(emr_session_multiply(c->handles[i], c->e->batch, &p, &error), &error);
}

static void multiply_on_threads(void *arg)
{
    callers *c = arg;
    for (c->tensor = 0; c->tensor < TENSORS; c->tensor++)
        team_run(c->e->team, c->n, multiply_rows, c);
}

static void switch_rows(void *arg, size_t i)
{
    const callers *c = arg;
    emr_error error;
    emr_weights targets[TENSORS];
    const size_t n = tensor_params(c->e), begin = share_begin(n, i, c->n, COLUMNS);
    const size_t end = share_begin(n, i + 1, c->n, COLUMNS);
    for (size_t t = 0; t < TENSORS; t++) {
        targets[t] = c->e->targets[t];
        targets[t].data = (uint8_t *)targets[t].data + begin * c->e->values.size;
        targets[t].first = begin;
        targets[t].count = end - begin;
    }
    if (end > begin)
        check(emr_session_apply(c->handles[i], c->e->task, targets, TENSORS, &error), &error);
}

static void switch_on_threads(void *arg)
{
    callers *c = arg;
    c->e->task = (c->e->task + 1) % TASKS;
    team_run(c->e->team, c->n, switch_rows, c);
}

static void multiply_by_executor(void *arg)
{
    multiply_batch(((callers *)arg)->e);
}

static void switch_by_executor(void *arg)
{
    switch_task(((callers *)arg)->e);
}

static void measure_callers(const settings *s, engine *e)
{
    callers c = {.e = e, .n = s->threads};
    emr_error error;
    for (size_t i = 0; i < c.n; i++)
        check(emr_session_open_thread(&c.handles[i], e->session, &error), &error);
    const char *threads = threads_of(s->threads).text;
    for (size_t n = 1; n <= TASKS; n += TASKS - 1) {
        set_batch(e, n, n);
        row(take_turns(s->runs, multiply_on_threads, multiply_by_executor, &c).ratio, "times", at_most(1.1),
            "serving: handles to executor, products, batch of %zu, %s, %s", n, e->kind->name, threads);
    }
    row(take_turns(s->runs, switch_on_threads, switch_by_executor, &c).ratio, "times", at_most(1.1),
        "serving: handles to executor, switching, %s, %s", e->kind->name, threads);
    for (size_t i = 0; i < c.n; i++)
        emr_session_destroy(&c.handles[i]);
}

/* A prompt's tokens, mixed, with a task each. */
typedef struct prompt {
    engine *e;
    uint32_t tasks[GATHERED];
    uint64_t rows[GATHERED];
    float *out;
} prompt;

static void gather_prompt(void *arg)
{
    const prompt *p = arg;
    emr_error error;
    emr_gather g = EMR_INIT(emr_gather);
    g.n_columns = ROW;
    g.tasks = p->tasks;
    g.rows = p->rows;
    g.n = GATHERED;
    g.out = p->out;
    g.dtype = EMR_DTYPE_F32;
    check(emr_session_gather(p->e->session, &g, &error), &error);
}

static void apply_row_by_row(void *arg)
{
    const prompt *p = arg;
    emr_error error;
    for (size_t i = 0; i < GATHERED; i++) {
        emr_weights w = EMR_INIT(emr_weights);
        w.data = p->out + i * ROW;
        w.first = p->rows[i] * ROW;
        w.count = ROW;
        w.dtype = EMR_DTYPE_F32;
        check(emr_session_apply(p->e->session, p->tasks[i], &w, 1, &error), &error);
    }
}

static void copy_some_rows(void *arg, size_t i)
{
    const prompt *p = arg;
    const size_t k = p->e->team->executor->concurrency;
    for (size_t at = share_begin(GATHERED, i, k, 1); at < share_begin(GATHERED, i + 1, k, 1); at++)
        memcpy(p->out + at * ROW, (const float *)(const void *)p->e->values.sources[0] + p->rows[at] * ROW,
               ROW * sizeof(float));
}

static void copy_base_rows(void *arg)
{
    const prompt *p = arg;
    team_run(p->e->team, p->e->team->executor->concurrency, copy_some_rows, arg);
}

static void measure_gathers(const settings *s, engine *e)
{
    static prompt p;
    p.e = e;
    p.out = allocate_large(GATHERED * ROW * sizeof(float));
    for (size_t i = 0; i < GATHERED; i++) {
        p.tasks[i] = (uint32_t)(mix64(i) >> 8) % TASKS;
        p.rows[i] = mix64(i + GATHERED) % (tensor_params(e) / ROW);
    }
    const char *threads = threads_of(s->threads).text;
    row(take_turns(s->runs, gather_prompt, apply_row_by_row, &p).ratio, "times", no_bar(),
        "serving: gathering to applying row by row, %s, %s", e->kind->name, threads);
    row(take_turns(s->runs, gather_prompt, copy_base_rows, &p).ratio, "times", no_bar(),
        "serving: gathering to copying the base's rows, %s, %s", e->kind->name, threads);
    release_large(p.out, GATHERED * ROW * sizeof(float));
}

/* The engine's base in blocks, and a session of it over the same bundle. */
static void measure_block_base(const settings *s, const engine *e)
{
    two_ways w = {*e, *e};
    emr_session_info info = EMR_INIT(emr_session_info);
    const size_t n = e->values.n, block_bytes = emr_block_bytes(EMR_BLOCK_TYPE_Q8_0);
    const size_t tensor_bytes = tensor_params(e) / EMR_BLOCK_VALUES * block_bytes;
    const char *threads = threads_of(s->threads).text;
    uint8_t *blocks = allocate_large(TENSORS * tensor_bytes);
    if (emr_quantise(EMR_BLOCK_TYPE_Q8_0, blocks, (const float *)(const void *)e->values.sources[0], n))
        die("the base cannot be quantised");
    w.subject.models[0] = create_model();
    for (size_t i = 0; i < TENSORS; i++) {
        char name[32];
        add_blocks(w.subject.models[0], engine_tensor(name, sizeof name, i), EMR_BLOCK_TYPE_Q8_0,
                   tensor_params(e) / COLUMNS, COLUMNS, blocks + i * tensor_bytes);
    }
    open_session(&w.subject, 0);
    emr_session_get_info(w.subject.session, &info);
    double codes = (double)e->unified_size + e->kind->bits / 8;
    double base = (double)(TENSORS * tensor_bytes + info.base_bytes) / (double)n;
    row((base + codes) / ((double)e->values.size + codes), "times", no_bar(),
        "serving: Q8_0 base to F32, bytes of a product, %s", e->kind->name);
    for (size_t k = 1; k <= TASKS; k += TASKS - 1) {
        set_batch(&w.subject, k, k);
        set_batch(&w.reference, k, k);
        row(take_turns(s->runs, multiply_subject, multiply_reference, &w).ratio, "times", no_bar(),
            "serving: Q8_0 base to F32, products, batch of %zu, %s, %s", k, e->kind->name, threads);
    }
    row(take_turns(s->runs, switch_subject, switch_reference, &w).ratio, "times", no_bar(),
        "serving: Q8_0 base to F32, switching, %s, %s", e->kind->name, threads);
    emr_session_destroy(&w.subject.session);
    emr_model_destroy(&w.subject.models[0]);
    release_large(blocks, TENSORS * tensor_bytes);
}

static emr_status take_no_notice(const emr_weights_part *part, emr_error *error)
{
    (void)part;
    (void)error;
    return EMR_OK;
}

/* Into Q8_0, and through staging, which costs what the host then does with the parts, too. */
static void measure_targets(const settings *s, const engine *e)
{
    two_ways blocks = {*e, *e}, staged = {*e, *e};
    const char *threads = threads_of(s->threads).text;
    for (size_t i = 0; i < TENSORS; i++) {
        blocks.subject.targets[i].blocks = EMR_BLOCK_TYPE_Q8_0;
        staged.subject.targets[i].write = take_no_notice;
        staged.subject.targets[i].staging = STAGED;
        staged.subject.targets[i].data = e->weights;
    }
    row(take_turns(s->runs, switch_subject, switch_reference, &blocks).ratio, "times", no_bar(),
        "serving: switching into Q8_0 to into F32, %s, %s", e->kind->name, threads);
    row(take_turns(s->runs, switch_subject, switch_reference, &staged).ratio, "times", no_bar(),
        "serving: staging to switching in place, %s, %s", e->kind->name, threads);
}

static void measure_experts(const settings *s, const engine *e)
{
    two_ways w = {*e, *e};
    w.subject.n_columns = COLUMNS / EXPERT_ROWS;
    set_batch(&w.subject, 1, 1);
    set_batch(&w.reference, 1, 1);
    row(take_turns(s->runs, multiply_subject, multiply_reference, &w).ratio, "times", no_bar(),
        "serving: fused experts to whole rows, %s, %s", e->kind->name, threads_of(s->threads).text);
}

static bool is_served(const bench_kind *k)
{
    return k == bench_kinds || k->spec.kind == EMR_MODULATOR_KIND_SIGN ||
           k->spec.kind == EMR_MODULATOR_KIND_THIN;
}

void bench_serving(const settings *s)
{
    team t = team_create(s->threads);
    for (const bench_kind *k = bench_kinds; k->name; k++) {
        if (!is_served(k))
            continue;
        engine e = engine_create(s, &t, k, EMR_DTYPE_F32, EMR_DTYPE_F32);
        open_session(&e, 0);
        measure_callers(s, &e);
        measure_gathers(s, &e);
        measure_block_base(s, &e);
        measure_targets(s, &e);
        measure_experts(s, &e);
        emr_session_destroy(&e.session);
        engine_destroy(&e);
    }
    team_destroy(&t);
}
