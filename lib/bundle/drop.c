/* drop.c - a bundle without some of its tasks: blocks are copied as they are stored, the index is made anew.
 */
#include "bundle/bundle.h"

#include "bundle/writer.h"
#include "core/hash.h"
#include "model/model.h"

#include <string.h>

enum { CHUNK = 64 << 10 }; /* parameters counted at a time */

typedef struct drop {
    const emr_bundle *bundle;
    emr_allocator allocator;
    emr_progress_fn progress;
    void *progress_user;
    uint64_t done, total; /* blocks, of the copy */
    bool *dropped;        /* one a task */
    uint32_t *numbers;    /* of the tasks that stay */
    uint32_t n_left;
    size_t *streams;    /* in the writer; EMR_NO_STREAM: left out */
    uint64_t *next;     /* block of each stream */
    emr_cursor *masks;  /* one a task */
    emr_cursor unified; /* these two to count */
    uint8_t *buffer;    /* of the largest block, and of a chunk */
    emr_writer *writer;
    emr_drop_report report;
} drop;

static emr_status no_memory(const drop *d, emr_error *error)
{
    return emr_fail(error, EMR_ENOMEM, "%s: out of memory", d->bundle->name);
}

/* Streams of the base and of tasks that stay; what growing needs is of no use without all tasks. */
static bool stays(const drop *d, const emr_stream_record *s)
{
    bool known = s->kind > 0 && s->kind < EMR_N_STREAM_KINDS && !emr_is_growth_stream(s->kind);
    return known && (s->owner == EMR_OWNER_BASE || !d->dropped[s->owner]);
}

static emr_status mark(drop *d, const size_t *tasks, size_t n, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    for (size_t i = 0; i < n; i++) {
        if (tasks[i] >= b->summary.n_tasks)
            return emr_fail(error, EMR_ENOTFOUND, "%s: there is no task %u", b->name, (uint64_t)tasks[i]);
        if (d->dropped[tasks[i]])
            return emr_fail(error, EMR_EINVAL, "%s: task '%s' is to be dropped twice", b->name,
                            emr_bundle_task_name(b, tasks[i]));
        d->dropped[tasks[i]] = true;
    }
    if (n >= b->summary.n_tasks)
        return emr_fail(error, EMR_EINVAL, "%s: at least one task must stay", b->name);
    for (size_t t = 0; t < b->summary.n_tasks; t++)
        if (!d->dropped[t])
            d->numbers[t] = d->n_left++;
    return EMR_OK;
}

/* Of a chunk: the masks of the tasks that stay, or of those that do not, one over the other. */
static emr_status unite_masks(drop *d, bool dropped, uint64_t first, size_t n, uint8_t *all, uint8_t *one,
                              emr_error *error)
{
    emr_status status = EMR_OK;
    memset(all, 0, n / 8);
    for (size_t t = 0; !status && t < d->bundle->summary.n_tasks; t++) {
        if (d->dropped[t] != dropped)
            continue;
        status = emr_cursor_read(&d->masks[t], first / 8, one, n / 8, error);
        for (size_t i = 0; !status && i < n / 8; i++)
            all[i] |= one[i];
    }
    return status;
}

static uint64_t count_nonzero(const uint8_t *values, size_t n, unsigned size)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) /* but for the sign */
        count += size == 4 ? (emr_load32(values + 4 * i) & 0x7fffffff) != 0
                           : (emr_load16(values + 2 * i) & 0x7fff) != 0;
    return count;
}

static emr_status count_chunk(drop *d, uint64_t first, size_t n, emr_error *error)
{
    uint8_t *gone = d->buffer + CHUNK * 4, *left = gone + CHUNK / 8, *one = left + CHUNK / 8;
    unsigned size = d->bundle->summary.unified_dtype == EMR_F32 ? 4 : 2;
    emr_status status = emr_cursor_read(&d->unified, first * size, d->buffer, n * size, error);
    if (!status)
        status = unite_masks(d, true, first, n, gone, one, error);
    if (!status)
        status = unite_masks(d, false, first, n, left, one, error);
    if (status)
        return status;
    d->report.unified += count_nonzero(d->buffer, n, size);
    for (size_t i = 0; i < n / 8; i += 8) {
        uint64_t g = emr_load64(gone + i), l = emr_load64(left + i);
        d->report.alone += emr_popcount64(g & ~l);
        d->report.shared += emr_popcount64(g & l);
    }
    return EMR_OK;
}

static emr_status count(drop *d, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    emr_status status =
        emr_cursor_open(&d->unified, b, b->base_streams[EMR_STREAM_UNIFIED], &d->allocator, error);
    for (size_t t = 0; !status && t < b->summary.n_tasks; t++)
        status = emr_cursor_open(&d->masks[t], b, b->task_streams[EMR_STREAM_MASK][t], &d->allocator, error);
    for (uint64_t first = 0; !status && first < b->summary.flat_params; first += CHUNK)
        status = count_chunk(d, first, (size_t)emr_min(CHUNK, b->summary.flat_params - first), error);
    return status;
}

