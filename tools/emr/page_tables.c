/* page_tables.c - the page's tables: what the models are, the tasks, what is not merged, tensors. */
#include "page.h"

#include "heatmap.h"

#include <math.h>
#include <string.h>

static void begin_table(FILE *to, const char *label, const char *caption, const char *heads)
{
    fprintf(to,
            "<figure><figcaption>%s</figcaption><div class=\"box\" tabindex=\"0\" role=\"group\" "
            "aria-label=\"%s\"><table class=\"full\" aria-label=\"%s\"><thead><tr>%s</tr></thead>\n<tbody>\n",
            caption, label, label, heads);
}

static void end_table(FILE *to)
{
    fputs("</tbody></table></div></figure>\n", to);
}

static void write_row_head(FILE *to, const char *clean)
{
    fputs("<tr><th scope=\"row\">", to);
    write_xml_text(to, clean);
    fputs("</th>", to);
}

static void write_number(FILE *to, double number, const char *unit)
{
    char text[32];
    fprintf(to, "<td>%s%s</td>", short_number(number, 4, text), isfinite(number) ? unit : "");
}

static void write_count(FILE *to, uint64_t count)
{
    char text[32];
    fprintf(to, "<td>%s</td>", grouped_number(count, text));
}

static void write_size(FILE *to, uint64_t bytes)
{
    char text[32];
    fprintf(to, "<td>%s</td>", size_text(bytes, text));
}

/* ---- key figures */

static void write_fact(FILE *to, const char *what, const char *value, const char *unit)
{
    fprintf(to, "<div><dt>%s</dt><dd><span>%s</span> <small>%s</small></dd></div>", what, value, unit);
}

static void write_bundle_facts(FILE *to, const page *p)
{
    char text[32];
    double bits = 0;
    for (uint32_t t = 0; t < p->n_tasks; t++)
        bits += p->tasks[t].facts.bits / p->n_tasks;
    write_fact(to, "Size of the bundle", size_text(p->info.bytes, text), "");
    write_fact(to, "For each parameter and task", short_number(bits, 3, text), "bits");
}

static const char *percent_text(double part, double all, char text[32])
{
    char number[32];
    snprintf(text, 32, "%.20s %%", short_number(100 * page_share(part, all), 3, number));
    return text;
}

static void write_vector_facts(FILE *to, const page *p)
{
    char text[32];
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    if (emr_statistics_get_group(p->models.statistics, EMR_STATISTICS_MODEL, 0, &g))
        return;
    if (p->n_tasks > 1) {
        write_fact(to, "Mean kinship", short_number(emr_kinship_mean(p->models.matrix, p->n_tasks), 4, text),
                   "correlation");
        write_fact(to, "Signs conflict", percent_text((double)g.conflicts, (double)g.count, text),
                   "of parameters");
    }
    write_fact(to, "No task changes", percent_text((double)g.unchanged, (double)g.count, text),
               "of parameters");
}

static void write_facts(FILE *to, const page *p)
{
    char text[32], tensors[64];
    fputs("<dl class=\"facts\">", to);
    write_fact(to, "Tasks", grouped_number(p->n_tasks, text), "");
    snprintf(tensors, sizeof tensors, "in %s %s", grouped_number(p->n_tensors, text),
             p->n_tensors == 1 ? "tensor" : "tensors");
    write_fact(to, p->bundle ? "Merged parameters" : "Parameters compared", grouped_number(p->params, text),
               tensors);
    if (p->bundle)
        write_bundle_facts(to, p);
    if (p->has_vectors)
        write_vector_facts(to, p);
    fputs("</dl>\n", to);
}

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
    write_row_head(to, name);
    clean_text(path, PAGE_NAME, clean);
    fputs("<td class=\"wide\"><code>", to);
    write_xml_text(to, clean);
    fputs("</code></td>", to);
    write_count(to, size.n_tensors);
    write_count(to, params);
    write_size(to, size.bytes);
    fputs("</tr>\n", to);
}

