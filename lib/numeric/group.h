/* group.h - one group of 64 parameters in plain C: what the reference kernels and growing (grow.c) share.
 * Equation numbers are those of docs/algorithm.md. */
#ifndef EMR_NUMERIC_GROUP_H
#define EMR_NUMERIC_GROUP_H

#include "core/bytes.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <stdbool.h>

static inline bool is_finite(float f)
{
    return (emr_f32_bits(f) & 0x7f800000) != 0x7f800000;
}

static inline bool all_finite(const float *values, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= !is_finite(values[i]);
    return !bad;
}

/* tau = W_t - W_0 for one group: in f32 with one rounding; in f64, rounded to f32, where either side is f64.
 */
static inline void load_task_vector(float tau[EMR_GROUP], const emr_chunk *c, size_t task, size_t first,
                                    size_t n)
{
    emr_dtype base_dtype = c->base_dtype, task_dtype = c->task_dtypes[task];
    if (!c->tasks[task]) {
        for (size_t i = 0; i < n; i++)
            tau[i] = 0;
        return;
    }
    const uint8_t *base = (const uint8_t *)c->base + first * emr_float_size(base_dtype);
    const uint8_t *weights = (const uint8_t *)c->tasks[task] + first * emr_float_size(task_dtype);
    if (base_dtype == EMR_DTYPE_F64 || task_dtype == EMR_DTYPE_F64) {
        double w0[EMR_GROUP], w[EMR_GROUP];
        emr_load_f64(w0, base_dtype, base, n);
        emr_load_f64(w, task_dtype, weights, n);
        for (size_t i = 0; i < n; i++)
            tau[i] = (float)(w[i] - w0[i]);
    } else {
        float w0[EMR_GROUP];
        emr_load_f32(w0, base_dtype, base, n);
        emr_load_f32(tau, task_dtype, weights, n);
        for (size_t i = 0; i < n; i++)
            tau[i] = tau[i] - w0[i];
    }
}

/* The same with entries that are not finite set to 0; returns how many there were. */
static inline size_t load_finite(float tau[EMR_GROUP], const emr_chunk *c, size_t task, size_t first,
                                 size_t n)
{
    size_t bad = 0;
    load_task_vector(tau, c, task, first, n);
    if (all_finite(tau, n))
        return 0;
    for (size_t i = 0; i < n; i++) {
        bad += !is_finite(tau[i]);
        tau[i] = is_finite(tau[i]) ? tau[i] : 0;
    }
    return bad;
}

/* Stores what was elected in the unified dtype; `unified` gets the stored values widened again, zeros as +0.
 * Returns false if one overflows the unified dtype. */
static inline bool store_elected(const emr_chunk *c, size_t first, size_t n, float unified[EMR_GROUP])
{
    emr_dtype dtype = c->unified_dtype;
    uint8_t *stored = (uint8_t *)c->unified + first * emr_float_size(dtype);
    if (dtype != EMR_DTYPE_F32) {
        emr_store_f32(dtype, stored, unified, n);
        emr_load_f32(unified, dtype, stored, n);
    }
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        finite = finite && is_finite(unified[i]);
        unified[i] = unified[i] == 0 ? 0.0f : unified[i];
    }
    emr_store_f32(dtype, stored, unified, n);
    return finite;
}

/* Looks for the first parameter of a group with a task vector entry that is not finite. */
static inline bool find_bad(emr_chunk *c, size_t first, size_t n)
{
    float tau[EMR_GROUP];
    c->bad = c->n;
    for (size_t t = 0; t < c->n_tasks; t++) {
        load_task_vector(tau, c, t, first, n);
        if (all_finite(tau, n))
            continue;
        for (size_t i = 0; i < n && first + i < c->bad; i++) {
            if (!is_finite(tau[i])) {
                c->bad = first + i;
                c->bad_task = t;
            }
        }
    }
    return c->bad < c->n;
}

/* Names the first value of a group that overflows the unified dtype; there is one. */
static inline void find_overflow(emr_chunk *c, size_t first, const float unified[EMR_GROUP])
{
    c->bad_task = c->n_tasks;
    for (c->bad = first; is_finite(unified[c->bad - first]);)
        c->bad++;
}

/* Eight bytes of 0 or 1 become eight bits, for a whole group. */
static inline uint64_t pack_bits(const uint8_t bits[EMR_GROUP])
{
    uint64_t word = 0;
    for (size_t i = 0; i < EMR_GROUP; i += 8)
        word |= (emr_load64(bits + i) * 0x0102040810204080u >> 56) << i;
    return word;
}

static inline float magnitude(float f)
{
    return emr_f32_from_bits(emr_f32_bits(f) & 0x7fffffff);
}

/* The order of sums: see kernels.h. Lanes of a block's halves, in f32 for L1 and in f64 otherwise, and the
 * chunk's accumulators. */
typedef struct running_sum {
    float lanes[2][16];
    double wide_lanes[2][16];
    double a[4];
} running_sum;

static inline void add_group_f32(float lanes[16], const float x[EMR_GROUP])
{
    for (size_t j = 0; j < 16; j++) {
        lanes[j] = lanes[j] + (x[j] + x[16 + j]);
        lanes[j] = lanes[j] + (x[32 + j] + x[48 + j]);
    }
}

static inline void add_group_f64(double lanes[16], const double x[EMR_GROUP])
{
    for (size_t j = 0; j < 16; j++) {
        lanes[j] = lanes[j] + (x[j] + x[16 + j]);
        lanes[j] = lanes[j] + (x[32 + j] + x[48 + j]);
    }
}

/* Ends a block. Of the two kinds of lanes one is all +0. */
static inline void fold_block(running_sum *s)
{
    float l[16], h[8];
    double wide_l[16], wide_h[8];
    for (size_t j = 0; j < 16; j++) {
        l[j] = s->lanes[0][j] + s->lanes[1][j];
        wide_l[j] = s->wide_lanes[0][j] + s->wide_lanes[1][j];
    }
    for (size_t j = 0; j < 8; j++) {
        h[j] = l[j] + l[j + 8];
        wide_h[j] = wide_l[j] + wide_l[j + 8];
    }
    for (size_t j = 0; j < 4; j++)
        s->a[j] = s->a[j] + ((double)(h[j] + h[j + 4]) + (wide_h[j] + wide_h[j + 4]));
    memset(s->lanes, 0, sizeof s->lanes);
    memset(s->wide_lanes, 0, sizeof s->wide_lanes);
}

#endif
