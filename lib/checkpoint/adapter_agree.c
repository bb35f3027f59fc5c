/* adapter_agree.c - whether adapters are of one kind, by their configurations.
 *
 * A configuration is read once, front to back, into a list of its keys, each with a hash of its value that
 * does not depend on what may differ: the order of keys, the order of a set, the way a number is written. Two
 * values that are not alike have the same hash once in 2^64, which is often enough not to matter: nothing
 * rests on it but a warning to people. */
#include "checkpoint/adapter.h"
#include "checkpoint/adapter_keys.h"
#include "checkpoint/json.h"
#include "core/hash.h"
#include "core/structs.h"
#include "core/text.h"

#include <string.h>

/* Seeds: values of different kinds are never alike. */
enum { AS_STRING = 1, AS_LITERAL, AS_NUMBER, AS_NEGATIVE, AS_ARRAY, AS_SET, AS_OBJECT };

typedef struct member {
    const char *key;
    size_t begin, end; /* of the value, in the text */
    uint64_t hash;
    bool set;
    emr_key_bearing bearing;
} member;

typedef struct config {
    const emr_allocator *allocator;
    const char *owner, *text; /* what messages call the model; what it carries */
    char *copy;               /* of the text, for the parser, which unescapes strings where they stand */
    emr_json json;
    member *members;
    size_t n, capacity;
    emr_names keys;
    bool free_layers, free_ranks; /* of its peft_type */
    bool changed_base;            /* by init_lora_weights: only there do the other keys agree or not */
} config;

static uint64_t mix_hashes(uint64_t a, uint64_t b, uint64_t seed)
{
    const uint64_t both[2] = {a, b};
    return emr_hash64_seeded(both, sizeof both, seed);
}

/* Digits without leading and trailing zeros and the exponent that makes up for them: 16, 16.0 and 1.6e1 are
 * one number. The digits move together where they stand; the parser is past them. */
static uint64_t hash_number(char *text, size_t begin, size_t end)
{
    bool negative = text[begin] == '-', in_fraction = false;
    int64_t exponent = 0, given = 0, sign = 1;
    size_t at = begin + negative, digits = begin;
    for (; at < end && text[at] != 'e' && text[at] != 'E'; at++) {
        if (text[at] == '.') {
            in_fraction = true;
            continue;
        }
        exponent -= in_fraction;
        if (digits > begin || text[at] != '0')
            text[digits++] = text[at];
    }
    for (at += at < end; at < end; at++) {
        if (text[at] == '-')
            sign = -1;
        else if (text[at] != '+' && given < INT64_MAX / 100) /* what is larger is beyond any use */
            given = 10 * given + (text[at] - '0');
    }
    exponent += sign * given;
    for (; digits > begin && text[digits - 1] == '0'; digits--)
        exponent++;
    if (digits == begin)
        return mix_hashes(0, 0, AS_NUMBER);
    return mix_hashes(emr_hash64(text + begin, digits - begin), (uint64_t)exponent,
                      negative ? AS_NEGATIVE : AS_NUMBER);
}

static uint64_t hash_scalar(const emr_json *j, emr_json_token token)
{
    if (token == EMR_JSON_STRING)
        return emr_hash64_seeded(j->string, strlen(j->string), AS_STRING);
    if (token == EMR_JSON_LITERAL)
        return emr_hash64_seeded(j->text + j->begin, j->at - j->begin, AS_LITERAL);
    return hash_number(j->text, j->begin, j->at);
}

/* An object or array that is open, and what is hashed of it. */
typedef struct level {
    uint64_t hash, key;
    unsigned kind; /* AS_ARRAY, AS_SET or AS_OBJECT */
} level;

static void add_value(level *l, uint64_t hash)
{
    if (l->kind == AS_ARRAY)
        l->hash = mix_hashes(l->hash, hash, AS_ARRAY);
    else /* sums know no order */
        l->hash += mix_hashes(l->kind == AS_OBJECT ? l->key : 0, hash, l->kind);
}

/* The hash of the value that begins with `token`, whether it is set at all, and the parser past it. False if
 * it is no valid JSON. */
static bool hash_value(emr_json *j, emr_json_token token, bool as_set, uint64_t *hash, bool *set)
{
    level levels[EMR_JSON_DEPTH];
    size_t n = 0, n_tokens = 0;
    *set = true;
    if (token == EMR_JSON_LITERAL)
        *set = j->text[j->begin] == 't';
    for (;; token = emr_json_next(j), n_tokens++) {
        if (token == EMR_JSON_FAILED)
            return false;
        if (token == EMR_JSON_OBJECT || token == EMR_JSON_ARRAY) {
            levels[n] = (level){.kind = AS_OBJECT};
            if (token == EMR_JSON_ARRAY)
                levels[n].kind = as_set && n == 0 ? AS_SET : AS_ARRAY;
            n++;
            continue;
        }
        if (token == EMR_JSON_KEY) {
            levels[n - 1].key = emr_hash64(j->string, strlen(j->string));
            continue;
        }
        bool ends = token == EMR_JSON_OBJECT_END || token == EMR_JSON_ARRAY_END;
        uint64_t value = ends ? mix_hashes(levels[n - 1].hash, 0, levels[n - 1].kind) : hash_scalar(j, token);
        n -= ends;
        if (n == 0) {
            *set = *set && !(ends && n_tokens == 1); /* {} and [] are two tokens */
            *hash = value;
            return true;
        }
        add_value(&levels[n - 1], value);
    }
}

