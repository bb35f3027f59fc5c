/* agree.c - adapters of different kinds are not merged: asks the library about all that a merge brings
 * together. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* What is compared, and what messages call it. */
typedef struct group {
    const emr_model **models;
    char (*names)[300]; /* a task's name has at most 255 bytes */
    size_t n;
} group;

static void put(group *g, const emr_model *model, const char *format, const char *name)
{
    g->models[g->n] = model;
    snprintf(g->names[g->n++], sizeof *g->names, format, name);
}

static bool is_adapter(const emr_model *m)
{
    const char *key, *value;
    for (size_t i = 0; emr_model_metadata(m, i, &key, &value) == EMR_OK; i++)
        if (strcmp(key, EMR_ADAPTER_CONFIG) == 0)
            return true;
    return false;
}

/* The bundle's tasks, of which only the metadata is looked at: the base is not checked for that. */
static emr_status open_old(emr_model **models, size_t n, const emr_bundle *bundle, const emr_model *base,
                           group *g, emr_error *error)
{
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_view_options options = EMR_INIT(emr_view_options);
    emr_status status = EMR_OK;
    options.trust_base = 1;
    for (size_t t = 0; !status && t < n; t++) {
        status = emr_bundle_task_model(&models[t], bundle, t, base, &options, error);
        if (!status && emr_bundle_task(bundle, t, &task) == EMR_OK)
            put(g, models[t], "task '%s' of the bundle", task.name);
    }
    return status;
}

static emr_status ask(const group *g, emr_error *error)
{
    const char **names = calloc(g->n, sizeof *names);
    if (!names)
        return EMR_ENOMEM;
    for (size_t i = 0; i < g->n; i++)
        names[i] = g->names[i];
    emr_status status = emr_adapters_agree(g->models, names, g->n, NULL, error);
    free(names);
    return status;
}

emr_status check_adapters(const arguments *a, emr_model *const *models, const emr_model *base,
                          const emr_bundle *before, emr_error *error)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    if (before)
        emr_bundle_get_info(before, &info);
    size_t most = info.n_tasks + a->n_tasks + 1;
    group g = {calloc(most, sizeof *g.models), calloc(most, sizeof *g.names), 0};
    emr_model **old = calloc(most, sizeof(emr_model *));
    emr_status status = g.models && g.names && old ? EMR_OK : EMR_ENOMEM;
    if (!status && before)
        status = open_old(old, info.n_tasks, before, base, &g, error);
    for (size_t t = 0; !status && t < a->n_tasks; t++)
        put(&g, models[t], "task '%s'", a->tasks[t].name);
    if (!status && is_adapter(base)) /* initial values may well be a plain file that a script has made */
        put(&g, base, "the base (%.200s)", a->base);
    if (!status)
        status = ask(&g, error);
    for (size_t t = 0; old && t < info.n_tasks; t++)
        emr_model_destroy(&old[t]);
    free(old);
    free(g.names);
    free(g.models);
    return status;
}
