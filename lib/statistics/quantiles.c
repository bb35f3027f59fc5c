/* quantiles.c - see quantiles.h. The keys of a list are the magnitudes of a task; those of the model are those of its
 * tensors, one after the other. */
#include "statistics/quantiles.h"

#include "numeric/group.h"
#include "statistics/select.h"

#define MEMORY_DEFAULT ((uint64_t)256 << 20)

enum {
    CHUNK_MOST = 16384,
    CHUNK_LEAST = 1024,
    CHUNK_GOOD = 512 << 10, /* bytes of all task vectors of a chunk */
    ROOM_GOOD = 64 << 20,   /* bytes that a search may take, where there are as many */
};

/* A worker's chunk: `capacity` elements of each task, and what they are made from. */
typedef struct quantile_worker {
    float *tau;
    double *wide; /* of base and task, at least as large as their elements */
    size_t n;
} quantile_worker;

typedef struct quantile_search {
    emr_statistics *s;
    statistics_stage *stage;
    quantile_worker *workers;
    emr_cut *cuts;
    size_t capacity, n_workers;
    uint64_t room;
    uint32_t first_group, n_groups; /* the tensors whose elements are the keys */
    uint64_t bytes;                 /* that a reading of them reads, */
    uint64_t count;                 /* of so many keys, */
    uint64_t done;                  /* of which so many were read */
} quantile_search;

static size_t chunk_elements(uint32_t n_tasks)
{
    size_t n = CHUNK_GOOD / (sizeof(float) * ((size_t)n_tasks + 4));
    n = n > CHUNK_MOST ? CHUNK_MOST : n < CHUNK_LEAST ? CHUNK_LEAST : n;
    return n / EMR_GROUP * EMR_GROUP;
}

static uint64_t quantile_worker_bytes(uint32_t n_tasks)
{
    return sizeof(quantile_worker) +
           chunk_elements(n_tasks) * (n_tasks * sizeof(float) + 2 * sizeof(double)) + 256;
}

static size_t n_cuts(const emr_statistics *s)
{
    return (size_t)s->n_tasks * s->options.n_quantiles;
}

/* ---- reading */

static const emr_entry *entry_of(const emr_statistics *s, uint32_t group)
{
    return &s->alignment.entries[s->groups.entries[group]];
}

static uint64_t count_of(const emr_statistics *s, uint32_t group)
{
    return s->groups.tensors[s->groups.entries[group]].count;
}

static emr_status read_elements(const emr_statistics *s, const emr_entry *entry, uint32_t source,
                                uint64_t first, size_t n, void *to, emr_error *error)
{
    const emr_tensor *t = emr_alignment_tensor(&s->alignment, entry, source);
    size_t size = emr_float_size(t->dtype);
    emr_status status = emr_tensor_read(t, first * size, to, n * size, error);
    return status ? emr_name_source(&s->alignment, source, status, error) : EMR_OK;
}

/* Magnitudes of a task's part of a tensor; those that are not finite are 0. */
static emr_status read_magnitudes(const emr_statistics *s, const quantile_worker *w, const emr_entry *entry,
                                  uint32_t t, uint64_t first, size_t n, float *to, emr_error *error)
{
    const emr_tensor *own = emr_alignment_tensor(&s->alignment, entry, t + 1);
    void *weights = w->wide + chunk_elements(s->n_tasks);
    memset(to, 0, n * sizeof *to);
    if (!own)
        return EMR_OK; /* the base's own */
    emr_status status = read_elements(s, entry, t + 1, first, n, weights, error);
    const emr_chunk chunk = {.base = w->wide,
                             .tasks = &(const void *){weights},
                             .task_dtypes = &own->dtype,
                             .base_dtype = entry->base->dtype};
    for (size_t i = 0; !status && i < n; i += EMR_GROUP) {
        float group[EMR_GROUP];
        size_t left = (size_t)emr_min(n - i, EMR_GROUP);
        load_finite(group, &chunk, 0, i, left);
        for (size_t k = 0; k < left; k++)
            to[i + k] = magnitude(group[k]);
    }
    return status;
}

