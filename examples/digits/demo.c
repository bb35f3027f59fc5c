/* demo.c - merges eight networks into one bundle, takes each back out of it, and measures what that costs.
 *
 *     digits FOLDER [BUNDLE]
 *
 * FOLDER holds models/ and heldout.safetensors. The bundle is written to BUNDLE, which must not exist yet,
 * or else into a temporary folder that is gone afterwards. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp, rmdir */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kinds.h"
#include "network.h"
#include "results.h"

/* What the sum of the task vectors is multiplied with. 0.3 is a customary value; nothing is tuned here. */
#define AVERAGING_SCALE  (1.0f / N_TASKS)
#define ARITHMETIC_SCALE 0.3f

enum { PATH_SIZE = 4096 };

const char *const task_names[N_TASKS] = {"digit",    "parity", "inverted", "loops",
                                         "shuffled", "thirds", "reverse",  "turned"};

/* Everything that the demo holds, released in one place. */
typedef struct demo {
    emr_model *base, *tasks[N_TASKS], *heldout;
    emr_bundle *bundle;
    network pretrained, individual[N_TASKS], merged;
    samples samples[N_TASKS];
    results results;
} demo;

static emr_status file_bytes(const char *path, uint64_t *bytes, emr_error *error)
{
    emr_file *file = NULL;
    emr_status status = emr_file_open(&file, path, NULL, error);
    if (status)
        return status;
    const emr_io *io = emr_file_io(file);
    status = io->length(io->user, bytes, error);
    emr_file_close(&file);
    return status;
}

/* Opens FOLDER/models/NAME.safetensors, reads its network and tells its size. */
static emr_status open_checkpoint(emr_model **model, network *net, uint64_t *bytes, const char *folder,
                                  const char *name, emr_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/models/%s.safetensors", folder, name);
    emr_status status = emr_checkpoint_open(model, path, NULL, error);
    if (!status)
        status = network_read(net, *model, error);
    if (!status)
        status = file_bytes(path, bytes, error);
    return status;
}

static emr_status open_all(demo *d, const char *folder, emr_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/heldout.safetensors", folder);
    emr_status status = emr_checkpoint_open(&d->heldout, path, NULL, error);
    if (!status)
        status =
            open_checkpoint(&d->base, &d->pretrained, &d->results.base_bytes, folder, "pretrained", error);
    for (size_t t = 0; !status && t < N_TASKS; t++) {
        uint64_t bytes = 0;
        status = open_checkpoint(&d->tasks[t], &d->individual[t], &bytes, folder, task_names[t], error);
        if (!status)
            status = samples_read(&d->samples[t], d->heldout, task_names[t], error);
        d->results.checkpoint_bytes += bytes;
    }
    return status;
}

/* The merge itself: the base and the named tasks in, one file out. A merge, here as anywhere, borrows its
 * models and the file until it is destroyed. */
static emr_status write_bundle(const demo *d, const char *path, emr_error *error)
{
    emr_merge *merge = NULL;
    emr_file *file = NULL;
    emr_status status = emr_merge_create(&merge, NULL, error);
    if (!status)
        status = emr_merge_set_base(merge, d->base, error);
    for (size_t t = 0; !status && t < N_TASKS; t++)
        status = emr_merge_add_task(merge, task_names[t], d->tasks[t], error);
    if (!status)
        status = emr_file_create(&file, path, NULL, error);
    if (!status)
        status = emr_merge_set_output(merge, emr_file_io(file), error);
    if (!status)
        status = emr_merge_run(merge, error);
    if (!status)
        status = emr_file_commit(file, error);
    emr_merge_destroy(&merge);
    emr_file_close(&file);
    return status;
}

/* Opens the bundle, checks every byte of it, and notes what it says of itself. */
static emr_status open_bundle(demo *d, const char *path, emr_error *error)
{
    emr_bundle_info bundle = EMR_INIT(emr_bundle_info);
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_status status = emr_bundle_open_file(&d->bundle, path, NULL, error);
    if (!status)
        status = emr_bundle_verify(d->bundle, NULL, error);
    if (!status)
        status = emr_bundle_get_info(d->bundle, &bundle);
    d->results.bundle_bytes = bundle.bytes;
    d->results.unified_dtype = emr_dtype_name(bundle.unified_dtype);
    for (uint32_t t = 0; !status && t < N_TASKS; t++) {
        status = emr_bundle_get_task(d->bundle, t, &task);
        d->results.rescaler[t] = (double)task.rescaler;
        d->results.density[t] = (double)task.mask_ones / (double)bundle.merged_params;
        d->results.mask_bytes[t] = task.mask_bytes;
    }
    return status;
}

