/* tasks.c - see tasks.h. */
#include "tasks.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

const char *const task_names[N_TASKS] = {"digit",    "parity", "inverted", "loops",
                                         "shuffled", "thirds", "reverse",  "turned"};

static emr_status open_network(emr_model **model, network *net, const char *digits, const char *name,
                               emr_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/models/%s.safetensors", digits, name);
    emr_status status = emr_checkpoint_open(model, path, NULL, error);
    return status ? status : network_read(net, *model, error);
}

static void answer_images(const network *net, const images *set, uint32_t *answers)
{
    activations a;
    for (size_t first = 0; first < set->n; first += BATCH) {
        size_t n = set->n - first < BATCH ? set->n - first : BATCH;
        images_take(set, first, n, a.of[0], NULL);
        network_forward(net, &a, n);
        for (size_t s = 0; s < n; s++)
            answers[first + s] = answer_of(a.of[N_LAYERS][s]);
    }
}

emr_status tasks_open(tasks *all, const char *digits, const char *learning, emr_error *error)
{
    char path[PATH_SIZE];
    memset(all, 0, sizeof *all);
    snprintf(path, sizeof path, "%s/heldout.safetensors", digits);
    emr_status status = emr_checkpoint_open(&all->heldout_images, path, NULL, error);
    if (!status)
        status = emr_checkpoint_open(&all->learning, learning, NULL, error);
    if (!status)
        status = open_network(&all->base, &all->pretrained, digits, "pretrained", error);
    for (int t = 0; !status && t < N_TASKS; t++) {
        status = open_network(&all->models[t], &all->individual[t], digits, task_names[t], error);
        if (!status)
            status = images_read(&all->unlabelled[t], all->learning, task_names[t], error);
        if (!status)
            status = images_read(&all->heldout[t], all->heldout_images, task_names[t], error);
        if (!status)
            answer_images(&all->individual[t], &all->unlabelled[t], all->unlabelled[t].labels);
    }
    return status;
}

void tasks_close(tasks *all)
{
    for (int t = 0; t < N_TASKS; t++)
        emr_model_destroy(&all->models[t]);
    emr_model_destroy(&all->base);
    emr_model_destroy(&all->learning);
    emr_model_destroy(&all->heldout_images);
}

emr_status images_read(images *set, const emr_model *model, const char *name, emr_error *error)
{
    static const char reason[] = "there are no such images, or too many: ";
    char text[128];
    uint8_t pixels[IMAGES_MAX][N_PIXELS], labels[IMAGES_MAX] = {0};
    snprintf(text, sizeof text, "%s.pixels", name);
    const emr_tensor *tensor = emr_model_find_tensor(model, text);
    snprintf(text, sizeof text, "%s.labels", name);
    const emr_tensor *answers = emr_model_find_tensor(model, text);
    if (!tensor || emr_tensor_bytes(tensor) > sizeof pixels) {
        snprintf(text, sizeof text, "%s%s", reason, name);
        return emr_error_set(error, EMR_ENOTFOUND, 0, emr_model_name(model), text);
    }
    set->n = (size_t)emr_tensor_bytes(tensor) / N_PIXELS;
    emr_status status = emr_tensor_read(tensor, 0, pixels, (size_t)emr_tensor_bytes(tensor), error);
    if (!status && answers)
        status = emr_tensor_read(answers, 0, labels, set->n, error);
    for (size_t s = 0; !status && s < set->n; s++) {
        for (size_t i = 0; i < N_PIXELS; i++)
            set->inputs[s][i] = (float)pixels[s][i] / 16;
        set->labels[s] = labels[s];
    }
    return status;
}

void images_take(const images *set, size_t first, size_t n, rows inputs, uint32_t *labels)
{
    for (size_t s = 0; s < n; s++) {
        size_t number = (first + s) % set->n;
        memcpy(inputs[s], set->inputs[number], sizeof set->inputs[number]);
        if (labels)
            labels[s] = set->labels[number];
    }
}

emr_status tasks_merge(const tasks *all, const emr_modulation_spec *kind, emr_buffer **memory,
                       emr_bundle **bundle, emr_error *error)
{
    emr_merge *merge = NULL;
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.modulation = kind;
    emr_status status = emr_buffer_create(memory, NULL, error);
    if (!status)
        status = emr_merge_create(&merge, &options, error);
    if (!status)
        status = emr_merge_set_base(merge, all->base, error);
    for (int t = 0; !status && t < N_TASKS; t++)
        status = emr_merge_add_task(merge, task_names[t], all->models[t], error);
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(*memory), error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    return status ? status : emr_bundle_open(bundle, emr_buffer_io(*memory), NULL, NULL, error);
}

uint32_t answer_of(const float *logits)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < N_LOGITS; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

double images_accuracy(const network *net, const images *set)
{
    uint32_t answers[IMAGES_MAX];
    size_t n_right = 0;
    answer_images(net, set, answers);
    for (size_t s = 0; s < set->n; s++)
        n_right += answers[s] == set->labels[s];
    return 100.0 * (double)n_right / (double)set->n;
}

void network_set_head(network *net, const network *head)
{
    size_t first = layer_offset(N_LAYERS - 1);
    memcpy(net->parameters + first, head->parameters + first, (N_PARAMETERS - first) * sizeof(float));
}

double mean_of(const double values[N_TASKS])
{
    double sum = 0;
    for (int t = 0; t < N_TASKS; t++)
        sum += values[t];
    return sum / N_TASKS;
}

void complain(const char *program, emr_status status, const emr_error *error)
{
    fprintf(stderr, "%s: %s\n", program, error->text[0] ? error->text : emr_status_text(status));
}
