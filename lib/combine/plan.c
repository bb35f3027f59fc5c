/* plan.c - see plan.h. */
#include "combine/plan.h"

#include "combine/classify.h"
#include "combine/combined.h"
#include "combine/order.h"
#include "combine/settings.h"
#include "combine/views.h"
#include "core/bytes.h"
#include "numeric/convert.h"

#include <string.h>

enum {
    CACHE_BYTES = 384 << 10, /* of a reader's chunk: it should stay in the processor's caches */
    CHUNK_MOST = 16384,
    CHUNK_LEAST = 2048
};

static void free_tensor(const emr_combination *c, emr_combined *t)
{
    const emr_allocator *a = &c->allocator;
    emr_release(a, t->inputs);
    emr_release(a, (void *)(uintptr_t)t->seen.inputs);
    emr_release(a, (void *)(uintptr_t)t->seen.parameters);
    emr_release(a, atomic_load(&t->found));
}

void emr_combination_unplan(emr_combination *c)
{
    for (uint32_t i = 0; c->tensors && i < c->n_tensors; i++)
        free_tensor(c, &c->tensors[i]);
    free_tensor(c, &c->whole);
    memset(&c->whole, 0, sizeof c->whole);
    emr_release(&c->allocator, c->tensors);
    emr_release(&c->allocator, (void *)(uintptr_t)c->ordered);
    c->tensors = NULL;
    c->ordered = NULL;
    c->n_tensors = c->n_ordered = 0;
    emr_combination_close_views(c);
    c->is_planned = c->has_wide = false;
    c->raw_size = c->out_size = 0;
}

static emr_status check_models(const emr_combination *c, emr_error *error)
{
    const emr_method *m = &c->method;
    uint32_t least = m->min_tasks ? m->min_tasks : 1;
    if (c->n_tasks < least)
        return emr_fail(error, EMR_EINVAL, "the method '%s' needs %u task%s, not %u", m->name,
                        (uint64_t)least, least == 1 ? "" : "s", (uint64_t)c->n_tasks);
    if (m->max_tasks && c->n_tasks > m->max_tasks)
        return emr_fail(error, EMR_EINVAL, "the method '%s' takes %u task%s, not %u", m->name,
                        (uint64_t)m->max_tasks, m->max_tasks == 1 ? "" : "s", (uint64_t)c->n_tasks);
    if (!c->base && (m->base == EMR_METHOD_BASE_REQUIRED || m->base == EMR_METHOD_BASE_BESIDE))
        return emr_fail(error, EMR_EINVAL, "the method '%s' needs a base", m->name);
    return EMR_OK;
}

/* What the method sees of the tensor's inputs: names and parameters. */
static emr_status describe_inputs(const emr_combination *c, emr_combined *t, emr_error *error)
{
    const uint32_t n = t->seen.n_inputs;
    const char **names = emr_allocate_array(&c->allocator, n, sizeof *names);
    double *parameters = emr_allocate_array(&c->allocator, n, c->method.n_parameters * sizeof *parameters);
    t->seen.inputs = names;
    t->seen.parameters = parameters;
    t->seen.n_parameters = c->method.n_parameters;
    if (!names || !parameters)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; i < n; i++)
        names[i] = emr_input_name(c, t->inputs[i].task);
    emr_settings_resolve(c, t->seen.name, t->inputs, n, parameters);
    return EMR_OK;
}

static bool needs_f64(const emr_combined *t)
{
    bool wide = t->dtype == EMR_DTYPE_F64 || (t->base && t->base->dtype == EMR_DTYPE_F64);
    for (uint32_t i = 0; !wide && i < t->seen.n_inputs; i++)
        wide = t->inputs[i].tensor && t->inputs[i].tensor->dtype == EMR_DTYPE_F64;
    return wide;
}

/* What readers must have for the tensor's values. */
static void note_needs(emr_combination *c, const emr_combined *t)
{
    const size_t out_size = emr_float_size(t->dtype);
    c->has_wide = c->has_wide || t->is_wide;
    c->out_size = out_size > c->out_size ? out_size : c->out_size;
    for (uint32_t i = 0; i <= t->seen.n_inputs; i++) {
        const emr_tensor *input = i < t->seen.n_inputs ? t->inputs[i].tensor : t->base;
        size_t size = input ? emr_float_size(input->dtype) : 0;
        if (input && (input->dtype != EMR_DTYPE_F32 || !emr_is_little_endian()) && size > c->raw_size)
            c->raw_size = size;
        /* the differences from F64, and F64 out of floats, are read as they are stored */
        if (input && t->is_wide && size > c->raw_size)
            c->raw_size = size;
    }
}

