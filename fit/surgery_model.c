/* surgery_model.c - adapters as a model, by which they are saved, and out of one. */
#include "surgery.h"

#include "finite.h"

#include <string.h>

#define DOWN ".down.weight"
#define UP   ".up.weight"

/* Copies of weights, for as long as the model lives. */
typedef struct copies {
    fit_host host;
    uint32_t n;
    float **values;
} copies;

static void destroy_copies(void *user)
{
    copies *c = user;
    const fit_host host = c->host;
    for (uint32_t i = 0; c->values && i < c->n; i++)
        fit_release(&host, c->values[i]);
    fit_release(&host, c->values);
    fit_release(&host, c);
}

static copies *make_copies(const fit_host *host, uint32_t n)
{
    copies *c = fit_allocate(host, 1, sizeof *c);
    if (!c)
        return NULL;
    c->host = *host;
    c->n = n;
    c->values = fit_allocate(host, n, sizeof *c->values);
    if (!c->values) {
        destroy_copies(c);
        return NULL;
    }
    return c;
}

static emr_status add_weight(emr_model *model, const fit_host *host, const char *place, const char *suffix,
                             size_t rows, size_t columns, const float *values, emr_error *error)
{
    const uint64_t shape[] = {rows, columns};
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    char *name = fit_join_strings(host, place, suffix);
    desc.name = name;
    desc.dtype = EMR_DTYPE_F32;
    desc.rank = 2;
    desc.shape = shape;
    desc.data = values;
    emr_status status = name ? emr_model_add(model, &desc, error) : fit_no_memory(error);
    fit_release(host, name);
    return status;
}

static emr_status add_place(emr_model *model, copies *c, uint32_t i, const emr_surgery *s, const char *place,
                            emr_error *error)
{
    size_t n = s->rank * s->width;
    c->values[i] = fit_allocate(&c->host, 2 * n, sizeof(float));
    if (!c->values[i])
        return fit_no_memory(error);
    memcpy(c->values[i], s->down, n * sizeof(float));
    memcpy(c->values[i] + n, s->up, n * sizeof(float));
    emr_status status = add_weight(model, &c->host, place, DOWN, s->rank, s->width, c->values[i], error);
    return status ? status
                  : add_weight(model, &c->host, place, UP, s->width, s->rank, c->values[i] + n, error);
}

static emr_status describe_adapters(emr_model *model, emr_error *error)
{
    emr_status status = emr_model_set_metadata(model, "emr.kind", "adapters", error);
    if (!status)
        status = emr_model_set_metadata(model, "emr.activation", "relu", error);
    return status ? status : emr_model_set_metadata(model, "emr.sign", "-", error);
}

emr_status emr_surgery_open_model(const emr_surgery *const *surgeries, const char *const *places, uint32_t n,
                                  emr_model **model, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!model || !surgeries || !places || !n)
        return emr_error_format(error, EMR_EINVAL, "emr_surgery_open_model: NULL, or no adapters");
    for (uint32_t i = 0; i < n; i++)
        if (!surgeries[i] || !places[i] || !*places[i])
            return emr_error_format(error, EMR_EINVAL,
                                    "emr_surgery_open_model: adapter %u or its place is NULL or empty",
                                    (uint64_t)i);
    copies *c = make_copies(&surgeries[0]->host, n);
    if (!c)
        return fit_no_memory(error);
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &c->host.allocator;
    options.name = "adapters";
    options.user = c;
    options.destroy = destroy_copies;
    emr_status status = emr_model_create(model, &options, error);
    if (status) {
        destroy_copies(c);
        return status;
    }
    status = describe_adapters(*model, error);
    for (uint32_t i = 0; !status && i < n; i++)
        status = add_place(*model, c, i, surgeries[i], places[i], error);
    if (status)
        emr_model_destroy(model);
    return status;
}

/* A place's two tensors. */
typedef struct found_place {
    const emr_tensor *down;
    const emr_tensor *up;
} found_place;

