/* code_cache.c - see code_cache.h. Slots form a list in order of their last use. Freestanding. */
#include "session/code_cache.h"

typedef struct emr_code_slot {
    uint32_t newer, older; /* or EMR_NO_SLOT */
    size_t block;          /* whose codes it has, or SIZE_MAX */
    uint64_t round;        /* that used it last */
} emr_code_slot;

uint64_t emr_code_cache_memory(size_t n_tasks, uint64_t n_blocks, uint64_t n_slots, size_t slot_bytes)
{
    return n_blocks * (sizeof(emr_code_block) + sizeof(size_t)) + (n_tasks + 1) * sizeof(size_t) +
           n_slots * (sizeof(emr_code_slot) + slot_bytes);
}

emr_status emr_code_cache_create(emr_code_cache *c, const emr_allocator *allocator, size_t *first_block,
                                 size_t n_tasks, size_t n_slots, size_t slot_bytes)
{
    size_t n_blocks = first_block[n_tasks];
    *c = (emr_code_cache){.first_block = first_block,
                          .n_tasks = n_tasks,
                          .n_slots = n_slots,
                          .slot_bytes = slot_bytes,
                          .newest = EMR_NO_SLOT,
                          .oldest = EMR_NO_SLOT};
    c->blocks = emr_allocate_array(allocator, n_blocks, sizeof *c->blocks);
    c->slots = emr_allocate_array(allocator, n_slots, sizeof *c->slots);
    c->missing = emr_allocate_array(allocator, n_blocks, sizeof *c->missing);
    uint64_t bytes;
    if (emr_mul(n_slots, slot_bytes, &bytes) && bytes <= SIZE_MAX)
        c->memory = emr_allocate(allocator, (size_t)bytes);
    if (!c->blocks || !c->slots || !c->missing || !c->memory) {
        emr_code_cache_destroy(c, allocator);
        return EMR_ENOMEM;
    }
    for (size_t i = 0; i < n_blocks; i++)
        c->blocks[i].slot = EMR_NO_SLOT;
    for (size_t i = 0; i < n_slots; i++)
        c->slots[i] = (emr_code_slot){.newer = i ? (uint32_t)(i - 1) : EMR_NO_SLOT,
                                      .older = i + 1 < n_slots ? (uint32_t)(i + 1) : EMR_NO_SLOT,
                                      .block = SIZE_MAX};
    if (n_slots) {
        c->newest = 0;
        c->oldest = (uint32_t)(n_slots - 1);
    }
    return EMR_OK;
}

void emr_code_cache_destroy(emr_code_cache *c, const emr_allocator *allocator)
{
    emr_release(allocator, c->blocks);
    emr_release(allocator, c->first_block);
    emr_release(allocator, c->slots);
    emr_release(allocator, c->missing);
    emr_release(allocator, c->memory);
    *c = (emr_code_cache){0};
}

void emr_code_cache_begin(emr_code_cache *c)
{
    for (size_t i = 0; i < c->n_missing; i++) {
        emr_code_block *b = &c->blocks[c->missing[i]];
        if (b->bytes)
            continue;
        if (b->slot != EMR_IN_PLACE)
            c->slots[b->slot].block = SIZE_MAX;
        b->slot = EMR_NO_SLOT;
    }
    c->n_missing = 0;
    c->round++;
}

/* Makes a slot the newest. */
static void use_slot(emr_code_cache *c, uint32_t i)
{
    emr_code_slot *s = &c->slots[i];
    s->round = c->round;
    if (c->newest == i)
        return;
    c->slots[s->newer].older = s->older;
    if (s->older != EMR_NO_SLOT)
        c->slots[s->older].newer = s->newer;
    else
        c->oldest = s->newer;
    s->older = c->newest;
    s->newer = EMR_NO_SLOT;
    c->slots[c->newest].newer = i;
    c->newest = i;
}

/* Gives the slot that was used longest ago, unless that was in this round, to another block. */
static bool evict_oldest(emr_code_cache *c, size_t block)
{
    uint32_t i = c->oldest;
    if (i == EMR_NO_SLOT || c->slots[i].round == c->round)
        return false;
    emr_code_slot *s = &c->slots[i];
    if (s->block != SIZE_MAX)
        c->blocks[s->block] = (emr_code_block){NULL, EMR_NO_SLOT};
    s->block = block;
    c->blocks[block].slot = i;
    use_slot(c, i);
    return true;
}

bool emr_code_cache_request(emr_code_cache *c, size_t block, bool needs_slot)
{
    emr_code_block *b = &c->blocks[block];
    if (b->slot != EMR_NO_SLOT) { /* in memory, or requested in this round already */
        c->n_found += b->bytes != NULL;
        if (b->slot != EMR_IN_PLACE)
            use_slot(c, b->slot);
        return true;
    }
    if (needs_slot && !evict_oldest(c, block))
        return false;
    if (!needs_slot)
        b->slot = EMR_IN_PLACE;
    c->missing[c->n_missing++] = block;
    return true;
}

uint8_t *emr_code_cache_slot(const emr_code_cache *c, size_t block)
{
    return c->memory + c->blocks[block].slot * c->slot_bytes;
}
