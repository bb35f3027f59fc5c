/* arranged.c - see arranged.h. Freestanding. */
#include "model/arranged.h"

#include "core/text.h"

#include <string.h>

enum { SPAN_BYTES = 64 << 10 /* of a source, read at a time */ };

/* A tensor of an arranged model, as it is in its source. */
typedef struct arranged_tensor {
    struct arranged_tensor *next;
    struct emr_own own;
    const emr_tensor *source, *rest; /* what its elements come from; rest: where the first ones end */
    const uint64_t *shape;           /* its own */
    uint64_t first; /* bytes of the source before it; of a padded one: zeros before the source */
    uint64_t own_shape[];
} arranged_tensor;

typedef struct arrangement {
    emr_allocator allocator;
    arranged_tensor *all;
} arrangement;

static void destroy_arrangement(void *user)
{
    arrangement *a = user;
    emr_allocator allocator = a->allocator;
    while (a->all) {
        arranged_tensor *t = a->all;
        a->all = t->next;
        emr_release(&allocator, (char *)(uintptr_t)t->own.name);
        emr_release(&allocator, t);
    }
    emr_release(&allocator, a);
}

emr_status emr_arranged_create(emr_model **arranged, const emr_model *source, const emr_allocator *allocator,
                               emr_error *error)
{
    *arranged = NULL;
    arrangement *a = emr_allocate_array(allocator, 1, sizeof *a);
    if (!a)
        return emr_no_memory(error, source->name);
    a->allocator = *allocator;
    const emr_model_options options = {.size = sizeof options,
                                       .allocator = allocator,
                                       .name = source->name,
                                       .user = a,
                                       .destroy = destroy_arrangement,
                                       .scratch_bytes = SPAN_BYTES};
    emr_status status = emr_model_create(arranged, &options, error);
    if (status) {
        destroy_arrangement(a);
        return status;
    }
    (*arranged)->zeros = source->zeros;
    (*arranged)->renamed = source->renamed;
    (*arranged)->stamp = source->stamp;
    status = emr_model_copy_metadata(*arranged, source, error);
    if (status)
        emr_model_destroy(arranged);
    return status;
}

uint64_t emr_arranged_memory(const emr_model *m)
{
    const arrangement *a = m->options.user;
    uint64_t bytes =
        sizeof *m + EMR_SCRATCH_PLACES * sizeof(void *) + emr_text_length(m->name) + 1 + sizeof *a;
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        bytes += sizeof *t + t->rank * sizeof *t->shape + emr_text_length(t->name) + 1;
    }
    for (const arranged_tensor *t = a->all; t; t = t->next)
        bytes += sizeof *t + t->source->rank * sizeof *t->own_shape + emr_text_length(t->own.name) + 1;
    for (uint32_t i = 0; i < m->n_metadata; i++)
        bytes += emr_text_length(m->metadata[i].key) + emr_text_length(m->metadata[i].value) + 2;
    /* what grows by doubling: while it is copied half of it again */
    return bytes + (m->tensors_capacity * sizeof *m->tensors + m->metadata_capacity * sizeof *m->metadata +
                    emr_names_memory(m->n_tensors)) *
                       3 / 2;
}

bool emr_arranged_is_reshaped(const emr_tensor *t)
{
    return t->own && !t->own->is_rest &&
           (t->own->rest || (t->rank && memcmp(t->own->shape, t->shape, t->rank * sizeof *t->shape) != 0));
}

/* Remembers where a tensor comes from; one that was arranged before is what it was first. */
static arranged_tensor *note_source(emr_model *m, const emr_tensor *source)
{
    arrangement *a = m->options.user;
    arranged_tensor *t =
        emr_allocate_array(&a->allocator, 1, sizeof *t + source->rank * sizeof *t->own_shape);
    char *name = emr_copy_string(&a->allocator, source->own ? source->own->name : source->name);
    if (!t || !name) {
        emr_release(&a->allocator, t);
        emr_release(&a->allocator, name);
        return NULL;
    }
    if (source->rank)
        memcpy(t->own_shape, source->own ? source->own->shape : source->shape,
               source->rank * sizeof *t->own_shape);
    t->own = (struct emr_own){.name = name, .shape = t->own_shape};
    t->source = source;
    t->next = a->all;
    a->all = t;
    return t;
}

