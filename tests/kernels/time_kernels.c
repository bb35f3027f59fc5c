/* time_kernels.c - see time_kernels.h. Each time is the least of several, so that other programs count
 * little. */
#define _POSIX_C_SOURCE 200809L

#include "time_kernels.h"

#include "numeric/convert.h"
#include "numeric/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TASKS_MAX = 64, N = 1024, RUNS = 9, GROUPS_A_RUN = 4000 };

static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
static uint8_t sources[TASKS_MAX + 1][N * 4], masks[TASKS_MAX][N / 8], unified[N * 4], out[N * 4];
static emr_chunk_task results[TASKS_MAX];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct work {
    const emr_kernels *kernels;
    emr_code_kernels codes;
    emr_chunk chunk;
    emr_run run;
    emr_side side;
    emr_step_dot steps;
} work;

static void merge(work *w)
{
    w->kernels->merge(&w->chunk);
}

static void sum_range(work *w)
{
    (void)w->kernels->sum_range(&w->chunk, (emr_range){.to = N, .side = w->side});
}

static void sum_rows(work *w)
{
    for (size_t i = 0; i < N; i += 32)
        (void)w->kernels->sum_range(&w->chunk, (emr_range){.from = i, .to = i + 32});
}

static void apply(work *w)
{
    w->codes.apply(&w->run);
}

static void widen(work *w)
{
    w->kernels->convert(EMR_DTYPE_F32, out, w->run.base_dtype, sources[0], N);
}

static void narrow(work *w)
{
    w->kernels->convert(w->run.base_dtype, out, EMR_DTYPE_F32, unified, N);
}

static void draw(work *w)
{
    uint32_t kept[N / 32], signs[N / 32];
    w->kernels->draw(&w->run, 0, N / EMR_GROUP, kept, signs);
    memcpy(out, kept, sizeof kept);
    memcpy(out + sizeof kept, signs, sizeof signs);
}

static void dot_steps(work *w)
{
    w->codes.dot_steps(&w->steps);
}

/* Nanoseconds for a group of 64 parameters. `weight` says how much a call does, so that slow ones run less.
 */
static double time_of(void (*what)(work *), work *w, size_t weight)
{
    double best = 1e9;
    size_t calls = GROUPS_A_RUN / weight + 1;
    for (int r = 0; r < RUNS; r++) {
        double start = now();
        for (size_t i = 0; i < calls; i++)
            what(w);
        double took = (now() - start) / (double)calls * 1e9 / (N / EMR_GROUP);
        best = took < best ? took : best;
    }
    return best;
}

static void fill(emr_dtype dtype)
{
    uint32_t state = 1;
    for (size_t t = 0; t <= TASKS_MAX; t++) {
        for (size_t i = 0; i < N; i++) {
            state = state * 1664525u + 1013904223u;
            float value = (float)(int)(state >> 8 & 0xffff) * 0x1p-16f - 0.5f;
            emr_store_f32(dtype, sources[t] + i * emr_float_size(dtype), &value, 1);
        }
    }
}

/* Computing weights, of kinds that the variant has code of its own for. */
static void time_apply(work *w, const char *dtype)
{
    static const float levels[16] = {-2, -1, 1, 2, -2, -1, 1, 2, -2, -1, 1, 2, -2, -1, 1, 2};
    const emr_kernels *k = w->kernels;
    const struct {
        const char *name;
        emr_code_kernels codes;
        uint32_t rate;
    } kinds[] = {{"mask", k->mask, 64},        {"two-sided", k->two_sided, 64}, {"sign", k->sign, 64},
                 {"thin 4", k->thin, 16},      {"levels 4", k->levels, 128},    {"levels 8", k->levels, 192},
                 {"levels 16", k->levels, 256}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        w->codes = kinds[i].codes;
        w->run.coding = (emr_coding){.rate = kinds[i].rate, .levels = levels};
        if (w->codes.apply)
            printf("%-7s apply %-9s %-5s %9.1f ns for 64 parameters\n", k->name, kinds[i].name, dtype,
                   time_of(apply, w, 1));
    }
}

