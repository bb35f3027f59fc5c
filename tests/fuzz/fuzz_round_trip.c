/* fuzz_round_trip.c - bytes choose a base, up to five tasks and the options of a merge; the bundle is
 * compared bit for bit with the plain formulas (tests/property/reference.c), with a second merge that got the
 * same models in another way, every tensor that is not merged with what went in, and a session with the
 * bundle's models. Then base and tasks get other names, more rows or smaller ranks, and lack what they took from the
 * base: what comes back is the same, arranged. */
#define _POSIX_C_SOURCE 200809L

#include "fuzz.h"
#include "fuzz_session.h"
#include "property.h"

#include <math.h>
#include <stdio.h>

enum { TENSORS = 7, TASKS = 5, FEW_PARAMS = 300, MANY_PARAMS = 9000 };

/* The input, taken from its beginning; zeros follow its end. */
typedef struct choices {
    const uint8_t *data;
    size_t size;
} choices;

static unsigned choose_below(choices *c, unsigned n)
{
    if (!c->size)
        return 0;
    c->size--;
    return *c->data++ % n;
}

/* What becomes of a tensor of the base. */
typedef enum fate { MERGED, HEAD, KEPT } fate;

typedef struct plan {
    test_tensor tensors[TENSORS]; /* the base's; a task's may have other dtypes */
    fate fates[TENSORS];
    size_t n, n_tasks;
    /* NONE: the task has no such tensor. The first task has all: with it a value of the base that is not
     * finite is refused, as the reference wants it, which does not know what is missing. */
    emr_dtype dtypes[TASKS][TENSORS];
    enum { ALIKE, ROWS, PAD } differing; /* in what check_arranged() merges */
    uint64_t own[1 + TASKS][TENSORS][4]; /* shapes there, of the base and the tasks */
    bool renamed[1 + TASKS], arranged;
    bool pushed; /* everything; so nothing is taken from the base as it is, which cannot be pushed */
    size_t chunk;
    emr_merge_options options;
    uint64_t memory_bytes;
    uint64_t seed;
} plan;

