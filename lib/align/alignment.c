/* alignment.c - see alignment.h. The table of decisions is that of docs/algorithm.md, "Which tensors are
 * merged". */
#include "align/alignment.h"

#include "emr/checkpoint.h"
#include "align/explain.h"
#include "align/roles.h"
#include "core/text.h"
#include "model/arranged.h"
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
    return entry->base && emr_entry_part(entry, task) == EMR_PART_BASE;
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

/* The metadata of a GGUF file are as long as they are: where lengths differ, so do bytes, and no more is
 * meant by it. */
static bool fits_together(const emr_tensor *base, const emr_tensor *own)
{
    if (emr_is_gguf_header(base) && emr_is_gguf_header(own))
        return true;
    return emr_tensor_same_shape(base, own) &&
           emr_dtype_is_float(base->dtype) == emr_dtype_is_float(own->dtype);
}

/* What is done with a tensor of the base if all fit together, and why. */
static void choose_action(const emr_policy *policy, emr_entry *entry)
{
    const emr_tensor *base = entry->base;
    if (emr_policy_is_private(policy, base->name)) {
        entry->action = EMR_ACTION_PRIVATE;
        entry->reason = "matches a private pattern";
    } else if (base->own && base->own->is_rest) {
        entry->action = EMR_ACTION_KEEP;
        entry->reason = "rows that not all have: kept from the base where equal";
    } else if (emr_dtype_is_float(base->dtype)) {
        entry->action = EMR_ACTION_MERGE;
        entry->reason = "float in the base and every task";
    } else {
        entry->action = EMR_ACTION_KEEP;
        entry->reason = "not a float: kept from the base where equal";
    }
}

/* What is private may be missing, and so may rows that not all have, and what is no weight. */
static bool is_free(const emr_entry *entry)
{
    return entry->action == EMR_ACTION_PRIVATE || entry->any_shape ||
           (entry->base->own && entry->base->own->is_rest);
}

/* One task's tensor beside the base's. */
static emr_status compare_with_base(const emr_alignment *a, const emr_policy *policy, emr_entry *entry,
                                    uint32_t t, emr_error *error)
{
    const emr_task *task = &a->tasks[t];
    const emr_tensor *base = entry->base, *own = emr_model_find_tensor(task->model, base->name);
    if (!own && !task->settled && !is_free(entry) &&
        emr_policy_missing(policy, base->name) == EMR_ON_MISSING_ERROR)
        return emr_explain_missing(a, base, task, error);
    bool is_cut = base->own && base->own->is_rest;
    if (!own && !task->settled && !is_cut && emr_policy_missing(policy, base->name) == EMR_ON_MISSING_BASE &&
        task->model->renamed)
        return emr_explain_nameless(base, task, error);
    if (!own && entry->action == EMR_ACTION_MERGE)
        entry->reason = "float in the base; some tasks lack it";
    if (!own || entry->action == EMR_ACTION_PRIVATE || entry->any_shape || fits_together(base, own))
        return EMR_OK;
    if (!is_cut &&
        (policy->on_mismatch == EMR_ON_MISMATCH_ERROR || policy->on_mismatch == EMR_ON_MISMATCH_PAD))
        return emr_explain_mismatch(a, base, own, task, error);
    if (entry->misfit == EMR_BASE)
        entry->misfit = t;
    return EMR_OK;
}

/* Whether any task has the tensor, its own or the base's. */
static bool is_wanted(const emr_alignment *a, const emr_policy *policy, const emr_tensor *base)
{
    for (uint32_t t = 0; t < a->n_tasks; t++)
        if (emr_model_find_tensor(a->tasks[t].model, base->name) ||
            (!a->tasks[t].settled && emr_policy_missing(policy, base->name) != EMR_ON_MISSING_ABSENT))
            return true;
    return false;
}

/* As it was settled before; what is pushed cannot be compared. */
static void take_choice(const emr_alignment *a, emr_entry *entry)
{
    entry->action = a->choice.choose(a->choice.chooser, entry->base);
    entry->any_shape = entry->action != EMR_ACTION_MERGE;
    entry->reason = entry->any_shape ? "not merged in the bundle" : "merged in the bundle";
    for (uint32_t t = 0; entry->action == EMR_ACTION_KEEP && t < a->n_tasks; t++) {
        const emr_tensor *own = emr_model_find_tensor(a->tasks[t].model, entry->base->name);
        if (own && !a->tasks[t].settled && own->kind == EMR_TENSOR_PUSHED)
            entry->action = EMR_ACTION_PRIVATE;
    }
}

