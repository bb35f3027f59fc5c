/* spec.c - see spec.h. */
#include "spec.h"

#include <string.h>

emr_permutation_spec *spec_create(const emr_allocator *allocator, emr_error *error)
{
    fit_host host;
    emr_resources resources = EMR_INIT(emr_resources);
    resources.allocator = allocator;
    if (fit_host_take(&host, &resources, error))
        return NULL;
    emr_permutation_spec *spec = fit_allocate(&host, 1, sizeof *spec);
    if (!spec) {
        (void)fit_no_memory(error);
        return NULL;
    }
    spec->host = host;
    atomic_init(&spec->references, 1);
    return spec;
}

emr_permutation_spec *spec_share(const emr_permutation_spec *spec)
{
    emr_permutation_spec *shared = (emr_permutation_spec *)(uintptr_t)spec;
    atomic_fetch_add(&shared->references, 1);
    return shared;
}

static void release_group(const fit_host *host, spec_group *g)
{
    for (size_t i = 0; i < g->n_axes; i++)
        fit_release(host, g->axes[i].tensor);
    for (size_t i = 0; i < g->n_sites; i++)
        fit_release(host, g->sites[i]);
    fit_release(host, g->axes);
    fit_release(host, g->sites);
    fit_release(host, g->qk_site);
    fit_release(host, g->name);
}

void spec_release(emr_permutation_spec *spec)
{
    if (!spec || atomic_fetch_sub(&spec->references, 1) != 1)
        return;
    const fit_host host = spec->host;
    release_group(&host, &spec->no_group);
    for (size_t i = 0; i < spec->n_groups; i++)
        release_group(&host, &spec->groups[i]);
    for (size_t i = 0; i < spec->n_layers; i++) {
        fit_release(&host, spec->layers[i].weight);
        fit_release(&host, spec->layers[i].bias);
        fit_release(&host, spec->layers[i].site);
    }
    fit_release(&host, spec->groups);
    fit_release(&host, spec->layers);
    fit_release(&host, spec);
}

/* Room for one more element of an array. False: there is none, which is noted. */
static bool grow(emr_permutation_spec *spec, void *array, size_t n, size_t *room, size_t size)
{
    void **elements = array;
    if (n < *room)
        return true;
    size_t more = *room ? 2 * *room : 8;
    void *grown = fit_allocate(&spec->host, more, size);
    if (!grown) {
        spec->lacks_memory = true;
        return false;
    }
    if (n)
        memcpy(grown, *elements, n * size);
    fit_release(&spec->host, *elements);
    *elements = grown;
    *room = more;
    return true;
}

void spec_set_text(emr_permutation_spec *spec, char **text, const char *value)
{
    fit_release(&spec->host, *text);
    *text = value ? fit_copy_string(&spec->host, value) : NULL;
    spec->lacks_memory = spec->lacks_memory || (value && !*text);
}

spec_group *spec_add_group(emr_permutation_spec *spec, const char *name)
{
    if (!grow(spec, &spec->groups, spec->n_groups, &spec->groups_room, sizeof *spec->groups))
        return &spec->no_group;
    spec_group *group = &spec->groups[spec->n_groups++];
    group->n_blocks = 1;
    spec_set_text(spec, &group->name, name);
    return group;
}

spec_axis *spec_add_axis(emr_permutation_spec *spec, spec_group *group, const char *tensor, uint32_t axis)
{
    if (spec->lacks_memory ||
        !grow(spec, &group->axes, group->n_axes, &group->axes_room, sizeof *group->axes))
        return &spec->no_axis;
    spec_axis *added = &group->axes[group->n_axes++];
    *added = (spec_axis){.outer = 1, .inner = 1, .axis = axis, .is_matched = true};
    spec_set_text(spec, &added->tensor, tensor);
    return added;
}

