/* gguf_metadata.c - the bytes of a GGUF header one after another, and its metadata: read over and checked,
 * hardly looked at. */
#include "checkpoint/bytes.h"
#include "checkpoint/gguf_bytes.h"
#include "core/bytes.h"
#include "core/text.h"

#include <string.h>

enum {
    FIRST_READ = 32 << 10,
    KEY_BYTES_MAX = 65535,
    NESTING_MAX = 4, /* arrays in arrays */
    ALIGNMENT_MAX = 1 << 20,
};

/* Types of values. */
enum { BOOL = 7, STRING = 8, ARRAY = 9, N_VALUE_TYPES = 13 };
static const uint8_t value_bytes[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

emr_status emr_gguf_bad(const emr_gguf_header *h, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%F: %s: %s", h->path, h->what, what);
}

const char *emr_gguf_text(const emr_gguf_header *h, size_t string, char text[EMR_GGUF_NAME_BYTES + 1])
{
    uint64_t n = emr_load64(h->bytes + string);
    size_t kept = (size_t)emr_min(n, EMR_GGUF_NAME_BYTES);
    while (kept < n && kept && (h->bytes[string + 8 + kept] & 0xc0) == 0x80)
        kept--;
    memcpy(text, h->bytes + string + 8, kept);
    text[kept] = '\0';
    return text;
}

emr_status emr_gguf_bad_at(const emr_gguf_header *h, const char *kind, size_t string, const char *what,
                           emr_error *error)
{
    char name[EMR_GGUF_NAME_BYTES + 1];
    emr_gguf_text(h, string, name);
    return strcmp(kind, "tensor") == 0
               ? emr_fail(error, EMR_EFORMAT, "%F: %s: tensor '%T': %s", h->path, h->what, name, what)
               : emr_fail(error, EMR_EFORMAT, "%F: %s: %s '%s': %s", h->path, h->what, kind, name, what);
}

emr_status emr_gguf_need(emr_gguf_header *h, uint64_t n, emr_error *error)
{
    if (n > h->limit - h->at)
        return emr_gguf_bad(h,
                            h->limit == EMR_GGUF_HEADER_MAX ? "its header is longer than 100,000,000 bytes"
                                                            : "it ends within its header (truncated?)",
                            error);
    if (h->at + n <= h->n)
        return EMR_OK;
    uint64_t least = h->at + n, wanted = h->n ? 2 * (uint64_t)h->n : FIRST_READ;
    size_t more = (size_t)emr_min(wanted < least ? least : wanted, h->limit);
    uint8_t *larger = emr_allocate(&h->allocator, more);
    if (!larger)
        return emr_no_memory(error, h->path);
    if (h->n)
        memcpy(larger, h->bytes, h->n);
    emr_release(&h->allocator, h->bytes);
    h->bytes = larger;
    emr_status status = emr_bytes_read(h->io, h->path, h->n, h->bytes + h->n, more - h->n, error);
    if (!status)
        h->n = more;
    return status;
}

emr_status emr_gguf_take32(emr_gguf_header *h, uint32_t *value, emr_error *error)
{
    emr_status status = emr_gguf_need(h, 4, error);
    if (!status) {
        *value = emr_load32(h->bytes + h->at);
        h->at += 4;
    }
    return status;
}

emr_status emr_gguf_take64(emr_gguf_header *h, uint64_t *value, emr_error *error)
{
    emr_status status = emr_gguf_need(h, 8, error);
    if (!status) {
        *value = emr_load64(h->bytes + h->at);
        h->at += 8;
    }
    return status;
}

static emr_status skip_string(emr_gguf_header *h, uint64_t *n, emr_error *error)
{
    emr_status status = emr_gguf_take64(h, n, error);
    if (!status)
        status = emr_gguf_need(h, *n, error);
    if (!status)
        h->at += (size_t)*n;
    return status;
}

emr_status emr_gguf_skip_name(emr_gguf_header *h, uint64_t most, const char *which, uint64_t number,
                              emr_error *error)
{
    uint64_t n;
    emr_status status = skip_string(h, &n, error);
    if (status)
        return status;
    const char *name = (const char *)h->bytes + h->at - n;
    if (n == 0 || n > most)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: %s: the name of %s number %u has %u bytes, which is not 1 to %u", h->path,
                        h->what, which, number, n, most);
    if (!emr_is_utf8(name, (size_t)n) || memchr(name, 0, (size_t)n))
        return emr_fail(error, EMR_EFORMAT, "%F: %s: the name of %s number %u is not valid UTF-8", h->path,
                        h->what, which, number);
    return EMR_OK;
}

/* n values of a type of fixed size. */
static emr_status skip_fixed(emr_gguf_header *h, uint32_t type, uint64_t n, size_t key, emr_error *error)
{
    uint64_t bytes;
    emr_status status = emr_mul(n, value_bytes[type], &bytes)
                            ? emr_gguf_need(h, bytes, error)
                            : emr_gguf_bad_at(h, "key", key, "its array is too long", error);
    if (status)
        return status;
    for (uint64_t i = 0; type == BOOL && i < n; i++)
        if (h->bytes[h->at + i] > 1)
            return emr_gguf_bad_at(h, "key", key, "a boolean is neither 0 nor 1", error);
    h->at += (size_t)bytes;
    return EMR_OK;
}

