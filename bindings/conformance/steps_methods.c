/* steps_methods.c - one model out of many: combinations, statistics, searches, heads. */
#include "steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void destroy_combination(void *handle)
{
    emr_combination *combination = handle;
    emr_combination_destroy(&combination);
}

static emr_status set_parameter(emr_combination *c, const json_t *tasks, const json_t *parameter,
                                emr_error *error)
{
    const char *name = json_string_value(json_array_get(parameter, 0));
    const char *task = json_string_value(json_array_get(parameter, 2));
    uint32_t number = !task ? EMR_EVERY_TASK : !*task ? EMR_BASE : (uint32_t)json_array_size(tasks);
    const json_t *one;
    size_t i;
    json_array_foreach(tasks, i, one) if (task && *task && !strcmp(need_task_name(one), task)) number =
        (uint32_t)i;
    return emr_combination_set_parameter(c, name, number, json_string_value(json_array_get(parameter, 3)),
                                         value_of(json_array_get(parameter, 1)), error);
}

static emr_status set_up_combination(world *w, const json_t *step, emr_combination **c, emr_error *error)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_resources resources = w->resources;
    const json_t *tasks = need_array(step, "tasks"), *value;
    size_t i;
    resources.memory_bytes = get_number(step, "memory");
    options.resources = &resources;
    options.method = emr_method_find(need_text(step, "method"));
    options.policy = get_policy(w, step);
    options.head_globs = get_texts(w, step, "heads", &options.n_head_globs);
    options.combine_heads = get_flag(step, "combine_heads");
    options.seed = get_number(step, "seed");
    options.dtype = get_dtype(step, "dtype");
    options.on_nonfinite = get_word(step, "on_nonfinite", nonfinite_words);
    TRY(emr_combination_create(c, &options, error));
    keep_object(w, KIND_NONE, NULL, *c, destroy_combination);
    if (json_object_get(step, "base"))
        TRY(emr_combination_set_base(*c, need_model(w, step, "base"), error));
    json_array_foreach(tasks, i, value)
        TRY(emr_combination_add_task(*c, need_task_name(value), need_task_model(w, value), error));
    json_array_foreach(json_object_get(step, "parameters"), i, value)
        TRY(set_parameter(*c, tasks, value, error));
    return EMR_OK;
}

static emr_status combine_models(world *w, const json_t *step, json_t *result, emr_error *error)
{
    static const char *const actions[] = {"", "combine", "copy", "head"};
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    json_t *tensors = json_array();
    emr_combination *c;
    emr_model *model;
    json_object_set_new(result, "tensors", tensors);
    TRY(set_up_combination(w, step, &c, error));
    TRY(emr_combination_get_plan(c, &plan, error));
    for (uint32_t i = 0; i < plan.n_tensors; i++) {
        emr_combined_tensor t = EMR_INIT(emr_combined_tensor);
        TRY(emr_combination_get_tensor(c, i, &t));
        json_array_append_new(tensors, json_pack("[sssii]", t.name, actions[t.action], t.reason,
                                                 (int)t.n_reads, (int)t.n_inputs));
    }
    TRY(emr_combination_open_model(c, &model, error));
    keep_model(w, need_text(step, "model"), model);
    return EMR_OK;
}

static emr_status tell_methods(world *w, const json_t *step, json_t *result, emr_error *error)
{
    static const char *const bases[] = {"input", "required", "optional", "beside"};
    json_t *methods = json_array();
    (void)w, (void)step, (void)error;
    json_object_set_new(result, "methods", methods);
    for (uint32_t i = 0; emr_method_at(i); i++) {
        const emr_method *m = emr_method_at(i);
        json_t *parameters = json_array();
        for (uint32_t p = 0; p < m->n_parameters; p++) {
            const emr_method_parameter *q = &m->parameters[p];
            json_array_append_new(parameters,
                                  json_pack("[soooii]", q->name, real_of(q->initial), real_of(q->least),
                                            real_of(q->most), (int)q->per_task, (int)q->is_whole));
        }
        json_array_append_new(methods, json_pack("[sso]", m->name, bases[m->base], parameters));
    }
    return EMR_OK;
}

static void destroy_statistics(void *handle)
{
    emr_statistics *statistics = handle;
    emr_statistics_destroy(&statistics);
}

static json_t *reals_of(const double *values, size_t n)
{
    json_t *array = values ? json_array() : json_null();
    for (size_t i = 0; values && i < n; i++)
        json_array_append_new(array, real_of(values[i]));
    return array;
}

static json_t *wholes_of(const uint64_t *values, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_integer((json_int_t)values[i]));
    return array;
}

