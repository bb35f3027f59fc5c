/* layout.c - see layout.h. Windows are as large as pays, and smaller where memory is short; so are, then, the
 * workers fewer. Results do not depend on any of it. */
#include "pass/layout.h"

#include "numeric/kernels.h"
#include "pass/pass.h"
#include "pass/window.h"

enum {
    WINDOW_MAX = 1 << 20,  /* parameters; more is of no use, unless there are many workers */
    WINDOW_MIN = 64 << 10, /* less makes rounds too short for the threads to meet in */
    WINDOW_GOOD = 8 << 20, /* bytes of all sources in a window */
    JOB_GOOD = 1 << 20,  /* bytes that a worker reads at a time: what stays in its caches until it computes */
    JOBS_GOOD = 4,       /* in a window, for each worker */
    WORKER_BYTES = 1024, /* a worker's sentence of failure */
};

/* What a parameter takes of the sources' memory. */
static void measure_sources(emr_layout *l, const emr_alignment *a)
{
    l->window_size = l->worker_size = 0;
    for (uint32_t s = 0; s < a->n_sources; s++) {
        l->window_size += emr_window_size(a, s) * (s == 0 ? 2 : 1);
        l->worker_size += emr_worker_size(a, s);
    }
}

/* As many parameters as make `good` bytes, a power of two from `least` to `most`. */
static size_t fitting_params(size_t most, size_t least, size_t size, size_t good)
{
    size_t params = most;
    while (params > least && params * size > good)
        params /= 2;
    return params;
}

/* Bytes of all sources for a parameter. */
static size_t source_bytes(const emr_alignment *a)
{
    size_t size = 0;
    for (uint32_t s = 0; s < a->n_sources; s++) {
        size_t window = emr_window_size(a, s), worker = emr_worker_size(a, s);
        size += window > worker ? window : worker;
    }
    return size;
}

static bool layout_fits(emr_layout *l, const emr_layout_needs *n)
{
    l->max_items = (size_t)emr_min(l->window_params / 256, 1024);
    l->span_params = l->window_params > n->block_params ? l->window_params : n->block_params;
    l->single = l->window_params >= n->alignment->flat_params;
    l->memory = emr_pass_memory(n->alignment, l, n->step) + l->n_workers * WORKER_BYTES + n->besides;
    if (n->step->memory)
        l->memory += n->step->memory(n->plan, l, n->cap > l->memory ? n->cap - l->memory : 0);
    return l->memory <= n->cap;
}

emr_status emr_layout_choose(emr_layout *l, const emr_layout_needs *n, emr_error *error)
{
    const emr_alignment *a = n->alignment;
    size_t largest = fitting_params(WINDOW_MAX, WINDOW_MIN, source_bytes(a), WINDOW_GOOD), whole = EMR_CHUNK;
    while (whole < WINDOW_MAX * 4 && whole < a->flat_params)
        whole *= 2;
    *l = (emr_layout){0};
    measure_sources(l, a);
    for (size_t workers = n->concurrency ? n->concurrency : 1; workers > 0; workers /= 2) {
        size_t smallest = workers == 1 ? EMR_CHUNK : WINDOW_MIN;
        l->n_workers = workers;
        l->job_params = fitting_params(WINDOW_MIN, EMR_CHUNK, l->worker_size, JOB_GOOD);
        l->window_params = largest;
        while (l->window_params < WINDOW_MAX * 4 && l->window_params / l->job_params < JOBS_GOOD * workers)
            l->window_params *= 2;
        l->window_params = (size_t)emr_min(l->window_params, whole); /* more than the model is of no use */
        smallest = (size_t)emr_min(smallest, whole);
        for (; l->window_params >= smallest; l->window_params /= 2) {
            l->job_params = l->job_params < l->window_params ? l->job_params : l->window_params;
            if (layout_fits(l, n))
                return EMR_OK;
        }
    }
    return emr_fail(error, EMR_ELIMIT, "%u bytes of memory are too little for %u tasks, %u would do", n->cap,
                    (uint64_t)a->n_tasks, l->memory);
}
