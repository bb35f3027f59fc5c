/* permutation.c - permutations of a spec's groups: set, inverted, composed. */
#include "permutation.h"

#include <string.h>

uint32_t *fit_heads_array(const group_units *u, int which)
{
    uint32_t *const arrays[HEADS_ARRAYS] = {u->kv, u->slot, u->qk, u->v};
    return arrays[which];
}

size_t fit_heads_rows(const spec_group *g, int which)
{
    return which == HEADS_KV ? 1 : g->n_kv_heads;
}

size_t fit_heads_columns(const spec_group *g, int which)
{
    if (which == HEADS_KV)
        return g->n_kv_heads;
    return which == HEADS_SLOT ? g->n_heads / g->n_kv_heads : g->head_dim;
}

uint64_t fit_permuted_unit(const spec_group *g, const group_units *u, spec_part part, uint64_t unit)
{
    if (part == PART_UNITS)
        return u->units[unit];
    uint64_t d = g->head_dim, r = g->n_heads / g->n_kv_heads, head = unit / d, i = unit % d;
    bool is_query = part == PART_Q || part == PART_O;
    uint64_t kv = is_query ? head / r : head;
    const uint32_t *dimensions = part == PART_Q || part == PART_K ? u->qk : u->v;
    uint64_t old = is_query ? u->kv[kv] * r + u->slot[head] : u->kv[kv];
    return old * d + dimensions[kv * d + i];
}

static bool allocate_group(const fit_host *host, const spec_group *g, group_units *u)
{
    if (!g->is_heads) {
        u->units = fit_allocate(host, (size_t)g->n_units, sizeof *u->units);
        return u->units != NULL;
    }
    uint32_t **const arrays[HEADS_ARRAYS] = {&u->kv, &u->slot, &u->qk, &u->v};
    for (int i = 0; i < HEADS_ARRAYS; i++) {
        *arrays[i] = fit_allocate(host, fit_heads_rows(g, i) * fit_heads_columns(g, i), sizeof **arrays[i]);
        if (!*arrays[i])
            return false;
    }
    return true;
}

static void set_identity(const spec_group *g, group_units *u)
{
    for (size_t i = 0; !g->is_heads && i < g->n_units; i++)
        u->units[i] = (uint32_t)i;
    for (int which = 0; g->is_heads && which < HEADS_ARRAYS; which++)
        for (size_t i = 0; i < fit_heads_rows(g, which) * fit_heads_columns(g, which); i++)
            fit_heads_array(u, which)[i] = (uint32_t)(i % fit_heads_columns(g, which));
}

static emr_status create_on(const fit_host *host, const emr_permutation_spec *spec,
                            emr_permutation **permutation, emr_error *error)
{
    emr_permutation *p = fit_allocate(host, 1, sizeof *p);
    *permutation = NULL;
    if (!p)
        return fit_no_memory(error);
    p->host = *host;
    p->spec = spec_share(spec);
    p->groups = fit_allocate(host, spec->n_groups, sizeof *p->groups);
    bool is_whole = p->groups != NULL;
    for (size_t i = 0; is_whole && i < spec->n_groups; i++) {
        is_whole = allocate_group(host, &spec->groups[i], &p->groups[i]);
        if (is_whole)
            set_identity(&spec->groups[i], &p->groups[i]);
    }
    *permutation = p;
    if (is_whole)
        return EMR_OK;
    emr_permutation_destroy(permutation);
    return fit_no_memory(error);
}

emr_status emr_permutation_create(emr_permutation **permutation, const emr_permutation_spec *spec,
                                  const emr_allocator *allocator, emr_error *error)
{
    fit_host host;
    emr_resources resources = EMR_INIT(emr_resources);
    if (permutation)
        *permutation = NULL;
    if (!permutation || !spec)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_create: NULL");
    resources.allocator = allocator;
    emr_status status = fit_host_take(&host, &resources, error);
    return status ? status : create_on(&host, spec, permutation, error);
}

void emr_permutation_destroy(emr_permutation **permutation)
{
    if (!permutation || !*permutation)
        return;
    emr_permutation *p = *permutation;
    const fit_host host = p->host;
    for (size_t i = 0; p->groups && i < p->spec->n_groups; i++) {
        fit_release(&host, p->groups[i].units);
        for (int which = 0; which < HEADS_ARRAYS; which++)
            fit_release(&host, fit_heads_array(&p->groups[i], which));
    }
    fit_release(&host, p->groups);
    spec_release(p->spec);
    fit_release(&host, p);
    *permutation = NULL;
}