static void write_models(FILE *to, const page *p)
{
    fputs("<section id=\"models\"><h2>The models</h2>\n", to);
    begin_table(
        to, "Models", "What was compared: the base, and a checkpoint for each task.",
        "<th scope=\"col\">model</th><th scope=\"col\" class=\"wide\">checkpoint</th><th "
        "scope=\"col\">tensors</th><th scope=\"col\">parameters</th><th scope=\"col\">bytes of tensors</th>");
    write_model_row(to, "(base)", p->a->base, p->models.inputs.base);
    for (uint32_t t = 0; t < p->n_tasks; t++)
        write_model_row(to, p->tasks[t].name, p->a->tasks[t].path, p->models.inputs.models[t]);
    end_table(to);
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
    write_row_head(to, t->name);
    fprintf(to, "<td class=\"words\">%s</td>", modulator_text(&t->facts.spec, text));
    write_number(to, t->facts.bits, "");
    write_number(to, 100 * t->facts.density, " %");
    fprintf(to, "<td>%s</td>", rescaler_words(p, task, text));
    write_number(to, (double)t->facts.fidelity.cosine, "");
    write_number(to, (double)t->facts.fidelity.coefficient, "");
    write_number(to, (double)t->facts.fidelity.error, "");
    write_size(to, t->info.coded_bytes);
    write_size(to, t->private_bytes);
    fputs("</tr>\n", to);
}

static void write_modulators(FILE *to, const page *p)
{
    fputs("<section id=\"tasks\"><h2>The tasks in the bundle</h2>\n", to);
    begin_table(to, "Modulators",
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
    end_table(to);
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
        write_row_head(to, p->tasks[t].name);
        page_draw_bar(to, m.norm, longest, short_number(m.norm, 4, text));
        write_number(to, m.norm, "");
        write_number(to, m.mean_magnitude, "");
        write_number(to, g->largest[t], "");
        write_number(to, m.kurtosis, "");
        write_number(to, 100 * m.zero_share, " %");
        fputs("</tr>\n", to);
    }
}

