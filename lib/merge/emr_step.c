/* emr_step.c - see emr_step.h. Elect, mask and sums are the kernels' work; here their results are put in
 * order: sums become rescalers, values and masks become blocks. Equation numbers are those of
 * docs/algorithm.md. */
#include "merge/emr_step.h"

#include "bundle/bundle.h"
#include "merge/history.h"
#include "merge/index.h"
#include "numeric/convert.h"

#include <float.h>
#include <string.h>

enum {
    ROWS_MAX = EMR_CHUNK, /* rows that end in one item at most */
    INDEX_COPIES = 3,     /* of the index at most, while it grows by doubling and is put together */
    STREAM_BYTES = 1024,  /* what the writer holds for a stream besides */
    N_VALUES = 4,         /* unified values; and where tasks can be added sums, opposites, extremes */
    N_PLANES = 3,         /* masks; and likewise non-zeros and undecided signs */
};

static const enum emr_stream_kind value_kinds[N_VALUES] = {EMR_STREAM_UNIFIED, EMR_STREAM_SUMS,
                                                           EMR_STREAM_OPPOSITES, EMR_STREAM_EXTREMES};
static const enum emr_stream_kind plane_kinds[N_PLANES] = {EMR_STREAM_MASK, EMR_STREAM_NONZEROS,
                                                           EMR_STREAM_UNDECIDED};

/* What one task has come to. */
typedef struct task_state {
    emr_sums model, tensor, row;
    emr_sums means; /* sums over tensors of the mean over a tensor */
    uint64_t ones, zeroed, nonzero;
    emr_sums *row_sums; /* of each row's part in each item; layout->max_rows, per row only */
    size_t plane_streams[N_PLANES], row_stream, numerator_stream;
    double numerator; /* of the model's rescaler */
    float rescaler;
} task_state;

/* What an item came to, beside its sums. */
typedef struct item_state {
    emr_chunk chunk;
    emr_growth growth; /* where tasks can be added */
    size_t first_row;  /* of its rows in row_sums */
    bool bad_base,
        bad_task; /* at chunk.bad: which of the two is not finite; neither if their difference is not */
} item_state;

struct emr_step {
    emr_allocator allocator;
    emr_plan *plan;
    const emr_layout *layout;
    const emr_kernels *kernels;
    emr_writer *writer;
    const emr_sink *sink;
    item_state *items;       /* of the window */
    emr_chunk_task *results; /* n_tasks an item */
    uint8_t **mask_pointers; /* n_tasks an item */
    uint64_t
        ring_params;   /* of the buffers, which follow one another; flat position p is at p % ring_params */
    uint64_t position; /* flat end of what was folded */
    uint64_t written;  /* flat end of the blocks that were put */
    bool grows;        /* what adding a task needs is computed */
    emr_history *history;      /* of old tasks; NULL without */
    uint8_t *values[N_VALUES]; /* buffers of each kind; the last three where the merge grows */
    size_t value_sizes[N_VALUES];
    size_t value_streams[N_VALUES];
    uint8_t *planes[N_PLANES]; /* likewise: of the tasks, plane_bytes for each */
    size_t plane_bytes;
    double *numerators; /* of one item and task: ROWS_MAX, per row only, where the merge grows */
    float *row_rescalers;
    task_state *tasks;
    float *rescalers;          /* per tensor: n_merged for each task */
    double *tensor_numerators; /* likewise, where the merge grows */
    size_t base_stream, private_stream;
    size_t private_task; /* whose stream private_stream is; SIZE_MAX at first */
    size_t saved_row;    /* of rows before it the rescalers were saved */
};

uint64_t emr_step_memory(const emr_plan *plan, const emr_layout *l)
{
    uint64_t per_item = sizeof(item_state) + plan->n_tasks * (sizeof(emr_chunk_task) + sizeof(uint8_t *));
    uint64_t ring = (uint64_t)l->n_buffers * l->buffer_params;
    uint64_t per_task = sizeof(task_state) + l->max_rows * sizeof(emr_sums), pending = 2;
    if (plan->options->rescale_per == EMR_RESCALE_PER_ROW)
        pending += plan->n_tasks * (plan->options->extendable ? 2u : 1u);
    if (plan->options->rescale_per == EMR_RESCALE_PER_TENSOR)
        per_task += plan->n_merged * (sizeof(float) + (plan->options->extendable ? sizeof(double) : 0));
    return sizeof(emr_step) + l->max_items * per_item + plan->n_tasks * per_task +
           (l->max_rows ? ROWS_MAX * (sizeof(float) + (plan->options->extendable ? sizeof(double) : 0)) : 0) +
           ring * emr_value_size(plan) + ring / 8 * emr_plane_count(plan) + emr_history_memory(plan, l) +
           pending * l->value_block_bytes + /* unfinished blocks of appended streams */
           INDEX_COPIES * (EMR_BLOCK_SIZE * emr_block_entries(plan, l->block_params) + plan->index_bytes) +
           STREAM_BYTES * emr_stream_count(plan);
}

