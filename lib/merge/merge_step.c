/* merge_step.c - see merge_step.h. Which part of the method does what at each point of the pass. */
#include "merge/merge_step.h"

#include "bundle/bundle.h"
#include "merge/index.h"
#include "merge/part_step.h"
#include "merge/sink.h"

uint64_t emr_merge_step_memory(const emr_merge_plan *plan, const emr_layout *l)
{
    return sizeof(emr_merge_step) + plan->alignment.n_tasks * sizeof(emr_task_tally) +
           emr_election_memory(plan, l) + emr_rescaling_memory(plan, l) + emr_coders_memory(plan, l) +
           emr_store_memory(plan) + emr_adding_memory(plan) + emr_part_step_memory(plan);
}

static uint64_t memory_with(emr_merge_plan *plan, const emr_layout *l, size_t n_buffers)
{
    emr_store_layout_set(plan, l, n_buffers);
    return emr_merge_step_memory(plan, l) +
           (plan->store.writes ? emr_writer_memory(&plan->store.writer, l->n_workers) : 0);
}

/* Three buffers, or one where they do not fit, or a single window leaves nothing to overlap with. */
static uint64_t choose_buffers(void *plan, const emr_layout *l, uint64_t cap)
{
    uint64_t bytes = l->single ? UINT64_MAX : memory_with(plan, l, 3);
    return bytes <= cap ? bytes : memory_with(plan, l, 1);
}

emr_status emr_merge_step_create(emr_merge_step **step, emr_merge_plan *plan, const emr_kernels *kernels,
                                 emr_writer *writer, const emr_io *output, const emr_sink *sink,
                                 emr_error *error)
{
    const emr_allocator *a = &plan->env.allocator;
    emr_merge_step *s = emr_allocate_array(a, 1, sizeof *s);
    *step = NULL;
    if (!s)
        return emr_no_memory(error, NULL);
    s->plan = plan;
    s->writer = writer;
    s->output = output;
    s->sink = sink;
    s->tallies = emr_allocate_array(a, plan->alignment.n_tasks, sizeof *s->tallies);
    emr_status status =
        s->tallies ? emr_election_create(&s->election, plan, kernels, error) : emr_no_memory(error, NULL);
    if (!status)
        status = emr_rescaling_create(&s->rescaling, plan, &s->election, error);
    if (!status && writer && plan->copies)
        status = emr_adding_create(&s->adding, plan, writer, error);
    if (!status && writer)
        status = emr_store_create(&s->store, plan, &s->election, writer, error);
    if (!status && writer)
        status = emr_coders_create(&s->coders, plan, kernels, writer, error);
    if (!status && plan->n_parts)
        status = emr_part_step_begin(s, error);
    for (uint32_t t = 0; !status && t < plan->n_old; t++)
        s->tallies[t].zeroed = emr_bundle_task_record(plan->before, t).zeroed;
    for (uint32_t i = 0; i < plan->alignment.n_merged; i++) /* an earlier, stale run may have counted */
        plan->zeroed[i] = 0;
    if (status)
        emr_merge_step_destroy(&s);
    *step = s;
    return status;
}

void emr_merge_step_destroy(emr_merge_step **step)
{
    emr_merge_step *s = *step;
    if (!s)
        return;
    const emr_allocator a = s->plan->env.allocator;
    emr_coders_destroy(&s->coders);
    emr_adding_destroy(&s->adding);
    emr_store_destroy(&s->store);
    emr_rescaling_destroy(&s->rescaling);
    emr_election_destroy(&s->election);
    emr_release(&a, s->told);
    emr_release(&a, s->tallies);
    emr_release(&a, s);
    *step = NULL;
}

static emr_status load_history(void *state, const emr_item *items, size_t n_items, const emr_workers *workers,
                               emr_error *error)
{
    emr_merge_step *s = state;
    const emr_item *last = &items[n_items - 1];
    return s->election.history ? emr_history_load(s->election.history, workers, items->flat,
                                                  last->flat + emr_round_up(last->n, EMR_GROUP), error)
                               : EMR_OK;
}

