/* saved.h - what the targets share whose input is a byte of choices and a saved handle of libemr-fit, a safetensors file. */
#ifndef EMR_TESTS_FUZZ_SAVED_H
#define EMR_TESTS_FUZZ_SAVED_H

#include "fuzz.h"

/* Calls read(file, choices, size of the input) where the input has a file that opens. */
void saved_read(const uint8_t *data, size_t size,
                void (*read)(const emr_model *file, uint8_t choices, size_t size));

/* The bytes of the file of a model, which is destroyed. */
emr_buffer *saved_bytes(emr_model *model);
/* A file as a model, which borrows it. */
emr_model *saved_open(const emr_buffer *bytes);
/* Both are destroyed. */
bool saved_same(emr_buffer *one, emr_buffer *other);

#endif
