/* emr-ggml.c - a small transformer over ggml alone, whose base stays as it is, in any of ggml's types, while
 * every token of a batch is answered by a task of its own.
 *
 *     emr-ggml                                  a model and tasks of its own, drawn at random
 *     emr-ggml BASE.gguf NAME=TASK.gguf ...     checkpoints of llama's architecture, small enough for F32
 *
 * ggml_engine.c is what an engine's author wants to read. This file has the base in one type after the other,
 * prints how far logits are from those of the fine-tuned weights run through ggml alone, and checks what must
 * be equal to the bit. Exit status 1 if a check fails. */
#include "ggml_checks.h"

#include <ggml-cpu.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Logits of all sequences, each [vocabulary, LENGTH]. Sequence number s is of task s, the last one of the
 * base. */
typedef struct logits {
    float *values;
    size_t each;
} logits;

/* What everything is compared with. */
typedef struct references {
    logits tuned;     /* the fine-tuned weights, F32, in a plain graph */
    logits rebuilt;   /* those that the bundle makes of them */
    logits whole_f32; /* whole products over the F32 base, once they are known */
} references;

/* One base, one way, and what came out. */
typedef struct outcome {
    engine engine;
    logits plain;     /* the base's alone, in a plain graph */
    logits alone[2];  /* each sequence by itself, on 1 and on THREADS threads */
    logits mixed[2];  /* side by side, likewise */
    const char *type; /* as ggml calls it */
    const char *way;
    char label[64];
} outcome;

static struct {
    unsigned passed, failed;
} checks;

