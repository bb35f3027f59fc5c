/* adapter_fit.c - see adapter_changes.h: shapes decide which way round a weight lies and what its factors
 * are. */
#include "checkpoint/adapter_changes.h"
#include "numeric/root.h"

#include <string.h>

static emr_status fail_shape(const emr_adaptation *d, const emr_tensor *part, const emr_change *c,
                             emr_error *error)
{
    return emr_fail(error, EMR_EMISMATCH, "%F: the shape of tensor '%T' does not fit '%s' of %s",
                    d->adapter->name, part->name, c->name, c->work.weight->model_name);
}

static bool is_adaptable(const emr_tensor *t)
{
    return t->dtype == EMR_DTYPE_F32 || t->dtype == EMR_DTYPE_F16 || t->dtype == EMR_DTYPE_BF16;
}

static emr_status check_kinds(const emr_adaptation *d, const emr_change *c, emr_error *error)
{
    const emr_tensor *const parts[] = {c->a, c->b, c->magnitude, c->ia3};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i] && !emr_dtype_is_float(parts[i]->dtype))
            return emr_fail(error, EMR_EUNSUPPORTED, "%F: tensor '%T' is %s, no float", d->adapter->name,
                            parts[i]->name, emr_dtype_name(parts[i]->dtype));
    if (is_adaptable(c->work.weight))
        return EMR_OK;
    return emr_fail(
        error, EMR_EUNSUPPORTED,
        "%F: tensor '%T' is %s, and an adapter is applied to F32, F16 and BF16: dequantise the model first",
        c->work.weight->model_name, c->work.weight->name, emr_dtype_name(c->work.weight->dtype));
}

/* Whether dimensions from `first` on are the same. */
static bool same_dimensions(const emr_tensor *a, const emr_tensor *b, uint32_t first)
{
    for (uint32_t i = first; i < a->rank && a->rank == b->rank; i++)
        if (a->shape[i] != b->shape[i])
            return false;
    return a->rank == b->rank;
}

/* Which way round the weight lies, W as B A or as its transpose; false if neither fits. */
static bool fit_matrix(emr_adaptation *d, emr_change *c)
{
    const emr_tensor *w = c->work.weight, *a = c->a, *b = c->b;
    if (w->rank < 2 || a->rank < 2 || b->rank < 2 || b->shape[1] != a->shape[0] ||
        b->count != b->shape[0] * b->shape[1])
        return false;
    bool straight = b->shape[0] == w->shape[0] && same_dimensions(a, w, 1),
         turned = w->rank == 2 && a->rank == 2 && b->shape[0] == w->shape[1] && a->shape[1] == w->shape[0];
    if (c->is_embedding) {
        c->work.transposed = true;
        return turned;
    }
    d->has_square = d->has_square || (straight && turned);
    d->has_straight = d->has_straight || (straight && !turned);
    d->has_turned = d->has_turned || (turned && !straight);
    c->work.transposed = straight && turned ? d->settings.fan_in_fan_out : turned;
    return straight || turned;
}

static bool fit_bias(const emr_change *c)
{
    return c->work.weight->rank == 1 && c->b->count == c->work.weight->count;
}

/* One factor an output of V, in whichever dimension that is. */
static void place_factors(emr_adapted *w, bool by_rows, uint64_t n)
{
    w->n_factors = n;
    w->run = by_rows ? w->columns : w->columns / n;
}

