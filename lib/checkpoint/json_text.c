/* json_text.c - see json_text.h. */
#include "checkpoint/json_text.h"

#include <string.h>

static void put_bytes(emr_json_text *t, const char *bytes, size_t n)
{
    if (t->bytes)
        memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
}

void emr_json_put(emr_json_text *t, const char *piece)
{
    put_bytes(t, piece, strlen(piece));
}

static void put_escaped(emr_json_text *t, unsigned char c)
{
    static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt", digits[] = "0123456789ABCDEF";
    const char *known = strchr(special, c);
    const char with_letter[2] = {'\\', known ? letters[known - special] : '\0'};
    const char with_number[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    if (known)
        put_bytes(t, with_letter, sizeof with_letter);
    else
        put_bytes(t, with_number, sizeof with_number);
}

void emr_json_put_string(emr_json_text *t, const char *string)
{
    put_bytes(t, "\"", 1);
    while (*string) {
        size_t plain = 0;
        while ((unsigned char)string[plain] >= 0x20 && string[plain] != '"' && string[plain] != '\\')
            plain++;
        put_bytes(t, string, plain);
        string += plain;
        if (*string)
            put_escaped(t, (unsigned char)*string++);
    }
    put_bytes(t, "\"", 1);
}

void emr_json_put_natural(emr_json_text *t, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put_bytes(t, digits + at, sizeof digits - at);
}
