/* rows.c - see rows.h. Each row is printed at once, so that a long run can be watched. */
#include "rows.h"

#include <stdarg.h>
#include <stdio.h>

enum { NAME_WIDTH = 72 };

static struct {
    bool json, judged, first;
} rows;

void rows_begin(bool json, bool judged)
{
    rows.json = json;
    rows.judged = judged;
    rows.first = true;
    if (json)
        fputs("[", stdout);
}

void rows_end(void)
{
    if (rows.json)
        puts("\n]");
}

void rows_gap(void)
{
    if (!rows.json && !rows.first)
        puts("");
}

/* Names and texts are ours or the processor's: quotes and control characters are all that could break JSON.
 */
static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    putchar('"');
}

static void begin_json_row(const char *name)
{
    fputs(rows.first ? "\n{\"name\": " : ",\n{\"name\": ", stdout);
    print_json_string(name);
    fputs(", \"value\": ", stdout);
}

static void print_json_row(const char *name, double value, const char *unit, bar target, bool met)
{
    begin_json_row(name);
    printf("%.6g, \"unit\": ", value);
    print_json_string(unit);
    if (target.kind == BAR_NONE)
        fputs(", \"bar\": null, \"met\": null}", stdout);
    else
        printf(", \"bar\": %.6g, \"met\": %s}", target.value, met ? "true" : "false");
}

void row(double value, const char *unit, bar target, const char *format, ...)
{
    char name[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (!rows.judged)
        target = no_bar();
    bool met = target.kind == BAR_AT_LEAST ? value >= target.value : value <= target.value;
    if (rows.json)
        print_json_row(name, value, unit, target, met);
    else if (target.kind == BAR_NONE)
        printf("%-*s %10.3f %s\n", NAME_WIDTH, name, value, unit);
    else
        printf("%-*s %10.3f %-10s bar %s %-8.6g %s\n", NAME_WIDTH, name, value, unit,
               target.kind == BAR_AT_LEAST ? ">=" : "<=", target.value, met ? "met" : "missed");
    rows.first = false;
    fflush(stdout);
}

void row_text(const char *name, const char *value)
{
    if (rows.json) {
        begin_json_row(name);
        print_json_string(value);
        fputs(", \"unit\": \"text\", \"bar\": null, \"met\": null}", stdout);
    } else {
        printf("%-*s %s\n", NAME_WIDTH, name, value);
    }
    rows.first = false;
    fflush(stdout);
}
