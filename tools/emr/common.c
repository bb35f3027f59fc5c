/* common.c - error lines, the pool, progress, outputs, and words for numbers. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"

#include <errno.h>
#include <stdarg.h>
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

/* What each status ends the program with. A status that is missing here does not compile below. */
enum {
    EXIT_OF_OK = EXIT_DONE,
    EXIT_OF_EINVAL = EXIT_USAGE,
    EXIT_OF_ENOMEM = EXIT_SYSTEM,
    EXIT_OF_EIO = EXIT_SYSTEM,
    EXIT_OF_EFORMAT = EXIT_DATA,
    EXIT_OF_ECORRUPT = EXIT_DATA,
    EXIT_OF_EVERSION = EXIT_DATA,
    EXIT_OF_EMISMATCH = EXIT_DATA,
    EXIT_OF_ENONFINITE = EXIT_DATA,
    EXIT_OF_ENOTFOUND = EXIT_USAGE,
    EXIT_OF_ECANCELED = EXIT_INTERRUPTED,
    EXIT_OF_ESTATE = EXIT_USAGE,
    EXIT_OF_EUNSUPPORTED = EXIT_DATA,
    EXIT_OF_ELIMIT = EXIT_USAGE,
    EXIT_OF_EEXIST = EXIT_USAGE
};

static int exit_status_of(emr_status status)
{
    switch (status) {
#define EXIT_CASE(name, number, text)                                                                        \
    case EMR_##name:                                                                                         \
        return EXIT_OF_##name;
        EMR_STATUS_MAP(EXIT_CASE)
#undef EXIT_CASE
    default:
        return EXIT_DATA;
    }
}

/* The sentence, beginning with the file: where that is named by the reason at its end,
 * "writing ... failed: OUT: no space" becomes "OUT: writing ... failed: no space". */
static void file_first(const emr_error *error, char text[EMR_ERROR_TEXT_SIZE])
{
    const char *sentence = error->text, *file = sentence + error->file.offset,
               *after = file + error->file.length;
    int file_length = error->file.length, before = error->file.offset;
    if (file_length && before >= 2 && memcmp(file - 2, ": ", 2) == 0 && strncmp(after, ": ", 2) == 0)
        snprintf(text, EMR_ERROR_TEXT_SIZE, "%.*s: %.*s%s", file_length, file, before, sentence, after + 2);
    else
        snprintf(text, EMR_ERROR_TEXT_SIZE, "%s", sentence);
}

int complain_status(emr_status status, const emr_error *error)
{
    char text[EMR_ERROR_TEXT_SIZE];
    bool is_file = error->file.length && !error->task.length; /* two tasks of one name are another matter */
    if (status == EMR_ECANCELED)
        return complain(EXIT_INTERRUPTED, "interrupted");
    if (!error->text[0])
        return complain(exit_status_of(status), "%s", emr_status_text(status));
    file_first(error, text);
    return complain(exit_status_of(status), "%s%s", text,
                    status == EMR_EEXIST && is_file ? " (--force overwrites it)" : "");
}

emr_status fail_with(emr_error *error, emr_status status, const char *file, const char *format, ...)
{
    char reason[EMR_ERROR_TEXT_SIZE];
    va_list values;
    va_start(values, format);
    vsnprintf(reason, sizeof reason, format, values);
    va_end(values);
    return emr_error_set(error, status, 0, file, reason);
}

static double seconds_now(void)
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

static void draw_bar(uint64_t done, uint64_t total, double elapsed)
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

static emr_status show_progress(void *user, const emr_progress *progress, emr_error *error)
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

bool to_standard_output(const arguments *a)
{
    return strcmp(a->output, "-") == 0;
}

static emr_status write_standard_output(void *user, uint64_t offset, const void *source, size_t n,
                                        emr_error *error)
{
    (void)user, (void)offset; /* every writer goes front to back */
    if (fwrite(source, 1, n, stdout) == n)
        return EMR_OK;
    return emr_error_set(error, EMR_EIO, errno, "standard output", strerror(errno));
}

const emr_io *standard_output(void)
{
    static const emr_io io = {.size = sizeof io, .write = write_standard_output};
    return &io;
}

emr_status open_output(const emr_io **io, emr_file **file, const arguments *a, emr_error *error)
{
    const emr_file_options options = {.size = sizeof options, .replace = a->force};
    *file = NULL;
    *io = standard_output();
    if (to_standard_output(a))
        return EMR_OK;
    emr_status status = (a->resume ? emr_file_resume : emr_file_create)(file, a->output, &options, error);
    if (!status)
        *io = emr_file_io(*file);
    return status;
}

emr_status commit_output(emr_file *file, emr_error *error)
{
    if (!file)
        return EMR_OK;
    return interrupted ? EMR_ECANCELED : emr_file_commit(file, error);
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
    errno = root ? 0 : ENOMEM;
    int failed = !root || json_dumpf(root, stdout, JSON_INDENT(2)), reason = errno;
    putchar('\n');
    json_decref(root);
    return failed
               ? complain(EXIT_SYSTEM, "standard output: the JSON could not be written: %s", strerror(reason))
               : EXIT_DONE;
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

emr_status open_checkpoint(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    const emr_checkpoint_read_options options = {.size = sizeof options, .dequantise = a->dequantise};
    return emr_checkpoint_open(model, path, &options, error);
}

emr_status open_task(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    const emr_checkpoint_read_options options = {
        .size = sizeof options, .dequantise = a->dequantise, .side_files = !a->no_side_files};
    return emr_checkpoint_open(model, path, &options, error);
}

const char *side_file_name(const char *tensor)
{
    size_t n = sizeof EMR_FILE_PREFIX - 1;
    return strncmp(tensor, EMR_FILE_PREFIX, n) == 0 ? tensor + n : NULL;
}

emr_status find_task(const emr_bundle *bundle, const char *name, uint32_t *task, emr_error *error)
{
    emr_status status = emr_bundle_find_task(bundle, name, task, error);
    if (status != EMR_ENOTFOUND)
        return status;
    return emr_error_format(error, status, "%F: task '%K' is not in the bundle (emr inspect lists its tasks)",
                            emr_bundle_name(bundle), name);
}
