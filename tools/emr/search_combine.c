/* search_combine.c - what candidates are: two models, or all with a trial's values, combined by the search's method. */
#include "combining.h"
#include "searching.h"

#include <stdlib.h>
#include <string.h>

static bool takes_base(const search_job *j)
{
    return j->inputs.base && j->method->base != EMR_METHOD_BASE_INPUT;
}

static emr_status open_combination(emr_combination **c, const search_job *j, emr_error *error)
{
    combine_job like = {.inputs = j->inputs, .method = j->method};
    emr_combination_options options = combination_options(&like, j->a, &j->a->policy);
    options.resources = &j->inputs.session.resources;
    emr_status status = emr_combination_create(c, &options, error);
    return status || !takes_base(j) ? status : emr_combination_set_base(*c, j->inputs.base, error);
}

/* The middle, unless --set says otherwise. */
static emr_status set_middle(emr_combination *c, const search_job *j, emr_error *error)
{
    static const char parameter[] = "t";
    uint32_t i = find_parameter(j->method, parameter);
    if (i == j->method->n_parameters || strcmp(j->method->name, "slerp") != 0)
        return EMR_OK;
    return emr_combination_set_parameter(c, parameter, EMR_EVERY_TASK, NULL, 0.5, error);
}

static emr_status apply_words(emr_combination *c, const search_job *j, const arguments *a, emr_error *error)
{
    const combine_job like = {.method = j->method};
    emr_status status = set_middle(c, j, error);
    return status ? status : apply_settings(c, &like, a, error);
}

emr_status open_pair(emr_combination **c, const search_job *j, const char *const names[2],
                     const emr_model *const models[2], emr_error *error)
{
    arguments without_tasks = *j->a; /* --set knows none by name: pairs are of any two */
    without_tasks.n_tasks = 0;
    emr_status status = open_combination(c, j, error);
    for (int i = 0; !status && i < 2; i++)
        status = emr_combination_add_task(*c, names[i], models[i], error);
    return status ? status : apply_words(*c, j, &without_tasks, error);
}

static emr_status set_values(emr_combination *c, const search_job *j, const double *values, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t p = 0; p < j->n_varied; p++) {
        const varied_parameter *v = &j->varied[p];
        uint32_t n = v->is_per_task ? (uint32_t)j->a->n_tasks : 1;
        for (uint32_t t = 0; !status && t < n; t++)
            status = emr_combination_set_parameter(c, v->name, v->is_per_task ? t : EMR_EVERY_TASK, NULL,
                                                   *values++, error);
    }
    return status;
}

emr_status open_trial(emr_combination **c, const search_job *j, const double *values, emr_error *error)
{
    emr_status status = open_combination(c, j, error);
    for (size_t i = 0; !status && i < j->a->n_tasks; i++)
        status = emr_combination_add_task(*c, j->a->tasks[i].name, j->inputs.models[i], error);
    if (!status)
        status = apply_words(*c, j, j->a, error);
    return status ? status : set_values(*c, j, values, error);
}
