/* arrange.c - see arrange.h. */
#include "align/arrange.h"

#include "align/policy.h"
#include "model/arranged.h"
#include "numeric/convert.h"
#include "role/role.h"

#include <string.h>

enum {
    PADDING_MAX = 16, /* times the largest of the tensors: more would be no rank that differs */
    /* A vocabulary that grew, unlike the heads of tasks with other classes: as many rows, and at most an eighth
     * of them not everybody's. */
    VOCABULARY_MIN = 512,
    VOCABULARY_GROWTH = 8
};

/* The tensors of one name, in all sources, and the shape in which they can be merged. */
typedef struct family {
    const emr_tensor *base;
    uint64_t shape[EMR_RANK_MAX];
    uint64_t most_rows;
    bool differ; /* in shape */
} family;

/* The dimension that all have: the least of them where rows are cut, the largest where tensors are padded. */
static bool join_shape(family *f, const emr_tensor *t, bool pad)
{
    if (t->rank != f->base->rank || !emr_dtype_is_float(t->dtype))
        return false;
    for (uint32_t i = 0; i < t->rank; i++) {
        if (t->shape[i] == f->shape[i])
            continue;
        if (i > 0 && !pad)
            return false;
        f->differ = true;
        f->most_rows = t->shape[0] > f->most_rows ? t->shape[0] : f->most_rows;
        f->shape[i] = (t->shape[i] > f->shape[i]) == pad ? t->shape[i] : f->shape[i];
    }
    return true;
}

static bool has_shape(const emr_tensor *t, const uint64_t *shape)
{
    return memcmp(t->shape, shape, t->rank * sizeof *shape) == 0;
}

/* Whether what comes out is worth merging, and whether nobody has to change whose part was played before. */
static bool is_arrangeable(const family *f, const emr_task *tasks, uint32_t n_tasks, bool pad)
{
    uint64_t largest = f->base->count, count, bytes;
    for (uint32_t t = 0; t < n_tasks; t++) {
        const emr_tensor *own = emr_model_find_tensor(tasks[t].model, f->base->name);
        if (own && tasks[t].settled && !has_shape(own, f->shape))
            return false;
        if (own && own->count > largest)
            largest = own->count;
    }
    return emr_shape_bytes(f->base->dtype, f->base->rank, f->shape, &count, &bytes) && count > 0 &&
           (!pad || count / PADDING_MAX <= largest);
}

static bool is_vocabulary(const family *f)
{
    return f->shape[0] >= VOCABULARY_MIN && f->most_rows - f->shape[0] <= f->most_rows / VOCABULARY_GROWTH;
}

/* False: its tensors are as they are. */
static bool find_family(family *f, const emr_policy *policy, const emr_tensor *base, const emr_task *tasks,
                        uint32_t n_tasks)
{
    bool pad = policy->on_mismatch == EMR_ON_MISMATCH_PAD;
    *f = (family){.base = base, .most_rows = base->rank ? base->shape[0] : 0};
    bool is_rest = base->own && base->own->is_rest; /* of a base that was cut before */
    if (!base->rank || is_rest || !emr_dtype_is_float(base->dtype) ||
        emr_policy_is_private(policy, base->name) ||
        (!emr_policy_is_merged(policy, base->name) &&
         emr_role_find_quickly(base, emr_role_is_possible(base->name)).role != EMR_ROLE_WEIGHT))
        return false;
    memcpy(f->shape, base->shape, base->rank * sizeof *f->shape);
    for (uint32_t t = 0; t < n_tasks; t++) {
        const emr_tensor *own = emr_model_find_tensor(tasks[t].model, base->name);
        if (own && !join_shape(f, own, pad))
            return false;
    }
    if (policy->on_mismatch == EMR_ON_MISMATCH_PRIVATE && !is_vocabulary(f))
        return false;
    return f->differ && is_arrangeable(f, tasks, n_tasks, pad);
}

