/* joined_heads.c - the heads of all tasks side by side, each row as it is in its own task (emr/heads.h).
 */
#include "align/heads.h"

#include "model/model.h"
#include "numeric/convert.h"

#include <string.h>

enum { JOINED_SPAN_BYTES = 16 << 10 /* of a task's rows in another dtype, converted at a time */ };

/* A task's rows in a joined head: those of `source`, or zeros. In elements. */
typedef struct joined_part {
    const emr_tensor *source;
    uint64_t first, count;
} joined_part;

typedef struct joined_head {
    struct joined_head *next;
    emr_dtype dtype;
    uint32_t n_parts;
    joined_part parts[];
} joined_head;

/* What a joined model owns. */
typedef struct joined_list {
    emr_allocator allocator;
    joined_head *all;
} joined_list;

static void destroy_joined(void *user)
{
    joined_list *list = user;
    emr_allocator allocator = list->allocator;
    for (joined_head *h = list->all, *next; h; h = next) {
        next = h->next;
        emr_release(&allocator, h);
    }
    emr_release(&allocator, list);
}

/* Elements of one source, in another dtype. */
static emr_status convert_rows(const emr_computation *c, const emr_tensor *source, uint64_t at, size_t n,
                               uint8_t *out, emr_dtype dtype, emr_error *error)
{
    size_t size = emr_float_size(source->dtype), most = JOINED_SPAN_BYTES / size, taken;
    emr_status status = EMR_OK;
    for (size_t done = 0; !status && done < n; done += taken) {
        taken = (size_t)emr_min(n - done, most);
        status = emr_tensor_read(source, (at + done) * size, c->scratch, taken * size, error);
        if (!status)
            status = emr_convert(dtype, out + done * emr_float_size(dtype), source->dtype, c->scratch, taken);
    }
    return status;
}

static emr_status read_part(const emr_computation *c, const joined_part *p, uint64_t at, size_t n,
                            uint8_t *out, emr_error *error)
{
    emr_dtype dtype = ((const joined_head *)c->user)->dtype;
    size_t size = emr_float_size(dtype);
    if (p->source && p->source->dtype == dtype)
        return emr_tensor_read(p->source, at * size, out, n * size, error);
    if (p->source)
        return convert_rows(c, p->source, at, n, out, dtype, error);
    memset(out, 0, n * size);
    return EMR_OK;
}

static emr_status compute_joined_head(const emr_computation *c, emr_error *error)
{
    const joined_head *h = c->user;
    uint64_t end = c->first + c->count;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < h->n_parts; i++) {
        const joined_part *p = &h->parts[i];
        uint64_t from = p->first > c->first ? p->first : c->first, to = emr_min(end, p->first + p->count);
        if (from < to)
            status = read_part(c, p, from - p->first, (size_t)(to - from),
                               (uint8_t *)c->out + (from - c->first) * emr_float_size(h->dtype), error);
    }
    return status;
}

static const emr_tensor *find_head(const emr_heads *heads, uint32_t task, const char *name)
{
    const emr_tensor *t = emr_model_find_tensor(emr_heads_model(heads, task), name);
    return t && emr_dtype_is_float(t->dtype) ? t : NULL;
}

static const emr_tensor *place_parts(const emr_heads *heads, const char *name, joined_head *h)
{
    const emr_tensor *first = NULL;
    for (uint32_t i = 0; i < h->n_parts; i++) {
        h->parts[i].source = find_head(heads, i, name);
        first = first ? first : h->parts[i].source;
    }
    for (uint32_t i = 0; i < h->n_parts; i++) {
        emr_head_group group = EMR_INIT(emr_head_group);
        uint64_t row = first->count / first->shape[0];
        emr_heads_get_group(heads, i, &group);
        h->parts[i].first = group.first * row;
        h->parts[i].count = group.count * row;
    }
    return first;
}

static emr_status add_joined(emr_model *m, const emr_heads *heads, const char *name, emr_dtype dtype,
                             emr_error *error)
{
    joined_list *list = m->options.user;
    uint64_t shape[EMR_RANK_MAX];
    emr_tensor_desc desc = {
        .size = sizeof desc, .name = name, .shape = shape, .compute = compute_joined_head};
    uint32_t n = emr_heads_n_tasks(heads);
    joined_head *h = emr_allocate_array(&list->allocator, 1, sizeof *h + n * sizeof *h->parts);
    if (!h)
        return emr_no_memory(error, m->name);
    h->next = list->all;
    list->all = h;
    h->n_parts = n;
    const emr_tensor *first = place_parts(heads, name, h);
    h->dtype = dtype ? dtype : first->dtype;
    memcpy(shape, first->shape, first->rank * sizeof *shape);
    shape[0] = emr_heads_n_rows(heads);
    desc.rank = first->rank;
    desc.dtype = h->dtype;
    desc.user = h;
    desc.max_count = UINT32_MAX;
    return emr_model_add(m, &desc, error);
}

static emr_status create_joined(emr_model **joined, const emr_allocator *allocator, emr_error *error)
{
    joined_list *list = emr_allocate_array(allocator, 1, sizeof *list);
    if (!list)
        return emr_no_memory(error, NULL);
    list->allocator = *allocator;
    const emr_model_options options = {.size = sizeof options,
                                       .allocator = allocator,
                                       .name = "heads",
                                       .user = list,
                                       .destroy = destroy_joined,
                                       .scratch_bytes = JOINED_SPAN_BYTES};
    emr_status status = emr_model_create(joined, &options, error);
    if (status)
        destroy_joined(list);
    return status;
}

emr_status emr_heads_open_joined(const emr_heads *heads, emr_dtype dtype, emr_model **joined,
                                 emr_error *error)
{
    const char *name;
    if (joined)
        *joined = NULL;
    if (!heads || !joined)
        return emr_fail(error, EMR_EINVAL, "emr_heads_open_joined: NULL");
    if (dtype && !emr_dtype_is_float(dtype))
        return emr_fail(error, EMR_EINVAL, "heads: %s is no float", emr_dtype_name(dtype));
    emr_status status = create_joined(joined, emr_heads_allocator(heads), error);
    for (uint32_t i = 0; !status && (name = emr_heads_tensor(heads, i)); i++)
        status = add_joined(*joined, heads, name, dtype, error);
    if (status)
        emr_model_destroy(joined);
    return status;
}
