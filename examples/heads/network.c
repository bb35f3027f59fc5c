/* network.c - see network.h. */
#include "network.h"

#include <stdio.h>
#include <stdlib.h>

const char *const task_names[N_TASKS] = {"digit", "parity", "thirds", "loops", "large"};

static uint8_t answer_of(size_t task, uint8_t digit)
{
    static const uint8_t loops[] = {1, 0, 0, 0, 0, 0, 1, 0, 2, 1};
    const uint8_t all[N_TASKS] = {digit, digit % 2, digit % 3, loops[digit], digit / 5};
    return all[task];
}

/* A whole tensor that must be there, with `count` elements; 0: with any number, up to `most`. */
static emr_status read_floats(const emr_model *model, const char *name, uint64_t count, uint64_t most,
                              float *values, emr_error *error)
{
    const emr_tensor *t = emr_model_find_tensor(model, name);
    if (!t || (count ? emr_tensor_count(t) != count : emr_tensor_count(t) > most))
        return emr_error_set(error, EMR_EMISMATCH, 0, name, "is not there, or of another shape");
    return emr_tensor_read_floats(t, 0, (size_t)emr_tensor_count(t), values, error);
}

emr_status network_read(network *net, const emr_model *model, emr_error *error)
{
    emr_status status = read_floats(model, "fc1.weight", N_HIDDEN * N_PIXELS, 0, &net->fc1[0][0], error);
    if (!status)
        status = read_floats(model, "fc1.bias", N_HIDDEN, 0, net->fc1_bias, error);
    if (!status)
        status = read_floats(model, "fc2.weight", N_HIDDEN * N_HIDDEN, 0, &net->fc2[0][0], error);
    if (!status)
        status = read_floats(model, "fc2.bias", N_HIDDEN, 0, net->fc2_bias, error);
    if (!status)
        status = read_floats(model, "head.weight", 0, N_LABELS_MOST * N_HIDDEN, &net->head[0][0], error);
    if (!status)
        status = read_floats(model, "head.bias", 0, N_LABELS_MOST, net->head_bias, error);
    if (!status)
        net->n_labels = (size_t)emr_tensor_count(emr_model_find_tensor(model, "head.bias"));
    return status;
}

emr_status samples_read(samples *set, const emr_model *heldout, emr_error *error)
{
    const emr_tensor *pixels = emr_model_find_tensor(heldout, "digit.pixels");
    const emr_tensor *digits = emr_model_find_tensor(heldout, "digit.labels");
    uint8_t digit[N_SAMPLES];
    if (!pixels || !digits || emr_tensor_bytes(pixels) != sizeof set->pixels ||
        emr_tensor_bytes(digits) != sizeof digit)
        return emr_error_set(error, EMR_EMISMATCH, 0, "digit.pixels", "is not there, or of another shape");
    emr_status status = emr_tensor_read(pixels, 0, set->pixels, sizeof set->pixels, error);
    if (!status)
        status = emr_tensor_read(digits, 0, digit, sizeof digit, error);
    for (size_t t = 0; !status && t < N_TASKS; t++)
        for (size_t s = 0; s < N_SAMPLES; s++)
            set->labels[t][s] = answer_of(t, digit[s]);
    return status;
}

static void apply_layer(const float *weight, const float *bias, size_t n_out, size_t n_in, const float *in,
                        float *out, int is_last)
{
    for (size_t o = 0; o < n_out; o++) {
        float sum = bias[o];
        for (size_t i = 0; i < n_in; i++)
            sum += weight[o * n_in + i] * in[i];
        out[o] = is_last || sum > 0 ? sum : 0;
    }
}

static void run_network(const network *net, const uint8_t *pixels, float *logits)
{
    float image[N_PIXELS], first[N_HIDDEN], second[N_HIDDEN];
    for (size_t i = 0; i < N_PIXELS; i++)
        image[i] = (float)pixels[i] / 16;
    apply_layer(&net->fc1[0][0], net->fc1_bias, N_HIDDEN, N_PIXELS, image, first, 0);
    apply_layer(&net->fc2[0][0], net->fc2_bias, N_HIDDEN, N_HIDDEN, first, second, 0);
    apply_layer(&net->head[0][0], net->head_bias, net->n_labels, N_HIDDEN, second, logits, 1);
}

/* The answer that is most likely; a single probability is that of 1 against 0. */
static size_t likeliest_label(const float *p, size_t n, double *sure)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (p[i] > p[best])
            best = i;
    *sure = n > 1 ? (double)p[best] : p[0] > 0.5f ? (double)p[0] : 1 - (double)p[0];
    return n > 1 ? best : p[0] > 0.5f;
}

static answers count_answers(const float *p, size_t stride, size_t n, const uint8_t *labels)
{
    answers a = {0, 0};
    for (size_t s = 0; s < N_SAMPLES; s++) {
        double sure;
        a.right += likeliest_label(p + s * stride, n, &sure) == labels[s];
        a.sure += sure;
    }
    return (answers){100 * a.right / N_SAMPLES, 100 * a.sure / N_SAMPLES};
}

emr_status network_answer(const network *net, const samples *set, const emr_head_group *groups,
                          const size_t *tasks, size_t n_groups, answers *answered)
{
    float *logits = malloc(N_SAMPLES * net->n_labels * sizeof *logits);
    if (!logits)
        return EMR_ENOMEM;
    for (size_t s = 0; s < N_SAMPLES; s++)
        run_network(net, set->pixels[s], logits + s * net->n_labels);
    emr_status status = emr_group_softmax(logits, N_SAMPLES, net->n_labels, groups, n_groups, logits);
    for (size_t g = 0; !status && g < n_groups; g++)
        answered[g] = count_answers(logits + groups[g].first, net->n_labels, (size_t)groups[g].count,
                                    set->labels[tasks[g]]);
    free(logits);
    return status;
}
