/* session.c - an engine at work: switching all tensors of a model to another task, multiplying by a task's
 * weights without materialising them, and a batch whose vectors have tasks of their own. The base lies in
 * host memory, the bundle in a mapping, raw but for where it says otherwise.
 *
 * What is counted: switching, bytes of base, unified values, mask and output, against memcpy, bytes read and
 * bytes written; multiplying, bytes of base, unified values and masks, against adding up as many. */
#include "bandwidth.h"
#include "engine.h"
#include "rows.h"

#include <stdio.h>
#include <string.h>

static void copy_share(void *arg, size_t i)
{
    const engine *e = arg;
    size_t bytes = e->values.n * e->values.size, k = e->team->executor->concurrency;
    size_t begin = share_begin(bytes, i, k, READ_UNIT), end = share_begin(bytes, i + 1, k, READ_UNIT);
    memcpy(e->weights + begin, e->values.sources[0] + begin, end - begin);
}

static void copy_weights(void *arg)
{
    const engine *e = arg;
    team_run(e->team, e->team->executor->concurrency, copy_share, arg);
}

static void multiply_change(void *arg)
{
    engine *e = arg;
    e->change = true;
    multiply_batch(e);
    e->change = false;
}

/* Bytes that multiplying by `masks` tasks reads. */
static double bytes_read(const engine *e, double masks)
{
    return (double)e->values.n *
           ((double)e->values.size + (double)e->unified_size + masks * e->kind->bits / 8);
}

static void read_operand_share(void *arg, size_t i)
{
    engine *e = arg;
    size_t k = e->team->executor->concurrency;
    const size_t bytes[3] = {e->values.n * e->values.size, e->values.n * e->unified_size,
                             (size_t)((double)e->values.n * e->kind->bits) / 8};
    uint64_t sum = 0;
    for (size_t part = 0; part < 3; part++) {
        size_t begin = share_begin(bytes[part], i, k, READ_UNIT),
               end = share_begin(bytes[part], i + 1, k, READ_UNIT);
        for (size_t at = begin, n; at < end;
             at += n) { /* sources 1 and on are longer than one alone, together */
            size_t source = part + (part == 1 ? at / bytes[0] : part),
                   within = part == 1 ? at % bytes[0] : at;
            n = end - at < bytes[0] - within ? end - at : bytes[0] - within;
            sum += read_through(e->values.sources[source] + within, n);
        }
    }
    e->sums[i] = sum;
}

static void read_operands(void *arg)
{
    const engine *e = arg;
    team_run(e->team, e->team->executor->concurrency, read_operand_share, arg);
}

static const char *dtypes_of(const engine *e)
{
    static char text[64];
    bool narrow = e->values.dtype == EMR_DTYPE_BF16;
    snprintf(text, sizeof text, "%s%s%s%s", narrow ? "BF16" : "F32",
             narrow && e->unified_dtype == EMR_DTYPE_F32 && e->unified_size ? " with F32 unified" : "",
             e->kind == bench_kinds ? "" : ", ", e->kind == bench_kinds ? "" : e->kind->name);
    return text;
}

static void measure_switching(const settings *s, engine *e)
{
    double moved =
        (double)e->values.n * (2.0 * (double)e->values.size + (double)e->unified_size + e->kind->bits / 8);
    double copied = 2.0 * (double)(e->values.n * e->values.size);
    unsigned threads = e->team->executor->concurrency;
    comparison c = take_turns(s->runs, switch_task, copy_weights, e);
    row(moved / c.subject / 1e9, "GB/s", no_bar(), "session: switch all tensors, %s, %s", dtypes_of(e),
        threads_of(threads).text);
    row(moved / copied / c.ratio, "of copy", at_least(0.85), "session: switch all tensors, %s, %s, ratio",
        dtypes_of(e), threads_of(threads).text);
}

static void measure_products(const settings *s, engine *e)
{
    const char *threads = threads_of(e->team->executor->concurrency).text;
    bool all = e->team->executor->concurrency == s->threads;
    set_batch(e, 1, 1);
    comparison c = take_turns(s->runs, multiply_batch, read_operands, e);
    row(bytes_read(e, 1) / c.subject / 1e9, "GB/s", no_bar(), "session: matrix times vector, %s, %s",
        dtypes_of(e), threads);
    row(1 / c.ratio, "of read", all ? at_least(0.85) : no_bar(),
        "session: matrix times vector, %s, %s, ratio", dtypes_of(e), threads);
    double seconds[RUNS_MAX][2], ratios[RUNS_MAX], one[RUNS_MAX], eight[RUNS_MAX];
    for (unsigned i = 0; i < s->runs; i++) {
        for (size_t k = 0; k < 2; k++) {
            set_batch(e, 8, k ? TASKS : 1);
            multiply_batch(e);
            double start = now();
            multiply_batch(e);
            seconds[i][k] = now() - start;
        }
        ratios[i] = seconds[i][1] / seconds[i][0];
        one[i] = seconds[i][0];
        eight[i] = seconds[i][1];
    }
    row(median(one, s->runs) / c.subject, "times", no_bar(), "session: 8 vectors of one task to 1, %s, %s",
        dtypes_of(e), threads);
    row(median(eight, s->runs) / c.subject, "times",
        all && !e->kind->shares_unified ? at_most(1.3) : no_bar(),
        "session: 8 vectors of 8 tasks to 1, %s, %s", dtypes_of(e), threads);
    row(median(ratios, s->runs), "times", at_most(2.0), "session: 8 vectors of 8 tasks to 8 of one, %s, %s",
        dtypes_of(e), threads);
}

