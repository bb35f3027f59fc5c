/* page_charts.c - the page's pictures but for the heat map of kinship: strips of coloured cells, and bars. */
#include "page.h"

#include "heatmap.h"

#include <math.h>
#include <string.h>

enum { STRIP_LEVELS = 10, NUMBERED_COLUMNS = 16, LABEL_CHARACTERS = 18, BROAD = 480 /* pixels */ };

typedef struct strip_layout {
    double cell, height, left, low, high;
    bool has_numbers;
} strip_layout;

size_t page_label_width(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n < LABEL_CHARACTERS ? n : LABEL_CHARACTERS;
}

static strip_layout lay_out_strip(const page_strip *s)
{
    strip_layout l = {.low = (double)INFINITY, .high = (double)-INFINITY};
    size_t longest = s->label_characters;
    for (size_t i = 0; i < (size_t)s->n_rows * s->n_columns; i++)
        if (isfinite(s->values[i])) {
            l.low = fmin(l.low, s->values[i]);
            l.high = fmax(l.high, s->values[i]);
        }
    if (s->from_zero)
        l.low = fmin(l.low, 0);
    for (uint32_t i = 0; i < s->n_rows; i++)
        longest = page_label_width(s->rows[i]) > longest ? page_label_width(s->rows[i]) : longest;
    l.left = 12 + 7.2 * (double)longest;
    l.has_numbers = s->n_columns <= NUMBERED_COLUMNS;
    l.cell = l.has_numbers ? (s->n_columns <= 10 ? 64 : 54) : 19;
    l.height = s->n_rows <= 16 ? 26 : 16;
    return l;
}

static int strip_level(const strip_layout *l, double value)
{
    double width = l->high - l->low;
    return width > 0 ? (int)lround((value - l->low) / width * STRIP_LEVELS) : 0;
}

/* A name's first characters. */
static void write_label(FILE *to, const char *name)
{
    char cut[4 * LABEL_CHARACTERS + 8];
    clean_text(name, LABEL_CHARACTERS, cut);
    write_xml_text(to, cut);
}

static void draw_strip_cell(FILE *to, const page_strip *s, const strip_layout *l, uint32_t row,
                            uint32_t column)
{
    double value = s->values[(size_t)row * s->n_columns + column];
    double x = l->left + l->cell * column, y = l->height * row;
    char number[32], level[8] = "none";
    bool is_there = isfinite(value);
    if (is_there)
        snprintf(level, sizeof level, "s%d", strip_level(l, value));
    fprintf(to, "<rect class=\"%s\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\"><title>", level, x, y,
            l->cell, l->height);
    write_xml_text(to, s->rows[row]);
    fprintf(to, ", %s %s: %s%s%s</title></rect>", s->column_words, s->columns[column],
            is_there ? short_number(value, 6, number) : "none", is_there && *s->unit ? " " : "",
            is_there ? s->unit : "");
    if (l->has_numbers)
        fprintf(to, "<text class=\"t%d\" x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>",
                is_there ? strip_level(l, value) : 0, x + l->cell / 2, y + l->height / 2 + 4.2,
                short_number(value, 3, number));
}

/* Below the cells: every name, or as many as fit. */
static void draw_strip_columns(FILE *to, const page_strip *s, const strip_layout *l)
{
    uint32_t step = l->has_numbers ? 1 : 4, last = s->n_columns - 1;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        if (i % step && (i != last || i % step < 2))
            continue;
        fprintf(to, "<text class=\"soft\" x=\"%g\" y=\"%g\" text-anchor=\"%s\">%s</text>",
                l->left + l->cell * i + (l->has_numbers ? l->cell / 2 : 2), l->height * s->n_rows + 17,
                l->has_numbers ? "middle" : "start", s->columns[i]);
    }
}

static void draw_strip_legend(FILE *to, const page_strip *s, const strip_layout *l)
{
    char low[32], high[32];
    if (!(l->high > l->low))
        return;
    fprintf(to,
            "<svg class=\"legend\" width=\"286\" height=\"20\" viewBox=\"0 0 286 20\" role=\"img\" "
            "aria-label=\"Colours from %s to %s %s\">"
            "<text class=\"soft\" x=\"84\" y=\"14\" text-anchor=\"end\">%s</text>",
            short_number(l->low, 3, low), short_number(l->high, 3, high), s->unit, low);
    for (int level = 0; level <= STRIP_LEVELS; level++)
        fprintf(to, "<rect class=\"s%d\" x=\"%d\" y=\"4\" width=\"12\" height=\"12\"/>", level,
                90 + 12 * level);
    fprintf(to, "<text class=\"soft\" x=\"228\" y=\"14\">%s%s%s</text></svg>\n", high, *s->unit ? " " : "",
            s->unit);
}

void page_draw_strip(FILE *to, const page_strip *s)
{
    strip_layout l = lay_out_strip(s);
    double width = l.left + l.cell * s->n_columns + 40, height = l.height * s->n_rows + 24;
    fprintf(to, "<figure id=\"%s\"%s><h3>%s</h3><figcaption>%s</figcaption>", s->id,
            width > BROAD ? " class=\"broad\"" : "", s->title, s->caption);
    fprintf(to,
            "<div class=\"box\" tabindex=\"0\" role=\"group\" aria-label=\"%s\">"
            "<svg class=\"strip\" role=\"img\" aria-label=\"%s: tasks by %s\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\">",
            s->title, s->title, s->column_words, width, height, width, height);
    for (uint32_t row = 0; row < s->n_rows; row++) {
        fprintf(to, "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">", l.left - 8,
                l.height * row + l.height / 2 + 4.2);
        write_label(to, s->rows[row]);
        fputs("</text>", to);
        for (uint32_t column = 0; column < s->n_columns; column++)
            draw_strip_cell(to, s, &l, row, column);
    }
    draw_strip_columns(to, s, &l);
    fputs("</svg></div>", to);
    draw_strip_legend(to, s, &l);
    fputs("</figure>\n", to);
}

void page_draw_bar(FILE *to, double value, double longest, const char *words)
{
    double width = isfinite(value) && longest > 0 ? 100 * value / longest : 0;
    fprintf(to,
            "<td class=\"bar\"><svg viewBox=\"0 0 100 12\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"%s\"><rect class=\"track\" width=\"100\" height=\"12\" rx=\"1\"/>"
            "<rect class=\"fill\" width=\"%.4g\" height=\"12\" rx=\"1\"/></svg></td>",
            words, width < 0 ? 0 : width);
}
