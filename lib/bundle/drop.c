/* drop.c - a bundle without some of its tasks: blocks are copied as they are stored, the index is made anew.
 * A hostile bundle can have any number of tasks, large blocks that are one byte over and over, and records
 * that share their strings: memory does not grow with tasks but for the index, such blocks are not decoded,
 * and what is shared stays so. */
#include "bundle/bundle.h"

#include "bundle/writer.h"
#include "core/hash.h"
#include "model/model.h"

#include <string.h>

typedef struct drop {
    const emr_bundle *bundle;
    emr_allocator allocator;
    emr_progress_fn progress;
    void *progress_user;
    uint64_t done, total; /* stored bytes: counted, then copied */
    bool *dropped;        /* one a task */
    uint32_t *numbers;    /* of the tasks that stay */
    uint32_t n_left;
    size_t *streams; /* in the writer; EMR_NO_STREAM: left out */
    uint64_t *next;  /* block of each stream */
    size_t *queue;   /* streams that still have blocks: a heap, the next in the file on top */
    size_t n_queued;
    uint8_t *buffer;       /* of the largest stored block */
    uint32_t *strings;     /* by offset in the bundle: offset in the new one + 1; 0: not there yet */
    uint64_t string_bytes; /* in the new one */
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
    return known && (s->owner == EMR_BASE || !d->dropped[s->owner]);
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

static emr_status advance(drop *d, uint64_t bytes, emr_error *error)
{
    d->done += bytes;
    if (d->progress && d->progress(d->progress_user, d->done, d->total))
        return emr_fail(error, EMR_ECANCELED, "%s: canceled", d->bundle->name);
    return EMR_OK;
}

/* Bytes in the file of the blocks that hold [first, first + n) of a stream. */
static uint64_t stored_bytes(const emr_bundle *b, size_t stream, uint64_t first, uint64_t n)
{
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    uint64_t stored = 0;
    for (uint64_t at = first / s.block_bytes * s.block_bytes; at < first + n; at += s.block_bytes)
        stored += emr_bundle_block_record(b, (size_t)(s.first_block + at / s.block_bytes)).stored;
    return stored;
}

/* Whether [first, first + n) of a stream is one byte, over and over, as the block table tells. */
static bool is_filled(const emr_bundle *b, size_t stream, uint64_t first, uint64_t n, uint8_t *byte)
{
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    for (uint64_t k = first / s.block_bytes; k * s.block_bytes < first + n; k++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(s.first_block + k));
        if (r.codec != EMR_CODEC_FILL || (k > first / s.block_bytes && r.parameter != *byte))
            return false;
        *byte = r.parameter;
    }
    return true;
}

static uint64_t count_nonzero(const uint8_t *values, size_t n, unsigned size)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) /* but for the sign */
        count += size == 4 ? (emr_load32(values + 4 * i) & 0x7fffffff) != 0
                           : (emr_load16(values + 2 * i) & 0x7fff) != 0;
    return count;
}

static emr_status count_unified(drop *d, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    size_t stream = b->base_streams[EMR_STREAM_UNIFIED], n;
    unsigned size = b->summary.unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
    emr_cursor c;
    emr_status status = emr_cursor_open(&c, b, stream, &d->allocator, error);
    for (uint64_t at = 0; !status && at < c.stream.bytes; at += n) {
        const uint8_t *values;
        uint8_t byte = 0;
        n = emr_stream_block_length(&c.stream, at / c.stream.block_bytes);
        if (is_filled(b, stream, at, n, &byte))
            d->report.unified += byte ? n / size : 0;
        else if ((status = emr_cursor_at(&c, at, &values, &n, error)) == EMR_OK)
            d->report.unified += count_nonzero(values, n / size, size);
        if (!status)
            status = advance(d, stored_bytes(b, stream, at, n), error);
    }
    emr_cursor_close(&c);
    return status;
}

/* Where the masks of the tasks that go, and of those that stay, are laid over one another. */
typedef struct unions {
    emr_cursor cursor; /* of one mask after the other */
    uint8_t *gone, *left;
    size_t n; /* bytes of each: the largest block of a mask, so that none is decoded twice */
} unions;

static emr_status unite(unions *u, size_t stream, uint64_t first, size_t n, uint8_t *all, emr_error *error)
{
    emr_status status = EMR_OK;
    size_t available;
    u->cursor.stream = emr_bundle_stream_record(u->cursor.bundle, stream);
    u->cursor.block = UINT64_MAX;
    for (size_t at = 0; !status && at < n; at += available) {
        const uint8_t *mask;
        status = emr_cursor_at(&u->cursor, first + at, &mask, &available, error);
        if (status)
            return status;
        available = (size_t)emr_min(available, n - at);
        for (size_t i = 0; i < available; i++)
            all[at + i] |= mask[i];
    }
    return status;
}

static void count_bits(drop *d, uint64_t gone, uint64_t left, uint64_t times)
{
    d->report.alone += emr_popcount64(gone & ~left) * times;
    d->report.shared += emr_popcount64(gone & left) * times;
}

