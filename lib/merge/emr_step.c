/* emr_step.c - see emr_step.h. Elect, mask and sums are the kernels' work; here their results are put in
 * order: sums become rescalers, values and masks become blocks. Equation numbers are those of
 * docs/algorithm.md. */
#include "merge/emr_step.h"

#include "bundle/bundle.h"
#include "merge/index.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <float.h>
#include <string.h>

enum {
    ROWS_MAX = EMR_CHUNK + 1, /* rows that one item can touch */
    INDEX_COPIES = 3,         /* of the index at most, while it grows by doubling and is put together */
    STREAM_BYTES = 1024,      /* what the writer holds for a stream besides */
};

/* What one task has come to. */
typedef struct task_state {
    emr_sums model, tensor, row;
    emr_sums means; /* sums over tensors of the mean over a tensor */
    uint64_t ones, zeroed, nonzero;
    uint8_t *masks; /* of the buffer's parameters */
    float *rows;    /* ROWS_MAX rescalers, per row only */
    size_t n_rows;
    size_t mask_stream, row_stream;
    float rescaler;
} task_state;

struct emr_step {
    emr_allocator allocator;
    emr_plan *plan;
    const emr_layout *layout;
    const emr_workers *workers;
    const emr_kernels *kernels;
    emr_writer *writer;
    const emr_sink *sink;
    emr_chunk *chunks;       /* one an item of the window */
    emr_chunk_task *results; /* n_tasks an item */
    uint8_t **mask_pointers; /* n_tasks an item */
    uint64_t buffer_start;   /* flat position of the buffers' first parameter, a multiple of block_params */
    uint64_t position;       /* flat end of what was folded */
    uint64_t written;        /* flat end of the blocks that were put */
    uint8_t *unified;
    size_t unified_size;
    task_state *tasks;
    float *rescalers; /* per tensor: n_merged for each task */
    size_t unified_stream, base_stream, private_stream;
    size_t private_task; /* whose stream private_stream is; SIZE_MAX at first */
};

uint64_t emr_step_memory(const emr_plan *plan, const emr_layout *l)
{
    uint64_t per_item = sizeof(emr_chunk) + plan->n_tasks * (sizeof(emr_chunk_task) + sizeof(uint8_t *));
    uint64_t per_task = sizeof(task_state) + l->buffer_params / 8;
    if (plan->options->rescale_per == EMR_PER_ROW)
        per_task += ROWS_MAX * sizeof(float) + l->value_block_bytes;
    if (plan->options->rescale_per == EMR_PER_TENSOR)
        per_task += plan->n_merged * sizeof(float);
    return sizeof(emr_step) + l->max_items * per_item + plan->n_tasks * per_task +
           l->buffer_params * (plan->options->unified_dtype == EMR_F32 ? 4u : 2u) +
           2 * (uint64_t)l->value_block_bytes + /* pending blocks of the base and of a private stream */
           INDEX_COPIES * (EMR_BLOCK_SIZE * emr_block_entries(plan, l->block_params) + plan->index_bytes) +
           STREAM_BYTES * emr_stream_count(plan);
}

static emr_status no_memory(emr_error *error)
{
    return emr_fail(error, EMR_ENOMEM, "out of memory");
}

static bool declare(emr_step *s, size_t *stream, enum emr_stream_kind kind, uint32_t owner,
                    uint32_t block_bytes)
{
    *stream = emr_writer_stream(s->writer, kind, owner, block_bytes);
    return *stream != EMR_NO_MEMORY_STREAM;
}

static bool declare_streams(emr_step *s)
{
    bool there =
        declare(s, &s->unified_stream, EMR_STREAM_UNIFIED, EMR_OWNER_BASE, s->layout->value_block_bytes);
    for (uint32_t t = 0; there && t < s->plan->n_tasks; t++)
        there = declare(s, &s->tasks[t].mask_stream, EMR_STREAM_MASK, t, s->layout->mask_block_bytes);
    for (uint32_t t = 0; there && s->plan->options->rescale_per == EMR_PER_ROW && t < s->plan->n_tasks; t++)
        there =
            declare(s, &s->tasks[t].row_stream, EMR_STREAM_ROW_RESCALERS, t, s->layout->value_block_bytes);
    if (there && s->plan->options->embed_base)
        there = declare(s, &s->base_stream, EMR_STREAM_BASE, EMR_OWNER_BASE, s->layout->value_block_bytes);
    return there;
}