static emr_status no_memory(emr_error *error)
{
    return emr_fail(error, EMR_ENOMEM, "out of memory");
}

static bool declare(emr_step *s, size_t *stream, enum emr_stream_kind kind, uint32_t owner,
                    uint32_t block_bytes, emr_texture texture)
{
    *stream = emr_writer_stream(s->writer, kind, owner, block_bytes, texture);
    return *stream != EMR_NO_MEMORY_STREAM;
}

static bool declare_value(emr_step *s, size_t i)
{
    return declare(s, &s->value_streams[i], value_kinds[i], EMR_BASE, s->layout->value_block_bytes,
                   s->value_sizes[i] == 4 ? EMR_TEXTURE_WORDS4 : EMR_TEXTURE_WORDS2);
}

static bool declare_plane(emr_step *s, size_t i, uint32_t task)
{
    return declare(s, &s->tasks[task].plane_streams[i], plane_kinds[i], task, s->layout->mask_block_bytes,
                   EMR_TEXTURE_BITS);
}

static bool declare_streams(emr_step *s)
{
    uint32_t n_tasks = (uint32_t)s->plan->n_tasks, value_block = s->layout->value_block_bytes;
    bool there = declare_value(s, 0), per_row = s->plan->options->rescale_per == EMR_RESCALE_PER_ROW;
    for (uint32_t t = 0; there && t < n_tasks; t++)
        there = declare_plane(s, 0, t);
    for (uint32_t t = 0; there && per_row && t < n_tasks; t++)
        there =
            declare(s, &s->tasks[t].row_stream, EMR_STREAM_ROW_RESCALERS, t, value_block, EMR_TEXTURE_WORDS4);
    for (size_t i = 1; there && s->grows && i < N_VALUES; i++)
        there = declare_value(s, i);
    for (uint32_t t = 0; there && s->grows && t < n_tasks; t++)
        there = declare_plane(s, 1, t) && declare_plane(s, 2, t);
    for (uint32_t t = 0; there && s->grows && per_row && t < n_tasks; t++)
        there = declare(s, &s->tasks[t].numerator_stream, EMR_STREAM_ROW_NUMERATORS, t, value_block,
                        EMR_TEXTURE_BYTES);
    if (there && s->plan->options->embed_base)
        there = declare(s, &s->base_stream, EMR_STREAM_BASE, EMR_BASE, s->layout->value_block_bytes,
                        EMR_TEXTURE_UNKNOWN);
    return there;
}

static bool allocate(emr_step *s)
{
    const emr_allocator *a = &s->allocator;
    size_t n_tasks = s->plan->n_tasks, n_items = s->layout->max_items;
    s->items = emr_allocate_array(a, n_items, sizeof *s->items);
    s->results = emr_allocate_array(a, n_items, n_tasks * sizeof *s->results);
    s->mask_pointers = emr_allocate_array(a, n_items, n_tasks * sizeof *s->mask_pointers);
    s->tasks = emr_allocate_array(a, n_tasks, sizeof *s->tasks);
    bool there = s->items && s->results && s->mask_pointers && s->tasks;
    for (size_t i = 0; there && i < (s->grows ? N_VALUES : 1); i++)
        there = (s->values[i] = emr_allocate_array(a, s->ring_params, s->value_sizes[i])) != NULL;
    for (size_t i = 0; there && i < (s->grows ? N_PLANES : 1); i++)
        there = (s->planes[i] = emr_allocate_array(a, n_tasks, s->plane_bytes)) != NULL;
    for (size_t t = 0; there && s->layout->max_rows && t < n_tasks; t++)
        there = (s->tasks[t].row_sums = emr_allocate_array(a, s->layout->max_rows, sizeof(emr_sums))) != NULL;
    if (there && s->layout->max_rows) {
        s->row_rescalers = emr_allocate_array(a, ROWS_MAX, sizeof *s->row_rescalers);
        there = s->row_rescalers != NULL;
    }
    if (there && s->plan->options->rescale_per == EMR_RESCALE_PER_TENSOR)
        there = (s->rescalers = emr_allocate_array(a, n_tasks, s->plan->n_merged * sizeof(float))) != NULL;
    if (there && s->layout->max_rows && s->grows)
        there = (s->numerators = emr_allocate_array(a, ROWS_MAX, sizeof *s->numerators)) != NULL;
    if (there && s->rescalers && s->grows)
        there = (s->tensor_numerators = emr_allocate_array(a, n_tasks, s->plan->n_merged * sizeof(double))) !=
                NULL;
    return there;
}

