/* json.h - a strict pull parser: JSON (RFC 8259) in memory, one token a call.
 *
 * It is made for text that nobody vouches for. Nothing recurses; values are nested at most EMR_JSON_DEPTH
 * deep; no two keys of one object are equal, whether the reader looks at them or skips them; no number is
 * rounded. Strings are unescaped where they stand, so the text is changed and must outlive them. */
#ifndef EMR_CHECKPOINT_JSON_H
#define EMR_CHECKPOINT_JSON_H

#include "core/memory.h"
#include "core/names.h"

enum { EMR_JSON_DEPTH = 64 };

typedef enum emr_json_token {
    EMR_JSON_FAILED, /* no valid JSON, or no memory; every later call says so again */
    EMR_JSON_OBJECT, /* begins */
    EMR_JSON_OBJECT_END,
    EMR_JSON_ARRAY, /* begins */
    EMR_JSON_ARRAY_END,
    EMR_JSON_KEY, /* `string`; its value's tokens follow */
    EMR_JSON_STRING,
    EMR_JSON_NATURAL, /* digits alone: `natural`, below 2^63 */
    EMR_JSON_LARGE,   /* digits alone: 2^63 or more */
    EMR_JSON_NUMBER,  /* any other: a sign, a fraction, an exponent */
    EMR_JSON_LITERAL, /* true, false, null */
    EMR_JSON_END      /* the one value was complete, and nothing but white space follows */
} emr_json_token;

/* An object or array that is open. */
typedef struct emr_json_level {
    emr_names names;  /* of its keys, once they are more than a few */
    size_t first_key; /* in `keys` */
    bool is_object;
} emr_json_level;

typedef struct emr_json {
    const char *string; /* of the last key or string: valid UTF-8, as long as the text is there */
    uint64_t natural;
    size_t begin; /* the byte of the text at which the last key or value begins */
    /* the rest is the parser's own */
    const emr_allocator *allocator;
    char *text;
    size_t n, at;
    enum { EMR_JSON_VALUE_NEXT, EMR_JSON_FIRST_NEXT, EMR_JSON_MORE_NEXT } state;
    uint32_t *keys; /* of all open objects, outermost first: where each begins in the text */
    size_t n_keys, keys_capacity;
    unsigned depth;
    emr_json_level levels[EMR_JSON_DEPTH];
    const char *failure; /* NULL: none */
    size_t failed_at;
    emr_status status; /* EMR_EEXIST: `string` is a duplicate key */
} emr_json;

/* Begins at the first of `n` bytes, which are fewer than 2^32. Only keys take memory of the allocator, at
 * most 60 bytes for each key that is open at a time. */
void emr_json_begin(emr_json *json, const emr_allocator *allocator, char *text, size_t n);
/* Frees what the parser took; not the text. */
void emr_json_free(emr_json *json);

emr_json_token emr_json_next(emr_json *json);

/* Passes over what is left of the value that began with `first`, checking it. False if it is no valid JSON.
 */
bool emr_json_skip(emr_json *json, emr_json_token first);

/* After EMR_JSON_FAILED: fills `error` with "PATH: SUBJECT not valid JSON: what is wrong, at byte N of it",
 * and returns EMR_EFORMAT; or EMR_ENOMEM with a sentence of its own. */
emr_status emr_json_fail(const emr_json *json, const char *path, const char *subject, emr_error *error);

#endif
