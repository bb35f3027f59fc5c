/* method_run.c - see method_run.h. */
#include "method_run.h"

#include <math.h>
#include <stdio.h>

static void read_shape(test_tensor *tensor, const char *shape)
{
    for (char *end; *shape; shape = *end ? end + 1 : end)
        tensor->shape[tensor->rank++] = strtoull(shape, &end, 10);
}

static void make_models(method_run *run, uint64_t seed)
{
    rng r = {seed};
    run->base = test_model_create("base", &run->tensor, 1, SOURCE_MEMORY);
    for (uint32_t t = 0; t < run->n_inputs; t++) {
        run->tasks[t] = test_model_create("task", &run->tensor, 1, SOURCE_MEMORY);
        run->inputs[t] = (float *)(void *)run->tasks[t].data[0];
        for (uint64_t i = 0; i < run->count; i++)
            run->inputs[t][i] = rng_normal(&r);
    }
}

static emr_combination *make_combination(const method_run *run)
{
    emr_combination *c;
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_error error;
    options.method = run->method;
    assert_ok(emr_combination_create(&c, &options, &error), &error);
    if (run->first_is_base)
        assert_ok(emr_combination_set_base(c, run->tasks[0].model, &error), &error);
    else if (run->method->base != EMR_METHOD_BASE_INPUT)
        assert_ok(emr_combination_set_base(c, run->base.model, &error), &error);
    for (uint32_t t = run->first_is_base; t < run->n_inputs; t++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", t);
        assert_ok(emr_combination_add_task(c, name, run->tasks[t].model, &error), &error);
    }
    for (size_t k = 0; k < run->n_settings; k++) {
        const run_setting *set = &run->settings[k];
        assert_ok(emr_combination_set_parameter(c, set->parameter, set->input, NULL, set->value, &error),
                  &error);
    }
    return c;
}

void method_run_begin(method_run *run, const char *method, uint32_t n_inputs, const char *shape,
                      uint64_t seed)
{
    *run = (method_run){.method = emr_method_find(method),
                        .tensor = {.name = "weight", .dtype = EMR_DTYPE_F32},
                        .n_inputs = n_inputs};
    assert_non_null(run->method);
    read_shape(&run->tensor, shape);
    run->count = test_tensor_count(&run->tensor);
    run->out = malloc((size_t)run->count * sizeof *run->out);
    make_models(run, seed);
}

void method_run_end(method_run *run)
{
    test_model_destroy(&run->base);
    for (uint32_t t = 0; t < run->n_inputs; t++)
        test_model_destroy(&run->tasks[t]);
    free(run->out);
}

void method_run_set_one(method_run *run, const char *parameter, uint32_t input, double value)
{
    assert_true(run->n_settings < RUN_SETTINGS);
    run->settings[run->n_settings++] = (run_setting){parameter, input, value};
}

void method_run_set(method_run *run, const char *parameter, double value)
{
    method_run_set_one(run, parameter, EMR_EVERY_TASK, value);
}

static emr_status try_run(const method_run *run, emr_error *error)
{
    emr_model *m;
    emr_combination *c = make_combination(run);
    emr_status status = emr_combination_open_model(c, &m, error);
    emr_combination_destroy(&c);
    if (status)
        return status;
    status = emr_tensor_read_floats(emr_model_tensor(m, 0), 0, (size_t)run->count, run->out, error);
    emr_model_destroy(&m);
    return status;
}

void method_run_do(method_run *run)
{
    emr_error error;
    assert_ok(try_run(run, &error), &error);
}

void method_run_refused(method_run *run, emr_status status, const char *part)
{
    emr_error error;
    assert_int_equal(try_run(run, &error), status);
    if (!strstr(error.text, part))
        fail_msg("'%s' does not say '%s'", error.text, part);
}

void assert_near(const method_run *run, const double *want, double distance)
{
    for (uint64_t i = 0; i < run->count; i++)
        if (!(fabs((double)run->out[i] - want[i]) <= distance))
            fail_msg("%s: element %u is %.9g, not %.9g", run->method->name, (unsigned)i, (double)run->out[i],
                     want[i]);
}