/* What an engine adds to products of its own with a base that is quantised, or elsewhere. */
static void measure_change(const settings *s, engine *e)
{
    const bench_kind *k = e->kind;
    bool judged = e->values.dtype == EMR_DTYPE_F32 && e->team->executor->concurrency == s->threads;
    bar target = !judged || k->bits > 1 ? no_bar() : at_most(k->shares_unified ? 0.6 : 0.25);
    for (size_t n = 1; n <= 8; n += 7) {
        set_batch(e, n, 1);
        comparison c = take_turns(s->runs, multiply_change, multiply_batch, e);
        row(c.ratio, "times", n == 1 ? target : no_bar(),
            "session: the change alone to the full product, %zu of one task, %s, %s", n, dtypes_of(e),
            threads_of(e->team->executor->concurrency).text);
    }
}

/* When multiplying without materialising pays: a switch costs so many products, and a product by what it
 * wrote still has to read it. */
static void measure_break_even(const settings *s, engine *e)
{
    set_batch(e, 1, 1);
    comparison c = take_turns(s->runs, switch_task, multiply_batch, e);
    row(c.ratio, "times", no_bar(), "session: a switch to a matrix times vector, %s, %s", dtypes_of(e),
        threads_of(e->team->executor->concurrency).text);
}

/* Two sessions, over raw masks in place and over compressed ones, of which no more is kept than one task's:
 * every switch decodes all of its own. */
typedef struct packed_and_raw {
    engine packed, raw;
} packed_and_raw;

static void switch_packed(void *arg)
{
    switch_task(&((packed_and_raw *)arg)->packed);
}

static void switch_raw(void *arg)
{
    switch_task(&((packed_and_raw *)arg)->raw);
}

static void measure_compressed(const settings *s, const engine *raw)
{
    emr_task_info info = EMR_INIT(emr_task_info);
    packed_and_raw both = {*raw, *raw};
    make_bundle(&both.packed, 0);
    open_session(&both.packed, (raw->values.n + 7) / 8 + (1 << 16));
    emr_bundle_get_task(both.packed.bundle, 0, &info);
    comparison c = take_turns(s->runs, switch_packed, switch_raw, &both);
    bool all = raw->team->executor->concurrency == s->threads;
    if (all)
        row((double)info.mask_bytes * 8 / (double)raw->values.n, "bit/param", no_bar(),
            "session: compressed masks, %s", dtypes_of(raw));
    row(c.ratio, "times", all ? at_most(1.5) : no_bar(),
        "session: switch with compressed masks to raw ones, %s, %s", dtypes_of(raw),
        threads_of(raw->team->executor->concurrency).text);
    emr_session_destroy(&both.packed.session);
    destroy_bundle(&both.packed);
}

/* Bits of a parameter and task, all in the bundle, of matrices in which everything has changed. */
static void measure_size(const engine *e)
{
    double params = (double)e->values.n * TASKS;
    row((double)emr_buffer_bytes(e->file) * 8 / params, "bit/param",
        e->kind->shares_unified ? no_bar() : at_most(e->kind->bits + 0.02),
        "session: the bundle, raw, rows of %d, %s", COLUMNS, dtypes_of(e));
}

static void measure_kind(const settings *s, const bench_kind *kind, emr_dtype dtype, emr_dtype unified)
{
    team teams[2] = {team_create(1), team_create(s->threads)};
    engine e = engine_create(s, &teams[1], kind, dtype, unified);
    measure_size(&e);
    for (size_t k = s->threads > 1 ? 0 : 1; k < 2; k++) {
        e.team = &teams[k];
        open_session(&e, 0);
        measure_switching(s, &e);
        measure_products(s, &e);
        measure_change(s, &e);
        measure_break_even(s, &e);
        if (kind == bench_kinds)
            measure_compressed(s, &e);
        emr_session_destroy(&e.session);
    }
    engine_destroy(&e);
    team_destroy(&teams[0]);
    team_destroy(&teams[1]);
}

void bench_session(const settings *s)
{
    for (const bench_kind *k = bench_kinds; k->name; k++) {
        measure_kind(s, k, EMR_DTYPE_F32, EMR_DTYPE_F32);
        if (k == bench_kinds)
            measure_kind(s, k, EMR_DTYPE_BF16, EMR_DTYPE_F32);
        measure_kind(s, k, EMR_DTYPE_BF16, EMR_DTYPE_BF16);
    }
}
