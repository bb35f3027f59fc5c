/* file_bench.c - merging and applying file to file, against plainly reading and writing the same bytes, in
 * one run; and the peak memory of each, taken from a process of its own.
 *
 *     emr-file-bench [--params 64Mi] [--tasks 8] [--memory 256Mi] [--threads 0] [--runs 3] [--dir DIR]
 * [--json]
 */
#define _GNU_SOURCE

#include <emr/emr.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct settings {
    uint64_t params, memory;
    unsigned tasks, threads, runs;
    const char *directory;
    bool json;
} settings;

static void die(const char *what)
{
    fprintf(stderr, "emr-file-bench: %s\n", what);
    exit(1);
}

static void check(emr_status status, const emr_error *error)
{
    if (status)
        die(error->text);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void path_of(const settings *s, const char *name, unsigned number, char path[512])
{
    snprintf(path, 512, number ? "%s/%s%u.safetensors" : "%s/%s.safetensors", s->directory, name, number);
}

/* Values of a synthetic model: the base's are a hash of the position; a task's differ by a small hash of its
 * own. */
typedef struct synthetic {
    uint64_t seed;
    uint64_t first; /* of this tensor */
} synthetic;

static float noise(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return (float)(int32_t)(x >> 32) * 0x1p-31f;
}

static emr_status synthesise(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const synthetic *s = user;
    float *to = destination;
    (void)error;
    for (size_t i = 0; i < n / 4;
         i++) { /* the writer reads whole elements here: all sizes are multiples of 4 */
        uint64_t at = s->first + offset / 4 + i;
        to[i] = noise(at);
        if (s->seed)
            to[i] += 0.01f * noise(at + s->seed * 0x100000001b3u);
    }
    return EMR_OK;
}

static void make_model(const settings *s, const char *path, unsigned seed, const emr_executor *executor)
{
    enum { PARTS = 16 };
    emr_error error;
    emr_model *model;
    synthetic parts[PARTS];
    if (access(path, F_OK) == 0)
        return;
    check(emr_model_create(&model, path, NULL, &error), &error);
    for (unsigned i = 0; i < PARTS; i++) {
        char name[32];
        uint64_t shape[2] = {s->params / PARTS / 1024, 1024};
        parts[i] = (synthetic){seed, i * (s->params / PARTS)};
        snprintf(name, sizeof name, "layers.%u.weight", i);
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = name;
        d.dtype = EMR_F32;
        d.rank = 2;
        d.shape = shape;
        d.read = synthesise;
        d.user = &parts[i];
        check(emr_model_add(model, &d, &error), &error);
    }
    emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
    options.executor = executor;
    check(emr_checkpoint_write(model, path, &options, &error), &error);
    emr_model_destroy(&model);
}

/* Output without durability: waiting for the disk would measure the disk. */
static int write_plainly(void *user, uint64_t offset, const void *source, size_t n)
{
    const char *from = source;
    while (n) {
        ssize_t put = pwrite(*(const int *)user, from, n, (off_t)offset);
        if (put <= 0 && errno != EINTR)
            return -1;
        put = put < 0 ? 0 : put;
        from += put;
        offset += (uint64_t)put;
        n -= (size_t)put;
    }
    return 0;
}

static emr_io output(const char *path, int *descriptor)
{
    emr_io io = EMR_INIT(emr_io);
    *descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (*descriptor < 0)
        die(path);
    io.user = descriptor;
    io.write = write_plainly;
    return io;
}

static void merge(const settings *s, const emr_executor *executor)
{
    emr_error error;
    char path[512], name[32];
    int descriptor;
    emr_model *base, **tasks = calloc(s->tasks, sizeof(emr_model *));
    emr_merge *merge;
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.executor = executor;
    options.memory_bytes = s->memory;
    check(emr_merge_create(&merge, &options, &error), &error);
    path_of(s, "base", 0, path);
    check(emr_checkpoint_open(&base, path, NULL, &error), &error);
    check(emr_merge_set_base(merge, base, &error), &error);
    for (unsigned t = 0; t < s->tasks; t++) {
        path_of(s, "task", t + 1, path);
        snprintf(name, sizeof name, "task%u", t + 1);
        check(emr_checkpoint_open(&tasks[t], path, NULL, &error), &error);
        check(emr_merge_add_task(merge, name, tasks[t], &error), &error);
    }
    path_of(s, "bundle", 0, path);
    emr_io io = output(path, &descriptor);
    check(emr_merge_to_bundle(merge, &io, &error), &error);
    check(emr_merge_run(merge, &error), &error);
    close(descriptor);
    emr_merge_destroy(&merge);
    for (unsigned t = 0; t < s->tasks; t++)
        emr_model_destroy(&tasks[t]);
    emr_model_destroy(&base);
    free(tasks);
}

static void apply(const settings *s, const emr_executor *executor)
{
    emr_error error;
    char path[512];
    int descriptor;
    emr_bundle *bundle;
    emr_model *base, *model;
    path_of(s, "bundle", 0, path);
    check(emr_bundle_open_file(&bundle, path, NULL, &error), &error);
    path_of(s, "base", 0, path);
    check(emr_checkpoint_open(&base, path, NULL, &error), &error);
    emr_view_options view = EMR_INIT(emr_view_options);
    view.executor = executor;
    check(emr_bundle_task_model(&model, bundle, 0, base, &view, &error), &error);
    emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
    options.executor = executor;
    path_of(s, "applied", 0, path);
    emr_io io = output(path, &descriptor);
    check(emr_safetensors_write(model, &io, &options, &error), &error);
    close(descriptor);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
}

/* The same bytes in and out with large plain reads and writes, shared out over the threads. */
typedef struct plain {
    const settings *s;
    const char *const *inputs;
    size_t n_inputs, n_threads;
    uint64_t bytes_out;
} plain;

enum { PLAIN_BYTES = 1 << 20 };

static void read_plainly(void *arg, size_t worker)
{
    const plain *p = arg;
    char *buffer = malloc(PLAIN_BYTES);
    for (size_t i = worker; i < p->n_inputs; i += p->n_threads) {
        int descriptor = open(p->inputs[i], O_RDONLY);
        if (descriptor < 0 || !buffer)
            die(p->inputs[i]);
        while (read(descriptor, buffer, PLAIN_BYTES) > 0)
            ;
        close(descriptor);
    }
    free(buffer);
}

static void copy_plainly(plain *p, const emr_executor *executor)
{
    char path[512], *buffer = malloc(PLAIN_BYTES);
    int descriptor;
    executor->parallel_for(executor->user, p->n_threads, read_plainly, p);
    path_of(p->s, "plain", 0, path);
    emr_io io = output(path, &descriptor);
    if (!buffer)
        die("out of memory");
    memset(buffer, 1, PLAIN_BYTES);
    for (uint64_t at = 0; at < p->bytes_out; at += PLAIN_BYTES)
        if (write_plainly(io.user, at, buffer,
                          (size_t)(p->bytes_out - at < PLAIN_BYTES ? p->bytes_out - at : PLAIN_BYTES)))
            die("the plain write failed");
    close(descriptor);
    unlink(path);
    free(buffer);
}

typedef enum work { MERGE, APPLY, PLAIN } work;

typedef struct measured {
    double seconds;
    long peak_kib;
} measured;

static uint64_t file_bytes(const settings *s, const char *name, unsigned number)
{
    char path[512];
    uint64_t bytes = 0;
    emr_file *file;
    emr_error error;
    path_of(s, name, number, path);
    check(emr_file_open(&file, path, 0, NULL, &error), &error);
    emr_io io = emr_file_io(file);
    io.length(io.user, &bytes);
    emr_file_close(&file);
    return bytes;
}

static void plain_like(const settings *s, work like, const emr_executor *executor)
{
    char paths[65][512];
    const char *inputs[65];
    plain p = {.s = s, .inputs = inputs, .n_threads = executor->concurrency};
    path_of(s, "base", 0, paths[0]);
    for (unsigned t = 0; like == MERGE && t < s->tasks; t++)
        path_of(s, "task", t + 1, paths[t + 1]);
    if (like == APPLY)
        path_of(s, "bundle", 0, paths[1]);
    p.n_inputs = like == MERGE ? s->tasks + 1 : 2;
    p.bytes_out = like == MERGE ? file_bytes(s, "bundle", 0) : file_bytes(s, "base", 0);
    for (size_t i = 0; i < p.n_inputs; i++)
        inputs[i] = paths[i];
    copy_plainly(&p, executor);
}

/* Runs one piece of work in a child: its time, and the peak of its resident memory. */
static measured run(const settings *s, work what, work like)
{
    double *seconds = mmap(NULL, sizeof *seconds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rusage usage;
    int status;
    pid_t child = fork();
    if (child == 0) {
        emr_error error;
        emr_pool *pool;
        check(emr_pool_create(&pool, s->threads, NULL, &error), &error);
        emr_executor executor = emr_pool_executor(pool);
        double start = now();
        if (what == MERGE)
            merge(s, &executor);
        else if (what == APPLY)
            apply(s, &executor);
        else
            plain_like(s, like, &executor);
        *seconds = now() - start;
        emr_pool_destroy(&pool);
        _exit(0);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) < 0 || status)
        die("a measured process failed");
    measured m = {*seconds, usage.ru_maxrss};
    munmap(seconds, sizeof *seconds);
    return m;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, unsigned n)
{
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* One line of the result; `bar` 0: there is none. Lower is better. */
static void print_row(const settings *s, const char *name, double value, const char *unit, double bar)
{
    static bool first = true;
    if (s->json)
        printf("%s{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"bar\": %.6g, \"met\": %s}",
               first ? "[" : ",\n ", name, value, unit, bar,
               bar <= 0       ? "null"
               : value <= bar ? "true"
                              : "false");
    else if (bar > 0)
        printf("%-44s %10.3f %-8s bar %8.2f  %s\n", name, value, unit, bar, value <= bar ? "met" : "missed");
    else
        printf("%-44s %10.3f %s\n", name, value, unit);
    first = false;
}

static void compare(const settings *s, work what, const char *name, double ratio_bar)
{
    double times[64], plain_times[64], ratios[64];
    long peak = 0;
    char text[64];
    for (unsigned i = 0; i < s->runs; i++) { /* in turns, so that both meet the same machine */
        measured m = run(s, what, what), p = run(s, PLAIN, what);
        times[i] = m.seconds;
        plain_times[i] = p.seconds;
        ratios[i] = m.seconds / p.seconds;
        peak = m.peak_kib > peak ? m.peak_kib : peak;
    }
    snprintf(text, sizeof text, "%s, file to file", name);
    print_row(s, text, median(times, s->runs), "s", 0);
    snprintf(text, sizeof text, "%s, plain reads and writes", name);
    print_row(s, text, median(plain_times, s->runs), "s", 0);
    snprintf(text, sizeof text, "%s, ratio", name);
    print_row(s, text, median(ratios, s->runs), "x", ratio_bar);
    snprintf(text, sizeof text, "%s, peak resident memory", name);
    print_row(s, text, (double)peak / 1024, "MiB", what == MERGE ? (double)(s->memory >> 20) + 32 : 0);
}

static uint64_t size_value(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    return *end == 'K' ? value << 10 : *end == 'M' ? value << 20 : *end == 'G' ? value << 30 : value;
}

static settings parse(int argc, char **argv)
{
    settings s = {.params = 64 << 20, .memory = 256 << 20, .tasks = 8, .runs = 3, .directory = NULL};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0) {
            s.json = true;
            continue;
        }
        if (strcmp(argv[i], "--params") == 0)
            s.params = size_value(value) / 16384 * 16384;
        else if (strcmp(argv[i], "--memory") == 0)
            s.memory = size_value(value);
        else if (strcmp(argv[i], "--tasks") == 0)
            s.tasks = (unsigned)size_value(value);
        else if (strcmp(argv[i], "--threads") == 0)
            s.threads = (unsigned)size_value(value);
        else if (strcmp(argv[i], "--runs") == 0)
            s.runs = (unsigned)size_value(value);
        else if (strcmp(argv[i], "--dir") == 0)
            s.directory = value;
        else
            die("usage: emr-file-bench [--params N] [--tasks N] [--memory N] [--threads N] [--runs N] [--dir "
                "DIR] [--json]");
        i++;
    }
    if (!s.params || !s.tasks || s.tasks > 64 || !s.runs || s.runs > 64)
        die("--params, --tasks (to 64) and --runs (to 64) must be at least 1");
    return s;
}

