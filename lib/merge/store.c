/* store.c - see store.h. */
#include "merge/store.h"

#include "core/bytes.h"
#include "merge/index.h"
#include "numeric/convert.h"

enum {
    INDEX_COPIES = 3,    /* of the index at most, while it grows by doubling and is put together */
    STREAM_BYTES = 1024, /* what the writer holds for a stream besides */
};

/* Unfinished blocks of the streams of tasks that share nothing. */
static uint64_t coded_pending(const emr_merge_plan *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->modulations.n_coded; i++) {
        emr_coding coding = emr_coding_of_matrices(&plan->modulations.specs[plan->modulations.coded[i]]);
        bytes += emr_coding_block_bytes(&coding, plan->store.block_params) +
                 3 * (uint64_t)emr_coding_small_bytes(plan->store.block_params);
    }
    return bytes;
}

uint64_t emr_store_memory(const emr_merge_plan *plan)
{
    const emr_store_layout *l = &plan->store;
    uint64_t n_tasks = plan->modulations.n_elected;
    uint64_t pending = plan->n_parts ? 3 : 2; /* unfinished blocks of appended streams */
    if (emr_merge_is_per(plan, EMR_RESCALE_PER_ROW))
        pending += n_tasks * (plan->options.extendable ? 2u : 1u);
    return n_tasks * sizeof(emr_task_streams) + coded_pending(plan) + pending * l->value_block_bytes +
           INDEX_COPIES *
               (EMR_BLOCK_SIZE * emr_store_block_entries(plan, l->block_params) + plan->index_bytes) +
           STREAM_BYTES * emr_store_streams(plan);
}

static bool declare_stream(emr_store *s, size_t *stream, enum emr_stream_kind kind, uint32_t owner,
                           uint32_t block_bytes, emr_texture texture)
{
    *stream = emr_writer_stream(s->writer, kind, owner, block_bytes, texture);
    return *stream != EMR_NO_MEMORY_STREAM;
}

static bool declare_values(emr_store *s, size_t from, size_t to)
{
    bool there = true;
    for (size_t i = from; there && i < to; i++)
        there =
            declare_stream(s, &s->values[i], emr_value_kinds[i], EMR_BASE, s->plan->store.value_block_bytes,
                           s->election->value_sizes[i] == 4 ? EMR_TEXTURE_WORDS4 : EMR_TEXTURE_WORDS2);
    return there;
}

/* The number of an elected task. */
static uint32_t owner_of(const emr_store *s, uint32_t task)
{
    return s->plan->modulations.elected[task];
}

static bool declare_planes(emr_store *s, size_t from, size_t to)
{
    bool there = true;
    for (uint32_t t = 0; there && t < s->election->n_tasks; t++)
        for (size_t i = from; there && i < to; i++)
            there = declare_stream(s, &s->tasks[t].planes[i], emr_plane_kinds[i], owner_of(s, t),
                                   s->plan->store.mask_block_bytes, EMR_TEXTURE_BITS);
    return there;
}

/* Streams in the order in which the index lists them: what a bundle needs, what growing needs, the base. */
static bool declare_streams(emr_store *s)
{
    const emr_election *e = s->election;
    uint32_t n_tasks = e->n_tasks, block_bytes = s->plan->store.value_block_bytes;
    bool per_row = emr_merge_is_per(s->plan, EMR_RESCALE_PER_ROW), grows = s->plan->options.extendable != 0;
    bool there = declare_values(s, 0, e->n_values > 0) && declare_planes(s, 0, e->n_planes > 0);
    for (uint32_t t = 0; there && per_row && t < n_tasks; t++)
        there = declare_stream(s, &s->tasks[t].rescalers, EMR_STREAM_ROW_RESCALERS, owner_of(s, t),
                               block_bytes, EMR_TEXTURE_WORDS4);
    there = there && declare_values(s, 1, e->n_values) && declare_planes(s, 1, e->n_planes);
    for (uint32_t t = 0; there && per_row && grows && t < n_tasks; t++)
        there = declare_stream(s, &s->tasks[t].numerators, EMR_STREAM_ROW_NUMERATORS, owner_of(s, t),
                               block_bytes, EMR_TEXTURE_BYTES);
    if (there && emr_merge_embeds(s->plan))
        there = declare_stream(s, &s->base, EMR_STREAM_BASE, EMR_BASE, block_bytes, EMR_TEXTURE_UNKNOWN);
    return there;
}

