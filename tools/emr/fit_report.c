/* fit_report.c - what `emr fit` would do, and what it did: for people and as JSON. */
#include "fitting.h"

#include <math.h>
#include <string.h>

/* --- Specs ------------------------------------------------------------------------------------------------ */

static json_t *groups_json(const emr_permutation_spec *spec)
{
    json_t *rows = json_array();
    emr_unit_group g = EMR_INIT(emr_unit_group);
    for (uint32_t i = 0; emr_permutation_spec_get_group(spec, i, &g) == EMR_OK; i++)
        json_array_append_new(
            rows, g.n_units ? json_pack("{s:o, s:I, s:i}", "name", text_json(g.name), "units",
                                        (json_int_t)g.n_units, "blocks", (int)g.n_blocks)
                            : json_pack("{s:o, s:i, s:i, s:i, s:b}", "name", text_json(g.name), "heads",
                                        (int)g.n_heads, "kv_heads", (int)g.n_kv_heads, "head_dim",
                                        (int)g.head_dim, "fixed_qk", g.fixed_qk != 0));
    return rows;
}

static json_t *layers_json(const emr_permutation_spec *spec)
{
    json_t *rows = json_array();
    emr_fit_layer l = EMR_INIT(emr_fit_layer);
    for (uint32_t i = 0; emr_permutation_spec_get_layer(spec, i, &l) == EMR_OK; i++)
        json_array_append_new(rows, json_pack("{s:o, s:o, s:o, s:i}", "weight", text_json(l.weight), "bias",
                                              l.bias ? text_json(l.bias) : json_null(), "site",
                                              text_json(l.site), "input_axis", (int)l.input_axis));
    return rows;
}

static void print_groups(const emr_permutation_spec *spec)
{
    emr_unit_group g = EMR_INIT(emr_unit_group);
    for (uint32_t i = 0; emr_permutation_spec_get_group(spec, i, &g) == EMR_OK; i++) {
        print_name(g.name, 40);
        if (g.n_units)
            printf(" %llu units", (unsigned long long)g.n_units);
        else
            printf(" %u heads, %u of keys and values, of %u dimensions", g.n_heads, g.n_kv_heads, g.head_dim);
        if (g.n_units && g.n_blocks > 1)
            printf(" in %u blocks", g.n_blocks);
        printf(g.fixed_qk ? " that are fixed in q and k\n" : "\n");
    }
}

static int print_spec(const fit_job *j, const arguments *a, const char *output)
{
    json_t *root = json_object();
    if (a->json) {
        json_object_set_new(root, "output", output ? text_json(output) : json_null());
        json_object_set_new(root, "groups", groups_json(j->spec));
        json_object_set_new(root, "layers", layers_json(j->spec));
        return print_json(root);
    }
    json_decref(root);
    if (!output)
        print_groups(j->spec);
    else if (a->quiet || strcmp(output, "-") == 0)
        return EXIT_DONE;
    printf("%s%s%u groups, %u layers\n", output ? output : "", output ? ": " : "",
           emr_permutation_spec_n_groups(j->spec), emr_permutation_spec_n_layers(j->spec));
    return EXIT_DONE;
}

/* --- Merged models ---------------------------------------------------------------------------------------- */

static bool is_solved(const fit_job *j, const arguments *a, const char *name)
{
    bool solves_biases = strcmp(a->command, "fit regmean") != 0 || a->fit.bias == EMR_FIT_BIAS_FIT;
    for (uint32_t i = 0; i < j->n_layers; i++)
        if (strcmp(j->layers[i].weight, name) == 0 ||
            (solves_biases && j->layers[i].bias && strcmp(j->layers[i].bias, name) == 0))
            return true;
    return false;
}

/* Layers that were not left out. */
static uint32_t count_solved(const fit_job *j)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->n_layers; i++)
        n += emr_model_find_tensor(j->merged, j->layers[i].weight) != NULL;
    return n;
}

static const char *action_of(const fit_job *j, const arguments *a, const emr_tensor *t)
{
    return is_solved(j, a, emr_tensor_name(t))       ? "solve"
           : emr_dtype_is_float(emr_tensor_dtype(t)) ? "mean"
                                                     : "copy";
}

static json_t *tensors_json(const fit_job *j, const arguments *a)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < emr_model_n_tensors(j->merged); i++) {
        const emr_tensor *t = emr_model_tensor(j->merged, i);
        if (!side_file_name(emr_tensor_name(t)))
            json_array_append_new(rows,
                                  json_pack("{s:o, s:s, s:o, s:s}", "name", text_json(emr_tensor_name(t)),
                                            "dtype", emr_dtype_name(emr_tensor_dtype(t)), "shape",
                                            shape_json(emr_tensor_rank(t), emr_tensor_shape(t)), "action",
                                            action_of(j, a, t)));
    }
    return rows;
}

