/* page_tasks.c - the page's tables of models and tasks: what they are, a bundle's modulators, how far each task went. */
#define _POSIX_C_SOURCE 200809L

#include "page.h"

#include "heatmap.h"
#include "remote.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the models are */

static void write_model_row(FILE *to, const char *name, const char *path, const emr_model *model)
{
    char clean[4 * PAGE_NAME + 8];
    uint64_t params = 0;
    model_size size = measure_model(model);
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        params += is_no_weight(emr_tensor_name(t)) ? 0 : emr_tensor_count(t);
    }
    page_row_head(to, name);
    char *shown = strndup(path, (size_t)shown_length(path));
    clean_text(shown ? shown : "", PAGE_NAME, clean);
    free(shown);
    fputs("<td class=\"wide\"><code>", to);
    write_xml_text(to, clean);
    fputs("</code></td>", to);
    page_count_cell(to, size.n_tensors);
    page_count_cell(to, params);
    page_size_cell(to, size.bytes);
    fputs("</tr>\n", to);
}

void page_write_models(FILE *to, const page *p)
{
    fputs("<section id=\"models\"><h2>The models</h2>\n", to);
    page_begin_table(
        to, "Models", "What was compared: the base, and a checkpoint for each task.",
        "<th scope=\"col\">model</th><th scope=\"col\" class=\"wide\">checkpoint</th><th "
        "scope=\"col\">tensors</th><th scope=\"col\">parameters</th><th scope=\"col\">bytes of tensors</th>");
    write_model_row(to, "(base)", p->a->base, p->models.inputs.base);
    for (uint32_t t = 0; t < p->n_tasks; t++)
        write_model_row(to, p->tasks[t].name, p->a->tasks[t].path, p->models.inputs.models[t]);
    page_end_table(to);
    fputs("</section>\n", to);
}

static void write_stack_part(FILE *to, int number, double x, double width)
{
    fprintf(to, "<rect class=\"b%d\" x=\"%.4g\" width=\"%.4g\" height=\"10\"/>", number, x, width);
}

/* What takes room in the bundle's file. */
static void write_stack(FILE *to, const page *p)
{
    static const char *const what[] = {"unified vector, which all masks share", "the tasks’ modulators",
                                       "private tensors, an embedded base, the index"};
    uint64_t known = p->unified_bytes + p->coded_bytes;
    const uint64_t bytes[] = {p->unified_bytes, p->coded_bytes,
                              p->info.bytes > known ? p->info.bytes - known : 0};
    double x = 0;
    char size[32];
    fputs("<figure><h3>What takes room</h3><figcaption>The bundle’s bytes, as they are stored: each stretch "
          "of the "
          "bar is as long as its part of the file.</figcaption><svg class=\"stack\" viewBox=\"0 0 100 10\" "
          "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Parts of the file\">",
          to);
    for (int i = 0; i < 3; i++) {
        double width = 100 * page_share((double)bytes[i], (double)p->info.bytes);
        write_stack_part(to, i, x, width);
        x += width;
    }
    fputs("</svg><ul class=\"key\">", to);
    for (int i = 0; i < 3; i++)
        fprintf(to,
                "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"b%d\" width=\"10\" "
                "height=\"10\"/></svg>%s: %s</li>",
                i, what[i], size_text(bytes[i], size));
    fputs("</ul></figure>\n", to);
}

/* ---- a bundle's tasks */

/* One number, or what has one each. */
static const char *rescaler_words(const page *p, uint32_t task, char text[64])
{
    const emr_modulation_spec *spec = &p->tasks[task].facts.spec;
    if (!has_masks(spec))
        return "–";
    if (spec->rescale_per != EMR_RESCALE_PER_MODEL)
        return spec->rescale_per == EMR_RESCALE_PER_ROW ? "per row" : "per tensor";
    return rescaler_text(p->bundle, task, text);
}

static void write_modulator_row(FILE *to, const page *p, uint32_t task)
{
    const page_task *t = &p->tasks[task];
    char text[64];
    page_row_head(to, t->name);
    fprintf(to, "<td class=\"words\">%s</td>", modulator_text(&t->facts.spec, text));
    page_number_cell(to, t->facts.bits, "");
    page_number_cell(to, 100 * t->facts.density, " %");
    fprintf(to, "<td>%s</td>", rescaler_words(p, task, text));
    page_number_cell(to, (double)t->facts.fidelity.cosine, "");
    page_number_cell(to, (double)t->facts.fidelity.coefficient, "");
    page_number_cell(to, (double)t->facts.fidelity.error, "");
    page_size_cell(to, t->info.coded_bytes);
    page_size_cell(to, t->private_bytes);
    fputs("</tr>\n", to);
}

