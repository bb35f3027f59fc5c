/* ties.c - another merging method on the public headers alone: TIES-Merging (arXiv 2306.01708), as a model
 * whose tensors are computed as they are read. ties_demo.c writes it into a file.
 *
 * A task vector is a task's weights minus the base's. Of each, tensor by tensor, the largest values stay: a
 * share of density, and what is as large as the smallest of them. For every parameter the sum over the tasks
 * elects a sign; a sum of 0 elects the one that was elected more often in the whole model. The mean of the
 * values with that sign, times lambda, is added to the base. Tensors that are not floats are the base's.
 * Memory does not depend on the size of the models. */
#include "ties.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096 };

/* A tensor of the merged model. */
typedef struct merged_tensor {
    const struct ties *ties;
    const emr_tensor *base, *tasks[TIES_MAX_TASKS];
    float thresholds[TIES_MAX_TASKS]; /* smaller values of the task's vector are trimmed */
} merged_tensor;

typedef struct ties {
    uint32_t n_tasks;
    float lambda;
    int64_t majority; /* positive signs less negative ones */
    merged_tensor tensors[];
} ties;

/* What a thread works on: a chunk of the base, of one task's vector, and of the sums over the tasks. */
typedef struct workspace {
    float base[CHUNK], vector[CHUNK];
    struct vote {
        float sum, side[2], n[2]; /* of all values; of the positive ones and the negative ones */
    } votes[CHUNK];
} workspace;

static emr_status refuse_tensor(const merged_tensor *m, emr_status status, const char *why, emr_error *error)
{
    return emr_error_format(error, status, "tensor '%T' %s", emr_tensor_name(m->base), why);
}

/* A task's vector; the base is in the workspace already. */
static emr_status read_vector(const emr_tensor *task, uint64_t first, size_t n, workspace *w,
                              emr_error *error)
{
    emr_status status = emr_tensor_read_floats(task, first, n, w->vector, error);
    for (size_t i = 0; !status && i < n; i++)
        w->vector[i] -= w->base[i];
    return status;
}

/* Trims, and sums up what is left. */
static emr_status sum_vectors(const merged_tensor *m, uint64_t first, size_t n, workspace *w,
                              emr_error *error)
{
    emr_status status = emr_tensor_read_floats(m->base, first, n, w->base, error);
    memset(w->votes, 0, sizeof w->votes);
    for (uint32_t t = 0; !status && t < m->ties->n_tasks; t++) {
        status = read_vector(m->tasks[t], first, n, w, error);
        for (size_t i = 0; !status && i < n; i++) {
            float value = w->vector[i];
            if (value == 0 || !(fabsf(value) >= m->thresholds[t]))
                continue;
            w->votes[i].sum += value;
            w->votes[i].side[value < 0] += value;
            w->votes[i].n[value < 0]++;
        }
    }
    return status;
}

/* Elects, and adds the mean of the elected side. */
static emr_status compute_merged(const emr_computation *c, emr_error *error)
{
    const merged_tensor *m = c->user;
    workspace *w = c->scratch;
    emr_status status = sum_vectors(m, c->first, c->count, w, error);
    for (size_t i = 0; !status && i < c->count; i++) {
        const struct vote *v = &w->votes[i];
        int elected = v->sum < 0 || (v->sum == 0 && m->ties->majority <= 0);
        if (v->n[elected] > 0)
            w->base[i] += m->ties->lambda * (v->side[elected] / v->n[elected]);
    }
    return status ? status : emr_convert(emr_tensor_dtype(m->base), c->out, EMR_DTYPE_F32, w->base, c->count);
}

/* The memory of the passes that come first. */
typedef struct preparation {
    workspace w;
    uint64_t counts[1 << 16];
} preparation;

static size_t chunk_size(const merged_tensor *m, uint64_t first)
{
    uint64_t left = emr_tensor_count(m->base) - first;
    return left < CHUNK ? (size_t)left : CHUNK;
}

/* Counts magnitudes by 16 of their bits, from bit `shift` on: those whose higher bits are `known`'s. */
static emr_status count_magnitudes(const merged_tensor *m, uint32_t task, int shift, uint64_t known,
                                   preparation *p, emr_error *error)
{
    emr_status status = EMR_OK;
    memset(p->counts, 0, sizeof p->counts);
    for (uint64_t first = 0; !status && first < emr_tensor_count(m->base); first += CHUNK) {
        size_t n = chunk_size(m, first);
        status = emr_tensor_read_floats(m->base, first, n, p->w.base, error);
        if (!status)
            status = read_vector(m->tasks[task], first, n, &p->w, error);
        for (size_t i = 0; !status && i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &p->w.vector[i], sizeof bits);
            uint64_t magnitude = bits & 0x7fffffff;
            if (magnitude >= 0x7f800000)
                status = refuse_tensor(m, EMR_ENONFINITE, "has NaN or infinity", error);
            else if (magnitude >> shift >> 16 == known >> shift >> 16)
                p->counts[magnitude >> shift & 0xffff]++;
        }
    }
    return status;
}

