/* spec_json.c - permutation specs as text: read strictly, written so that it is read again. */
#include "spec.h"

#include <jansson.h>
#include <string.h>

#define FORMAT "emr-permutation-spec"

enum { TEXT_MAX = 64 << 20 };

/* What is read: the first thing that is wrong ends it. */
typedef struct reading {
    emr_permutation_spec *spec;
    const char *where; /* a group's or layer's name, or "" */
    emr_status status;
    emr_error *error;
} reading;

static void stop_reading(reading *r, const char *key, const char *why)
{
    if (r->status)
        return;
    r->status = emr_error_format(r->error, EMR_EFORMAT, "permutation spec: %s%s'%s' %s", r->where,
                                 r->where[0] ? ": " : "", key, why);
}

/* Members that have no place in an object are mistakes. */
static void check_keys(reading *r, const json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        stop_reading(r, "groups and layers", "must have objects");
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            stop_reading(r, key, "is no key that is known there");
    }
}

static const char *read_text(reading *r, const json_t *object, const char *key, bool is_required)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (value ? !text || !text[0] : is_required)
        stop_reading(r, key, "must be a text that is not empty");
    return text;
}

static uint64_t read_number(reading *r, const json_t *object, const char *key, uint64_t otherwise,
                            uint64_t most)
{
    const json_t *value = json_object_get(object, key);
    if (!value)
        return otherwise;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > most) {
        stop_reading(r, key, "must be a whole number in its range");
        return otherwise;
    }
    return (uint64_t)json_integer_value(value);
}

static bool read_flag(reading *r, const json_t *object, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        stop_reading(r, key, "must be true or false");
    return value ? json_is_true(value) : otherwise;
}

static const json_t *read_list(reading *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_array(value))
        stop_reading(r, key, "must be a list");
    return value;
}

static void read_axis(reading *r, spec_group *group, const json_t *object, spec_part part)
{
    static const char *const known[] = {"tensor", "axis",  "offset", "outer", "inner",
                                        "stride", "input", "match",  NULL};
    const uint64_t most = UINT64_C(1) << 40;
    check_keys(r, object, known);
    const char *tensor = read_text(r, object, "tensor", true);
    uint64_t axis = read_number(r, object, "axis", SPEC_RANK_MAX, SPEC_RANK_MAX);
    if (r->status)
        return;
    spec_axis *a = spec_add_axis(r->spec, group, tensor, (uint32_t)axis);
    a->offset = read_number(r, object, "offset", 0, most);
    a->outer = read_number(r, object, "outer", 1, most);
    a->inner = read_number(r, object, "inner", 1, most);
    a->stride = read_number(r, object, "stride", 0, most);
    a->is_input = read_flag(r, object, "input", false);
    a->is_matched = read_flag(r, object, "match", true);
    a->part = part;
}

static void read_axes(reading *r, spec_group *group, const json_t *object, const char *key, spec_part part)
{
    const json_t *list = read_list(r, object, key);
    for (size_t i = 0; !r->status && i < json_array_size(list); i++)
        read_axis(r, group, json_array_get(list, i), part);
}

static void read_sites(reading *r, spec_group *group, const json_t *object)
{
    const json_t *list = read_list(r, object, "sites");
    for (size_t i = 0; !r->status && i < json_array_size(list); i++) {
        const char *site = json_string_value(json_array_get(list, i));
        if (site)
            spec_add_site(r->spec, group, site);
        else
            stop_reading(r, "sites", "must be a list of texts");
    }
}

static void read_units(reading *r, spec_group *group, const json_t *object)
{
    static const char *const known[] = {"name", "size", "blocks", "sites", "axes", NULL};
    check_keys(r, object, known);
    group->n_units = read_number(r, object, "size", 0, SPEC_UNITS_MAX);
    group->n_blocks = (uint32_t)read_number(r, object, "blocks", 1, SPEC_UNITS_MAX);
    read_axes(r, group, object, "axes", PART_UNITS);
}

