/* page_tensors.c - the tasks, and the tensors that are merged or compared: which layers and kinds they make, and the
 * largest of them, for the table. */
#include "page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t count_private_bytes(const emr_bundle *b, uint32_t task)
{
    emr_private_info x = EMR_INIT(emr_private_info);
    uint64_t bytes = 0;
    for (uint32_t i = 0; emr_bundle_get_private(b, task, i, &x) == EMR_OK; i++)
        bytes += x.bytes;
    return bytes;
}

emr_status page_gather_tasks(page *p)
{
    emr_status status = EMR_OK;
    p->tasks = calloc(p->n_tasks + (size_t)1, sizeof *p->tasks);
    p->order = calloc(p->n_tasks + (size_t)1, sizeof *p->order);
    if (!p->tasks || !p->order)
        return EMR_ENOMEM;
    for (uint32_t t = 0; !status && t < p->n_tasks; t++) {
        page_task *task = &p->tasks[t];
        p->order[t] = t;
        clean_text(p->models.names[t], PAGE_TASK_NAME, task->name);
        if (!p->bundle)
            continue;
        task->info.size = sizeof task->info;
        status = emr_bundle_get_task(p->bundle, t, &task->info);
        if (!status)
            status = describe_task(&task->facts, p->bundle, t);
        task->private_bytes = count_private_bytes(p->bundle, t);
        p->coded_bytes += task->info.coded_bytes;
        p->mask_total += task->facts.has_mask ? task->info.mask_bytes : task->info.coded_bytes;
    }
    return status;
}

/* ---- tensors, of a bundle or of the plan of a merge */

typedef struct merged_tensor {
    const char *name;
    const uint64_t *shape;
    uint64_t count, unified_bytes;
    emr_dtype dtype;
    uint32_t rank;
} merged_tensor;

/* The i-th tensor; false past the end. Those that are not merged have no name. */
static bool merged_at(const page *p, uint32_t i, merged_tensor *m)
{
    emr_tensor_info x = EMR_INIT(emr_tensor_info);
    emr_plan_tensor y = EMR_INIT(emr_plan_tensor);
    *m = (merged_tensor){.name = NULL};
    if (p->bundle) {
        if (emr_bundle_get_tensor(p->bundle, i, &x))
            return false;
        if (x.merged)
            *m = (merged_tensor){x.name, x.shape, x.count, x.unified_bytes, x.dtype, x.rank};
        return true;
    }
    if (emr_merge_get_plan_tensor(p->plan, i, &y))
        return false;
    if (y.action == EMR_ACTION_MERGE)
        *m = (merged_tensor){y.name, y.shape, y.count, 0, y.dtype, y.rank};
    return true;
}

static void add_to_place(page_place *place, const merged_tensor *m)
{
    place->count += m->count;
    place->n_tensors++;
}

/* The largest first, equal ones as they come. */
static void keep_largest(page *p, const merged_tensor *m, uint32_t number)
{
    uint32_t i = p->n_shown;
    if (i == PAGE_ROWS && p->tensors[i - 1].count >= m->count)
        return;
    if (i < PAGE_ROWS)
        p->n_shown++;
    else
        i--;
    for (; i && p->tensors[i - 1].count < m->count; i--)
        p->tensors[i] = p->tensors[i - 1];
    page_tensor *x = &p->tensors[i];
    char shape[256];
    *x = (page_tensor){.whole_name = m->name,
                       .count = m->count,
                       .number = number,
                       .unified_bytes = m->unified_bytes,
                       .dtype = m->dtype,
                       .kinship = (double)NAN,
                       .conflicts = (double)NAN,
                       .change = (double)NAN};
    clean_text(m->name, PAGE_NAME, x->name);
    snprintf(x->shape, sizeof x->shape, "%.60s", shape_text(m->rank, m->shape, shape));
}

static void gather_places(page *p)
{
    merged_tensor m;
    uint32_t n = 0;
    for (uint32_t i = 0; merged_at(p, i, &m); i++) {
        if (!m.name)
            continue;
        add_to_place(&p->layers.all[page_column_of(&p->layers, emr_statistics_layer_of(m.name))], &m);
        add_to_place(&p->kinds.all[page_kind_of(&p->kinds, emr_statistics_kind_of(m.name))], &m);
        keep_largest(p, &m, n++);
    }
    for (uint32_t i = 0; i < n; i++)
        p->shown_at[i] = p->n_shown;
    for (uint32_t i = 0; i < p->n_shown; i++) {
        p->shown_at[p->tensors[i].number] = i;
        p->params_shown += p->tensors[i].count;
    }
}

/* Statistics may count what the bundle's tasks keep for themselves, too. */
static uint32_t add_counted_layers(const page *p, int64_t *layers, uint32_t n)
{
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    for (uint32_t i = 0;
         emr_statistics_get_group(p->models.statistics, EMR_STATISTICS_SCOPE_LAYER, i, &g) == EMR_OK; i++)
        layers[n++] = g.layer;
    return n;
}

static uint32_t add_merged_layers(page *p, int64_t *layers)
{
    merged_tensor m;
    uint32_t n = 0;
    for (uint32_t i = 0; merged_at(p, i, &m); i++)
        if (m.name) {
            layers[n++] = emr_statistics_layer_of(m.name);
            p->params += m.count;
            p->unified_bytes += m.unified_bytes;
        }
    return n;
}

emr_status page_gather_tensors(page *p)
{
    merged_tensor m;
    uint32_t all = 0;
    while (merged_at(p, all, &m))
        all++;
    uint32_t counted =
        p->has_vectors ? emr_statistics_n_groups(p->models.statistics, EMR_STATISTICS_SCOPE_LAYER) : 0;
    int64_t *layers = malloc(((size_t)all + counted + 1) * sizeof *layers);
    p->tensors = calloc(PAGE_ROWS + 1, sizeof *p->tensors);
    p->shown_at = calloc(all + (size_t)1, sizeof *p->shown_at);
    emr_status status = layers && p->tensors && p->shown_at ? EMR_OK : EMR_ENOMEM;
    if (!status) {
        p->n_tensors = add_merged_layers(p, layers);
        status = page_find_places(
            p, layers, p->has_vectors ? add_counted_layers(p, layers, p->n_tensors) : p->n_tensors);
    }
    if (!status)
        gather_places(p);
    free(layers);
    return status;
}