/* Adds a tensor that `desc` describes, its bytes coming out of `t`: computed, or from the source that `desc` has
 * already. */
static emr_status add_arranged(emr_model *m, arranged_tensor *t, emr_tensor_desc *desc,
                               emr_compute_fn compute, emr_error *error)
{
    const emr_tensor *source = t->source;
    desc->size = sizeof *desc;
    desc->rank = source->rank;
    desc->dtype = source->dtype;
    if (compute) {
        desc->compute = compute;
        desc->user = t;
    }
    emr_status status = emr_model_add(m, desc, error);
    if (status)
        return status;
    emr_tensor *added = m->tensors[m->n_tensors - 1];
    added->own = &t->own;
    added->model_name = source->model_name;
    added->origin = compute ? source : NULL;
    t->shape = added->shape;
    return EMR_OK;
}

/* A run of the source's bytes. */
static emr_status compute_run(const emr_computation *c, emr_error *error)
{
    const arranged_tensor *t = c->user;
    uint64_t bits = emr_dtype_bits(t->source->dtype);
    return emr_tensor_read(t->source, t->first + c->first * bits / 8, c->out, (size_t)(c->count * bits / 8),
                           error);
}

/* All of a tensor or, where its elements follow each other in the source, a part of it. */
static emr_status add_run(emr_model *m, arranged_tensor *t, emr_tensor_desc *desc, emr_error *error)
{
    desc->rank = t->source->rank;
    if (emr_tensor_share_source(t->source, t->first, desc))
        return add_arranged(m, t, desc, NULL, error);
    desc->granule = t->source->granule;
    desc->max_count = UINT32_MAX;
    return add_arranged(m, t, desc, compute_run, error);
}

emr_status emr_arranged_keep(emr_model *m, const emr_tensor *source, emr_error *error)
{
    emr_status status = emr_model_add_tensor(m, source, error);
    if (status)
        return status;
    m->tensors[m->n_tensors - 1]->own = source->own;
    m->tensors[m->n_tensors - 1]->model_name = source->model_name;
    return EMR_OK;
}

emr_status emr_arranged_rename(emr_model *m, const emr_tensor *source, const char *name, emr_error *error)
{
    arranged_tensor *t = note_source(m, source);
    emr_tensor_desc desc = {.name = name, .shape = source->shape};
    if (!t)
        return emr_no_memory(error, m->name);
    if (source->own) {
        t->own.rest = source->own->rest;
        t->own.is_rest = source->own->is_rest;
    }
    return add_run(m, t, &desc, error);
}

/* Where a run of elements of a fitted tensor is in its source. */
typedef struct fitted_run {
    uint64_t n;  /* elements of the run */
    uint64_t at; /* in the source */
    bool inside; /* else they are zeros */
} fitted_run;

/* The run that begins with element p; it ends with its last dimension, or with the source's there. */
static fitted_run find_run(const arranged_tensor *t, uint64_t p)
{
    const emr_tensor *s = t->source;
    uint32_t last = s->rank - 1;
    uint64_t column = p % t->shape[last], row = p / t->shape[last], stride = 1;
    fitted_run run = {.inside = column < s->shape[last]};
    for (uint32_t i = last; i-- > 0; row /= t->shape[i]) {
        uint64_t index = row % t->shape[i];
        run.inside = run.inside && index < s->shape[i];
        run.at += index * stride;
        stride *= s->shape[i];
    }
    run.at = run.at * s->shape[last] + column;
    run.n = (run.inside ? emr_min(s->shape[last], t->shape[last]) : t->shape[last]) - column;
    return run;
}

