/* index.c - see index.h. */
#include "merge/index.h"

#include "bundle/bundle.h"
#include "model/arranged.h"
#include "modulator/kind.h"
#include "numeric/convert.h"

bool emr_index_private(emr_writer *w, uint32_t task, const emr_tensor *tensor, uint64_t offset)
{
    emr_private_record r = {.task = task,
                            .name = emr_writer_string(w, tensor->name),
                            .shape = emr_writer_shape(w, tensor->rank, tensor->shape),
                            .rank = (uint16_t)tensor->rank,
                            .dtype = (uint16_t)tensor->dtype,
                            .offset = offset};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE);
    if (!p || r.name == UINT32_MAX || r.shape == UINT32_MAX)
        return false;
    emr_encode_private(p, &r);
    return true;
}

/* Tensors that the bundle's base has: the merged ones, and others that some task takes from there. */
static bool is_in_bundle(const emr_alignment *a, uint32_t entry)
{
    return entry < a->n_merged || emr_entry_is_used(a, &a->entries[entry]);
}

/* Where the tensors so far end: in the base stream, where those without elements lie, too; among the
 * vectors, and the columns of matrices, of kinds without a unified vector. */
typedef struct tensor_places {
    uint64_t base_end, vectors_end, columns_end;
} tensor_places;

/* Where a merged tensor lies in the streams of such kinds, if a task may be of one. */
static uint64_t place_coded(const emr_merge_plan *plan, const emr_tensor *base, tensor_places *places)
{
    bool vector = emr_is_vector(base->rank, base->shape);
    uint64_t *end = vector ? &places->vectors_end : &places->columns_end, place = *end;
    *end += vector ? base->count : emr_matrix_columns(base->rank, base->shape);
    return emr_merge_has_kinds(plan) ? place : 0;
}

static bool index_tensor(emr_writer *w, const emr_merge_plan *plan, uint32_t number, tensor_places *places)
{
    const emr_entry *entry = &plan->alignment.entries[number];
    const emr_tensor *base = entry->base;
    uint64_t base_offset = base->bytes ? plan->base_offsets[number] : places->base_end;
    bool merged = entry->action == EMR_ACTION_MERGE;
    emr_tensor_record r = {.name = emr_writer_string(w, base->name),
                           .shape = emr_writer_shape(w, base->rank, base->shape),
                           .rank = (uint16_t)base->rank,
                           .dtype = (uint16_t)base->dtype,
                           .merged = merged,
                           .first_param = merged ? entry->first_param : 0,
                           .base_offset = base_offset,
                           .hash_low = plan->hashes.found[number].low,
                           .hash_high = plan->hashes.found[number].high,
                           .first_row = merged ? entry->first_row : 0,
                           .first_place = merged ? place_coded(plan, base, places) : 0};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE);
    if (!p || r.name == UINT32_MAX || r.shape == UINT32_MAX)
        return false;
    places->base_end = base_offset + base->bytes;
    emr_encode_tensor(p, &r);
    return true;
}

/* The dtype in which a task's model has a tensor of the base. */
static emr_dtype task_dtype(const emr_alignment *a, uint32_t task, const emr_entry *entry)
{
    if (!emr_entry_from_base(entry, task))
        return EMR_DTYPE_NONE;
    const emr_tensor *own = emr_model_find_tensor(a->tasks[task].model, entry->base->name);
    return own ? own->dtype : entry->base->dtype;
}

