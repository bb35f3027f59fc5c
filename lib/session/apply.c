/* apply.c - a task's weights into the engine's memory. Freestanding. */
#include "session/session.h"

#include "model/model.h"
#include "numeric/convert.h"

#include <string.h>

/* More output than this does not stay in the caches until it is used. */
enum { STREAM_BYTES = 8 << 20 };

/* One of the engine's tensors, and where its weights come from. */
typedef struct target {
    emr_weights to;
    enum { MERGED, KEPT, PRIVATE } from;
    size_t i; /* number of the base's tensor, or of the private one */
    const emr_tensor *kept;
    emr_dtype stored, dtype;
} target;

typedef struct application {
    emr_session *session;
    emr_session_task *task;
    const emr_weights *weights;
    size_t weights_size;
    uint8_t stream;
} application;

static const char *task_name(const application *a)
{
    return a->task->task == EMR_BASE ? "base" : emr_bundle_task_name(a->session->bundle, a->task->task);
}

/* Sets where the weights come from, and how many there are. */
static emr_status resolve(const application *a, target *t, uint64_t *count, emr_error *error)
{
    emr_session *s = a->session;
    const emr_bundle *b = s->bundle;
    size_t task = a->task->task;
    emr_status status = EMR_OK;
    if (emr_bundle_find_tensor(b, t->to.name, &t->i) == EMR_OK &&
        (task == EMR_BASE || emr_bundle_task_dtype(b, task, t->i) != EMR_DTYPE_NONE)) {
        emr_tensor_record r = emr_bundle_tensor_record(b, t->i);
        t->from = r.merged ? MERGED : KEPT;
        t->stored = (emr_dtype)r.dtype;
        t->dtype = task == EMR_BASE ? t->stored : emr_bundle_task_dtype(b, task, t->i);
        *count = emr_bundle_count(b, &r);
        return r.merged ? EMR_OK : emr_bundle_base_tensor(b, s->base, t->i, &t->kept, error);
    }
    t->i = emr_session_find_private(a->task, t->to.name);
    if (t->i == EMR_NAMES_NONE)
        return emr_fail(error, EMR_ENOTFOUND, "%s: task '%s' has no tensor '%s'", b->name, task_name(a),
                        t->to.name);
    emr_private_record p = emr_bundle_private_record(b, t->i);
    t->from = PRIVATE;
    t->stored = t->dtype = (emr_dtype)p.dtype;
    *count = 1;
    for (uint32_t d = 0; d < p.rank; d++)
        *count *= emr_bundle_shape(b, p.shape)[d];
    return status;
}

static bool overlaps(const uint8_t *a, uint64_t a_bytes, const uint8_t *b, uint64_t b_bytes)
{
    return a && b && (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

/* One element of the engine's array, checked. */
static emr_status take(const application *a, size_t i, target *t, emr_error *error)
{
    const emr_bundle *b = a->session->bundle;
    const emr_weights *given = (const void *)((const uint8_t *)a->weights + i * a->weights_size);
    uint64_t count = 0;
    if (given->size != a->weights_size)
        return emr_fail(error, EMR_EINVAL, "emr_weights: not the same size in all");
    emr_status status =
        emr_take_struct(&t->to, sizeof t->to, sizeof(emr_weights), given, "emr_weights", error);
    if (!status && !t->to.name)
        status = emr_fail(error, EMR_EINVAL, "emr_weights: a name is required");
    if (!status)
        status = resolve(a, t, &count, error);
    if (status)
        return status;
    emr_weights *to = &t->to;
    if (to->first > count || to->count > count - to->first)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s' has %u elements, asked for %u from %u", b->name,
                        to->name, count, to->count, to->first);
    to->count = to->count ? to->count : count - to->first;
    if (to->dtype && to->dtype != (int)t->dtype &&
        (!emr_dtype_is_float((emr_dtype)to->dtype) || !emr_dtype_is_float(t->stored)))
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s' is %s and cannot be given in another dtype",
                        b->name, to->name, emr_dtype_name(t->dtype));
    t->dtype = to->dtype ? (emr_dtype)to->dtype : t->dtype;
    if (to->count && !to->data)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s': no memory was given for it", b->name, to->name);
    if (emr_dtype_bits(t->stored) % 8)
        return emr_fail(error, EMR_EUNSUPPORTED, "%s: tensor '%s' has elements of less than a byte", b->name,
                        to->name);
    if (to->count > SIZE_MAX / 8)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s': %u elements do not fit in memory", b->name,
                        to->name, to->count);
    if (t->from != MERGED)
        return EMR_OK;
    const emr_session_tensor *m = &a->session->tensors[t->i];
    if (overlaps(to->data, to->count * emr_float_size(t->dtype), m->base,
                 m->count * emr_float_size(m->dtype)))
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s': its weights would overwrite the base's", b->name,
                        to->name);
    return EMR_OK;
}

static emr_status apply_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const application *a = context;
    const emr_session *s = a->session;
    const emr_piece *p = &s->pieces[job];
    const emr_session_tensor *m = &s->tensors[p->tensor];
    target t;
    (void)worker;
    emr_status status = take(a, p->target, &t, error);
    if (status)
        return status;
    const emr_application to = {.kernels = s->bundle->kernels,
                                .window = emr_session_window,
                                .user = a->task,
                                .tensor = p->tensor,
                                .base_dtype = m->dtype,
                                .out_dtype = t.dtype,
                                .stream = a->stream};
    return emr_apply_windows(&to, p->first, p->n, m->base + p->first * emr_float_size(m->dtype),
                             (uint8_t *)t.to.data + (p->first - t.to.first) * emr_float_size(t.dtype), error);
}

