/* combined.c - see combined.h. A reader has its scratch: what combines a chunk, and, where the method works on whole
 * rows, the rows that were computed last, for reads that ask for parts of them. */
#include "combine/combined.h"

#include "combine/classify.h"
#include "combine/reader.h"
#include "combine/sweep.h"
#include "numeric/convert.h"

#include <string.h>

/* At the beginning of a reader's scratch. */
typedef struct combined_scratch {
    emr_combine_reader reader;
    const emr_combined *rows_of; /* whose rows lie in `rows`; NULL: nobody's */
    uint64_t first;
    size_t n;
    uint8_t *rows;
} combined_scratch;

enum { SCRATCH_HEAD = 1024 };

static size_t rows_bytes(const emr_combination *c)
{
    return c->has_rows ? (size_t)emr_round_up((uint64_t)c->chunk * c->out_size, EMR_ALIGNMENT) : 0;
}

static emr_status open_reader(void *user, void *scratch, emr_error *error)
{
    const emr_combination *c = user;
    combined_scratch *s = scratch;
    _Static_assert(sizeof *s <= SCRATCH_HEAD, "the head has room");
    (void)error;
    s->rows = (uint8_t *)scratch + SCRATCH_HEAD;
    emr_reader_place(&s->reader, c, c->chunk, true, s->rows + rows_bytes(c));
    return EMR_OK;
}

/* Elements that are combined at a time: whole rows, where there are any. */
static size_t elements_at_a_time(const emr_combined *t)
{
    uint64_t row = t->seen.row_length ? t->seen.row_length : 1;
    return (size_t)(t->owner->chunk / row * row);
}

/* Makes the rows that element `at` is in lie in the scratch. */
static emr_status compute_rows(combined_scratch *s, const emr_combined *t, const double *found, uint64_t at,
                               emr_error *error)
{
    if (s->rows_of == t && at >= s->first && at - s->first < s->n)
        return EMR_OK;
    s->rows_of = NULL;
    s->first = at / t->seen.row_length * t->seen.row_length;
    s->n = (size_t)emr_min(elements_at_a_time(t), t->seen.count - s->first);
    emr_status status = emr_reader_combine(&s->reader, t, found, s->first, s->n, s->rows, error);
    s->rows_of = status ? NULL : t;
    return status;
}

/* Some of the elements [first, first + count): how many they are. */
static emr_status compute_some(const emr_computation *k, const double *found, size_t done, size_t *brought,
                               emr_error *error)
{
    const emr_combined *t = k->user;
    combined_scratch *s = k->scratch;
    const size_t size = emr_float_size(t->dtype), most = elements_at_a_time(t);
    const uint64_t at = k->first + done;
    uint8_t *out = (uint8_t *)k->out + done * size;
    const uint64_t row = t->seen.row_length > 1 ? t->seen.row_length : 1;
    *brought = (size_t)emr_min(k->count - done, most);
    const bool is_whole = *brought == most || at + *brought == t->seen.count;
    if (row == 1 || (at % row == 0 && is_whole))
        return emr_reader_combine(&s->reader, t, found, at, *brought, out, error);
    emr_status status = compute_rows(s, t, found, at, error);
    if (status)
        return status;
    *brought = (size_t)emr_min(*brought, s->first + s->n - at);
    memcpy(out, s->rows + (at - s->first) * size, *brought * size);
    return EMR_OK;
}

/* What must be known before, found by this thread alone where nobody has prepared it. */
static emr_status find_alone(const emr_combined *t, const double **found, emr_error *error)
{
    const emr_combination *c = t->owner;
    *found = NULL;
    if (!c->n_stages || (*found = emr_combined_found(t)))
        return EMR_OK;
    const emr_env alone = {.allocator = c->allocator,
                           .memory_bytes = emr_combination_memory(c) / emr_combination_readers(c)};
    emr_status status = emr_combined_find(t, &alone, error);
    *found = emr_combined_found(t);
    return status;
}

static emr_status compute_combined(const emr_computation *k, emr_error *error)
{
    const double *found;
    emr_status status = find_alone(k->user, &found, error);
    for (size_t done = 0, brought; !status && done < k->count; done += brought)
        status = compute_some(k, found, done, &brought, error);
    return status;
}

static emr_status prepare_combined(void *user, const emr_tensor *tensor, const emr_resources *resources,
                                   emr_error *error)
{
    const emr_combination *c = user;
    emr_env env;
    if (tensor->compute != compute_combined || !c->n_stages)
        return EMR_OK;
    emr_status status = emr_env_take(&env, resources, &c->allocator, error);
    if (status)
        return status;
    env.memory_bytes = emr_min(env.memory_bytes ? env.memory_bytes : UINT64_MAX, emr_combination_memory(c));
    return emr_combined_find(tensor->user, &env, error);
}

static void release_combination(void *user)
{
    emr_combination_release(user);
}

static emr_status add_combined(emr_model *m, const emr_combined *t, emr_error *error)
{
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = t->sample->name,
                                  .shape = t->seen.shape,
                                  .compute = compute_combined,
                                  .user = (void *)(uintptr_t)t,
                                  .dtype = t->dtype,
                                  .rank = t->seen.rank,
                                  .granule = 1,
                                  .max_count = UINT32_MAX};
    emr_status status = emr_model_add(m, &desc, error);
    if (!status && t->seen.row_length > 1)
        m->tensors[m->n_tensors - 1]->block = elements_at_a_time(t);
    return status;
}

static emr_status add_combined_tensors(emr_model *m, const emr_combination *c, emr_error *error)
{
    emr_status status = emr_model_copy_metadata(m, emr_combination_reference(c), error);
    if (!status && c->heads)
        status = emr_heads_set_metadata(c->heads, m, error);
    for (uint32_t i = 0; !status && i < c->n_tensors; i++) {
        const emr_combined *t = &c->tensors[i];
        status = t->action == EMR_COMBINED_ACTION_COMBINE ? add_combined(m, t, error)
                                                          : emr_model_add_tensor(m, t->sample, error);
    }
    return status;
}

uint64_t emr_combined_scratch_bytes(const emr_combination *c)
{
    return SCRATCH_HEAD + rows_bytes(c) + emr_reader_bytes(c, c->chunk, true);
}

emr_status emr_combined_open(emr_combination *c, emr_model **model, emr_error *error)
{
    const emr_model_options options = {.size = sizeof options,
                                       .allocator = &c->allocator,
                                       .name = c->method.name,
                                       .user = c,
                                       .destroy = release_combination,
                                       .scratch_bytes = (size_t)emr_combined_scratch_bytes(c),
                                       .open_scratch = open_reader,
                                       .prepare = prepare_combined};
    emr_status status = emr_model_create(model, &options, error);
    if (status)
        return status;
    emr_combination_hold(c);
    status = add_combined_tensors(*model, c, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
