/* fuzz_gguf.c - any bytes as a GGUF file: a status, or a model whose tensors lie in the file and can be read,
 * that took no more memory than is said below, that comes back the same when it is written and opened again,
 * and whose header can be lent to other tensors. The input's first byte chooses how it is read; the file
 * follows. */
#include "fuzz.h"

#include "core/hash.h"

enum { CHOICE_MAP = 1, CHOICE_DEQUANTISE = 2 };

/* What the library may take to open a file, as emr/checkpoint.h says. */
enum { FIXED = 64 << 10, TIMES = 24 };

/* What it is given to write one: so much, 4 times the header, and the new header, which is not longer and is
 * perhaps copied as it grows. */
enum { WRITING = 1 << 20, NEW_HEADER_TIMES = 3 };

enum { READ_TENSORS = 60 };

static bool is_header(const emr_tensor *t)
{
    return strcmp(emr_tensor_name(t), EMR_GGUF_HEADER) == 0;
}

/* All bytes of a tensor; free them. */
static uint8_t *bytes_of(const emr_tensor *t)
{
    emr_error error = {0};
    size_t n = (size_t)emr_tensor_bytes(t);
    uint8_t *bytes = malloc(n + 1);
    promise(bytes != NULL);
    promise(fuzz_status(emr_tensor_read(t, 0, bytes, n, &error), &error) == EMR_OK);
    return bytes;
}

/* The header is how the file begins, and the last tensor; the others come in the order of the file. */
static void check_tensors(const emr_model *model, const uint8_t *bytes, size_t size, fuzz_random *r,
                          bool unpacked)
{
    uint32_t n = emr_model_n_tensors(model);
    size_t at;
    promise(n > 0 && is_header(emr_model_tensor(model, n - 1)));
    const emr_tensor *header = emr_model_tensor(model, n - 1);
    uint8_t *copy = bytes_of(header);
    at = (size_t)emr_tensor_bytes(header);
    promise(at <= size && memcmp(copy, bytes, at) == 0);
    free(copy);
    for (uint32_t i = 0; i < n; i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        promise(emr_model_find_tensor(model, emr_tensor_name(t)) == t);
        promise(strlen(emr_tensor_name(t)) <= 127 && emr_tensor_rank(t) <= 4);
        promise(unpacked || emr_tensor_bytes(t) <= size);
        promise(emr_tensor_bytes(t) / 13 <= size); /* 256 floats of 84 bytes are the most */
        if (i + 1 < n && !unpacked)
            at += (size_t)emr_tensor_bytes(t);
        if (i < READ_TENSORS)
            fuzz_read_tensor(t, r, true);
    }
    promise(at <= size);
}

static emr_status write_gguf(const emr_model *model, const emr_buffer *buffer)
{
    emr_error error = {0};
    size_t header = (size_t)emr_tensor_bytes(emr_model_find_tensor(model, EMR_GGUF_HEADER));
    fuzz_budget budget = {.cap = WRITING + FIXED + 4 * header + NEW_HEADER_TIMES * (header + FIXED)};
    emr_allocator allocator = fuzz_allocator(&budget);
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator, .memory_bytes = WRITING};
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    options.resources = &resources;
    emr_status status = emr_gguf_write(model, emr_buffer_io(buffer), &options, &error);
    promise(budget.now == 0);
    return fuzz_status(status, &error);
}

static bool says_split(const emr_tensor *header)
{
    size_t n = (size_t)emr_tensor_bytes(header);
    uint8_t *bytes = bytes_of(header);
    bool found = false;
    for (size_t i = 0; !found && i + 8 <= n; i++)
        found = memcmp(bytes + i, "split.no", 8) == 0 || memcmp(bytes + i, "split.co", 8) == 0 ||
                memcmp(bytes + i, "split.te", 8) == 0;
    free(bytes);
    return found;
}

