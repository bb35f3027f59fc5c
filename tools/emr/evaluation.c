/* evaluation.c - runs a command of the user's and reads the score that it prints. Paths reach the shell as a parameter
 * of it, never as text that it reads, so that no name can become a command. */
#define _POSIX_C_SOURCE 200809L

#include "evaluation.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { LOOK_MS = 100, LOOK_SOON_MS = 5, GRACE_SECONDS = 5, LINE_MAX_BYTES = 256 };
enum { PIPE_MAX_BYTES = 1 << 20 /* that can be in a pipe when its writer has ended */ };
enum { SHELL_CANNOT_RUN = 126, SHELL_NOT_FOUND = 127 };

/* ---- the command ---- */

/* What stands at a "{}" within quotes of some kind, so that the parameter is one word there. */
static const char *parameter_text(char quote)
{
    return quote == '\'' ? "'\"${1}\"'" : quote == '"' ? "${1}" : "\"${1}\"";
}

/* Walks over a command as the shell would and copies it, if `out`, with its places filled. The number of places. */
static size_t fill_places(const char *command, char *out)
{
    size_t n = 0;
    char quote = '\0';
    for (const char *c = command; *c; c++) {
        if (c[0] == '{' && c[1] == '}') {
            if (out)
                out = stpcpy(out, parameter_text(quote));
            n++;
            c++;
            continue;
        }
        if (*c == '\\' && quote != '\'' && c[1]) {
            if (out)
                *out++ = *c;
            c++;
        } else if (*c == '\'' || *c == '"') {
            quote = !quote ? *c : quote == *c ? '\0' : quote;
        }
        if (out)
            *out++ = *c;
    }
    if (out)
        *out = '\0';
    return n;
}

bool names_model(const char *command)
{
    return fill_places(command, NULL) > 0;
}

static char *shell_command(const char *command)
{
    char *text = malloc(4 * strlen(command) + 1); /* a place's two bytes become eight at most */
    if (text)
        fill_places(command, text);
    return text;
}

/* A path that is no option of a command, whatever it begins with. */
static char *plain_path(const char *path)
{
    char *plain = malloc(strlen(path) + sizeof "./");
    if (plain)
        strcpy(stpcpy(plain, *path == '-' ? "./" : ""), path);
    return plain;
}

/* ---- its process ---- */

typedef struct shell_process {
    pid_t id;
    int output; /* where it can be read */
    struct timespec began;
    bool is_over;
    int status; /* as waitpid has it */
} shell_process;

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + 1e-9 * (double)(now.tv_nsec - then->tv_nsec);
}

static int open_pipe(int ends[2])
{
    if (pipe(ends))
        return errno;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

/* Signals as a program expects them, though this one ignores some. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    static const int usual[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        sigaddset(&signals, usual[i]);
    int failed = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    if (!failed)
        failed = posix_spawnattr_setpgroup(attributes, 0);
    return failed ? failed : posix_spawnattr_setsigdefault(attributes, &signals);
}

static int spawn_shell(pid_t *id, char *command, char *path, int output)
{
    char *const words[] = {(char[]){"sh"}, (char[]){"-c"}, command, (char[]){"emr"}, path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (!failed) {
        failed = set_attributes(&attributes);
        if (!failed)
            failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (!failed)
            failed = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (!failed)
            failed = posix_spawn(id, "/bin/sh", &actions, &attributes, words, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static emr_status start_shell(shell_process *p, const char *command, const char *path, emr_error *error)
{
    char *text = shell_command(command), *word = plain_path(path);
    int ends[2], failed = text && word ? open_pipe(ends) : ENOMEM;
    clock_gettime(CLOCK_MONOTONIC, &p->began);
    if (!failed) {
        failed = spawn_shell(&p->id, text, word, ends[1]);
        close(ends[1]);
        if (failed)
            close(ends[0]);
        p->output = ends[0];
    }
    free(text);
    free(word);
    return failed ? emr_error_set(error, failed == ENOMEM ? EMR_ENOMEM : EMR_EIO, failed, "/bin/sh",
                                  strerror(failed))
                  : EMR_OK;
}

static bool has_ended(shell_process *p)
{
    pid_t id = p->is_over ? p->id : waitpid(p->id, &p->status, WNOHANG);
    p->is_over = p->is_over || id == p->id || (id < 0 && errno != EINTR);
    return p->is_over;
}

/* Asks the group to end, and after a while makes it. */
static void end_group(shell_process *p)
{
    struct timespec asked;
    clock_gettime(CLOCK_MONOTONIC, &asked);
    kill(-p->id, SIGTERM);
    while (!has_ended(p) && seconds_since(&asked) < GRACE_SECONDS)
        poll(NULL, 0, LOOK_MS);
    kill(-p->id, SIGKILL);
    while (!has_ended(p))
        poll(NULL, 0, LOOK_MS);
}

/* ---- what it prints ---- */

typedef struct last_line {
    char now[LINE_MAX_BYTES + 1],
        whole[LINE_MAX_BYTES + 1]; /* the line that is being read, the last one that is not blank */
    size_t n;                      /* bytes of the former, as long as they fit */
} last_line;

static bool is_blank(const char *text)
{
    return !text[strspn(text, " \t\r\n\v\f")];
}

static void end_line(last_line *l)
{
    l->now[l->n] = '\0';
    if (!is_blank(l->now))
        strcpy(l->whole, l->now);
    l->n = 0;
}

static void take_output(last_line *l, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            end_line(l);
        else if (l->n < LINE_MAX_BYTES)
            l->now[l->n++] = bytes[i] ? bytes[i] : '?';
    }
}