static const emr_dtype floats[] = {EMR_DTYPE_F32, EMR_DTYPE_F32,     EMR_DTYPE_F16,    EMR_DTYPE_BF16,
                                   EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
static const emr_dtype others[] = {EMR_DTYPE_I64, EMR_DTYPE_BOOL, EMR_DTYPE_U8, EMR_DTYPE_F8_E8M0};

static emr_dtype choose_float(choices *c)
{
    return floats[choose_below(c, sizeof floats / sizeof floats[0])];
}

static void choose_shape(choices *c, test_tensor *t)
{
    static const uint64_t sizes[] = {0, 1, 2, 3, 5, 8, 31, 33, 63, 64, 65, 130};
    uint64_t most = choose_below(c, 40) == 1 ? MANY_PARAMS : FEW_PARAMS;
    t->rank = choose_below(c, 4);
    for (uint32_t d = 0; d < t->rank; d++)
        t->shape[d] = sizes[choose_below(c, sizeof sizes / sizeof sizes[0])];
    if (t->rank && most == MANY_PARAMS)
        t->shape[0] = 100 + 37 * choose_below(c, 256);
    while (test_tensor_count(t) > most)
        t->rank--;
}

static emr_merge_options choose_options(choices *c)
{
    static const char *const globs[] = {"*.none", "head[0-9]"};
    static const emr_policy policy = {.size = sizeof policy,
                                      .private_globs = globs,
                                      .n_private_globs = 2,
                                      .on_missing = EMR_ON_MISSING_BASE};
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.policy = &policy;
    o.rescale = 1 + choose_below(c, 3);
    o.rescale_per = o.rescale == EMR_RESCALE_L1_MEANS ? EMR_RESCALE_PER_MODEL : 1 + choose_below(c, 3);
    o.tie = choose_below(c, 2);
    o.on_nonfinite = choose_below(c, 2);
    o.unified_dtype = choose_below(c, 4); /* F32 twice, F16, BF16 */
    o.embed_base = choose_below(c, 2);
    o.extendable = o.rescale != EMR_RESCALE_L2 && choose_below(c, 3) == 1;
#ifdef EMR_WITH_ZSTD
    o.compression = (int)choose_below(c, 6) - 1;
#else
    o.compression = choose_below(c, 6) ? 0 : EMR_COMPRESSION_NONE;
#endif
    o.block_params = choose_below(c, 2) ? 0 : 4096u << choose_below(c, 3);
    return o;
}

/* A task that has nothing of what is merged, or nothing at all of the base, is refused: it gets the first of
 * these. */
static void acquaint(plan *p, size_t task)
{
    bool any_merged = false;
    size_t first = p->n;
    for (size_t i = 0; i < p->n; i++)
        any_merged = any_merged || p->fates[i] == MERGED;
    for (size_t i = p->n; i-- > 0;) {
        if (any_merged && p->fates[i] != MERGED)
            continue;
        if (p->dtypes[task][i])
            return;
        first = i;
    }
    if (first < p->n)
        p->dtypes[task][first] = p->dtypes[0][first];
}

/* A shape that one model has of a merged tensor: more rows than all have, or less of each dimension. */
static void choose_own_shape(choices *c, plan *p, size_t model, size_t i)
{
    const test_tensor *t = &p->tensors[i];
    uint64_t *own = p->own[model][i];
    memcpy(own, t->shape, sizeof p->own[model][i]);
    if (p->fates[i] != MERGED || !t->rank || !test_tensor_count(t))
        return;
    if (p->differing == ROWS)
        own[0] += choose_below(c, 4) * (1 + choose_below(c, 9));
    for (uint32_t d = 0; p->differing == PAD && d < t->rank; d++)
        own[d] -= choose_below(c, 1 + (unsigned)(own[d] < 200 ? own[d] / 2 : 100));
}

/* One of the base and the first task, which has all tensors, has each in the shape in which it is merged. */
static void choose_arrangement(choices *c, plan *p)
{
    unsigned how = choose_below(c, 6);
    p->arranged = how > 1;
    p->differing = how == 3 || how == 4 ? ROWS : how == 5 ? PAD : ALIKE;
    for (size_t m = 0; m <= p->n_tasks; m++) {
        p->renamed[m] = choose_below(c, 3) == 1;
        for (size_t i = 0; i < p->n; i++)
            choose_own_shape(c, p, m, i);
    }
    for (size_t i = 0; i < p->n; i++)
        memcpy(p->own[choose_below(c, 2)][i], p->tensors[i].shape, sizeof p->own[0][i]);
}

static plan make_plan(choices *c)
{
    static const char *const names[] = {"p0", "p1", "p2", "p3", "p4", "p5", "p6"};
    static const char *const heads[] = {"head0", "head1", "head2", "head3", "head4", "head5", "head6"};
    static const uint64_t memory[] = {8 << 20, 5 << 20, 16 << 20, 64 << 20};
    plan p = {.options = choose_options(c)};
    p.memory_bytes = memory[choose_below(c, 4)];
    p.pushed = choose_below(c, 3) == 1;
    p.chunk = p.pushed ? 1 + choose_below(c, 256) * 7 : 0;
    p.n_tasks = 1 + choose_below(c, TASKS);
    p.n = 1 + choose_below(c, TENSORS);
    p.seed = choose_below(c, 256) * 256 + choose_below(c, 256);
    for (size_t i = 0; i < p.n; i++) {
        unsigned fate_of = choose_below(c, 8);
        p.fates[i] = fate_of == 6 ? HEAD : fate_of == 7 && !p.pushed ? KEPT : MERGED;
        p.tensors[i] = (test_tensor){p.fates[i] == HEAD ? heads[i] : names[i], EMR_DTYPE_F32, 0, {0}};
        p.tensors[i].dtype = p.fates[i] == KEPT ? others[choose_below(c, 4)] : choose_float(c);
        choose_shape(c, &p.tensors[i]);
        for (size_t t = 0; t < p.n_tasks; t++) {
            p.dtypes[t][i] = p.fates[i] == KEPT ? p.tensors[i].dtype : choose_float(c);
            if (t && choose_below(c, 16) == 1 && !(p.pushed && p.fates[i] == HEAD))
                p.dtypes[t][i] = EMR_DTYPE_NONE;
        }
    }
    for (size_t t = 1; t < p.n_tasks; t++)
        acquaint(&p, t);
    choose_arrangement(c, &p);
    return p;
}

static double value_of(const test_model *m, size_t tensor, uint64_t k)
{
    double value;
    emr_dtype dtype = m->tensors[tensor].dtype;
    emr_convert(EMR_DTYPE_F64, &value, dtype, m->data[tensor] + k * (emr_dtype_bits(dtype) / 8), 1);
    return value;
}

static void set_value(test_model *m, size_t tensor, uint64_t k, double value)
{
    emr_dtype dtype = m->tensors[tensor].dtype;
    emr_convert(dtype, m->data[tensor] + k * (emr_dtype_bits(dtype) / 8), EMR_DTYPE_F64, &value, 1);
}

/* Fills a float tensor in a way that the input chooses; `base` is NULL for the base itself. */
static void fill_floats(choices *c, test_model *m, size_t i, const test_model *base, rng *r)
{
    enum { NORMAL, ZERO, GRID, SAME, SPARSE, BITS, FEW_BITS, INPUT, WAYS };
    static const double scales[] = {1, 0.01, 1e-6, 1e30, 1e-40};
    unsigned way = choose_below(c, WAYS);
    double scale = scales[choose_below(c, 5)];
    size_t size = emr_dtype_bits(m->tensors[i].dtype) / 8;
    for (uint64_t k = 0, n = test_tensor_count(&m->tensors[i]); k < n; k++) {
        double near = base ? value_of(base, i, k) : 0;
        unsigned char *p = m->data[i] + k * size;
        switch (way) {
        case NORMAL:
            set_value(m, i, k, near + scale * (double)rng_normal(r));
            break;
        case ZERO:
            set_value(m, i, k, rng_below(r, 9) ? 0 : -0.0);
            break;
        case GRID: /* sums of 0 are common */
            set_value(m, i, k, near + (double)rng_below(r, 5) / 16 - 0.125);
            break;
        case SPARSE:
            set_value(m, i, k, near + (rng_below(r, 10) ? 0 : scale));
            break;
        case BITS: /* NaN and infinity among them */
        case FEW_BITS:
            set_value(m, i, k, near);
            for (size_t b = 0; b < size && (way == BITS || rng_below(r, 50) == 0); b++)
                p[b] = (unsigned char)rng_next(r);
            break;
        case INPUT:
            for (size_t b = 0; b < size; b++)
                p[b] = (unsigned char)choose_below(c, 256);
            break;
        default:
            set_value(m, i, k, near);
        }
    }
}

static void fill_kept(choices *c, test_model *m, size_t i, const test_model *base, rng *r)
{
    size_t n = (size_t)(test_tensor_count(&m->tensors[i]) * emr_dtype_bits(m->tensors[i].dtype) / 8);
    for (size_t k = 0; k < n; k++)
        m->data[i][k] = base ? base->data[i][k] : (unsigned char)(rng_next(r) & 1);
    if (n && base && choose_below(c, 3) == 1)
        m->data[i][choose_below(c, 256) % n] ^= 1;
}

static void fill_model(choices *c, const plan *p, test_model *m, const test_model *base, rng *r)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->fates[i] == KEPT)
            fill_kept(c, m, i, base, r);
        else
            fill_floats(c, m, i, base, r);
    }
}