/* [first, first + n) of all masks, where it is needed bit by bit. */
static emr_status count_stretch(drop *d, unions *u, uint64_t first, size_t n, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    emr_status status = EMR_OK;
    memset(u->gone, 0, n);
    memset(u->left, 0, n);
    for (size_t t = 0; !status && t < b->summary.n_tasks; t++) {
        size_t stream = b->task_streams[EMR_STREAM_MASK][t];
        status = unite(u, stream, first, n, d->dropped[t] ? u->gone : u->left, error);
        if (!status)
            status = advance(d, stored_bytes(b, stream, first, n), error);
    }
    for (size_t i = 0; !status && i < n; i += 8)
        count_bits(d, emr_load64(u->gone + i), emr_load64(u->left + i), 1);
    return status;
}

static emr_status count_masks(drop *d, unions *u, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    uint64_t bytes = b->summary.flat_params / 8, first = 0;
    emr_status status = EMR_OK;
    for (size_t n; !status && first < bytes; first += n) {
        uint8_t byte = 0, united[2] = {0, 0}; /* of those that stay, and that go */
        bool filled = true;
        n = (size_t)emr_min(u->n, bytes - first);
        for (size_t t = 0; filled && t < b->summary.n_tasks; t++) {
            filled = is_filled(b, b->task_streams[EMR_STREAM_MASK][t], first, n, &byte);
            united[d->dropped[t]] |= filled ? byte : 0;
        }
        if (filled) {
            count_bits(d, united[true], united[false], n);
            status = advance(d, 0, error);
        } else {
            status = count_stretch(d, u, first, n, error);
        }
    }
    return status;
}

/* The mask stream with the largest blocks. */
static size_t coarsest_mask(const emr_bundle *b, size_t *block_bytes)
{
    size_t coarsest = EMR_NO_STREAM;
    *block_bytes = 0;
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        emr_stream_record s = emr_bundle_stream_record(b, b->task_streams[EMR_STREAM_MASK][t]);
        if (s.block_bytes <= *block_bytes)
            continue;
        coarsest = b->task_streams[EMR_STREAM_MASK][t];
        *block_bytes = s.block_bytes;
    }
    return coarsest;
}

static emr_status count(drop *d, emr_error *error)
{
    const emr_bundle *b = d->bundle;
    unions u = {.gone = NULL};
    if (b->summary.flat_params == 0) /* the streams may be absent */
        return EMR_OK;
    size_t coarsest = coarsest_mask(b, &u.n);
    emr_status status = count_unified(d, error);
    if (!status)
        status = emr_cursor_open(&u.cursor, b, coarsest, &d->allocator, error);
    u.n = (size_t)emr_min(u.n, b->summary.flat_params / 8);
    u.gone = emr_allocate(&d->allocator, u.n);
    u.left = emr_allocate(&d->allocator, u.n);
    if (!status)
        status = u.gone && u.left ? count_masks(d, &u, error) : no_memory(d, error);
    emr_cursor_close(&u.cursor);
    emr_release(&d->allocator, u.gone);
    emr_release(&d->allocator, u.left);
    return status;
}

/* Streams that are read, each time they are: of the progress. */
static void measure(drop *d, bool counts)
{
    for (size_t i = 0; i < d->bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(d->bundle, i);
        bool counted = counts && (s.kind == EMR_STREAM_UNIFIED || s.kind == EMR_STREAM_MASK);
        d->total += stored_bytes(d->bundle, i, 0, s.bytes) * (uint64_t)(counted + stays(d, &s));
    }
}

static emr_status declare_streams(drop *d, emr_error *error)
{
    for (size_t i = 0; i < d->bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(d->bundle, i);
        d->streams[i] = EMR_NO_STREAM;
        if (!stays(d, &s))
            continue;
        uint32_t owner = s.owner == EMR_BASE ? s.owner : d->numbers[s.owner];
        d->streams[i] = emr_writer_stream(d->writer, (enum emr_stream_kind)s.kind, owner, s.block_bytes,
                                          EMR_TEXTURE_UNKNOWN);
        if (d->streams[i] == EMR_NO_MEMORY_STREAM)
            return no_memory(d, error);
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
    return status ? status : advance(d, r.stored, error);
}

static uint64_t next_offset(const drop *d, size_t stream)
{
    emr_stream_record s = emr_bundle_stream_record(d->bundle, stream);
    return emr_bundle_block_record(d->bundle, (size_t)(s.first_block + d->next[stream])).offset;
}

/* By offset; by number where two streams are equal. */
static bool comes_before(const drop *d, size_t a, size_t b)
{
    uint64_t offset_a = next_offset(d, a), offset_b = next_offset(d, b);
    return offset_a < offset_b || (offset_a == offset_b && a < b);
}

static void sift_down(drop *d, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < d->n_queued; at = child) {
        if (child + 1 < d->n_queued && comes_before(d, d->queue[child + 1], d->queue[child]))
            child++;
        if (comes_before(d, d->queue[at], d->queue[child]))
            return;
        size_t moved = d->queue[at];
        d->queue[at] = d->queue[child];
        d->queue[child] = moved;
    }
}

