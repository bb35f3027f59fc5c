/* test_method_many.c - more tasks than methods add up at once: those that changed nothing make no difference among others,
 * bit for bit, wherever cuts and chunks lie. */
#include "emr/method.h"
#include "support.h"

#include <stdio.h>

enum { FEW = 5, MANY = 101, COUNT = 3000, FOUND_EACH = 4, PARAMETERS_MAX = 8 };

typedef struct many_tasks {
    emr_method_tensor tensor;
    const float *inputs[MANY];
    const char *names[MANY];
    double parameters[MANY * PARAMETERS_MAX], found[MANY * FOUND_EACH];
    float out[COUNT];
} many_tasks;

static float changes[FEW][COUNT], no_change[COUNT];
static char task_names[MANY][16];

static bool has_name(const emr_method_parameter *p, const char *name)
{
    return strcmp(p->name, name) == 0;
}

/* Of task t of those that changed something. */
static double value_of(const emr_method_parameter *p, uint32_t t)
{
    if (has_name(p, "weight"))
        return t == 2 ? -0.4 : 0.3 + 0.1 * t;
    if (has_name(p, "density"))
        return t == 3 ? 1 : 0.2 + 0.1 * t;
    return has_name(p, "rescale") ? 0 : has_name(p, "lambda") ? 0.7 : p->initial;
}

/* A cut, or two of which the first is the larger, somewhere in the tensor. */
static void draw_cuts(double *found, rng *r)
{
    for (size_t k = 0; k < FOUND_EACH; k += 2) {
        found[k] = k ? 0.5 : 2;
        found[k + 1] = (double)rng_below(r, COUNT + 1);
    }
}

/* Task t of the few is number places[t]; the others changed nothing. */
static void set_up(many_tasks *m, const emr_method *method, uint32_t n, const uint32_t places[FEW],
                   const double cuts[FEW][FOUND_EACH], uint32_t found_each)
{
    static const uint64_t shape[] = {COUNT};
    m->tensor = (emr_method_tensor){.size = sizeof m->tensor,
                                    .name = "x",
                                    .shape = shape,
                                    .inputs = m->names,
                                    .parameters = m->parameters,
                                    .found = m->found,
                                    .count = COUNT,
                                    .rank = 1,
                                    .n_inputs = n,
                                    .n_parameters = method->n_parameters,
                                    .has_base = 1};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t t = 0;
        while (t < FEW && places[t] != i)
            t++;
        const uint32_t like = t < FEW ? t : 0;
        m->inputs[i] = t < FEW ? changes[t] : no_change;
        m->names[i] = t < FEW ? task_names[t] : task_names[FEW + i % (MANY - FEW)];
        for (uint32_t p = 0; p < method->n_parameters; p++)
            m->parameters[i * method->n_parameters + p] = value_of(&method->parameters[p], like);
        memcpy(m->found + i * found_each, cuts[like], found_each * sizeof **cuts);
    }
}

static void combine_in_chunks(const emr_method *method, many_tasks *m, size_t step)
{
    float *scratch = malloc(step * method->scratch_floats * sizeof *scratch + 1);
    assert_non_null(scratch);
    for (size_t first = 0; first < COUNT; first += step) {
        const float *inputs[MANY];
        emr_error error;
        for (uint32_t i = 0; i < m->tensor.n_inputs; i++)
            inputs[i] = m->inputs[i] + first;
        emr_method_chunk c = {.size = sizeof c,
                              .tensor = &m->tensor,
                              .inputs = inputs,
                              .out = m->out + first,
                              .scratch = scratch,
                              .first = first,
                              .position = first,
                              .n = COUNT - first < step ? COUNT - first : step};
        assert_int_equal(method->combine(&c, &error), EMR_OK);
    }
    free(scratch);
}

static void check_many(const char *name, uint32_t found_each)
{
    static const uint32_t alone[FEW] = {0, 1, 2, 3, 4};
    static const uint32_t counts[] = {6, 32, 33, 64, 65, MANY};
    static many_tasks few, many;
    const emr_method *method = emr_method_find(name);
    rng r = {11};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        const uint32_t n = counts[k], places[FEW] = {n / 5, n / 3, n / 2, n - 2, n - 1};
        double cuts[FEW][FOUND_EACH];
        for (uint32_t t = 0; t < FEW; t++) {
            draw_cuts(cuts[t], &r);
            if (found_each == 2)
                cuts[t][0] = 0.5;
            for (size_t i = 0; i < COUNT; i++)
                changes[t][i] = (float)rng_below(&r, 13) / 4 - 1.5F;
        }
        set_up(&few, method, FEW, alone, (const double(*)[FOUND_EACH])cuts, found_each);
        set_up(&many, method, n, places, (const double(*)[FOUND_EACH])cuts, found_each);
        combine_in_chunks(method, &few, COUNT);
        combine_in_chunks(method, &many, 1 + (size_t)rng_below(&r, COUNT));
        assert_memory_equal(few.out, many.out, sizeof few.out);
    }
}

static void test_sums(void **unused)
{
    (void)unused;
    check_many("task_arithmetic", 0);
    check_many("breadcrumbs", 4);
    check_many("dare_linear", 0);
}

static void test_elections(void **unused)
{
    (void)unused;
    check_many("ties", 2);
    check_many("breadcrumbs_ties", 4);
    check_many("dare_ties", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_elections)};
    for (int i = 0; i < MANY; i++)
        snprintf(task_names[i], sizeof task_names[i], "task%d", i);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
