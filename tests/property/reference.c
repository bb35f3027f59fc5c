/* reference.c - see property.h: equations 1 to 6 in the plainest C, and a bundle compared with them. */
#include "property.h"

#include <math.h>

static double value_at(const test_model *m, size_t tensor, uint64_t i)
{
    double value;
    emr_dtype dtype = m->tensors[tensor].dtype;
    emr_convert(EMR_DTYPE_F64, &value, dtype, m->data[tensor] + i * emr_dtype_bits(dtype) / 8, 1);
    return value;
}

static float task_vector(const reference *r, size_t task, size_t tensor, uint64_t i)
{
    const test_model *base = &r->set->base, *model = &r->set->tasks[task];
    double w0 = value_at(base, tensor, i), w = value_at(model, tensor, i);
    bool wide = base->tensors[tensor].dtype == EMR_DTYPE_F64 || model->tensors[tensor].dtype == EMR_DTYPE_F64;
    float tau = wide ? (float)(w - w0) : (float)w - (float)w0;
    return r->options.on_nonfinite == EMR_ON_NONFINITE_ZERO && !isfinite(tau) ? 0 : tau;
}

/* Equations 1 to 3 for one parameter, rounded to the unified dtype. */
static float elect_value(const reference *r, size_t tensor, uint64_t i)
{
    size_t n_tasks = r->set->n;
    float sum = 0, magnitude = 0, unified;
    for (size_t t = 0; t < n_tasks; t++)
        sum = sum + r->tau[tensor * n_tasks + t][i];
    int sign = sum > 0 ? 1 : sum < 0 ? -1 : r->options.tie == EMR_TIE_NEGATIVE ? -1 : 0;
    for (size_t t = 0; t < n_tasks; t++) {
        float tau = r->tau[tensor * n_tasks + t][i];
        if ((tau > 0) - (tau < 0) == sign && fabsf(tau) > magnitude)
            magnitude = fabsf(tau);
    }
    unified = (float)sign * magnitude;
    emr_dtype dtype = r->options.unified_dtype ? r->options.unified_dtype : EMR_DTYPE_F32;
    unsigned char stored[4];
    emr_convert(dtype, stored, EMR_DTYPE_F32, &unified, 1);
    emr_convert(EMR_DTYPE_F32, &unified, dtype, stored, 1);
    return unified == 0 ? 0.0f : unified;
}

static void make_tensor(reference *r, size_t tensor, uint64_t n)
{
    size_t n_tasks = r->set->n;
    r->unified[tensor] = calloc((size_t)n + 1, sizeof(float));
    for (size_t t = 0; t < n_tasks; t++) {
        float *tau = r->tau[tensor * n_tasks + t] = calloc((size_t)n + 1, sizeof(float));
        r->mask[tensor * n_tasks + t] = calloc((size_t)n + 1, 1);
        for (uint64_t i = 0; i < n; i++)
            tau[i] = task_vector(r, t, tensor, i);
    }
    for (uint64_t i = 0; i < n; i++) {
        float u = r->unified[tensor][i] = elect_value(r, tensor, i);
        for (size_t t = 0; t < n_tasks; t++) { /* equation 4 */
            float tau = r->tau[tensor * n_tasks + t][i];
            bool near = !r->nearest || fabsf(tau) > 0.5f * fabsf(u);
            r->mask[tensor * n_tasks + t][i] = ((tau > 0 && u > 0) || (tau < 0 && u < 0)) && near;
        }
    }
}

uint64_t reference_rows(const reference *r, size_t tensor)
{
    const test_tensor *t = &r->set->base.tensors[tensor];
    return t->rank < 2 ? 1 : t->shape[0];
}

/* Sums of tau and of q, which stands for it unscaled. */
typedef struct ref_sums {
    double t1, q1, tt, tq, qq;
} ref_sums;

/* q of one parameter, if it is on a side: 0 of a two-sided task is where the mask is 1, 1 where it is 0. */
static bool on_side(const reference *r, size_t task, size_t tensor, uint64_t i, size_t side, double *q)
{
    bool mask = r->mask[tensor * r->set->n + task][i];
    double u = (double)r->unified[tensor][i];
    *q = mask ? u : r->two_sided ? -u : 0;
    return !r->two_sided || (side == 0 ? mask : !mask && u != 0);
}

/* Adds the terms of parameters [from, to), each times `weight`. */
static void add_terms(const reference *r, size_t task, size_t tensor, uint64_t from, uint64_t to,
                      double weight, size_t side, ref_sums *s)
{
    for (uint64_t i = from; i < to; i++) {
        double tau = (double)r->tau[tensor * r->set->n + task][i], q;
        if (!on_side(r, task, tensor, i, side, &q))
            continue;
        s->t1 += weight * fabs(tau);
        s->q1 += weight * fabs(q);
        s->tt += weight * tau * tau;
        s->tq += weight * tau * q;
        s->qq += weight * q * q;
    }
}