/* Decides about one tensor of the base. */
static emr_status classify_tensor(const emr_alignment *a, const emr_policy *policy, emr_entry *entry,
                                  emr_error *error)
{
    bool chosen = a->choice.choose != NULL;
    emr_status status = EMR_OK;
    if (chosen)
        take_choice(a, entry);
    else
        choose_action(policy, entry);
    if (!chosen)
        status = emr_apply_roles(a, policy, entry, error);
    for (uint32_t t = 0; !status && t < a->n_tasks; t++)
        status = compare_with_base(a, policy, entry, t, error);
    if (entry->misfit != EMR_BASE) {
        entry->action = EMR_ACTION_PRIVATE;
        entry->reason = entry->base->own && entry->base->own->is_rest
                            ? "rows that not all have"
                            : "shape or dtype differs between base and tasks";
    } else if (!status && !chosen && entry->action == EMR_ACTION_MERGE &&
               !is_wanted(a, policy, entry->base)) {
        entry->action = EMR_ACTION_KEEP;
        entry->reason = "in no task";
    }
    return status;
}

/* The policy for a tensor that a task lacks: rows go with the tensor that they were cut off. */
static bool comes_from_base(const emr_alignment *a, const emr_policy *policy, const emr_tensor *base,
                            const emr_task *task)
{
    if (!base->own || !base->own->is_rest)
        return emr_policy_missing(policy, base->name) == EMR_ON_MISSING_BASE;
    for (uint32_t i = 0; i < a->base->n_tensors; i++) {
        const emr_tensor *first = a->base->tensors[i];
        if (first->own && first->own->rest == base)
            return !emr_model_find_tensor(task->model, first->name) &&
                   emr_policy_missing(policy, first->name) == EMR_ON_MISSING_BASE;
    }
    return false;
}

/* Where a task has a tensor from. Of what is kept where it is equal this is known later, unless the task is
 * settled: then its model tells. */
static emr_part find_part(const emr_alignment *a, const emr_policy *policy, const emr_entry *entry,
                          const emr_task *task)
{
    const emr_tensor *own = emr_model_find_tensor(task->model, entry->sample->name);
    if (own && task->settled)
        return own->kind == EMR_TENSOR_PUSHED ? EMR_PART_BASE : EMR_PART_OWN;
    if (own)
        return entry->action == EMR_ACTION_PRIVATE ? EMR_PART_OWN : EMR_PART_BASE;
    return entry->base && !task->settled && comes_from_base(a, policy, entry->base, task) ? EMR_PART_BASE
                                                                                          : EMR_PART_ABSENT;
}

/* False: no memory. */
static bool find_parts(const emr_alignment *a, const emr_policy *policy, emr_entry *entry)
{
    bool needed = entry->action != EMR_ACTION_MERGE;
    for (uint32_t t = 0; !needed && t < a->n_tasks; t++)
        needed = find_part(a, policy, entry, &a->tasks[t]) != EMR_PART_BASE;
    if (!needed)
        return true;
    entry->parts = emr_allocate_array(&a->allocator, a->n_tasks, 1);
    for (uint32_t t = 0; entry->parts && t < a->n_tasks; t++)
        entry->parts[t] = (uint8_t)find_part(a, policy, entry, &a->tasks[t]);
    return entry->parts != NULL;
}

