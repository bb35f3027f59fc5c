/* alignment.c - see alignment.h. The table of decisions is that of docs/algorithm.md, "Which tensors are
 * merged". */
#include "align/alignment.h"

#include "emr/checkpoint.h"
#include "core/text.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <string.h>

static const char *entry_name(const void *owner, size_t i)
{
    return ((const emr_alignment *)owner)->entries[i].sample->name;
}

emr_entry *emr_alignment_find(const emr_alignment *a, const char *name)
{
    size_t i = emr_names_find(&a->names, entry_name, a, name);
    return i == EMR_NAMES_NONE ? NULL : &a->entries[i];
}

bool emr_entry_from_base(const emr_entry *entry, uint32_t task)
{
    return entry->base && (entry->action == EMR_ACTION_MERGE || !entry->is_private[task]);
}

bool emr_entry_is_used(const emr_alignment *a, const emr_entry *entry)
{
    for (uint32_t t = 0; t < a->n_tasks; t++)
        if (emr_entry_from_base(entry, t))
            return true;
    return false;
}

const emr_tensor *emr_alignment_tensor(const emr_alignment *a, const emr_entry *entry, uint32_t source)
{
    if (source == 0)
        return entry->base;
    const emr_task *task = &a->tasks[source - 1];
    if (task->settled && entry->action == EMR_ACTION_MERGE)
        return NULL;
    return emr_model_find_tensor(task->model, entry->sample->name);
}

emr_status emr_name_source(const emr_alignment *a, uint32_t source, emr_status status, emr_error *error)
{
    if (status && source > 0 && error && !error->task.length)
        emr_error_prefix(error, "task '%K'", a->tasks[source - 1].name);
    return status;
}

/* "[2, 3]" into a small buffer, cut with "..." where it does not fit. */
static const char *shape_text(const emr_tensor *t, char text[64])
{
    size_t n = 0;
    text[n++] = '[';
    for (uint32_t i = 0; i < t->rank; i++) {
        char digits[20];
        size_t k = 0;
        for (uint64_t v = t->shape[i]; k == 0 || v; v /= 10)
            digits[k++] = (char)('0' + v % 10);
        if (n + k + 8 > 64) {
            for (int dots = 0; dots < 3; dots++)
                text[n++] = '.';
            break;
        }
        if (i) {
            text[n++] = ',';
            text[n++] = ' ';
        }
        while (k)
            text[n++] = digits[--k];
    }
    text[n++] = ']';
    text[n] = '\0';
    return text;
}

static emr_status fail_missing(const emr_tensor *base, const emr_task *task, emr_error *error)
{
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' of the base is absent (to use the base's there, on-missing base)",
        task->name, task->model->name, base->name);
}

static emr_status fail_mismatch(const emr_alignment *a, const emr_tensor *base, const emr_tensor *own,
                                const emr_task *task, emr_error *error)
{
    char theirs[64], ours[64];
    if (!emr_tensor_same_shape(base, own))
        return emr_fail(
            error, EMR_EMISMATCH,
            "task '%K' (%F): tensor '%T' has shape %s, the base (%s) has %s (to keep it out of the merge: "
            "on-mismatch private)",
            task->name, task->model->name, base->name, shape_text(own, ours), a->base->name,
            shape_text(base, theirs));
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' has dtype %s, which cannot be merged with the base's %s (to keep it "
        "out of the merge: on-mismatch private)",
        task->name, task->model->name, base->name, emr_dtype_name(own->dtype), emr_dtype_name(base->dtype));
}

/* The metadata of a GGUF file, which are as long as they are: where lengths differ, so do bytes, and no more
 * is meant by it. */
static bool is_gguf_header(const emr_tensor *t)
{
    return t->dtype == EMR_DTYPE_U8 && t->rank == 1 && emr_same_text(t->name, EMR_GGUF_HEADER);
}

