/* page_rows.c - what the page's tables are made of. */
#include "page.h"

#include "heatmap.h"

#include <math.h>

void page_begin_table(FILE *to, const char *label, const char *caption, const char *heads)
{
    fprintf(to,
            "<figure><figcaption>%s</figcaption><div class=\"box\" tabindex=\"0\" role=\"group\" "
            "aria-label=\"%s\"><table class=\"full\" aria-label=\"%s\"><thead><tr>%s</tr></thead>\n<tbody>\n",
            caption, label, label, heads);
}

void page_end_table(FILE *to)
{
    fputs("</tbody></table></div></figure>\n", to);
}

void page_row_head(FILE *to, const char *clean)
{
    fputs("<tr><th scope=\"row\">", to);
    write_xml_text(to, clean);
    fputs("</th>", to);
}

void page_number_cell(FILE *to, double number, const char *unit)
{
    char text[32];
    fprintf(to, "<td>%s%s</td>", short_number(number, 4, text), isfinite(number) ? unit : "");
}

void page_count_cell(FILE *to, uint64_t count)
{
    char text[32];
    fprintf(to, "<td>%s</td>", grouped_number(count, text));
}

void page_size_cell(FILE *to, uint64_t bytes)
{
    char text[32];
    fprintf(to, "<td>%s</td>", size_text(bytes, text));
}
