/* dots_template.h - the kernels for one instruction set, bit for bit as dots.c has them. Included by each variant's file, which
 * defines
 *
 *     v, V_WIDTH, v_load, v_widen(p), v_mul, v_add, v_fused (x * y + z)     a vector of doubles; floats, widened
 *     v_fold(lanes, b)                                                      lanes[j] += h[j] + h[j + 4], of b[0] to b[15]
 *     f, F_WIDTH, f_load, f_store, f_set, f_mul, f_add, f_sub               a vector of floats
 *
 * Products of floats are exact in f64, so it does not matter that a fused one is not rounded. */
#include "dots.h"

#define INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { V_ROW = 16 / V_WIDTH }; /* vectors */

static INLINE v pair_at(const double *g, const float *tau)
{
    return v_fused(v_load(g + 16), v_widen(tau + 16), v_mul(v_load(g), v_widen(tau)));
}

static INLINE v half_at(const double *g, const float *tau)
{
    v sum = pair_at(g, tau);
    UNROLL
    for (size_t k = 1; k < 4; k++)
        sum = v_add(sum, pair_at(g + 32 * k, tau + 32 * k));
    return sum;
}

static void add_products(double lanes[FIT_DOT_LANES], const double *g, const float *tau, size_t n_blocks)
{
    v b[V_ROW];
    for (size_t i = 0; i < n_blocks; i++, g += FIT_DOT_BLOCK, tau += FIT_DOT_BLOCK) {
        UNROLL
        for (size_t c = 0; c < V_ROW; c++)
            b[c] = v_add(half_at(g + c * V_WIDTH, tau + c * V_WIDTH),
                         half_at(g + 128 + c * V_WIDTH, tau + 128 + c * V_WIDTH));
        v_fold(lanes, b);
    }
}

static void subtract(float *tau, const float *base, size_t n)
{
    size_t i = 0;
    for (; i + F_WIDTH <= n; i += F_WIDTH)
        f_store(tau + i, f_sub(f_load(tau + i), f_load(base + i)));
    for (; i < n; i++)
        tau[i] -= base[i];
}

static void add_scaled(float *w, float lambda, const float *tau, size_t n)
{
    size_t i = 0;
    for (; i + F_WIDTH <= n; i += F_WIDTH)
        f_store(w + i, f_add(f_load(w + i), f_mul(f_set(lambda), f_load(tau + i))));
    for (; i < n; i++)
        w[i] += lambda * tau[i];
}