static bool allocate(emr_step *s)
{
    const emr_allocator *a = &s->allocator;
    size_t n_tasks = s->plan->n_tasks, n_items = s->layout->max_items;
    s->chunks = emr_allocate_array(a, n_items, sizeof *s->chunks);
    s->results = emr_allocate_array(a, n_items, n_tasks * sizeof *s->results);
    s->mask_pointers = emr_allocate_array(a, n_items, n_tasks * sizeof *s->mask_pointers);
    s->unified = emr_allocate_array(a, s->layout->buffer_params, s->unified_size);
    s->tasks = emr_allocate_array(a, n_tasks, sizeof *s->tasks);
    bool there = s->chunks && s->results && s->mask_pointers && s->unified && s->tasks;
    for (size_t t = 0; there && t < n_tasks; t++)
        there = (s->tasks[t].masks = emr_allocate_array(a, s->layout->buffer_params / 8, 1)) != NULL;
    for (size_t t = 0; there && s->plan->options->rescale_per == EMR_PER_ROW && t < n_tasks; t++)
        there = (s->tasks[t].rows = emr_allocate_array(a, ROWS_MAX, sizeof(float))) != NULL;
    if (there && s->plan->options->rescale_per == EMR_PER_TENSOR)
        there = (s->rescalers = emr_allocate_array(a, n_tasks, s->plan->n_merged * sizeof(float))) != NULL;
    return there;
}

emr_status emr_step_create(emr_step **step, emr_plan *plan, const emr_layout *layout,
                           const emr_workers *workers, emr_writer *writer, const emr_sink *sink,
                           emr_error *error)
{
    emr_step *s = emr_allocate_array(&plan->allocator, 1, sizeof *s);
    if (!s)
        return no_memory(error);
    s->allocator = plan->allocator;
    s->plan = plan;
    s->layout = layout;
    s->workers = workers;
    s->kernels = emr_kernels_select();
    s->writer = writer;
    s->sink = sink;
    s->unified_size = plan->options->unified_dtype == EMR_F32 ? 4 : 2;
    s->private_task = SIZE_MAX;
    if (!allocate(s) || (writer && !declare_streams(s))) {
        emr_step_destroy(&s);
        return no_memory(error);
    }
    *step = s;
    return EMR_OK;
}

void emr_step_destroy(emr_step **step)
{
    emr_step *s = *step;
    if (!s)
        return;
    emr_allocator a = s->allocator;
    for (size_t t = 0; s->tasks && t < s->plan->n_tasks; t++) {
        emr_release(&a, s->tasks[t].masks);
        emr_release(&a, s->tasks[t].rows);
    }
    emr_release(&a, s->chunks);
    emr_release(&a, s->results);
    emr_release(&a, s->mask_pointers);
    emr_release(&a, s->unified);
    emr_release(&a, s->tasks);
    emr_release(&a, s->rescalers);
    emr_release(&a, s);
    *step = NULL;
}

/* Elects, masks and sums one item into its place in the buffers. */
static void compute(void *user, const emr_item *item, size_t index)
{
    emr_step *s = user;
    const emr_merge_options *o = s->plan->options;
    size_t n_tasks = s->plan->n_tasks, at = (size_t)(item->flat - s->buffer_start);
    size_t padded = (size_t)emr_round_up(item->n, EMR_GROUP);
    uint8_t **masks = s->mask_pointers + index * n_tasks;
    for (size_t t = 0; t < n_tasks; t++) {
        masks[t] = s->tasks[t].masks + at / 8;
        memset(masks[t] + (item->n + 7) / 8, 0, padded / 8 - (item->n + 7) / 8);
    }
    uint8_t *unified = s->unified + at * s->unified_size;
    memset(unified + item->n * s->unified_size, 0, (padded - item->n) * s->unified_size);
    s->chunks[index] = (emr_chunk){
        .n = item->n,
        .n_tasks = n_tasks,
        .base = item->base,
        .tasks = (const void *const *)item->tasks,
        .task_dtypes = item->task_dtypes,
        .base_dtype = (uint8_t)s->plan->rows[item->row].base->dtype,
        .unified_dtype = (uint8_t)o->unified_dtype,
        .tie_negative = o->tie == EMR_TIE_NEGATIVE,
        .zero_nonfinite = o->on_nonfinite == EMR_NONFINITE_ZERO,
        .l2 = o->rescale == EMR_RESCALE_L2,
        .skip_sums = o->rescale_per == EMR_PER_ROW,
        .unified = unified,
        .masks = masks,
        .results = s->results + index * n_tasks,
    };
    s->kernels->merge(&s->chunks[index]);
}

