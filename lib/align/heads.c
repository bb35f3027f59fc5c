/* heads.c - which tensors of tasks are heads, whose rows are whose, and models in which they stand side by side
 * (emr/heads.h). */
#include "align/heads.h"

#include "core/text.h"
#include "emr/policy.h"
#include "model/arranged.h"

#include <string.h>

typedef struct head_task {
    const emr_model *model;
    char *name;
    uint64_t first, count;
    emr_head_kind kind;
} head_task;

struct emr_heads {
    emr_allocator allocator;
    head_task *tasks;
    char **heads; /* their names */
    size_t n_heads, heads_capacity;
    uint64_t n_rows;
    uint32_t n_tasks;
};

/* A tensor that a glob matches in some task. */
typedef struct candidate {
    const char *name; /* a tensor's */
    bool differs;     /* in shape, where it is there */
    bool is_missing;  /* in some task */
} candidate;

typedef struct candidate_list {
    candidate *all;
    size_t n, capacity;
} candidate_list;

static const emr_tensor *head_of(const emr_heads *h, uint32_t task, const char *name)
{
    const emr_tensor *t = emr_model_find_tensor(h->tasks[task].model, name);
    return t && emr_dtype_is_float(t->dtype) ? t : NULL;
}

/* The first task's that has it. */
static const emr_tensor *first_head(const emr_heads *h, const char *name, uint32_t *task)
{
    const emr_tensor *t = NULL;
    for (*task = 0; *task < h->n_tasks && !(t = head_of(h, *task, name)); ++*task)
        continue;
    return t;
}

/* Up to the last '.', or all of it. */
static size_t layer_length(const char *name)
{
    size_t n = emr_text_length(name), end = n;
    while (end && name[end - 1] != '.')
        end--;
    return end ? end : n;
}

static bool is_same_layer(const char *a, const char *b)
{
    size_t n = layer_length(a);
    return n == layer_length(b) && memcmp(a, b, n) == 0;
}

/* --- Candidates ---------------------------------------------------------------------------------------- */

static bool is_candidate(const candidate_list *list, const char *name)
{
    size_t i = 0;
    while (i < list->n && !emr_same_text(list->all[i].name, name))
        i++;
    return i < list->n;
}

static candidate compare_candidate(const emr_heads *h, const char *name)
{
    candidate c = {.name = name};
    const emr_tensor *first = NULL;
    for (uint32_t i = 0; i < h->n_tasks; i++) {
        const emr_tensor *t = head_of(h, i, name);
        first = first ? first : t;
        c.is_missing = c.is_missing || !t;
        c.differs = c.differs || (t && !emr_tensor_same_shape(t, first));
    }
    return c;
}

static emr_status list_candidate(const emr_heads *h, candidate_list *list, const char *name, emr_error *error)
{
    if (is_candidate(list, name))
        return EMR_OK;
    if (!emr_grow(&h->allocator, (void **)&list->all, &list->capacity, list->n + 1, sizeof *list->all))
        return emr_no_memory(error, NULL);
    list->all[list->n++] = compare_candidate(h, name);
    return EMR_OK;
}

static bool matches_head(const emr_tensor *t, const char *glob)
{
    return emr_dtype_is_float(t->dtype) && emr_glob_matches(glob, t->name);
}

static emr_status match_task(const emr_heads *h, const emr_heads_options *o, uint32_t task, bool *used,
                             candidate_list *list, emr_error *error)
{
    const emr_model *m = h->tasks[task].model;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < m->n_tensors; i++)
        for (uint32_t g = 0; !status && g < o->n_globs; g++)
            if (matches_head(m->tensors[i], o->globs[g])) {
                used[g] = true;
                status = list_candidate(h, list, m->tensors[i]->name, error);
            }
    return status;
}

