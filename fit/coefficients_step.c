/* coefficients_step.c - coefficients out of the numbers that Adam moves, their gradients, and steps. */
#include "coefficients.h"

#include "emr/elementary.h"

#include <math.h>

static double clip_raw(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* The sum of exp(raw - largest), of which each lambda is a share. */
static double softmax_sum(const coefficient *of, uint32_t n, double *largest)
{
    double sum = 0;
    *largest = of[0].raw;
    for (uint32_t t = 1; t < n; t++)
        *largest = of[t].raw > *largest ? of[t].raw : *largest;
    for (uint32_t t = 0; t < n; t++)
        sum += emr_exp(of[t].raw - *largest);
    return sum;
}

static double lambda_of(const emr_coefficients *c, const coefficient *of, double largest, double sum)
{
    if (c->map == EMR_COEFFICIENT_MAP_SOFTMAX)
        return emr_exp(of->raw - largest) / sum;
    return c->map == EMR_COEFFICIENT_MAP_CLAMP ? clip_raw(of->raw) : of->raw;
}

void fit_coefficients_lambdas(const emr_coefficients *c, uint32_t group, double *lambdas)
{
    const coefficient *of = coefficient_at(c, 0, group);
    double largest, sum = softmax_sum(of, c->n_tasks, &largest);
    for (uint32_t t = 0; t < c->n_tasks; t++)
        lambdas[t] = lambda_of(c, &of[t], largest, sum);
}

static bool is_stuck(const emr_coefficients *c, const coefficient *of)
{
    return c->map == EMR_COEFFICIENT_MAP_CLAMP && !(of->raw >= 0 && of->raw <= 1);
}

/* dL/dlambda: tensors in the base's order, in whatever order they were handed in. */
static double gradient_of(const emr_coefficients *c, uint32_t task, uint32_t group)
{
    double sum = 0;
    for (uint32_t i = c->groups[group].first; i != NO_NUMBER; i = c->next[i])
        sum += c->sums[(size_t)i * c->n_tasks + task];
    return sum;
}

static bool has_gradient(const emr_coefficients *c, uint32_t group)
{
    for (uint32_t i = c->groups[group].first; i != NO_NUMBER; i = c->next[i])
        if (c->has_gradient[i])
            return true;
    return false;
}

/* dL/draw of a group's tasks, out of dL/dlambda. */
static void find_gradients(const emr_coefficients *c, uint32_t group, double *gradients)
{
    double *lambdas = c->lambdas, mean = 0;
    for (uint32_t t = 0; t < c->n_tasks; t++) {
        gradients[t] = gradient_of(c, t, group);
        if (is_stuck(c, coefficient_at(c, t, group)))
            gradients[t] = 0;
    }
    if (c->map != EMR_COEFFICIENT_MAP_SOFTMAX)
        return;
    fit_coefficients_lambdas(c, group, lambdas);
    for (uint32_t t = 0; t < c->n_tasks; t++)
        mean += lambdas[t] * gradients[t];
    for (uint32_t t = 0; t < c->n_tasks; t++)
        gradients[t] = lambdas[t] * (gradients[t] - mean);
}

static coefficient move_raw(const emr_coefficients *c, const coefficient *from, double gradient)
{
    coefficient to = *from;
    fit_adam_step(&c->adam, &to.time, &to.raw, &to.m, &to.v, &gradient, 1);
    if (c->map == EMR_COEFFICIENT_MAP_PROJECT)
        to.raw = clip_raw(to.raw);
    to.n_steps++;
    return to;
}

static emr_status check_group(const emr_coefficients *c, uint32_t group, emr_error *error)
{
    for (uint32_t t = 0; t < c->n_tasks; t++)
        if (!is_finite(gradient_of(c, t, group)))
            return emr_error_format(error, EMR_ENONFINITE,
                                    "task '%K', group '%s': the sum of its gradients is not finite",
                                    c->vectors->names[t], c->groups[group].name);
    find_gradients(c, group, c->gradients);
    for (uint32_t t = 0; t < c->n_tasks; t++) {
        double raw = move_raw(c, coefficient_at(c, t, group), c->gradients[t]).raw;
        if (!is_finite(raw))
            return emr_error_format(error, EMR_ENONFINITE,
                                    "task '%K', group '%s': the step leads beyond all finite numbers",
                                    c->vectors->names[t], c->groups[group].name);
    }
    return EMR_OK;
}

static emr_status check_step(const emr_coefficients *c, emr_error *error)
{
    bool has_any = false;
    if (c->refused)
        return emr_error_format(error, c->refused, "a gradient was refused, so this step is, too");
    if (c->stream.tensor != NO_NUMBER) {
        const emr_tensor *tensor = c->vectors->tensors[c->stream.tensor].base;
        return emr_error_format(error, EMR_ESTATE,
                                "tensor '%T': %u of the %u elements of its gradient were handed in",
                                emr_tensor_name(tensor), c->stream.first, emr_tensor_count(tensor));
    }
    for (uint32_t g = 0; g < c->n_groups; g++) {
        if (!has_gradient(c, g))
            continue;
        emr_status status = check_group(c, g, error);
        if (status)
            return status;
        has_any = true;
    }
    return has_any ? EMR_OK
                   : emr_error_format(error, EMR_ESTATE,
                                      "emr_coefficients_step: no gradient of what is learned was handed in");
}

static void move_group(emr_coefficients *c, uint32_t group, emr_coefficients_report *report)
{
    double *before = c->lambdas + c->n_tasks;
    fit_coefficients_lambdas(c, group, before);
    find_gradients(c, group, c->gradients);
    for (uint32_t t = 0; t < c->n_tasks; t++)
        *coefficient_at(c, t, group) = move_raw(c, coefficient_at(c, t, group), c->gradients[t]);
    fit_coefficients_lambdas(c, group, c->lambdas);
    for (uint32_t t = 0; t < c->n_tasks; t++)
        report->largest_move = fmax(report->largest_move, fabs(c->lambdas[t] - before[t]));
    report->n_moved += c->n_tasks;
}

static void count_ends(const emr_coefficients *c, uint32_t group, emr_coefficients_report *report)
{
    fit_coefficients_lambdas(c, group, c->lambdas);
    for (uint32_t t = 0; t < c->n_tasks; t++) {
        report->n_low += c->lambdas[t] <= 0;
        report->n_high += c->lambdas[t] >= 1;
        report->n_stuck += is_stuck(c, coefficient_at(c, t, group));
    }
}

emr_status emr_coefficients_step(emr_coefficients *c, emr_coefficients_report *report, emr_error *error)
{
    emr_coefficients_report r = {0};
    if (!c)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_step: NULL");
    if (report && FIT_GIVE(report, &r, emr_coefficients_report, n_stuck))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_coefficients_report: size is not set: begin with EMR_INIT");
    emr_status status = check_step(c, error);
    for (uint32_t g = 0; !status && g < c->n_groups; g++) {
        if (has_gradient(c, g))
            move_group(c, g, &r);
        if (!c->groups[g].is_fixed)
            count_ends(c, g, &r);
    }
    emr_coefficients_clear(c);
    if (status)
        return status;
    r.n_steps = ++c->n_steps;
    if (report)
        (void)FIT_GIVE(report, &r, emr_coefficients_report, n_stuck);
    return EMR_OK;
}

emr_status emr_coefficients_get(const emr_coefficients *c, uint32_t task, uint32_t group,
                                emr_coefficient *info)
{
    emr_coefficient given = {0};
    if (!c || !info)
        return EMR_EINVAL;
    if (task >= c->n_tasks || group >= c->n_groups)
        return EMR_ENOTFOUND;
    const coefficient *of = coefficient_at(c, task, group);
    double largest, sum = softmax_sum(coefficient_at(c, 0, group), c->n_tasks, &largest);
    given.lambda = lambda_of(c, of, largest, sum);
    given.raw = of->raw;
    given.gradient = gradient_of(c, task, group);
    given.n_steps = of->n_steps;
    given.is_fixed = c->groups[group].is_fixed;
    given.is_stuck = is_stuck(c, of);
    return FIT_GIVE(info, &given, emr_coefficient, is_stuck);
}

emr_status emr_coefficients_set(emr_coefficients *c, uint32_t task, uint32_t group, double raw,
                                emr_error *error)
{
    if (!c)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_set: NULL");
    if (task >= c->n_tasks || group >= c->n_groups)
        return emr_error_format(error, EMR_ENOTFOUND, "there is no task %u with a group %u", (uint64_t)task,
                                (uint64_t)group);
    if (!is_finite(raw) || (c->map == EMR_COEFFICIENT_MAP_PROJECT && !(raw >= 0 && raw <= 1)))
        return emr_error_format(error, EMR_EINVAL, "task '%K', group '%s': a coefficient is finite%s",
                                c->vectors->names[task], c->groups[group].name,
                                c->map == EMR_COEFFICIENT_MAP_PROJECT ? ", and from 0 to 1 with this map"
                                                                      : "");
    *coefficient_at(c, task, group) = (coefficient){.raw = raw, .time = FIT_ADAM_START};
    return EMR_OK;
}
