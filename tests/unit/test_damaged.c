/* test_damaged.c - a thousand damaged files: each is a valid one, GGUF or safetensors, with one thing about
 * it that a strict reader must see. Every one is refused with a sentence that names the file, and nothing
 * leaks. */
#include "gguf_craft.h"

#include <stdio.h>

enum { FILES = 1000, MOST = 8 };

/* A valid file, and where things are in it that can be damaged. */
typedef struct specimen {
    crafted file;
    size_t n;                                                   /* tensors, each with something of these */
    size_t names[MOST], dims[MOST], types[MOST], offsets[MOST]; /* dims: behind their number */
    size_t keys, n_keys, key_bytes;                             /* entries of the same length */
    size_t header, data;                                        /* bytes; of data */
} specimen;

/* GGUF: general.alignment and a few booleans; tensors of F32 and Q8_0 with names of one length. */
static specimen make_gguf(rng *r)
{
    specimen s = {.n = 2 + (size_t)rng_below(r, MOST - 2), .n_keys = 1 + (size_t)rng_below(r, 5)};
    part kv = {0}, infos = {0};
    size_t alignment = (size_t)8 << rng_below(r, 4), at = 0, infos_begin;
    put_key(&kv, "general.alignment", V_U32);
    put_number(&kv, alignment, 4);
    s.keys = 24 + kv.n;
    for (size_t i = 0; i < s.n_keys; i++) {
        char key[] = "is.a";
        key[3] = (char)('a' + i);
        put_key(&kv, key, V_BOOL);
        put_number(&kv, rng_below(r, 2), 1);
    }
    infos_begin = 24 + kv.n;
    s.key_bytes = (infos_begin - s.keys) / s.n_keys;
    for (size_t i = 0; i < s.n; i++) {
        char name[] = "tensor.a";
        bool blocks = rng_below(r, 2);
        uint64_t rows = 1 + rng_below(r, 4), dims[] = {blocks ? 32 : 1 + rng_below(r, 40), rows};
        name[7] = (char)('a' + i);
        s.names[i] = infos_begin + infos.n;
        s.dims[i] = s.names[i] + 8 + 8 + 4;
        put_tensor(&infos, name, 2, dims, blocks ? T_Q8_0 : T_F32, at);
        s.types[i] = infos_begin + infos.n - 12;
        s.offsets[i] = infos_begin + infos.n - 8;
        at += (size_t)(blocks ? 34 * rows : 4 * dims[0] * rows);
        s.data = at;
        at = (at + alignment - 1) / alignment * alignment;
    }
    s.header = infos_begin + infos.n;
    s.file = gguf_of(3, kv, infos, alignment, at, NULL);
    s.data = s.file.n - (at - s.data); /* where the last padding begins */
    return s;
}

