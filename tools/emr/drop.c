/* drop.c - `emr drop`: a bundle without some of its tasks. */
#include "cli.h"

#include <stdlib.h>

static int check_usage(const arguments *a)
{
    int exit_status = check_one_file(a, "BUNDLE");
    if (exit_status)
        return exit_status;
    if (!a->n_tasks)
        return complain(EXIT_USAGE, "drop: --task NAME is missing");
    if (!a->output)
        return complain(EXIT_USAGE, "drop: -o OUT.emr is missing");
    if (a->json && to_standard_output(a))
        return complain(EXIT_USAGE, "drop: --json and -o - both want standard output");
    return EXIT_DONE;
}

static emr_status find_tasks(const emr_bundle *b, const arguments *a, uint32_t *tasks, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        status = find_task(b, a->tasks[i].name, &tasks[i], error);
    return status;
}

static emr_status write_bundle(const emr_bundle *b, const arguments *a, const emr_task_selection *dropped,
                               emr_drop_report *report, emr_error *error)
{
    const emr_io *io;
    emr_file *file;
    emr_status status = open_output(&io, &file, a, error);
    if (!status)
        status = emr_bundle_drop(b, dropped, io, report, error);
    if (!status)
        status = commit_output(file, error);
    emr_file_close(&file);
    return status;
}

static json_t *report_json(const arguments *a, size_t left, const emr_drop_report *r)
{
    json_t *dropped = json_array();
    for (size_t i = 0; i < a->n_tasks; i++)
        json_array_append_new(dropped, text_json(a->tasks[i].name));
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:b}", "output", text_json(a->output), "dropped",
                     dropped, "tasks_left", (json_int_t)left, "unified", (json_int_t)r->unified, "alone",
                     (json_int_t)r->alone, "shared", (json_int_t)r->shared, "lost_growth",
                     (int)r->lost_growth, "lost_unified", (int)r->lost_unified);
}

/* Whether a dropped task had a part in the unified vector. */
static bool shared_unified(const emr_bundle *b, const arguments *a)
{
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    uint32_t task;
    for (size_t i = 0; i < a->n_tasks; i++)
        if (emr_bundle_find_task(b, a->tasks[i].name, &task, NULL) == EMR_OK &&
            emr_bundle_get_modulation(b, task, &spec, NULL) == EMR_OK && has_masks(&spec))
            return true;
    return false;
}

static int print_report(const emr_bundle *b, const arguments *a, const emr_drop_report *r)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_bundle_get_info(b, &info);
    size_t left = info.n_tasks - a->n_tasks;
    const char *gone = a->n_tasks == 1 ? "it" : "they", *without = a->n_tasks == 1 ? "it" : "them";
    if (a->json)
        return print_json(report_json(a, left, r));
    if (a->quiet || to_standard_output(a))
        return EXIT_DONE;
    for (size_t i = 0; i < a->n_tasks; i++) {
        printf("%s'", i ? ", " : "dropped ");
        print_name(a->tasks[i].name, 0);
        printf("'");
    }
    printf("; %zu %s, %s weights are unchanged\n", left, left == 1 ? "task stays" : "tasks stay",
           left == 1 ? "its" : "their");
    if (!shared_unified(b, a))
        printf("Nothing else depended on %s.\n", without);
    else if (r->lost_unified)
        printf("No task that stays uses the unified vector, so the new bundle has none.\n");
    else
        printf(
            "Merging anew without %s would elect anew up to %llu of %llu unified values: %llu that only %s "
            "used (they are dead weight now), and %llu shared with others (their magnitude may shrink, their "
            "sign may change); and with them every rescaler of what stays.\n",
            without, (unsigned long long)(r->alone + r->shared), (unsigned long long)r->unified,
            (unsigned long long)r->alone, gone, (unsigned long long)r->shared);
    if (r->lost_growth)
        printf("Tasks with masks can no longer be added to it.\n");
    return EXIT_DONE;
}

int command_drop(const arguments *a)
{
    session s;
    emr_bundle *bundle = NULL;
    emr_error error = {.text = ""};
    emr_drop_report report = EMR_INIT(emr_drop_report);
    int exit_status = check_usage(a);
    if (!exit_status)
        exit_status = check_places(a);
    if (!exit_status)
        exit_status = session_open(&s, a, "dropping");
    if (exit_status)
        return exit_status;
    uint32_t *tasks = calloc(a->n_tasks, sizeof *tasks);
    const emr_task_selection dropped = {
        .size = sizeof dropped, .resources = &s.resources, .tasks = tasks, .n_tasks = (uint32_t)a->n_tasks};
    emr_status status = tasks ? emr_bundle_open_file(&bundle, a->files[0], NULL, &error) : EMR_ENOMEM;
    if (!status)
        status = find_tasks(bundle, a, tasks, &error);
    if (!status)
        status = write_bundle(bundle, a, &dropped, &report, &error);
    hide_progress();
    exit_status = status ? complain_status(status, &error) : print_report(bundle, a, &report);
    emr_bundle_destroy(&bundle);
    free(tasks);
    session_close(&s);
    return exit_status;
}