emr_status emr_step_create(emr_step **step, emr_plan *plan, const emr_layout *layout,
                           const emr_kernels *kernels, emr_writer *writer, const emr_sink *sink,
                           emr_error *error)
{
    emr_step *s = emr_allocate_array(&plan->allocator, 1, sizeof *s);
    if (!s)
        return no_memory(error);
    s->allocator = plan->allocator;
    s->plan = plan;
    s->layout = layout;
    s->kernels = kernels;
    s->writer = writer;
    s->sink = sink;
    s->grows = plan->options->extendable != 0;
    s->value_sizes[0] = plan->options->unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
    for (size_t i = 1; i < N_VALUES; i++)
        s->value_sizes[i] = sizeof(float);
    s->ring_params = (uint64_t)layout->n_buffers * layout->buffer_params;
    s->plane_bytes = (size_t)(s->ring_params / 8);
    s->private_task = SIZE_MAX;
    emr_status status = allocate(s) && (!writer || declare_streams(s)) ? EMR_OK : no_memory(error);
    if (!status && plan->before)
        status = emr_history_create(&s->history, plan, layout, error);
    for (size_t t = 0; !status && t < plan->n_old; t++)
        s->tasks[t].zeroed = emr_bundle_task_record(plan->before, t).zeroed;
    if (status)
        emr_step_destroy(&s);
    *step = s;
    return status;
}

void emr_step_destroy(emr_step **step)
{
    emr_step *s = *step;
    if (!s)
        return;
    emr_allocator a = s->allocator;
    for (size_t t = 0; s->tasks && t < s->plan->n_tasks; t++)
        emr_release(&a, s->tasks[t].row_sums);
    for (size_t i = 0; i < N_VALUES; i++)
        emr_release(&a, s->values[i]);
    for (size_t i = 0; i < N_PLANES; i++)
        emr_release(&a, s->planes[i]);
    emr_history_destroy(&s->history);
    emr_release(&a, s->numerators);
    emr_release(&a, s->row_rescalers);
    emr_release(&a, s->tensor_numerators);
    emr_release(&a, s->items);
    emr_release(&a, s->results);
    emr_release(&a, s->mask_pointers);
    emr_release(&a, s->tasks);
    emr_release(&a, s->rescalers);
    emr_release(&a, s);
    *step = NULL;
}

/* The first parameter behind an item's row that begins at, or goes through, `from`; both within the item. */
static size_t row_end(const emr_item *item, uint64_t length, size_t from)
{
    return from + (size_t)emr_min(length - (item->first + from) % length, item->n - from);
}

static size_t item_rows(const emr_item *item, uint64_t length)
{
    return (size_t)((item->first + item->n - 1) / length - item->first / length + 1);
}

static emr_status load(void *user, const emr_item *items, size_t n_items, const emr_workers *workers,
                       emr_error *error)
{
    emr_step *s = user;
    const emr_item *last = &items[n_items - 1];
    return s->history ? emr_history_load(s->history, workers, items->flat,
                                         last->flat + emr_round_up(last->n, EMR_GROUP), error)
                      : EMR_OK;
}

static size_t begin(void *user, const emr_item *items, size_t n_items)
{
    emr_step *s = user;
    size_t rows = 0;
    for (size_t i = 0; i < n_items && s->layout->max_rows; i++) {
        s->items[i].first_row = rows;
        rows += item_rows(&items[i], emr_row_length(s->plan->rows[items[i].row].base));
    }
    return s->writer ? emr_writer_begin(s->writer) : 0;
}

static emr_status job(void *user, size_t number, size_t worker, emr_error *error)
{
    emr_step *s = user;
    return emr_writer_job(s->writer, number, worker, error);
}

static bool is_finite_at(emr_dtype dtype, const void *values, size_t i)
{
    double value;
    emr_load_f64(&value, dtype, (const uint8_t *)values + i * emr_float_size(dtype), 1);
    return (emr_f64_bits(value) >> 52 & 0x7ff) != 0x7ff;
}

