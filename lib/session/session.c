/* session.c - creating and destroying sessions, and what all their calls share. Freestanding. */
#include "session/session.h"

#include "model/model.h"

static emr_status take_base(emr_session *s, const emr_model *base, const emr_session_options *o,
                            emr_error *error)
{
    s->base = base;
    if (base)
        return o->trust_base ? EMR_OK
                             : emr_bundle_check_base(s->bundle, base, o->executor, o->progress,
                                                     o->progress_user, NULL, NULL, error);
    emr_view_options view = EMR_INIT(emr_view_options);
    view.allocator = &s->allocator;
    emr_status status = emr_bundle_open_base(&s->own_base, s->bundle, &view, error);
    s->base = s->own_base;
    return status;
}

emr_status emr_session_create(emr_session **session, const emr_bundle *b, const emr_model *base,
                              const emr_session_options *given, emr_error *error)
{
    emr_session_options o;
    emr_allocator allocator;
    if (!session || !b)
        return emr_fail(error, EMR_EINVAL, "emr_session_create: NULL");
    *session = NULL;
    emr_status status =
        emr_take_struct(&o, sizeof o, sizeof(emr_session_options), given, "emr_session_options", error);
    if (!status)
        status = emr_allocator_take(&allocator, o.allocator ? o.allocator : &b->allocator, error);
    if (status)
        return status;
    emr_session *s = emr_allocate_array(&allocator, 1, sizeof *s);
    if (!s)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    s->allocator = allocator;
    s->bundle = b;
    status = emr_workers_create(&s->workers, &s->allocator, o.executor, SIZE_MAX, error);
    if (!status)
        status = take_base(s, base, &o, error);
    if (!status)
        status = emr_session_hold(s, &o, error);
    *session = s;
    if (status)
        emr_session_destroy(session);
    return status;
}

void emr_session_destroy(emr_session **session)
{
    if (!session || !*session)
        return;
    emr_session *s = *session;
    emr_allocator allocator = s->allocator;
    emr_session_let_go(s);
    emr_model_destroy(&s->own_base);
    emr_workers_destroy(&s->workers);
    emr_release(&allocator, s);
    *session = NULL;
}

emr_status emr_session_get_info(const emr_session *s, emr_session_info *info)
{
    if (!s || !info)
        return EMR_EINVAL;
    emr_session_info known = s->info;
    known.masks_found = s->masks.found;
    known.masks_read = s->masks.read;
    return emr_give_struct(info, &known, sizeof known, sizeof(emr_session_info));
}

emr_session_task *emr_session_find_task(emr_session *s, size_t task, emr_error *error)
{
    size_t n = s->bundle->summary.n_tasks;
    if (task < n || task == EMR_BASE)
        return &s->tasks[task < n ? task : n];
    emr_fail(error, EMR_ENOTFOUND, "%s: there is no task %u", s->bundle->name, (uint64_t)task);
    return NULL;
}

emr_status emr_session_run(emr_session *s, emr_job_fn fn, void *context, emr_error *error)
{
    emr_status status = emr_session_load(s, error);
    if (!status && s->n_pieces)
        status = emr_work(&s->workers, s->n_pieces, fn, context, error);
    s->n_pieces = 0;
    emr_mask_cache_begin(&s->masks);
    return status;
}
