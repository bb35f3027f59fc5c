/* saved.c - see saved.h. */
#include "saved.h"

void saved_read(const uint8_t *data, size_t size,
                void (*read)(const emr_model *file, uint8_t choices, size_t size))
{
    emr_model *file;
    emr_error error = {0};
    if (!size)
        return;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    emr_buffer *buffer = fuzz_buffer_of(bytes, size - 1);
    if (!fuzz_status(emr_safetensors_open(&file, emr_buffer_io(buffer), "s.safetensors", NULL, &error),
                     &error))
        read(file, data[0], size);
    emr_model_destroy(&file);
    emr_buffer_destroy(&buffer);
    free(bytes);
}

emr_buffer *saved_bytes(emr_model *model)
{
    emr_buffer *buffer = fuzz_buffer();
    emr_error error = {0};
    promise(fuzz_status(emr_safetensors_write(model, emr_buffer_io(buffer), NULL, &error), &error) == EMR_OK);
    emr_model_destroy(&model);
    return buffer;
}

emr_model *saved_open(const emr_buffer *bytes)
{
    emr_model *model;
    emr_error error = {0};
    promise(fuzz_status(emr_safetensors_open(&model, emr_buffer_io(bytes), "again", NULL, &error), &error) ==
            EMR_OK);
    return model;
}

bool saved_same(emr_buffer *one, emr_buffer *other)
{
    const size_t n = (size_t)emr_buffer_bytes(one);
    bool same = emr_buffer_bytes(other) == n && memcmp(emr_buffer_data(one), emr_buffer_data(other), n) == 0;
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&other);
    return same;
}
