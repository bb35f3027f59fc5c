/* fuzz_session.c - see fuzz_session.h. */
#include "fuzz_session.h"

#include "fuzz_base.h"

enum {
    LANES = 32,
    BATCH = 3,
    GATHERED = 6,
    ASKED = 12,           /* tensors of each kind */
    MOST_BYTES = 8 << 20, /* sessions that need more are not made */
    PATTERN_BYTES = 8 << 20,
    MOST_ELEMENTS = 1 << 14 /* looked at of a tensor */
};

typedef struct holder {
    const emr_bundle *bundle;
    const emr_model *base;
    fuzz_pattern *pattern;
    fuzz_random *random;
    emr_bundle_info info;
    emr_session *session;
    uint32_t task;
    emr_model *weights; /* the task's; NULL where names clash */
    bool intact;
    bool without_base; /* the session has none */
} holder;

static emr_status create_session(holder *h, fuzz_budget *budget, uint64_t mask_bytes, uint64_t memory_bytes,
                                 emr_error *error)
{
    emr_allocator allocator = fuzz_allocator(budget);
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_resources resources = {
        .size = sizeof resources, .allocator = &allocator, .memory_bytes = memory_bytes};
    o.resources = &resources;
    o.mask_bytes = mask_bytes;
    o.check = EMR_BASE_CHECK_NONE;
    o.without_base = h->without_base;
    h->pattern->left = PATTERN_BYTES;
    emr_status status =
        emr_session_create(&h->session, h->bundle, h->without_base ? NULL : h->base, &o, error);
    promise((status == EMR_OK) == (h->session != NULL));
    promise(status == EMR_OK || budget->now == 0);
    promise(!h->intact || (status != EMR_ECORRUPT && (status != EMR_EIO || h->base)));
    return status;
}

/* Whether a task's scales are looked at when they are used, and may be impossible then. */
static bool is_coded(const holder *h, uint32_t task)
{
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    return emr_bundle_get_modulation(h->bundle, task, &spec, NULL) == EMR_OK &&
           spec.kind > EMR_MODULATOR_KIND_TWO_SIDED;
}

/* Bytes of n weights in the form in which they are asked for. */
static size_t bytes_of(emr_dtype dtype, emr_block_type blocks, uint64_t n)
{
    return (size_t)(blocks ? n / EMR_BLOCK_VALUES * emr_block_bytes(blocks)
                           : n * (emr_dtype_bits(dtype) / 8));
}

/* Weights that come in parts. */
typedef struct parts {
    uint8_t *next;
    uint64_t first, left, staging;
} parts;

static emr_status take_part(const emr_weights_part *part, emr_error *error)
{
    parts *p = part->user;
    size_t bytes = bytes_of(part->dtype, part->blocks, part->count);
    (void)error;
    promise(part->first == p->first && part->count == (p->left < p->staging ? p->left : p->staging));
    memcpy(p->next, part->data, bytes);
    p->next += bytes;
    p->first += part->count;
    p->left -= part->count;
    return EMR_OK;
}

/* Writes weights where they belong, or lets them come in parts. */
static emr_status apply_somehow(holder *h, uint32_t task, emr_weights *w, emr_error *error)
{
    const uint64_t unit = w->blocks ? EMR_BLOCK_VALUES : 1;
    parts p = {
        .next = w->data, .first = w->first, .left = w->count, .staging = (w->count / unit / 3 + 1) * unit};
    if (!w->count || fuzz_below(h->random, 2))
        return emr_session_apply(h->session, task, w, 1, error);
    uint8_t *staging = malloc((size_t)p.staging * sizeof(double));
    promise(staging != NULL);
    w->data = staging;
    w->staging = p.staging;
    w->write = take_part;
    w->user = &p;
    emr_status status = emr_session_apply(h->session, task, w, 1, error);
    promise(status || p.left == 0);
    free(staging);
    return status;
}

