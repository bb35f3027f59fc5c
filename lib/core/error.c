/* error.c - status texts and the one-line error formatter. Freestanding. */
#include "core/error.h"

#include <stdarg.h>
#include <string.h>

const char *emr_status_text(emr_status status)
{
    switch (status) {
#define EMR_STATUS_CASE(name, number, text)                                                                  \
    case EMR_##name:                                                                                         \
        return text;
        EMR_STATUS_MAP(EMR_STATUS_CASE)
#undef EMR_STATUS_CASE
    }
    return "unknown status";
}

const char *emr_status_name(emr_status status)
{
    switch (status) {
#define EMR_STATUS_CASE(name, number, text)                                                                  \
    case EMR_##name:                                                                                         \
        return "EMR_" #name;
        EMR_STATUS_MAP(EMR_STATUS_CASE)
#undef EMR_STATUS_CASE
    }
    return "EMR_?";
}

typedef struct line {
    char *text;
    size_t length; /* < EMR_ERROR_TEXT_SIZE */
} line;

static void put_char(line *l, char c)
{
    if (l->length + 1 < EMR_ERROR_TEXT_SIZE)
        l->text[l->length++] = c;
}

static void put_string(line *l, const char *s)
{
    for (s = s ? s : "(null)"; *s; s++) {
        unsigned char c = (unsigned char)*s;
        put_char(l, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
}

static void put_number(line *l, uint64_t value)
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

/* The bytes of a character that begins with this one. */
static size_t character_bytes(unsigned char first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* Ends the text; where it was cut inside a UTF-8 character, removes that character's beginning. */
static void finish(line *l)
{
    size_t start = l->length;
    while (start > 0 && l->length - start < 3 && ((unsigned char)l->text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && character_bytes((unsigned char)l->text[start - 1]) > l->length - start + 1)
        l->length = start - 1;
    l->text[l->length] = '\0';
}

emr_status emr_fail(emr_error *error, emr_status status, const char *format, ...)
{
    if (!error)
        return status;
    line l = {error->text, 0};
    va_list arguments;
    va_start(arguments, format);
    for (const char *f = format; *f; f++) {
        if (*f != '%') {
            put_char(&l, *f);
            continue;
        }
        f++;
        if (*f == 's') {
            put_string(&l, va_arg(arguments, const char *));
        } else if (*f == 'u') {
            put_number(&l, va_arg(arguments, uint64_t));
        } else if (*f == 'i') {
            int64_t value = va_arg(arguments, int64_t);
            if (value < 0)
                put_char(&l, '-');
            put_number(&l, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
        } else {
            put_char(&l, '%');
        }
    }
    va_end(arguments);
    finish(&l);
    return status;
}

void emr_error_prefix(emr_error *error, const char *text)
{
    if (!error)
        return;
    char old[EMR_ERROR_TEXT_SIZE];
    memcpy(old, error->text, sizeof old);
    old[sizeof old - 1] = '\0';
    emr_fail(error, EMR_OK, "%s: %s", text, old);
}
