/* heads.c - see heads.h. */
#include "heads.h"

#include "configuration.h"

#include <stdlib.h>
#include <string.h>

/* What a merge holds of heads: the models that its tasks are made of, one below the other. */
struct head_views {
    emr_model **labelled, **renamed; /* config.json changed; under other names, if they have any */
    emr_heads *heads;
    char **globs; /* the user's private ones are borrowed, the heads' names its own */
    uint32_t n_globs, n_borrowed;
};

/* --- Labels -------------------------------------------------------------------------------------------- */

static emr_head_kind kind_of_problem(const json_t *config)
{
    const char *problem = json_string_value(json_object_get(config, "problem_type"));
    if (problem && strcmp(problem, "regression") == 0)
        return EMR_HEAD_KIND_IDENTITY;
    return problem && strcmp(problem, "multi_label_classification") == 0 ? EMR_HEAD_KIND_SIGMOID
                                                                         : EMR_HEAD_KIND_SOFTMAX;
}

/* What transformers calls a label that has no name. */
static json_t *label_of_row(const json_t *config, json_int_t row)
{
    char key[32];
    snprintf(key, sizeof key, "%" JSON_INTEGER_FORMAT, row);
    const char *name = json_string_value(json_object_get(json_object_get(config, "id2label"), key));
    return name ? json_string(name) : json_sprintf("LABEL_%" JSON_INTEGER_FORMAT, row);
}

/* "labels" and "kind" of a task's group, from its config.json, if it has one. */
static void label_group(json_t *group, const json_t *config)
{
    json_int_t n = json_integer_value(json_object_get(group, "count"));
    json_t *labels = json_array();
    for (json_int_t i = 0; i < n; i++)
        json_array_append_new(labels, label_of_row(config, i));
    json_object_set_new(group, "labels", labels);
    emr_head_kind kind = kind_of_problem(config);
    if (kind != EMR_HEAD_KIND_SOFTMAX)
        json_object_set_new(group, "kind",
                            json_string(kind == EMR_HEAD_KIND_SIGMOID ? "sigmoid" : "identity"));
}

/* The groups that a model's metadata tell, with labels. */
static emr_status read_groups(json_t **groups, const emr_model *model, emr_model *const *tasks,
                              emr_error *error)
{
    const char *text = emr_model_find_metadata(model, EMR_HEAD_GROUPS);
    emr_status status = EMR_OK;
    *groups = text ? json_loads(text, 0, NULL) : NULL;
    if (!*groups)
        return EMR_ENOMEM;
    for (size_t i = 0; !status && i < json_array_size(*groups); i++) {
        json_t *config;
        status = configuration_load(&config, tasks[i], error);
        if (config)
            label_group(json_array_get(*groups, i), config);
        json_decref(config);
    }
    return status;
}

/* --- config.json ---------------------------------------------------------------------------------------- */

static void join_group_labels(const json_t *group, json_t *id2label, json_t *label2id)
{
    const char *task = json_string_value(json_object_get(group, "task"));
    json_int_t first = json_integer_value(json_object_get(group, "first"));
    json_int_t n = json_integer_value(json_object_get(group, "count"));
    for (json_int_t i = 0; i < n; i++) {
        json_t *label = json_array_get(json_object_get(group, "labels"), (size_t)i);
        json_t *joined = label ? json_sprintf("%s/%s", task, json_string_value(label))
                               : json_sprintf("%s/LABEL_%" JSON_INTEGER_FORMAT, task, i);
        char row[32];
        snprintf(row, sizeof row, "%" JSON_INTEGER_FORMAT, first + i);
        if (joined)
            json_object_set_new(label2id, json_string_value(joined), json_integer(first + i));
        json_object_set_new(id2label, row, joined);
    }
}