/* Element `at` of a shape in another one of its rank; UINT64_MAX: it is not there. */
static uint64_t same_element(uint32_t rank, const uint64_t *from, uint64_t at, const uint64_t *to)
{
    uint64_t found = 0, stride = 1;
    for (uint32_t d = rank; d-- > 0; at /= from[d]) {
        if (at % from[d] >= to[d])
            return UINT64_MAX;
        found += at % from[d] * stride;
        stride *= to[d];
    }
    return found;
}

/* Zeros where a smaller tensor will be filled up with them. */
static void clear_padding(const plan *p, test_model *model, size_t m)
{
    for (size_t i = 0; i < p->n; i++) {
        const test_tensor *t = &model->tensors[i];
        size_t size = emr_dtype_bits(t->dtype) / 8;
        for (uint64_t k = 0; p->fates[i] == MERGED && k < test_tensor_count(t); k++)
            if (same_element(t->rank, t->shape, k, p->own[m][i]) == UINT64_MAX)
                memset(model->data[i] + k * size, 0, size);
    }
}

/* Every model with every tensor; what a task does not have is the base's. */
static test_set make_full(choices *c, const plan *p)
{
    rng r = {p->seed + 1};
    test_set s = {.n = p->n_tasks, .tasks = calloc(p->n_tasks, sizeof(test_model))};
    s.base = test_model_create("base", p->tensors, p->n, SOURCE_MEMORY);
    fill_model(c, p, &s.base, NULL, &r);
    if (p->differing == PAD)
        clear_padding(p, &s.base, 0);
    for (size_t t = 0; t < p->n_tasks; t++) {
        test_tensor tensors[TENSORS];
        memcpy(tensors, p->tensors, sizeof tensors);
        for (size_t i = 0; i < p->n; i++)
            tensors[i].dtype = p->dtypes[t][i] ? p->dtypes[t][i] : p->tensors[i].dtype;
        s.tasks[t] = test_model_create("task", tensors, p->n, SOURCE_MEMORY);
        fill_model(c, p, &s.tasks[t], &s.base, &r);
        if (p->differing == PAD)
            clear_padding(p, &s.tasks[t], t + 1);
        for (size_t i = 0; i < p->n; i++)
            if (!p->dtypes[t][i])
                memcpy(s.tasks[t].data[i], s.base.data[i],
                       (size_t)(test_tensor_count(&tensors[i]) * emr_dtype_bits(tensors[i].dtype) / 8));
    }
    return s;
}

