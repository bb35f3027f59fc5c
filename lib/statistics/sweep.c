/* sweep.c - see sweep.h. */
#include "statistics/sweep.h"

#include "numeric/group.h"
#include "pass/nonfinite.h"
#include "pass/pass.h"

enum { LANES = EMR_PAIR_LANES, STRIDE = EMR_PAIR_BLOCK + 8 /* powers of two share few lines of a cache */ };
#define MEMORY_DEFAULT ((uint64_t)256 << 20)

/* Where an item has a value that is not finite; at its end: nowhere. */
typedef struct bad_place {
    size_t at;
    uint32_t task;
} bad_place;

/* What a worker adds up in. */
typedef struct sweep_worker {
    emr_vector_sums *vectors; /* one a task */
    emr_pair_sums *pairs;     /* of tasks (0, 1), (0, 2), ... (1, 2), ... */
    double *numbers;          /* STRIDE for each task */
    emr_signs *signs;         /* those of a block, task by task */
} sweep_worker;

typedef struct sweep_state {
    const emr_sweep *sweep;
    emr_pair_kernels kernels;
    uint32_t n_tasks;
    size_t block; /* elements of a block: what all tasks have of it stays in a cache */
    sweep_worker *workers;
    emr_task_sums_table items;
    bad_place *bad; /* one an item */
} sweep_state;

static uint64_t pairs_of(uint64_t n)
{
    return n * (n - 1) / 2;
}

static size_t block_elements(uint32_t n_tasks)
{
    return n_tasks <= 12 ? EMR_PAIR_BLOCK : n_tasks <= 24 ? EMR_PAIR_BLOCK / 2 : EMR_PAIR_BLOCK / 4;
}

/* Of a worker, with what rounding takes up. */
static uint64_t worker_bytes(uint64_t n)
{
    return sizeof(sweep_worker) + n * (sizeof(emr_vector_sums) + STRIDE * sizeof(double)) +
           n * (EMR_PAIR_BLOCK / 64) * sizeof(emr_signs) + pairs_of(n) * sizeof(emr_pair_sums) + 256;
}

static uint64_t sweep_memory(void *plan, const emr_layout *l, uint64_t cap)
{
    uint32_t n = ((const emr_sweep *)plan)->alignment->n_tasks;
    uint64_t items = emr_task_sums_bytes(n, l->max_items), bytes;
    (void)cap;
    bool fits = emr_add(items, l->n_workers * worker_bytes(n) + l->max_items * sizeof(bad_place), &bytes);
    return fits ? bytes : UINT64_MAX / 2;
}

/* Where a task's pairs with those behind it begin. */
static size_t first_pair(uint32_t n, uint32_t i)
{
    return (size_t)i * (2 * (size_t)n - i - 1) / 2;
}

/* The task vector of a part of an item; values that are not finite become 0: how many there were.
 */
static size_t read_copy(float *tau, const emr_item *item, uint32_t t, size_t at, size_t n)
{
    const emr_chunk chunk = {.base = item->base,
                             .tasks = &item->tasks[t],
                             .task_dtypes = &item->task_dtypes[t],
                             .base_dtype = item->entry->base->dtype};
    size_t bad = 0;
    for (size_t i = 0; i < n; i += EMR_GROUP) {
        float group[EMR_GROUP];
        size_t left = (size_t)emr_min(n - i, EMR_GROUP);
        bad += load_finite(group, &chunk, 0, at + i, left);
        memcpy(tau + i, group, left * sizeof *tau);
    }
    return bad;
}

/* As PyTorch does it: 127 * (x / largest), halves to even. */
static void round_to_bytes(float *tau, size_t n, float largest)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: next to it floats are whole numbers */
    for (size_t i = 0; i < n && largest > 0; i++) {
        float scaled = 127.0f * (tau[i] / largest), rounded = (scaled + magic) - magic;
        tau[i] = rounded > 127 ? 127 : rounded < -127 ? -127 : rounded;
    }
}

