/* merge.c - the public merge context: models, outputs, and the order of calls. */
#include "emr/merge.h"

#include "bundle/arrangement.h"
#include "core/text.h"
#include "merge/adding.h"
#include "merge/description.h"
#include "merge/force.h"
#include "merge/history.h"
#include "merge/merge_step.h"
#include "merge/parts.h"
#include "merge/plan.h"
#include "pass/pass.h"
#include "pass/resume.h"

#include <string.h>

#define INTERVAL_DEFAULT ((uint64_t)1 << 30)

typedef enum merge_state { OPEN, PLANNED, RUNNING, FINISHED, FAILED } merge_state;

struct emr_merge {
    emr_allocator allocator;
    emr_merge_plan plan;
    const emr_kernels *kernels;
    const emr_model *base;
    emr_model *arranged_base; /* as the bundle that is added to has it, where that is otherwise */
    emr_task *tasks;
    uint32_t n_tasks;
    emr_modulation_spec *given; /* for each task; of size 0 where nothing was */
    size_t tasks_capacity, given_capacity;
    emr_model **settled_models; /* of the tasks of plan.before */
    emr_io output, journal;
    uint64_t journal_interval;
    emr_sink sink;
    bool to_bundle, to_sink, has_journal;
    emr_part_writer part; /* into `output` */
    /* what works on the tensors while it runs */
    emr_workers workers;
    emr_writer *writer;
    emr_merge_step *step;
    emr_pass *pass;
    emr_resume *resume;
    merge_state state;
};

emr_status emr_merge_create(emr_merge **merge, const emr_merge_options *given, emr_error *error)
{
    emr_merge_options options;
    emr_modulation_spec common;
    emr_env env;
    if (!merge)
        return emr_fail(error, EMR_EINVAL, "emr_merge_create: NULL");
    *merge = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_merge_options, error);
    if (!status)
        status = emr_merge_check_options(&options, error);
    if (!status)
        status = emr_modulation_take(&common, options.modulation, error);
    if (!status)
        status = emr_env_take(&env, options.resources, NULL, error);
    if (status)
        return status;
    emr_merge *m = emr_allocate_array(&env.allocator, 1, sizeof *m);
    if (!m)
        return emr_no_memory(error, NULL);
    m->allocator = env.allocator;
    m->plan.env = env;
    m->plan.options = options;
    m->plan.common = common;
    m->kernels = emr_kernels_select();
    status = emr_policy_take(&m->plan.policy, options.policy, &m->allocator, error);
    if (status)
        emr_merge_destroy(&m);
    *merge = m;
    return status;
}

void emr_merge_force_kernels(emr_merge *m, const emr_kernels *kernels)
{
    m->kernels = kernels;
}

static void stop_running(emr_merge *m)
{
    emr_pass_destroy(&m->pass);
    emr_merge_step_destroy(&m->step);
    emr_writer_destroy(&m->writer);
}

void emr_merge_destroy(emr_merge **merge)
{
    if (!merge || !*merge)
        return;
    emr_merge *m = *merge;
    emr_allocator allocator = m->allocator;
    stop_running(m);
    emr_resume_destroy(&m->resume);
    emr_workers_destroy(&m->workers);
    if (m->state != OPEN)
        emr_merge_plan_free(&m->plan);
    emr_model_destroy(&m->arranged_base);
    emr_policy_free(&m->plan.policy, &allocator);
    for (uint32_t t = 0; m->settled_models && t < m->plan.n_old; t++)
        emr_model_destroy(&m->settled_models[t]);
    for (uint32_t t = 0; t < m->n_tasks; t++)
        emr_release(&allocator, m->tasks[t].name);
    emr_release(&allocator, m->settled_models);
    emr_release(&allocator, m->tasks);
    emr_release(&allocator, m->given);
    emr_release(&allocator, m);
    *merge = NULL;
}

emr_status emr_merge_set_base(emr_merge *m, const emr_model *base, emr_error *error)
{
    if (!m || !base)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_base: NULL");
    if (m->state != OPEN)
        return emr_fail(error, EMR_ESTATE, "base and tasks are set before the plan");
    m->base = base;
    return EMR_OK;
}