static void set_number(specimen *s, size_t at, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        s->file.bytes[at + i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get_number(const specimen *s, size_t at)
{
    uint64_t value = 0;
    for (size_t i = 8; i-- > 0;)
        value = value << 8 | s->file.bytes[at + i];
    return value;
}

/* Any other number than that: near it, or far, or with a bit flipped. */
static uint64_t other_number(uint64_t old, rng *r)
{
    uint64_t other = old;
    switch (rng_below(r, 4)) {
    case 0:
        other = old + 1 + rng_below(r, 8);
        break;
    case 1:
        other = old - 1 - rng_below(r, 8);
        break;
    case 2:
        other = old ^ (uint64_t)1 << rng_below(r, 64);
        break;
    default:
        other = rng_next(r);
    }
    return other == old ? old + 1 : other;
}

static void append(specimen *s, size_t n)
{
    s->file.bytes = realloc(s->file.bytes, s->file.n + n);
    assert_non_null(s->file.bytes);
    memset(s->file.bytes + s->file.n, 0, n);
    s->file.n += n;
}

/* What was done, for the message if it was not seen. */
static const char *damage_gguf(specimen *s, rng *r)
{
    size_t i = (size_t)rng_below(r, s->n), key = s->keys + (size_t)rng_below(r, s->n_keys) * s->key_bytes;
    static const uint32_t no_types[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 44, 100, 0x7fffffff, 0xffffffff};
    static const uint64_t lengths[] = {0,         65, 1 << 20, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 7,
                                       UINT64_MAX};
    switch (rng_below(r, 15)) {
    case 0:
        s->file.n = (size_t)rng_below(r, s->data);
        return "truncated";
    case 1:
        append(s, 1 + (size_t)rng_below(r, 100));
        return "longer";
    case 2:
        s->file.bytes[rng_below(r, 4)] ^= (unsigned char)(1u << rng_below(r, 8));
        return "magic";
    case 3:
        set_number(s, 4, rng_below(r, 2) ? rng_below(r, 2) : 4 + rng_below(r, 1u << 31), 4);
        return "version";
    case 4:
        set_number(s, 8, other_number(s->n, r), 8);
        return "number of tensors";
    case 5:
        set_number(s, 16, other_number(s->n_keys + 1, r), 8);
        return "number of keys";
    case 6:
        set_number(s, key, lengths[rng_below(r, 2) ? 0 : 2 + rng_below(r, 5)], 8);
        return "length of a key";
    case 7:
        set_number(s, key + 12, 13 + rng_below(r, UINT32_MAX - 13), 4);
        return "type of a value";
    case 8:
        s->file.bytes[key + 16] = (unsigned char)(2 + rng_below(r, 254));
        return "boolean";
    case 9:
        set_number(s, s->names[i], lengths[rng_below(r, 7)], 8);
        return "length of a name";
    case 10:
        memcpy(s->file.bytes + s->names[i] + 8, s->file.bytes + s->names[i ? 0 : 1] + 8, 8);
        return "name twice";
    case 11:
        set_number(s, s->dims[i] - 4, 5 + rng_below(r, UINT32_MAX - 5), 4);
        return "number of dimensions";
    case 12: /* too large for the file, or for anything */
        set_number(s, s->dims[i] + 8 * (size_t)rng_below(r, 2), (uint64_t)1 << (20 + rng_below(r, 44)), 8);
        return "dimension";
    case 13:
        set_number(s, s->types[i], no_types[rng_below(r, sizeof no_types / sizeof no_types[0])], 4);
        return "type of a tensor";
    default:
        set_number(s, s->offsets[i], other_number(get_number(s, s->offsets[i]), r), 8);
        return "offset";
    }
}

/* safetensors: tensors with names of one length, none without elements; the last byte of the header is '}'.
 */
static specimen make_safetensors(rng *r)
{
    specimen s = {.n = 2 + (size_t)rng_below(r, MOST - 2)};
    char header[2048] = "{";
    size_t n = 1, at = 0;
    for (size_t i = 0; i < s.n; i++) {
        size_t a = 1 + (size_t)rng_below(r, 30), b = 1 + (size_t)rng_below(r, 4), bytes = 4 * a * b;
        s.names[i] = 8 + n + (i ? 2 : 1);
        n += (size_t)snprintf(header + n, sizeof header - n, "%s\"tensor.%c\":{\"dtype\":\"", i ? "," : "",
                              (char)('a' + i));
        s.types[i] = 8 + n;
        n += (size_t)snprintf(header + n, sizeof header - n, "F32\",\"shape\":[");
        s.dims[i] = 8 + n;
        n += (size_t)snprintf(header + n, sizeof header - n, "%zu,%zu],\"data_offsets\":[%zu,", a, b, at);
        s.offsets[i] = 8 + n;
        n += (size_t)snprintf(header + n, sizeof header - n, "%zu]}", at + bytes);
        at += bytes;
    }
    snprintf(header + n, sizeof header - n, "}");
    s.header = n + 1;
    s.data = at;
    s.file = craft(header, at);
    return s;
}

/* Another digit; of several, the first, but never 0 there. */
static void change_digit(unsigned char *p, rng *r)
{
    unsigned char old = *p;
    while (*p == old)
        *p = (unsigned char)('1' + rng_below(r, 9));
}

static const char *damage_safetensors(specimen *s, rng *r)
{
    size_t i = (size_t)rng_below(r, s->n), at;
    switch (rng_below(r, 10)) {
    case 0:
        s->file.n = (size_t)rng_below(r, s->file.n);
        return "truncated";
    case 1:
        append(s, 1 + (size_t)rng_below(r, 100));
        return "longer";
    case 2:
        set_number(s, 0, other_number(s->header, r), 8);
        return "length of the header";
    case 3:
        do
            at = 8 + (size_t)rng_below(r, s->header);
        while (!strchr("{}[]:,\"", s->file.bytes[at]));
        s->file.bytes[at] = 'x';
        return "structure";
    case 4:
        s->file.bytes[8 + rng_below(r, s->header)] = (unsigned char)(0xf5 + rng_below(r, 11));
        return "no UTF-8";
    case 5:
        s->file.bytes[8 + rng_below(r, s->header)] = (unsigned char)rng_below(r, 32);
        if (strpbrk((const char *)s->file.bytes + 8, "\t\r\n")) /* these may stand between tokens */
            s->file.bytes[8] = 1;
        return "control character";
    case 6:
        s->file.bytes[s->types[i]] = (unsigned char)"GXYZf"[rng_below(r, 5)];
        return "dtype";
    case 7:
        change_digit(s->file.bytes + s->dims[i], r);
        return "shape";
    case 8:
        change_digit(s->file.bytes + s->offsets[i], r);
        return "offset";
    default:
        memcpy(s->file.bytes + s->names[i], s->file.bytes + s->names[i ? 0 : 1], 8);
        return "name twice";
    }
}

static void check_refused(const specimen *s, bool is_gguf, const char *damage, size_t number)
{
    /* of exactly its length, so that a sanitizer sees a step beyond */
    unsigned char *exact = malloc(s->file.n ? s->file.n : 1);
    memcpy(exact, s->file.bytes, s->file.n);
    emr_buffer *file = test_buffer_of(exact, s->file.n);
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    emr_model *m = (emr_model *)&counts;
    emr_error error = {.text = ""};
    options.allocator = &allocator;
    emr_status status = (is_gguf ? emr_gguf_open : emr_safetensors_open)(&m, emr_buffer_io(file),
                                                                         "damaged.file", &options, &error);
    if (!status || m || counts.alive || !is_sentence(&error, "damaged.file", "") ||
        !test_span_is(&error, error.file, "damaged.file")) {
        print_error("file %zu, damaged: %s: %s, \"%s\", %zu pieces of memory\n", number, damage,
                    emr_status_name(status), error.text, counts.alive);
        fail();
    }
    emr_buffer_destroy(&file);
    free(exact);
}

static void check_valid(specimen *s, bool is_gguf)
{
    emr_model *m;
    emr_error error;
    const emr_io *io = crafted_io(&s->file);
    assert_ok((is_gguf ? emr_gguf_open : emr_safetensors_open)(&m, io, "valid", NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(m), s->n + is_gguf);
    emr_model_destroy(&m);
}

static void a_thousand_damaged_files_are_refused(void **state)
{
    rng r = {20240517};
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        bool is_gguf = i % 2;
        specimen s = is_gguf ? make_gguf(&r) : make_safetensors(&r);
        check_valid(&s, is_gguf);
        const char *damage = is_gguf ? damage_gguf(&s, &r) : damage_safetensors(&s, &r);
        check_refused(&s, is_gguf, damage, i);
        crafted_free(&s.file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_thousand_damaged_files_are_refused)};
    return cmocka_run_group_tests_name("damaged files", tests, NULL, NULL);
}
