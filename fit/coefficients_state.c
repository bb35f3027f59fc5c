/* coefficients_state.c - the numbers that learning goes on from, as a model; and from such a model. */
#include "coefficients.h"

#include "json.h"

#include <string.h>

#define KIND      "coefficients"
#define STEPS_MAX (UINT64_C(1) << 53)

static const char *const map_names[] = {"clamp", "free", "project", "softmax"};

/* The four tensors' numbers, [task][group] each. */
typedef struct state {
    fit_host host;
    double *raw, *m, *v;
    int64_t *steps;
} state;

static void destroy_state(void *user)
{
    state *s = user;
    const fit_host host = s->host;
    fit_release(&host, s->raw);
    fit_release(&host, s->m);
    fit_release(&host, s->v);
    fit_release(&host, s->steps);
    fit_release(&host, s);
}

static state *create_state(const emr_coefficients *c)
{
    const size_t n = (size_t)c->n_tasks * c->n_groups;
    state *s = fit_allocate(&c->host, 1, sizeof *s);
    if (!s)
        return NULL;
    s->host = c->host;
    s->raw = fit_allocate(&c->host, n, sizeof *s->raw);
    s->m = fit_allocate(&c->host, n, sizeof *s->m);
    s->v = fit_allocate(&c->host, n, sizeof *s->v);
    s->steps = fit_allocate(&c->host, n, sizeof *s->steps);
    if (s->raw && s->m && s->v && s->steps)
        return s;
    destroy_state(s);
    return NULL;
}

static void copy_state(const emr_coefficients *c, state *s)
{
    for (uint32_t t = 0; t < c->n_tasks; t++)
        for (uint32_t g = 0; g < c->n_groups; g++) {
            const coefficient *of = coefficient_at(c, t, g);
            size_t i = (size_t)t * c->n_groups + g;
            s->raw[i] = of->raw;
            s->m[i] = of->m;
            s->v[i] = of->v;
            s->steps[i] = (int64_t)of->n_steps;
        }
}

static emr_status add_numbers(const emr_coefficients *c, emr_model *model, const char *name, emr_dtype dtype,
                              const void *numbers, emr_error *error)
{
    const uint64_t shape[2] = {c->n_tasks, c->n_groups};
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = name;
    desc.dtype = dtype;
    desc.rank = 2;
    desc.shape = shape;
    desc.data = numbers;
    return emr_model_add(model, &desc, error);
}

/* The value's text; it is let go. */
static emr_status set_json(const emr_coefficients *c, emr_model *model, const char *key, json_t *value,
                           emr_error *error)
{
    char *text = fit_write_json(&c->host, value);
    emr_status status = text ? emr_model_set_metadata(model, key, text, error) : fit_no_memory(error);
    fit_release(&c->host, text);
    json_decref(value);
    return status;
}

/* An array of names; NULL: there is no memory. */
static json_t *name_array(const emr_coefficients *c, const char *(*name)(const emr_coefficients *, uint32_t),
                          uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, json_string(name(c, i)))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static const char *task_name(const emr_coefficients *c, uint32_t task)
{
    return c->vectors->names[task];
}

static emr_status fill_model(const emr_coefficients *c, const state *s, emr_model *model, emr_error *error)
{
    emr_status status = add_numbers(c, model, "lambda", EMR_DTYPE_F64, s->raw, error);
    if (!status)
        status = add_numbers(c, model, "adam.m", EMR_DTYPE_F64, s->m, error);
    if (!status)
        status = add_numbers(c, model, "adam.v", EMR_DTYPE_F64, s->v, error);
    if (!status)
        status = add_numbers(c, model, "adam.t", EMR_DTYPE_I64, s->steps, error);
    if (!status)
        status = emr_model_set_metadata(model, "emr.kind", KIND, error);
    if (!status)
        status = set_json(c, model, "emr.tasks", name_array(c, task_name, c->n_tasks), error);
    if (!status)
        status = set_json(c, model, "emr.groups", name_array(c, emr_coefficients_group, c->n_groups), error);
    if (!status)
        status = emr_model_set_metadata(model, "emr.map", map_names[c->map], error);
    if (!status && c->keep > 0)
        status = set_json(c, model, "emr.keep", json_real(c->keep), error);
    return status ? status : set_json(c, model, "emr.steps", json_integer((json_int_t)c->n_steps), error);
}

