/* elected.c - see elected.h. Thresholds are quantiles of emr_statistics; the majority takes one more reading. */
#include "elected.h"

#include "emr/statistics.h"

#include <math.h>
#include <string.h>

/* What reaches a task's threshold; added to the sums. Loops of one width each, without branches. */
static void add_large(double *restrict sums, float *restrict tau, float threshold, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tau[i] = fabsf(tau[i]) < threshold ? 0 : tau[i];
    for (size_t i = 0; i < n; i++)
        sums[i] += (double)tau[i];
}

static void sum_large(const fit_vectors *v, size_t n, fit_room *room)
{
    memset(room->sums, 0, n * sizeof *room->sums);
    for (uint32_t t = 0; t < v->n_tasks; t++)
        add_large(room->sums, room->tau + t * room->stride, v->thresholds[t], n);
}

/* 1, or -1. */
static void find_sides(float *restrict sides, const double *restrict sums, double of_zero, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = sums[i] == 0 ? of_zero : sums[i];
        sides[i] = sum > 0 ? 1.0F : -1.0F;
    }
}

static void keep_side(float *restrict tau, const float *restrict sides, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tau[i] = tau[i] * sides[i] > 0 ? tau[i] : 0;
}

void fit_keep_elected(const fit_vectors *v, size_t n, fit_room *room)
{
    float *sides = room->stored;
    sum_large(v, n, room);
    find_sides(sides, room->sums, v->is_positive ? 1 : -1, n);
    for (uint32_t t = 0; t < v->n_tasks; t++)
        keep_side(room->tau + t * room->stride, sides, n);
}

typedef struct telling {
    const fit_host *host;
    fit_electing *electing;
} telling;

static emr_status tell_first(void *user, const emr_progress *progress, emr_error *error)
{
    const telling *t = user;
    t->electing->done = progress->done;
    t->electing->total = progress->total;
    return fit_progress(t->host, progress->done, progress->total ? progress->total + t->electing->more : 0,
                        "electing", error);
}

/* The model of what counts: of the base's names, zero where the tasks hold vectors. */
static emr_status open_counted(const fit_vectors *v, emr_model **counted, emr_error *error)
{
    emr_model_options options = EMR_INIT(emr_model_options);
    emr_model *some;
    options.allocator = &v->host.allocator;
    options.name = emr_model_name(v->base);
    emr_status status = emr_model_create(&some, &options, error);
    if (status)
        return status;
    for (size_t i = 0; !status && i < v->n_tensors; i++)
        status = emr_model_add_tensor(some, v->tensors[i].base, error);
    if (!status && v->are_vectors) {
        status = emr_model_create_zeros(counted, some, &v->host.allocator, error);
        emr_model_destroy(&some);
        return status;
    }
    if (status)
        emr_model_destroy(&some);
    else
        *counted = some;
    return status;
}

static emr_status run_statistics(const fit_vectors *v, const emr_model *counted,
                                 const emr_model *const *tasks, double fraction, fit_electing *e,
                                 emr_error *error)
{
    static const char *const all[] = {"*"};
    emr_resources resources = EMR_INIT(emr_resources);
    emr_policy policy = EMR_INIT(emr_policy);
    emr_statistics_options options = EMR_INIT(emr_statistics_options);
    emr_statistics_group group = EMR_INIT(emr_statistics_group);
    emr_statistics *statistics;
    telling t = {&v->host, e};
    resources.allocator = &v->host.allocator;
    resources.executor = v->host.executor.concurrency ? &v->host.executor : NULL;
    resources.progress = tell_first;
    resources.progress_user = &t;
    resources.memory_bytes = v->host.memory_bytes;
    policy.merge_globs = all;
    policy.n_merge_globs = 1;
    options.resources = &resources;
    options.policy = &policy;
    options.quantiles = &fraction;
    options.n_quantiles = 1;
    options.without_tensors = 1;
    emr_status status = emr_statistics_create(&statistics, &options, error);
    if (status)
        return status;
    status = emr_statistics_set_base(statistics, counted, error);
    for (uint32_t i = 0; !status && i < v->n_tasks; i++)
        status = emr_statistics_add_task(statistics, v->names[i], tasks[i], error);
    if (!status)
        status = emr_statistics_run(statistics, error);
    if (!status)
        status = emr_statistics_get_group(statistics, EMR_STATISTICS_SCOPE_MODEL, 0, &group);
    for (uint32_t i = 0; !status && i < v->n_tasks; i++)
        v->thresholds[i] = (float)group.quantiles[i];
    emr_statistics_destroy(&statistics);
    return status;
}

