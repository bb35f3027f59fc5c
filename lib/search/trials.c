/* trials.c - values drawn at random for a method's parameters, and the trial that scores best (emr/search.h). */
#include "emr/search.h"

#include "core/memory.h"
#include "core/structs.h"
#include "numeric/philox.h"
#include "search/score.h"

enum { TRIALS_DEFAULT = 500, TRIAL_PURPOSE = 0x54524d45 /* "EMRT" */ };

void emr_trial_draw(uint64_t seed, uint32_t number, size_t n, double *values)
{
    for (size_t i = 0; i < n; i += 4) {
        const uint32_t counter[4] = {(uint32_t)(i / 4), number, TRIAL_PURPOSE, 0};
        uint32_t words[4];
        emr_philox(counter, seed, words);
        for (size_t k = 0; k < 4 && i + k < n; k++)
            values[i + k] = ((double)words[k] + 1) / 4294967296.0;
    }
}

static emr_status check_trials(emr_trials_options *o, emr_error *error)
{
    if (!o->evaluate)
        return emr_fail(error, EMR_EINVAL, "emr_trials_run: evaluate is needed");
    if (!o->n_values)
        return emr_fail(error, EMR_EINVAL, "emr_trials_run: n_values is 0: there is nothing to try");
    if (!o->n_trials)
        o->n_trials = TRIALS_DEFAULT;
    return EMR_OK;
}

static bool beats_trial(const emr_trials_options *o, double score, const emr_trial *best)
{
    if (!emr_is_score(score))
        return false;
    return !best->number || (o->minimise ? score < best->score : score > best->score);
}

static emr_status run_trials(const emr_trials_options *o, double *values, emr_trial *best, emr_error *error)
{
    for (uint32_t i = 0; i < o->n_trials; i++) {
        emr_trial trial = {.size = sizeof trial,
                           .values = values,
                           .score = emr_no_score(),
                           .number = i + 1,
                           .n_values = o->n_values};
        emr_error why = {.text = ""};
        double score = emr_no_score();
        emr_trial_draw(o->seed, trial.number, o->n_values, values);
        emr_status status = o->evaluate(o->user, &trial, &score, &why);
        if (status)
            return emr_fail_because(error, emr_callback_status(status, EMR_EIO), &why, "trial %u failed",
                                    (uint64_t)trial.number);
        if (!beats_trial(o, score, best))
            continue;
        *best = trial;
        best->score = score;
        best->values = NULL;
    }
    return best->number ? EMR_OK : emr_fail(error, EMR_ENOTFOUND, "no trial has a score");
}

emr_status emr_trials_run(const emr_trials_options *given, emr_trial *best, emr_error *error)
{
    emr_trials_options options;
    emr_allocator allocator;
    emr_trial found = {.size = sizeof found};
    if (!given || !best)
        return emr_fail(error, EMR_EINVAL, "emr_trials_run: NULL");
    emr_status status = EMR_TAKE(&options, given, emr_trials_options, error);
    if (!status)
        status = check_trials(&options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options.allocator, error);
    if (!status && EMR_GIVE(best, &found, emr_trial))
        status = emr_fail(error, EMR_EINVAL, "emr_trials_run: the size of emr_trial is not set");
    if (status)
        return status;
    double *values = emr_allocate_array(&allocator, options.n_values, sizeof(double));
    if (!values)
        return emr_no_memory(error, NULL);
    status = run_trials(&options, values, &found, error);
    emr_release(&allocator, values);
    return status ? status : EMR_GIVE(best, &found, emr_trial);
}
