/* test_trials.c - trials with parameters drawn at random (emr/search.h): what is drawn, which trial is the best, and
 * what those make of it that fail or have no score. */
#include "support.h"

#include <math.h>

/* Words of Philox that a program in another language computed: of the counters (0, 7, EMRT, 0) and (1, 7, EMRT, 0). */
static void trials_are_drawn_from_seed_and_number(void **state)
{
    static const uint32_t words[8] = {0x16c22381, 0xe1b808a4, 0x5e5f552e, 0xb0037b63,
                                      0x95ba4998, 0x9808fa86, 0x80e24a86, 0x915e2f11};
    double values[9], more[9], other[9];
    (void)state;
    emr_trial_draw(0x0123456789abcdef, 7, 8, values);
    for (size_t i = 0; i < 8; i++)
        assert_true(values[i] == ldexp((double)words[i] + 1, -32));
    emr_trial_draw(42, 7, 9, values);
    emr_trial_draw(42, 7, 5, more);
    assert_memory_equal(values, more, 5 * sizeof(double));
    emr_trial_draw(42, 8, 9, other);
    for (size_t i = 0; i < 9; i++)
        assert_true(values[i] > 0 && values[i] <= 1 && other[i] != values[i]);
    emr_trial_draw(43, 7, 9, other);
    for (size_t i = 0; i < 9; i++)
        assert_true(other[i] != values[i]);
}

static void values_are_uniform(void **state)
{
    double sum = 0, squares = 0, v[16];
    enum { N = 4096 };
    (void)state;
    for (uint32_t i = 1; i <= N; i++) {
        emr_trial_draw(1, i, 16, v);
        for (int k = 0; k < 16; k++) {
            sum += v[k];
            squares += v[k] * v[k];
        }
    }
    assert_true(fabs(sum / (N * 16) - 0.5) < 0.005);
    assert_true(fabs(squares / (N * 16) - 1.0 / 3) < 0.005);
}

typedef struct trial_world {
    uint32_t n, fail_at;
    emr_status fail_with;
    uint32_t without; /* trials whose number is a multiple have no score */
    double best;
    uint32_t best_number;
    uint32_t minimise;
} trial_world;

static double first_digit(double value)
{
    return floor(value * 10);
}

static emr_status try_values(void *user, const emr_trial *trial, double *score, emr_error *error)
{
    trial_world *w = user;
    double drawn[3];
    assert_int_equal(trial->number, ++w->n);
    assert_int_equal(trial->n_values, 3);
    emr_trial_draw(99, trial->number, 3, drawn);
    assert_memory_equal(drawn, trial->values, sizeof drawn);
    if (trial->number == w->fail_at)
        return emr_error_set(error, w->fail_with, 0, NULL, "the host says no");
    *score = w->without && trial->number % w->without == 0 ? NAN : first_digit(drawn[0]);
    bool wins = w->minimise ? *score < w->best : *score > w->best;
    if (wins || (!w->best_number && !isnan(*score))) {
        w->best = *score;
        w->best_number = trial->number;
    }
    return EMR_OK;
}

static void the_best_trial_is_the_first_of_the_best(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 4; round++) {
        trial_world w = {.without = round & 1 ? 3 : 0, .minimise = round >> 1};
        emr_trials_options options = {.size = sizeof options,
                                      .user = &w,
                                      .evaluate = try_values,
                                      .seed = 99,
                                      .n_values = 3,
                                      .minimise = w.minimise};
        emr_trial best = EMR_INIT(emr_trial);
        emr_error error = {.text = ""};
        assert_ok(emr_trials_run(&options, &best, &error), &error);
        assert_int_equal(w.n, 500);
        assert_int_equal(best.number, w.best_number);
        assert_true(best.score == w.best && !best.values);
    }
}

static void trials_that_fail_or_have_no_score_are_said(void **state)
{
    trial_world w = {.fail_at = 3, .fail_with = EMR_ECANCELED};
    emr_trials_options options = {.size = sizeof options,
                                  .user = &w,
                                  .evaluate = try_values,
                                  .seed = 99,
                                  .n_values = 3,
                                  .n_trials = 10};
    test_allocator counts = {0, 0, 0};
    const emr_allocator allocator = test_allocator_make(&counts);
    emr_trial best = EMR_INIT(emr_trial);
    emr_error error = {.text = ""};
    (void)state;
    assert_int_equal(emr_trials_run(&options, &best, &error), EMR_ECANCELED);
    assert_string_equal(error.text, "trial 3 failed: the host says no");
    w = (trial_world){.without = 1};
    assert_int_equal(emr_trials_run(&options, &best, &error), EMR_ENOTFOUND);
    options.allocator = &allocator;
    assert_int_equal(emr_trials_run(&options, &best, &error), EMR_ENOMEM);
    options.n_values = 0;
    assert_int_equal(emr_trials_run(&options, &best, &error), EMR_EINVAL);
    options.n_values = 3;
    options.evaluate = NULL;
    assert_int_equal(emr_trials_run(&options, &best, &error), EMR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trials_are_drawn_from_seed_and_number),
        cmocka_unit_test(values_are_uniform),
        cmocka_unit_test(the_best_trial_is_the_first_of_the_best),
        cmocka_unit_test(trials_that_fail_or_have_no_score_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
