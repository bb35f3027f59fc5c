/* join.c - `emr join`: the parts of a merge become its bundle. */
#include "cli.h"

#include <stdlib.h>

static int check_usage(const arguments *a)
{
    if (!a->n_files)
        return complain(EXIT_USAGE, "join: the PARTs are missing");
    if (!a->output)
        return complain(EXIT_USAGE, "join: -o OUT.emr is missing");
    if (a->json && to_standard_output(a))
        return complain(EXIT_USAGE, "join: --json and -o - both want standard output");
    return EXIT_DONE;
}

static emr_status add_parts(emr_join *join, emr_file **files, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < a->n_files; i++) {
        status = emr_file_open(&files[i], a->files[i], NULL, error);
        if (!status)
            status = emr_join_add_part(join, emr_file_io(files[i]), a->files[i], error);
    }
    return status;
}

static emr_status join_parts(emr_join *join, const arguments *a, emr_error *error)
{
    const emr_io *io;
    emr_file *file;
    emr_status status = open_output(&io, &file, a, error);
    if (!status)
        status = emr_join_set_output(join, io, error);
    if (!status)
        status = emr_join_run(join, error);
    if (!status)
        status = commit_output(file, error);
    emr_file_close(&file);
    return status;
}

static int print_report(const arguments *a)
{
    if (a->json)
        return print_json(
            json_pack("{s:o, s:I}", "output", text_json(a->output), "parts", (json_int_t)a->n_files));
    if (!a->quiet && !to_standard_output(a))
        printf("joined %zu %s\n", a->n_files, a->n_files == 1 ? "part" : "parts");
    return EXIT_DONE;
}

int command_join(const arguments *a)
{
    session s;
    emr_join *join = NULL;
    emr_error error = {.text = ""};
    int exit_status = check_usage(a);
    if (!exit_status)
        exit_status = check_places(a);
    if (!exit_status)
        exit_status = session_open(&s, a, "joining");
    if (exit_status)
        return exit_status;
    emr_file **files = calloc(a->n_files, sizeof(emr_file *));
    emr_status status = files ? emr_join_create(&join, &s.resources, &error) : EMR_ENOMEM;
    if (!status)
        status = add_parts(join, files, a, &error);
    if (!status)
        status = join_parts(join, a, &error);
    hide_progress();
    exit_status = status ? complain_status(status, &error) : print_report(a);
    emr_join_destroy(&join);
    for (size_t i = 0; files && i < a->n_files; i++)
        emr_file_close(&files[i]);
    free(files);
    session_close(&s);
    return exit_status;
}
