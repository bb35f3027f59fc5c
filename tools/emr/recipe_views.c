/* recipe_views.c - what a slice of a recipe sees of its models: their layers under the output's numbers, embeddings in
 * the first slice, norms and heads in the last, all read as the recipe's dtype. */
#include "recipe_job.h"

#include <stdlib.h>
#include <string.h>

/* A tensor read as a type that it has not. */
struct type_cast {
    type_cast *next;
    const emr_tensor *tensor;
    emr_dtype dtype;
};

enum { CAST_COUNT = 8192 };

static emr_status cast_elements(const emr_computation *c, emr_error *error)
{
    const type_cast *cast = c->user;
    emr_dtype from = emr_tensor_dtype(cast->tensor);
    uint64_t size = emr_tensor_bytes(cast->tensor) / emr_tensor_count(cast->tensor);
    emr_status status =
        emr_tensor_read(cast->tensor, c->first * size, c->scratch, c->count * (size_t)size, error);
    return status ? status : emr_convert(cast->dtype, c->out, from, c->scratch, c->count);
}

static emr_status add_cast(recipe_job *w, emr_model *view, const emr_tensor *t, const char *name,
                           emr_dtype dtype, emr_error *error)
{
    type_cast *cast = calloc(1, sizeof *cast);
    if (!cast)
        return EMR_ENOMEM;
    *cast = (type_cast){w->casts, t, dtype};
    w->casts = cast;
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = name,
                                  .shape = emr_tensor_shape(t),
                                  .rank = emr_tensor_rank(t),
                                  .dtype = dtype,
                                  .compute = cast_elements,
                                  .user = cast,
                                  .max_count = CAST_COUNT};
    return emr_model_add(view, &desc, error);
}

static bool is_float(const emr_tensor *t)
{
    return emr_tensor_dtype(t) <= EMR_DTYPE_F64; /* those of 8 bits may be codes */
}

/* The type in which all values of both are. */
static emr_dtype promote_types(emr_dtype a, emr_dtype b)
{
    if (a == b || !b)
        return a;
    return a == EMR_DTYPE_F64 || b == EMR_DTYPE_F64 ? EMR_DTYPE_F64 : EMR_DTYPE_F32;
}

static emr_status add_to_view(recipe_job *w, emr_model *view, const emr_tensor *t, const char *name,
                              emr_error *error)
{
    emr_dtype dtype = w->recipe.dtype;
    return dtype && is_float(t) && emr_tensor_count(t) && emr_tensor_dtype(t) != dtype
               ? add_cast(w, view, t, name, dtype, error)
               : emr_model_add_tensor_as(view, t, name, error);
}

/* What a slice with ranges calls a tensor of a source; NULL: it does not have it. `*failed`: no memory. */
static char *sliced_name(const slice_work *s, const recipe_source *source, const char *name, bool *failed)
{
    layer_place place;
    char *sliced;
    if (find_layer(name, &place)) {
        if (place.layer < source->first || place.layer >= source->end)
            return NULL;
        sliced = renumber_layer(name, &place, place.layer - source->first + s->first_layer);
    } else {
        bool is_here = is_before_layers(name) ? s->is_first : s->is_last;
        if (!is_here)
            return NULL;
        sliced = malloc(strlen(name) + 1);
        if (sliced)
            strcpy(sliced, name);
    }
    *failed = !sliced;
    return sliced;
}

static emr_status add_source_tensor(recipe_job *w, const slice_work *s, const recipe_source *source,
                                    emr_model *view, const emr_tensor *t, emr_error *error)
{
    const char *name = emr_tensor_name(t);
    bool failed = false;
    if (side_file_name(name) || (s->module->name && !module_has(s->module->name, name)))
        return EMR_OK;
    if (!s->module->has_ranges)
        return add_to_view(w, view, t, name, error);
    char *sliced = sliced_name(s, source, name, &failed);
    emr_status status = failed ? EMR_ENOMEM : sliced ? add_to_view(w, view, t, sliced, error) : EMR_OK;
    free(sliced);
    return status;
}

/* One stack of layers, or which there are. */
static emr_status check_stack(const recipe_job *w, const slice_work *s, const recipe_source *source,
                              uint64_t *n_layers, emr_error *error)
{
    const emr_model *model = w->inputs[source->model].model;
    const char *stack = NULL;
    layer_place place, first = {0};
    *n_layers = 0;
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const char *name = emr_tensor_name(emr_model_tensor(model, i));
        if (side_file_name(name) || (s->module->name && !module_has(s->module->name, name)) ||
            !find_layer(name, &place))
            continue;
        if (!stack) {
            stack = name;
            first = place;
        }
        if (place.stack_length != first.stack_length || strncmp(stack, name, first.stack_length) != 0)
            return recipe_fail(
                &w->recipe, source->line, error,
                "'%.200s' has layers in '%.*s' and in '%.*s': slices are of one stack of layers (see "
                "'modules')",
                w->recipe.models[source->model].path, (int)first.stack_length, stack, (int)place.stack_length,
                name);
        *n_layers = place.layer + 1 > *n_layers ? place.layer + 1 : *n_layers;
    }
    if (*n_layers >= source->end)
        return EMR_OK;
    return recipe_fail(
        &w->recipe, source->line, error, "'%.200s' has %llu layers, and layer_range ends with %llu",
        w->recipe.models[source->model].path, (unsigned long long)*n_layers, (unsigned long long)source->end);
}