/* What stands before the values of an array. */
typedef struct array {
    uint32_t type;
    uint64_t left; /* values to come */
} array;

static emr_status begin_array(emr_gguf_header *h, array *a, size_t key, emr_error *error)
{
    emr_status status = emr_gguf_take32(h, &a->type, error);
    if (!status)
        status = emr_gguf_take64(h, &a->left, error);
    if (!status && a->type >= N_VALUE_TYPES)
        status = emr_gguf_bad_at(h, "key", key, "its array is of an unknown type", error);
    return status;
}

/* Arrays of arrays are kept on a stack. Every value takes bytes, so that no count can keep us here. */
static emr_status skip_array(emr_gguf_header *h, size_t key, emr_error *error)
{
    array stack[NESTING_MAX];
    size_t depth = 1;
    uint64_t n;
    emr_status status = begin_array(h, &stack[0], key, error);
    while (!status && depth) {
        array *top = &stack[depth - 1];
        if (!top->left) {
            depth--;
        } else if (top->type == STRING) {
            top->left--;
            status = skip_string(h, &n, error);
        } else if (top->type == ARRAY) {
            top->left--;
            status = depth < NESTING_MAX
                         ? begin_array(h, &stack[depth++], key, error)
                         : emr_gguf_bad_at(h, "key", key, "its arrays are nested more than 4 deep", error);
        } else {
            status = skip_fixed(h, top->type, top->left, key, error);
            top->left = 0;
        }
    }
    return status;
}

static bool is_key(const emr_gguf_header *h, size_t key, const char *name)
{
    return emr_load64(h->bytes + key) == strlen(name) && memcmp(h->bytes + key + 8, name, strlen(name)) == 0;
}

static bool is_split_key(const emr_gguf_header *h, size_t key)
{
    return is_key(h, key, "split.no") || is_key(h, key, "split.count") ||
           is_key(h, key, "split.tensors.count");
}

/* The entries that say something about the file itself. */
static emr_status check_special_entry(emr_gguf_header *h, size_t key, uint32_t type, size_t value,
                                      emr_error *error)
{
    if (is_key(h, key, "general.alignment")) {
        if (type != EMR_GGUF_UINT32)
            return emr_gguf_bad_at(h, "key", key, "it is no 32-bit natural number", error);
        uint32_t a = h->alignment = emr_load32(h->bytes + value);
        if (a == 0 || ((a & (a - 1)) != 0 && a % 8 != 0))
            return emr_gguf_bad_at(h, "key", key, "it is neither a power of two nor a multiple of 8", error);
        if (a > ALIGNMENT_MAX)
            return emr_gguf_bad_at(h, "key", key, "it is more than 1,048,576", error);
    } else if (is_key(h, key, "general.file_type") && type == EMR_GGUF_UINT32) {
        h->file_type = value;
    } else if (is_key(h, key, "split.tensors.count")) {
        if (type != EMR_GGUF_INT32 || emr_load32(h->bytes + value) > INT32_MAX)
            return emr_gguf_bad_at(h, "key", key, "it is no 32-bit number of tensors", error);
        h->split.n_tensors = emr_load32(h->bytes + value);
    } else if (is_split_key(h, key)) {
        if (type != EMR_GGUF_UINT16)
            return emr_gguf_bad_at(h, "key", key, "it is no 16-bit natural number", error);
        *(is_key(h, key, "split.no") ? &h->split.no : &h->split.count) = emr_load16(h->bytes + value);
    }
    return EMR_OK;
}

emr_status emr_gguf_read_entry(emr_gguf_header *h, uint64_t number, emr_error *error)
{
    uint32_t type = 0;
    uint64_t n;
    size_t key = h->at;
    emr_status status = emr_gguf_skip_name(h, KEY_BYTES_MAX, "key", number, error);
    if (!status)
        status = emr_gguf_take32(h, &type, error);
    if (status)
        return status;
    size_t value = h->at;
    if (type >= N_VALUE_TYPES)
        return emr_gguf_bad_at(h, "key", key, "its value is of an unknown type", error);
    if (type == STRING)
        status = skip_string(h, &n, error);
    else if (type == ARRAY)
        status = skip_array(h, key, error);
    else
        status = skip_fixed(h, type, 1, key, error);
    return status ? status : check_special_entry(h, key, type, value, error);
}

size_t emr_gguf_put_metadata(emr_gguf_header *h, uint8_t *to)
{
    size_t end = h->at, n = EMR_GGUF_START;
    uint64_t n_kv = 0;
    emr_error unused;
    if (to)
        memcpy(to, h->bytes, n);
    h->at = EMR_GGUF_START;
    for (uint64_t i = 0; i < h->n_kv; i++) {
        size_t key = h->at;
        if (emr_gguf_read_entry(h, i, &unused)) /* it was read before */
            break;
        if (is_split_key(h, key))
            continue;
        if (to)
            memcpy(to + n, h->bytes + key, h->at - key);
        n += h->at - key;
        n_kv++;
    }
    if (to)
        emr_store64(to + 16, n_kv);
    h->at = end;
    return n;
}