/* Some of a model's tensors: those that `keep` says. */
static test_model pick_tensors(const test_model *m, const bool *keep, test_source source)
{
    test_tensor tensors[TENSORS];
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (keep[i])
            tensors[n++] = m->tensors[i];
    test_model picked = test_model_create(emr_model_name(m->model), tensors, n, source);
    n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (keep[i]) {
            const test_tensor *t = &m->tensors[i];
            memcpy(picked.data[n++], m->data[i],
                   (size_t)(test_tensor_count(t) * emr_dtype_bits(t->dtype) / 8));
        }
    return picked;
}

/* The models as the merge gets them: without what the tasks do not have. */
static test_set make_given(const plan *p, const test_set *full, test_source source)
{
    bool all[TENSORS] = {true, true, true, true, true, true, true}, there[TENSORS];
    test_set s = {pick_tensors(&full->base, all, source), calloc(full->n, sizeof(test_model)), full->n};
    for (size_t t = 0; t < full->n; t++) {
        for (size_t i = 0; i < p->n; i++)
            there[i] = p->dtypes[t][i] != EMR_DTYPE_NONE;
        s.tasks[t] = pick_tensors(&full->tasks[t], there, source);
    }
    return s;
}

/* The merged tensors of all models: what the reference knows. */
static test_set make_merged(const plan *p, const test_set *full)
{
    bool merged[TENSORS];
    for (size_t i = 0; i < p->n; i++)
        merged[i] = p->fates[i] == MERGED;
    test_set s = {pick_tensors(&full->base, merged, SOURCE_MEMORY), calloc(full->n, sizeof(test_model)),
                  full->n};
    for (size_t t = 0; t < full->n; t++)
        s.tasks[t] = pick_tensors(&full->tasks[t], merged, SOURCE_MEMORY);
    return s;
}

/* Whether the merge has to refuse: a task vector or a unified value that no f32, or no number of the unified
 * dtype, is near to. */
static bool has_overflow(const reference *r)
{
    bool found = false;
    for (size_t i = 0; i < r->set->base.n; i++) {
        for (uint64_t k = 0; k < test_tensor_count(&r->set->base.tensors[i]); k++) {
            found = found || !isfinite(r->unified[i][k]);
            for (size_t t = 0; t < r->set->n; t++)
                found = found || !isfinite(r->tau[i * r->set->n + t][k]);
        }
    }
    return found;
}

/* A merge of a plan's options, with other resources. */
typedef struct attempt {
    const test_set *given;
    const emr_merge_options *options;
    const emr_executor *executor;
    uint64_t memory_bytes;
    size_t chunk; /* of what is pushed; 0: pulled */
} attempt;