static emr_status prepare_lora(emr_adaptation *d, emr_change *c, emr_error *error)
{
    uint64_t rank = c->a->rank ? c->a->shape[0] : 0;
    emr_adapted *w = &c->work;
    if (!rank || rank > EMR_ADAPTED_RANK_MAX)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: tensor '%T' has rank %u; 1 to %u are possible",
                        d->adapter->name, c->a->name, rank, (uint64_t)EMR_ADAPTED_RANK_MAX);
    emr_status status = emr_adapter_settings_scale(&d->settings, c->module, rank, &w->scale, error);
    if (status)
        return status;
    w->b = c->b;
    if (c->is_bias) {
        w->rank = 1;
        w->columns = 1;
        return fit_bias(c) ? EMR_OK : fail_shape(d, c->b, c, error);
    }
    w->a = c->a;
    w->rank = rank;
    if (!fit_matrix(d, c))
        return fail_shape(d, c->a, c, error);
    if (!c->magnitude != !d->settings.use_dora)
        return emr_fail(error, EMR_EFORMAT, "%F: '%s' has %s, and its adapter_config.json says use_dora: %s",
                        d->adapter->name, c->module, c->magnitude ? "magnitudes" : "no magnitudes",
                        d->settings.use_dora ? "true" : "false");
    if (c->magnitude && c->magnitude->count != (w->transposed ? w->columns : w->rows))
        return fail_shape(d, c->magnitude, c, error);
    if (c->magnitude)
        place_factors(w, !w->transposed, c->magnitude->count);
    return EMR_OK;
}

/* By outputs or by inputs, and in which dimension of the weight these lie. */
static bool fit_ia3(emr_adaptation *d, emr_change *c, bool *by_outputs)
{
    const emr_tensor *l = c->ia3, *t = c->work.weight;
    emr_adapted *w = &c->work;
    uint64_t n = l->count;
    if (!n || t->rank < 2 || l->rank != t->rank)
        return false;
    if (t->rank > 2) { /* convolutions: [1][n][1][1] both ways */
        *by_outputs = n == w->rows;
        place_factors(w, *by_outputs, n);
        return l->shape[1] == n && (n == w->rows) != (n == t->shape[1]);
    }
    *by_outputs = l->shape[1] == 1;
    bool straight = n == (*by_outputs ? w->rows : w->columns),
         turned = n == (*by_outputs ? w->columns : w->rows);
    d->has_square = d->has_square || (straight && turned);
    d->has_straight = d->has_straight || (straight && !turned);
    d->has_turned = d->has_turned || (turned && !straight);
    if (straight && turned)
        straight = !d->settings.fan_in_fan_out;
    place_factors(w, *by_outputs == straight, n);
    return (straight || turned) && (*by_outputs || l->shape[0] == 1);
}

static emr_status read_factors(const emr_adaptation *d, const emr_tensor *t, float **factors,
                               emr_error *error)
{
    *factors = t->count < SIZE_MAX ? emr_allocate_array(&d->env.allocator, (size_t)t->count, sizeof **factors)
                                   : NULL;
    return *factors ? emr_tensor_read_floats(t, 0, (size_t)t->count, *factors, error)
                    : emr_no_memory(error, d->adapter->name);
}

static emr_status prepare_ia3(emr_adaptation *d, size_t i, emr_error *error)
{
    emr_change *c = &d->changes[i], *bias = NULL;
    bool by_outputs;
    if (!fit_ia3(d, c, &by_outputs))
        return fail_shape(d, c->ia3, c, error);
    const emr_tensor *l = c->ia3, *found;
    emr_status status = read_factors(d, l, &c->factors, error);
    c->work.factors = c->factors;
    if (status || !by_outputs)
        return status;
    char *name = emr_join_strings(&d->env.allocator, c->module, strlen(c->module), ".bias");
    if (!name)
        return emr_no_memory(error, d->adapter->name);
    status = emr_changes_find_base(d, name, &found, error);
    if (!status && found)
        status = emr_changes_get(d, name, &bias, error); /* changes may move */
    emr_release(&d->env.allocator, name);
    if (status || !bias)
        return status;
    bias->work.weight = bias->saved ? bias->saved : bias->base;
    bias->is_bias = true;
    bias->ia3 = l;
    bias->work.rows = bias->work.weight->count;
    bias->work.columns = bias->work.run = 1;
    bias->work.n_factors = l->count;
    if (bias->work.weight->rank != 1 || bias->work.rows != l->count)
        return fail_shape(d, l, bias, error);
    status = check_kinds(d, bias, error);
    if (!status)
        status = read_factors(d, l, &bias->factors, error);
    bias->work.factors = bias->factors;
    return status;
}

