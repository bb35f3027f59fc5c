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
    for (size_t i = 0; emr_model_get_metadata(m, i, &key, &value) == EMR_OK; i++)
        if (strcmp(key, EMR_ADAPTER_CONFIG) == 0)
            return true;
    return false;
}

static emr_status ask(const group *g, size_t first, emr_error *error)
{
    const char **names = calloc(g->n, sizeof *names);
    if (!names)
        return EMR_ENOMEM;
    for (size_t i = 0; i < g->n; i++)
        names[i] = g->names[i];
    emr_status status = emr_adapters_agree(g->models + first, names + first, g->n - first, NULL, error);
    free(names);
    return status;
}

/* Each of the bundle's tasks in turn, in the first place. Of it only the metadata is looked at, so the base
 * need not be checked. */
static emr_status ask_old(group *g, const emr_bundle *bundle, const emr_model *base, emr_error *error)
{
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_view_options options = EMR_INIT(emr_view_options);
    emr_status status = EMR_OK;
    options.trust_base = 1;
    for (size_t t = 0; !status && emr_bundle_get_task(bundle, t, &task) == EMR_OK; t++) {
        emr_model *old;
        status = emr_bundle_open_task(&old, bundle, t, base, &options, error);
        if (status)
            break;
        g->models[0] = old;
        snprintf(g->names[0], sizeof *g->names, "task '%s' of the bundle", task.name);
        status = ask(g, 0, error);
        emr_model_destroy(&old);
    }
    return status;
}

emr_status check_adapters(const arguments *a, emr_model *const *models, const emr_model *base,
                          const emr_bundle *before, emr_error *error)
{
    size_t most = a->n_tasks + 2; /* one of the bundle's tasks, and the base */
    group g = {calloc(most, sizeof *g.models), calloc(most, sizeof *g.names), 1};
    emr_status status = g.models && g.names ? EMR_OK : EMR_ENOMEM;
    for (size_t t = 0; !status && t < a->n_tasks; t++)
        put(&g, models[t], "task '%s'", a->tasks[t].name);
    if (!status && is_adapter(base)) /* initial values may well be a plain file that a script has made */
        put(&g, base, "the base (%.200s)", a->base);
    if (!status)
        status = before ? ask_old(&g, before, base, error) : ask(&g, 1, error);
    free(g.names);
    free(g.models);
    return status;
}
