/* names.c - see names.h. Hashes are seeded with the table's address, which the author of a hostile file does
 * not know, so that names which collide cannot be prepared. Nothing depends on the order in the table. */
#include "core/names.h"

#include "core/hash.h"
#include "core/text.h"

/* The slot that holds `name`, or the empty one where it belongs. */
static size_t slot_of(const emr_names *names, emr_name_at at, const void *owner, const char *name)
{
    size_t slot = (size_t)emr_hash64_seeded(name, emr_text_length(name), names->seed) & (names->n_slots - 1);
    while (names->slots[slot] && !emr_same_text(at(owner, names->slots[slot] - 1), name))
        slot = (slot + 1) & (names->n_slots - 1);
    return slot;
}

size_t emr_names_find(const emr_names *names, emr_name_at at, const void *owner, const char *name)
{
    if (!names->n)
        return EMR_NAMES_NONE;
    uint32_t entry = names->slots[slot_of(names, at, owner, name)];
    return entry ? entry - 1 : EMR_NAMES_NONE;
}

emr_status emr_names_reserve(emr_names *names, const emr_allocator *allocator, emr_name_at at,
                             const void *owner, size_t n)
{
    size_t wanted = 16;
    while (wanted / 2 < n) /* at most half full */
        wanted *= 2;
    if (wanted <= names->n_slots)
        return EMR_OK;
    emr_names larger = {emr_allocate_array(allocator, wanted, sizeof *larger.slots), wanted, names->n, 0};
    if (!larger.slots)
        return EMR_ENOMEM;
    larger.seed = (uint64_t)(uintptr_t)larger.slots * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < names->n; i++)
        larger.slots[slot_of(&larger, at, owner, at(owner, i))] = (uint32_t)i + 1;
    emr_names_free(names, allocator);
    *names = larger;
    return EMR_OK;
}

emr_status emr_names_add(emr_names *names, const emr_allocator *allocator, emr_name_at at, const void *owner,
                         size_t i)
{
    if (i >= UINT32_MAX - 1)
        return EMR_ELIMIT;
    emr_status status = emr_names_reserve(names, allocator, at, owner, i + 1);
    if (status)
        return status;
    size_t slot = slot_of(names, at, owner, at(owner, i));
    if (names->slots[slot])
        return EMR_EEXIST;
    names->slots[slot] = (uint32_t)i + 1;
    names->n = i + 1;
    return EMR_OK;
}

void emr_names_free(emr_names *names, const emr_allocator *allocator)
{
    emr_release(allocator, names->slots);
    *names = (emr_names){0};
}
