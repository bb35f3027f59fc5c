/* computed.c - tensors whose elements are computed as they are read. A range may begin and end anywhere:
 * whole granules are computed where they are wanted, and parts of one are cut out of it here, for every such
 * tensor.
 *
 * Each thread that reads needs scratch of its own. Those that nobody uses rest in a few places, which threads
 * empty and fill by single exchanges: nobody waits, and where all places are taken, what is too much is
 * closed. Freestanding. */
#include "model/model.h"

#include <stdatomic.h>
#include <string.h>

typedef struct emr_scratch_pool {
    _Atomic(void *) places[EMR_SCRATCH_PLACES];
} emr_scratch_pool;

emr_status emr_scratch_pool_create(emr_model *m, emr_error *error)
{
    if (!m->options.scratch_bytes && !m->options.open_scratch)
        return EMR_OK;
    m->scratch = emr_allocate_array(&m->allocator, 1, sizeof *m->scratch);
    if (!m->scratch)
        return emr_no_memory(error, m->name);
    for (size_t i = 0; i < EMR_SCRATCH_PLACES; i++)
        atomic_init(&m->scratch->places[i], NULL);
    return EMR_OK;
}

static void close_scratch(const emr_model *m, void *scratch)
{
    if (m->options.close_scratch)
        m->options.close_scratch(m->options.user, scratch);
    emr_release(&m->allocator, scratch);
}

void emr_scratch_pool_destroy(emr_model *m)
{
    for (size_t i = 0; m->scratch && i < EMR_SCRATCH_PLACES; i++) {
        void *scratch = atomic_load(&m->scratch->places[i]);
        if (scratch)
            close_scratch(m, scratch);
    }
    emr_release(&m->allocator, m->scratch);
}

static emr_status create_scratch(const emr_model *m, void **scratch, emr_error *error)
{
    size_t bytes = m->options.scratch_bytes ? m->options.scratch_bytes : 1;
    void *made = m->allocator.alloc(m->allocator.user, bytes, EMR_ALIGNMENT);
    if (!made)
        return emr_no_memory(error, m->name);
    memset(made, 0, bytes);
    emr_status status =
        m->options.open_scratch ? m->options.open_scratch(m->options.user, made, error) : EMR_OK;
    if (status)
        emr_release(&m->allocator, made);
    else
        *scratch = made;
    return status;
}

emr_status emr_scratch_borrow(const emr_model *m, void **scratch, emr_error *error)
{
    *scratch = NULL;
    if (!m->scratch)
        return EMR_OK;
    for (size_t i = 0; i < EMR_SCRATCH_PLACES; i++) {
        _Atomic(void *) *place = &m->scratch->places[i];
        if (atomic_load_explicit(place, memory_order_relaxed) && (*scratch = atomic_exchange(place, NULL)))
            return EMR_OK;
    }
    return create_scratch(m, scratch, error);
}

void emr_scratch_return(const emr_model *m, void *scratch)
{
    for (size_t i = 0; scratch && i < EMR_SCRATCH_PLACES; i++) {
        void *nothing = NULL;
        if (atomic_compare_exchange_strong(&m->scratch->places[i], &nothing, scratch))
            return;
    }
    if (scratch)
        close_scratch(m, scratch);
}

/* The next computation for a range that begins at byte `offset`: straight into `to`, or where the range
 * begins or ends within a granule, into `cut`. Gives how many bytes of the range it brings. */
static size_t next_computation(const emr_tensor *t, uint64_t offset, uint8_t *to, size_t n, uint8_t *cut,
                               emr_computation *c)
{
    uint64_t bits = emr_dtype_bits(t->dtype), granule_bytes = t->granule * bits / 8;
    uint64_t skip = offset % granule_bytes, left;
    c->first = offset / granule_bytes * t->granule;
    left = t->count - c->first;
    bool to_the_end = n == t->bytes - offset;
    if (skip == 0 && (n >= granule_bytes || to_the_end)) {
        uint64_t whole = to_the_end ? left : n / granule_bytes * t->granule;
        c->count = (size_t)emr_min(whole, t->max_count / t->granule * t->granule);
        c->out = to;
        return (size_t)(c->count * bits / 8);
    }
    c->count = (size_t)emr_min(t->granule, left);
    c->out = cut;
    return (size_t)emr_min(n, c->count * bits / 8 - skip);
}

static emr_status compute_range(const emr_tensor *t, void *scratch, uint64_t offset, uint8_t *to, size_t n,
                                emr_error *why)
{
    uint8_t cut[EMR_GRANULE_BYTES];
    emr_computation c = {.size = sizeof c, .user = t->user, .scratch = scratch};
    emr_status status = EMR_OK;
    while (!status && n) {
        size_t brought = next_computation(t, offset, to, n, cut, &c);
        status = t->compute(&c, why);
        if (!status && c.out == cut)
            memcpy(to, cut + (offset - c.first * emr_dtype_bits(t->dtype) / 8), brought);
        to += brought;
        offset += brought;
        n -= brought;
    }
    return status;
}

emr_status emr_tensor_fail(const emr_tensor *t, emr_status status, const emr_error *why, emr_error *error)
{
    if (why->tensor.length)
        return emr_fail_as(error, status, why);
    return emr_fail_because(error, status, why, "%F: tensor '%T'%s", t->model_name, t->name,
                            why->text[0] ? "" : " could not be computed");
}

emr_status emr_tensor_compute(const emr_tensor *t, void *scratch, uint64_t offset, void *destination,
                              size_t n, emr_error *error)
{
    emr_error why;
    void *borrowed = NULL;
    memset(&why, 0, sizeof why);
    emr_status status = scratch ? EMR_OK : emr_scratch_borrow(t->model, &borrowed, &why);
    if (!status)
        status = compute_range(t, scratch ? scratch : borrowed, offset, destination, n, &why);
    emr_scratch_return(t->model, borrowed);
    why.text[sizeof why.text - 1] = '\0';
    status = status > 0 ? EMR_EIO : status;
    return status ? emr_tensor_fail(t, status, &why, error) : EMR_OK;
}