static emr_status append_entry(emr_alignment *a, const emr_policy *policy, emr_entry entry, emr_error *error)
{
    if (!find_parts(a, policy, &entry))
        return emr_no_memory(error, NULL);
    emr_status status = EMR_ENOMEM;
    if (emr_grow(&a->allocator, (void **)&a->entries, &a->capacity, a->n_entries + 1, sizeof *a->entries)) {
        a->entries[a->n_entries] = entry;
        status = emr_names_add(&a->names, &a->allocator, entry_name, a, a->n_entries);
    }
    if (status) {
        emr_release(&a->allocator, entry.parts);
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

/* All tensors of the base but a folder's own files, which no task could lack: *n of them. */
static emr_status classify_base(const emr_alignment *a, const emr_policy *policy, emr_entry *classified,
                                uint32_t *n, emr_error *error)
{
    emr_status status = EMR_OK;
    *n = 0;
    for (uint32_t i = 0; !status && i < a->base->n_tensors; i++) {
        const emr_tensor *base = a->base->tensors[i];
        if (emr_is_side_file(base))
            continue;
        classified[*n] = (emr_entry){.base = base, .sample = base, .misfit = EMR_BASE};
        status = classify_tensor(a, policy, &classified[(*n)++], error);
    }
    return status;
}

static emr_status append_classified(emr_alignment *a, const emr_policy *policy, emr_entry *classified,
                                    uint32_t n, bool merged, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < n; i++) {
        if ((classified[i].action == EMR_ACTION_MERGE) != merged)
            continue;
        if (merged)
            status = place_in_flat_space(a, &classified[i], error);
        if (!status)
            status = append_entry(a, policy, classified[i], error);
    }
    return status;
}

/* The base's entries, merged ones first. */
static emr_status align_base(emr_alignment *a, const emr_policy *policy, emr_error *error)
{
    uint32_t n;
    emr_entry *classified = emr_allocate_array(&a->allocator, a->base->n_tensors, sizeof *classified);
    if (!classified)
        return emr_no_memory(error, NULL);
    emr_status status = classify_base(a, policy, classified, &n, error);
    if (!status)
        status = append_classified(a, policy, classified, n, true, error);
    if (!status)
        status = append_classified(a, policy, classified, n, false, error);
    emr_release(&a->allocator, classified);
    return status;
}

/* What the base does not have. */
static emr_entry private_entry(const emr_tensor *t)
{
    return (emr_entry){.sample = t,
                       .misfit = EMR_BASE,
                       .action = EMR_ACTION_PRIVATE,
                       .reason = t->own && t->own->is_rest ? "rows that not all have"
                                 : emr_is_side_file(t)     ? "a file of the task's folder"
                                                           : "absent from the base"};
}

static emr_status align_others(emr_alignment *a, const emr_policy *policy, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; t < a->n_tasks; t++) {
        const emr_model *model = a->tasks[t].model;
        for (uint32_t i = 0; !status && i < model->n_tensors; i++)
            if (!emr_alignment_find(a, model->tensors[i]->name))
                status = append_entry(a, policy, private_entry(model->tensors[i]), error);
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
        if (t && s > 0 &&
            (merged || !a->tasks[s - 1].settled ||
             (!a->tasks[s - 1].copied && emr_entry_part(entry, s - 1) == EMR_PART_OWN)))
            bytes += t->bytes;
    }
    *(merged ? &a->merged_bytes : &a->loose_bytes) += bytes;
}

static bool has_merged(const emr_alignment *a, const emr_model *model)
{
    for (uint32_t i = 0; i < a->n_merged; i++)
        if (emr_model_find_tensor(model, a->entries[i].base->name))
            return true;
    return false;
}

/* A task that has nothing of what is merged, or nothing of the base at all, was not fine-tuned from this
 * base, whatever may be missing. */
static emr_status check_acquaintance(const emr_alignment *a, emr_error *error)
{
    for (uint32_t t = 0; a->n_base && t < a->n_tasks; t++) {
        const emr_task *task = &a->tasks[t];
        bool known = a->n_merged ? has_merged(a, task->model) : emr_has_common_name(a->base, task->model);
        if (!known && !task->settled)
            return emr_explain_strangers(a, task, error);
    }
    return EMR_OK;
}

emr_status emr_align(emr_alignment *a, const emr_allocator *allocator, const emr_policy *policy,
                     const emr_model *base, const emr_task *tasks, uint32_t n_tasks, emr_error *error)
{
    *a = (emr_alignment){.choice = a->choice,
                         .allocator = *allocator,
                         .base = base,
                         .tasks = tasks,
                         .n_tasks = n_tasks,
                         .n_sources = n_tasks + 1,
                         .shortest_row = UINT64_MAX};
    emr_status status = emr_arrange(&a->arranged, allocator, policy, base, tasks, n_tasks, error);
    if (a->arranged.tasks)
        a->tasks = a->arranged.tasks;
    if (a->arranged.models && a->arranged.models[0])
        a->base = a->arranged.models[0];
    if (!status)
        status = align_base(a, policy, error);
    a->n_base = a->n_entries;
    if (!status)
        status = check_acquaintance(a, error);
    if (!status)
        status = align_others(a, policy, error);
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
        emr_release(&a->allocator, a->entries[i].parts);
    emr_release(&a->allocator, a->entries);
    emr_release(&a->allocator, a->sizes);
    emr_names_free(&a->names, &a->allocator);
    emr_arranged_sources_free(&a->arranged, &a->allocator);
    *a = (emr_alignment){0};
}