static const char *member_key_at(const void *owner, size_t i)
{
    return ((const config *)owner)->members[i].key;
}

static emr_status fail_config_json(const config *c, emr_error *error)
{
    return emr_json_fail(&c->json, c->owner, "its adapter_config.json is", error);
}

/* What the value of a key says about others. An initialisation that leaves the base as it is counts as none.
 */
static void note_member(config *c, member *m, emr_json_token token)
{
    const char *value = token == EMR_JSON_STRING ? c->json.string : NULL;
    if (value && strcmp(m->key, "peft_type") == 0) {
        c->free_layers = emr_adapter_layers_are_free(value);
        c->free_ranks = emr_adapter_ranks_are_free(value);
    }
    if (m->bearing != EMR_KEY_INIT)
        return;
    if (token == EMR_JSON_LITERAL || (value && emr_adapter_init_is_idle(value)))
        m->set = false;
    c->changed_base = c->changed_base || m->set;
}

/* The member whose key is the last token. */
static emr_status read_config_member(config *c, emr_error *error)
{
    emr_json *j = &c->json;
    member m = {.key = j->string, .bearing = emr_adapter_key_bearing(j->string)};
    emr_json_token token = emr_json_next(j);
    m.begin = j->begin;
    if (!hash_value(j, token, emr_adapter_key_is_set(m.key), &m.hash, &m.set))
        return fail_config_json(c, error);
    m.end = j->at;
    note_member(c, &m, token);
    if (!emr_grow(c->allocator, (void **)&c->members, &c->capacity, c->n + 1, sizeof m))
        return emr_no_memory(error, c->owner);
    c->members[c->n] = m;
    if (emr_names_add(&c->keys, c->allocator, member_key_at, c, c->n)) /* the parser lets no key come twice */
        return emr_no_memory(error, c->owner);
    c->n++;
    return EMR_OK;
}

static emr_status read_members(config *c, emr_error *error)
{
    emr_status status = EMR_OK;
    emr_json_token token = emr_json_next(&c->json);
    if (token != EMR_JSON_OBJECT)
        return emr_json_skip(&c->json, token)
                   ? emr_fail(error, EMR_EFORMAT, "%F: its adapter_config.json is no JSON object", c->owner)
                   : fail_config_json(c, error);
    while (!status && (token = emr_json_next(&c->json)) == EMR_JSON_KEY)
        status = read_config_member(c, error);
    if (!status && (token != EMR_JSON_OBJECT_END || emr_json_next(&c->json) != EMR_JSON_END))
        status = fail_config_json(c, error);
    return status;
}

static emr_status read_config(config *c, const char *owner, const char *text, const emr_allocator *allocator,
                              emr_error *error)
{
    size_t n = strlen(text);
    if (n > EMR_ADAPTER_CONFIG_MAX)
        return emr_fail(error, EMR_EFORMAT, "%F: its adapter_config.json has more than %u bytes", owner,
                        (uint64_t)EMR_ADAPTER_CONFIG_MAX);
    c->allocator = allocator;
    c->owner = owner;
    c->text = text;
    c->copy = emr_copy_string(allocator, text);
    emr_json_begin(&c->json, allocator, c->copy, n);
    return c->copy ? read_members(c, error) : emr_no_memory(error, c->owner);
}

static void free_config(config *c)
{
    if (!c->allocator)
        return;
    emr_json_free(&c->json);
    emr_names_free(&c->keys, c->allocator);
    emr_release(c->allocator, c->members);
    emr_release(c->allocator, c->copy);
}

/* A value as it stands in the file, in one line, cut with "..." where it is long; "absent" for none. */
enum { SHOWN = 80 };

static const char *show_value(const config *c, const member *m, char shown[SHOWN + 4])
{
    size_t n = 0, at = m ? m->begin : 0;
    if (!m)
        return "absent";
    for (; at < m->end && n < SHOWN; at++) {
        unsigned char byte = (unsigned char)c->text[at];
        bool space = byte <= ' ';
        if (!space || (n && shown[n - 1] != ' '))
            shown[n++] = space ? ' ' : (char)byte;
    }
    if (at < m->end) {
        while (n && ((unsigned char)shown[n - 1] & 0xc0) == 0x80) /* not within a character */
            n--;
        n -= n && ((unsigned char)shown[n - 1] & 0x80);
        memcpy(shown + n, "...", 3);
        n += 3;
    }
    shown[n] = '\0';
    return shown;
}