/* Looks at what the kernel stumbled over, while its bytes are there. */
static void examine_bad(item_state *state)
{
    const emr_chunk *c = &state->chunk;
    if (c->bad_task == c->n_tasks)
        return;
    state->bad_base = !is_finite_at((emr_dtype)c->base_dtype, c->base, c->bad);
    state->bad_task = !is_finite_at((emr_dtype)c->task_dtypes[c->bad_task], c->tasks[c->bad_task], c->bad);
}

/* The sums of each row's part in the item. */
static void sum_rows(emr_step *s, const emr_item *item, const item_state *state)
{
    uint64_t length = emr_row_length(s->plan->rows[item->row].base);
    for (size_t t = 0; t < s->plan->n_tasks; t++) {
        emr_sums *sums = s->tasks[t].row_sums + state->first_row;
        for (size_t from = 0, to; from < item->n; from = to) {
            to = row_end(item, length, from);
            *sums++ = s->grows ? emr_growth_sum_range(&state->growth, t, from, to)
                               : s->kernels->sum_range(&state->chunk, t, from, to);
        }
    }
}

/* Elects, masks and sums an item so that tasks can be added. */
static void grow(emr_step *s, const emr_item *item, item_state *state, size_t at)
{
    state->growth = (emr_growth){.chunk = &state->chunk,
                                 .n_old = s->plan->n_old,
                                 .kernels = s->kernels,
                                 .after = {.sums = s->values[1] + at * s->value_sizes[1],
                                           .opposites = s->values[2] + at * s->value_sizes[2],
                                           .extremes = s->values[3] + at * s->value_sizes[3],
                                           .masks = s->planes[0] + at / 8,
                                           .nonzeros = s->planes[1] + at / 8,
                                           .undecided = s->planes[2] + at / 8,
                                           .plane_bytes = s->plane_bytes}};
    if (s->history)
        state->growth.before = emr_history_state(s->history, item->flat);
    emr_growth_merge(&state->growth);
}

/* Elects, masks and sums one item into its place in the buffers. */
static void compute(void *user, const emr_item *item, size_t index)
{
    emr_step *s = user;
    const emr_merge_options *o = s->plan->options;
    item_state *state = &s->items[index];
    size_t n_tasks = s->plan->n_tasks, at = (size_t)(item->flat % s->ring_params);
    size_t padded = (size_t)emr_round_up(item->n, EMR_GROUP);
    uint8_t **masks = s->mask_pointers + index * n_tasks;
    for (size_t t = 0; t < n_tasks; t++) {
        masks[t] = s->planes[0] + t * s->plane_bytes + at / 8;
        memset(masks[t] + (item->n + 7) / 8, 0, padded / 8 - (item->n + 7) / 8);
    }
    for (size_t i = 0; i < (s->grows ? N_VALUES : 1); i++)
        memset(s->values[i] + (at + item->n) * s->value_sizes[i], 0, (padded - item->n) * s->value_sizes[i]);
    state->chunk = (emr_chunk){
        .n = item->n,
        .n_tasks = n_tasks,
        .base = item->base,
        .tasks = (const void *const *)item->tasks,
        .task_dtypes = item->task_dtypes,
        .base_dtype = (uint8_t)s->plan->rows[item->row].base->dtype,
        .unified_dtype = (uint8_t)o->unified_dtype,
        .tie_negative = o->tie == EMR_TIE_NEGATIVE,
        .zero_nonfinite = o->on_nonfinite == EMR_ON_NONFINITE_ZERO,
        .l2 = o->rescale == EMR_RESCALE_L2,
        .skip_sums = o->rescale_per == EMR_RESCALE_PER_ROW,
        .unified = s->values[0] + at * s->value_sizes[0],
        .masks = masks,
        .results = s->results + index * n_tasks,
    };
    if (s->grows)
        grow(s, item, state, at);
    else
        s->kernels->merge(&state->chunk);
    if (state->chunk.bad < item->n)
        examine_bad(state);
    else if (o->rescale_per == EMR_RESCALE_PER_ROW)
        sum_rows(s, item, state);
}

