/* safetensors_write.c - any model as one safetensors file, front to back. */
#include "checkpoint/json_text.h"
#include "checkpoint/safetensors_write.h"
#include "checkpoint/stream.h"
#include "core/bytes.h"
#include "core/text.h"

#include <string.h>

enum { HEADER_MAX = 100000000 };

static void describe_tensor(emr_json_text *t, const emr_tensor *tensor, uint64_t begin)
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
    for (size_t i = 0; i < m->n_metadata; i++) {
        emr_json_put(t, i ? "," : "");
        emr_json_put_string(t, m->metadata[i].key);
        emr_json_put(t, ":");
        emr_json_put_string(t, m->metadata[i].value);
    }
    emr_json_put(t, "}");
}

/* The header, padded with spaces to a multiple of 8. */
static void describe(emr_json_text *t, const emr_model *m, size_t first, size_t n)
{
    uint64_t at = 0;
    emr_json_put(t, "{");
    if (m->n_metadata)
        describe_metadata(t, m);
    for (size_t i = first; i < first + n; i++) {
        emr_json_put(t, i > first || m->n_metadata ? "," : "");
        describe_tensor(t, m->tensors[i], at);
        at += m->tensors[i]->bytes;
    }
    emr_json_put(t, "}");
    while (t->n % 8)
        emr_json_put(t, " ");
}

static bool is_text(const char *string)
{
    return emr_is_utf8(string, emr_text_length(string));
}

static emr_status check_texts(const emr_model *m, size_t first, size_t n, emr_error *error)
{
    for (size_t i = 0; i < m->n_metadata; i++)
        if (!is_text(m->metadata[i].key) || !is_text(m->metadata[i].value))
            return emr_fail(error, EMR_EINVAL, "%s: metadata '%s' is not valid UTF-8", m->name,
                            m->metadata[i].key);
    for (size_t i = first; i < first + n; i++)
        if (strcmp(m->tensors[i]->name, "__metadata__") == 0 || !is_text(m->tensors[i]->name))
            return emr_fail(error, EMR_EINVAL, "%s: the tensor name '%s' cannot be written", m->name,
                            m->tensors[i]->name);
    return EMR_OK;
}

/* The header and its length before it. */
static emr_status write_header(emr_stream *s, const emr_model *m, size_t first, size_t n, emr_error *error)
{
    uint8_t size[8];
    emr_json_text text = {NULL, 0};
    emr_status status = check_texts(m, first, n, error);
    if (status)
        return status;
    describe(&text, m, first, n);
    if (text.n > HEADER_MAX)
        return emr_fail(error, EMR_ELIMIT, "%s: a header of %u bytes is longer than safetensors allows",
                        m->name, (uint64_t)text.n);
    emr_store64(size, text.n);
    text = (emr_json_text){emr_allocate(&s->allocator, text.n), 0};
    if (!text.bytes)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory for a header", m->name);
    describe(&text, m, first, n);
    status = emr_stream_put(s, size, sizeof size, error);
    if (!status)
        status = emr_stream_put(s, text.bytes, text.n, error);
    emr_release(&s->allocator, text.bytes);
    return status;
}

emr_status emr_safetensors_write_range(const emr_model *m, size_t first, size_t n, const emr_io *io,
                                       const emr_checkpoint_options *options, const emr_allocator *allocator,
                                       uint64_t *done, uint64_t total, emr_error *error)
{
    emr_stream s;
    emr_status status = emr_stream_begin(&s, m->name, io, options, allocator, done, total, error);
    if (!status)
        status = write_header(&s, m, first, n, error);
    for (size_t i = first; !status && i < first + n; i++)
        status = emr_stream_tensor(&s, m->tensors[i], error);
    return emr_stream_end(&s, status, error);
}

emr_status emr_safetensors_write(const emr_model *m, const emr_io *given,
                                 const emr_checkpoint_options *options, emr_error *error)
{
    emr_checkpoint_options known;
    emr_allocator allocator;
    emr_io io;
    uint64_t done = 0;
    emr_status status =
        emr_stream_take(&known, &allocator, &io, m, options, given, "emr_safetensors_write", error);
    return status ? status
                  : emr_safetensors_write_range(m, 0, m->n_tensors, &io, &known, &allocator, &done,
                                                emr_model_bytes(m), error);
}