static emr_status find_adapter(found_place *f, const fit_host *host, const emr_model *model,
                               const char *place, emr_error *error)
{
    char *down = fit_join_strings(host, place, DOWN), *up = fit_join_strings(host, place, UP);
    bool is_named = down && up;
    f->down = is_named ? emr_model_find_tensor(model, down) : NULL;
    f->up = is_named ? emr_model_find_tensor(model, up) : NULL;
    fit_release(host, down);
    fit_release(host, up);
    if (!is_named)
        return fit_no_memory(error);
    if (!f->down && !f->up)
        return emr_error_format(error, EMR_ENOTFOUND, "%F: there is no adapter '%s'", emr_model_name(model),
                                place);
    return EMR_OK;
}

static bool is_matrix(const emr_tensor *t)
{
    return t && emr_tensor_rank(t) == 2 && emr_dtype_is_float(emr_tensor_dtype(t));
}

/* What the metadata say of it is what is applied here; saying nothing will do. */
static bool may_say(const emr_model *model, const char *key, const char *value)
{
    const char *found = emr_model_find_metadata(model, key);
    return !found || strcmp(found, value) == 0;
}

static emr_status check_metadata(const found_place *f, const emr_model *model, const char *place,
                                 emr_error *error)
{
    if (!may_say(model, "emr.kind", "adapters") || !may_say(model, "emr.activation", "relu") ||
        !may_say(model, "emr.sign", "-"))
        return emr_error_format(error, EMR_EFORMAT,
                                "%F: its metadata say that it holds no adapters of x - U relu(D x)",
                                emr_model_name(model));
    const uint64_t *down = is_matrix(f->down) ? emr_tensor_shape(f->down) : NULL,
                   *up = is_matrix(f->up) ? emr_tensor_shape(f->up) : NULL;
    if (!down || !up || down[0] != up[1] || down[1] != up[0] || !down[0] || !down[1] ||
        down[0] > SURGERY_RANK_MAX || down[1] > SURGERY_WIDTH_MAX)
        return emr_error_format(error, EMR_EFORMAT,
                                "%F: '%s' is no adapter: it takes two float matrices, down.weight [rank, "
                                "width] and up.weight [width, rank]",
                                emr_model_name(model), place);
    return EMR_OK;
}

static emr_status check_asked(const emr_surgery_options *o, const uint64_t *down, const emr_model *model,
                              const char *place, emr_error *error)
{
    if ((!o->rank || o->rank == down[0]) && (!o->width || o->width == down[1]))
        return EMR_OK;
    return emr_error_format(error, EMR_EMISMATCH,
                            "%F: adapter '%s' is of width %u and rank %u, not of what was asked for",
                            emr_model_name(model), place, down[1], down[0]);
}

static emr_status read_weight(const emr_tensor *tensor, const emr_model *model, float *values,
                              emr_error *error)
{
    size_t n = (size_t)emr_tensor_count(tensor);
    emr_status status = emr_tensor_read_floats(tensor, 0, n, values, error);
    if (!status && fit_check_finite("", values, 1, n, n, NULL, NULL))
        return emr_error_format(error, EMR_ENONFINITE, "%F: tensor '%T': a value is NaN or infinite",
                                emr_model_name(model), emr_tensor_name(tensor));
    return status;
}

emr_status emr_surgery_open(emr_surgery **surgery, const emr_model *model, const char *place,
                            const emr_surgery_options *options, emr_error *error)
{
    emr_surgery_options o;
    fit_host host;
    found_place f;
    if (surgery)
        *surgery = NULL;
    if (!surgery || !model || !place)
        return emr_error_format(error, EMR_EINVAL, "emr_surgery_open: NULL");
    emr_status status = fit_surgery_take_options(&o, options, error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (!status)
        status = find_adapter(&f, &host, model, place, error);
    if (!status)
        status = check_metadata(&f, model, place, error);
    if (!status)
        status = check_asked(&o, emr_tensor_shape(f.down), model, place, error);
    if (status)
        return status;
    o.rank = (uint32_t)emr_tensor_shape(f.down)[0];
    o.width = emr_tensor_shape(f.down)[1];
    status = fit_surgery_create(surgery, &o, error);
    if (!status)
        status = read_weight(f.down, model, (*surgery)->down, error);
    if (!status)
        status = read_weight(f.up, model, (*surgery)->up, error);
    if (status)
        emr_surgery_destroy(surgery);
    else
        fit_surgery_load(*surgery);
    return status;
}
