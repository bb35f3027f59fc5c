/* plan.c - see plan.h. The policy table is that of docs/algorithm.md, "Which tensors are merged". */
#include "merge/plan.h"

#include "emr/checkpoint.h"
#include "bundle/bundle.h"
#include "core/text.h"
#include "merge/glob.h"
#include "numeric/convert.h"

#include <string.h>

static const char *row_name(const void *owner, size_t i)
{
    return ((const emr_plan *)owner)->rows[i].sample->name;
}

emr_row *emr_plan_find(const emr_plan *plan, const char *name)
{
    size_t i = emr_names_find(&plan->names, row_name, plan, name);
    return i == EMR_NAMES_NONE ? NULL : &plan->rows[i];
}

bool emr_row_from_base(const emr_row *row, size_t task)
{
    return row->base && (row->action == EMR_ACTION_MERGE || !row->is_private[task]);
}

static emr_status no_memory(emr_error *error)
{
    return emr_fail(error, EMR_ENOMEM, "out of memory for the plan");
}

static const char *matching_glob(const emr_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->options->n_private_globs; i++)
        if (emr_glob_match(plan->options->private_globs[i], name))
            return plan->options->private_globs[i];
    return NULL;
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

static emr_status missing(const emr_plan *plan, const emr_tensor *base, size_t task, emr_error *error)
{
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%s' (%s): tensor '%s' of the base is absent (to use the base's there, on-missing base)",
        plan->tasks[task].name, plan->tasks[task].model->name, base->name);
}

static emr_status mismatch(const emr_plan *plan, const emr_tensor *base, const emr_tensor *t, size_t task,
                           emr_error *error)
{
    char a[64], b[64];
    if (!emr_same_shape(base, t))
        return emr_fail(
            error, EMR_EMISMATCH,
            "task '%s' (%s): tensor '%s' has shape %s, the base (%s) has %s (to keep it out of the merge: "
            "on-mismatch private)",
            plan->tasks[task].name, plan->tasks[task].model->name, base->name, shape_text(t, b),
            plan->base->name, shape_text(base, a));
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%s' (%s): tensor '%s' has dtype %s, which cannot be merged with the base's %s (to keep it "
        "out of the merge: on-mismatch private)",
        plan->tasks[task].name, plan->tasks[task].model->name, base->name, emr_dtype_name(t->dtype),
        emr_dtype_name(base->dtype));
}

static emr_status too_late(const emr_plan *plan, const emr_tensor *base, size_t task, emr_error *error)
{
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%s' (%s): tensor '%s' has another shape or kind of dtype than the base's: that makes it "
        "private to every task, which takes a merge from all checkpoints",
        plan->tasks[task].name, plan->tasks[task].model->name, base->name);
}

/* Whether a task has its own copy of a tensor that is not merged; for those to be kept this is known later,
 * unless the task is an old one. */
static bool has_own(const emr_plan *plan, const emr_row *row, size_t task)
{
    size_t i;
    if (!emr_model_find(plan->tasks[task].model, row->sample->name))
        return false;
    if (task >= plan->n_old)
        return row->action == EMR_ACTION_PRIVATE;
    return emr_bundle_find_tensor(plan->before, row->sample->name, &i) ||
           emr_bundle_task_dtype(plan->before, task, i) == EMR_DTYPE_NONE;
}

/* The metadata of a GGUF file, which are as long as they are: where lengths differ, so do bytes, and no more
 * is meant by it. */
static bool is_gguf_header(const emr_tensor *t)
{
    return t->dtype == EMR_DTYPE_U8 && t->rank == 1 && emr_same_text(t->name, EMR_GGUF_HEADER);
}