emr_status emr_store_create(emr_store *s, emr_merge_plan *plan, const emr_election *election,
                            emr_writer *writer, emr_error *error)
{
    *s = (emr_store){.plan = plan, .election = election, .writer = writer, .private_task = EMR_BASE};
    s->tasks = emr_allocate_array(&plan->env.allocator, plan->modulations.n_elected, sizeof *s->tasks);
    return s->tasks && declare_streams(s) ? EMR_OK : emr_no_memory(error, NULL);
}

void emr_store_destroy(emr_store *s)
{
    if (s->plan)
        emr_release(&s->plan->env.allocator, s->tasks);
}

uint64_t emr_store_place_base(emr_merge_plan *plan, uint64_t flat)
{
    const emr_alignment *a = &plan->alignment;
    uint64_t end = 0;
    for (uint32_t i = 0; i < a->n_merged && a->entries[i].first_param < flat; i++) {
        const emr_tensor *base = a->entries[i].base;
        if (!base->count)
            continue;
        plan->base_offsets[i] = emr_round_up(end, EMR_TENSOR_ALIGNMENT);
        end = plan->base_offsets[i] +
              emr_min(base->count, flat - a->entries[i].first_param) * emr_float_size(base->dtype);
    }
    return end;
}

/* Rows that end before a flat position. */
static uint64_t rows_before(const emr_alignment *a, uint64_t flat)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < a->n_merged && a->entries[i].first_param < flat; i++) {
        const emr_entry *entry = &a->entries[i];
        if (entry->base->count)
            rows = entry->first_row +
                   emr_min(entry->base->count, flat - entry->first_param) / emr_row_length(entry->base);
    }
    return rows;
}

void emr_store_begin_at(emr_store *s, uint64_t flat)
{
    const emr_election *e = s->election;
    bool per_row = emr_merge_is_per(s->plan, EMR_RESCALE_PER_ROW);
    uint64_t rows = per_row ? rows_before(&s->plan->alignment, flat) : 0;
    s->written = flat;
    for (size_t i = 0; i < e->n_values; i++)
        emr_writer_start(s->writer, s->values[i], flat * e->value_sizes[i]);
    for (uint32_t t = 0; t < e->n_tasks; t++) {
        const emr_task_streams *streams = &s->tasks[t];
        for (size_t i = 0; i < e->n_planes; i++)
            emr_writer_start(s->writer, streams->planes[i], flat / 8);
        if (per_row)
            emr_writer_start(s->writer, streams->rescalers,
                             rows * emr_merge_n_scales(s->plan, t) * sizeof(float));
        if (per_row && s->plan->options.extendable)
            emr_writer_start(s->writer, streams->numerators, rows * sizeof(double));
    }
    if (emr_merge_embeds(s->plan))
        emr_writer_start(s->writer, s->base, emr_store_place_base(s->plan, flat));
}

/* A tensor begins in the base stream. */
static emr_status align_base(emr_store *s, uint32_t entry, emr_error *error)
{
    emr_status status = emr_writer_align(s->writer, s->base, error);
    s->plan->base_offsets[entry] = emr_writer_bytes(s->writer, s->base);
    return status;
}

emr_status emr_store_base(emr_store *s, const emr_item *item, emr_error *error)
{
    if (!emr_merge_embeds(s->plan))
        return EMR_OK;
    emr_status status = item->first == 0 ? align_base(s, item->number, error) : EMR_OK;
    return status ? status
                  : emr_writer_append(s->writer, s->base, item->base,
                                      item->n * emr_float_size(item->entry->base->dtype), error);
}

emr_status emr_store_rows(emr_store *s, uint32_t task, float *rescalers, double *numerators, size_t n,
                          emr_error *error)
{
    const emr_task_streams *streams = &s->tasks[task];
    emr_status status = EMR_OK;
    for (size_t i = 0; numerators && i < n; i++) /* little-endian, in place */
        emr_store64(&numerators[i], emr_f64_bits(numerators[i]));
    if (numerators)
        status = emr_writer_append(s->writer, streams->numerators, numerators, n * sizeof *numerators, error);
    size_t n_rescalers = n * emr_merge_n_scales(s->plan, task);
    for (size_t i = 0; i < n_rescalers; i++)
        emr_store32(&rescalers[i], emr_f32_bits(rescalers[i]));
    return status ? status
                  : emr_writer_append(s->writer, streams->rescalers, rescalers,
                                      n_rescalers * sizeof *rescalers, error);
}

