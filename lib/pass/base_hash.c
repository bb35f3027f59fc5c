/* base_hash.c - see base_hash.h. A tensor's hash goes through its bytes in order, so one job of each round
 * hashes what the round before has read, beside everything else. */
#include "pass/base_hash.h"

#include "numeric/convert.h"

/* Bytes of the base that are to be hashed. */
typedef struct noted_bytes {
    const void *bytes;
    uint64_t first;
    size_t n; /* parameters */
    uint32_t entry;
} noted_bytes;

struct emr_base_hash {
    emr_allocator allocator;
    const emr_alignment *alignment;
    emr_base_hashes *hashes;
    emr_hasher hasher; /* of the tensor that is passing */
    noted_bytes *noted;
    size_t n_noted;
};

uint64_t emr_base_hash_memory(const emr_layout *l)
{
    return sizeof(emr_base_hash) + l->max_items * sizeof(noted_bytes);
}

emr_status emr_base_hash_create(emr_base_hash **hash, const emr_alignment *a, const emr_layout *layout,
                                emr_base_hashes *hashes, emr_error *error)
{
    emr_base_hash *h = emr_allocate_array(&a->allocator, 1, sizeof *h);
    *hash = NULL;
    if (!h)
        return emr_no_memory(error, NULL);
    h->allocator = a->allocator;
    h->alignment = a;
    h->hashes = hashes;
    h->noted = emr_allocate_array(&a->allocator, layout->max_items, sizeof *h->noted);
    if (!h->noted) {
        emr_base_hash_destroy(&h);
        return emr_no_memory(error, NULL);
    }
    emr_hasher_init(&h->hasher);
    for (uint32_t i = 0; i < a->n_base; i++)
        hashes->found[i] = emr_hasher_digest(&h->hasher);
    *hash = h;
    return EMR_OK;
}

void emr_base_hash_destroy(emr_base_hash **hash)
{
    emr_base_hash *h = *hash;
    if (!h)
        return;
    emr_allocator a = h->allocator;
    emr_release(&a, h->noted);
    emr_release(&a, h);
    *hash = NULL;
}

void emr_base_hash_begin(emr_base_hash *h)
{
    emr_hasher_init(&h->hasher);
}

void emr_base_hash_bytes(emr_base_hash *h, const void *bytes, size_t n)
{
    emr_hasher_update(&h->hasher, bytes, n);
}

/* A base whose bytes are not those that are expected is another one. */
emr_status emr_base_hash_end(emr_base_hash *h, uint32_t entry, emr_error *error)
{
    emr_base_hashes *all = h->hashes;
    emr_hash128 found = emr_hasher_digest(&h->hasher);
    all->found[entry] = found;
    if (!all->expected || !all->is_expected[entry] ||
        (found.low == all->expected[entry].low && found.high == all->expected[entry].high))
        return EMR_OK;
    return emr_fail(error, EMR_EMISMATCH, "%F is not the base of %s: tensor '%T': its values differ",
                    h->alignment->base->name, all->whose, h->alignment->entries[entry].base->name);
}

void emr_base_hash_note(emr_base_hash *h, const emr_item *item)
{
    h->noted[h->n_noted++] =
        (noted_bytes){.bytes = item->base, .first = item->first, .n = item->n, .entry = item->number};
}

emr_status emr_base_hash_run(emr_base_hash *h, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < h->n_noted; i++) {
        const noted_bytes *u = &h->noted[i];
        const emr_tensor *base = h->alignment->entries[u->entry].base;
        if (u->first == 0)
            emr_base_hash_begin(h);
        emr_base_hash_bytes(h, u->bytes, u->n * emr_float_size(base->dtype));
        if (u->first + u->n == base->count)
            status = emr_base_hash_end(h, u->entry, error);
    }
    h->n_noted = 0;
    return status;
}

emr_status emr_base_hash_again(emr_base_hash *h, const emr_tensor *base, uint64_t end, emr_error *error)
{
    uint8_t bytes[4096];
    emr_status status = EMR_OK;
    emr_base_hash_begin(h);
    for (uint64_t at = 0; !status && end < base->bytes && at < end; at += sizeof bytes) {
        size_t n = (size_t)emr_min(sizeof bytes, end - at);
        status = emr_tensor_read(base, at, bytes, n, error);
        if (!status)
            emr_base_hash_bytes(h, bytes, n);
    }
    return status;
}

void emr_base_hash_save(const emr_base_hash *h, uint32_t from, uint32_t to, emr_put_fn put, void *context)
{
    if (from < to)
        put(context, h->hashes->found + from, (to - from) * sizeof *h->hashes->found);
}

emr_status emr_base_hash_restore(emr_base_hash *h, uint32_t from, uint32_t to, emr_get_fn get, void *context,
                                 emr_error *error)
{
    return from < to ? get(context, h->hashes->found + from, (to - from) * sizeof *h->hashes->found, error)
                     : EMR_OK;
}