/* Names what the kernel stumbled over. */
static emr_status report_bad(const emr_step *s, const emr_item *item, const item_state *state,
                             emr_error *error)
{
    const emr_chunk *c = &state->chunk;
    const emr_tensor *base = s->plan->rows[item->row].base;
    uint64_t index = item->first + c->bad;
    if (c->bad_task == c->n_tasks && s->history && c->unified_dtype == EMR_DTYPE_F32)
        return emr_fail(error, EMR_EFORMAT,
                        "%s: tensor '%s': what was kept for adding tasks is not finite at index %u",
                        s->plan->before->name, base->name, index);
    if (c->bad_task == c->n_tasks)
        return emr_fail(
            error, EMR_ENONFINITE,
            "tensor '%s': the unified value at index %u overflows %s (a wider unified dtype holds it)",
            base->name, index, emr_dtype_name((emr_dtype)c->unified_dtype));
    const emr_task *task = &s->plan->tasks[c->bad_task];
    if (state->bad_base)
        return emr_fail(error, EMR_ENONFINITE,
                        "the base (%s): tensor '%s': NaN or infinity at index %u (to count it "
                        "as unchanged: on-nonfinite zero)",
                        base->model_name, base->name, index);
    return emr_fail(error, EMR_ENONFINITE,
                    "task '%s' (%s): tensor '%s': %s at index %u (to count it as unchanged: "
                    "on-nonfinite zero)",
                    task->name, task->model->name, base->name,
                    state->bad_task ? "NaN or infinity" : "the difference from the base overflows f32",
                    index);
}

/* Equation 5, as an f32; 0 where nothing was elected. */
static float rescaler(emr_sums sums)
{
    double ratio = sums.bottom > 0 ? sums.top / sums.bottom : 0;
    return ratio > FLT_MAX ? FLT_MAX : (float)ratio;
}

static void add_sums(emr_sums *to, emr_sums more)
{
    to->top += more.top;
    to->bottom += more.bottom;
}

/* One task's rows of an item: the sums of each one's part become those of the rows that end in it, in front.
 * The last one may go on in the next item. */
static size_t end_rows(const emr_step *s, task_state *state, const emr_item *item, emr_sums *sums)
{
    uint64_t length = emr_row_length(s->plan->rows[item->row].base);
    size_t n = item_rows(item, length), ended = 0;
    bool last_ends = (item->first + item->n) % length == 0;
    for (size_t i = 0; i < n; i++) {
        add_sums(&state->row, sums[i]);
        if (i + 1 < n || last_ends) {
            sums[ended++] = state->row;
            state->row = (emr_sums){0, 0};
        }
    }
    return ended;
}

/* Rescalers of `n` rows that ended, from row `first` of all; an old task's numerators are those it had. */
static emr_status rescale_rows(emr_step *s, size_t task, uint64_t first, size_t n, emr_sums *sums,
                               emr_error *error)
{
    emr_status status = EMR_OK;
    bool old = task < s->plan->n_old;
    if (old && n)
        status = emr_history_row_numerators(s->history, task, first, n, s->numerators, error);
    for (size_t i = 0; !status && i < n; i++) {
        if (old)
            sums[i].top = s->numerators[i];
        s->row_rescalers[i] = rescaler(sums[i]);
        if (s->grows)
            emr_store64(&s->numerators[i], emr_f64_bits(sums[i].top)); /* little-endian, in place */
    }
    return !status && s->writer && s->grows
               ? emr_writer_append(s->writer, s->tasks[task].numerator_stream, s->numerators,
                                   n * sizeof *s->numerators, error)
               : status;
}

static emr_status fold_rows(emr_step *s, const emr_item *item, size_t index, emr_error *error)
{
    const emr_row *row = &s->plan->rows[item->row];
    const emr_tensor *base = row->base;
    uint64_t first = item->first / emr_row_length(base);
    emr_status status = EMR_OK;
    for (size_t t = 0; !status && t < s->plan->n_tasks; t++) {
        emr_sums *sums = s->tasks[t].row_sums + s->items[index].first_row;
        size_t n = end_rows(s, &s->tasks[t], item, sums);
        status = rescale_rows(s, t, row->first_row + first, n, sums, error);
        if (status)
            return status;
        if (s->sink && s->sink->rescalers && n &&
            s->sink->rescalers(s->sink->user, item->row, t, first, n, s->row_rescalers))
            return emr_fail(error, EMR_EIO, "the sink failed on rescalers of tensor '%s'", base->name);
        for (size_t i = 0; s->writer && i < n; i++) /* little-endian, in place */
            emr_store32(&s->row_rescalers[i], emr_f32_bits(s->row_rescalers[i]));
        if (s->writer)
            status = emr_writer_append(s->writer, s->tasks[t].row_stream, s->row_rescalers,
                                       n * sizeof *s->row_rescalers, error);
    }
    return status;
}