static emr_status put_values(emr_store *s, size_t i, uint64_t start, size_t n, emr_error *error)
{
    const uint8_t *bytes = emr_election_values(s->election, i, start);
    size_t block = s->plan->store.value_block_bytes, size = n * s->election->value_sizes[i];
    emr_status status = EMR_OK;
    for (size_t done = 0; !status && done < size; done += block)
        status =
            emr_writer_put(s->writer, s->values[i], bytes + done, (size_t)emr_min(block, size - done), error);
    return status;
}

static emr_status put_planes(emr_store *s, size_t from, size_t to, uint64_t start, size_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; t < s->election->n_tasks; t++)
        for (size_t i = from; !status && i < to; i++)
            status = emr_writer_put(s->writer, s->tasks[t].planes[i],
                                    emr_election_plane(s->election, i, t, start), n / 8, error);
    return status;
}

/* Unified values, then each task's mask, then what growing needs. */
static emr_status put_superblock(emr_store *s, uint64_t start, size_t n, emr_error *error)
{
    const emr_election *e = s->election;
    emr_status status = e->n_values ? put_values(s, 0, start, n, error) : EMR_OK;
    if (!status)
        status = put_planes(s, 0, e->n_planes > 0, start, n, error);
    for (size_t i = 1; !status && i < e->n_values; i++)
        status = put_values(s, i, start, n, error);
    return status ? status : put_planes(s, 1, e->n_planes, start, n, error);
}

emr_status emr_store_put(emr_store *s, uint64_t flat, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && s->written < flat) {
        uint64_t end = emr_min(s->written + s->plan->store.block_params, s->plan->alignment.flat_params);
        if (end > flat)
            break;
        status = put_superblock(s, s->written, (size_t)(end - s->written), error);
        s->written = end;
    }
    return status;
}

emr_status emr_store_end_merged(emr_store *s, emr_error *error)
{
    uint32_t n_tasks = s->election->n_tasks;
    emr_status status = EMR_OK;
    if (!emr_merge_is_per(s->plan, EMR_RESCALE_PER_ROW))
        return EMR_OK;
    for (uint32_t t = 0; !status && t < n_tasks; t++)
        status = emr_writer_end(s->writer, s->tasks[t].rescalers, error);
    for (uint32_t t = 0; !status && s->plan->options.extendable && t < n_tasks; t++)
        status = emr_writer_end(s->writer, s->tasks[t].numerators, error);
    return status;
}

emr_status emr_store_kept_begin(emr_store *s, uint32_t entry, emr_error *error)
{
    return emr_merge_embeds(s->plan) ? align_base(s, entry, error) : EMR_OK;
}

emr_status emr_store_kept_bytes(emr_store *s, const void *bytes, size_t n, emr_error *error)
{
    return emr_merge_embeds(s->plan) ? emr_writer_append(s->writer, s->base, bytes, n, error) : EMR_OK;
}

/* Each task has a stream of its own; the one before ends where the next begins. */
static emr_status open_private(emr_store *s, uint32_t task, emr_error *error)
{
    emr_status status = EMR_OK;
    if (s->private_task != EMR_BASE)
        status = emr_writer_end(s->writer, s->private, error);
    s->private_task = task;
    if (!declare_stream(s, &s->private, EMR_STREAM_PRIVATE, task, s->plan->store.value_block_bytes,
                        EMR_TEXTURE_UNKNOWN))
        return emr_no_memory(error, NULL);
    return status;
}

emr_status emr_store_private_begin(emr_store *s, uint32_t task, const emr_tensor *tensor, emr_error *error)
{
    emr_status status = task != s->private_task ? open_private(s, task, error) : EMR_OK;
    if (!status)
        status = emr_writer_align(s->writer, s->private, error);
    if (!status && !emr_index_private(s->writer, task, tensor, emr_writer_bytes(s->writer, s->private)))
        status = emr_no_memory(error, NULL);
    return status;
}

emr_status emr_store_private_bytes(emr_store *s, const void *bytes, size_t n, emr_error *error)
{
    return emr_writer_append(s->writer, s->private, bytes, n, error);
}

emr_status emr_store_end(emr_store *s, emr_error *error)
{
    return s->private_task == EMR_BASE ? EMR_OK : emr_writer_end(s->writer, s->private, error);
}
