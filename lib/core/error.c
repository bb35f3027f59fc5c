/* error.c - status texts and the one-line error formatter. Freestanding. */
#include "core/error.h"

#include "core/text.h"

#include <string.h>

_Static_assert(sizeof(emr_error) == 512, "emr_error has 512 bytes, for ever");

const char *emr_status_text(emr_status status)
{
    switch (status) {
#define EMR_STATUS_CASE(name, number, text)                                                                  \
    case EMR_##name:                                                                                         \
        return text;
        EMR_STATUS_MAP(EMR_STATUS_CASE)
#undef EMR_STATUS_CASE
    default:
        return "unknown status";
    }
}

const char *emr_status_name(emr_status status)
{
    switch (status) {
#define EMR_STATUS_CASE(name, number, text)                                                                  \
    case EMR_##name:                                                                                         \
        return "EMR_" #name;
        EMR_STATUS_MAP(EMR_STATUS_CASE)
#undef EMR_STATUS_CASE
    default:
        return "EMR_?";
    }
}

enum { NAME_MAX_BYTES = 200, NAME_HEAD = 80 };

/* An error's text while it is written; length < EMR_ERROR_TEXT_SIZE. */
typedef struct error_line {
    emr_error *error;
    size_t length;
} error_line;

static void put_char(error_line *l, char c)
{
    if (l->length + 1 < EMR_ERROR_TEXT_SIZE)
        l->error->text[l->length++] = c;
}

