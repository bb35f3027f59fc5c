/* immintrin.h - stands in for the compiler's own where kernels_avx512.c is checked on a processor without
 * AVX-512: its intrinsics, emulated in portable C by SIMDe (Debian: libsimde-dev), and here those few that
 * SIMDe 0.7.4 lacks. What this cannot show: that real instructions and the compiler's flags do the same. */
#ifndef EMULATED_IMMINTRIN_H
#define EMULATED_IMMINTRIN_H

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES

/* Its headers are not clean under our warnings. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#pragma GCC diagnostic pop

typedef simde__mmask16 __mmask16;

#include <stdint.h>
#include <string.h>

#include "numeric/convert.h"

static inline __m512i emulated_cvtepu16_epi32(__m256i h)
{
    uint16_t from[16];
    uint32_t to[16];
    memcpy(from, &h, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = from[i];
    return _mm512_loadu_si512(to);
}

static inline __m512 emulated_cvtph_ps(__m256i h)
{
    uint16_t from[16];
    float to[16];
    memcpy(from, &h, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = emr_f16_to_f32(from[i]);
    return _mm512_loadu_ps(to);
}

static inline __m256i emulated_cvtps_ph(__m512 x)
{
    float from[16];
    uint16_t to[16];
    __m256i result;
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = emr_f32_to_f16(from[i]);
    memcpy(&result, to, sizeof result);
    return result;
}

static inline __m512d emulated_cvtps_pd(__m256 x)
{
    float from[8];
    double to[8];
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 8; i++)
        to[i] = (double)from[i];
    return _mm512_loadu_pd(to);
}

static inline void emulated_stream(void *to, __m512i x)
{
    memcpy(to, &x, sizeof x);
}

#define _mm512_stream_si512(to, x)   emulated_stream(to, x)
#define _mm512_cvtepu16_epi32(h)     emulated_cvtepu16_epi32(h)
#define _mm512_cvtph_ps(h)           emulated_cvtph_ps(h)
#define _mm512_cvtps_ph(x, rounding) emulated_cvtps_ph(x)
#define _mm512_cvtps_pd(x)           emulated_cvtps_pd(x)

#endif
