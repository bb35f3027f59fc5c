/* sweep.c - see sweep.h. A sweep goes over one tensor, or over all that a method joins, in chunks. */
#include "combine/sweep.h"

#include "combine/plan.h"
#include "combine/reader.h"
#include "combine/sums.h"
#include "core/bytes.h"
#include "core/work.h"

#include <string.h>

/* Whose stages they are: the tensor's, or those of all tensors together. */
static emr_combined *stage_owner(const emr_combined *t)
{
    emr_combination *c = t->owner;
    return c->method.whole_model ? &c->whole : &c->tensors[t - c->tensors];
}

const double *emr_combined_found(const emr_combined *t)
{
    return atomic_load_explicit(&stage_owner(t)->found, memory_order_acquire);
}

/* Room for n more numbers behind those that are there, all 0. */
static emr_status grow_found(emr_sweep *s, uint32_t n, emr_error *error)
{
    const emr_allocator *a = &s->combination->allocator;
    double *grown = emr_allocate_array(a, (size_t)s->n_found + n, sizeof *grown);
    if (!grown)
        return emr_no_memory(error, NULL);
    if (s->found)
        memcpy(grown, s->found, s->n_found * sizeof *grown);
    emr_release(a, s->found);
    s->found = grown;
    s->seen.found = grown;
    return EMR_OK;
}

emr_status emr_sweep_advance(emr_sweep *s, uint64_t n, emr_error *error)
{
    s->done = n < s->stage_end - s->done ? s->done + n : s->stage_end;
    return emr_env_progress(s->env, s->done, s->total, "preparing", error);
}

/* Each stage that is needed reads everything once. */
static void begin_progress(emr_sweep *s, uint32_t needed)
{
    s->total = s->seen.count * emr_popcount64(needed);
}

static emr_status settle_stage(emr_sweep *s, const emr_method_stage *stage, emr_error *error)
{
    emr_error why;
    memset(&why, 0, sizeof why);
    emr_status status = stage->settle ? stage->settle(&s->seen, s->found + s->n_found, &why) : EMR_OK;
    why.text[sizeof why.text - 1] = '\0';
    return status ? emr_fail_as(error, status > 0 ? EMR_EINVAL : status, &why) : EMR_OK;
}

static emr_status run_stage(emr_sweep *s, uint32_t i, bool is_needed, emr_error *error)
{
    const emr_method_stage *stage = &s->combination->stages[i];
    uint32_t n = stage->n_found(&s->seen);
    emr_status status = grow_found(s, n, error);
    if (!status && is_needed) {
        s->stage_end += s->seen.count;
        status = stage->add_sums ? emr_sweep_sum(s, stage, n, error) : emr_sweep_cut(s, stage, n, error);
        if (!status)
            status = settle_stage(s, stage, error);
        s->done = s->stage_end;
    }
    s->n_found += n;
    return status;
}

/* Gives what was found to all, or, where another was first, away. */
static void publish_found(emr_combined *owner, double *found)
{
    double *nothing = NULL;
    if (!atomic_compare_exchange_strong(&owner->found, &nothing, found))
        emr_release(&owner->owner->allocator, found);
}

static emr_status run_needed_stages(emr_combined *owner, emr_sweep *s, emr_error *error)
{
    uint32_t needed = emr_combined_stages(owner);
    emr_status status = EMR_OK;
    begin_progress(s, needed);
    for (uint32_t i = 0; !status && i < s->combination->n_stages; i++)
        status = run_stage(s, i, needed >> i & 1, error);
    if (!status)
        publish_found(owner, s->found);
    else
        emr_release(&s->combination->allocator, s->found);
    return status;
}

/* The tensor's name in front of what has none. */
static emr_status name_tensor(const emr_combined *t, emr_status status, emr_error *error)
{
    if (status && error && !error->tensor.length && status != EMR_ECANCELED)
        emr_error_prefix(error, "tensor '%T'", t->sample->name);
    return status;
}

/* As many as half of the memory has readers for; the rest is for sums and lists. One there is always. */
static size_t choose_workers(const emr_sweep *s)
{
    uint64_t bytes = emr_reader_bytes(s->combination, emr_sweep_largest_chunk(s), false);
    return (size_t)emr_min(s->env->memory_bytes / 2 / bytes, SIZE_MAX);
}

emr_status emr_combined_find(const emr_combined *t, const emr_env *env, emr_error *error)
{
    emr_combination *c = t->owner;
    emr_error why;
    if (!c->n_stages || !t->seen.count || emr_combined_found(t))
        return EMR_OK;
    emr_combined *owner = stage_owner(t);
    emr_sweep sweep = {.combination = c, .env = env, .seen = owner->seen, .one = t};
    memset(&why, 0, sizeof why);
    sweep.tensors = c->method.whole_model ? c->ordered : &sweep.one;
    sweep.n_tensors = c->method.whole_model ? c->n_ordered : 1;
    emr_status status = emr_workers_create(&sweep.workers, env, choose_workers(&sweep), &why);
    if (!status)
        status = run_needed_stages(owner, &sweep, &why);
    emr_workers_destroy(&sweep.workers);
    if (!status)
        return EMR_OK;
    status = name_tensor(t, status, &why);
    if (error)
        *error = why;
    return status;
}
