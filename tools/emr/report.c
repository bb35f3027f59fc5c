/* report.c - what a merge would do, and what it did: for people and as JSON. */
#include "cli.h"
#include "remote.h"

#include <math.h>

static const char *action_name(uint32_t action)
{
    return action == EMR_ACTION_MERGE ? "merge" : action == EMR_ACTION_KEEP ? "keep" : "private";
}

/* The plan's rows, which after the run are the report's. */
static json_t *tensors_json(const emr_merge *merge)
{
    json_t *rows = json_array();
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &t) == EMR_OK; i++)
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:o, s:s, s:s, s:i, s:I}", "name", t.name, "dtype",
                                        emr_dtype_name(t.dtype), "shape", shape_json(t.rank, t.shape),
                                        "action", action_name(t.action), "reason", t.reason, "private_tasks",
                                        (int)t.n_private, "zeroed", (json_int_t)t.zeroed));
    return rows;
}

/* What there is to say of a new task before it is merged. */
static void note_task(const merge_job *j, const arguments *a, size_t task)
{
    note_missing(j, a, task);
    note_few_kept(j, a, task);
}

/* Of the tasks, before the run. */
static json_t *planned_json(const merge_job *j, const arguments *a)
{
    json_t *tasks = json_array();
    for (size_t i = 0; i < a->n_tasks; i++)
        json_array_append_new(tasks, json_pack("{s:o, s:o}", "name", text_json(a->tasks[i].name), "missing",
                                               missing_json(j, i)));
    return tasks;
}

emr_status print_merge_plan(const merge_job *j, const arguments *a, emr_error *error)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    char in[32], out[32], peak[32], shape[256];
    emr_status status = emr_merge_get_plan(j->merge, &s, error);
    if (status)
        return status;
    const share parts = count_share(j->merge, j->models, a->n_tasks, j->base);
    for (size_t i = 0; i < a->n_tasks; i++)
        note_task(j, a, i);
    note_share(a, &parts, j->base);
    if (a->json) {
        json_t *root = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I}", "base", text_json(a->base), "tasks",
                                 planned_json(j, a), "tensors", tensors_json(j->merge), "bytes_in",
                                 (json_int_t)s.bytes_in, "bytes_out_at_most", (json_int_t)s.bytes_out,
                                 "peak_memory", (json_int_t)s.peak_memory);
        add_share_json(root, &parts);
        status = print_parts_plan(j, a, root, error);
        if (!status)
            print_json(root);
        else
            json_decref(root);
        return status;
    }
    for (uint32_t i = 0; emr_merge_get_plan_tensor(j->merge, i, &t) == EMR_OK; i++) {
        printf("%-8s %-8s ", action_name(t.action), emr_dtype_name(t.dtype));
        print_name(t.name, 0);
        printf(" %s: %s\n", shape_text(t.rank, t.shape, shape), t.reason);
    }
    if (base_is_made(a)) {
        printf("the base is %.*s for ", shown_length(a->base), a->base);
        print_name(j->before ? "the bundle's first task" : a->tasks[0].name, 0);
        puts(j->before ? "'s float tensors" : "'s float tensors, and is embedded");
    }
    printf("%u tensors, %u merged; reads %s, writes at most %s, works in %s\n", s.n_tensors, s.n_merged,
           size_text(s.bytes_in, in), size_text(s.bytes_out, out), size_text(s.peak_memory, peak));
    print_share(&parts);
    return print_parts_plan(j, a, NULL, error);
}

/* What is elected is at least as large as a task's own change wherever their signs agree, so a rescaler is at
 * most 1 / the share of the change, by size, that agrees. Signs that have nothing to do with each other agree
 * in more than half of it, the task's own vote being one of them. */
static const float USUAL_RESCALER_MAX = 2;

/* Whether that holds for a new task's. */
static bool is_paper_mask(const arguments *a, size_t task)
{
    const emr_modulation_spec *s = &a->tasks[task].modulation;
    return s->kind == EMR_MODULATOR_KIND_MASK && s->mask_rule == EMR_MASK_RULE_AGREE &&
           s->rescale <= EMR_RESCALE_L2;
}

/* Tells what a user must know of even without asking. */
static void warn_of_task(const emr_task_report *r, bool by_paper)
{
    if (r->empty_mask)
        complain(0,
                 "note: task '%s' differs from the base, yet nothing of it was elected: it becomes the base",
                 r->name);
    if (by_paper && r->rescaler > USUAL_RESCALER_MAX)
        complain(
            0,
            "note: task '%s': its rescaler is %.4g, where 0.3 to 1 is usual: other tasks outvoted more than "
            "half of its change, as a few large numbers that are no weights can make it (emr inspect shows "
            "every tensor; --private keeps one out)",
            r->name, (double)r->rescaler);
    if (r->zeroed)
        complain(0, "note: task '%s': %llu values were not finite and count as unchanged", r->name,
                 (unsigned long long)r->zeroed);
}

