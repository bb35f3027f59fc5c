/* page_parts.c - the page's pictures with what they say: kinship, layers, kinds. */
#include "page.h"

#include "heatmap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- kinship */

typedef struct extreme_pair {
    uint32_t a, b;
    double value;
    bool is_there;
} extreme_pair;

static extreme_pair find_pair(const page *p, double sign)
{
    extreme_pair found = {.is_there = false};
    for (uint32_t i = 0; i < p->n_tasks; i++)
        for (uint32_t k = i + 1; k < p->n_tasks; k++) {
            double value = p->models.matrix[(size_t)i * p->n_tasks + k];
            if (!isnan(value) && (!found.is_there || sign * value > sign * found.value))
                found = (extreme_pair){i, k, value, true};
        }
    return found;
}

static void write_pair(FILE *to, const page *p, const char *words, extreme_pair pair)
{
    fprintf(to, "%s <strong>", words);
    write_xml_text(to, p->tasks[pair.a].name);
    fputs("</strong> and <strong>", to);
    write_xml_text(to, p->tasks[pair.b].name);
    fprintf(to, "</strong> (%.4f)", pair.value);
}

static void write_kinship_words(FILE *to, const page *p)
{
    char mean[32];
    extreme_pair most = find_pair(p, 1), least = find_pair(p, -1);
    fprintf(to, "<p>On average two tasks are kin by <strong>%s</strong>",
            short_number(emr_kinship_mean(p->models.matrix, p->n_tasks), 4, mean));
    if (most.is_there) {
        write_pair(to, p, ". Most alike are", most);
        if (p->n_tasks > 2)
            write_pair(to, p, "; least alike", least);
    }
    fputs(".</p>\n", to);
}

static void write_kinship(FILE *to, const page *p, const char *const *names)
{
    const heat_map map = {
        .names = names, .values = p->models.matrix, .order = p->order, .n = p->n_tasks, .is_inline = true};
    fputs("<section id=\"kinship\"><h2>How alike the tasks are</h2>\n", to);
    write_kinship_words(to, p);
    fputs("<figure><figcaption>Correlation of what fine-tuning changed, for every two tasks, like tasks side "
          "by "
          "side: 1 is the same change (orange), 0 nothing in common, −1 the opposite change "
          "(blue).</figcaption>"
          "<div class=\"box\" tabindex=\"0\" role=\"group\" aria-label=\"Kinship of every two tasks\">",
          to);
    heat_map_write(to, &map);
    fputs("</div></figure></section>\n", to);
}

/* ---- layers and kinds */

static double cell_change(const page_cell *c)
{
    return sqrt(page_share(c->squares, c->elements));
}

static double cell_zeros(const page_cell *c)
{
    return 100 * page_share(c->zeros, c->elements);
}

static double cell_kurtosis(const page_cell *c)
{
    return page_share(c->elements * c->fourths, c->squares * c->squares);
}

static double cell_norm(const page_cell *c)
{
    return c->elements > 0 ? sqrt(c->squares) : (double)NAN;
}

static double cell_density(const page_cell *c)
{
    return 100 * page_share(c->ones, c->bits);
}

static double cell_rescaler(const page_cell *c)
{
    return page_share(c->rescalers, c->n_rescalers);
}

static double place_conflicts(const page_place *x)
{
    return 100 * page_share(x->conflicts, x->elements);
}

static double place_unchanged(const page_place *x)
{
    return 100 * page_share(x->unchanged, x->elements);
}

static double place_kinship(const page_place *x)
{
    return page_share(x->kinship, x->kinship_weight);
}

/* One picture of tasks by places, or of places alone. */
typedef struct strip_kind {
    const char *id, *title, *caption, *unit, *row;
    double (*of_cell)(const page_cell *cell);
    double (*of_place)(const page_place *place);
    bool from_zero;
} strip_kind;

static const strip_kind strip_kinds[] = {
    {"kinship", "Mean kinship",
     "Mean correlation of every two tasks, taken here alone: where it is high, tasks learned the same, and "
     "merging "
     "them costs little.",
     "", "mean of pairs", NULL, place_kinship, false},
    {"conflicts", "Sign conflicts",
     "Parameters that one task raised and another lowered, in % of those here: merging has to decide between "
     "them.",
     "%", "all tasks", NULL, place_conflicts, true},
    {"change", "Change of a parameter",
     "How far fine-tuning moved a parameter (root of the mean square, in the weights’ own units): the "
     "stronger the colour, the more this task changed here.",
     "", NULL, cell_change, NULL, true},
    {"norm", "Norm",
     "Length of the whole change (square root of the sum of squares, in the weights’ own units); more "
     "parameters "
     "make it longer.",
     "", NULL, cell_norm, NULL, true},
    {"density", "Density of masks",
     "Bits of a task’s mask that are set, in %: parameters at which the task takes the unified change, which "
     "has "
     "the same sign there.",
     "%", NULL, cell_density, NULL, false},
    {"rescaler", "Rescalers",
     "Mean factor by which the task’s modulator is multiplied (of kinds without masks, mean size of a step "
     "in the "
     "weights’ own units).",
     "", NULL, cell_rescaler, NULL, true},
    {"zeros", "Unchanged parameters",
     "Parameters that fine-tuning left exactly as they were, in % of those here.", "%", NULL, cell_zeros,
     NULL, true},
    {"untouched", "Unchanged in every task",
     "Parameters that no task changed at all, in % of those here: they cost nothing to merge.", "%",
     "all tasks", NULL, place_unchanged, true},
    {"kurtosis", "Kurtosis",
     "How uneven changes are: 3 is a normal distribution, much more means that few parameters carry most of "
     "the "
     "change (a ratio without a unit).",
     "", NULL, cell_kurtosis, NULL, false},
};

