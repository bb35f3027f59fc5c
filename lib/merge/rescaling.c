/* rescaling.c - see rescaling.h. */
#include "merge/rescaling.h"

#include <float.h>
#include <string.h>

enum { ROWS_MAX = EMR_CHUNK /* that end in one item at most */ };

size_t emr_rescaling_count(const emr_merge_plan *plan)
{
    const emr_alignment *a = &plan->alignment;
    uint32_t n_tasks = plan->modulations.n_elected;
    return emr_merge_is_per(plan, EMR_RESCALE_PER_ROW)      ? 0
           : emr_merge_is_per(plan, EMR_RESCALE_PER_TENSOR) ? (size_t)n_tasks * a->n_merged
                                                            : n_tasks;
}

uint64_t emr_rescaling_memory(const emr_merge_plan *plan, const emr_layout *l)
{
    uint64_t a_number = sizeof(float) + (plan->options.extendable ? sizeof(double) : 0);
    uint64_t n_tasks = plan->modulations.n_elected, max_rows = plan->store.max_rows;
    return n_tasks * (sizeof(emr_task_sums) + max_rows * sizeof(emr_sums)) +
           emr_rescaling_count(plan) * a_number +
           (max_rows ? ROWS_MAX * a_number + l->max_items * sizeof(size_t) : 0);
}

emr_status emr_rescaling_create(emr_rescaling *r, const emr_merge_plan *plan, const emr_election *election,
                                emr_error *error)
{
    const emr_allocator *a = &plan->env.allocator;
    size_t n = emr_rescaling_count(plan), max_rows = plan->store.max_rows;
    bool grows = plan->options.extendable != 0, there;
    *r = (emr_rescaling){.plan = plan, .election = election};
    r->tasks = emr_allocate_array(a, plan->modulations.n_elected, sizeof *r->tasks);
    r->rescalers = emr_allocate_array(a, n, sizeof *r->rescalers);
    there = r->tasks && r->rescalers;
    if (there && grows)
        there = (r->numerators = emr_allocate_array(a, n, sizeof *r->numerators)) != NULL;
    if (there && max_rows) {
        r->row_sums = emr_allocate_array(a, plan->modulations.n_elected, max_rows * sizeof *r->row_sums);
        r->first_rows = emr_allocate_array(a, plan->layout.max_items, sizeof *r->first_rows);
        r->row_rescalers = emr_allocate_array(a, ROWS_MAX, sizeof *r->row_rescalers);
        there = r->row_sums && r->first_rows && r->row_rescalers;
    }
    if (there && max_rows && grows)
        there = (r->row_numerators = emr_allocate_array(a, ROWS_MAX, sizeof *r->row_numerators)) != NULL;
    return there ? EMR_OK : emr_no_memory(error, NULL);
}

void emr_rescaling_destroy(emr_rescaling *r)
{
    if (!r->plan)
        return;
    const emr_allocator *a = &r->plan->env.allocator;
    emr_release(a, r->tasks);
    emr_release(a, r->rescalers);
    emr_release(a, r->numerators);
    emr_release(a, r->row_sums);
    emr_release(a, r->first_rows);
    emr_release(a, r->row_rescalers);
    emr_release(a, r->row_numerators);
}

/* Equation 5, as an f32; 0 where nothing was elected. */
static float rescaler_of(emr_sums sums)
{
    double ratio = sums.bottom > 0 ? sums.top / sums.bottom : 0;
    return ratio > FLT_MAX ? FLT_MAX : (float)ratio;
}

static void add_sums(emr_sums *to, emr_sums more)
{
    to->top += more.top;
    to->bottom += more.bottom;
}

static size_t rows_of(const emr_item *item, uint64_t length)
{
    return (size_t)((item->first + item->n - 1) / length - item->first / length + 1);
}

void emr_rescaling_begin(emr_rescaling *r, const emr_item *items, size_t n_items)
{
    size_t rows = 0;
    for (size_t i = 0; r->first_rows && i < n_items; i++) {
        r->first_rows[i] = rows;
        rows += rows_of(&items[i], emr_row_length(items[i].entry->base));
    }
}

static emr_sums *item_row_sums(const emr_rescaling *r, size_t index, uint32_t task)
{
    return r->row_sums + task * r->plan->store.max_rows + r->first_rows[index];
}

void emr_rescaling_sum_rows(emr_rescaling *r, const emr_item *item, size_t index)
{
    uint64_t length = emr_row_length(item->entry->base);
    for (uint32_t t = 0; t < r->plan->modulations.n_elected; t++) {
        emr_sums *sums = item_row_sums(r, index, t);
        for (size_t from = 0, to; from < item->n; from = to) {
            to = from + (size_t)emr_min(length - (item->first + from) % length, item->n - from);
            *sums++ = emr_elected_sums(r->election, index, t, from, to);
        }
    }
}

void emr_rescaling_add(emr_rescaling *r, size_t index)
{
    const emr_chunk *c = &r->election->items[index].chunk;
    for (uint32_t t = 0; t < r->plan->modulations.n_elected; t++)
        add_sums(&r->tasks[t].tensor, c->results[t].sums);
}

/* One task's rows of an item: the sums of each one's part become those of the rows that end in it, in front.
 * The last one may continue in the next item. */
