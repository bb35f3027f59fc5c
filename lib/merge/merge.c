/* merge.c - the public merge context: options, models, and the order of calls. */
#include "emr/merge.h"

#include "bundle/bundle.h"
#include "core/text.h"
#include "merge/driver.h"
#include "merge/emr_step.h"
#include "merge/history.h"
#include "merge/force.h"
#include "merge/resume.h"

#include <string.h>

#define INTERVAL_DEFAULT ((uint64_t)1 << 30)

typedef enum state { OPEN, PLANNED, RUNNING, FINISHED, FAILED } state;

struct emr_merge {
    emr_allocator allocator;
    emr_merge_options options; /* pointers in it are to copies below */
    emr_executor executor;
    char **globs;
    size_t n_globs;
    emr_task *tasks;
    size_t n_tasks, tasks_capacity;
    const emr_model *base;
    const emr_kernels *kernels;
    const emr_bundle *before; /* whose tasks come first */
    const char **before_globs;
    emr_model **old_models; /* of its tasks */
    emr_io output, journal;
    uint64_t journal_interval;
    emr_sink sink;
    bool to_bundle, to_sink, resumable, pulls;
    emr_plan plan;
    emr_layout layout;
    emr_workers workers;
    emr_writer *writer;
    emr_step *step;
    emr_driver *driver;
    emr_resume *resume;
    state state;
};

static emr_status check_options(emr_merge_options *o, emr_error *error)
{
    if (o->rescale < 0 || o->rescale > EMR_RESCALE_L2 || o->rescale_per < 0 || o->rescale_per > EMR_RESCALE_PER_ROW)
        return emr_fail(error, EMR_EINVAL, "emr_merge_options: unknown rescale or rescale_per");
    if (o->rescale == EMR_RESCALE_L1_MEANS && o->rescale_per != EMR_RESCALE_PER_MODEL)
        return emr_fail(error, EMR_EINVAL, "the rescaler l1-means is per model only");
    if (o->tie < 0 || o->tie > 1 || o->on_mismatch < 0 || o->on_mismatch > 1 || o->on_missing < 0 ||
        o->on_missing > 1 || o->on_nonfinite < 0 || o->on_nonfinite > 1)
        return emr_fail(error, EMR_EINVAL,
                        "emr_merge_options: unknown tie, on_mismatch, on_missing or on_nonfinite");
    if (o->block_params &&
        (o->block_params < EMR_BLOCK_PARAMS_MIN || o->block_params > EMR_BLOCK_PARAMS_MAX ||
         (o->block_params & (o->block_params - 1))))
        return emr_fail(error, EMR_EINVAL,
                        "emr_merge_options: block_params must be a power of two, 4096 to 16 Mi");
    if (o->compression < EMR_COMPRESSION_NONE || o->compression > 19)
        return emr_fail(error, EMR_EINVAL, "emr_merge_options: compression must be -1 to 19");
    if (o->extendable && o->rescale == EMR_RESCALE_L2)
        return emr_fail(
            error, EMR_EINVAL,
            "with the rescaler l2 a bundle cannot be extendable: it needs every task's own weights");
    if (o->n_private_globs && !o->private_globs)
        return emr_fail(error, EMR_EINVAL, "emr_merge_options: private_globs is NULL");
#ifndef EMR_WITH_ZSTD
    if (o->compression > 0)
        return emr_fail(error, EMR_EUNSUPPORTED, "this build has no zstd: compression must be none");
    o->compression = EMR_COMPRESSION_NONE;
#endif
    if (!o->unified_dtype)
        o->unified_dtype = EMR_DTYPE_F32;
    if (o->unified_dtype != EMR_DTYPE_F32 && o->unified_dtype != EMR_DTYPE_F16 && o->unified_dtype != EMR_DTYPE_BF16)
        return emr_fail(error, EMR_EINVAL, "emr_merge_options: unified_dtype must be F32, F16 or BF16");
    return EMR_OK;
}