static emr_status match_all(const emr_heads *h, const emr_heads_options *o, candidate_list *list,
                            emr_error *error)
{
    bool *used = emr_allocate_array(&h->allocator, o->n_globs, sizeof *used);
    emr_status status = used ? EMR_OK : emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < h->n_tasks; i++)
        status = match_task(h, o, i, used, list, error);
    for (uint32_t g = 0; !status && g < o->n_globs; g++)
        if (!used[g])
            status =
                emr_fail(error, EMR_EINVAL, "heads: '%s' matches no float tensor of any task", o->globs[g]);
    emr_release(&h->allocator, used);
    return status;
}

/* --- Heads among them ---------------------------------------------------------------------------------- */

/* The name of the last one that the first task has. */
static const char *last_candidate(const emr_heads *h, const candidate_list *list)
{
    const emr_model *m = h->tasks[0].model;
    for (uint32_t i = m->n_tensors; i-- > 0;)
        if (is_candidate(list, m->tensors[i]->name))
            return m->tensors[i]->name;
    return list->all[0].name;
}

/* `last`: where no candidate differs. */
static bool is_head(const candidate_list *list, const candidate *c, const char *last)
{
    if (last || c->differs || !c->is_missing)
        return last ? is_same_layer(c->name, last) : c->differs;
    for (size_t i = 0; i < list->n; i++)
        if (list->all[i].differs && is_same_layer(list->all[i].name, c->name))
            return true;
    return false;
}

static emr_status note_head(emr_heads *h, const char *name, emr_error *error)
{
    const emr_allocator *a = &h->allocator;
    if (!emr_grow(a, (void **)&h->heads, &h->heads_capacity, h->n_heads + 1, sizeof *h->heads) ||
        !(h->heads[h->n_heads] = emr_copy_string(a, name)))
        return emr_no_memory(error, NULL);
    h->n_heads++;
    return EMR_OK;
}

static emr_status choose_heads(emr_heads *h, const candidate_list *list, emr_error *error)
{
    const char *last = last_candidate(h, list);
    emr_status status = EMR_OK;
    for (size_t i = 0; i < list->n; i++)
        if (list->all[i].differs)
            last = NULL;
    for (size_t i = 0; !status && i < list->n; i++)
        if (is_head(list, &list->all[i], last))
            status = note_head(h, list->all[i].name, error);
    return status;
}

/* --- Rows ---------------------------------------------------------------------------------------------- */

static bool is_same_row(const emr_tensor *a, const emr_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) == 0;
}

/* Against the first task that has it. */
static emr_status check_shape(const emr_heads *h, uint32_t task, const char *name, emr_error *error)
{
    uint32_t other;
    const emr_tensor *t = head_of(h, task, name), *first = first_head(h, name, &other);
    const char *own = h->tasks[task].name;
    if (!t && first->rank > 1)
        return emr_fail(error, EMR_EMISMATCH, "heads: task '%K' lacks tensor '%T', which task '%K' has", own,
                        name, h->tasks[other].name);
    if (t && (t->rank == 0 || t->shape[0] == 0))
        return emr_fail(error, EMR_EMISMATCH, "heads: tensor '%T' of task '%K' has no rows", name, own);
    if (t && t->kind == EMR_TENSOR_PUSHED)
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "heads: tensor '%T' of task '%K' is to be pushed: give it data, io or compute", name,
                        own);
    return !t || is_same_row(t, first)
               ? EMR_OK
               : emr_fail(
                     error, EMR_EMISMATCH,
                     "heads: tensor '%T' differs between tasks '%K' and '%K' in more than its rows: name the "
                     "last layer alone; an inner one must have one shape in all tasks",
                     name, h->tasks[other].name, own);
}

/* All heads of a task have as many rows. */
static emr_status count_rows(emr_heads *h, uint32_t task, emr_error *error)
{
    head_task *own = &h->tasks[task];
    const char *counted = NULL;
    for (size_t i = 0; i < h->n_heads; i++) {
        const emr_tensor *t = head_of(h, task, h->heads[i]);
        if (t && counted && t->shape[0] != own->count)
            return emr_fail(
                error, EMR_EMISMATCH,
                "heads: of task '%K', tensor '%T' has %u rows, but '%s' %u: name the last layer alone; "
                "an inner one must have one shape in all tasks",
                own->name, t->name, t->shape[0], counted, own->count);
        if (t) {
            counted = t->name;
            own->count = t->shape[0];
        }
    }
    own->first = h->n_rows;
    if (!counted)
        return emr_fail(error, EMR_EMISMATCH, "heads: task '%K' has no head", own->name);
    return emr_add(h->n_rows, own->count, &h->n_rows)
               ? EMR_OK
               : emr_fail(error, EMR_ELIMIT, "heads: the rows of all tasks are too many");
}