/* One tensor of a source: cut into the rows that all have and the rest; or filled up. */
static emr_status arrange_one(emr_model *m, const emr_tensor *t, const uint64_t *shape, bool pad,
                              emr_error *error)
{
    emr_status status = emr_arranged_fit(m, t, t->name, shape, error);
    if (!status && t->model->zeros) /* zeros have any shape */
        m->tensors[m->n_tensors - 1]->own = NULL;
    if (status || pad)
        return status;
    char *name = emr_rest_name(&m->allocator, t->name, shape[0]);
    status = name ? emr_arranged_add_rest(m, t, name, shape[0], error) : emr_no_memory(error, m->name);
    emr_release(&m->allocator, name);
    return status;
}

/* A source with all its tensors, if one of them changes; else NULL. */
static emr_status arrange_source(emr_model **arranged, const emr_model *source,
                                 const emr_allocator *allocator, const emr_policy *policy,
                                 const emr_model *base, const emr_task *tasks, uint32_t n_tasks,
                                 emr_error *error)
{
    bool changes = false;
    emr_status status = emr_arranged_create(arranged, source, allocator, error);
    for (uint32_t i = 0; !status && i < source->n_tensors; i++) {
        const emr_tensor *t = source->tensors[i], *in_base = emr_model_find_tensor(base, t->name);
        family f;
        bool moves = in_base && find_family(&f, policy, in_base, tasks, n_tasks) && !has_shape(t, f.shape);
        changes = changes || moves;
        status = moves ? arrange_one(*arranged, t, f.shape, policy->on_mismatch == EMR_ON_MISMATCH_PAD, error)
                       : emr_arranged_keep(*arranged, t, error);
        if (status == EMR_EEXIST)
            status =
                emr_fail(error, EMR_EMISMATCH, "%F: tensor '%T' or rows cut off it have another one's name",
                         source->name, t->name);
    }
    if (status || !changes)
        emr_model_destroy(arranged);
    return status;
}

/* Whether there is anything to do at all: so that nothing is built where there is not. */
static bool has_family(const emr_policy *policy, const emr_model *base, const emr_task *tasks,
                       uint32_t n_tasks)
{
    family f;
    for (uint32_t i = 0; i < base->n_tensors; i++)
        if (find_family(&f, policy, base->tensors[i], tasks, n_tasks))
            return true;
    return false;
}

emr_status emr_arrange(emr_arranged_sources *s, const emr_allocator *allocator, const emr_policy *policy,
                       const emr_model *base, const emr_task *tasks, uint32_t n_tasks, emr_error *error)
{
    *s = (emr_arranged_sources){.n = n_tasks + 1};
    if (policy->on_mismatch == EMR_ON_MISMATCH_ERROR || !has_family(policy, base, tasks, n_tasks))
        return EMR_OK;
    s->models = emr_allocate_array(allocator, s->n, sizeof *s->models);
    s->tasks = emr_allocate_array(allocator, n_tasks, sizeof *s->tasks);
    emr_status status = s->models && s->tasks ? EMR_OK : emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < s->n; i++) {
        if (i > 0)
            s->tasks[i - 1] = tasks[i - 1];
        if (i > 0 && tasks[i - 1].settled)
            continue;
        status = arrange_source(&s->models[i], i ? tasks[i - 1].model : base, allocator, policy, base, tasks,
                                n_tasks, error);
        if (i > 0 && s->models[i])
            s->tasks[i - 1].model = s->models[i];
    }
    if (status)
        emr_arranged_sources_free(s, allocator);
    return status;
}

void emr_arranged_sources_free(emr_arranged_sources *s, const emr_allocator *allocator)
{
    for (uint32_t i = 0; s->models && i < s->n; i++)
        emr_model_destroy(&s->models[i]);
    emr_release(allocator, s->models);
    emr_release(allocator, s->tasks);
    *s = (emr_arranged_sources){0};
}
