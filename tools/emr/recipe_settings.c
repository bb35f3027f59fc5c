/* recipe_settings.c - what a recipe's parameters are for each tensor of a slice, told to its combination: the value that
 * is commonest for all, then the tensors that have another. */
#include "recipe_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The layers of the stack that a name is in, remembered while names of one stack follow each other. */
typedef struct stack_count {
    const char *name;
    size_t length;
    uint64_t n_layers;
} stack_count;

static uint64_t count_layers(stack_count *known, const emr_model *model, const char *name,
                             const layer_place *place)
{
    layer_place other;
    if (known->name && known->length == place->stack_length &&
        strncmp(known->name, name, place->stack_length) == 0)
        return known->n_layers;
    *known = (stack_count){name, place->stack_length, 0};
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const char *one = emr_tensor_name(emr_model_tensor(model, i));
        if (find_layer(one, &other) && other.stack_length == known->length &&
            strncmp(one, name, known->length) == 0 && other.layer >= known->n_layers)
            known->n_layers = other.layer + 1;
    }
    return known->n_layers;
}

/* 0 in the first layer of the slice, 1 in the last; 0 outside of layers, 1 where there is one alone. */
static double layer_depth(stack_count *known, const slice_work *s, const char *name)
{
    const recipe_source *source = &s->slice->sources[0];
    layer_place place;
    if (!find_layer(name, &place))
        return 0;
    bool has_ranges = s->module->has_ranges;
    uint64_t n = has_ranges ? source->end - source->first
                            : count_layers(known, s->views[leading_source(s)].model, name, &place);
    uint64_t layer = has_ranges ? place.layer - s->first_layer : place.layer;
    return n > 1 ? (double)layer / (double)(n - 1) : 1;
}

/* What a source itself calls a tensor that comes out as `name`; free it. */
static char *source_name(const slice_work *s, const recipe_source *source, const char *name)
{
    layer_place place;
    char *own;
    if (s->module->has_ranges && find_layer(name, &place))
        return renumber_layer(name, &place, place.layer - s->first_layer + source->first);
    own = malloc(strlen(name) + 1);
    return own ? strcpy(own, name) : NULL;
}

/* One parameter, of one input or of all. */
typedef struct setting_target {
    const recipe_job *w;
    const slice_work *s;
    const recipe_source *source; /* NULL: of all */
    const emr_method_parameter *parameter;
    emr_combination *combination;
    uint32_t task;
} setting_target;

/* For the i-th tensor. */
static emr_status find_value(const setting_target *g, const emr_tensor *t, stack_count *known, double *value,
                             emr_error *error)
{
    const char *name = emr_tensor_name(t);
    char *own = g->source ? source_name(g->s, g->source, name) : NULL;
    if (g->source && !own)
        return EMR_ENOMEM;
    const recipe_place place = {g->s->module, g->s->slice, g->source, own ? own : name,
                                layer_depth(known, g->s, name)};
    *value = recipe_value(&g->w->recipe, &place, g->parameter);
    free(own);
    if (!isnan(*value) || emr_tensor_dtype(t) >= EMR_DTYPE_BOOL)
        return EMR_OK;
    const recipe *r = &g->w->recipe;
    return g->source
               ? recipe_fail(r, g->source->line, error,
                             "%s needs '%s' of '%.200s', and no parameters here or "
                             "above give it for tensor '%.200s'",
                             r->method->name, g->parameter->name, r->models[g->source->model].path, name)
               : recipe_fail(r, g->s->slice->line, error,
                             "%s needs '%s', and no parameters give it for tensor "
                             "'%.200s'",
                             r->method->name, g->parameter->name, name);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The commonest of values, which are sorted for that. */
static double commonest_value(double *values, size_t n)
{
    size_t best = 0, best_n = 0;
    qsort(values, n, sizeof *values, by_value);
    for (size_t i = 0, k; i < n; i += k) {
        for (k = 1; i + k < n && by_value(&values[i], &values[i + k]) == 0;)
            k++;
        if (k > best_n) {
            best_n = k;
            best = i;
        }
    }
    return values[best];
}

/* A glob that matches the name alone; free it. */
static char *exact_glob(const char *name)
{
    char *glob = malloc(2 * strlen(name) + 1), *at = glob;
    for (; glob && *name; name++) {
        if (strchr("*?[]\\", *name))
            *at++ = '\\';
        *at++ = *name;
    }
    if (glob)
        *at = '\0';
    return glob;
}

static emr_status set_one(const setting_target *g, const char *name, double value, emr_error *error)
{
    char *glob = exact_glob(name);
    emr_status status =
        glob ? emr_combination_set_parameter(g->combination, g->parameter->name, g->task, glob, value, error)
             : EMR_ENOMEM;
    free(glob);
    return status;
}

/* Two arrays of a value a tensor: in their order, and to be sorted. */
static emr_status set_values(const setting_target *g, const emr_model *view, double *values, double *sorted,
                             emr_error *error)
{
    size_t n = emr_model_n_tensors(view), n_known = 0;
    stack_count known = {0};
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < n; i++) {
        status = find_value(g, emr_model_tensor(view, i), &known, &values[i], error);
        if (!status && !isnan(values[i]))
            sorted[n_known++] = values[i];
    }
    if (status || !n_known)
        return status;
    double common = commonest_value(sorted, n_known);
    if (by_value(&common, &g->parameter->initial) != 0 || isnan(g->parameter->initial))
        status =
            emr_combination_set_parameter(g->combination, g->parameter->name, g->task, NULL, common, error);
    for (uint32_t i = 0; !status && i < n; i++)
        if (by_value(&common, &values[i]) != 0)
            status = set_one(g, emr_tensor_name(emr_model_tensor(view, i)), values[i], error);
    return status;
}

/* For every input that the parameter is of. */
static emr_status set_parameter(setting_target *g, const emr_model *view, double *values, double *sorted,
                                emr_error *error)
{
    const recipe_slice *slice = g->s->slice;
    emr_status status = EMR_OK;
    uint32_t task = 0;
    if (!g->parameter->per_task) {
        g->source = NULL;
        g->task = EMR_EVERY_TASK;
        return set_values(g, view, values, sorted, error);
    }
    for (size_t i = 0; !status && i < slice->n_sources; i++) {
        bool is_base = slice->sources[i].model == slice->base;
        g->source = &slice->sources[i];
        g->task = is_base ? EMR_BASE : task++;
        if (!is_base || g->w->recipe.method->base == EMR_METHOD_BASE_INPUT)
            status = set_values(g, view, values, sorted, error);
    }
    return status;
}

emr_status set_recipe_parameters(const recipe_job *w, const slice_work *s, emr_combination *c,
                                 emr_error *error)
{
    const emr_method *method = w->recipe.method;
    const emr_model *view = s->views[leading_source(s)].model;
    size_t n = emr_model_n_tensors(view);
    double *values = calloc(n + 1, sizeof *values), *sorted = calloc(n + 1, sizeof *sorted);
    emr_status status = values && sorted ? EMR_OK : EMR_ENOMEM;
    for (uint32_t i = 0; !status && i < method->n_parameters; i++) {
        setting_target g = {.w = w, .s = s, .parameter = &method->parameters[i], .combination = c};
        status = set_parameter(&g, view, values, sorted, error);
    }
    free(values);
    free(sorted);
    return status;
}
