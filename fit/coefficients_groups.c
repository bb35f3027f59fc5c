/* coefficients_groups.c - which tensors are merged, and which of them share a coefficient. */
#include "coefficients.h"

#include "coefficients_saved.h"
#include "exclude.h"

#include "emr/policy.h"
#include "emr/statistics.h"

#include <string.h>

/* What says that a tensor is in a group. */
typedef enum grouping { BY_TENSOR, BY_PATTERN, BY_SCOPE } grouping;

typedef struct finding {
    emr_coefficients *c;
    const emr_coefficients_options *o;
    const fit_saved *saved; /* that says it, not the options; or NULL */
    grouping *by;           /* of each group */
    uint32_t *last;         /* of its tensors */
    uint8_t *has_used;      /* of each pattern: of groups, fixed */
    uint32_t *numbers;      /* of the state's groups */
} finding;

/* The first pattern that matches; NO_NUMBER: none. */
static uint32_t find_pattern(const char *const *patterns, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (emr_glob_matches(patterns[i], name))
            return i;
    return NO_NUMBER;
}

/* The same, and all that match have been of use. */
static bool matches_any(const char *const *patterns, uint32_t n, const char *name, uint8_t *has_used)
{
    bool is_match = false;
    for (uint32_t i = 0; i < n; i++)
        if (emr_glob_matches(patterns[i], name)) {
            has_used[i] = 1;
            is_match = true;
        }
    return is_match;
}

static emr_status bad_task_tensor(const finding *f, uint32_t task, const char *tensor, const char *why,
                                  emr_error *error)
{
    return emr_error_format(error, EMR_EMISMATCH, "%F: task '%K': tensor '%T' %s%s",
                            emr_model_name(f->o->tasks[task]), f->o->names[task], tensor, why,
                            f->saved ? "" : ": exclude it"); /* what a state merges cannot be */
}

static emr_status take_tensor(finding *f, const emr_tensor *base, emr_error *error)
{
    fit_vectors *v = f->c->vectors;
    fit_vector_tensor *tensor = &v->tensors[v->n_tensors];
    const char *name = emr_tensor_name(base);
    tensor->base = base;
    tensor->tasks = fit_allocate(&v->host, v->n_tasks, sizeof *tensor->tasks);
    if (!tensor->tasks)
        return fit_no_memory(error);
    v->n_tensors++;
    for (uint32_t t = 0; t < v->n_tasks; t++) {
        const emr_tensor *task = emr_model_find_tensor(f->o->tasks[t], name);
        if (!task)
            return bad_task_tensor(f, t, name, "is absent", error);
        if (!emr_tensor_same_shape(task, base))
            return bad_task_tensor(f, t, name, "has another shape than the base's", error);
        if (!emr_dtype_is_float(emr_tensor_dtype(task)))
            return bad_task_tensor(f, t, name, "is no float, which the base's is", error);
        tensor->tasks[t] = task;
    }
    return EMR_OK;
}

/* Group g, or, where there is none yet, one of that name. */
static emr_status join_group(finding *f, uint32_t tensor, uint32_t g, const char *name, bool is_fixed,
                             emr_error *error)
{
    emr_coefficients *c = f->c;
    c->group_of[tensor] = g;
    c->next[tensor] = NO_NUMBER;
    if (g < c->n_groups) {
        c->next[f->last[g]] = tensor;
    } else {
        c->groups[g] = (coefficient_group){fit_copy_string(&c->host, name), tensor, is_fixed};
        if (!c->groups[g].name)
            return fit_no_memory(error);
        c->n_groups++;
    }
    f->last[g] = tensor;
    return EMR_OK;
}

/* The group of that name, which is made where there is none. */
static emr_status join_coefficient(finding *f, uint32_t tensor, const char *name, grouping by, bool is_fixed,
                                   emr_error *error)
{
    const emr_coefficients *c = f->c;
    uint32_t g = 0;
    while (g < c->n_groups && ((by == BY_TENSOR && f->by[g] == BY_TENSOR) || strcmp(c->groups[g].name, name)))
        g++;
    if (g < c->n_groups && f->by[g] != by)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_coefficients_options: two groups of tensors would be called '%s'", name);
    f->by[g] = by;
    return join_group(f, tensor, g, name, is_fixed, error);
}