/* A part of one tensor, from element `at` of the chunk on. */
static emr_status load_tensor_part(const quantile_search *q, quantile_worker *w, uint32_t group,
                                   uint64_t first, size_t n, size_t at, emr_error *error)
{
    const emr_statistics *s = q->s;
    const emr_entry *entry = entry_of(s, group);
    emr_status status = read_elements(s, entry, 0, first, n, w->wide, error);
    for (uint32_t t = 0; !status && t < s->n_tasks; t++)
        status = read_magnitudes(s, w, entry, t, first, n, w->tau + t * q->capacity + at, error);
    return status;
}

static emr_status load_magnitudes(void *context, size_t worker, uint64_t first, size_t n, emr_error *error)
{
    const quantile_search *q = context;
    quantile_worker *w = &q->workers[worker];
    uint32_t group = q->first_group;
    emr_status status = EMR_OK;
    for (; first >= count_of(q->s, group); group++)
        first -= count_of(q->s, group);
    w->n = n;
    for (size_t at = 0; !status && at < n; group++, first = 0) {
        size_t part = (size_t)emr_min(n - at, count_of(q->s, group) - first);
        if (part)
            status = load_tensor_part(q, w, group, first, part, at, error);
        at += part;
    }
    return status;
}

static void copy_magnitudes(void *context, size_t worker, uint32_t list, float *keys)
{
    const quantile_search *q = context;
    const quantile_worker *w = &q->workers[worker];
    memcpy(keys, w->tau + list * q->capacity, w->n * sizeof *keys);
}

static emr_status tell_quantiles(void *context, uint64_t n, emr_error *error)
{
    quantile_search *q = context;
    q->done = emr_min(q->done + n, q->count); /* of further readings nothing is told */
    double share = (double)q->done / (double)q->count;
    return emr_env_progress(q->stage->env,
                            emr_min(q->stage->before + (uint64_t)(share * (double)q->bytes), q->stage->total),
                            q->stage->total, "gathering statistics", error);
}

/* ---- searching */

/* The k of the k-th largest, for the smallest key that a fraction of all is not above. */
static uint64_t place_from_above(double fraction, uint64_t count)
{
    double exact = fraction * (double)count;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact;
    rank = rank < 1 ? 1 : rank > count ? count : rank;
    return count - rank + 1;
}

/* Quantiles of the keys of some tensors. */
static emr_status cut_groups(quantile_search *q, const emr_workers *workers, uint32_t first, uint32_t n,
                             double *to, emr_error *error)
{
    emr_statistics *s = q->s;
    q->first_group = first;
    q->n_groups = n;
    q->count = q->bytes = q->done = 0;
    for (uint32_t g = first; g < first + n; g++) {
        q->count += count_of(s, g);
        for (uint32_t source = 0; source < s->alignment.n_sources; source++) {
            const emr_tensor *t = emr_alignment_tensor(&s->alignment, entry_of(s, g), source);
            q->bytes += t ? t->bytes : 0;
        }
    }
    const emr_key_source source = {.context = q,
                                   .load = load_magnitudes,
                                   .keys = copy_magnitudes,
                                   .advance = tell_quantiles,
                                   .count = q->count,
                                   .chunk = q->capacity,
                                   .granule = 1,
                                   .n_lists = s->n_tasks};
    for (uint32_t t = 0; t < s->n_tasks; t++)
        for (uint32_t k = 0; k < s->options.n_quantiles; k++)
            q->cuts[t * s->options.n_quantiles + k] =
                (emr_cut){.list = t, .k = place_from_above(s->fractions[k], q->count)};
    if (!q->count)
        return EMR_OK;
    emr_status status = emr_select_cuts(&source, workers, q->room, q->cuts, n_cuts(s), error);
    for (size_t i = 0; !status && i < n_cuts(s); i++)
        to[i] = q->cuts[i].found[0];
    q->stage->before += q->bytes;
    return status;
}

static emr_status cut_all(quantile_search *q, const emr_workers *workers, emr_error *error)
{
    emr_statistics *s = q->s;
    emr_status status = cut_groups(q, workers, 0, s->groups.n_tensors, s->model_quantiles, error);
    for (uint32_t g = 0; !status && !s->options.without_tensors && g < s->groups.n_tensors; g++)
        status = cut_groups(q, workers, g, 1, s->tensor_quantiles + g * n_cuts(s), error);
    return status;
}

/* ---- memory */

static uint64_t memory_cap(const emr_statistics *s, uint64_t results)
{
    return s->env.memory_bytes ? s->env.memory_bytes : MEMORY_DEFAULT + results;
}