static emr_status declare_streams(drop *d, emr_error *error)
{
    for (size_t i = 0; i < d->bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(d->bundle, i);
        d->streams[i] = EMR_NO_STREAM;
        if (!stays(d, &s))
            continue;
        uint32_t owner = s.owner == EMR_OWNER_BASE ? s.owner : d->numbers[s.owner];
        d->streams[i] = emr_writer_stream(d->writer, (enum emr_stream_kind)s.kind, owner, s.block_bytes,
                                          EMR_TEXTURE_UNKNOWN);
        if (d->streams[i] == EMR_NO_MEMORY_STREAM)
            return no_memory(d, error);
        d->total += emr_stream_blocks(&s);
    }
    return EMR_OK;
}

static emr_status copy_block(drop *d, size_t stream, const emr_stream_record *s, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    uint64_t block = d->next[stream]++;
    emr_block_record r = emr_bundle_block_record(b, (size_t)(s->first_block + block));
    if (r.stored && b->io.read(b->io.user, r.offset, d->buffer, r.stored))
        return emr_fail(error, EMR_EIO, "%s: reading %u bytes at byte %u failed", b->name, (uint64_t)r.stored,
                        r.offset);
    if (r.codec != EMR_CODEC_FILL && emr_hash64(d->buffer, r.stored) != r.hash)
        return emr_fail(error, EMR_ECORRUPT,
                        "%s: the block at byte %u: its checksum differs, the file is damaged", b->name,
                        r.offset);
    emr_status status = emr_writer_copy(d->writer, d->streams[stream], &r, d->buffer,
                                        emr_stream_block_length(s, block), error);
    d->done++;
    if (!status && d->progress && d->progress(d->progress_user, d->done, d->total))
        status = emr_fail(error, EMR_ECANCELED, "%s: canceled", b->name);
    return status;
}

/* In the order of the file, as far as streams lie in it front to back: what was near each other stays so. */
static emr_status copy_blocks(drop *d, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    emr_status status = EMR_OK;
    while (!status && d->done < d->total) {
        size_t best = EMR_NO_STREAM;
        uint64_t best_offset = 0;
        for (size_t i = 0; i < b->n_streams; i++) {
            emr_stream_record s = emr_bundle_stream_record(b, i);
            if (d->streams[i] == EMR_NO_STREAM || d->next[i] == emr_stream_blocks(&s))
                continue;
            uint64_t offset = emr_bundle_block_record(b, (size_t)(s.first_block + d->next[i])).offset;
            if (best == EMR_NO_STREAM || offset < best_offset) {
                best = i;
                best_offset = offset;
            }
        }
        emr_stream_record s = emr_bundle_stream_record(b, best);
        status = copy_block(d, best, &s, error);
    }
    return status;
}

/* A string of the bundle's in the new one. */
static bool copy_string(const drop *d, uint32_t *offset)
{
    *offset = emr_writer_string(d->writer, emr_bundle_string(d->bundle, *offset));
    return *offset != UINT32_MAX;
}

static bool copy_shape(const drop *d, uint32_t rank, uint32_t *shape)
{
    *shape = emr_writer_shape(d->writer, rank, emr_bundle_shape(d->bundle, *shape));
    return *shape != UINT32_MAX;
}

static bool index_tensors(drop *d)
{
    const emr_bundle *b = d->bundle;
    for (size_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        uint8_t *p = emr_writer_record(d->writer, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE);
        if (!p || !copy_string(d, &r.name) || !copy_shape(d, r.rank, &r.shape))
            return false;
        emr_encode_tensor(p, &r);
    }
    return true;
}

static bool index_private(drop *d, size_t task)
{
    const emr_bundle *b = d->bundle;
    for (size_t i = b->first_private[task]; i < b->first_private[task + 1]; i++) {
        emr_private_record r = emr_bundle_private_record(b, i);
        uint8_t *p = emr_writer_record(d->writer, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE);
        r.task = d->numbers[task];
        if (!p || !copy_string(d, &r.name) || !copy_shape(d, r.rank, &r.shape))
            return false;
        emr_encode_private(p, &r);
    }
    return true;
}

/* A task's part of a section that has `size` bytes for each. */
static bool copy_part(drop *d, enum emr_section_kind kind, size_t task, size_t size)
{
    uint8_t *p = emr_writer_record(d->writer, kind, size);
    if (p && size)
        memcpy(p, d->bundle->sections[kind].data + task * size, size);
    return p != NULL;
}

static bool index_task(drop *d, size_t task)
{
    const emr_bundle *b = d->bundle;
    bool per_tensor = b->summary.rescale_per == EMR_PER_TENSOR_BYTE;
    emr_task_record r = emr_bundle_task_record(b, task);
    uint8_t *p = emr_writer_record(d->writer, EMR_SECTION_TASKS, EMR_TASK_SIZE);
    if (!p || !copy_string(d, &r.name))
        return false;
    emr_encode_task(p, &r);
    return copy_part(d, EMR_SECTION_TASK_DTYPES, task, b->summary.n_tensors) &&
           (!per_tensor || copy_part(d, EMR_SECTION_RESCALERS, task, (size_t)b->summary.n_merged * 4)) &&
           index_private(d, task);
}