static void time_dtype(const emr_kernels *k, emr_dtype dtype)
{
    static const size_t counts[] = {1, 2, 8, 16, 17, 30, 64};
    const void *tasks[TASKS_MAX];
    uint8_t *mask_rows[TASKS_MAX];
    emr_dtype task_dtypes[TASKS_MAX];
    const char *name = emr_dtype_name(dtype);
    fill(dtype);
    for (size_t t = 0; t < TASKS_MAX; t++) {
        tasks[t] = sources[t + 1];
        mask_rows[t] = masks[t];
        task_dtypes[t] = dtype;
    }
    work w = {.kernels = k};
    w.chunk = (emr_chunk){.n = N, .base = sources[0], .tasks = tasks, .task_dtypes = task_dtypes};
    w.chunk.base_dtype = dtype;
    w.chunk.unified_dtype = EMR_DTYPE_F32;
    w.chunk.unified = unified;
    w.chunk.masks = mask_rows;
    w.chunk.results = results;
    w.run =
        (emr_run){.n = N, .base = sources[0], .unified = unified, .codes = masks[0], .scales = {0.75f, 0.5f}};
    w.run.base_dtype = w.run.out_dtype = dtype;
    w.run.unified_dtype = EMR_DTYPE_F32;
    w.run.out = out;
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        w.chunk.n_tasks = counts[c];
        double took = time_of(merge, &w, counts[c]);
        printf("%-7s merge %-5s %3zu tasks %10.1f ns for 64 parameters, %7.2f for 8 of a task\n", k->name,
               name, counts[c], took, took / 8 / (double)counts[c]);
    }
    printf("%-7s sums of a task %-5s %10.1f ns for 64 parameters\n", k->name, name,
           time_of(sum_range, &w, 1));
    printf("%-7s sums of rows of 32 %-5s %6.1f ns for 64 parameters\n", k->name, name,
           time_of(sum_rows, &w, 1));
    w.chunk.summation = EMR_SUM_L2;
    printf("%-7s sums for l2 %-5s %13.1f ns for 64 parameters\n", k->name, name, time_of(sum_range, &w, 1));
    w.chunk.summation = EMR_SUM_ALL;
    printf("%-7s all sums %-5s %16.1f ns for 64 parameters\n", k->name, name, time_of(sum_range, &w, 1));
    w.side = EMR_SIDE_ZEROS;
    printf("%-7s all sums of a side %-5s %6.1f ns for 64 parameters\n", k->name, name,
           time_of(sum_range, &w, 1));
    w.chunk.nearest = true;
    w.chunk.summation = EMR_SUM_L1;
    w.chunk.n_tasks = 8;
    printf("%-7s merge, nearest, %-5s %9.1f ns for 64 parameters\n", k->name, name, time_of(merge, &w, 8));
    time_apply(&w, name);
    if (dtype == EMR_DTYPE_F32)
        return;
    printf("%-7s convert %-5s to F32 %10.1f ns for 64 parameters\n", k->name, name, time_of(widen, &w, 1));
    printf("%-7s convert F32 to %-5s %10.1f ns for 64 parameters\n", k->name, name, time_of(narrow, &w, 1));
}

/* Encoding reads far more than the caches hold, as it does in a merge: its time beside that of reading. */
enum { FAR_ITEMS = 512, FAR = FAR_ITEMS * EMR_CHUNK };

static uint64_t *far_base, *far_task;
static volatile uint64_t was_read;

static double time_reading(size_t bytes)
{
    double best = 1e9;
    for (int r = 0; r < RUNS; r++) {
        double start = now();
        uint64_t sum = 0;
        for (size_t i = 0; i < bytes / 8; i++)
            sum += far_base[i] ^ far_task[i];
        was_read = sum;
        best = now() - start < best ? now() - start : best;
    }
    return best;
}

static double time_items(const emr_kernels *k, emr_encoding *e)
{
    double best = 1e9;
    for (int r = 0; r < RUNS; r++) {
        double start = now();
        for (size_t i = 0; i < FAR_ITEMS; i++) {
            size_t at = i * EMR_CHUNK;
            e->first = e->flat = at;
            e->base = (const uint8_t *)far_base + at * emr_float_size(e->base_dtype);
            e->task = (const uint8_t *)far_task + at * emr_float_size(e->task_dtype);
            emr_encode_item(k, e);
        }
        best = now() - start < best ? now() - start : best;
    }
    return best;
}