static size_t begin_window(void *state, const emr_item *items, size_t n_items)
{
    emr_merge_step *s = state;
    emr_rescaling_begin(&s->rescaling, items, n_items);
    emr_coders_begin(&s->coders, items, n_items);
    return s->writer ? emr_writer_begin(s->writer) : 0;
}

static emr_status run_writer_job(void *state, size_t number, size_t worker, emr_error *error)
{
    emr_merge_step *s = state;
    return emr_writer_job(s->writer, number, worker, error);
}

static void compute_item(void *state, const emr_item *item, size_t index, size_t worker)
{
    emr_merge_step *s = state;
    emr_elect(&s->election, item, index);
    if (s->election.items[index].chunk.bad == item->n)
        emr_rescaling_sum(&s->rescaling, item, index);
    emr_coders_encode(&s->coders, item, index, worker);
}

/* Whether an item is another part's, and passes for what this one must know of it. */
static bool is_others(const emr_merge_step *s, const emr_item *item)
{
    return item->flat < emr_merge_first(s->plan);
}

static void tally_item(emr_merge_step *s, const emr_item *item, const emr_chunk *c)
{
    for (uint32_t t = 0; t < c->n_tasks; t++) {
        emr_task_tally *tally = &s->tallies[s->plan->modulations.elected[t]];
        tally->ones += c->results[t].ones;
        tally->zeroed += c->results[t].zeroed;
        tally->nonzero |= c->results[t].nonzero;
        s->plan->zeroed[item->number] += c->results[t].zeroed;
    }
}

/* Rescalers of an elected task to a sink: `n` rows, or the one of a tensor. */
static emr_status give_rescalers(const emr_merge_step *s, const emr_item *item, uint32_t elected,
                                 const float *rescalers, uint64_t first, size_t n, emr_error *error)
{
    const emr_sink_part part = {
        .values = rescalers, .n = n, .first = first, .task = s->plan->modulations.elected[elected]};
    return s->sink ? emr_sink_rescalers(s->sink, item, part, &s->plan->alignment, error) : EMR_OK;
}

/* What an item adds to all tasks' sums; and the rows that it ends. */
static emr_status fold_sums(emr_merge_step *s, const emr_item *item, size_t index, emr_error *error)
{
    emr_rescaling *r = &s->rescaling;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < s->election.n_tasks; t++) {
        uint64_t first;
        size_t n;
        status = emr_rescaling_fold(r, item, index, t, &first, &n, error);
        if (status || !emr_merge_is_per(s->plan, EMR_RESCALE_PER_ROW))
            continue;
        status = give_rescalers(s, item, t, r->row_rescalers, first, n, error);
        if (!status && s->writer && !is_others(s, item))
            status = emr_store_rows(&s->store, t, r->row_rescalers, r->row_numerators, n, error);
    }
    return status;
}

/* The rescalers of a tensor that is complete. */
static emr_status end_tensor(emr_merge_step *s, const emr_item *item, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < s->election.n_tasks; t++)
        status = give_rescalers(s, item, t, emr_rescaling_of(&s->rescaling, t, item->number), 0, 1, error);
    return status;
}

/* What cannot be merged: the first parameter, of the first task that it is so of. */
static emr_status check_item(const emr_merge_step *s, const emr_item *item, size_t index, emr_error *error)
{
    const emr_chunk *c = &s->election.items[index].chunk;
    uint32_t task, elected;
    size_t bad = emr_coders_find_bad(&s->coders, item, index, &task);
    if (bad == item->n || bad > c->bad)
        return emr_election_check(&s->election, item, index, error);
    elected =
        bad == c->bad && c->bad_task < c->n_tasks ? s->plan->modulations.elected[c->bad_task] : UINT32_MAX;
    return task < elected ? emr_coders_fail_bad(&s->coders, item, index, error)
                          : emr_election_check(&s->election, item, index, error);
}

