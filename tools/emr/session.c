/* session.c - what nearly every command needs while it works: the pool, and progress on standard error. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"

#include <time.h>
#include <unistd.h>

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Progress is one object: a program shows one bar at a time. */
static struct {
    const char *verb, *unit; /* unit NULL: bytes */
    double start, shown;
    bool quiet, terminal, drawn;
} bar;

static void draw_bar(uint64_t done, uint64_t total, double elapsed)
{
    char a[32], b[32], rate[32];
    if (bar.unit) { /* how many there will be is known in the end */
        fprintf(stderr, bar.terminal ? "\r%s: %llu %s \x1b[K" : "%s: %llu %s\n", bar.verb,
                (unsigned long long)done, bar.unit);
        fflush(stderr);
        bar.drawn = true;
        return;
    }
    double fraction = total ? (double)done / (double)total : 0;
    fraction = fraction > 1 ? 1 : fraction;
    double left = fraction > 0 ? elapsed / fraction - elapsed : 0;
    size_text(done, a);
    size_text(total, b);
    size_text((uint64_t)(elapsed > 0 ? (double)done / elapsed : 0), rate);
    if (bar.terminal) {
        char fill[31];
        int n = (int)(fraction * 30);
        for (int i = 0; i < 30; i++)
            fill[i] = i < n ? '#' : '.';
        fill[30] = '\0';
        fprintf(stderr, "\r%s [%s] %s of %s, %s/s, %.0f s left \x1b[K", bar.verb, fill, a, b, rate, left);
    } else {
        fprintf(stderr, "%s: %s of %s, %s/s, %.0f s left\n", bar.verb, a, b, rate, left);
    }
    fflush(stderr);
    bar.drawn = true;
}

emr_status show_progress(void *user, const emr_progress *progress, emr_error *error)
{
    (void)user, (void)error;
    double t = seconds_now();
    if (!bar.quiet && t - bar.shown >= (bar.terminal ? 0.1 : 5.0)) {
        bar.shown = t;
        draw_bar(progress->done, progress->total, t - bar.start);
    }
    return interrupted ? EMR_ECANCELED : EMR_OK;
}

int session_open(session *s, const arguments *a, const char *verb)
{
    emr_error error = {.text = ""};
    emr_pool_options options = {.size = sizeof options, .threads = a->threads};
    bar.verb = verb;
    bar.start = bar.shown = seconds_now();
    bar.quiet = a->quiet;
    bar.terminal = isatty(STDERR_FILENO) == 1;
    emr_status status = emr_pool_create(&s->pool, &options, &error);
    if (status)
        return complain_status(status, &error);
    s->resources = (emr_resources){.size = sizeof s->resources,
                                   .executor = emr_pool_executor(s->pool),
                                   .progress = show_progress,
                                   .memory_bytes = a->memory};
    return EXIT_DONE;
}

void count_progress(const char *unit)
{
    hide_progress();
    bar.unit = unit;
}

void session_close(session *s)
{
    emr_pool_destroy(&s->pool);
}

void hide_progress(void)
{
    if (bar.drawn && bar.terminal)
        fprintf(stderr, "\r\x1b[K");
    bar.drawn = false;
}
