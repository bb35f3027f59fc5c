/* election.c - see election.h. */
#include "merge/election.h"

#include "bundle/bundle.h"
#include "numeric/convert.h"

#include <string.h>

static uint64_t ring_params_of(const emr_merge_plan *plan)
{
    return (uint64_t)plan->store.n_buffers * plan->store.buffer_params;
}

/* Whether what is elected are not just the item's tasks: some are not, or two-sided ones may have the base's tensor. */
static bool is_partial(const emr_merge_plan *plan)
{
    return plan->modulations.n_elected < plan->alignment.n_tasks || emr_merge_most_scales(plan) > 1;
}

uint64_t emr_election_memory(const emr_merge_plan *plan, const emr_layout *l)
{
    uint64_t n_tasks = plan->modulations.n_elected, ring = ring_params_of(plan);
    uint64_t per_item = sizeof(emr_elected) + n_tasks * (sizeof(emr_chunk_task) + sizeof(uint8_t *));
    if (is_partial(plan))
        per_item += n_tasks * (sizeof(void *) + sizeof(emr_dtype));
    return l->max_items * per_item + ring * emr_store_value_bytes(plan) +
           ring / 8 * emr_store_plane_bits(plan) + emr_history_memory(plan, l);
}

static bool allocate_election(emr_election *e)
{
    const emr_allocator *a = &e->plan->env.allocator;
    size_t n_tasks = e->n_tasks, n_items = e->plan->layout.max_items;
    e->items = emr_allocate_array(a, n_items, sizeof *e->items);
    e->results = emr_allocate_array(a, n_items, n_tasks * sizeof *e->results);
    e->mask_pointers = emr_allocate_array(a, n_items, n_tasks * sizeof *e->mask_pointers);
    bool there = e->items && e->results && e->mask_pointers;
    if (there && is_partial(e->plan)) {
        e->sources = emr_allocate_array(a, n_items, n_tasks * sizeof *e->sources);
        e->dtypes = emr_allocate_array(a, n_items, n_tasks * sizeof *e->dtypes);
        there = e->sources && e->dtypes;
    }
    for (size_t i = 0; there && i < e->n_values; i++)
        there = (e->values[i] = emr_allocate_array(a, e->ring_params, e->value_sizes[i])) != NULL;
    for (size_t i = 0; there && i < e->n_planes; i++)
        there = (e->planes[i] = emr_allocate_array(a, n_tasks, e->plane_bytes)) != NULL;
    return there;
}

emr_status emr_election_create(emr_election *e, const emr_merge_plan *plan, const emr_kernels *kernels,
                               emr_error *error)
{
    bool grows = plan->options.extendable != 0, elects = plan->modulations.n_elected > 0;
    *e = (emr_election){.plan = plan,
                        .kernels = kernels,
                        .n_tasks = plan->modulations.n_elected,
                        .n_values = grows ? EMR_N_VALUES : elects,
                        .n_planes = grows ? EMR_N_PLANES : elects,
                        .ring_params = ring_params_of(plan)};
    e->plane_bytes = (size_t)(e->ring_params / 8);
    for (size_t i = 0; i < e->n_values; i++)
        e->value_sizes[i] = emr_value_size(i, plan->options.unified_dtype);
    if (!allocate_election(e))
        return emr_no_memory(error, NULL);
    return plan->before && !plan->copies ? emr_history_create(&e->history, plan, error) : EMR_OK;
}

void emr_election_destroy(emr_election *e)
{
    if (!e->plan)
        return;
    const emr_allocator *a = &e->plan->env.allocator;
    for (size_t i = 0; i < EMR_N_VALUES; i++)
        emr_release(a, e->values[i]);
    for (size_t i = 0; i < EMR_N_PLANES; i++)
        emr_release(a, e->planes[i]);
    emr_history_destroy(&e->history);
    emr_release(a, e->items);
    emr_release(a, e->results);
    emr_release(a, e->mask_pointers);
    emr_release(a, e->sources);
    emr_release(a, e->dtypes);
}

/* Looks at what the kernel stumbled over, while its bytes are there. */
static void examine_bad(const emr_election *e, const emr_item *item, emr_elected *elected)
{
    const emr_chunk *c = &elected->chunk;
    if (c->bad < item->n && c->bad_task < c->n_tasks)
        elected->found = emr_nonfinite_examine(item, e->plan->modulations.elected[c->bad_task], c->bad);
}

/* Elects so that tasks can be added. */
static void elect_growing(emr_election *e, const emr_item *item, emr_elected *elected, size_t at)
{
    elected->growth = (emr_growth){.chunk = &elected->chunk,
                                   .n_old = e->plan->n_old,
                                   .kernels = e->kernels,
                                   .after = {.sums = e->values[1] + at * e->value_sizes[1],
                                             .opposites = e->values[2] + at * e->value_sizes[2],
                                             .extremes = e->values[3] + at * e->value_sizes[3],
                                             .masks = e->planes[0] + at / 8,
                                             .nonzeros = e->planes[1] + at / 8,
                                             .undecided = e->planes[2] + at / 8,
                                             .plane_bytes = e->plane_bytes}};
    if (e->history)
        elected->growth.before = emr_history_state(e->history, item->flat);
    emr_growth_merge(&elected->growth);
}