static bool fits_together(const emr_tensor *base, const emr_tensor *own)
{
    if (is_gguf_header(base) && is_gguf_header(own))
        return true;
    return emr_tensor_same_shape(base, own) &&
           emr_dtype_is_float(base->dtype) == emr_dtype_is_float(own->dtype);
}

/* Decides about one tensor of the base. */
static emr_status classify_tensor(const emr_alignment *a, const emr_policy *policy, emr_entry *entry,
                                  emr_error *error)
{
    const emr_tensor *base = entry->base;
    bool is_float = emr_dtype_is_float(base->dtype), is_private = emr_policy_is_private(policy, base->name);
    entry->action = is_private ? EMR_ACTION_PRIVATE : is_float ? EMR_ACTION_MERGE : EMR_ACTION_KEEP;
    entry->reason = is_private ? "matches a private pattern"
                    : is_float ? "float in the base and every task"
                               : "not a float: kept from the base where equal";
    for (uint32_t t = 0; t < a->n_tasks; t++) {
        const emr_task *task = &a->tasks[t];
        const emr_tensor *own = emr_model_find_tensor(task->model, base->name);
        if (!own && policy->on_missing == EMR_ON_MISSING_ERROR && !task->settled)
            return fail_missing(base, task, error);
        if (!own || is_private || fits_together(base, own))
            continue;
        if (policy->on_mismatch == EMR_ON_MISMATCH_ERROR)
            return fail_mismatch(a, base, own, task, error);
        if (entry->misfit == EMR_BASE)
            entry->misfit = t;
    }
    if (entry->misfit != EMR_BASE) {
        entry->action = EMR_ACTION_PRIVATE;
        entry->reason = "shape or dtype differs between base and tasks";
    }
    return EMR_OK;
}

/* Whether a task has its own copy of a tensor that is not merged. Of what is kept where it is equal this is
 * known later, unless the task is settled. */
static bool has_own_copy(const emr_entry *entry, const emr_task *task)
{
    const emr_tensor *own = emr_model_find_tensor(task->model, entry->sample->name);
    if (!own)
        return false;
    return task->settled ? own->kind != EMR_TENSOR_PUSHED : entry->action == EMR_ACTION_PRIVATE;
}

static emr_status append_entry(emr_alignment *a, emr_entry entry, emr_error *error)
{
    if (entry.action != EMR_ACTION_MERGE) {
        entry.is_private = emr_allocate_array(&a->allocator, a->n_tasks, 1);
        if (!entry.is_private)
            return emr_no_memory(error, NULL);
        for (uint32_t t = 0; t < a->n_tasks; t++)
            entry.is_private[t] = has_own_copy(&entry, &a->tasks[t]);
    }
    emr_status status = EMR_ENOMEM;
    if (emr_grow(&a->allocator, (void **)&a->entries, &a->capacity, a->n_entries + 1, sizeof *a->entries)) {
        a->entries[a->n_entries] = entry;
        status = emr_names_add(&a->names, &a->allocator, entry_name, a, a->n_entries);
    }
    if (status) {
        emr_release(&a->allocator, entry.is_private);
        return status == EMR_ELIMIT ? emr_fail(error, status, "%F: too many tensors", a->base->name)
                                    : emr_no_memory(error, NULL);
    }
    a->n_entries++;
    return EMR_OK;
}

static emr_status place_in_flat_space(emr_alignment *a, emr_entry *entry, emr_error *error)
{
    uint64_t rows = emr_shape_rows(entry->base->rank, entry->base->shape);
    entry->first_param = a->flat_params;
    entry->first_row = a->n_rows;
    a->n_merged++;
    a->merged_params += entry->base->count;
    a->flat_params += emr_round_up(entry->base->count, EMR_GROUP);
    if (a->flat_params > UINT64_MAX / 128 || !emr_add(a->n_rows, rows, &a->n_rows) ||
        a->n_rows > UINT64_MAX / 128)
        return emr_fail(error, EMR_ELIMIT, "%F: too many parameters", a->base->name);
    if (entry->base->count)
        a->shortest_row = emr_min(a->shortest_row, emr_row_length(entry->base));
    return EMR_OK;
}