/* "matched", where something was. */
static void add_match_json(json_t *root, const fit_job *j)
{
    if (j->match.n_groups)
        json_object_set_new(root, "matched",
                            json_pack("{s:i, s:i, s:o}", "groups", (int)j->match.n_groups, "rounds",
                                      (int)j->match.n_rounds, "value",
                                      isfinite(j->match.value) ? json_real(j->match.value) : json_null()));
}

static void print_match(const fit_job *j, const arguments *a)
{
    if (!j->match.n_groups || a->quiet)
        return;
    printf("%u of %u groups matched", j->match.n_groups, emr_permutation_spec_n_groups(j->spec));
    if (j->match.n_rounds)
        printf(" in %u round%s", j->match.n_rounds, j->match.n_rounds == 1 ? "" : "s");
    printf(": %.6g\n", j->match.value);
}

/* "fitted", where something was. */
static void add_surgery_json(json_t *root, const fit_job *j)
{
    if (j->surgery.n_steps)
        json_object_set_new(root, "fitted",
                            json_pack("{s:I, s:I, s:f, s:f}", "samples", (json_int_t)j->n_samples, "steps",
                                      (json_int_t)j->surgery.n_steps, "loss_before", j->surgery.loss_before,
                                      "loss_after", j->surgery.loss_after));
}

static void print_surgery(const fit_job *j, const arguments *a)
{
    if (j->surgery.n_steps && !a->quiet)
        printf("%llu steps on %zu samples: loss %.6g, before %.6g\n", (unsigned long long)j->surgery.n_steps,
               j->n_samples, j->surgery.loss_after, j->surgery.loss_before);
}

static bool is_solving(const arguments *a)
{
    return strcmp(a->command, "fit regmean") == 0 || strcmp(a->command, "fit pleas") == 0;
}

static void print_tensors(const fit_job *j, const arguments *a)
{
    char shape[256];
    for (uint32_t i = 0; i < emr_model_n_tensors(j->merged); i++) {
        const emr_tensor *t = emr_model_tensor(j->merged, i);
        if (side_file_name(emr_tensor_name(t)))
            continue;
        printf("%-6s %-5s ", action_of(j, a, t), emr_dtype_name(emr_tensor_dtype(t)));
        print_name(emr_tensor_name(t), 0);
        printf(" %s\n", shape_text(emr_tensor_rank(t), emr_tensor_shape(t), shape));
    }
}

int print_fit_plan(const fit_job *j, const arguments *a)
{
    if (!j->merged)
        return print_spec(j, a, NULL);
    const model_size size = measure_model(j->merged);
    if (a->json) {
        json_t *root =
            json_pack("{s:o, s:I}", "tensors", tensors_json(j, a), "bytes_out", (json_int_t)size.bytes);
        add_match_json(root, j);
        return print_json(root);
    }
    char text[32];
    print_tensors(j, a);
    print_match(j, a);
    printf("%u tensors, %u layers solved; writes %s\n", size.n_tensors, count_solved(j),
           size_text(size.bytes, text));
    return EXIT_DONE;
}

static json_t *report_json(const fit_job *j, const arguments *a, json_t *written, json_t *aligned)
{
    const model_size size = measure_model(j->merged);
    json_t *root = a->output ? written_json(&size, a, written) : json_object();
    if (is_solving(a))
        json_object_set_new(root, "tensors", tensors_json(j, a)); /* in place of their number */
    add_match_json(root, j);
    add_surgery_json(root, j);
    if (j->aligned) {
        const model_size other = measure_model(j->aligned);
        arguments second = *a;
        second.output = a->fit.aligned;
        json_object_set_new(root, "aligned", written_json(&other, &second, aligned));
    }
    return root;
}

int print_fit_report(const fit_job *j, const arguments *a, json_t *written, json_t *aligned)
{
    if (!j->merged)
        return print_spec(j, a, a->output);
    if (a->json)
        return print_json(report_json(j, a, written, aligned));
    const model_size size = measure_model(j->merged);
    arguments second = *a;
    second.output = a->fit.aligned;
    if (!a->output || !to_standard_output(a)) {
        print_match(j, a);
        print_surgery(j, a);
    }
    if (a->output)
        print_written(&size, a, written);
    if (j->aligned) {
        const model_size other = measure_model(j->aligned);
        print_written(&other, &second, aligned);
    }
    return EXIT_DONE;
}