/* Decides about one tensor of the base. */
static emr_status classify(const emr_plan *plan, emr_row *row, emr_error *error)
{
    const emr_tensor *base = row->base;
    bool is_float = emr_dtype_is_float(base->dtype), fits = true;
    const char *glob = matching_glob(plan, base->name);
    row->action = glob ? EMR_ACTION_PRIVATE : is_float ? EMR_ACTION_MERGE : EMR_ACTION_KEEP;
    row->reason = glob       ? "matches a private pattern"
                  : is_float ? "float in the base and every task"
                             : "not a float: kept from the base where equal";
    for (size_t t = 0; t < plan->n_tasks; t++) {
        const emr_tensor *own = emr_model_find(plan->tasks[t].model, base->name);
        if (!own) {
            if (plan->options->on_missing == EMR_ON_MISSING_ERROR && t >= plan->n_old)
                return missing(plan, base, t, error);
            continue;
        }
        if (glob || (is_gguf_header(base) && is_gguf_header(own)))
            continue;
        if (!emr_same_shape(base, own) || is_float != emr_dtype_is_float(own->dtype)) {
            if (plan->options->on_mismatch == EMR_ON_MISMATCH_ERROR)
                return mismatch(plan, base, own, t, error);
            if (fits && plan->n_old && t >= plan->n_old)
                return too_late(plan, base, t, error);
            fits = false;
        }
    }
    if (!fits) {
        row->action = EMR_ACTION_PRIVATE;
        row->reason = "shape or dtype differs between base and tasks";
    }
    return EMR_OK;
}

/* Appends a row; rows that are not merged get their flags, set where the task has the tensor and the action
 * is private. */
static emr_status append(emr_plan *plan, emr_row row, emr_error *error)
{
    if (row.action != EMR_ACTION_MERGE) {
        row.is_private = emr_allocate_array(&plan->allocator, plan->n_tasks, 1);
        if (!row.is_private)
            return no_memory(error);
        for (size_t t = 0; t < plan->n_tasks; t++)
            row.is_private[t] = has_own(plan, &row, t);
    }
    emr_status status = EMR_ENOMEM;
    if (emr_grow(&plan->allocator, (void **)&plan->rows, &plan->capacity, plan->n_rows + 1,
                 sizeof *plan->rows)) {
        plan->rows[plan->n_rows] = row;
        status = emr_names_add(&plan->names, &plan->allocator, row_name, plan, plan->n_rows);
    }
    if (status) {
        emr_release(&plan->allocator, row.is_private);
        return no_memory(error);
    }
    plan->n_rows++;
    return EMR_OK;
}

static emr_status place_in_flat_space(emr_plan *plan, emr_row *row, emr_error *error)
{
    uint64_t rows = emr_shape_rows(row->base->rank, row->base->shape);
    row->first_param = plan->flat_params;
    row->first_row = plan->row_count;
    plan->n_merged++;
    plan->merged_params += row->base->count;
    plan->flat_params += emr_round_up(row->base->count, EMR_TENSOR_ALIGNMENT);
    if (plan->flat_params > UINT64_MAX / 128 || !emr_add(plan->row_count, rows, &plan->row_count) ||
        plan->row_count > UINT64_MAX / 128)
        return emr_fail(error, EMR_ELIMIT, "%s: too many parameters", plan->base->name);
    if (row->base->count)
        plan->shortest_row = emr_min(plan->shortest_row, emr_row_length(row->base));
    return EMR_OK;
}

/* Two passes over the base, so that merged rows come first. */
static emr_status plan_base(emr_plan *plan, bool merged, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < plan->base->n_tensors; i++) {
        const emr_tensor *base = plan->base->tensors[i];
        emr_row row = {.base = base, .sample = base};
        status = classify(plan, &row, error);
        if (status || (row.action == EMR_ACTION_MERGE) != merged)
            continue;
        if (merged)
            status = place_in_flat_space(plan, &row, error);
        if (!status)
            status = append(plan, row, error);
    }
    return status;
}

static emr_status plan_others(emr_plan *plan, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t t = 0; t < plan->n_tasks; t++) {
        const emr_model *model = plan->tasks[t].model;
        for (size_t i = 0; !status && i < model->n_tensors; i++)
            if (!emr_plan_find(plan, model->tensors[i]->name))
                status = append(plan,
                                (emr_row){.sample = model->tensors[i],
                                          .action = EMR_ACTION_PRIVATE,
                                          .reason = "absent from the base"},
                                error);
    }
    return status;
}

/* At most this much of the index is due to a tensor: its record, name and shape, once for the base and once
 * for each task that keeps its own; and its rescalers per tensor. */
static uint64_t index_bytes_of(const emr_plan *plan, const emr_row *row)
{
    uint64_t entry =
        EMR_TENSOR_SIZE + emr_text_length(row->sample->name) + 1 + 8 * (uint64_t)row->sample->rank;
    uint64_t rescaler = plan->options->rescale_per == EMR_RESCALE_PER_TENSOR ? sizeof(float) : 0;
    return entry + plan->n_tasks * (1 + (row->action == EMR_ACTION_MERGE ? rescaler : entry));
}