static json_t *group_of(const emr_statistics_group *g)
{
    size_t n = g->n_tasks;
    return json_pack("[sIIIIooooooooooo]", g->name, (json_int_t)g->layer, (json_int_t)g->count,
                     (json_int_t)g->conflicts, (json_int_t)g->unchanged, reals_of(g->products, n * n),
                     reals_of(g->distances, n * n), reals_of(g->sums, n), reals_of(g->magnitudes, n),
                     reals_of(g->fourths, n), reals_of(g->largest, n),
                     reals_of(g->quantiles, n * g->n_quantiles), wholes_of(g->zeros, n),
                     wholes_of(g->nonfinite, n), wholes_of(g->same_signs, n * n), wholes_of(g->both, n * n));
}

static emr_status tell_groups(const emr_statistics *s, json_t *result)
{
    static const char *const scopes[] = {"model", "tensors", "layers", "kinds"};
    for (uint32_t scope = 0; scope < 4; scope++) {
        json_t *groups = json_array();
        json_object_set_new(result, scopes[scope], groups);
        for (uint32_t i = 0; i < emr_statistics_n_groups(s, scope); i++) {
            emr_statistics_group group = EMR_INIT(emr_statistics_group);
            TRY(emr_statistics_get_group(s, scope, i, &group));
            json_array_append_new(groups, group_of(&group));
        }
    }
    return EMR_OK;
}

static emr_status tell_kinship(const emr_statistics *s, json_t *result, emr_error *error)
{
    static const char *const names[] = {"pearson", "cosine", "euclid", "absolute"};
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    double matrix[64];
    TRY(emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, &g));
    size_t n = g.n_tasks;
    for (uint32_t i = 0; i < 4; i++) {
        emr_kinship_options options = EMR_INIT(emr_kinship_options);
        options.metric = i == 3 ? EMR_KINSHIP_METRIC_COSINE : i;
        options.absolute = i == 3;
        TRY(emr_kinship(&g, &options, matrix, error));
        json_object_set_new(result, names[i], reals_of(matrix, n * n));
        if (i == EMR_KINSHIP_METRIC_PEARSON)
            json_object_set_new(result, "mean", real_of(emr_kinship_mean(matrix, g.n_tasks)));
    }
    TRY(emr_statistics_split_kinship(s, NULL, matrix, error));
    json_object_set_new(result, "split", reals_of(matrix, n * n));
    return EMR_OK;
}

static emr_status tell_moments(const emr_statistics *s, json_t *result)
{
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    emr_task_moments m = EMR_INIT(emr_task_moments);
    json_t *moments = json_array();
    json_object_set_new(result, "moments", moments);
    TRY(emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, &g));
    for (uint32_t i = 0; !emr_statistics_get_moments(&g, i, &m); i++) {
        const double values[] = {m.norm, m.mean, m.mean_magnitude, m.deviation, m.kurtosis, m.zero_share};
        json_array_append_new(moments, reals_of(values, 6));
    }
    return EMR_OK;
}

static emr_status measure_tasks(world *w, const json_t *step, json_t *result, emr_error *error)
{
    static const char *const roundings[] = {"none", "per_model", "per_tensor", NULL};
    emr_statistics_options options = EMR_INIT(emr_statistics_options);
    const json_t *fractions = json_object_get(step, "quantiles"), *task;
    double *quantiles = new_memory(w, json_array_size(fractions) * sizeof *quantiles);
    emr_statistics *s;
    size_t i;
    for (i = 0; i < json_array_size(fractions); i++)
        quantiles[i] = value_of(json_array_get(fractions, i));
    options.resources = &w->resources;
    options.policy = get_policy(w, step);
    options.quantiles = quantiles;
    options.n_quantiles = (uint32_t)json_array_size(fractions);
    options.max_rows = get_number(step, "max_rows");
    options.skip_missing = get_flag(step, "skip_missing");
    options.rounding = get_word(step, "rounding", roundings);
    options.on_nonfinite = get_word(step, "on_nonfinite", nonfinite_words);
    TRY(emr_statistics_create(&s, &options, error));
    keep_object(w, KIND_NONE, NULL, s, destroy_statistics);
    TRY(emr_statistics_set_base(s, need_model(w, step, "base"), error));
    json_array_foreach(need_array(step, "tasks"), i, task)
        TRY(emr_statistics_add_task(s, need_task_name(task), need_task_model(w, task), error));
    TRY(emr_statistics_run(s, error));
    TRY(tell_groups(s, result));
    TRY(tell_moments(s, result));
    return tell_kinship(s, result, error);
}

typedef struct scripted {
    const json_t *given;
    double scores[1000];
    json_t *released;
} scripted;

static emr_status merge_scripted(void *user, const emr_search_candidate *candidate, emr_error *error)
{
    (void)user, (void)candidate, (void)error;
    return EMR_OK;
}

