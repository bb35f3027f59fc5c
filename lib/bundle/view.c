/* view.c - models computed from a bundle as they are read: a task's weights, the embedded base, the unified
 * vector, a mask. Any number of threads may read: each borrows a reader (cursors and buffers) from a list
 * that grows as needed. Freestanding. */
#include "bundle/bundle.h"

#include "core/text.h"
#include "model/model.h"
#include "numeric/convert.h"

#include <stdatomic.h>
#include <string.h>

typedef struct view view;
typedef struct view_tensor view_tensor;

/* What one reading thread needs. */
typedef struct reader {
    struct reader *next;
    emr_modulator *modulator; /* task views */
    emr_cursor cursor;        /* the stream that is read directly: base, unified, mask */
    uint8_t *base, *out;      /* PIECE parameters each, at most 8 bytes wide */
} reader;

enum { PIECE = 8192 }; /* parameters computed at a time */

/* How a tensor's bytes come about. */
typedef emr_status (*produce_fn)(const view_tensor *t, reader *r, uint64_t first, size_t n, uint8_t *out,
                                 emr_error *error);

struct view_tensor {
    view *view;
    produce_fn produce;     /* elements [first, first + n) into out; NULL: bytes of `stream` from `offset` */
    const emr_tensor *base; /* task views: the base's tensor */
    uint64_t offset;        /* in the stream read directly: bytes; for masks, parameters */
    size_t tensor;          /* merged tensor's number */
    size_t stream;
    uint32_t out_size; /* bytes of an element as given out */
    emr_dtype dtype;   /* as given out */
    emr_dtype stored;  /* private tensors: in the bundle */
};

struct view {
    const emr_bundle *bundle;
    emr_allocator allocator;
    size_t task;          /* of a modulator; SIZE_MAX where none is needed */
    emr_model *own_base;  /* the embedded base, viewed for a task view */
    view_tensor *tensors; /* as many as the model has */
    atomic_flag lock;
    reader *idle;
};

static void lock(view *v)
{
    while (atomic_flag_test_and_set_explicit(&v->lock, memory_order_acquire))
        ;
}

static void unlock(view *v)
{
    atomic_flag_clear_explicit(&v->lock, memory_order_release);
}

static void destroy_reader(reader *r, const emr_allocator *allocator)
{
    emr_modulator_destroy(&r->modulator);
    emr_cursor_close(&r->cursor);
    emr_release(allocator, r->base);
    emr_release(allocator, r->out);
    emr_release(allocator, r);
}

static emr_status create_reader(view *v, reader **made, emr_error *error)
{
    reader *r = emr_allocate_array(&v->allocator, 1, sizeof *r);
    emr_status status = EMR_OK;
    if (!r)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", v->bundle->name);
    r->base = emr_allocate(&v->allocator, PIECE * 8);
    r->out = emr_allocate(&v->allocator, PIECE * 8);
    if (!r->base || !r->out)
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", v->bundle->name);
    if (!status && v->task != SIZE_MAX)
        status = emr_bundle_open_modulator(&r->modulator, v->bundle, v->task, &v->allocator, error);
    if (status) {
        destroy_reader(r, &v->allocator);
        return status;
    }
    *made = r;
    return EMR_OK;
}

static emr_status borrow_reader(view *v, reader **borrowed, emr_error *error)
{
    lock(v);
    reader *r = v->idle;
    if (r)
        v->idle = r->next;
    unlock(v);
    *borrowed = r;
    return r ? EMR_OK : create_reader(v, borrowed, error);
}

static void give_back(view *v, reader *r)
{
    lock(v);
    r->next = v->idle;
    v->idle = r;
    unlock(v);
}

/* Points the reader's cursor at a stream; it usually is there already. */
static emr_status aim(reader *r, const view *v, size_t stream, emr_error *error)
{
    if (r->cursor.bundle && stream != EMR_NO_STREAM &&
        r->cursor.stream.first_block == emr_bundle_stream_record(v->bundle, stream).first_block)
        return EMR_OK;
    emr_cursor_close(&r->cursor);
    return emr_cursor_open(&r->cursor, v->bundle, stream, &v->allocator, error);
}