static emr_status copy_globs(emr_merge *m, emr_error *error)
{
    size_t n = m->n_globs = m->options.n_private_globs;
    m->globs = emr_allocate_array(&m->allocator, n, sizeof *m->globs);
    for (size_t i = 0; m->globs && i < n; i++) {
        if (!m->options.private_globs[i])
            return emr_fail(error, EMR_EINVAL, "emr_merge_options: private_globs holds NULL");
        if (!(m->globs[i] = emr_copy_string(&m->allocator, m->options.private_globs[i])))
            return emr_fail(error, EMR_ENOMEM, "out of memory");
    }
    m->options.private_globs = (const char *const *)m->globs;
    return m->globs ? EMR_OK : emr_fail(error, EMR_ENOMEM, "out of memory");
}

emr_status emr_merge_create(emr_merge **merge, const emr_merge_options *given, emr_error *error)
{
    emr_merge_options options;
    emr_allocator allocator;
    if (!merge)
        return emr_fail(error, EMR_EINVAL, "emr_merge_create: NULL");
    *merge = NULL;
    emr_status status = emr_take_struct(&options, sizeof options, sizeof(emr_merge_options), given,
                                        "emr_merge_options", error);
    if (!status)
        status = check_options(&options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options.allocator, error);
    if (status)
        return status;
    emr_merge *m = emr_allocate_array(&allocator, 1, sizeof *m);
    if (!m)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    m->allocator = allocator;
    m->options = options;
    m->kernels = emr_kernels_select();
    status = copy_globs(m, error);
    if (!status && options.executor) {
        status = emr_take_struct(&m->executor, sizeof m->executor, sizeof(emr_executor), options.executor,
                                 "emr_executor", error);
        m->options.executor = &m->executor;
    }
    if (status)
        emr_merge_destroy(&m);
    *merge = m;
    return status;
}

void emr_merge_force_kernels(emr_merge *m, const emr_kernels *kernels)
{
    m->kernels = kernels;
}

static void stop(emr_merge *m)
{
    emr_driver_destroy(&m->driver);
    emr_step_destroy(&m->step);
    emr_writer_destroy(&m->writer);
    emr_resume_destroy(&m->resume);
    emr_workers_destroy(&m->workers);
}

