/* pass.c - see pass.h. The merged tensors pass in windows of flat space, one a round. In a round everything
 * that can be done runs side by side: reading and computing the window's items, hashing the base of the
 * window before, and what the step has left to do of earlier ones. Then the results are folded in order.
 *
 * A source whose tensors are pushed fills its part of the window through `places`; the round begins when
 * every source's part is full. */
#include "pass/pass.h"

#include "numeric/convert.h"
#include "numeric/kernels.h"
#include "pass/carry.h"
#include "pass/window.h"

#include <string.h>

/* Where a source's pushed bytes go next. */
typedef struct push_place {
    size_t stretch;
    uint64_t offset;
} push_place;

typedef enum pass_phase { PASS_MERGED, PASS_PRIVATE, PASS_DONE } pass_phase;

struct emr_pass {
    emr_pass_setup s;
    uint32_t n_sources;
    emr_window *window;
    push_place *places; /* one a source */
    emr_base_hash *hash;
    emr_carry *carry;
    size_t n_step_jobs; /* of the round */
    pass_phase phase;
    uint64_t done, total; /* input bytes */
    emr_pass_hook_fn on_window;
    void *hook_context;
    uint32_t saved_entry; /* entries before it were saved complete */
};

uint64_t emr_pass_memory(const emr_alignment *a, const emr_layout *l, const emr_step *step)
{
    return sizeof(emr_pass) + a->n_sources * sizeof(push_place) + emr_base_hash_memory(l) +
           (step->carries ? emr_carry_memory() : 0) + emr_window_memory(a, l);
}

uint64_t emr_pass_total(const emr_alignment *a, const emr_step *step)
{
    return a->merged_bytes + (step->carries ? a->loose_bytes : 0);
}

uint64_t emr_pass_done(const emr_pass *p)
{
    return p->done;
}

static emr_status count_bytes(void *context, uint64_t bytes, emr_error *error)
{
    emr_pass *p = context;
    p->done += bytes;
    return emr_env_progress(p->s.env, p->done, p->total, p->s.step->what, error);
}

/* Of a tensor that begins before the range and ends in it, the base's bytes before it are read for its hash. */
static emr_status begin_hash(emr_pass *p, const emr_pass_range *range, const emr_entry *entry,
                             emr_error *error)
{
    const emr_tensor *base = entry->base;
    bool ends = entry->first_param + base->count <= range->end;
    uint64_t bytes = p->window->next_first * emr_float_size(base->dtype);
    if (!p->hash || !bytes || !ends)
        return EMR_OK;
    emr_status status = emr_base_hash_again(p->hash, base, bytes, error);
    return status ? status : count_bytes(p, bytes, error);
}

/* Goes to where a range begins. */
static emr_status begin_range(emr_pass *p, const emr_pass_range *range, emr_error *error)
{
    const emr_alignment *a = p->s.alignment;
    emr_window *w = p->window;
    w->end = range->end;
    while (w->next_entry < a->n_merged &&
           range->begin >= a->entries[w->next_entry].first_param + a->entries[w->next_entry].base->count)
        w->next_entry++;
    if (range->begin >= range->end || w->next_entry == a->n_merged) {
        w->next_entry = a->n_merged;
        return EMR_OK;
    }
    w->next_first = range->begin - a->entries[w->next_entry].first_param;
    return begin_hash(p, range, &a->entries[w->next_entry], error);
}

emr_status emr_pass_create(emr_pass **pass, const emr_pass_setup *setup, emr_error *error)
{
    const emr_alignment *a = setup->alignment;
    emr_pass *p = emr_allocate_array(&a->allocator, 1, sizeof *p);
    *pass = NULL;
    if (!p)
        return emr_no_memory(error, NULL);
    p->s = *setup;
    p->n_sources = a->n_sources;
    p->total = setup->range ? setup->range->bytes : emr_pass_total(a, setup->step);
    p->places = emr_allocate_array(&a->allocator, p->n_sources, sizeof *p->places);
    emr_status status =
        p->places ? emr_window_create(&p->window, a, setup->layout, error) : emr_no_memory(error, NULL);
    if (!status && setup->hashes)
        status = emr_base_hash_create(&p->hash, a, setup->layout, setup->hashes, error);
    if (!status && setup->step->carries)
        status = emr_carry_create(&p->carry, &p->s, p->hash, count_bytes, p, error);
    if (!status && setup->range)
        status = begin_range(p, setup->range, error);
    if (status)
        emr_pass_destroy(&p);
    *pass = p;
    return status;
}