int main(int argc, char **argv)
{
    char made[] = "/tmp/emr-bench-XXXXXX", path[512];
    settings s = parse(argc, argv);
    emr_error error;
    emr_pool *pool;
    if (!s.directory && !(s.directory = mkdtemp(made)))
        die("no temporary directory");
    check(emr_pool_create(&pool, 0, NULL, &error), &error);
    emr_executor executor = emr_pool_executor(pool);
    for (unsigned t = 0; t <= s.tasks; t++) {
        path_of(&s, t ? "task" : "base", t, path);
        make_model(&s, path, t, &executor);
    }
    emr_pool_destroy(&pool);
    if (!s.json)
        printf("%u tasks of %llu parameters, f32; --memory %llu MiB\n", s.tasks, (unsigned long long)s.params,
               (unsigned long long)(s.memory >> 20));
    run(&s, MERGE, MERGE); /* warms the page cache and leaves the bundle for the rest */
    compare(&s, MERGE, "merge", 1.25);
    compare(&s, APPLY, "apply", 0);
    if (s.json)
        puts("]");
    for (unsigned t = 0; s.directory == made && t <= s.tasks; t++) {
        path_of(&s, t ? "task" : "base", t, path);
        unlink(path);
    }
    path_of(&s, "bundle", 0, path);
    unlink(path);
    path_of(&s, "applied", 0, path);
    unlink(path);
    return s.directory == made ? rmdir(made) : 0;
}
