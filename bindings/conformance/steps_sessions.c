/* steps_sessions.c - sessions: weights written, products, rows gathered. */
#include "steps.h"

#include <stdlib.h>
#include <string.h>

/* With the bundle, for tasks are named. */
typedef struct open_session {
    emr_session *session;
    const emr_bundle *bundle;
} open_session;

static void destroy_session(void *handle)
{
    emr_session *session = handle;
    emr_session_destroy(&session);
}

static emr_status make_session(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_session_options options = EMR_INIT(emr_session_options);
    open_session *s = new_memory(w, sizeof *s);
    (void)result;
    options.resources = &w->resources;
    options.mask_bytes = get_number(step, "mask_bytes");
    options.check = get_word(step, "check", check_words);
    options.without_base = get_flag(step, "without_base");
    s->bundle = need_bundle(w, step, "bundle");
    TRY(emr_session_create(&s->session, s->bundle,
                           json_object_get(step, "base") ? need_model(w, step, "base") : NULL, &options,
                           error));
    keep_object(w, KIND_NONE, NULL, s->session, destroy_session);
    keep_object(w, KIND_SESSION, need_text(step, "session"), s, NULL);
    return EMR_OK;
}

/* The session, or one more handle of it. */
static emr_status need_session(world *w, const json_t *step, open_session *s, emr_error *error)
{
    const open_session *found = find_object(w, KIND_SESSION, need_text(step, "session"));
    if (!found)
        give_up("no such session:", need_text(step, "session"));
    *s = *found;
    if (!get_flag(step, "thread"))
        return EMR_OK;
    TRY(emr_session_open_thread(&s->session, found->session, error));
    keep_object(w, KIND_NONE, NULL, s->session, destroy_session);
    return EMR_OK;
}

static emr_status find_task(const open_session *s, const char *name, uint32_t *task, emr_error *error)
{
    *task = EMR_BASE;
    return *name ? emr_bundle_find_task(s->bundle, name, task, error) : EMR_OK;
}

static emr_status find_tasks(world *w, const open_session *s, const json_t *step, uint32_t **tasks, size_t *n,
                             emr_error *error)
{
    uint32_t count;
    const char *const *names = get_texts(w, step, "tasks", &count);
    *tasks = new_memory(w, count * sizeof **tasks);
    for (uint32_t i = 0; i < count; i++)
        TRY(find_task(s, names[i], &(*tasks)[i], error));
    *n = count;
    return EMR_OK;
}

typedef struct collected {
    unsigned char *data;
    size_t size;
} collected;

static size_t bytes_in(emr_dtype dtype, emr_block_type blocks, uint64_t n)
{
    return blocks ? (size_t)(n / EMR_BLOCK_VALUES * emr_block_bytes(blocks)) : bytes_of_elements(dtype, n);
}

static emr_status collect_part(const emr_weights_part *part, emr_error *error)
{
    collected *c = part->user;
    size_t n = bytes_in(part->dtype, part->blocks, part->count);
    (void)error;
    memcpy(c->data + c->size, part->data, n);
    c->size += n;
    return EMR_OK;
}

static void describe_weights(world *w, const json_t *of, emr_weights *weights, collected *c)
{
    allow_keys(of, "name count first dtype blocks staging without_base");
    weights->size = sizeof *weights;
    weights->name = need_text(of, "name");
    weights->first = get_number(of, "first");
    weights->count = get_number(of, "count");
    weights->dtype = get_dtype(of, "dtype");
    weights->blocks = get_word(of, "blocks", block_words);
    weights->without_base = get_flag(of, "without_base");
    weights->staging = get_number(of, "staging");
    c->size = bytes_in(weights->dtype, weights->blocks, weights->count);
    c->data = new_memory(w, c->size);
    weights->data = c->data;
    if (!weights->staging)
        return;
    weights->data = new_memory(w, bytes_in(weights->dtype, weights->blocks, weights->staging));
    c->size = 0;
    weights->write = collect_part;
    weights->user = c;
}

static emr_status apply_session(world *w, const json_t *step, json_t *result, emr_error *error)
{
    const json_t *list = need_array(step, "weights");
    size_t n = json_array_size(list);
    emr_weights *weights = new_memory(w, n * sizeof *weights);
    collected *all = new_memory(w, n * sizeof *all);
    json_t *digests = json_array();
    open_session s;
    uint32_t task;
    json_object_set_new(result, "digests", digests);
    TRY(need_session(w, step, &s, error));
    TRY(find_task(&s, need_text(step, "task"), &task, error));
    for (size_t i = 0; i < n; i++)
        describe_weights(w, json_array_get(list, i), &weights[i], &all[i]);
    TRY(emr_session_apply(s.session, task, weights, n, error));
    for (size_t i = 0; i < n; i++)
        json_array_append_new(digests, digest_of(all[i].data, all[i].size));
    return EMR_OK;
}

static emr_status multiply_vectors(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_product p = EMR_INIT(emr_product);
    uint64_t seed = get_number(step, "seed");
    open_session s;
    uint32_t *tasks;
    TRY(need_session(w, step, &s, error));
    TRY(find_tasks(w, &s, step, &tasks, &p.batch, error));
    p.name = need_text(step, "tensor");
    p.first_row = get_number(step, "first_row");
    p.n_rows = get_number(step, "n_rows");
    p.n_columns = get_number(step, "n_columns");
    p.without_base = get_flag(step, "without_base");
    p.add = get_flag(step, "add");
    p.x = drawn(w, EMR_DTYPE_F32, seed, p.batch * (size_t)get_number(step, "columns"));
    p.y = drawn(w, EMR_DTYPE_F32, seed + 1, p.batch * (size_t)p.n_rows);
    TRY(emr_session_multiply(s.session, tasks, &p, error));
    json_object_set_new(result, "digest", digest_of(p.y, p.batch * (size_t)p.n_rows * sizeof(float)));
    return EMR_OK;
}

static emr_status gather_rows(world *w, const json_t *step, json_t *result, emr_error *error)
{
    emr_gather g = EMR_INIT(emr_gather);
    json_t *rows = need_array(step, "rows");
    uint64_t *numbers = new_memory(w, json_array_size(rows) * sizeof *numbers);
    open_session s;
    uint32_t *tasks;
    TRY(need_session(w, step, &s, error));
    TRY(find_tasks(w, &s, step, &tasks, &g.n, error));
    for (size_t i = 0; i < json_array_size(rows); i++)
        numbers[i] = (uint64_t)json_integer_value(json_array_get(rows, i));
    g.name = need_text(step, "tensor");
    g.tasks = tasks;
    g.rows = numbers;
    g.dtype = get_dtype(step, "dtype");
    g.without_base = get_flag(step, "without_base");
    g.n_columns = get_number(step, "n_columns");
    size_t size = bytes_of_elements(g.dtype, g.n * get_number(step, "row"));
    g.out = new_memory(w, size);
    TRY(emr_session_gather(s.session, &g, error));
    json_object_set_new(result, "digest", digest_of(g.out, size));
    return EMR_OK;
}

const step_kind session_steps[] = {
    {"session", "session bundle base without_base check mask_bytes", make_session},
    {"apply", "session task weights thread", apply_session},
    {"multiply", "session tensor tasks columns seed first_row n_rows n_columns without_base add thread",
     multiply_vectors},
    {"gather", "session tensor tasks rows row dtype without_base n_columns thread", gather_rows},
    {NULL, NULL, NULL},
};