static emr_status fold_item(void *state, const emr_item *item, size_t index, emr_error *error)
{
    emr_merge_step *s = state;
    const emr_chunk *c = &s->election.items[index].chunk;
    bool before = is_others(s, item), is_part = s->plan->n_parts && !before;
    emr_status status = check_item(s, item, index, error);
    if (!status && s->writer && !before)
        status = emr_store_base(&s->store, item, error);
    if (status)
        return status;
    if (!before)
        tally_item(s, item, c);
    if (is_part)
        emr_part_step_before(s, item, index);
    status = fold_sums(s, item, index, error);
    if (!status && s->sink)
        status = emr_sink_elected(s->sink, item, c->unified, c->masks, s->plan, error);
    if (!status)
        status = emr_coders_fold(&s->coders, item, index, error);
    if (!status && is_part)
        status = emr_part_step_fold(s, item, index, error);
    if (!status && emr_merge_is_per(s->plan, EMR_RESCALE_PER_TENSOR) &&
        item->first + item->n == item->entry->base->count)
        status = end_tensor(s, item, error);
    s->position = item->flat + emr_round_up(item->n, EMR_GROUP);
    return !status && s->writer ? emr_store_put(&s->store, s->position, error) : status;
}

/* Without other buffers to go on with, waits until the blocks are written. */
static emr_status end_window(void *state, emr_error *error)
{
    emr_merge_step *s = state;
    return s->writer && s->plan->store.n_buffers == 1 ? emr_writer_flush(s->writer, error) : EMR_OK;
}

static emr_status end_merged_tensors(void *state, emr_error *error)
{
    emr_merge_step *s = state;
    if (s->plan->n_parts)
        return emr_part_step_merged(s, error);
    emr_rescaling_end_model(&s->rescaling);
    emr_status status = s->writer ? emr_store_end_merged(&s->store, error) : EMR_OK;
    return status ? status : emr_coders_end(&s->coders, error);
}

static emr_status begin_kept(void *state, uint32_t entry, emr_error *error)
{
    emr_merge_step *s = state;
    if (s->plan->n_parts)
        return emr_part_step_kept(s, entry, error);
    return s->writer ? emr_store_kept_begin(&s->store, entry, error) : EMR_OK;
}

static emr_status take_kept(void *state, const void *bytes, size_t n, emr_error *error)
{
    emr_merge_step *s = state;
    if (s->plan->n_parts)
        return emr_merge_embeds(s->plan) ? emr_part_step_raw(s, bytes, n, error) : EMR_OK;
    return s->writer ? emr_store_kept_bytes(&s->store, bytes, n, error) : EMR_OK;
}

static emr_status begin_private(void *state, uint32_t task, const emr_tensor *tensor, emr_error *error)
{
    emr_merge_step *s = state;
    if (s->plan->n_parts)
        return emr_part_step_private(s, task, tensor, error);
    return s->writer ? emr_store_private_begin(&s->store, task, tensor, error) : EMR_OK;
}

static emr_status take_private(void *state, const void *bytes, size_t n, emr_error *error)
{
    emr_merge_step *s = state;
    if (s->plan->n_parts)
        return emr_part_step_raw(s, bytes, n, error);
    return s->writer ? emr_store_private_bytes(&s->store, bytes, n, error) : EMR_OK;
}

/* Behind all that is new, of which nothing may be under way. */
static emr_status copy_streams(emr_merge_step *s, emr_error *error)
{
    emr_status status = emr_store_end(&s->store, error);
    if (!status)
        status = emr_writer_flush(s->writer, error);
    return status ? status : emr_adding_copy(&s->adding, error);
}