/* A method's own words, with the tensor in front. */
static emr_status refuse_tensor(const emr_combination *c, const emr_combined *t, emr_status status,
                                const emr_error *why, emr_error *error)
{
    status = status > 0 ? EMR_EINVAL : status;
    return emr_fail_because(error, status, why, "the method '%s' cannot combine tensor '%T'", c->method.name,
                            t->sample->name);
}

static emr_status ask_method(const emr_combination *c, emr_combined *t, emr_error *error)
{
    emr_error why;
    memset(&why, 0, sizeof why);
    emr_status status = c->method.check ? c->method.check(&t->seen, &why) : EMR_OK;
    why.text[sizeof why.text - 1] = '\0';
    if (status)
        return refuse_tensor(c, t, status, &why, error);
    t->seen.row_length = c->method.row_length && !c->method.whole_model ? c->method.row_length(&t->seen) : 0;
    if (t->seen.row_length && t->seen.count % t->seen.row_length)
        return emr_fail(error, EMR_EINVAL,
                        "the method '%s': the rows of tensor '%T' do not end where it does", c->method.name,
                        t->sample->name);
    return EMR_OK;
}

static emr_status plan_combined(emr_combination *c, emr_combined *t, emr_error *error)
{
    emr_status status = describe_inputs(c, t, error);
    t->is_wide = needs_f64(t);
    note_needs(c, t);
    if (!status)
        status = emr_settings_check(c, t, error);
    return status || !t->seen.count ? status : ask_method(c, t, error);
}

static emr_status plan_tensors(emr_combination *c, emr_error *error)
{
    const emr_model *reference = emr_combination_reference(c);
    emr_status status = EMR_OK;
    c->tensors = emr_allocate_array(&c->allocator, reference->n_tensors, sizeof *c->tensors);
    if (!c->tensors)
        return emr_no_memory(error, NULL);
    c->n_tensors = reference->n_tensors;
    for (uint32_t i = 0; !status && i < c->n_tensors; i++) {
        emr_combined *t = &c->tensors[i];
        status = emr_combined_classify(c, reference->tensors[i], t, error);
        if (!status && t->action == EMR_COMBINED_ACTION_COMBINE)
            status = plan_combined(c, t, error);
    }
    return status;
}

static bool is_computed_at_all(const emr_combined *t)
{
    return t->action == EMR_COMBINED_ACTION_COMBINE && t->seen.count > 0;
}

/* Combined tensors in the order of their names, and the place of each among all. */
static emr_status order_tensors(emr_combination *c, emr_error *error)
{
    uint64_t position = 0;
    c->ordered = emr_allocate_array(&c->allocator, c->n_tensors, sizeof *c->ordered);
    if (!c->ordered)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; i < c->n_tensors; i++)
        if (is_computed_at_all(&c->tensors[i]))
            c->ordered[c->n_ordered++] = &c->tensors[i];
    emr_combined_sort(c->ordered, c->n_ordered);
    for (uint32_t i = 0; c->method.whole_model && i < c->n_ordered; i++) {
        emr_combined *t = &c->tensors[c->ordered[i] - c->tensors];
        t->position = position;
        if (!emr_add(position, t->seen.count, &position) || position > INT64_MAX)
            return emr_fail(error, EMR_ELIMIT, "the tensors are too large to be joined");
    }
    c->whole.seen.count = position;
    return EMR_OK;
}

/* What stands for all tensors where the method joins them: every task, and parameters without a glob. */
static emr_status plan_whole(emr_combination *c, emr_error *error)
{
    emr_combined *w = &c->whole;
    if (!c->method.whole_model || !c->n_ordered)
        return EMR_OK;
    const emr_combined *first = c->ordered[0];
    w->owner = c;
    w->sample = first->sample;
    w->inputs = emr_allocate_array(&c->allocator, first->seen.n_inputs, sizeof *w->inputs);
    if (!w->inputs)
        return emr_no_memory(error, NULL);
    memcpy(w->inputs, first->inputs, first->seen.n_inputs * sizeof *w->inputs);
    const uint64_t count = w->seen.count;
    w->seen = first->seen;
    w->seen.inputs = NULL;
    w->seen.parameters = NULL;
    w->seen.name = "";
    w->seen.count = count;
    w->seen.shape = &w->seen.count;
    w->seen.rank = 1;
    return describe_inputs(c, w, error);
}

