/* coefficients_saved.c - see coefficients_saved.h. */
#include "coefficients_saved.h"

#include <string.h>

#define KIND      "coefficients"
#define STEPS_MAX (INT64_C(1) << 53)

static const char *const map_names[] = {"clamp", "free", "project", "softmax"};

emr_status fit_bad_state(const emr_model *model, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EFORMAT, "%F: no state of coefficients: %s", emr_model_name(model),
                            why);
}

/* --- Reading ---------------------------------------------------------------------------------------------- */

/* NULL: there is none, or it is no JSON. */
static json_t *load(const emr_model *model, const char *key)
{
    const char *text = emr_model_find_metadata(model, key);
    return text ? json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static emr_status read_map(fit_saved *s, emr_error *error)
{
    const char *kind = emr_model_find_metadata(s->model, "emr.kind"),
               *map = emr_model_find_metadata(s->model, "emr.map");
    if (!kind || strcmp(kind, KIND) != 0)
        return fit_bad_state(s->model, "its metadata lack 'emr.kind', '" KIND "'", error);
    while (s->map <= EMR_COEFFICIENT_MAP_SOFTMAX && (!map || strcmp(map, map_names[s->map]) != 0))
        s->map++;
    return s->map <= EMR_COEFFICIENT_MAP_SOFTMAX
               ? EMR_OK
               : fit_bad_state(s->model, "its metadata lack 'emr.map', one that there is", error);
}

static emr_status read_keep(fit_saved *s, emr_error *error)
{
    json_t *number = load(s->model, "emr.keep");
    const bool is_number = json_is_number(number) || !emr_model_find_metadata(s->model, "emr.keep");
    s->keep = json_number_value(number);
    json_decref(number);
    return is_number && s->keep >= 0 && s->keep <= 1
               ? EMR_OK
               : fit_bad_state(s->model, "'emr.keep' is no share from 0 to 1", error);
}

static emr_status read_steps(fit_saved *s, emr_error *error)
{
    json_t *number = load(s->model, "emr.steps");
    const json_int_t n = json_is_integer(number) ? json_integer_value(number) : -1;
    json_decref(number);
    s->n_steps = (uint64_t)n;
    return n >= 0 && n <= STEPS_MAX
               ? EMR_OK
               : fit_bad_state(s->model, "its metadata lack 'emr.steps', a number", error);
}

/* Names that are all different. */
static emr_status read_names(const emr_model *model, const char *key, json_t **names, emr_error *error)
{
    json_t *set = json_object();
    const json_t *name;
    size_t i;
    int failed = !set;
    *names = load(model, key);
    if (!json_is_array(*names) || json_array_size(*names) >= NO_NUMBER) {
        json_decref(set);
        return emr_error_format(error, EMR_EFORMAT,
                                "%F: no state of coefficients: its metadata lack '%s', an array of names",
                                emr_model_name(model), key);
    }
    json_array_foreach(*names, i, name) if (json_is_string(name) && !failed) failed =
        json_object_set_new(set, json_string_value(name), json_true());
    const bool are_all = json_object_size(set) == json_array_size(*names);
    json_decref(set);
    if (failed)
        return fit_no_memory(error);
    return are_all
               ? EMR_OK
               : emr_error_format(error, EMR_EFORMAT,
                                  "%F: no state of coefficients: '%s' are not names that are all different",
                                  emr_model_name(model), key);
}

static bool is_group(const fit_saved *s, const json_t *number)
{
    return json_is_integer(number) && json_integer_value(number) >= 0 &&
           (uint64_t)json_integer_value(number) < json_array_size(s->groups);
}

static emr_status read_tensors(fit_saved *s, emr_error *error)
{
    const char *name;
    json_t *number;
    size_t i;
    s->tensors = load(s->model, "emr.tensors");
    s->fixed = load(s->model, "emr.fixed");
    if (!json_is_object(s->tensors) || !json_is_array(s->fixed))
        return fit_bad_state(s->model, "its metadata lack 'emr.tensors', an object, or 'emr.fixed', an array",
                             error);
    json_object_foreach(s->tensors, name, number) if (!is_group(s, number)) return emr_error_format(
        error, EMR_EFORMAT, "%F: no state of coefficients: tensor '%T' is in a group that is none",
        emr_model_name(s->model), name);
    json_array_foreach(s->fixed, i, number) if (!is_group(s, number)) return fit_bad_state(
        s->model, "'emr.fixed' has a group that is none", error);
    return EMR_OK;
}

emr_status fit_saved_open(fit_saved *s, const emr_model *model, emr_error *error)
{
    *s = (fit_saved){.model = model};
    emr_status status = read_map(s, error);
    if (!status)
        status = read_keep(s, error);
    if (!status)
        status = read_steps(s, error);
    if (!status)
        status = read_names(model, "emr.tasks", &s->tasks, error);
    if (!status)
        status = read_names(model, "emr.groups", &s->groups, error);
    return status ? status : read_tensors(s, error);
}

void fit_saved_close(fit_saved *s)
{
    json_decref(s->tasks);
    json_decref(s->groups);
    json_decref(s->tensors);
    json_decref(s->fixed);
}

uint32_t fit_saved_group(const fit_saved *s, const char *tensor)
{
    const json_t *number = json_object_get(s->tensors, tensor);
    return number ? (uint32_t)json_integer_value(number) : NO_NUMBER;
}

/* --- Writing ---------------------------------------------------------------------------------------------- */

/* Takes the value; NULL: there was no memory for it. */
static emr_status set_json(const emr_coefficients *c, emr_model *model, const char *key, json_t *value,
                           emr_error *error)
{
    char *text = value ? fit_write_json(&c->host, value) : NULL;
    emr_status status = text ? emr_model_set_metadata(model, key, text, error) : fit_no_memory(error);
    fit_release(&c->host, text);
    json_decref(value);
    return status;
}

/* The value, or NULL if something of it is missing. */
static json_t *whole(json_t *value, int failed)
{
    if (!failed)
        return value;
    json_decref(value);
    return NULL;
}

static json_t *tasks_json(const emr_coefficients *c)
{
    json_t *names = json_array();
    int failed = !names;
    for (uint32_t t = 0; !failed && t < c->n_tasks; t++)
        failed = json_array_append_new(names, json_string(c->vectors->names[t]));
    return whole(names, failed);
}

static json_t *groups_json(const emr_coefficients *c)
{
    json_t *names = json_array();
    int failed = !names;
    for (uint32_t g = 0; !failed && g < c->n_groups; g++)
        failed = json_array_append_new(names, json_string(c->groups[g].name));
    return whole(names, failed);
}

static json_t *tensors_json(const emr_coefficients *c)
{
    json_t *groups = json_object();
    int failed = !groups;
    for (size_t i = 0; !failed && i < c->vectors->n_tensors; i++)
        failed = json_object_set_new(groups, emr_tensor_name(c->vectors->tensors[i].base),
                                     json_integer(c->group_of[i]));
    return whole(groups, failed);
}

static json_t *fixed_json(const emr_coefficients *c)
{
    json_t *numbers = json_array();
    int failed = !numbers;
    for (uint32_t g = 0; !failed && g < c->n_groups; g++)
        if (c->groups[g].is_fixed)
            failed = json_array_append_new(numbers, json_integer(g));
    return whole(numbers, failed);
}

emr_status fit_saved_write(const emr_coefficients *c, emr_model *model, emr_error *error)
{
    emr_status status = emr_model_set_metadata(model, "emr.kind", KIND, error);
    if (!status)
        status = emr_model_set_metadata(model, "emr.map", map_names[c->map], error);
    if (!status && c->keep > 0)
        status = set_json(c, model, "emr.keep", json_real(c->keep), error);
    if (!status)
        status = set_json(c, model, "emr.steps", json_integer((json_int_t)c->n_steps), error);
    if (!status)
        status = set_json(c, model, "emr.tasks", tasks_json(c), error);
    if (!status)
        status = set_json(c, model, "emr.groups", groups_json(c), error);
    if (!status)
        status = set_json(c, model, "emr.tensors", tensors_json(c), error);
    return status ? status : set_json(c, model, "emr.fixed", fixed_json(c), error);
}
