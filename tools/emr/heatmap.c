/* heatmap.c - see heatmap.h. Colours are classes, a level each, so that one picture has them for light and for dark:
 * orange where tasks are alike, blue where they are opposite. */
#include "heatmap.h"

#include <math.h>
#include <string.h>

enum {
    LEVELS = 10 /* on either side of 0 */,
    NAME_SHOWN = 20,
    NUMBERS_MOST = 40 /* tasks with numbers in cells */
};

typedef struct colour {
    double red, green, blue;
} colour;

void write_xml_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", to);
        else if (*text == '<')
            fputs("&lt;", to);
        else if (*text == '>')
            fputs("&gt;", to);
        else if (*text == '"')
            fputs("&quot;", to);
        else
            fputc((unsigned char)*text < 32 || *text == 127 ? '?' : *text, to);
    }
}

static void write_colour(FILE *to, colour from, colour end, double part)
{
    fprintf(to, "#%02x%02x%02x", (unsigned)lround(from.red + (end.red - from.red) * part),
            (unsigned)lround(from.green + (end.green - from.green) * part),
            (unsigned)lround(from.blue + (end.blue - from.blue) * part));
}

static double linear_light(double value)
{
    double part = value / 255;
    return part <= 0.04045 ? part / 12.92 : pow((part + 0.055) / 1.055, 2.4);
}

/* Where black and white contrast alike is a luminance of 0.179 (WCAG 2.1): either has 4.58 there, and more elsewhere. */
const char *readable_on(double red, double green, double blue)
{
    double light = 0.2126 * linear_light(red) + 0.7152 * linear_light(green) + 0.0722 * linear_light(blue);
    return light > 0.179 ? "#000000" : "#ffffff";
}

/* The fill of each level, and of the number on it. */
static void write_levels(FILE *to, colour middle, const colour ends[2])
{
    for (int level = -LEVELS; level <= LEVELS; level++) {
        double part = (double)(level < 0 ? -level : level) / LEVELS;
        colour end = ends[level > 0];
        fprintf(to, ".hm .l%d{fill:", level + LEVELS);
        write_colour(to, middle, end, part);
        fprintf(to, "}.hm .n%d{fill:%s}", level + LEVELS,
                readable_on(middle.red + (end.red - middle.red) * part,
                            middle.green + (end.green - middle.green) * part,
                            middle.blue + (end.blue - middle.blue) * part));
    }
}

void heat_map_style(FILE *to)
{
    const colour light[2] = {{23, 86, 158}, {191, 72, 0}}, dark[2] = {{104, 170, 245}, {245, 146, 78}};
    fputs(".hm text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;fill:#1d1f22}"
          ".hm .bg{fill:#ffffff}.hm .muted{fill:#5d646c}.hm .none{fill:#e3e5e8}.hm .edge{stroke:#ffffff}",
          to);
    write_levels(to, (colour){244, 243, 240}, light);
    fputs("@media(prefers-color-scheme:dark){.hm text{fill:#e6e8ea}.hm .bg{fill:#16181b}.hm "
          ".muted{fill:#9aa2ab}"
          ".hm .none{fill:#2d3136}.hm .edge{stroke:#16181b}",
          to);
    write_levels(to, (colour){36, 39, 43}, dark);
    fputs("}", to);
}

/* ---- geometry */

typedef struct picture {
    FILE *to;
    const heat_map *map;
    double cell, font, left, top, width, height, end; /* `end`: the value of the strongest colour */
} picture;

static size_t task_at(const heat_map *m, size_t i)
{
    return m->order ? m->order[i] : i;
}

static double value_at(const heat_map *m, size_t row, size_t column)
{
    return m->values[task_at(m, row) * m->n + task_at(m, column)];
}

/* Bytes of a name's first characters. */
static size_t shown_bytes(const char *name, size_t *n_shown)
{
    size_t bytes = 0;
    for (*n_shown = 0; name[bytes] && *n_shown < NAME_SHOWN; ++*n_shown)
        do
            bytes++;
        while (((unsigned char)name[bytes] & 0xc0) == 0x80);
    return bytes;
}

/* A round number at or above the largest magnitude beside the diagonal. */
static double colour_end(const heat_map *m)
{
    static const double steps[] = {1, 2, 3, 4, 5, 6, 8, 10};
    double most = 0, unit;
    for (size_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < m->n; j++)
            if (i != j && fabs(m->values[i * m->n + j]) > most)
                most = fabs(m->values[i * m->n + j]);
    if (!(most > 0) || isinf(most))
        return 1;
    unit = pow(10, floor(log10(most)));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i] * unit >= most * (1 - 1e-9))
            return !m->is_distance && steps[i] * unit > 1 ? 1 : steps[i] * unit;
    return most;
}

static picture lay_out_picture(FILE *to, const heat_map *m)
{
    picture p = {.to = to, .map = m, .end = colour_end(m)};
    size_t longest = 1;
    for (size_t i = 0; i < m->n; i++) {
        size_t shown;
        shown_bytes(m->names[i], &shown);
        longest = shown > longest ? shown : longest;
    }
    p.cell = m->n <= 12 ? 54 : m->n <= 24 ? 40 : m->n <= NUMBERS_MOST ? 30 : 16;
    p.font = m->n <= 12 ? 13 : m->n <= 24 ? 12 : m->n <= NUMBERS_MOST ? 10 : 9;
    double name_width = (double)longest * p.font * 0.62 + 14;
    p.left = name_width + 8;
    p.top = (m->title ? 40 : 12) + name_width * 0.72 + p.font;
    p.width = p.left + p.cell * (double)m->n + name_width * 0.72 + 12;
    p.width = p.width < 420 ? 420 : p.width;
    p.height = p.top + p.cell * (double)m->n + 62 + (m->note ? 22 : 0);
    return p;
}

