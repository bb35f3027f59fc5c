/* apply_kernels.c - applying a task in memory, each variant, against memcpy. What counts as moved: base,
 * unified values, mask and output here; bytes read and bytes written there. */
#include "apply_kernels.h"

#include "rows.h"
#include "synthetic.h"

#include "numeric/kernels.h"

#include <string.h>

enum { PIECE = 16 * EMR_CHUNK };

typedef struct applying {
    const emr_kernels *kernels;
    const team *team;
    emr_dtype dtype;
    size_t n, size;
    uint8_t *base, *unified, *mask, *out;
} applying;

static double bytes_moved(const applying *a)
{
    return (double)a->n * (2.0 * (double)a->size + 4 + 0.125);
}

static void fill_share(void *arg, size_t i)
{
    enum { PER_BYTE = 8 };
    const applying *a = arg;
    size_t begin = share_begin(a->n, i, a->team->executor->concurrency, PIECE);
    size_t end = share_begin(a->n, i + 1, a->team->executor->concurrency, PIECE);
    synthetic_values(a->dtype, a->base + begin * a->size, 0, begin, end - begin);
    synthetic_values(EMR_DTYPE_F32, a->unified + begin * 4, 1, begin, end - begin);
    for (size_t byte = begin / PER_BYTE; byte < end / PER_BYTE;
         byte++) /* density 0.75: two random bits, or'd */
        a->mask[byte] = (uint8_t)(mix64(byte) | mix64(byte) >> 8);
}

static void apply_share(void *arg, size_t i)
{
    const applying *a = arg;
    size_t begin = share_begin(a->n, i, a->team->executor->concurrency, PIECE);
    size_t end = share_begin(a->n, i + 1, a->team->executor->concurrency, PIECE);
    for (size_t at = begin; at < end; at += PIECE)
        a->kernels->mask.apply(&(emr_run){.n = PIECE,
                                          .base = a->base + at * a->size,
                                          .unified = a->unified + at * 4,
                                          .codes = a->mask + at / 8,
                                          .scales = {0.75f},
                                          .base_dtype = a->dtype,
                                          .unified_dtype = EMR_DTYPE_F32,
                                          .out_dtype = a->dtype,
                                          .out = a->out + at * a->size});
}

static void copy_share(void *arg, size_t i)
{
    const applying *a = arg;
    size_t begin = share_begin(a->n, i, a->team->executor->concurrency, PIECE);
    size_t end = share_begin(a->n, i + 1, a->team->executor->concurrency, PIECE);
    memcpy(a->out + begin * a->size, a->base + begin * a->size, (end - begin) * a->size);
}

static void apply_all(void *arg)
{
    const applying *a = arg;
    team_run(a->team, a->team->executor->concurrency, apply_share, arg);
}

static void copy_all(void *arg)
{
    const applying *a = arg;
    team_run(a->team, a->team->executor->concurrency, copy_share, arg);
}

static void measure(const settings *s, applying *a)
{
    thread_text threads = threads_of(a->team->executor->concurrency);
    bool best = a->kernels == emr_kernels_select();
    unsigned runs = !best && s->runs > 2 ? 2 : s->runs;
    comparison c = take_turns(runs, apply_all, copy_all, a);
    double copied = 2.0 * (double)(a->n * a->size);
    row(bytes_moved(a) / c.subject / 1e9, "GB/s", no_bar(), "kernels: apply %s, %s, %s",
        emr_dtype_name(a->dtype), a->kernels->name, threads.text);
    row(bytes_moved(a) / copied / c.ratio, "of copy", best ? at_least(0.85) : no_bar(),
        "kernels: apply %s, %s, %s, ratio", emr_dtype_name(a->dtype), a->kernels->name, threads.text);
}

void bench_apply_kernels(const settings *s, const team *teams, size_t n_teams, emr_dtype dtype)
{
    applying a = {.dtype = dtype, .size = emr_dtype_bits(dtype) / 8, .team = &teams[n_teams - 1]};
    a.n = (size_t)size_of_run(s, 48 << 20, 1 << 20) / PIECE * PIECE;
    a.base = allocate_large(a.n * a.size);
    a.unified = allocate_large(a.n * 4);
    a.mask = allocate_large(a.n / 8);
    a.out = allocate_large(a.n * a.size);
    team_run(a.team, a.team->executor->concurrency, fill_share, &a);
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        a.kernels = *k;
        for (size_t t = 0; t < n_teams; t++) {
            a.team = &teams[t];
            if (*k == emr_kernels_select() || dtype != EMR_DTYPE_F16)
                measure(s, &a);
        }
    }
    release_large(a.base, a.n * a.size);
    release_large(a.unified, a.n * 4);
    release_large(a.mask, a.n / 8);
    release_large(a.out, a.n * a.size);
}
