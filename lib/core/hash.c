/* hash.c - the only file that sees xxHash; compiled in, so that a freestanding build needs no library. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/hash.h"

_Static_assert(sizeof(XXH3_state_t) <= sizeof(emr_hasher), "emr_hasher must hold xxHash's state");

uint32_t emr_hash32(const void *data, size_t n)
{
    return XXH32(data, n, 0);
}

uint64_t emr_xxh64(const void *data, size_t n, uint64_t seed)
{
    return XXH64(data, n, seed);
}

uint64_t emr_hash64(const void *data, size_t n)
{
    return XXH3_64bits(data, n);
}

uint64_t emr_hash64_seeded(const void *data, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, n, seed);
}

void emr_hasher_init(emr_hasher *hasher)
{
    XXH3_INITSTATE((XXH3_state_t *)(void *)hasher->state);
    XXH3_128bits_reset((XXH3_state_t *)(void *)hasher->state);
}

void emr_hasher_update(emr_hasher *hasher, const void *data, size_t n)
{
    XXH3_128bits_update((XXH3_state_t *)(void *)hasher->state, data, n);
}

emr_hash128 emr_hasher_digest(const emr_hasher *hasher)
{
    XXH128_hash_t h = XXH3_128bits_digest((const XXH3_state_t *)(const void *)hasher->state);
    return (emr_hash128){h.low64, h.high64};
}
