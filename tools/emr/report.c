/* report.c - what a merge would do, and what it did: for people and as JSON. */
#include "cli.h"

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

emr_status print_merge_plan(const merge_job *j, const arguments *a, emr_error *error)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    char in[32], out[32], peak[32], shape[256];
    emr_status status = emr_merge_get_plan(j->merge, &s, error);
    if (status)
        return status;
    if (a->json) {
        print_json(json_pack("{s:o, s:o, s:I, s:I, s:I, s:I}", "base", text_json(a->base), "tensors",
                             tensors_json(j->merge), "merged_params", (json_int_t)s.merged_params, "bytes_in",
                             (json_int_t)s.bytes_in, "bytes_out_at_most", (json_int_t)s.bytes_out,
                             "peak_memory", (json_int_t)s.peak_memory));
        return EMR_OK;
    }
    for (uint32_t i = 0; emr_merge_get_plan_tensor(j->merge, i, &t) == EMR_OK; i++) {
        printf("%-8s %-8s ", action_name(t.action), emr_dtype_name(t.dtype));
        print_name(t.name, 0);
        printf(" %s: %s\n", shape_text(t.rank, t.shape, shape), t.reason);
    }
    if (base_is_zeros(a)) {
        printf("the base is zeros for ");
        print_name(j->before ? "the bundle's first task" : a->tasks[0].name, 0);
        puts(j->before ? "'s float tensors" : "'s float tensors, and is embedded");
    }
    printf("%u tensors, %u merged with %llu parameters; reads %s, writes at most %s, works in %s\n",
           s.n_tensors, s.n_merged, (unsigned long long)s.merged_params, size_text(s.bytes_in, in),
           size_text(s.bytes_out, out), size_text(s.peak_memory, peak));
    return EMR_OK;
}

/* Tells what a user must know of even without asking. */
static void warn(const emr_task_report *r)
{
    if (r->empty_mask)
        complain(0,
                 "note: task '%s' differs from the base, yet nothing of it was elected: it becomes the base",
                 r->name);
    if (r->zeroed)
        complain(0, "note: task '%s': %llu values were not finite and count as unchanged", r->name,
                 (unsigned long long)r->zeroed);
}

int print_merge_report(const merge_job *j, const arguments *a)
{
    emr_plan_summary s = EMR_INIT(emr_plan_summary);
    emr_task_report r = EMR_INIT(emr_task_report);
    json_t *tasks = json_array();
    emr_merge_get_plan(j->merge, &s, NULL);
    double params = s.merged_params ? (double)s.merged_params : 1;
    emr_rescale_per per = a->merge.rescale_per;
    if (j->before) {
        emr_bundle_info info = EMR_INIT(emr_bundle_info);
        emr_bundle_get_info(j->before, &info);
        per = info.rescale_per;
    }
    bool per_model = per == EMR_RESCALE_PER_MODEL;
    bool text = !a->json && !a->quiet && !to_standard_output(a);
    if (text)
        printf("%-20s %12s %8s\n", "task", "rescaler", "density");
    for (uint32_t i = 0; emr_merge_get_task_report(j->merge, i, &r) == EMR_OK; i++) {
        double density = (double)r.mask_ones / params;
        char rescaler[32];
        if (per_model)
            snprintf(rescaler, sizeof rescaler, "%.6f", (double)r.rescaler);
        else
            snprintf(rescaler, sizeof rescaler, "per %s", per_name(per));
        if (text) {
            print_name(r.name, 20);
            printf(" %12s %8.4f\n", rescaler, density);
        }
        if (!a->quiet)
            warn(&r);
        json_array_append_new(tasks,
                              json_pack("{s:s, s:o, s:f, s:I, s:b}", "name", r.name, "rescaler",
                                        per_model ? json_real((double)r.rescaler) : json_null(), "density",
                                        density, "zeroed", (json_int_t)r.zeroed, "empty_mask", r.empty_mask));
    }
    int exit_status = EXIT_DONE;
    if (a->json)
        exit_status = print_json(json_pack("{s:o, s:O, s:o, s:I}", "output", text_json(a->output), "tasks",
                                           tasks, "tensors", tensors_json(j->merge), "merged_params",
                                           (json_int_t)s.merged_params));
    json_decref(tasks);
    return exit_status;
}
