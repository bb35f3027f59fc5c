/* answer.c - what the lines of an answer's header say. A new status line begins a new answer: of a
 * redirect, the last one counts. */
#include "remote.h"

#include <string.h>
#include <strings.h>

/* A decimal number at *text, which is moved behind it. */
static bool read_number(const char **text, const char *end, uint64_t *number)
{
    const char *p = *text;
    *number = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (*number > (UINT64_MAX - 9) / 10)
            return false;
        *number = *number * 10 + (uint64_t)(*p - '0');
    }
    bool found = p > *text;
    *text = p;
    return found;
}

/* "bytes 0-99/1000", or "bytes *" "/1000" where there is nothing to be had. */
static void read_range(remote_answer *a, const char *p, const char *end)
{
    uint64_t first = 1, last = 0, bytes;
    if (end - p < 6 || strncasecmp(p, "bytes ", 6) != 0)
        return;
    p += 6;
    if (p < end && *p == '*')
        p++;
    else if (!read_number(&p, end, &first) || p == end || *p++ != '-' || !read_number(&p, end, &last) ||
             last < first)
        return;
    if (p == end || *p++ != '/' || !read_number(&p, end, &bytes) || p != end ||
        (first <= last && last >= bytes))
        return;
    a->has_range = true;
    a->first = first;
    a->last = last;
    a->identity.bytes = bytes;
}

/* One that is too long is as none. */
static void read_tag(char tag[REMOTE_TAG_MAX], const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    if (n >= REMOTE_TAG_MAX)
        n = 0;
    memcpy(tag, p, n);
    tag[n] = '\0';
}

static void read_status(remote_answer *a, const char *p, const char *end)
{
    uint64_t code = 0;
    *a = (remote_answer){.code = 0};
    while (p < end && *p != ' ')
        p++;
    while (p < end && *p == ' ')
        p++;
    if (read_number(&p, end, &code) && code < 1000)
        a->code = (long)code;
}

static bool is_field(const char **value, const char *line, const char *end, const char *name)
{
    size_t n = strlen(name);
    if ((size_t)(end - line) <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    *value = line + n + 1;
    while (*value < end && (**value == ' ' || **value == '\t'))
        ++*value;
    return true;
}

void remote_answer_line(remote_answer *a, const char *line, size_t n)
{
    const char *end = line + n, *value = line;
    while (end > line && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    uint64_t seconds;
    if (end - line > 5 && memcmp(line, "HTTP/", 5) == 0)
        read_status(a, line, end);
    else if (is_field(&value, line, end, "content-range"))
        read_range(a, value, end);
    else if (is_field(&value, line, end, "content-length"))
        a->has_length = read_number(&value, end, &a->length);
    else if (is_field(&value, line, end, "content-encoding"))
        a->is_encoded = end - value != 8 || strncasecmp(value, "identity", 8) != 0;
    else if (is_field(&value, line, end, "etag"))
        read_tag(a->identity.tag, value, end);
    else if (is_field(&value, line, end, "last-modified"))
        read_tag(a->identity.modified, value, end);
    else if (is_field(&value, line, end, "retry-after") && read_number(&value, end, &seconds))
        a->retry_after = seconds < 60 ? (long)seconds : 60;
}
