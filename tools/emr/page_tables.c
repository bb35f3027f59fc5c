/* page_tables.c - the page, from its title on: key figures, what is not merged, tensors; the rest in its place. */
#include "page.h"

#include "heatmap.h"

#include <math.h>
#include <string.h>

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
    if (emr_statistics_get_group(p->models.statistics, EMR_STATISTICS_SCOPE_MODEL, 0, &g))
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
    page_begin_table(
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
        page_count_cell(to, r->n);
        page_count_cell(to, r->n_copies);
        page_size_cell(to, r->bytes);
        write_examples(to, r);
        fputs("</tr>\n", to);
    }
    page_end_table(to);
    fputs("</section>\n", to);
}

/* ---- tensors */

static void write_tensor_row(FILE *to, const page *p, const page_tensor *x)
{
    page_row_head(to, x->name);
    fprintf(to, "<td class=\"words\">%s</td><td class=\"words\">%s</td>", emr_dtype_name(x->dtype), x->shape);
    page_count_cell(to, x->count);
    if (p->has_vectors && !p->without_tensors) {
        page_number_cell(to, x->change, "");
        page_number_cell(to, 100 * x->conflicts, " %");
        page_number_cell(to, x->kinship, "");
    }
    if (p->bundle) {
        page_number_cell(to, 100 * page_share(x->ones, x->bits), " %");
        page_size_cell(to, x->unified_bytes);
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
    page_begin_table(
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
    page_end_table(to);
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
        page_write_modulators(to, p);
    else
        page_write_models(to, p);
    if (p->has_vectors)
        page_write_vectors(to, p);
    page_write_charts(to, p);
    write_kept(to, p);
    write_tensors(to, p);
    fputs("</main>\n", to);
    page_end(to);
}
