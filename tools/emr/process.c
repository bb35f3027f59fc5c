/* process.c - what a program asks of the system first, signals, descriptors and limits, and how it ends. */
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

void start_process(void)
{
    fill_descriptors();
    handle_signals();
    raise_file_limit();
}

/* What was printed failed with the reason that a write, or at last the closing, gave. */
int finish_process(int status)
{
    close_remote();
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