/* "layer N". */
static void write_layer(int64_t layer, char text[32])
{
    char digits[24];
    size_t n = 0, at = strlen(strcpy(text, "layer "));
    do
        digits[n++] = (char)('0' + layer % 10);
    while (layer /= 10);
    while (n)
        text[at++] = digits[--n];
    text[at] = '\0';
}

static emr_status join_scope(finding *f, uint32_t tensor, const char *name, emr_error *error)
{
    char text[32];
    int64_t layer;
    switch (f->o->scope) {
    case EMR_COEFFICIENT_SCOPE_TENSOR:
        return join_coefficient(f, tensor, name, BY_TENSOR, false, error);
    case EMR_COEFFICIENT_SCOPE_LAYER:
        layer = emr_statistics_layer_of(name);
        if (layer < 0)
            return join_coefficient(f, tensor, "no layer", BY_SCOPE, false, error);
        write_layer(layer, text);
        return join_coefficient(f, tensor, text, BY_SCOPE, false, error);
    default:
        return join_coefficient(f, tensor, "*", BY_SCOPE, false, error);
    }
}

/* The group that the state has it in. */
static emr_status join_saved(finding *f, uint32_t tensor, const char *name, emr_error *error)
{
    const uint32_t place = fit_saved_group(f->saved, name);
    if (f->numbers[place] == NO_NUMBER)
        f->numbers[place] = f->c->n_groups;
    return join_group(f, tensor, f->numbers[place],
                      json_string_value(json_array_get(f->saved->groups, place)), false, error);
}

static emr_status group_tensor(finding *f, uint32_t tensor, const char *name, emr_error *error)
{
    const emr_coefficients_options *o = f->o;
    if (f->saved)
        return join_saved(f, tensor, name, error);
    if (matches_any(o->fixed, o->n_fixed, name, f->has_used + o->n_groups))
        return join_coefficient(f, tensor, name, BY_TENSOR, true, error);
    uint32_t pattern = find_pattern(o->groups, o->n_groups, name);
    if (pattern == NO_NUMBER)
        return join_scope(f, tensor, name, error);
    f->has_used[pattern] = 1;
    return join_coefficient(f, tensor, o->groups[pattern], BY_PATTERN, false, error);
}

static bool is_left_out(const finding *f, const emr_tensor *base)
{
    const char *name = emr_tensor_name(base);
    return !emr_dtype_is_float(emr_tensor_dtype(base)) ||
           (f->saved ? fit_saved_group(f->saved, name) == NO_NUMBER
                     : fit_is_excluded(f->o->exclude, f->o->n_exclude, name));
}

static emr_status take_tensors(finding *f, emr_error *error)
{
    const emr_coefficients_options *o = f->o;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(o->base); i++) {
        const emr_tensor *base = emr_model_tensor(o->base, i);
        uint32_t number = (uint32_t)f->c->vectors->n_tensors;
        if (is_left_out(f, base))
            continue;
        status = take_tensor(f, base, error);
        if (!status)
            status = group_tensor(f, number, emr_tensor_name(base), error);
    }
    return status;
}

static emr_status check_used(const finding *f, emr_error *error)
{
    const emr_coefficients_options *o = f->o;
    for (uint32_t i = 0; i < o->n_groups + o->n_fixed; i++)
        if (!f->has_used[i])
            return emr_error_format(error, EMR_EINVAL, "%F: %s: '%s' matches no tensor that is left for it",
                                    emr_model_name(o->base), i < o->n_groups ? "groups" : "fixed",
                                    i < o->n_groups ? o->groups[i] : o->fixed[i - o->n_groups]);
    return fit_check_exclude(o->exclude, o->n_exclude, o->base, error);
}

