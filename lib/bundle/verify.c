/* verify.c - reading a bundle whole: every checksum, every padding byte, nothing in between; and whether a
 * model is the base it was made with. Freestanding. */
#include "bundle/bundle.h"

#include "core/hash.h"
#include "core/work.h"
#include "model/model.h"

#include <string.h>

typedef struct span {
    uint64_t offset, end;
    uint64_t block; /* its number in the block table */
} span;

/* Heap sort by offset: in place, no recursion, and no worst case that a hostile file could pick. */
static void sift_down(span *s, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && s[child + 1].offset > s[child].offset)
            child++;
        if (s[at].offset >= s[child].offset)
            return;
        span t = s[at];
        s[at] = s[child];
        s[child] = t;
    }
}

static void sort_spans(span *s, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(s, i, n);
    for (size_t end = n; end > 1;) {
        end--;
        span t = s[0];
        s[0] = s[end];
        s[end] = t;
        sift_down(s, 0, end);
    }
}

/* Blocks must follow each other with nothing between but fewer than 64 zero bytes. */
static emr_status check_gap(const emr_bundle *b, uint64_t from, uint64_t to, emr_error *error)
{
    uint8_t gap[EMR_RAW_ALIGNMENT];
    if (to < from)
        return emr_fail(error, EMR_EFORMAT, "%s: two blocks overlap at byte %u", b->name, to);
    if (to - from >= EMR_RAW_ALIGNMENT)
        return emr_fail(error, EMR_EFORMAT, "%s: bytes %u to %u belong to nothing", b->name, from, to);
    size_t n = (size_t)(to - from);
    if (n && b->io.read(b->io.user, from, gap, n))
        return emr_fail(error, EMR_EIO, "%s: reading %u bytes at byte %u failed", b->name, (uint64_t)n, from);
    for (size_t i = 0; i < n; i++)
        if (gap[i])
            return emr_fail(error, EMR_ECORRUPT,
                            "%s: the padding at byte %u is not zero, the file is damaged", b->name, from + i);
    return EMR_OK;
}