/* A line that did not fit is no number: its digits do not end before the buffer does. */
static bool read_score(const last_line *l, double *score)
{
    char *end;
    const char *begin = l->whole + strspn(l->whole, " \t\r\v\f");
    if (strlen(l->whole) == LINE_MAX_BYTES || !*begin ||
        strspn(begin, "0123456789+-.eE") < strcspn(begin, " \t\r\v\f"))
        return false;
    double number = strtod(begin, &end);
    if (end == begin || !is_blank(end) || !isfinite(number))
        return false;
    *score = number;
    return true;
}

/* ---- all together ---- */

typedef enum follow_end { FOLLOW_DONE, FOLLOW_TIMEOUT, FOLLOW_INTERRUPTED } follow_end;

static bool is_late(const shell_process *p, double timeout)
{
    return timeout > 0 && seconds_since(&p->began) > timeout;
}

/* Until the shell has ended, and what it printed is read: what it leaves running may hold its output open. */
static follow_end follow_shell(shell_process *p, last_line *l, double timeout)
{
    char bytes[4096];
    bool is_open = true;
    size_t left = PIPE_MAX_BYTES;
    while (is_open || !has_ended(p)) {
        struct pollfd ready = {.fd = p->output, .events = POLLIN};
        bool is_over = has_ended(p); /* before the look: all that it printed is there then */
        if (interrupted)
            return FOLLOW_INTERRUPTED;
        if (is_late(p, timeout))
            return FOLLOW_TIMEOUT;
        if (poll(&ready, is_open, is_over ? 0 : is_open ? LOOK_MS : LOOK_SOON_MS) <= 0 || !is_open) {
            if (is_over)
                break;
            continue;
        }
        ssize_t n = read(p->output, bytes, is_over && left < sizeof bytes ? left : sizeof bytes);
        is_open = n > 0 || (n < 0 && errno == EINTR);
        take_output(l, bytes, n > 0 ? (size_t)n : 0);
        left -= is_over && n > 0 ? (size_t)n : 0;
        is_open = is_open && left;
    }
    end_line(l);
    return FOLLOW_DONE;
}

static void judge_end(evaluation *e, const shell_process *p, const last_line *l)
{
    if (WIFSIGNALED(p->status)) {
        snprintf(e->why, sizeof e->why, "ended by signal %d", WTERMSIG(p->status));
    } else if (WEXITSTATUS(p->status)) {
        int status = WEXITSTATUS(p->status);
        e->is_missing = status == SHELL_CANNOT_RUN || status == SHELL_NOT_FOUND;
        snprintf(e->why, sizeof e->why, "exit status %d", status);
    } else if (!*l->whole) {
        snprintf(e->why, sizeof e->why, "it printed nothing");
    } else if (!read_score(l, &e->score)) {
        snprintf(e->why, sizeof e->why, "its last line is no number: '%.100s'", l->whole);
    }
}

emr_status run_evaluation(evaluation *e, const char *command, const char *path, double timeout,
                          emr_error *error)
{
    shell_process p = {.id = -1};
    last_line l = {.n = 0};
    *e = (evaluation){.score = (double)NAN};
    emr_status status = start_shell(&p, command, path, error);
    if (status)
        return status;
    follow_end end = follow_shell(&p, &l, timeout);
    if (end != FOLLOW_DONE)
        end_group(&p);
    close(p.output);
    e->seconds = seconds_since(&p.began);
    if (end == FOLLOW_INTERRUPTED)
        return emr_error_set(error, EMR_ECANCELED, 0, NULL, "interrupted");
    if (end == FOLLOW_TIMEOUT)
        snprintf(e->why, sizeof e->why, "not done after %g s", timeout);
    else
        judge_end(e, &p, &l);
    return EMR_OK;
}
