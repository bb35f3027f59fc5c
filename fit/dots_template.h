/* dots_template.h - the kernels for one instruction set, bit for bit as dots.c has them. Included by each variant's file, which
 * defines
 *
 *     v, V_WIDTH, v_load, v_mul, v_add, v_fused (x * y + z)                 a vector of doubles
 *     v_fold(lanes, b)                                                      lanes[j] += h[j] + h[j + 4], of b[0] to b[15]
 *     h, h_load, h_halves(p), h_sub, v_widen(x)                             V_WIDTH floats; of BF16; as doubles
 *     f, F_WIDTH, f_load, f_halves(p), f_store, f_set, f_mul, f_add, f_sub  a vector of floats
 *
 * Products of floats are exact in f64, so it does not matter that a fused one is not rounded. */
#include "dots.h"

#include <stdbool.h>

#define INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { V_ROW = 16 / V_WIDTH }; /* vectors */

/* What a source has, as a constant. */
typedef struct form {
    bool has_halves, has_base;
} form;

static INLINE v take(form of, const fit_source *s, size_t i)
{
    h w = of.has_halves ? h_halves(s->halves + i) : h_load(s->floats + i);
    return v_widen(of.has_base ? h_sub(w, h_load(s->base + i)) : w);
}

static INLINE v pair_at(form of, const double *g, const fit_source *tau, size_t i)
{
    return v_fused(v_load(g + i + 16), take(of, tau, i + 16), v_mul(v_load(g + i), take(of, tau, i)));
}

static INLINE v half_at(form of, const double *g, const fit_source *tau, size_t i)
{
    v sum = pair_at(of, g, tau, i);
    UNROLL
    for (size_t k = 1; k < 4; k++)
        sum = v_add(sum, pair_at(of, g, tau, i + 32 * k));
    return sum;
}

static INLINE void add_products_of(form of, double *lanes, const double *g, const fit_source *tau,
                                   size_t n_blocks)
{
    const fit_source source = *tau;
    v b[V_ROW];
    for (size_t i = 0; i < n_blocks * FIT_DOT_BLOCK; i += FIT_DOT_BLOCK) {
        UNROLL
        for (size_t c = 0; c < V_ROW; c++)
            b[c] = v_add(half_at(of, g, &source, i + c * V_WIDTH),
                         half_at(of, g, &source, i + 128 + c * V_WIDTH));
        v_fold(lanes, b);
    }
}

static INLINE void add_scaled_of(form of, float *w, float lambda, const fit_source *tau, size_t n)
{
    const fit_source source = *tau;
    size_t i = 0;
    for (; i + F_WIDTH <= n; i += F_WIDTH) {
        f x = of.has_halves ? f_halves(source.halves + i) : f_load(source.floats + i);
        if (of.has_base)
            x = f_sub(x, f_load(source.base + i));
        f_store(w + i, f_add(f_load(w + i), f_mul(f_set(lambda), x)));
    }
    for (; i < n; i++)
        w[i] += lambda * fit_source_at(&source, i);
}

static void add_products(double lanes[FIT_DOT_LANES], const double *g, const fit_source *tau, size_t n_blocks)
{
    if (tau->halves && tau->base)
        add_products_of((form){true, true}, lanes, g, tau, n_blocks);
    else if (tau->halves)
        add_products_of((form){true, false}, lanes, g, tau, n_blocks);
    else if (tau->base)
        add_products_of((form){false, true}, lanes, g, tau, n_blocks);
    else
        add_products_of((form){false, false}, lanes, g, tau, n_blocks);
}

static void add_scaled(float *w, float lambda, const fit_source *tau, size_t n)
{
    if (tau->halves && tau->base)
        add_scaled_of((form){true, true}, w, lambda, tau, n);
    else if (tau->halves)
        add_scaled_of((form){true, false}, w, lambda, tau, n);
    else if (tau->base)
        add_scaled_of((form){false, true}, w, lambda, tau, n);
    else
        add_scaled_of((form){false, false}, w, lambda, tau, n);
}
