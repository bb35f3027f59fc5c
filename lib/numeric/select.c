/* select.c - which kernels this processor can run. Asked once for each context; nothing is remembered. */
#include "numeric/kernels.h"

#include <stdbool.h>

#ifdef EMR_WITH_AVX2

#include <cpuid.h>

/* Whether the operating system saves the registers of these state components. */
static bool saves(unsigned components)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & components) == components;
}

/* AVX2, F16C and POPCNT. */
static bool has_avx2(void)
{
    const unsigned popcnt = 1u << 23, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29, avx2 = 1u << 5;
    const unsigned needed = popcnt | osxsave | avx | f16c;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed || !saves(6))
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & avx2);
}

#ifdef EMR_WITH_AVX512

/* AVX-512 F, DQ, BW and VL beside AVX2: with opmask and all 32 wide registers saved. */
static bool has_avx512(void)
{
    const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, needed = f | dq | bw | vl;
    unsigned a, b, c, d;
    return has_avx2() && saves(0xe6) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & needed) == needed;
}

#endif
#endif

const emr_kernels *const *emr_kernels_built(void)
{
    static const emr_kernels *const all[] = {
        &emr_kernels_c,
#ifdef EMR_WITH_AVX2
        &emr_kernels_avx2,
#endif
#ifdef EMR_WITH_AVX512
        &emr_kernels_avx512,
#endif
#ifdef EMR_WITH_NEON
        &emr_kernels_neon,
#endif
        NULL,
    };
    return all;
}

const emr_kernels *const *emr_kernels_available(void)
{
#ifdef EMR_WITH_AVX2
    static const emr_kernels *const plain[] = {&emr_kernels_c, NULL};
    if (!has_avx2())
        return plain;
#ifdef EMR_WITH_AVX512
    static const emr_kernels *const with_avx2[] = {&emr_kernels_c, &emr_kernels_avx2, NULL};
    if (!has_avx512())
        return with_avx2;
#endif
#endif
    return emr_kernels_built(); /* every 64-bit ARM processor has NEON */
}

const emr_kernels *emr_kernels_select(void)
{
    const emr_kernels *const *best = emr_kernels_available();
    while (best[1])
        best++;
    return *best;
}
