/* test_method_elementwise.c - methods that take each parameter alone, against their formulas once more: the
 * same bits where the formula says which, for any number of tasks, and with ties, zeros and changes below
 * what counts. */
#include "method_run.h"

#include <math.h>

/* Some values of each input become 0, equal to another's, or its negative; others tiny. */
static void add_ties(method_run *run, uint64_t seed)
{
    rng r = {seed};
    for (uint64_t k = 0; k < run->count; k++) {
        uint64_t i = rng_below(&r, run->count), t = rng_below(&r, run->n_inputs), kind = rng_below(&r, 4);
        float other = run->inputs[rng_below(&r, run->n_inputs)][i];
        run->inputs[t][i] = kind == 0 ? 0 : kind == 1 ? other : kind == 2 ? -other : other * 4e-6F;
    }
}

static void check_bits(const method_run *run, uint64_t i, float want)
{
    if (run->out[i] != want) /* 0 and -0 are the same here */
        fail_msg("%s of %u: element %u is %.9g, not %.9g", run->method->name, run->n_inputs, (unsigned)i,
                 (double)run->out[i], (double)want);
}

static void test_linear_divides_by_the_sum_of_weights_or_does_not(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= RUN_INPUTS; n++)
        for (int normalize = 0; normalize < 2; normalize++) {
            method_run run;
            method_run_begin(&run, "linear", n, "7x31", n);
            method_run_set(&run, "weight", 0.75);
            method_run_set_one(&run, "weight", n - 1, 1.3);
            method_run_set(&run, "normalize", normalize);
            method_run_do(&run);
            for (uint64_t i = 0; i < run.count; i++) {
                float sum = 0, weights = 0;
                for (uint32_t t = 0; t < n; t++) {
                    float weight = t == n - 1 ? 1.3F : 0.75F;
                    sum += run.inputs[t][i] * weight;
                    weights += weight;
                }
                check_bits(&run, i, normalize ? sum / weights : sum);
            }
            method_run_end(&run);
        }
}

static void test_linear_normalizes_by_default_and_not_by_0(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "linear", 2, "5", 3);
    method_run_set_one(&run, "weight", 0, 3);
    method_run_set_one(&run, "weight", 1, 1);
    method_run_do(&run);
    check_bits(&run, 2, (run.inputs[0][2] * 3 + run.inputs[1][2]) / 4);
    method_run_end(&run);
    method_run_begin(&run, "linear", 2, "5", 3);
    method_run_set_one(&run, "weight", 0, 2);
    method_run_set_one(&run, "weight", 1, -2);
    method_run_refused(&run, EMR_EINVAL, "the weights add up to 0");
    method_run_end(&run);
    method_run_begin(&run, "linear", 2, "5", 3);
    method_run_set_one(&run, "weight", 0, 2);
    method_run_refused(&run, EMR_EINVAL, "weight");
    method_run_end(&run);
}

static void test_passthrough_is_the_model_times_its_scale(void **state)
{
    method_run run;
    (void)state;
    for (int scaled = 0; scaled < 2; scaled++) {
        method_run_begin(&run, "passthrough", 1, "3x3x3x3", 4);
        if (scaled)
            method_run_set_one(&run, "scale", 0, 0.3);
        method_run_do(&run);
        for (uint64_t i = 0; i < run.count; i++)
            check_bits(&run, i, scaled ? run.inputs[0][i] * 0.3F : run.inputs[0][i]);
        method_run_end(&run);
    }
}

static void test_nearswap_moves_at_most_t(void **state)
{
    static const double moves[] = {0, 1e-7, 0.01, 0.5, 100};
    (void)state;
    for (size_t k = 0; k < 5; k++) {
        method_run run;
        float t = (float)moves[k];
        method_run_begin(&run, "nearswap", 1, "400", 5);
        run.inputs[0][0] = 0;
        run.inputs[0][1] = 3e-7F;
        run.inputs[0][2] = -0.5F;
        method_run_set(&run, "t", moves[k]);
        method_run_do(&run);
        for (uint64_t i = 0; i < run.count; i++) {
            float d = run.inputs[0][i], size = fmaxf(fabsf(d), 1e-6F);
            check_bits(&run, i, d * fminf(t / size, 1));
            assert_true(fabsf(run.out[i]) <= t * 1.000001F);
        }
        method_run_end(&run);
    }
}

static void test_nearswap_needs_t_and_takes_one_task(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "nearswap", 1, "4", 5);
    method_run_refused(&run, EMR_EINVAL, "'t'");
    method_run_end(&run);
    method_run_begin(&run, "nearswap", 2, "4", 5);
    method_run_set(&run, "t", 1);
    method_run_refused(&run, EMR_EINVAL, "nearswap");
    method_run_end(&run);
}

static void test_magmax_takes_the_largest_and_of_equal_ones_the_last(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= RUN_INPUTS; n++) {
        method_run run;
        method_run_begin(&run, "magmax", n, "20x20", 6 + n);
        add_ties(&run, 60 + n);
        if (n % 2)
            method_run_set(&run, "lambda", -1.7);
        method_run_do(&run);
        for (uint64_t i = 0; i < run.count; i++) {
            float best = run.inputs[0][i];
            for (uint32_t t = 1; t < n; t++)
                if (fabsf(run.inputs[t][i]) >= fabsf(best))
                    best = run.inputs[t][i];
            check_bits(&run, i, best * (n % 2 ? -1.7F : 0.5F));
        }
        method_run_end(&run);
    }
}

