/* description.c - see description.h. Numbers are little-endian; a text is its length, and its bytes with the zero
 * at their end. */
#include "merge/description.h"

#include "emr/version.h"
#include "bundle/codec.h"
#include "core/text.h"
#include "model/arranged.h"

#include <string.h>

/* Members that are numbers of 32 bits, in the order in which they are written. */
static const size_t option_members[] = {
    offsetof(emr_merge_options, rescale),       offsetof(emr_merge_options, rescale_per),
    offsetof(emr_merge_options, tie),           offsetof(emr_merge_options, on_nonfinite),
    offsetof(emr_merge_options, unified_dtype), offsetof(emr_merge_options, embed_base),
    offsetof(emr_merge_options, extendable),    offsetof(emr_merge_options, compression),
    offsetof(emr_merge_options, block_params),  offsetof(emr_merge_options, measure)};
static const size_t spec_members[] = {
    offsetof(emr_modulation_spec, kind),          offsetof(emr_modulation_spec, thinning),
    offsetof(emr_modulation_spec, n_levels),      offsetof(emr_modulation_spec, rescale),
    offsetof(emr_modulation_spec, rescale_per),   offsetof(emr_modulation_spec, mask_rule),
    offsetof(emr_modulation_spec, vectors_dtype), offsetof(emr_modulation_spec, without_columns),
    offsetof(emr_modulation_spec, seed)};
enum {
    N_OPTIONS = sizeof option_members / sizeof option_members[0],
    N_SPEC = sizeof spec_members / sizeof spec_members[0],
    N_LISTS = 4 /* of globs */
};

/* A buffer that grows. */
typedef struct writing {
    const emr_allocator *allocator;
    uint8_t *bytes;
    size_t n, capacity;
    bool failed;
} writing;

static void describe_bytes(writing *w, const void *bytes, size_t n)
{
    if (w->failed || !emr_grow(w->allocator, (void **)&w->bytes, &w->capacity, w->n + n + 1, 1)) {
        w->failed = true;
        return;
    }
    if (n)
        memcpy(w->bytes + w->n, bytes, n);
    w->n += n;
}

static void describe_number(writing *w, uint64_t number)
{
    uint8_t p[8];
    emr_store64(p, number);
    describe_bytes(w, p, sizeof p);
}

static void describe_text(writing *w, const char *text)
{
    size_t n = emr_text_length(text);
    describe_number(w, n);
    describe_bytes(w, text, n + 1);
}

static void describe_members(writing *w, const void *of, const size_t *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t number;
        memcpy(&number, (const uint8_t *)of + members[i], sizeof number);
        describe_number(w, number);
    }
}

static void describe_globs(writing *w, const char *const *globs, uint32_t n)
{
    describe_number(w, n);
    for (uint32_t i = 0; i < n; i++)
        describe_text(w, globs[i]);
}

static void describe_shape(writing *w, const uint64_t *shape, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++)
        describe_number(w, shape[i]);
}

/* What it is in its own model, if it was renamed. */
enum { AS_IT_IS, RENAMED };

static void describe_tensor(writing *w, const emr_tensor *t)
{
    describe_text(w, t->name);
    describe_number(w, t->dtype);
    describe_number(w, t->rank);
    describe_shape(w, t->shape, t->rank);
    describe_number(w, t->own ? RENAMED : AS_IT_IS);
    if (t->own) {
        describe_text(w, t->own->name);
        describe_shape(w, t->own->shape, t->rank);
    }
}

static emr_status describe_model(writing *w, const emr_model *m, emr_error *error)
{
    describe_text(w, m->name);
    describe_number(w, m->renamed);
    describe_number(w, m->zeros);
    describe_number(w, m->n_metadata);
    for (uint32_t i = 0; i < m->n_metadata; i++) {
        describe_text(w, m->metadata[i].key);
        describe_text(w, m->metadata[i].value);
    }
    describe_number(w, m->n_tensors);
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        if (t->own && (t->own->rest || t->own->is_rest))
            return emr_fail(error, EMR_EUNSUPPORTED,
                            "%F: tensor '%T': is cut into rows, which parts of a merge cannot say: merge the "
                            "model that it is cut from, or without parts",
                            m->name, t->name);
        describe_tensor(w, t);
    }
    return EMR_OK;
}

