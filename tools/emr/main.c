/* main.c - the program `emr`: finds the command and runs it. */
#include "cli.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(const arguments *a);
} commands[] = {
    {"merge", command_merge},     {"apply", command_apply},          {"inspect", command_inspect},
    {"verify", command_verify},   {"export", command_export},        {"add", command_add},
    {"drop", command_drop},       {"combine", command_combine},      {"search", command_search},
    {"kinship", command_kinship}, {"report", command_report},        {"fit spec", command_fit},
    {"fit match", command_fit},   {"fit permute", command_fit},      {"fit regmean", command_fit},
    {"fit pleas", command_fit},   {"fit zip", command_fit},          {"fit spectral", command_fit},
    {"fit surgery", command_fit}, {"fit coefficients", command_fit}, {"join", command_join},
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

/* The command that the first words name, and how many of them: commands of `emr fit` have two. */
static size_t find_command(int n, char **words, int *used)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const char *name = commands[i].name, *space = strchr(name, ' ');
        *used = space ? 2 : 1;
        if (!space && strcmp(words[0], name) == 0)
            return i;
        if (space && n > 1 && strlen(words[0]) == (size_t)(space - name) &&
            strncmp(words[0], name, (size_t)(space - name)) == 0 && strcmp(words[1], space + 1) == 0)
            return i;
    }
    return N_COMMANDS;
}

static int help(int n, char **words)
{
    int used;
    size_t i = n ? find_command(n, words, &used) : N_COMMANDS;
    bool is_fit_itself = n == 1 && strcmp(words[0], "fit") == 0;
    if (n && i == N_COMMANDS && !is_fit_itself)
        return complain(EXIT_USAGE, "%s: unknown command (see emr --help)", words[0]);
    print_help(stdout, is_fit_itself ? "fit" : n ? commands[i].name : NULL);
    return EXIT_DONE;
}

/* `emr fit` without a command of its own. */
static int run_fit(int n, char **words)
{
    if (n && (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0))
        return print_help(stdout, "fit"), EXIT_DONE;
    return complain(EXIT_USAGE, "fit: %s%s (see emr fit --help)", n ? words[0] : "",
                    n ? ": unknown command" : "what is to be done is missing");
}

static int run_command(size_t i, int argc, char **argv)
{
    arguments a = {.command = commands[i].name};
    int status = parse_arguments(&a, argc, argv);
    if (status == EXIT_DONE && a.help)
        print_help(stdout, a.command);
    else if (status == EXIT_DONE && a.version)
        printf("emr %s\n", emr_version());
    else if (status == EXIT_DONE)
        status = commands[i].run(&a);
    free_arguments(&a);
    return status;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr, NULL);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return help(argc - 2, argv + 2);
    if (strcmp(argv[1], "--version") == 0) {
        printf("emr %s\n", emr_version());
        return EXIT_DONE;
    }
    int used;
    size_t i = find_command(argc - 1, argv + 1, &used);
    if (i < N_COMMANDS)
        return run_command(i, argc - 1 - used, argv + 1 + used);
    if (strcmp(argv[1], "fit") == 0)
        return run_fit(argc - 2, argv + 2);
    return complain(EXIT_USAGE, "%s: unknown command (see emr --help)", argv[1]);
}

int main(int argc, char **argv)
{
    start_process();
    return finish_process(run(argc, argv));
}
