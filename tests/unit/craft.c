/* craft.c - see craft.h. */
#include "craft.h"

crafted craft_raw(uint64_t length, const void *header, size_t header_bytes, size_t data)
{
    crafted file = {.bytes = malloc(8 + header_bytes + data + 1), .n = 8 + header_bytes + data};
    for (int i = 0; i < 8; i++)
        file.bytes[i] = (unsigned char)(length >> 8 * i);
    memcpy(file.bytes + 8, header, header_bytes);
    for (size_t i = 0; i < data; i++)
        file.bytes[8 + header_bytes + i] = (unsigned char)(7 * i);
    return file;
}

crafted craft(const char *header, size_t data)
{
    return craft_raw(strlen(header), header, strlen(header), data);
}

void crafted_free(crafted *file)
{
    emr_buffer_destroy(&file->buffer);
    free(file->bytes);
    file->bytes = NULL;
}

const emr_io *crafted_io(crafted *file)
{
    emr_buffer *b = file->buffer;
    if (b && (emr_buffer_data(b) != file->bytes || emr_buffer_bytes(b) != file->n))
        emr_buffer_destroy(&file->buffer);
    if (!file->buffer)
        file->buffer = test_buffer_of(file->bytes, file->n);
    return emr_buffer_io(file->buffer);
}

emr_status crafted_open(crafted *file, emr_model **model, emr_error *error)
{
    return emr_safetensors_open(model, crafted_io(file), CRAFTED_NAME, NULL, error);
}

emr_model *assert_opens_at(crafted *file, int line)
{
    emr_model *model;
    emr_error error = {.text = ""};
    assert_ok_at(crafted_open(file, &model, &error), &error, __FILE__, line);
    return model;
}

bool is_sentence(const emr_error *error, const char *word, const char *other)
{
    return strlen(error->text) > 20 && !strchr(error->text, '\n') && strstr(error->text, word) &&
           strstr(error->text, other);
}

void assert_refused_at(crafted file, emr_status status, const char *named, int line)
{
    emr_model *model = (emr_model *)&file;
    emr_error error = {.text = ""};
    emr_status got = crafted_open(&file, &model, &error);
    crafted_free(&file);
    if (got != status || error.status != got || model || !is_sentence(&error, CRAFTED_NAME, named) ||
        !test_span_is(&error, error.file, CRAFTED_NAME)) {
        print_error("line %d: %s instead of %s, \"%s\" without '%s'\n", line, emr_status_name(got),
                    emr_status_name(status), error.text, named);
        fail();
    }
}