static uint64_t metadata_bytes(const emr_model *model)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->n_metadata; i++)
        bytes += EMR_METADATA_SIZE + emr_text_length(model->metadata[i].key) + 1 +
                 emr_text_length(model->metadata[i].value) + 1;
    return bytes;
}

static void count_element(emr_element_sizes *sizes, const emr_tensor *t)
{
    uint8_t size = (uint8_t)emr_float_size(t->dtype);
    if (t->kind == EMR_TENSOR_PUSHED && size > sizes->pushed)
        sizes->pushed = size;
    if ((t->kind == EMR_TENSOR_IO || t->kind == EMR_TENSOR_COMPUTED) && size > sizes->read)
        sizes->read = size;
}

/* Upper bounds of what a run writes beside unified values and masks; the block table is the layout's to add.
 */
static void count_row(emr_plan *plan, const emr_row *row)
{
    bool used = false, merged = row->action == EMR_ACTION_MERGE;
    uint64_t base_bytes = row->base ? row->base->bytes : 0;
    if (merged)
        count_element(&plan->sizes[0], row->base);
    for (size_t t = 0; t < plan->n_tasks; t++) {
        const emr_tensor *own = emr_model_find(plan->tasks[t].model, row->sample->name);
        uint64_t bytes = own ? own->bytes : 0;
        used = used || emr_row_from_base(row, t);
        if (t >= plan->n_old ? own != NULL : !merged && row->is_private[t])
            plan->bytes_in += bytes;
        if (merged && own && t >= plan->n_old)
            count_element(&plan->sizes[t + 1], own);
        /* whether a task lacks a tensor is forgotten when it takes the base's: not to matter, now or later */
        if (!merged && (own || row->base))
            plan->loose_bytes += (bytes > base_bytes ? bytes : base_bytes) + EMR_TENSOR_ALIGNMENT;
    }
    plan->bytes_in += used ? row->base->bytes : 0;
    plan->loose_bytes += used && plan->options->embed_base ? row->base->bytes + EMR_TENSOR_ALIGNMENT : 0;
    plan->index_bytes += index_bytes_of(plan, row);
}

size_t emr_value_size(const emr_plan *plan)
{
    return (plan->options->unified_dtype == EMR_DTYPE_F32 ? 4 : 2) +
           (plan->options->extendable ? 3 * sizeof(float) : 0);
}

size_t emr_plane_count(const emr_plan *plan)
{
    return plan->n_tasks * (plan->options->extendable ? 3 : 1);
}

/* What being extendable adds to the index. */
static uint64_t growth_bytes(const emr_plan *plan)
{
    uint64_t bytes = EMR_GROWTH_SIZE + 8 + (3 + 3 * plan->n_tasks) * EMR_STREAM_SIZE;
    for (size_t i = 0; i < plan->options->n_private_globs; i++)
        bytes += 4 + emr_text_length(plan->options->private_globs[i]) + 1;
    if (plan->options->rescale_per != EMR_RESCALE_PER_ROW)
        bytes += plan->n_tasks * sizeof(double) *
                 (plan->options->rescale_per == EMR_RESCALE_PER_TENSOR ? plan->n_merged : 1);
    return bytes;
}

static void count_bytes(emr_plan *plan)
{
    uint64_t value_bytes = emr_value_size(plan), plane_bits = emr_plane_count(plan);
    plan->index_bytes = EMR_HEADER_SIZE + EMR_TRAILER_SIZE + EMR_N_SECTIONS * (EMR_SECTION_HEAD + 8) +
                        EMR_SUMMARY_SIZE + 2 * EMR_STREAM_SIZE + metadata_bytes(plan->base);
    for (size_t t = 0; t < plan->n_tasks; t++)
        plan->index_bytes += EMR_TASK_SIZE + emr_text_length(plan->tasks[t].name) + 1 + 3 * EMR_STREAM_SIZE +
                             metadata_bytes(plan->tasks[t].model);
    if (plan->options->extendable)
        plan->index_bytes += growth_bytes(plan);
    if (plan->options->rescale_per == EMR_RESCALE_PER_ROW)
        plan->loose_bytes = plan->row_count * plan->n_tasks *
                            (sizeof(float) + (plan->options->extendable ? sizeof(double) : 0));
    for (size_t i = 0; i < plan->n_rows; i++)
        count_row(plan, &plan->rows[i]);
    plan->bytes_out = plan->flat_params * value_bytes + plan->flat_params / 8 * plane_bits +
                      plan->loose_bytes + plan->index_bytes;
}