static emr_status fail_name_taken(const emr_merge *m, const emr_task *task, emr_error *error)
{
    if (task->settled)
        return emr_fail(error, EMR_EEXIST,
                        "%F: has a task '%K' already: give the new one another name, or, to replace it, "
                        "merge anew",
                        m->plan.before->name, task->name);
    return emr_fail(error, EMR_EEXIST, "two tasks are named '%K'", task->name);
}

static emr_status check_task_name(const emr_merge *m, const char *name, emr_error *error)
{
    size_t length = strlen(name);
    if (length < 1 || length > 255)
        return emr_fail(error, EMR_EINVAL, "a task's name has 1 to 255 bytes, not %u", (uint64_t)length);
    if (!emr_is_utf8(name, length))
        return emr_fail(error, EMR_EINVAL, "the task name '%K' is not valid UTF-8", name);
    for (uint32_t t = 0; t < m->n_tasks; t++)
        if (strcmp(m->tasks[t].name, name) == 0)
            return fail_name_taken(m, &m->tasks[t], error);
    return m->n_tasks < UINT32_MAX - 2 ? EMR_OK : emr_fail(error, EMR_ELIMIT, "too many tasks");
}

static emr_status add_task(emr_merge *m, const char *name, const emr_model *model, bool settled,
                           emr_error *error)
{
    emr_status status = check_task_name(m, name, error);
    if (status)
        return status;
    char *copy = emr_copy_string(&m->allocator, name);
    if (!copy ||
        !emr_grow(&m->allocator, (void **)&m->tasks, &m->tasks_capacity, (size_t)m->n_tasks + 1,
                  sizeof *m->tasks) ||
        !emr_grow(&m->allocator, (void **)&m->given, &m->given_capacity, (size_t)m->n_tasks + 1,
                  sizeof *m->given)) {
        emr_release(&m->allocator, copy);
        return emr_no_memory(error, NULL);
    }
    m->tasks[m->n_tasks++] = (emr_task){.name = copy, .model = model, .settled = settled};
    return EMR_OK;
}

emr_status emr_merge_add_task(emr_merge *m, const char *name, const emr_model *model, emr_error *error)
{
    if (!m || !name || !model)
        return emr_fail(error, EMR_EINVAL, "emr_merge_add_task: NULL");
    if (m->state != OPEN)
        return emr_fail(error, EMR_ESTATE, "base and tasks are set before the plan");
    return add_task(m, name, model, false, error);
}

emr_status emr_merge_set_modulation(emr_merge *m, uint32_t task, const emr_modulation_spec *spec,
                                    emr_error *error)
{
    if (!m || !spec)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_modulation: NULL");
    if (m->state != OPEN)
        return emr_fail(error, EMR_ESTATE, "modulators are set before the plan");
    if (task >= m->n_tasks)
        return emr_fail(error, EMR_EINVAL, "there is no task %u", (uint64_t)task);
    if (m->tasks[task].settled)
        return emr_fail(error, EMR_EINVAL, "task '%K' is in %F already, with the modulator that it has",
                        m->tasks[task].name, m->plan.before->name);
    emr_modulation_spec taken;
    emr_status status = emr_modulation_take(&taken, spec, error);
    if (!status)
        m->given[task] = taken;
    return status;
}

/* After a failure nothing goes on. */
static emr_status settle_state(emr_merge *m, emr_status status)
{
    if (status)
        m->state = FAILED;
    return status;
}

/* The tasks that the bundle has come first. */
static emr_status add_settled_tasks(emr_merge *m, const emr_bundle *bundle, emr_error *error)
{
    emr_status status = EMR_OK;
    m->plan.before = bundle;
    m->plan.n_old = bundle->summary.n_tasks;
    m->settled_models = emr_allocate_array(&m->allocator, m->plan.n_old, sizeof *m->settled_models);
    if (!m->settled_models)
        return emr_no_memory(error, NULL);
    for (uint32_t t = 0; !status && t < m->plan.n_old; t++) {
        status = emr_history_task(&m->settled_models[t], bundle, t, &m->allocator, error);
        if (!status)
            status = add_task(m, emr_bundle_task_name(bundle, t), m->settled_models[t], true, error);
    }
    return status;
}