emr_status emr_description_write(const emr_merge_plan *plan, const emr_model *base, const emr_task *tasks,
                                 uint32_t n_tasks, uint8_t **bytes, size_t *n, emr_error *error)
{
    const emr_policy *p = &plan->policy;
    writing w = {.allocator = &plan->env.allocator};
    describe_members(&w, &plan->options, option_members, N_OPTIONS);
    describe_number(&w, p->on_mismatch);
    describe_number(&w, p->on_missing);
    describe_globs(&w, p->private_globs, p->n_private_globs);
    describe_globs(&w, p->merge_globs, p->n_merge_globs);
    describe_globs(&w, p->absent_globs, p->n_absent_globs);
    describe_globs(&w, p->base_globs, p->n_base_globs);
    emr_status status = describe_model(&w, base, error);
    describe_number(&w, n_tasks);
    for (uint32_t t = 0; !status && t < n_tasks; t++) {
        describe_text(&w, tasks[t].name);
        describe_members(&w, &plan->modulations.specs[t], spec_members, N_SPEC);
        status = describe_model(&w, tasks[t].model, error);
    }
    if (!status && w.failed)
        status = emr_no_memory(error, NULL);
    if (status)
        emr_release(w.allocator, w.bytes);
    *bytes = status ? NULL : w.bytes;
    *n = w.n;
    return status;
}

emr_hash128 emr_description_fingerprint(const uint8_t *bytes, size_t n, uint32_t n_parts)
{
    const char *version = emr_version();
    uint8_t numbers[8];
    emr_hasher h;
    emr_hasher_init(&h);
    emr_hasher_update(&h, version, emr_text_length(version) + 1);
    emr_store32(numbers, emr_codec_version());
    emr_store32(numbers + 4, n_parts);
    emr_hasher_update(&h, numbers, sizeof numbers);
    emr_hasher_update(&h, bytes, n);
    return emr_hasher_digest(&h);
}

/* What is left to be read; `bad` once something is not there, and then all that is read is 0. */
typedef struct reading {
    const uint8_t *at, *end;
    bool bad;
} reading;

static const void *get_bytes(reading *r, uint64_t n)
{
    const uint8_t *at = r->at;
    if (r->bad || n > (uint64_t)(r->end - r->at)) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    return at;
}

static uint64_t get_number(reading *r)
{
    const void *p = get_bytes(r, 8);
    return p ? emr_load64(p) : 0;
}

/* Of things that take at least 8 bytes each. */
static uint32_t get_count(reading *r)
{
    uint64_t n = get_number(r);
    r->bad = r->bad || n > (uint64_t)(r->end - r->at) / 8 || n > UINT32_MAX - 2;
    return r->bad ? 0 : (uint32_t)n;
}

static const char *get_text(reading *r)
{
    uint64_t n = get_number(r);
    const char *text = n < UINT64_MAX ? get_bytes(r, n + 1) : NULL;
    r->bad = r->bad || !text || text[n];
    return r->bad ? "" : text;
}

static void get_members(reading *r, void *of, const size_t *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t number = (uint32_t)get_number(r);
        memcpy((uint8_t *)of + members[i], &number, sizeof number);
    }
}

static void get_shape(reading *r, uint64_t *shape, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = get_number(r);
}

static emr_status compute_nothing(const emr_computation *c, emr_error *error)
{
    (void)c;
    return emr_error_set(error, EMR_ESTATE, 0, NULL, "of a merge that was described there are no values");
}

static emr_status read_tensor(reading *r, emr_model *source, emr_model *m, emr_error *error)
{
    uint64_t shape[EMR_RANK_MAX], own[EMR_RANK_MAX];
    emr_tensor_desc desc = {.size = sizeof desc, .name = get_text(r), .compute = compute_nothing};
    desc.dtype = (emr_dtype)get_number(r);
    uint64_t rank = get_number(r);
    r->bad = r->bad || rank > EMR_RANK_MAX;
    desc.rank = r->bad ? 0 : (uint32_t)rank;
    get_shape(r, shape, desc.rank);
    desc.shape = shape;
    if (get_number(r) == AS_IT_IS)
        return r->bad ? EMR_OK : emr_model_add(m, &desc, error);
    const char *name = desc.name;
    desc.name = get_text(r);
    get_shape(r, own, desc.rank);
    desc.shape = own;
    if (r->bad)
        return EMR_OK;
    emr_status status = emr_model_add(source, &desc, error);
    if (status)
        return status;
    const emr_tensor *t = source->tensors[source->n_tensors - 1];
    bool same = !desc.rank || memcmp(own, shape, desc.rank * sizeof *own) == 0;
    return same ? emr_arranged_rename(m, t, name, error) : emr_arranged_fit(m, t, name, shape, error);
}

