/* handle.c - what a handle of a session has to itself: its workers and their scratch. Freestanding. */
#include "session/needs.h"

#include "model/model.h"

enum { WORKER_BYTES = 1 << 10 }; /* of tables */

emr_status emr_session_create_handle(emr_session **handle, emr_session_shared *shared, const emr_env *env,
                                     emr_error *error)
{
    size_t n_tasks = (size_t)shared->bundle->summary.n_tasks + 1;
    emr_session *s = emr_allocate_array(&env->allocator, 1, sizeof *s);
    *handle = s;
    if (!s)
        return emr_no_memory(error, shared->bundle->name);
    s->shared = shared;
    emr_status status = emr_workers_create(&s->workers, env, SIZE_MAX, error);
    if (status)
        return status;
    s->distinct = emr_allocate_array(&env->allocator, n_tasks, sizeof *s->distinct);
    s->last_call = emr_allocate_array(&env->allocator, n_tasks, sizeof *s->last_call);
    s->ranges = emr_allocate_array(&env->allocator, n_tasks, sizeof *s->ranges);
    s->work = emr_allocate_array(&env->allocator, s->workers.n, sizeof *s->work);
    if (!s->distinct || !s->last_call || !s->ranges || !s->work)
        return emr_no_memory(error, shared->bundle->name);
    return EMR_OK;
}

emr_status emr_session_allocate_scratch(emr_session *s, emr_error *error)
{
    const emr_allocator *a = &s->shared->allocator;
    s->stored_block = emr_allocate(a, s->shared->stored_bytes);
    if (!s->stored_block || emr_code_round_create(&s->codes, a, s->shared->n_code_blocks))
        return emr_no_memory(error, s->shared->bundle->name);
    if (s->shared->arranged_base) {
        emr_status status = emr_scratch_borrow(s->shared->arranged_base, &s->base_scratch, error);
        if (status)
            return status;
    }
    for (size_t i = 0; i < s->workers.n; i++) {
        s->work[i].packed = emr_allocate(a, s->shared->packed_bytes);
        if (!s->work[i].packed || emr_decoder_create(&s->work[i].decoder, a))
            return emr_no_memory(error, s->shared->bundle->name);
    }
    return EMR_OK;
}

void emr_session_destroy_handle(emr_session *s)
{
    if (!s)
        return;
    const emr_allocator *a = &s->shared->allocator;
    for (size_t i = 0; s->work && i < s->workers.n; i++) {
        emr_release(a, s->work[i].packed);
        emr_decoder_destroy(s->work[i].decoder);
    }
    emr_release(a, s->work);
    emr_release(a, s->distinct);
    emr_release(a, s->last_call);
    emr_release(a, s->ranges);
    emr_code_round_destroy(&s->codes, a);
    emr_release(a, s->stored_block);
    emr_scratch_return(s->shared->arranged_base, s->base_scratch);
    emr_workers_destroy(&s->workers);
    emr_release(a, s);
}

uint64_t emr_session_handle_memory(const emr_session_shared *s, size_t n_workers)
{
    const emr_session *handle;
    uint64_t n_tasks = (uint64_t)s->bundle->summary.n_tasks + 1;
    return sizeof *handle + emr_code_round_memory(s->n_code_blocks) +
           n_tasks * (sizeof *handle->distinct + sizeof *handle->last_call + sizeof *handle->ranges) +
           n_workers * (s->packed_bytes + EMR_DECODER_BYTES + WORKER_BYTES) + s->stored_bytes +
           s->scratch_bytes;
}