emr_status emr_merge_extend(emr_merge *m, const emr_bundle *bundle, emr_error *error)
{
    if (!m || !bundle)
        return emr_fail(error, EMR_EINVAL, "emr_merge_extend: NULL");
    if (m->state != OPEN || m->n_tasks || m->plan.before)
        return emr_fail(error, EMR_ESTATE, "a bundle to add to is set once, before any task");
    emr_status status = emr_history_options(&m->plan.options, &m->plan.policy, bundle, &m->allocator, error);
    if (!status)
        status = emr_merge_check_options(&m->plan.options, error);
    if (!status)
        status = add_settled_tasks(m, bundle, error);
    return settle_state(m, status);
}

static emr_status make_plan(emr_merge *m, emr_error *error)
{
    if (m->state == FAILED)
        return emr_fail(error, EMR_ESTATE, "the merge failed before");
    if (m->state != OPEN)
        return EMR_OK;
    if (!m->base || !m->n_tasks)
        return emr_fail(error, EMR_ESTATE, "a merge needs a base and at least one task");
    if (m->plan.before && m->n_tasks == m->plan.n_old)
        return emr_fail(error, EMR_ESTATE, "there is no task to add to %F", m->plan.before->name);
    emr_status status = EMR_OK;
    if (m->plan.before && !m->arranged_base)
        status =
            emr_bundle_arrange_base(&m->arranged_base, m->plan.before, m->base, true, &m->allocator, error);
    if (!status)
        status = emr_merge_plan_make(&m->plan, m->arranged_base ? m->arranged_base : m->base, m->tasks,
                                     m->n_tasks, m->given, error);
    if (!status)
        m->state = PLANNED;
    return status;
}

/* The plan is there: what of it is the part's, and how it is done. */
static emr_status choose_layout(emr_merge *m, emr_error *error)
{
    emr_merge_plan *plan = &m->plan;
    emr_status status =
        plan->n_parts ? emr_parts_cut(plan, plan->part, plan->n_parts, &plan->range, error) : EMR_OK;
    if (status)
        return status;
    return emr_merge_plan_layout(&m->plan, !m->to_sink, m->has_journal ? emr_resume_memory() : 0, error);
}

emr_status emr_merge_get_plan(emr_merge *m, emr_plan_summary *summary, emr_error *error)
{
    if (!m || !summary)
        return emr_fail(error, EMR_EINVAL, "emr_merge_get_plan: NULL");
    emr_status status = make_plan(m, error);
    if (!status && m->state == PLANNED)
        status = choose_layout(m, error);
    if (status)
        return status;
    const emr_alignment *a = &m->plan.alignment;
    const emr_pass_range *range = emr_merge_range(&m->plan);
    const emr_plan_summary known = {.n_tensors = a->n_entries,
                                    .n_merged = a->n_merged,
                                    .merged_params = a->merged_params,
                                    .bytes_in = range ? range->bytes
                                                      : emr_pass_total(a, &emr_merge_step_table) +
                                                            emr_adding_bytes(&m->plan),
                                    .bytes_out = range ? emr_parts_bytes_out(&m->plan, range)
                                                       : m->plan.bytes_out + emr_store_table_bytes(&m->plan),
                                    .peak_memory = m->plan.layout.memory};
    status = EMR_GIVE(summary, &known, emr_plan_summary);
    return status ? emr_fail(error, status, "emr_plan_summary.size is too small (EMR_INIT sets it)") : EMR_OK;
}

emr_status emr_merge_get_plan_tensor(const emr_merge *m, uint32_t i, emr_plan_tensor *out)
{
    if (!m || !out)
        return EMR_EINVAL;
    if (m->state == OPEN)
        return EMR_ESTATE;
    const emr_alignment *a = &m->plan.alignment;
    if (i >= a->n_entries)
        return EMR_ENOTFOUND;
    const emr_entry *entry = &a->entries[i];
    emr_plan_tensor known = {.name = entry->sample->name,
                             .reason = entry->reason,
                             .shape = entry->sample->shape,
                             .count = entry->sample->count,
                             .zeroed = i < a->n_merged ? m->plan.zeroed[i] : 0,
                             .rank = entry->sample->rank,
                             .dtype = entry->sample->dtype,
                             .action = entry->action};
    for (uint32_t t = 0; t < a->n_tasks; t++)
        known.n_private += emr_entry_part(entry, t) == EMR_PART_OWN;
    return EMR_GIVE(out, &known, emr_plan_tensor);
}

