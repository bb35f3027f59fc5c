/* coefficients_apply.c - merged weights into an engine's memory. The host's array is gone through twice: all of it is checked
 * before anything is written. */
#include "coefficients.h"

#include <string.h>

/* What an element of the array asks for. */
typedef struct target {
    emr_coefficients *c;
    const emr_tensor *base;
    uint32_t tensor; /* NO_NUMBER: the base's is copied */
    emr_dtype dtype;
    bool without_base;
    uint64_t first, count;
    unsigned char *out;
} target;

static emr_status bad_weights(const target *t, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EINVAL, "%F: tensor '%T': %s", emr_model_name(t->c->vectors->base),
                            emr_tensor_name(t->base), why);
}

static emr_status find_base(const emr_coefficients *c, const emr_weights *w, const emr_tensor **base,
                            emr_error *error)
{
    const emr_model *model = c->vectors->base;
    *base = w->name ? emr_model_find_tensor(model, w->name) : emr_model_tensor(model, w->tensor);
    if (*base)
        return EMR_OK;
    return w->name ? emr_error_format(error, EMR_ENOTFOUND, "%F: the base has no tensor '%T'",
                                      emr_model_name(model), w->name)
                   : emr_error_format(error, EMR_ENOTFOUND, "%F: there is no tensor %u",
                                      emr_model_name(model), (uint64_t)w->tensor);
}

static emr_status check_form(const target *t, const emr_weights *w, emr_error *error)
{
    const emr_dtype stored = emr_tensor_dtype(t->base);
    if (w->blocks)
        return emr_error_format(error, EMR_EUNSUPPORTED,
                                "%F: tensor '%T': merged weights are not written in blocks",
                                emr_model_name(t->c->vectors->base), emr_tensor_name(t->base));
    if (emr_dtype_bits(stored) % 8)
        return emr_error_format(error, EMR_EUNSUPPORTED, "%F: tensor '%T' has elements of less than a byte",
                                emr_model_name(t->c->vectors->base), emr_tensor_name(t->base));
    if (t->dtype != stored && (!emr_dtype_is_float(t->dtype) || !emr_dtype_is_float(stored)))
        return bad_weights(t, "it is no float, and cannot be given in another dtype", error);
    if (t->without_base && t->tensor == NO_NUMBER)
        return bad_weights(t, "it is not merged: it has no change to give without_base", error);
    return EMR_OK;
}

static emr_status check_place(const target *t, const emr_weights *w, emr_error *error)
{
    const uint64_t total = emr_tensor_count(t->base);
    if (w->first > total || w->count > total - w->first)
        return emr_error_format(error, EMR_EINVAL, "%F: tensor '%T' has %u elements, asked for %u from %u",
                                emr_model_name(t->c->vectors->base), emr_tensor_name(t->base), total,
                                w->count, w->first);
    if (!w->write != !w->staging)
        return bad_weights(
            t, "write and staging go together: a function, and elements that data has room for", error);
    if (t->count && !t->out)
        return bad_weights(t, "no memory was given for it", error);
    if (t->count > SIZE_MAX / 8)
        return bad_weights(t, "it does not fit in memory", error);
    return EMR_OK;
}

static emr_status resolve_target(emr_coefficients *c, const emr_weights *weights, size_t i, emr_weights *w,
                                 target *t, emr_error *error)
{
    const void *given = (const char *)weights + i * weights->size;
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size != weights->size)
        return emr_error_format(error, EMR_EINVAL, "emr_weights: not the same size in all");
    emr_status status = FIT_TAKE(w, given, emr_weights, without_base, error);
    *t = (target){.c = c};
    if (!status)
        status = find_base(c, w, &t->base, error);
    if (status)
        return status;
    t->tensor = fit_coefficients_find_tensor(c, emr_tensor_name(t->base));
    t->dtype = w->dtype ? w->dtype : emr_tensor_dtype(t->base);
    t->without_base = w->without_base != 0;
    t->out = w->data;
    t->first = w->first;
    status = check_form(t, w, error);
    if (!status) {
        t->count = w->count || w->first > emr_tensor_count(t->base) ? w->count
                                                                    : emr_tensor_count(t->base) - w->first;
        status = check_place(t, w, error);
    }
    return status;
}

