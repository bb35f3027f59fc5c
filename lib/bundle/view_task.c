/* view_task.c - a task's model, computed from the base and the task's modulator as it is read. Freestanding.
 */
#include "bundle/view.h"

#include "bundle/arrangement.h"
#include "core/resources.h"
#include "model/arranged.h"
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

/* Unified values come in blocks; in kinds that have none, codes and differences do. */
static void note_blocks(emr_tensor *t, const emr_view *v, uint32_t tensor)
{
    const emr_bundle *b = v->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, tensor);
    const emr_tensor_code code = emr_bundle_code(b, v->task, tensor);
    size_t stream = code.kind->has_unified               ? b->base_streams[EMR_STREAM_UNIFIED]
                    : code.kind == &emr_kind_differences ? b->task_streams[EMR_STREAM_VECTORS][v->task]
                                                         : b->task_streams[EMR_STREAM_CODES][v->task];
    uint32_t rate =
        code.kind->has_unified ? EMR_GROUP * emr_dtype_bits(b->summary.unified_dtype) : code.coding.rate;
    if (stream == EMR_NO_STREAM)
        return;
    t->block = (uint64_t)emr_bundle_stream_record(b, stream).block_bytes * EMR_CODE_UNIT / rate;
    t->place = code.kind == &emr_kind_differences ? r.first_place : r.first_param;
}

/* How tensors of a task are made. */
typedef struct task_tensors {
    const emr_bundle *bundle;
    const emr_model *base;
    emr_arranged_task arranged;
    const emr_view_options *options;
    uint32_t task;
} task_tensors;

/* The dtype in which a tensor is given out. */
static emr_dtype dtype_given_out(const emr_view_options *o, emr_dtype own, uint32_t rank)
{
    if (!o->dtype || !emr_dtype_is_float(own))
        return own;
    return o->f32_vectors && rank < 2 && emr_float_size(o->dtype) < 4 ? EMR_DTYPE_F32 : o->dtype;
}

/* One tensor that the task's model takes from the base, merged or kept; under `name`. */
static emr_status add_from_base(emr_model *model, const task_tensors *tt, uint32_t i, const char *name,
                                emr_error *error)
{
    const emr_view *v = model->options.user;
    const emr_bundle *b = tt->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    emr_tensor_desc desc = emr_view_describe(b, &r);
    emr_dtype dtype = emr_bundle_task_dtype(b, tt->task, i);
    emr_view_tensor t = {
        .from_base = {.hash_low = r.hash_low, .hash_high = r.hash_high, .wrong = v->not_the_base},
        .merged = i,
    };
    emr_status status = emr_bundle_base_tensor(b, tt->base, i, false, &t.from_base.source, error);
    if (status)
        return status;
    dtype = dtype_given_out(tt->options, dtype, r.rank);
    t.from_base.derive = r.merged ? derive_weights : dtype != r.dtype ? derive_converted : NULL;
    desc.name = name;
    desc.dtype = dtype;
    desc.compute = compute_from_base;
    desc.max_count = t.from_base.derive ? EMR_VIEW_PIECE : UINT32_MAX;
    status = emr_view_add(model, &t, &desc, error);
    if (!status && r.merged)
        note_blocks(model->tensors[model->n_tensors - 1], v, i);
    return status;
}

static emr_status add_own_tensor(emr_model *model, const task_tensors *tt, size_t i, const char *name,
                                 emr_error *error)
{
    const emr_bundle *b = tt->bundle;
    emr_private_record p = emr_bundle_private_record(b, b->first_private[tt->task] + i);
    const emr_tensor_record r = {.name = p.name, .shape = p.shape, .rank = p.rank, .dtype = p.dtype};
    const emr_view_tensor t = {.offset = p.offset, .stored = p.dtype};
    emr_tensor_desc desc = emr_view_describe(b, &r);
    desc.name = name ? name : desc.name;
    desc.dtype = dtype_given_out(tt->options, p.dtype, p.rank);
    bool convert = desc.dtype != p.dtype;
    desc.compute = convert ? emr_view_compute_converted : emr_view_compute_stored;
    desc.max_count = convert ? EMR_VIEW_PIECE : UINT32_MAX;
    return emr_view_add(model, &t, &desc, error);
}

/* A tensor by its number, as the bundle has it but for its name; nothing where the task does not have it. */
static emr_status add_numbered(emr_model *model, const task_tensors *tt, size_t number, const char *name,
                               emr_error *error)
{
    const emr_bundle *b = tt->bundle;
    uint32_t n_tensors = b->summary.n_tensors;
    if (number >= n_tensors)
        return add_own_tensor(model, tt, number - n_tensors, name, error);
    if (emr_bundle_task_dtype(b, tt->task, number) == EMR_DTYPE_NONE)
        return EMR_OK;
    return add_from_base(model, tt, (uint32_t)number, name ? name : emr_bundle_tensor_name(b, number), error);
}

