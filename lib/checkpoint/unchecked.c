/* unchecked.c - see unchecked.h. */
#include "checkpoint/unchecked.h"

#include <string.h>

enum { BATCH = 16384 /* elements read at a time: they are used while they are in the cache */ };

static emr_status derive_batch(const emr_tensor *t, emr_computation *c, size_t n, const uint8_t *source,
                               emr_error *error)
{
    emr_error why;
    memset(&why, 0, sizeof why);
    for (; n; n -= c->count) {
        c->count = (size_t)emr_min(n, t->max_count);
        emr_status status = t->unchecked->derive(c, source, &why);
        if (status)
            return emr_tensor_fail(t, status, &why, error);
        c->first += c->count;
        c->out = (uint8_t *)c->out + c->count * emr_element_bytes(t);
        source += c->count * emr_element_bytes(t->unchecked->source);
    }
    return EMR_OK;
}

emr_status emr_derive(const emr_tensor *t, void *scratch, uint64_t first, size_t n, void *destination,
                      void *source, emr_error *error)
{
    const emr_tensor *base = t->unchecked->source;
    size_t size = emr_element_bytes(base);
    emr_computation c = {
        .size = sizeof c, .user = t->user, .scratch = scratch, .out = destination, .first = first};
    emr_status status = EMR_OK;
    for (uint8_t *from = source; !status && n;) {
        size_t batch = (size_t)emr_min(n, BATCH);
        status = emr_tensor_read(base, c.first * size, from, batch * size, error);
        if (!status)
            status = derive_batch(t, &c, batch, from, error);
        from += batch * size;
        n -= batch;
    }
    return status;
}

emr_status emr_source_hash(emr_hasher *hasher, const emr_tensor *t, uint64_t offset, const void *bytes,
                           size_t n, emr_error *error)
{
    const emr_derivation *from = t->unchecked;
    if (offset == 0)
        emr_hasher_init(hasher);
    emr_hasher_update(hasher, bytes, n);
    if (offset + n < from->source->bytes)
        return EMR_OK;
    emr_hash128 found = emr_hasher_digest(hasher);
    if (found.low == from->hash_low && found.high == from->hash_high)
        return EMR_OK;
    return emr_fail(error, EMR_EMISMATCH, "%F %s: tensor '%T': its values differ", from->source->model->name,
                    from->wrong, from->source->name);
}

emr_status emr_read_whole(const emr_tensor *t, void *destination, emr_error *error)
{
    emr_hasher hasher;
    const emr_tensor *source = t->unchecked ? t->unchecked->source : t;
    emr_status status = emr_tensor_read(source, 0, destination, (size_t)t->bytes, error);
    return status || !t->unchecked ? status
                                   : emr_source_hash(&hasher, t, 0, destination, (size_t)t->bytes, error);
}
