/* groups.c - see groups.h. */
#include "statistics/groups.h"

#include <string.h>

static bool all_have(const emr_alignment *a, const emr_entry *entry)
{
    for (uint32_t s = 1; s < a->n_sources; s++)
        if (!emr_alignment_tensor(a, entry, s))
            return false;
    return true;
}

static uint64_t counted_elements(const emr_tensor *t, uint64_t max_rows)
{
    if (!max_rows || !t->rank || t->shape[0] <= max_rows)
        return t->count;
    return t->count / t->shape[0] * max_rows;
}

static void add_place(emr_place_group *group, uint64_t count)
{
    group->count += count;
    group->n_tensors++;
}

static void write_number(char *to, uint64_t number)
{
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n)
        *to++ = digits[--n];
    *to = 0;
}

/* The layer of that number; tables are sorted, -1 being last. */
static uint32_t find_layer(const emr_groups *g, int64_t layer)
{
    uint32_t i = 0;
    while (i < g->n_layers && (uint64_t)g->layers[i].layer < (uint64_t)layer)
        i++;
    return i;
}

static void add_layer(emr_groups *g, int64_t layer)
{
    uint32_t i = find_layer(g, layer);
    if (i < g->n_layers && g->layers[i].layer == layer)
        return;
    memmove(g->layers + i + 1, g->layers + i, (g->n_layers - i) * sizeof *g->layers);
    g->layers[i] = (emr_place_group){.layer = layer};
    if (layer >= 0)
        write_number(g->layers[i].name, (uint64_t)layer);
    g->n_layers++;
}

static uint32_t find_kind(const emr_groups *g, const char *name)
{
    uint32_t i = 0;
    while (i < g->n_kinds && strcmp(g->kinds[i].name, name) != 0)
        i++;
    return i;
}

/* Kinds that there are, in their order. */
static void add_kinds(emr_groups *g, const emr_alignment *a)
{
    for (uint32_t kind = 0; kind < EMR_N_PLACE_KINDS; kind++) {
        bool is_there = false;
        for (uint32_t i = 0; i < a->n_merged && !is_there; i++)
            is_there =
                g->tensors[i].tensor != EMR_GROUP_NONE && emr_place_kind(a->entries[i].base->name) == kind;
        if (is_there) {
            g->kinds[g->n_kinds] = (emr_place_group){.layer = -1};
            strcpy(g->kinds[g->n_kinds++].name, emr_place_kind_name(kind));
        }
    }
}

/* Every counting tensor into its groups. */
static void assign_groups(emr_groups *g, const emr_alignment *a)
{
    for (uint32_t t = 0; t < g->n_tensors; t++) {
        emr_grouped_tensor *tensor = &g->tensors[g->entries[t]];
        const char *name = a->entries[g->entries[t]].base->name;
        tensor->layer = find_layer(g, emr_place_layer(name));
        tensor->kind = find_kind(g, emr_place_kind_name(emr_place_kind(name)));
        add_place(&g->layers[tensor->layer], tensor->count);
        add_place(&g->kinds[tensor->kind], tensor->count);
        g->count += tensor->count;
    }
}

emr_status emr_groups_find(emr_groups *g, const emr_alignment *a, uint64_t max_rows, bool skip_missing,
                           emr_error *error)
{
    *g = (emr_groups){.tensors = emr_allocate_array(&a->allocator, a->n_merged, sizeof *g->tensors),
                      .entries = emr_allocate_array(&a->allocator, a->n_merged, sizeof *g->entries),
                      .layers = emr_allocate_array(&a->allocator, a->n_merged, sizeof *g->layers),
                      .kinds = emr_allocate_array(&a->allocator, EMR_N_PLACE_KINDS, sizeof *g->kinds)};
    if (!g->tensors || !g->entries || !g->layers || !g->kinds) {
        emr_groups_free(g, &a->allocator);
        return emr_no_memory(error, NULL);
    }
    for (uint32_t i = 0; i < a->n_merged; i++) {
        const emr_entry *entry = &a->entries[i];
        g->tensors[i] = (emr_grouped_tensor){counted_elements(entry->base, max_rows), EMR_GROUP_NONE,
                                             EMR_GROUP_NONE, EMR_GROUP_NONE};
        if (skip_missing && !all_have(a, entry))
            continue;
        g->tensors[i].tensor = g->n_tensors;
        g->entries[g->n_tensors++] = i;
        add_layer(g, emr_place_layer(entry->base->name));
    }
    add_kinds(g, a);
    assign_groups(g, a);
    return EMR_OK;
}

void emr_groups_free(emr_groups *g, const emr_allocator *allocator)
{
    emr_release(allocator, g->tensors);
    emr_release(allocator, g->entries);
    emr_release(allocator, g->layers);
    emr_release(allocator, g->kinds);
    *g = (emr_groups){0};
}
