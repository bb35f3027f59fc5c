/* code_cache.c - see code_cache.h. Slots that nobody pins form a list, in the order in which they were let go
 * of. Freestanding. */
#include "session/code_cache.h"

/* Waits that are spent on the processor before the host is asked: locks are held for less. */
enum { SPINS = 64 };

typedef struct emr_code_slot {
    size_t block; /* whose codes it has, or SIZE_MAX */
    uint32_t next,
        last; /* in the list: used later, and earlier; of the list's own entry the oldest and newest */
    uint32_t n_pins;
} emr_code_slot;

uint64_t emr_code_cache_memory(size_t n_tasks, uint64_t n_blocks, uint64_t n_slots, size_t slot_bytes)
{
    return n_blocks * sizeof(emr_code_block) + (n_tasks + 1) * sizeof(size_t) +
           (n_slots + 1) * sizeof(emr_code_slot) + n_slots * slot_bytes;
}

emr_status emr_code_cache_create(emr_code_cache *c, const emr_allocator *allocator, size_t *first_block,
                                 size_t n_tasks, size_t n_slots, size_t slot_bytes)
{
    size_t n_blocks = first_block[n_tasks];
    c->first_block = first_block;
    c->n_tasks = n_tasks;
    c->n_slots = n_slots;
    c->slot_bytes = slot_bytes;
    c->blocks = emr_allocate_array(allocator, n_blocks, sizeof *c->blocks);
    c->slots = emr_allocate_array(allocator, n_slots + 1, sizeof *c->slots);
    uint64_t bytes;
    if (emr_mul(n_slots, slot_bytes, &bytes) && bytes <= SIZE_MAX)
        c->memory = emr_allocate(allocator, (size_t)bytes);
    if (!c->blocks || !c->slots || !c->memory) {
        emr_code_cache_destroy(c, allocator);
        return EMR_ENOMEM;
    }
    atomic_init(&c->locked, false);
    c->n_unpinned = n_slots;
    for (size_t i = 0; i < n_blocks; i++)
        c->blocks[i].slot = EMR_NO_SLOT;
    for (size_t i = 0; i <= n_slots; i++) /* a ring, with the list's own entry at the end */
        c->slots[i] = (emr_code_slot){.next = (uint32_t)(i < n_slots ? i + 1 : 0),
                                      .last = (uint32_t)(i ? i - 1 : n_slots),
                                      .block = SIZE_MAX};
    return EMR_OK;
}

void emr_code_cache_destroy(emr_code_cache *c, const emr_allocator *allocator)
{
    emr_release(allocator, c->blocks);
    emr_release(allocator, c->first_block);
    emr_release(allocator, c->slots);
    emr_release(allocator, c->memory);
    c->blocks = NULL;
    c->first_block = NULL;
    c->slots = NULL;
    c->memory = NULL;
    c->n_tasks = 0;
}

uint64_t emr_code_round_memory(uint64_t n_blocks)
{
    const emr_code_round *r;
    return n_blocks * (sizeof *r->marks + sizeof *r->held + sizeof *r->missing);
}

emr_status emr_code_round_create(emr_code_round *r, const emr_allocator *allocator, size_t n_blocks)
{
    r->marks = emr_allocate_array(allocator, n_blocks, sizeof *r->marks);
    r->held = emr_allocate_array(allocator, n_blocks, sizeof *r->held);
    r->missing = emr_allocate_array(allocator, n_blocks, sizeof *r->missing);
    return r->marks && r->held && r->missing ? EMR_OK : EMR_ENOMEM;
}

void emr_code_round_destroy(emr_code_round *r, const emr_allocator *allocator)
{
    emr_release(allocator, r->marks);
    emr_release(allocator, r->held);
    emr_release(allocator, r->missing);
}