static size_t end_row_sums(emr_task_sums *task, const emr_item *item, emr_sums *sums)
{
    uint64_t length = emr_row_length(item->entry->base);
    size_t n = rows_of(item, length), ended = 0;
    bool last_ends = (item->first + item->n) % length == 0;
    for (size_t i = 0; i < n; i++) {
        add_sums(&task->row, sums[i]);
        if (i + 1 < n || last_ends) {
            sums[ended++] = task->row;
            task->row = (emr_sums){0, 0};
        }
    }
    return ended;
}

/* Whether one that is elected was in the bundle that is added to. */
static bool is_settled_task(const emr_rescaling *r, uint32_t task)
{
    return r->plan->alignment.tasks[r->plan->modulations.elected[task]].settled;
}

/* A settled task's numerators are those it had. */
emr_status emr_rescaling_end_rows(emr_rescaling *r, const emr_item *item, size_t index, uint32_t task,
                                  uint64_t *first, size_t *n, emr_error *error)
{
    emr_sums *sums = item_row_sums(r, index, task);
    bool settled = is_settled_task(r, task);
    *first = item->first / emr_row_length(item->entry->base);
    *n = end_row_sums(&r->tasks[task], item, sums);
    emr_status status = settled && *n ? emr_history_row_numerators(r->election->history, task,
                                                                   item->entry->first_row + *first, *n,
                                                                   r->row_numerators, error)
                                      : EMR_OK;
    for (size_t i = 0; !status && i < *n; i++) {
        if (settled)
            sums[i].top = r->row_numerators[i];
        r->row_rescalers[i] = rescaler_of(sums[i]);
        if (r->row_numerators)
            r->row_numerators[i] = sums[i].top;
    }
    return status;
}

/* Its rescaler, and where tasks can be added what it is the quotient of. */
static void set_rescaler(emr_rescaling *r, size_t i, uint32_t task, uint32_t tensor, emr_sums sums)
{
    if (is_settled_task(r, task))
        sums.top = emr_history_numerator(r->election->history, task, tensor);
    r->rescalers[i] = rescaler_of(sums);
    if (r->numerators)
        r->numerators[i] = sums.top;
}

void emr_rescaling_end_tensor(emr_rescaling *r, const emr_item *item)
{
    const emr_alignment *a = &r->plan->alignment;
    double count = (double)item->entry->base->count;
    for (uint32_t t = 0; t < r->plan->modulations.n_elected; t++) {
        emr_task_sums *task = &r->tasks[t];
        add_sums(&task->model, task->tensor);
        task->means.top += task->tensor.top / count;
        task->means.bottom += task->tensor.bottom / count;
        if (emr_merge_is_per(r->plan, EMR_RESCALE_PER_TENSOR))
            set_rescaler(r, (size_t)t * a->n_merged + item->number, t, item->number, task->tensor);
        task->tensor = (emr_sums){0, 0};
    }
}

void emr_rescaling_end_model(emr_rescaling *r)
{
    bool of_means = r->plan->options.rescale == EMR_RESCALE_L1_MEANS;
    for (uint32_t t = 0;
         emr_merge_is_per(r->plan, EMR_RESCALE_PER_MODEL) && t < r->plan->modulations.n_elected; t++)
        set_rescaler(r, t, t, 0, of_means ? r->tasks[t].means : r->tasks[t].model);
}

/* How many rescalers of each task a save brings. The next item may be behind the end of `entry`, which is complete
 * then: it is among them. */
static size_t count_new(const emr_rescaling *r, uint32_t entry)
{
    size_t end = (size_t)emr_min((uint64_t)entry + 1, r->plan->alignment.n_merged);
    return emr_merge_is_per(r->plan, EMR_RESCALE_PER_TENSOR) ? end - r->saved_entry : 0;
}

void emr_rescaling_save(const emr_rescaling *r, uint32_t entry, emr_put_fn put, void *context)
{
    const emr_alignment *a = &r->plan->alignment;
    for (uint32_t t = 0; t < r->plan->modulations.n_elected; t++) {
        size_t first = (size_t)t * a->n_merged + r->saved_entry, n = count_new(r, entry);
        put(context, &r->tasks[t], sizeof r->tasks[t]);
        if (n)
            put(context, r->rescalers + first, n * sizeof *r->rescalers);
        if (n && r->numerators)
            put(context, r->numerators + first, n * sizeof *r->numerators);
    }
}

void emr_rescaling_saved(emr_rescaling *r, uint32_t entry)
{
    r->saved_entry = entry;
}

emr_status emr_rescaling_restore(emr_rescaling *r, uint32_t entry, emr_get_fn get, void *context,
                                 emr_error *error)
{
    const emr_alignment *a = &r->plan->alignment;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < r->plan->modulations.n_elected; t++) {
        size_t first = (size_t)t * a->n_merged + r->saved_entry, n = count_new(r, entry);
        status = get(context, &r->tasks[t], sizeof r->tasks[t], error);
        if (!status && n)
            status = get(context, r->rescalers + first, n * sizeof *r->rescalers, error);
        if (!status && n && r->numerators)
            status = get(context, r->numerators + first, n * sizeof *r->numerators, error);
    }
    r->saved_entry = entry;
    return status;
}
