/* world.c - named objects, options out of JSON, drawn values and digests. */
#include "world.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct named_object {
    struct named_object *next;
    char *name;
    void *handle;
    void (*destroy)(void *handle);
    object_kind kind;
} named_object;

const char *const nonfinite_words[] = {"error", "zero", NULL};
const char *const check_words[] = {"first", "write", "none", NULL};
const char *const block_words[] = {"none", "", "q4_0", "q4_1", "", "", "q5_0", "q5_1", "q8_0", NULL};

const char *const kind_words[] = {"default", "mask", "two_sided", "sign", "thin", "levels", NULL};
const char *const rescale_words[] = {"default", "l1", "l1_means", "l2", "norm", "unbiased", "mixed", NULL};
const char *const rescale_per_words[] = {"default", "model", "tensor", "row", NULL};

static struct {
    const char *name;
    size_t step;
} place;

void set_place(const char *name, size_t step)
{
    place.name = name;
    place.step = step;
}

_Noreturn void give_up(const char *what, const char *which)
{
    fprintf(stderr, "case '%s', step %zu: %s '%s'\n", place.name ? place.name : "", place.step, what, which);
    exit(2);
}

static void *checked(void *memory)
{
    if (!memory)
        give_up("out of memory", "");
    return memory;
}

void *find_object(const world *w, object_kind kind, const char *name)
{
    for (const named_object *o = w->objects; o; o = o->next)
        if (kind && o->kind == kind && !strcmp(o->name, name))
            return o->handle;
    return NULL;
}

void *keep_object(world *w, object_kind kind, const char *name, void *handle, void (*destroy)(void *handle))
{
    if (kind && find_object(w, kind, name))
        give_up("there is already an object of that kind called", name);
    named_object *o = checked(malloc(sizeof *o));
    char *copy = checked(calloc(1, (name ? strlen(name) : 0) + 1));
    *o = (named_object){w->objects, name ? strcpy(copy, name) : copy, handle, destroy, kind};
    w->objects = o;
    return handle;
}

void clear_world(world *w)
{
    for (named_object *o = w->objects, *next; o; o = next) {
        next = o->next;
        if (o->destroy)
            o->destroy(o->handle);
        free(o->name);
        free(o);
    }
    w->objects = NULL;
    w->folder = NULL;
}

void *new_memory(world *w, size_t size)
{
    return keep_object(w, KIND_NONE, NULL, checked(calloc(1, size ? size : 1)), free);
}

static void destroy_model(void *handle)
{
    emr_model *model = handle;
    emr_model_destroy(&model);
}

void keep_model(world *w, const char *name, emr_model *model)
{
    keep_object(w, KIND_MODEL, name, model, destroy_model);
}

static void destroy_buffer(void *handle)
{
    emr_buffer *buffer = handle;
    emr_buffer_destroy(&buffer);
}

void keep_buffer(world *w, object_kind kind, const char *name, emr_buffer *buffer)
{
    keep_object(w, kind, name, buffer, destroy_buffer);
}

emr_buffer *new_file(world *w, const char *name)
{
    emr_buffer *buffer;
    emr_error error;
    if (emr_buffer_create(&buffer, NULL, &error))
        give_up(error.text, name);
    keep_buffer(w, KIND_FILE, name, buffer);
    return buffer;
}

static void destroy_bundle(void *handle)
{
    emr_bundle *bundle = handle;
    emr_bundle_destroy(&bundle);
}

void keep_bundle(world *w, const char *name, emr_bundle *bundle)
{
    keep_object(w, KIND_BUNDLE, name, bundle, destroy_bundle);
}

emr_status open_bundle(world *w, const char *name, const emr_buffer *file, emr_error *error)
{
    emr_bundle *bundle;
    TRY(emr_bundle_open(&bundle, emr_buffer_io(file), name, NULL, error));
    keep_bundle(w, name, bundle);
    return EMR_OK;
}

void allow_keys(const json_t *object, const char *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t length = strlen(key);
        const char *at = keys;
        while (at && (strncmp(at, key, length) || (at[length] && at[length] != ' '))) {
            at = strchr(at, ' ');
            at = at ? at + 1 : NULL;
        }
        if (!at)
            give_up("unknown key", key);
    }
}

const char *get_text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_string(value))
        give_up("no text:", key);
    return json_string_value(value);
}

const char *need_text(const json_t *object, const char *key)
{
    const char *text = get_text(object, key);
    if (!text)
        give_up("absent:", key);
    return text;
}

json_t *need_array(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!json_is_array(value))
        give_up("no array:", key);
    return value;
}

uint64_t get_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_integer(value))
        give_up("no whole number:", key);
    return (uint64_t)json_integer_value(value);
}

uint32_t get_count(const json_t *object, const char *key)
{
    return (uint32_t)get_number(object, key);
}

double get_real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value ? value_of(value) : 0;
}

uint32_t get_flag(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        give_up("neither true nor false:", key);
    return json_is_true(value);
}

emr_dtype get_dtype(const json_t *object, const char *key)
{
    const char *name = get_text(object, key);
    emr_dtype dtype = name ? emr_dtype_from_name(name) : EMR_DTYPE_NONE;
    if (name && !dtype)
        give_up("no dtype:", name);
    return dtype;
}