/* A merged tensor of a task. */
static emr_status produce_weights(const view_tensor *t, reader *r, uint64_t first, size_t n, uint8_t *out,
                                  emr_error *error)
{
    size_t size = emr_float_size(t->base->dtype);
    emr_status status = emr_tensor_read(t->base, first * size, r->base, n * size, error);
    return status ? status
                  : emr_modulator_apply(r->modulator, t->tensor, first, n, t->base->dtype, r->base, t->dtype,
                                        out, error);
}

/* A float tensor that is kept from the base, given out in another dtype. */
static emr_status produce_kept(const view_tensor *t, reader *r, uint64_t first, size_t n, uint8_t *out,
                               emr_error *error)
{
    size_t size = emr_float_size(t->base->dtype);
    emr_status status = emr_tensor_read(t->base, first * size, r->base, n * size, error);
    if (!status)
        t->view->bundle->kernels->convert(t->dtype, out, t->base->dtype, r->base, n);
    return status;
}

/* A private float tensor, given out in another dtype. */
static emr_status produce_converted(const view_tensor *t, reader *r, uint64_t first, size_t n, uint8_t *out,
                                    emr_error *error)
{
    size_t size = emr_float_size(t->stored);
    emr_status status = emr_cursor_read(&r->cursor, t->offset + first * size, r->base, n * size, error);
    if (!status)
        t->view->bundle->kernels->convert(t->dtype, out, t->stored, r->base, n);
    return status;
}

static emr_status produce_unified(const view_tensor *t, reader *r, uint64_t first, size_t n, uint8_t *out,
                                  emr_error *error)
{
    emr_dtype from = (emr_dtype)t->view->bundle->summary.unified_dtype;
    size_t size = emr_float_size(from);
    emr_status status = emr_cursor_read(&r->cursor, t->offset + first * size, r->base, n * size, error);
    if (!status)
        t->view->bundle->kernels->convert(EMR_DTYPE_F32, out, from, r->base, n);
    return status;
}

static emr_status produce_mask(const view_tensor *t, reader *r, uint64_t first, size_t n, uint8_t *out,
                               emr_error *error)
{
    uint64_t bit = t->offset + first;
    size_t bytes = (size_t)((bit + n + 7) / 8 - bit / 8);
    emr_status status = emr_cursor_read(&r->cursor, bit / 8, r->base, bytes, error);
    for (size_t i = 0; !status && i < n; i++)
        out[i] = r->base[(bit % 8 + i) / 8] >> (bit + i) % 8 & 1;
    return status;
}

/* The model's read callback: whole elements are produced piece by piece; a range that begins or ends within
 * an element is cut out of one. */
static emr_status read_produced(const view_tensor *t, reader *r, uint64_t offset, uint8_t *to, size_t n,
                                emr_error *error)
{
    while (n) {
        uint64_t first = offset / t->out_size;
        size_t skip = (size_t)(offset % t->out_size);
        bool whole = skip == 0 && n >= t->out_size;
        size_t count = whole ? (size_t)emr_min(PIECE, n / t->out_size) : 1;
        size_t bytes = whole ? count * t->out_size : (size_t)emr_min(n, t->out_size - skip);
        emr_status status = t->produce(t, r, first, count, whole ? to : r->out, error);
        if (status)
            return status;
        if (!whole)
            memcpy(to, r->out + skip, bytes);
        to += bytes;
        offset += bytes;
        n -= bytes;
    }
    return EMR_OK;
}

static emr_status read_view(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const view_tensor *t = user;
    view *v = t->view;
    reader *r;
    if (!t->produce && t->base)
        return emr_tensor_read(t->base, offset, destination, n, error);
    emr_status status = borrow_reader(v, &r, error);
    if (status)
        return status;
    if (t->stream != EMR_NO_STREAM)
        status = aim(r, v, t->stream, error);
    if (!status)
        status = t->produce ? read_produced(t, r, offset, destination, n, error)
                            : emr_cursor_read(&r->cursor, t->offset + offset, destination, n, error);
    give_back(v, r);
    return status;
}

