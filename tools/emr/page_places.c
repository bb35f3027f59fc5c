/* page_places.c - layers and kinds as the columns of pictures: neighbouring layers share a column where there are too
 * many. */
#include "page.h"

#include <stdlib.h>
#include <string.h>

static int compare_layers(const void *a, const void *b)
{
    uint64_t x = (uint64_t) * (const int64_t *)a, y = (uint64_t) * (const int64_t *)b; /* -1 last */
    return (x > y) - (x < y);
}

static emr_status allocate_places(page_places *places, uint32_t n, uint32_t n_tasks)
{
    places->all = calloc(n + (size_t)1, sizeof *places->all);
    places->cells = calloc((size_t)n * n_tasks + 1, sizeof *places->cells);
    return places->all && places->cells ? EMR_OK : EMR_ENOMEM;
}

static void name_column(const page_places *l, page_place *place, uint32_t first, uint32_t last)
{
    if (l->layers[first] < 0)
        snprintf(place->name, sizeof place->name, "rest");
    else if (first == last)
        snprintf(place->name, sizeof place->name, "%lld", (long long)l->layers[first]);
    else
        snprintf(place->name, sizeof place->name, "%lld–%lld", (long long)l->layers[first],
                 (long long)l->layers[last]);
}

static emr_status find_columns(page_places *l, uint32_t n_tasks)
{
    bool has_rest = l->n_layers && l->layers[l->n_layers - 1] < 0;
    uint32_t numbered = l->n_layers - has_rest, n = 0;
    l->per = (numbered + PAGE_COLUMNS - 1) / PAGE_COLUMNS;
    l->per = l->per ? l->per : 1;
    emr_status status = allocate_places(l, (numbered + l->per - 1) / l->per + has_rest, n_tasks);
    for (uint32_t i = 0; !status && i < numbered; i += l->per, n++)
        name_column(l, &l->all[n], i, i + l->per < numbered ? i + l->per - 1 : numbered - 1);
    if (!status && has_rest)
        name_column(l, &l->all[n++], numbered, numbered);
    l->n = n;
    return status;
}

emr_status page_find_places(page *p, const int64_t *layers, uint32_t n)
{
    page_places *l = &p->layers;
    l->layers = malloc((n + (size_t)1) * sizeof *l->layers);
    if (!l->layers)
        return EMR_ENOMEM;
    if (n)
        memcpy(l->layers, layers, n * sizeof *layers);
    qsort(l->layers, n, sizeof *l->layers, compare_layers);
    for (uint32_t i = 0; i < n; i++)
        if (!l->n_layers || l->layers[l->n_layers - 1] != l->layers[i])
            l->layers[l->n_layers++] = l->layers[i];
    emr_status status = find_columns(l, p->n_tasks);
    enum { KINDS_MOST = 16 };
    return status ? status : allocate_places(&p->kinds, KINDS_MOST, p->n_tasks);
}

uint32_t page_column_of(const page_places *l, int64_t layer)
{
    const int64_t *found = bsearch(&layer, l->layers, l->n_layers, sizeof *l->layers, compare_layers);
    if (!found)
        return 0;
    return layer < 0 ? l->n - 1 : (uint32_t)(found - l->layers) / l->per;
}

/* Kinds come in the order in which they are met; there are no more than the library knows. */
uint32_t page_kind_of(page_places *kinds, const char *kind)
{
    uint32_t i = 0;
    while (i < kinds->n && strcmp(kinds->all[i].name, kind) != 0)
        i++;
    if (i == kinds->n) {
        snprintf(kinds->all[i].name, sizeof kinds->all[i].name, "%s", kind);
        kinds->n++;
    }
    return i;
}

page_cell *page_cell_of(const page *p, const page_places *places, uint32_t place, uint32_t task)
{
    return &places->cells[(size_t)place * p->n_tasks + task];
}

void page_free_places(page_places *places)
{
    free(places->all);
    free(places->cells);
    free(places->layers);
}