/* Merges within the memory that is given; *buffer is then to be destroyed. */
static emr_status merge_within(const attempt *a, emr_buffer **buffer)
{
    enum { INDEX_BYTES = 128 << 10 }; /* as in test_identical.c */
    emr_error error = {0};
    test_meter meter = {0, 0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_resources resources = test_resources(&allocator, a->executor);
    emr_merge_options o = *a->options;
    resources.memory_bytes = a->memory_bytes;
    o.resources = &resources;
    *buffer = fuzz_buffer();
    emr_merge *m = test_merge_create(a->given, &o);
    assert_ok(emr_merge_set_output(m, emr_buffer_io(*buffer), &error), &error);
    emr_status status = a->chunk ? push_set(m, a->given, a->chunk, &error) : emr_merge_run(m, &error);
    if (status && status != EMR_ENONFINITE && status != EMR_ELIMIT)
        fprintf(stderr, "%s\n", error.text);
    fuzz_status(status, &error);
    promise(meter.peak <= a->memory_bytes + INDEX_BYTES);
    emr_merge_destroy(&m);
    promise(meter.now == 0);
    return status;
}

/* The same; where the memory was too little, a second time with plenty. */
static emr_status merge_somehow(attempt a, emr_buffer **buffer)
{
    emr_status status = merge_within(&a, buffer);
    if (status != EMR_ELIMIT)
        return status;
    emr_buffer_destroy(buffer);
    a.memory_bytes = 256 << 20;
    status = merge_within(&a, buffer);
    promise(status != EMR_ELIMIT);
    return status;
}

/* What is not merged comes back as it was, and nothing else. */
static void check_others(const plan *p, const test_set *full, const emr_bundle *bundle, const emr_model *base)
{
    for (uint32_t t = 0; t < p->n_tasks; t++) {
        emr_error error;
        emr_model *rebuilt;
        assert_ok(emr_bundle_open_task(&rebuilt, bundle, t, base, NULL, &error), &error);
        promise(emr_model_n_tensors(rebuilt) == p->n);
        for (size_t i = 0; i < p->n; i++) {
            const test_tensor *want = &full->tasks[t].tensors[i];
            const emr_tensor *got = emr_model_find_tensor(rebuilt, want->name);
            promise(got && emr_tensor_dtype(got) == want->dtype && emr_tensor_rank(got) == want->rank);
            promise(emr_tensor_count(got) == test_tensor_count(want));
            if (p->fates[i] == MERGED)
                continue;
            unsigned char *bytes = tensor_bytes_of(got);
            promise(memcmp(bytes, full->tasks[t].data[i], (size_t)emr_tensor_bytes(got)) == 0);
            free(bytes);
        }
        emr_model_destroy(&rebuilt);
    }
}

static void check_bundle(const plan *p, const test_set *full, const test_set *given, const reference *r,
                         const emr_buffer *buffer)
{
    emr_error error;
    emr_bundle *bundle = test_bundle_open(buffer);
    const emr_model *base = p->options.embed_base ? NULL : given->base.model;
    assert_ok(emr_bundle_verify(bundle, NULL, &error), &error);
    assert_ok(emr_bundle_check_base(bundle, full->base.model, NULL, &error), &error);
    assert_bundle_is_formula(bundle, base, r);
    check_others(p, full, bundle, base);
    fuzz_pattern none = {0};
    fuzz_random random = fuzz_random_make(p->seed);
    fuzz_session(bundle, base, &none, 1 << 20, &random, true);
    emr_bundle_destroy(&bundle);
}

/* Pulled through I/O instead of memory or pushed, by another executor, the bytes are the same. */
static void check_again(const plan *p, const test_set *full, const emr_buffer *first)
{
    odd_executor odd = {.order = {p->seed + 1}, .reverse = p->seed % 2};
    emr_executor executor = odd_executor_make(&odd, 1 + p->seed % 4);
    emr_buffer *second;
    test_set given = make_given(p, full, SOURCE_IO);
    attempt a = {&given, &p->options, &executor, 32 << 20, 0};
    promise(merge_somehow(a, &second) == EMR_OK);
    assert_same_buffer(second, first, "merged again");
    emr_buffer_destroy(&second);
    test_set_destroy(&given);
}

/* All but the last task merged as planned, and the last added to the bundle of these. Returns what adding did. */
static emr_status add_last(const plan *p, test_set *given, const char *name, const emr_merge_options *o,
                           const emr_buffer *added)
{
    emr_error error;
    emr_merge *m;
    emr_buffer *earlier;
    attempt a = {given, &p->options, NULL, 64 << 20, 0};
    given->n--;
    promise(merge_within(&a, &earlier) == EMR_OK);
    emr_bundle *bundle = test_bundle_open(earlier);
    assert_ok(emr_merge_create(&m, o, &error), &error);
    assert_ok(emr_merge_set_base(m, given->base.model, &error), &error);
    assert_ok(emr_merge_extend(m, bundle, &error), &error);
    assert_ok(emr_merge_add_task(m, name, given->tasks[given->n].model, &error), &error);
    assert_ok(emr_merge_set_output(m, emr_buffer_io(added), &error), &error);
    emr_status status = fuzz_status(emr_merge_run(m, &error), &error);
    emr_merge_destroy(&m);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&earlier);
    given->n++;
    return status;
}

/* The bytes are the same. */
static void check_added(const plan *p, const test_set *full, const emr_buffer *all)
{
    emr_buffer *added = fuzz_buffer();
    emr_resources resources = test_resources(NULL, NULL);
    emr_merge_options plain = EMR_INIT(emr_merge_options);
    test_set given = make_given(p, full, SOURCE_MEMORY);
    char name[32];
    snprintf(name, sizeof name, "t%zu", given.n - 1);
    resources.memory_bytes = 64 << 20;
    plain.resources = &resources;
    plain.on_nonfinite = p->options.on_nonfinite;
    promise(add_last(p, &given, name, &plain, added) == EMR_OK);
    assert_same_buffer(added, all, "the last task added");
    emr_buffer_destroy(&added);
    test_set_destroy(&given);
}

/* A kind that shares nothing, with its parameters. */
static emr_modulation_spec choose_coded(choices *c)
{
    static const uint32_t n_levels[] = {3, 4, 8, 16};
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    spec.kind = EMR_MODULATOR_KIND_SIGN + choose_below(c, 3);
    if (spec.kind == EMR_MODULATOR_KIND_THIN) {
        spec.thinning = 2u << choose_below(c, 5);
        spec.seed = choose_below(c, 3);
    }
    if (spec.kind == EMR_MODULATOR_KIND_LEVELS)
        spec.n_levels = n_levels[choose_below(c, 4)];
    if (spec.kind == EMR_MODULATOR_KIND_SIGN)
        spec.without_columns = choose_below(c, 2);
    spec.vectors_dtype = choose_below(c, 2) ? EMR_DTYPE_F32 : EMR_DTYPE_BF16;
    return spec;
}