/* The kind of problem stays only where all tasks' heads are of one kind: no loss fits groups of several. */
static void join_labels(json_t *config, const json_t *groups)
{
    json_t *id2label = json_object(), *label2id = json_object();
    for (size_t i = 0; i < json_array_size(groups); i++)
        join_group_labels(json_array_get(groups, i), id2label, label2id);
    json_object_set_new(config, "num_labels", json_integer((json_int_t)json_object_size(id2label)));
    json_object_set_new(config, "id2label", id2label);
    json_object_set_new(config, "label2id", label2id);
    if (json_array_size(groups) > 1)
        json_object_del(config, "problem_type");
}

/* *text: NULL, or what the donor's config.json becomes; free it. */
static emr_status joined_configuration(char **text, const emr_model *donor, const json_t *groups,
                                       emr_error *error)
{
    json_t *config = NULL;
    emr_status status = donor ? configuration_load(&config, donor, error) : EMR_OK;
    *text = NULL;
    if (config) {
        join_labels(config, groups);
        *text = configuration_text(config);
        status = *text ? EMR_OK : EMR_ENOMEM;
    }
    json_decref(config);
    return status;
}

/* The donor's config.json with joined labels, and these groups in the metadata. */
static emr_status open_labelled(emr_model **labelled, const emr_model *model, const emr_model *donor,
                                const json_t *groups, emr_error *error)
{
    char *text, *described = json_dumps(groups, JSON_ENSURE_ASCII);
    emr_status status = joined_configuration(&text, donor, groups, error);
    if (!status)
        status = configuration_replace(labelled, model, text, error);
    if (!status)
        status =
            described ? emr_model_set_metadata(*labelled, EMR_HEAD_GROUPS, described, error) : EMR_ENOMEM;
    if (status)
        emr_model_destroy(labelled);
    free(described);
    return status;
}

static const emr_model *first_configured(emr_model *const *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (emr_model_find_tensor(tasks[i], CONFIGURATION_NAME))
            return tasks[i];
    return NULL;
}

emr_status label_heads(emr_model **labelled, const emr_model *model, emr_model *const *tasks,
                       emr_error *error)
{
    json_t *groups;
    emr_status status = read_groups(&groups, model, tasks, error);
    *labelled = NULL;
    if (!status)
        status =
            open_labelled(labelled, model, first_configured(tasks, json_array_size(groups)), groups, error);
    json_decref(groups);
    return status;
}

/* --- A merge's tasks ------------------------------------------------------------------------------------ */

/* A pattern that matches just this name. */
static char *exact_glob(const char *name)
{
    char *glob = malloc(2 * strlen(name) + 1), *end = glob;
    for (; glob && *name; name++) {
        if (strchr("*?[]\\", *name))
            *end++ = '\\';
        *end++ = *name;
    }
    if (glob)
        *end = '\0';
    return glob;
}

static emr_status list_private(struct head_views *v, const arguments *a)
{
    const char *name;
    size_t n = 0;
    while (emr_heads_tensor(v->heads, (uint32_t)n))
        n++;
    v->globs = calloc(n + a->policy.n_private_globs, sizeof *v->globs);
    if (!v->globs)
        return EMR_ENOMEM;
    v->n_borrowed = v->n_globs = a->policy.n_private_globs;
    for (uint32_t i = 0; i < v->n_borrowed; i++)
        v->globs[i] = (char *)(uintptr_t)a->policy.private_globs[i];
    for (uint32_t i = 0; (name = emr_heads_tensor(v->heads, i)); i++)
        if (!(v->globs[v->n_globs++] = exact_glob(name)))
            return EMR_ENOMEM;
    return EMR_OK;
}

static emr_status create_heads(emr_heads **heads, emr_model *const *models, const arguments *a,
                               emr_error *error)
{
    const char **names = calloc(a->n_tasks, sizeof *names);
    emr_heads_options options = {.size = sizeof options,
                                 .globs = a->head_globs,
                                 .n_globs = a->n_head_globs,
                                 .names = names,
                                 .tasks = (const emr_model *const *)models,
                                 .n_tasks = (uint32_t)a->n_tasks};
    for (size_t i = 0; names && i < a->n_tasks; i++)
        names[i] = a->tasks[i].name;
    emr_status status = names ? emr_heads_create(heads, &options, error) : EMR_ENOMEM;
    free(names);
    return status;
}