static void destroy_view(void *owner, const emr_allocator *allocator)
{
    view *v = owner;
    while (v->idle) {
        reader *r = v->idle;
        v->idle = r->next;
        destroy_reader(r, allocator);
    }
    emr_model_destroy(&v->own_base);
    emr_release(allocator, v->tensors);
    emr_release(allocator, v);
}

/* An empty model over a bundle, with room for n tensors. */
static emr_status create_view(emr_model **model, view **made, const emr_bundle *b, size_t n, size_t task,
                              const emr_view_options *options, emr_error *error)
{
    emr_allocator allocator = b->allocator;
    emr_status status =
        options->allocator ? emr_allocator_take(&allocator, options->allocator, error) : EMR_OK;
    if (!status)
        status = emr_model_create(model, b->name, &allocator, error);
    if (status)
        return status;
    view *v = emr_allocate_array(&allocator, 1, sizeof *v);
    view_tensor *tensors = emr_allocate_array(&allocator, n, sizeof *tensors);
    if (!v || !tensors) {
        emr_release(&allocator, v);
        emr_release(&allocator, tensors);
        emr_model_destroy(model);
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    }
    v->bundle = b;
    v->allocator = allocator;
    v->task = task;
    v->tensors = tensors;
    atomic_flag_clear(&v->lock);
    (*model)->on_destroy = destroy_view;
    (*model)->owner = v;
    *made = v;
    return EMR_OK;
}

/* Adds the next tensor of the view, which was filled in but for what follows from its dtype. */
static emr_status add_tensor(emr_model *model, view *v, view_tensor t, const char *name, uint32_t rank,
                             const uint64_t *shape, emr_error *error)
{
    view_tensor *kept = &v->tensors[model->n_tensors];
    *kept = t;
    kept->view = v;
    kept->out_size = (emr_dtype_bits(t.dtype) + 7) / 8;
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = name;
    desc.dtype = (uint32_t)t.dtype;
    desc.rank = rank;
    desc.shape = shape;
    desc.read = read_view;
    desc.user = kept;
    return emr_model_add(model, &desc, error);
}

/* Destroys the half-made model if something failed on the way. */
static emr_status finish_view(emr_model **model, emr_status status)
{
    if (status)
        emr_model_destroy(model);
    return status == EMR_EEXIST ? EMR_EFORMAT
                                : status; /* two tensors of one name: only a bundle made so has them */
}

static emr_status take_view(emr_model **model, const emr_bundle *b, emr_view_options *taken,
                            const emr_view_options *given, emr_error *error)
{
    if (!model || !b)
        return emr_fail(error, EMR_EINVAL, "a view needs a bundle and a place for the model");
    *model = NULL;
    emr_status status =
        emr_take_struct(taken, sizeof *taken, sizeof(emr_view_options), given, "emr_view_options", error);
    if (!status && taken->dtype && !emr_dtype_is_float((emr_dtype)taken->dtype))
        status = emr_fail(error, EMR_EINVAL, "emr_view_options.dtype must be a float dtype");
    return status;
}

emr_status emr_bundle_add_metadata(emr_model *model, const emr_bundle *b, uint32_t owner, emr_error *error)
{
    emr_status status = EMR_OK;
    uint64_t left = b->sections[EMR_SECTION_STRINGS].size;
    for (size_t i = 0; !status && i < b->n_metadata; i++) {
        emr_metadata_record m = emr_bundle_metadata_record(b, i);
        if (m.owner != owner)
            continue;
        const char *key = emr_bundle_string(b, m.key), *value = emr_bundle_string(b, m.value);
        uint64_t bytes = (uint64_t)emr_text_length(key) + emr_text_length(value) + 2;
        if (bytes > left)
            return emr_fail(error, EMR_EFORMAT,
                            "%s: not a valid bundle: its metadata is longer than its strings", b->name);
        left -= bytes;
        status = emr_model_append_metadata(model, key, value, error);
    }
    return status;
}