static void put_first_bytes(error_line *l, const char *s, size_t n)
{
    for (; n; s++, n--) {
        unsigned char c = (unsigned char)*s;
        put_char(l, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
}

static void put_string(error_line *l, const char *s)
{
    s = s ? s : "(null)";
    put_first_bytes(l, s, emr_text_length(s));
}

static bool is_inside_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* How much of a name is shown: of an address, nothing of what stands behind its '?', where signatures and keys are. */
static size_t shown_length(const char *name)
{
    size_t n = emr_text_length(name);
    const char *question = emr_find_char(name, '?');
    bool is_address = n >= 8 && (memcmp(name, "https://", 8) == 0 || memcmp(name, "http://", 7) == 0);
    return is_address && question ? (size_t)(question - name) : n;
}

/* A long name loses its middle, so that the sentence does not lose its end. */
static void put_name(error_line *l, emr_error_span *span, const char *name)
{
    name = name ? name : "(null)";
    size_t offset = l->length, n = shown_length(name), head = n, tail = n;
    if (n > NAME_MAX_BYTES) {
        for (head = NAME_HEAD; head && is_inside_character(name[head]);)
            head--;
        for (tail = n - (NAME_MAX_BYTES - NAME_HEAD - 3); is_inside_character(name[tail]);)
            tail++;
    }
    put_first_bytes(l, name, head);
    if (head < n)
        put_string(l, "...");
    put_first_bytes(l, name + tail, n - tail);
    *span = (emr_error_span){(uint16_t)offset, (uint16_t)(l->length - offset)};
}

static void put_number(error_line *l, uint64_t value)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (n)
        put_char(l, digits[--n]);
}

static void put_format(error_line *l, const char *format, va_list arguments)
{
    for (const char *f = format; *f; f++) {
        if (*f != '%') {
            put_char(l, *f);
            continue;
        }
        f++;
        if (!*f) {
            put_char(l, '%');
            break;
        }
        if (*f == 's') {
            put_string(l, va_arg(arguments, const char *));
        } else if (*f == 'F') {
            put_name(l, &l->error->file, va_arg(arguments, const char *));
        } else if (*f == 'K') {
            put_name(l, &l->error->task, va_arg(arguments, const char *));
        } else if (*f == 'T') {
            put_name(l, &l->error->tensor, va_arg(arguments, const char *));
        } else if (*f == 'u') {
            put_number(l, va_arg(arguments, uint64_t));
        } else if (*f == 'i') {
            int64_t value = va_arg(arguments, int64_t);
            if (value < 0)
                put_char(l, '-');
            put_number(l, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
        } else {
            put_char(l, '%');
        }
    }
}

/* Appends another error's text from byte `from` on, and where it names what this one does not. */
static void put_error(error_line *l, const emr_error *other, size_t from)
{
    emr_error_span *to[] = {&l->error->file, &l->error->task, &l->error->tensor};
    const emr_error_span theirs[] = {other->file, other->task, other->tensor};
    size_t start = l->length;
    put_string(l, other->text + from);
    for (size_t i = 0; i < 3; i++) /* a host may have written anything; end_line() cuts what is too long */
        if (!to[i]->length && theirs[i].length && theirs[i].offset >= from)
            *to[i] = (emr_error_span){(uint16_t)(start + theirs[i].offset - from), theirs[i].length};
}

/* The bytes of a character that begins with this one. */
static size_t character_bytes(unsigned char first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static void shorten_span(emr_error_span *span, size_t length)
{
    if (span->offset >= length)
        *span = (emr_error_span){0, 0};
    else if (span->length > length - span->offset)
        span->length = (uint16_t)(length - span->offset);
}

/* Ends the text; where it was cut inside a UTF-8 character, removes that character's beginning. */
static emr_status end_line(error_line *l, emr_status status)
{
    size_t start = l->length;
    char *text = l->error->text;
    while (start > 0 && l->length - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && character_bytes((unsigned char)text[start - 1]) > l->length - start + 1)
        l->length = start - 1;
    text[l->length] = '\0';
    l->error->status = status;
    shorten_span(&l->error->file, l->length);
    shorten_span(&l->error->task, l->length);
    shorten_span(&l->error->tensor, l->length);
    return status;
}

/* An empty error to write into: everything but the text, which grows from the front, is zero. */
static error_line begin_line(emr_error *error)
{
    memset((char *)error + EMR_ERROR_TEXT_SIZE, 0, sizeof *error - EMR_ERROR_TEXT_SIZE);
    return (error_line){error, 0};
}

static emr_status write_line(emr_error *error, emr_status status, const char *format, va_list arguments)
{
    if (!error)
        return status;
    error_line l = begin_line(error);
    put_format(&l, format, arguments);
    return end_line(&l, status);
}

emr_status emr_fail(emr_error *error, emr_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(error, status, format, arguments);
    va_end(arguments);
    return status;
}

emr_status emr_error_format(emr_error *error, emr_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(error, status, format ? format : "", arguments);
    va_end(arguments);
    return status;
}

/* Where the reason begins in what a callback wrote: behind the file's name, if that has been said already. */
static size_t reason_offset(const emr_error *why, const emr_error *error)
{
    size_t n = why->file.length;
    bool same = n && why->file.offset == 0 && error->file.length == n && why->text[n] == ':' &&
                why->text[n + 1] == ' ' && memcmp(why->text, error->text + error->file.offset, n) == 0;
    return same ? n + 2 : 0;
}

emr_status emr_fail_because(emr_error *error, emr_status status, const emr_error *why, const char *format,
                            ...)
{
    if (!error)
        return status;
    emr_error copy = *why; /* which may be `error` itself */
    error_line l = begin_line(error);
    va_list arguments;
    va_start(arguments, format);
    put_format(&l, format, arguments);
    va_end(arguments);
    if (copy.text[0]) {
        put_string(&l, ": ");
        put_error(&l, &copy, reason_offset(&copy, error));
        error->system = copy.system;
    }
    return end_line(&l, status);
}

emr_status emr_fail_as(emr_error *error, emr_status status, const emr_error *why)
{
    if (!error)
        return status;
    emr_error copy = *why;
    error_line l = begin_line(error);
    put_error(&l, &copy, 0);
    error->system = copy.system;
    return end_line(&l, status);
}

void emr_error_prefix(emr_error *error, const char *format, ...)
{
    if (!error)
        return;
    emr_error old = *error;
    error_line l = begin_line(error);
    va_list arguments;
    va_start(arguments, format);
    put_format(&l, format, arguments);
    va_end(arguments);
    put_string(&l, ": ");
    put_error(&l, &old, 0);
    error->system = old.system;
    end_line(&l, old.status);
}

emr_status emr_no_memory(emr_error *error, const char *file)
{
    return file ? emr_fail(error, EMR_ENOMEM, "%F: out of memory", file)
                : emr_fail(error, EMR_ENOMEM, "out of memory");
}

emr_status emr_error_set(emr_error *error, emr_status status, int32_t system, const char *file,
                         const char *reason)
{
    if (!error)
        return status;
    if (file)
        emr_fail(error, status, "%F: %s", file, reason);
    else
        emr_fail(error, status, "%s", reason);
    error->system = system;
    return status;
}
