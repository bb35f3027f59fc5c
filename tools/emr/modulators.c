/* modulators.c - what kind of modulator each task is to have: --modulator, and the options beside it. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool has_columns(const emr_modulation_spec *spec)
{
    return spec->kind == EMR_MODULATOR_KIND_SIGN;
}

static bool has_vectors(const emr_modulation_spec *spec)
{
    return !has_masks(spec);
}

/* A word of --modulator, as --help lists them. */
static bool read_kind(const char *word, emr_modulation_spec *spec)
{
    static const struct {
        const char *word;
        emr_modulator_kind kind;
        uint32_t thinning, n_levels;
    } kinds[] = {
        {"mask", EMR_MODULATOR_KIND_MASK, 0, 0},       {"two-sided", EMR_MODULATOR_KIND_TWO_SIDED, 0, 0},
        {"sign", EMR_MODULATOR_KIND_SIGN, 0, 0},       {"thin", EMR_MODULATOR_KIND_THIN, 0, 0},
        {"thin:1/2", EMR_MODULATOR_KIND_THIN, 2, 0},   {"thin:1/4", EMR_MODULATOR_KIND_THIN, 4, 0},
        {"thin:1/8", EMR_MODULATOR_KIND_THIN, 8, 0},   {"thin:1/16", EMR_MODULATOR_KIND_THIN, 16, 0},
        {"thin:1/32", EMR_MODULATOR_KIND_THIN, 32, 0}, {"ternary", EMR_MODULATOR_KIND_LEVELS, 0, 3},
        {"levels", EMR_MODULATOR_KIND_LEVELS, 0, 0},   {"levels:2", EMR_MODULATOR_KIND_LEVELS, 0, 4},
        {"levels:3", EMR_MODULATOR_KIND_LEVELS, 0, 8}, {"levels:4", EMR_MODULATOR_KIND_LEVELS, 0, 16},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].word, word) == 0) {
            spec->kind = kinds[i].kind;
            spec->thinning = kinds[i].thinning;
            spec->n_levels = kinds[i].n_levels;
            return true;
        }
    }
    return false;
}

/* KIND, for all tasks; or TASK=KIND, for one. */
static int take_modulator(arguments *a, const char *word)
{
    const char *equals = strchr(word, '='), *kind = equals ? equals + 1 : word;
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    bool found = !equals;
    if (!read_kind(kind, &spec))
        return complain(
            EXIT_USAGE,
            "--modulator: '%s' is no kind: mask, two-sided, sign, thin:1/2 to thin:1/32, ternary, "
            "and levels:2 to levels:4 (bits) are",
            kind);
    for (size_t i = 0; i < a->n_tasks; i++) {
        task_argument *t = &a->tasks[i];
        bool meant = equals && strlen(t->name) == (size_t)(equals - word) &&
                     strncmp(t->name, word, (size_t)(equals - word)) == 0;
        found = found || meant;
        if (meant || (!equals && !t->has_own_kind)) {
            t->modulation = spec;
            t->has_own_kind = meant;
        }
    }
    return found ? EXIT_DONE : complain(EXIT_USAGE, "--modulator: '%s' names no task of this call", word);
}

/* An option that no task has a use for was meant for something else. */
static int check_use(const arguments *a, const char *option, bool (*uses)(const emr_modulation_spec *spec),
                     const char *kinds)
{
    for (size_t i = 0; i < a->n_tasks; i++)
        if (uses(&a->tasks[i].modulation))
            return EXIT_DONE;
    return complain(EXIT_USAGE, "%s: is for %s, and no task's modulator is of that kind (--modulator)",
                    option, kinds);
}

/* Rules that one kind alone has are for calls in which all tasks are of it. */
static int check_rule_kinds(const arguments *a)
{
    const bool means = a->rescale == EMR_RESCALE_L1_MEANS;
    const emr_modulator_kind kind = means ? EMR_MODULATOR_KIND_MASK : EMR_MODULATOR_KIND_THIN;
    for (size_t i = 0; (means || a->rescale == EMR_RESCALE_MIXED) && i < a->n_tasks; i++)
        if (a->tasks[i].modulation.kind != kind)
            return complain(EXIT_USAGE,
                            "--rescale: '%s' is for %s alone, and task '%s' is to have another modulator",
                            rule_name(a->rescale), means ? "masks" : "thin", a->tasks[i].name);
    return EXIT_DONE;
}

int take_modulators(arguments *a)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < a->n_tasks; i++) {
        a->tasks[i].modulation = EMR_INIT(emr_modulation_spec);
        a->tasks[i].modulation.kind = EMR_MODULATOR_KIND_MASK;
    }
    for (size_t i = 0; !status && i < a->n_modulator_words; i++)
        status = take_modulator(a, a->modulator_words[i]);
    for (size_t i = 0; !status && i < a->n_tasks; i++) {
        emr_modulation_spec *spec = &a->tasks[i].modulation;
        spec->rescale = a->rescale;
        if (has_masks(spec)) {
            spec->rescale_per = a->rescale_per;
            spec->mask_rule = a->mask_rule;
        } else {
            spec->vectors_dtype = a->f32_vectors ? EMR_DTYPE_F32 : EMR_DTYPE_BF16;
        }
        spec->without_columns = has_columns(spec) ? a->no_columns : 0;
    }
    if (!status)
        status = check_rule_kinds(a);
    if (!status && a->mask_rule)
        status = check_use(a, "--mask", has_masks, "mask and two-sided");
    if (!status && a->rescale_per)
        status = check_use(a, "--rescale-per", has_masks, "mask and two-sided");
    if (!status && a->f32_vectors)
        status = check_use(a, "--vectors", has_vectors, "sign, thin, ternary and levels");
    if (!status && a->no_columns)
        status = check_use(a, "--no-columns", has_columns, "sign");
    return status;
}