/* In the order of the file, as far as streams lie in it front to back: what was near each other stays so. */
static emr_status copy_blocks(drop *d, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; i < d->bundle->n_streams; i++)
        if (d->streams[i] != EMR_NO_STREAM && emr_bundle_stream_record(d->bundle, i).bytes)
            d->queue[d->n_queued++] = i;
    for (size_t i = d->n_queued / 2; i-- > 0;)
        sift_down(d, i);
    while (!status && d->n_queued) {
        size_t stream = d->queue[0];
        emr_stream_record s = emr_bundle_stream_record(d->bundle, stream);
        status = copy_block(d, stream, &s, error);
        if (d->next[stream] == emr_stream_blocks(&s))
            d->queue[0] = d->queue[--d->n_queued];
        sift_down(d, 0);
    }
    return status;
}

/* A string of the bundle's in the new one: once, however many records share it. */
static bool copy_string(drop *d, uint32_t *offset)
{
    uint32_t *copy = &d->strings[*offset];
    const char *text = emr_bundle_string(d->bundle, *offset);
    if (!*copy) {
        *copy = emr_writer_string(d->writer, text) + 1; /* 0 too where there is no room */
        d->string_bytes += strlen(text) + 1;
    }
    *offset = *copy - 1;
    return *copy != 0;
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

/* The entries of one owner may refer to no more than the strings hold, each time counted: where they share
 * strings and what filled the section has gone, zeros take its place. */
static bool fill_strings(drop *d, uint64_t referred)
{
    uint64_t wanted = emr_min(referred, d->bundle->sections[EMR_SECTION_STRINGS].size);
    return wanted <= d->string_bytes ||
           emr_writer_record(d->writer, EMR_SECTION_STRINGS, (size_t)(wanted - d->string_bytes));
}

static bool index_metadata(drop *d)
{
    const emr_bundle *b = d->bundle;
    uint64_t referred = 0, enough = b->sections[EMR_SECTION_STRINGS].size;
    for (size_t i = 0; i < b->n_metadata; i++) {
        emr_metadata_record r = emr_bundle_metadata_record(b, i);
        if (r.owner != EMR_BASE && d->dropped[r.owner])
            continue;
        if (referred < enough)
            referred += strlen(emr_bundle_string(b, r.key)) + strlen(emr_bundle_string(b, r.value)) + 2;
        uint8_t *p = emr_writer_record(d->writer, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        r.owner = r.owner == EMR_BASE ? r.owner : d->numbers[r.owner];
        if (!p || !copy_string(d, &r.key) || !copy_string(d, &r.value))
            return false;
        emr_encode_metadata(p, &r);
    }
    return fill_strings(d, referred);
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
    size_t largest = 0;
    for (size_t i = 0; i < b->n_blocks; i++) {
        size_t stored = emr_bundle_block_record(b, i).stored;
        largest = stored > largest ? stored : largest;
    }
    d->dropped = emr_allocate_array(a, b->summary.n_tasks, sizeof *d->dropped);
    d->numbers = emr_allocate_array(a, b->summary.n_tasks, sizeof *d->numbers);
    d->streams = emr_allocate_array(a, b->n_streams, sizeof *d->streams);
    d->next = emr_allocate_array(a, b->n_streams, sizeof *d->next);
    d->queue = emr_allocate_array(a, b->n_streams, sizeof *d->queue);
    d->strings = emr_allocate_array(a, (size_t)b->sections[EMR_SECTION_STRINGS].size, sizeof *d->strings);
    d->buffer = emr_allocate(a, largest);
    return d->dropped && d->numbers && d->streams && d->next && d->queue && d->strings && d->buffer;
}

static void release(drop *d)
{
    const emr_allocator *a = &d->allocator;
    emr_release(a, d->dropped);
    emr_release(a, d->numbers);
    emr_release(a, d->streams);
    emr_release(a, d->next);
    emr_release(a, d->queue);
    emr_release(a, d->strings);
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
    if (!status && report && emr_give_struct(report, &d.report, sizeof d.report, sizeof(emr_drop_report)))
        status = emr_fail(error, EMR_EINVAL, "emr_drop_report.size is too small");
    if (!status && options.allocator)
        status = emr_allocator_take(&d.allocator, options.allocator, error);
    if (status)
        return status;
    d.progress = options.progress;
    d.progress_user = options.progress_user;
    status = allocate(&d) ? mark(&d, tasks, n_tasks, error) : no_memory(&d, error);
    if (!status)
        measure(&d, report != NULL);
    if (!status && report)
        status = count(&d, error);
    if (!status)
        status = write(&d, &io, error);
    d.report.lost_growth = b->sections[EMR_SECTION_GROWTH].data != NULL;
    release(&d);
    return !status && report ? emr_give_struct(report, &d.report, sizeof d.report, sizeof(emr_drop_report))
                             : status;
}