static emr_status score_scripted(void *user, const emr_search_candidate *c, double *score, emr_error *error)
{
    scripted *s = user;
    const json_t *given = json_object_get(s->given, c->name);
    (void)error;
    if (given)
        *score = value_of(given);
    else
        *score = (s->scores[c->first] + s->scores[c->second]) * 0.5 + (double)c->generation / 16;
    s->scores[c->number] = *score;
    return EMR_OK;
}

static emr_status compare_scripted(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error)
{
    const scripted *s = user;
    (void)error;
    *similarity = 1 / (1 + fabs(s->scores[a] - s->scores[b]));
    return EMR_OK;
}

static void release_scripted(void *user, uint32_t number)
{
    json_array_append_new(((scripted *)user)->released, json_integer(number));
}

static void destroy_search(void *handle)
{
    emr_search *search = handle;
    emr_search_destroy(&search);
}

static emr_status tell_search(const emr_search *search, json_t *result)
{
    emr_search_result r = EMR_INIT(emr_search_result);
    emr_search_candidate c = EMR_INIT(emr_search_candidate);
    json_t *candidates = json_array();
    json_object_set_new(result, "candidates", candidates);
    for (uint32_t i = 0; !emr_search_get_candidate(search, i, &c); i++)
        json_array_append_new(candidates, json_pack("[sooiii]", c.name, real_of(c.score), real_of(c.kinship),
                                                    (int)c.generation, (int)c.first, (int)c.second));
    TRY(emr_search_get_result(search, &r));
    TRY(emr_search_get_candidate(search, r.best, &c));
    json_object_set_new(result, "best", json_string(c.name));
    json_object_set_new(result, "score", real_of(r.score));
    json_object_set_new(result, "kinship", real_of(r.kinship));
    json_object_set_new(result, "end", json_integer(r.end));
    json_object_set_new(result, "generation", json_integer(r.generation));
    json_object_set_new(result, "n_scored", json_integer(r.n_scored));
    return EMR_OK;
}

static emr_status run_search(world *w, const json_t *step, json_t *result, emr_error *error)
{
    static const char *const partners[] = {"lowest", "highest", "none", NULL};
    static const char *const pools[] = {"all", "top", "last", NULL};
    emr_search_options options = EMR_INIT(emr_search_options);
    emr_search_host host = EMR_INIT(emr_search_host);
    scripted *script = new_memory(w, sizeof *script);
    emr_search *search;
    uint32_t n;
    const char *const *names = get_texts(w, step, "models", &n);
    options.k = get_count(step, "k");
    options.partner = get_word(step, "partner", partners);
    options.pool = get_word(step, "pool", pools);
    options.max_generations = get_count(step, "max_generations");
    options.use_stop_kinship = json_object_get(step, "stop_kinship") != NULL;
    options.stop_kinship = get_real(step, "stop_kinship");
    options.minimise = get_flag(step, "minimise");
    TRY(emr_search_create(&search, &options, error));
    keep_object(w, KIND_NONE, NULL, search, destroy_search);
    for (uint32_t i = 0; i < n; i++)
        TRY(emr_search_add_model(search, names[i], error));
    *script = (scripted){.given = json_object_get(step, "scores"), .released = json_array()};
    json_object_set_new(result, "released", script->released);
    host.user = script;
    host.merge = merge_scripted;
    host.evaluate = score_scripted;
    host.similarity = compare_scripted;
    host.release = release_scripted;
    TRY(emr_search_run(search, &host, error));
    return tell_search(search, result);
}

static emr_status score_trial(void *user, const emr_trial *trial, double *score, emr_error *error)
{
    (void)user, (void)error;
    *score = 0;
    for (uint32_t i = 0; i < trial->n_values; i++)
        *score += fabs(trial->values[i] - 0.5);
    return EMR_OK;
}

static emr_status run_trials(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_trials_options options = EMR_INIT(emr_trials_options);
    emr_trial best = EMR_INIT(emr_trial);
    options.evaluate = score_trial;
    options.seed = get_number(step, "seed");
    options.n_trials = get_count(step, "n_trials");
    options.n_values = get_count(step, "n_values");
    options.minimise = get_flag(step, "minimise");
    double *values = new_memory(w, options.n_values * sizeof *values);
    TRY(emr_trials_run(&options, &best, error));
    emr_trial_draw(options.seed, best.number, options.n_values, values);
    json_object_set_new(result, "number", json_integer(best.number));
    json_object_set_new(result, "score", real_of(best.score));
    json_object_set_new(result, "values", reals_of(values, options.n_values));
    return EMR_OK;
}

static void destroy_heads(void *handle)
{
    emr_heads *heads = handle;
    emr_heads_destroy(&heads);
}

static const char *const head_words[] = {"softmax", "sigmoid", "identity", NULL};