static emr_pair_source source_of(const emr_item *item, uint32_t t, size_t at)
{
    return (emr_pair_source){
        .values = (const uint8_t *)item->tasks[t] + at * emr_float_size(item->task_dtypes[t]),
        .base = (const uint8_t *)item->base + at * emr_float_size(item->entry->base->dtype),
        .dtype = item->task_dtypes[t],
        .base_dtype = item->entry->base->dtype};
}

/* The magnitude that becomes 127; 0: nothing is scaled. */
static float scale_end(const emr_sweep *s, const emr_item *item, uint32_t t)
{
    if (!s->largest_of)
        return 0;
    size_t record = s->largest_of->n > 1 ? s->groups->tensors[item->number].tensor : 0;
    return (float)emr_task_sums_at(s->largest_of, record).largest[t];
}

/* A task's part of a block. False: it has a value that is not finite, and that is an error. */
static bool read_task(const sweep_state *s, const sweep_worker *w, const emr_item *item, uint32_t t,
                      size_t at, size_t n, uint64_t *nonfinite)
{
    double *numbers = w->numbers + (size_t)t * STRIDE;
    emr_signs *signs = w->signs + (size_t)t * ((n + 63) / 64);
    if (!item->tasks[t]) { /* the base's own: 0 */
        memset(numbers, 0, emr_round_up(n, 64) * sizeof *numbers);
        memset(signs, 0, (n + 63) / 64 * sizeof *signs);
        return true;
    }
    float tau[EMR_PAIR_BLOCK], largest = scale_end(s->sweep, item, t);
    emr_pair_source source = source_of(item, t, at);
    if (!s->sweep->largest_of && s->kernels.read(&w->vectors[t], numbers, signs, &source, n))
        return true;
    size_t bad = read_copy(tau, item, t, at, n);
    if (bad && s->sweep->on_nonfinite == EMR_ON_NONFINITE_ERROR)
        return false;
    nonfinite[t] += bad;
    round_to_bytes(tau, n, largest);
    source = (emr_pair_source){.values = tau, .dtype = EMR_DTYPE_F32};
    return s->kernels.read(&w->vectors[t], numbers, signs, &source, n);
}

/* Where signs differ, and where there are none. */
static void count_conflicts(const emr_task_sums *to, const emr_signs *signs, uint32_t n_tasks, size_t n)
{
    size_t n_words = (n + 63) / 64;
    uint64_t changed = 0;
    for (size_t i = 0; i < n_words; i++) {
        emr_signs any = {0, 0};
        for (uint32_t t = 0; t < n_tasks; t++) {
            any.above |= signs[t * n_words + i].above;
            any.below |= signs[t * n_words + i].below;
        }
        *to->conflicts += emr_popcount64(any.above & any.below);
        changed += emr_popcount64(any.above | any.below);
    }
    *to->unchanged += n - changed;
}

static void add_block_pairs(const sweep_state *s, const sweep_worker *w, const emr_task_sums *to, size_t n)
{
    uint32_t n_tasks = s->n_tasks;
    size_t n_words = (n + 63) / 64;
    for (uint32_t i = 0; i < n_tasks; i++) {
        uint64_t *same = to->same + (size_t)i * n_tasks + i, *both = to->both + (size_t)i * n_tasks + i;
        const emr_signs *signs = w->signs + i * n_words;
        const double *numbers = w->numbers + (size_t)i * STRIDE;
        s->kernels.agree(same, both, signs, signs, n_tasks - i, n_words);
        if (i + 1 < n_tasks)
            s->kernels.add(w->pairs + first_pair(n_tasks, i), numbers, numbers + STRIDE, STRIDE,
                           n_tasks - i - 1, n_words * 64);
    }
}

