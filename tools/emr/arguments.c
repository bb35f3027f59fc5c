/* arguments.c - the command line: one table of options, and which commands take which. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

enum {
    MERGE = 1,
    APPLY = 2,
    INSPECT = 4,
    VERIFY = 8,
    EXPORT = 16,
    ADD = 32,
    DROP = 64,
    COMBINE = 128,
    KINSHIP = 256,
    SEARCH = 512,
    REPORT = 1024,
    FIT_SPEC = 2048,
    FIT_MATCH = 4096,
    FIT_PERMUTE = 8192,
    FIT_REGMEAN = 16384,
    FIT_PLEAS = 32768,
    FIT_ZIP = 65536,
    FIT_SPECTRAL = 131072,
    FIT_SURGERY = 262144,
    FIT_COEFFICIENTS = 524288,
    FIT_PAIR = FIT_MATCH | FIT_PLEAS | FIT_ZIP,                    /* models side by side */
    FIT_CHANGES = FIT_SPECTRAL | FIT_COEFFICIENTS,                 /* of a base */
    FIT_TASKS = FIT_REGMEAN | FIT_CHANGES,                         /* models as tasks */
    FIT_MERGES = FIT_PLEAS | FIT_ZIP | FIT_REGMEAN | FIT_SPECTRAL, /* in any dtype */
    FIT_OUT = FIT_PAIR | FIT_TASKS | FIT_PERMUTE,                  /* that write a model */
    FIT_SPECS = FIT_PAIR | FIT_SPEC | FIT_PERMUTE | FIT_REGMEAN,   /* that need a spec */
    FIT_MODELS = FIT_OUT | FIT_SPEC,                               /* that read models */
    FIT = FIT_MODELS | FIT_SURGERY,
    ALL = 2047 | FIT
};

typedef struct option option;
/* Returns NULL, or what is wrong with the value. */
typedef const char *(*set_fn)(arguments *a, const option *o, const char *value);

struct option {
    const char *name;
    unsigned commands;
    bool takes_value;
    set_fn set;
    size_t offset;             /* of the member in arguments */
    const char *const *choice; /* for set_choice: words, NULL at the end */
    uint32_t first;            /* the number of the first word */
    long most;                 /* for set_count */
};

static void *option_member(arguments *a, const option *o)
{
    return (char *)a + o->offset;
}

static const char *set_text(arguments *a, const option *o, const char *value)
{
    const char **text = option_member(a, o);
    if (*text)
        return "given twice";
    *text = value;
    return *value ? NULL : "is empty";
}

static const char *set_flag(arguments *a, const option *o, const char *value)
{
    (void)value;
    *(uint32_t *)option_member(a, o) = 1;
    return NULL;
}

static const char *set_choice(arguments *a, const option *o, const char *value)
{
    for (uint32_t i = 0; o->choice[i]; i++) {
        if (strcmp(o->choice[i], value) == 0) {
            *(uint32_t *)option_member(a, o) = o->first + i;
            return NULL;
        }
    }
    size_t at = (size_t)snprintf(a->wrong, sizeof a->wrong, "is none of ");
    for (uint32_t i = 0; o->choice[i] && at < sizeof a->wrong; i++)
        at += (size_t)snprintf(a->wrong + at, sizeof a->wrong - at, "%s%s", i ? ", " : "", o->choice[i]);
    return a->wrong;
}

static const char *set_size(arguments *a, const option *o, const char *value)
{
    return parse_size(value, option_member(a, o));
}

/* A power of two; the library checks it further. */
static const char *set_block_params(arguments *a, const option *o, const char *value)
{
    return parse_block_params(value, option_member(a, o));
}

static const char *set_threads(arguments *a, const option *o, const char *value)
{
    long number;
    if (!parse_whole(value, 1, 1024, &number))
        return "must be 1 to 1024";
    *(uint32_t *)option_member(a, o) = (uint32_t)number;
    return NULL;
}

/* 0 means no compression, as with other programs; the library's 0 is its default. */
static const char *set_level(arguments *a, const option *o, const char *value)
{
    long number;
    if (!parse_whole(value, 0, 19, &number))
        return "must be 0 (none) to 19";
    *(int32_t *)option_member(a, o) = number ? (int32_t)number : EMR_COMPRESSION_NONE;
    return NULL;
}

