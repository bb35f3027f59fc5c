/* subset.c - emr_bundle_drop and emr_bundle_extract: which tasks stay. */
#include "bundle/subset.h"

bool emr_subset_keeps(const emr_subset *s, const emr_stream_record *stream)
{
    const emr_stream_rule *rule = emr_stream_rule_of(stream->kind);
    return rule && !rule->growth && (!rule->per_task || s->stays[stream->owner]) &&
           (stream->kind != EMR_STREAM_UNIFIED || s->has_elected);
}

uint64_t emr_subset_stored(const emr_bundle *b, size_t stream, uint64_t first, uint64_t n)
{
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    uint64_t stored = 0;
    for (uint64_t at = first / s.block_bytes * s.block_bytes; at < first + n; at += s.block_bytes)
        stored += emr_bundle_block_record(b, (size_t)(s.first_block + at / s.block_bytes)).stored;
    return stored;
}

emr_status emr_subset_advance(emr_subset *s, uint64_t bytes, emr_error *error)
{
    s->done += bytes;
    return emr_env_progress(&s->env, s->done, s->total, s->what, error);
}

/* The selected tasks stay or go, all others do the opposite. */
static emr_status choose_tasks(emr_subset *s, const emr_task_selection *selection, bool selected_stay,
                               emr_error *error)
{
    const emr_bundle *b = s->bundle;
    for (uint32_t t = 0; t < b->summary.n_tasks; t++)
        s->stays[t] = !selected_stay;
    for (uint32_t i = 0; i < selection->n_tasks; i++) {
        uint32_t task = selection->tasks[i];
        if (task >= b->summary.n_tasks)
            return emr_fail(error, EMR_ENOTFOUND, "%F: there is no task %u", b->name, (uint64_t)task);
        if (s->stays[task] == selected_stay)
            return emr_fail(error, EMR_EINVAL, "%F: task '%K' is selected twice", b->name,
                            emr_bundle_task_name(b, task));
        s->stays[task] = selected_stay;
    }
    for (uint32_t t = 0; t < b->summary.n_tasks; t++) {
        if (!s->stays[t])
            continue;
        const emr_modulator_record m = emr_bundle_modulator_record(b, t);
        s->numbers[t] = s->n_left++;
        s->has_elected = s->has_elected || emr_kind_find(m.kind)->has_unified;
        s->has_kinds = s->has_kinds || m.kind != EMR_MODULATOR_KIND_MASK;
        s->has_modulators = s->has_modulators || !emr_modulator_is_plain(&m);
    }
    return s->n_left ? EMR_OK : emr_fail(error, EMR_EINVAL, "%F: at least one task must stay", b->name);
}

/* For the progress: all that is going to be read, each time that it is. */
static void measure_work(emr_subset *s, bool counts)
{
    for (size_t i = 0; i < s->bundle->n_streams; i++) {
        emr_stream_record stream = emr_bundle_stream_record(s->bundle, i);
        bool counted = counts && (stream.kind == EMR_STREAM_UNIFIED || stream.kind == EMR_STREAM_MASK);
        s->total += emr_subset_stored(s->bundle, i, 0, stream.bytes) *
                    (uint64_t)(counted + emr_subset_keeps(s, &stream));
    }
}

/* What emr/bundle.h says that it takes. */
static emr_status check_subset_memory(const emr_subset *s, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    uint64_t largest = 0;
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record stream = emr_bundle_stream_record(b, i);
        uint64_t bytes = emr_min(stream.block_bytes, stream.bytes);
        largest = bytes > largest ? bytes : largest;
    }
    uint64_t index = b->bytes - EMR_TRAILER_SIZE - b->index_offset;
    uint64_t needed = 6 * index + 4 * largest + (256 << 10);
    if (!s->env.memory_bytes || s->env.memory_bytes >= needed)
        return EMR_OK;
    return emr_fail(error, EMR_ELIMIT, "%F: %u bytes of memory are too little, %u are needed", b->name,
                    s->env.memory_bytes, needed);
}

static emr_status make_subset(emr_subset *s, const emr_task_selection *selection, bool selected_stay,
                              const emr_io *io, bool counts, emr_error *error)
{
    const emr_allocator *a = &s->env.allocator;
    s->stays = emr_allocate_array(a, s->bundle->summary.n_tasks, sizeof *s->stays);
    s->numbers = emr_allocate_array(a, s->bundle->summary.n_tasks, sizeof *s->numbers);
    emr_status status = s->stays && s->numbers ? choose_tasks(s, selection, selected_stay, error)
                                               : emr_no_memory(error, s->bundle->name);
    if (!status)
        measure_work(s, counts);
    if (!status && counts)
        status = emr_subset_count(s, error);
    if (!status)
        status = emr_subset_write(s, io, error);
    s->report.lost_growth = emr_bundle_is_extendable(s->bundle);
    s->report.lost_unified = emr_bundle_n_elected(s->bundle) && !s->has_elected;
    emr_release(a, s->stays);
    emr_release(a, s->numbers);
    return status;
}

static emr_status write_subset(emr_subset *s, const emr_task_selection *given, bool selected_stay,
                               const emr_io *given_io, emr_drop_report *report, emr_error *error)
{
    emr_task_selection selection;
    emr_io io;
    emr_status status = EMR_TAKE(&selection, given, emr_task_selection, error);
    if (!status && (!selection.tasks || !selection.n_tasks))
        status = emr_fail(error, EMR_EINVAL, "emr_task_selection: no task is selected");
    if (!status)
        status = emr_io_take(&io, given_io, error);
    if (!status && !io.write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    if (!status && report && EMR_GIVE(report, &s->report, emr_drop_report))
        status = emr_fail(error, EMR_EINVAL, "emr_drop_report.size is too small");
    if (!status)
        status = emr_env_take(&s->env, selection.resources, &s->bundle->allocator, error);
    if (!status)
        status = check_subset_memory(s, error);
    if (!status)
        status = make_subset(s, &selection, selected_stay, &io, report != NULL, error);
    return !status && report ? EMR_GIVE(report, &s->report, emr_drop_report) : status;
}

emr_status emr_bundle_drop(const emr_bundle *b, const emr_task_selection *dropped, const emr_io *io,
                           emr_drop_report *report, emr_error *error)
{
    if (!b || !dropped || !io)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_drop: NULL");
    emr_subset subset = {.bundle = b, .what = "dropping tasks"};
    return write_subset(&subset, dropped, false, io, report, error);
}

emr_status emr_bundle_extract(const emr_bundle *b, const emr_task_selection *kept, const emr_io *io,
                              emr_drop_report *report, emr_error *error)
{
    if (!b || !kept || !io)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_extract: NULL");
    emr_subset subset = {.bundle = b, .what = "extracting tasks"};
    return write_subset(&subset, kept, true, io, report, error);
}
