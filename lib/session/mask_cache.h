/* mask_cache.h - which blocks of all tasks' masks are in memory, and which is given up when another is
 * needed. It hands out places; who reads into them is the session's business. */
#ifndef EMR_SESSION_MASK_CACHE_H
#define EMR_SESSION_MASK_CACHE_H

#include "core/memory.h"

/* One block of a task's mask. */
typedef struct emr_mask_block {
    const uint8_t *bits; /* NULL: not in memory */
    uint32_t slot;       /* where it was or will be decoded, or one of these: */
} emr_mask_block;

#define EMR_NO_SLOT  UINT32_MAX       /* neither there nor wanted */
#define EMR_IN_PLACE (UINT32_MAX - 1) /* needs none */

typedef struct emr_mask_cache {
    emr_mask_block *blocks; /* task by task */
    size_t *first_block;    /* of each task; one more ends them */
    struct emr_mask_slot *slots;
    uint8_t *memory;
    size_t n_tasks, n_slots, slot_bytes;
    uint32_t newest, oldest; /* a list, by use */
    uint64_t round;
    size_t *wanted; /* blocks to be read before the round's work begins */
    size_t n_wanted;
    uint64_t found, read;
} emr_mask_cache;

/* Bytes that emr_mask_cache_create allocates. */
uint64_t emr_mask_cache_memory(size_t n_tasks, uint64_t n_blocks, uint64_t n_slots, size_t slot_bytes);

/* `first_block` has n_tasks + 1 entries and is taken over, also on failure. */
emr_status emr_mask_cache_create(emr_mask_cache *cache, const emr_allocator *allocator, size_t *first_block,
                                 size_t n_tasks, size_t n_slots, size_t slot_bytes);
void emr_mask_cache_destroy(emr_mask_cache *cache, const emr_allocator *allocator);

/* Begins a round: nothing that it wants is given up before the next. What the last one wanted and nobody read
 * is forgotten. */
void emr_mask_cache_begin(emr_mask_cache *cache);

/* Wants block `block` (in cache->blocks); it needs a slot if it has to be decoded. False if there is none. */
bool emr_mask_cache_want(emr_mask_cache *cache, size_t block, bool needs_slot);

/* The slot's memory of a wanted block. */
uint8_t *emr_mask_cache_slot(const emr_mask_cache *cache, size_t block);

#endif