/* Elements [first, first + n) of the task's tensor `name`, if its model has it so, in a dtype or its own. */
static void compare_weights(holder *h, const char *name, emr_dtype dtype)
{
    emr_error error = {0};
    const emr_tensor *t =
        h->weights && !fuzz_is_arranged(h->bundle, h->task) ? emr_model_find_tensor(h->weights, name) : NULL;
    emr_weights w = EMR_INIT(emr_weights);
    if (!t || emr_dtype_bits(emr_tensor_dtype(t)) % 8)
        return;
    uint64_t count = emr_tensor_count(t);
    size_t size = emr_dtype_bits(emr_tensor_dtype(t)) / 8;
    uint64_t first = count ? fuzz_below(h->random, (size_t)count) : 0;
    uint64_t n = count - first < MOST_ELEMENTS ? count - first : MOST_ELEMENTS;
    uint8_t *got = malloc((size_t)n * size + 1), *want = malloc((size_t)n * size + 1);
    promise(got && want);
    w.name = name;
    w.data = got;
    w.first = first;
    w.count = n;
    w.dtype = emr_dtype_is_float(emr_tensor_dtype(t)) ? dtype : EMR_DTYPE_NONE;
    h->pattern->left = PATTERN_BYTES;
    emr_status status = apply_somehow(h, h->task, &w, &error);
    fuzz_status(status, &error);
    promise(!h->intact || status == EMR_OK || (status == EMR_EFORMAT && is_coded(h, h->task)));
    h->pattern->left = PATTERN_BYTES;
    emr_status other = emr_tensor_read(t, first * size, want, (size_t)n * size, &error);
    promise(fuzz_status(other, &error) == status);
    promise(status || memcmp(got, want, (size_t)n * size) == 0);
    free(got);
    free(want);
}

/* Whether the values of a block are; of others its codes are not defined. */
static bool are_finite(const float *values)
{
    bool finite = true;
    for (size_t i = 0; i < EMR_BLOCK_VALUES; i++)
        finite = finite && values[i] - values[i] == 0;
    return finite;
}

/* Weights in blocks are those in F32, rounded; where rows are no whole blocks, they are refused. */
static void compare_blocks(holder *h, const emr_tensor_info *t)
{
    static const emr_block_type types[] = {EMR_BLOCK_TYPE_Q4_0, EMR_BLOCK_TYPE_Q4_1, EMR_BLOCK_TYPE_Q5_0,
                                           EMR_BLOCK_TYPE_Q5_1, EMR_BLOCK_TYPE_Q8_0};
    emr_error error = {0};
    emr_weights w = EMR_INIT(emr_weights);
    if (!t->count || !emr_dtype_is_float(t->dtype))
        return;
    emr_block_type blocks = types[fuzz_below(h->random, 5)];
    bool whole = t->rank && t->shape[t->rank - 1] % EMR_BLOCK_VALUES == 0;
    w.name = t->name;
    w.without_base = t->merged && (h->without_base || fuzz_below(h->random, 2));
    w.first = fuzz_below(h->random, (size_t)t->count) / EMR_BLOCK_VALUES * EMR_BLOCK_VALUES;
    w.count = t->count - w.first < MOST_ELEMENTS ? t->count - w.first : MOST_ELEMENTS;
    float *values = malloc((size_t)w.count * sizeof *values);
    size_t bytes = bytes_of(EMR_DTYPE_F32, blocks, w.count);
    uint8_t *got = malloc(bytes + 1), *want = malloc(bytes + 1);
    promise(values && got && want);
    w.data = values;
    w.dtype = EMR_DTYPE_F32;
    h->pattern->left = PATTERN_BYTES;
    emr_status status = fuzz_status(emr_session_apply(h->session, h->task, &w, 1, &error), &error);
    w.data = got;
    w.blocks = blocks;
    h->pattern->left = PATTERN_BYTES;
    emr_status other = fuzz_status(apply_somehow(h, h->task, &w, &error), &error);
    promise(whole ? other == status : other == EMR_EINVAL || (status && other == status));
    if (!other) {
        promise(emr_quantise(blocks, want, values, (size_t)w.count) == EMR_OK);
        for (uint64_t i = 0; i < w.count; i += EMR_BLOCK_VALUES) {
            size_t at = bytes_of(EMR_DTYPE_F32, blocks, i);
            promise(!are_finite(values + i) || memcmp(got + at, want + at, emr_block_bytes(blocks)) == 0);
        }
    }
    free(values);
    free(got);
    free(want);
}

