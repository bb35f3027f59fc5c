/* apply.c - a task's weights into the engine's memory, or through a part of it to a function.
 *
 * The host's array is gone through twice by the calling thread: first every element is checked, so that
 * nothing is written where any is wrong; then each is resolved again and written. Workers never see the
 * array. Freestanding. */
#include "session/target.h"

#include <string.h>

/* More output than this does not stay in the caches until it is used. */
enum { STREAM_BYTES = 8 << 20 };

typedef struct apply_call {
    emr_session *session;
    emr_session_task *task;
    const emr_weights *weights;
    size_t weights_size; /* of each in the host's array */
    bool stream;
} apply_call;

/* An element of the host's array. A number stands for the name. */
static emr_status take_weights(const apply_call *a, size_t i, emr_weights *to, emr_error *error)
{
    const uint8_t *given = (const uint8_t *)a->weights + i * a->weights_size; /* at any alignment */
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size != a->weights_size)
        return emr_fail(error, EMR_EINVAL, "emr_weights: not the same size in all");
    emr_status status = EMR_TAKE(to, given, emr_weights, error);
    if (!status && !to->name)
        status = emr_session_find_tensor(a->session, NULL, to->tensor, &to->tensor, error);
    if (!status && !to->name)
        to->name = emr_bundle_tensor_name(a->session->shared->bundle, to->tensor);
    return status;
}

static emr_status check_range(emr_session_target *t, const emr_weights *to, emr_error *error)
{
    if (to->first > t->total || to->count > t->total - to->first)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has %u elements, asked for %u from %u",
                        t->session->shared->bundle->name, t->name, t->total, to->count, to->first);
    t->first = to->first;
    t->count = to->count ? to->count : t->total - to->first;
    emr_status status = emr_target_check_whole(t, "first", t->first, error);
    return status ? status : emr_target_check_whole(t, "count", t->count, error);
}

static emr_status check_staging(const emr_session_target *t, const emr_weights *to, emr_error *error)
{
    const char *name = t->session->shared->bundle->name;
    if (to->write && !to->staging)
        return emr_fail(
            error, EMR_EINVAL,
            "%F: tensor '%T': to be handed to a function, weights need staging: the elements that "
            "data has room for",
            name, t->name);
    if (!to->write && to->staging)
        return emr_fail(error, EMR_EINVAL,
                        "%F: tensor '%T': staging is for weights that are handed to a function, and there is "
                        "none",
                        name, t->name);
    return emr_target_check_whole(t, "staging", to->staging, error);
}

/* Elements that are written to the host's memory at a time. */
static uint64_t staged_count(const emr_session_target *t, const emr_weights *to)
{
    return to->write ? emr_min(t->count, to->staging) : t->count;
}

/* One element of the host's array: copied, checked, its source found. */
static emr_status resolve_target(const apply_call *a, size_t i, emr_weights *to, emr_session_target *t,
                                 emr_error *error)
{
    emr_status status = take_weights(a, i, to, error);
    if (status)
        return status;
    *t = (emr_session_target){.session = a->session,
                              .task = a->task,
                              .name = to->name,
                              .out = to->data,
                              .stream = a->stream,
                              .without_base = to->without_base};
    status = emr_target_find_name(t, error);
    if (!status)
        status = to->blocks ? emr_target_set_blocks(t, to->blocks, to->dtype, error)
                            : emr_target_set_dtype(t, to->dtype, error);
    if (!status)
        status = check_range(t, to, error);
    if (!status)
        status = check_staging(t, to, error);
    return status ? status : emr_target_check_output(t, staged_count(t, to), error);
}

/* Whether all can be applied; *bytes is how many they are. */
static emr_status check_targets(const apply_call *a, size_t n, uint64_t *bytes, emr_error *error)
{
    emr_session_target t;
    emr_weights to;
    emr_status status = EMR_OK;
    *bytes = 0;
    for (size_t i = 0; !status && i < n; i++) {
        status = resolve_target(a, i, &to, &t, error);
        if (status)
            return status;
        uint64_t out_bytes = emr_target_bytes(&t, staged_count(&t, &to));
        if (emr_memory_overlaps(t.out, out_bytes, a->weights, n * a->weights_size))
            status =
                emr_fail(error, EMR_EINVAL, "%F: tensor '%T': its weights would overwrite what is asked for",
                         a->session->shared->bundle->name, t.name);
        *bytes += out_bytes;
    }
    return status;
}

/* Hands a part to the host's function. */
static emr_status hand_over(const emr_session_target *part, const emr_weights *to, emr_error *error)
{
    const emr_weights_part given = {.size = sizeof given,
                                    .user = to->user,
                                    .data = part->out,
                                    .first = part->first,
                                    .count = part->count,
                                    .dtype = part->out_dtype,
                                    .blocks = part->out_blocks};
    emr_error why;
    memset(&why, 0, sizeof why);
    emr_status status = to->write(&given, &why);
    why.text[sizeof why.text - 1] = '\0';
    return status ? emr_fail_because(error, status > 0 ? EMR_EIO : status, &why,
                                     "%F: tensor '%T': its weights were not taken",
                                     part->session->shared->bundle->name, part->name)
                  : EMR_OK;
}

/* Part by part, each in a round that is finished before it is handed over. */
static emr_status write_parts(const emr_session_target *t, const emr_weights *to, emr_error *error)
{
    emr_session_target part = *t;
    uint64_t end = t->first + t->count;
    emr_status status = EMR_OK;
    for (; !status && part.first < end; part.first += part.count) {
        part.count = emr_min(end - part.first, to->staging);
        status = emr_target_write(&part, error);
        if (!status)
            status = emr_session_finish_writing(part.session, error);
        if (!status)
            status = hand_over(&part, to, error);
    }
    return status;
}

static emr_status write_targets(const apply_call *a, size_t n, emr_error *error)
{
    emr_session_target t;
    emr_weights to;
    emr_status status = EMR_OK;
    a->session->stored_number = 0;
    for (size_t i = 0; !status && i < n; i++) {
        status = resolve_target(a, i, &to, &t, error);
        if (!status)
            status = to.write ? write_parts(&t, &to, error) : emr_target_write(&t, error);
    }
    return emr_session_end_writing(a->session, status, error);
}

emr_status emr_session_apply(emr_session *s, uint32_t task, const emr_weights *weights, size_t n_weights,
                             emr_error *error)
{
    apply_call a = {.session = s, .weights = weights};
    uint64_t bytes;
    if (!s || (n_weights && !weights))
        return emr_fail(error, EMR_EINVAL, "emr_session_apply: NULL");
    a.task = emr_session_find_task(s->shared, task, error);
    if (!a.task)
        return EMR_ENOTFOUND;
    a.weights_size = n_weights ? weights->size : 0;
    emr_status status = check_targets(&a, n_weights, &bytes, error);
    if (status)
        return status;
    a.stream = bytes >= STREAM_BYTES;
    return write_targets(&a, n_weights, error);
}