/* The threshold is the k-th largest magnitude. Floats that are not negative are in the order of their bits,
 * so counting by the upper 16 bits, then by the lower 16, finds it exactly. Where k is 0 it comes out as NaN,
 * which nothing reaches. */
static emr_status find_threshold(merged_tensor *m, uint32_t task, uint64_t k, preparation *p,
                                 emr_error *error)
{
    uint64_t known = 0;
    for (int shift = 16; shift >= 0; shift -= 16) {
        emr_status status = count_magnitudes(m, task, shift, known, p, error);
        if (status)
            return status;
        uint64_t digit = 0xffff;
        while (k > p->counts[digit])
            k -= p->counts[digit--];
        known |= digit << shift;
    }
    uint32_t bits = (uint32_t)known;
    memcpy(&m->thresholds[task], &bits, sizeof bits);
    return EMR_OK;
}

/* Once all thresholds are known: which sign is elected more often. */
static emr_status count_signs(ties *s, const merged_tensor *m, workspace *w, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint64_t first = 0; !status && first < emr_tensor_count(m->base); first += CHUNK) {
        status = sum_vectors(m, first, chunk_size(m, first), w, error);
        for (size_t i = 0; !status && i < chunk_size(m, first); i++)
            s->majority += (w->votes[i].sum > 0) - (w->votes[i].sum < 0);
    }
    return status;
}

/* Finds a tensor's thresholds and adds it to the merged model. */
static emr_status add_tensor(emr_model *model, merged_tensor *m, const ties_recipe *r, preparation *p,
                             emr_error *error)
{
    uint64_t count = emr_tensor_count(m->base), k = (uint64_t)(r->density * (double)count);
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = emr_tensor_name(m->base),
                                  .shape = emr_tensor_shape(m->base),
                                  .rank = emr_tensor_rank(m->base),
                                  .dtype = emr_tensor_dtype(m->base),
                                  .compute = compute_merged,
                                  .user = m,
                                  .max_count = CHUNK};
    if (!emr_dtype_is_float(desc.dtype))
        return emr_model_add_tensor(model, m->base, error);
    for (uint32_t t = 0; t < r->n_tasks; t++) {
        const emr_tensor *task = m->tasks[t] = emr_model_find_tensor(r->tasks[t], desc.name);
        if (!task || !emr_tensor_same_shape(task, m->base) || !emr_dtype_is_float(emr_tensor_dtype(task)))
            return refuse_tensor(m, EMR_EMISMATCH, "is absent from a task, or another there", error);
        emr_status status = find_threshold(m, t, k, p, error);
        if (status)
            return status;
    }
    return emr_model_add(model, &desc, error);
}

emr_status ties_open(emr_model **model, const ties_recipe *r, emr_error *error)
{
    *model = NULL;
    if (!(r->density >= 0 && r->density <= 1))
        return emr_error_set(error, EMR_EINVAL, 0, NULL, "the density must be 0 to 1");
    uint32_t n = emr_model_n_tensors(r->base);
    ties *s = calloc(1, sizeof *s + n * sizeof *s->tensors);
    preparation *p = malloc(sizeof *p);
    const emr_model_options options = {
        .size = sizeof options, .user = s, .destroy = free, .scratch_bytes = sizeof(workspace)};
    emr_status status = s && p ? emr_model_create(model, &options, error)
                               : emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
    if (status)
        free(s);
    else
        *s = (ties){.n_tasks = r->n_tasks, .lambda = r->lambda};
    for (uint32_t i = 0; !status && i < n; i++) {
        s->tensors[i] = (merged_tensor){.ties = s, .base = emr_model_tensor(r->base, i)};
        status = add_tensor(*model, &s->tensors[i], r, p, error);
    }
    for (uint32_t i = 0; !status && i < n; i++)
        if (emr_dtype_is_float(emr_tensor_dtype(s->tensors[i].base)))
            status = count_signs(s, &s->tensors[i], &p->w, error);
    if (!status)
        status = emr_model_copy_metadata(*model, r->base, error);
    free(p);
    if (status)
        emr_model_destroy(model);
    return status;
}