/* How many workers, and how much a search may take: chosen by memory. */
static void choose_quantile_room(const emr_statistics *s, uint64_t results, size_t *n_workers, uint64_t *room)
{
    const emr_key_source source = {
        .count = s->groups.count, .chunk = chunk_elements(s->n_tasks), .granule = 1, .n_lists = s->n_tasks};
    uint64_t cap = memory_cap(s, results), left = cap > results ? cap - results : 0;
    uint64_t each = quantile_worker_bytes(s->n_tasks), cuts = n_cuts(s) * sizeof(emr_cut);
    left = left > cuts ? left - cuts : 0;
    *n_workers = s->env.executor.concurrency ? s->env.executor.concurrency : 1;
    while (*n_workers > 1 && *n_workers * each + emr_select_memory(&source, *n_workers, n_cuts(s)) > left)
        --*n_workers;
    uint64_t least = emr_select_memory(&source, *n_workers, n_cuts(s));
    left = left > *n_workers * each ? left - *n_workers * each : 0;
    *room = emr_min(left, ROOM_GOOD);
    *room = *room > least ? *room : least;
}

uint64_t emr_quantiles_memory(const emr_statistics *s, uint64_t sweep, uint64_t results)
{
    size_t n_workers;
    uint64_t room;
    if (!n_cuts(s) || !s->groups.count)
        return sweep;
    choose_quantile_room(s, results, &n_workers, &room);
    uint64_t peak =
        results + n_workers * quantile_worker_bytes(s->n_tasks) + n_cuts(s) * sizeof(emr_cut) + room;
    return peak > sweep ? peak : sweep;
}

uint64_t emr_quantiles_bytes(const emr_statistics *s)
{
    return n_cuts(s) ? s->alignment.merged_bytes * (s->options.without_tensors ? 1 : 2) : 0;
}

static bool create_quantile_workers(quantile_search *q, const emr_allocator *allocator)
{
    bool complete = true;
    q->workers = emr_allocate_array(allocator, q->n_workers, sizeof *q->workers);
    q->cuts = emr_allocate_array(allocator, n_cuts(q->s), sizeof *q->cuts);
    for (size_t i = 0; q->workers && i < q->n_workers; i++) {
        quantile_worker *w = &q->workers[i];
        w->tau = emr_allocate_array(allocator, q->capacity, q->s->n_tasks * sizeof *w->tau);
        w->wide = emr_allocate_array(allocator, q->capacity, 2 * sizeof *w->wide);
        complete = complete && w->tau && w->wide;
    }
    return complete && q->workers && q->cuts;
}

static void free_quantile_workers(quantile_search *q, const emr_allocator *allocator)
{
    for (size_t i = 0; q->workers && i < q->n_workers; i++) {
        emr_release(allocator, q->workers[i].tau);
        emr_release(allocator, q->workers[i].wide);
    }
    emr_release(allocator, q->workers);
    emr_release(allocator, q->cuts);
}

emr_status emr_quantiles_check(const emr_statistics *s, uint64_t results, emr_error *error)
{
    uint64_t peak = emr_quantiles_memory(s, 0, results), cap = memory_cap(s, results);
    return peak <= cap ? EMR_OK
                       : emr_fail(error, EMR_ELIMIT,
                                  "%u bytes of memory are too little for quantiles of %u tasks, %u would do",
                                  cap, (uint64_t)s->n_tasks, peak);
}

emr_status emr_quantiles_find(emr_statistics *s, uint64_t results, statistics_stage *stage, emr_error *error)
{
    emr_workers workers;
    quantile_search q = {.s = s, .stage = stage, .capacity = chunk_elements(s->n_tasks)};
    if (!s->groups.count)
        return EMR_OK;
    choose_quantile_room(s, results, &q.n_workers, &q.room);
    emr_status status = emr_workers_create(&workers, &s->env, q.n_workers, error);
    if (status)
        return status;
    if (!create_quantile_workers(&q, &s->env.allocator))
        status = emr_no_memory(error, NULL);
    if (!status)
        status = cut_all(&q, &workers, error);
    if (!status)
        status = emr_env_progress(stage->env, stage->total, stage->total, "gathering statistics", error);
    free_quantile_workers(&q, &s->env.allocator);
    emr_workers_destroy(&workers);
    return status;
}
