/* verify.c - reading a bundle whole: every checksum, every padding byte, nothing in between. Freestanding. */
#include "bundle/bundle.h"

#include "core/work.h"

/* Where a block lies in the file. */
typedef struct block_span {
    uint64_t offset, end;
} block_span;

/* Heap sort by offset: in place, no recursion, and no worst case that a hostile file could pick. */
static void sift_span(block_span *s, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && s[child + 1].offset > s[child].offset)
            child++;
        if (s[at].offset >= s[child].offset)
            return;
        block_span t = s[at];
        s[at] = s[child];
        s[child] = t;
    }
}

static void sort_spans(block_span *s, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_span(s, i, n);
    for (size_t end = n; end > 1;) {
        end--;
        block_span t = s[0];
        s[0] = s[end];
        s[end] = t;
        sift_span(s, 0, end);
    }
}

/* Blocks must follow each other with nothing between but fewer than 64 zero bytes. */
static emr_status check_gap(const emr_bundle *b, uint64_t from, uint64_t to, emr_error *error)
{
    uint8_t gap[EMR_RAW_ALIGNMENT];
    if (to < from)
        return emr_fail(error, EMR_EFORMAT, "%F: two blocks overlap at byte %u", b->name, to);
    if (to - from >= EMR_RAW_ALIGNMENT)
        return emr_fail(error, EMR_EFORMAT, "%F: bytes %u to %u belong to nothing", b->name, from, to);
    size_t n = (size_t)(to - from);
    emr_status status = n ? emr_bundle_read(b, from, gap, n, error) : EMR_OK;
    for (size_t i = 0; !status && i < n; i++)
        if (gap[i])
            status =
                emr_fail(error, EMR_ECORRUPT, "%F: the padding at byte %u is not zero, the file is damaged",
                         b->name, from + i);
    return status;
}

static emr_status check_block_tiling(const emr_bundle *b, const emr_allocator *allocator, emr_error *error)
{
    block_span *spans = emr_allocate_array(allocator, b->n_blocks, sizeof *spans);
    size_t n = 0;
    if (!spans)
        return emr_no_memory(error, b->name);
    for (size_t i = 0; i < b->n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(b, i);
        if (r.stored)
            spans[n++] = (block_span){r.offset, r.offset + r.stored};
    }
    sort_spans(spans, n);
    uint64_t at = EMR_HEADER_SIZE;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < n; i++) {
        status = check_gap(b, at, spans[i].offset, error);
        at = spans[i].end;
    }
    if (!status)
        status = check_gap(b, at, b->index_offset, error);
    emr_release(allocator, spans);
    return status;
}

emr_status emr_bundle_create_workers(emr_workers *w, const emr_bundle *b, const emr_env *env, uint64_t fixed,
                                     uint64_t each, emr_error *error)
{
    enum { WORKER_TABLES = 1 << 10 }; /* what emr_workers has for each */
    size_t limit = SIZE_MAX;
    each += WORKER_TABLES;
    if (env->memory_bytes && env->memory_bytes < fixed + each)
        return emr_fail(error, EMR_ELIMIT, "%F: %u bytes of memory are too little, %u are needed", b->name,
                        env->memory_bytes, fixed + each);
    if (env->memory_bytes)
        limit = (size_t)emr_min((env->memory_bytes - fixed) / each, SIZE_MAX);
    return emr_workers_create(w, env, limit, error);
}

/* Blocks that each worker checks between two calls of the progress callback. */
enum { ROUND_BYTES = 8 << 20 };

typedef struct verify_state {
    const emr_bundle *bundle;
    emr_env env;
    emr_workers workers;
    emr_cursor *cursors; /* one a worker */
    uint64_t first;      /* block of the stream with which the round begins */
    uint64_t done;       /* bytes of the file */
} verify_state;

static emr_status verify_block(void *context, size_t job, size_t worker, emr_error *error)
{
    const verify_state *v = context;
    emr_cursor *c = &v->cursors[worker];
    const uint8_t *data;
    size_t available;
    emr_block_record r = emr_bundle_block_record(c->bundle, (size_t)(c->stream.first_block + v->first + job));
    if (r.codec == EMR_CODEC_FILL) /* nothing is stored, and a small file can have any number of large ones */
        return EMR_OK;
    return emr_cursor_at(c, (v->first + job) * c->stream.block_bytes, &data, &available, error);
}

static emr_status verify_stream(verify_state *v, size_t stream, emr_error *error)
{
    const emr_bundle *b = v->bundle;
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    uint64_t n = emr_stream_blocks(&s), most = v->workers.n * (uint64_t)(1 + ROUND_BYTES / s.block_bytes);
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < v->workers.n; i++)
        status = emr_cursor_open(&v->cursors[i], b, stream, &v->env.allocator, error);
    for (uint64_t round; !status && v->first < n; v->first += round) {
        round = emr_min(n - v->first, most);
        status = emr_work(&v->workers, (size_t)round, verify_block, v, error);
        for (uint64_t k = v->first; k < v->first + round; k++)
            v->done += emr_bundle_block_record(b, (size_t)(s.first_block + k)).stored;
        if (!status)
            status = emr_env_progress(&v->env, v->done, b->bytes, "verifying the bundle", error);
    }
    v->first = 0;
    for (size_t i = 0; i < v->workers.n; i++)
        emr_cursor_close(&v->cursors[i]);
    return status;
}

/* The most that a cursor over any of the streams takes. */
static uint64_t largest_cursor(const emr_bundle *b)
{
    uint64_t most = 0;
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        uint64_t bytes = sizeof(emr_cursor) + emr_cursor_memory(&s);
        most = bytes > most ? bytes : most;
    }
    return most;
}

emr_status emr_bundle_verify(const emr_bundle *b, const emr_resources *resources, emr_error *error)
{
    verify_state v = {.bundle = b};
    if (!b)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_verify: NULL");
    emr_status status = emr_env_take(&v.env, resources, &b->allocator, error);
    if (!status)
        status = emr_bundle_create_workers(&v.workers, b, &v.env, b->n_blocks * sizeof(block_span),
                                           largest_cursor(b), error);
    if (status)
        return status;
    status = check_block_tiling(b, &v.env.allocator, error);
    v.cursors = emr_allocate_array(&v.env.allocator, v.workers.n, sizeof *v.cursors);
    if (!status && !v.cursors)
        status = emr_no_memory(error, b->name);
    for (size_t i = 0; !status && i < b->n_streams; i++)
        status = verify_stream(&v, i, error);
    emr_release(&v.env.allocator, v.cursors);
    emr_workers_destroy(&v.workers);
    return status;
}
