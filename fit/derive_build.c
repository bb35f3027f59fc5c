/* derive_build.c - see derive.h. */
#include "derive.h"

#include <string.h>

void fit_stop_deriving(deriving *d, emr_status status, const char *what, const char *name)
{
    if (!d->status)
        d->status = emr_error_format(d->error, status, "%F: %s '%s'", emr_model_name(d->model), what, name);
}

const emr_tensor *fit_find_tensor(const deriving *d, const char *name)
{
    return emr_model_find_tensor(d->model, name);
}

const char *fit_join_name(names *n, const char *prefix, const char *name)
{
    char *text = n->text[n->turn++ % 4];
    size_t before = strlen(prefix), length = strlen(name), dot = before && length ? 1 : 0;
    text[0] = '\0'; /* of what is too long: no tensor has that name */
    if (before + dot + length >= NAME_BYTES)
        return text;
    memmove(text, prefix, before);
    text[before] = '.';
    memmove(text + before + dot, name, length + 1);
    return text;
}

uint64_t fit_length_of(deriving *d, const char *prefix, const char *name, uint32_t axis)
{
    names n = {.turn = 0};
    const char *whole = fit_join_name(&n, prefix, name);
    const emr_tensor *t = fit_find_tensor(d, whole);
    if (t && axis < emr_tensor_rank(t))
        return emr_tensor_shape(t)[axis];
    fit_stop_deriving(d, EMR_EMISMATCH, "the permutation spec needs the tensor", whole);
    return 0;
}

spec_axis *fit_makes(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *name,
                     uint32_t axis)
{
    names n = {.turn = 0};
    spec_axis *a = spec_add_axis(d->spec, g, fit_join_name(&n, prefix, name), axis);
    a->part = part;
    return a;
}

spec_axis *fit_reads(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *name,
                     uint32_t axis)
{
    spec_axis *a = fit_makes(d, g, part, prefix, name, axis);
    a->is_input = true;
    return a;
}

void fit_both(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *layer,
              uint32_t axis)
{
    names n = {.turn = 0};
    const char *place = fit_join_name(&n, prefix, layer), *bias = fit_join_name(&n, place, "bias");
    fit_makes(d, g, part, place, "weight", axis);
    if (fit_find_tensor(d, bias))
        fit_makes(d, g, part, place, "bias", 0);
}

void fit_third(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *layer,
               uint32_t axis, uint64_t offset)
{
    size_t before = g->n_axes;
    fit_both(d, g, part, prefix, layer, axis);
    for (size_t i = before; i < g->n_axes; i++)
        g->axes[i].offset = offset;
}

void fit_add_site(deriving *d, spec_group *g, const char *prefix, const char *name)
{
    names n = {.turn = 0};
    spec_add_site(d->spec, g, fit_join_name(&n, prefix, name));
}

void fit_add_layer(deriving *d, const char *prefix, const char *name, const char *site_name,
                   uint32_t input_axis)
{
    names n = {.turn = 0};
    const char *place = fit_join_name(&n, prefix, name), *weight = fit_join_name(&n, place, "weight"),
               *bias = fit_join_name(&n, place, "bias");
    if (!fit_find_tensor(d, weight))
        return;
    names m = {.turn = 0};
    spec_add_layer(d->spec, weight, fit_find_tensor(d, bias) ? bias : NULL,
                   fit_join_name(&m, prefix, site_name))
        ->input_axis = input_axis;
}

spec_group *fit_units(deriving *d, const char *prefix, const char *name, uint64_t n_units)
{
    names n = {.turn = 0};
    spec_group *g = spec_add_group(d->spec, fit_join_name(&n, prefix, name));
    g->n_units = n_units;
    return g;
}

spec_group *fit_heads(deriving *d, const char *prefix, const char *name, uint64_t n_heads,
                      uint64_t n_kv_heads, uint64_t head_dim)
{
    spec_group *g = fit_units(d, prefix, name, 0);
    g->is_heads = true;
    g->n_heads = (uint32_t)(n_heads <= SPEC_UNITS_MAX ? n_heads : 0);
    g->n_kv_heads = (uint32_t)(n_kv_heads <= SPEC_UNITS_MAX ? n_kv_heads : 0);
    g->head_dim = (uint32_t)(head_dim <= SPEC_UNITS_MAX ? head_dim : 0);
    return g;
}

uint64_t fit_config_number(const deriving *d, const char *key)
{
    static const char *const parts[] = {NULL, "text_config", "vision_config"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *object = parts[i] ? json_object_get(d->config, parts[i]) : d->config;
        const json_t *value = json_object_get(object, key);
        if (json_is_integer(value) && json_integer_value(value) > 0)
            return (uint64_t)json_integer_value(value);
    }
    return 0;
}