static bool index_metadata(drop *d)
{
    const emr_bundle *b = d->bundle;
    for (size_t i = 0; i < b->n_metadata; i++) {
        emr_metadata_record r = emr_bundle_metadata_record(b, i);
        if (r.owner != EMR_OWNER_BASE && d->dropped[r.owner])
            continue;
        uint8_t *p = emr_writer_record(d->writer, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        r.owner = r.owner == EMR_OWNER_BASE ? r.owner : d->numbers[r.owner];
        if (!p || !copy_string(d, &r.key) || !copy_string(d, &r.value))
            return false;
        emr_encode_metadata(p, &r);
    }
    return true;
}

static bool make_index(drop *d)
{
    emr_summary summary = d->bundle->summary;
    summary.n_tasks = d->n_left;
    uint8_t *p = emr_writer_record(d->writer, EMR_SECTION_SUMMARY, EMR_SUMMARY_SIZE);
    if (!p)
        return false;
    emr_encode_summary(p, &summary);
    bool there = index_tensors(d);
    for (size_t t = 0; there && t < d->bundle->summary.n_tasks; t++)
        there = d->dropped[t] || index_task(d, t);
    return there && index_metadata(d);
}

static bool allocate(drop *d)
{
    const emr_allocator *a = &d->allocator;
    const emr_bundle *b = d->bundle;
    uint64_t largest = CHUNK * 4 + 3 * CHUNK / 8;
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        uint64_t block = emr_min(s.block_bytes, s.bytes);
        largest = block > largest ? block : largest;
    }
    d->dropped = emr_allocate_array(a, b->summary.n_tasks, sizeof *d->dropped);
    d->numbers = emr_allocate_array(a, b->summary.n_tasks, sizeof *d->numbers);
    d->masks = emr_allocate_array(a, b->summary.n_tasks, sizeof *d->masks);
    d->streams = emr_allocate_array(a, b->n_streams, sizeof *d->streams);
    d->next = emr_allocate_array(a, b->n_streams, sizeof *d->next);
    d->buffer = emr_allocate(a, (size_t)largest);
    return d->dropped && d->numbers && d->masks && d->streams && d->next && d->buffer;
}

static void close_cursors(drop *d)
{
    for (size_t t = 0; d->masks && t < d->bundle->summary.n_tasks; t++)
        emr_cursor_close(&d->masks[t]);
    emr_cursor_close(&d->unified);
}

static void release(drop *d)
{
    const emr_allocator *a = &d->allocator;
    close_cursors(d);
    emr_release(a, d->dropped);
    emr_release(a, d->numbers);
    emr_release(a, d->masks);
    emr_release(a, d->streams);
    emr_release(a, d->next);
    emr_release(a, d->buffer);
}

static emr_status write(drop *d, const emr_io *io, emr_error *error)
{
    emr_workers alone;
    emr_writer_limits limits = {.loose_blocks = 1, .compression = -1};
    emr_status status = emr_workers_create(&alone, &d->allocator, NULL, 1, error);
    if (status)
        return status;
    status = emr_writer_create(&d->writer, io, &d->allocator, &alone, &limits, error);
    if (!status)
        status = declare_streams(d, error);
    if (!status)
        status = copy_blocks(d, error);
    if (!status && !make_index(d))
        status = no_memory(d, error);
    if (!status)
        status = emr_writer_finish(d->writer, error);
    emr_writer_destroy(&d->writer);
    emr_workers_destroy(&alone);
    return status;
}

emr_status emr_bundle_drop(const emr_bundle *b, const size_t *tasks, size_t n_tasks, const emr_io *given,
                           const emr_drop_options *given_options, emr_drop_report *report, emr_error *error)
{
    emr_drop_options options;
    emr_io io;
    if (!b || !tasks || !n_tasks)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_drop: a bundle and at least one task are needed");
    drop d = {.bundle = b, .allocator = b->allocator};
    emr_status status = emr_take_struct(&options, sizeof options, sizeof(emr_drop_options), given_options,
                                        "emr_drop_options", error);
    if (!status)
        status = emr_io_take(&io, given, error);
    if (!status && !io.write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    if (!status && options.allocator)
        status = emr_allocator_take(&d.allocator, options.allocator, error);
    if (status)
        return status;
    d.progress = options.progress;
    d.progress_user = options.progress_user;
    status = allocate(&d) ? mark(&d, tasks, n_tasks, error) : no_memory(&d, error);
    if (!status)
        status = count(&d, error);
    close_cursors(&d);
    if (!status)
        status = write(&d, &io, error);
    d.report.lost_growth = b->sections[EMR_SECTION_GROWTH].data != NULL;
    release(&d);
    return !status && report ? emr_give_struct(report, &d.report, sizeof d.report, sizeof(emr_drop_report))
                             : status;
}