void emr_pass_destroy(emr_pass **pass)
{
    emr_pass *p = *pass;
    if (!p)
        return;
    const emr_allocator allocator = p->s.alignment->allocator;
    emr_carry_destroy(&p->carry);
    emr_base_hash_destroy(&p->hash);
    emr_window_destroy(&p->window);
    emr_release(&allocator, p->places);
    emr_release(&allocator, p);
    *pass = NULL;
}

/* Moves a source's push position over what need not be pushed. */
static void skip_unpushed(emr_pass *p, uint32_t s)
{
    push_place *place = &p->places[s];
    while (place->stretch < p->window->n_stretches) {
        const emr_tensor *t = emr_window_tensor(p->window, place->stretch, s);
        if (t && t->kind == EMR_TENSOR_PUSHED)
            return;
        *place = (push_place){place->stretch + 1, 0};
    }
}

static void open_window(emr_pass *p)
{
    emr_window_next(p->window);
    for (uint32_t s = 0; s < p->n_sources; s++) {
        p->places[s] = (push_place){0, 0};
        skip_unpushed(p, s);
    }
}

static bool window_is_full(const emr_pass *p)
{
    for (uint32_t s = 0; s < p->n_sources; s++)
        if (p->places[s].stretch < p->window->n_stretches)
            return false;
    return true;
}

static emr_status compute_job(emr_pass *p, size_t job, size_t worker, emr_error *error)
{
    const emr_window *w = p->window;
    emr_status status = emr_window_read(p->window, job, worker, error);
    for (size_t i = w->jobs[job]; !status && i < w->jobs[job + 1]; i++)
        p->s.step->compute(p->s.state, &w->items[i], i, worker);
    return status;
}

/* The jobs of a round: the step's, which are the longest, the hash, the window's. */
static emr_status run_pass_job(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_pass *p = context;
    if (job < p->n_step_jobs)
        return p->s.step->job(p->s.state, job, worker, error);
    if (job > p->n_step_jobs)
        return compute_job(p, job - p->n_step_jobs - 1, worker, error);
    return p->hash ? emr_base_hash_run(p->hash, error) : EMR_OK;
}

static emr_status run_round(emr_pass *p, emr_error *error)
{
    const emr_step *step = p->s.step;
    const emr_window *w = p->window;
    emr_status status =
        step->load ? step->load(p->s.state, w->items, w->n_items, p->s.workers, error) : EMR_OK;
    if (status)
        return status;
    p->n_step_jobs = step->begin ? step->begin(p->s.state, w->items, w->n_items) : 0;
    status = emr_work(p->s.workers, p->n_step_jobs + 1 + w->n_jobs, run_pass_job, p, error);
    for (size_t i = 0; !status && i < w->n_items; i++) {
        if (p->hash)
            emr_base_hash_note(p->hash, &w->items[i]);
        status = step->fold(p->s.state, &w->items[i], i, error);
    }
    if (!status && step->window_end)
        status = step->window_end(p->s.state, error);
    if (!status)
        status = count_bytes(p, emr_window_bytes(w), error);
    return !status && p->on_window ? p->on_window(p->hook_context, error) : status;
}

static emr_status end_merged(emr_pass *p, emr_error *error)
{
    emr_status status = p->hash ? emr_base_hash_run(p->hash, error) : EMR_OK; /* of the last window */
    if (!status && p->s.step->merged_end)
        status = p->s.step->merged_end(p->s.state, error);
    if (!status && p->carry)
        status = emr_carry_kept(p->carry, error);
    p->phase = p->carry ? PASS_PRIVATE : PASS_DONE;
    return status;
}