/* The model, and before it one in which what was renamed has its own name. */
static emr_status read_model(reading *r, emr_model *models[2], const emr_allocator *allocator,
                             emr_error *error)
{
    const emr_model_options options = {.size = sizeof options, .allocator = allocator, .name = get_text(r)};
    emr_status status = emr_model_create(&models[0], &options, error);
    if (status)
        return status;
    models[0]->renamed = get_number(r) != 0;
    models[0]->zeros = get_number(r) != 0;
    for (uint32_t n = get_count(r); !status && n; n--) {
        const char *key = get_text(r), *value = get_text(r);
        status = r->bad ? EMR_EFORMAT : emr_model_append_metadata(models[0], key, value, error);
    }
    if (!status)
        status = emr_arranged_create(&models[1], models[0], allocator, error);
    for (uint32_t n = get_count(r); !status && n; n--)
        status = r->bad ? EMR_EFORMAT : read_tensor(r, models[0], models[1], error);
    return status;
}

static uint32_t read_globs(reading *r, const char ***globs, const char *const **list)
{
    uint32_t n = get_count(r);
    *list = *globs;
    for (uint32_t i = 0; i < n; i++)
        *(*globs)++ = get_text(r);
    return n;
}

/* All lists lie in one array, which is longer than they are. */
static emr_status read_policy(reading *r, emr_described *d, emr_error *error)
{
    emr_policy *p = &d->policy;
    const char **globs = d->globs =
        emr_allocate_array(&d->allocator, (size_t)(r->end - r->at) / 8 + 1, sizeof *globs);
    if (!globs)
        return emr_no_memory(error, NULL);
    *p = (emr_policy){.size = sizeof *p};
    p->on_mismatch = (emr_on_mismatch)get_number(r);
    p->on_missing = (emr_on_missing)get_number(r);
    p->n_private_globs = read_globs(r, &globs, &p->private_globs);
    p->n_merge_globs = read_globs(r, &globs, &p->merge_globs);
    p->n_absent_globs = read_globs(r, &globs, &p->absent_globs);
    p->n_base_globs = read_globs(r, &globs, &p->base_globs);
    return EMR_OK;
}

static emr_status read_tasks(reading *r, emr_described *d, emr_error *error)
{
    uint32_t n = get_count(r);
    d->tasks = emr_allocate_array(&d->allocator, n, sizeof *d->tasks);
    d->specs = emr_allocate_array(&d->allocator, n, sizeof *d->specs);
    emr_model **models = emr_allocate_array(&d->allocator, n + (size_t)1, 2 * sizeof *models);
    if (!d->tasks || !d->specs || !models) {
        emr_release(&d->allocator, models);
        return emr_no_memory(error, NULL);
    }
    memcpy(models, d->models, 2 * sizeof *models);
    emr_release(&d->allocator, d->models);
    d->models = models;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < n; t++) {
        emr_model **pair = models + 2 * ((size_t)t + 1);
        d->tasks[t].name = (char *)(uintptr_t)get_text(r);
        d->specs[t] = (emr_modulation_spec){.size = sizeof *d->specs};
        get_members(r, &d->specs[t], spec_members, N_SPEC);
        d->n_tasks = t + 1;
        status = read_model(r, pair, &d->allocator, error);
        d->tasks[t].model = pair[1];
    }
    return status;
}

emr_status emr_description_read(emr_described *d, const uint8_t *bytes, size_t n,
                                const emr_allocator *allocator, emr_error *error)
{
    reading r = {.at = bytes, .end = bytes + n};
    *d = (emr_described){.allocator = *allocator, .options = {.size = sizeof d->options}};
    get_members(&r, &d->options, option_members, N_OPTIONS);
    emr_status status = read_policy(&r, d, error);
    if (!status && !(d->models = emr_allocate_array(allocator, 2, sizeof *d->models)))
        status = emr_no_memory(error, NULL);
    if (!status)
        status = read_model(&r, d->models, allocator, error);
    if (!status)
        status = read_tasks(&r, d, error);
    d->base = d->models ? d->models[1] : NULL;
    if (r.bad || (!status && (r.at != r.end || !d->n_tasks)))
        status = emr_fail(error, EMR_EFORMAT, "its description of the merge is malformed");
    if (status)
        emr_described_free(d);
    return status;
}

void emr_described_free(emr_described *d)
{
    for (size_t i = 2 * ((size_t)d->n_tasks + 1); d->models && i-- > 0;)
        emr_model_destroy(&d->models[i]);
    if (d->globs)
        emr_release(&d->allocator, d->globs);
    if (d->models)
        emr_release(&d->allocator, d->models);
    if (d->tasks)
        emr_release(&d->allocator, d->tasks);
    if (d->specs)
        emr_release(&d->allocator, d->specs);
    *d = (emr_described){0};
}