static uint32_t head_kind(const json_t *word)
{
    json_t *one = json_pack("{sO}", "kind", word);
    uint32_t kind = get_word(one, "kind", head_words);
    json_decref(one);
    return kind;
}

static void describe_heads(world *w, const json_t *step, emr_heads_options *options)
{
    json_t *tasks = need_array(step, "tasks"), *kinds = json_object_get(step, "kinds"), *task;
    options->n_tasks = (uint32_t)json_array_size(tasks);
    options->globs = get_texts(w, step, "globs", &options->n_globs);
    const char **names = new_memory(w, options->n_tasks * sizeof *names);
    const emr_model **models = new_memory(w, options->n_tasks * sizeof *models);
    emr_head_kind *k = new_memory(w, options->n_tasks * sizeof *k);
    size_t i;
    json_array_foreach(tasks, i, task)
    {
        names[i] = need_task_name(task);
        models[i] = need_task_model(w, task);
        k[i] = kinds ? head_kind(json_array_get(kinds, i)) : 0;
    }
    options->names = names;
    options->tasks = models;
    options->kinds = kinds ? k : NULL;
}

static void tell_heads(const emr_heads *heads, json_t *result)
{
    emr_head_group g = EMR_INIT(emr_head_group);
    json_t *names = json_array(), *groups = json_array();
    for (uint32_t i = 0; emr_heads_tensor(heads, i); i++)
        json_array_append_new(names, json_string(emr_heads_tensor(heads, i)));
    for (uint32_t i = 0; !emr_heads_get_group(heads, i, &g); i++)
        json_array_append_new(groups, json_pack("[sIIs]", g.task, (json_int_t)g.first, (json_int_t)g.count,
                                                head_words[g.kind]));
    json_object_set_new(result, "n_rows", json_integer((json_int_t)emr_heads_n_rows(heads)));
    json_object_set_new(result, "heads", names);
    json_object_set_new(result, "groups", groups);
}

static void keep_view(world *w, const json_t *step, const char *view, emr_model *model)
{
    char name[600];
    snprintf(name, sizeof name, "%s/%s", need_text(step, "heads"), view);
    keep_model(w, name, model);
}

static emr_status use_heads(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_heads_options options = EMR_INIT(emr_heads_options);
    emr_heads *heads;
    emr_model *model;
    describe_heads(w, step, &options);
    TRY(emr_heads_create(&heads, &options, error));
    keep_object(w, KIND_NONE, NULL, heads, destroy_heads);
    for (uint32_t i = 0; i < options.n_tasks; i++) {
        TRY(emr_heads_open_task(heads, i, &model, error));
        keep_view(w, step, options.names[i], model);
    }
    if (json_object_get(step, "base")) {
        TRY(emr_heads_open_base(heads, need_model(w, step, "base"), &model, error));
        keep_view(w, step, "base", model);
    }
    TRY(emr_heads_open_joined(heads, get_dtype(step, "dtype"), &model, error));
    keep_view(w, step, "joined", model);
    TRY(emr_heads_set_metadata(heads, model, error));
    tell_heads(heads, result);
    return EMR_OK;
}

static emr_status soften_logits(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const json_t *logits = need_array(step, "logits"), *list = need_array(step, "groups"), *group;
    size_t n = json_array_size(logits), i;
    float *values = new_memory(w, n * sizeof *values);
    emr_head_group *groups = new_memory(w, json_array_size(list) * sizeof *groups);
    json_t *out = json_array();
    (void)error;
    for (i = 0; i < n; i++)
        values[i] = (float)value_of(json_array_get(logits, i));
    json_array_foreach(list, i, group)
    {
        groups[i].size = sizeof *groups;
        groups[i].first = (uint64_t)json_integer_value(json_array_get(group, 0));
        groups[i].count = (uint64_t)json_integer_value(json_array_get(group, 1));
        groups[i].kind = head_kind(json_array_get(group, 2));
    }
    json_object_set_new(result, "out", out);
    TRY(emr_group_softmax(values, (size_t)get_number(step, "rows"), (size_t)get_number(step, "stride"),
                          groups, json_array_size(list), values));
    for (i = 0; i < n; i++)
        json_array_append_new(out, real_of((double)values[i]));
    return EMR_OK;
}

const step_kind method_steps[] = {
    {"combine",
     "model method tasks base parameters dtype seed on_nonfinite policy heads combine_heads memory",
     combine_models},
    {"methods", "", tell_methods},
    {"statistics", "base tasks quantiles max_rows skip_missing rounding on_nonfinite policy", measure_tasks},
    {"search", "models scores k partner pool max_generations stop_kinship minimise", run_search},
    {"trials", "n_trials n_values seed minimise", run_trials},
    {"heads", "heads globs tasks base kinds dtype", use_heads},
    {"softmax", "logits rows stride groups", soften_logits},
    {NULL, NULL, NULL},
};