emr_status emr_pass_pump(emr_pass *p, emr_error *error)
{
    emr_status status = EMR_OK;
    bool done;
    while (!status && p->phase == PASS_MERGED && window_is_full(p)) {
        if (p->window->n_stretches)
            status = run_round(p, error);
        if (!status)
            open_window(p);
        if (!status && !p->window->n_stretches)
            status = end_merged(p, error);
    }
    if (!status && p->phase == PASS_PRIVATE) {
        status = emr_carry_private(p->carry, &done, error);
        p->phase = !status && done ? PASS_DONE : PASS_PRIVATE;
    }
    return status;
}

/* Bytes of its current stretch that a source has yet to push. */
static uint64_t stretch_left(const emr_pass *p, uint32_t s, const emr_tensor **tensor)
{
    const push_place *place = &p->places[s];
    *tensor = emr_window_tensor(p->window, place->stretch, s);
    return p->window->stretches[place->stretch].n * emr_float_size((*tensor)->dtype) - place->offset;
}

static size_t push_merged(emr_pass *p, uint32_t s, const uint8_t *from, size_t n)
{
    const emr_tensor *t;
    push_place *place = &p->places[s];
    if (place->stretch == p->window->n_stretches)
        return 0; /* has to wait */
    size_t room = (size_t)emr_min(stretch_left(p, s, &t), n);
    memcpy(emr_window_pushed(p->window, place->stretch, s) + place->offset, from, room);
    place->offset += room;
    if (stretch_left(p, s, &t) == 0) {
        *place = (push_place){place->stretch + 1, 0};
        skip_unpushed(p, s);
    }
    return room;
}

emr_status emr_pass_push(emr_pass *p, uint32_t s, const void *data, size_t n, size_t *taken, emr_error *error)
{
    emr_status status = EMR_OK;
    const uint8_t *from = data;
    size_t some = 1;
    *taken = 0;
    while (!status && some && *taken < n) {
        some = 0;
        if (p->phase == PASS_MERGED)
            some = push_merged(p, s, from + *taken, n - *taken);
        else if (p->phase == PASS_PRIVATE)
            status = emr_carry_push(p->carry, s, from + *taken, n - *taken, &some, error);
        *taken += some;
        if (!status && some)
            status = emr_pass_pump(p, error);
    }
    return status;
}

const emr_tensor *emr_pass_expected(const emr_pass *p, uint32_t s, uint64_t *bytes)
{
    const emr_tensor *t;
    const emr_window *w = p->window;
    const emr_alignment *a = p->s.alignment;
    *bytes = 0;
    if (p->phase == PASS_MERGED && p->places[s].stretch < w->n_stretches) {
        *bytes = stretch_left(p, s, &t);
        return t;
    }
    bool passed = p->phase == PASS_MERGED && w->next_entry < a->n_merged && w->next_first > 0 &&
                  w->next_first == a->entries[w->next_entry].base->count;
    for (uint32_t i = w->next_entry + passed; p->phase == PASS_MERGED && i < a->n_merged; i++) {
        t = emr_alignment_tensor(a, &a->entries[i], s);
        if (t && t->kind == EMR_TENSOR_PUSHED && t->bytes)
            return t;
    }
    return p->phase == PASS_DONE || !p->carry ? NULL : emr_carry_expected(p->carry, s, bytes);
}

emr_status emr_pass_finish(emr_pass *p, emr_error *error)
{
    for (uint32_t s = 0; s < p->n_sources; s++) {
        uint64_t bytes;
        const emr_tensor *t = emr_pass_expected(p, s, &bytes);
        if (t && s)
            return emr_fail(error, EMR_ESTATE, "task '%K' (%F): tensor '%T' still has bytes to be pushed",
                            p->s.alignment->tasks[s - 1].name, t->model_name, t->name);
        if (t)
            return emr_fail(error, EMR_ESTATE, "the base (%F): tensor '%T' still has bytes to be pushed",
                            t->model_name, t->name);
    }
    return p->s.step->finish ? p->s.step->finish(p->s.state, error) : EMR_OK;
}

