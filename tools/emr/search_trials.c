/* search_trials.c - parameters drawn at random: each trial is all models, combined with its values. */
#define _POSIX_C_SOURCE 200809L

#include "combining.h"
#include "searching.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is varied ---- */

static emr_status take_one_varied(search_job *j, const char *name, emr_error *error)
{
    uint32_t i = find_parameter(j->method, name);
    if (i == j->method->n_parameters)
        return fail_with(error, EMR_EINVAL, NULL,
                         "--vary: %s has no parameter '%.100s' (emr combine --methods lists them)",
                         j->method->name, name);
    const emr_method_parameter *p = &j->method->parameters[i];
    if (p->is_whole || p->least > 0 || p->most < 1)
        return fail_with(error, EMR_EINVAL, NULL, "--vary: %s of %s is no number from 0 to 1", p->name,
                         j->method->name);
    for (size_t k = 0; k < j->n_varied; k++)
        if (strcmp(j->varied[k].name, p->name) == 0)
            return fail_with(error, EMR_EINVAL, NULL, "--vary: %s stands there twice", p->name);
    j->varied[j->n_varied++] = (varied_parameter){.name = p->name, .is_per_task = p->per_task != 0};
    return EMR_OK;
}

emr_status take_varied(search_job *j, emr_error *error)
{
    char *words = strdup(j->a->search.vary), *word = words;
    emr_status status = words ? EMR_OK : EMR_ENOMEM;
    j->varied = calloc(strlen(j->a->search.vary) + 1, sizeof *j->varied);
    if (!j->varied)
        status = EMR_ENOMEM;
    while (!status && word) {
        char *comma = strchr(word, ',');
        if (comma)
            *comma = '\0';
        status = take_one_varied(j, word, error);
        word = comma ? comma + 1 : NULL;
    }
    free(words);
    return status;
}

uint32_t n_varied_values(const search_job *j)
{
    uint32_t n = 0;
    for (size_t i = 0; i < j->n_varied; i++)
        n += j->varied[i].is_per_task ? (uint32_t)j->a->n_tasks : 1;
    return n;
}

/* {"density": {"math": 0.5, "code": 0.2}, "lambda": 0.7} */
static json_t *values_json(const search_job *j, const double *values)
{
    json_t *all = json_object();
    for (size_t p = 0; p < j->n_varied; p++) {
        json_t *of_tasks = j->varied[p].is_per_task ? json_object() : NULL;
        for (size_t t = 0; of_tasks && t < j->a->n_tasks; t++)
            json_object_set_new(of_tasks, j->a->tasks[t].name, json_real(*values++));
        json_object_set_new(all, j->varied[p].name, of_tasks ? of_tasks : json_real(*values++));
    }
    return all;
}

json_t *trial_values_json(const search_job *j, const emr_trial *trial)
{
    uint32_t n = n_varied_values(j);
    double *values = calloc(n, sizeof *values);
    if (!values)
        return NULL;
    emr_trial_draw(j->a->seed, trial->number, n, values);
    json_t *json = values_json(j, values);
    free(values);
    return json;
}

/* ---- one trial ---- */

typedef char trial_name[32];

static const char *name_of_trial(uint32_t number, trial_name name)
{
    snprintf(name, sizeof(trial_name), "trial-%u", number);
    return name;
}

static emr_status make_trial(search_job *j, const emr_trial *trial, const char *name, emr_error *error)
{
    emr_combination *combination = NULL;
    if (has_candidate(j, name))
        return EMR_OK;
    emr_status status = open_trial(&combination, j, trial->values, error);
    if (!status)
        status = write_candidate(j, combination, name, error);
    emr_combination_destroy(&combination);
    return status;
}

static emr_status score_trial(search_job *j, const emr_trial *trial, const char *name, double *score,
                              emr_error *error)
{
    emr_status status = make_trial(j, trial, name, error);
    if (status)
        return keep_failure(j, status, error);
    char *path = candidate_path(j, name);
    status = path ? score_by_commands(j, name, path,
                                      json_pack("{s:s, s:i, s:o}", "name", name, "trial", (int)trial->number,
                                                "values", values_json(j, trial->values)),
                                      score)
                  : EMR_ENOMEM;
    free(path);
    return status;
}

/* Of two models one is deleted: the one before, if this is better, or this one. */
static void keep_better(search_job *j, const emr_trial *trial, double score)
{
    trial_name name;
    emr_trial *best = &j->best_trial;
    bool wins = isfinite(score) &&
                (!best->number || (j->a->search.minimise ? score < best->score : score > best->score));
    uint32_t loser = wins ? best->number : trial->number;
    if (wins)
        *best = (emr_trial){.size = sizeof *best, .score = score, .number = trial->number};
    if (loser && !j->a->search.keep_all)
        delete_candidate(j, name_of_trial(loser, name));
}

static emr_status try_values(void *user, const emr_trial *trial, double *score, emr_error *error)
{
    search_job *j = user;
    trial_name name;
    name_of_trial(trial->number, name);
    emr_status status = score_by_log(j, name, score) ? EMR_OK : score_trial(j, trial, name, score, error);
    if (!status)
        keep_better(j, trial, *score);
    return status;
}

/* ---- the search ---- */

/* A run that was cut off may have deleted it. */
static emr_status ensure_best(search_job *j, emr_error *error)
{
    trial_name name;
    emr_trial best = j->best_trial;
    uint32_t n = n_varied_values(j);
    double *values = calloc(n, sizeof *values);
    if (!values)
        return EMR_ENOMEM;
    emr_trial_draw(j->a->seed, best.number, n, values);
    best.values = values;
    emr_status status = make_trial(j, &best, name_of_trial(best.number, name), error);
    free(values);
    return status;
}

emr_status search_by_trials(search_job *j, emr_error *error)
{
    const emr_trials_options options = {.size = sizeof options,
                                        .user = j,
                                        .evaluate = try_values,
                                        .seed = j->a->seed,
                                        .n_trials = j->a->search.trials,
                                        .n_values = n_varied_values(j),
                                        .minimise = j->a->search.minimise};
    emr_trial best = EMR_INIT(emr_trial);
    trial_name name;
    emr_status status = emr_trials_run(&options, &best, error);
    if (!status) {
        j->best_trial = best;
        status = ensure_best(j, error);
    }
    return status ? status
                  : log_end(j->log,
                            json_pack("{s:s, s:i, s:s, s:f}", "end", "trials", "trials",
                                      (int)j->a->search.trials, "best", name_of_trial(best.number, name),
                                      "score", best.score),
                            error);
}