/* In the order that product.h says. */
static float multiply_in_order(const float *w, const float *x, uint64_t n)
{
    volatile float lanes[LANES] = {0};
    for (uint64_t c = 0; c < n; c++) {
        volatile float term = w[c] * x[c];
        lanes[c % LANES] = lanes[c % LANES] + term;
    }
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

/* Weights of the product's rows in F32; false where they cannot be had. */
static bool rows_of(holder *h, uint32_t task, const emr_product *p, const char *name, uint64_t columns,
                    float *to)
{
    emr_error error = {0};
    emr_weights w = EMR_INIT(emr_weights);
    w.name = name;
    w.data = to;
    w.first = p->first_row * columns;
    w.count = p->n_rows * columns;
    w.dtype = EMR_DTYPE_F32;
    w.without_base = p->without_base;
    return fuzz_status(emr_session_apply(h->session, task, &w, 1, &error), &error) == EMR_OK;
}

static void compare_result(float got, float want)
{
    promise(memcmp(&got, &want, sizeof got) == 0 || (got != got && want != want));
}

static void compare_rows(const float *weights, const emr_product *p, size_t vector, uint64_t columns)
{
    for (uint64_t row = 0; row < p->n_rows; row++)
        compare_result(p->y[vector * p->n_rows + row],
                       multiply_in_order(weights + row * columns, p->x + vector * columns, columns));
}

/* Without a unified vector the order is another one: a modulator has it, too, which knows one vector alone. */
static void compare_coded(holder *h, uint32_t task, const float *base, const emr_product *p, size_t vector,
                          uint64_t columns)
{
    emr_error error = {0};
    emr_modulator *m;
    emr_product one = *p;
    float *y = malloc((size_t)p->n_rows * sizeof *y);
    promise(y && emr_bundle_open_modulator(&m, h->bundle, task, NULL, &error) == EMR_OK);
    one.batch = 1;
    one.x = p->x + vector * columns;
    one.y = y;
    one.n_columns = columns;
    emr_status status = emr_modulator_multiply(&m, &one, EMR_DTYPE_F32, base, &error);
    promise(fuzz_status(status, &error) == EMR_OK);
    for (uint64_t row = 0; row < p->n_rows; row++)
        compare_result(p->y[vector * p->n_rows + row], y[row]);
    emr_modulator_destroy(&m);
    free(y);
}

static void compare_product(holder *h, uint32_t tensor)
{
    emr_error error = {0};
    emr_tensor_info t = EMR_INIT(emr_tensor_info);
    promise(emr_bundle_get_tensor(h->bundle, tensor, &t) == EMR_OK);
    uint64_t rows = !t.count ? 0 : t.rank < 2 ? 1 : t.shape[0], columns = rows ? t.count / rows : 0;
    const uint32_t tasks[BATCH] = {h->task, fuzz_below(h->random, 2) ? EMR_BASE : 0, h->task};
    emr_product p = EMR_INIT(emr_product);
    p.tensor = tensor;
    p.batch = BATCH;
    p.n_rows = rows + 1;
    p.without_base = h->without_base || fuzz_below(h->random, 4) == 0;
    promise(emr_session_multiply(h->session, tasks, &p, &error) == EMR_EINVAL);
    if (!columns || columns > MOST_ELEMENTS)
        return;
    p.n_columns = columns + 1;
    promise(emr_session_multiply(h->session, tasks, &p, &error) == EMR_EINVAL);
    if (fuzz_below(h->random, 2)) { /* parts of rows */
        for (p.n_columns = 1 + fuzz_below(h->random, (size_t)columns); columns % p.n_columns;)
            p.n_columns++;
        rows *= columns / p.n_columns;
        columns = p.n_columns;
    } else {
        p.n_columns = 0;
    }
    p.first_row = fuzz_below(h->random, (size_t)rows);
    p.n_rows = 1 + fuzz_below(h->random, (size_t)(MOST_ELEMENTS / columns));
    p.n_rows = p.n_rows < rows - p.first_row ? p.n_rows : rows - p.first_row;
    float *x = malloc(BATCH * (size_t)columns * sizeof *x), *y = malloc(BATCH * (size_t)p.n_rows * sizeof *y);
    float *weights = malloc((size_t)(p.n_rows * columns) * sizeof *weights);
    promise(x && y && weights);
    for (size_t i = 0; i < BATCH * columns; i++)
        x[i] = (float)fuzz_below(h->random, 2001) / 1000 - 1;
    p.x = x;
    p.y = y;
    emr_status status = emr_session_multiply(h->session, tasks, &p, &error);
    fuzz_status(status, &error);
    promise(status == EMR_OK || status == EMR_ELIMIT || (!h->intact && status == EMR_ECORRUPT) ||
            (status == EMR_EFORMAT && (is_coded(h, tasks[0]) || is_coded(h, tasks[1]))));
    for (size_t b = 0; !status && b < BATCH; b++) {
        bool coded = is_coded(h, tasks[b]);
        if (!rows_of(h, coded ? EMR_BASE : tasks[b], &p, t.name, columns, weights))
            continue;
        if (coded)
            compare_coded(h, tasks[b], weights, &p, b, columns);
        else
            compare_rows(weights, &p, b, columns);
    }
    free(x);
    free(y);
    free(weights);
}

/* Rows of any tasks, against the same elements applied. */
static void compare_gather(holder *h, uint32_t tensor)
{
    emr_error error = {0};
    emr_tensor_info t = EMR_INIT(emr_tensor_info);
    uint32_t tasks[GATHERED];
    uint64_t which[GATHERED];
    promise(emr_bundle_get_tensor(h->bundle, tensor, &t) == EMR_OK);
    uint64_t rows = !t.count ? 0 : t.rank < 2 ? 1 : t.shape[0], columns = rows ? t.count / rows : 0;
    emr_gather g = EMR_INIT(emr_gather);
    g.tensor = tensor;
    g.n = GATHERED;
    g.tasks = tasks;
    g.rows = which;
    for (size_t i = 0; i < GATHERED; i++) {
        tasks[i] = fuzz_below(h->random, 4) ? (uint32_t)fuzz_below(h->random, h->info.n_tasks) : EMR_BASE;
        which[i] = rows ? fuzz_below(h->random, (size_t)rows) : 0;
    }
    uint64_t last = which[GATHERED - 1];
    size_t size = emr_dtype_bits(t.dtype) / 8;
    if (columns > MOST_ELEMENTS || !size)
        return;
    uint8_t *out = malloc(GATHERED * (size_t)columns * size + 1), *want = malloc((size_t)columns * size + 1);
    promise(out && want);
    g.out = out;
    which[GATHERED - 1] = rows;
    emr_status status = emr_session_gather(h->session, &g, &error);
    promise(fuzz_status(status, &error) != EMR_OK);
    which[GATHERED - 1] = last;
    h->pattern->left = PATTERN_BYTES;
    status = rows ? emr_session_gather(h->session, &g, &error) : EMR_EINVAL;
    promise(!rows || fuzz_status(status, &error) != EMR_EINVAL);
    for (size_t i = 0; !status && i < GATHERED; i++) {
        emr_weights w = EMR_INIT(emr_weights);
        w.tensor = tensor;
        w.data = want;
        w.first = which[i] * columns;
        w.count = columns;
        w.dtype = t.dtype;
        h->pattern->left = PATTERN_BYTES;
        emr_status other = emr_session_apply(h->session, tasks[i], &w, 1, &error);
        promise(fuzz_status(other, &error) == EMR_OK || !h->intact);
        promise(other || memcmp(want, out + i * (size_t)columns * size, (size_t)columns * size) == 0);
    }
    free(out);
    free(want);
}

/* What is not the change alone cannot be had. */
static void expect_no_base(holder *h, const char *name)
{
    emr_error error = {0};
    emr_weights w = EMR_INIT(emr_weights);
    w.name = name;
    promise(fuzz_status(emr_session_apply(h->session, EMR_BASE, &w, 1, &error), &error) == EMR_ESTATE);
}

static void use_session(holder *h)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    emr_error error = {0};
    emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
    emr_private_info own = EMR_INIT(emr_private_info);
    emr_view_options view = EMR_INIT(emr_view_options);
    h->task = (uint32_t)fuzz_below(h->random, h->info.n_tasks);
    emr_dtype dtype = dtypes[fuzz_below(h->random, 4)];
    view.dtype = dtype;
    view.check = EMR_BASE_CHECK_NONE;
    fuzz_status(emr_bundle_open_task(&h->weights, h->bundle, h->task, h->base, &view, &error), &error);
    for (uint32_t i = 0; i < ASKED && emr_bundle_get_private(h->bundle, h->task, i, &own) == EMR_OK; i++)
        compare_weights(h, own.name, dtype);
    uint32_t n = h->info.n_tensors < ASKED ? h->info.n_tensors : ASKED;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t one = h->info.n_tensors <= ASKED ? i : (uint32_t)fuzz_below(h->random, h->info.n_tensors);
        promise(emr_bundle_get_tensor(h->bundle, one, &tensor) == EMR_OK);
        if (h->without_base) {
            expect_no_base(h, tensor.name);
        } else {
            compare_weights(h, tensor.name, dtype);
            compare_gather(h, one);
        }
        compare_blocks(h, &tensor);
        if (tensor.merged)
            compare_product(h, one);
    }
    emr_model_destroy(&h->weights);
}