emr_status emr_coefficients_open_state(const emr_coefficients *c, emr_model **model, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!c || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_open_state: NULL");
    state *s = create_state(c);
    if (!s)
        return fit_no_memory(error);
    copy_state(c, s);
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &c->host.allocator;
    options.name = "coefficients";
    options.user = s;
    options.destroy = destroy_state;
    emr_status status = emr_model_create(model, &options, error);
    if (status) {
        destroy_state(s);
        return status;
    }
    status = fill_model(c, s, *model, error);
    if (status)
        emr_model_destroy(model);
    return status;
}

static emr_status bad_state(const emr_model *model, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EFORMAT, "%F: no state of coefficients: %s", emr_model_name(model),
                            why);
}

static bool is_string(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Where each of the handle's names is in the array of the file. */
static emr_status find_names(const emr_coefficients *c, const emr_model *model, const char *key,
                             const char *(*name)(const emr_coefficients *, uint32_t), uint32_t n,
                             uint32_t *places, emr_error *error)
{
    const char *text = emr_model_find_metadata(model, key);
    json_t *array = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    emr_status status = EMR_OK;
    if (!json_is_array(array)) {
        json_decref(array);
        return emr_error_format(error, EMR_EFORMAT,
                                "%F: no state of coefficients: its metadata lack an array '%s'",
                                emr_model_name(model), key);
    }
    for (uint32_t i = 0; !status && i < n; i++) {
        const size_t size = json_array_size(array);
        size_t tried = 0, at = i; /* mostly it is at its own place */
        while (tried < size && !is_string(json_array_get(array, at %= size), name(c, i)))
            tried++, at++;
        if (tried == size)
            status = emr_error_format(error, EMR_EMISMATCH, "%F: it has no '%s' in its '%s'",
                                      emr_model_name(model), name(c, i), key);
        places[i] = (uint32_t)at;
    }
    if (!status && json_array_size(array) != n)
        status = emr_error_format(error, EMR_EMISMATCH, "%F: its '%s' are %u, not %u as here",
                                  emr_model_name(model), key, (uint64_t)json_array_size(array), (uint64_t)n);
    json_decref(array);
    return status;
}

static emr_status read_numbers(const emr_coefficients *c, const emr_model *model, const char *name,
                               emr_dtype dtype, void *numbers, emr_error *error)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    const uint64_t *shape = tensor ? emr_tensor_shape(tensor) : NULL;
    if (!tensor || emr_tensor_dtype(tensor) != dtype || emr_tensor_rank(tensor) != 2 ||
        shape[0] != c->n_tasks || shape[1] != c->n_groups)
        return emr_error_format(
            error, EMR_EFORMAT,
            "%F: no state of coefficients: tensor '%T' is absent, or not %s of tasks by groups",
            emr_model_name(model), name, emr_dtype_name(dtype));
    return emr_tensor_read(tensor, 0, numbers, (size_t)emr_tensor_bytes(tensor), error);
}

static emr_status check_numbers(const emr_coefficients *c, const emr_model *model, const state *s,
                                uint64_t n_steps, emr_error *error)
{
    for (size_t i = 0; i < (size_t)c->n_tasks * c->n_groups; i++) {
        if (!is_finite(s->raw[i]) || !is_finite(s->m[i]) || !(s->v[i] >= 0) || !is_finite(s->v[i]))
            return bad_state(model, "a number is not finite, or a square below 0", error);
        if (s->steps[i] < 0 || (uint64_t)s->steps[i] > n_steps)
            return bad_state(model, "'adam.t' counts more steps than 'emr.steps'", error);
        if (c->map == EMR_COEFFICIENT_MAP_PROJECT && (s->raw[i] < 0 || s->raw[i] > 1))
            return bad_state(model, "a coefficient is not from 0 to 1, to which this map clips", error);
    }
    return EMR_OK;
}

static emr_status read_steps(const emr_model *model, uint64_t *n, emr_error *error)
{
    const char *text = emr_model_find_metadata(model, "emr.steps");
    size_t i = 0;
    *n = 0;
    for (; text && text[i] >= '0' && text[i] <= '9' && *n <= STEPS_MAX; i++)
        *n = *n * 10 + (uint64_t)(text[i] - '0');
    return i && !text[i] && *n <= STEPS_MAX
               ? EMR_OK
               : bad_state(model, "its metadata lack 'emr.steps', a number", error);
}