emr_status emr_bundle_open_base(emr_model **model, const emr_bundle *b, const emr_view_options *given,
                                 emr_error *error)
{
    emr_view_options options;
    view *v;
    emr_status status = take_view(model, b, &options, given, error);
    if (!status && !b->summary.has_base)
        status = emr_fail(error, EMR_ENOTFOUND, "%s: the base is not embedded", b->name);
    if (!status)
        status = create_view(model, &v, b, b->summary.n_tensors, SIZE_MAX, &options, error);
    if (status)
        return status;
    for (size_t i = 0; !status && i < b->summary.n_tensors; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        view_tensor t = {
            .stream = b->base_streams[EMR_STREAM_BASE], .offset = r.base_offset, .dtype = (emr_dtype)r.dtype};
        status = add_tensor(*model, v, t, emr_bundle_string(b, r.name), r.rank, emr_bundle_shape(b, r.shape),
                            error);
    }
    if (!status)
        status = emr_bundle_add_metadata(*model, b, EMR_BASE, error);
    return finish_view(model, status);
}

uint64_t emr_bundle_base_memory(const emr_bundle *b)
{
    size_t n = b->summary.n_tensors;
    uint64_t bytes = sizeof(emr_model) + sizeof(view) + emr_text_length(b->name) + 1 + emr_names_memory(n);
    for (size_t i = 0; i < n; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        bytes += sizeof(emr_tensor) + r.rank * sizeof(uint64_t) + sizeof(view_tensor) +
                 emr_text_length(emr_bundle_string(b, r.name)) + 1;
    }
    /* arrays that grow by doubling; entries are no longer than all strings */
    bytes += (2 * n + 8) * sizeof(emr_tensor *) + (2 * b->n_metadata + 8) * sizeof(emr_metadata);
    return bytes + b->sections[EMR_SECTION_STRINGS].size;
}

emr_status emr_bundle_open_unified(emr_model **model, const emr_bundle *b, const emr_view_options *given,
                                    emr_error *error)
{
    emr_view_options options;
    view *v;
    emr_status status = take_view(model, b, &options, given, error);
    if (!status)
        status = create_view(model, &v, b, b->summary.n_merged, SIZE_MAX, &options, error);
    if (status)
        return status;
    size_t size = emr_float_size((emr_dtype)b->summary.unified_dtype);
    for (size_t i = 0; !status && i < b->summary.n_merged; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        view_tensor t = {.produce = produce_unified,
                         .stream = b->base_streams[EMR_STREAM_UNIFIED],
                         .offset = r.first_param * size,
                         .dtype = EMR_DTYPE_F32};
        status = add_tensor(*model, v, t, emr_bundle_string(b, r.name), r.rank, emr_bundle_shape(b, r.shape),
                            error);
    }
    return finish_view(model, status);
}

emr_status emr_bundle_open_mask(emr_model **model, const emr_bundle *b, size_t task,
                                 const emr_view_options *given, emr_error *error)
{
    emr_view_options options;
    view *v;
    emr_status status = take_view(model, b, &options, given, error);
    if (!status && task >= b->summary.n_tasks)
        status = emr_fail(error, EMR_ENOTFOUND, "%s: there is no task %u", b->name, (uint64_t)task);
    if (!status)
        status = create_view(model, &v, b, b->summary.n_merged, SIZE_MAX, &options, error);
    if (status)
        return status;
    for (size_t i = 0; !status && i < b->summary.n_merged; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        view_tensor t = {.produce = produce_mask,
                         .stream = b->task_streams[EMR_STREAM_MASK][task],
                         .offset = r.first_param,
                         .dtype = EMR_DTYPE_BOOL};
        status = add_tensor(*model, v, t, emr_bundle_string(b, r.name), r.rank, emr_bundle_shape(b, r.shape),
                            error);
    }
    return finish_view(model, status);
}

