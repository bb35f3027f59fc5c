/* text.h - the two string functions that a freestanding build may not take from the C library. */
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

#endif
