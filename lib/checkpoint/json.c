/* json.c - see json.h. */
#include "checkpoint/json.h"

#include "core/text.h"

#include <string.h>

/* Up to so many keys of an object are compared one by one; it has a table beyond that. */
enum { FEW_KEYS = 8 };

void emr_json_begin(emr_json *j, const emr_allocator *allocator, char *text, size_t n)
{
    j->string = NULL;
    j->natural = 0;
    j->begin = 0;
    j->allocator = allocator;
    j->text = text;
    j->n = n;
    j->at = 0;
    j->state = EMR_JSON_VALUE_NEXT;
    j->keys = NULL;
    j->n_keys = j->keys_capacity = 0;
    j->depth = 0; /* levels are set when they are entered */
    j->failure = NULL;
    j->failed_at = 0;
    j->status = EMR_OK;
}

void emr_json_free(emr_json *j)
{
    while (j->depth)
        emr_names_free(&j->levels[--j->depth].names, j->allocator);
    emr_release(j->allocator, j->keys);
    j->keys = NULL;
}

static emr_json_token fail_at(emr_json *j, size_t at, const char *what)
{
    j->failure = what;
    j->failed_at = at;
    j->status = EMR_EFORMAT;
    return EMR_JSON_FAILED;
}

static emr_json_token fail_here(emr_json *j, const char *what)
{
    return fail_at(j, j->at, j->at < j->n ? what : "it ends too early");
}

emr_status emr_json_fail(const emr_json *j, const char *path, const char *subject, emr_error *error)
{
    bool duplicate = j->status == EMR_EEXIST;
    if (j->status == EMR_ENOMEM)
        return emr_no_memory(error, path);
    return emr_fail(error, EMR_EFORMAT, "%F: %s not valid JSON: %s%s%s, at byte %u of it", path, subject,
                    j->failure, duplicate ? j->string : "", duplicate ? "'" : "", (uint64_t)j->failed_at);
}

static void skip_spaces(emr_json *j)
{
    while (j->at < j->n && (j->text[j->at] == ' ' || j->text[j->at] == '\n' || j->text[j->at] == '\r' ||
                            j->text[j->at] == '\t'))
        j->at++;
}

/* The character at the place, or 0 at the end: no token holds a zero byte. */
static char current_char(const emr_json *j)
{
    return j->at < j->n ? j->text[j->at] : '\0';
}

/* Four hexadecimal digits, or false. */
static bool read_hex4(emr_json *j, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        char c = current_char(j);
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 16;
        if (digit == 16)
            return false;
        *value = *value << 4 | digit;
    }
    return true;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (char)(0xe0 | c >> 12);
        } else {
            *to++ = (char)(0xf0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (c & 0x3f));
    return to;
}

/* After "\u": the digits, and the second half of a pair. */
static char *read_unicode(emr_json *j, char *to)
{
    uint32_t c, low;
    if (!read_hex4(j, &c))
        return fail_here(j, "an escape \\u without four hexadecimal digits"), NULL;
    if (c == 0)
        return fail_here(j, "a zero character in a string"), NULL;
    if (c >= 0xd800 && c < 0xe000) {
        if (c >= 0xdc00 || j->n - j->at < 6 || memcmp(j->text + j->at, "\\u", 2) != 0)
            return fail_here(j, "half of a surrogate pair"), NULL;
        j->at += 2;
        if (!read_hex4(j, &low) || low < 0xdc00 || low >= 0xe000)
            return fail_here(j, "half of a surrogate pair"), NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    return put_utf8(to, c);
}

/* After a backslash: writes what the escape stands for, which is never longer. NULL if there is none. */
static char *read_escape(emr_json *j, char *to)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = current_char(j);
    const char *known = c ? strchr(escapes, c) : NULL;
    if (c == 'u') {
        j->at++;
        return read_unicode(j, to);
    }
    if (!known)
        return fail_here(j, "an unknown escape"), NULL;
    *to++ = meanings[known - escapes];
    j->at++;
    return to;
}

/* Steps over what stands for itself in a string, and moves it to where the string has come. */
static char *take_plain(emr_json *j, char *to)
{
    size_t begin = j->at, end = begin;
    while (end < j->n && j->text[end] != '"' && j->text[end] != '\\' && (unsigned char)j->text[end] >= 0x20)
        end++;
    if (to != j->text + begin)
        memmove(to, j->text + begin, end - begin);
    j->at = end;
    return to + (end - begin);
}

/* From the opening to the closing quote, which a zero byte replaces. */
static bool read_string(emr_json *j)
{
    size_t begin = ++j->at;
    char *to = take_plain(j, j->text + begin);
    while (current_char(j) != '"') {
        if (current_char(j) != '\\')
            return fail_here(j, "a control character in a string");
        j->at++;
        to = read_escape(j, to);
        if (!to)
            return false;
        to = take_plain(j, to);
    }
    j->at++;
    *to = '\0';
    j->string = j->text + begin;
    /* Escapes give whole characters, so they cannot complete a sequence that was broken. */
    if (!emr_is_utf8(j->string, (size_t)(to - j->string)))
        return fail_at(j, begin, "a string that is not valid UTF-8");
    return true;
}

/* The i-th key of the innermost object, for its table. */
static const char *open_key_at(const void *owner, size_t i)
{
    const emr_json *j = owner;
    return j->text + j->keys[j->levels[j->depth - 1].first_key + i];
}

/* Adds the key in `string`, which begins at that byte, to the innermost object's. EMR_EEXIST if it is there.
 */
