/* main.c - the program `emr`: finds the command and runs it. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

atomic_int interrupted;

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

/* Where standard output was closed, its number must not become that of a file that we open: what is
 * printed would go there. To this one it cannot be written. */
static void fill_descriptors(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDONLY);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0)
        close(descriptor);
}

/* A model keeps few of its files open, but there may be hundreds of models. Some systems accept no more than
 * OPEN_MAX. */
static void raise_file_limit(void)
{
    enum { ENOUGH = 65536, EVERYWHERE = 10240 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    const rlim_t wanted[] = {limit.rlim_max < ENOUGH ? limit.rlim_max : ENOUGH, EVERYWHERE};
    for (size_t i = 0; i < 2 && wanted[i] > limit.rlim_cur; i++) {
        const struct rlimit raised = {.rlim_cur = wanted[i], .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            return;
    }
}

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
    {"fit surgery", command_fit}, {"fit coefficients", command_fit},
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

/* What was printed is out, or failed with the reason that a write, or at last the closing, gave. */
static int close_output(int status)
{
    bool failed = ferror(stdout);
    errno = failed ? EIO : 0; /* unless the rest fails too, with the reason */
    failed = fflush(stdout) || failed;
    int reason = errno;
    if (close(STDOUT_FILENO) && errno != EBADF && !failed) {
        failed = true;
        reason = errno;
    }
    return failed && status == EXIT_DONE
               ? complain(EXIT_SYSTEM, "standard output: writing failed: %s", strerror(reason))
               : status;
}

int main(int argc, char **argv)
{
    fill_descriptors();
    handle_signals();
    raise_file_limit();
    int status = run(argc, argv);
    close_remote();
    return close_output(status);
}