uint32_t get_word(const json_t *object, const char *key, const char *const *words)
{
    const char *word = get_text(object, key);
    if (!word)
        return 0;
    for (uint32_t i = 0; words[i]; i++)
        if (*word && !strcmp(words[i], word))
            return i;
    give_up("unknown word", word);
}

const char *const *get_texts(world *w, const json_t *object, const char *key, uint32_t *n)
{
    const json_t *array = json_object_get(object, key);
    *n = (uint32_t)json_array_size(array);
    if (!*n)
        return NULL;
    const char **texts = new_memory(w, *n * sizeof *texts);
    for (uint32_t i = 0; i < *n; i++)
        if (!(texts[i] = json_string_value(json_array_get(array, i))))
            give_up("no list of texts:", key);
    return texts;
}

const emr_policy *get_policy(world *w, const json_t *object)
{
    static const char *const mismatch[] = {"error", "private", "rows", "pad", NULL};
    static const char *const missing[] = {"error", "base", "absent", NULL};
    const json_t *from = json_object_get(object, "policy");
    if (!from)
        return NULL;
    allow_keys(from, "private_globs merge_globs absent_globs base_globs on_mismatch on_missing");
    emr_policy *policy = new_memory(w, sizeof *policy);
    policy->size = sizeof *policy;
    policy->private_globs = get_texts(w, from, "private_globs", &policy->n_private_globs);
    policy->merge_globs = get_texts(w, from, "merge_globs", &policy->n_merge_globs);
    policy->absent_globs = get_texts(w, from, "absent_globs", &policy->n_absent_globs);
    policy->base_globs = get_texts(w, from, "base_globs", &policy->n_base_globs);
    policy->on_mismatch = get_word(from, "on_mismatch", mismatch);
    policy->on_missing = get_word(from, "on_missing", missing);
    return policy;
}

emr_model *need_model(const world *w, const json_t *object, const char *key)
{
    emr_model *model = find_object(w, KIND_MODEL, need_text(object, key));
    if (!model)
        give_up("no such model:", need_text(object, key));
    return model;
}

emr_bundle *need_bundle(const world *w, const json_t *object, const char *key)
{
    emr_bundle *bundle = find_object(w, KIND_BUNDLE, need_text(object, key));
    if (!bundle)
        give_up("no such bundle:", need_text(object, key));
    return bundle;
}

const char *text_at(const json_t *array, size_t i)
{
    const char *text = json_string_value(json_array_get(array, i));
    if (!text)
        give_up("no text in a list", "");
    return text;
}

const char *need_task_name(const json_t *task)
{
    return text_at(task, 0);
}

emr_model *need_task_model(const world *w, const json_t *task)
{
    emr_model *model = find_object(w, KIND_MODEL, text_at(task, 1));
    if (!model)
        give_up("no such model:", text_at(task, 1));
    return model;
}

json_t *real_of(double value)
{
    if (isnan(value))
        return json_string("nan");
    return isinf(value) ? json_string(value > 0 ? "inf" : "-inf") : json_real(value);
}

double value_of(const json_t *number)
{
    if (json_is_number(number))
        return json_number_value(number);
    if (!json_is_string(number))
        give_up("no number", "");
    return strtod(json_string_value(number), NULL);
}

uint64_t add_to_digest(uint64_t digest, const void *data, size_t n)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ at[i]) * UINT64_C(0x100000001b3);
    return digest;
}

json_t *text_of_digest(uint64_t digest)
{
    return json_sprintf("%016" PRIx64, digest);
}

json_t *digest_of(const void *data, size_t n)
{
    return text_of_digest(add_to_digest(FNV_START, data, n));
}

size_t bytes_of_elements(emr_dtype dtype, uint64_t n)
{
    return (size_t)(n * emr_dtype_bits(dtype) / 8);
}

uint64_t draw_number(uint64_t seed, uint64_t i)
{
    uint64_t z = ((seed << 32) + i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void draw_floats(emr_dtype dtype, uint64_t seed, uint64_t first, size_t n, unsigned char *out)
{
    for (size_t i = 0; i < n; i++) {
        float value = (float)((int)(draw_number(seed, first + i) >> 56) - 128) / 128;
        emr_convert(dtype, out + bytes_of_elements(dtype, i), EMR_DTYPE_F32, &value, 1);
    }
}

void draw_elements(emr_dtype dtype, uint64_t seed, uint64_t first, size_t n, void *out)
{
    if (dtype <= EMR_DTYPE_F64) {
        draw_floats(dtype, seed, first, n, out);
        return;
    }
    size_t width = emr_dtype_bits(dtype) < 8 ? 1 : emr_dtype_bits(dtype) / 8;
    unsigned char *to = out;
    if (emr_dtype_bits(dtype) < 8)
        n = bytes_of_elements(dtype, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = draw_number(seed, first + i);
        if (emr_dtype_is_float(dtype))
            r &= 0xBF;
        if (dtype == EMR_DTYPE_BOOL)
            r &= 1;
        for (size_t b = 0; b < width; b++)
            to[i * width + b] = (unsigned char)(r >> (8 * b));
    }
}

void *drawn(world *w, emr_dtype dtype, uint64_t seed, size_t n)
{
    void *memory = new_memory(w, bytes_of_elements(dtype, n));
    draw_elements(dtype, seed, 0, n, memory);
    return memory;
}
