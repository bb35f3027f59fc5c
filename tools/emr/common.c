/* common.c - error lines, the pool, progress, standard output, and words for numbers. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

int complain(int exit_status, const char *format, ...)
{
    char text[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "emr: %s\n", text);
    return exit_status;
}

static int exit_status_of(emr_status status)
{
    switch (status) {
    case EMR_OK:
        return EXIT_DONE;
    case EMR_EINVAL:
    case EMR_ENOTFOUND:
    case EMR_ESTATE:
    case EMR_ELIMIT:
    case EMR_EEXIST:
        return EXIT_USAGE;
    case EMR_ENOMEM:
    case EMR_EIO:
        return EXIT_SYSTEM;
    case EMR_ECANCELED:
        return EXIT_INTERRUPTED;
    case EMR_EFORMAT:
    case EMR_ECORRUPT:
    case EMR_EVERSION:
    case EMR_EMISMATCH:
    case EMR_ENONFINITE:
    case EMR_EUNSUPPORTED:
        break;
    }
    return EXIT_DATA;
}

int complain_status(emr_status status, const emr_error *error)
{
    if (status == EMR_ECANCELED)
        return complain(EXIT_INTERRUPTED, "interrupted");
    if (status == EMR_EEXIST && strstr(error->text, "already exists"))
        return complain(EXIT_USAGE, "%s (--force overwrites it)", error->text);
    return complain(exit_status_of(status), "%s", error->text[0] ? error->text : emr_status_text(status));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Progress is one object: a program shows one bar at a time. */
static struct {
    const char *verb;
    double start, shown;
    bool quiet, terminal, drawn;
} bar;

static void draw(uint64_t done, uint64_t total, double elapsed)
{
    char a[32], b[32], rate[32];
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

static int show_progress(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    double t = now();
    if (!bar.quiet && t - bar.shown >= (bar.terminal ? 0.1 : 5.0)) {
        bar.shown = t;
        draw(done, total, t - bar.start);
    }
    return interrupted;
}

int session_open(session *s, const arguments *a, const char *verb)
{
    emr_error error = {{0}};
    *s = (session){.progress = show_progress};
    bar.verb = verb;
    bar.start = bar.shown = now();
    bar.quiet = a->quiet;
    bar.terminal = isatty(STDERR_FILENO) == 1;
    emr_status status = emr_pool_create(&s->pool, a->threads, NULL, &error);
    if (status)
        return complain_status(status, &error);
    s->executor = emr_pool_executor(s->pool);
    return EXIT_DONE;
}

void session_close(session *s)
{
    if (bar.drawn && bar.terminal)
        fprintf(stderr, "\r\x1b[K");
    bar.drawn = false;
    emr_pool_destroy(&s->pool);
}

static int write_standard_output(void *user, uint64_t offset, const void *source, size_t n)
{
    (void)user, (void)offset; /* every writer goes front to back */
    return fwrite(source, 1, n, stdout) == n ? 0 : -1;
}

emr_io standard_output(void)
{
    emr_io io = EMR_INIT(emr_io);
    io.write = write_standard_output;
    return io;
}

void print_name(const char *text, int width)
{
    for (; *text; text++, width--)
        putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
    for (; width > 0; width--)
        putchar(' ');
}

const char *size_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *shape_text(uint32_t rank, const uint64_t *shape, char text[256])
{
    size_t n = (size_t)snprintf(text, 256, "[");
    for (uint32_t i = 0; i < rank && n < 220; i++)
        n += (size_t)snprintf(text + n, 256 - n, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    snprintf(text + n, 256 - n, "]");
    return text;
}

json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    char ascii[1024];
    size_t n = 0;
    for (; !value && text[n] && n + 1 < sizeof ascii; n++)
        ascii[n] = (unsigned char)text[n] < 0x80 ? text[n] : '?';
    ascii[n] = '\0';
    return value ? value : json_string(ascii);
}

json_t *shape_json(uint32_t rank, const uint64_t *shape)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < rank; i++)
        json_array_append_new(array, json_integer((json_int_t)shape[i]));
    return array;
}

int print_json(json_t *root)
{
    int failed = !root || json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    return failed ? complain(EXIT_SYSTEM, "the JSON could not be written") : EXIT_DONE;
}

const char *rule_name(uint32_t rule)
{
    static const char *const names[] = {"l1", "l1-means", "l2"};
    return rule < 3 ? names[rule] : "?";
}

const char *per_name(uint32_t per)
{
    static const char *const names[] = {"model", "tensor", "row"};
    return per < 3 ? names[per] : "?";
}

const char *tie_name(uint32_t tie)
{
    return tie == EMR_TIE_ZERO ? "zero" : "negative";
}

void name_output(const emr_file *file, const char *output, emr_error *error)
{
    char reason[128] = "", text[EMR_ERROR_TEXT_SIZE * 2];
    if (strncmp(error->text, "writing", 7) != 0)
        return;
    if (file)
        emr_file_failure(file, reason, sizeof reason);
    snprintf(text, sizeof text, "%s: %s%s%s", file ? output : "standard output", error->text,
             *reason ? ": " : "", reason);
    snprintf(error->text, sizeof error->text, "%.*s", (int)sizeof error->text - 1, text);
}

emr_status open_checkpoint(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
    options.dequantise = a->dequantise;
    return emr_checkpoint_open(model, path, &options, error);
}

emr_status find_task(const emr_bundle *bundle, const char *name, size_t *task, emr_error *error)
{
    emr_status status = emr_bundle_find_task(bundle, name, task);
    if (status == EMR_ENOTFOUND)
        snprintf(error->text, sizeof error->text,
                 "task '%s' is not in the bundle (emr inspect lists its tasks)", name);
    return status;
}