static emr_status place_groups(emr_heads *h, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < h->n_tasks; t++) {
        for (size_t i = 0; !status && i < h->n_heads; i++)
            status = check_shape(h, t, h->heads[i], error);
        if (!status)
            status = count_rows(h, t, error);
    }
    return status;
}

/* --- The handle ---------------------------------------------------------------------------------------- */

static emr_status take_head_task(emr_heads *h, const emr_heads_options *o, uint32_t i, emr_error *error)
{
    head_task *t = &h->tasks[i];
    if (!o->tasks[i] || !o->names[i] || (o->kinds && o->kinds[i] > EMR_HEAD_KIND_IDENTITY))
        return emr_fail(error, EMR_EINVAL, "heads: task %u has no model, no name, or an unknown kind of head",
                        (uint64_t)i);
    for (uint32_t k = 0; k < i; k++)
        if (emr_same_text(h->tasks[k].name, o->names[i]))
            return emr_fail(error, EMR_EEXIST, "heads: there are two tasks named '%K'", o->names[i]);
    t->model = o->tasks[i];
    t->kind = o->kinds ? o->kinds[i] : EMR_HEAD_KIND_SOFTMAX;
    t->name = emr_copy_string(&h->allocator, o->names[i]);
    if (!t->name)
        return emr_no_memory(error, NULL);
    h->n_tasks++;
    return EMR_OK;
}

static emr_status find_heads(emr_heads *h, const emr_heads_options *o, emr_error *error)
{
    candidate_list list = {0};
    emr_status status = match_all(h, o, &list, error);
    if (!status)
        status = choose_heads(h, &list, error);
    emr_release(&h->allocator, list.all);
    return status ? status : place_groups(h, error);
}

static emr_status fill_heads(emr_heads *h, const emr_heads_options *o, emr_error *error)
{
    emr_status status = EMR_OK;
    h->tasks = emr_allocate_array(&h->allocator, o->n_tasks, sizeof *h->tasks);
    if (!h->tasks)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < o->n_tasks; i++)
        status = take_head_task(h, o, i, error);
    return status ? status : find_heads(h, o, error);
}

static emr_status check_heads_options(const emr_heads_options *o, emr_error *error)
{
    bool is_whole = o->n_tasks && o->n_globs && o->tasks && o->names && o->globs;
    for (uint32_t g = 0; is_whole && g < o->n_globs; g++)
        is_whole = o->globs[g] != NULL;
    return is_whole ? EMR_OK : emr_fail(error, EMR_EINVAL, "heads: tasks, their names and globs are needed");
}

emr_status emr_heads_create(emr_heads **heads, const emr_heads_options *given, emr_error *error)
{
    emr_heads_options o;
    emr_allocator allocator;
    if (heads)
        *heads = NULL;
    emr_status status = heads ? EMR_TAKE(&o, given, emr_heads_options, error)
                              : emr_fail(error, EMR_EINVAL, "emr_heads_create: NULL");
    if (!status)
        status = check_heads_options(&o, error);
    if (!status)
        status = emr_allocator_take(&allocator, o.allocator, error);
    if (status)
        return status;
    emr_heads *h = emr_allocate_array(&allocator, 1, sizeof *h);
    if (!h)
        return emr_no_memory(error, NULL);
    h->allocator = allocator;
    status = fill_heads(h, &o, error);
    if (status)
        emr_heads_destroy(&h);
    *heads = h;
    return status;
}