/* Whether each of the rows is a permutation of 0 ... columns - 1. `seen` has room for a row. */
static bool is_permutation(const uint32_t *units, size_t rows, size_t columns, unsigned char *seen)
{
    for (size_t row = 0; row < rows; row++) {
        memset(seen, 0, columns);
        for (size_t i = 0; i < columns; i++) {
            uint32_t unit = units[row * columns + i];
            if (unit >= columns || seen[unit])
                return false;
            seen[unit] = 1;
        }
    }
    return true;
}

/* The same, with memory for it. */
static emr_status check_permutation(const emr_permutation *p, const spec_group *g, const char *what,
                                    const uint32_t *units, size_t rows, size_t columns, emr_error *error)
{
    unsigned char *seen = fit_allocate(&p->host, columns, 1);
    if (!seen)
        return fit_no_memory(error);
    bool is_one = is_permutation(units, rows, columns, seen);
    fit_release(&p->host, seen);
    if (is_one)
        return EMR_OK;
    return emr_error_format(error, EMR_EINVAL, "group '%s': %s is no permutation of the numbers below %u",
                            g->name, what, (uint64_t)columns);
}

static bool keeps_blocks(const spec_group *g, const uint32_t *units)
{
    size_t width = (size_t)(g->n_units / g->n_blocks);
    for (size_t i = 0; i < g->n_units; i++)
        if (units[i] / width != units[i - i % width] / width)
            return false;
    return true;
}

static emr_status find_group(const emr_permutation *p, const char *name, bool is_heads, size_t *number,
                             emr_error *error)
{
    const spec_group *g = spec_find_group(p->spec, name, is_heads);
    if (!g)
        return emr_error_format(error, EMR_ENOTFOUND, "the permutation spec has no group '%s' of %s", name,
                                is_heads ? "heads" : "units");
    *number = (size_t)(g - p->spec->groups);
    return EMR_OK;
}

emr_status emr_permutation_set_units(emr_permutation *p, const char *group, const uint32_t *units,
                                     emr_error *error)
{
    size_t i = 0;
    if (!p || !group || !units)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_set_units: NULL");
    emr_status status = find_group(p, group, false, &i, error);
    if (status)
        return status;
    const spec_group *g = &p->spec->groups[i];
    status = check_permutation(p, g, "units", units, 1, (size_t)g->n_units, error);
    if (!status && !keeps_blocks(g, units))
        status =
            emr_error_format(error, EMR_EINVAL, "group '%s': units leave their block, of which there are %u",
                             group, (uint64_t)g->n_blocks);
    if (!status)
        memcpy(p->groups[i].units, units, (size_t)g->n_units * sizeof *units);
    return status;
}

static const char *const array_names[HEADS_ARRAYS] = {"kv", "slot", "qk", "v"};

static bool is_identity(const uint32_t *units, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows * columns; i++)
        if (units[i] != i % columns)
            return false;
    return true;
}

emr_status emr_permutation_set_heads(emr_permutation *p, const char *group, const emr_head_units *units,
                                     emr_error *error)
{
    emr_head_units u;
    size_t i = 0;
    if (!p || !group || !units)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_set_heads: NULL");
    emr_status status = FIT_TAKE(&u, units, emr_head_units, v, error);
    if (!status)
        status = find_group(p, group, true, &i, error);
    if (status)
        return status;
    const spec_group *g = &p->spec->groups[i];
    const uint32_t *const arrays[HEADS_ARRAYS] = {u.kv, u.slot, u.qk, u.v};
    for (int which = 0; !status && which < HEADS_ARRAYS; which++) {
        size_t rows = fit_heads_rows(g, which), columns = fit_heads_columns(g, which);
        if (!arrays[which])
            return emr_error_format(error, EMR_EINVAL, "group '%s': %s is NULL", group, array_names[which]);
        status = check_permutation(p, g, array_names[which], arrays[which], rows, columns, error);
        if (!status && which == HEADS_QK && g->fixed_qk && !is_identity(arrays[which], rows, columns))
            status =
                emr_error_format(error, EMR_EINVAL, "group '%s': its dimensions of q and k are fixed", group);
    }
    for (int which = 0; !status && which < HEADS_ARRAYS; which++)
        memcpy(fit_heads_array(&p->groups[i], which), arrays[which],
               fit_heads_rows(g, which) * fit_heads_columns(g, which) * sizeof **arrays);
    return status;
}

const uint32_t *emr_permutation_units(const emr_permutation *p, const char *group)
{
    size_t i = 0;
    if (!p || !group || find_group(p, group, false, &i, NULL))
        return NULL;
    return p->groups[i].units;
}

