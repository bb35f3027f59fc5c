/* settings.c - see settings.h. */
#include "combine/settings.h"

#include <string.h>

enum { LIST_BYTES = 256 /* of a sentence's list of names */ };

static const double F32_MOST = 3.4028234663852886e38;

static bool append_to_list(char *list, size_t *n, const char *text)
{
    size_t length = strlen(text);
    if (*n + length + 5 > LIST_BYTES) /* ", ..." */
        return false;
    memcpy(list + *n, text, length + 1);
    *n += length;
    return true;
}

/* "weight, density, lambda" */
static const char *list_parameters(const emr_method *m, char list[LIST_BYTES])
{
    size_t n = 0;
    list[0] = '\0';
    for (uint32_t i = 0; i < m->n_parameters; i++)
        if ((i && !append_to_list(list, &n, ", ")) || !append_to_list(list, &n, m->parameters[i].name)) {
            memcpy(list + n, "...", 4);
            break;
        }
    return list;
}

static emr_status find_parameter(const emr_method *m, const char *name, uint32_t *at, emr_error *error)
{
    char list[LIST_BYTES];
    for (*at = 0; *at < m->n_parameters; ++*at)
        if (strcmp(m->parameters[*at].name, name) == 0)
            return EMR_OK;
    return m->n_parameters
               ? emr_fail(error, EMR_ENOTFOUND, "the method '%s' has no parameter '%s': it has %s", m->name,
                          name, list_parameters(m, list))
               : emr_fail(error, EMR_ENOTFOUND, "the method '%s' has no parameter '%s': it has none", m->name,
                          name);
}

/* Numbers in sentences have at most three decimals. */
static const char *number_text(double value, char text[32])
{
    static const uint64_t most = 1000000000000000;
    uint64_t thousandths;
    char digits[24];
    size_t n = 0, k = 0;
    double size = value < 0 ? -value : value;
    if (!(size < (double)most))
        return value < 0 ? "-infinity" : "infinity";
    thousandths = (uint64_t)(size * 1000 + 0.5);
    if (value < 0 && thousandths)
        text[n++] = '-';
    for (uint64_t whole = thousandths / 1000; k == 0 || whole; whole /= 10)
        digits[k++] = (char)('0' + whole % 10);
    while (k)
        text[n++] = digits[--k];
    for (uint64_t part = thousandths % 1000, unit = 100; part; part %= unit, unit /= 10) {
        if (unit == 100)
            text[n++] = '.';
        text[n++] = (char)('0' + part / unit);
    }
    text[n] = '\0';
    return text;
}

static bool is_whole_number(double value)
{
    static const double most = 9007199254740992;
    return value >= -most && value <= most && value == (double)(int64_t)value;
}

static emr_status check_value(const emr_method *m, const emr_method_parameter *p, double value,
                              emr_error *error)
{
    char least[32], most[32];
    bool in_range = value >= p->least && value <= p->most;
    if (in_range && (!p->is_whole || is_whole_number(value)))
        return EMR_OK;
    if (p->is_whole && p->least == 0 && p->most == 1)
        return emr_fail(error, EMR_EINVAL, "the method '%s': '%s' is 0 or 1", m->name, p->name);
    if (!p->is_whole && p->least <= -F32_MOST && p->most >= F32_MOST)
        return emr_fail(error, EMR_EINVAL,
                        "the method '%s': '%s' is a number that F32 can hold, below 3.4e38", m->name,
                        p->name);
    return emr_fail(error, EMR_EINVAL, "the method '%s': '%s' is a %s from %s to %s", m->name, p->name,
                    p->is_whole ? "whole number" : "number", number_text(p->least, least),
                    number_text(p->most, most));
}

static emr_status check_whom(const emr_combination *c, const emr_method_parameter *p, uint32_t task,
                             emr_error *error)
{
    if (task == EMR_EVERY_TASK)
        return EMR_OK;
    if (!p->per_task)
        return emr_fail(error, EMR_EINVAL, "the method '%s': '%s' is the same for all tasks", c->method.name,
                        p->name);
    if (task == EMR_BASE && !emr_base_is_input(c))
        return emr_fail(error, EMR_EINVAL, "the method '%s': the base has no '%s', for it is no input",
                        c->method.name, p->name);
    if (task != EMR_BASE && task >= c->n_tasks)
        return emr_fail(error, EMR_EINVAL, "there is no task %u", (uint64_t)task);
    return EMR_OK;
}

emr_status emr_setting_check(const emr_combination *c, const char *parameter, emr_setting *setting,
                             emr_error *error)
{
    emr_status status = find_parameter(&c->method, parameter, &setting->parameter, error);
    if (status)
        return status;
    const emr_method_parameter *p = &c->method.parameters[setting->parameter];
    status = check_whom(c, p, setting->task, error);
    return status ? status : check_value(&c->method, p, setting->value, error);
}

emr_status emr_setting_keep(emr_combination *c, const emr_setting *setting, const char *glob,
                            emr_error *error)
{
    char *copy = glob ? emr_copy_string(&c->allocator, glob) : NULL;
    if ((glob && !copy) || !emr_grow(&c->allocator, (void **)&c->settings, &c->settings_capacity,
                                     c->n_settings + 1, sizeof *c->settings)) {
        emr_release(&c->allocator, copy);
        return emr_no_memory(error, NULL);
    }
    c->settings[c->n_settings] = *setting;
    c->settings[c->n_settings++].glob = copy;
    return EMR_OK;
}

void emr_settings_resolve(const emr_combination *c, const char *name, const emr_combined_input *inputs,
                          uint32_t n_inputs, double *values)
{
    uint32_t n = c->method.n_parameters;
    for (uint32_t i = 0; i < n_inputs; i++)
        for (uint32_t p = 0; p < n; p++)
            values[(size_t)i * n + p] = c->method.parameters[p].initial;
    for (size_t k = 0; k < c->n_settings; k++) {
        const emr_setting *s = &c->settings[k];
        if (s->glob && !emr_glob_matches(s->glob, name))
            continue;
        for (uint32_t i = 0; i < n_inputs; i++)
            if (s->task == EMR_EVERY_TASK || s->task == inputs[i].task)
                values[(size_t)i * n + s->parameter] = s->value;
    }
}

emr_status emr_settings_check(const emr_combination *c, const emr_combined *t, emr_error *error)
{
    const emr_method *m = &c->method;
    for (uint32_t i = 0; i < t->seen.n_inputs; i++)
        for (uint32_t p = 0; p < m->n_parameters; p++) {
            double value = emr_method_value(&t->seen, i, p);
            if (value == value)
                continue;
            if (!m->parameters[p].per_task)
                return emr_fail(
                    error, EMR_EINVAL,
                    "the method '%s' needs '%s', which is not set for tensor '%T' (--set %s=VALUE)", m->name,
                    m->parameters[p].name, t->sample->name, m->parameters[p].name);
            if (t->inputs[i].task == EMR_BASE)
                return emr_fail(error, EMR_EINVAL,
                                "the method '%s' needs '%s', which is not set for the base in tensor '%T' "
                                "(--set base.%s=VALUE)",
                                m->name, m->parameters[p].name, t->sample->name, m->parameters[p].name);
            return emr_fail(error, EMR_EINVAL,
                            "the method '%s' needs '%s', which is not set for task '%K' in tensor '%T' "
                            "(--set %s=VALUE sets it for all)",
                            m->name, m->parameters[p].name, emr_input_name(c, t->inputs[i].task),
                            t->sample->name, m->parameters[p].name);
        }
    return EMR_OK;
}
