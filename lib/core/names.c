/* names.c - see names.h. Hashes are seeded with the table's address, which the author of a hostile file does
 * not know, so that names which collide cannot be prepared. Nothing depends on the order in the table. */
#include "core/names.h"

#include "core/hash.h"
#include "core/text.h"

typedef struct emr_name_slot {
    uint32_t entry; /* index + 1; 0 is empty */
    uint32_t hash;  /* of its name: spares most looks at the names themselves */
} slot;

static uint32_t hash_of(const emr_names *names, const char *name)
{
    return (uint32_t)emr_hash64_seeded(name, emr_text_length(name), names->seed);
}

/* The slot that holds `name`, or the empty one where it belongs. */
static slot *slot_of(const emr_names *names, emr_name_at at, const void *owner, const char *name,
                     uint32_t hash)
{
    size_t i = hash & (names->n_slots - 1);
    while (names->slots[i].entry &&
           (names->slots[i].hash != hash || !emr_same_text(at(owner, names->slots[i].entry - 1), name)))
        i = (i + 1) & (names->n_slots - 1);
    return &names->slots[i];
}

size_t emr_names_find(const emr_names *names, emr_name_at at, const void *owner, const char *name)
{
    if (!names->n)
        return EMR_NAMES_NONE;
    uint32_t entry = slot_of(names, at, owner, name, hash_of(names, name))->entry;
    return entry ? entry - 1 : EMR_NAMES_NONE;
}

/* Slots for n names: at most half of them are used. */
static size_t slots_for(size_t n)
{
    size_t wanted = 16;
    while (wanted / 2 < n)
        wanted *= 2;
    return wanted;
}

uint64_t emr_names_memory(size_t n)
{
    return (uint64_t)slots_for(n) * sizeof(slot);
}

emr_status emr_names_reserve(emr_names *names, const emr_allocator *allocator, size_t n)
{
    size_t wanted = slots_for(n);
    if (wanted <= names->n_slots)
        return EMR_OK;
    slot *larger = emr_allocate_array(allocator, wanted, sizeof *larger);
    if (!larger)
        return EMR_ENOMEM;
    for (size_t i = 0; i < names->n_slots; i++) {
        size_t to = names->slots[i].hash & (wanted - 1);
        while (names->slots[i].entry && larger[to].entry)
            to = (to + 1) & (wanted - 1);
        if (names->slots[i].entry)
            larger[to] = names->slots[i];
    }
    if (!names->slots)
        names->seed = (uint64_t)(uintptr_t)larger * 0x9e3779b97f4a7c15u;
    emr_release(allocator, names->slots);
    names->slots = larger;
    names->n_slots = wanted;
    return EMR_OK;
}

emr_status emr_names_add(emr_names *names, const emr_allocator *allocator, emr_name_at at, const void *owner,
                         size_t i)
{
    if (i >= UINT32_MAX - 1)
        return EMR_ELIMIT;
    emr_status status = emr_names_reserve(names, allocator, i + 1);
    if (status)
        return status;
    const char *name = at(owner, i);
    uint32_t hash = hash_of(names, name);
    slot *s = slot_of(names, at, owner, name, hash);
    if (s->entry)
        return EMR_EEXIST;
    *s = (slot){(uint32_t)i + 1, hash};
    names->n = i + 1;
    return EMR_OK;
}

void emr_names_free(emr_names *names, const emr_allocator *allocator)
{
    emr_release(allocator, names->slots);
    *names = (emr_names){0};
}
