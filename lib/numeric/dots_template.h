/* dots_template.h - products of float vectors for one instruction set, bit for bit as dots.c has them.
 * Included by each variant's file. It defines a vector of 8 doubles, `v8d`, and
 *
 *     d_zero()
 *     d_widen(p)                  8 floats
 *     d_add_product(sum, x, y)    sum + x * y, each rounded
 *     d_store(p, x) */
#include "numeric/dots.h"

#define INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum { DOTS_ABREAST = 4 }; /* whose accumulators stay in registers */

/* Of `abreast` others, which is a constant. */
static INLINE void dot_abreast(const float *a, const float *const *others, size_t n, double *dots,
                               int abreast)
{
    v8d sums[DOTS_ABREAST];
    size_t whole = n - n % EMR_DOT_STRIPES;
    UNROLL
    for (int k = 0; k < abreast; k++)
        sums[k] = d_zero();
    for (size_t i = 0; i < whole; i += EMR_DOT_STRIPES) {
        v8d x = d_widen(a + i);
        UNROLL
        for (int k = 0; k < abreast; k++)
            sums[k] = d_add_product(sums[k], x, d_widen(others[k] + i));
    }
    for (int k = 0; k < abreast; k++) {
        double stripes[EMR_DOT_STRIPES];
        d_store(stripes, sums[k]);
        emr_stripes_end(stripes, a + whole, others[k] + whole, n - whole);
        dots[k] = emr_stripes_total(stripes);
    }
}

static void dots(const float *a, const float *const *others, size_t n_others, size_t n, double *products)
{
    for (; n_others >= DOTS_ABREAST;
         n_others -= DOTS_ABREAST, others += DOTS_ABREAST, products += DOTS_ABREAST)
        dot_abreast(a, others, n, products, DOTS_ABREAST);
    if (n_others == 3)
        dot_abreast(a, others, n, products, 3);
    else if (n_others == 2)
        dot_abreast(a, others, n, products, 2);
    else if (n_others == 1)
        dot_abreast(a, others, n, products, 1);
}

#undef INLINE
#undef UNROLL