emr_status emr_permutation_get_heads(const emr_permutation *p, const char *group, emr_head_units *units)
{
    size_t i = 0;
    if (!p || !group || !units)
        return EMR_EINVAL;
    if (find_group(p, group, true, &i, NULL))
        return EMR_ENOTFOUND;
    const group_units *u = &p->groups[i];
    const emr_head_units found = {sizeof found, u->kv, u->slot, u->qk, u->v};
    return FIT_GIVE(units, &found, emr_head_units, v);
}

/* What undoes a group: of new kv head g, the arrays are those of old head kv[g], inverted. */
static void invert_group(const spec_group *g, const group_units *from, group_units *to)
{
    for (size_t i = 0; !g->is_heads && i < g->n_units; i++)
        to->units[from->units[i]] = (uint32_t)i;
    for (size_t i = 0; g->is_heads && i < g->n_kv_heads; i++)
        to->kv[from->kv[i]] = (uint32_t)i;
    for (int which = HEADS_SLOT; g->is_heads && which < HEADS_ARRAYS; which++) {
        size_t columns = fit_heads_columns(g, which);
        for (size_t head = 0; head < g->n_kv_heads; head++)
            for (size_t i = 0; i < columns; i++)
                fit_heads_array(
                    to, which)[head * columns + fit_heads_array(from, which)[to->kv[head] * columns + i]] =
                    (uint32_t)i;
    }
}

emr_status emr_permutation_invert(const emr_permutation *p, emr_permutation **inverse, emr_error *error)
{
    if (inverse)
        *inverse = NULL;
    if (!p || !inverse)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_invert: NULL");
    emr_status status = create_on(&p->host, p->spec, inverse, error);
    for (size_t i = 0; !status && i < p->spec->n_groups; i++)
        invert_group(&p->spec->groups[i], &p->groups[i], &(*inverse)->groups[i]);
    return status;
}

/* to[i] = first[second[i]], heads by heads. */
static void compose_group(const spec_group *g, const group_units *first, const group_units *second,
                          group_units *to)
{
    for (size_t i = 0; !g->is_heads && i < g->n_units; i++)
        to->units[i] = first->units[second->units[i]];
    for (size_t i = 0; g->is_heads && i < g->n_kv_heads; i++)
        to->kv[i] = first->kv[second->kv[i]];
    for (int which = HEADS_SLOT; g->is_heads && which < HEADS_ARRAYS; which++) {
        size_t columns = fit_heads_columns(g, which);
        const uint32_t *one = fit_heads_array(first, which), *two = fit_heads_array(second, which);
        for (size_t head = 0; head < g->n_kv_heads; head++)
            for (size_t i = 0; i < columns; i++)
                fit_heads_array(to, which)[head * columns + i] =
                    one[second->kv[head] * columns + two[head * columns + i]];
    }
}

emr_status emr_permutation_compose(const emr_permutation *first, const emr_permutation *second,
                                   emr_permutation **composed, emr_error *error)
{
    if (composed)
        *composed = NULL;
    if (!first || !second || !composed)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_compose: NULL");
    if (first->spec != second->spec)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_permutation_compose: the permutations are of two specs");
    emr_status status = create_on(&first->host, first->spec, composed, error);
    for (size_t i = 0; !status && i < first->spec->n_groups; i++)
        compose_group(&first->spec->groups[i], &first->groups[i], &second->groups[i],
                      &(*composed)->groups[i]);
    return status;
}

static void copy_group(const spec_group *g, const group_units *from, group_units *to)
{
    if (!g->is_heads)
        memcpy(to->units, from->units, (size_t)g->n_units * sizeof *to->units);
    for (int which = 0; g->is_heads && which < HEADS_ARRAYS; which++)
        memcpy(fit_heads_array(to, which), fit_heads_array(from, which),
               fit_heads_rows(g, which) * fit_heads_columns(g, which) * sizeof(uint32_t));
}

bool fit_permutation_same_group(const spec_group *g, const group_units *a, const group_units *b)
{
    if (!g->is_heads)
        return memcmp(a->units, b->units, (size_t)g->n_units * sizeof *a->units) == 0;
    for (int which = 0; which < HEADS_ARRAYS; which++)
        if (memcmp(fit_heads_array(a, which), fit_heads_array(b, which),
                   fit_heads_rows(g, which) * fit_heads_columns(g, which) * sizeof(uint32_t)) != 0)
            return false;
    return true;
}

emr_status fit_permutation_copy(const emr_permutation *from, const fit_host *host, emr_permutation **copy,
                                emr_error *error)
{
    emr_status status = create_on(host, from->spec, copy, error);
    for (size_t i = 0; !status && i < from->spec->n_groups; i++)
        copy_group(&from->spec->groups[i], &from->groups[i], &(*copy)->groups[i]);
    return status;
}