/* Whether flat space is the same in both: drawn positions and stretches depend on it. */
static bool are_merged_alike(const emr_bundle *a, const emr_bundle *b)
{
    emr_bundle_info x = EMR_INIT(emr_bundle_info), y = x;
    promise(emr_bundle_get_info(a, &x) == EMR_OK && emr_bundle_get_info(b, &y) == EMR_OK);
    bool alike = x.n_merged == y.n_merged && x.merged_params == y.merged_params;
    for (uint32_t i = 0; alike && i < x.n_merged; i++) {
        emr_tensor_info t = EMR_INIT(emr_tensor_info), u = t;
        promise(emr_bundle_get_tensor(a, i, &t) == EMR_OK && emr_bundle_get_tensor(b, i, &u) == EMR_OK);
        alike = strcmp(t.name, u.name) == 0;
    }
    return alike;
}

/* The last task of one bundle has the weights that it has in the other. */
static void check_last_task(const emr_bundle *a, const emr_bundle *b, const emr_model *base, uint32_t task)
{
    emr_error error;
    emr_model *got, *want;
    assert_ok(emr_bundle_open_task(&got, a, task, base, NULL, &error), &error);
    assert_ok(emr_bundle_open_task(&want, b, task, base, NULL, &error), &error);
    promise(emr_model_n_tensors(got) == emr_model_n_tensors(want));
    for (uint32_t i = 0; i < emr_model_n_tensors(got); i++) {
        const emr_tensor *t = emr_model_tensor(got, i), *u = emr_model_find_tensor(want, emr_tensor_name(t));
        promise(u && emr_tensor_bytes(t) == emr_tensor_bytes(u));
        unsigned char *x = tensor_bytes_of(t), *y = tensor_bytes_of(u);
        promise(memcmp(x, y, (size_t)emr_tensor_bytes(u)) == 0);
        free(x);
        free(y);
    }
    emr_model_destroy(&got);
    emr_model_destroy(&want);
}

/* What came of adding the last task, coded so, to a bundle of the others, beside all in one merge. */
static void check_added_bundle(const emr_buffer *added, uint32_t last, const emr_model *base,
                               const emr_modulation_spec *spec, const emr_bundle *all)
{
    emr_error error;
    emr_bundle *with = test_bundle_open(added);
    assert_ok(emr_bundle_verify(with, NULL, &error), &error);
    if (are_merged_alike(with, all) && (spec->seed || spec->kind != EMR_MODULATOR_KIND_THIN))
        check_last_task(with, all, base, last);
    emr_bundle_destroy(&with);
}

/* The last task is of a kind that shares nothing: in one merge with the others, which are as planned, then added to
 * their bundle; or refused, as the base that is embedded there lacks a tensor that no task had of it so far. */
static void check_added_coded(const plan *p, const test_set *full, const emr_modulation_spec *spec,
                              const emr_bundle *all)
{
    emr_buffer *added = fuzz_buffer();
    emr_merge_options o = EMR_INIT(emr_merge_options);
    test_set given = make_given(p, full, SOURCE_MEMORY);
    o.modulation = spec;
    o.policy = p->options.policy;
    o.on_nonfinite = p->options.on_nonfinite;
    emr_status status = add_last(p, &given, "last", &o, added);
    promise(status == EMR_OK || (status == EMR_EMISMATCH && p->options.embed_base));
    if (!status)
        check_added_bundle(added, (uint32_t)given.n - 1, given.base.model, spec, all);
    emr_buffer_destroy(&added);
    test_set_destroy(&given);
}

/* All tasks of a kind that shares nothing: by any threads, memory and source the same bytes; and sessions agree with
 * models. */