static void time_encoding(const emr_kernels *k, emr_dtype dtype)
{
    static const float levels[] = {-1.5f, -0.45f, 0.45f, 1.5f};
    static const struct {
        const char *name;
        emr_modulator_kind kind;
        uint32_t rate;
        uint64_t row_length;
        bool columns;
    } cases[] = {{"sign", EMR_MODULATOR_KIND_SIGN, 64, 4096, false},
                 {"sign, columns", EMR_MODULATOR_KIND_SIGN, 64, 4096, true},
                 {"sign, rows of 64", EMR_MODULATOR_KIND_SIGN, 64, 64, false},
                 {"thin, 1 of 4", EMR_MODULATOR_KIND_THIN, 16, 4096, false},
                 {"4 levels", EMR_MODULATOR_KIND_LEVELS, 128, 4096, false}};
    static float tau[EMR_CHUNK + 64], column_sums[EMR_CHUNK];
    static uint8_t codes[EMR_CHUNK], scales[EMR_CHUNK];
    double reading = time_reading(FAR * emr_float_size(dtype));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        emr_encoding e = {
            .n = EMR_CHUNK, .base_dtype = dtype, .task_dtype = dtype, .tau = tau, .codes = codes};
        e.row_length = cases[i].row_length;
        e.kind = cases[i].kind;
        e.rescale = EMR_RESCALE_UNBIASED;
        e.coding = (emr_coding){.rate = cases[i].rate, .levels = levels};
        e.n_levels = 4;
        e.has_columns = cases[i].columns;
        e.scales = scales;
        e.column_sums = column_sums;
        double took = time_items(k, &e);
        printf("%-7s encode %-5s %-17s %6.1f ns for 64 parameters, %.2f of reading\n", k->name,
               emr_dtype_name(dtype), cases[i].name, took * 1e9 / (FAR / EMR_GROUP), reading / took);
    }
}

static void time_all_encoding(const emr_kernels *k)
{
    far_base = malloc(FAR * 4);
    far_task = malloc(FAR * 4);
    for (size_t d = 0; far_base && far_task && d < 3; d++) {
        for (size_t i = 0; i < FAR; i++) {
            float value = (float)(i * 2654435761u % 65536) * 0x1p-16f - 0.5f,
                  other = value + (float)(i % 7) - 3;
            emr_store_f32(dtypes[d], (uint8_t *)far_base + i * emr_float_size(dtypes[d]), &value, 1);
            emr_store_f32(dtypes[d], (uint8_t *)far_task + i * emr_float_size(dtypes[d]), &other, 1);
        }
        time_encoding(k, dtypes[d]);
    }
    free(far_base);
    free(far_task);
}

/* Products by signs, of rows side by side, and what thin ones need before. */
static void time_steps(const emr_kernels *k)
{
    static float lanes[EMR_DOT_ROWS][EMR_LANES];
    static uint32_t codes[EMR_DOT_ROWS][N / 32], kept[EMR_DOT_ROWS][N / 32];
    static const uint32_t rates[] = {32, 16, 8, 4, 2};
    work w = {.kernels = k, .codes = k->sign};
    if (!k->draw || !w.codes.dot_steps)
        return;
    fill(EMR_DTYPE_F32);
    memcpy(codes, masks, sizeof codes);
    memcpy(kept, masks[TASKS_MAX / 2], sizeof kept);
    w.run.codes = masks[0];
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        w.run.coding.rate = rates[i];
        printf("%-7s draw 1 of %2u %23.2f ns for 64 parameters\n", k->name, EMR_GROUP / rates[i],
               time_of(draw, &w, 1));
    }
    w.steps = (emr_step_dot){.n = N, .n_rows = EMR_DOT_ROWS, .n_vectors = 1, .codes = codes[0]};
    w.steps.code_stride = N / 32;
    w.steps.x = (const float *)(const void *)sources[0];
    w.steps.lanes = lanes;
    w.steps.lane_stride = EMR_DOT_ROWS;
    printf("%-7s products by signs %15.2f ns for 64 parameters\n", k->name,
           time_of(dot_steps, &w, 1) / EMR_DOT_ROWS);
    w.steps.kept = kept[0];
    printf("%-7s products by thin signs %10.2f ns for 64 parameters\n", k->name,
           time_of(dot_steps, &w, 1) / EMR_DOT_ROWS);
}

void time_kernels(const emr_kernels *k)
{
    time_steps(k);
    time_all_encoding(k);
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++)
        time_dtype(k, dtypes[d]);
}