static emr_status finish_bundle(void *state, emr_error *error)
{
    emr_merge_step *s = state;
    const emr_rescaling *r = &s->rescaling;
    if (!s->writer)
        return EMR_OK;
    if (s->plan->n_parts)
        return emr_part_step_finish(s, error);
    emr_status status = s->plan->copies ? copy_streams(s, error) : EMR_OK;
    if (status)
        return status;
    bool there = emr_index_plan(s->writer, s->plan) &&
                 (s->plan->copies ? emr_adding_index(&s->adding) : emr_index_rescalers(s->writer, r));
    for (uint32_t t = 0; there && t < s->plan->alignment.n_tasks; t++) {
        emr_task_report report;
        emr_modulator_record modulator = emr_merge_step_modulator(s, t);
        emr_merge_step_report(s, t, &report);
        there = emr_index_task(s->writer, &s->plan->alignment.tasks[t], t, &report) &&
                (!emr_merge_has_modulators(s->plan) || emr_index_modulator(s->writer, &modulator));
    }
    if (there && s->plan->options.extendable)
        there = emr_index_growth(s->writer, s->plan, r->numerators, emr_rescaling_count(s->plan));
    return there ? emr_writer_finish(s->writer, error) : emr_no_memory(error, NULL);
}

/* The i-th rescaler of a task that has such for the whole model; else 0. */
static float model_rescaler(const emr_merge_step *s, uint32_t task, uint32_t i)
{
    uint32_t place = s->plan->modulations.places[task];
    bool there = emr_merge_is_per(s->plan, EMR_RESCALE_PER_MODEL) &&
                 emr_modulations_elect(&s->plan->modulations, task) && i < emr_merge_n_scales(s->plan, place);
    return there ? emr_rescaling_of(&s->rescaling, place, 0)[i] : 0;
}

/* Whether a task is one of a bundle that is copied. */
static bool is_copied(const emr_merge_step *s, uint32_t task)
{
    return s->plan->copies && task < s->plan->n_old;
}

/* Of a task that shares nothing. */
static uint64_t coded_zeroed(const emr_merge_step *s, uint32_t task)
{
    return emr_modulations_code(&s->plan->modulations, task)
               ? emr_coders_zeroed(&s->coders, s->plan->modulations.places[task])
               : 0;
}

void emr_merge_step_report(const emr_merge_step *s, uint32_t task, emr_task_report *report)
{
    const emr_task_tally *tally = &s->tallies[task];
    if (is_copied(s, task)) {
        *report = emr_adding_report(s->plan, task);
        return;
    }
    *report = (emr_task_report){.size = sizeof *report,
                                .name = s->plan->alignment.tasks[task].name,
                                .mask_ones = tally->ones,
                                .zeroed = tally->zeroed + coded_zeroed(s, task),
                                .rescaler = model_rescaler(s, task, 0),
                                .empty_mask = tally->nonzero && !tally->ones,
                                .other_rescaler = model_rescaler(s, task, 1)};
}

emr_fidelity emr_merge_step_fidelity(const emr_merge_step *s, uint32_t task)
{
    uint32_t place = s->plan->modulations.places[task];
    if (is_copied(s, task)) {
        emr_modulator_record m = emr_bundle_modulator_record(s->plan->before, task);
        return (emr_fidelity){
            .size = sizeof(emr_fidelity), .error = m.error, .cosine = m.cosine, .coefficient = m.coefficient};
    }
    return emr_modulations_elect(&s->plan->modulations, task) ? emr_rescaling_fidelity(&s->rescaling, place)
                                                              : emr_coders_fidelity(&s->coders, place);
}

emr_modulator_record emr_merge_step_modulator(const emr_merge_step *s, uint32_t task)
{
    if (is_copied(s, task))
        return emr_bundle_modulator_record(s->plan->before, task);
    emr_modulator_record record = emr_modulation_record(&s->plan->modulations.specs[task]);
    emr_fidelity fidelity = emr_merge_step_fidelity(s, task);
    record.other_rescaler = model_rescaler(s, task, 1);
    record.error = fidelity.error;
    record.cosine = fidelity.cosine;
    record.coefficient = fidelity.coefficient;
    return record;
}

/* Whether everything that was folded has been put, so that the writer holds all results. */
static bool is_put(const void *state)
{
    const emr_merge_step *s = state;
    return s->writer && s->position == s->store.written;
}