void emr_heads_destroy(emr_heads **heads)
{
    emr_heads *h = heads ? *heads : NULL;
    if (!h)
        return;
    emr_allocator allocator = h->allocator;
    for (uint32_t i = 0; i < h->n_tasks; i++)
        emr_release(&allocator, h->tasks[i].name);
    for (size_t i = 0; i < h->n_heads; i++)
        emr_release(&allocator, h->heads[i]);
    emr_release(&allocator, h->tasks);
    emr_release(&allocator, h->heads);
    emr_release(&allocator, h);
    *heads = NULL;
}

uint64_t emr_heads_n_rows(const emr_heads *h)
{
    return h->n_rows;
}

const char *emr_heads_tensor(const emr_heads *h, uint32_t i)
{
    return i < h->n_heads ? h->heads[i] : NULL;
}

bool emr_heads_has(const emr_heads *h, const char *name)
{
    for (size_t i = 0; i < h->n_heads; i++)
        if (emr_same_text(h->heads[i], name))
            return true;
    return false;
}

emr_status emr_heads_get_group(const emr_heads *h, uint32_t task, emr_head_group *group)
{
    if (!h || !group)
        return EMR_EINVAL;
    if (task >= h->n_tasks)
        return EMR_ENOTFOUND;
    const head_task *t = &h->tasks[task];
    const emr_head_group known = {
        .size = sizeof known, .task = t->name, .first = t->first, .count = t->count, .kind = t->kind};
    return EMR_GIVE(group, &known, emr_head_group);
}

const emr_model *emr_heads_model(const emr_heads *h, uint32_t task)
{
    return h->tasks[task].model;
}

uint32_t emr_heads_n_tasks(const emr_heads *h)
{
    return h->n_tasks;
}

const emr_allocator *emr_heads_allocator(const emr_heads *h)
{
    return &h->allocator;
}

/* --- Views --------------------------------------------------------------------------------------------- */

/* A head in place of a model's own: the task's rows, or none for the base. */
static emr_status add_head(const emr_heads *h, uint32_t task, emr_model *view, const char *name,
                           emr_error *error)
{
    uint32_t other;
    const emr_tensor *own = task == EMR_BASE ? NULL : head_of(h, task, name);
    return emr_arranged_pad(view, own ? own : first_head(h, name, &other), name,
                            own ? h->tasks[task].first : h->n_rows, h->n_rows, error);
}

static emr_status fill_view(const emr_heads *h, uint32_t task, const emr_model *model, emr_model *view,
                            emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < model->n_tensors; i++) {
        const emr_tensor *t = model->tensors[i];
        status = emr_heads_has(h, t->name) ? add_head(h, task, view, t->name, error)
                                           : emr_arranged_keep(view, t, error);
    }
    for (size_t i = 0; !status && i < h->n_heads; i++)
        if (!emr_model_find_tensor(view, h->heads[i]))
            status = add_head(h, task, view, h->heads[i], error);
    return status;
}

static emr_status open_view(const emr_heads *h, uint32_t task, const emr_model *model, emr_model **view,
                            emr_error *error)
{
    emr_status status = emr_arranged_create(view, model, &h->allocator, error);
    if (status)
        return status;
    status = fill_view(h, task, model, *view, error);
    if (status)
        emr_model_destroy(view);
    return status;
}

emr_status emr_heads_open_task(const emr_heads *h, uint32_t task, emr_model **view, emr_error *error)
{
    if (view)
        *view = NULL;
    if (!h || !view)
        return emr_fail(error, EMR_EINVAL, "emr_heads_open_task: NULL");
    return task < h->n_tasks ? open_view(h, task, h->tasks[task].model, view, error)
                             : emr_fail(error, EMR_ENOTFOUND, "heads: there is no task %u", (uint64_t)task);
}

emr_status emr_heads_open_base(const emr_heads *h, const emr_model *base, emr_model **view, emr_error *error)
{
    if (view)
        *view = NULL;
    if (!h || !base || !view)
        return emr_fail(error, EMR_EINVAL, "emr_heads_open_base: NULL");
    return open_view(h, EMR_BASE, base, view, error);
}
