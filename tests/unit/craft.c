/* craft.c - see craft.h. */
#include "craft.h"

crafted craft_raw(uint64_t length, const void *header, size_t header_bytes, size_t data)
{
    crafted file = {malloc(8 + header_bytes + data + 1), 8 + header_bytes + data};
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
    free(file->bytes);
    file->bytes = NULL;
}

emr_status crafted_open(const crafted *file, emr_memory *memory, emr_model **model, emr_error *error)
{
    *memory = (emr_memory){file->bytes, file->n};
    emr_io io = emr_memory_io(memory);
    return emr_safetensors_open(model, &io, CRAFTED_NAME, NULL, error);
}

emr_model *assert_opens_at(const crafted *file, emr_memory *memory, int line)
{
    emr_model *model;
    emr_error error = {""};
    assert_ok_at(crafted_open(file, memory, &model, &error), &error, __FILE__, line);
    return model;
}

bool is_sentence(const emr_error *error, const char *word, const char *other)
{
    return strlen(error->text) > 20 && !strchr(error->text, '\n') && strstr(error->text, word) &&
           strstr(error->text, other);
}

void assert_refused_at(crafted file, emr_status status, const char *named, int line)
{
    emr_memory memory;
    emr_model *model = (emr_model *)&memory;
    emr_error error = {""};
    emr_status got = crafted_open(&file, &memory, &model, &error);
    crafted_free(&file);
    if (got != status || model || !is_sentence(&error, CRAFTED_NAME, named)) {
        print_error("line %d: %s instead of %s, \"%s\" without '%s'\n", line, emr_status_name(got),
                    emr_status_name(status), error.text, named);
        fail();
    }
}