static emr_status add_key(emr_json *j, size_t begin)
{
    emr_names *names = &j->levels[j->depth - 1].names;
    size_t n = j->n_keys - j->levels[j->depth - 1].first_key;
    emr_status status = EMR_OK;
    if (!emr_grow(j->allocator, (void **)&j->keys, &j->keys_capacity, j->n_keys + 1, sizeof *j->keys))
        return EMR_ENOMEM;
    j->keys[j->n_keys++] = (uint32_t)begin;
    if (n < FEW_KEYS) {
        for (size_t i = 0; i < n; i++)
            if (emr_same_text(open_key_at(j, i), j->string))
                return EMR_EEXIST;
        return EMR_OK;
    }
    for (size_t i = names->n; !status && i <= n; i++) /* the few before it are not yet in the table */
        status = emr_names_add(names, j->allocator, open_key_at, j, i);
    return status;
}

/* A key and the colon after it. */
static emr_json_token read_key(emr_json *j)
{
    size_t begin = j->begin = j->at;
    if (current_char(j) != '"')
        return fail_here(j, "no key in quotes");
    if (!read_string(j))
        return EMR_JSON_FAILED;
    emr_status status = add_key(j, begin + 1);
    if (status) {
        fail_at(j, begin, status == EMR_EEXIST ? "a duplicate key '" : "out of memory");
        j->status = status;
        return EMR_JSON_FAILED;
    }
    skip_spaces(j);
    if (current_char(j) != ':')
        return fail_here(j, "no ':' after a key");
    j->at++;
    j->state = EMR_JSON_VALUE_NEXT;
    return EMR_JSON_KEY;
}

/* Steps over digits; false if there are none. */
static bool skip_digits(emr_json *j)
{
    size_t begin = j->at;
    while (current_char(j) >= '0' && current_char(j) <= '9')
        j->at++;
    return j->at > begin;
}

/* The value of the digits in front of the place that began at `begin`. */
static emr_json_token take_natural(emr_json *j, size_t begin)
{
    uint64_t value = 0;
    for (size_t i = begin; i < j->at; i++) {
        uint64_t digit = (uint64_t)(j->text[i] - '0');
        if (value > (INT64_MAX - digit) / 10)
            return EMR_JSON_LARGE;
        value = 10 * value + digit;
    }
    j->natural = value;
    return EMR_JSON_NATURAL;
}

static emr_json_token read_number(emr_json *j)
{
    bool natural = current_char(j) != '-';
    j->at += !natural;
    size_t begin = j->at;
    if (!skip_digits(j))
        return fail_here(j, "a sign without a number");
    if (j->text[begin] == '0' && j->at - begin > 1)
        return fail_at(j, begin, "a number that begins with 0");
    if (current_char(j) == '.') {
        natural = false;
        j->at++;
        if (!skip_digits(j))
            return fail_here(j, "no digit after the decimal point");
    }
    if (current_char(j) == 'e' || current_char(j) == 'E') {
        natural = false;
        j->at++;
        if (current_char(j) == '+' || current_char(j) == '-')
            j->at++;
        if (!skip_digits(j))
            return fail_here(j, "an exponent without a number");
    }
    return natural ? take_natural(j, begin) : EMR_JSON_NUMBER;
}

static emr_json_token read_literal(emr_json *j)
{
    static const char *const literals[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(literals[i]);
        if (j->n - j->at >= n && memcmp(j->text + j->at, literals[i], n) == 0) {
            j->at += n;
            return EMR_JSON_LITERAL;
        }
    }
    return fail_here(j, "no value");
}

static emr_json_token open_level(emr_json *j, bool is_object)
{
    if (j->depth == EMR_JSON_DEPTH)
        return fail_here(j, "values nested more than 64 deep");
    j->levels[j->depth++] = (emr_json_level){{0}, j->n_keys, is_object};
    j->at++;
    j->state = EMR_JSON_FIRST_NEXT;
    return is_object ? EMR_JSON_OBJECT : EMR_JSON_ARRAY;
}

static emr_json_token close_level(emr_json *j)
{
    emr_json_level *level = &j->levels[--j->depth];
    emr_names_free(&level->names, j->allocator);
    j->n_keys = level->first_key;
    j->at++;
    j->state = EMR_JSON_MORE_NEXT;
    return level->is_object ? EMR_JSON_OBJECT_END : EMR_JSON_ARRAY_END;
}

static emr_json_token read_value(emr_json *j)
{
    char c = current_char(j);
    j->begin = j->at;
    if (c == '{' || c == '[')
        return open_level(j, c == '{');
    j->state = EMR_JSON_MORE_NEXT;
    if (c == '"')
        return read_string(j) ? EMR_JSON_STRING : EMR_JSON_FAILED;
    return c == '-' || (c >= '0' && c <= '9') ? read_number(j) : read_literal(j);
}

emr_json_token emr_json_next(emr_json *j)
{
    if (j->failure)
        return EMR_JSON_FAILED;
    skip_spaces(j);
    if (j->state == EMR_JSON_VALUE_NEXT)
        return read_value(j);
    if (j->depth == 0)
        return j->at == j->n ? EMR_JSON_END : fail_here(j, "something after the end");
    bool in_object = j->levels[j->depth - 1].is_object;
    if (current_char(j) == (in_object ? '}' : ']'))
        return close_level(j);
    if (j->state == EMR_JSON_MORE_NEXT) {
        if (current_char(j) != ',')
            return fail_here(j, in_object ? "neither ',' nor '}'" : "neither ',' nor ']'");
        j->at++;
        skip_spaces(j);
    }
    return in_object ? read_key(j) : read_value(j);
}

bool emr_json_skip(emr_json *j, emr_json_token first)
{
    emr_json_token token = first;
    unsigned outside = j->depth - (first == EMR_JSON_OBJECT || first == EMR_JSON_ARRAY);
    while (token && j->depth > outside)
        token = emr_json_next(j);
    return token != EMR_JSON_FAILED;
}