/* The tensor is complete: its sums join the model's, or become its own rescaler. */
static emr_status end_tensor(emr_step *s, size_t row, emr_error *error)
{
    const emr_tensor *base = s->plan->rows[row].base;
    for (size_t t = 0; t < s->plan->n_tasks; t++) {
        task_state *state = &s->tasks[t];
        add_sums(&state->model, state->tensor);
        state->means.top += state->tensor.top / (double)base->count;
        state->means.bottom += state->tensor.bottom / (double)base->count;
        if (s->rescalers && t < s->plan->n_old)
            state->tensor.top = emr_history_numerator(s->history, t, row);
        if (s->rescalers && s->grows)
            s->tensor_numerators[t * s->plan->n_merged + row] = state->tensor.top;
        if (s->rescalers) {
            float *value = &s->rescalers[t * s->plan->n_merged + row];
            *value = rescaler(state->tensor);
            if (s->sink && s->sink->rescalers && s->sink->rescalers(s->sink->user, row, t, 0, 1, value))
                return emr_fail(error, EMR_EIO, "the sink failed on the rescaler of tensor '%s'", base->name);
        }
        state->tensor = (emr_sums){0, 0};
    }
    return EMR_OK;
}

static emr_status write_values(emr_step *s, size_t i, size_t at, size_t n, emr_error *error)
{
    size_t block = s->layout->value_block_bytes, size = s->value_sizes[i];
    emr_status status = EMR_OK;
    for (size_t done = 0; !status && done < n * size; done += block)
        status = emr_writer_put(s->writer, s->value_streams[i], s->values[i] + at * size + done,
                                (size_t)emr_min(block, n * size - done), error);
    return status;
}

static emr_status write_plane(emr_step *s, size_t i, size_t task, size_t at, size_t n, emr_error *error)
{
    return emr_writer_put(s->writer, s->tasks[task].plane_streams[i],
                          s->planes[i] + task * s->plane_bytes + at / 8, n / 8, error);
}

/* Writes the blocks of the superblock [start, end) of flat space: its unified values, then each task's
 * mask, then what growing needs. The order is that of positions, so that windows of any size give the same
 * file. */
static emr_status write_superblock(emr_step *s, uint64_t start, uint64_t end, emr_error *error)
{
    size_t at = (size_t)(start % s->ring_params), n = (size_t)(end - start);
    emr_status status = write_values(s, 0, at, n, error);
    for (size_t t = 0; !status && t < s->plan->n_tasks; t++)
        status = write_plane(s, 0, t, at, n, error);
    for (size_t i = 1; !status && s->grows && i < N_VALUES; i++)
        status = write_values(s, i, at, n, error);
    for (size_t t = 0; !status && s->grows && t < s->plan->n_tasks; t++) {
        status = write_plane(s, 1, t, at, n, error);
        if (!status)
            status = write_plane(s, 2, t, at, n, error);
    }
    return status;
}

/* Writes every superblock that is complete, the last one of all being shorter. */
static emr_status write_complete(emr_step *s, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && s->written < s->position) {
        uint64_t end = emr_min(s->written + s->layout->block_params, s->plan->flat_params);
        if (end > s->position)
            break;
        status = write_superblock(s, s->written, end, error);
        s->written = end;
    }
    return status;
}

static emr_status give_to_sink(emr_step *s, const emr_item *item, const emr_chunk *c, emr_error *error)
{
    const emr_sink *k = s->sink;
    int failed = k->unified && k->unified(k->user, item->row, item->first, item->n, c->unified);
    for (size_t t = 0; !failed && k->mask && t < c->n_tasks; t++)
        failed = k->mask(k->user, item->row, t, item->first, item->n, c->masks[t]);
    return failed ? emr_fail(error, EMR_EIO, "the sink failed on tensor '%s'",
                             s->plan->rows[item->row].base->name)
                  : EMR_OK;
}

/* The base's bytes of an item, where the base is embedded. */
static emr_status embed(emr_step *s, const emr_item *item, emr_error *error)
{
    emr_row *row = &s->plan->rows[item->row];
    emr_status status = EMR_OK;
    if (item->first == 0) {
        status = emr_writer_align(s->writer, s->base_stream, error);
        row->base_offset = emr_writer_bytes(s->writer, s->base_stream);
    }
    return status ? status
                  : emr_writer_append(s->writer, s->base_stream, item->base,
                                      item->n * emr_float_size(row->base->dtype), error);
}

