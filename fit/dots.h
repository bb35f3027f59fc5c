/* dots.h - what is done to the elements of task vectors, as kernels: gradients' products with them in a fixed order of sums, and
 * their shares in merged weights. A task vector is taken from weights as they are stored.
 *
 * A product's terms x[i] = g[i] tau[i], exact in f64, are added up in blocks of 256 and chunks of 16,384 elements from the tensor's first
 * (rule `l2` of docs/algorithm.md):
 *
 *     pair    p[k][j] = x[32k+j] + x[32k+16+j]                     k = 0 .. 7, j = 0 .. 15
 *     half    l[m][j] = ((p[4m][j] + p[4m+1][j]) + p[4m+2][j]) + p[4m+3][j]     m = 0, 1
 *     fold    b[j] = l[0][j] + l[1][j],   h[j] = b[j] + b[j+8],   q[j] = h[j] + h[j+4]
 *     lanes   a[j] = a[j] + q[j]          for each block of a chunk in order, from 0; j = 0 .. 3
 *     chunk   (a[0] + a[2]) + (a[1] + a[3])
 *
 * and chunks in order. What is missing at the tensor's end is +0. */
#ifndef EMR_FIT_DOTS_H
#define EMR_FIT_DOTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FIT_DOT_BLOCK = 256, FIT_DOT_CHUNK = 16384, FIT_DOT_LANES = 4 };

/* tau = W - W_0 in f32. */
typedef struct fit_source {
    const float *floats;
    const uint16_t *halves; /* BF16, instead of floats; little-endian processors */
    const float *base;      /* NULL: W are tau itself */
} fit_source;

typedef struct fit_dots {
    const char *name;
    /* The lanes, moved on by whole blocks; g are floats, widened. */
    void (*add_products)(double lanes[FIT_DOT_LANES], const double *g, const fit_source *tau,
                         size_t n_blocks);
    /* w = w + lambda tau, product and sum each rounded */
    void (*add_scaled)(float *w, float lambda, const fit_source *tau, size_t n);
} fit_dots;

extern const fit_dots fit_dots_c; /* the specification */
extern const fit_dots fit_dots_avx2, fit_dots_avx512, fit_dots_neon;

/* The best that this processor has. */
const fit_dots *fit_dots_select(void);

/* All that are built and can run here, the specification first; NULL past the end. */
const fit_dots *fit_dots_at(size_t i);

static inline float fit_source_at(const fit_source *s, size_t i)
{
    float w;
    if (s->halves) {
        uint32_t bits = (uint32_t)s->halves[i] << 16;
        memcpy(&w, &bits, sizeof w);
    } else {
        w = s->floats[i];
    }
    return s->base ? w - s->base[i] : w;
}

static inline double fit_dot_total(const double lanes[FIT_DOT_LANES])
{
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

#endif