static emr_status check_output_state(const emr_merge *m, emr_error *error)
{
    if (m->to_bundle || m->to_sink || m->state >= RUNNING)
        return emr_fail(error, EMR_ESTATE, "a merge has one output, which is set before it runs");
    return EMR_OK;
}

emr_status emr_merge_set_output(emr_merge *m, const emr_io *io, emr_error *error)
{
    if (!m || !io)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_output: NULL");
    emr_status status = check_output_state(m, error);
    if (!status)
        status = emr_io_take(&m->output, io, error);
    if (!status && !m->output.write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    m->to_bundle = m->to_bundle || !status;
    return status;
}

emr_status emr_merge_set_sink(emr_merge *m, const emr_sink *sink, emr_error *error)
{
    if (!m || !sink)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_sink: NULL");
    emr_status status = check_output_state(m, error);
    if (!status)
        status = EMR_TAKE(&m->sink, sink, emr_sink, error);
    m->to_sink = m->to_sink || !status;
    return status;
}

emr_status emr_merge_set_part(emr_merge *m, uint32_t part, uint32_t n_parts, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_part: NULL");
    if (!n_parts || n_parts > EMR_PARTS_MAX || part >= n_parts)
        return emr_fail(error, EMR_EINVAL, "there is no part %u of %u: 1 to %u parts, counted from 0",
                        (uint64_t)part, (uint64_t)n_parts, (uint64_t)EMR_PARTS_MAX);
    if (m->state >= RUNNING)
        return emr_fail(error, EMR_ESTATE, "what part of a merge is done is set before it runs");
    m->plan.part = part;
    m->plan.n_parts = n_parts;
    return EMR_OK;
}

emr_status emr_merge_set_journal(emr_merge *m, const emr_io *journal, uint64_t interval, emr_error *error)
{
    if (!m || !journal)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_journal: NULL");
    if (!m->to_bundle || m->has_journal || m->state >= RUNNING)
        return emr_fail(error, EMR_ESTATE,
                        "a journal is set once, after emr_merge_set_output and before the merge runs");
    emr_status status = emr_io_take(&m->journal, journal, error);
    if (!status && (!m->journal.read || !m->journal.write || !m->journal.length))
        status = emr_fail(error, EMR_EINVAL, "the journal's emr_io needs read, write and length");
    if (!status && (!m->output.read || !m->output.length))
        status = emr_fail(error, EMR_EINVAL, "to continue later, the output's emr_io needs read and length");
    m->journal_interval = interval ? interval : INTERVAL_DEFAULT;
    m->has_journal = !status;
    return status;
}

/* What a part says first of what merge it is one. Release the bytes. */
static emr_status describe_part(const emr_merge *m, emr_part_head *head, uint8_t **bytes, size_t *n,
                                emr_error *error)
{
    const emr_merge_plan *plan = &m->plan;
    emr_status status = emr_description_write(plan, m->base, m->tasks, m->n_tasks, bytes, n, error);
    if (!status)
        *head = (emr_part_head){emr_description_fingerprint(*bytes, *n, plan->n_parts), plan->part,
                                plan->n_parts};
    return status;
}

static emr_status begin_part(emr_merge *m, emr_error *error)
{
    emr_part_head head;
    uint8_t *bytes;
    size_t n;
    emr_status status = describe_part(m, &head, &bytes, &n, error);
    if (status)
        return status;
    const emr_part_record record = {.kind = EMR_PART_PLAN, .size = n};
    status = emr_part_create(&m->part, &m->output, &head, error);
    if (!status)
        status = emr_part_put(&m->part, record, bytes, false, error);
    emr_release(&m->allocator, bytes);
    m->plan.store.writer.part = &m->part;
    return status;
}

static emr_status compare_part(const emr_merge *m, const emr_part_reader *part, emr_error *error)
{
    emr_part_head head;
    uint8_t *bytes;
    size_t n;
    emr_status status = describe_part(m, &head, &bytes, &n, error);
    if (status)
        return status;
    emr_release(&m->allocator, bytes);
    if (part->head.fingerprint.low != head.fingerprint.low ||
        part->head.fingerprint.high != head.fingerprint.high || part->head.n_parts != head.n_parts)
        return emr_fail(error, EMR_EMISMATCH,
                        "%F: is a part of another merge than this one: of other models, options, number of "
                        "parts or release of libemr or zstd",
                        part->name);
    return part->head.part == head.part
               ? EMR_OK
               : emr_fail(error, EMR_EMISMATCH, "%F: is part %u of this merge, not part %u", part->name,
                          (uint64_t)part->head.part + 1, (uint64_t)head.part + 1);
}

emr_status emr_merge_check_part(emr_merge *m, const emr_io *given, const char *name, emr_error *error)
{
    emr_part_reader part = {0};
    emr_io io;
    if (!m || !given)
        return emr_fail(error, EMR_EINVAL, "emr_merge_check_part: NULL");
    if (!m->plan.n_parts)
        return emr_fail(error, EMR_ESTATE, "which part it is to be is set before: emr_merge_set_part");
    emr_status status = make_plan(m, error);
    if (!status)
        status = emr_io_take(&io, given, error);
    if (!status && (!io.read || !io.length))
        status = emr_fail(error, EMR_EINVAL, "a part's emr_io needs read and length");
    if (status)
        return status;
    part.name = emr_copy_string(&m->allocator, name ? name : "part");
    if (!part.name)
        return emr_no_memory(error, NULL);
    status = emr_part_open(&part, &io, error);
    if (!status)
        status = compare_part(m, &part, error);
    emr_release(&m->allocator, part.name);
    return status;
}

/* What works on the tensors, at the front. */
static emr_status start_running(emr_merge *m, emr_error *error)
{
    emr_status status = m->plan.n_parts ? begin_part(m, error) : EMR_OK;
    if (status)
        return status;
    m->plan.store.writer.hashes = m->has_journal;
    m->plan.store.writer.features = emr_merge_features(&m->plan);
    if (m->to_bundle)
        status = emr_writer_create(&m->writer, &m->output, &m->allocator, &m->workers, &m->plan.store.writer,
                                   error);
    if (!status)
        status = emr_merge_step_create(&m->step, &m->plan, m->kernels, m->writer, &m->output,
                                       m->to_sink ? &m->sink : NULL, error);
    const emr_pass_setup setup = {.alignment = &m->plan.alignment,
                                  .layout = &m->plan.layout,
                                  .workers = &m->workers,
                                  .env = &m->plan.env,
                                  .step = &emr_merge_step_table,
                                  .state = m->step,
                                  .hashes = &m->plan.hashes,
                                  .range = emr_merge_range(&m->plan)};
    return status ? status : emr_pass_create(&m->pass, &setup, error);
}

/* Goes to where an earlier run came; to the front where nothing of one is left. */
static emr_status resume_run(emr_merge *m, emr_error *error)
{
    bool stale = false;
    emr_status status = emr_resume_create(&m->resume, &m->journal, m->journal_interval,
                                          emr_merge_plan_fingerprint(&m->plan), &m->allocator, error);
    if (!status)
        status = emr_resume_find(m->resume, m->pass, &stale, error);
    if (!status && stale) {
        stop_running(m);
        status = start_running(m, error);
    }
    return status ? status : emr_resume_begin(m->resume, m->pass, error);
}

/* Everything that a run needs, then as far as it goes without pushed bytes. */
static emr_status begin_run(emr_merge *m, emr_error *error)
{
    if (m->state == RUNNING || m->state == FINISHED)
        return emr_fail(error, EMR_ESTATE, "a merge runs once");
    if (!m->to_bundle && !m->to_sink)
        return emr_fail(error, EMR_ESTATE,
                        "a merge needs an output: emr_merge_set_output or emr_merge_set_sink");
    if (m->plan.n_parts && (m->to_sink || m->has_journal))
        return emr_fail(error, EMR_EUNSUPPORTED, "%s",
                        m->to_sink ? "a part of a merge goes into a file: emr_merge_set_output"
                                   : "a part of a merge has no journal: one that failed is made again");
    emr_status status = make_plan(m, error);
    if (!status && m->to_sink && m->plan.modulations.n_coded)
        status = emr_fail(error, EMR_EUNSUPPORTED,
                          "task '%K': a sink takes masks alone, its kind of modulator needs a bundle: "
                          "emr_merge_set_output",
                          m->tasks[m->plan.modulations.coded[0]].name);
    if (!status)
        status = choose_layout(m, error);
    if (status)
        return settle_state(m, status);
    m->state = RUNNING;
    status = emr_workers_create(&m->workers, &m->plan.env, m->plan.layout.n_workers, error);
    if (!status)
        status = start_running(m, error);
    if (!status && m->has_journal)
        status = resume_run(m, error);
    return settle_state(m, status ? status : emr_pass_pump(m->pass, error));
}

emr_status emr_merge_begin(emr_merge *m, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_begin: NULL");
    if (m->has_journal || m->plan.n_parts)
        return emr_fail(error, EMR_ESTATE,
                        "a merge with a journal, or a part of one, reads its tensors: emr_merge_run");
    return begin_run(m, error);
}

emr_status emr_merge_run(emr_merge *m, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_run: NULL");
    emr_status status = begin_run(m, error);
    return status ? status : emr_merge_finish(m, error);
}

static emr_status check_pushing(const emr_merge *m, uint32_t source, emr_error *error)
{
    if (m->state != RUNNING)
        return emr_fail(error, EMR_ESTATE, "%s",
                        m->state == FINISHED ? "the merge is finished"
                        : m->state == FAILED ? "the merge failed before"
                                             : "the merge has not begun: emr_merge_begin");
    if (source != EMR_BASE && source >= m->n_tasks)
        return emr_fail(error, EMR_EINVAL, "there is no task %u to push for", (uint64_t)source);
    return EMR_OK;
}

static uint32_t source_number(uint32_t source)
{
    return source == EMR_BASE ? 0 : source + 1;
}

emr_status emr_merge_push(emr_merge *m, uint32_t source, const void *data, size_t n, size_t *taken,
                          emr_error *error)
{
    if (!m || !taken || (n && !data))
        return emr_fail(error, EMR_EINVAL, "emr_merge_push: NULL");
    *taken = 0;
    emr_status status = check_pushing(m, source, error);
    if (status)
        return status;
    uint32_t s = source_number(source);
    uint64_t room;
    status = emr_pass_push(m->pass, s, data, n, taken, error);
    if (!status && *taken < n && !emr_pass_expected(m->pass, s, &room))
        status = s ? emr_fail(error, EMR_EINVAL, "%u bytes too many were pushed for task '%K'",
                              (uint64_t)(n - *taken), m->tasks[s - 1].name)
                   : emr_fail(error, EMR_EINVAL, "%u bytes too many were pushed for the base",
                              (uint64_t)(n - *taken));
    return settle_state(m, status);
}

emr_status emr_merge_get_expected(const emr_merge *m, uint32_t source, const emr_tensor **tensor,
                                  uint64_t *bytes, emr_error *error)
{
    if (!m || !tensor || !bytes)
        return emr_fail(error, EMR_EINVAL, "emr_merge_get_expected: NULL");
    emr_status status = check_pushing(m, source, error);
    if (!status)
        *tensor = emr_pass_expected(m->pass, source_number(source), bytes);
    return status;
}

emr_status emr_merge_finish(emr_merge *m, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_finish: NULL");
    emr_status status = check_pushing(m, EMR_BASE, error);
    if (!status)
        status = settle_state(m, emr_pass_finish(m->pass, error));
    if (!status)
        m->state = FINISHED;
    return status;
}

emr_status emr_merge_get_fidelity(const emr_merge *m, uint32_t task, emr_fidelity *fidelity)
{
    if (!m || !fidelity)
        return EMR_EINVAL;
    if (m->state != FINISHED || m->plan.n_parts)
        return EMR_ESTATE;
    if (task >= m->n_tasks)
        return EMR_ENOTFOUND;
    const emr_fidelity known = emr_merge_step_fidelity(m->step, task);
    return EMR_GIVE(fidelity, &known, emr_fidelity);
}

emr_status emr_merge_get_task_report(const emr_merge *m, uint32_t task, emr_task_report *report)
{
    if (!m || !report)
        return EMR_EINVAL;
    if (m->state != FINISHED || m->plan.n_parts)
        return EMR_ESTATE;
    if (task >= m->n_tasks)
        return EMR_ENOTFOUND;
    emr_task_report known;
    emr_merge_step_report(m->step, task, &known);
    return EMR_GIVE(report, &known, emr_task_report);
}