static void check_coded(const plan *p, const test_set *full, const emr_modulation_spec *spec)
{
    emr_error error;
    odd_executor odd = {.order = {p->seed + 2}, .reverse = p->seed % 2};
    emr_executor executor = odd_executor_make(&odd, 1 + p->seed % 4);
    emr_merge_options o = p->options;
    emr_buffer *first, *second;
    o.modulation = spec;
    o.extendable = 0;
    test_set given = make_given(p, full, p->pushed ? SOURCE_PUSHED : SOURCE_MEMORY);
    promise(merge_somehow((attempt){&given, &o, NULL, p->memory_bytes, p->chunk}, &first) == EMR_OK);
    test_set again = make_given(p, full, SOURCE_IO);
    promise(merge_somehow((attempt){&again, &o, &executor, 32 << 20, 0}, &second) == EMR_OK);
    assert_same_buffer(second, first, "coded again");
    emr_bundle *bundle = test_bundle_open(first);
    assert_ok(emr_bundle_verify(bundle, NULL, &error), &error);
    test_set readable = make_given(p, full, SOURCE_MEMORY);
    const emr_model *base = o.embed_base ? NULL : readable.base.model;
    fuzz_pattern none = {0};
    fuzz_random random = fuzz_random_make(p->seed);
    check_others(p, full, bundle, base);
    fuzz_session(bundle, base, &none, 1 << 20, &random, true);
    if (p->n_tasks > 1)
        check_added_coded(p, full, spec, bundle);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&first);
    emr_buffer_destroy(&second);
    test_set_destroy(&given);
    test_set_destroy(&again);
    test_set_destroy(&readable);
}

enum { OWN_NAME_BYTES = 16 };

/* A model as it is before it is arranged: its own names and shapes, rows behind those that all have. */
typedef struct own_model {
    test_model model;
    emr_model *renamed; /* under the bundle's names; NULL: they are its own */
    char names[TENSORS][OWN_NAME_BYTES];
} own_model;

static void make_own(own_model *own, const plan *p, const test_set *full, size_t m)
{
    static const emr_rename rule = {"own.", ""};
    emr_error error;
    const test_model *whole = m ? &full->tasks[m - 1] : &full->base;
    test_tensor tensors[TENSORS];
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (m && !p->dtypes[m - 1][i])
            continue;
        snprintf(own->names[i], OWN_NAME_BYTES, "%s%s", p->renamed[m] ? "own." : "", whole->tensors[i].name);
        tensors[n] = whole->tensors[i];
        tensors[n].name = own->names[i];
        memcpy(tensors[n++].shape, p->own[m][i], sizeof tensors->shape);
    }
    own->model = test_model_create(m ? "task" : "base", tensors, n, p->seed % 2 ? SOURCE_MEMORY : SOURCE_IO);
    n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (m && !p->dtypes[m - 1][i])
            continue;
        const test_tensor *t = &own->model.tensors[n], *from = &whole->tensors[i];
        size_t size = emr_dtype_bits(t->dtype) / 8;
        for (uint64_t k = 0; k < test_tensor_count(t); k++) {
            uint64_t at = same_element(t->rank, t->shape, k, from->shape);
            if (at != UINT64_MAX)
                memcpy(own->model.data[n] + k * size, whole->data[i] + at * size, size);
            else
                memset(own->model.data[n] + k * size, (int)(k * 7 + m) & 0x3f, size);
        }
        n++;
    }
    own->renamed = NULL;
    if (p->renamed[m] && n)
        assert_ok(emr_model_create_renamed(&own->renamed, own->model.model, &rule, 1, NULL, &error), &error);
}

/* One tensor that came back, against the one of the same task that was merged with models that are alike. */
static void compare_arranged(const plan *p, const own_model *own, size_t place, size_t i,
                             const emr_tensor *got, const emr_tensor *alike)
{
    const test_tensor *t = &own->model.tensors[place];
    size_t size = emr_dtype_bits(t->dtype) / 8;
    promise(got && emr_tensor_dtype(got) == t->dtype && emr_tensor_rank(got) == t->rank);
    promise(memcmp(emr_tensor_shape(got), t->shape, t->rank * sizeof *t->shape) == 0);
    unsigned char *a = tensor_bytes_of(got), *b = tensor_bytes_of(alike);
    for (uint64_t k = 0; k < test_tensor_count(t); k++) {
        uint64_t at = same_element(t->rank, t->shape, k, p->tensors[i].shape);
        promise(memcmp(a + k * size, at == UINT64_MAX ? own->model.data[place] + k * size : b + at * size,
                       size) == 0);
    }
    free(a);
    free(b);
}

static void compare_task(const plan *p, const own_model *own, const emr_model *got, const emr_model *alike,
                         size_t t)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->dtypes[t][i]) {
            compare_arranged(p, own, n, i, emr_model_find_tensor(got, own->names[i]),
                             emr_model_find_tensor(alike, p->tensors[i].name));
            n++;
        }
    promise(emr_model_n_tensors(got) == n);
}

static emr_merge *create_arranged(const plan *p, const emr_policy *policy, const emr_resources *resources,
                                  const own_model *own)
{
    emr_error error;
    emr_merge *m;
    emr_merge_options o = p->options;
    o.policy = policy;
    o.resources = resources;
    assert_ok(emr_merge_create(&m, &o, &error), &error);
    for (size_t k = 0; k <= p->n_tasks; k++) {
        char name[32];
        const emr_model *model = own[k].renamed ? own[k].renamed : own[k].model.model;
        snprintf(name, sizeof name, "t%zu", k ? k - 1 : 0);
        assert_ok(k ? emr_merge_add_task(m, name, model, &error) : emr_merge_set_base(m, model, &error),
                  &error);
    }
    return m;
}