/* Written and opened again it is the same model, with the same metadata; and so it stays. */
static void check_rewritten(const emr_model *model)
{
    emr_error error = {0};
    emr_buffer *buffer = fuzz_buffer(), *twice = fuzz_buffer();
    emr_model *again;
    promise(write_gguf(model, buffer) == EMR_OK);
    emr_status status = emr_gguf_open(&again, emr_buffer_io(buffer), "again.gguf", NULL, &error);
    promise(fuzz_status(status, &error) == EMR_OK);
    promise(emr_model_n_tensors(again) == emr_model_n_tensors(model));
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *a = emr_model_tensor(model, i), *b = emr_model_tensor(again, i);
        promise(strcmp(emr_tensor_name(a), emr_tensor_name(b)) == 0);
        promise(emr_tensor_dtype(a) == emr_tensor_dtype(b) && emr_tensor_rank(a) == emr_tensor_rank(b));
        for (uint32_t d = 0; !is_header(a) && d < emr_tensor_rank(a); d++)
            promise(emr_tensor_shape(a)[d] == emr_tensor_shape(b)[d]);
        if (is_header(a)) /* nothing is left out but what it said of files it was split into */
            promise(emr_tensor_bytes(a) == emr_tensor_bytes(b) || says_split(a));
        uint8_t *x = bytes_of(a), *y = bytes_of(b);
        promise(is_header(a) || memcmp(x, y, (size_t)emr_tensor_bytes(a)) == 0);
        free(x);
        free(y);
    }
    promise(write_gguf(again, twice) == EMR_OK);
    promise(emr_buffer_bytes(twice) == emr_buffer_bytes(buffer));
    promise(memcmp(emr_buffer_data(twice), emr_buffer_data(buffer), emr_buffer_bytes(buffer)) == 0);
    emr_model_destroy(&again);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&twice);
}

/* The whole input as the header of a model that is written, as a hostile bundle would bring it. */
static void lend_header(const uint8_t *bytes, size_t size)
{
    static const uint8_t data[64] = {1, 2, 3};
    emr_error error = {0};
    emr_buffer *buffer = fuzz_buffer();
    emr_model *model = fuzz_model("lent");
    uint64_t shape[2] = {size, 34};
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = EMR_GGUF_HEADER;
    d.dtype = EMR_DTYPE_U8;
    d.rank = 1;
    d.shape = shape;
    d.data = bytes;
    promise(emr_model_add(model, &d, &error) == EMR_OK);
    d.name = "f";
    d.dtype = EMR_DTYPE_F32;
    d.shape = (const uint64_t[]){3, 2};
    d.rank = 2;
    d.data = data;
    promise(emr_model_add(model, &d, &error) == EMR_OK);
    d.name = "q";
    d.dtype = EMR_DTYPE_U8;
    d.shape = shape + 1;
    d.rank = 1;
    promise(emr_model_add(model, &d, &error) == EMR_OK);
    emr_status status = write_gguf(model, buffer);
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EUNSUPPORTED);
    if (!status) {
        emr_model *back;
        status = emr_gguf_open(&back, emr_buffer_io(buffer), "lent.gguf", NULL, &error);
        promise(fuzz_status(status, &error) == EMR_OK);
        emr_model_destroy(&back);
    }
    emr_model_destroy(&model);
    emr_buffer_destroy(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    emr_error error = {0};
    emr_model *model;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    emr_buffer *file = fuzz_buffer_of(bytes, size - 1);
    emr_io io = *emr_buffer_io(file);
    io.map = data[0] & CHOICE_MAP ? io.map : NULL;
    fuzz_budget budget = {.cap = FIXED + TIMES * size};
    emr_allocator allocator = fuzz_allocator(&budget);
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.allocator = &allocator;
    options.dequantise = data[0] & CHOICE_DEQUANTISE;
    fuzz_random random = fuzz_random_make(emr_hash64(bytes, size - 1));
    emr_status status = emr_gguf_open(&model, &io, "input.gguf", &options, &error);
    fuzz_status(status, &error);
    promise((status == EMR_OK) == (model != NULL));
    promise(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EUNSUPPORTED);
    if (model) {
        check_tensors(model, bytes, size - 1, &random, options.dequantise != 0);
        check_rewritten(model);
    }
    emr_model_destroy(&model);
    promise(budget.now == 0);
    lend_header(bytes, size - 1);
    emr_buffer_destroy(&file);
    free(bytes);
    return 0;
}

