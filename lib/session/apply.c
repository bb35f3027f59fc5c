/* apply.c - a task's weights into the engine's memory.
 *
 * The host's array is gone through twice by the calling thread: first every element is checked, so that
 * nothing is written where any is wrong; then each is resolved again and emitted. Workers never see the
 * array: what they work on are pieces of the session's own, which say where weights go. Freestanding. */
#include "session/session.h"

#include "core/io.h"
#include "model/model.h"
#include "numeric/convert.h"

#include <string.h>

/* More output than this does not stay in the caches until it is used. */
enum { STREAM_BYTES = 8 << 20 };

/* One of the engine's tensors, checked, and where its weights come from. */
typedef struct apply_target {
    emr_weights to; /* its count and dtype are what they stand for, never 0 */
    enum { FROM_MERGED, FROM_KEPT, FROM_PRIVATE } from;
    size_t i; /* number of the base's tensor, or of the private one */
    const emr_tensor *kept;
    uint64_t count; /* elements of the whole tensor */
    emr_dtype stored;
    emr_dtype dtype; /* in the task's checkpoint */
} apply_target;

typedef struct apply_call {
    emr_session *session;
    emr_session_task *task;
    const emr_weights *weights;
    size_t weights_size; /* of each in the host's array */
    bool stream;
} apply_call;

/* An element of the host's array. */
static emr_status take_weights(const apply_call *a, size_t i, emr_weights *to, emr_error *error)
{
    const emr_weights *given = (const void *)((const uint8_t *)a->weights + i * a->weights_size);
    if (given->size != a->weights_size)
        return emr_fail(error, EMR_EINVAL, "emr_weights: not the same size in all");
    emr_status status = EMR_TAKE(to, given, emr_weights, error);
    if (!status && !to->name)
        status = emr_fail(error, EMR_EINVAL, "emr_weights: a name is required");
    return status;
}

static emr_status fail_unchanged(const emr_bundle *b, const apply_target *t, emr_error *error)
{
    return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is not merged: it has no change to give without_base",
                    b->name, t->to.name);
}

static emr_status find_base_tensor(const apply_call *a, apply_target *t, uint32_t i, emr_error *error)
{
    const emr_bundle *b = a->session->shared->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    t->from = r.merged ? FROM_MERGED : FROM_KEPT;
    t->i = i;
    t->count = emr_bundle_count(b, &r);
    t->stored = r.dtype;
    t->dtype = a->task->task == EMR_BASE ? t->stored : emr_bundle_task_dtype(b, a->task->task, i);
    if (t->to.without_base && !r.merged)
        return fail_unchanged(b, t, error);
    if (t->to.without_base)
        t->dtype = EMR_DTYPE_F32;
    else if (!a->session->shared->base)
        return emr_fail(
            error, EMR_ESTATE,
            r.merged ? "%F: tensor '%T': this session has no base: set without_base, for the change alone"
                     : "%F: tensor '%T' is kept from the base, and this session has none",
            b->name, t->to.name);
    return r.merged ? EMR_OK : emr_bundle_base_tensor(b, a->session->shared->base, i, &t->kept, error);
}

static void find_private_tensor(const emr_bundle *b, apply_target *t, size_t i)
{
    emr_private_record p = emr_bundle_private_record(b, i);
    t->from = FROM_PRIVATE;
    t->i = i;
    t->stored = t->dtype = p.dtype;
    t->count = 1;
    for (uint32_t d = 0; d < p.rank; d++)
        t->count *= emr_bundle_shape(b, p.shape)[d];
}

static emr_status find_source(const apply_call *a, apply_target *t, emr_error *error)
{
    const emr_bundle *b = a->session->shared->bundle;
    uint32_t task = a->task->task, i;
    if (emr_bundle_find_tensor(b, t->to.name, &i, NULL) == EMR_OK &&
        (task == EMR_BASE || emr_bundle_task_dtype(b, task, i) != EMR_DTYPE_NONE))
        return find_base_tensor(a, t, i, error);
    size_t private = emr_session_find_private(a->task, t->to.name);
    if (private != EMR_NAMES_NONE) {
        find_private_tensor(b, t, private);
        return t->to.without_base ? fail_unchanged(b, t, error) : EMR_OK;
    }
    if (task == EMR_BASE)
        return emr_fail(error, EMR_ENOTFOUND, "%F: the base has no tensor '%T'", b->name, t->to.name);
    return emr_fail(error, EMR_ENOTFOUND, "%F: task '%K' has no tensor '%T'", b->name,
                    emr_bundle_task_name(b, task), t->to.name);
}

static emr_status check_elements(const emr_bundle *b, apply_target *t, emr_error *error)
{
    emr_weights *to = &t->to;
    if (to->first > t->count || to->count > t->count - to->first)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has %u elements, asked for %u from %u", b->name,
                        to->name, t->count, to->count, to->first);
    if (to->dtype && to->dtype != t->dtype &&
        (!emr_dtype_is_float(to->dtype) || !emr_dtype_is_float(t->stored)))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is %s and cannot be given in another dtype",
                        b->name, to->name, emr_dtype_name(t->dtype));
    if (emr_dtype_bits(t->stored) % 8)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: tensor '%T' has elements of less than a byte", b->name,
                        to->name);
    to->count = to->count ? to->count : t->count - to->first;
    to->dtype = to->dtype ? to->dtype : t->dtype;
    return EMR_OK;
}