/* Two passes over the base, so that merged entries come first. */
static emr_status align_base(emr_alignment *a, const emr_policy *policy, bool merged, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < a->base->n_tensors; i++) {
        const emr_tensor *base = a->base->tensors[i];
        emr_entry entry = {.base = base, .sample = base, .misfit = EMR_BASE};
        if (emr_is_side_file(base)) /* a folder's own: nothing that a task could lack */
            continue;
        status = classify_tensor(a, policy, &entry, error);
        if (status || (entry.action == EMR_ACTION_MERGE) != merged)
            continue;
        if (merged)
            status = place_in_flat_space(a, &entry, error);
        if (!status)
            status = append_entry(a, entry, error);
    }
    return status;
}

static emr_status align_others(emr_alignment *a, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; t < a->n_tasks; t++) {
        const emr_model *model = a->tasks[t].model;
        for (uint32_t i = 0; !status && i < model->n_tensors; i++)
            if (!emr_alignment_find(a, model->tensors[i]->name))
                status = append_entry(a,
                                      (emr_entry){.sample = model->tensors[i],
                                                  .misfit = EMR_BASE,
                                                  .action = EMR_ACTION_PRIVATE,
                                                  .reason = emr_is_side_file(model->tensors[i])
                                                                ? "a file of the task's folder"
                                                                : "absent from the base"},
                                      error);
    }
    return status;
}

static void count_element(emr_element_sizes *sizes, const emr_tensor *t)
{
    uint8_t size = (uint8_t)emr_float_size(t->dtype);
    if (t->kind == EMR_TENSOR_PUSHED && size > sizes->pushed)
        sizes->pushed = size;
    if ((t->kind == EMR_TENSOR_IO || t->kind == EMR_TENSOR_COMPUTED) && size > sizes->read)
        sizes->read = size;
}

/* Largest elements, and the bytes that a pass reads. */
static void measure_entry(emr_alignment *a, const emr_entry *entry)
{
    bool merged = entry->action == EMR_ACTION_MERGE;
    uint64_t bytes = emr_entry_is_used(a, entry) ? entry->base->bytes : 0;
    for (uint32_t s = 0; s < a->n_sources; s++) {
        const emr_tensor *t = emr_alignment_tensor(a, entry, s);
        if (merged && t)
            count_element(&a->sizes[s], t);
        if (t && s > 0 && (merged || !a->tasks[s - 1].settled || entry->is_private[s - 1]))
            bytes += t->bytes;
    }
    *(merged ? &a->merged_bytes : &a->loose_bytes) += bytes;
}

emr_status emr_align(emr_alignment *a, const emr_allocator *allocator, const emr_policy *policy,
                     const emr_model *base, const emr_task *tasks, uint32_t n_tasks, emr_error *error)
{
    *a = (emr_alignment){.allocator = *allocator,
                         .base = base,
                         .tasks = tasks,
                         .n_tasks = n_tasks,
                         .n_sources = n_tasks + 1,
                         .shortest_row = UINT64_MAX};
    emr_status status = align_base(a, policy, true, error);
    if (!status)
        status = align_base(a, policy, false, error);
    a->n_base = a->n_entries;
    if (!status)
        status = align_others(a, error);
    a->sizes = emr_allocate_array(allocator, a->n_sources, sizeof *a->sizes);
    if (!status && !a->sizes)
        status = emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < a->n_entries; i++)
        measure_entry(a, &a->entries[i]);
    if (status)
        emr_alignment_free(a);
    return status;
}

void emr_alignment_free(emr_alignment *a)
{
    for (uint32_t i = 0; i < a->n_entries; i++)
        emr_release(&a->allocator, a->entries[i].is_private);
    emr_release(&a->allocator, a->entries);
    emr_release(&a->allocator, a->sizes);
    emr_names_free(&a->names, &a->allocator);
    *a = (emr_alignment){0};
}