/* Elements [p, ...) that one reading of the source brings; how many they are. */
static emr_status fit_span(const emr_computation *c, uint64_t p, uint8_t *out, size_t left, size_t *brought,
                           emr_error *error)
{
    const arranged_tensor *t = c->user;
    size_t size = emr_dtype_bits(t->source->dtype) / 8, n = 0;
    uint64_t first = UINT64_MAX, end = 0;
    while (n < left) {
        fitted_run run = find_run(t, p + n);
        uint64_t taken = emr_min(run.n, left - n), from = emr_min(first, run.at);
        if (run.inside && (run.at + taken - from) * size > SPAN_BYTES) {
            if (end)
                break;
            taken = SPAN_BYTES / size;
        }
        if (run.inside) {
            first = from;
            end = run.at + taken;
        }
        n += (size_t)taken;
    }
    emr_status status =
        end ? emr_tensor_read(t->source, first * size, c->scratch, (size_t)(end - first) * size, error)
            : EMR_OK;
    for (size_t done = 0, taken; !status && done < n; done += taken) {
        fitted_run run = find_run(t, p + done);
        taken = (size_t)emr_min(run.n, n - done);
        if (run.inside)
            memcpy(out + done * size, (const uint8_t *)c->scratch + (run.at - first) * size, taken * size);
        else
            memset(out + done * size, 0, taken * size);
    }
    *brought = n;
    return status;
}

static emr_status compute_fitted(const emr_computation *c, emr_error *error)
{
    const arranged_tensor *t = c->user;
    size_t size = emr_dtype_bits(t->source->dtype) / 8;
    emr_status status = EMR_OK;
    for (size_t done = 0, brought; !status && done < c->count; done += brought)
        status =
            fit_span(c, c->first + done, (uint8_t *)c->out + done * size, c->count - done, &brought, error);
    return status;
}

/* Whether a shape is the source's, or its first rows. */
static bool are_first_rows(const emr_tensor *source, const uint64_t *shape)
{
    return source->rank == 0 ||
           (shape[0] <= source->shape[0] &&
            memcmp(source->shape + 1, shape + 1, (source->rank - 1) * sizeof *shape) == 0);
}

static emr_status check_is_fittable(const emr_tensor *source, emr_error *error)
{
    return source->kind != EMR_TENSOR_PUSHED && emr_dtype_bits(source->dtype) % 8 == 0
               ? EMR_OK
               : emr_fail(
                     error, EMR_EUNSUPPORTED,
                     "%F: tensor '%T' cannot be fitted into another shape: give it data, io or compute, and "
                     "whole bytes",
                     source->model_name, source->name);
}

emr_status emr_arranged_fit(emr_model *m, const emr_tensor *source, const char *name, const uint64_t *shape,
                            emr_error *error)
{
    emr_tensor_desc desc = {.name = name, .shape = shape};
    emr_status status = check_is_fittable(source, error);
    if (status)
        return status;
    arranged_tensor *t = note_source(m, source);
    if (!t)
        return emr_no_memory(error, m->name);
    return are_first_rows(source, shape) ? add_run(m, t, &desc, error)
                                         : add_arranged(m, t, &desc, compute_fitted, error);
}

/* A copy of a shape with another first dimension: at most EMR_RANK_MAX numbers. */
static const uint64_t *shape_of_rows(const emr_tensor *t, uint64_t rows, uint64_t shape[EMR_RANK_MAX])
{
    memcpy(shape, t->shape, t->rank * sizeof *shape);
    shape[0] = rows;
    return shape;
}

