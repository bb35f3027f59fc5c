/* kernel_bench.c - the kernels of every variant on one thread, in memory, against a plain pass over the same
 * bytes.
 *
 *     emr-kernel-bench [--json]
 */
#define _POSIX_C_SOURCE 200809L

#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TASKS_MAX = 30, RUNS = 7, BYTES_IN_ALL = 256 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double values[RUNS])
{
    qsort(values, RUNS, sizeof *values, ascending);
    return values[RUNS / 2];
}

/* Inputs of one configuration: all tasks' values in memory far larger than the caches. */
typedef struct inputs {
    size_t n, n_tasks; /* parameters and tasks */
    emr_dtype dtype;
    uint8_t *base, *tasks[TASKS_MAX], *unified, *masks[TASKS_MAX], *out;
} inputs;

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p) {
        fputs("emr-kernel-bench: out of memory\n", stderr);
        exit(1);
    }
    memset(p, 0, bytes);
    return p;
}

static void fill(uint8_t *to, emr_dtype dtype, size_t n, unsigned seed)
{
    size_t size = emr_float_size(dtype);
    for (size_t i = 0; i < n; i++) {
        float value = (float)(int)(((i + seed * 77777) * 2654435761u) >> 8 & 0xffff) * 0x1p-16f - 0.5f;
        emr_store_f32(dtype, to + i * size, &value, 1);
    }
}

static inputs make(emr_dtype dtype, size_t n_tasks)
{
    size_t size = emr_float_size(dtype);
    inputs in = {
        .n = BYTES_IN_ALL / size / (n_tasks + 1) / EMR_CHUNK * EMR_CHUNK, .n_tasks = n_tasks, .dtype = dtype};
    in.base = allocate(in.n * size);
    in.unified = allocate(in.n * 4);
    in.out = allocate(in.n * size);
    fill(in.base, dtype, in.n, 0);
    for (size_t t = 0; t < n_tasks; t++) {
        in.tasks[t] = allocate(in.n * size);
        in.masks[t] = allocate(in.n / 8);
        fill(in.tasks[t], dtype, in.n, (unsigned)t + 1);
    }
    return in;
}

static void release(inputs *in)
{
    free(in->base);
    free(in->unified);
    free(in->out);
    for (size_t t = 0; t < in->n_tasks; t++) {
        free(in->tasks[t]);
        free(in->masks[t]);
    }
}

static void merge(const emr_kernels *k, const inputs *in)
{
    size_t size = emr_float_size(in->dtype);
    uint8_t dtypes[TASKS_MAX];
    emr_chunk_task results[TASKS_MAX];
    memset(dtypes, (int)in->dtype, sizeof dtypes);
    for (size_t at = 0; at < in->n; at += EMR_CHUNK) {
        const void *tasks[TASKS_MAX];
        uint8_t *masks[TASKS_MAX];
        for (size_t t = 0; t < in->n_tasks; t++) {
            tasks[t] = in->tasks[t] + at * size;
            masks[t] = in->masks[t] + at / 8;
        }
        k->merge(&(emr_chunk){.n = EMR_CHUNK,
                              .n_tasks = in->n_tasks,
                              .base = in->base + at * size,
                              .tasks = tasks,
                              .task_dtypes = dtypes,
                              .base_dtype = (uint8_t)in->dtype,
                              .unified_dtype = EMR_F32,
                              .unified = in->unified + at * 4,
                              .masks = masks,
                              .results = results});
    }
}

static void apply(const emr_kernels *k, const inputs *in)
{
    k->apply(&(emr_run){.n = in->n,
                        .base = in->base,
                        .unified = in->unified,
                        .mask = in->masks[0],
                        .rescaler = 0.75f,
                        .base_dtype = (uint8_t)in->dtype,
                        .unified_dtype = EMR_F32,
                        .out_dtype = (uint8_t)in->dtype,
                        .out = in->out});
}

/* Reads every input byte once, with a sum that the compiler may spread over vector registers. */
static uint64_t read_all(const inputs *in)
{
    uint64_t sum = 0, word;
    size_t bytes = in->n * emr_float_size(in->dtype);
    for (size_t t = 0; t <= in->n_tasks; t++) {
        const uint8_t *p = t ? in->tasks[t - 1] : in->base;
        for (size_t i = 0; i < bytes; i += 8) {
            memcpy(&word, p + i, sizeof word);
            sum += word;
        }
    }
    return sum;
}

static bool json, first_row = true;

static void print_row(const char *name, double value, const char *unit)
{
    if (json)
        printf("%s{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"bar\": null, \"met\": null}",
               first_row ? "[" : ",\n ", name, value, unit);
    else
        printf("%-44s %10.3f %s\n", name, value, unit);
    first_row = false;
}

/* Times what, in turns with the plain pass; prints the rate and its ratio to the plain one. */
static void compare(const char *name, const emr_kernels *k, const inputs *in, bool merging)
{
    double times[RUNS], plain[RUNS], ratios[RUNS];
    size_t size = emr_float_size(in->dtype);
    double read_bytes = (double)in->n * (double)size * (double)(in->n_tasks + 1);
    double moved = merging ? read_bytes : (double)in->n * (2.0 * (double)size + 4 + 0.125);
    volatile uint64_t sink = 0;
    char text[64];
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        if (merging)
            merge(k, in);
        else
            apply(k, in);
        double middle = now();
        if (merging) {
            sink += read_all(in);
        } else { /* a copy of as many bytes: half read, half written */
            size_t half = in->n * size;
            memcpy(in->out, in->base, half);
        }
        double end = now();
        double plain_bytes = merging ? read_bytes : 2.0 * (double)(in->n * size);
        times[i] = moved / (middle - start) / 1e9;
        plain[i] = plain_bytes / (end - middle) / 1e9;
        ratios[i] = times[i] / plain[i];
    }
    (void)sink;
    snprintf(text, sizeof text, "%s, %s", name, k->name);
    print_row(text, median(times), "GB/s");
    snprintf(text, sizeof text, "%s, %s, of plain %s", name, k->name, merging ? "reading" : "copying");
    print_row(text, median(ratios), "x");
}

int main(int argc, char **argv)
{
    static const emr_dtype dtypes[] = {EMR_F32, EMR_BF16};
    static const size_t counts[] = {1, 2, 8, 30};
    json = argc > 1 && strcmp(argv[1], "--json") == 0;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        for (size_t d = 0; d < 2; d++) {
            for (size_t c = 0; c < 4; c++) {
                char name[32];
                inputs in = make(dtypes[d], counts[c]);
                snprintf(name, sizeof name, "merge %s, %zu tasks", emr_dtype_name(dtypes[d]), counts[c]);
                compare(name, *k, &in, true);
                snprintf(name, sizeof name, "apply %s", emr_dtype_name(dtypes[d]));
                if (counts[c] == 8)
                    compare(name, *k, &in, false);
                release(&in);
            }
        }
    }
    if (json)
        puts("]");
    return 0;
}