/* A block of an item. False: read_task(). */
static bool add_block(const sweep_state *s, const sweep_worker *w, const emr_item *item,
                      const emr_task_sums *to, bad_place *bad, size_t at, size_t n)
{
    for (uint32_t t = 0; t < s->n_tasks; t++) {
        if (!read_task(s, w, item, t, at, n, to->nonfinite)) {
            *bad = (bad_place){at, t};
            return false;
        }
    }
    add_block_pairs(s, w, to, n);
    count_conflicts(to, w->signs, s->n_tasks, n);
    return true;
}

static void store_totals(const emr_task_sums *to, const sweep_worker *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const emr_vector_sums *v = &w->vectors[i];
        to->sums[i] = emr_pair_total(v->sums);
        to->magnitudes[i] = emr_pair_total(v->magnitudes);
        to->fourths[i] = emr_pair_total(v->fourths);
        to->largest[i] = (double)v->largest;
        to->products[(size_t)i * n + i] = emr_pair_total(v->squares);
        for (uint32_t j = i + 1; j < n; j++) {
            const emr_pair_sums *pair = &w->pairs[first_pair(n, i) + (j - i - 1)];
            to->products[(size_t)i * n + j] = emr_pair_total(pair->products);
            to->distances[(size_t)i * n + j] = emr_pair_total(pair->distances);
        }
    }
}

static void compute_sums(void *state, const emr_item *item, size_t index, size_t worker)
{
    const sweep_state *s = state;
    const sweep_worker *w = &s->workers[worker];
    const emr_grouped_tensor *tensor = &s->sweep->groups->tensors[item->number];
    emr_task_sums to = emr_task_sums_at(&s->items, index);
    uint64_t counted = tensor->count > item->first ? tensor->count - item->first : 0;
    size_t n = (size_t)emr_min(item->n, counted);
    s->bad[index] = (bad_place){item->n, 0};
    emr_task_sums_clear(&s->items, index);
    if (tensor->tensor == EMR_GROUP_NONE)
        return;
    memset(w->vectors, 0, s->n_tasks * sizeof *w->vectors);
    memset(w->pairs, 0, pairs_of(s->n_tasks) * sizeof *w->pairs);
    for (size_t at = 0; at < n; at += s->block)
        if (!add_block(s, w, item, &to, &s->bad[index], at, (size_t)emr_min(n - at, s->block)))
            return;
    store_totals(&to, w, s->n_tasks);
}

/* Names the first value that is not finite of a task's block. */
static emr_status name_nonfinite(const sweep_state *s, const emr_item *item, const bad_place *bad,
                                 emr_error *error)
{
    const emr_chunk chunk = {.base = item->base,
                             .tasks = &item->tasks[bad->task],
                             .task_dtypes = &item->task_dtypes[bad->task],
                             .base_dtype = item->entry->base->dtype};
    float tau[EMR_GROUP];
    size_t at = bad->at;
    for (load_task_vector(tau, &chunk, 0, at, 1); is_finite(tau[0]) && at + 1 < item->n;)
        load_task_vector(tau, &chunk, 0, ++at, 1);
    emr_nonfinite found = emr_nonfinite_examine(item, bad->task, at);
    return emr_nonfinite_fail(&found, item, &s->sweep->alignment->tasks[bad->task], at, error);
}

static emr_status fold_item_sums(void *state, const emr_item *item, size_t index, emr_error *error)
{
    const sweep_state *s = state;
    const emr_sweep *sweep = s->sweep;
    const emr_grouped_tensor *tensor = &sweep->groups->tensors[item->number];
    if (s->bad[index].at < item->n)
        return name_nonfinite(s, item, &s->bad[index], error);
    if (tensor->tensor == EMR_GROUP_NONE)
        return EMR_OK;
    size_t record = sweep->keeps_tensors ? tensor->tensor : 0;
    if (!sweep->keeps_tensors && item->first == 0)
        emr_task_sums_clear(sweep->tensors, 0);
    emr_task_sums sums = emr_task_sums_at(sweep->tensors, record), more = emr_task_sums_at(&s->items, index);
    emr_task_sums_add(&sums, &more, s->n_tasks);
    if (item->first + item->n < item->entry->base->count)
        return EMR_OK;
    const emr_task_sums ends[3] = {emr_task_sums_at(sweep->layers, tensor->layer),
                                   emr_task_sums_at(sweep->kinds, tensor->kind),
                                   emr_task_sums_at(sweep->model, 0)};
    for (size_t i = 0; i < 3; i++)
        emr_task_sums_add(&ends[i], &sums, s->n_tasks);
    return EMR_OK;
}