static emr_status build_view(recipe_job *w, const slice_work *s, size_t i, emr_error *error)
{
    const recipe_source *source = &s->slice->sources[i];
    const emr_model *model = w->inputs[source->model].model;
    emr_model_options options = {
        .size = sizeof options, .name = emr_model_name(model), .scratch_bytes = CAST_COUNT * sizeof(double)};
    uint64_t n_layers;
    emr_status status = s->module->has_ranges ? check_stack(w, s, source, &n_layers, error) : EMR_OK;
    if (!status)
        status = emr_model_create(&s->views[i].model, &options, error);
    for (uint32_t t = 0; !status && t < emr_model_n_tensors(model); t++)
        status = add_source_tensor(w, s, source, s->views[i].model, emr_model_tensor(model, t), error);
    return status;
}

size_t leading_source(const slice_work *s)
{
    for (size_t i = 0; i < s->slice->n_sources; i++)
        if (s->slice->sources[i].model == s->slice->base)
            return i;
    return 0;
}

/* A head that some models of a slice have and others share with their embeddings is these there. */
static emr_status add_tied_head(recipe_job *w, const slice_work *s, const char *head, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < s->slice->n_sources; i++) {
        const emr_model *model = w->inputs[s->slice->sources[i].model].model;
        const emr_tensor *tied = NULL;
        const char *name;
        for (size_t k = 0; !tied && (name = tied_name(head, k)); k++)
            tied = emr_model_find_tensor(model, name);
        if (tied && !emr_model_find_tensor(s->views[i].model, head))
            status = add_to_view(w, s->views[i].model, tied, head, error);
    }
    return status;
}

static emr_status add_tied_heads(recipe_job *w, const slice_work *s, emr_error *error)
{
    static const char *const heads[] = {"lm_head.weight",         "lm_head.decoder.weight",
                                        "output.weight",          "cls.predictions.decoder.weight",
                                        "vocab_projector.weight", NULL};
    emr_status status = EMR_OK;
    for (const char *const *head = heads; !status && *head; head++) {
        bool is_there = false;
        for (size_t i = 0; i < s->slice->n_sources; i++)
            is_there = is_there || emr_model_find_tensor(s->views[i].model, *head);
        if (is_there)
            status = add_tied_head(w, s, *head, error);
    }
    return status;
}

/* The type that a tensor has in all views, as torch would promote them. */
static emr_dtype promoted_type(const slice_work *s, const char *name)
{
    emr_dtype dtype = 0;
    for (size_t i = 0; i < s->slice->n_sources; i++) {
        const emr_tensor *t = emr_model_find_tensor(s->views[i].model, name);
        if (t && is_float(t))
            dtype = promote_types(emr_tensor_dtype(t), dtype);
    }
    return dtype;
}

/* Without any dtype, what comes out has the leading view's: it takes the type that holds all. */
static emr_status widen_leading(recipe_job *w, const slice_work *s, emr_error *error)
{
    size_t lead = leading_source(s);
    emr_model *wide = NULL, *narrow = s->views[lead].model;
    emr_model_options options = {
        .size = sizeof options, .name = emr_model_name(narrow), .scratch_bytes = CAST_COUNT * sizeof(double)};
    bool is_needed = false;
    for (uint32_t i = 0; i < emr_model_n_tensors(narrow); i++) {
        const emr_tensor *t = emr_model_tensor(narrow, i);
        is_needed = is_needed || (is_float(t) && promoted_type(s, emr_tensor_name(t)) != emr_tensor_dtype(t));
    }
    if (!is_needed || w->recipe.dtype || w->recipe.out_dtype)
        return EMR_OK;
    emr_status status = emr_model_create(&wide, &options, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(narrow); i++) {
        const emr_tensor *t = emr_model_tensor(narrow, i);
        emr_dtype dtype = is_float(t) ? promoted_type(s, emr_tensor_name(t)) : emr_tensor_dtype(t);
        status = dtype != emr_tensor_dtype(t) && emr_tensor_count(t)
                     ? add_cast(w, wide, t, emr_tensor_name(t), dtype, error)
                     : emr_model_add_tensor(wide, t, error);
    }
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(wide); i++)
        if (is_float(emr_model_tensor(wide, i)))
            w->widest = promote_types(emr_tensor_dtype(emr_model_tensor(wide, i)), w->widest);
    s->views[lead].narrow = narrow;
    s->views[lead].model = wide;
    return status;
}

emr_status build_views(recipe_job *w, slice_work *s, emr_error *error)
{
    emr_status status = EMR_OK;
    s->views = calloc(s->slice->n_sources, sizeof *s->views);
    if (!s->views)
        return EMR_ENOMEM;
    for (size_t i = 0; !status && i < s->slice->n_sources; i++)
        status = build_view(w, s, i, error);
    if (!status)
        status = add_tied_heads(w, s, error);
    return status ? status : widen_leading(w, s, error);
}

void close_views(recipe_job *w)
{
    for (size_t k = 0; k < w->n_slices; k++) {
        slice_work *s = &w->slices[k];
        for (size_t i = 0; s->views && i < s->slice->n_sources; i++) {
            emr_model_destroy(&s->views[i].model);
            emr_model_destroy(&s->views[i].narrow);
        }
        free(s->views);
    }
    free(w->slices);
    while (w->casts) {
        type_cast *cast = w->casts;
        w->casts = cast->next;
        free(cast);
    }
}
