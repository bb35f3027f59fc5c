/* output_moments.c - what a BatchNorm behind a linear layer would measure: mean W m + b, variance diag(W C W^T), from the sums of what
 * the layer reads. */
#include "project.h"
#include "weights.h"

/* Rows of a weight [out, in...] as panels, the biases behind them. */
static emr_status read_weights(const emr_tensor *weight, const emr_tensor *bias, size_t outputs, size_t width,
                               double *room, fit_solved *panels, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t o = 0; !status && o < outputs; o++) {
        status = fit_read(weight, (uint64_t)o * width, width, room, error);
        for (size_t k = 0; !status && k < width; k++)
            panels->sides[o / FIT_TILE][k][o % FIT_TILE] = room[k];
        if (!status && bias)
            status = fit_read(bias, o, 1, &panels->sides[o / FIT_TILE][width][o % FIT_TILE], error);
    }
    return status;
}

static void take_moments(const gram_site *s, size_t outputs, size_t width, const fit_solved *weights,
                         const fit_solved *product, double *mean, double *variance)
{
    double rows = (double)s->n_rows;
    for (size_t o = 0; o < outputs; o++) {
        const fit_panel *w = (const fit_panel *)weights->sides[o / FIT_TILE],
                        *t = (const fit_panel *)product->sides[o / FIT_TILE];
        double square = 0;
        for (size_t k = 0; k <= width; k++)
            square += w[k][o % FIT_TILE] * t[k][o % FIT_TILE];
        mean[o] = t[width][o % FIT_TILE] / rows;
        variance[o] = square / rows - mean[o] * mean[o];
        variance[o] = variance[o] > 0 ? variance[o] : 0;
    }
}

static emr_status check_layer(const emr_gram *gram, const gram_site *s, uint32_t model,
                              const emr_tensor *weight, const emr_tensor *bias, emr_error *error)
{
    for (uint32_t m = 0; m < gram->n_models; m++)
        if (s->widths[m] != s->widths[model])
            return emr_error_format(error, EMR_EUNSUPPORTED, "site '%s': its models have different widths",
                                    s->name);
    if (!s->n_rows)
        return emr_error_format(error, EMR_EMISMATCH, "site '%s' has no rows", s->name);
    if (!emr_dtype_is_float(emr_tensor_dtype(weight)) || emr_tensor_rank(weight) < 2 ||
        !emr_tensor_count(weight) ||
        emr_tensor_count(weight) / emr_tensor_shape(weight)[0] != s->widths[model])
        return emr_error_format(error, EMR_EMISMATCH,
                                "tensor '%T' is no float weight [out, in] with the %u inputs of site '%s'",
                                emr_tensor_name(weight), s->widths[model], s->name);
    if (bias && (!emr_dtype_is_float(emr_tensor_dtype(bias)) ||
                 emr_tensor_count(bias) != emr_tensor_shape(weight)[0]))
        return emr_error_format(error, EMR_EMISMATCH, "tensor '%T' is no float bias of %u outputs",
                                emr_tensor_name(bias), emr_tensor_shape(weight)[0]);
    return EMR_OK;
}

emr_status emr_gram_output_moments(const emr_gram *gram, uint32_t site, uint32_t model,
                                   const emr_tensor *weight, const emr_tensor *bias, double *mean,
                                   double *variance, emr_error *error)
{
    if (!gram || !weight || !mean || !variance || site >= gram->n_sites || model >= gram->n_models)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_output_moments: NULL, or no such site or model");
    const gram_site *s = gram->sites[site];
    const fit_host *host = &gram->host;
    emr_status status = check_layer(gram, s, model, weight, bias, error);
    if (status)
        return status;
    size_t width = (size_t)s->widths[model], outputs = (size_t)emr_tensor_shape(weight)[0];
    double *room = fit_allocate(host, width, sizeof *room);
    fit_solved *weights = fit_solved_create(host, 0, fit_n_panels(outputs), project_rows(width));
    fit_solved *product = fit_solved_create(host, 0, fit_n_panels(outputs), project_rows(width));
    status = room && weights && product ? read_weights(weight, bias, outputs, width, room, weights, error)
                                        : fit_no_memory(error);
    if (!status)
        status = fit_project(host, s, model, model, width, weights, product, error);
    if (!status)
        take_moments(s, outputs, width, weights, product, mean, variance);
    fit_release(host, room);
    fit_solved_release(weights);
    fit_solved_release(product);
    return status;
}