static double scale_of(const reference *r, const ref_sums *s)
{
    switch (r->options.rescale) {
    case EMR_RESCALE_L2:
        return s->qq > 0 && s->tq > 0 ? s->tq / s->qq : 0;
    case EMR_RESCALE_NORM:
        return s->qq > 0 ? sqrt(s->tt / s->qq) : 0;
    case EMR_RESCALE_UNBIASED:
        return s->qq > 0 && s->tq > 0 ? fmin(s->tt / s->tq, 4 * s->tq / s->qq) : 0;
    default:
        return s->q1 > 0 ? s->t1 / s->q1 : 0;
    }
}

static double model_rescaler(const reference *r, size_t task, size_t side)
{
    ref_sums s = {0};
    for (size_t i = 0; i < r->set->base.n; i++) {
        uint64_t n = r->unified[i] ? test_tensor_count(&r->set->base.tensors[i]) : 0;
        add_terms(r, task, i, 0, n, r->options.rescale == EMR_RESCALE_L1_MEANS && n ? 1 / (double)n : 1, side,
                  &s);
    }
    return scale_of(r, &s);
}

double reference_scale(const reference *r, size_t task, size_t tensor, uint64_t row, size_t side)
{
    ref_sums s = {0};
    uint64_t n = test_tensor_count(&r->set->base.tensors[tensor]);
    if (r->options.rescale_per == EMR_RESCALE_PER_MODEL)
        return r->per_model[2 * task + side];
    uint64_t length = r->options.rescale_per == EMR_RESCALE_PER_ROW ? n / reference_rows(r, tensor) : n;
    add_terms(r, task, tensor, row * length, (row + 1) * length, 1, side, &s);
    return scale_of(r, &s);
}

/* What is computed where options and modulation leave it open. */
static void choose_rules(reference *r)
{
    const emr_modulation_spec *m = r->options.modulation;
    emr_merge_options *o = &r->options;
    r->two_sided = m && m->kind == EMR_MODULATOR_KIND_TWO_SIDED;
    r->nearest = m && m->mask_rule == EMR_MASK_RULE_NEAREST;
    bool paper = !r->two_sided && !r->nearest;
    o->rescale = m && m->rescale ? m->rescale
                 : o->rescale    ? o->rescale
                 : paper         ? EMR_RESCALE_L1
                                 : EMR_RESCALE_UNBIASED;
    o->rescale_per = m && m->rescale_per ? m->rescale_per
                     : o->rescale_per    ? o->rescale_per
                     : paper             ? EMR_RESCALE_PER_MODEL
                                         : EMR_RESCALE_PER_ROW;
}

reference reference_make(const test_set *s, const emr_merge_options *options)
{
    reference r = {.set = s, .options = options ? *options : EMR_INIT(emr_merge_options)};
    choose_rules(&r);
    r.tau = calloc(s->base.n * s->n + 1, sizeof *r.tau);
    r.mask = calloc(s->base.n * s->n + 1, sizeof *r.mask);
    r.unified = calloc(s->base.n + 1, sizeof *r.unified);
    r.per_model = calloc(2 * s->n + 1, sizeof *r.per_model);
    for (size_t i = 0; i < s->base.n; i++)
        if (emr_dtype_is_float(s->base.tensors[i].dtype))
            make_tensor(&r, i, test_tensor_count(&s->base.tensors[i]));
    for (size_t t = 0; t < s->n; t++)
        for (size_t side = 0; side < (r.two_sided ? 2 : 1); side++)
            r.per_model[2 * t + side] = model_rescaler(&r, t, side);
    return r;
}

emr_fidelity reference_fidelity(const reference *r, size_t task)
{
    double tt = 0, tv = 0, vv = 0;
    for (size_t i = 0; i < r->set->base.n; i++) {
        uint64_t n = r->unified[i] ? test_tensor_count(&r->set->base.tensors[i]) : 0;
        uint64_t length = n && r->options.rescale_per == EMR_RESCALE_PER_ROW ? n / reference_rows(r, i) : n;
        double scales[2] = {0, 0};
        for (uint64_t k = 0; k < n; k++) {
            for (size_t side = 0; k % length == 0 && side < (r->two_sided ? 2 : 1); side++)
                scales[side] = reference_scale(r, task, i, k / length, side);
            double tau = (double)r->tau[i * r->set->n + task][k], q;
            size_t side = !on_side(r, task, i, k, 0, &q);
            tt += tau * tau;
            tv += tau * q * scales[side];
            vv += q * scales[side] * q * scales[side];
        }
    }
    return (emr_fidelity){.size = sizeof(emr_fidelity),
                          .error = (float)((vv - 2 * tv + tt) / tt),
                          .cosine = (float)(vv > 0 ? tv / sqrt(vv * tt) : 0),
                          .coefficient = (float)(tv / tt)};
}

void reference_destroy(reference *r)
{
    for (size_t i = 0; i < r->set->base.n; i++)
        free(r->unified[i]);
    for (size_t i = 0; i < r->set->base.n * r->set->n; i++) {
        free(r->tau[i]);
        free(r->mask[i]);
    }
    free(r->per_model);
    free(r->unified);
    free(r->tau);
    free(r->mask);
}