static bool index_metadata(emr_writer *w, const emr_model *model, uint32_t owner)
{
    for (uint32_t i = 0; i < model->n_metadata; i++) {
        emr_metadata_record r = {owner, emr_writer_string(w, model->metadata[i].key),
                                 emr_writer_string(w, model->metadata[i].value)};
        uint8_t *p = emr_writer_record(w, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        if (!p || r.key == UINT32_MAX || r.value == UINT32_MAX)
            return false;
        emr_encode_metadata(p, &r);
    }
    return true;
}

/* Of a bundle that is copied, with more tasks. */
static emr_summary copied_summary(const emr_merge_plan *plan)
{
    emr_summary s = plan->before->summary;
    s.n_tasks = plan->alignment.n_tasks;
    s.n_tensors = 0;
    return s;
}

static emr_summary summarise(const emr_merge_plan *plan)
{
    const emr_merge_options *o = &plan->options;
    const emr_alignment *a = &plan->alignment;
    if (plan->copies)
        return copied_summary(plan);
    return (emr_summary){.rescale = (uint8_t)(emr_min(o->rescale, EMR_RESCALE_L2) - 1),
                         .rescale_per = (uint8_t)(o->rescale_per - 1),
                         .tie = (uint8_t)o->tie,
                         .unified_dtype = (uint8_t)o->unified_dtype,
                         .modulator = EMR_MODULATOR_KIND_MASK,
                         .on_nonfinite = (uint8_t)o->on_nonfinite,
                         .has_base = o->embed_base != 0,
                         .n_tasks = a->n_tasks,
                         .n_merged = a->n_merged,
                         .merged_params = a->merged_params,
                         .flat_params = a->flat_params,
                         .n_rows = a->n_rows};
}

static bool index_dtypes(emr_writer *w, const emr_alignment *a, uint32_t n_tensors)
{
    uint8_t *dtypes = emr_writer_record(w, EMR_SECTION_TASK_DTYPES, (size_t)a->n_tasks * n_tensors);
    for (uint32_t t = 0; dtypes && t < a->n_tasks; t++)
        for (uint32_t i = 0; i < a->n_base; i++)
            if (is_in_bundle(a, i))
                *dtypes++ = (uint8_t)task_dtype(a, t, &a->entries[i]);
    return dtypes != NULL;
}

bool emr_index_rescalers(emr_writer *w, const emr_rescaling *r)
{
    const emr_merge_plan *plan = r->plan;
    uint32_t n_merged = emr_merge_is_per(plan, EMR_RESCALE_PER_TENSOR) ? plan->alignment.n_merged : 0;
    bool there = true;
    for (uint32_t t = 0; there && t < plan->modulations.n_elected; t++) {
        size_t n = emr_merge_n_scales(plan, t), size = n * sizeof(float);
        uint8_t *p = n_merged ? emr_writer_record(w, EMR_SECTION_RESCALERS, n_merged * size) : NULL;
        there = p || !n_merged;
        for (uint32_t i = 0; there && i < n_merged; i++)
            emr_store_f32(EMR_DTYPE_F32, p + i * size, emr_rescaling_of(r, t, i), n);
    }
    return there;
}

bool emr_index_modulator(emr_writer *w, const emr_modulator_record *record)
{
    uint8_t *p = emr_writer_record(w, EMR_SECTION_MODULATORS, EMR_MODULATOR_SIZE);
    if (p)
        emr_encode_modulator(p, record);
    return p != NULL;
}

/* Numbers as the section has them: of tensors of the bundle, then of a task's private ones. */
typedef struct arranged_numbers {
    const emr_alignment *alignment;
    uint32_t *in_bundle; /* of each entry of the base; EMR_NO_REST: it is not there */
    uint32_t *own;       /* of each entry of which the source that is looked at has its own */
    uint32_t n_tensors;
} arranged_numbers;

/* The number of a tensor in what a source has in the bundle, or EMR_NO_REST. */
static uint32_t find_number(const arranged_numbers *n, uint32_t source, const emr_tensor *t)
{
    const emr_alignment *a = n->alignment;
    const emr_entry *entry = t ? emr_alignment_find(a, t->name) : NULL;
    if (!entry)
        return EMR_NO_REST;
    if (source == 0 || emr_entry_from_base(entry, source - 1))
        return entry->base ? n->in_bundle[entry - a->entries] : EMR_NO_REST;
    return emr_entry_part(entry, source - 1) == EMR_PART_OWN ? n->own[entry - a->entries] : EMR_NO_REST;
}

/* The entry of a task's own tensor; NULL: it is merged, or the base's. */
static const emr_entry *find_own_entry(const emr_alignment *a, uint32_t task, const emr_tensor *t)
{
    const emr_entry *entry = emr_alignment_find(a, t->name);
    return entry && entry->action != EMR_ACTION_MERGE && emr_entry_part(entry, task) == EMR_PART_OWN ? entry
                                                                                                     : NULL;
}

/* In the order in which they are carried (pass/carry.c). */
static void number_own(const arranged_numbers *n, uint32_t task)
{
    const emr_alignment *a = n->alignment;
    const emr_model *model = a->tasks[task].model;
    uint32_t number = n->n_tensors;
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        const emr_entry *entry = find_own_entry(a, task, model->tensors[i]);
        if (entry)
            n->own[entry - a->entries] = number++;
    }
}

