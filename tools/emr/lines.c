/* lines.c - options that take a list from a file: @FILE. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 16 << 20 };

/* The whole file, with a zero byte behind it. */
static int read_text(const char *option, const char *path, char **text)
{
    FILE *file = fopen(path, "rb");
    *text = file ? malloc(FILE_MAX + 1) : NULL;
    size_t n = *text ? fread(*text, 1, FILE_MAX + 1, file) : 0;
    bool whole = *text && !ferror(file);
    int why = errno;
    if (file)
        fclose(file);
    if (!whole)
        return complain(EXIT_SYSTEM, "%s: %s cannot be read: %s", option, path, strerror(why));
    if (n > FILE_MAX)
        return complain(EXIT_USAGE, "%s: %s has more than 16 MiB: that is no list", option, path);
    (*text)[n] = '\0';
    return strlen(*text) < n ? complain(EXIT_USAGE, "%s: %s is no text", option, path) : EXIT_DONE;
}

/* Without white space around. */
static char *trim_line(char *line)
{
    size_t n = strlen(line);
    while (n && strchr(" \t\r", line[n - 1]))
        line[--n] = '\0';
    return line + strspn(line, " \t");
}

int each_line(const char *option, const char *path, line_fn use, void *user)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of byte order, which some editors write */
    char *text, *next;
    int status = read_text(option, path, &text);
    next = status ? NULL : text + (strncmp(text, mark, 3) == 0 ? 3 : 0);
    for (unsigned number = 1; next && !status; number++) {
        char *line = next;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line = trim_line(line);
        if (*line && *line != '#')
            status = use(user, line, number);
    }
    free(text);
    return status;
}
