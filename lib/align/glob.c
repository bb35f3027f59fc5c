/* glob.c - matching tensor names against shell patterns (emr_glob_matches). No recursion: a star remembers where
 * to continue if what follows it fails. */
#include "emr/policy.h"

#include <stdbool.h>

/* Matches one byte against the pattern's next element; *next is what follows that element. */
static bool match_one(const char *pattern, char c, const char **next)
{
    if (*pattern == '\\' && pattern[1]) {
        *next = pattern + 2;
        return pattern[1] == c;
    }
    *next = pattern + 1;
    if (*pattern == '?')
        return true;
    if (*pattern != '[')
        return *pattern == c;
    const char *p = pattern + 1;
    bool inverted = *p == '!' || *p == '^', found = false;
    p += inverted;
    for (const char *first = p; *p && (*p != ']' || p == first);) {
        unsigned char low = (unsigned char)*p++, high = low;
        if (*p == '-' && p[1] && p[1] != ']') {
            high = (unsigned char)p[1];
            p += 2;
        }
        found = found || ((unsigned char)c >= low && (unsigned char)c <= high);
    }
    if (*p != ']') /* no set after all: a literal '[' */
        return c == '[';
    *next = p + 1;
    return found != inverted;
}

int emr_glob_matches(const char *glob, const char *name)
{
    const char *pattern = glob, *star = NULL, *resume = NULL, *next;
    if (!glob || !name)
        return 0;
    for (;;) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = name;
        } else if (*name && *pattern && match_one(pattern, *name, &next)) {
            pattern = next;
            name++;
        } else if (!*name && !*pattern) {
            return 1;
        } else if (star && *resume) {
            pattern = star;
            name = ++resume;
        } else {
            return 0;
        }
    }
}
