/* safetensors_write.c - any model as one safetensors file, front to back. */
#include "checkpoint/json_text.h"
#include "checkpoint/side_names.h"
#include "checkpoint/write.h"
#include "core/bytes.h"
#include "core/text.h"

#include <string.h>

enum { HEADER_MAX = 100000000 };

static void describe_entry(emr_json_text *t, const emr_tensor *tensor, uint64_t begin)
{
    emr_json_put_string(t, tensor->name);
    emr_json_put(t, ":{\"dtype\":");
    emr_json_put_string(t, emr_dtype_name(tensor->dtype));
    emr_json_put(t, ",\"shape\":[");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        emr_json_put(t, i ? "," : "");
        emr_json_put_natural(t, tensor->shape[i]);
    }
    emr_json_put(t, "],\"data_offsets\":[");
    emr_json_put_natural(t, begin);
    emr_json_put(t, ",");
    emr_json_put_natural(t, begin + tensor->bytes);
    emr_json_put(t, "]}");
}

static void describe_metadata(emr_json_text *t, const emr_model *m)
{
    emr_json_put(t, "\"__metadata__\":{");
    for (uint32_t i = 0; i < m->n_metadata; i++) {
        emr_json_put(t, i ? "," : "");
        emr_json_put_string(t, m->metadata[i].key);
        emr_json_put(t, ":");
        emr_json_put_string(t, m->metadata[i].value);
    }
    emr_json_put(t, "}");
}

/* The header, padded with spaces to a multiple of 8. */
static void describe_range(emr_json_text *t, const emr_model *m, uint32_t first, uint32_t n)
{
    uint64_t at = 0;
    bool comma = m->n_metadata > 0;
    emr_json_put(t, "{");
    if (m->n_metadata)
        describe_metadata(t, m);
    for (uint32_t i = first; i < first + n; i++) {
        if (emr_is_side_file(m->tensors[i]))
            continue;
        emr_json_put(t, comma ? "," : "");
        describe_entry(t, m->tensors[i], at);
        at += m->tensors[i]->bytes;
        comma = true;
    }
    emr_json_put(t, "}");
    while (t->n % 8)
        emr_json_put(t, " ");
}

static bool is_text(const char *string)
{
    return emr_is_utf8(string, emr_text_length(string));
}

static emr_status check_texts(const emr_model *m, uint32_t first, uint32_t n, emr_error *error)
{
    for (uint32_t i = 0; i < m->n_metadata; i++)
        if (!is_text(m->metadata[i].key) || !is_text(m->metadata[i].value))
            return emr_fail(error, EMR_EINVAL, "%F: metadata '%s' is not valid UTF-8", m->name,
                            m->metadata[i].key);
    for (uint32_t i = first; i < first + n; i++) {
        const char *name = m->tensors[i]->name;
        bool is_reserved = strcmp(name, "__metadata__") == 0 ||
                           (emr_begins_with(name, EMR_FILE_PREFIX) && !emr_is_side_file(m->tensors[i]));
        if (is_reserved || !is_text(name))
            return emr_fail(error, EMR_EINVAL, "%F: the tensor name '%T' cannot be written", m->name, name);
    }
    return EMR_OK;
}

/* The header and its length before it. */
static emr_status write_safetensors_header(emr_stream *s, const emr_model *m, uint32_t first, uint32_t n,
                                           emr_error *error)
{
    uint8_t size[8];
    emr_json_text text = {NULL, 0};
    emr_status status = check_texts(m, first, n, error);
    if (status)
        return status;
    describe_range(&text, m, first, n);
    if (text.n > HEADER_MAX)
        return emr_fail(error, EMR_ELIMIT, "%F: a header of %u bytes is longer than safetensors allows",
                        m->name, (uint64_t)text.n);
    emr_store64(size, text.n);
    text = (emr_json_text){emr_allocate(&s->output->env.allocator, text.n), 0};
    if (!text.bytes)
        return emr_no_memory(error, m->name);
    describe_range(&text, m, first, n);
    status = emr_stream_put(s, size, sizeof size, error);
    if (!status)
        status = emr_stream_put(s, text.bytes, text.n, error);
    emr_release(&s->output->env.allocator, text.bytes);
    return status;
}

emr_status emr_safetensors_write_range(const emr_model *m, uint32_t first, uint32_t n, const emr_io *io,
                                       emr_output *output, emr_error *error)
{
    emr_stream s;
    emr_status status = emr_stream_begin(&s, m, io, output, error);
    if (!status)
        status = write_safetensors_header(&s, m, first, n, error);
    for (uint32_t i = first; !status && i < first + n; i++)
        if (!emr_is_side_file(m->tensors[i]))
            status = emr_stream_tensor(&s, m->tensors[i], error);
    return emr_stream_end(&s, status, error);
}

emr_status emr_safetensors_write(const emr_model *m, const emr_io *given,
                                 const emr_checkpoint_write_options *options, emr_error *error)
{
    emr_output output;
    emr_io io;
    emr_status status = emr_output_take(&output, m, options, "emr_safetensors_write", error);
    if (!status)
        status = emr_output_take_io(&io, given, error);
    if (status)
        return status;
    output.total = emr_model_bytes(m);
    return emr_safetensors_write_range(m, 0, m->n_tensors, &io, &output, error);
}
