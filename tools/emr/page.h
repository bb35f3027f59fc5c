/* page.h - what `emr report` gathers of models or a bundle, and the page that it makes of that. Everything is gathered
 * first, in numbers that do not grow with the model beyond what is said here, and written then. */
#ifndef EMR_TOOLS_PAGE_H
#define EMR_TOOLS_PAGE_H

#include "kinship.h"

/* What a page shows at most; of what is more it says how much. */
enum {
    PAGE_COLUMNS = 48,   /* of layers: where there are more, neighbours share a column */
    PAGE_ROWS = 200,     /* of the table of tensors: the largest */
    PAGE_REASONS = 40,   /* why tensors are not merged */
    PAGE_EXAMPLES = 3,   /* names for each */
    PAGE_NAME = 72,      /* characters of a tensor's name */
    PAGE_TASK_NAME = 48, /* and of a task's */
    PAGE_TEXT = 4 * PAGE_NAME + 8
};

/* A task in a layer, a kind or a tensor. Sums over elements of its task vector; over bits of its mask; over its
 * rescalers. What was not gathered is 0, with 0 elements, bits, rescalers. */
typedef struct page_cell {
    double elements, squares, fourths, zeros;
    double bits, ones;
    double n_rescalers, rescalers;
} page_cell;

/* A layer, neighbouring layers, or a kind. */
typedef struct page_place {
    char name[48];
    uint64_t count; /* parameters that are merged or compared */
    uint32_t n_tensors;
    double elements, conflicts, unchanged; /* of them, where task vectors are known */
    double kinship, kinship_weight;        /* sum of means of pairs, each times its parameters; and these */
} page_place;

typedef struct page_places {
    page_place *all;
    page_cell *cells; /* n x n_tasks */
    int64_t *layers;  /* of layers: their numbers, sorted, each once, -1 last */
    uint32_t n, n_layers;
    uint32_t per; /* layers in a column */
} page_places;

/* A line of the table of tensors. */
typedef struct page_tensor {
    char name[PAGE_TEXT], shape[64];
    const char *whole_name; /* the bundle's or the merge's */
    uint64_t count, unified_bytes;
    uint32_t number; /* among those that are merged */
    emr_dtype dtype;
    double bits, ones;                 /* over all tasks */
    double kinship, conflicts, change; /* mean of pairs; share; root of the mean square: NaN: not known */
} page_tensor;

/* Why tensors are not merged, and which. */
typedef struct page_reason {
    char reason[PAGE_TEXT];
    char examples[PAGE_EXAMPLES][PAGE_TEXT];
    uint64_t n, params, bytes, n_copies;
    uint32_t n_examples;
} page_reason;

typedef struct page_reasons {
    page_reason all[PAGE_REASONS];
    uint32_t n;
} page_reasons;

/* A task as the page calls it, and a bundle's modulator. */
typedef struct page_task {
    char name[4 * PAGE_TASK_NAME + 8];
    modulator_facts facts;
    emr_task_info info;
    uint64_t private_bytes;
} page_task;

typedef struct page {
    kinship_job models; /* models.inputs.before is the bundle, if it is one */
    const arguments *a;
    emr_bundle *bundle; /* or NULL */
    emr_bundle_info info;
    bool has_vectors;     /* task vectors are known */
    bool without_tensors; /* there were too many for statistics of each */
    page_task *tasks;
    size_t *order; /* like tasks side by side */
    uint32_t n_tasks;
    page_places layers, kinds;
    page_tensor *tensors;
    uint32_t *shown_at;          /* of each merged tensor: its line in `tensors`, or n_shown */
    uint32_t n_shown, n_tensors; /* of those that are merged or compared */
    uint64_t params, params_shown;
    page_reasons reasons;
    uint64_t unified_bytes, coded_bytes, mask_total, mask_done;
    emr_merge *plan; /* of checkpoints: what a merge would do */
} page;

/* ---- gathering */

/* Names of tasks, and of a bundle their modulators. */
emr_status page_gather_tasks(page *p);
/* Layers and kinds of what is merged or compared, still empty; and the largest tensors. */
emr_status page_gather_tensors(page *p);
emr_status page_find_places(page *p, const int64_t *layers, uint32_t n);
/* The column of a layer; -1: none. The place of a kind. */
uint32_t page_column_of(const page_places *layers, int64_t layer);
uint32_t page_kind_of(page_places *kinds, const char *kind);
page_cell *page_cell_of(const page *p, const page_places *places, uint32_t place, uint32_t task);
/* Of a bundle: densities and rescalers, from its masks. */
emr_status page_gather_masks(page *p, emr_error *error);
/* Of models: runs the statistics, before tensors are gathered; and takes numbers out of them, after that. */
emr_status page_run_statistics(page *p, emr_error *error);
emr_status page_gather_vectors(page *p, emr_error *error);
/* What is not merged, and why. */
emr_status page_gather_kept(page *p, emr_error *error);
void page_free_places(page_places *places);

/* ---- writing */

/* Valid UTF-8 of at most so many characters, the middle cut out of what has more; what cannot be seen or turns text
 * round becomes U+FFFD. `to` has room for 4 * most + 8 bytes. */
void clean_text(const char *text, size_t most, char *to);
void page_begin(FILE *to, const char *title);
void page_end(FILE *to);
/* "1,234,567" */
const char *grouped_number(uint64_t number, char text[32]);
/* With `digits` significant digits, or "–". */
const char *short_number(double number, int digits, char text[32]);
double page_share(double part, double all); /* NaN where there is nothing */

/* A square for every row and column: values rows x columns, row by row; NaN: none. */
typedef struct page_strip {
    const char *id, *title, *caption;
    const char *unit;         /* behind every number: "", "%" */
    const char *column_words; /* what columns are: "layer", "kind" */
    const char *const *rows;
    const char *const *columns;
    const double *values;
    size_t label_characters; /* room for labels of rows, at least: strips of one section line up */
    uint32_t n_rows, n_columns;
    bool from_zero; /* the palest colour is 0, else the smallest value */
} page_strip;
size_t page_label_width(const char *label); /* in characters, as it is shown */
void page_draw_strip(FILE *to, const page_strip *strip);

/* A row of a table, with a bar as long as its value: from 0 on. */
void page_draw_bar(FILE *to, double value, double longest, const char *words);

/* Tables: a caption above, a row's head first, then its cells. Heads of columns are written as they are. */
void page_begin_table(FILE *to, const char *label, const char *caption, const char *heads);
void page_end_table(FILE *to);
void page_row_head(FILE *to, const char *clean);
void page_number_cell(FILE *to, double number, const char *unit);
void page_count_cell(FILE *to, uint64_t count);
void page_size_cell(FILE *to, uint64_t bytes);

void page_write(FILE *to, const page *p);
void page_write_models(FILE *to, const page *p);
void page_write_modulators(FILE *to, const page *p);
void page_write_vectors(FILE *to, const page *p);
void page_write_charts(FILE *to, const page *p);

#endif