void fuzz_session(const emr_bundle *bundle, const emr_model *base, fuzz_pattern *pattern, size_t slack,
                  fuzz_random *random, bool intact)
{
    holder h = {.bundle = bundle,
                .base = base,
                .pattern = pattern,
                .random = random,
                .info = EMR_INIT(emr_bundle_info),
                .intact = intact,
                .without_base = fuzz_below(random, 3) == 0};
    emr_session_info info = EMR_INIT(emr_session_info);
    emr_error error = {0};
    uint64_t mask_bytes = (uint64_t)fuzz_below(random, 4) << (9 + fuzz_below(random, 8));
    fuzz_budget budget = {.cap = MOST_BYTES > slack ? MOST_BYTES : slack};
    promise(emr_bundle_get_info(bundle, &h.info) == EMR_OK);
    if (!h.info.n_tasks || fuzz_status(create_session(&h, &budget, mask_bytes, MOST_BYTES, &error), &error))
        return;
    promise(emr_session_get_info(h.session, &info) == EMR_OK);
    promise(info.memory_bytes <= MOST_BYTES && (!mask_bytes || info.mask_bytes <= mask_bytes));
    emr_session_destroy(&h.session);
    promise(budget.now == 0);
    budget.cap = slack > info.memory_bytes ? slack : (size_t)info.memory_bytes;
    promise(fuzz_status(create_session(&h, &budget, mask_bytes, info.memory_bytes - 1, &error), &error) ==
            EMR_ELIMIT);
    budget.cap = (size_t)info.memory_bytes;
    promise(fuzz_status(create_session(&h, &budget, mask_bytes, info.memory_bytes, &error), &error) ==
            EMR_OK);
    use_session(&h);
    emr_session_destroy(&h.session);
    promise(budget.now == 0);
}
