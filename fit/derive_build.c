/* derive_build.c - see derive.h. */
#include "derive.h"

#include <string.h>

void stop_deriving(deriving *d, emr_status status, const char *what, const char *name)
{
    if (!d->status)
        d->status = emr_error_format(d->error, status, "%F: %s '%s'", emr_model_name(d->model), what, name);
}

const emr_tensor *find_tensor(const deriving *d, const char *name)
{
    return emr_model_find_tensor(d->model, name);
}

const char *join(names *n, const char *prefix, const char *name)
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

uint64_t length_of(deriving *d, const char *prefix, const char *name, uint32_t axis)
{
    names n = {.turn = 0};
    const char *whole = join(&n, prefix, name);
    const emr_tensor *t = find_tensor(d, whole);
    if (t && axis < emr_tensor_rank(t))
        return emr_tensor_shape(t)[axis];
    stop_deriving(d, EMR_EMISMATCH, "the permutation spec needs the tensor", whole);
    return 0;
}

spec_axis *makes(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *name,
                 uint32_t axis)
{
    names n = {.turn = 0};
    spec_axis *a = spec_add_axis(d->spec, g, join(&n, prefix, name), axis);
    a->part = part;
    return a;
}

spec_axis *reads(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *name,
                 uint32_t axis)
{
    spec_axis *a = makes(d, g, part, prefix, name, axis);
    a->is_input = true;
    return a;
}

void both(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *layer, uint32_t axis)
{
    names n = {.turn = 0};
    const char *place = join(&n, prefix, layer), *bias = join(&n, place, "bias");
    makes(d, g, part, place, "weight", axis);
    if (find_tensor(d, bias))
        makes(d, g, part, place, "bias", 0);
}

void third(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *layer, uint32_t axis,
           uint64_t offset)
{
    size_t before = g->n_axes;
    both(d, g, part, prefix, layer, axis);
    for (size_t i = before; i < g->n_axes; i++)
        g->axes[i].offset = offset;
}

void site(deriving *d, spec_group *g, const char *prefix, const char *name)
{
    names n = {.turn = 0};
    spec_add_site(d->spec, g, join(&n, prefix, name));
}

void layer(deriving *d, const char *prefix, const char *name, const char *site_name, uint32_t input_axis)
{
    names n = {.turn = 0};
    const char *place = join(&n, prefix, name), *weight = join(&n, place, "weight"),
               *bias = join(&n, place, "bias");
    if (!find_tensor(d, weight))
        return;
    names m = {.turn = 0};
    spec_add_layer(d->spec, weight, find_tensor(d, bias) ? bias : NULL, join(&m, prefix, site_name))
        ->input_axis = input_axis;
}

spec_group *units(deriving *d, const char *prefix, const char *name, uint64_t n_units)
{
    names n = {.turn = 0};
    spec_group *g = spec_add_group(d->spec, join(&n, prefix, name));
    g->n_units = n_units;
    return g;
}

spec_group *heads(deriving *d, const char *prefix, const char *name, uint64_t n_heads, uint64_t n_kv_heads,
                  uint64_t head_dim)
{
    spec_group *g = units(d, prefix, name, 0);
    g->is_heads = true;
    g->n_heads = (uint32_t)(n_heads <= SPEC_UNITS_MAX ? n_heads : 0);
    g->n_kv_heads = (uint32_t)(n_kv_heads <= SPEC_UNITS_MAX ? n_kv_heads : 0);
    g->head_dim = (uint32_t)(head_dim <= SPEC_UNITS_MAX ? head_dim : 0);
    return g;
}

uint64_t config_number(const deriving *d, const char *key)
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

uint64_t need_number(deriving *d, const char *key, const char *other)
{
    uint64_t n = config_number(d, key);
    n = n || !other ? n : config_number(d, other);
    if (!n)
        stop_deriving(d, EMR_EMISMATCH, "the permutation spec needs config.json's number", key);
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

void refuse_unknown(deriving *d, uint64_t width)
{
    for (uint32_t i = 0; !d->status && !d->spec->lacks_memory && i < emr_model_n_tensors(d->model); i++) {
        const emr_tensor *t = emr_model_tensor(d->model, i);
        if (emr_dtype_is_float(emr_tensor_dtype(t)) && emr_tensor_rank(t) > 1 && has_axis(t, width) &&
            !is_named(d, emr_tensor_name(t)))
            stop_deriving(
                d, EMR_EUNSUPPORTED,
                "which axes of the permutation spec's groups a tensor has is not known:", emr_tensor_name(t));
    }
}

void encoder_layer(deriving *d, stream *s, const char *p, const char *self, uint64_t n_heads, uint64_t width)
{
    static const char *const inputs[] = {"query", "key", "value"};
    static const spec_part parts[] = {PART_Q, PART_K, PART_V};
    names n = {.turn = 0}, m = {.turn = 0};
    const char *a = join(&n, p, self);
    spec_group *g = heads(d, p, "attention", n_heads, n_heads, width / n_heads);
    for (size_t k = 0; k < 3; k++)
        both(d, g, parts[k], a, inputs[k], 0);
    reads(d, g, PART_O, p, "attention.output.dense.weight", 1);
    site(d, g, p, "attention.output.dense");
    spec_set_text(d->spec, &g->qk_site, join(&m, a, "input"));
    g = units(d, p, "mlp", length_of(d, p, "intermediate.dense.weight", 0));
    both(d, g, PART_UNITS, p, "intermediate.dense", 0);
    reads(d, g, PART_UNITS, p, "output.dense.weight", 1);
    site(d, g, p, "output.dense");
    for (size_t k = 0; k < 3; k++) {
        reads(d, &s->group, PART_UNITS, a, join(&m, inputs[k], "weight"), 1);
        layer(d, a, inputs[k], "input", 1);
    }
    both(d, &s->group, PART_UNITS, p, "attention.output.dense", 0);
    reads(d, &s->group, PART_UNITS, p, "intermediate.dense.weight", 1);
    both(d, &s->group, PART_UNITS, p, "output.dense", 0);
    layer(d, p, "attention.output.dense", "attention.output.dense", 1);
    layer(d, p, "intermediate.dense", "intermediate.dense", 1);
    layer(d, p, "output.dense", "output.dense", 1);
}

void end_in_heads(deriving *d, stream *s)
{
    static const char *const heads[] = {"lm_head.weight", "score.weight", "qa_outputs.weight"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (find_tensor(d, heads[i]))
            reads(d, &s->group, PART_UNITS, "", heads[i], 1);
}

void end_stream(deriving *d, stream *s, uint64_t width, const char *prefix, const char *site_name)
{
    if (d->residual && !d->status) {
        spec_group *g = units(d, "", "residual", width);
        spec_axis *axes = s->group.axes;
        size_t n = s->group.n_axes, room = s->group.axes_room;
        g->axes = axes;
        g->n_axes = n;
        g->axes_room = room;
        s->group = (spec_group){0};
        site(d, g, prefix, site_name);
        refuse_unknown(d, width);
    }
    for (size_t i = 0; i < s->group.n_axes; i++)
        fit_release(&d->spec->host, s->group.axes[i].tensor);
    fit_release(&d->spec->host, s->group.axes);
}
