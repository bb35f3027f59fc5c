/* view_task.c - a task's model, computed from the base and the task's modulator as it is read. Freestanding.
 */
#include "bundle/view.h"

#include "core/resources.h"
#include "numeric/convert.h"

/* What becomes of the base's values, of which `source` has those of the computation's elements. They are read
 * by compute_from_base() below, or by the writer of a file (checkpoint/stream.c), which hashes them as they
 * pass and so needs no second reading to find out whether they are the bundle's base. */
static emr_status derive_weights(const emr_computation *c, const void *source, emr_error *error)
{
    const emr_view_tensor *t = c->user;
    emr_view_scratch *scratch = c->scratch;
    emr_status status = EMR_OK;
    if (!scratch->modulator)
        status = emr_bundle_open_modulator(&scratch->modulator, t->view->bundle, t->view->task,
                                           &t->view->allocator, error);
    if (status)
        return status;
    const emr_application application = {
        .size = sizeof application,
        .base = source,
        .out = c->out,
        .first = c->first,
        .count = c->count,
        .tensor = t->merged,
        .base_dtype = t->from_base.source->dtype,
        .out_dtype = t->dtype,
    };
    return emr_modulator_apply(scratch->modulator, &application, error);
}

/* A float tensor that is kept from the base, given out in another dtype. */
static emr_status derive_converted(const emr_computation *c, const void *source, emr_error *error)
{
    const emr_view_tensor *t = c->user;
    (void)error;
    t->view->bundle->kernels->convert(t->dtype, c->out, t->from_base.source->dtype, source, c->count);
    return EMR_OK;
}

static emr_status compute_from_base(const emr_computation *c, emr_error *error)
{
    const emr_derivation *from = &((const emr_view_tensor *)c->user)->from_base;
    emr_view_scratch *scratch = c->scratch;
    uint64_t bits = emr_dtype_bits(from->source->dtype);
    void *source = from->derive ? scratch->bytes : c->out;
    emr_status status =
        emr_tensor_read(from->source, c->first * bits / 8, source, (size_t)(c->count * bits / 8), error);
    return status || !from->derive ? status : from->derive(c, source, error);
}

/* Unified values come in blocks; in kinds that have none, codes do. */
static void note_blocks(emr_tensor *t, const emr_view *v, uint64_t first_param)
{
    const emr_bundle *b = v->bundle;
    bool unified = b->kind->has_unified;
    size_t stream = unified ? b->base_streams[EMR_STREAM_UNIFIED] : b->task_streams[EMR_STREAM_MASK][v->task];
    uint32_t bits = unified ? emr_dtype_bits(b->summary.unified_dtype) : b->kind->bits;
    if (stream == EMR_NO_STREAM)
        return;
    t->block = (uint64_t)emr_bundle_stream_record(b, stream).block_bytes * 8 / bits;
    t->place = first_param;
}

/* One tensor that the task's model takes from the base, merged or kept. */
static emr_status add_from_base(emr_model *model, const emr_bundle *b, uint32_t i, const emr_model *base,
                                emr_dtype dtype, emr_error *error)
{
    const emr_view *v = model->options.user;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    emr_tensor_desc desc = emr_view_describe(b, &r);
    emr_view_tensor t = {
        .from_base = {.hash_low = r.hash_low, .hash_high = r.hash_high, .wrong = v->not_the_base},
        .merged = i,
    };
    emr_status status = emr_bundle_base_tensor(b, base, i, &t.from_base.source, error);
    if (status)
        return status;
    t.from_base.derive = r.merged ? derive_weights : dtype != r.dtype ? derive_converted : NULL;
    desc.dtype = dtype;
    desc.compute = compute_from_base;
    desc.max_count = t.from_base.derive ? EMR_VIEW_PIECE : UINT32_MAX;
    status = emr_view_add(model, &t, &desc, error);
    if (!status && r.merged)
        note_blocks(model->tensors[model->n_tensors - 1], v, r.first_param);
    return status;
}

static emr_status add_all_from_base(emr_model *model, const emr_bundle *b, const emr_model *base,
                                    emr_dtype wanted, emr_error *error)
{
    const emr_view *v = model->options.user;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < b->summary.n_tensors; i++) {
        emr_dtype dtype = emr_bundle_task_dtype(b, v->task, i);
        if (dtype == EMR_DTYPE_NONE)
            continue;
        dtype = wanted && emr_dtype_is_float(dtype) ? wanted : dtype;
        status = add_from_base(model, b, i, base, dtype, error);
    }
    return status;
}

