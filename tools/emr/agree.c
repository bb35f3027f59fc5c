/* agree.c - adapters of different kinds are not merged: asks the library about all that a merge brings
 * together. */
#include "cli.h"

#include <stdlib.h>

/* What is compared, and what messages call it. */
typedef struct group {
    const emr_model **models;
    char (*names)[300]; /* a task's name has at most 255 bytes */
    size_t n;
    emr_agree_options options;
} group;

static void add_to_group(group *g, const emr_model *model, const char *format, const char *name)
{
    g->models[g->n] = model;
    snprintf(g->names[g->n++], sizeof *g->names, format, name);
}

static emr_status ask_group(const group *g, size_t first, emr_error *error)
{
    const char **names = calloc(g->n, sizeof *names);
    if (!names)
        return EMR_ENOMEM;
    for (size_t i = 0; i < g->n; i++)
        names[i] = g->names[i];
    emr_status status =
        emr_adapters_agree(g->models + first, names + first, g->n - first, &g->options, error);
    free(names);
    return status;
}

/* Each of the bundle's tasks in turn, in the first place: models of nothing but the metadata that is asked
 * about. */
static emr_status ask_bundle(group *g, const emr_bundle *bundle, emr_error *error)
{
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && emr_bundle_get_task(bundle, t, &task) == EMR_OK; t++) {
        const char *config = emr_bundle_find_metadata(bundle, t, EMR_ADAPTER_CONFIG);
        emr_model *old = NULL;
        status = emr_model_create(&old, NULL, error);
        if (!status && config)
            status = emr_model_set_metadata(old, EMR_ADAPTER_CONFIG, config, error);
        g->models[0] = old;
        snprintf(g->names[0], sizeof *g->names, "task '%s' of the bundle", task.name);
        if (!status)
            status = ask_group(g, 0, error);
        emr_model_destroy(&old);
    }
    return status;
}

emr_status check_adapters(const arguments *a, emr_model *const *models, const emr_model *base,
                          const emr_bundle *before, emr_error *error)
{
    size_t most = a->n_tasks + 2; /* one of the bundle's tasks, and the base */
    group g = {calloc(most, sizeof *g.models), calloc(most, sizeof *g.names), 1, EMR_INIT(emr_agree_options)};
    g.options.differ = a->differ;
    g.options.n_differ = a->n_differ;
    emr_status status = g.models && g.names ? EMR_OK : EMR_ENOMEM;
    for (size_t t = 0; !status && base && t < a->n_tasks; t++)
        status = check_adapter_base(a, t, models[t], base, !before, error);
    for (size_t t = 0; !status && t < a->n_tasks; t++)
        add_to_group(&g, models[t], "task '%s'", a->tasks[t].name);
    /* an adapter's initial values may well be a plain file that a script has made */
    if (!status && base && emr_model_find_metadata(base, EMR_ADAPTER_CONFIG))
        add_to_group(&g, base, "the base (%.200s)", a->base);
    if (!status)
        status = before ? ask_bundle(&g, before, error) : ask_group(&g, 1, error);
    free(g.names);
    free(g.models);
    return status;
}
