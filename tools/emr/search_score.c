/* search_score.c - a model's score: from the log, or from the commands of --evaluate. */
#include "evaluation.h"
#include "searching.h"

#include <math.h>
#include <string.h>

emr_status keep_failure(search_job *j, emr_status status, emr_error *error)
{
    if (status && !j->failed) {
        j->failed = status;
        j->error = *error;
    }
    return status;
}

bool score_by_log(search_job *j, const char *name, double *score)
{
    const json_t *entry = find_logged(j->log, name), *value = json_object_get(entry, "score");
    if (!entry)
        return false;
    *score = json_is_number(value) ? json_number_value(value) : (double)NAN;
    j->n_known++;
    j->n_failed += isfinite(*score) ? 0 : 1;
    print_scored(j, name, entry, true);
    return true;
}

/* Whether a command that gave no score is the end of the search. */
static emr_status judge_failure(const search_job *j, const char *name, const char *command,
                                const evaluation *e, emr_error *error)
{
    if (e->is_missing)
        return fail_with(error, EMR_EINVAL, NULL, "--evaluate: the shell cannot run '%.200s' (%s)", command,
                         e->why);
    if (j->a->search.on_failure == SEARCH_FAILURE_STOP)
        return fail_with(error, EMR_EFORMAT, NULL, "model '%.255s' was not scored by '%.100s': %s", name,
                         command, e->why);
    return EMR_OK;
}

/* The mean of what the commands say. */
static emr_status run_commands(search_job *j, const char *name, const char *path, evaluation *mean,
                               emr_error *error)
{
    const search_arguments *s = &j->a->search;
    emr_status status = EMR_OK;
    double sum = 0, seconds = 0;
    size_t i = 0;
    for (*mean = (evaluation){.score = 0}; !status && i < s->n_evaluate && isfinite(mean->score); i++) {
        status = run_evaluation(mean, s->evaluate[i], path, s->timeout, error);
        sum += mean->score;
        seconds += mean->seconds;
    }
    if (!status && i && !isfinite(mean->score))
        status = judge_failure(j, name, s->evaluate[i - 1], mean, error);
    mean->score = sum / (double)s->n_evaluate;
    mean->seconds = seconds;
    if (!status && !isfinite(mean->score) && !*mean->why)
        snprintf(mean->why, sizeof mean->why, "the mean of the scores is no number");
    return status;
}

emr_status score_by_commands(search_job *j, const char *name, const char *path, json_t *facts, double *score)
{
    evaluation e;
    emr_error error = {.text = ""};
    emr_status status = EMR_OK;
    *score = (double)NAN;
    if (interrupted)
        status = emr_error_set(&error, EMR_ECANCELED, 0, NULL, "interrupted");
    if (!status)
        status = run_commands(j, name, path, &e, &error);
    if (!status &&
        (!facts || json_object_set_new(facts, "score", score_json(e.score)) ||
         json_object_set_new(facts, "milliseconds", json_integer((json_int_t)(e.seconds * 1000))) ||
         (*e.why && json_object_set_new(facts, "failure", text_json(e.why)))))
        status = EMR_ENOMEM;
    if (status) {
        json_decref(facts);
        return keep_failure(j, status, &error);
    }
    j->n_scored++;
    j->n_failed += isfinite(e.score) ? 0 : 1;
    *score = e.score;
    json_incref(facts);
    status = log_score(j->log, facts, &error);
    if (!status)
        print_scored(j, name, facts, false);
    json_decref(facts);
    return keep_failure(j, status, &error);
}
