/* code_cache.h - which blocks of all tasks' codes are in memory, and which goes when another is needed. It
 * hands out places; who reads into them is the session's business.
 *
 * Work goes in rounds. In a round, blocks are requested until there is no room for another, or no more are
 * wanted. Then those that are not in memory (cache->missing) are read, by all workers at once, and then work
 * begins, which reads blocks without asking anybody: nothing that the round requested is evicted before the
 * next one begins. A block whose reading failed, or was not tried, is as if it had never been requested once
 * the next round begins.
 *
 *     emr_code_cache_begin
 *     emr_code_cache_request ... until it is false      a slot for each block that is decoded
 *     reading cache->missing                            sets their `bytes`
 *     work                                              reads `bytes`
 *     emr_code_cache_begin                              and so on */
#ifndef EMR_SESSION_CODE_CACHE_H
#define EMR_SESSION_CODE_CACHE_H

#include "core/memory.h"

/* One block of a task's codes. */
typedef struct emr_code_block {
    const uint8_t *bytes; /* NULL: not in memory */
    uint32_t slot;        /* where it was or will be decoded, or one of these: */
} emr_code_block;

#define EMR_NO_SLOT  UINT32_MAX       /* neither in memory nor requested */
#define EMR_IN_PLACE (UINT32_MAX - 1) /* needs none */

typedef struct emr_code_cache {
    emr_code_block *blocks; /* task by task */
    size_t *first_block;    /* of each task; one more ends them */
    struct emr_code_slot *slots;
    uint8_t *memory;
    size_t n_tasks, n_slots, slot_bytes;
    uint32_t newest, oldest; /* a list, by use */
    uint64_t round;
    size_t *missing; /* blocks to be read before the round's work begins */
    size_t n_missing;
    uint64_t n_found, n_read;
} emr_code_cache;

/* Bytes that emr_code_cache_create allocates. */
uint64_t emr_code_cache_memory(size_t n_tasks, uint64_t n_blocks, uint64_t n_slots, size_t slot_bytes);

/* `first_block` has n_tasks + 1 entries and is taken over, also on failure. */
emr_status emr_code_cache_create(emr_code_cache *cache, const emr_allocator *allocator, size_t *first_block,
                                 size_t n_tasks, size_t n_slots, size_t slot_bytes);
void emr_code_cache_destroy(emr_code_cache *cache, const emr_allocator *allocator);

/* Begins a round. */
void emr_code_cache_begin(emr_code_cache *cache);

/* Requests block `block` (in cache->blocks); it needs a slot if it has to be decoded. False if there is none
 * that this round does not use. */
bool emr_code_cache_request(emr_code_cache *cache, size_t block, bool needs_slot);

/* The slot's memory of a requested block. */
uint8_t *emr_code_cache_slot(const emr_code_cache *cache, size_t block);

#endif