static emr_status prepare_change(emr_adaptation *d, size_t i, emr_error *error)
{
    emr_change *c = &d->changes[i];
    if ((!c->b && !c->ia3) || c->work.factors)
        return EMR_OK;
    const emr_tensor *w = c->work.weight = c->saved ? c->saved : c->base;
    if (!w->count)
        return fail_shape(d, c->b ? c->b : c->ia3, c, error);
    c->work.rows = w->rank ? w->shape[0] : 1;
    c->work.columns = w->count / c->work.rows;
    emr_status status = check_kinds(d, c, error);
    if (status)
        return status;
    return c->b ? prepare_lora(d, c, error) : prepare_ia3(d, i, error);
}

/* Where some fit only one way and the configuration says the other, it does not tell about squares. */
static emr_status check_squares(const emr_adaptation *d, emr_error *error)
{
    bool says_turned = d->settings.fan_in_fan_out;
    if (!d->has_square || !(says_turned ? d->has_straight : d->has_turned))
        return EMR_OK;
    return emr_fail(error, EMR_EUNSUPPORTED,
                    "%F: its adapter_config.json says fan_in_fan_out: %s, which is not so for all of its "
                    "layers, and square "
                    "ones fit either way: fold it into its model first (merge_and_unload in PEFT)",
                    d->adapter->name, says_turned ? "true" : "false");
}

/* DoRA's m / |V|: all of V is read, in its order. */
static emr_status sum_squares(const emr_adaptation *d, const emr_adapted *w, void *scratch, double *sums,
                              uint64_t *done, uint64_t total, emr_error *error)
{
    emr_status status = EMR_OK;
    const float *values;
    for (uint64_t at = 0, n; !status && at < w->weight->count; at += n) {
        n = emr_min(w->weight->count - at, EMR_ADAPTED_COUNT);
        status = emr_adapted_values(w, scratch, at, (size_t)n, &values, error);
        for (uint64_t i = 0; !status && i < n; i++)
            sums[(at + i) / w->run % w->n_factors] += (double)values[i] * (double)values[i];
        *done += n;
        if (!status)
            status = emr_env_progress(&d->env, *done, total, "applying an adapter", error);
    }
    return status;
}

static emr_status divide_by_norms(const emr_adaptation *d, emr_change *c, void *scratch, uint64_t *done,
                                  uint64_t total, emr_error *error)
{
    size_t n = (size_t)c->work.n_factors;
    double *sums = emr_allocate_array(&d->env.allocator, n, sizeof *sums);
    emr_status status =
        sums ? read_factors(d, c->magnitude, &c->factors, error) : emr_no_memory(error, d->adapter->name);
    if (!status)
        status = sum_squares(d, &c->work, scratch, sums, done, total, error);
    for (size_t i = 0; !status && i < n; i++)
        c->factors[i] = (float)((double)c->factors[i] / emr_square_root(sums[i]));
    c->work.factors = c->factors;
    emr_release(&d->env.allocator, sums);
    return status;
}

size_t emr_changes_scratch(const emr_adaptation *d)
{
    size_t most = 0, n;
    for (size_t i = 0; i < d->n; i++)
        if ((d->changes[i].b || d->changes[i].ia3) && (n = emr_adapted_scratch(&d->changes[i].work)) > most)
            most = n;
    return most;
}

static emr_status add_norms(const emr_adaptation *d, emr_error *error)
{
    uint64_t done = 0, total = 0;
    emr_status status = EMR_OK;
    void *scratch;
    for (size_t i = 0; i < d->n; i++)
        total += d->changes[i].magnitude ? d->changes[i].work.weight->count : 0;
    if (!total)
        return EMR_OK;
    scratch = emr_allocate_array(&d->env.allocator, 1, emr_changes_scratch(d));
    if (!scratch)
        return emr_no_memory(error, d->adapter->name);
    for (size_t i = 0; !status && i < d->n; i++)
        if (d->changes[i].magnitude)
            status = divide_by_norms(d, &d->changes[i], scratch, &done, total, error);
    emr_release(&d->env.allocator, scratch);
    return status;
}

emr_status emr_changes_fit(emr_adaptation *d, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < d->n; i++)
        status = prepare_change(d, i, error);
    if (!status)
        status = check_squares(d, error);
    return status ? status : add_norms(d, error);
}
