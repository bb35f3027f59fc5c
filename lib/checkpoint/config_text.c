/* config_text.c - see config_text.h. The parser changes the text that it reads, so it reads a copy; what is found
 * is cut out of the original. */
#include "checkpoint/config_text.h"

#include "checkpoint/json.h"

#include <string.h>

/* Bytes [begin, end) of the text become `replacement`. */
typedef struct cut {
    size_t begin, end;
    char replacement[24];
} cut;

typedef struct config_editor {
    const emr_allocator *allocator;
    const emr_config_change *change;
    const char *text;
    size_t n;
    emr_json json; /* of the copy */
    cut *cuts;     /* in order */
    size_t n_cuts, capacity;
    bool is_diffusers, no_memory;
} config_editor;

static const char *torch_name(emr_dtype dtype)
{
    switch (dtype) {
    case EMR_DTYPE_F16:
        return "float16";
    case EMR_DTYPE_BF16:
        return "bfloat16";
    case EMR_DTYPE_F32:
        return "float32";
    case EMR_DTYPE_F64:
        return "float64";
    default:
        return NULL;
    }
}

bool emr_config_names(emr_dtype dtype)
{
    return torch_name(dtype) != NULL;
}

/* Python writes NaN, Infinity and -Infinity, which are no JSON: in the copy they become numbers of the same length. */
static void hide_nonfinite(char *text, size_t n)
{
    static const char *const words[] = {"NaN", "Infinity"};
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            in_string = !in_string;
        else if (in_string)
            i += text[i] == '\\';
        else
            for (size_t w = 0; w < 2; w++) {
                size_t k = strlen(words[w]);
                if (n - i >= k && memcmp(text + i, words[w], k) == 0)
                    memcpy(text + i, "0.000000", k);
            }
    }
}

static void add_cut(config_editor *e, size_t begin, size_t end, const char *prefix, const char *name)
{
    if (!emr_grow(e->allocator, (void **)&e->cuts, &e->capacity, e->n_cuts + 1, sizeof *e->cuts)) {
        e->no_memory = true;
        return;
    }
    cut *c = &e->cuts[e->n_cuts++];
    c->begin = begin;
    c->end = end;
    strcat(strcat(c->replacement, prefix), name);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The member whose key begins at `begin`, with the comma before it, or the one behind it where it is the first. */
static void cut_member(config_editor *e, size_t begin)
{
    if (!emr_json_skip(&e->json, emr_json_next(&e->json)))
        return;
    size_t before = begin - 1, end = e->json.at, after = end; /* there is a '{' or a ',' before a key */
    while (is_space(e->text[before]))
        before--;
    while (after < e->n && is_space(e->text[after]))
        after++;
    if (e->text[before] == ',') {
        begin = before;
    } else if (after < e->n && e->text[after] == ',') {
        end = after + 1;
        while (end < e->n && is_space(e->text[end]))
            end++;
    }
    add_cut(e, begin, end, "", "");
}

/* The names of types that a configuration gives to weights, with or without "torch." before them. */
static bool is_torch_name(const char *name)
{
    static const char *const names[] = {"float16", "bfloat16", "float32",       "float64",    "half",
                                        "float",   "double",   "float8_e4m3fn", "float8_e5m2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* The value of torch_dtype or dtype. */
static void change_dtype(config_editor *e)
{
    static const char torch[] = "torch.";
    emr_json_token token = emr_json_next(&e->json);
    if (token != EMR_JSON_STRING) {
        (void)emr_json_skip(&e->json, token);
        return;
    }
    const char *value = e->json.string, *wanted = torch_name(e->change->dtype);
    bool prefixed = strncmp(value, torch, sizeof torch - 1) == 0;
    value += prefixed ? sizeof torch - 1 : 0;
    if (is_torch_name(value) && strcmp(value, wanted) != 0) {
        add_cut(e, e->json.begin, e->json.at, prefixed ? "\"torch." : "\"", wanted);
        if (!e->no_memory)
            strcat(e->cuts[e->n_cuts - 1].replacement, "\"");
    }
}

/* A key, wherever it stands: parts of a model have configurations in that of the whole. */
static void look_at_key(config_editor *e)
{
    const char *key = e->json.string;
    if (strcmp(key, "quantization_config") == 0) {
        if (e->change->drop_quantization)
            cut_member(e, e->json.begin);
        else
            (void)emr_json_skip(&e->json, emr_json_next(&e->json));
    } else if (e->change->dtype && (strcmp(key, "torch_dtype") == 0 || strcmp(key, "dtype") == 0)) {
        change_dtype(e);
    } else if (e->json.depth == 1 && strcmp(key, "_diffusers_version") == 0) {
        e->is_diffusers = true;
    }
}

static emr_status make_cuts(const config_editor *e, emr_config *config)
{
    size_t room = e->n, at = 0;
    for (size_t i = 0; i < e->n_cuts; i++)
        room += sizeof e->cuts[i].replacement;
    config->text = emr_allocate(e->allocator, room);
    if (!config->text)
        return EMR_ENOMEM;
    for (size_t i = 0; i <= e->n_cuts; i++) {
        size_t end = i < e->n_cuts ? e->cuts[i].begin : e->n;
        memcpy(config->text + config->n, e->text + at, end - at);
        config->n += end - at;
        if (i == e->n_cuts)
            break;
        size_t k = strlen(e->cuts[i].replacement);
        memcpy(config->text + config->n, e->cuts[i].replacement, k);
        config->n += k;
        at = e->cuts[i].end;
    }
    return EMR_OK;
}

static emr_status read_config_text(config_editor *e, emr_config *config, const char *path, emr_error *error)
{
    bool must = e->change->dtype || e->change->drop_quantization;
    emr_json_token token;
    while ((token = emr_json_next(&e->json)) != EMR_JSON_FAILED && token != EMR_JSON_END && !e->no_memory)
        if (token == EMR_JSON_KEY)
            look_at_key(e);
    if (e->no_memory || e->json.status == EMR_ENOMEM)
        return emr_no_memory(error, path);
    if (token == EMR_JSON_FAILED)
        return must
                   ? emr_json_fail(&e->json, path, "a model's configuration, which has to change, but", error)
                   : EMR_OK;
    config->is_diffusers = e->is_diffusers;
    return e->n_cuts && make_cuts(e, config) ? emr_no_memory(error, path) : EMR_OK;
}

emr_status emr_config_look(emr_config *config, const emr_allocator *allocator, const char *text, size_t n,
                           const emr_config_change *change, const char *path, emr_error *error)
{
    config_editor e = {.allocator = allocator, .change = change, .text = text, .n = n};
    char *copy = emr_allocate(allocator, n);
    *config = (emr_config){0};
    if (!copy)
        return emr_no_memory(error, path);
    memcpy(copy, text, n);
    hide_nonfinite(copy, n);
    emr_json_begin(&e.json, allocator, copy, n);
    emr_status status = read_config_text(&e, config, path, error);
    emr_json_free(&e.json);
    emr_release(allocator, e.cuts);
    emr_release(allocator, copy);
    return status;
}