uint64_t fit_need_number(deriving *d, const char *key, const char *other)
{
    uint64_t n = fit_config_number(d, key);
    n = n || !other ? n : fit_config_number(d, other);
    if (!n)
        fit_stop_deriving(d, EMR_EMISMATCH, "the permutation spec needs config.json's number", key);
    return n ? n : 1;
}

static bool is_named(const deriving *d, const char *tensor)
{
    for (size_t g = 0; g < d->spec->n_groups; g++)
        for (size_t i = 0; i < d->spec->groups[g].n_axes; i++)
            if (strcmp(d->spec->groups[g].axes[i].tensor, tensor) == 0)
                return true;
    return false;
}

static bool has_axis(const emr_tensor *t, uint64_t width)
{
    for (uint32_t axis = 0; axis < emr_tensor_rank(t); axis++)
        if (!width || emr_tensor_shape(t)[axis] == width)
            return true;
    return false;
}

void fit_refuse_unknown(deriving *d, uint64_t width)
{
    for (uint32_t i = 0; !d->status && !d->spec->lacks_memory && i < emr_model_n_tensors(d->model); i++) {
        const emr_tensor *t = emr_model_tensor(d->model, i);
        if (emr_dtype_is_float(emr_tensor_dtype(t)) && emr_tensor_rank(t) > 1 && has_axis(t, width) &&
            !is_named(d, emr_tensor_name(t)))
            fit_stop_deriving(
                d, EMR_EUNSUPPORTED,
                "which axes of the permutation spec's groups a tensor has is not known:", emr_tensor_name(t));
    }
}

void fit_encoder_layer(deriving *d, stream *s, const char *p, const char *self, uint64_t n_heads,
                       uint64_t width)
{
    static const char *const inputs[] = {"query", "key", "value"};
    static const spec_part parts[] = {PART_Q, PART_K, PART_V};
    names n = {.turn = 0}, m = {.turn = 0};
    const char *a = fit_join_name(&n, p, self);
    spec_group *g = fit_heads(d, p, "attention", n_heads, n_heads, width / n_heads);
    for (size_t k = 0; k < 3; k++)
        fit_both(d, g, parts[k], a, inputs[k], 0);
    fit_reads(d, g, PART_O, p, "attention.output.dense.weight", 1);
    fit_add_site(d, g, p, "attention.output.dense");
    spec_set_text(d->spec, &g->qk_site, fit_join_name(&m, a, "input"));
    g = fit_units(d, p, "mlp", fit_length_of(d, p, "intermediate.dense.weight", 0));
    fit_both(d, g, PART_UNITS, p, "intermediate.dense", 0);
    fit_reads(d, g, PART_UNITS, p, "output.dense.weight", 1);
    fit_add_site(d, g, p, "output.dense");
    for (size_t k = 0; k < 3; k++) {
        fit_reads(d, &s->group, PART_UNITS, a, fit_join_name(&m, inputs[k], "weight"), 1);
        fit_add_layer(d, a, inputs[k], "input", 1);
    }
    fit_both(d, &s->group, PART_UNITS, p, "attention.output.dense", 0);
    fit_reads(d, &s->group, PART_UNITS, p, "intermediate.dense.weight", 1);
    fit_both(d, &s->group, PART_UNITS, p, "output.dense", 0);
    fit_add_layer(d, p, "attention.output.dense", "attention.output.dense", 1);
    fit_add_layer(d, p, "intermediate.dense", "intermediate.dense", 1);
    fit_add_layer(d, p, "output.dense", "output.dense", 1);
}

void fit_end_in_heads(deriving *d, stream *s)
{
    static const char *const heads[] = {"lm_head.weight", "score.weight", "qa_outputs.weight"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (fit_find_tensor(d, heads[i]))
            fit_reads(d, &s->group, PART_UNITS, "", heads[i], 1);
}

void fit_end_stream(deriving *d, stream *s, uint64_t width, const char *prefix, const char *site_name)
{
    if (d->residual && !d->status) {
        spec_group *g = fit_units(d, "", "residual", width);
        spec_axis *axes = s->group.axes;
        size_t n = s->group.n_axes, room = s->group.axes_room;
        g->axes = axes;
        g->n_axes = n;
        g->axes_room = room;
        s->group = (spec_group){0};
        fit_add_site(d, g, prefix, site_name);
        fit_refuse_unknown(d, width);
    }
    for (size_t i = 0; i < s->group.n_axes; i++)
        fit_release(&d->spec->host, s->group.axes[i].tensor);
    fit_release(&d->spec->host, s->group.axes);
}
