/* gguf_craft.h - GGUF files put together by hand, right and wrong ones. */
#ifndef EMR_TESTS_GGUF_CRAFT_H
#define EMR_TESTS_GGUF_CRAFT_H

#include "craft.h"

/* Types of values and of tensors, by their numbers. */
enum { V_U8, V_I8, V_U16, V_I16, V_U32, V_I32, V_F32, V_BOOL, V_STRING, V_ARRAY, V_U64, V_I64, V_F64, N_V };
enum {
    T_F32 = 0,
    T_F16 = 1,
    T_Q4_0 = 2,
    T_Q4_1 = 3,
    T_Q5_0 = 6,
    T_Q5_1 = 7,
    T_Q8_0 = 8,
    T_Q2_K = 10,
    T_Q3_K,
    T_Q4_K,
    T_Q5_K,
    T_Q6_K,
    T_Q8_K,
    T_IQ2_XXS = 16,
    T_IQ4_NL = 20,
    T_IQ4_XS = 23,
    T_I8 = 24,
    T_I16,
    T_I32,
    T_I64,
    T_F64,
    T_BF16 = 30
};

/* A part of a file. Grows; nothing is checked. Begins as {0}. */
typedef struct part {
    unsigned char *bytes;
    size_t n, capacity;
    uint64_t count; /* of the entries or tensors in it */
} part;

void put(part *p, const void *bytes, size_t n);
/* A number in so many bytes. */
void put_number(part *p, uint64_t value, size_t width);
/* A string with its length before it. */
void put_string(part *p, const void *text, size_t n);
/* The key of an entry and the type of its value, which has to follow; counts. */
void put_key(part *p, const char *key, uint32_t type);
/* A tensor's description; counts. */
void put_tensor(part *p, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                uint64_t offset);

/* A file of these parts, which are freed: the data begin at a multiple of `alignment` and are `data` bytes,
 * of which byte i is (unsigned char)(7 * i). `counts` may be other numbers of tensors and entries, or NULL.
 */
crafted gguf_of(uint32_t version, part kv, part infos, size_t alignment, size_t data, const uint64_t *counts);

/* A file with something of everything: values of every type, and tensors of F32 [3, 2], Q8_0 [2, 64],
 * BF16 [5], I8 [], F32 [0, 4] and Q4_K [256]. */
crafted gguf_rich(void);

#define GGUF_NAME "crafted.gguf"
emr_status gguf_opened(crafted *file, const emr_checkpoint_read_options *options, emr_model **model,
                       emr_error *error);
/* The file must open; destroy the model and free the file when done. */
emr_model *assert_gguf_at(crafted *file, int line);
#define assert_gguf(file) assert_gguf_at((file), __LINE__)
/* The file must be refused with one line that says its name and `named`. Frees the file. */
void assert_no_gguf_at(crafted file, emr_status status, const char *named, int line);
#define assert_no_gguf(file, status, named) assert_no_gguf_at((file), (status), (named), __LINE__)

#endif
