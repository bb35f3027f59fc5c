/* hash.h - XXH3, as the bundle uses it: 64 bits over a block, 128 bits over a stream; and for seeds XXH32 and XXH64. Freestanding. */
#ifndef EMR_CORE_HASH_H
#define EMR_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct emr_hash128 {
    uint64_t low, high;
} emr_hash128;

/* A running XXH3-128; large enough for any xxHash release. */
typedef struct emr_hasher {
    _Alignas(64) unsigned char state[640];
} emr_hasher;

uint32_t emr_hash32(const void *data, size_t n); /* XXH32 */
uint64_t emr_xxh64(const void *data, size_t n, uint64_t seed);
uint64_t emr_hash64(const void *data, size_t n);
uint64_t emr_hash64_seeded(const void *data, size_t n, uint64_t seed);
void emr_hasher_init(emr_hasher *hasher);
void emr_hasher_update(emr_hasher *hasher, const void *data, size_t n);
emr_hash128 emr_hasher_digest(const emr_hasher *hasher);

#endif
