/* combine_report.c - what `emr combine` would do, and what it did: for people and as JSON. */
#include "combining.h"

static const char *combined_action_name(uint32_t action)
{
    return action == EMR_COMBINED_ACTION_COMBINE ? "combine"
           : action == EMR_COMBINED_ACTION_HEAD  ? "head"
                                                 : "copy";
}

/* The plans of all parts, added up. */
static emr_status sum_plans(const combine_job *j, emr_combination_plan *sum, emr_error *error)
{
    emr_status status = EMR_OK;
    *sum = EMR_INIT(emr_combination_plan);
    for (size_t i = 0; !status && i < j->n_parts; i++) {
        emr_combination_plan plan = EMR_INIT(emr_combination_plan);
        status = emr_combination_get_plan(j->parts[i].combination, &plan, error);
        sum->combined_params += plan.combined_params;
        sum->bytes_in += plan.bytes_in;
        sum->bytes_out += plan.bytes_out;
        sum->n_tensors += plan.n_tensors;
        sum->n_combined += plan.n_combined;
        sum->peak_memory += plan.peak_memory; /* readers keep what they have until the end */
    }
    return status;
}

static json_t *combined_tensor_json(const emr_combined_tensor *t)
{
    return json_pack("{s:o, s:s, s:o, s:s, s:s, s:i, s:i}", "name", text_json(t->name), "dtype",
                     emr_dtype_name(t->dtype), "shape", shape_json(t->rank, t->shape), "action",
                     combined_action_name(t->action), "reason", t->reason, "inputs", (int)t->n_inputs,
                     "reads", (int)t->n_reads);
}

static json_t *combined_tensors_json(const combine_job *j)
{
    json_t *rows = json_array();
    emr_combined_tensor t = EMR_INIT(emr_combined_tensor);
    for (size_t p = 0; p < j->n_parts; p++)
        for (uint32_t i = 0; emr_combination_get_tensor(j->parts[p].combination, i, &t) == EMR_OK; i++)
            if (!side_file_name(t.name))
                json_array_append_new(rows, combined_tensor_json(&t));
    return rows;
}

static json_t *argument_models_json(const arguments *a)
{
    json_t *tasks = json_array();
    for (size_t i = 0; i < a->n_tasks; i++)
        json_array_append_new(tasks, json_pack("{s:o, s:o}", "name", text_json(a->tasks[i].name),
                                               "checkpoint", text_json(a->tasks[i].path)));
    return json_pack("{s:o, s:o}", "base", a->base ? text_json(a->base) : json_null(), "tasks", tasks);
}

/* What plan and report have in common. */
static json_t *combine_json(const combine_job *j, const arguments *a, const emr_combination_plan *plan)
{
    json_t *root = a->config ? recipe_models_json(j->recipe) : argument_models_json(a);
    json_object_set_new(root, "method", json_string(j->method->name));
    json_object_set_new(root, "combined_params", json_integer((json_int_t)plan->combined_params));
    json_object_set_new(root, "combined_tensors", json_integer((json_int_t)plan->n_combined));
    json_object_set_new(root, "tensors", combined_tensors_json(j));
    return root;
}

static void note_nothing(const arguments *a, const emr_combination_plan *plan)
{
    if (!plan->n_combined && !a->quiet)
        complain(0, "note: nothing is combined: no tensor is a weight that all models have as floats");
}

static void print_combined_tensors(const combine_job *j)
{
    char shape[256];
    emr_combined_tensor t = EMR_INIT(emr_combined_tensor);
    for (size_t p = 0; p < j->n_parts; p++) {
        for (uint32_t i = 0; emr_combination_get_tensor(j->parts[p].combination, i, &t) == EMR_OK; i++) {
            printf("%-8s %-8s ", combined_action_name(t.action), emr_dtype_name(t.dtype));
            print_name(t.name, 0);
            printf(" %s: %s\n", shape_text(t.rank, t.shape, shape), t.reason);
        }
    }
}

emr_status print_combine_plan(const combine_job *j, const arguments *a, emr_error *error)
{
    emr_combination_plan plan;
    char in[32], out[32], peak[32];
    emr_status status = sum_plans(j, &plan, error);
    if (status)
        return status;
    note_nothing(a, &plan);
    if (a->json) {
        json_t *root = combine_json(j, a, &plan);
        json_object_set_new(root, "bytes_in", json_integer((json_int_t)plan.bytes_in));
        json_object_set_new(root, "bytes_out", json_integer((json_int_t)plan.bytes_out));
        json_object_set_new(root, "peak_memory", json_integer((json_int_t)plan.peak_memory));
        print_json(root);
        return EMR_OK;
    }
    print_combined_tensors(j);
    printf("%u tensors, %u combined by %s; reads %s, writes %s, works in at most %s\n", plan.n_tensors,
           plan.n_combined, j->method->name, size_text(plan.bytes_in, in), size_text(plan.bytes_out, out),
           size_text(plan.peak_memory, peak));
    return EMR_OK;
}

int print_combine_report(const combine_job *j, const arguments *a, json_t *written)
{
    emr_combination_plan plan;
    emr_error error = {.text = ""};
    const model_size size = measure_model(j->model);
    emr_status status = sum_plans(j, &plan, &error);
    if (status)
        return complain_status(status, &error);
    note_nothing(a, &plan);
    if (!a->json) {
        print_written(&size, a, written);
        return EXIT_DONE;
    }
    json_t *root = combine_json(j, a, &plan), *rows = json_object_get(root, "tensors");
    json_t *about = written_json(&size, a, written);
    json_object_set(about, "tensors", rows); /* in place of their number */
    json_object_update(root, about);
    json_decref(about);
    return print_json(root);
}