static bool memory_overlaps(const uint8_t *a, uint64_t a_bytes, const uint8_t *b, uint64_t b_bytes)
{
    return a && b && (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

static emr_status check_memory(const apply_call *a, const apply_target *t, emr_error *error)
{
    const emr_bundle *b = a->session->shared->bundle;
    const emr_weights *to = &t->to;
    if (to->count && !to->data)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': no memory was given for it", b->name, to->name);
    if (to->count > SIZE_MAX / 8)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': %u elements do not fit in memory", b->name,
                        to->name, to->count);
    if (t->from != FROM_MERGED)
        return EMR_OK;
    const emr_session_tensor *m = &a->session->shared->tensors[t->i];
    if (memory_overlaps(to->data, to->count * emr_float_size(to->dtype), m->base,
                        m->count * emr_float_size(m->dtype)))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': its weights would overwrite the base's", b->name,
                        to->name);
    return EMR_OK;
}

/* One element of the host's array: copied, checked, its source found. */
static emr_status resolve_target(const apply_call *a, size_t i, apply_target *t, emr_error *error)
{
    emr_status status = take_weights(a, i, &t->to, error);
    if (!status)
        status = find_source(a, t, error);
    if (!status)
        status = check_elements(a->session->shared->bundle, t, error);
    return status ? status : check_memory(a, t, error);
}

static emr_status apply_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const apply_call *a = context;
    const emr_session *s = a->session;
    const emr_session_piece *p = &s->pieces[job];
    const emr_session_tensor *m = &s->shared->tensors[p->tensor];
    const uint8_t *base = p->without_base ? NULL : m->base + p->first * emr_float_size(m->dtype);
    (void)worker;
    const emr_weighting weighting = {.kernels = s->shared->bundle->kernels,
                                     .code = *emr_session_code(a->task, p->tensor),
                                     .window = emr_session_window,
                                     .user = a->task,
                                     .tensor = p->tensor,
                                     .base_dtype = base ? m->dtype : EMR_DTYPE_F32,
                                     .out_dtype = p->out_dtype,
                                     .stream = a->stream};
    return emr_apply_windows(&weighting, p->first, p->n, base, p->out, error);
}

/* Begins a round with a piece's codes: shortens it to what there is room for. */
static emr_status begin_with_piece(apply_call *a, emr_session_piece *p, emr_error *error)
{
    emr_session *s = a->session;
    emr_status status = emr_session_finish_round(s, apply_piece, a, error);
    while (!status && !emr_session_request(s, a->task, p->tensor, p->first, p->n)) {
        if (p->n == 1)
            return emr_fail(error, EMR_ELIMIT, "%F: no room for a block of codes", s->shared->bundle->name);
        p->n = (p->n + 1) / 2;
    }
    return status;
}

/* Cuts a merged tensor into pieces, at multiples of a piece in flat space, so that none lies in two blocks of
 * codes unless blocks are smaller. */
static emr_status add_merged(apply_call *a, const apply_target *t, emr_error *error)
{
    emr_session *s = a->session;
    const emr_weights *to = &t->to;
    uint64_t end = to->first + to->count, first_param = s->shared->tensors[t->i].first_param;
    emr_session_piece p = {
        .tensor = (uint32_t)t->i, .out_dtype = to->dtype, .without_base = to->without_base};
    emr_status status = EMR_OK;
    for (p.first = to->first; !status && p.first < end; p.first += p.n) {
        p.n = emr_min(end - p.first, EMR_PIECE_PARAMS - (first_param + p.first) % EMR_PIECE_PARAMS);
        p.out = (uint8_t *)to->data + (p.first - to->first) * emr_float_size(to->dtype);
        if (s->n_pieces == EMR_SESSION_PIECES || !emr_session_request(s, a->task, p.tensor, p.first, p.n))
            status = begin_with_piece(a, &p, error);
        if (!status)
            s->pieces[s->n_pieces++] = p;
    }
    return status;
}

/* Where elements go of a tensor that is not merged. They come as bytes, in parts that end anywhere. */
typedef struct element_writer {
    const emr_kernels *kernels;
    emr_dtype from, to;
    uint8_t *next;
    uint8_t cut[8]; /* an element of which the end is still to come */
    size_t n_cut;
} element_writer;

static element_writer begin_elements(const apply_call *a, const apply_target *t)
{
    return (element_writer){.kernels = a->session->shared->bundle->kernels,
                            .from = t->stored,
                            .to = t->to.dtype,
                            .next = t->to.data};
}

static void emit_elements(element_writer *w, const uint8_t *data, size_t n)
{
    w->kernels->convert(w->to, w->next, w->from, data, n);
    w->next += n * emr_float_size(w->to);
}