static const char *add_private_glob(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->private_globs[a->policy.n_private_globs++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_merge_glob(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->merge_globs[a->policy.n_merge_globs++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_differing(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->differ[a->n_differ++] = value;
    return *value ? NULL : "is empty";
}

/* A word, for all tensors; or WORD:GLOB, for those that match. */
static const char *set_missing(arguments *a, const option *o, const char *value)
{
    static const char base[] = "base:", absent[] = "absent:";
    if (strncmp(value, base, strlen(base)) == 0) {
        a->base_globs[a->policy.n_base_globs++] = value + strlen(base);
        return value[strlen(base)] ? NULL : "has no pattern";
    }
    if (strncmp(value, absent, strlen(absent)) == 0) {
        a->absent_globs[a->policy.n_absent_globs++] = value + strlen(absent);
        return value[strlen(absent)] ? NULL : "has no pattern";
    }
    return set_choice(a, o, value);
}

static const char *add_head_glob(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->head_globs[a->n_head_globs++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_setting(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->set_words[a->n_set_words++] = value;
    return *value ? NULL : "is empty";
}

static const char *set_seed(arguments *a, const option *o, const char *value)
{
    return parse_seed(value, option_member(a, o));
}

static const char *add_rename(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->rename_words[a->n_rename_words++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_modulator(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->modulator_words[a->n_modulator_words++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_task_word(arguments *a, const option *o, const char *value)
{
    a->task_words[a->n_task_words++] = (task_word){value, strcmp(o->name, "--tasks") == 0};
    return *value ? NULL : "is empty";
}

/* Words with commas between them; calls `take` with each. */
static const char *each_word(arguments *a, const char *value,
                             const char *(*take)(arguments *a, const char *word, size_t n))
{
    for (;; value++) {
        size_t n = strcspn(value, ",");
        const char *wrong = take(a, value, n);
        if (wrong)
            return wrong;
        value += n;
        if (!*value)
            return NULL;
    }
}

static const char *add_published(arguments *a, const char *word, size_t n)
{
    static const char *const words[] = {"absolute", "rows", "split", "low-precision", "missing"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == n && strncmp(words[i], word, n) == 0) {
            a->published |= 1u << i;
            return NULL;
        }
    }
    return "has a word that is none of absolute, rows, split, low-precision, missing";
}

static const char *set_published(arguments *a, const option *o, const char *value)
{
    (void)o;
    return each_word(a, value, add_published);
}

static const char *add_quantile(arguments *a, const char *word, size_t n)
{
    double number;
    double *more = realloc(a->quantiles, (a->n_quantiles + (size_t)1) * sizeof *more);
    if (!more)
        return "takes more memory than there is";
    a->quantiles = more;
    if (!parse_number(word, word + n, &number) || !(number >= 0 && number <= 1))
        return "must be numbers from 0 to 1 with commas between them";
    a->quantiles[a->n_quantiles++] = number;
    return NULL;
}

static const char *set_quantiles(arguments *a, const option *o, const char *value)
{
    (void)o;
    return each_word(a, value, add_quantile);
}

static const char *const scope_words[] = {"model", "tensor", "layer", "kind", NULL};
static const char *const metric_words[] = {"pearson", "cosine", "euclid", NULL};
static const char *add_evaluation(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->search.evaluate[a->search.n_evaluate++] = value;
    return NULL;
}

static const char *set_count(arguments *a, const option *o, const char *value)
{
    long number;
    if (!parse_whole(value, 1, o->most, &number))
        return snprintf(a->wrong, sizeof a->wrong, "must be a whole number from 1 to %ld", o->most), a->wrong;
    *(uint32_t *)option_member(a, o) = (uint32_t)number;
    return NULL;
}

static const char *set_number(arguments *a, const option *o, const char *value)
{
    return parse_number(value, value + strlen(value), option_member(a, o)) ? NULL : "is no number";
}

static const char *set_stop_kinship(arguments *a, const option *o, const char *value)
{
    a->search.has_stop_kinship = 1;
    return set_number(a, o, value);
}

static const char *set_timeout(arguments *a, const option *o, const char *value)
{
    const char *wrong = set_number(a, o, value);
    return !wrong && !(a->search.timeout > 0) ? "must be above 0" : wrong;
}

static const char *set_random(arguments *a, const option *o, const char *value)
{
    a->fit.has_random = 1;
    return set_seed(a, o, value);
}

static const char *set_given(arguments *a, const option *o, const char *value)
{
    given_number *number = option_member(a, o);
    number->is_given = 1;
    return parse_number(value, value + strlen(value), &number->value) ? NULL : "is no number";
}

static const char *set_amount(arguments *a, const option *o, const char *value)
{
    const given_number *number = option_member(a, o);
    const char *wrong = set_given(a, o, value);
    return !wrong && !(number->value >= 0) ? "must be 0 or more" : wrong;
}

static const char *set_share(arguments *a, const option *o, const char *value)
{
    const given_number *number = option_member(a, o);
    const char *wrong = set_given(a, o, value);
    return !wrong && !(number->value >= 0 && number->value <= 1) ? "must be a number from 0 to 1" : wrong;
}

static const char *add_gram(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->fit.gram_words[a->fit.n_gram_words++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_pairs(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->fit.pair_words[a->fit.n_pair_words++] = value;
    return *value ? NULL : "is empty";
}

static const char *add_exclusion(arguments *a, const option *o, const char *value)
{
    (void)o;
    a->fit.exclude_globs[a->fit.n_exclude_globs++] = value;
    return *value ? NULL : "is empty";
}

static const char *const rule_words[] = {"default", "l1",       "l1-means", "l2",
                                         "norm",    "unbiased", "mixed",    NULL};
static const char *const per_words[] = {"default", "model", "tensor", "row", NULL};
static const char *const tie_words[] = {"zero", "negative", NULL};
static const char *const mismatch_words[] = {"error", "private", "rows", "pad", NULL};
static const char *const missing_words[] = {"error", "base", "absent", NULL};
static const char *const nonfinite_words[] = {"error", "zero", NULL};
static const char *const mask_words[] = {"agree", "nearest", NULL};
static const char *const vectors_words[] = {"bf16", "f32", NULL};
static const char *const dtype_words[] = {"f32", "f16", "bf16", NULL};

static const char *const partner_words[] = {"lowest", "highest", "none", NULL};
static const char *const pool_words[] = {"all", "top", "last", NULL};
static const char *const failure_words[] = {"out", "stop", NULL};

static const char *const by_words[] = {"weights", "activations", "both", NULL};
static const char *const similarity_words[] = {"inner", "correlation", NULL};
static const char *const bias_words[] = {"mean", "fit", NULL};
static const char *const weigh_words[] = {"models", "rows", NULL};
static const char *const loss_words[] = {"l1", "squared", NULL};
static const char *const target_words[] = {"ensemble", "separate", NULL};

#define VALUE(function, member)             .takes_value = true, .set = function, .offset = offsetof(arguments, member)
#define CHOICE(member, words, first_number) VALUE(set_choice, member), .choice = words, .first = first_number
#define COUNT(member, largest)              VALUE(set_count, member), .most = largest
#define FLAG(member)                        .set = set_flag, .offset = offsetof(arguments, member)

static const option option_table[] = {
    {.name = "--base",
     .commands = MERGE | APPLY | VERIFY | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_CHANGES,
     VALUE(set_text, base)},
    {.name = "--task",
     .commands = MERGE | APPLY | ADD | DROP | COMBINE | SEARCH | KINSHIP | REPORT | FIT_TASKS,
     .takes_value = true,
     .set = add_task_word},
    {.name = "--tasks",
     .commands = MERGE | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_TASKS,
     .takes_value = true,
     .set = add_task_word},
    {.name = "--rename",
     .commands = MERGE | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_TASKS,
     .takes_value = true,
     .set = add_rename},
    {.name = "-o",
     .commands = MERGE | APPLY | EXPORT | ADD | DROP | COMBINE | SEARCH | REPORT | FIT,
     VALUE(set_text, output)},
    {.name = "--output",
     .commands = MERGE | APPLY | EXPORT | ADD | DROP | COMBINE | SEARCH | REPORT | FIT,
     VALUE(set_text, output)},
    {.name = "--method", .commands = COMBINE | SEARCH | FIT_SPECTRAL, VALUE(set_text, method)},
    {.name = "--methods", .commands = COMBINE, FLAG(list_methods)},
    {.name = "--config", .commands = COMBINE, VALUE(set_text, config)},
    {.name = "--set", .commands = COMBINE | SEARCH, .takes_value = true, .set = add_setting},
    {.name = "--seed",
     .commands = COMBINE | SEARCH | FIT_MATCH | FIT_ZIP | FIT_SURGERY,
     VALUE(set_seed, seed)},
    {.name = "--keep", .commands = COMBINE | SEARCH, .takes_value = true, .set = add_private_glob},
    {.name = "--heads", .commands = MERGE | COMBINE | SEARCH, .takes_value = true, .set = add_head_glob},
    {.name = "--combine-heads", .commands = COMBINE | SEARCH, FLAG(combine_heads)},
    {.name = "--out-dtype",
     .commands = COMBINE | SEARCH | FIT_MERGES,
     CHOICE(dtype, dtype_words, EMR_DTYPE_F32)},
    {.name = "--evaluate", .commands = SEARCH, .takes_value = true, .set = add_evaluation},
    {.name = "--timeout", .commands = SEARCH, VALUE(set_timeout, search.timeout)},
    {.name = "--on-failure", .commands = SEARCH, CHOICE(search.on_failure, failure_words, 0)},
    {.name = "--retry", .commands = SEARCH, FLAG(search.retry)},
    {.name = "--minimise", .commands = SEARCH, FLAG(search.minimise)},
    {.name = "--k", .commands = SEARCH, COUNT(search.k, 65536)},
    {.name = "--partner", .commands = SEARCH, CHOICE(search.partner, partner_words, 0)},
    {.name = "--pool", .commands = SEARCH, CHOICE(search.pool, pool_words, 0)},
    {.name = "--stop-kinship", .commands = SEARCH, VALUE(set_stop_kinship, search.stop_kinship)},
    {.name = "--generations", .commands = SEARCH, COUNT(search.generations, 1000000)},
    {.name = "--metric", .commands = SEARCH, CHOICE(search.metric, metric_words, 0)},
    {.name = "--keep-all", .commands = SEARCH, FLAG(search.keep_all)},
    {.name = "--trials", .commands = SEARCH, COUNT(search.trials, 1000000)},
    {.name = "--vary", .commands = SEARCH, VALUE(set_text, search.vary)},
    {.name = "--modulator", .commands = MERGE | ADD, .takes_value = true, .set = add_modulator},
    {.name = "--mask", .commands = MERGE, CHOICE(mask_rule, mask_words, EMR_MASK_RULE_AGREE)},
    {.name = "--vectors", .commands = MERGE | ADD, CHOICE(f32_vectors, vectors_words, 0)},
    {.name = "--no-columns", .commands = MERGE | ADD, FLAG(no_columns)},
    {.name = "--measure", .commands = MERGE, FLAG(merge.measure)},
    {.name = "--rescale", .commands = MERGE | ADD, CHOICE(rescale, rule_words, 0)},
    {.name = "--rescale-per", .commands = MERGE, CHOICE(rescale_per, per_words, 0)},
    {.name = "--tie", .commands = MERGE, CHOICE(merge.tie, tie_words, 0)},
    {.name = "--private", .commands = MERGE | KINSHIP | REPORT, .takes_value = true, .set = add_private_glob},
    {.name = "--merge",
     .commands = MERGE | COMBINE | SEARCH | KINSHIP | REPORT,
     .takes_value = true,
     .set = add_merge_glob},
    {.name = "--apply-adapters", .commands = MERGE | ADD | COMBINE | KINSHIP | REPORT, FLAG(apply_adapters)},
    {.name = "--adapter-differ",
     .commands = MERGE | ADD | COMBINE | KINSHIP | REPORT,
     .takes_value = true,
     .set = add_differing},
    {.name = "--on-mismatch",
     .commands = MERGE | ADD | COMBINE | SEARCH | KINSHIP | REPORT,
     CHOICE(policy.on_mismatch, mismatch_words, 0)},
    {.name = "--on-missing",
     .commands = MERGE | ADD | COMBINE | SEARCH | KINSHIP | REPORT,
     VALUE(set_missing, policy.on_missing),
     .choice = missing_words},
    {.name = "--on-nonfinite",
     .commands = MERGE | COMBINE | SEARCH | KINSHIP | REPORT,
     CHOICE(merge.on_nonfinite, nonfinite_words, 0)},
    {.name = "--unified-dtype", .commands = MERGE, CHOICE(merge.unified_dtype, dtype_words, EMR_DTYPE_F32)},
    {.name = "--embed-base", .commands = MERGE, FLAG(merge.embed_base)},
    {.name = "--extendable", .commands = MERGE, FLAG(merge.extendable)},
    {.name = "--zstd-level", .commands = MERGE, VALUE(set_level, merge.compression)},
    {.name = "--block-params", .commands = MERGE, VALUE(set_block_params, merge.block_params)},
    {.name = "--memory",
     .commands = MERGE | APPLY | EXPORT | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_OUT,
     VALUE(set_size, memory)},
    {.name = "--threads",
     .commands =
         MERGE | APPLY | VERIFY | EXPORT | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_OUT | FIT_SURGERY,
     VALUE(set_threads, threads)},
    {.name = "--resume", .commands = MERGE | ADD, FLAG(resume)},
    {.name = "--resume-every", .commands = MERGE | ADD, VALUE(set_size, resume_every)},
    {.name = "--dry-run",
     .commands = MERGE | ADD | COMBINE | SEARCH | KINSHIP | FIT_SPEC | FIT_REGMEAN | FIT_PLEAS,
     FLAG(dry_run)},
    {.name = "--dequantise",
     .commands = MERGE | APPLY | VERIFY | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_MODELS,
     FLAG(dequantise)},
    {.name = "--no-side-files",
     .commands = MERGE | ADD | COMBINE | SEARCH | KINSHIP | REPORT | FIT_CHANGES,
     FLAG(no_side_files)},
    {.name = "--dtype", .commands = APPLY, CHOICE(dtype, dtype_words, EMR_DTYPE_F32)},
    {.name = "--shard-size", .commands = APPLY | COMBINE | SEARCH | FIT_OUT, VALUE(set_size, shard_bytes)},
    {.name = "--unified", .commands = EXPORT, FLAG(unified)},
    {.name = "--mask", .commands = EXPORT, VALUE(set_text, mask)},
    {.name = "--vector", .commands = EXPORT, VALUE(set_text, vector)},
    {.name = "--force",
     .commands = MERGE | APPLY | EXPORT | ADD | DROP | COMBINE | KINSHIP | REPORT | FIT,
     FLAG(force)},
    {.name = "--per", .commands = KINSHIP, CHOICE(per, scope_words, EMR_STATISTICS_SCOPE_MODEL)},
    {.name = "--metric", .commands = KINSHIP, CHOICE(metric, metric_words, EMR_KINSHIP_METRIC_PEARSON)},
    {.name = "--published", .commands = KINSHIP, VALUE(set_published, published)},
    {.name = "--quantiles", .commands = KINSHIP, .takes_value = true, .set = set_quantiles},
    {.name = "--heat-map", .commands = KINSHIP, VALUE(set_text, output)},
    {.name = "--spec", .commands = FIT_SPECS, VALUE(set_text, fit.spec)},
    {.name = "--residual", .commands = FIT_SPECS, FLAG(fit.residual)},
    {.name = "--gram", .commands = FIT_PAIR | FIT_REGMEAN, .takes_value = true, .set = add_gram},
    {.name = "--by", .commands = FIT_MATCH, CHOICE(fit.by, by_words, FIT_BY_WEIGHTS)},
    {.name = "--balance", .commands = FIT_MATCH | FIT_ZIP, VALUE(set_share, fit.balance)},
    {.name = "--similarity", .commands = FIT_MATCH, CHOICE(fit.similarity, similarity_words, 1)},
    {.name = "--start", .commands = FIT_MATCH, VALUE(set_text, fit.start)},
    {.name = "--aligned", .commands = FIT_MATCH, VALUE(set_text, fit.aligned)},
    {.name = "--rounds", .commands = FIT_MATCH | FIT_ZIP, COUNT(fit.max_rounds, 1000000)},
    {.name = "--patience", .commands = FIT_MATCH | FIT_ZIP, COUNT(fit.patience, 1000000)},
    {.name = "--permutation", .commands = FIT_PERMUTE | FIT_PLEAS, VALUE(set_text, fit.permutation)},
    {.name = "--random", .commands = FIT_PERMUTE, VALUE(set_random, fit.random)},
    {.name = "--inverse", .commands = FIT_PERMUTE, FLAG(fit.inverse)},
    {.name = "--off-diagonal", .commands = FIT_REGMEAN, VALUE(set_share, fit.off_diagonal)},
    {.name = "--ridge", .commands = FIT_REGMEAN | FIT_PLEAS, VALUE(set_amount, fit.ridge)},
    {.name = "--bias", .commands = FIT_REGMEAN, CHOICE(fit.bias, bias_words, 0)},
    {.name = "--weigh", .commands = FIT_REGMEAN, CHOICE(fit.weigh, weigh_words, 0)},
    {.name = "--exclude", .commands = FIT_REGMEAN | FIT_PLEAS, .takes_value = true, .set = add_exclusion},
    {.name = "--pairs", .commands = FIT_PLEAS, .takes_value = true, .set = add_pairs},
    {.name = "--target", .commands = FIT_PLEAS, CHOICE(fit.target, target_words, 0)},
    {.name = "--shrink", .commands = FIT_ZIP, VALUE(set_share, fit.shrink)},
    {.name = "--within", .commands = FIT_ZIP, VALUE(set_share, fit.within)},
    {.name = "--scale", .commands = FIT_SPECTRAL, VALUE(set_given, fit.scale)},
    {.name = "--state", .commands = FIT_COEFFICIENTS, VALUE(set_text, fit.state)},
    {.name = "--merged", .commands = FIT_SURGERY, VALUE(set_text, fit.merged)},
    {.name = "--individual", .commands = FIT_SURGERY, VALUE(set_text, fit.individual)},
    {.name = "--place", .commands = FIT_SURGERY, VALUE(set_text, fit.place)},
    {.name = "--features", .commands = FIT_SURGERY, VALUE(set_text, fit.features)},
    {.name = "--rank", .commands = FIT_SURGERY, COUNT(fit.rank, 65536)},
    {.name = "--steps", .commands = FIT_SURGERY, COUNT(fit.steps, 1000000000)},
    {.name = "--batch", .commands = FIT_SURGERY, COUNT(fit.batch, 1000000000)},
    {.name = "--rate", .commands = FIT_SURGERY, VALUE(set_amount, fit.rate)},
    {.name = "--loss", .commands = FIT_SURGERY, CHOICE(fit.loss, loss_words, 0)},
    {.name = "--json", .commands = ALL, FLAG(json)},
    {.name = "--quiet", .commands = ALL, FLAG(quiet)},
    {.name = "--version", .commands = ALL, FLAG(version)},
    {.name = "--help", .commands = ALL, FLAG(help)},
};

static unsigned command_bit(const char *name)
{
    static const char *const names[] = {"merge",     "apply",        "inspect",     "verify",
                                        "export",    "add",          "drop",        "combine",
                                        "kinship",   "search",       "report",      "fit spec",
                                        "fit match", "fit permute",  "fit regmean", "fit pleas",
                                        "fit zip",   "fit spectral", "fit surgery", "fit coefficients"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return 1u << i;
    return 0;
}

bool is_fit(const arguments *a)
{
    return strncmp(a->command, "fit ", 4) == 0;
}

/* The command's option that a word names: the whole word, or what stands before its '='. */
static const option *find_option(const char *word, unsigned command)
{
    size_t n = strncmp(word, "--", 2) == 0 ? strcspn(word, "=") : strlen(word);
    for (size_t i = 0; i < sizeof option_table / sizeof option_table[0]; i++)
        if (option_table[i].commands & command && strlen(option_table[i].name) == n &&
            strncmp(option_table[i].name, word, n) == 0)
            return &option_table[i];
    return NULL;
}

static int parse_option(arguments *a, const char *word, const char *next, bool *used_next)
{
    const option *o = find_option(word, command_bit(a->command));
    if (!o)
        return complain(EXIT_USAGE, "%s: unknown option (see emr %s --help)", word, a->command);
    const char *equals = word[1] == '-' ? strchr(word, '=') : NULL, *value = equals ? equals + 1 : NULL;
    if (!o->takes_value && value)
        return complain(EXIT_USAGE, "%s: takes no value", o->name);
    if (o->takes_value && !value) {
        if (!next)
            return complain(EXIT_USAGE, "%s: needs a value", o->name);
        value = next;
        *used_next = true;
    }
    const char *wrong = o->set(a, o, value);
    if (wrong && value)
        return complain(EXIT_USAGE, "%s: '%s' %s", o->name, value, wrong);
    return wrong ? complain(EXIT_USAGE, "%s: %s", o->name, wrong) : EXIT_DONE;
}

int parse_arguments(arguments *a, int argc, char **argv)
{
    size_t room = (size_t)argc + 1;
    a->files = calloc(room, sizeof *a->files);
    a->task_words = calloc(room, sizeof *a->task_words);
    a->rename_words = calloc(room, sizeof *a->rename_words);
    a->modulator_words = calloc(room, sizeof *a->modulator_words);
    a->private_globs = calloc(room, sizeof *a->private_globs);
    a->merge_globs = calloc(room, sizeof *a->merge_globs);
    a->base_globs = calloc(room, sizeof *a->base_globs);
    a->absent_globs = calloc(room, sizeof *a->absent_globs);
    a->differ = calloc(room, sizeof *a->differ);
    a->head_globs = calloc(room, sizeof *a->head_globs);
    a->set_words = calloc(room, sizeof *a->set_words);
    a->search.evaluate = calloc(room, sizeof *a->search.evaluate);
    a->fit.gram_words = calloc(room, sizeof *a->fit.gram_words);
    a->fit.pair_words = calloc(room, sizeof *a->fit.pair_words);
    a->fit.exclude_globs = calloc(room, sizeof *a->fit.exclude_globs);
    if (!a->fit.gram_words || !a->fit.pair_words || !a->fit.exclude_globs || !a->search.evaluate ||
        !a->head_globs || !a->set_words || !a->differ || !a->merge_globs || !a->base_globs ||
        !a->absent_globs || !a->files || !a->rename_words || !a->modulator_words || !a->task_words ||
        !a->private_globs)
        return complain(EXIT_SYSTEM, "out of memory");
    a->merge = EMR_INIT(emr_merge_options);
    a->policy = (emr_policy){.size = sizeof a->policy,
                             .private_globs = a->private_globs,
                             .merge_globs = a->merge_globs,
                             .base_globs = a->base_globs,
                             .absent_globs = a->absent_globs};
    a->merge.policy = &a->policy;
    bool options_end = false;
    for (int i = 0; i < argc; i++) {
        bool used_next = false;
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (options_end || argv[i][0] != '-' || !argv[i][1]) {
            a->files[a->n_files++] = argv[i];
        } else {
            int status = parse_option(a, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used_next);
            if (status)
                return status;
            i += used_next;
        }
    }
    if (a->help || a->version)
        return EXIT_DONE;
    int status = take_tasks(a);
    if (!status)
        status = take_rules(a);
    return status ? status : take_modulators(a);
}

void free_arguments(arguments *a)
{
    free_tasks(a);
    free_rules(a);
    free(a->files);
    free(a->modulator_words);
    free(a->private_globs);
    free(a->merge_globs);
    free(a->differ);
    free(a->head_globs);
    free(a->set_words);
    free(a->search.evaluate);
    free(a->fit.gram_words);
    free(a->fit.pair_words);
    free(a->fit.exclude_globs);
    free(a->base_globs);
    free(a->absent_globs);
    free(a->quantiles);
}
