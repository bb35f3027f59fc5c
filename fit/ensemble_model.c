/* ensemble_model.c - an ensemble's network as a model, by which it is saved, and out of one. */
#include "ensemble.h"

#include "json.h"
#include "weights.h"

#include <math.h>
#include <string.h>

static const char *const activations[] = {"silu", "relu"};
static const char *const mixes[] = {"logits", "probabilities"};
static const char *const matrix_names[SIDES][MATRICES] = {{"x.down.weight", "x.up.weight"},
                                                          {"l.down.weight", "l.up.weight"}};
static const char *const scale_names[SIDES] = {"x.norm.weight", "l.norm.weight"};
static const char shift_name[] = "x.norm.bias";
static const char unfit[] = "has another shape than the other tensors ask for";

/* What a saved model's tensors point at. */
typedef struct saved {
    fit_host host;
    double *parameters;
} saved;

static void destroy_saved(void *user)
{
    saved *s = user;
    const fit_host host = s->host;
    fit_release(&host, s->parameters);
    fit_release(&host, s);
}

static emr_status add_parameter(emr_model *model, const char *name, size_t rows, size_t columns,
                                const double *data, emr_error *error)
{
    const uint64_t matrix[2] = {rows, columns}, *vector = matrix + 1;
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = name;
    desc.dtype = EMR_DTYPE_F64;
    desc.rank = rows ? 2 : 1;
    desc.shape = rows ? matrix : vector;
    desc.data = data;
    return emr_model_add(model, &desc, error);
}

static emr_status add_parameters(const emr_ensemble *e, emr_model *model, const double *parameters,
                                 emr_error *error)
{
    emr_status status = EMR_OK;
    for (int i = 0; i < SIDES; i++)
        for (int which = 0; !status && which < MATRICES; which++) {
            const ensemble_matrix *m = &e->sides[i].matrices[which];
            status = add_parameter(model, matrix_names[i][which], m->rows, m->columns, parameters + m->begin,
                                   error);
        }
    for (int i = 0; !status && e->has_norm && i < SIDES; i++)
        status = add_parameter(model, scale_names[i], 0, e->shared, parameters + e->sides[i].scale, error);
    if (!status && e->has_norm)
        status = add_parameter(model, shift_name, 0, e->shared, parameters + e->sides[SIDE_X].shift, error);
    return status;
}

static emr_status set_temperature(const emr_ensemble *e, emr_model *model, emr_error *error)
{
    json_t *number = json_real(e->temperature);
    char *text = fit_write_json(&e->host, number);
    emr_status status =
        text ? emr_model_set_metadata(model, "emr.temperature", text, error) : fit_no_memory(error);
    fit_release(&e->host, text);
    json_decref(number);
    return status;
}

static emr_status set_metadata(const emr_ensemble *e, emr_model *model, emr_error *error)
{
    emr_status status = emr_model_set_metadata(model, "emr.kind", "ensemble", error);
    if (!status)
        status = emr_model_set_metadata(model, "emr.activation", activations[e->activation], error);
    if (!status)
        status = set_temperature(e, model, error);
    return status ? status : emr_model_set_metadata(model, "emr.mix", mixes[e->mix], error);
}

emr_status emr_ensemble_open_model(const emr_ensemble *e, emr_model **model, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!e || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_open_model: NULL");
    saved *s = fit_allocate(&e->host, 1, sizeof *s);
    if (!s)
        return fit_no_memory(error);
    s->host = e->host;
    s->parameters = fit_allocate(&e->host, e->n_parameters, sizeof(double));
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &e->host.allocator;
    options.name = "ensemble";
    options.user = s;
    options.destroy = destroy_saved;
    emr_status status = s->parameters ? emr_model_create(model, &options, error) : fit_no_memory(error);
    if (status) {
        destroy_saved(s);
        return status;
    }
    memcpy(s->parameters, e->parameters, e->n_parameters * sizeof(double));
    status = add_parameters(e, *model, s->parameters, error);
    if (!status)
        status = set_metadata(e, *model, error);
    if (status)
        emr_model_destroy(model);
    return status;
}

static emr_status no_ensemble(const emr_model *model, const char *tensor, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EFORMAT, "%F: tensor '%T' %s", emr_model_name(model), tensor, why);
}

/* One of the words that a key of the metadata may say. */
static emr_status read_word(const emr_model *model, const char *key, const char *const words[2],
                            uint32_t *which, emr_error *error)
{
    const char *word = emr_model_find_metadata(model, key);
    for (*which = 0; word && *which < 2; ++*which)
        if (strcmp(word, words[*which]) == 0)
            return EMR_OK;
    return emr_error_format(error, EMR_EFORMAT, "%F: metadata '%s' must be '%s' or '%s'",
                            emr_model_name(model), key, words[0], words[1]);
}

static emr_status read_temperature(const emr_model *model, double *temperature, emr_error *error)
{
    const char *text = emr_model_find_metadata(model, "emr.temperature");
    json_t *number = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    *temperature = json_number_value(number); /* 0 of what is no number */
    json_decref(number);
    return *temperature > 0 ? EMR_OK
                            : emr_error_format(error, EMR_EFORMAT,
                                               "%F: metadata 'emr.temperature' must be a number above 0",
                                               emr_model_name(model));
}