/* A tensor that its owner has otherwise, and how it calls it; nothing for one that it has just so. */
static bool index_arranged(emr_writer *w, const arranged_numbers *n, uint32_t source, uint32_t number,
                           const emr_tensor *t, const char *name)
{
    if (!t || !t->own || t->own->is_rest || number == EMR_NO_REST)
        return true;
    emr_arrangement_record r = {.owner = source ? source - 1 : EMR_BASE,
                                .tensor = number,
                                .name = emr_writer_string(w, name ? name : t->own->name),
                                .shape = emr_writer_shape(w, t->rank, t->own->shape),
                                .rest = find_number(n, source, t->own->rest)};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_ARRANGEMENT, EMR_ARRANGEMENT_SIZE);
    if (!p || r.name == UINT32_MAX || r.shape == UINT32_MAX)
        return false;
    emr_encode_arrangement(p, &r);
    return true;
}

/* A tensor of the base in a task. One that the task lacks is as the base has it, under the name of the
 * others. */
static bool index_from_base(emr_writer *w, const arranged_numbers *n, uint32_t task, uint32_t number,
                            const emr_tensor *base)
{
    const emr_tensor *own = emr_model_find_tensor(n->alignment->tasks[task].model, base->name);
    if (own)
        return index_arranged(w, n, task + 1, number, own, NULL);
    return !emr_arranged_is_reshaped(base) || index_arranged(w, n, task + 1, number, base, base->name);
}

/* All of a source's, in the order of their numbers. */
static bool index_source(emr_writer *w, const arranged_numbers *n, uint32_t source)
{
    const emr_alignment *a = n->alignment;
    bool there = true;
    if (source)
        number_own(n, source - 1);
    for (uint32_t i = 0; there && i < a->n_base; i++) {
        const emr_entry *entry = &a->entries[i];
        if (source == 0)
            there = index_arranged(w, n, 0, n->in_bundle[i], entry->base, NULL);
        else if (emr_entry_from_base(entry, source - 1))
            there = index_from_base(w, n, source - 1, n->in_bundle[i], entry->base);
    }
    const emr_model *model = source ? a->tasks[source - 1].model : NULL;
    for (uint32_t i = 0; there && model && i < model->n_tensors; i++) {
        const emr_entry *entry = find_own_entry(a, source - 1, model->tensors[i]);
        if (entry)
            there = index_arranged(w, n, source, n->own[entry - a->entries], model->tensors[i], NULL);
    }
    return there;
}

/* The tasks first, then the base, whose number is the largest. */
static bool index_arrangement(emr_writer *w, const emr_merge_plan *plan)
{
    const emr_alignment *a = &plan->alignment;
    arranged_numbers n = {.alignment = a};
    if (!emr_merge_is_arranged(plan))
        return true;
    n.in_bundle = emr_allocate_array(&a->allocator, a->n_base, sizeof *n.in_bundle);
    for (uint32_t i = 0; n.in_bundle && i < a->n_base; i++)
        n.in_bundle[i] = is_in_bundle(a, i) ? n.n_tensors++ : EMR_NO_REST;
    n.own = emr_allocate_array(&a->allocator, a->n_entries, sizeof *n.own);
    bool there = n.in_bundle && n.own;
    for (uint32_t source = 1; there && source < a->n_sources; source++)
        there = index_source(w, &n, source);
    there = there && index_source(w, &n, 0);
    emr_release(&a->allocator, n.in_bundle);
    emr_release(&a->allocator, n.own);
    return there;
}