void emr_merge_destroy(emr_merge **merge)
{
    if (!merge || !*merge)
        return;
    emr_merge *m = *merge;
    emr_allocator allocator = m->allocator;
    stop(m);
    if (m->state != OPEN)
        emr_plan_free(&m->plan);
    for (size_t t = 0; m->old_models && t < m->before->summary.n_tasks; t++)
        emr_model_destroy(&m->old_models[t]);
    for (size_t i = 0; m->globs && i < m->n_globs; i++)
        emr_release(&allocator, m->globs[i]);
    emr_release(&allocator, m->before_globs);
    emr_release(&allocator, m->old_models);
    for (size_t t = 0; t < m->n_tasks; t++)
        emr_release(&allocator, m->tasks[t].name);
    emr_release(&allocator, m->globs);
    emr_release(&allocator, m->tasks);
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

static emr_status name_is_taken(const emr_merge *m, size_t task, emr_error *error)
{
    const char *name = m->tasks[task].name;
    if (m->before && task < m->before->summary.n_tasks)
        return emr_fail(error, EMR_EEXIST,
                        "%s: has a task '%s' already: give the new one another name, or, to replace it, "
                        "merge anew",
                        m->before->name, name);
    return emr_fail(error, EMR_EEXIST, "two tasks are named '%s'", name);
}

emr_status emr_merge_extend(emr_merge *m, const emr_bundle *bundle, emr_error *error)
{
    if (!m || !bundle)
        return emr_fail(error, EMR_EINVAL, "emr_merge_extend: NULL");
    if (m->state != OPEN || m->n_tasks)
        return emr_fail(error, EMR_ESTATE, "a bundle to add to is set once, before any task");
    emr_status status = emr_history_options(&m->options, bundle, &m->allocator, &m->before_globs, error);
    if (!status)
        status = check_options(&m->options, error);
    if (status)
        return status;
    m->before = bundle;
    m->old_models = emr_allocate_array(&m->allocator, bundle->summary.n_tasks, sizeof *m->old_models);
    if (!m->old_models)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    for (size_t t = 0; !status && t < bundle->summary.n_tasks; t++) {
        status = emr_history_task(&m->old_models[t], bundle, t, &m->allocator, error);
        if (!status)
            status = emr_merge_add_task(m, emr_bundle_task_name(bundle, t), m->old_models[t], error);
    }
    return status;
}

emr_status emr_merge_add_task(emr_merge *m, const char *name, const emr_model *model, emr_error *error)
{
    if (!m || !name || !model)
        return emr_fail(error, EMR_EINVAL, "emr_merge_add_task: NULL");
    if (m->state != OPEN)
        return emr_fail(error, EMR_ESTATE, "base and tasks are set before the plan");
    size_t length = strlen(name);
    if (length < 1 || length > 255)
        return emr_fail(error, EMR_EINVAL, "a task's name has 1 to 255 bytes, not %u", (uint64_t)length);
    if (!emr_is_utf8(name, length))
        return emr_fail(error, EMR_EINVAL, "the task name '%s' is not valid UTF-8", name);
    for (size_t t = 0; t < m->n_tasks; t++)
        if (strcmp(m->tasks[t].name, name) == 0)
            return name_is_taken(m, t, error);
    if (m->n_tasks >= UINT32_MAX - 1)
        return emr_fail(error, EMR_ELIMIT, "too many tasks");
    char *copy = emr_copy_string(&m->allocator, name);
    if (!copy ||
        !emr_grow(&m->allocator, (void **)&m->tasks, &m->tasks_capacity, m->n_tasks + 1, sizeof *m->tasks)) {
        emr_release(&m->allocator, copy);
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    }
    m->tasks[m->n_tasks++] = (emr_task){copy, model};
    return EMR_OK;
}

static emr_status make_plan(emr_merge *m, emr_error *error)
{
    if (m->state == FAILED)
        return emr_fail(error, EMR_ESTATE, "the merge failed before");
    if (m->state != OPEN)
        return EMR_OK;
    if (!m->base || !m->n_tasks)
        return emr_fail(error, EMR_ESTATE, "a merge needs a base and at least one task");
    if (m->before && m->n_tasks == m->before->summary.n_tasks)
        return emr_fail(error, EMR_ESTATE, "there is no task to add to %s", m->before->name);
    emr_status status =
        emr_plan_make(&m->plan, &m->allocator, &m->options, m->base, m->tasks, m->n_tasks, m->before, error);
    if (!status)
        m->state = PLANNED;
    return status;
}

static emr_status choose_layout(emr_merge *m, emr_error *error)
{
    uint64_t besides = m->resumable ? emr_resume_memory() : 0;
    return emr_layout_choose(&m->layout, &m->plan, !m->to_sink, besides, error);
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
    emr_plan_summary known = {.n_tensors = m->plan.n_rows,
                              .n_merged = m->plan.n_merged,
                              .merged_params = m->plan.merged_params,
                              .bytes_in = m->plan.bytes_in,
                              .bytes_out = m->plan.bytes_out + emr_layout_table_bytes(&m->layout, &m->plan),
                              .peak_memory = m->layout.memory};
    return emr_give_struct(summary, &known, sizeof known, sizeof(emr_plan_summary));
}

emr_status emr_merge_get_plan_tensor(const emr_merge *m, size_t i, emr_plan_tensor *out)
{
    if (!m || m->state == OPEN)
        return EMR_ESTATE;
    if (i >= m->plan.n_rows)
        return EMR_ENOTFOUND;
    const emr_row *row = &m->plan.rows[i];
    emr_plan_tensor known = {.name = row->sample->name,
                             .reason = row->reason,
                             .shape = row->sample->shape,
                             .count = row->sample->count,
                             .zeroed = row->zeroed,
                             .rank = row->sample->rank,
                             .dtype = (uint32_t)row->sample->dtype,
                             .action = (uint32_t)row->action};
    for (size_t t = 0; row->is_private && t < m->plan.n_tasks; t++)
        known.n_private += row->is_private[t];
    return emr_give_struct(out, &known, sizeof known, sizeof(emr_plan_tensor));
}

static emr_status check_output_state(const emr_merge *m, emr_error *error)
{
    if (m->to_bundle || m->to_sink || m->state >= RUNNING)
        return emr_fail(error, EMR_ESTATE, "a merge has one output, which is set before it runs");
    return EMR_OK;
}

emr_status emr_merge_set_output(emr_merge *m, const emr_io *io, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_output: NULL");
    emr_status status = check_output_state(m, error);
    if (!status)
        status = emr_io_take(&m->output, io, error);
    if (!status && !m->output.write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    m->to_bundle = !status;
    return status;
}

emr_status emr_merge_set_sink(emr_merge *m, const emr_sink *sink, emr_error *error)
{
    if (!m || !sink)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_sink: NULL");
    emr_status status = check_output_state(m, error);
    if (!status)
        status = emr_take_struct(&m->sink, sizeof m->sink, sizeof(emr_sink), sink, "emr_sink", error);
    m->to_sink = !status;
    return status;
}

emr_status emr_merge_set_journal(emr_merge *m, const emr_io *journal, uint64_t interval, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_set_journal: NULL");
    if (!m->to_bundle || m->resumable || m->state >= RUNNING)
        return emr_fail(error, EMR_ESTATE,
                        "a journal is set once, after emr_merge_set_output and before the merge runs");
    emr_status status = emr_io_take(&m->journal, journal, error);
    if (!status && (!m->journal.read || !m->journal.write || !m->journal.length))
        status = emr_fail(error, EMR_EINVAL, "the journal's emr_io needs read, write and length");
    if (!status && (!m->output.read || !m->output.length))
        status = emr_fail(error, EMR_EINVAL, "to go on later, the output's emr_io needs read and length");
    m->journal_interval = interval ? interval : INTERVAL_DEFAULT;
    m->resumable = !status;
    return status;
}

/* What works on the tensors, at the front. */
static emr_status start(emr_merge *m, emr_error *error)
{
    emr_status status = EMR_OK;
    m->layout.writer.hashes = m->resumable;
    if (m->to_bundle)
        status =
            emr_writer_create(&m->writer, &m->output, &m->allocator, &m->workers, &m->layout.writer, error);
    if (!status)
        status = emr_step_create(&m->step, &m->plan, &m->layout, m->kernels, m->writer,
                                 m->to_sink ? &m->sink : NULL, error);
    if (!status)
        status = emr_driver_create(&m->driver, &m->plan, &m->layout, &m->workers, &emr_step_functions_emr,
                                   m->step, error);
    return status;
}

/* Goes to where an earlier run came; to the front where nothing of one is left. */
static emr_status resume(emr_merge *m, emr_error *error)
{
    bool stale = false;
    emr_status status = emr_resume_create(&m->resume, &m->journal, &m->output, m->journal_interval, &m->plan,
                                          &m->layout, error);
    if (!status)
        status = emr_resume_find(m->resume, m->driver, m->step, m->writer, &stale, error);
    if (!status && stale) {
        emr_driver_destroy(&m->driver);
        emr_step_destroy(&m->step);
        emr_writer_destroy(&m->writer);
        status = start(m, error);
    }
    return status ? status : emr_resume_begin(m->resume, m->driver, m->step, m->writer, error);
}

/* Everything that a run needs, then as far as it goes without pushed bytes. */
static emr_status begin(emr_merge *m, emr_error *error)
{
    if (m->state >= RUNNING)
        return emr_fail(error, EMR_ESTATE, "a merge runs once");
    if (!m->to_bundle && !m->to_sink)
        return emr_fail(error, EMR_ESTATE,
                        "a merge needs an output: emr_merge_set_output or emr_merge_set_sink");
    emr_status status = make_plan(m, error);
    if (!status)
        status = choose_layout(m, error);
    if (status)
        return status;
    m->state = RUNNING;
    status = emr_workers_create(&m->workers, &m->allocator, m->options.executor, m->layout.n_workers, error);
    if (!status)
        status = start(m, error);
    if (!status && m->resumable)
        status = resume(m, error);
    return status ? status : emr_driver_pump(m->driver, error);
}

/* After a failure nothing goes on. */
static emr_status settle(emr_merge *m, emr_status status)
{
    if (status)
        m->state = FAILED;
    return status;
}

static emr_status begin_pushing(emr_merge *m, emr_error *error)
{
    if (m->state == RUNNING)
        return EMR_OK;
    if (m->resumable && !m->pulls)
        return emr_fail(error, EMR_ESTATE, "a merge with a journal reads its tensors: emr_merge_run");
    if (m->state == FINISHED) /* which it stays */
        return emr_fail(error, EMR_ESTATE, "the merge is finished");
    return settle(m, begin(m, error));
}

emr_status emr_merge_run(emr_merge *m, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_run: NULL");
    if (m->state == RUNNING)
        return emr_fail(error, EMR_ESTATE, "the merge is running: bytes were pushed");
    m->pulls = true;
    emr_status status = begin_pushing(m, error);
    return status ? status : emr_merge_finish(m, error);
}

static emr_status check_source(const emr_merge *m, uint32_t source, emr_error *error)
{
    if (source != EMR_BASE && source >= m->n_tasks)
        return emr_fail(error, EMR_EINVAL, "there is no task %u to push for", (uint64_t)source);
    return EMR_OK;
}

emr_status emr_merge_push(emr_merge *m, uint32_t source, const void *data, size_t n, size_t *taken,
                          emr_error *error)
{
    if (!m || !taken || (n && !data))
        return emr_fail(error, EMR_EINVAL, "emr_merge_push: NULL");
    *taken = 0;
    emr_status status = check_source(m, source, error);
    if (!status)
        status = begin_pushing(m, error);
    if (status)
        return status;
    size_t s = source == EMR_BASE ? 0 : (size_t)source + 1;
    status = emr_driver_push(m->driver, s, data, n, taken, error);
    uint64_t room;
    if (!status && *taken < n && !emr_driver_expects(m->driver, s, &room))
        status = emr_fail(error, EMR_EINVAL, "%u bytes too many were pushed for %s", (uint64_t)(n - *taken),
                          s ? m->tasks[s - 1].name : "the base");
    return settle(m, status);
}

emr_status emr_merge_get_expected(emr_merge *m, uint32_t source, const char **tensor, uint64_t *bytes,
                             emr_error *error)
{
    if (!m || !tensor || !bytes)
        return emr_fail(error, EMR_EINVAL, "emr_merge_get_expected: NULL");
    emr_status status = check_source(m, source, error);
    if (!status)
        status = begin_pushing(m, error);
    if (status)
        return status;
    const emr_tensor *t =
        emr_driver_expects(m->driver, source == EMR_BASE ? 0 : (size_t)source + 1, bytes);
    *tensor = t ? t->name : NULL;
    return EMR_OK;
}

emr_status emr_merge_finish(emr_merge *m, emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_merge_finish: NULL");
    emr_status status = begin_pushing(m, error);
    if (!status)
        status = settle(m, emr_driver_finish(m->driver, error));
    if (!status)
        m->state = FINISHED;
    return status;
}

emr_status emr_merge_get_task_report(const emr_merge *m, size_t task, emr_task_report *report)
{
    if (!m || m->state != FINISHED)
        return EMR_ESTATE;
    if (task >= m->n_tasks)
        return EMR_ENOTFOUND;
    emr_task_report known;
    emr_step_report(m->step, task, &known);
    return emr_give_struct(report, &known, sizeof known, sizeof(emr_task_report));
}
