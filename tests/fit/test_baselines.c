/* test_baselines.c - what an ensemble is compared with, and pooling over tokens. */
#include "support.h"

#include <emr/fit/ensemble.h>

#include <math.h>

static void votes_and_best_sources_are_counted(void **state)
{
    /* Four sources of three columns; of the first source's second sample two columns are largest. */
    static const float values[] = {1, 2, 0, 0, 5, 1, 9, 0, 0, 3, 1, 2, 4, 4, 1, 0, 0, 1,
                                   0, 0, 2, 0, 1, 0, 7, 0, 0, 0, 7, 0, 0, 0, 7, 1, 2, 3};
    static const float yes[] = {1, -1, 2, 0, 0, -3};
    static const uint32_t labels[] = {0, 2, 2}, truths[] = {1, 0};
    emr_ensemble_batch b = EMR_INIT(emr_ensemble_batch);
    emr_error error;
    uint32_t answers[3] = {9, 9, 9};
    size_t source = 9, n_right = 9;
    (void)state;
    b.values = values;
    b.labels = labels;
    b.n = 3;
    b.n_sources = 4;
    b.n_columns = 3;
    assert_ok(emr_ensemble_vote(&b, answers, &error), &error);
    assert_true(answers[0] == 0 && answers[1] == 2 &&
                answers[2] == 2); /* two and two; 0, 2, 2, 1; 0, 1, 2, 2 */
    assert_ok(emr_ensemble_best_source(&b, &source, &n_right, &error), &error);
    assert_true(source == 2 && n_right == 3);
    b.values = yes; /* of a single column each: yes, no, yes; then no three times, 0 being none */
    b.labels = truths;
    b.n = 2;
    b.n_sources = 3;
    b.n_columns = 1;
    assert_ok(emr_ensemble_vote(&b, answers, &error), &error);
    assert_true(answers[0] == 1 && answers[1] == 0);
    assert_ok(emr_ensemble_best_source(&b, &source, &n_right, &error), &error);
    assert_true(source == 0 && n_right == 2);
    b.labels = NULL;
    assert_int_equal(emr_ensemble_best_source(&b, &source, &n_right, &error), EMR_EINVAL);
    b.n = 0;
    assert_int_equal(emr_ensemble_vote(&b, answers, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_vote(&b, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_best_source(&b, NULL, &n_right, &error), EMR_EINVAL);
}

static void padding_takes_no_part(void **state)
{
    float embeddings[2 * 3 * 2] = {1, -5, 9, 9, -1, -2, -3, -4, -8, -1, NAN, 0}, x[4] = {42, 42, 42, 42};
    static const float expected[4] = {1, -2, -3, -1};
    uint8_t keep[6] = {1, 0, 255, 1, 1, 0};
    emr_error error;
    (void)state;
    assert_int_equal(emr_ensemble_pool(embeddings, 2, 3, 2, NULL, x, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "sample 1: feature 0 of token 2 is NaN or infinite");
    assert_true(x[0] >= 42);
    assert_ok(emr_ensemble_pool(embeddings, 2, 3, 2, keep, x, &error), &error);
    assert_memory_equal(x, expected, sizeof x);
    assert_ok(emr_ensemble_pool(embeddings, 1, 3, 2, NULL, x, &error), &error);
    assert_true(x[0] >= 9 && x[1] >= 9);
    keep[3] = keep[4] = 0;
    assert_int_equal(emr_ensemble_pool(embeddings, 2, 3, 2, keep, x, &error), EMR_EINVAL);
    assert_string_equal(error.text, "sample 1: all its tokens are padding");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(emr_ensemble_pool(embeddings, i != 0, i != 1, i != 2, NULL, x, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_pool(NULL, 1, 1, 1, NULL, x, &error), EMR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_and_best_sources_are_counted),
        cmocka_unit_test(padding_takes_no_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