emr_status emr_pass_run(emr_alignment *alignment, const emr_layout *layout, const emr_env *env,
                        const emr_step *step, void *state, emr_error *error)
{
    emr_workers workers;
    emr_pass *pass = NULL;
    emr_status status = emr_workers_create(&workers, env, layout->n_workers, error);
    const emr_pass_setup setup = {.alignment = alignment,
                                  .layout = layout,
                                  .workers = &workers,
                                  .env = env,
                                  .step = step,
                                  .state = state};
    if (!status)
        status = emr_pass_create(&pass, &setup, error);
    if (!status)
        status = emr_pass_pump(pass, error);
    if (!status)
        status = emr_pass_finish(pass, error);
    emr_pass_destroy(&pass);
    emr_workers_destroy(&workers);
    return status;
}

void emr_pass_on_window(emr_pass *p, emr_pass_hook_fn fn, void *context)
{
    p->on_window = fn;
    p->hook_context = context;
}

bool emr_pass_can_save(const emr_pass *p)
{
    return p->s.step->can_save && p->s.step->can_save(p->s.state);
}

emr_status emr_pass_settle(emr_pass *p, emr_error *error)
{
    emr_status status = p->s.step->settle ? p->s.step->settle(p->s.state, error) : EMR_OK;
    return !status && p->hash ? emr_base_hash_run(p->hash, error) : status;
}

/* The end of the entries that are saved: the one that is passing is among them, with what is known so far. */
static uint32_t saved_end(const emr_pass *p)
{
    return (uint32_t)emr_min(p->window->next_entry + 1, p->s.alignment->n_merged);
}

void emr_pass_save(const emr_pass *p, emr_put_fn put, void *context)
{
    uint64_t where[3] = {p->window->next_entry, p->window->next_first, p->done};
    put(context, where, sizeof where);
    if (p->hash)
        emr_base_hash_save(p->hash, p->saved_entry, saved_end(p), put, context);
    if (p->s.step->save)
        p->s.step->save(p->s.state, p->window->next_entry, put, context);
}

void emr_pass_saved(emr_pass *p)
{
    p->saved_entry = p->window->next_entry;
    if (p->s.step->saved)
        p->s.step->saved(p->s.state, p->saved_entry);
}

/* Whether a window can begin there. */
static bool is_place(const emr_pass *p, uint64_t entry, uint64_t first)
{
    if (entry == p->s.alignment->n_merged)
        return first == 0;
    uint64_t count = p->s.alignment->entries[entry].base->count;
    return first == count || (first < count && first % EMR_GROUP == 0);
}

emr_status emr_pass_restore(emr_pass *p, emr_get_fn get, void *context, emr_error *error)
{
    uint64_t where[3];
    emr_status status = get(context, where, sizeof where, error);
    if (status)
        return status;
    if (where[0] > p->s.alignment->n_merged || where[0] < p->saved_entry || !is_place(p, where[0], where[1]))
        return emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
    p->window->next_entry = (uint32_t)where[0];
    p->window->next_first = where[1];
    p->done = where[2];
    if (p->hash)
        status = emr_base_hash_restore(p->hash, p->saved_entry, saved_end(p), get, context, error);
    p->saved_entry = p->window->next_entry;
    return !status && p->s.step->restore ? p->s.step->restore(p->s.state, get, context, error) : status;
}

/* The flat position at which the next item begins. */
static uint64_t next_flat(const emr_pass *p)
{
    const emr_window *w = p->window;
    const emr_alignment *a = p->s.alignment;
    return w->next_entry == a->n_merged
               ? a->flat_params
               : a->entries[w->next_entry].first_param + emr_round_up(w->next_first, EMR_GROUP);
}

emr_status emr_pass_continue(emr_pass *p, bool *right, emr_error *error)
{
    const emr_window *w = p->window;
    *right = true;
    emr_status status = p->s.step->check ? p->s.step->check(p->s.state, next_flat(p), right, error) : EMR_OK;
    if (!status && *right)
        status = count_bytes(p, 0, error); /* perhaps nothing is left to be counted */
    if (status || !*right || !p->hash || w->next_entry == p->s.alignment->n_merged)
        return status;
    const emr_tensor *base = p->s.alignment->entries[w->next_entry].base;
    return emr_base_hash_again(p->hash, base, w->next_first * emr_float_size(base->dtype), error);
}