/* Within the memory that is given; false where it is too little. */
static bool merge_arranged(const plan *p, const emr_policy *policy, const own_model *own,
                           uint64_t memory_bytes, emr_buffer **buffer)
{
    enum { INDEX_BYTES = 128 << 10 };
    emr_error error;
    test_meter meter = {0, 0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_resources resources = test_resources(&allocator, NULL);
    resources.memory_bytes = memory_bytes;
    emr_merge *merge = create_arranged(p, policy, &resources, own);
    *buffer = fuzz_buffer();
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(*buffer), &error), &error);
    emr_status status = emr_merge_run(merge, &error);
    promise(meter.peak <= memory_bytes + INDEX_BYTES);
    emr_merge_destroy(&merge);
    promise(meter.now == 0);
    if (status == EMR_ELIMIT)
        emr_buffer_destroy(buffer);
    else
        assert_ok(status, &error);
    return status == EMR_OK;
}

/* The same merged tensors, but for what no model has, come out of models that are not alike. */
static void check_arranged(const plan *p, const test_set *full, const emr_buffer *alike_buffer)
{
    emr_error error = {0};
    emr_buffer *buffer;
    own_model *own = calloc(p->n_tasks + 1, sizeof *own);
    emr_policy policy = *p->options.policy;
    policy.on_missing = EMR_ON_MISSING_ABSENT;
    policy.on_mismatch = p->differing == PAD    ? EMR_ON_MISMATCH_PAD
                         : p->differing == ROWS ? EMR_ON_MISMATCH_ROWS
                                                : EMR_ON_MISMATCH_ERROR;
    for (size_t m = 0; m <= p->n_tasks; m++)
        make_own(&own[m], p, full, m);
    if (!merge_arranged(p, &policy, own, p->memory_bytes, &buffer))
        promise(merge_arranged(p, &policy, own, 256 << 20, &buffer));
    emr_bundle *bundle = test_bundle_open(buffer), *alike = test_bundle_open(alike_buffer);
    assert_ok(emr_bundle_verify(bundle, NULL, &error), &error);
    assert_ok(emr_bundle_check_base(bundle, own[0].model.model, NULL, &error), &error);
    for (uint32_t t = 0; t < p->n_tasks; t++) {
        emr_model *got, *want;
        const emr_model *base = p->options.embed_base && p->seed % 3 ? NULL : own[0].model.model;
        assert_ok(emr_bundle_open_task(&got, bundle, t, base, NULL, &error), &error);
        assert_ok(emr_bundle_open_task(&want, alike, t, full->base.model, NULL, &error), &error);
        compare_task(p, &own[t + 1], got, want, t);
        emr_model_destroy(&got);
        emr_model_destroy(&want);
    }
    emr_bundle_destroy(&bundle);
    emr_bundle_destroy(&alike);
    emr_buffer_destroy(&buffer);
    for (size_t m = 0; m <= p->n_tasks; m++) {
        emr_model_destroy(&own[m].renamed);
        test_model_destroy(&own[m].model);
    }
    free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    choices c = {data, size};
    plan p = make_plan(&c);
    bool again = choose_below(&c, 2);
    emr_buffer *buffer;
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* what the property tests assert ends this program too */
    test_set full = make_full(&c, &p), merged = make_merged(&p, &full);
    test_set given = make_given(&p, &full, p.pushed ? SOURCE_PUSHED : SOURCE_MEMORY);
    reference r = reference_make(&merged, &p.options);
    emr_status status = merge_somehow((attempt){&given, &p.options, NULL, p.memory_bytes, p.chunk}, &buffer);
    promise(status == EMR_OK || status == EMR_ENONFINITE);
    promise((status == EMR_ENONFINITE) == has_overflow(&r));
    if (!status) {
        test_set readable = make_given(&p, &full, SOURCE_MEMORY);
        check_bundle(&p, &full, &readable, &r, buffer);
        if (again)
            check_again(&p, &full, buffer);
        if (p.options.extendable && p.n_tasks > 1)
            check_added(&p, &full, buffer);
        if (p.arranged)
            check_arranged(&p, &full, buffer);
        if (choose_below(&c, 2)) {
            emr_modulation_spec spec = choose_coded(&c);
            check_coded(&p, &full, &spec);
        }
        test_set_destroy(&readable);
    }
    reference_destroy(&r);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&given);
    test_set_destroy(&merged);
    test_set_destroy(&full);
    return 0;
}