/* Bytes [at, at + n): some before the source's, some of them, some behind. */
static emr_status compute_padded(const emr_computation *c, emr_error *error)
{
    const arranged_tensor *t = c->user;
    uint64_t size = emr_dtype_bits(t->source->dtype) / 8, at = c->first * size, n = c->count * size;
    uint64_t before = at < t->first ? emr_min(n, t->first - at) : 0;
    uint64_t skipped = at + before - t->first; /* of the source */
    uint64_t own =
        before < n && skipped < t->source->bytes ? emr_min(n - before, t->source->bytes - skipped) : 0;
    memset(c->out, 0, (size_t)before);
    memset((uint8_t *)c->out + before + own, 0, (size_t)(n - before - own));
    return own ? emr_tensor_read(t->source, skipped, (uint8_t *)c->out + before, (size_t)own, error) : EMR_OK;
}

emr_status emr_arranged_pad(emr_model *m, const emr_tensor *source, const char *name, uint64_t first,
                            uint64_t rows, emr_error *error)
{
    uint64_t shape[EMR_RANK_MAX];
    emr_tensor_desc desc = {
        .name = name, .shape = shape_of_rows(source, rows, shape), .max_count = UINT32_MAX};
    emr_status status = check_is_fittable(source, error);
    if (status)
        return status;
    arranged_tensor *t = note_source(m, source);
    if (!t)
        return emr_no_memory(error, m->name);
    t->own_shape[0] = rows;
    t->first = source->bytes / source->shape[0] * first;
    return add_arranged(m, t, &desc, compute_padded, error);
}

emr_status emr_arranged_add_rest(emr_model *m, const emr_tensor *source, const char *name, uint64_t first,
                                 emr_error *error)
{
    uint64_t shape[EMR_RANK_MAX];
    emr_tensor_desc desc = {.name = name, .shape = shape_of_rows(source, source->shape[0] - first, shape)};
    arranged_tensor *t = note_source(m, source);
    if (!t)
        return emr_no_memory(error, m->name);
    t->first = source->bytes / source->shape[0] * first;
    t->own.is_rest = true;
    arranged_tensor *before = t->next;
    emr_status status = add_run(m, t, &desc, error);
    if (!status)
        before->own.rest = m->tensors[m->n_tensors - 1];
    return status;
}

char *emr_rest_name(const emr_allocator *allocator, const char *name, uint64_t first)
{
    char ending[24] = "[", digits[20];
    size_t n = 0, at = 1;
    for (uint64_t v = first; n == 0 || v; v /= 10)
        digits[n++] = (char)('0' + v % 10);
    while (n)
        ending[at++] = digits[--n];
    memcpy(ending + at, ":]", 3);
    return emr_join_strings(allocator, name, emr_text_length(name), ending);
}

/* A range of bytes of which some lie in the first tensor, and some in the rest. */
static emr_status compute_joined(const emr_computation *c, emr_error *error)
{
    const arranged_tensor *t = c->user;
    uint64_t size = emr_dtype_bits(t->source->dtype) / 8, at = c->first * size, n = c->count * size;
    uint64_t in_first = at < t->source->bytes ? emr_min(n, t->source->bytes - at) : 0;
    emr_status status = in_first ? emr_tensor_read(t->source, at, c->out, (size_t)in_first, error) : EMR_OK;
    return status || in_first == n
               ? status
               : emr_tensor_read(t->rest, at + in_first - t->source->bytes, (uint8_t *)c->out + in_first,
                                 (size_t)(n - in_first), error);
}

emr_status emr_arranged_join(emr_model *m, const emr_tensor *first, const emr_tensor *rest, const char *name,
                             emr_error *error)
{
    uint64_t shape[EMR_RANK_MAX];
    emr_tensor_desc desc = {.name = name,
                            .shape = shape_of_rows(first, first->shape[0] + rest->shape[0], shape),
                            .max_count = UINT32_MAX};
    arranged_tensor *t = note_source(m, first);
    if (!t)
        return emr_no_memory(error, m->name);
    t->rest = rest;
    return add_arranged(m, t, &desc, compute_joined, error);
}