/* Zeros behind an item, up to the next group: padding of the tensor. */
static void clear_padding(emr_election *e, const emr_item *item, size_t at, uint8_t *const *masks)
{
    size_t padded = (size_t)emr_round_up(item->n, EMR_GROUP);
    for (uint32_t t = 0; t < e->n_tasks; t++)
        memset(masks[t] + (item->n + 7) / 8, 0, padded / 8 - (item->n + 7) / 8);
    for (size_t i = 0; i < e->n_values; i++)
        memset(e->values[i] + (at + item->n) * e->value_sizes[i], 0, (padded - item->n) * e->value_sizes[i]);
}

/* Whether a two-sided task lacks a tensor and so has the base's: where the mask is 0, something is made of that, too,
 * so it has sums. */
static bool is_bases_own(const emr_election *e, const emr_item *item, uint32_t task)
{
    uint32_t number = e->plan->modulations.elected[task];
    return !item->tasks[number] && emr_entry_part(item->entry, number) == EMR_PART_BASE &&
           emr_merge_n_scales(e->plan, task) > 1;
}

/* The elected tasks' bytes of an item. */
static void choose_sources(emr_election *e, const emr_item *item, size_t index, emr_chunk *chunk)
{
    chunk->tasks = (const void *const *)item->tasks;
    chunk->task_dtypes = item->task_dtypes;
    if (!e->sources)
        return;
    const void **sources = e->sources + index * e->n_tasks;
    emr_dtype *dtypes = e->dtypes + index * e->n_tasks;
    for (uint32_t t = 0; t < e->n_tasks; t++) {
        sources[t] = item->tasks[e->plan->modulations.elected[t]];
        dtypes[t] = item->task_dtypes[e->plan->modulations.elected[t]];
        if (is_bases_own(e, item, t)) {
            sources[t] = item->base;
            dtypes[t] = item->entry->base->dtype;
        }
    }
    chunk->tasks = sources;
    chunk->task_dtypes = dtypes;
}

/* What the rule of rescalers, and measuring, need. */
static emr_summation summation_of(const emr_merge_options *o)
{
    bool l1 = o->rescale == EMR_RESCALE_L1 || o->rescale == EMR_RESCALE_L1_MEANS;
    return o->rescale == EMR_RESCALE_L2 ? EMR_SUM_L2 : l1 && !o->measure ? EMR_SUM_L1 : EMR_SUM_ALL;
}

void emr_elect(emr_election *e, const emr_item *item, size_t index)
{
    const emr_merge_options *o = &e->plan->options;
    emr_elected *elected = &e->items[index];
    uint32_t n_tasks = e->n_tasks;
    size_t at = (size_t)(item->flat % e->ring_params);
    uint8_t **masks = e->mask_pointers + index * n_tasks;
    if (!n_tasks) {
        elected->chunk = (emr_chunk){.n = item->n, .bad = item->n};
        return;
    }
    for (uint32_t t = 0; t < n_tasks; t++)
        masks[t] = e->planes[0] + t * e->plane_bytes + at / 8;
    clear_padding(e, item, at, masks);
    elected->chunk = (emr_chunk){
        .n = item->n,
        .n_tasks = n_tasks,
        .base = item->base,
        .base_dtype = item->entry->base->dtype,
        .unified_dtype = o->unified_dtype,
        .tie_negative = o->tie == EMR_TIE_NEGATIVE,
        .zero_nonfinite = o->on_nonfinite == EMR_ON_NONFINITE_ZERO,
        .nearest = e->plan->modulations.mask_rule == EMR_MASK_RULE_NEAREST,
        .skip_sums = emr_merge_is_per(e->plan, EMR_RESCALE_PER_ROW) || emr_merge_most_scales(e->plan) > 1,
        .summation = summation_of(o),
        .unified = e->values[0] + at * e->value_sizes[0],
        .masks = masks,
        .results = e->results + index * n_tasks,
    };
    choose_sources(e, item, index, &elected->chunk);
    if (e->n_values > 1)
        elect_growing(e, item, elected, at);
    else
        e->kernels->merge(&elected->chunk);
    examine_bad(e, item, elected);
}

emr_sums emr_elected_sums(const emr_election *e, size_t index, emr_range range)
{
    const emr_elected *elected = &e->items[index];
    return e->n_values > 1 ? emr_growth_sum_range(&elected->growth, range)
                           : e->kernels->sum_range(&elected->chunk, range);
}

emr_status emr_election_check(const emr_election *e, const emr_item *item, size_t index, emr_error *error)
{
    const emr_elected *elected = &e->items[index];
    const emr_chunk *c = &elected->chunk;
    const emr_tensor *base = item->entry->base;
    uint64_t at = item->first + c->bad;
    if (c->bad == c->n)
        return EMR_OK;
    if (c->bad_task == c->n_tasks && e->history && c->unified_dtype == EMR_DTYPE_F32)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: tensor '%T': what was kept for adding tasks is not finite at index %u",
                        e->plan->before->name, base->name, at);
    if (c->bad_task == c->n_tasks)
        return emr_fail(
            error, EMR_ENONFINITE,
            "tensor '%T': the unified value at index %u overflows %s (a wider --unified-dtype holds it)",
            base->name, at, emr_dtype_name(c->unified_dtype));
    return emr_nonfinite_fail(&elected->found, item,
                              &e->plan->alignment.tasks[e->plan->modulations.elected[c->bad_task]], c->bad,
                              error);
}