static emr_status fold(void *user, const emr_item *item, size_t index, emr_error *error)
{
    emr_step *s = user;
    const emr_chunk *c = &s->items[index].chunk;
    emr_row *row = &s->plan->rows[item->row];
    if (c->bad < c->n)
        return report_bad(s, item, &s->items[index], error);
    emr_status status = s->writer && s->plan->options->embed_base ? embed(s, item, error) : EMR_OK;
    for (size_t t = 0; t < c->n_tasks; t++) {
        task_state *state = &s->tasks[t];
        state->ones += c->results[t].ones;
        state->zeroed += c->results[t].zeroed;
        state->nonzero |= c->results[t].nonzero;
        row->zeroed += c->results[t].zeroed;
        add_sums(&state->tensor, c->results[t].sums);
    }
    if (!status && s->plan->options->rescale_per == EMR_RESCALE_PER_ROW)
        status = fold_rows(s, item, index, error);
    if (!status && s->sink)
        status = give_to_sink(s, item, c, error);
    if (!status && item->first + item->n == row->base->count)
        status = end_tensor(s, item->row, error);
    s->position = item->flat + emr_round_up(item->n, EMR_GROUP);
    return !status && s->writer ? write_complete(s, error) : status;
}

/* Without other buffers to go on with, waits until the blocks are written. */
static emr_status window_end(void *user, emr_error *error)
{
    emr_step *s = user;
    return s->writer && s->layout->n_buffers == 1 ? emr_writer_flush(s->writer, error) : EMR_OK;
}

static emr_status merged_end(void *user, emr_error *error)
{
    emr_step *s = user;
    emr_status status = EMR_OK;
    for (size_t t = 0; t < s->plan->n_tasks; t++) {
        task_state *state = &s->tasks[t];
        if (s->plan->options->rescale_per == EMR_RESCALE_PER_MODEL) {
            emr_sums sums = s->plan->options->rescale == EMR_RESCALE_L1_MEANS ? state->means : state->model;
            if (t < s->plan->n_old)
                sums.top = emr_history_numerator(s->history, t, 0);
            state->numerator = sums.top;
            state->rescaler = rescaler(sums);
        }
        if (!status && s->writer && s->plan->options->rescale_per == EMR_RESCALE_PER_ROW)
            status = emr_writer_end(s->writer, state->row_stream, error);
    }
    for (size_t t = 0; !status && s->writer && s->grows && s->plan->options->rescale_per == EMR_RESCALE_PER_ROW &&
                       t < s->plan->n_tasks;
         t++)
        status = emr_writer_end(s->writer, s->tasks[t].numerator_stream, error);
    return status;
}

static emr_status kept(void *user, size_t row, const void *bytes, size_t n, emr_error *error)
{
    emr_step *s = user;
    if (!s->writer)
        return EMR_OK;
    if (n)
        return emr_writer_append(s->writer, s->base_stream, bytes, n, error);
    emr_status status = emr_writer_align(s->writer, s->base_stream, error);
    s->plan->rows[row].base_offset = emr_writer_bytes(s->writer, s->base_stream);
    return status;
}

static emr_status private_begin(void *user, size_t task, const emr_tensor *tensor, emr_error *error)
{
    emr_step *s = user;
    emr_status status = EMR_OK;
    if (!s->writer)
        return EMR_OK;
    if (task != s->private_task) {
        if (s->private_task != SIZE_MAX)
            status = emr_writer_end(s->writer, s->private_stream, error);
        s->private_task = task;
        if (!declare(s, &s->private_stream, EMR_STREAM_PRIVATE, (uint32_t)task, s->layout->value_block_bytes,
                     EMR_TEXTURE_UNKNOWN))
            return no_memory(error);
    }
    if (!status)
        status = emr_writer_align(s->writer, s->private_stream, error);
    if (!status &&
        !emr_index_private(s->writer, (uint32_t)task, tensor, emr_writer_bytes(s->writer, s->private_stream)))
        status = no_memory(error);
    return status;
}

static emr_status private_bytes(void *user, const void *bytes, size_t n, emr_error *error)
{
    emr_step *s = user;
    return s->writer ? emr_writer_append(s->writer, s->private_stream, bytes, n, error) : EMR_OK;
}