static void pause_processor(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

void emr_code_cache_wait(const emr_code_cache *c, unsigned *n_waits)
{
    if (*n_waits < SPINS)
        ++*n_waits;
    else if (c->wait)
        c->wait(c->wait_user);
    pause_processor();
}

static void lock_codes(emr_code_cache *c)
{
    unsigned n_waits = 0;
    while (atomic_exchange_explicit(&c->locked, true, memory_order_acquire))
        while (atomic_load_explicit(&c->locked, memory_order_relaxed))
            emr_code_cache_wait(c, &n_waits);
}

static void unlock_codes(emr_code_cache *c)
{
    atomic_store_explicit(&c->locked, false, memory_order_release);
}

static const uint8_t *bytes_of_block(const emr_code_block *b)
{
    return atomic_load_explicit(&b->bytes, memory_order_acquire);
}

static void put_before(emr_code_cache *c, uint32_t i, uint32_t next)
{
    emr_code_slot *s = &c->slots[i];
    s->next = next;
    s->last = c->slots[next].last;
    c->slots[s->last].next = i;
    c->slots[next].last = i;
    c->n_unpinned++;
}

static void take_from_list(emr_code_cache *c, uint32_t i)
{
    c->slots[c->slots[i].last].next = c->slots[i].next;
    c->slots[c->slots[i].next].last = c->slots[i].last;
    c->n_unpinned--;
}

/* Gives the oldest slot that nobody pins, and there is one, to another block. */
static void evict_oldest(emr_code_cache *c, size_t block)
{
    uint32_t oldest = c->slots[c->n_slots].next;
    emr_code_slot *s = &c->slots[oldest];
    if (s->block != SIZE_MAX) {
        atomic_store_explicit(&c->blocks[s->block].bytes, NULL, memory_order_relaxed);
        c->blocks[s->block].slot = EMR_NO_SLOT;
    }
    s->block = block;
    c->blocks[block].slot = oldest;
}

static void pin_block(emr_code_cache *c, size_t block)
{
    emr_code_block *b = &c->blocks[block];
    if (b->slot == EMR_NO_SLOT)
        evict_oldest(c, block);
    if (!c->slots[b->slot].n_pins++)
        take_from_list(c, b->slot);
}

static void unpin_block(emr_code_cache *c, size_t block)
{
    emr_code_block *b = &c->blocks[block];
    uint32_t i = b->slot, ends = (uint32_t)c->n_slots;
    if (--c->slots[i].n_pins)
        return;
    if (bytes_of_block(b)) {
        put_before(c, i, ends);
        return;
    }
    b->slot = EMR_NO_SLOT; /* it was not read: the slot is the first to be given away */
    c->slots[i].block = SIZE_MAX;
    put_before(c, i, c->slots[ends].next);
}

/* What a request asks for. */
typedef struct code_demand {
    size_t n_blocks, n_ready; /* all; of them in place and in memory, about which nobody has to be asked */
    size_t n_slots;           /* in a cache that nobody uses */
    size_t n_pins, n_taken;   /* blocks that the round does not pin yet; of them those that nobody pins */
} code_demand;

static bool needs_nobody(const emr_code_block *b)
{
    return b->in_place && bytes_of_block(b);
}

static void count_demand(const emr_code_cache *c, const emr_code_range *ranges, size_t n_ranges,
                         code_demand *d)
{
    for (size_t k = 0; k < n_ranges; k++)
        for (size_t i = ranges[k].first; i < ranges[k].first + ranges[k].n; i++) {
            d->n_blocks++;
            d->n_ready += needs_nobody(&c->blocks[i]);
            d->n_slots += !c->blocks[i].in_place;
        }
}

static void count_pins(const emr_code_cache *c, const emr_code_round *r, const emr_code_range *ranges,
                       size_t n_ranges, code_demand *d)
{
    for (size_t k = 0; k < n_ranges; k++)
        for (size_t i = ranges[k].first; i < ranges[k].first + ranges[k].n; i++) {
            const emr_code_block *b = &c->blocks[i];
            bool is_new = !b->in_place && !r->marks[i];
            d->n_pins += is_new;
            d->n_taken += is_new && (b->slot == EMR_NO_SLOT || !c->slots[b->slot].n_pins);
        }
}

/* Whether others wait for room, and are to get it first. */
static bool others_wait(const emr_code_cache *c, const emr_code_round *r)
{
    return c->turn != (r->has_turn ? r->turn : c->next_turn);
}

static void hold_block(emr_code_cache *c, emr_code_round *r, size_t block)
{
    emr_code_block *b = &c->blocks[block];
    bool found = bytes_of_block(b);
    r->n_found += found;
    if (r->marks[block] || needs_nobody(b))
        return;
    if (!b->in_place)
        pin_block(c, block);
    r->marks[block] = 1;
    r->held[r->n_held++] = block;
    if (!found)
        r->missing[r->n_missing++] = block;
}

/* Those that have a place, or those that have none. */
static void hold_ranges(emr_code_cache *c, emr_code_round *r, const emr_code_range *ranges, size_t n_ranges,
                        bool have_place)
{
    for (size_t k = 0; k < n_ranges; k++)
        for (size_t i = ranges[k].first; i < ranges[k].first + ranges[k].n; i++)
            if ((c->blocks[i].in_place || c->blocks[i].slot != EMR_NO_SLOT) == have_place)
                hold_block(c, r, i);
}

emr_room emr_code_cache_request(emr_code_cache *c, emr_code_round *r, const emr_code_range *ranges,
                                size_t n_ranges)
{
    code_demand d = {0};
    count_demand(c, ranges, n_ranges, &d);
    if (d.n_slots > c->n_slots)
        return EMR_ROOM_NEVER;
    if (d.n_ready == d.n_blocks) {
        r->n_found += d.n_ready;
        return EMR_ROOM;
    }
    lock_codes(c);
    count_pins(c, r, ranges, n_ranges, &d);
    bool fits = d.n_taken <= c->n_unpinned && !(d.n_pins && others_wait(c, r));
    if (fits) {
        hold_ranges(c, r, ranges, n_ranges, true); /* first, or the others would take their slots */
        hold_ranges(c, r, ranges, n_ranges, false);
        c->turn += r->has_turn;
        r->has_turn = false;
    }
    unlock_codes(c);
    return fits ? EMR_ROOM : EMR_ROOM_LATER;
}

void emr_code_cache_await_room(emr_code_cache *c, emr_code_round *r, unsigned *n_waits)
{
    if (!r->has_turn) {
        lock_codes(c);
        r->turn = c->next_turn++;
        unlock_codes(c);
        r->has_turn = true;
    }
    emr_code_cache_wait(c, n_waits);
}

bool emr_code_cache_claim(emr_code_cache *c, emr_code_round *r)
{
    size_t n = r->n_missing;
    r->n_missing = r->n_claimed = 0;
    if (!n)
        return false;
    lock_codes(c);
    for (size_t i = 0; i < n; i++) {
        size_t block = r->missing[i];
        emr_code_block *b = &c->blocks[block];
        if (bytes_of_block(b))
            continue;
        size_t to = r->n_missing++;
        if (!b->reading) { /* to the end of those that are claimed */
            b->reading = true;
            r->missing[to] = r->missing[r->n_claimed];
            to = r->n_claimed++;
        }
        r->missing[to] = block;
    }
    c->n_read += r->n_claimed;
    unlock_codes(c);
    return r->n_missing > 0;
}

void emr_code_cache_settle(emr_code_cache *c, emr_code_round *r)
{
    lock_codes(c);
    for (size_t i = 0; i < r->n_claimed; i++)
        c->blocks[r->missing[i]].reading = false;
    unlock_codes(c);
    r->n_claimed = 0;
}

void emr_code_cache_release(emr_code_cache *c, emr_code_round *r)
{
    if (!r->n_held && !r->n_found)
        return;
    lock_codes(c);
    for (size_t i = 0; i < r->n_held; i++) {
        if (!c->blocks[r->held[i]].in_place)
            unpin_block(c, r->held[i]);
        r->marks[r->held[i]] = 0;
    }
    c->n_found += r->n_found;
    unlock_codes(c);
    r->n_held = r->n_missing = 0;
    r->n_found = 0;
}

uint8_t *emr_code_cache_slot(const emr_code_cache *c, size_t block)
{
    return c->memory + c->blocks[block].slot * c->slot_bytes;
}

void emr_code_cache_count(emr_code_cache *c, uint64_t *n_found, uint64_t *n_read)
{
    lock_codes(c);
    *n_found = c->n_found;
    *n_read = c->n_read;
    unlock_codes(c);
}
