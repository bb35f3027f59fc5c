/* text.h - the few string functions that a freestanding build may not take from the C library. */
#ifndef EMR_CORE_TEXT_H
#define EMR_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

static inline size_t emr_text_length(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

static inline bool emr_same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* Where a character is, or NULL. */
static inline const char *emr_find_char(const char *text, char wanted)
{
    while (*text && *text != wanted)
        text++;
    return *text == wanted ? text : NULL;
}

/* Whether the text is valid UTF-8: shortest forms only, no surrogates. */
static inline bool emr_is_utf8(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        size_t more = s[i] < 0x80   ? 0
                      : s[i] < 0xc2 ? 4
                      : s[i] < 0xe0 ? 1
                      : s[i] < 0xf0 ? 2
                      : s[i] < 0xf5 ? 3
                                    : 4;
        if (more == 4 || more > n - i - 1)
            return false;
        for (size_t k = 1; k <= more; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return false;
        if ((s[i] == 0xe0 && s[i + 1] < 0xa0) || (s[i] == 0xed && s[i + 1] > 0x9f) ||
            (s[i] == 0xf0 && s[i + 1] < 0x90) || (s[i] == 0xf4 && s[i + 1] > 0x8f))
            return false;
        i += more + 1;
    }
    return true;
}

#endif
