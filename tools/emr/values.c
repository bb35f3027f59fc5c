/* values.c - sizes and numbers behind options. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The power of ten or two that a unit stands for, or 0: K, M, G, T and KiB ... of 1024, KB ... of 1000. */
static uint64_t unit_factor(const char *unit)
{
    static const char letters[] = "KMGT";
    if (!*unit || strcmp(unit, "B") == 0)
        return 1;
    const char *letter = strchr(letters, *unit >= 'a' && *unit <= 'z' ? *unit - 'a' + 'A' : *unit);
    bool decimal = strcmp(unit + 1, "B") == 0;
    if (!letter || (unit[1] && !decimal && strcmp(unit + 1, "iB") != 0))
        return 0;
    uint64_t factor = 1;
    for (long k = letter - letters + 1; k > 0; k--)
        factor *= decimal ? 1000 : 1024;
    return factor;
}

const char *parse_size(const char *value, uint64_t *size)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    uint64_t factor = unit_factor(end);
    if (end == value || *value < '0' || *value > '9')
        return "is no size (such as 256MiB)";
    if (!factor)
        return "has an unknown unit";
    if (errno || number > UINT64_MAX / factor)
        return "is too large";
    *size = number * factor;
    return *size ? NULL : "must be more than 0";
}

const char *parse_block_params(const char *value, uint32_t *params)
{
    uint64_t size;
    const char *wrong = parse_size(value, &size);
    if (!wrong && (size < 4096 || size > 16 << 20 || (size & (size - 1))))
        wrong = "must be a power of two, 4K to 16M";
    if (!wrong)
        *params = (uint32_t)size;
    return wrong;
}

const char *parse_seed(const char *value, uint64_t *seed)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (end == value || *end || *value < '0' || *value > '9' || errno)
        return "must be 0 to 18446744073709551615";
    *seed = number;
    return NULL;
}

bool parse_whole(const char *value, long low, long high, long *number)
{
    char *end;
    *number = strtol(value, &end, 10);
    return !*end && end != value && *number >= low && *number <= high;
}

bool parse_number(const char *value, const char *end, double *number)
{
    char text[64], *behind;
    size_t n = (size_t)(end - value);
    if (!n || n >= sizeof text)
        return false;
    memcpy(text, value, n);
    text[n] = '\0';
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        *number = *text == 't';
        return true;
    }
    *number = strtod(text, &behind);
    /* no hexadecimal numbers, no infinity */
    return !*behind && strspn(text, "0123456789+-.eE") == n && *number - *number == 0;
}
