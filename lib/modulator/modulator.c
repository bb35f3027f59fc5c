/* modulator.c - a task's modulator: applying it, multiplying by it, counting its mask. Where codes and
 * unified values come from is the source's business. Freestanding. */
#include "modulator/modulator.h"

#include "core/bytes.h"
#include "modulator/multiply.h"
#include "numeric/convert.h"

enum { FEW_MODULATORS = 64 };

emr_status emr_modulator_open(emr_modulator **modulator, const emr_modulator *members, emr_error *error)
{
    emr_modulator *m = emr_allocate_array(&members->allocator, 1, sizeof *m);
    if (!m) {
        members->source->destroy(members->user, &members->allocator);
        return emr_no_memory(error, NULL);
    }
    *m = *members;
    *modulator = m;
    return EMR_OK;
}

void emr_modulator_destroy(emr_modulator **modulator)
{
    if (!modulator || !*modulator)
        return;
    emr_allocator allocator = (*modulator)->allocator;
    (*modulator)->source->destroy((*modulator)->user, &allocator);
    emr_release(&allocator, *modulator);
    *modulator = NULL;
}

uint32_t emr_modulator_n_tensors(const emr_modulator *m)
{
    return m->source->n_tensors(m->user);
}

emr_status emr_modulator_find_tensor(const emr_modulator *m, const char *name, uint32_t *tensor)
{
    if (!m || !name || !tensor)
        return EMR_EINVAL;
    return m->source->find_tensor(m->user, name, tensor);
}

const char *emr_modulator_tensor_name(const emr_modulator *m, uint32_t tensor)
{
    return tensor < emr_modulator_n_tensors(m) ? m->source->tensor_name(m->user, tensor) : NULL;
}

uint64_t emr_modulator_tensor_count(const emr_modulator *m, uint32_t tensor)
{
    return tensor < emr_modulator_n_tensors(m) ? m->source->tensor_count(m->user, tensor) : 0;
}

uint64_t emr_modulator_n_rescalers(const emr_modulator *m, uint32_t tensor)
{
    return tensor < emr_modulator_n_tensors(m) ? m->source->n_scales(m->user, tensor) : 0;
}

static emr_status check_tensor(const emr_modulator *m, uint32_t tensor, emr_error *error)
{
    return tensor < emr_modulator_n_tensors(m)
               ? EMR_OK
               : emr_fail(error, EMR_EINVAL, "there is no merged tensor %u", (uint64_t)tensor);
}

emr_status emr_modulator_read_rescalers(emr_modulator *m, uint32_t tensor, uint64_t first, size_t n,
                                        float *rescalers, emr_error *error)
{
    if (!m || (n && !rescalers))
        return emr_fail(error, EMR_EINVAL, "emr_modulator_read_rescalers: NULL");
    emr_status status = check_tensor(m, tensor, error);
    if (status)
        return status;
    uint64_t all = emr_modulator_n_rescalers(m, tensor);
    if (first > all || n > all - first)
        return emr_fail(error, EMR_EINVAL, "tensor '%T' has %u rescalers, asked for %u from %u",
                        m->source->tensor_name(m->user, tensor), all, (uint64_t)n, first);
    return m->source->read_scales(m->user, tensor, first, n, rescalers, error);
}

/* What a window says about a run. */
static void take_window(emr_run *run, const emr_code_window *w)
{
    run->unified = w->unified;
    run->codes = w->codes;
    run->first_code = w->first_code;
    run->group = w->group;
    run->columns = w->columns;
    run->unified_dtype = w->unified_dtype;
    memcpy(run->scales, w->scales, sizeof run->scales);
}

emr_status emr_apply_windows(const emr_weighting *a, uint64_t first, uint64_t count, const void *base,
                             void *out, emr_error *error)
{
    size_t base_size = emr_float_size(a->base_dtype), out_size = emr_float_size(a->out_dtype);
    emr_code_kernels kernels = {0};
    emr_run run = {.base = base,
                   .coding = a->code.coding,
                   .base_dtype = a->base_dtype,
                   .out_dtype = a->out_dtype,
                   .stream = a->stream};
    if (a->code.kind)
        kernels = emr_kind_kernels(a->code.kind, a->kernels);
    for (uint64_t done = 0; done < count; done += run.n) {
        emr_code_window w;
        emr_status status =
            a->window(a->user, a->tensor, first + done, count - done, EMR_WINDOW_ALL, &w, error);
        if (status)
            return status;
        run.n = w.n;
        if (base)
            run.base = (const uint8_t *)base + done * base_size;
        run.out = (uint8_t *)out + done * out_size;
        take_window(&run, &w);
        if (w.codes)
            kernels.apply(&run);
        else if (!base)
            memset(run.out, 0, w.n * out_size);
        else
            a->kernels->convert(a->out_dtype, run.out, a->base_dtype, run.base, run.n);
    }
    return EMR_OK;
}