/* The base must be the bundle's: as far as names, types and shapes go this is known now, and the hashes will
 * be. Rows of merged tensors are the bundle's, one by one. */
static emr_status expect_base(emr_plan *plan, emr_error *error)
{
    const emr_bundle *b = plan->before;
    for (size_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record t = emr_bundle_tensor_record(b, i);
        const char *name = emr_bundle_string(b, t.name);
        emr_row *row = i < plan->n_merged ? &plan->rows[i] : emr_plan_find(plan, name);
        bool same = row && row->base && strcmp(row->base->name, name) == 0 && row->base->dtype == t.dtype &&
                    (row->action == EMR_ACTION_MERGE) == t.merged && row->base->rank == t.rank &&
                    (!t.rank || memcmp(row->base->shape, emr_bundle_shape(b, t.shape), t.rank * 8u) == 0);
        if (!same)
            return emr_fail(
                error, EMR_EMISMATCH,
                "%s is not the base of %s: tensor '%s' is absent, of another dtype or shape, or in another "
                "place",
                plan->base->name, b->name, name);
        row->expected[0] = t.hash_low;
        row->expected[1] = t.hash_high;
        row->is_expected = true;
    }
    if (plan->n_merged != b->summary.n_merged)
        return emr_fail(error, EMR_EMISMATCH, "%s is not the base of %s: tensor '%s' is not in it",
                        plan->base->name, b->name, plan->rows[b->summary.n_merged].base->name);
    return EMR_OK;
}

emr_status emr_plan_make(emr_plan *plan, const emr_allocator *allocator, const emr_merge_options *options,
                         const emr_model *base, const emr_task *tasks, size_t n_tasks,
                         const emr_bundle *before, emr_error *error)
{
    *plan = (emr_plan){
        .allocator = *allocator, .options = options, .base = base, .tasks = tasks, .n_tasks = n_tasks};
    plan->before = before;
    plan->n_old = before ? before->summary.n_tasks : 0;
    plan->shortest_row = UINT64_MAX;
    emr_status status = plan_base(plan, true, error);
    if (!status)
        status = plan_base(plan, false, error);
    plan->n_base = plan->n_rows;
    if (!status && before)
        status = expect_base(plan, error);
    if (!status)
        status = plan_others(plan, error);
    plan->sizes = emr_allocate_array(allocator, n_tasks + 1, sizeof *plan->sizes);
    if (!status && !plan->sizes)
        status = emr_fail(error, EMR_ENOMEM, "out of memory");
    if (status)
        emr_plan_free(plan);
    else
        count_bytes(plan);
    return status;
}

void emr_plan_free(emr_plan *plan)
{
    for (size_t i = 0; i < plan->n_rows; i++)
        emr_release(&plan->allocator, plan->rows[i].is_private);
    emr_release(&plan->allocator, plan->rows);
    emr_release(&plan->allocator, plan->sizes);
    emr_names_free(&plan->names, &plan->allocator);
    *plan = (emr_plan){0};
}

uint64_t emr_row_length(const emr_tensor *tensor)
{
    return tensor->count / emr_shape_rows(tensor->rank, tensor->shape);
}

const emr_tensor *emr_source_tensor(const emr_plan *plan, size_t row, size_t source)
{
    const emr_row *r = &plan->rows[row];
    if (source > 0 && source <= plan->n_old && row < plan->n_merged)
        return NULL;
    return source == 0 ? r->base : emr_model_find(plan->tasks[source - 1].model, r->sample->name);
}

emr_status emr_plan_name_source(const emr_plan *plan, size_t source, emr_status status, emr_error *error)
{
    if (status && source > 0 && error) {
        emr_error task;
        emr_fail(&task, status, "task '%s'", plan->tasks[source - 1].name);
        emr_error_prefix(error, task.text);
    }
    return status;
}
