/* search_greedy.c - greedy merging over checkpoints: what the library asks for. A candidate is made when its score is
 * not known, or something that is not known depends on it; the same one comes out each time. */
#include "searching.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static emr_search_candidate candidate_of(const search_job *j, uint32_t number)
{
    emr_search_candidate c = EMR_INIT(emr_search_candidate);
    emr_search_get_candidate(j->search, number, &c);
    return c;
}

/* ---- models by number ---- */

static bool is_given(const search_job *j, uint32_t number)
{
    return number < j->a->n_tasks;
}

static emr_model **open_place(search_job *j, uint32_t number)
{
    size_t i = number - j->a->n_tasks;
    if (i >= j->n_candidates) {
        size_t n = 2 * i + 16;
        emr_model **candidates = realloc(j->candidates, n * sizeof *candidates);
        if (!candidates)
            return NULL;
        memset(candidates + j->n_candidates, 0, (n - j->n_candidates) * sizeof *candidates);
        j->candidates = candidates;
        j->n_candidates = n;
    }
    return &j->candidates[i];
}

static emr_status open_number(search_job *j, uint32_t number, const emr_model **model, emr_error *error);

static emr_status make_number(search_job *j, const emr_search_candidate *c, emr_error *error)
{
    const uint32_t numbers[2] = {c->first, c->second};
    const char *names[2];
    const emr_model *models[2];
    emr_combination *combination = NULL;
    emr_status status = EMR_OK;
    for (int i = 0; !status && i < 2; i++) {
        status = open_number(j, numbers[i], &models[i], error);
        names[i] = candidate_of(j, numbers[i]).name;
    }
    if (!status)
        status = open_pair(&combination, j, names, models, error);
    if (!status)
        status = write_candidate(j, combination, c->name, error);
    emr_combination_destroy(&combination);
    return status;
}

/* Makes it, and what it is made of, where it is not there. */
static emr_status ensure_number(search_job *j, uint32_t number, emr_error *error)
{
    emr_search_candidate c = candidate_of(j, number);
    return is_given(j, number) || has_candidate(j, c.name) ? EMR_OK : make_number(j, &c, error);
}

static emr_status open_number(search_job *j, uint32_t number, const emr_model **model, emr_error *error)
{
    emr_model **place = is_given(j, number) ? &j->inputs.models[number] : open_place(j, number);
    emr_status status = place ? EMR_OK : EMR_ENOMEM;
    if (!status && !*place)
        status = ensure_number(j, number, error);
    if (!status && !*place) {
        char *path = candidate_path(j, candidate_of(j, number).name);
        emr_model *opened = NULL;
        status = path ? open_task(&opened, path, j->a, error) : EMR_ENOMEM;
        free(path);
        *open_place(j, number) = opened; /* what it is made of may have moved the others */
        place = open_place(j, number);
    }
    *model = status ? NULL : *place;
    return status;
}

static void close_number(search_job *j, uint32_t number)
{
    size_t i = number - j->a->n_tasks;
    if (i < j->n_candidates)
        emr_model_destroy(&j->candidates[i]);
}

/* ---- callbacks ---- */

/* Candidates are made when something is asked about them. */
static emr_status merge_later(void *user, const emr_search_candidate *candidate, emr_error *error)
{
    (void)candidate;
    search_job *j = user;
    return interrupted ? keep_failure(j, emr_error_set(error, EMR_ECANCELED, 0, NULL, "interrupted"), error)
                       : EMR_OK;
}

static json_t *candidate_facts(const search_job *j, const emr_search_candidate *c)
{
    json_t *facts = json_pack("{s:s, s:i}", "name", c->name, "generation", (int)c->generation);
    if (!facts || !c->generation)
        return facts;
    json_object_set_new(facts, "parents",
                        json_pack("[s, s]", candidate_of(j, c->first).name, candidate_of(j, c->second).name));
    json_object_set_new(facts, "kinship", score_json(c->kinship));
    return facts;
}

static emr_status score_candidate(void *user, const emr_search_candidate *c, double *score, emr_error *error)
{
    search_job *j = user;
    if (score_by_log(j, c->name, score))
        return EMR_OK;
    emr_status status = ensure_number(j, c->number, error);
    if (status)
        return keep_failure(j, status, error);
    char *path = is_given(j, c->number) ? NULL : candidate_path(j, c->name);
    const char *place = is_given(j, c->number) ? j->a->tasks[c->number].path : path;
    status = place ? score_by_commands(j, c->name, place, candidate_facts(j, c), score) : EMR_ENOMEM;
    free(path);
    return status;
}