void spec_add_site(emr_permutation_spec *spec, spec_group *group, const char *site)
{
    if (spec->lacks_memory ||
        !grow(spec, &group->sites, group->n_sites, &group->sites_room, sizeof *group->sites))
        return;
    group->sites[group->n_sites] = NULL;
    spec_set_text(spec, &group->sites[group->n_sites++], site);
}

spec_layer *spec_add_layer(emr_permutation_spec *spec, const char *weight, const char *bias, const char *site)
{
    if (!grow(spec, &spec->layers, spec->n_layers, &spec->layers_room, sizeof *spec->layers))
        return &spec->no_layer;
    spec_layer *layer = &spec->layers[spec->n_layers++];
    *layer = (spec_layer){.input_axis = 1};
    spec_set_text(spec, &layer->weight, weight);
    spec_set_text(spec, &layer->bias, bias);
    spec_set_text(spec, &layer->site, site);
    return layer;
}

uint64_t spec_part_units(const spec_group *g, spec_part part)
{
    if (!g->is_heads)
        return g->n_units;
    return (uint64_t)(part == PART_Q || part == PART_O ? g->n_heads : g->n_kv_heads) * g->head_dim;
}

uint64_t spec_place(const spec_group *g, const spec_axis *a, uint64_t o, uint64_t unit, uint64_t i)
{
    if (a->stride)
        return a->offset + unit / g->head_dim * a->stride + unit % g->head_dim * a->inner + i;
    return a->offset + (o * spec_part_units(g, a->part) + unit) * a->inner + i;
}

const spec_group *spec_find_group(const emr_permutation_spec *spec, const char *name, bool is_heads)
{
    for (size_t i = 0; i < spec->n_groups; i++)
        if (strcmp(spec->groups[i].name, name) == 0)
            return spec->groups[i].is_heads == is_heads ? &spec->groups[i] : NULL;
    return NULL;
}

static emr_status bad_group(const spec_group *g, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EFORMAT, "permutation spec: group '%s': %s", g->name, why);
}

static emr_status validate_axis(const spec_group *g, const spec_axis *a, emr_error *error)
{
    const uint64_t largest = UINT64_C(1) << 40; /* so that places on an axis are numbers of 64 bits */
    if (!a->tensor[0] || a->axis >= SPEC_RANK_MAX)
        return bad_group(g, "an axis has no tensor, or is above 7", error);
    if (!a->outer || !a->inner || a->outer > largest || a->inner > largest || a->offset > largest ||
        a->stride > largest || a->outer * a->inner > largest)
        return bad_group(g, "an axis' offset, outer, inner or stride is out of range", error);
    if (a->stride && (!g->is_heads || a->outer != 1 || a->stride < g->head_dim * a->inner))
        return bad_group(g, "a stride is for axes of heads, without outer, and at least a head", error);
    if (g->is_heads != (a->part != PART_UNITS))
        return bad_group(g, "its axes are not of its kind", error);
    uint64_t n = spec_part_units(g, a->part), heads = n / (a->stride ? g->head_dim : n);
    if (a->outer * a->inner > largest / n || a->stride > largest / heads)
        return bad_group(g, "an axis has more than 2^40 elements", error);
    return EMR_OK;
}

static emr_status validate_group(const emr_permutation_spec *spec, size_t i, emr_error *error)
{
    const spec_group *g = &spec->groups[i];
    if (!g->name[0])
        return bad_group(g, "it has no name", error);
    for (size_t k = 0; k < i; k++)
        if (strcmp(spec->groups[k].name, g->name) == 0)
            return bad_group(g, "there are two of this name", error);
    if (g->is_heads && (!g->n_kv_heads || !g->head_dim || g->n_heads % g->n_kv_heads || !g->n_heads ||
                        (uint64_t)g->n_heads * g->head_dim > SPEC_UNITS_MAX))
        return bad_group(g, "heads must be a multiple of kv_heads, with head_dim at least 1", error);
    if (!g->is_heads &&
        (!g->n_units || g->n_units > SPEC_UNITS_MAX || !g->n_blocks || g->n_units % g->n_blocks))
        return bad_group(g, "size must be 1 to 16777216 and a multiple of blocks", error);
    emr_status status = EMR_OK;
    for (size_t k = 0; !status && k < g->n_axes; k++)
        status = validate_axis(g, &g->axes[k], error);
    return status;
}

