/* tiles_neon.c - the kernel for 64-bit ARM: 4 x 12 sums in 24 registers. */
#include <arm_neon.h>

typedef float64x2_t v;
enum { V_WIDTH = 2, V_ROWS = 4, V_VECTORS = 6 };
#define v_load(p)        vld1q_f64(p)
#define v_store(p, x)    vst1q_f64(p, x)
#define v_set(x)         vdupq_n_f64(x)
#define v_mul(x, y)      vmulq_f64(x, y)
#define v_add(x, y)      vaddq_f64(x, y)
#define v_sub(x, y)      vsubq_f64(x, y)
#define v_fused(x, y, z) vfmaq_f64(z, x, y)
#include "tiles_template.h"

const fit_kernels fit_kernels_neon = {"neon", tile_add_exact, tile_add, tile_subtract};