/* The groups of all tasks, before anything is made of these. */
static emr_status find_groups(json_t **groups, const merge_job *j, const arguments *a, emr_error *error)
{
    emr_heads *heads = NULL;
    emr_model *carrier = NULL;
    emr_status status = create_heads(&heads, j->models, a, error);
    if (!status)
        status = emr_model_create(&carrier, NULL, error);
    if (!status)
        status = emr_heads_set_metadata(heads, carrier, error);
    if (!status)
        status = read_groups(groups, carrier, j->models, error);
    emr_model_destroy(&carrier);
    emr_heads_destroy(&heads);
    return status;
}

/* Names come last, so that the task comes back under its own. */
static emr_status label_task(merge_job *j, const arguments *a, size_t i, const json_t *groups,
                             emr_error *error)
{
    struct head_views *v = j->heads;
    const emr_model *own = j->files[i] && !a->apply_adapters ? j->files[i] : j->models[i];
    emr_status status = open_labelled(&v->labelled[i], own, own, groups, error);
    emr_model *model = v->labelled[i], *original = NULL;
    if (!status && own != j->models[i])
        status = rename_tensors(&model, &original, a, (long)i, error);
    v->renamed[i] = original ? model : NULL;
    return status;
}

static emr_status open_head_views(merge_job *j, const arguments *a, emr_model **viewed, emr_error *error)
{
    struct head_views *v = j->heads;
    emr_model **below = calloc(a->n_tasks, sizeof(emr_model *));
    for (size_t i = 0; below && i < a->n_tasks; i++)
        below[i] = v->renamed[i] ? v->renamed[i] : v->labelled[i];
    emr_status status = below ? create_heads(&v->heads, below, a, error) : EMR_ENOMEM;
    if (!status)
        status = list_private(v, a);
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = emr_heads_open_task(v->heads, (uint32_t)i, &viewed[i], error);
    free(below);
    return status;
}

emr_status view_heads(merge_job *j, const arguments *a, emr_error *error)
{
    struct head_views *v = j->heads = calloc(1, sizeof *v);
    emr_model **viewed = calloc(a->n_tasks, sizeof(emr_model *));
    json_t *groups = NULL;
    if (v) {
        v->labelled = calloc(a->n_tasks, sizeof(emr_model *));
        v->renamed = calloc(a->n_tasks, sizeof(emr_model *));
    }
    bool has_room = v && v->labelled && v->renamed && viewed;
    emr_status status = has_room ? find_groups(&groups, j, a, error) : EMR_ENOMEM;
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = label_task(j, a, i, groups, error);
    if (!status)
        status = open_head_views(j, a, viewed, error);
    json_decref(groups);
    j->unviewed = j->models;
    j->models = viewed;
    return status;
}

void keep_heads_private(const merge_job *j, emr_policy *policy)
{
    if (!j->heads)
        return;
    policy->private_globs = (const char *const *)j->heads->globs;
    policy->n_private_globs = j->heads->n_globs;
}

static void destroy_below(emr_model **models, size_t n)
{
    for (size_t i = 0; models && i < n; i++)
        emr_model_destroy(&models[i]);
    free(models);
}

void close_heads(merge_job *j, const arguments *a)
{
    struct head_views *v = j->heads;
    if (!v)
        return;
    destroy_below(v->renamed, a->n_tasks);
    destroy_below(v->labelled, a->n_tasks);
    for (uint32_t i = v->n_borrowed; v->globs && i < v->n_globs; i++)
        free(v->globs[i]);
    emr_heads_destroy(&v->heads);
    free(v->globs);
    free(v);
    j->heads = NULL;
}