static void write_vectors(FILE *to, const page *p)
{
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    char count[32];
    if (emr_statistics_get_group(p->models.statistics, EMR_STATISTICS_MODEL, 0, &g))
        return;
    fprintf(to, "<section id=\"vectors\"><h2>How far each task went</h2>\n");
    begin_table(
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
    end_table(to);
    if (g.count != p->params)
        fprintf(to,
                "<p class=\"soft\">These numbers, kinship and all that follows from task vectors count %s "
                "parameters: "
                "also tensors that the tasks keep for themselves, such as heads.</p>\n",
                grouped_number(g.count, count));
    fputs("</section>\n", to);
}

/* ---- what is not merged */

static void write_examples(FILE *to, const page_reason *r)
{
    uint64_t names = r->n > r->n_examples ? r->n : r->n_examples;
    fputs("<td class=\"wide\">", to);
    for (uint32_t i = 0; i < r->n_examples; i++) {
        fputs(i ? ", <code>" : "<code>", to);
        write_xml_text(to, r->examples[i]);
        fputs("</code>", to);
    }
    fputs(names > r->n_examples || r->n_copies > (uint64_t)r->n_examples * 64 ? ", …</td>" : "</td>", to);
}

static void write_kept(FILE *to, const page *p)
{
    fputs("<section id=\"kept\"><h2>What is not merged, and why</h2>\n", to);
    if (!p->reasons.n) {
        fputs("<p>Nothing: every tensor is merged.</p></section>\n", to);
        return;
    }
    begin_table(
        to, "Tensors that are not merged",
        p->bundle
            ? "A line for each reason. Copies: tensors and files that tasks keep for themselves, and "
              "their bytes before compression. Kept apart: by a pattern, by their shape, or because the base "
              "has no such tensor."
            : "A line for each reason that a merge with these options would have. Copies: how many "
              "tasks would keep a tensor of their own, where that is known without reading it.",
        "<th scope=\"col\" class=\"wide\">reason</th><th scope=\"col\">of the base</th><th "
        "scope=\"col\">copies</th><th scope=\"col\">bytes</th><th scope=\"col\" class=\"wide\">such as</th>");
    for (uint32_t i = 0; i < p->reasons.n; i++) {
        const page_reason *r = &p->reasons.all[i];
        fputs("<tr><td class=\"wide\">", to);
        write_xml_text(to, r->reason);
        fputs("</td>", to);
        write_count(to, r->n);
        write_count(to, r->n_copies);
        write_size(to, r->bytes);
        write_examples(to, r);
        fputs("</tr>\n", to);
    }
    end_table(to);
    fputs("</section>\n", to);
}

/* ---- tensors */

static void write_tensor_row(FILE *to, const page *p, const page_tensor *x)
{
    write_row_head(to, x->name);
    fprintf(to, "<td class=\"words\">%s</td><td class=\"words\">%s</td>", emr_dtype_name(x->dtype), x->shape);
    write_count(to, x->count);
    if (p->has_vectors && !p->without_tensors) {
        write_number(to, x->change, "");
        write_number(to, 100 * x->conflicts, " %");
        write_number(to, x->kinship, "");
    }
    if (p->bundle) {
        write_number(to, 100 * page_share(x->ones, x->bits), " %");
        write_size(to, x->unified_bytes);
    }
    fputs("</tr>\n", to);
}

static void write_tensors_head(FILE *to, const page *p)
{
    char heads[512];
    snprintf(
        heads, sizeof heads, "%s%s%s",
        "<th scope=\"col\">tensor</th><th scope=\"col\" class=\"words\">dtype</th><th scope=\"col\" "
        "class=\"words\">shape</th><th scope=\"col\">parameters</th>",
        p->has_vectors && !p->without_tensors
            ? "<th scope=\"col\">change</th><th scope=\"col\">conflicts</th><th scope=\"col\">kinship</th>"
            : "",
        p->bundle ? "<th scope=\"col\">density</th><th scope=\"col\">unified</th>" : "");
    begin_table(
        to, "Tensors",
        "Over all tasks: change is the root of the mean square, in the weights’ own units; conflicts are in "
        "% of the tensor’s parameters; kinship is the mean of pairs; density is of all masks.",
        heads);
}

static void write_tensors(FILE *to, const page *p)
{
    char shown[32], all[32];
    if (!p->n_tensors)
        return;
    fputs("<section id=\"tensors\"><h2>Tensor by tensor</h2>\n", to);
    if (p->without_tensors)
        fputs(
            "<p class=\"soft\">There are too many tensors and tasks for statistics of each tensor: <code>emr "
            "kinship --per tensor</code> has them.</p>\n",
            to);
    fprintf(to, "<details><summary>The %s%s tensors", p->n_shown < p->n_tensors ? "largest " : "",
            grouped_number(p->n_shown, shown));
    if (p->n_shown < p->n_tensors)
        fprintf(to, " of %s, with %.3g %% of the parameters", grouped_number(p->n_tensors, all),
                100 * page_share((double)p->params_shown, (double)p->params));
    fputs("</summary>\n", to);
    write_tensors_head(to, p);
    for (uint32_t i = 0; i < p->n_shown; i++)
        write_tensor_row(to, p, &p->tensors[i]);
    end_table(to);
    fputs("</details></section>\n", to);
}

/* ---- the page */

static void write_page_title(const page *p, char title[PAGE_TEXT + 16])
{
    char name[PAGE_TEXT];
    const char *path = p->bundle ? p->a->files[0] : p->a->base, *slash = strrchr(path, '/');
    clean_text(slash && slash[1] ? slash + 1 : path, PAGE_NAME, name);
    snprintf(title, PAGE_TEXT + 16, "%s: %s", p->bundle ? "Bundle" : "Tasks of", name);
}

static void write_lead(FILE *to, const page *p)
{
    char title[PAGE_TEXT + 16], text[32];
    write_page_title(p, title);
    fputs("<header><h1>", to);
    write_xml_text(to, title);
    fputs("</h1>\n<p class=\"soft\">", to);
    if (p->bundle)
        fprintf(to,
                "%u fine-tuned %s of one base in a file of %s (format %u.%u, the base %s). What follows is "
                "of %s.",
                p->n_tasks, p->n_tasks == 1 ? "model" : "models", size_text(p->info.bytes, text),
                p->info.version_major, p->info.version_minor, p->info.has_base ? "embedded" : "not embedded",
                p->has_vectors ? "its modulators and of the models that they rebuild"
                               : "its modulators alone");
    else
        fprintf(to, "%u %s fine-tuned from one base: what each changed of it, and what they have in common.",
                p->n_tasks, p->n_tasks == 1 ? "model" : "models");
    fputs("</p>\n", to);
    write_facts(to, p);
    fputs("</header>\n<main>\n", to);
}

void page_write(FILE *to, const page *p)
{
    char title[PAGE_TEXT + 16];
    write_page_title(p, title);
    page_begin(to, title);
    write_lead(to, p);
    if (p->bundle)
        write_modulators(to, p);
    else
        write_models(to, p);
    if (p->has_vectors)
        write_vectors(to, p);
    page_write_charts(to, p);
    write_kept(to, p);
    write_tensors(to, p);
    fputs("</main>\n", to);
    page_end(to);
}