/* A piece of a target. */
static emr_status write_merged_piece(void *arg, size_t job, void *memory, emr_error *error)
{
    const target *t = arg;
    const fit_vectors *v = t->c->vectors;
    const emr_dtype stored = emr_tensor_dtype(t->base);
    const size_t stored_bytes = emr_dtype_bits(stored) / 8, bytes = emr_dtype_bits(t->dtype) / 8;
    uint64_t at = (uint64_t)job * v->piece, first = t->first + at;
    size_t n = t->count - at < v->piece ? (size_t)(t->count - at) : v->piece;
    unsigned char *out = t->out + at * bytes;
    fit_room room = fit_room_of(v, memory);
    if (t->tensor != NO_NUMBER) {
        const fit_range range = {t->tensor, first, n};
        const fit_merging merging = {t->c->lambdas, t->without_base, t->dtype};
        return fit_vectors_merge(v, &merging, &range, out, &room, error);
    }
    if (t->dtype == stored)
        return emr_tensor_read(t->base, first * stored_bytes, out, n * bytes, error);
    emr_status status = emr_tensor_read(t->base, first * stored_bytes, room.stored, n * stored_bytes, error);
    return status ? status : emr_convert(t->dtype, out, stored, room.stored, n);
}

static emr_status write_target(target *t, emr_error *error)
{
    emr_coefficients *c = t->c;
    if (t->tensor != NO_NUMBER)
        fit_coefficients_lambdas(c, c->group_of[t->tensor], c->lambdas);
    return fit_crew_run(&c->crew, (size_t)((t->count + c->vectors->piece - 1) / c->vectors->piece),
                        write_merged_piece, t, error);
}

static emr_status hand_over(const target *t, const emr_weights *w, emr_error *error)
{
    const emr_weights_part part = {.size = sizeof part,
                                   .user = w->user,
                                   .data = t->out,
                                   .first = t->first,
                                   .count = t->count,
                                   .dtype = t->dtype};
    emr_error why;
    memset(&why, 0, sizeof why);
    emr_status status = w->write(&part, &why);
    why.text[sizeof why.text - 1] = '\0';
    return status ? emr_error_format(error, status > 0 ? EMR_EIO : status,
                                     "%F: tensor '%T': its weights were not taken: %s",
                                     emr_model_name(t->c->vectors->base), emr_tensor_name(t->base),
                                     why.text[0] ? why.text : emr_status_text(status))
                  : EMR_OK;
}

static emr_status write_parts(const target *whole, const emr_weights *w, emr_error *error)
{
    target part = *whole;
    const uint64_t end = whole->first + whole->count;
    emr_status status = EMR_OK;
    for (; !status && part.first < end; part.first += part.count) {
        part.count = end - part.first < w->staging ? end - part.first : w->staging;
        status = write_target(&part, error);
        if (!status)
            status = hand_over(&part, w, error);
    }
    return status;
}

emr_status emr_coefficients_apply(emr_coefficients *c, const emr_weights *weights, size_t n_weights,
                                  emr_error *error)
{
    emr_weights w;
    target t;
    emr_status status = EMR_OK;
    if (!c || (n_weights && !weights))
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_apply: NULL");
    for (size_t i = 0; !status && i < n_weights; i++)
        status = resolve_target(c, weights, i, &w, &t, error);
    for (size_t i = 0; !status && i < n_weights; i++) {
        status = resolve_target(c, weights, i, &w, &t, error);
        if (!status)
            status = w.write ? write_parts(&t, &w, error) : write_target(&t, error);
    }
    return status;
}
