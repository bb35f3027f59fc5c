/* session.c - creating and destroying sessions. Freestanding. */
#include "session/needs.h"

#include "bundle/arrangement.h"

/* The base that the host gave, checked, or the bundle's own; or none. */
static emr_status take_base(emr_session_shared *s, const emr_model *base, const emr_session_options *o,
                            const emr_env *env, emr_error *error)
{
    if (o->without_base)
        return base ? emr_fail(error, EMR_EINVAL,
                               "emr_session_create: a base was given to a session that is without_base")
                    : EMR_OK;
    s->base = base;
    s->any_float = o->check == EMR_BASE_CHECK_NONE;
    if (base) {
        emr_status status =
            emr_bundle_arrange_base(&s->arranged_base, s->bundle, base, false, &s->allocator, error);
        if (status)
            return status;
        s->base = s->arranged_base ? s->arranged_base : base;
    } else {
        emr_status status = emr_bundle_open_base(&s->own_base, s->bundle, &s->allocator, error);
        s->base = s->own_base;
        return status;
    }
    const emr_resources resources = {.size = sizeof resources,
                                     .allocator = &env->allocator,
                                     .executor = env->executor.concurrency ? &env->executor : NULL,
                                     .progress = env->progress,
                                     .progress_user = env->progress_user};
    const emr_base_check_options options = {.size = sizeof options, .resources = &resources};
    return o->check == EMR_BASE_CHECK_NONE ? EMR_OK : emr_bundle_check_base(s->bundle, base, &options, error);
}

static emr_status allocate_session_tables(emr_session_shared *s, emr_error *error)
{
    const emr_allocator *a = &s->allocator;
    uint32_t n_tasks = s->bundle->summary.n_tasks;
    s->tensors = emr_allocate_array(a, s->bundle->summary.n_merged, sizeof *s->tensors);
    s->tasks = emr_allocate_array(a, (size_t)n_tasks + 1, sizeof *s->tasks);
    if (!s->tensors || !s->tasks)
        return emr_no_memory(error, s->bundle->name);
    for (uint32_t task = 0; task < n_tasks; task++)
        s->tasks[task] = (emr_session_task){.shared = s, .task = task};
    s->tasks[n_tasks] = (emr_session_task){.shared = s, .task = EMR_BASE};
    return EMR_OK;
}

/* Everything that comes after the base: nothing large is allocated before all of it is known to be allowed.
 */
static emr_status fill_session(emr_session *handle, const emr_session_options *o, uint64_t memory_bytes,
                               emr_error *error)
{
    emr_session_shared *s = handle->shared;
    emr_session_needs needs;
    size_t n_tasks = s->bundle->summary.n_tasks;
    emr_status status = allocate_session_tables(s, error);
    if (status)
        return status;
    size_t *first_block = emr_allocate_array(&s->allocator, n_tasks + 1, sizeof *first_block);
    if (!first_block)
        return emr_no_memory(error, s->bundle->name);
    status = emr_session_measure(s, first_block, &needs, error);
    if (!status)
        status = emr_session_limit(s, &needs, handle->workers.n, o->mask_bytes, memory_bytes, error);
    if (status) {
        emr_release(&s->allocator, first_block);
        return status;
    }
    if (emr_code_cache_create(&s->codes, &s->allocator, first_block, n_tasks, (size_t)needs.n_code_slots,
                              needs.slot_bytes))
        return emr_no_memory(error, s->bundle->name);
    status = emr_session_allocate_scratch(handle, error);
    return status ? status : emr_session_load(handle, &needs, error);
}

static void destroy_shared(emr_session_shared *s)
{
    emr_allocator allocator = s->allocator;
    emr_session_unload(s);
    emr_code_cache_destroy(&s->codes, &allocator);
    emr_release(&allocator, s->tensors);
    emr_release(&allocator, s->tasks);
    emr_model_destroy(&s->own_base);
    emr_model_destroy(&s->arranged_base);
    emr_release(&allocator, s);
}

emr_status emr_session_create(emr_session **session, const emr_bundle *b, const emr_model *base,
                              const emr_session_options *given, emr_error *error)
{
    emr_session_options o;
    emr_env env;
    if (session)
        *session = NULL;
    if (!session || !b)
        return emr_fail(error, EMR_EINVAL, "emr_session_create: NULL");
    emr_status status = EMR_TAKE(&o, given, emr_session_options, error);
    if (!status && o.check != EMR_BASE_CHECK_FIRST && o.check != EMR_BASE_CHECK_NONE)
        status =
            emr_fail(error, EMR_EINVAL,
                     "emr_session_options: a session checks its base first (EMR_BASE_CHECK_FIRST) or never "
                     "(EMR_BASE_CHECK_NONE)");
    if (!status)
        status = emr_env_take(&env, o.resources, &b->allocator, error);
    if (status)
        return status;
    emr_session_shared *s = emr_allocate_array(&env.allocator, 1, sizeof *s);
    if (!s)
        return emr_no_memory(error, b->name);
    s->allocator = env.allocator;
    s->bundle = b;
    s->codes.wait = o.wait;
    s->codes.wait_user = o.wait_user;
    atomic_init(&s->n_handles, 1);
    status = emr_session_create_handle(session, s, &env, error);
    if (!status)
        status = take_base(s, base, &o, &env, error);
    if (!status)
        status = fill_session(*session, &o, env.memory_bytes, error);
    if (status) {
        emr_session_destroy_handle(*session);
        destroy_shared(s);
        *session = NULL;
    }
    return status;
}

emr_status emr_session_open_thread(emr_session **thread, emr_session *session, emr_error *error)
{
    if (thread)
        *thread = NULL;
    if (!thread || !session)
        return emr_fail(error, EMR_EINVAL, "emr_session_open_thread: NULL");
    emr_session_shared *s = session->shared;
    size_t n_threads = atomic_fetch_add(&s->n_handles, 1); /* with this one; the first is no thread */
    uint64_t bytes = s->info.memory_bytes + n_threads * s->info.thread_bytes;
    const emr_env env = {.allocator = s->allocator};
    emr_status status = EMR_OK;
    if (s->memory_bytes && bytes > s->memory_bytes)
        status = emr_fail(error, EMR_ELIMIT,
                          "%F: a session with %u threads needs %u bytes of memory; memory_bytes is %u",
                          s->bundle->name, (uint64_t)n_threads, bytes, s->memory_bytes);
    if (!status)
        status = emr_session_create_handle(thread, s, &env, error);
    if (!status)
        status = emr_session_allocate_scratch(*thread, error);
    if (!status)
        return EMR_OK;
    emr_session_destroy_handle(*thread);
    *thread = NULL;
    atomic_fetch_sub(&s->n_handles, 1); /* not the last: `session` is there */
    return status;
}

void emr_session_destroy(emr_session **session)
{
    if (!session || !*session)
        return;
    emr_session_shared *s = (*session)->shared;
    emr_session_destroy_handle(*session);
    *session = NULL;
    if (atomic_fetch_sub(&s->n_handles, 1) == 1)
        destroy_shared(s);
}

emr_status emr_session_get_info(const emr_session *session, emr_session_info *info)
{
    if (!session || !info)
        return EMR_EINVAL;
    emr_session_shared *s = session->shared;
    emr_session_info known = s->info;
    known.memory_bytes += (atomic_load(&s->n_handles) - 1) * known.thread_bytes;
    emr_code_cache_count(&s->codes, &known.masks_found, &known.masks_read);
    return EMR_GIVE(info, &known, emr_session_info);
}