static bool is_finite_at(emr_dtype dtype, const void *values, size_t i)
{
    double value;
    emr_load_f64(&value, dtype, (const uint8_t *)values + i * emr_float_size(dtype), 1);
    return (emr_f64_bits(value) >> 52 & 0x7ff) != 0x7ff;
}

/* Names what the kernel stumbled over. */
static emr_status report_bad(const emr_step *s, const emr_item *item, const emr_chunk *c, emr_error *error)
{
    const emr_tensor *base = s->plan->rows[item->row].base;
    uint64_t index = item->first + c->bad;
    if (c->bad_task == c->n_tasks)
        return emr_fail(
            error, EMR_ENONFINITE,
            "tensor '%s': the unified value at index %u overflows %s (a wider unified dtype holds it)",
            base->name, index, emr_dtype_name((emr_dtype)c->unified_dtype));
    const emr_task *task = &s->plan->tasks[c->bad_task];
    if (!is_finite_at(base->dtype, item->base, c->bad))
        return emr_fail(error, EMR_ENONFINITE,
                        "the base (%s): tensor '%s': NaN or infinity at index %u (to count it "
                        "as unchanged: on-nonfinite zero)",
                        base->model_name, base->name, index);
    bool finite = is_finite_at((emr_dtype)item->task_dtypes[c->bad_task], item->tasks[c->bad_task], c->bad);
    return emr_fail(error, EMR_ENONFINITE,
                    "task '%s' (%s): tensor '%s': %s at index %u (to count it as unchanged: "
                    "on-nonfinite zero)",
                    task->name, task->model->name, base->name,
                    finite ? "the difference from the base overflows f32" : "NaN or infinity", index);
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

typedef struct row_job {
    emr_step *step;
    const emr_item *item;
    size_t index;
} row_job;

/* Sums one task's rows of an item; the last row may go on in the next item. Rows that end get their
 * rescalers. */
static emr_status sum_rows(void *context, size_t task, size_t worker, emr_error *error)
{
    const row_job *job = context;
    const emr_step *s = job->step;
    const emr_item *item = job->item;
    task_state *state = &s->tasks[task];
    const emr_tensor *base = s->plan->rows[item->row].base;
    uint64_t row_length = base->count / emr_shape_rows(base->rank, base->shape);
    (void)worker, (void)error;
    state->n_rows = 0;
    for (size_t from = 0; from < item->n;) {
        uint64_t left = row_length - (item->first + from) % row_length;
        size_t to = from + (size_t)emr_min(left, item->n - from);
        add_sums(&state->row, s->kernels->sum_range(&s->chunks[job->index], task, from, to));
        if (to - from == left) {
            state->rows[state->n_rows++] = rescaler(state->row);
            state->row = (emr_sums){0, 0};
        }
        from = to;
    }
    return EMR_OK;
}

static emr_status fold_rows(emr_step *s, const emr_item *item, size_t index, emr_error *error)
{
    row_job job = {s, item, index};
    const emr_tensor *base = s->plan->rows[item->row].base;
    uint64_t first = item->first / (base->count / emr_shape_rows(base->rank, base->shape));
    emr_status status = emr_work(s->workers, s->plan->n_tasks, sum_rows, &job, error);
    for (size_t t = 0; !status && t < s->plan->n_tasks; t++) {
        task_state *state = &s->tasks[t];
        if (s->sink && s->sink->rescalers && state->n_rows &&
            s->sink->rescalers(s->sink->user, item->row, t, first, state->n_rows, state->rows))
            return emr_fail(error, EMR_EIO, "the sink failed on rescalers of tensor '%s'", base->name);
        for (size_t i = 0; s->writer && !status && i < state->n_rows; i++) {
            uint8_t bytes[4];
            emr_store32(bytes, emr_f32_bits(state->rows[i]));
            status = emr_writer_append(s->writer, state->row_stream, bytes, sizeof bytes, error);
        }
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

/* Writes the blocks of the superblock [start, end) of flat space: its unified values, then each task's
 * mask. The order is that of positions, so that windows of any size give the same file. */
static emr_status write_superblock(emr_step *s, uint64_t start, uint64_t end, emr_error *error)
{
    size_t value_bytes = s->layout->value_block_bytes, at = (size_t)(start - s->buffer_start),
           n = (size_t)(end - start);
    emr_status status = EMR_OK;
    for (size_t done = 0; !status && done < n * s->unified_size; done += value_bytes)
        status = emr_writer_put(s->writer, s->unified_stream, s->unified + at * s->unified_size + done,
                                (size_t)emr_min(value_bytes, n * s->unified_size - done), error);
    for (size_t t = 0; !status && t < s->plan->n_tasks; t++)
        status = emr_writer_put(s->writer, s->tasks[t].mask_stream, s->tasks[t].masks + at / 8, n / 8, error);
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
    const emr_chunk *c = &s->chunks[index];
    emr_row *row = &s->plan->rows[item->row];
    if (c->bad < c->n)
        return report_bad(s, item, c, error);
    emr_status status = s->writer && s->plan->options->embed_base ? embed(s, item, error) : EMR_OK;
    for (size_t t = 0; t < c->n_tasks; t++) {
        task_state *state = &s->tasks[t];
        state->ones += c->results[t].ones;
        state->zeroed += c->results[t].zeroed;
        state->nonzero |= c->results[t].nonzero;
        row->zeroed += c->results[t].zeroed;
        add_sums(&state->tensor, c->results[t].sums);
    }
    if (!status && s->plan->options->rescale_per == EMR_PER_ROW)
        status = fold_rows(s, item, index, error);
    if (!status && s->sink)
        status = give_to_sink(s, item, c, error);
    if (!status && item->first + item->n == row->base->count)
        status = end_tensor(s, item->row, error);
    s->position = item->flat + emr_round_up(item->n, EMR_GROUP);
    return !status && s->writer ? write_complete(s, error) : status;
}

/* Waits until the blocks are written, then moves an unfinished superblock to the front of the buffers. */
static emr_status window_end(void *user, emr_error *error)
{
    emr_step *s = user;
    emr_status status = s->writer ? emr_writer_flush(s->writer, error) : EMR_OK;
    uint64_t start = s->position / s->layout->block_params * s->layout->block_params;
    size_t from = (size_t)(start - s->buffer_start), n = (size_t)(s->position - start);
    if (from && n) {
        memmove(s->unified, s->unified + from * s->unified_size, n * s->unified_size);
        for (size_t t = 0; t < s->plan->n_tasks; t++)
            memmove(s->tasks[t].masks, s->tasks[t].masks + from / 8, n / 8);
    }
    s->buffer_start = start;
    return status;
}

static emr_status merged_end(void *user, emr_error *error)
{
    emr_step *s = user;
    emr_status status = EMR_OK;
    for (size_t t = 0; t < s->plan->n_tasks; t++) {
        task_state *state = &s->tasks[t];
        if (s->plan->options->rescale_per == EMR_PER_MODEL)
            state->rescaler =
                rescaler(s->plan->options->rescale == EMR_RESCALE_L1_MEANS ? state->means : state->model);
        if (!status && s->writer && s->plan->options->rescale_per == EMR_PER_ROW)
            status = emr_writer_end(s->writer, state->row_stream, error);
    }
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
        if (!declare(s, &s->private_stream, EMR_STREAM_PRIVATE, (uint32_t)task, s->layout->value_block_bytes))
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
    return there ? emr_writer_finish(s->writer, error) : no_memory(error);
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

const emr_step_functions emr_step_functions_emr = {compute, fold,          window_end,    merged_end,
                                                   kept,    private_begin, private_bytes, finish};