/* ---- drawing */

static void write_name(const picture *p, const char *name)
{
    size_t n_shown, bytes = shown_bytes(name, &n_shown);
    char shown[NAME_SHOWN * 4 + 1] = "";
    if (bytes < sizeof shown)
        memcpy(shown, name, bytes);
    shown[bytes < sizeof shown ? bytes : 0] = '\0';
    write_xml_text(p->to, shown);
    if (name[bytes])
        fputs("…", p->to);
    fputs("<title>", p->to);
    write_xml_text(p->to, name);
    fputs("</title></text>", p->to);
}

static void draw_names(const picture *p)
{
    for (size_t i = 0; i < p->map->n; i++) {
        const char *name = p->map->names[task_at(p->map, i)];
        double middle = ((double)i + 0.5) * p->cell;
        fprintf(p->to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"%g\">", p->left - 8,
                p->top + middle + p->font * 0.35, p->font);
        write_name(p, name);
        fprintf(p->to, "<text transform=\"translate(%.1f %.1f) rotate(-45)\" font-size=\"%g\">",
                p->left + middle + p->font * 0.3, p->top - 8, p->font);
        write_name(p, name);
    }
}

/* 0 to 2 LEVELS. */
static int level_of(const picture *p, double value)
{
    double part = p->map->is_distance ? 1 - value / p->end : value / p->end;
    part = part > 1 ? 1 : part < -1 ? -1 : part;
    return LEVELS + (int)lround(part * LEVELS);
}

/* Short, as cells are small: ".12" where they are very small. */
static void number_words(const picture *p, double value, char words[32])
{
    if (p->map->is_distance)
        snprintf(words, 32, "%.3g", value);
    else
        snprintf(words, 32, "%.2f", fabs(value) < 0.005 ? 0 : value);
    if (p->map->n > 24 && !p->map->is_distance) {
        char *zero = words[0] == '-' ? words + 1 : words;
        if (zero[0] == '0' && zero[1] == '.')
            memmove(zero, zero + 1, strlen(zero));
    }
}

static void draw_cell(const picture *p, size_t row, size_t column)
{
    const heat_map *m = p->map;
    double value = value_at(m, row, column), x = p->left + p->cell * (double)column;
    double y = p->top + p->cell * (double)row;
    int level = isnan(value) ? -1 : level_of(p, value);
    char words[32] = "–", fill[16] = "none";
    if (level >= 0) {
        number_words(p, value, words);
        snprintf(fill, sizeof fill, "l%d", level);
    }
    fprintf(p->to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%g\" height=\"%g\" class=\"edge %s\"><title>", x, y,
            p->cell, p->cell, fill);
    write_xml_text(p->to, m->names[task_at(m, row)]);
    fputs(" – ", p->to);
    write_xml_text(p->to, m->names[task_at(m, column)]);
    if (level >= 0)
        fprintf(p->to, ": %.6g</title></rect>", value);
    else
        fputs(": none</title></rect>", p->to);
    if (m->n <= NUMBERS_MOST)
        fprintf(p->to,
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-size=\"%g\" class=\"n%d\">%s</text>",
                x + p->cell / 2, y + p->cell / 2 + p->font * 0.35, p->font, level < 0 ? LEVELS : level,
                words);
}

/* What colours mean. */
static void draw_legend(const picture *p)
{
    double y = p->top + p->cell * (double)p->map->n + 22, x = p->left < 60 ? 60 : p->left, step = 9;
    int first = p->map->is_distance ? LEVELS : 0;
    char low[32], high[32];
    snprintf(low, sizeof low, "%.3g", p->map->is_distance ? p->end : -p->end);
    snprintf(high, sizeof high, "%.3g", p->map->is_distance ? 0 : p->end);
    fprintf(p->to,
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"12\" class=\"muted\">%s</text>",
            x - 6, y + 11, low);
    for (int level = first; level <= 2 * LEVELS; level++, x += step)
        fprintf(p->to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%g\" height=\"14\" class=\"l%d\"/>", x, y, step,
                level);
    fprintf(p->to, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"12\" class=\"muted\">%s</text>", x + 6, y + 11,
            high);
}

void heat_map_write(FILE *to, const heat_map *m)
{
    picture p = lay_out_picture(to, m);
    fprintf(to,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"hm\" role=\"img\" viewBox=\"0 0 %.0f %.0f\" "
            "width=\"%.0f\" height=\"%.0f\">",
            p.width, p.height, p.width, p.height);
    if (m->title) {
        fputs("<title>", to);
        write_xml_text(to, m->title);
        fputs("</title>", to);
    }
    if (!m->is_inline) {
        fputs("<style>", to);
        heat_map_style(to);
        fputs("</style><rect width=\"100%\" height=\"100%\" class=\"bg\"/>", to);
    }
    if (m->title) {
        fputs("<text x=\"16\" y=\"27\" font-size=\"16\" font-weight=\"600\">", to);
        write_xml_text(to, m->title);
        fputs("</text>", to);
    }
    draw_names(&p);
    for (size_t row = 0; row < m->n; row++)
        for (size_t column = 0; column < m->n; column++)
            draw_cell(&p, row, column);
    draw_legend(&p);
    if (m->note) {
        fprintf(to, "<text x=\"16\" y=\"%.1f\" font-size=\"12\" class=\"muted\">", p.height - 14);
        write_xml_text(to, m->note);
        fputs("</text>", to);
    }
    fputs("</svg>\n", to);
}