static const emr_step sweep_table = {
    .what = "gathering statistics",
    .memory = sweep_memory,
    .compute = compute_sums,
    .fold = fold_item_sums,
};

static bool create_workers(sweep_state *s, const emr_allocator *allocator, size_t n_workers)
{
    size_t n = s->n_tasks;
    s->workers = emr_allocate_array(allocator, n_workers, sizeof *s->workers);
    bool complete = s->workers != NULL;
    for (size_t i = 0; complete && i < n_workers; i++) {
        sweep_worker *w = &s->workers[i];
        w->vectors = emr_allocate_array(allocator, n, sizeof *w->vectors);
        w->pairs = emr_allocate_array(allocator, (size_t)pairs_of(n), sizeof *w->pairs);
        w->numbers = emr_allocate_array(allocator, n, STRIDE * sizeof *w->numbers);
        w->signs = emr_allocate_array(allocator, n, EMR_PAIR_BLOCK / 64 * sizeof *w->signs);
        complete = w->vectors && w->pairs && w->numbers && w->signs;
    }
    return complete;
}

static void free_workers(sweep_state *s, const emr_allocator *allocator, size_t n_workers)
{
    for (size_t i = 0; s->workers && i < n_workers; i++) {
        emr_release(allocator, s->workers[i].vectors);
        emr_release(allocator, s->workers[i].pairs);
        emr_release(allocator, s->workers[i].numbers);
        emr_release(allocator, s->workers[i].signs);
    }
    emr_release(allocator, s->workers);
}

/* Where a variant has no kernels of its own, the reference's. */
static emr_pair_kernels kernels_of(const emr_kernels *kernels)
{
    return kernels->pairs.read ? kernels->pairs : emr_pairs_c;
}

emr_status emr_sweep_plan(emr_layout *layout, const emr_sweep *sweep, emr_error *error)
{
    const emr_env *env = sweep->env;
    const emr_layout_needs needs = {.alignment = sweep->alignment,
                                    .step = &sweep_table,
                                    .plan = (void *)(uintptr_t)sweep,
                                    .cap = env->memory_bytes ? env->memory_bytes
                                                             : MEMORY_DEFAULT + sweep->besides,
                                    .besides = sweep->besides,
                                    .block_params = 1,
                                    .concurrency = env->executor.concurrency};
    return emr_layout_choose(layout, &needs, error);
}

emr_status emr_sweep_run(const emr_sweep *sweep, emr_error *error)
{
    const emr_allocator *allocator = &sweep->env->allocator;
    sweep_state s = {.sweep = sweep,
                     .kernels = kernels_of(sweep->kernels),
                     .n_tasks = sweep->alignment->n_tasks,
                     .block = block_elements(sweep->alignment->n_tasks)};
    emr_layout layout;
    emr_status status = emr_sweep_plan(&layout, sweep, error);
    if (status)
        return status;
    s.bad = emr_allocate_array(allocator, layout.max_items, sizeof *s.bad);
    bool has_items = emr_task_sums_create(&s.items, allocator, s.n_tasks, layout.max_items);
    bool has_workers = create_workers(&s, allocator, layout.n_workers);
    status = s.bad && has_items && has_workers
                 ? emr_pass_run(sweep->alignment, &layout, sweep->env, &sweep_table, &s, error)
                 : emr_no_memory(error, NULL);
    free_workers(&s, allocator, layout.n_workers);
    emr_task_sums_free(&s.items, allocator);
    emr_release(allocator, s.bad);
    return status;
}
