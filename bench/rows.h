/* rows.h - the result: rows of name, value and unit, some with a bar to reach, as a table or as JSON. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <stdbool.h>

typedef enum bar_kind { BAR_NONE, BAR_AT_LEAST, BAR_AT_MOST } bar_kind;

typedef struct bar {
    bar_kind kind;
    double value;
} bar;

static inline bar no_bar(void)
{
    return (bar){BAR_NONE, 0};
}

static inline bar at_least(double value)
{
    return (bar){BAR_AT_LEAST, value};
}

static inline bar at_most(double value)
{
    return (bar){BAR_AT_MOST, value};
}

/* `judged` false: bars are left out, because the sizes are too small to mean anything. */
void rows_begin(bool json, bool judged);
void rows_end(void);

/* A blank line between groups of the table. */
void rows_gap(void);

/* One row; the format makes its name. */
__attribute__((format(printf, 4, 5))) void row(double value, const char *unit, bar target, const char *format,
                                               ...);

/* A row whose value is words. */
void row_text(const char *name, const char *value);

#endif
