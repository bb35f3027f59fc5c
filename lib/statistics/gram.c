/* gram.c - see gram.h: a step of a pass. */
#include "statistics/gram.h"

#include "numeric/convert.h"
#include "numeric/dots.h"
#include "numeric/kernels.h"
#include "pass/pass.h"

#include <string.h>

enum { LANES = EMR_DOT_STRIPES, BLOCK = 256 /* parameters at a time, a multiple of the lanes */ };
#define MEMORY_DEFAULT ((uint64_t)256 << 20)

typedef struct gram_step {
    emr_gram *gram;
    double *items; /* a matrix each */
    double *lanes; /* LANES of every pair, for each worker */
    double *taus;  /* BLOCK of the base and of every task, for each worker */
} gram_step;

static size_t pair_count(uint32_t n)
{
    return (size_t)n * n;
}

static uint64_t gram_memory(void *plan, const emr_layout *l, uint64_t cap)
{
    uint64_t n = ((const emr_alignment *)plan)->n_tasks;
    (void)cap;
    return sizeof(double) * (l->max_items * n * n + l->n_workers * (n * n * LANES + (n + 1) * BLOCK));
}

/* Task vectors of parameters [at, at + n) of an item, zeros behind them. */
static void load_taus(double *taus, const emr_item *item, uint32_t n_tasks, size_t at, size_t n)
{
    const double *base = taus + (size_t)n_tasks * BLOCK;
    size_t base_size = emr_float_size(item->entry->base->dtype);
    memset(taus, 0, (n_tasks + 1) * BLOCK * sizeof *taus);
    emr_load_f64(taus + (size_t)n_tasks * BLOCK, item->entry->base->dtype,
                 (const uint8_t *)item->base + at * base_size, n);
    for (uint32_t t = 0; t < n_tasks; t++) {
        double *tau = taus + (size_t)t * BLOCK;
        if (!item->tasks[t])
            continue; /* the base's own: 0 */
        emr_load_f64(tau, item->task_dtypes[t],
                     (const uint8_t *)item->tasks[t] + at * emr_float_size(item->task_dtypes[t]), n);
        for (size_t i = 0; i < n; i++)
            tau[i] -= base[i];
    }
}

static void add_products(double lanes[LANES], const double *a, const double *b)
{
    for (size_t i = 0; i < BLOCK; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += a[i + j] * b[i + j];
}

static void compute_gram(void *state, const emr_item *item, size_t index, size_t worker)
{
    const gram_step *s = state;
    uint32_t n_tasks = s->gram->n_tasks;
    double *matrix = s->items + index * pair_count(n_tasks);
    double *lanes = s->lanes + worker * pair_count(n_tasks) * LANES;
    double *taus = s->taus + worker * (n_tasks + 1) * BLOCK;
    memset(lanes, 0, pair_count(n_tasks) * LANES * sizeof *lanes);
    for (size_t at = 0; at < item->n; at += BLOCK) {
        load_taus(taus, item, n_tasks, at, (size_t)emr_min(BLOCK, item->n - at));
        for (uint32_t i = 0; i < n_tasks; i++)
            for (uint32_t j = i; j < n_tasks; j++)
                add_products(lanes + ((size_t)i * n_tasks + j) * LANES, taus + (size_t)i * BLOCK,
                             taus + (size_t)j * BLOCK);
    }
    for (uint32_t i = 0; i < n_tasks; i++)
        for (uint32_t j = i; j < n_tasks; j++)
            matrix[(size_t)i * n_tasks + j] = matrix[(size_t)j * n_tasks + i] =
                emr_stripes_total(lanes + ((size_t)i * n_tasks + j) * LANES);
}

static void add_matrix(double *to, const double *more, uint32_t n)
{
    for (size_t i = 0; i < pair_count(n); i++)
        to[i] += more[i];
}

static emr_status fold_gram(void *state, const emr_item *item, size_t index, emr_error *error)
{
    const gram_step *s = state;
    emr_gram *g = s->gram;
    double *tensor = g->tensors + item->number * pair_count(g->n_tasks);
    (void)error;
    add_matrix(tensor, s->items + index * pair_count(g->n_tasks), g->n_tasks);
    if (item->first + item->n == item->entry->base->count)
        add_matrix(g->model, tensor, g->n_tasks);
    return EMR_OK;
}

static const emr_step gram_table = {
    .what = "the Gram matrix",
    .memory = gram_memory,
    .compute = compute_gram,
    .fold = fold_gram,
};

emr_status emr_gram_compute(emr_gram *g, emr_alignment *a, const emr_env *env, emr_error *error)
{
    const emr_allocator *allocator = &env->allocator;
    const emr_layout_needs needs = {.alignment = a,
                                    .step = &gram_table,
                                    .plan = a,
                                    .cap = env->memory_bytes ? env->memory_bytes : MEMORY_DEFAULT,
                                    .block_params = 1,
                                    .concurrency = env->executor.concurrency};
    size_t n_pairs = pair_count(a->n_tasks);
    emr_layout layout;
    *g = (emr_gram){.allocator = *allocator, .n_tasks = a->n_tasks, .n_tensors = a->n_merged};
    emr_status status = emr_layout_choose(&layout, &needs, error);
    if (status)
        return status;
    gram_step step = {.gram = g};
    g->tensors = emr_allocate_array(allocator, a->n_merged, n_pairs * sizeof(double));
    g->model = emr_allocate_array(allocator, n_pairs, sizeof(double));
    step.items = emr_allocate_array(allocator, layout.max_items, n_pairs * sizeof(double));
    step.lanes = emr_allocate_array(allocator, layout.n_workers, n_pairs * LANES * sizeof(double));
    step.taus =
        emr_allocate_array(allocator, layout.n_workers, (a->n_tasks + (size_t)1) * BLOCK * sizeof(double));
    status = g->tensors && g->model && step.items && step.lanes && step.taus
                 ? emr_pass_run(a, &layout, env, &gram_table, &step, error)
                 : emr_no_memory(error, NULL);
    emr_release(allocator, step.items);
    emr_release(allocator, step.lanes);
    emr_release(allocator, step.taus);
    if (status)
        emr_gram_free(g);
    return status;
}

void emr_gram_free(emr_gram *g)
{
    emr_release(&g->allocator, g->tensors);
    emr_release(&g->allocator, g->model);
    g->tensors = g->model = NULL;
}