static uint64_t load_number(const uint8_t *p, size_t width)
{
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

static void store_number(uint8_t *p, size_t width, uint64_t value)
{
    for (size_t i = 0; i < width; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* Numbers of a file that something hangs on: its counts, its lengths of strings that look like some, and the
 * numbers behind names. Found by a walk that believes everything, as far as it leads. */
typedef struct field {
    size_t at, width;
} field;
enum { MOST_FIELDS = 400 };

static void note_field(field *fields, size_t *n, size_t at, size_t width)
{
    if (*n < MOST_FIELDS)
        fields[(*n)++] = (field){at, width};
}

/* Past a value of a type, or SIZE_MAX where that is not to be seen; arrays of arrays are left alone. */
static size_t past_value(const uint8_t *p, size_t size, size_t at, uint64_t type, field *fields, size_t *n)
{
    static const uint8_t widths[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint64_t count = 1;
    if (type == 9) {
        if (size - at < 12)
            return SIZE_MAX;
        note_field(fields, n, at, 4);
        note_field(fields, n, at + 4, 8);
        type = load_number(p + at, 4);
        count = load_number(p + at + 4, 8);
        at += 12;
    }
    if (type > 12 || type == 9)
        return SIZE_MAX;
    for (; type == 8 && count; count--) {
        if (size - at < 8 || load_number(p + at, 8) > size - at - 8)
            return SIZE_MAX;
        note_field(fields, n, at, 8);
        at += 8 + (size_t)load_number(p + at, 8);
    }
    return type == 8 ? at : count > (size - at) / widths[type] ? SIZE_MAX : at + (size_t)count * widths[type];
}

/* Past a string, or SIZE_MAX. */
static size_t past_string(const uint8_t *p, size_t size, size_t at, field *fields, size_t *n)
{
    if (size - at < 8 || load_number(p + at, 8) > size - at - 8)
        return SIZE_MAX;
    note_field(fields, n, at, 8);
    return at + 8 + (size_t)load_number(p + at, 8);
}

/* Where the header seems to end. */
static size_t find_fields(const uint8_t *p, size_t size, field *fields, size_t *n)
{
    size_t at = 24, end = 24;
    *n = 0;
    note_field(fields, n, 4, 4);
    note_field(fields, n, 8, 8);
    note_field(fields, n, 16, 8);
    for (uint64_t i = load_number(p + 16, 8); i; i--) {
        at = past_string(p, size, at, fields, n);
        if (at == SIZE_MAX || size - at < 4)
            return end;
        note_field(fields, n, at, 4);
        at = past_value(p, size, at + 4, load_number(p + at, 4), fields, n);
        if (at == SIZE_MAX)
            return end;
        end = at;
    }
    for (uint64_t i = load_number(p + 8, 8); i; i--) {
        at = past_string(p, size, at, fields, n);
        if (at == SIZE_MAX || size - at < 16 || load_number(p + at, 4) > 4 ||
            size - at < 16 + 8 * load_number(p + at, 4))
            return end;
        size_t dims = (size_t)load_number(p + at, 4);
        note_field(fields, n, at, 4);
        for (size_t d = 0; d < dims; d++)
            note_field(fields, n, at + 4 + 8 * d, 8);
        at += 4 + 8 * dims;
        note_field(fields, n, at, 4);
        note_field(fields, n, at + 4, 8);
        end = at += 12;
    }
    return end;
}

/* A number that lies near the old one, at a boundary, or elsewhere in the file. */
static uint64_t interesting_number(fuzz_random *r, uint64_t old, size_t width, size_t size)
{
    switch (fuzz_below(r, 7)) {
    case 0:
        return old + 1 + fuzz_below(r, 4);
    case 1:
        return old - 1 - fuzz_below(r, 4);
    case 2:
        return old ^ (uint64_t)1 << fuzz_below(r, 8 * width);
    case 3:
        return (uint64_t)1 << fuzz_below(r, 8 * width);
    case 4:
        return fuzz_below(r, 45); /* types */
    case 5:
        return fuzz_below(r, size + 2);
    default:
        return 0 - (uint64_t)fuzz_below(r, 3);
    }
}

/* More data, or less. */
static size_t change_padding(uint8_t *p, size_t size, size_t max_size, fuzz_random *r)
{
    size_t n = 1 + fuzz_below(r, 64);
    if (fuzz_below(r, 2))
        return size > n ? size - n : size;
    if (max_size - size < n)
        return size;
    memset(p + size, 7, n);
    return size + n;
}

/* Changes numbers that the walk has found; else bytes of the header, whose end then moves; else the data. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    fuzz_random r = fuzz_random_make(seed);
    field fields[MOST_FIELDS];
    size_t n;
    if (size < 25 || max_size <= size || fuzz_below(&r, 10) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    uint8_t *p = data + 1;
    size_t end = find_fields(p, size - 1, fields, &n);
    if (fuzz_below(&r, 10) == 0)
        data[0] = (uint8_t)fuzz_below(&r, 4);
    switch (fuzz_below(&r, 4)) {
    case 0: { /* the header's bytes, as many or more or fewer */
        size_t rest = size - 1 - end;
        uint8_t *tail = fuzz_copy(p + end, rest);
        size_t now = 24 + LLVMFuzzerMutate(p + 24, end - 24, max_size - 1 - rest - 24);
        memcpy(p + now, tail, rest);
        free(tail);
        return 1 + now + rest;
    }
    case 1:
        return 1 + change_padding(p, size - 1, max_size - 1, &r);
    default:
        for (size_t k = 1 + fuzz_below(&r, 2); k; k--) {
            field f = fields[fuzz_below(&r, n)];
            store_number(p + f.at, f.width,
                         interesting_number(&r, load_number(p + f.at, f.width), f.width, size));
        }
        return size;
    }
}