emr_status spec_validate(const emr_permutation_spec *spec, emr_error *error)
{
    if (spec->lacks_memory)
        return fit_no_memory(error);
    if (spec->n_groups > SPEC_NAMES_MAX * 16)
        return emr_error_format(error, EMR_ELIMIT, "permutation spec: more than %u groups",
                                (uint64_t)SPEC_NAMES_MAX * 16);
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < spec->n_groups; i++)
        status = validate_group(spec, i, error);
    return status;
}

void emr_permutation_spec_destroy(emr_permutation_spec **spec)
{
    if (!spec)
        return;
    spec_release(*spec);
    *spec = NULL;
}

uint32_t emr_permutation_spec_n_groups(const emr_permutation_spec *spec)
{
    return spec ? (uint32_t)spec->n_groups : 0;
}

emr_status emr_permutation_spec_get_group(const emr_permutation_spec *spec, uint32_t i, emr_unit_group *group)
{
    if (!spec || !group)
        return EMR_EINVAL;
    if (i >= spec->n_groups)
        return EMR_ENOTFOUND;
    const spec_group *g = &spec->groups[i];
    const emr_unit_group found = {.size = sizeof found,
                                  .name = g->name,
                                  .n_units = g->n_units,
                                  .n_blocks = g->n_blocks,
                                  .n_heads = g->n_heads,
                                  .n_kv_heads = g->n_kv_heads,
                                  .head_dim = g->head_dim,
                                  .fixed_qk = g->fixed_qk};
    return FIT_GIVE(group, &found, emr_unit_group, reserved);
}

uint32_t emr_permutation_spec_n_layers(const emr_permutation_spec *spec)
{
    return spec ? (uint32_t)spec->n_layers : 0;
}

emr_status emr_permutation_spec_get_layer(const emr_permutation_spec *spec, uint32_t i, emr_fit_layer *layer)
{
    if (!spec || !layer)
        return EMR_EINVAL;
    if (i >= spec->n_layers)
        return EMR_ENOTFOUND;
    const spec_layer *l = &spec->layers[i];
    const emr_fit_layer found = {sizeof found, l->weight, l->bias, l->site, l->input_axis, 0};
    return FIT_GIVE(layer, &found, emr_fit_layer, reserved);
}

static emr_status check_axis(const spec_group *g, const spec_axis *a, const emr_model *model,
                             emr_error *error)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, a->tensor);
    if (!tensor)
        return emr_error_format(error, EMR_EMISMATCH,
                                "%F: group '%s' of the permutation spec: tensor '%T' is absent",
                                emr_model_name(model), g->name, a->tensor);
    uint64_t units = spec_part_units(g, a->part), length = 0;
    if (a->axis < emr_tensor_rank(tensor))
        length = emr_tensor_shape(tensor)[a->axis];
    if (spec_place(g, a, a->outer - 1, units - 1, a->inner - 1) >= length)
        return emr_error_format(
            error, EMR_EMISMATCH,
            "%F: group '%s' of the permutation spec: axis %u of tensor '%T' has %u elements, and its units "
            "take more",
            emr_model_name(model), g->name, (uint64_t)a->axis, a->tensor, length);
    return EMR_OK;
}

emr_status emr_permutation_spec_check(const emr_permutation_spec *spec, const emr_model *model,
                                      emr_error *error)
{
    if (!spec || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_spec_check: NULL");
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < spec->n_groups; i++)
        for (size_t k = 0; !status && k < spec->groups[i].n_axes; k++)
            status = check_axis(&spec->groups[i], &spec->groups[i].axes[k], model, error);
    return status;
}