static void emit_bytes(element_writer *w, const uint8_t *data, size_t n)
{
    if (w->from == w->to) {
        memcpy(w->next, data, n);
        w->next += n;
        return;
    }
    size_t size = emr_float_size(w->from);
    if (w->n_cut) {
        size_t more = (size_t)emr_min(size - w->n_cut, n);
        memcpy(w->cut + w->n_cut, data, more);
        w->n_cut += more;
        if (w->n_cut < size)
            return;
        emit_elements(w, w->cut, 1);
        data += more;
        n -= more;
    }
    w->n_cut = n % size;
    emit_elements(w, data, n / size);
    memcpy(w->cut, data + (n - w->n_cut), w->n_cut);
}

/* Block by block of a stream in which the tensor begins at byte `begin`, which may be any. Elements may lie
 * across blocks. */
static emr_status emit_stored(const apply_call *a, const apply_target *t, size_t stream_number,
                              uint64_t begin, emr_error *error)
{
    const emr_session *s = a->session;
    const emr_bundle *b = s->shared->bundle;
    size_t size = emr_dtype_bits(t->stored) / 8;
    if (!t->to.count)
        return EMR_OK;
    emr_stream_record stream = emr_bundle_stream_record(b, stream_number);
    uint64_t at = begin + t->to.first * size, end = at + t->to.count * size;
    element_writer w = begin_elements(a, t);
    while (at < end) {
        uint64_t block = at / stream.block_bytes;
        size_t within = (size_t)(at % stream.block_bytes), length = emr_stream_block_length(&stream, block);
        size_t n = (size_t)emr_min(length - within, end - at);
        const uint8_t *data;
        emr_status status = emr_block_read(b, &stream, block, s->work[0].decoder, s->work[0].packed,
                                           s->stored_block, &data, error);
        if (status)
            return status;
        emit_bytes(&w, data + within, n);
        if (data != s->stored_block)
            emr_io_unmap(&b->io, data, length);
        at += n;
    }
    return EMR_OK;
}

static emr_status emit_private(const apply_call *a, const apply_target *t, emr_error *error)
{
    const emr_bundle *b = a->session->shared->bundle;
    return emit_stored(a, t, b->task_streams[EMR_STREAM_PRIVATE][a->task->task],
                       emr_bundle_private_record(b, t->i).offset, error);
}

/* An embedded base is read as private tensors are, into the handle's own memory: what readers of its model take,
 * they allocate when they come. */
static emr_status emit_kept(const apply_call *a, const apply_target *t, emr_error *error)
{
    uint8_t part[4096];
    size_t size = emr_dtype_bits(t->stored) / 8;
    uint64_t at = t->to.first * size, end = at + t->to.count * size;
    element_writer w = begin_elements(a, t);
    emr_status status = EMR_OK;
    const emr_session_shared *s = a->session->shared;
    if (s->own_base)
        return emit_stored(a, t, s->bundle->base_streams[EMR_STREAM_BASE],
                           emr_bundle_tensor_record(s->bundle, (uint32_t)t->i).base_offset, error);
    if (t->to.dtype == t->stored)
        return emr_tensor_read(t->kept, at, t->to.data, (size_t)(end - at), error);
    for (size_t n; !status && at < end; at += n) {
        n = (size_t)emr_min(end - at, sizeof part);
        status = emr_tensor_read(t->kept, at, part, n, error);
        if (!status)
            emit_bytes(&w, part, n);
    }
    return status;
}

/* Whether all can be applied; *bytes is how many they are. */
static emr_status check_targets(const apply_call *a, size_t n, uint64_t *bytes, emr_error *error)
{
    apply_target t;
    emr_status status = EMR_OK;
    *bytes = 0;
    for (size_t i = 0; !status && i < n; i++) {
        status = resolve_target(a, i, &t, error);
        *bytes += status ? 0 : t.to.count * (emr_dtype_bits(t.to.dtype) / 8);
    }
    return status;
}

static emr_status emit_targets(apply_call *a, size_t n, emr_error *error)
{
    apply_target t;
    emr_status status = EMR_OK;
    emr_session_begin_round(a->session);
    for (size_t i = 0; !status && i < n; i++) {
        status = resolve_target(a, i, &t, error);
        if (!status)
            status = t.from == FROM_MERGED ? add_merged(a, &t, error)
                     : t.from == FROM_KEPT ? emit_kept(a, &t, error)
                                           : emit_private(a, &t, error);
    }
    return status ? status : emr_session_finish_round(a->session, apply_piece, a, error);
}

emr_status emr_session_apply(emr_session *s, uint32_t task, const emr_weights *weights, size_t n_weights,
                             emr_error *error)
{
    apply_call a = {.session = s, .weights = weights};
    uint64_t bytes;
    if (!s || (n_weights && !weights))
        return emr_fail(error, EMR_EINVAL, "emr_session_apply: NULL");
    a.task = emr_session_find_task(s->shared, task, error);
    if (!a.task)
        return EMR_ENOTFOUND;
    a.weights_size = n_weights ? weights->size : 0;
    emr_status status = check_targets(&a, n_weights, &bytes, error);
    if (status)
        return status;
    a.stream = bytes >= STREAM_BYTES;
    return emit_targets(&a, n_weights, error);
}