static emr_status add_private(emr_model *model, const emr_bundle *b, emr_dtype wanted, emr_error *error)
{
    uint32_t task = ((const emr_view *)model->options.user)->task;
    emr_status status = EMR_OK;
    for (size_t i = b->first_private[task]; !status && i < b->first_private[task + 1]; i++) {
        emr_private_record p = emr_bundle_private_record(b, i);
        const emr_tensor_record r = {.name = p.name, .shape = p.shape, .rank = p.rank, .dtype = p.dtype};
        const emr_view_tensor t = {.offset = p.offset, .stored = p.dtype};
        bool convert = wanted && emr_dtype_is_float(p.dtype) && wanted != p.dtype;
        emr_tensor_desc desc = emr_view_describe(b, &r);
        desc.dtype = convert ? wanted : p.dtype;
        desc.compute = convert ? emr_view_compute_converted : emr_view_compute_stored;
        desc.max_count = convert ? EMR_VIEW_PIECE : UINT32_MAX;
        status = emr_view_add(model, &t, &desc, error);
    }
    return status;
}

/* Everything that can be wrong with a call, and the base where that is to be checked first. */
static emr_status check_call(const emr_bundle *b, uint32_t task, const emr_model *base,
                             const emr_view_options *o, emr_error *error)
{
    if (o->dtype && !emr_dtype_is_float(o->dtype))
        return emr_fail(error, EMR_EINVAL, "emr_view_options.dtype must be a float dtype");
    if (o->check > EMR_BASE_CHECK_NONE)
        return emr_fail(error, EMR_EINVAL, "emr_view_options.check: there is no %u", (uint64_t)o->check);
    if (task >= b->summary.n_tasks)
        return emr_fail(error, EMR_ENOTFOUND, "%F: there is no task %u", b->name, (uint64_t)task);
    if (!base || o->check != EMR_BASE_CHECK_FIRST) /* blocks of an embedded base have their own checksums */
        return EMR_OK;
    const emr_base_check_options check = {.size = sizeof check, .resources = o->resources};
    return emr_bundle_check_base(b, base, &check, error);
}

/* The model without its tensors, and what it owns besides them. */
static emr_status create_task_view(emr_model **model, const emr_view *view, bool own_base, bool unchecked,
                                   emr_error *error)
{
    static const char text[] = "is not the base of ";
    const emr_bundle *b = view->bundle;
    size_t n_private = b->first_private[view->task + 1] - b->first_private[view->task];
    emr_status status = emr_view_create(model, view, b->summary.n_tensors + n_private,
                                        EMR_VIEW_PIECE * sizeof(double), error);
    if (status)
        return status;
    emr_view *v = (*model)->options.user;
    if (own_base)
        return emr_bundle_open_base(&v->own_base, b, &v->allocator, error);
    if (unchecked) {
        v->not_the_base = emr_join_strings(&v->allocator, text, sizeof text - 1, b->name);
        return v->not_the_base ? EMR_OK : emr_no_memory(error, b->name);
    }
    return EMR_OK;
}

emr_status emr_bundle_open_task(emr_model **model, const emr_bundle *b, uint32_t task, const emr_model *base,
                                const emr_view_options *given, emr_error *error)
{
    emr_view_options options;
    emr_env env;
    if (model)
        *model = NULL;
    if (!model || !b)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_open_task: NULL");
    emr_status status = EMR_TAKE(&options, given, emr_view_options, error);
    if (!status)
        status = emr_env_take(&env, options.resources, &b->allocator, error);
    if (!status)
        status = check_call(b, task, base, &options, error);
    if (status)
        return status;
    const emr_view view = {
        .bundle = b,
        .allocator = env.allocator,
        .stream = b->task_streams[EMR_STREAM_PRIVATE][task],
        .task = task,
    };
    status = create_task_view(model, &view, !base, options.check == EMR_BASE_CHECK_WRITE, error);
    if (!status && !base)
        base = ((const emr_view *)(*model)->options.user)->own_base;
    if (!status)
        status = add_all_from_base(*model, b, base, options.dtype, error);
    if (!status)
        status = add_private(*model, b, options.dtype, error);
    if (!status)
        status = emr_bundle_add_metadata(*model, b, task, error);
    return emr_view_finish(model, status, error);
}