static void read_heads(reading *r, spec_group *group, const json_t *object)
{
    static const char *const known[] = {"name", "heads", "kv_heads", "head_dim", "qk",      "q",
                                        "k",    "v",     "o",        "sites",    "qk_site", NULL};
    check_keys(r, object, known);
    group->is_heads = true;
    group->n_heads = (uint32_t)read_number(r, object, "heads", 0, SPEC_UNITS_MAX);
    group->n_kv_heads = (uint32_t)read_number(r, object, "kv_heads", group->n_heads, SPEC_UNITS_MAX);
    group->head_dim = (uint32_t)read_number(r, object, "head_dim", 0, SPEC_UNITS_MAX);
    const char *qk = read_text(r, object, "qk", false);
    if (qk && strcmp(qk, "fixed") != 0 && strcmp(qk, "free") != 0)
        stop_reading(r, "qk", "must be \"free\" or \"fixed\"");
    group->fixed_qk = qk && strcmp(qk, "fixed") == 0;
    const char *qk_site = read_text(r, object, "qk_site", false);
    if (qk_site && !r->status)
        spec_set_text(r->spec, &group->qk_site, qk_site);
    read_axes(r, group, object, "q", PART_Q);
    read_axes(r, group, object, "k", PART_K);
    read_axes(r, group, object, "v", PART_V);
    read_axes(r, group, object, "o", PART_O);
}

static void read_group(reading *r, const json_t *object)
{
    const char *name = json_is_object(object) ? read_text(r, object, "name", true) : NULL;
    if (!name) {
        stop_reading(r, "groups", "must have objects with names");
        return;
    }
    spec_group *group = spec_add_group(r->spec, name);
    r->where = name;
    read_sites(r, group, object);
    if (json_object_get(object, "heads"))
        read_heads(r, group, object);
    else
        read_units(r, group, object);
    r->where = "";
}

static void read_layer(reading *r, const json_t *object)
{
    static const char *const known[] = {"weight", "bias", "site", "input_axis", NULL};
    check_keys(r, object, known);
    const char *weight = read_text(r, object, "weight", true), *site = read_text(r, object, "site", true);
    const char *bias = read_text(r, object, "bias", false);
    uint32_t input_axis = (uint32_t)read_number(r, object, "input_axis", 1, 1);
    if (!r->status)
        spec_add_layer(r->spec, weight, bias, site)->input_axis = input_axis;
}

static void read_spec(reading *r, const json_t *root)
{
    static const char *const known[] = {"format", "version", "layers", "groups", NULL};
    check_keys(r, root, known);
    const char *format = json_string_value(json_object_get(root, "format"));
    if (!format || strcmp(format, FORMAT) != 0)
        stop_reading(r, "format", "must be \"" FORMAT "\"");
    if (read_number(r, root, "version", 0, UINT32_MAX) != 1)
        stop_reading(r, "version", "must be 1");
    const json_t *groups = read_list(r, root, "groups"), *layers = read_list(r, root, "layers");
    for (size_t i = 0; !r->status && i < json_array_size(groups); i++)
        read_group(r, json_array_get(groups, i));
    for (size_t i = 0; !r->status && i < json_array_size(layers); i++)
        read_layer(r, json_array_get(layers, i));
}

emr_status emr_permutation_spec_parse(emr_permutation_spec **spec, const char *json, size_t n,
                                      const emr_allocator *allocator, emr_error *error)
{
    json_error_t why;
    if (spec)
        *spec = NULL;
    if (!spec || (!json && n))
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_spec_parse: NULL");
    if (n > TEXT_MAX)
        return emr_error_format(error, EMR_ELIMIT, "permutation spec: more than %u bytes",
                                (uint64_t)TEXT_MAX);
    json_t *root = json_loadb(json ? json : "", n, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return emr_error_format(error, EMR_EFORMAT, "permutation spec: line %i: %s", (int64_t)why.line,
                                why.text);
    reading r = {.spec = spec_create(allocator, error), .where = "", .error = error};
    if (!r.spec) {
        json_decref(root);
        return EMR_ENOMEM;
    }
    read_spec(&r, root);
    json_decref(root);
    if (!r.status)
        r.status = spec_validate(r.spec, error);
    if (r.status)
        spec_release(r.spec);
    else
        *spec = r.spec;
    return r.status;
}

static json_t *axis_json(const spec_axis *a)
{
    json_t *object = json_pack("{s:s, s:I}", "tensor", a->tensor, "axis", (json_int_t)a->axis);
    if (a->offset)
        json_object_set_new(object, "offset", json_integer((json_int_t)a->offset));
    if (a->outer != 1)
        json_object_set_new(object, "outer", json_integer((json_int_t)a->outer));
    if (a->inner != 1)
        json_object_set_new(object, "inner", json_integer((json_int_t)a->inner));
    if (a->stride)
        json_object_set_new(object, "stride", json_integer((json_int_t)a->stride));
    if (a->is_input)
        json_object_set_new(object, "input", json_true());
    if (!a->is_matched)
        json_object_set_new(object, "match", json_false());
    return object;
}

static json_t *axes_json(const spec_group *g, spec_part part)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->n_axes; i++)
        if (g->axes[i].part == part)
            json_array_append_new(list, axis_json(&g->axes[i]));
    return list;
}

