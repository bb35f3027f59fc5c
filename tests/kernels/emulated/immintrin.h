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

static inline __m512 emulated_cvtepi8_ps(__m128i b)
{
    int8_t from[16];
    float to[16];
    memcpy(from, &b, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = from[i];
    return _mm512_loadu_ps(to);
}

/* Cut to whole numbers where the mask has a 1, which fit in a byte; elsewhere 0. */
static inline __m128i emulated_maskz_cvttps_epi8(__mmask16 mask, __m512 x)
{
    float from[16];
    int8_t to[16];
    __m128i result;
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = mask >> i & 1 ? (int8_t)from[i] : 0;
    memcpy(&result, to, sizeof result);
    return result;
}

static inline float emulated_reduce_max_ps(__m512 x)
{
    float from[16];
    memcpy(from, &x, sizeof from);
    for (int i = 1; i < 16; i++)
        from[0] = from[i] > from[0] ? from[i] : from[0];
    return from[0];
}

static inline __mmask16 emulated_cmplt_epu32_mask(__m512i x, __m512i y)
{
    uint32_t a[16], b[16];
    unsigned below = 0;
    memcpy(a, &x, sizeof a);
    memcpy(b, &y, sizeof b);
    for (unsigned i = 0; i < 16; i++)
        below |= (unsigned)(a[i] < b[i]) << i;
    return (__mmask16)below;
}

/* Of these pairs, each is emulated as one: the vector of integers between them never shows. */
#define _mm512_cvtepi8_epi32(b)         (b)
#define _mm512_cvtepi32_ps(b)           emulated_cvtepi8_ps(b)
#define _mm512_maskz_cvttps_epi32(m, x) emulated_maskz_cvttps_epi8(m, x)
#define _mm512_cvtepi32_epi8(b)         (b)
#define _mm512_reduce_max_ps(x)         emulated_reduce_max_ps(x)
#define _mm512_stream_si512(to, x)      emulated_stream(to, x)
#define _mm512_cvtepu16_epi32(h)        emulated_cvtepu16_epi32(h)
#define _mm512_cvtph_ps(h)              emulated_cvtph_ps(h)
#define _mm512_cvtps_ph(x, rounding)    emulated_cvtps_ph(x)
#define _mm512_cmplt_epu32_mask(x, y)   emulated_cmplt_epu32_mask(x, y)
#define _mm512_cvtps_pd(x)              emulated_cvtps_pd(x)

#endif