/* That the base has the state's tensors, and each group some; fixed are those that were. */
static emr_status check_saved(const finding *f, emr_error *error)
{
    const emr_coefficients *c = f->c;
    const char *name;
    json_t *number;
    size_t i;
    json_object_foreach(f->saved->tensors, name, number)
    {
        const emr_tensor *base = emr_model_find_tensor(f->o->base, name);
        if (!base || is_left_out(f, base))
            return emr_error_format(error, EMR_EMISMATCH,
                                    "%F: the base has no float tensor '%T', which the state of coefficients "
                                    "merges: it was learned with another base",
                                    emr_model_name(f->o->base), name);
    }
    if (c->n_groups != json_array_size(f->saved->groups))
        return fit_bad_state(f->saved->model, "a group has no tensors", error);
    json_array_foreach(f->saved->fixed, i, number) c->groups[f->numbers[json_integer_value(number)]]
        .is_fixed = true;
    return EMR_OK;
}

static const char *name_of(const emr_coefficients *c, uint32_t tensor)
{
    return emr_tensor_name(c->vectors->tensors[tensor].base);
}

/* The heap's root goes down to where nothing below it comes behind it. */
static void sink_name(const emr_coefficients *c, size_t root, size_t n)
{
    const uint32_t sinking = c->by_name[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && strcmp(name_of(c, c->by_name[child]), name_of(c, c->by_name[child + 1])) < 0)
            child++;
        if (strcmp(name_of(c, sinking), name_of(c, c->by_name[child])) >= 0)
            break;
        c->by_name[root] = c->by_name[child];
    }
    c->by_name[root] = sinking;
}

/* In place, with no memory but the host's: the C library's qsort may take some. */
static void sort_names(emr_coefficients *c)
{
    const size_t n = c->vectors->n_tensors;
    for (size_t i = 0; i < n; i++)
        c->by_name[i] = (uint32_t)i;
    for (size_t root = n / 2; root-- > 0;)
        sink_name(c, root, n);
    for (size_t last = n; last-- > 1;) {
        const uint32_t largest = c->by_name[0];
        c->by_name[0] = c->by_name[last];
        c->by_name[last] = largest;
        sink_name(c, 0, last);
    }
}

emr_status fit_coefficients_find_groups(emr_coefficients *c, const emr_coefficients_options *o,
                                        const fit_saved *saved, emr_error *error)
{
    const size_t n = emr_model_n_tensors(o->base), n_saved = saved ? json_array_size(saved->groups) : 0;
    finding f = {.c = c, .o = o, .saved = saved};
    c->vectors->tensors = fit_allocate(&c->host, n, sizeof *c->vectors->tensors);
    c->groups = fit_allocate(&c->host, n, sizeof *c->groups);
    c->group_of = fit_allocate(&c->host, n, sizeof *c->group_of);
    c->next = fit_allocate(&c->host, n, sizeof *c->next);
    c->by_name = fit_allocate(&c->host, n, sizeof *c->by_name);
    f.by = fit_allocate(&c->host, n, sizeof *f.by);
    f.last = fit_allocate(&c->host, n, sizeof *f.last);
    f.has_used = fit_allocate(&c->host, (size_t)o->n_groups + o->n_fixed, 1);
    f.numbers = fit_allocate(&c->host, n_saved, sizeof *f.numbers);
    emr_status status = EMR_OK;
    if (!c->vectors->tensors || !c->groups || !c->group_of || !c->next || !c->by_name || !f.by || !f.last ||
        !f.has_used || !f.numbers)
        status = fit_no_memory(error);
    for (size_t i = 0; !status && i < n_saved; i++)
        f.numbers[i] = NO_NUMBER;
    if (!status)
        status = take_tensors(&f, error);
    if (!status)
        status = saved ? check_saved(&f, error) : check_used(&f, error);
    if (!status && !c->vectors->n_tensors)
        status = emr_error_format(error, EMR_EINVAL, "%F: no tensor of the base is left to be merged",
                                  emr_model_name(o->base));
    if (!status)
        sort_names(c);
    fit_release(&c->host, f.by);
    fit_release(&c->host, f.last);
    fit_release(&c->host, f.has_used);
    fit_release(&c->host, f.numbers);
    return status;
}

uint32_t fit_coefficients_find_tensor(const emr_coefficients *c, const char *name)
{
    size_t low = 0, high = c->vectors->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t number = c->by_name[middle];
        int order = strcmp(name, name_of(c, number));
        if (order == 0)
            return number;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NO_NUMBER;
}