/* A part of what the task has otherwise: it can be read, so its base must be right. */
static emr_status add_view_part(emr_model *parts, const task_tensors *tt, size_t number, bool unchecked,
                                emr_error *error)
{
    const emr_bundle *b = tt->bundle;
    emr_status status = EMR_OK;
    if (unchecked && number < b->summary.n_tensors)
        status = emr_bundle_check_tensor(b, tt->base, number, &parts->allocator, error);
    return status ? status : add_numbered(parts, tt, number, NULL, error);
}

/* What a record makes of its parts, which were added last. */
static emr_status make_whole(emr_view *v, const task_tensors *tt, const emr_arrangement_record *r,
                             emr_error *error)
{
    const emr_model *parts = v->parts;
    const char *name = emr_bundle_string(tt->bundle, r->name);
    const emr_tensor *last = parts->tensors[parts->n_tensors - 1];
    return r->rest != EMR_NO_REST
               ? emr_arranged_join(v->wholes, parts->tensors[parts->n_tensors - 2], last, name, error)
               : emr_arranged_fit(v->wholes, last, name, emr_bundle_shape(tt->bundle, r->shape), error);
}

/* Tensors that the task has in another shape or in one piece. They are made of a view of the parts, which is a
 * model of its own, since readers of the whole read from it. */
static emr_status make_wholes(emr_view *v, const task_tensors *tt, emr_error *error)
{
    const emr_bundle *b = tt->bundle;
    size_t n = 0;
    emr_view inner = {.bundle = b, .allocator = v->allocator, .stream = v->stream, .task = v->task};
    for (size_t i = 0; i < tt->arranged.n; i++) {
        uint32_t record = emr_arranged_task_record(&tt->arranged, i);
        if (record < EMR_ARRANGED_REST) {
            emr_arrangement_record r = emr_bundle_arrangement_record(b, record);
            n += emr_bundle_is_reshaped(b, &r) ? 2 : 0;
        }
    }
    if (!n)
        return EMR_OK;
    emr_status status = emr_view_create(&v->parts, &inner, n, EMR_VIEW_PIECE * sizeof(double), error);
    if (!status)
        status = emr_arranged_create(&v->wholes, v->parts, &v->allocator, error);
    for (size_t i = 0; !status && i < tt->arranged.n; i++) {
        uint32_t record = emr_arranged_task_record(&tt->arranged, i);
        if (record >= EMR_ARRANGED_REST)
            continue;
        emr_arrangement_record r = emr_bundle_arrangement_record(b, record);
        if (!emr_bundle_is_reshaped(b, &r))
            continue;
        status = add_view_part(v->parts, tt, i, v->not_the_base != NULL, error);
        if (!status && r.rest != EMR_NO_REST)
            status = add_view_part(v->parts, tt, r.rest, v->not_the_base != NULL, error);
        if (!status)
            status = make_whole(v, tt, &r, error);
    }
    return status;
}

/* All tensors of the task: those from the base, then private ones, each as the task has it. */
static emr_status add_all_tensors(emr_model *model, const task_tensors *tt, emr_error *error)
{
    const emr_bundle *b = tt->bundle;
    emr_view *v = model->options.user;
    uint32_t whole = 0;
    emr_status status = tt->arranged.records ? make_wholes(v, tt, error) : EMR_OK;
    for (size_t i = 0; !status && i < tt->arranged.n; i++) {
        uint32_t record = emr_arranged_task_record(&tt->arranged, i);
        if (record == EMR_ARRANGED_REST)
            continue;
        if (record == EMR_NOT_ARRANGED) {
            status = add_numbered(model, tt, i, NULL, error);
            continue;
        }
        emr_arrangement_record r = emr_bundle_arrangement_record(b, record);
        status = emr_bundle_is_reshaped(b, &r)
                     ? emr_model_add_tensor(model, v->wholes->tensors[whole++], error)
                     : add_numbered(model, tt, i, emr_bundle_string(b, r.name), error);
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

/* Everything that the model has, out of the bundle and a base: the given one, or the view's own. */
static emr_status fill_task(emr_model *model, const emr_model *base, const emr_view_options *options,
                            emr_error *error)
{
    emr_view *v = model->options.user;
    task_tensors tt = {
        .bundle = v->bundle, .base = base ? base : v->own_base, .options = options, .task = v->task};
    emr_status status =
        base ? emr_bundle_arrange_base(&v->arranged_base, v->bundle, base, false, &v->allocator, error)
             : EMR_OK;
    if (v->arranged_base)
        tt.base = v->arranged_base;
    if (!status)
        status = emr_arranged_task_read(&tt.arranged, v->bundle, v->task, &v->allocator, error);
    if (!status)
        status = add_all_tensors(model, &tt, error);
    emr_arranged_task_free(&tt.arranged, &v->allocator);
    return status ? status : emr_bundle_add_metadata(model, v->bundle, v->task, error);
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
    if (!status)
        status = fill_task(*model, base, &options, error);
    return emr_view_finish(model, status, error);
}
