/* select.c - which kernels this processor can run. Asked once for each context; nothing is remembered. */
#include "numeric/kernels.h"

#ifdef EMR_WITH_AVX2

#include <cpuid.h>
#include <stdbool.h>

/* AVX2, F16C and POPCNT, and an operating system that saves the wide registers. */
static bool has_avx2(void)
{
    const unsigned popcnt = 1u << 23, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29, avx2 = 1u << 5;
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    if ((c & (popcnt | osxsave | avx | f16c)) != (popcnt | osxsave | avx | f16c))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & avx2);
}

#endif

const emr_kernels *const *emr_kernels_available(void)
{
#if defined(EMR_WITH_NEON) /* every 64-bit ARM processor has it */
    static const emr_kernels *const with_neon[] = {&emr_kernels_c, &emr_kernels_neon, NULL};
    return with_neon;
#else
    static const emr_kernels *const plain[] = {&emr_kernels_c, NULL};
#ifdef EMR_WITH_AVX2
    static const emr_kernels *const with_avx2[] = {&emr_kernels_c, &emr_kernels_avx2, NULL};
    if (has_avx2())
        return with_avx2;
#endif
    return plain;
#endif
}

const emr_kernels *emr_kernels_select(void)
{
    const emr_kernels *const *best = emr_kernels_available();
    while (best[1])
        best++;
    return *best;
}