void page_write_modulators(FILE *to, const page *p)
{
    fputs("<section id=\"tasks\"><h2>The tasks in the bundle</h2>\n", to);
    page_begin_table(
        to, "Modulators",
        "How each task is coded. Bits: stored for each merged parameter, the task’s part of the "
        "unified vector "
        "included. Density: set bits of its mask. Cosine, coefficient, error: how near the rebuilt "
        "change comes to "
        "the fine-tuned one (best: 1, 1, 0; “–” where the bundle does not tell).",
        "<th scope=\"col\">task</th><th scope=\"col\" class=\"words\">modulator</th><th "
        "scope=\"col\">bits</th><th "
        "scope=\"col\">density</th><th scope=\"col\">rescaler</th><th scope=\"col\">cosine</th><th "
        "scope=\"col\">coefficient</th><th scope=\"col\">error</th><th scope=\"col\">stored</th><th "
        "scope=\"col\">private</th>");
    for (uint32_t i = 0; i < p->n_tasks; i++)
        write_modulator_row(to, p, (uint32_t)p->order[i]);
    page_end_table(to);
    write_stack(to, p);
    if (!p->has_vectors)
        fputs("<p class=\"soft\">The base is not in the bundle, so that kinship, norms, conflicts and zeros "
              "cannot be "
              "told: <code>--base CHECKPOINT</code> adds them.</p>\n",
              to);
    fputs("</section>\n", to);
}

/* ---- task vectors */

static void write_vector_rows(FILE *to, const page *p, const emr_statistics_group *g)
{
    emr_task_moments m = EMR_INIT(emr_task_moments);
    double longest = 0;
    char text[32];
    for (uint32_t t = 0; t < p->n_tasks; t++)
        longest = emr_statistics_get_moments(g, t, &m) ? longest : fmax(longest, m.norm);
    for (uint32_t i = 0; i < p->n_tasks; i++) {
        uint32_t t = (uint32_t)p->order[i];
        emr_statistics_get_moments(g, t, &m);
        page_row_head(to, p->tasks[t].name);
        page_draw_bar(to, m.norm, longest, short_number(m.norm, 4, text));
        page_number_cell(to, m.norm, "");
        page_number_cell(to, m.mean_magnitude, "");
        page_number_cell(to, g->largest[t], "");
        page_number_cell(to, m.kurtosis, "");
        page_number_cell(to, 100 * m.zero_share, " %");
        fputs("</tr>\n", to);
    }
}

void page_write_vectors(FILE *to, const page *p)
{
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    char count[32];
    if (emr_statistics_get_group(p->models.statistics, EMR_STATISTICS_SCOPE_MODEL, 0, &g))
        return;
    fprintf(to, "<section id=\"vectors\"><h2>How far each task went</h2>\n");
    page_begin_table(
        to, "Task vectors",
        p->bundle
            ? "What each task, as the bundle rebuilds it, changes of the base. Norm (the bar), mean and "
              "largest magnitude are in the weights’ own units; kurtosis is 3 for a normal distribution; "
              "zeros are parameters that are exactly as in the base."
            : "What fine-tuning changed of the base. Norm (the bar), mean and largest magnitude are in the "
              "weights’ own units; kurtosis is 3 for a normal distribution; zeros are parameters that are "
              "exactly as in the base.",
        "<th scope=\"col\">task</th><th scope=\"col\" class=\"words\">length of the change</th><th "
        "scope=\"col\">norm</th><th scope=\"col\">mean |x|</th><th scope=\"col\">largest |x|</th><th "
        "scope=\"col\">kurtosis</th><th scope=\"col\">zeros</th>");
    write_vector_rows(to, p, &g);
    page_end_table(to);
    if (g.count != p->params)
        fprintf(to,
                "<p class=\"soft\">These numbers, kinship and all that follows from task vectors count %s "
                "parameters: "
                "also tensors that the tasks keep for themselves, such as heads.</p>\n",
                grouped_number(g.count, count));
    fputs("</section>\n", to);
}
