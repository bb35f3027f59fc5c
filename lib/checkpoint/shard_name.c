/* shard_name.c - see shard_name.h. */
#include "checkpoint/shard_name.h"

#include <string.h>

enum { DIGITS = 5 /* of a number, at least */, DIGITS_MAX = 9 };

/* Appends a number of at least five digits. */
static void append_number(char *text, size_t number)
{
    char digits[20];
    size_t n = 0, end = strlen(text);
    while (n < DIGITS || number) {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    }
    while (n)
        text[end++] = digits[--n];
    text[end] = '\0';
}

char *emr_shard_path(const emr_allocator *allocator, const char *stem, size_t length, size_t number, size_t n,
                     const char *ending)
{
    char tail[80] = "";
    if (n > 1) {
        strcat(tail, "-");
        append_number(tail, number);
        strcat(tail, "-of-");
        append_number(tail, n);
    }
    strcat(tail, ending);
    return emr_join_strings(allocator, stem, length, tail);
}

/* The number that ends at `end`, where it is one of five to nine digits: where it begins, else `end`. */
static size_t number_before(const char *text, size_t end, size_t *number)
{
    size_t at = end, scale = 1;
    *number = 0;
    for (; at && end - at < DIGITS_MAX && text[at - 1] >= '0' && text[at - 1] <= '9'; scale *= 10)
        *number += scale * (size_t)(text[--at] - '0');
    return end - at < DIGITS ? end : at;
}

static size_t text_before(const char *text, size_t end, const char *wanted)
{
    size_t n = strlen(wanted);
    return end >= n && memcmp(text + end - n, wanted, n) == 0 ? end - n : end;
}

size_t emr_shard_stem(const char *path, const char *ending, size_t *number, size_t *n)
{
    size_t end = strlen(path), parts[5] = {text_before(path, end, ending)};
    parts[1] = number_before(path, parts[0], n);
    parts[2] = text_before(path, parts[1], "-of-");
    parts[3] = number_before(path, parts[2], number);
    parts[4] = text_before(path, parts[3], "-");
    for (size_t i = 0; i < 5; end = parts[i++])
        if (parts[i] == end)
            return 0;
    return end;
}
