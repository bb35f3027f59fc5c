/* coefficients_state.c - the numbers that learning goes on from, as a model; and from such a model. */
#include "coefficients.h"

#include "coefficients_saved.h"

#include <string.h>

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

static emr_status fill_model(const emr_coefficients *c, const state *s, emr_model *model, emr_error *error)
{
    emr_status status = add_numbers(c, model, "lambda", EMR_DTYPE_F64, s->raw, error);
    if (!status)
        status = add_numbers(c, model, "adam.m", EMR_DTYPE_F64, s->m, error);
    if (!status)
        status = add_numbers(c, model, "adam.v", EMR_DTYPE_F64, s->v, error);
    if (!status)
        status = add_numbers(c, model, "adam.t", EMR_DTYPE_I64, s->steps, error);
    return status ? status : fit_saved_write(c, model, error);
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

static const char *task_name(const emr_coefficients *c, uint32_t task)
{
    return c->vectors->names[task];
}

/* Where each of the handle's n names is in the file's, which have no others. */
static emr_status find_names(const emr_coefficients *c, const fit_saved *saved, const char *what,
                             const json_t *names, const char *(*name)(const emr_coefficients *, uint32_t),
                             uint32_t n, uint32_t *places, emr_error *error)
{
    json_t *here = json_object(); /* the number of each */
    const size_t size = json_array_size(names);
    emr_status status = here ? EMR_OK : fit_no_memory(error);
    for (uint32_t i = 0; !status && i < n; i++)
        if (json_object_set_new(here, name(c, i), json_integer(i)))
            status = fit_no_memory(error);
    for (size_t place = 0; !status && place < size; place++) {
        const char *found = json_string_value(json_array_get(names, place));
        const json_t *number = json_object_get(here, found);
        if (!number)
            status = emr_error_format(error, EMR_EMISMATCH, "%F: it has a %s '%s', which is not here",
                                      emr_model_name(saved->model), what, found);
        else
            places[json_integer_value(number)] = (uint32_t)place;
        (void)json_object_del(here, found);
    }
    if (!status && json_object_size(here))
        status = emr_error_format(error, EMR_EMISMATCH, "%F: it has no %s '%s'", emr_model_name(saved->model),
                                  what, json_object_iter_key(json_object_iter(here)));
    json_decref(here);
    return status;
}

static emr_status other_tensor(const fit_saved *saved, const char *tensor, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' %s", emr_model_name(saved->model), tensor,
                            why);
}

/* That its groups have the same tensors. */
static emr_status check_tensors(const emr_coefficients *c, const fit_saved *saved, const uint32_t *groups,
                                emr_error *error)
{
    const char *name;
    json_t *number;
    for (uint32_t i = 0; i < c->vectors->n_tensors; i++) {
        const uint32_t group = fit_saved_group(saved, name = emr_tensor_name(c->vectors->tensors[i].base));
        if (group == NO_NUMBER)
            return other_tensor(saved, name, "is merged here, and was left out there", error);
        if (group != groups[c->group_of[i]])
            return other_tensor(saved, name, "is in another group than here", error);
    }
    json_object_foreach(
        saved->tensors, name,
        number) if (fit_coefficients_find_tensor(c, name) ==
                    NO_NUMBER) return other_tensor(saved, name, "is merged there, and left out here", error);
    return EMR_OK;
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
            return fit_bad_state(model, "a number is not finite, or a square below 0", error);
        if (s->steps[i] < 0 || (uint64_t)s->steps[i] > n_steps)
            return fit_bad_state(model, "'adam.t' counts more steps than 'emr.steps'", error);
        if (c->map == EMR_COEFFICIENT_MAP_PROJECT && (s->raw[i] < 0 || s->raw[i] > 1))
            return fit_bad_state(model, "a coefficient is not from 0 to 1, to which this map clips", error);
    }
    return EMR_OK;
}

static emr_status check_use(const emr_coefficients *c, const fit_saved *saved, emr_error *error)
{
    if (saved->map != c->map)
        return emr_error_format(error, EMR_EMISMATCH, "%F: its map is '%s', and here it is another",
                                emr_model_name(saved->model),
                                emr_model_find_metadata(saved->model, "emr.map"));
    if (saved->keep < c->keep || saved->keep > c->keep) /* of trimmed task vectors, and whole ones */
        return emr_error_format(error, EMR_EMISMATCH,
                                "%F: it was learned with keep %s, and here it is another",
                                emr_model_name(saved->model),
                                saved->keep > 0 ? emr_model_find_metadata(saved->model, "emr.keep") : "0");
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
    fit_saved saved;
    if (!c || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_set_state: NULL");
    emr_status status = fit_saved_open(&saved, model, error);
    if (!status)
        status = fit_coefficients_set_saved(c, &saved, error);
    fit_saved_close(&saved);
    return status;
}

emr_status fit_coefficients_set_saved(emr_coefficients *c, const fit_saved *saved, emr_error *error)
{
    state *s = create_state(c);
    uint32_t *tasks = fit_allocate(&c->host, c->n_tasks, sizeof *tasks),
             *groups = fit_allocate(&c->host, c->n_groups, sizeof *groups);
    emr_status status = s && tasks && groups ? check_use(c, saved, error) : fit_no_memory(error);
    if (!status)
        status = find_names(c, saved, "task", saved->tasks, task_name, c->n_tasks, tasks, error);
    if (!status)
        status =
            find_names(c, saved, "group", saved->groups, emr_coefficients_group, c->n_groups, groups, error);
    if (!status)
        status = check_tensors(c, saved, groups, error);
    if (!status)
        status = read_state(c, saved->model, s, saved->n_steps, error);
    if (!status) {
        take_state(c, s, tasks, groups);
        c->n_steps = saved->n_steps;
        emr_coefficients_clear(c);
    }
    if (s)
        destroy_state(s);
    fit_release(&c->host, tasks);
    fit_release(&c->host, groups);
    return status;
}
