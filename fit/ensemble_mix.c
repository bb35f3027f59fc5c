/* ensemble_mix.c - what sources make together, by their scores: logits or probabilities, and the loss at a label. A single column v
 * stands for the two logits 0 and v. */
#include "ensemble.h"

#include "emr/elementary.h"

static double largest(const double *z, size_t n)
{
    double most = z[0];
    for (size_t i = 1; i < n; i++)
        most = z[i] > most ? z[i] : most;
    return most;
}

/* log of the sum of exp(z). */
static double log_sum(const double *z, size_t n)
{
    double most = largest(z, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += emr_exp(z[i] - most);
    return most + emr_log(sum);
}

static double log_normaliser(const double *logits, size_t n_columns)
{
    const double pair[2] = {0, logits[0]};
    return n_columns == 1 ? log_sum(pair, 2) : log_sum(logits, n_columns);
}

/* The label's logit. */
static double labelled(const double *logits, size_t n_columns, uint32_t label)
{
    return n_columns == 1 ? label * logits[0] : logits[label];
}

/* What a column should be: 0 or 1. */
static double wanted(size_t column, size_t n_columns, uint32_t label)
{
    return n_columns == 1 ? label : column == label;
}

static void widen_values(const float *values, size_t n, double *wide)
{
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)values[i];
}

/* The mix, a source's values, and a number for each source. */
size_t fit_ensemble_room_length(size_t n_sources, size_t n_columns)
{
    return 2 * n_columns + n_sources;
}

void fit_ensemble_weigh(double *scores, size_t n)
{
    double most = largest(scores, n), sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += scores[j] = emr_exp(scores[j] - most);
    for (size_t j = 0; j < n; j++)
        scores[j] /= sum;
}

void fit_ensemble_mix_values(emr_ensemble_mix mix, const double *weights, const emr_ensemble_batch *batch,
                             const float *values, double *room)
{
    const size_t n = batch->n_columns;
    double *mixed = room, *source = room + n;
    for (size_t c = 0; c < n; c++)
        mixed[c] = 0;
    for (size_t j = 0; j < batch->n_sources; j++) {
        widen_values(values + j * n, n, source);
        if (mix == EMR_ENSEMBLE_MIX_PROBABILITIES) {
            double normaliser = log_normaliser(source, n);
            for (size_t c = 0; c < n; c++)
                source[c] = emr_exp(source[c] - normaliser);
        }
        for (size_t c = 0; c < n; c++)
            mixed[c] += weights[j] * source[c];
    }
}

/* L = -log softmax(l)_label. With g = dL/dl and da_j = g . l_j, ds_j = a_j (da_j - sum over k of a_k da_k), and that sum is g . l. */
static double loss_of_logits(double *scores, const emr_ensemble_batch *batch, const float *values,
                             uint32_t label, bool goes_back, double *room)
{
    const size_t n = batch->n_columns;
    fit_ensemble_weigh(scores, batch->n_sources);
    fit_ensemble_mix_values(EMR_ENSEMBLE_MIX_LOGITS, scores, batch, values, room);
    double normaliser = log_normaliser(room, n), loss = normaliser - labelled(room, n, label), mean = 0;
    if (!goes_back)
        return loss;
    for (size_t c = 0; c < n; c++) {
        double g = emr_exp(room[c] - normaliser) - wanted(c, n, label);
        mean += g * room[c];
        room[c] = g;
    }
    for (size_t j = 0; j < batch->n_sources; j++) {
        double da = 0;
        for (size_t c = 0; c < n; c++)
            da += room[c] * (double)values[j * n + c];
        scores[j] *= da - mean;
    }
    return loss;
}

/* L = -log(sum over j of a_j p_j), p_j the source's probability of the label; ds_j = a_j - a_j p_j / sum over k of a_k p_k. */
static double loss_of_probabilities(double *scores, const emr_ensemble_batch *batch, const float *values,
                                    uint32_t label, bool goes_back, double *room)
{
    const size_t n = batch->n_columns;
    double *source = room + n, *joint = source + n;
    for (size_t j = 0; j < batch->n_sources; j++) {
        widen_values(values + j * n, n, source);
        joint[j] = scores[j] + labelled(source, n, label) - log_normaliser(source, n);
    }
    double all = log_sum(scores, batch->n_sources), right = log_sum(joint, batch->n_sources);
    for (size_t j = 0; goes_back && j < batch->n_sources; j++)
        scores[j] = emr_exp(scores[j] - all) - emr_exp(joint[j] - right);
    return all - right;
}

double fit_ensemble_loss(emr_ensemble_mix mix, double *scores, const emr_ensemble_batch *batch,
                         const float *values, uint32_t label, bool goes_back, double *room)
{
    return mix == EMR_ENSEMBLE_MIX_LOGITS
               ? loss_of_logits(scores, batch, values, label, goes_back, room)
               : loss_of_probabilities(scores, batch, values, label, goes_back, room);
}