/* Whether two values, which are strings, end in the same part of a path. */
static bool same_last_part(const config *a, const member *in_a, const config *b, const member *in_b)
{
    size_t n = 0;
    if (!in_a || !in_b || a->text[in_a->begin] != '"' || b->text[in_b->begin] != '"')
        return false;
    const char *one = a->text + in_a->end - 1, *other = b->text + in_b->end - 1; /* the closing quotes */
    while (one[-1] == other[-1] && !strchr("/\\\"", one[-1]))                    /* both begin with a quote */
        one--, other--, n++;
    return n && strchr("/\\\"", one[-1]) && strchr("/\\\"", other[-1]);
}

static emr_status fail_disagreement(const config *a, const member *in_a, const config *b, const member *in_b,
                                    emr_error *error)
{
    char one[SHOWN + 4], other[SHOWN + 4];
    const member *m = in_a ? in_a : in_b;
    emr_fail(error, EMR_EMISMATCH,
             "%s and %s: their adapter_config.json disagree about '%s': %s and %s%s%s%s", a->owner, b->owner,
             m->key, show_value(a, in_a, one), show_value(b, in_b, other),
             same_last_part(a, in_a, b, in_b) ? ", which end in the same name" : "",
             m->bearing == EMR_KEY_MODEL ? ": if they are one model, say --adapter-differ " : "",
             m->bearing == EMR_KEY_MODEL ? m->key : "");
    return EMR_EMISMATCH;
}

static bool key_may_differ(const config *a, const config *b, const member *m, const emr_agree_options *o)
{
    bool free_layers = a->free_layers && b->free_layers, free_ranks = a->free_ranks && b->free_ranks,
         changed_base = a->changed_base || b->changed_base;
    for (size_t i = 0; i < o->n_differ; i++)
        if (strcmp(m->key, o->differ[i]) == 0)
            return true;
    return m->bearing == EMR_KEY_IDLE || (m->bearing == EMR_KEY_SCALE && !changed_base) ||
           (m->bearing == EMR_KEY_LAYERS && free_layers && !changed_base) ||
           (m->bearing == EMR_KEY_RANK && free_ranks && !changed_base);
}

static emr_status compare_configs(const config *a, const config *b, const emr_agree_options *options,
                                  emr_error *error)
{
    for (size_t i = 0; i < a->n; i++) {
        const member *m = &a->members[i], *other = NULL;
        size_t at = emr_names_find(&b->keys, member_key_at, b, m->key);
        if (at != EMR_NAMES_NONE)
            other = &b->members[at];
        bool same = other && other->set ? m->set && m->hash == other->hash : !m->set;
        if (!same && !key_may_differ(a, b, m, options))
            return fail_disagreement(a, m, b, other, error);
    }
    for (size_t i = 0; i < b->n; i++) {
        const member *m = &b->members[i];
        if (m->set && emr_names_find(&a->keys, member_key_at, a, m->key) == EMR_NAMES_NONE &&
            !key_may_differ(a, b, m, options))
            return fail_disagreement(a, NULL, b, m, error);
    }
    return EMR_OK;
}

static emr_status fail_only_one(const char *with, const char *without, emr_error *error)
{
    return emr_fail(error, EMR_EMISMATCH,
                    "%s has an adapter_config.json and %s has none: adapters are merged with adapters", with,
                    without);
}

/* To agree is an equivalence, so it is enough that each model agrees with the first. */
static emr_status compare_with_first(const emr_model *const *models, const char *const *names, size_t n,
                                     const emr_allocator *allocator, const emr_agree_options *options,
                                     emr_error *error)
{
    const char *text = emr_model_find_metadata(models[0], EMR_ADAPTER_CONFIG);
    emr_status status = EMR_OK;
    config first = {0};
    if (text)
        status = read_config(&first, names[0], text, allocator, error);
    for (size_t i = 1; !status && i < n; i++) {
        const char *other = emr_model_find_metadata(models[i], EMR_ADAPTER_CONFIG);
        config c = {0};
        if (!text != !other)
            status = fail_only_one(names[text ? 0 : i], names[text ? i : 0], error);
        else if (text)
            status = read_config(&c, names[i], other, allocator, error);
        if (!status && text)
            status = compare_configs(&first, &c, options, error);
        free_config(&c);
    }
    free_config(&first);
    return status;
}

emr_status emr_adapters_agree(const emr_model *const *models, const char *const *names, size_t n,
                              const emr_agree_options *given, emr_error *error)
{
    emr_agree_options options;
    emr_allocator allocator;
    emr_status status = EMR_TAKE(&options, given, emr_agree_options, error);
    if (status)
        return status;
    bool complete = (!n || (models && names)) && (!options.n_differ || options.differ);
    for (size_t i = 0; complete && i < n; i++)
        complete = models[i] && names[i];
    for (size_t i = 0; complete && i < options.n_differ; i++)
        complete = options.differ[i] != NULL;
    if (!complete)
        return emr_fail(error, EMR_EINVAL, "emr_adapters_agree: NULL");
    status = emr_allocator_take(&allocator, options.allocator, error);
    return status || !n ? status : compare_with_first(models, names, n, &allocator, &options, error);
}
