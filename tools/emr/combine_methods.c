/* combine_methods.c - the list that `emr combine --methods` prints: what methods do, and their parameters. */
#include "combining.h"

#include <math.h>
#include <string.h>

/* In a few words; the formulas are in docs/combining.md. */
static const char *method_words(const char *name)
{
    static const struct {
        const char *name, *words;
    } all[] = {
        {"arcee_fusion", "a task's weights where they matter most, else the base's"},
        {"breadcrumbs", "task arithmetic without the largest and the smallest changes"},
        {"breadcrumbs_ties", "breadcrumbs, with signs elected as by ties"},
        {"consensus", "task arithmetic where at least k tasks agree that a weight matters (TALL masks)"},
        {"dare_linear", "task arithmetic of changes dropped at random"},
        {"dare_ties", "changes dropped at random, signs elected as by ties"},
        {"della", "as dare_ties, but small changes are dropped more often"},
        {"della_linear", "as dare_linear, but small changes are dropped more often"},
        {"karcher", "the mean on the sphere, of any number of models"},
        {"linear", "weighted average"},
        {"magmax", "of each weight the largest change"},
        {"model_stock", "the average, drawn towards the base by how much tasks differ"},
        {"multislerp", "the weighted mean on the sphere, in one step"},
        {"nearswap", "the base, moved by at most t towards the task"},
        {"nuslerp", "slerp by weights, of models or of task vectors"},
        {"passthrough", "a model as it is, or scaled"},
        {"ram", "changes of one task added, those of several averaged"},
        {"ramplus_tl", "ram, with changes of one task made larger"},
        {"sce", "the changes that differ most between tasks, weighted by their size"},
        {"slerp", "along the great circle from one model (t = 0) to another (t = 1)"},
        {"task_arithmetic", "the base plus weighted changes"},
        {"ties", "the largest changes of each task, signs elected, as in mergekit: per tensor"},
        {"ties_model", "ties as published: cut over the whole model"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i].words;
    return "";
}

static const char *base_words(const emr_method *m)
{
    static const char *const words[] = {"one more input", "required", "optional", "required"};
    return m->base < 4 ? words[m->base] : "?";
}

static json_t *number_or_null(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

static json_t *method_json(const emr_method *m)
{
    json_t *parameters = json_array();
    for (uint32_t i = 0; i < m->n_parameters; i++) {
        const emr_method_parameter *p = &m->parameters[i];
        json_array_append_new(parameters, json_pack("{s:s, s:o, s:o, s:o, s:b, s:b}", "name", p->name,
                                                    "default", number_or_null(p->initial), "least",
                                                    number_or_null(p->least), "most", number_or_null(p->most),
                                                    "per_task", p->per_task != 0, "whole", p->is_whole != 0));
    }
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "name", m->name, "does", method_words(m->name), "base",
                     base_words(m), "min_tasks", (int)(m->min_tasks ? m->min_tasks : 1), "max_tasks",
                     (int)m->max_tasks, "parameters", parameters);
}

static void print_range(const emr_method_parameter *p)
{
    const double large = 1e38; /* as good as none */
    if (is_flag(p))
        printf("; 0 or 1");
    else if (p->least > -large && p->most < large)
        printf("; %s%.9g to %.9g", p->is_whole ? "whole, " : "", p->least, p->most);
    else if (p->least > -large)
        printf("; %sat least %.9g", p->is_whole ? "whole, " : "", p->least);
}

static void print_parameter(const emr_method_parameter *p)
{
    printf("    %-18s", p->name);
    if (isnan(p->initial))
        printf(" must be set");
    else
        printf(" %.9g", p->initial);
    print_range(p);
    printf("%s\n", p->per_task ? "; for each task" : "");
}

static void print_method(const emr_method *m)
{
    printf("%-18s %s\n%-18s base: %s", m->name, method_words(m->name), "", base_words(m));
    if (m->min_tasks > 1 && m->min_tasks == m->max_tasks)
        printf("; exactly %u tasks", m->min_tasks);
    else if (m->min_tasks > 1 || m->max_tasks == 1)
        printf("; %s %u task%s", m->max_tasks == 1 ? "exactly" : "at least",
               m->max_tasks == 1 ? 1 : m->min_tasks, m->max_tasks == 1 ? "" : "s");
    putchar('\n');
    for (uint32_t i = 0; i < m->n_parameters; i++)
        print_parameter(&m->parameters[i]);
}

int list_methods(const arguments *a)
{
    json_t *methods = json_array();
    emr_error error = {.text = ""};
    const emr_method *one = NULL;
    emr_status status = a->method ? find_method(&one, a->method, &error) : EMR_OK;
    for (uint32_t i = 0; !status && emr_method_at(i); i++) {
        if (one && emr_method_at(i) != one)
            continue;
        if (a->json)
            json_array_append_new(methods, method_json(emr_method_at(i)));
        else
            print_method(emr_method_at(i));
    }
    if (!status && a->json)
        return print_json(json_pack("{s:o}", "methods", methods));
    json_decref(methods);
    return status ? complain_status(status, &error) : EXIT_DONE;
}
