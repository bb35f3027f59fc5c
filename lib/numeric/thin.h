/* thin.h - which parameters of a group a thinned task keeps. Nothing is stored of that: they are drawn, by
 * a hash of the group's number in flat space. One of q = 2^k parameters is kept, k from 1 to 5: each run
 * of q of a group's 64 has one, at the offset that k bits of the hash are, the lowest bits for the first
 * run. A group's codes are 64 / q bits, one for each run.
 *
 * Whole words at a time, by shifts alone where k is a constant, which compilers can do with vectors of
 * words too: less than a cycle a parameter on any processor. Freestanding. */
#ifndef EMR_NUMERIC_THIN_H
#define EMR_NUMERIC_THIN_H

#include "core/bytes.h"
#include "numeric/kernels.h"

/* The drawn bits of a group: a multiply-xorshift hash of 32 bits of good avalanche (lowbias32). */
static inline uint32_t emr_thin_hash(uint32_t seed, uint64_t group)
{
    uint32_t x = seed ^ (uint32_t)group * 0x9E3779B1u ^ (uint32_t)(group >> 32) * 0x85EBCA77u;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

/* k of a coding of 64 >> k bits a group. */
static inline uint32_t emr_thin_log2(uint32_t rate)
{
    return rate == 32 ? 1 : rate == 16 ? 2 : rate == 8 ? 3 : rate == 4 ? 4 : 5;
}

/* Bits 0, 2^log2, 2 * 2^log2, ... of a word. */
static inline uint64_t emr_thin_every(uint32_t log2)
{
    static const uint64_t every[7] = {~(uint64_t)0,
                                      0x5555555555555555u,
                                      0x1111111111111111u,
                                      0x0101010101010101u,
                                      0x0001000100010001u,
                                      0x0000000100000001u,
                                      1};
    return every[log2];
}

static inline uint64_t emr_thin_low_bits(uint32_t n)
{
    return ((uint64_t)1 << n) - 1;
}

/* Bit 0 of each run, in all bits of the run. */
static inline uint64_t emr_thin_fill(uint64_t first_bits, uint32_t k)
{
    return (first_bits << (1u << k)) - first_bits;
}

/* One of the steps that bring packed fields of `width` <= 2^k bits, one for each run, to where their runs
 * begin. Halves of the fields move apart, then halves of the halves. */
static inline uint64_t emr_thin_part(uint64_t fields, uint32_t width, uint32_t k, uint32_t half)
{
    if (k + half > 5)
        return fields;
    fields |= fields << (((1u << k) - width) << half);
    return fields & emr_thin_every(k + half) * emr_thin_low_bits(width << half);
}

static inline uint64_t emr_thin_spread(uint64_t fields, uint32_t width, uint32_t k)
{
    fields = emr_thin_part(fields, width, k, 4);
    fields = emr_thin_part(fields, width, k, 3);
    fields = emr_thin_part(fields, width, k, 2);
    fields = emr_thin_part(fields, width, k, 1);
    return emr_thin_part(fields, width, k, 0);
}

/* `kept` less those parameters whose number in their run has another bit number `bit` than what was drawn. */
static inline uint64_t emr_thin_agreeing(uint64_t kept, uint64_t offsets, uint32_t k, uint32_t bit)
{
    if (bit >= k)
        return kept;
    uint64_t is_zero = emr_thin_fill(emr_thin_every(bit + 1), bit); /* that bit of the number */
    return kept & (is_zero ^ emr_thin_fill(offsets >> bit & emr_thin_every(k), k));
}

/* A bit for each parameter of a group: 1 where it is kept. */
static inline uint64_t emr_thin_kept_by(uint32_t hash, uint32_t k)
{
    uint64_t offsets = emr_thin_spread(hash & emr_thin_low_bits(k << (6 - k)), k, k), kept = ~(uint64_t)0;
    kept = emr_thin_agreeing(kept, offsets, k, 0);
    kept = emr_thin_agreeing(kept, offsets, k, 1);
    kept = emr_thin_agreeing(kept, offsets, k, 2);
    kept = emr_thin_agreeing(kept, offsets, k, 3);
    return emr_thin_agreeing(kept, offsets, k, 4);
}

/* A group's codes, each where `kept` has its run's bit; 0 elsewhere. */
static inline uint64_t emr_thin_signs_by(uint64_t kept, uint64_t codes, uint32_t k)
{
    return kept & emr_thin_fill(emr_thin_spread(codes, 1, k), k);
}

/* The same for any k. */
uint64_t emr_thin_kept(const emr_coding *coding, uint64_t group);
uint64_t emr_thin_signs(const emr_coding *coding, uint64_t kept, uint64_t codes);

/* Codes of group number `group` of those that lie there. */
static inline uint64_t emr_thin_codes(const uint8_t *codes, const emr_coding *coding, size_t group)
{
    const uint8_t *at = codes + group * coding->rate / 8;
    switch (coding->rate) {
    case 32:
        return emr_load32(at);
    case 16:
        return emr_load16(at);
    case 8:
        return *at;
    default: /* 2 or 4 bits, within a byte */
        return *at >> group * coding->rate % 8 & emr_thin_low_bits(coding->rate);
    }
}

#endif
