/* modulator.c - a task's modulator: applying it, counting its mask. Freestanding; where masks and unified
 * values come from is the source's business. */
#include "modulator/modulator.h"

#include "core/bytes.h"
#include "core/names.h"
#include "numeric/convert.h"

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

emr_status emr_modulator_find(const emr_modulator *m, const char *name, size_t *tensor)
{
    if (!name || !tensor)
        return EMR_EINVAL;
    *tensor = m->source->find(m->user, name);
    return *tensor == EMR_NAMES_NONE ? EMR_ENOTFOUND : EMR_OK;
}

const char *emr_modulator_name(const emr_modulator *m, size_t tensor)
{
    return tensor < emr_modulator_n_tensors(m) ? m->source->name(m->user, tensor) : NULL;
}

uint64_t emr_modulator_count(const emr_modulator *m, size_t tensor)
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
    for (uint64_t done = 0; !status && done < count;) {
        emr_mask_window w;
        status = m->source->window(m->user, tensor, first + done, count - done, false, &w, error);
        if (status)
            break;
        m->kernels->apply(&(emr_run){.n = w.n,
                                     .base = (const uint8_t *)base + done * emr_float_size(base_dtype),
                                     .unified = w.unified,
                                     .mask = w.mask,
                                     .bit = w.bit,
                                     .rescaler = w.rescaler,
                                     .base_dtype = (uint8_t)base_dtype,
                                     .unified_dtype = w.unified_dtype,
                                     .out_dtype = (uint8_t)out_dtype,
                                     .out = (uint8_t *)out + done * emr_float_size(out_dtype)});
        done += w.n;
    }
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

emr_status emr_modulator_stats(emr_modulator *m, size_t tensor, emr_modulation_stats *stats, emr_error *error)
{
    if (!m || !stats)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_stats: NULL");
    emr_status status = check_range(m, tensor, 0, 0, error);
    emr_modulation_stats known = {.count = emr_modulator_count(m, tensor)};
    for (uint64_t done = 0; !status && done < known.count;) {
        emr_mask_window w;
        status = m->source->window(m->user, tensor, done, known.count - done, true, &w, error);
        if (status)
            break;
        known.ones += emr_count_ones(w.mask, w.bit, w.n);
        done += w.n;
    }
    return status ? status : emr_give_struct(stats, &known, sizeof known, sizeof(emr_modulation_stats));
}