static emr_status check_tiling(const emr_bundle *b, emr_error *error)
{
    span *spans = emr_allocate_array(&b->allocator, b->n_blocks, sizeof *spans);
    size_t n = 0;
    if (!spans)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    for (size_t i = 0; i < b->n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(b, i);
        if (r.stored)
            spans[n++] = (span){r.offset, r.offset + r.stored, i};
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
    emr_release(&b->allocator, spans);
    return status;
}

enum { VERIFY_ROUND = 64 }; /* blocks that each worker checks between two calls of the progress callback */

typedef struct verify_state {
    emr_cursor *cursors; /* one a worker */
    uint64_t first;      /* block of the stream with which the round begins */
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

static emr_status verify_stream(const emr_bundle *b, size_t stream, verify_state *v,
                                const emr_workers *workers, emr_progress_fn progress, void *user,
                                uint64_t *done, emr_error *error)
{
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    uint64_t n = emr_stream_blocks(&s);
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < workers->n; i++)
        status = emr_cursor_open(&v->cursors[i], b, stream, &b->allocator, error);
    for (uint64_t first = 0, round; !status && first < n; first += round) {
        round = emr_min(n - first, VERIFY_ROUND * workers->n);
        v->first = first;
        status = emr_work(workers, (size_t)round, verify_block, v, error);
        for (uint64_t k = first; k < first + round; k++)
            *done += emr_bundle_block_record(b, (size_t)(s.first_block + k)).stored;
        if (!status && progress && progress(user, *done, b->bytes))
            status = emr_fail(error, EMR_ECANCELED, "%s: canceled", b->name);
    }
    for (size_t i = 0; i < workers->n; i++)
        emr_cursor_close(&v->cursors[i]);
    return status;
}

emr_status emr_bundle_verify(const emr_bundle *b, const emr_executor *executor, emr_progress_fn progress,
                             void *user, emr_error *error)
{
    emr_workers workers;
    verify_state v = {0};
    uint64_t done = 0;
    if (!b)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_verify: NULL");
    emr_status status = emr_workers_create(&workers, &b->allocator, executor, SIZE_MAX, error);
    if (!status)
        status = check_tiling(b, error);
    if (!status) {
        v.cursors = emr_allocate_array(&b->allocator, workers.n, sizeof *v.cursors);
        if (!v.cursors)
            status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    }
    for (size_t i = 0; !status && i < b->n_streams; i++)
        status = verify_stream(b, i, &v, &workers, progress, user, &done, error);
    emr_release(&b->allocator, v.cursors);
    emr_workers_destroy(&workers);
    return status;
}

enum { HASH_BUFFER = 256 << 10 };

typedef enum base_fault { SAME, ABSENT, OTHER_DTYPE, OTHER_SHAPE, OTHER_BYTES, UNREADABLE } base_fault;

static const char *const fault_texts[] = {"same",
                                          "it is absent from the given base",
                                          "its dtype differs",
                                          "its shape differs",
                                          "its values differ",
                                          "reading it failed"};

typedef struct base_check {
    const emr_bundle *bundle;
    const emr_model *base;
    uint8_t *faults;  /* a base_fault for each tensor */
    uint8_t *buffers; /* HASH_BUFFER bytes for each worker */
    size_t first;     /* tensor with which the round begins */
} base_check;

static base_fault compare_tensor(const base_check *check, size_t i, uint8_t *buffer)
{
    const emr_bundle *b = check->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    const emr_tensor *t = emr_model_find(check->base, emr_bundle_string(b, r.name));
    if (!t)
        return ABSENT;
    if ((unsigned)t->dtype != r.dtype)
        return OTHER_DTYPE;
    if (t->rank != r.rank || (r.rank && memcmp(t->shape, emr_bundle_shape(b, r.shape), r.rank * 8u) != 0))
        return OTHER_SHAPE;
    emr_hasher hasher;
    emr_hasher_init(&hasher);
    for (uint64_t at = 0; at < t->bytes; at += HASH_BUFFER) {
        size_t n = (size_t)emr_min(HASH_BUFFER, t->bytes - at);
        if (emr_tensor_read(t, at, buffer, n, NULL))
            return UNREADABLE;
        emr_hasher_update(&hasher, buffer, n);
    }
    emr_hash128 hash = emr_hasher_digest(&hasher);
    return hash.low == r.hash_low && hash.high == r.hash_high ? SAME : OTHER_BYTES;
}

static emr_status compare_job(void *context, size_t job, size_t worker, emr_error *error)
{
    base_check *check = context;
    (void)error;
    size_t i = check->first + job;
    check->faults[i] = (uint8_t)compare_tensor(check, i, check->buffers + worker * HASH_BUFFER);
    return EMR_OK;
}

/* The first fault makes the sentence; all are told to `differs`. */
static emr_status report_faults(const base_check *check,
                                void (*differs)(void *user, const char *tensor, const char *why), void *user,
                                emr_error *error)
{
    const emr_bundle *b = check->bundle;
    emr_status status = EMR_OK;
    for (size_t i = 0; i < b->summary.n_tensors; i++) {
        const char *name = emr_bundle_tensor_name(b, i), *why = fault_texts[check->faults[i]];
        if (check->faults[i] == SAME)
            continue;
        if (!status)
            status = emr_fail(error, check->faults[i] == UNREADABLE ? EMR_EIO : EMR_EMISMATCH,
                              "%s: %s is not the base of this bundle: tensor '%s': %s", b->name,
                              check->base->name, name, why);
        if (differs)
            differs(user, name, why);
    }
    return status;
}

enum { BASE_ROUND = 8 }; /* tensors that each worker compares between two calls of the progress callback */

static uint64_t base_bytes(const base_check *check, size_t i)
{
    const emr_tensor *t = emr_model_find(check->base, emr_bundle_tensor_name(check->bundle, i));
    return t ? t->bytes : 0;
}

/* Compares every tensor, in rounds. */
static emr_status compare_all(base_check *check, const emr_workers *workers, emr_progress_fn progress,
                              void *user, emr_error *error)
{
    const emr_bundle *b = check->bundle;
    uint64_t done = 0, total = 0;
    emr_status status = EMR_OK;
    for (size_t i = 0; i < b->summary.n_tensors; i++)
        total += base_bytes(check, i);
    for (size_t n; !status && check->first < b->summary.n_tensors; check->first += n) {
        n = (size_t)emr_min(BASE_ROUND * workers->n, b->summary.n_tensors - check->first);
        status = emr_work(workers, n, compare_job, check, error);
        for (size_t i = check->first; i < check->first + n; i++) {
            done += base_bytes(check, i);
        }
        if (!status && progress && progress(user, done, total))
            status = emr_fail(error, EMR_ECANCELED, "%s: canceled", b->name);
    }
    return status;
}

emr_status emr_bundle_check_base(const emr_bundle *b, const emr_model *base, const emr_executor *executor,
                                 emr_progress_fn progress, void *progress_user,
                                 void (*differs)(void *user, const char *tensor, const char *why),
                                 void *differs_user, emr_error *error)
{
    emr_workers workers;
    base_check check = {.bundle = b, .base = base};
    if (!b || !base)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_check_base: NULL");
    emr_status status = emr_workers_create(&workers, &b->allocator, executor, SIZE_MAX, error);
    if (status)
        return status;
    check.faults = emr_allocate_array(&b->allocator, b->summary.n_tensors, 1);
    check.buffers = emr_allocate_array(&b->allocator, workers.n, HASH_BUFFER);
    if (!check.faults || !check.buffers)
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    if (!status)
        status = compare_all(&check, &workers, progress, progress_user, error);
    if (!status)
        status = report_faults(&check, differs, differs_user, error);
    emr_release(&b->allocator, check.faults);
    emr_release(&b->allocator, check.buffers);
    emr_workers_destroy(&workers);
    return status;
}
