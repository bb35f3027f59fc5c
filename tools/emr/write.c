/* write.c - a model, written as a checkpoint where -o says, and what is said of it. */
#include "cli.h"

static void note_written(void *user, const char *path)
{
    json_array_append_new(user, text_json(path));
}

emr_status write_checkpoint(const emr_model *model, const arguments *a, const emr_resources *resources,
                            json_t *written, emr_error *error)
{
    const emr_checkpoint_write_options options = {.size = sizeof options,
                                                  .resources = resources,
                                                  .shard_bytes = a->shard_bytes,
                                                  .replace = a->force,
                                                  .dtype = a->dtype,
                                                  .written = note_written,
                                                  .user = written};
    if (!to_standard_output(a))
        return emr_checkpoint_write(model, a->output, &options, error);
    bool is_gguf = emr_model_find_tensor(model, EMR_GGUF_HEADER) != NULL;
    return (is_gguf ? emr_gguf_write : emr_safetensors_write)(model, standard_output(), &options, error);
}

model_size measure_model(const emr_model *model)
{
    model_size size = {0};
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        if (side_file_name(emr_tensor_name(t)))
            continue;
        size.n_tensors++;
        size.bytes += emr_tensor_bytes(t);
    }
    return size;
}

void print_written(const model_size *size, const arguments *a, const json_t *written)
{
    char text[32];
    if (a->quiet || to_standard_output(a))
        return;
    printf("%s: %u tensors, %s", a->output, size->n_tensors, size_text(size->bytes, text));
    printf(json_array_size(written) > 1 ? ", in %zu files\n" : "\n", json_array_size(written));
}

json_t *written_json(const model_size *size, const arguments *a, json_t *written)
{
    return json_pack("{s:o, s:I, s:I, s:O}", "output", text_json(a->output), "tensors",
                     (json_int_t)size->n_tensors, "bytes", (json_int_t)size->bytes, "files", written);
}