/* A similarity of every two, which grows with likeness. */
static emr_status compare_models(const search_job *j, const char *const *names,
                                 const emr_model *const *models, size_t n, double *matrix, emr_error *error)
{
    const emr_statistics_options options = {.size = sizeof options,
                                            .resources = &j->inputs.session.resources,
                                            .policy = &j->a->policy,
                                            .without_tensors = 1,
                                            .on_nonfinite = j->a->merge.on_nonfinite};
    const emr_kinship_options metric = {.size = sizeof metric, .metric = j->a->search.metric};
    emr_statistics_group group = EMR_INIT(emr_statistics_group);
    emr_statistics *s = NULL;
    emr_status status = emr_statistics_create(&s, &options, error);
    if (!status)
        status = emr_statistics_set_base(s, j->inputs.base, error);
    for (size_t i = 0; !status && i < n; i++)
        status = emr_statistics_add_task(s, names[i], models[i], error);
    if (!status)
        status = emr_statistics_run(s, error);
    if (!status)
        status = emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, &group);
    if (!status)
        status = emr_kinship(&group, &metric, matrix, error);
    emr_statistics_destroy(&s);
    for (size_t i = 0; !status && i < n * n; i++)
        matrix[i] = j->a->search.metric == EMR_KINSHIP_METRIC_EUCLID ? -matrix[i] : matrix[i];
    return status;
}

/* All given models at once: one reading of them instead of one a pair. */
static emr_status compare_given(search_job *j, emr_error *error)
{
    size_t n = j->a->n_tasks;
    double *matrix = calloc(n * n, sizeof *matrix);
    const char **names = calloc(n, sizeof *names);
    emr_status status = matrix && names ? EMR_OK : EMR_ENOMEM;
    for (size_t i = 0; !status && i < n; i++)
        names[i] = j->a->tasks[i].name;
    if (!status)
        status = compare_models(j, names, (const emr_model *const *)j->inputs.models, n, matrix, error);
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; !status && k < n; k++)
            status = log_kinship(j->log, names[i], names[k], matrix[i * n + k], error);
    free(matrix);
    free(names);
    return status;
}

static emr_status compare_pair(search_job *j, uint32_t a, uint32_t b, double *similarity, emr_error *error)
{
    const emr_model *models[2];
    const char *const names[2] = {candidate_of(j, a).name, candidate_of(j, b).name};
    double matrix[4];
    emr_status status = open_number(j, a, &models[0], error);
    if (!status)
        status = open_number(j, b, &models[1], error);
    if (!status)
        status = compare_models(j, names, models, 2, matrix, error);
    if (!status)
        status = log_kinship(j->log, names[0], names[1], matrix[1], error);
    *similarity = status ? (double)NAN : matrix[1];
    return status;
}

static emr_status tell_similarity(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error)
{
    search_job *j = user;
    const char *x = candidate_of(j, a).name, *y = candidate_of(j, b).name;
    emr_status status = EMR_OK;
    if (find_logged_kinship(j->log, x, y, similarity))
        return EMR_OK;
    if (is_given(j, a) && is_given(j, b)) {
        status = compare_given(j, error);
        if (!status)
            find_logged_kinship(j->log, x, y, similarity);
    } else {
        status = compare_pair(j, a, b, similarity, error);
    }
    return keep_failure(j, status, error);
}

static void release_candidate(void *user, uint32_t number)
{
    search_job *j = user;
    close_number(j, number);
    if (!j->a->search.keep_all)
        delete_candidate(j, candidate_of(j, number).name);
}

/* ---- the search ---- */

static emr_status create_search(search_job *j, emr_error *error)
{
    const search_arguments *s = &j->a->search;
    const emr_search_options options = {
        .size = sizeof options,
        .stop_kinship = s->metric == EMR_KINSHIP_METRIC_EUCLID ? -s->stop_kinship : s->stop_kinship,
        .use_stop_kinship = s->has_stop_kinship,
        .k = s->k,
        .partner = s->partner,
        .pool = s->pool,
        .max_generations = s->generations,
        .minimise = s->minimise};
    emr_status status = emr_search_create(&j->search, &options, error);
    for (size_t i = 0; !status && i < j->a->n_tasks; i++)
        status = emr_search_add_model(j->search, j->a->tasks[i].name, error);
    return status;
}

/* In the end the best one stays. */
static emr_status keep_best(search_job *j, const emr_search_result *result, emr_error *error)
{
    emr_status status = ensure_number(j, result->best, error);
    for (uint32_t i = (uint32_t)j->a->n_tasks; !status && !j->a->search.keep_all && i < result->n_models;
         i++) {
        close_number(j, i);
        if (i != result->best)
            delete_candidate(j, candidate_of(j, i).name);
    }
    return status;
}

static const char *const end_words[] = {"?", "steady", "kinship", "generations"};

emr_status search_greedily(search_job *j, emr_error *error)
{
    const emr_search_host host = {.size = sizeof host,
                                  .user = j,
                                  .merge = merge_later,
                                  .evaluate = score_candidate,
                                  .similarity = j->inputs.base ? tell_similarity : NULL,
                                  .release = release_candidate};
    emr_search_result result = EMR_INIT(emr_search_result);
    emr_status status = create_search(j, error);
    if (!status)
        status = emr_search_run(j->search, &host, error);
    if (!status)
        status = emr_search_get_result(j->search, &result);
    if (!status)
        status = keep_best(j, &result, error);
    if (!status)
        status = log_end(j->log,
                         json_pack("{s:s, s:i, s:s, s:f}", "end", end_words[result.end], "generations",
                                   (int)result.generation, "best", candidate_of(j, result.best).name, "score",
                                   result.score),
                         error);
    return status;
}
