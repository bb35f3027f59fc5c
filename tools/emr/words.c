/* words.c - words for numbers and names, and JSON. */
#include "cli.h"
#include "remote.h"

#include <errno.h>
#include <string.h>

static int print_bytes(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        putchar((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
    return (int)n;
}

/* How many bytes come before the character that the at-th is of. */
static size_t character_begin(const char *text, size_t at)
{
    while (at && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

/* A very long name loses its middle. */
void print_name(const char *text, int width)
{
    enum { LONGEST = 200, HALF = 98 };
    size_t n = strlen(text), tail = 0;
    if (n > LONGEST) {
        tail = character_begin(text, n - HALF);
        width -= print_bytes(text, character_begin(text, HALF)) + 3;
        fputs("...", stdout);
    }
    width -= print_bytes(text + tail, n - tail);
    for (; width > 0; width--)
        putchar(' ');
}

const char *names_text(const char *const *names, size_t n, char text[NAMES_TEXT])
{
    const int longest = 200;
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n && i < NAMES_SHOWN; i++)
        at += (size_t)snprintf(text + at, NAMES_TEXT - at, "%s'%.*s%s'", i ? ", " : "", longest, names[i],
                               strlen(names[i]) > (size_t)longest ? "..." : "");
    if (n > NAMES_SHOWN)
        snprintf(text + at, NAMES_TEXT - at, " and %zu more", n - NAMES_SHOWN);
    return text;
}

const char *size_text(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *shape_text(uint32_t rank, const uint64_t *shape, char text[256])
{
    size_t n = (size_t)snprintf(text, 256, "[");
    for (uint32_t i = 0; i < rank && n < 220; i++)
        n += (size_t)snprintf(text + n, 256 - n, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    snprintf(text + n, 256 - n, "]");
    return text;
}

json_t *text_json(const char *text)
{
    json_t *value = json_stringn(text, (size_t)shown_length(text));
    char ascii[1024];
    size_t n = 0;
    for (; !value && text[n] && n + 1 < sizeof ascii; n++)
        ascii[n] = (unsigned char)text[n] < 0x80 ? text[n] : '?';
    ascii[n] = '\0';
    return value ? value : json_string(ascii);
}

json_t *shape_json(uint32_t rank, const uint64_t *shape)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < rank; i++)
        json_array_append_new(array, json_integer((json_int_t)shape[i]));
    return array;
}

int print_json(json_t *root)
{
    errno = root ? 0 : ENOMEM;
    int failed = !root || json_dumpf(root, stdout, JSON_INDENT(2)), reason = errno;
    putchar('\n');
    json_decref(root);
    return failed
               ? complain(EXIT_SYSTEM, "standard output: the JSON could not be written: %s", strerror(reason))
               : EXIT_DONE;
}

const char *rule_name(uint32_t rule)
{
    static const char *const names[] = {"default", "l1", "l1-means", "l2", "norm", "unbiased", "mixed"};
    return rule < 7 ? names[rule] : "?";
}

const char *per_name(uint32_t per)
{
    static const char *const names[] = {"default", "model", "tensor", "row"};
    return per < 4 ? names[per] : "?";
}

const char *tie_name(uint32_t tie)
{
    return tie == EMR_TIE_ZERO ? "zero" : "negative";
}
