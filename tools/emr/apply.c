/* apply.c - `emr apply` and `emr export`: models out of a bundle, written as checkpoints. */
#include "cli.h"

#include <string.h>

static int check_usage(const arguments *a)
{
    if (a->n_files != 1)
        return complain(EXIT_USAGE, "%s: exactly one BUNDLE is needed", a->command);
    if (!a->output)
        return complain(EXIT_USAGE, "%s: -o OUT.safetensors is missing", a->command);
    if (strcmp(a->output, "-") == 0 && (a->json || a->shard_bytes))
        return complain(EXIT_USAGE, "%s: -o - goes with neither --json nor --shard-size", a->command);
    return EXIT_DONE;
}

/* Writes a model where the command line says. */
static emr_status write_model(const emr_model *model, const arguments *a, const session *s, emr_error *error)
{
    emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
    options.replace = a->force;
    options.shard_bytes = a->shard_bytes;
    options.memory_bytes = (size_t)a->memory;
    options.executor = &s->executor;
    options.progress = s->progress;
    if (strcmp(a->output, "-") == 0) {
        emr_io io = standard_output();
        bool is_gguf = emr_model_find(model, EMR_GGUF_HEADER) != NULL;
        return (is_gguf ? emr_gguf_write : emr_safetensors_write)(model, &io, &options, error);
    }
    return emr_checkpoint_write(model, a->output, &options, error);
}

static int print_result(const emr_model *model, const arguments *a)
{
    uint64_t bytes = 0;
    char text[32];
    for (size_t i = 0; i < emr_model_n_tensors(model); i++)
        bytes += emr_tensor_bytes(emr_model_tensor(model, i));
    if (a->json) {
        return print_json(json_pack("{s:o, s:I, s:I}", "output", text_json(a->output), "tensors",
                                    (json_int_t)emr_model_n_tensors(model), "bytes", (json_int_t)bytes));
    }
    if (!a->quiet && strcmp(a->output, "-") != 0)
        printf("%s: %zu tensors, %s\n", a->output, emr_model_n_tensors(model), size_text(bytes, text));
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
    emr_error error = {{0}};
    int exit_status = session_open(&s, a, verb);
    if (exit_status)
        return exit_status;
    emr_status status = emr_bundle_open_file(&bundle, a->files[0], NULL, &error);
    if (!status && a->base)
        status = open_base(&base, a, bundle, NULL, &error);
    if (!status)
        status = make(&model, bundle, base, a, &s, &error);
    hint_at_dequantise(a, base, status, &error);
    if (!status)
        status = write_model(model, a, &s, &error);
    session_close(&s);
    if (!status)
        exit_status = print_result(model, a);
    else
        exit_status = complain_status(status, &error);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return exit_status;
}

static emr_status make_task(emr_model **model, const emr_bundle *bundle, const emr_model *base,
                            const arguments *a, const session *s, emr_error *error)
{
    size_t task;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_view_options options = EMR_INIT(emr_view_options);
    emr_status status = find_task(bundle, a->tasks[0].name, &task, error);
    if (!status)
        status = emr_bundle_get_info(bundle, &info);
    if (!status && !base && !info.has_base) {
        snprintf(error->text, sizeof error->text, "%s: the base is not embedded: --base CHECKPOINT is needed",
                 a->files[0]);
        return EMR_EINVAL;
    }
    options.dtype = a->dtype;
    options.executor = &s->executor;
    options.progress = s->progress;
    return status ? status : emr_bundle_open_task(model, bundle, task, base, &options, error);
}

int command_apply(const arguments *a)
{
    int exit_status = check_usage(a);
    if (exit_status)
        return exit_status;
    if (a->n_tasks != 1 || a->tasks[0].path)
        return complain(EXIT_USAGE, "apply: exactly one --task NAME is needed");
    return write_from_bundle(a, "applying", make_task);
}

static emr_status make_export(emr_model **model, const emr_bundle *bundle, const emr_model *base,
                              const arguments *a, const session *s, emr_error *error)
{
    size_t task;
    (void)base, (void)s;
    if (a->unified)
        return emr_bundle_open_unified(model, bundle, NULL, error);
    emr_status status = find_task(bundle, a->mask, &task, error);
    return status ? status : emr_bundle_open_mask(model, bundle, task, NULL, error);
}

int command_export(const arguments *a)
{
    int exit_status = check_usage(a);
    if (exit_status)
        return exit_status;
    if (a->unified == (a->mask != NULL))
        return complain(EXIT_USAGE, "export: one of --unified and --mask NAME is needed");
    return write_from_bundle(a, "exporting", make_export);
}