bool emr_index_plan(emr_writer *w, const emr_merge_plan *plan)
{
    const emr_alignment *a = &plan->alignment;
    emr_summary summary = summarise(plan);
    tensor_places places = {0};
    bool there = true;
    for (uint32_t i = 0; there && i < a->n_base; i++) {
        if (!is_in_bundle(a, i))
            continue;
        summary.n_tensors++;
        there = index_tensor(w, plan, i, &places);
    }
    there = there && index_dtypes(w, a, summary.n_tensors);
    uint8_t *p = there ? emr_writer_record(w, EMR_SECTION_SUMMARY, EMR_SUMMARY_SIZE) : NULL;
    if (p)
        emr_encode_summary(p, &summary);
    return p && (plan->copies || index_metadata(w, a->base, EMR_BASE)) && index_arrangement(w, plan);
}

/* The patterns of one list, each after the letter of its list, if there are letters. */
static bool index_globs(emr_writer *w, uint8_t *p, const char *const *globs, uint32_t n, char letter)
{
    bool there = true;
    for (uint32_t i = 0; there && i < n; i++) {
        uint32_t at = letter ? emr_writer_marked_string(w, letter, globs[i]) : emr_writer_string(w, globs[i]);
        there = at != UINT32_MAX;
        emr_store32(p + 4 * (size_t)i, at);
    }
    return there;
}

bool emr_index_growth(emr_writer *w, const emr_merge_plan *plan, const double *numerators, size_t n)
{
    const emr_policy *policy = &plan->policy;
    emr_growth_record r = {.on_mismatch = (uint8_t)policy->on_mismatch,
                           .on_missing = (uint8_t)policy->on_missing,
                           .compression = plan->options.compression,
                           .block_params = plan->options.block_params,
                           .n_globs = emr_merge_n_globs(plan)};
    size_t first = (size_t)emr_growth_numerators(r.n_globs);
    uint8_t *p = emr_writer_record(w, EMR_SECTION_GROWTH, first + 8 * n);
    if (!p)
        return false;
    emr_encode_growth(p, &r);
    for (size_t i = 0; i < n; i++)
        emr_store64(p + first + 8 * i, emr_f64_bits(numerators[i]));
    bool letters = r.n_globs > policy->n_private_globs;
    uint8_t *merged = (p += EMR_GROWTH_SIZE) + 4 * (size_t)policy->n_private_globs,
            *absent = merged + 4 * (size_t)policy->n_merge_globs,
            *base = absent + 4 * (size_t)policy->n_absent_globs;
    return index_globs(w, p, policy->private_globs, policy->n_private_globs,
                       letters ? EMR_GLOB_PRIVATE : '\0') &&
           index_globs(w, merged, policy->merge_globs, policy->n_merge_globs, EMR_GLOB_MERGE) &&
           index_globs(w, absent, policy->absent_globs, policy->n_absent_globs, EMR_GLOB_ABSENT) &&
           index_globs(w, base, policy->base_globs, policy->n_base_globs, EMR_GLOB_BASE);
}

bool emr_index_task(emr_writer *w, const emr_task *task, uint32_t number, const emr_task_report *report)
{
    emr_task_record r = {emr_writer_string(w, task->name), report->rescaler, report->mask_ones,
                         report->zeroed, (uint32_t)report->empty_mask};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_TASKS, EMR_TASK_SIZE);
    if (!p || r.name == UINT32_MAX)
        return false;
    emr_encode_task(p, &r);
    return index_metadata(w, task->model, number);
}