/* What the bundle that is added to says; all zero where there is none. */
static emr_bundle_info info_before(const merge_job *j)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    if (j->before)
        emr_bundle_get_info(j->before, &info);
    return info;
}

/* What the bundle that was written says of a task; and how near it comes, which of the paper's masks may be known
 * and not in the bundle. */
static emr_status report_facts(modulator_facts *facts, const merge_job *j, const emr_bundle *written,
                               uint32_t task)
{
    emr_fidelity measured = EMR_INIT(emr_fidelity);
    emr_status status = describe_task(facts, written, task);
    if (!status)
        status = emr_merge_get_fidelity(j->merge, task, &measured);
    if (!status && !isnan(measured.error))
        facts->fidelity = measured;
    return status;
}

static emr_status print_table(const merge_job *j, const emr_bundle *written)
{
    emr_task_report r = EMR_INIT(emr_task_report);
    emr_status status = EMR_OK;
    printf("%-20s ", "task");
    print_facts_head();
    printf(" %15s\n", "rescaler");
    for (uint32_t i = 0; !status && emr_merge_get_task_report(j->merge, i, &r) == EMR_OK; i++) {
        modulator_facts facts;
        char rescaler[32];
        status = report_facts(&facts, j, written, i);
        print_name(r.name, 20);
        putchar(' ');
        print_facts(&facts);
        printf(" %15s\n", rescaler_text(written, i, rescaler));
    }
    return status;
}

/* The tasks as JSON. Rescalers are read from the bundle that was written, as emr inspect does. */
static emr_status tasks_json(json_t *tasks, const merge_job *j, const emr_bundle *written, emr_error *error)
{
    uint32_t n_before = info_before(j).n_tasks;
    emr_task_report r = EMR_INIT(emr_task_report);
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && emr_merge_get_task_report(j->merge, i, &r) == EMR_OK; i++) {
        json_t *rescaler = NULL;
        modulator_facts facts;
        status = report_facts(&facts, j, written, i);
        if (!status)
            status = rescalers_json(&rescaler, written, i, error);
        json_t *missing = i < n_before ? json_array() : missing_json(j, i - n_before);
        json_t *row = json_pack("{s:s, s:o, s:I, s:b, s:o}", "name", r.name, "rescaler",
                                rescaler ? rescaler : json_null(), "zeroed", (json_int_t)r.zeroed,
                                "empty_mask", (int)r.empty_mask, "missing", missing);
        add_facts_json(row, &facts);
        json_array_append_new(tasks, row);
    }
    return status;
}

static int print_report_json(const merge_job *j, const arguments *a, const emr_bundle *written,
                             const share *parts)
{
    emr_error error = {.text = ""};
    json_t *tasks = json_array();
    emr_status status = tasks_json(tasks, j, written, &error);
    json_t *root = json_pack("{s:o, s:o, s:o}", "output", text_json(a->output), "tasks", tasks, "tensors",
                             tensors_json(j->merge));
    add_share_json(root, parts);
    if (!status)
        return print_json(root);
    json_decref(root);
    return complain_status(status, &error);
}

int print_merge_report(const merge_job *j, const arguments *a)
{
    emr_task_report r = EMR_INIT(emr_task_report);
    emr_error error = {.text = ""};
    emr_bundle *written = NULL;
    emr_status status = EMR_OK;
    const uint32_t n_before = info_before(j).n_tasks;
    const share parts = count_share(j->merge, j->models, a->n_tasks, j->base);
    bool prints = !a->json && !a->quiet && !to_standard_output(a);
    if (prints || a->json)
        status = emr_bundle_open_file(&written, a->output, NULL, &error);
    if (!status && prints)
        status = print_table(j, written);
    if (!status && prints)
        print_share(&parts);
    for (size_t i = 0; i < a->n_tasks; i++)
        note_task(j, a, i);
    for (uint32_t i = 0; !a->quiet && emr_merge_get_task_report(j->merge, i, &r) == EMR_OK; i++)
        warn_of_task(&r, i < n_before || is_paper_mask(a, i - n_before));
    if (!a->quiet && info_before(j).extendable && !has_masks(&a->tasks[0].modulation))
        complain(0,
                 "note: tasks with masks can no longer be added to the new bundle, as they could to %.300s",
                 a->files[0]);
    note_share(a, &parts, j->base);
    int exit_status = status ? complain_status(status, &error) : EXIT_DONE;
    if (!status && a->json)
        exit_status = print_report_json(j, a, written, &parts);
    emr_bundle_destroy(&written);
    return exit_status;
}