emr_status emr_bundle_base_tensor(const emr_bundle *b, const emr_model *base, size_t i,
                                  const emr_tensor **tensor, emr_error *error)
{
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    const char *name = emr_bundle_string(b, r.name);
    const emr_tensor *t = emr_model_find(base, name);
    *tensor = t;
    if (t && (unsigned)t->dtype == r.dtype && t->rank == r.rank &&
        (!r.rank || memcmp(t->shape, emr_bundle_shape(b, r.shape), r.rank * 8u) == 0))
        return EMR_OK;
    return emr_fail(
        error, EMR_EMISMATCH,
        "%s: %s is not the base of this bundle: tensor '%s' is absent or of another dtype or shape", b->name,
        base->name, name);
}

/* One tensor that the task's model takes from the base, merged or kept. */
static emr_status add_from_base(emr_model *model, view *v, size_t i, const emr_model *base, emr_dtype dtype,
                                emr_error *error)
{
    const emr_bundle *b = v->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    view_tensor t = {.tensor = i, .stream = EMR_NO_STREAM, .dtype = dtype};
    emr_status status = emr_bundle_base_tensor(b, base, i, &t.base, error);
    if (status)
        return status;
    t.produce = r.merged ? produce_weights : dtype != t.base->dtype ? produce_kept : NULL;
    return add_tensor(model, v, t, emr_bundle_string(b, r.name), r.rank, emr_bundle_shape(b, r.shape), error);
}

static emr_status add_private(emr_model *model, view *v, size_t task, const emr_view_options *options,
                              emr_error *error)
{
    const emr_bundle *b = v->bundle;
    emr_status status = EMR_OK;
    for (size_t i = b->first_private[task]; !status && i < b->first_private[task + 1]; i++) {
        emr_private_record p = emr_bundle_private_record(b, i);
        view_tensor t = {.stream = b->task_streams[EMR_STREAM_PRIVATE][task],
                         .offset = p.offset,
                         .dtype = (emr_dtype)p.dtype,
                         .stored = (emr_dtype)p.dtype};
        if (options->dtype && emr_dtype_is_float(t.stored) && options->dtype != (int)t.stored) {
            t.dtype = (emr_dtype)options->dtype;
            t.produce = produce_converted;
        }
        status = add_tensor(model, v, t, emr_bundle_string(b, p.name), p.rank, emr_bundle_shape(b, p.shape),
                            error);
    }
    return status;
}

emr_status emr_bundle_open_task(emr_model **model, const emr_bundle *b, size_t task, const emr_model *base,
                                 const emr_view_options *given, emr_error *error)
{
    emr_view_options options;
    view *v;
    emr_status status = take_view(model, b, &options, given, error);
    if (!status && task >= b->summary.n_tasks)
        status = emr_fail(error, EMR_ENOTFOUND, "%s: there is no task %u", b->name, (uint64_t)task);
    if (!status && base && !options.trust_base)
        status = emr_bundle_check_base(b, base, options.executor, options.progress, options.progress_user,
                                       NULL, NULL, error);
    if (status)
        return status;
    size_t n_private = b->first_private[task + 1] - b->first_private[task];
    status = create_view(model, &v, b, b->summary.n_tensors + n_private, task, &options, error);
    if (status)
        return status;
    if (!base) {
        status = emr_bundle_open_base(&v->own_base, b, &options, error);
        base = v->own_base;
    }
    for (size_t i = 0; !status && i < b->summary.n_tensors; i++) {
        emr_dtype dtype = emr_bundle_task_dtype(b, task, i);
        if (dtype == EMR_DTYPE_NONE)
            continue;
        if (options.dtype && emr_dtype_is_float(dtype))
            dtype = (emr_dtype)options.dtype;
        status = add_from_base(*model, v, i, base, dtype, error);
    }
    if (!status)
        status = add_private(*model, v, task, &options, error);
    if (!status)
        status = emr_bundle_add_metadata(*model, b, (uint32_t)task, error);
    return finish_view(model, status);
}
