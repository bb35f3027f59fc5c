/* apply.c - `emr apply` and `emr export`: models out of a bundle, written as checkpoints. */
#include "cli.h"

#include <string.h>

static int check_usage(const arguments *a)
{
    int exit_status = check_one_file(a, "BUNDLE");
    if (exit_status)
        return exit_status;
    if (!a->output)
        return complain(EXIT_USAGE, "%s: -o OUT.safetensors is missing", a->command);
    if (to_standard_output(a) && (a->json || a->shard_bytes))
        return complain(EXIT_USAGE, "%s: -o - goes with neither --json nor --shard-size", a->command);
    return EXIT_DONE;
}

static int report_written(const emr_model *model, const arguments *a, json_t *written)
{
    const model_size size = measure_model(model);
    if (a->json)
        return print_json(written_json(&size, a, written));
    print_written(&size, a, written);
    return EXIT_DONE;
}

/* Opens the bundle, lets `make` make a model of it, writes that. */
typedef emr_status (*make_fn)(emr_model **model, const emr_bundle *bundle, const emr_model *base,
                              const arguments *a, const session *s, emr_error *error);

static int write_from_bundle(const arguments *a, const char *verb, make_fn make)
{
    session s;
    emr_bundle *bundle = NULL;
    emr_model *base = NULL, *model = NULL;
    emr_error error = {.text = ""};
    int exit_status = check_places(a);
    if (!exit_status)
        exit_status = session_open(&s, a, verb);
    if (exit_status)
        return exit_status;
    json_t *written = json_array();
    emr_status status = emr_bundle_open_file(&bundle, a->files[0], NULL, &error);
    if (!status && a->base)
        status = open_base(&base, a, bundle, NULL, &error);
    if (!status)
        status = make(&model, bundle, base, a, &s, &error);
    if (!status)
        status = write_checkpoint(model, a, &s.resources, written, &error);
    hint_at_dequantise(a, base, status, &error);
    hide_progress();
    if (!status)
        exit_status = report_written(model, a, written);
    else
        exit_status = complain_status(status, &error);
    json_decref(written);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    session_close(&s);
    return exit_status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* Whether a GGUF file is to be written, whose vectors stay F32: also to standard output, and in a folder. */
static bool writes_gguf(const arguments *a, const emr_bundle *bundle, uint32_t task)
{
    emr_private_info p = EMR_INIT(emr_private_info);
    uint32_t number;
    bool has_header = emr_bundle_find_tensor(bundle, EMR_GGUF_HEADER, &number, NULL) == EMR_OK;
    for (uint32_t i = 0; !has_header && emr_bundle_get_private(bundle, task, i, &p) == EMR_OK; i++)
        has_header = strcmp(p.name, EMR_GGUF_HEADER) == 0;
    return has_header && !ends_with(a->output, ".safetensors") &&
           !ends_with(a->output, ".safetensors.index.json");
}

static emr_status make_task(emr_model **model, const emr_bundle *bundle, const emr_model *base,
                            const arguments *a, const session *s, emr_error *error)
{
    uint32_t task;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_resources resources = s->resources;
    resources.memory_bytes = 0; /* --memory is the writer's */
    /* The base is read once, compared while the model is written; but what has left through a pipe cannot be
     * taken back. */
    emr_view_options options = {.size = sizeof options,
                                .resources = &resources,
                                .dtype = a->dtype,
                                .check = to_standard_output(a) ? EMR_BASE_CHECK_FIRST : EMR_BASE_CHECK_WRITE};
    emr_status status = find_task(bundle, a->tasks[0].name, &task, error);
    if (!status)
        status = emr_bundle_get_info(bundle, &info);
    if (!status && !base && !info.has_base)
        status = fail_with(error, EMR_EINVAL, a->files[0],
                           "the base is not embedded: --base CHECKPOINT is needed");
    if (status)
        return status;
    options.f32_vectors = writes_gguf(a, bundle, task);
    return emr_bundle_open_task(model, bundle, task, base, &options, error);
}

int command_apply(const arguments *a)
{
    int exit_status = check_usage(a);
    if (exit_status)
        return exit_status;
    if (a->n_tasks != 1)
        return complain(EXIT_USAGE, "apply: exactly one --task NAME is needed");
    return write_from_bundle(a, "applying", make_task);
}

static emr_status make_export(emr_model **model, const emr_bundle *bundle, const emr_model *base,
                              const arguments *a, const session *s, emr_error *error)
{
    uint32_t task;
    (void)base, (void)s;
    if (a->unified)
        return emr_bundle_open_unified(model, bundle, NULL, error);
    emr_status status = find_task(bundle, a->mask ? a->mask : a->vector, &task, error);
    if (status)
        return status;
    return a->mask ? emr_bundle_open_mask(model, bundle, task, NULL, error)
                   : open_vector(model, bundle, task, error);
}

int command_export(const arguments *a)
{
    int exit_status = check_usage(a);
    if (exit_status)
        return exit_status;
    if ((a->unified != 0) + (a->mask != NULL) + (a->vector != NULL) != 1)
        return complain(EXIT_USAGE, "export: one of --unified, --mask NAME and --vector NAME is needed");
    return write_from_bundle(a, "exporting", make_export);
}