static emr_status settle_writer(void *state, emr_error *error)
{
    emr_merge_step *s = state;
    emr_error why;
    emr_status status = emr_writer_flush(s->writer, error);
    if (status)
        return status;
    status = emr_io_sync(s->output, &why);
    return status ? emr_fail_because(error, status, &why, "the bundle could not be made durable") : EMR_OK;
}

/* The end of the tensors that are saved: the one that is passing is among them. */
static uint32_t saved_end(const emr_merge_step *s, uint32_t entry)
{
    return (uint32_t)emr_min(entry + 1, s->plan->alignment.n_merged);
}

static void save_step(const void *state, uint32_t entry, emr_put_fn put, void *context)
{
    const emr_merge_step *s = state;
    const emr_merge_plan *plan = s->plan;
    uint64_t place[2] = {s->position, entry};
    uint32_t first = s->saved_entry, n = saved_end(s, entry) - first;
    put(context, place, sizeof place);
    put(context, s->tallies, plan->alignment.n_tasks * sizeof *s->tallies);
    if (n)
        put(context, plan->zeroed + first, n * sizeof *plan->zeroed);
    if (n)
        put(context, plan->base_offsets + first, n * sizeof *plan->base_offsets);
    emr_rescaling_save(&s->rescaling, entry, put, context);
    emr_coders_save(&s->coders, entry, put, context);
    emr_writer_save(s->writer, put, context);
}

static void step_saved(void *state, uint32_t entry)
{
    emr_merge_step *s = state;
    s->saved_entry = entry;
    emr_rescaling_saved(&s->rescaling, entry);
    emr_writer_saved(s->writer);
}

static bool is_saved_place(const emr_merge_step *s, const uint64_t place[2])
{
    const emr_alignment *a = &s->plan->alignment;
    return place[0] <= a->flat_params &&
           (place[0] % s->plan->store.block_params == 0 || place[0] == a->flat_params) &&
           place[1] <= a->n_merged && place[1] >= s->saved_entry;
}

static emr_status restore_step(void *state, emr_get_fn get, void *context, emr_error *error)
{
    emr_merge_step *s = state;
    emr_merge_plan *plan = s->plan;
    uint64_t place[2];
    emr_status status = get(context, place, sizeof place, error);
    if (!status && !is_saved_place(s, place))
        status = emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
    if (!status)
        status = get(context, s->tallies, plan->alignment.n_tasks * sizeof *s->tallies, error);
    if (status)
        return status;
    uint32_t entry = (uint32_t)place[1], first = s->saved_entry, n = saved_end(s, entry) - first;
    if (n)
        status = get(context, plan->zeroed + first, n * sizeof *plan->zeroed, error);
    if (!status && n)
        status = get(context, plan->base_offsets + first, n * sizeof *plan->base_offsets, error);
    if (!status)
        status = emr_rescaling_restore(&s->rescaling, entry, get, context, error);
    if (!status)
        status = emr_coders_restore(&s->coders, entry, get, context, error);
    if (!status)
        status = emr_writer_restore(s->writer, get, context, error);
    s->position = s->store.written = place[0];
    s->saved_entry = entry;
    return status;
}

static emr_status check_output(void *state, uint64_t flat, bool *right, emr_error *error)
{
    emr_merge_step *s = state;
    *right = flat == s->position;
    return *right ? emr_writer_check(s->writer, right, error) : EMR_OK;
}

const emr_step emr_merge_step_table = {
    .what = "the merge",
    .carries = true,
    .memory = choose_buffers,
    .load = load_history,
    .begin = begin_window,
    .job = run_writer_job,
    .compute = compute_item,
    .fold = fold_item,
    .window_end = end_window,
    .merged_end = end_merged_tensors,
    .kept_begin = begin_kept,
    .kept_bytes = take_kept,
    .private_begin = begin_private,
    .private_bytes = take_private,
    .finish = finish_bundle,
    .can_save = is_put,
    .settle = settle_writer,
    .save = save_step,
    .saved = step_saved,
    .restore = restore_step,
    .check = check_output,
};