static emr_status check_application(const emr_modulator *m, const emr_application *a, emr_error *error)
{
    emr_status status = check_tensor(m, a->tensor, error);
    if (status)
        return status;
    const char *name = m->source->tensor_name(m->user, a->tensor);
    uint64_t all = m->source->tensor_count(m->user, a->tensor);
    if (a->first > all || a->count > all - a->first)
        return emr_fail(error, EMR_EINVAL, "tensor '%T' has %u parameters, asked for %u from %u", name, all,
                        a->count, a->first);
    if (!emr_dtype_is_float(a->base_dtype) || !emr_dtype_is_float(a->out_dtype))
        return emr_fail(error, EMR_EINVAL, "tensor '%T': base and output need float dtypes", name);
    if (a->count && ((!a->base && !a->without_base) || !a->out))
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': emr_application needs out, and base unless it is without_base", name);
    return EMR_OK;
}

emr_status emr_modulator_apply(emr_modulator *m, const emr_application *given, emr_error *error)
{
    emr_application a;
    if (!m || !given)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_apply: NULL");
    emr_status status = EMR_TAKE(&a, given, emr_application, error);
    if (status)
        return status;
    if (a.without_base) {
        a.base = NULL;
        a.base_dtype = EMR_DTYPE_F32;
    }
    status = check_application(m, &a, error);
    if (status)
        return status;
    const emr_weighting weighting = {.kernels = m->kernels,
                                     .code = m->source->code(m->user, a.tensor),
                                     .window = m->source->window,
                                     .user = m->user,
                                     .tensor = a.tensor,
                                     .base_dtype = a.base_dtype,
                                     .out_dtype = a.out_dtype};
    return emr_apply_windows(&weighting, a.first, a.count, a.base, a.out, error);
}

/* Whether a modulator can be multiplied by together with others: `elected` is the first of them that has
 * unified values of the tensor, or NULL. */
static emr_status check_modulator(const emr_modulator *m, const emr_modulator *first,
                                  const emr_modulator *elected, uint32_t tensor, emr_error *error)
{
    emr_status status = check_tensor(m, tensor, error);
    if (status)
        return status;
    const char *name = m->source->tensor_name(m->user, tensor);
    uint64_t count = m->source->tensor_count(m->user, tensor);
    uint64_t expected = first->source->tensor_count(first->user, tensor);
    if (count != expected)
        return emr_fail(error, EMR_EMISMATCH, "tensor '%T' has %u parameters in one modulator, %u in another",
                        name, expected, count);
    if (elected && m->source->code(m->user, tensor).kind->has_unified &&
        (m->source != elected->source || !m->source->share_unified(m->user, elected->user, tensor)))
        return emr_fail(error, EMR_EMISMATCH, "tensor '%T': modulators have other unified values", name);
    return EMR_OK;
}

/* The number of a product's tensor, which is the same in all modulators. */
static emr_status find_product_tensor(const emr_modulator *m, const emr_modulator *first, emr_product *p,
                                      emr_error *error)
{
    uint32_t tensor = p->tensor;
    if (p->name && emr_modulator_find_tensor(m, p->name, &tensor))
        return emr_fail(error, EMR_ENOTFOUND, "there is no merged tensor '%T'", p->name);
    if (m != first && tensor != p->tensor)
        return emr_fail(error, EMR_EMISMATCH, "tensor '%T' is number %u in one modulator, %u in another",
                        p->name, (uint64_t)p->tensor, (uint64_t)tensor);
    p->tensor = tensor;
    return EMR_OK;
}

static emr_status check_modulators(emr_modulator *const *modulators, emr_product *p, emr_error *error)
{
    const emr_modulator *elected = NULL;
    for (size_t i = 0; i < p->batch; i++) {
        const emr_modulator *m = modulators[i];
        if (!m)
            return emr_fail(error, EMR_EINVAL, "emr_modulator_multiply: NULL");
        emr_status status = find_product_tensor(m, modulators[0], p, error);
        if (!status)
            status = check_modulator(m, modulators[0], elected, p->tensor, error);
        if (status)
            return status;
        if (!elected && m->source->code(m->user, p->tensor).kind->has_unified)
            elected = m;
    }
    return EMR_OK;
}

/* How many parameters share scales: of kinds without unified values a row. */
static uint64_t sharing_length(const emr_modulator *m, uint32_t tensor)
{
    uint64_t count = m->source->tensor_count(m->user, tensor), n = m->source->n_groups(m->user, tensor);
    return n ? count / n : count;
}