static emr_status check_map(const emr_coefficients *c, const emr_model *model, emr_error *error)
{
    const char *kind = emr_model_find_metadata(model, "emr.kind"),
               *map = emr_model_find_metadata(model, "emr.map");
    if (!kind || strcmp(kind, KIND) != 0 || !map)
        return bad_state(model, "its metadata lack 'emr.kind', '" KIND "', or 'emr.map'", error);
    if (strcmp(map, map_names[c->map]) != 0)
        return emr_error_format(error, EMR_EMISMATCH, "%F: its map is '%s', not '%s'", emr_model_name(model),
                                map, map_names[c->map]);
    return EMR_OK;
}

/* Coefficients of trimmed task vectors are of no use for whole ones. */
static emr_status check_keep(const emr_coefficients *c, const emr_model *model, emr_error *error)
{
    const char *text = emr_model_find_metadata(model, "emr.keep");
    json_t *number = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    const double keep = text ? json_number_value(number) : 0;
    const bool is_number = !text || json_is_number(number);
    json_decref(number);
    if (!is_number)
        return bad_state(model, "'emr.keep' is no number", error);
    if (keep < c->keep || keep > c->keep)
        return emr_error_format(error, EMR_EMISMATCH,
                                "%F: it was learned with keep %s, and here it is another",
                                emr_model_name(model), text ? text : "0");
    return EMR_OK;
}

static emr_status read_state(const emr_coefficients *c, const emr_model *model, state *s, uint64_t n_steps,
                             emr_error *error)
{
    emr_status status = read_numbers(c, model, "lambda", EMR_DTYPE_F64, s->raw, error);
    if (!status)
        status = read_numbers(c, model, "adam.m", EMR_DTYPE_F64, s->m, error);
    if (!status)
        status = read_numbers(c, model, "adam.v", EMR_DTYPE_F64, s->v, error);
    if (!status)
        status = read_numbers(c, model, "adam.t", EMR_DTYPE_I64, s->steps, error);
    return status ? status : check_numbers(c, model, s, n_steps, error);
}

static void take_state(emr_coefficients *c, const state *s, const uint32_t *tasks, const uint32_t *groups)
{
    int64_t n = 0; /* steps that `time` is after: mostly all are the same */
    fit_adam_time time = FIT_ADAM_START;
    for (uint32_t g = 0; g < c->n_groups; g++)
        for (uint32_t t = 0; t < c->n_tasks; t++) {
            size_t i = (size_t)tasks[t] * c->n_groups + groups[g];
            if (s->steps[i] != n)
                time = fit_adam_time_after(&c->adam, (uint64_t)(n = s->steps[i]));
            *coefficient_at(c, t, g) =
                (coefficient){s->raw[i], s->m[i], s->v[i], time, (uint64_t)s->steps[i]};
        }
}

emr_status emr_coefficients_set_state(emr_coefficients *c, const emr_model *model, emr_error *error)
{
    uint64_t n_steps;
    if (!c || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_set_state: NULL");
    state *s = create_state(c);
    uint32_t *tasks = fit_allocate(&c->host, c->n_tasks, sizeof *tasks),
             *groups = fit_allocate(&c->host, c->n_groups, sizeof *groups);
    emr_status status = s && tasks && groups ? check_map(c, model, error) : fit_no_memory(error);
    if (!status)
        status = check_keep(c, model, error);
    if (!status)
        status = read_steps(model, &n_steps, error);
    if (!status)
        status = find_names(c, model, "emr.tasks", task_name, c->n_tasks, tasks, error);
    if (!status)
        status = find_names(c, model, "emr.groups", emr_coefficients_group, c->n_groups, groups, error);
    if (!status)
        status = read_state(c, model, s, n_steps, error);
    if (!status) {
        take_state(c, s, tasks, groups);
        c->n_steps = n_steps;
        emr_coefficients_clear(c);
    }
    if (s)
        destroy_state(s);
    fit_release(&c->host, tasks);
    fit_release(&c->host, groups);
    return status;
}