typedef struct strip_view {
    const page *p;
    const page_places *places;
    const char *prefix, *column_words;
    const char **rows, **columns;
    double *values;
    size_t label_characters;
} strip_view;

static bool fill_strip(const strip_view *v, const strip_kind *kind)
{
    const uint32_t n = v->places->n;
    bool has_any = false;
    for (uint32_t row = 0; row < (kind->of_cell ? v->p->n_tasks : 1); row++)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t task = (uint32_t)v->p->order[row];
            double value = kind->of_cell ? kind->of_cell(page_cell_of(v->p, v->places, i, task))
                                         : kind->of_place(&v->places->all[i]);
            v->values[(size_t)row * n + i] = value;
            has_any = has_any || isfinite(value);
        }
    return has_any;
}

static void write_strip(FILE *to, const strip_view *v, const strip_kind *kind)
{
    char id[48];
    if (!fill_strip(v, kind) || (!kind->of_cell && v->p->n_tasks < 2))
        return;
    snprintf(id, sizeof id, "%s-%s", v->prefix, kind->id);
    const page_strip strip = {.id = id,
                              .title = kind->title,
                              .caption = kind->caption,
                              .unit = kind->unit,
                              .column_words = v->column_words,
                              .rows = kind->of_cell ? v->rows : &kind->row,
                              .columns = v->columns,
                              .values = v->values,
                              .label_characters = v->label_characters,
                              .n_rows = kind->of_cell ? v->p->n_tasks : 1,
                              .n_columns = v->places->n,
                              .from_zero = kind->from_zero};
    page_draw_strip(to, &strip);
}

/* One for the whole model is in the table of tasks, and the same everywhere. */
static bool has_one_rescaler(const page *p)
{
    bool one = true;
    for (uint32_t t = 0; t < p->n_tasks; t++)
        one =
            one && p->tasks[t].facts.has_mask && p->tasks[t].facts.spec.rescale_per == EMR_RESCALE_PER_MODEL;
    return one;
}

static void write_strips(FILE *to, const page *p, const page_places *places, const char *prefix)
{
    strip_view v = {.p = p,
                    .places = places,
                    .prefix = prefix,
                    .column_words = prefix,
                    .rows = calloc(p->n_tasks + (size_t)1, sizeof *v.rows),
                    .columns = calloc(places->n + (size_t)1, sizeof *v.columns),
                    .values = calloc((size_t)places->n * p->n_tasks + places->n, sizeof *v.values)};
    bool complete = v.rows && v.columns && v.values;
    v.label_characters = p->has_vectors && p->n_tasks > 1 ? strlen("mean of pairs") : 0;
    for (uint32_t t = 0; complete && t < p->n_tasks; t++) {
        size_t n = page_label_width(p->tasks[t].name);
        v.label_characters = n > v.label_characters ? n : v.label_characters;
        v.rows[t] = p->tasks[p->order[t]].name;
    }
    for (uint32_t i = 0; complete && i < places->n; i++)
        v.columns[i] = places->all[i].name;
    fputs("<div class=\"strips\">\n", to);
    for (size_t i = 0; complete && i < sizeof strip_kinds / sizeof *strip_kinds; i++)
        if (strip_kinds[i].of_cell != cell_rescaler || !has_one_rescaler(p))
            write_strip(to, &v, &strip_kinds[i]);
    fputs("</div>\n", to);
    free(v.rows);
    free(v.columns);
    free(v.values);
}

static void write_layers(FILE *to, const page *p)
{
    fputs("<section id=\"layers\"><h2>Layer by layer</h2>\n<p>Columns are the model’s layers, from the first "
          "on",
          to);
    if (p->layers.per > 1)
        fprintf(to, "; as there are many, %u neighbouring ones share a column", p->layers.per);
    if (p->layers.layers[p->layers.n_layers - 1] < 0)
        fputs("; “rest” is what belongs to no layer", to);
    fputs(". Rows are tasks.</p>\n", to);
    write_strips(to, p, &p->layers, "layer");
    fputs("</section>\n", to);
}

static void write_kinds(FILE *to, const page *p)
{
    fputs("<section id=\"kinds\"><h2>By kind of tensor</h2>\n<p>The same numbers, added up over all tensors "
          "that do "
          "the same work: projections of attention (q, k, v, o), of the feed-forward part (up, gate, down), "
          "norms, "
          "embeddings, heads; as their names tell.</p>\n",
          to);
    write_strips(to, p, &p->kinds, "kind");
    fputs("</section>\n", to);
}

void page_write_charts(FILE *to, const page *p)
{
    const char **names = calloc(p->n_tasks + (size_t)1, sizeof *names);
    for (uint32_t t = 0; names && t < p->n_tasks; t++)
        names[t] = p->tasks[t].name;
    if (names && p->has_vectors && p->n_tasks > 1)
        write_kinship(to, p, names);
    free(names);
    if (p->layers.n_layers > 1 || (p->layers.n_layers == 1 && p->layers.layers[0] >= 0))
        write_layers(to, p);
    if (p->n_tensors)
        write_kinds(to, p);
}