/* Whether no row has scales of more than one group, whichever the modulator. */
static emr_status check_rows(emr_modulator *const *modulators, const emr_product *p, emr_error *error)
{
    for (size_t i = 0; i < p->batch; i++) {
        const emr_modulator *m = modulators[i];
        uint64_t length = sharing_length(m, p->tensor);
        if (length % p->n_columns)
            return emr_fail(
                error, EMR_EINVAL,
                "tensor '%T': n_columns is %u, which does not divide the %u parameters that share a "
                "rescaler",
                m->source->tensor_name(m->user, p->tensor), p->n_columns, length);
    }
    return EMR_OK;
}

/* Whether a row may be a part of what scales of columns are for. */
static bool rows_are_parts(emr_modulator *const *modulators, const emr_product *p)
{
    for (size_t i = 0; i < p->batch; i++)
        if (modulators[i]->source->code(modulators[i]->user, p->tensor).kind->has_columns &&
            sharing_length(modulators[i], p->tensor) != p->n_columns)
            return true;
    return false;
}

static emr_status check_product(emr_modulator *const *modulators, emr_product *p, emr_error *error)
{
    if (!p->n_columns)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_multiply: emr_product needs n_columns");
    emr_status status = check_modulators(modulators, p, error);
    if (!status)
        status = check_rows(modulators, p, error);
    if (status || !p->batch)
        return status;
    const emr_modulator *first = modulators[0];
    return emr_product_check(p, first->source->tensor_name(first->user, p->tensor), 1,
                             first->source->tensor_count(first->user, p->tensor), error);
}

emr_status emr_modulator_multiply(emr_modulator *const *modulators, const emr_product *given,
                                  emr_dtype base_dtype, const void *base, emr_error *error)
{
    emr_multiplier few[FEW_MODULATORS], *of = few;
    emr_product p;
    if (!modulators || !given)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_multiply: NULL");
    emr_status status = EMR_TAKE(&p, given, emr_product, error);
    if (!status)
        status = check_product(modulators, &p, error);
    if (status || !p.batch)
        return status;
    const emr_modulator *first = modulators[0];
    if (p.without_base) {
        base = NULL;
        base_dtype = EMR_DTYPE_F32;
    } else if (!emr_dtype_is_float(base_dtype) || (p.n_rows && !base))
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': the base needs a float dtype and values: it is not without_base",
                        first->source->tensor_name(first->user, p.tensor));
    if (p.batch > FEW_MODULATORS)
        of = emr_allocate_array(&first->allocator, p.batch, sizeof *of);
    if (!of)
        return emr_no_memory(error, NULL);
    for (size_t i = 0; i < p.batch; i++) {
        const emr_modulator *m = modulators[i];
        of[i] = (emr_multiplier){m->source->code(m->user, p.tensor), m->source->window, m->user};
    }
    const emr_multiplication m = {.kernels = first->kernels,
                                  .product = p,
                                  .in_parts = rows_are_parts(modulators, &p),
                                  .base = base,
                                  .base_dtype = base_dtype,
                                  .of = of};
    status = emr_multiply_rows(&m, 0, p.n_rows, error);
    if (of != few)
        emr_release(&first->allocator, of);
    return status;
}

uint64_t emr_count_ones(const uint8_t *mask, size_t first, size_t n)
{
    uint64_t ones = 0;
    for (; n && first % 8; first++, n--)
        ones += mask[first / 8] >> first % 8 & 1;
    for (; n >= 64; first += 64, n -= 64)
        ones += emr_popcount64(emr_load64(mask + first / 8));
    for (; n; first++, n--)
        ones += mask[first / 8] >> first % 8 & 1;
    return ones;
}

/* Codes of kinds without unified values are no mask. */
emr_status emr_modulator_get_stats(emr_modulator *m, uint32_t tensor, emr_modulator_stats *stats,
                                   emr_error *error)
{
    if (!m || !stats)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_get_stats: NULL");
    emr_status status = check_tensor(m, tensor, error);
    emr_modulator_stats known = {.count = emr_modulator_tensor_count(m, tensor)};
    bool has_mask = !status && m->source->code(m->user, tensor).kind->has_unified;
    for (uint64_t done = 0; !status && has_mask && done < known.count;) {
        emr_code_window w;
        status = m->source->window(m->user, tensor, done, known.count - done, EMR_WINDOW_CODES, &w, error);
        if (status)
            break;
        known.ones += emr_count_ones(w.codes, w.first_code, w.n);
        done += w.n;
    }
    if (!status && EMR_GIVE(stats, &known, emr_modulator_stats))
        status = emr_fail(error, EMR_EINVAL, "emr_modulator_stats: its size is not set");
    return status;
}