static const emr_tensor *find_or_fail(const emr_model *model, const char *name)
{
    const emr_tensor *t = emr_model_find_tensor(model, name);
    if (!t)
        fail_msg("no tensor '%s'", name);
    return t;
}

static void check_unified(const reference *r, const emr_bundle *bundle)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_unified(&view, bundle, NULL, &error), &error);
    for (size_t i = 0; i < r->set->base.n; i++) {
        if (!r->unified[i])
            continue;
        const test_tensor *t = &r->set->base.tensors[i];
        unsigned char *got = tensor_bytes_of(find_or_fail(view, t->name));
        assert_memory_equal(got, r->unified[i], (size_t)test_tensor_count(t) * sizeof(float));
        free(got);
    }
    emr_model_destroy(&view);
}

/* Masks, and the count of their bits. */
static void check_mask(const reference *r, const emr_bundle *bundle, uint32_t task)
{
    emr_error error;
    emr_model *view;
    emr_task_info info = EMR_INIT(emr_task_info);
    uint64_t ones = 0;
    assert_ok(emr_bundle_open_mask(&view, bundle, task, NULL, &error), &error);
    for (size_t i = 0; i < r->set->base.n; i++) {
        if (!r->unified[i])
            continue;
        const test_tensor *t = &r->set->base.tensors[i];
        const unsigned char *want = r->mask[i * r->set->n + task];
        unsigned char *got = tensor_bytes_of(find_or_fail(view, t->name));
        assert_memory_equal(got, want, (size_t)test_tensor_count(t));
        for (uint64_t k = 0; k < test_tensor_count(t); k++)
            ones += want[k];
        free(got);
    }
    assert_ok(emr_bundle_get_task(bundle, task, &info), NULL);
    assert_int_equal(info.mask_ones, ones);
    emr_model_destroy(&view);
}

/* One rebuilt tensor: the rescalers to their bound, and the weights, given the rescalers, to the bit. */
static void check_tensor(const reference *r, const emr_bundle *bundle, uint32_t task, size_t i,
                         const emr_model *rebuilt)
{
    const test_tensor *own = &r->set->tasks[task].tensors[i], *base = &r->set->base.tensors[i];
    uint64_t n = test_tensor_count(base), rows = reference_rows(r, i);
    unsigned char *got = tensor_bytes_of(find_or_fail(rebuilt, base->name));
    uint32_t number;
    size_t n_rescalers, n_sides = r->two_sided ? 2 : 1;
    bool per_row = r->options.rescale_per == EMR_RESCALE_PER_ROW;
    assert_ok(emr_bundle_find_tensor(bundle, base->name, &number, NULL), NULL);
    float *rescalers = rescalers_of(bundle, task, number, &n_rescalers);
    if (n) /* what has no elements may have no rescalers */
        assert_int_equal(n_rescalers, (per_row ? rows : 1) * n_sides);
    for (size_t k = 0; n && k < n_rescalers; k++)
        assert_rescaler(rescalers[k], reference_scale(r, task, i, k / n_sides, k % n_sides));
    for (uint64_t k = 0; k < n; k++) {
        bool mask = r->mask[i * r->set->n + task][k];
        const float *scales = rescalers + (per_row ? k / (n / rows) * n_sides : 0);
        weight_of w = {.base_dtype = base->dtype,
                       .out_dtype = own->dtype,
                       .base = r->set->base.data[i] + k * emr_dtype_bits(base->dtype) / 8,
                       .masked = mask,
                       .unified = r->unified[i][k],
                       .rescaler = mask || !r->two_sided ? scales[0] : -scales[1]};
        if (r->two_sided)
            w.masked = w.unified != 0 && w.rescaler != 0;
        assert_weight(&w, got + k * emr_dtype_bits(own->dtype) / 8, base->name, (size_t)k);
    }
    free(rescalers);
    free(got);
}

void assert_task_is_formula(const emr_bundle *bundle, uint32_t task, const emr_model *base,
                            const reference *r)
{
    emr_error error;
    emr_model *rebuilt;
    check_mask(r, bundle, task);
    assert_ok(emr_bundle_open_task(&rebuilt, bundle, task, base, NULL, &error), &error);
    for (size_t i = 0; i < r->set->base.n; i++)
        if (r->unified[i])
            check_tensor(r, bundle, task, i, rebuilt);
    emr_model_destroy(&rebuilt);
}

void assert_bundle_is_formula(const emr_bundle *bundle, const emr_model *base, const reference *r)
{
    check_unified(r, bundle);
    for (uint32_t task = 0; task < r->set->n; task++)
        assert_task_is_formula(bundle, task, base, r);
}

void assert_merge_is_formula(const test_set *s, const emr_merge_options *options)
{
    reference r = reference_make(s, options);
    emr_buffer *buffer = test_merge_bundle(s, options);
    emr_buffer *mapped = test_buffer_of(emr_buffer_data(buffer), emr_buffer_bytes(buffer));
    emr_bundle *bundle = test_bundle_open(mapped);
    assert_bundle_is_formula(bundle, s->base.model, &r);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&mapped);
    emr_buffer_destroy(&buffer);
    reference_destroy(&r);
}