typedef struct changes {
    uint32_t n, last;
    float sum;
} changes;

static changes changes_of(const method_run *run, uint64_t i, float epsilon)
{
    changes c = {0};
    for (uint32_t t = 0; t < run->n_inputs; t++)
        if (fabsf(run->inputs[t][i]) > epsilon) {
            c.n++;
            c.last = t;
            c.sum += run->inputs[t][i];
        }
    return c;
}

static void test_ram_adds_what_one_task_changed_and_averages_the_rest(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= RUN_INPUTS; n++) {
        method_run run;
        float epsilon = n % 2 ? 1e-5F : 0.5F;
        method_run_begin(&run, "ram", n, "30x30", 7 + n);
        add_ties(&run, 70 + n);
        run.inputs[0][5] = epsilon; /* is no change */
        method_run_set(&run, "epsilon", n % 2 ? 1e-5 : 0.5);
        method_run_do(&run);
        for (uint64_t i = 0; i < run.count; i++) {
            changes c = changes_of(&run, i, epsilon);
            check_bits(&run, i, c.n > 1 ? c.sum / (float)c.n : c.sum);
        }
        method_run_end(&run);
    }
}

static void check_ramplus(const method_run *run, float epsilon, double r, double alpha)
{
    double unique[RUN_INPUTS] = {0}, shared[RUN_INPUTS] = {0};
    for (uint64_t i = 0; i < run->count; i++)
        for (uint32_t t = 0; t < run->n_inputs; t++)
            if (fabsf(run->inputs[t][i]) > epsilon)
                *(changes_of(run, i, epsilon).n == 1 ? &unique[t] : &shared[t]) += 1;
    for (uint64_t i = 0; i < run->count; i++) {
        changes c = changes_of(run, i, epsilon);
        double ratio = shared[c.last] / fmax(unique[c.last], (double)epsilon);
        double boost = 1 + r * fmin(ratio, alpha);
        check_bits(run, i, c.n > 1 ? c.sum / (float)c.n : c.sum * (float)boost);
    }
}

static void test_ramplus_boosts_what_one_task_changed(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= RUN_INPUTS; n++) {
        method_run run;
        method_run_begin(&run, "ramplus_tl", n, "180x100", 8 + n); /* more than a chunk */
        add_ties(&run, 80 + n);
        for (uint32_t t = 0; t < n; t++)
            for (uint64_t i = 0; i < run.count; i++)
                run.inputs[t][i] *= i % (t + 2) ? 1 : 0; /* shares differ */
        method_run_do(&run);
        check_ramplus(&run, 1e-5F, 0.1, 0.2);
        method_run_set(&run, "epsilon", 1.5);
        method_run_set(&run, "r", 0.7);
        method_run_set(&run, "alpha", 3);
        method_run_do(&run);
        check_ramplus(&run, 1.5F, 0.7, 3);
        method_run_end(&run);
    }
}

static void check_consensus(const method_run *run, const float *tall, uint32_t k, float lambda)
{
    for (uint64_t i = 0; i < run->count; i++) {
        float sum = 0;
        uint32_t masks = 0;
        for (uint32_t t = 0; t < run->n_inputs; t++)
            sum += run->inputs[t][i];
        for (uint32_t t = 0; t < run->n_inputs; t++)
            masks += fabsf(run->inputs[t][i]) > tall[t] * fabsf(sum - run->inputs[t][i]);
        check_bits(run, i, masks >= k ? lambda * sum : 0);
    }
}

static void test_consensus_keeps_what_enough_tasks_use(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= RUN_INPUTS; n++) {
        float tall[RUN_INPUTS] = {0.4F, 0.4F, 0.4F, 0.4F, 0.4F, 0.4F, 0.4F, 0.4F};
        method_run run;
        method_run_begin(&run, "consensus", n, "30x30", 9 + n);
        add_ties(&run, 90 + n);
        method_run_do(&run);
        check_consensus(&run, tall, 2, 0.3F);
        for (uint32_t k = 0; k < 5; k++) {
            method_run_set(&run, "k", k);
            method_run_set(&run, "lambda", 1.25);
            method_run_set_one(&run, "tall", n - 1, 0.9);
            tall[n - 1] = 0.9F;
            method_run_do(&run);
            check_consensus(&run, tall, k, 1.25F);
        }
        method_run_end(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_divides_by_the_sum_of_weights_or_does_not),
        cmocka_unit_test(test_linear_normalizes_by_default_and_not_by_0),
        cmocka_unit_test(test_passthrough_is_the_model_times_its_scale),
        cmocka_unit_test(test_nearswap_moves_at_most_t),
        cmocka_unit_test(test_nearswap_needs_t_and_takes_one_task),
        cmocka_unit_test(test_magmax_takes_the_largest_and_of_equal_ones_the_last),
        cmocka_unit_test(test_ram_adds_what_one_task_changed_and_averages_the_rest),
        cmocka_unit_test(test_ramplus_boosts_what_one_task_changed),
        cmocka_unit_test(test_consensus_keeps_what_enough_tasks_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