/* One of fit_crew's jobs: a piece of a tensor. */
typedef struct counting {
    const fit_vectors *vectors;
    size_t tensor;
    uint64_t first;             /* of job 0 */
    atomic_int_least64_t signs; /* more sums above 0 than below */
} counting;

static emr_status count_signs(void *arg, size_t job, void *memory, emr_error *error)
{
    counting *c = arg;
    const fit_vectors *v = c->vectors;
    fit_room room = fit_room_of(v, memory);
    const uint64_t first = c->first + job * v->piece, count = emr_tensor_count(v->tensors[c->tensor].base);
    const fit_range range = {c->tensor, first, count - first < v->piece ? (size_t)(count - first) : v->piece};
    int_least64_t signs = 0;
    emr_status status = fit_vectors_read_all(v, &range, &room, error);
    if (status)
        return status;
    sum_large(v, range.n, &room);
    for (size_t i = 0; i < range.n; i++)
        signs += (room.sums[i] > 0) - (room.sums[i] < 0);
    atomic_fetch_add(&c->signs, signs);
    return EMR_OK;
}

/* Elements of the model. */
static uint64_t count_elements(const fit_vectors *v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v->n_tensors; i++)
        n += emr_tensor_count(v->tensors[i].base);
    return n;
}

static uint64_t task_bytes(const fit_vectors *v, size_t tensor)
{
    uint64_t bytes = 0;
    for (uint32_t t = 0; t < v->n_tasks; t++)
        bytes += emr_tensor_bytes(v->tensors[tensor].tasks[t]);
    return bytes;
}

emr_status fit_elect_thresholds(fit_vectors *v, const emr_model *const *tasks, double keep, fit_electing *e,
                                emr_error *error)
{
    const uint64_t d = count_elements(v);
    emr_model *counted;
    *e = (fit_electing){0};
    if (!d)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_coefficients_options: keep, and no tensor has an element to keep");
    const uint64_t share = (uint64_t)(keep * (double)d), more = share < d ? share : d - 1;
    for (size_t i = 0; i < v->n_tensors; i++)
        e->more += task_bytes(v, i);
    v->thresholds = fit_allocate(&v->host, v->n_tasks, sizeof *v->thresholds);
    if (!v->thresholds)
        return fit_no_memory(error);
    emr_status status = open_counted(v, &counted, error);
    if (status)
        return status;
    status = run_statistics(v, counted, tasks, ((double)(d - more) - 0.5) / (double)d, e, error);
    emr_model_destroy(&counted);
    return status;
}

emr_status fit_elect_majority(fit_vectors *v, fit_crew *crew, fit_electing *e, emr_error *error)
{
    enum { JOBS = 32 }; /* until progress is told again */
    counting c = {.vectors = v};
    emr_status status = EMR_OK;
    for (; !status && c.tensor < v->n_tensors; c.tensor++) {
        const uint64_t count = emr_tensor_count(v->tensors[c.tensor].base);
        for (c.first = 0; !status && c.first < count; c.first += JOBS * v->piece) {
            uint64_t left = count - c.first, n = left < JOBS * v->piece ? left : JOBS * v->piece;
            status = fit_crew_run(crew, (size_t)((n + v->piece - 1) / v->piece), count_signs, &c, error);
            e->done += task_bytes(v, c.tensor) / count * n;
            if (!status)
                status = fit_progress(&v->host, e->done, e->total + e->more, "electing", error);
        }
    }
    v->is_positive = atomic_load(&c.signs) > 0;
    return status;
}
