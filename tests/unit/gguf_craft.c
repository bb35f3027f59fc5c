/* gguf_craft.c - see gguf_craft.h. */
#include "gguf_craft.h"

void put(part *p, const void *bytes, size_t n)
{
    if (p->n + n > p->capacity) {
        p->capacity = 2 * (p->n + n) + 64;
        p->bytes = realloc(p->bytes, p->capacity);
        assert_non_null(p->bytes);
    }
    if (n)
        memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

void put_number(part *p, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        put(p, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

void put_string(part *p, const void *text, size_t n)
{
    put_number(p, n, 8);
    put(p, text, n);
}

void put_key(part *p, const char *key, uint32_t type)
{
    put_string(p, key, strlen(key));
    put_number(p, type, 4);
    p->count++;
}

void put_tensor(part *p, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                uint64_t offset)
{
    put_string(p, name, strlen(name));
    put_number(p, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        put_number(p, dims[i], 8);
    put_number(p, type, 4);
    put_number(p, offset, 8);
    p->count++;
}

crafted gguf_of(uint32_t version, part kv, part infos, size_t alignment, size_t data, const uint64_t *counts)
{
    part file = {0};
    put(&file, "GGUF", 4);
    put_number(&file, version, 4);
    put_number(&file, counts ? counts[0] : infos.count, 8);
    put_number(&file, counts ? counts[1] : kv.count, 8);
    put(&file, kv.bytes, kv.n);
    put(&file, infos.bytes, infos.n);
    while (data && file.n % alignment)
        put_number(&file, 0, 1);
    for (size_t i = 0; i < data; i++)
        put_number(&file, (unsigned char)(7 * i), 1);
    free(kv.bytes);
    free(infos.bytes);
    return (crafted){.bytes = file.bytes, .n = file.n};
}

crafted gguf_rich(void)
{
    static const uint64_t dims[][2] = {{2, 3}, {64, 2}, {5}, {0}, {4, 0}, {256}};
    part kv = {0}, infos = {0};
    for (uint32_t type = 0; type < N_V; type++) {
        static const size_t widths[N_V] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        char key[] = "value.a";
        key[6] = (char)('a' + type);
        put_key(&kv, key, type);
        if (type == V_STRING) {
            put_string(&kv, "any \xff bytes", 11);
        } else if (type == V_ARRAY) { /* of two arrays: strings, numbers */
            put_number(&kv, V_ARRAY, 4);
            put_number(&kv, 2, 8);
            put_number(&kv, V_STRING, 4);
            put_number(&kv, 2, 8);
            put_string(&kv, "", 0);
            put_string(&kv, "two", 3);
            put_number(&kv, V_U16, 4);
            put_number(&kv, 3, 8);
            put(&kv, "aabbcc", 6);
        } else {
            put_number(&kv, 1, widths[type]);
        }
    }
    put_tensor(&infos, "f32", 2, dims[0], T_F32, 0);       /* 24 bytes */
    put_tensor(&infos, "q8_0", 2, dims[1], T_Q8_0, 32);    /* 136 */
    put_tensor(&infos, "bf16", 1, dims[2], T_BF16, 192);   /* 10 */
    put_tensor(&infos, "scalar", 0, NULL, T_I8, 224);      /* 1 */
    put_tensor(&infos, "nothing", 2, dims[4], T_F32, 256); /* 0 */
    put_tensor(&infos, "q4_k", 1, dims[5], T_Q4_K, 256);   /* 144 */
    crafted file = gguf_of(3, kv, infos, 32, 416, NULL);
    static const size_t ends[][2] = {{24, 32}, {168, 192}, {202, 224}, {225, 256}, {400, 416}};
    for (size_t i = 0; i < 5; i++) /* padding is zero where a file is canonical */
        memset(file.bytes + file.n - 416 + ends[i][0], 0, ends[i][1] - ends[i][0]);
    return file;
}

emr_status gguf_opened(crafted *file, const emr_checkpoint_read_options *options, emr_model **model,
                       emr_error *error)
{
    return emr_gguf_open(model, crafted_io(file), GGUF_NAME, options, error);
}

emr_model *assert_gguf_at(crafted *file, int line)
{
    emr_model *model;
    emr_error error = {.text = ""};
    assert_ok_at(gguf_opened(file, NULL, &model, &error), &error, __FILE__, line);
    return model;
}

void assert_no_gguf_at(crafted file, emr_status status, const char *named, int line)
{
    emr_model *model = (emr_model *)&file;
    emr_error error = {.text = ""};
    emr_status got = gguf_opened(&file, NULL, &model, &error);
    crafted_free(&file);
    if (got != status || error.status != got || model || !is_sentence(&error, GGUF_NAME, named) ||
        !test_span_is(&error, error.file, GGUF_NAME)) {
        print_error("line %d: %s instead of %s, \"%s\" without '%s'\n", line, emr_status_name(got),
                    emr_status_name(status), error.text, named);
        fail();
    }
}