/* The numerators per model or per tensor; per row they are a stream. */
static bool index_growth(emr_step *s)
{
    size_t n = s->plan->options->rescale_per == EMR_RESCALE_PER_ROW ? 0 : s->plan->n_tasks;
    if (s->rescalers)
        n *= s->plan->n_merged;
    uint8_t *p = emr_index_growth(s->writer, s->plan, n);
    for (size_t i = 0; p && i < n; i++)
        emr_store64(p + 8 * i, emr_f64_bits(s->rescalers ? s->tensor_numerators[i] : s->tasks[i].numerator));
    return p != NULL;
}

static emr_status finish(void *user, emr_error *error)
{
    emr_step *s = user;
    if (!s->writer)
        return EMR_OK;
    bool there = emr_index_plan(s->writer, s->plan, s->rescalers);
    for (size_t t = 0; there && t < s->plan->n_tasks; t++) {
        emr_task_report report;
        emr_step_report(s, t, &report);
        there = emr_index_task(s->writer, &s->plan->tasks[t], (uint32_t)t, &report);
    }
    if (there && s->grows)
        there = index_growth(s);
    return there ? emr_writer_finish(s->writer, error) : no_memory(error);
}

uint64_t emr_step_flat(const emr_step *s)
{
    return s->position;
}

bool emr_step_rests(const emr_step *s)
{
    return s->position == s->written;
}

/* What a save says of a task. */
typedef struct saved_task {
    emr_sums model, tensor, row, means;
    uint64_t ones, zeroed, nonzero;
} saved_task;

void emr_step_save(const emr_step *s, size_t row, emr_put_fn put, void *context)
{
    size_t n_merged = s->plan->n_merged, n = row - s->saved_row;
    uint64_t place[2] = {s->position, row};
    put(context, place, sizeof place);
    for (size_t t = 0; t < s->plan->n_tasks; t++) {
        const task_state *state = &s->tasks[t];
        saved_task saved = {state->model, state->tensor, state->row,    state->means,
                            state->ones,  state->zeroed, state->nonzero};
        put(context, &saved, sizeof saved);
        if (s->rescalers && n)
            put(context, s->rescalers + t * n_merged + s->saved_row, n * sizeof(float));
        if (s->tensor_numerators && n)
            put(context, s->tensor_numerators + t * n_merged + s->saved_row, n * sizeof(double));
    }
}

void emr_step_saved(emr_step *s, size_t row)
{
    s->saved_row = row;
}

static emr_status restore_task(emr_step *s, size_t t, size_t row, emr_get_fn get, void *context,
                               emr_error *error)
{
    task_state *state = &s->tasks[t];
    size_t first = t * s->plan->n_merged + s->saved_row, n = row - s->saved_row;
    saved_task saved;
    emr_status status = get(context, &saved, sizeof saved, error);
    if (status)
        return status;
    state->model = saved.model;
    state->tensor = saved.tensor;
    state->row = saved.row;
    state->means = saved.means;
    state->ones = saved.ones;
    state->zeroed = saved.zeroed;
    state->nonzero = saved.nonzero;
    if (s->rescalers && n)
        status = get(context, s->rescalers + first, n * sizeof(float), error);
    if (!status && s->tensor_numerators && n)
        status = get(context, s->tensor_numerators + first, n * sizeof(double), error);
    return status;
}

emr_status emr_step_restore(emr_step *s, emr_get_fn get, void *context, emr_error *error)
{
    uint64_t place[2];
    emr_status status = get(context, place, sizeof place, error);
    if (!status &&
        ((place[0] % s->layout->block_params && place[0] != s->plan->flat_params) ||
         place[0] > s->plan->flat_params || place[1] > s->plan->n_merged || place[1] < s->saved_row))
        status = emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
    for (size_t t = 0; !status && t < s->plan->n_tasks; t++)
        status = restore_task(s, t, (size_t)place[1], get, context, error);
    if (!status) {
        s->position = s->written = place[0];
        s->saved_row = (size_t)place[1];
    }
    return status;
}

void emr_step_report(const emr_step *s, size_t task, emr_task_report *report)
{
    const task_state *state = &s->tasks[task];
    *report = (emr_task_report){.size = sizeof *report,
                                .name = s->plan->tasks[task].name,
                                .mask_ones = state->ones,
                                .zeroed = state->zeroed,
                                .rescaler = state->rescaler,
                                .empty_mask = state->nonzero && !state->ones};
}

const emr_step_functions emr_step_functions_emr = {
    load, begin, job, compute, fold, window_end, merged_end, kept, private_begin, private_bytes, finish};