static emr_status read_shape(const emr_model *model, const char *name, uint32_t *rows, uint32_t *columns,
                             emr_error *error)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    const uint64_t *shape = tensor ? emr_tensor_shape(tensor) : NULL;
    if (!tensor)
        return no_ensemble(model, name, "is absent", error);
    if (emr_tensor_rank(tensor) != 2 || shape[0] < 1 || shape[0] > ENSEMBLE_HIDDEN_MAX || shape[1] < 1 ||
        shape[1] > ENSEMBLE_WIDTH_MAX)
        return no_ensemble(model, name, "is no matrix of an ensemble", error);
    *rows = (uint32_t)shape[0];
    *columns = (uint32_t)shape[1];
    return EMR_OK;
}

/* All that the parameters take, before they are made room for. */
static emr_status read_shapes(const emr_model *model, emr_ensemble_options *o, emr_error *error)
{
    uint32_t hidden[SIDES] = {0}, shared[SIDES] = {0};
    emr_status status = read_shape(model, matrix_names[SIDE_X][DOWN], &o->x_hidden, &o->x_width, error);
    if (!status)
        status = read_shape(model, matrix_names[SIDE_KEY][DOWN], &o->key_hidden, &o->key_width, error);
    for (int i = 0; !status && i < SIDES; i++)
        status = read_shape(model, matrix_names[i][UP], &shared[i], &hidden[i], error);
    if (!status && hidden[SIDE_X] != o->x_hidden)
        status = no_ensemble(model, matrix_names[SIDE_X][UP], unfit, error);
    if (!status && (hidden[SIDE_KEY] != o->key_hidden || shared[SIDE_KEY] != shared[SIDE_X]))
        status = no_ensemble(model, matrix_names[SIDE_KEY][UP], unfit, error);
    o->shared_width = shared[SIDE_X];
    return status;
}

static emr_status read_options(const emr_model *model, emr_ensemble_options *o, emr_error *error)
{
    const char *kind = emr_model_find_metadata(model, "emr.kind");
    if (!kind || strcmp(kind, "ensemble") != 0)
        return emr_error_format(error, EMR_EFORMAT,
                                "%F: no ensemble: its metadata lack 'emr.kind': 'ensemble'",
                                emr_model_name(model));
    emr_status status = read_word(model, "emr.activation", activations, &o->activation, error);
    if (!status)
        status = read_word(model, "emr.mix", mixes, &o->mix, error);
    if (!status)
        status = read_temperature(model, &o->temperature, error);
    if (!status)
        status = read_shapes(model, o, error);
    o->use_norm = emr_model_find_tensor(model, scale_names[SIDE_X]) ||
                  emr_model_find_tensor(model, scale_names[SIDE_KEY]) ||
                  emr_model_find_tensor(model, shift_name);
    return status;
}

/* Of `rows` 0 a vector. */
static emr_status read_tensor(const emr_model *model, const char *name, size_t rows, size_t columns,
                              double *values, emr_error *error)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    const uint32_t rank = rows ? 2 : 1;
    const size_t n = rows ? rows * columns : columns;
    if (!tensor)
        return no_ensemble(model, name, "is absent", error);
    const uint64_t *shape = emr_tensor_shape(tensor);
    if (emr_tensor_rank(tensor) != rank || shape[rank - 1] != columns || (rows && shape[0] != rows))
        return no_ensemble(model, name, unfit, error);
    if (!emr_dtype_is_float(emr_tensor_dtype(tensor)))
        return no_ensemble(model, name, "is no float", error);
    emr_status status = fit_read(tensor, 0, n, values, error);
    for (size_t i = 0; !status && i < n; i++)
        if (!isfinite(values[i]))
            status = no_ensemble(model, name, "has a value that is NaN or infinite", error);
    return status;
}

static emr_status read_tensors(emr_ensemble *e, const emr_model *model, emr_error *error)
{
    emr_status status = EMR_OK;
    for (int i = 0; i < SIDES; i++)
        for (int which = 0; !status && which < MATRICES; which++) {
            const ensemble_matrix *m = &e->sides[i].matrices[which];
            status = read_tensor(model, matrix_names[i][which], m->rows, m->columns, e->parameters + m->begin,
                                 error);
        }
    for (int i = 0; !status && e->has_norm && i < SIDES; i++)
        status = read_tensor(model, scale_names[i], 0, e->shared, e->parameters + e->sides[i].scale, error);
    if (!status && e->has_norm)
        status = read_tensor(model, shift_name, 0, e->shared, e->parameters + e->sides[SIDE_X].shift, error);
    return status;
}

emr_status emr_ensemble_open(emr_ensemble **ensemble, const emr_model *model,
                             const emr_ensemble_options *options, emr_error *error)
{
    emr_ensemble_options given, o = EMR_INIT(emr_ensemble_options);
    if (ensemble)
        *ensemble = NULL;
    if (!ensemble || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_open: NULL");
    emr_status status = FIT_TAKE(&given, options, emr_ensemble_options, mix, error);
    if (!status)
        status = read_options(model, &o, error);
    if (status)
        return status;
    o.resources = given.resources;
    o.adam = given.adam;
    status = emr_ensemble_create(ensemble, &o, error);
    if (!status)
        status = read_tensors(*ensemble, model, error);
    if (status)
        emr_ensemble_destroy(ensemble);
    return status;
}
