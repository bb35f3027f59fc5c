/* main.c - the program `emr`: finds the command and runs it. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

volatile int interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void handle_signals(void)
{
    /* the first asks for an orderly end; a second one ends the process, which leaves no output either */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN; /* a closed pipe is a failed write */
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL); /* and so is a limit on file sizes */
}

static const struct {
    const char *name;
    int (*run)(const arguments *a);
} commands[] = {
    {"merge", command_merge},   {"apply", command_apply},   {"inspect", command_inspect},
    {"verify", command_verify}, {"export", command_export}, {"add", command_add},
    {"drop", command_drop},
};

static int help(const char *command)
{
    for (size_t i = 0; command && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(command, commands[i].name) == 0)
            return print_help(stdout, command), EXIT_DONE;
    if (command)
        return complain(EXIT_USAGE, "%s: unknown command (see emr --help)", command);
    print_help(stdout, NULL);
    return EXIT_DONE;
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
        return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(argv[1], "--version") == 0) {
        printf("emr %s\n", emr_version());
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return run_command(i, argc - 2, argv + 2);
    return complain(EXIT_USAGE, "%s: unknown command (see emr --help)", argv[1]);
}

int main(int argc, char **argv)
{
    handle_signals();
    int status = run(argc, argv);
    if (fflush(stdout) && status == EXIT_DONE)
        status = complain(EXIT_SYSTEM, "standard output: writing failed: %s", strerror(errno));
    return status;
}
