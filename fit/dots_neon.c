/* dots_neon.c - the kernels for 64-bit ARM. */
#include <arm_neon.h>

typedef float64x2_t v;
typedef float32x4_t f;
typedef float32x2_t h;
enum { V_WIDTH = 2, F_WIDTH = 4 };
#define v_load(p)        vld1q_f64(p)
#define h_load(p)        vld1_f32(p)
#define h_sub(x, y)      vsub_f32(x, y)
#define v_widen(x)       vcvt_f64_f32(x)
#define v_mul(x, y)      vmulq_f64(x, y)
#define v_add(x, y)      vaddq_f64(x, y)
#define v_fused(x, y, z) vfmaq_f64(z, x, y)
#define f_load(p)        vld1q_f32(p)
#define f_halves(p)      vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))
#define f_store(p, x)    vst1q_f32(p, x)
#define f_set(x)         vdupq_n_f32(x)
#define f_mul(x, y)      vmulq_f32(x, y)
#define f_add(x, y)      vaddq_f32(x, y)
#define f_sub(x, y)      vsubq_f32(x, y)

static inline h h_halves(const uint16_t *p)
{
    uint32x2_t bits = vset_lane_u32((uint32_t)p[1] << 16, vdup_n_u32((uint32_t)p[0] << 16), 1);
    return vreinterpret_f32_u32(bits);
}

static inline void v_fold(double *lanes, const v b[8])
{
    for (int c = 0; c < 2; c++) {
        v q = v_add(v_add(b[c], b[c + 4]), v_add(b[c + 2], b[c + 6]));
        vst1q_f64(lanes + 2 * c, v_add(v_load(lanes + 2 * c), q));
    }
}

#include "dots_template.h"

const fit_dots fit_dots_neon = {"neon", add_products, add_scaled};