/* How many elements a reader computes at a time, and how much memory that takes. */
static emr_status choose_chunks(emr_combination *c, emr_error *error)
{
    uint64_t per_element = 4 * ((uint64_t)c->n_tasks + 3 + c->method.scratch_floats), longest = 0;
    uint64_t share = emr_combination_memory(c) / emr_combination_readers(c);
    const emr_combined *widest = NULL;
    c->chunk = (size_t)emr_min(CHUNK_MOST, CACHE_BYTES / per_element / 64 * 64);
    c->chunk = c->chunk < CHUNK_LEAST ? CHUNK_LEAST : c->chunk;
    c->has_rows = false;
    for (uint32_t i = 0; i < c->n_ordered; i++)
        if (c->ordered[i]->seen.row_length > longest) {
            widest = c->ordered[i];
            longest = widest->seen.row_length;
        }
    c->has_rows = longest > 1;
    c->chunk = longest > c->chunk ? (size_t)longest : c->chunk;
    if (longest > SIZE_MAX / 1024 || longest > UINT64_MAX / 1024 / per_element)
        c->reader_bytes = UINT64_MAX;
    else
        c->reader_bytes = emr_combined_scratch_bytes(c);
    while (c->reader_bytes > share && c->chunk > longest && c->chunk > 64) {
        c->chunk = (size_t)(c->chunk / 2 > longest ? c->chunk / 2 : longest);
        c->reader_bytes = emr_combined_scratch_bytes(c);
    }
    if (c->reader_bytes <= share)
        return EMR_OK;
    if (widest)
        return emr_fail(
            error, EMR_ELIMIT,
            "the method '%s' takes rows of tensor '%T' as a whole, %u elements, and each of %u readers "
            "has %u bytes of memory for it (--memory)",
            c->method.name, widest->sample->name, longest, (uint64_t)emr_combination_readers(c), share);
    return emr_fail(error, EMR_ELIMIT,
                    "each of %u readers has %u bytes of memory, and %u are needed to combine %u tasks "
                    "(--memory, --threads)",
                    (uint64_t)emr_combination_readers(c), share, c->reader_bytes, (uint64_t)c->n_tasks);
}

uint32_t emr_combined_stages(const emr_combined *t)
{
    const emr_combination *c = t->owner;
    uint32_t all = (1u << c->n_stages) - 1;
    return c->method.needed_stages ? c->method.needed_stages(&t->seen) & all : all;
}

static uint32_t count_reads(const emr_combination *c, const emr_combined *t)
{
    uint32_t reads = 1, stages = emr_combined_stages(c->method.whole_model ? &c->whole : t);
    for (; stages; stages &= stages - 1)
        reads++;
    return reads;
}

static uint64_t input_bytes(const emr_combined *t)
{
    uint64_t bytes = t->base && t->seen.has_base ? t->base->bytes : 0;
    for (uint32_t i = 0; i < t->seen.n_inputs; i++)
        bytes += t->inputs[i].tensor ? t->inputs[i].tensor->bytes : 0;
    return bytes;
}

static void sum_up(emr_combination *c)
{
    emr_combination_plan *p = &c->totals;
    *p = (emr_combination_plan){.size = sizeof *p, .n_tensors = c->n_tensors};
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        emr_combined *t = &c->tensors[i];
        uint64_t bits = emr_dtype_bits(t->dtype);
        bool combined = t->action == EMR_COMBINED_ACTION_COMBINE;
        t->n_reads = is_computed_at_all(t) ? count_reads(c, t) : 1;
        p->n_combined += combined;
        p->combined_params += combined ? t->seen.count : 0;
        p->bytes_in += combined ? t->n_reads * input_bytes(t) : t->sample->bytes;
        p->bytes_out += combined ? t->seen.count * bits / 8 : t->sample->bytes;
    }
    p->peak_memory = c->reader_bytes * emr_combination_readers(c);
    if (c->n_stages && p->n_combined)
        p->peak_memory += emr_combination_memory(c);
}

static emr_status plan_in_steps(emr_combination *c, emr_error *error)
{
    emr_status status = check_models(c, error);
    if (!status)
        status = emr_combination_open_views(c, error);
    if (!status)
        status = plan_tensors(c, error);
    if (!status)
        status = emr_combination_check_others(c, error);
    if (!status)
        status = order_tensors(c, error);
    if (!status)
        status = plan_whole(c, error);
    if (!status)
        status = choose_chunks(c, error);
    if (!status)
        sum_up(c);
    return status;
}

emr_status emr_combination_make_plan(emr_combination *c, emr_error *error)
{
    if (c->is_planned)
        return EMR_OK;
    emr_status status = plan_in_steps(c, error);
    c->is_planned = !status;
    if (status)
        emr_combination_unplan(c);
    return status;
}
