/* task_sums.c - see task_sums.h. */
#include "statistics/task_sums.h"

#include <string.h>

static size_t numbers_of(uint32_t n)
{
    return 2 * (size_t)n * n + 4 * (size_t)n;
}

static size_t counts_of(uint32_t n)
{
    return 2 * (size_t)n * n + 2 * (size_t)n + 2;
}

uint64_t emr_task_sums_bytes(uint32_t n_tasks, uint64_t n)
{
    uint64_t bytes;
    return emr_mul(n, (numbers_of(n_tasks) + counts_of(n_tasks)) * sizeof(double), &bytes) ? bytes
                                                                                           : UINT64_MAX;
}

bool emr_task_sums_create(emr_task_sums_table *t, const emr_allocator *allocator, uint32_t n_tasks, size_t n)
{
    *t = (emr_task_sums_table){.n_tasks = n_tasks, .n = n};
    t->numbers = emr_allocate_array(allocator, n, numbers_of(n_tasks) * sizeof *t->numbers);
    t->counts = emr_allocate_array(allocator, n, counts_of(n_tasks) * sizeof *t->counts);
    return t->numbers && t->counts;
}

void emr_task_sums_free(emr_task_sums_table *t, const emr_allocator *allocator)
{
    emr_release(allocator, t->numbers);
    emr_release(allocator, t->counts);
    *t = (emr_task_sums_table){0};
}

emr_task_sums emr_task_sums_at(const emr_task_sums_table *t, size_t i)
{
    size_t n = t->n_tasks, n_pairs = n * n;
    double *numbers = t->numbers + i * numbers_of(t->n_tasks), *of_tasks = numbers + 2 * n_pairs;
    uint64_t *counts = t->counts + i * counts_of(t->n_tasks), *counts_of_tasks = counts + 2 * n_pairs;
    return (emr_task_sums){.products = numbers,
                           .distances = numbers + n_pairs,
                           .sums = of_tasks,
                           .magnitudes = of_tasks + n,
                           .fourths = of_tasks + 2 * n,
                           .largest = of_tasks + 3 * n,
                           .same = counts,
                           .both = counts + n_pairs,
                           .nonfinite = counts_of_tasks,
                           .zeros = counts_of_tasks + n,
                           .conflicts = counts_of_tasks + 2 * n,
                           .unchanged = counts_of_tasks + 2 * n + 1};
}

void emr_task_sums_clear(const emr_task_sums_table *t, size_t i)
{
    memset(t->numbers + i * numbers_of(t->n_tasks), 0, numbers_of(t->n_tasks) * sizeof *t->numbers);
    memset(t->counts + i * counts_of(t->n_tasks), 0, counts_of(t->n_tasks) * sizeof *t->counts);
}

static void add_task_sums(const emr_task_sums *to, const emr_task_sums *more, uint32_t i)
{
    to->sums[i] += more->sums[i];
    to->magnitudes[i] += more->magnitudes[i];
    to->fourths[i] += more->fourths[i];
    to->largest[i] = more->largest[i] > to->largest[i] ? more->largest[i] : to->largest[i];
    to->nonfinite[i] += more->nonfinite[i];
}

void emr_task_sums_add(const emr_task_sums *to, const emr_task_sums *more, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        add_task_sums(to, more, i);
        for (size_t k = (size_t)i * n + i; k < (size_t)i * n + n; k++) {
            to->products[k] += more->products[k];
            to->distances[k] += more->distances[k];
            to->same[k] += more->same[k];
            to->both[k] += more->both[k];
        }
    }
    *to->conflicts += *more->conflicts;
    *to->unchanged += *more->unchanged;
}

void emr_task_sums_complete(const emr_task_sums *s, uint32_t n, uint64_t count)
{
    for (uint32_t i = 0; i < n; i++) {
        s->zeros[i] = count - s->both[(size_t)i * n + i];
        for (uint32_t j = i + 1; j < n; j++) {
            size_t from = (size_t)i * n + j, to = (size_t)j * n + i;
            s->products[to] = s->products[from];
            s->distances[to] = s->distances[from];
            s->same[to] = s->same[from];
            s->both[to] = s->both[from];
        }
    }
}