static json_t *group_json(const spec_group *g)
{
    json_t *object = json_object(), *sites = json_array();
    for (size_t i = 0; i < g->n_sites; i++)
        json_array_append_new(sites, json_string(g->sites[i]));
    json_object_set_new(object, "name", json_string(g->name));
    if (g->is_heads) {
        json_object_set_new(object, "heads", json_integer(g->n_heads));
        json_object_set_new(object, "kv_heads", json_integer(g->n_kv_heads));
        json_object_set_new(object, "head_dim", json_integer(g->head_dim));
        json_object_set_new(object, "qk", json_string(g->fixed_qk ? "fixed" : "free"));
        json_object_set_new(object, "q", axes_json(g, PART_Q));
        json_object_set_new(object, "k", axes_json(g, PART_K));
        json_object_set_new(object, "v", axes_json(g, PART_V));
        json_object_set_new(object, "o", axes_json(g, PART_O));
        if (g->qk_site)
            json_object_set_new(object, "qk_site", json_string(g->qk_site));
    } else {
        json_object_set_new(object, "size", json_integer((json_int_t)g->n_units));
        json_object_set_new(object, "axes", axes_json(g, PART_UNITS));
        if (g->n_blocks != 1)
            json_object_set_new(object, "blocks", json_integer(g->n_blocks));
    }
    json_object_set_new(object, "sites", sites);
    return object;
}

static json_t *layer_json(const spec_layer *l)
{
    json_t *object = json_pack("{s:s, s:s}", "weight", l->weight, "site", l->site);
    if (l->bias)
        json_object_set_new(object, "bias", json_string(l->bias));
    if (l->input_axis != 1)
        json_object_set_new(object, "input_axis", json_integer(l->input_axis));
    return object;
}

static json_t *spec_json(const emr_permutation_spec *spec)
{
    json_t *root = json_object(), *groups = json_array(), *layers = json_array();
    for (size_t i = 0; i < spec->n_groups; i++)
        json_array_append_new(groups, group_json(&spec->groups[i]));
    for (size_t i = 0; i < spec->n_layers; i++)
        json_array_append_new(layers, layer_json(&spec->layers[i]));
    json_object_set_new(root, "format", json_string(FORMAT));
    json_object_set_new(root, "version", json_integer(1));
    json_object_set_new(root, "layers", layers);
    json_object_set_new(root, "groups", groups);
    return root;
}

/* jansson says of each piece of text where it goes. */
typedef struct writing {
    const emr_io *io;
    uint64_t at;
    emr_status status;
    emr_error *error;
} writing;

static int write_piece(const char *text, size_t n, void *user)
{
    writing *w = user;
    emr_error why;
    memset(&why, 0, sizeof why);
    emr_status status = w->io->write(w->io->user, w->at, text, n, &why);
    w->at += n;
    if (!status)
        return 0;
    why.text[sizeof why.text - 1] = '\0';
    w->status = status == EMR_ENOMEM || status == EMR_ECANCELED ? status : EMR_EIO;
    (void)emr_error_format(w->error, w->status, "writing the permutation spec failed: %s", why.text);
    return -1;
}

emr_status emr_permutation_spec_write(const emr_permutation_spec *spec, const emr_io *io, emr_error *error)
{
    if (!spec || !io || !io->write)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_spec_write: NULL");
    json_t *root = spec_json(spec);
    writing w = {.io = io, .error = error};
    int failed = root ? json_dump_callback(root, write_piece, &w, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : -1;
    json_decref(root);
    return failed && !w.status ? fit_no_memory(error) : w.status;
}
