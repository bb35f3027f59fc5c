/* code_cache.h - which blocks of all tasks' codes are in memory, and which goes when another is needed. It
 * hands out places and says who reads; reading is the session's business.
 *
 * Handles of a session share one cache, each with a round of its own. In a round, the blocks of one piece of
 * work after the other are requested, until there is no room for another piece or no more are wanted. Then
 * those that are not in memory are read, and then the pieces are worked at, which read `bytes` of their
 * blocks without asking anybody:
 *
 *     emr_code_cache_request ... until it is not EMR_ROOM       pins what it is given
 *     while emr_code_cache_claim                                says what this handle is to read
 *         reading the claimed blocks, setting their `bytes`     or waiting, if there are none
 *         emr_code_cache_settle
 *     work                                                      reads `bytes`
 *     emr_code_cache_release                                    lets go of everything
 *
 * A block that has to be decoded takes one of the slots. It is pinned by every round that requested it, and a
 * slot is given to another block only when nobody pins it: the one that was let go of longest ago. Blocks
 * that are used in place, in a mapped file, stay for ever once they are read.
 *
 * One lock guards all that handles share. It is held for a few instructions a block, never while something is
 * read, decoded or computed. That nobody waits for ever follows from four rules:
 * - A piece's blocks are pinned all at once, or none is. So nobody holds half of what he needs.
 * - Who waits for room holds no pins: there is a LATER only for pieces that would fit into a cache that
 *   nobody uses, and the caller finishes the round that he has, lets go of it, and asks again. So whoever
 *   holds pins is reading or computing, and will let go.
 * - A block is claimed by one handle, which reads it at once and in doing so waits for nobody. Who needs a
 *   block that another one reads pins it too, reads what he has claimed himself, and only then waits. If
 *   reading failed, the block is as if nobody had tried: those who wait for it claim it, try for themselves,
 *   and get an error of their own, or not.
 * - Those who wait for room have turns. While there are any, nobody else gets a slot that he does not pin
 *   already. So pins become fewer until there is room for the first one, however much he needs.
 *
 * A block whose reading failed, or was not tried, is as if it had never been requested once nobody pins it.
 */
#ifndef EMR_SESSION_CODE_CACHE_H
#define EMR_SESSION_CODE_CACHE_H

#include "core/memory.h"

#include <stdatomic.h>

/* One block of a task's codes. */
typedef struct emr_code_block {
    _Atomic(const uint8_t *) bytes; /* NULL: not in memory */
    uint32_t slot;                  /* where it was or will be decoded, or EMR_NO_SLOT */
    bool in_place;                  /* it needs none; set once, before anybody asks */
    bool reading;                   /* somebody has claimed it */
} emr_code_block;

#define EMR_NO_SLOT UINT32_MAX

typedef struct emr_code_cache {
    emr_code_block *blocks; /* task by task */
    size_t *first_block;    /* of each task; one more ends them */
    uint8_t *memory;
    size_t n_tasks, n_slots, slot_bytes;
    void (*wait)(void *user); /* emr_session_options.wait */
    void *wait_user;
    atomic_bool locked; /* what follows, and what changes of a block but `bytes` */
    struct emr_code_slot *slots;
    size_t n_unpinned;
    uint64_t turn, next_turn; /* whose it is to get room, and that of the next one who asks; equal: nobody */
    uint64_t n_found, n_read;
} emr_code_cache;

/* What one handle has requested. */
typedef struct emr_code_round {
    uint8_t *marks;  /* of each block: whether it is among these: */
    size_t *held;    /* pinned, or in place and to be read */
    size_t *missing; /* of them, what was not in memory: first those that this handle has claimed */
    size_t n_held, n_missing, n_claimed;
    uint64_t turn; /* where it waits for room */
    bool has_turn;
    uint64_t n_found;
} emr_code_round;

/* Blocks of cache->blocks, one after the other. */
typedef struct emr_code_range {
    size_t first, n;
} emr_code_range;

typedef enum emr_room {
    EMR_ROOM,
    EMR_ROOM_LATER, /* when others, or this round, have let go of theirs */
    EMR_ROOM_NEVER  /* more than there are slots */
} emr_room;

/* Bytes that emr_code_cache_create allocates. */
uint64_t emr_code_cache_memory(size_t n_tasks, uint64_t n_blocks, uint64_t n_slots, size_t slot_bytes);

/* `first_block` has n_tasks + 1 entries and is taken over, also on failure. */
emr_status emr_code_cache_create(emr_code_cache *cache, const emr_allocator *allocator, size_t *first_block,
                                 size_t n_tasks, size_t n_slots, size_t slot_bytes);
void emr_code_cache_destroy(emr_code_cache *cache, const emr_allocator *allocator);

/* The same for a round; EMR_ENOMEM leaves one that can be destroyed. */
uint64_t emr_code_round_memory(uint64_t n_blocks);
emr_status emr_code_round_create(emr_code_round *round, const emr_allocator *allocator, size_t n_blocks);
void emr_code_round_destroy(emr_code_round *round, const emr_allocator *allocator);

/* Requests all blocks of some ranges, no two of which have one in common, or, where it is not EMR_ROOM, none.
 */
emr_room emr_code_cache_request(emr_code_cache *cache, emr_code_round *round, const emr_code_range *ranges,
                                size_t n_ranges);

/* After a LATER, of a round that holds nothing: takes a turn, if it has none, and waits for a moment. The
 * same request must then be made again until it succeeds. */
void emr_code_cache_await_room(emr_code_cache *cache, emr_code_round *round, unsigned *n_waits);

/* Claims what the round misses and nobody reads: round->missing has it, n_claimed blocks. False if nothing is
 * missing any more. */
bool emr_code_cache_claim(emr_code_cache *cache, emr_code_round *round);

/* The claimed blocks that have no bytes now are not being read any more. */
void emr_code_cache_settle(emr_code_cache *cache, emr_code_round *round);

/* Waits for a moment; *n_waits, 0 at first, counts how often. */
void emr_code_cache_wait(const emr_code_cache *cache, unsigned *n_waits);

/* Ends a round, wherever it is but between claiming and settling. */
void emr_code_cache_release(emr_code_cache *cache, emr_code_round *round);

/* The slot's memory of a requested block. */
uint8_t *emr_code_cache_slot(const emr_code_cache *cache, size_t block);

/* How often a request found a block in memory, and how often one was claimed, in all rounds that have ended.
 */
void emr_code_cache_count(emr_code_cache *cache, uint64_t *n_found, uint64_t *n_read);

#endif
