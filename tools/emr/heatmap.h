/* heatmap.h - a square of numbers, one for every two tasks, as a picture: SVG, for light and dark. */
#ifndef EMR_TOOLS_HEATMAP_H
#define EMR_TOOLS_HEATMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct heat_map {
    const char *title, *note; /* a line above and one below; NULL: none */
    const char *const *names; /* n, of rows and columns alike, in the order of `values` */
    const double *values;     /* n x n, row by row; NaN: none */
    const size_t *order;      /* which of them come first; NULL: as they are */
    size_t n;
    bool is_distance; /* from 0 on, small being like; else from -1 to 1 */
    bool is_inline;   /* the page that it stands in has its style already: heat_map_style() */
} heat_map;

/* Writes an <svg> element. */
void heat_map_write(FILE *to, const heat_map *map);

/* The rules of its classes, which a page needs once. */
void heat_map_style(FILE *to);

/* Orders n tasks so that those that are like stand side by side: hierarchical clustering, average linkage, equal pairs
 * in the order of the tasks. values as above. False: no memory. */
bool order_by_likeness(const double *values, size_t n, bool is_distance, size_t *order);

/* Black or white, whichever can be read better on a colour; of 0 to 255 each. */
const char *readable_on(double red, double green, double blue);

/* The text with &, < and > as XML has them, and control characters as '?'. */
void write_xml_text(FILE *to, const char *text);

#endif