void expect_that(bool holds, const char *format, ...)
{
    va_list arguments;
    checks.passed += holds;
    checks.failed += !holds;
    if (holds)
        return;
    va_start(arguments, format);
    fputs("FAILED: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

static const char *sequence_name(const world *w, uint32_t s)
{
    return s < w->n_tasks ? w->names[s] : "(base)";
}

static logits make_logits(const world *w)
{
    size_t each = LENGTH * (size_t)w->net.vocabulary;
    return (logits){allocate_zeroed(each * SEQUENCES, sizeof(float)), each};
}

static float *logits_of(const logits *l, uint32_t sequence)
{
    return l->values + l->each * sequence;
}

static double largest_difference(const logits *a, const logits *b, uint32_t sequence)
{
    double largest = 0;
    for (size_t i = 0; i < a->each; i++) {
        double difference = fabs((double)logits_of(a, sequence)[i] - (double)logits_of(b, sequence)[i]);
        largest = difference <= largest ? largest : difference; /* NaN comes through */
    }
    return largest;
}

static bool are_same(const logits *a, const logits *b)
{
    return !memcmp(a->values, b->values, a->each * SEQUENCES * sizeof(float));
}

/* ---- running ---- */

static void add_sequence(const world *w, uint32_t s, batch *b)
{
    for (uint32_t i = 0; i < LENGTH; i++, b->n++) {
        b->tasks[b->n] = s < w->n_tasks ? s : EMR_BASE;
        b->tokens[b->n] = (uint64_t)w->prompts[s][i];
    }
}

static void run_alone(engine *e, const world *w, uint32_t s, int threads, const logits *l)
{
    batch b = {.n = 0};
    add_sequence(w, s, &b);
    run_batch(e, &b, threads, logits_of(l, s));
}

static logits run_each(engine *e, const world *w, int threads)
{
    logits l = make_logits(w);
    for (uint32_t s = 0; s <= w->n_tasks; s++)
        run_alone(e, w, s, threads, &l);
    return l;
}

/* All side by side, in one order or the other. */
static logits run_mixed(engine *e, const world *w, bool backwards, int threads)
{
    logits l = make_logits(w), side_by_side = make_logits(w);
    batch all = {.n = 0};
    for (uint32_t i = 0; i <= w->n_tasks; i++)
        add_sequence(w, backwards ? w->n_tasks - i : i, &all);
    run_batch(e, &all, threads, side_by_side.values);
    for (uint32_t i = 0; i <= w->n_tasks; i++)
        memcpy(logits_of(&l, backwards ? w->n_tasks - i : i), logits_of(&side_by_side, i),
               l.each * sizeof(float));
    free(side_by_side.values);
    return l;
}

/* What plain graphs say, each task's sequence by a model of its own (`models` NULL: by the base, too). */
static logits run_models(const world *w, struct ggml_context *const *models, struct ggml_context *base)
{
    logits l = make_logits(w);
    for (uint32_t s = 0; s <= w->n_tasks; s++) {
        engine plain;
        open_engine(&plain, &w->net, models && s < w->n_tasks ? models[s] : base, WAY_PLAIN, NULL, 0);
        run_alone(&plain, w, s, 1, &l);
    }
    return l;
}

/* ---- checking ---- */

/* Threads, company, order and room for masks must not show in results. */
static void check_runs(const world *w, outcome *o)
{
    engine tight;
    /* two blocks of the longest codes for each task: of 16 levels 2 KiB each */
    open_engine(&tight, &w->net, o->engine.weights, o->engine.way, o->engine.bundle,
                (uint64_t)w->n_tasks * 2 * 2048);
    logits backwards = run_mixed(&o->engine, w, true, 1), cramped = run_mixed(&tight, w, false, THREADS);
    expect_that(are_same(&o->alone[1], &o->alone[0]), "%s: logits depend on threads", o->label);
    expect_that(are_same(&o->mixed[0], &o->alone[0]), "%s: logits depend on the company", o->label);
    expect_that(are_same(&o->mixed[1], &o->alone[0]), "%s: mixed, logits depend on threads", o->label);
    expect_that(are_same(&backwards, &o->alone[0]), "%s: logits depend on the order", o->label);
    expect_that(are_same(&cramped, &o->alone[0]), "%s: logits depend on the room for masks", o->label);
    close_engine(&tight);
    free(backwards.values);
    free(cramped.values);
}

/* Where both sides compute the same, or nearly. */
static void check_logits(const world *w, const references *known, const outcome *o, int type)
{
    emr_session_info info = {.size = sizeof info};
    expect_that(!emr_session_get_info(o->engine.callers[0], &info) && !info.base_bytes,
                "%s: the session has memory for a base of its own", o->label);
    expect_that(o->engine.way == WAY_WHOLE || largest_difference(&o->alone[0], &o->plain, w->n_tasks) == 0,
                "%s: the base's logits are not ggml's own", o->label);
    expect_that(o->engine.way != WAY_WHOLE || type != GGML_TYPE_F16 ||
                    are_same(&o->alone[0], &known->whole_f32),
                "%s: not the logits over the same base in F32", o->label);
    for (uint32_t s = 0; s <= w->n_tasks; s++)
        expect_that(type != GGML_TYPE_F32 || largest_difference(&o->alone[0], &known->rebuilt, s) < 1e-3,
                    "%s: %s: far from the rebuilt weights through ggml", o->label, sequence_name(w, s));
}

static void print_outcome(const world *w, const references *known, const outcome *o)
{
    for (uint32_t s = 0; s <= w->n_tasks; s++) {
        printf("%-5s %-7s %-10s", o->type, o->way, sequence_name(w, s));
        printf(" | %9.2e %9.2e %9.2e %9.2e", largest_difference(&o->alone[0], &known->tuned, s),
               largest_difference(&o->alone[1], &known->tuned, s),
               largest_difference(&o->mixed[0], &known->tuned, s),
               largest_difference(&o->mixed[1], &known->tuned, s));
        printf(" | %9.2e | %9.2e\n", largest_difference(&o->alone[0], &known->rebuilt, s),
               largest_difference(&o->plain, &known->tuned, s));
    }
}

static void print_heading(void)
{
    puts("largest difference of logits\n"
         "                         | to the fine-tuned weights in F32, run by ggml | to the    | base alone");
    printf(
        "                         | each alone          | mixed batch         | rebuilt   | to the\n"
        "base  way     task       | 1 thread  %d threads | 1 thread  %d threads | weights   | fine-tuned\n",
        THREADS, THREADS);
}

/* ---- one base after the other ---- */

static void try_way(const world *w, references *known, int type, graph_way way, struct ggml_context *weights)
{
    outcome o = {.type = type == AS_READ ? "file" : ggml_type_name((enum ggml_type)type),
                 .way = way == WAY_CHANGE ? "change" : "whole",
                 .plain = run_models(w, NULL, weights)};
    snprintf(o.label, sizeof o.label, "%s, %s", o.type, o.way);
    open_engine(&o.engine, &w->net, weights, way,
                way == WAY_WHOLE && type == GGML_TYPE_F16 ? w->bundle_f16 : w->bundle, 0);
    for (int i = 0; i < 2; i++) {
        o.alone[i] = run_each(&o.engine, w, i ? THREADS : 1);
        o.mixed[i] = run_mixed(&o.engine, w, false, i ? THREADS : 1);
    }
    if (type == GGML_TYPE_F32 && way == WAY_WHOLE)
        known->whole_f32 = run_each(&o.engine, w, 1);
    print_outcome(w, known, &o);
    check_products(w, &o.engine, o.label);
    check_runs(w, &o);
    check_logits(w, known, &o, type);
    for (int i = 0; i < 2; i++) {
        free(o.alone[i].values);
        free(o.mixed[i].values);
    }
    free(o.plain.values);
    close_engine(&o.engine);
}

static void try_type(const world *w, references *known, int type)
{
    if (!has_whole_blocks(w->base, type)) {
        printf("%-5s: rows are no whole blocks of it\n", ggml_type_name((enum ggml_type)type));
        return;
    }
    struct ggml_context *weights = convert_weights(type == AS_READ ? w->read : w->base, type);
    try_way(w, known, type, WAY_CHANGE, weights);
    if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_Q8_0)
        try_way(w, known, type, WAY_WHOLE, weights);
    ggml_free(weights);
}

int main(int argc, char **argv)
{
    static const int types[] = {GGML_TYPE_F32,  GGML_TYPE_F16,  GGML_TYPE_Q8_0,
                                GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, AS_READ};
    static world w;
    ggml_cpu_init();
    if (argc > 1)
        read_world(&w, argv + 1, argc - 1);
    else
        draw_world(&w);
    prepare_world(&w);
    references known = {.tuned = run_models(&w, w.tuned, w.base),
                        .rebuilt = run_models(&w, w.rebuilt, w.base)};
    print_heading();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] != AS_READ || w.read)
            try_type(&w, &known, types[i]);
    printf("%u passed, %u failed\n", checks.passed, checks.failed);
    free(known.tuned.values);
    free(known.rebuilt.values);
    free(known.whole_f32.values);
    destroy_world(&w);
    return checks.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