static int same_tensors(const emr_model *a, const emr_model *b)
{
    int same = emr_model_n_tensors(a) == emr_model_n_tensors(b);
    for (uint32_t i = 0; same && i < emr_model_n_tensors(a); i++) {
        const emr_tensor *x = emr_model_tensor(a, i);
        const emr_tensor *y = emr_model_find_tensor(b, emr_tensor_name(x));
        same = y && emr_tensor_dtype(x) == emr_tensor_dtype(y) && emr_tensor_rank(x) == emr_tensor_rank(y);
        for (uint32_t k = 0; same && k < emr_tensor_rank(x); k++)
            same = emr_tensor_shape(x)[k] == emr_tensor_shape(y)[k];
    }
    return same;
}

/* A task's network out of bundle and base. The model computes its weights as they are read. */
static emr_status rebuild_network(network *net, const demo *d, uint32_t task, emr_error *error)
{
    emr_model *model = NULL;
    emr_status status = emr_bundle_open_task(&model, d->bundle, task, d->base, NULL, error);
    if (!status && !same_tensors(model, d->tasks[task]))
        status = emr_error_set(error, EMR_EMISMATCH, 0, task_names[task], "came back with other tensors");
    if (!status)
        status = network_read(net, model, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status measure_bundle(demo *d, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < N_TASKS; t++) {
        status = rebuild_network(&d->merged, d, t, error);
        if (!status)
            d->results.accuracy[EMR][t] = network_accuracy(&d->merged, &d->samples[t]);
    }
    return status;
}

/* W0 + scale * (sum of the task vectors): one network for all tasks, measured on each. */
static void measure_sum(demo *d, enum method method, float scale)
{
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        float base = d->pretrained.parameters[i], sum = 0;
        for (size_t t = 0; t < N_TASKS; t++)
            sum += d->individual[t].parameters[i] - base;
        d->merged.parameters[i] = base + scale * sum;
    }
    d->results.scale[method] = (double)scale;
    for (size_t t = 0; t < N_TASKS; t++)
        d->results.accuracy[method][t] = network_accuracy(&d->merged, &d->samples[t]);
}

static void measure_checkpoints(demo *d)
{
    results *r = &d->results;
    for (size_t t = 0; t < N_TASKS; t++) {
        r->accuracy[PRETRAINED][t] = network_accuracy(&d->pretrained, &d->samples[t]);
        for (size_t n = 0; n < N_TASKS; n++)
            r->individual[n][t] = network_accuracy(&d->individual[n], &d->samples[t]);
        r->accuracy[INDIVIDUAL][t] = r->individual[t][t];
    }
}

static emr_status run_demo(demo *d, const char *folder, const char *bundle_path, emr_error *error)
{
    emr_status status = open_all(d, folder, error);
    if (!status)
        status = write_bundle(d, bundle_path, error);
    if (!status)
        status = open_bundle(d, bundle_path, error);
    if (!status)
        status = measure_bundle(d, error);
    if (!status)
        status = kinds_measure(d->results.kinds, d->base, d->tasks, d->samples, error);
    if (!status) {
        measure_checkpoints(d);
        measure_sum(d, AVERAGING, AVERAGING_SCALE);
        measure_sum(d, ARITHMETIC, ARITHMETIC_SCALE);
    }
    return status;
}

static void close_all(demo *d)
{
    emr_bundle_destroy(&d->bundle);
    for (size_t t = 0; t < N_TASKS; t++)
        emr_model_destroy(&d->tasks[t]);
    emr_model_destroy(&d->base);
    emr_model_destroy(&d->heldout);
}

/* Runs, prints and checks. Returns the program's exit status. */
static int demonstrate(const char *folder, const char *bundle_path)
{
    emr_error error = {.text = ""};
    demo *d = calloc(1, sizeof *d);
    if (!d) {
        fprintf(stderr, "digits: out of memory\n");
        return EXIT_FAILURE;
    }
    emr_status status = run_demo(d, folder, bundle_path, &error);
    const char *complaint = NULL;
    if (status) {
        complaint = error.text[0] ? error.text : emr_status_text(status);
    } else {
        results_print(&d->results);
        complaint = results_check(&d->results);
    }
    if (complaint)
        fprintf(stderr, "digits: %s\n", complaint);
    close_all(d);
    free(d);
    return complaint ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/digits-XXXXXX", path[sizeof folder + sizeof "/digits.emr"];
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: digits FOLDER [BUNDLE]\n");
        return 2;
    }
    if (argc == 3)
        return demonstrate(argv[1], argv[2]);
    if (!mkdtemp(folder)) {
        perror(folder);
        return EXIT_FAILURE;
    }
    snprintf(path, sizeof path, "%s/digits.emr", folder);
    int exit_status = demonstrate(argv[1], path);
    unlink(path);
    rmdir(folder);
    return exit_status;
}