/* Cuts a merged tensor into pieces, at multiples of a piece in flat space, so that none lies in two blocks of
 * a mask unless blocks are smaller. */
static emr_status add_merged(application *a, size_t i, const target *t, emr_error *error)
{
    emr_session *s = a->session;
    uint64_t end = t->to.first + t->to.count, first_param = s->tensors[t->i].first_param;
    emr_status status = EMR_OK;
    for (uint64_t at = t->to.first, n; !status && at < end; at += n) {
        n = emr_min(end - at, EMR_PIECE_PARAMS - (first_param + at) % EMR_PIECE_PARAMS);
        bool room = s->n_pieces < EMR_PIECES && emr_session_want(s, a->task, t->i, at, n);
        if (!room) {
            status = emr_session_run(s, apply_piece, a, error);
            for (; !status && !emr_session_want(s, a->task, t->i, at, n); n = (n + 1) / 2)
                if (n == 1)
                    return emr_fail(error, EMR_ELIMIT, "%s: no room for a block of a mask", s->bundle->name);
        }
        if (!status)
            s->pieces[s->n_pieces++] = (emr_piece){i, t->i, at, n};
    }
    return status;
}

/* Where bytes of a tensor go that is not merged, a part at a time. */
typedef struct outlet {
    const emr_kernels *kernels;
    emr_dtype from, to;
    uint8_t *next;
    uint8_t cut[8]; /* an element of which the end is still to come */
    size_t n_cut;
} outlet;

static outlet outlet_of(const application *a, const target *t)
{
    return (outlet){a->session->bundle->kernels, t->stored, t->dtype, t->to.data, {0}, 0};
}

static void pour_elements(outlet *o, const uint8_t *data, size_t n)
{
    o->kernels->convert(o->to, o->next, o->from, data, n);
    o->next += n * emr_float_size(o->to);
}

static void pour(outlet *o, const uint8_t *data, size_t n)
{
    if (o->from == o->to) {
        memcpy(o->next, data, n);
        o->next += n;
        return;
    }
    size_t size = emr_float_size(o->from);
    if (o->n_cut) {
        size_t more = (size_t)emr_min(size - o->n_cut, n);
        memcpy(o->cut + o->n_cut, data, more);
        o->n_cut += more;
        if (o->n_cut < size)
            return;
        pour_elements(o, o->cut, 1);
        data += more;
        n -= more;
    }
    o->n_cut = n % size;
    pour_elements(o, data, n / size);
    memcpy(o->cut, data + (n - o->n_cut), o->n_cut);
}

static emr_status give_kept(const application *a, const target *t, emr_error *error)
{
    uint8_t part[4096];
    size_t size = emr_dtype_bits(t->stored) / 8;
    uint64_t at = t->to.first * size, end = at + t->to.count * size;
    outlet o = outlet_of(a, t);
    emr_status status = EMR_OK;
    if (t->dtype == t->stored)
        return emr_tensor_read(t->kept, at, t->to.data, (size_t)(end - at), error);
    for (size_t n; !status && at < end; at += n) {
        n = (size_t)emr_min(end - at, sizeof part);
        status = emr_tensor_read(t->kept, at, part, n, error);
        if (!status)
            pour(&o, part, n);
    }
    return status;
}

/* Block by block of the private stream. A tensor may begin at any byte of it, and elements lie across blocks.
 */
static emr_status give_private(const application *a, const target *t, emr_error *error)
{
    emr_session *s = a->session;
    const emr_bundle *b = s->bundle;
    size_t size = emr_dtype_bits(t->stored) / 8;
    if (!t->to.count)
        return EMR_OK;
    emr_stream_record stream =
        emr_bundle_stream_record(b, b->task_streams[EMR_STREAM_PRIVATE][a->task->task]);
    uint64_t at = emr_bundle_private_record(b, t->i).offset + t->to.first * size;
    uint64_t end = at + t->to.count * size;
    outlet o = outlet_of(a, t);
    while (at < end) {
        uint64_t block = at / stream.block_bytes;
        size_t within = (size_t)(at % stream.block_bytes), length = emr_stream_block_length(&stream, block);
        size_t n = (size_t)emr_min(length - within, end - at);
        const uint8_t *data;
        emr_status status = emr_block_read(b, &stream, block, s->work[0].decoder, s->work[0].packed,
                                           s->private_block, &data, error);
        if (status)
            return status;
        pour(&o, data + within, n);
        if (data != s->private_block && b->io.unmap)
            b->io.unmap(b->io.user, data, length);
        at += n;
    }
    return EMR_OK;
}

emr_status emr_session_apply(emr_session *s, size_t task, const emr_weights *weights, size_t n,
                             emr_error *error)
{
    application a = {.session = s, .weights = weights};
    target t;
    uint64_t bytes = 0;
    if (!s || (n && !weights))
        return emr_fail(error, EMR_EINVAL, "emr_session_apply: NULL");
    a.task = emr_session_find_task(s, task, error);
    if (!a.task)
        return EMR_ENOTFOUND;
    a.weights_size = n ? weights->size : 0;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < n; i++) { /* nothing is written if anything is wrong */
        status = take(&a, i, &t, error);
        bytes += status ? 0 : t.to.count * (emr_dtype_bits(t.dtype) / 8);
    }
    a.stream = bytes >= STREAM_BYTES;
    s->n_pieces = 0;
    emr_mask_cache_begin(&s->masks);
    for (size_t i = 0; !status && i < n; i++) {
        status = take(&a, i, &t, error);
        if (!status)
            status = t.from == MERGED ? add_merged(&a, i, &t, error)
                     : t.from == KEPT ? give_kept(&a, &t, error)
                                      : give_private(&a, &t, error);
    }
    return status ? status : emr_session_run(s, apply_piece, &a, error);
}
