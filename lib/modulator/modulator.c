/* modulator.c - a task's modulator: applying it, counting its mask. Freestanding; where masks and unified
 * values come from is the source's business. */
#include "modulator/modulator.h"

#include "core/bytes.h"
#include "core/names.h"
#include "modulator/multiply.h"
#include "numeric/convert.h"

enum { FEW_MODULATORS = 64 };

emr_status emr_modulator_over(emr_modulator **modulator, const emr_allocator *allocator,
                              const emr_kernels *kernels, const emr_modulator_source *source, void *user,
                              emr_error *error)
{
    emr_modulator *m = emr_allocate_array(allocator, 1, sizeof *m);
    if (!m) {
        source->destroy(user, allocator);
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    }
    *m = (emr_modulator){*allocator, kernels, source, user};
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

size_t emr_modulator_n_tensors(const emr_modulator *m)
{
    return m->source->n_tensors(m->user);
}

emr_status emr_modulator_find_tensor(const emr_modulator *m, const char *name, size_t *tensor)
{
    if (!name || !tensor)
        return EMR_EINVAL;
    *tensor = m->source->find(m->user, name);
    return *tensor == EMR_NAMES_NONE ? EMR_ENOTFOUND : EMR_OK;
}

const char *emr_modulator_tensor_name(const emr_modulator *m, size_t tensor)
{
    return tensor < emr_modulator_n_tensors(m) ? m->source->name(m->user, tensor) : NULL;
}

uint64_t emr_modulator_tensor_count(const emr_modulator *m, size_t tensor)
{
    return tensor < emr_modulator_n_tensors(m) ? m->source->count(m->user, tensor) : 0;
}

static emr_status check_range(const emr_modulator *m, size_t tensor, uint64_t first, uint64_t count,
                              emr_error *error)
{
    if (tensor >= emr_modulator_n_tensors(m))
        return emr_fail(error, EMR_EINVAL, "there is no merged tensor %u", (uint64_t)tensor);
    uint64_t all = m->source->count(m->user, tensor);
    if (first > all || count > all - first)
        return emr_fail(error, EMR_EINVAL, "tensor '%s' has %u parameters, asked for %u from %u",
                        m->source->name(m->user, tensor), all, count, first);
    return EMR_OK;
}

emr_status emr_apply_windows(const emr_application *a, uint64_t first, uint64_t count, const void *base,
                             void *out, emr_error *error)
{
    size_t base_size = emr_float_size(a->base_dtype), out_size = emr_float_size(a->out_dtype);
    emr_run run = {
        .base_dtype = (uint8_t)a->base_dtype, .out_dtype = (uint8_t)a->out_dtype, .stream = a->stream};
    for (uint64_t done = 0; done < count; done += run.n) {
        emr_mask_window w;
        emr_status status =
            a->window(a->user, a->tensor, first + done, count - done, EMR_WINDOW_ALL, &w, error);
        if (status)
            return status;
        run.n = w.n;
        run.base = (const uint8_t *)base + done * base_size;
        run.unified = w.unified;
        run.mask = w.mask;
        run.bit = w.bit;
        run.rescaler = w.rescaler;
        run.unified_dtype = w.unified_dtype;
        run.out = (uint8_t *)out + done * out_size;
        a->kernels->apply(&run);
    }
    return EMR_OK;
}

emr_status emr_modulator_apply(emr_modulator *m, size_t tensor, uint64_t first, uint64_t count,
                               emr_dtype base_dtype, const void *base, emr_dtype out_dtype, void *out,
                               emr_error *error)
{
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_apply: NULL");
    emr_status status = check_range(m, tensor, first, count, error);
    if (!status && (!emr_dtype_is_float(base_dtype) || !emr_dtype_is_float(out_dtype)))
        status = emr_fail(error, EMR_EINVAL, "tensor '%s': base and output need float dtypes",
                          m->source->name(m->user, tensor));
    if (!status && count && (!base || !out))
        status = emr_fail(error, EMR_EINVAL, "emr_modulator_apply: NULL");
    const emr_application to = {.kernels = m->kernels,
                                .window = m->source->window,
                                .user = m->user,
                                .tensor = tensor,
                                .base_dtype = base_dtype,
                                .out_dtype = out_dtype};
    return status ? status : emr_apply_windows(&to, first, count, base, out, error);
}

/* Whether all modulators can be multiplied by together. */
static emr_status check_modulators(emr_modulator *const *modulators, size_t n, size_t tensor,
                                   emr_error *error)
{
    const emr_modulator *first = modulators[0];
    for (size_t i = 0; i < n; i++) {
        const emr_modulator *m = modulators[i];
        if (!m)
            return emr_fail(error, EMR_EINVAL, "emr_modulator_multiply: NULL");
        if (tensor >= emr_modulator_n_tensors(m))
            return emr_fail(error, EMR_EINVAL, "there is no merged tensor %u", (uint64_t)tensor);
        if (m->source != first->source || !m->source->share_unified(m->user, first->user, tensor))
            return emr_fail(error, EMR_EMISMATCH, "tensor '%s': modulators have other unified values",
                            m->source->name(m->user, tensor));
    }
    return EMR_OK;
}

/* Whether no row has more than one rescaler, whichever the modulator. */
static emr_status check_rows(emr_modulator *const *modulators, size_t n, size_t tensor, uint64_t n_columns,
                             emr_error *error)
{
    for (size_t i = 0; n_columns && i < n; i++) {
        const emr_modulator *m = modulators[i];
        if (m->source->rescaled(m->user, tensor) % n_columns)
            return emr_fail(error, EMR_EINVAL, "tensor '%s': a row of %u columns has more than one rescaler",
                            m->source->name(m->user, tensor), n_columns);
    }
    return EMR_OK;
}

emr_status emr_modulator_multiply(emr_modulator *const *modulators, const emr_product *given,
                                  uint64_t n_columns, emr_dtype base_dtype, const void *base,
                                  emr_error *error)
{
    void *few[FEW_MODULATORS], **users = few;
    emr_product p;
    if (!modulators || !given)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_multiply: NULL");
    emr_status status = emr_take_struct(&p, sizeof p, sizeof(emr_product), given, "emr_product", error);
    if (status || !p.batch)
        return status;
    status = check_modulators(modulators, p.batch, p.tensor, error);
    if (status)
        return status;
    emr_modulator *first = modulators[0];
    const char *name = first->source->name(first->user, p.tensor);
    uint64_t count = first->source->count(first->user, p.tensor), n_rows = n_columns ? count / n_columns : 0;
    if (n_columns ? count % n_columns : count)
        return emr_fail(error, EMR_EINVAL, "tensor '%s': %u columns do not divide %u parameters", name,
                        n_columns, count);
    status = check_rows(modulators, p.batch, p.tensor, n_columns, error);
    if (status)
        return status;
    if (!emr_dtype_is_float(base_dtype) || (count && !base))
        return emr_fail(error, EMR_EINVAL, "tensor '%s': the base needs a float dtype and values", name);
    status = emr_product_take(&p, given, name, n_rows, n_columns, error);
    if (!status && p.batch > FEW_MODULATORS)
        users = emr_allocate_array(&first->allocator, p.batch, sizeof *users);
    if (!users)
        status = emr_fail(error, EMR_ENOMEM, "tensor '%s': out of memory", name);
    if (status)
        return status;
    for (size_t i = 0; i < p.batch; i++)
        users[i] = modulators[i]->user;
    emr_multiplication m = {first->kernels, p, n_columns, base, base_dtype, first->source->window, users};
    status = emr_multiply_rows(&m, 0, p.n_rows, error);
    if (users != few)
        emr_release(&first->allocator, users);
    return status;
}

uint64_t emr_count_ones(const uint8_t *mask, size_t bit, size_t n)
{
    uint64_t ones = 0;
    for (; n && bit % 8; bit++, n--)
        ones += mask[bit / 8] >> bit % 8 & 1;
    for (; n >= 64; bit += 64, n -= 64)
        ones += emr_popcount64(emr_load64(mask + bit / 8));
    for (; n; bit++, n--)
        ones += mask[bit / 8] >> bit % 8 & 1;
    return ones;
}

emr_status emr_modulator_get_stats(emr_modulator *m, size_t tensor, emr_modulation_stats *stats, emr_error *error)
{
    if (!m || !stats)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_get_stats: NULL");
    emr_status status = check_range(m, tensor, 0, 0, error);
    emr_modulation_stats known = {.count = emr_modulator_tensor_count(m, tensor)};
    for (uint64_t done = 0; !status && done < known.count;) {
        emr_mask_window w;
        status = m->source->window(m->user, tensor, done, known.count - done, EMR_WINDOW_MASK, &w, error);
        if (status)
            break;
        known.ones += emr_count_ones(w.mask, w.bit, w.n);
        done += w.n;
    }
    return status ? status : emr_give_struct(stats, &known, sizeof known, sizeof(emr_modulation_stats));
}
