/* cli.h - what the commands of the program share. The program uses the library's public headers alone. */
#ifndef EMR_CLI_H
#define EMR_CLI_H

#include <emr/emr.h>

#include <jansson.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

/* The exit statuses; scripts depend on them. */
enum { EXIT_DONE = 0, EXIT_DATA = 1, EXIT_USAGE = 2, EXIT_SYSTEM = 3, EXIT_INTERRUPTED = 130 };

typedef struct task_argument {
    char *name, *path; /* path NULL: a bare name */
    bool derived;      /* the name is the checkpoint's */
    bool has_own_kind; /* of modulator: --modulator names the task */
    bool has_weight;   /* combine: behind the checkpoint */
    double weight;
    emr_modulation_spec modulation;
} task_argument;

/* What stood behind --task or, `many`, --tasks. */
typedef struct task_word {
    const char *text;
    bool many;
} task_word;

/* A rule of --rename. */
enum {
    RENAME_TASKS = -1,
    RENAME_BASE = -2
}; /* whose tensors: all tasks', the base's; else a task's number */
typedef struct rename_rule {
    char *word; /* as given */
    char *from;
    const char *to;
    long of;
    bool used;
} rename_rule;

/* What `emr search` is told alone. Zero is the default. */
typedef struct search_arguments {
    const char **evaluate; /* commands */
    size_t n_evaluate;
    const char *vary; /* parameters, with ',' between them */
    double stop_kinship, timeout;
    emr_search_partner partner;
    emr_search_pool pool;
    emr_kinship_metric metric;
    uint32_t k, generations, trials, on_failure;
    uint32_t has_stop_kinship, minimise, keep_all, retry; /* flags */
} search_arguments;
enum { SEARCH_FAILURE_OUT = 0, SEARCH_FAILURE_STOP = 1 };

/* A number, and whether it stood there. */
typedef struct given_number {
    double value;
    uint32_t is_given;
} given_number;

/* What `emr fit` is told alone. Zero is the default. */
typedef struct fit_arguments {
    const char **gram_words, **pair_words, **exclude_globs;
    size_t n_gram_words, n_pair_words, n_exclude_globs;
    const char *spec, *permutation, *start, *aligned;
    const char *merged, *individual, *place, *features, *state;
    given_number balance, off_diagonal, ridge, scale, shrink, within, rate;
    uint64_t random; /* a seed */
    uint32_t by, similarity, max_rounds, patience, bias, weigh, target;
    uint32_t rank, steps, batch, loss;
    uint32_t residual, inverse, has_random; /* flags */
} fit_arguments;
enum { FIT_BY_DEFAULT = 0, FIT_BY_WEIGHTS = 1, FIT_BY_ACTIVATIONS = 2, FIT_BY_BOTH = 3 };

/* Everything that can stand on a command line. */
typedef struct arguments {
    const char *command;
    char wrong[200];    /* what is wrong with an option's value, where it takes more than a constant */
    const char **files; /* what is no option */
    size_t n_files;
    task_word *task_words;
    size_t n_task_words;
    task_argument *tasks; /* what they come to */
    size_t n_tasks, tasks_capacity;
    const char **rename_words;
    size_t n_rename_words;
    const char **modulator_words;
    size_t n_modulator_words;
    rename_rule *rules; /* what --rename's words come to */
    size_t n_rules, rules_capacity;
    const char **private_globs, **merge_globs, **base_globs, **absent_globs; /* the policy's */
    const char **differ; /* keys in which adapters may differ */
    size_t n_differ;
    const char **set_words, **head_globs; /* combine: parameters, heads */
    size_t n_set_words;
    const char *base, *output, *mask, *vector, *method, *config;
    uint64_t memory, shard_bytes, resume_every, seed;
    search_arguments search;
    fit_arguments fit;
    emr_merge_options merge;
    emr_policy policy;
    emr_dtype dtype;
    emr_rescale rescale;
    emr_rescale_per rescale_per;
    emr_mask_rule mask_rule;
    uint32_t f32_vectors;
    uint32_t part, n_parts; /* merge: number `part`, from 1, of so many; part 0: none of them */
    uint32_t all_parts;     /* emr-mpi: all of n_parts are made; 0 parts: as many as it thinks fit */
    uint64_t rate;          /* bytes that a machine reads in a second */
    uint32_t threads;       /* 0: all online */
    uint32_t dequantise, unified, resume, dry_run, force, json, quiet, help, version; /* flags */
    uint32_t no_side_files, apply_adapters, no_columns, list_methods, combine_heads;
    uint32_t n_head_globs;
    double *quantiles; /* kinship */
    uint32_t n_quantiles, published;
    emr_statistics_scope per;
    emr_kinship_metric metric;
} arguments;

/* Parses the words after the command. On failure prints the error line and returns EXIT_USAGE. */
int parse_arguments(arguments *a, int argc, char **argv);
void free_arguments(arguments *a);

/* What stands behind an option, as a number. NULL, or what is wrong with it. */
const char *parse_size(const char *value, uint64_t *size);
const char *parse_block_params(const char *value, uint32_t *params);
const char *parse_seed(const char *value, uint64_t *seed);
bool parse_whole(const char *value, long low, long high, long *number);
/* A finite decimal number, or `true` or `false`, up to `end`. */
bool parse_number(const char *value, const char *end, double *number);

/* The tasks that --task and --tasks name. On failure prints the error line and returns an exit status. */
int take_tasks(arguments *a);
void free_tasks(arguments *a);

/* The rules that --rename gives, once the tasks are known. */
int take_rules(arguments *a);
void free_rules(arguments *a);

/* What --modulator makes of the tasks, once they are known. */
int take_modulators(arguments *a);

/* Hands each checkpoint that --tasks finds in a folder, or by a pattern, to `take`, which owns it then. */
typedef int (*path_fn)(arguments *a, const char *option, char *path);
int each_checkpoint(arguments *a, const char *word, path_fn take);

/* Hands each line of a file to `use`, without white space around; empty ones and those that begin with '#'
 * are passed over. Stops where an exit status is returned, and returns it. */
typedef int (*line_fn)(void *user, char *line, unsigned number);
int each_line(const char *option, const char *path, line_fn use, void *user);

#if defined(__GNUC__)
#define PRINTF_LIKE(text, values) __attribute__((format(printf, text, values)))
#else
#define PRINTF_LIKE(text, values)
#endif

/* What such lines begin with: "emr", or which of several processes says it. */
extern const char *program_name;

/* One line on standard error, "emr: ...". Control characters in arguments become '?'. Returns `exit_status`.
 */
int complain(int exit_status, const char *format, ...) PRINTF_LIKE(2, 3);

/* The error line and exit status of a failed call. */
int complain_status(emr_status status, const emr_error *error);

/* What the program itself finds wrong, in the library's way. `file` may be NULL. Returns `status`. */
emr_status fail_with(emr_error *error, emr_status status, const char *file, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Whether a file is a bundle, by its first bytes. */
bool looks_like_bundle(const char *path);

/* Whether the command was given one file, no more. Otherwise prints the error line. */
int check_one_file(const arguments *a, const char *what);

/* A checkpoint as the command line wants it read; a task's with the files beside its weights. */
emr_status open_checkpoint(emr_model **model, const char *path, const arguments *a, emr_error *error);
emr_status open_task(emr_model **model, const char *path, const arguments *a, emr_error *error);

/* The name of the file that a tensor is, or NULL where it is a tensor like any other. */
const char *side_file_name(const char *tensor);

/* The number of a task of that name. */
emr_status find_task(const emr_bundle *bundle, const char *name, uint32_t *task, emr_error *error);

/* The model that --base names. "zeros" and "ones" are no paths: they are zeros (but ones for (IA)^3's
 * vectors) for the float tensors of `first`, the first task to be merged; with a bundle, for what this takes
 * from its base; with both, which is adding, also for all other float tensors of the bundle's first task. */
bool base_is_made(const arguments *a);
emr_status open_base(emr_model **base, const arguments *a, const emr_bundle *bundle, const emr_model *first,
                     emr_error *error);
/* Adds what --dequantise has to do with it, where a GGUF base (or NULL) fits badly. */
void hint_at_dequantise(const arguments *a, const emr_model *base, emr_status status, emr_error *error);

/* The base (RENAME_BASE) or a task under the names that --rename gives its tensors: *model becomes that
 * model, and *original what it was, to be destroyed after it. Where nothing is renamed, *original is NULL. */
emr_status rename_tensors(emr_model **model, emr_model **original, const arguments *a, long of,
                          emr_error *error);
/* Fails if a rule has renamed nothing. */
emr_status check_rules_used(const arguments *a, emr_error *error);

/* What a tensor is where it is no weight (emr/role.h): behind its line, and as members of its JSON object. */
void print_role(const emr_tensor *tensor);
void add_role(json_t *row, const emr_tensor *tensor);

/* Says on standard error which codes a merge leaves as they are (emr/role.h): family, number of tensors, and
 * --dequantise where that would merge them. */
void note_codes(const arguments *a, const emr_model *base, emr_model *const *models);

/* Whether the tasks to be merged, those of the bundle that is added to (or NULL) and an adapter as base are
 * adapters of one kind, or none. */
emr_status check_adapters(const arguments *a, emr_model *const *models, const emr_model *base,
                          const emr_bundle *before, emr_error *error);

/* Whether base and tasks are all GGUF, or none is (gguf.c). */
emr_status check_kinds(const arguments *a, emr_model *const *models, const emr_model *base, emr_error *error);
/* Whether a model has quantised tensors as bytes. */
bool holds_blocks(const emr_model *model);
/* The same, or codes with scales that can be dequantised. */
bool holds_quantised(const emr_model *model);
/* Names on standard error what --dequantise could not make floats of. */
void note_kept_blocks(const arguments *a, emr_model *const *models, const emr_model *base);

/* Parameters by what a merge does with them, as its plan says; after a run, as it was. Each tensor counts
 * once, however many tasks have their own; of GGUF's blocks it is the elements that count (share.c). */
typedef struct share {
    uint64_t merged, kept, private;
} share;
bool is_no_weight(const char *name); /* a GGUF file's header, or a file of a folder */
share count_share(const emr_merge *merge, emr_model *const *models, size_t n_models, const emr_model *base);
void print_share(const share *share);
void add_share_json(json_t *object, const share *share);
/* Says on standard error that less than half of the parameters is merged, or nothing, if so. */
void note_share(const arguments *a, const share *share, const emr_model *base);

/* Whether a task that is an adapter has a base that one can be merged against; says which one it should be.
 */
emr_status check_adapter_base(const arguments *a, size_t task, const emr_model *model, const emr_model *base,
                              bool is_first_merge, emr_error *error);

/* Whether tensors that tasks have in common with the first model differ from its in shape, but only in the ranks of LoRA: then they may be
 * filled up with zeros (EMR_ON_MISMATCH_PAD). */
bool only_ranks_differ(const emr_model *first, emr_model *const *models, size_t n);

/* What nearly every command needs: a pool, and what the library's calls may use. Closed last of all. */
typedef struct session {
    emr_pool *pool;
    emr_resources resources;
} session;
int session_open(session *s, const arguments *a, const char *verb);
void session_close(session *s);
void hide_progress(void); /* before anything else is printed */
/* What a session's resources follow progress with: draws it, and cancels where the user interrupted. */
emr_status show_progress(void *user, const emr_progress *progress, emr_error *error);
/* From now on progress counts these, not bytes; NULL: bytes again. */
void count_progress(const char *unit);

/* Everything that `emr merge` and `emr add` hold. */
typedef struct merge_job {
    session session;
    emr_bundle *before;            /* `add`: the bundle that is added to */
    emr_model *base, **models;     /* as they are merged */
    emr_model *base_file, **files; /* as they were read, where --rename makes others of them */
    emr_model *whole_base;         /* with the files beside its weights, for --apply-adapters */
    emr_model **adapters,
        **applied;            /* whose places in `models` that has taken; what --rename makes others of */
    emr_model **unviewed;     /* and those whose places --heads has taken (heads.h) */
    struct head_views *heads; /* with what belongs to these */
    emr_merge *merge;
    emr_file *file;
    emr_file *journal; /* --resume */
} merge_job;

/* The base, where one is named, and the tasks, as they are merged. */
emr_status open_merge_models(merge_job *j, const arguments *a, emr_error *error);
void close_merge_models(merge_job *j, const arguments *a);

/* What `emr merge` does, for who does it in parts. Whether the call is right: else prints the error line, and
 * returns an exit status. */
int check_merge(const arguments *a, bool adds);
/* A merge of the models that are open, of which nothing is read yet; j->merge is to be destroyed. */
emr_status start_merge(merge_job *j, const arguments *a, emr_error *error);
/* It runs, to what -o names. A run that failed leaves what it, or one before it, has done. */
emr_status run_merge(merge_job *j, const arguments *a, emr_error *error);
void close_merge_files(merge_job *j, emr_status status);

/* Whether what is added follows the policy that the bundle was made with, which is not known here. */
bool knows_policy(const merge_job *j);

/* With --apply-adapters: what the base becomes with each task that is an adapter takes its place. */
emr_status apply_adapters(merge_job *j, const arguments *a, emr_error *error);

/* One task's modulator: what it is, what it takes, how near it comes (kinds.c). */
typedef struct modulator_facts {
    emr_modulation_spec spec;
    emr_fidelity fidelity;
    uint64_t coded_bytes, unified_bytes; /* stored: its own; of the unified vector that it shares, or 0 */
    double bits;    /* of a merged parameter, its part of the unified vector included; all in the file */
    double density; /* share of merged parameters whose mask bit is set; NaN without masks */
    bool has_mask;
} modulator_facts;
/* Whether a kind has masks of the unified vector; the others have nothing in common with other tasks. */
bool has_masks(const emr_modulation_spec *spec);
emr_status describe_task(modulator_facts *facts, const emr_bundle *bundle, uint32_t task);
const char *modulator_text(const emr_modulation_spec *spec, char text[64]);
json_t *modulator_json(const emr_modulation_spec *spec);
/* As members of a task's object; and as columns behind its name, "-" for what is not known. */
void add_facts_json(json_t *object, const modulator_facts *facts);
void print_facts_head(void);
void print_facts(const modulator_facts *facts);

/* Says on standard error that thinned signs keep too little of a new task's rows, if so. */
void note_few_kept(const merge_job *j, const arguments *a, size_t task);

/* What a task's modulator adds to the base, one tensor for each merged one. */
emr_status open_vector(emr_model **model, const emr_bundle *bundle, uint32_t task, emr_error *error);

/* The plan (--dry-run); and, after the run, what became of it. */
/* parts.c: of a merge with --parts N, each part's plan, into `root` with --json; and what was made with --part. */
emr_status print_parts_plan(const merge_job *j, const arguments *a, json_t *root, emr_error *error);
int print_part_report(const merge_job *j, const arguments *a);
emr_status print_merge_plan(const merge_job *j, const arguments *a, emr_error *error);
int print_merge_report(const merge_job *j, const arguments *a);

/* The tensors of the base that a task lacks, where the merge went on nevertheless: names, and a note. Once
 * the plan is made. */
json_t *missing_json(const merge_job *j, size_t task);
void note_missing(const merge_job *j, const arguments *a, size_t task);

/* What a program does first: signals, descriptors, limits (process.c). And last: what was printed is out, or
 * `status` becomes the failure. */
void start_process(void);
int finish_process(int status);

/* Set by SIGINT and its kin; progress callbacks cancel when it is. */
extern atomic_int interrupted;

/* Whether -o is "-"; and that as an emr_io for writing front to back. */
bool to_standard_output(const arguments *a);
const emr_io *standard_output(void);

/* Refuses an output that is an input. On failure prints the error line and returns an exit status. */
int check_places(const arguments *a);
/* The same for an input that is no argument; `what` is what messages call it. */
int check_input_place(const arguments *a, const char *path, const char *what);

/* Writes a model where the command line says, and lists the files that it becomes. */
emr_status write_checkpoint(const emr_model *model, const arguments *a, const emr_resources *resources,
                            json_t *written, emr_error *error);
/* How many tensors, side files aside, and bytes. */
typedef struct model_size {
    uint64_t bytes;
    unsigned n_tensors;
} model_size;
model_size measure_model(const emr_model *model);
/* The line about them, and the members of a JSON object. */
void print_written(const model_size *size, const arguments *a, const json_t *written);
json_t *written_json(const model_size *size, const arguments *a, json_t *written);

/* What -o names, for writing: `*file`, which is to be closed, or standard output, where `*file` is NULL. */
emr_status open_output(const emr_io **io, emr_file **file, const arguments *a, emr_error *error);
emr_status commit_output(emr_file *file, emr_error *error);

/* The text on standard output with control characters as '?': names come from files. */
void print_name(const char *text, int width);

/* "'a', 'b', 'c' and 4 more" into a buffer. Names behind the first ones are not looked at. */
enum { NAMES_SHOWN = 3, NAMES_TEXT = 768 };
const char *names_text(const char *const *names, size_t n, char text[NAMES_TEXT]);
/* "1.5 GiB" into a buffer of 32. */
const char *size_text(uint64_t bytes, char text[32]);
/* "[2, 3]" into a buffer of 256. */
const char *shape_text(uint32_t rank, const uint64_t *shape, char text[256]);

/* A string; where a path is not valid UTF-8, with '?' for what is not ASCII. */
json_t *text_json(const char *text);
json_t *shape_json(uint32_t rank, const uint64_t *shape);
/* A task's rescalers: a number per model; else an object by tensor name, of numbers, or of arrays per row. Of
 * masks of two sides each number is an array of two. Null where it has no mask. */
emr_status rescalers_json(json_t **value, const emr_bundle *bundle, uint32_t task, emr_error *error);
const char *rescaler_text(const emr_bundle *bundle, uint32_t task, char text[32]);
/* Prints to standard output and releases. Returns an exit status. */
int print_json(json_t *root);

const char *rule_name(uint32_t rule);
const char *per_name(uint32_t per);
const char *tie_name(uint32_t tie);

/* The commands; each returns an exit status. */
int command_merge(const arguments *a);
int command_add(const arguments *a);
int command_drop(const arguments *a);
int command_join(const arguments *a);
int command_apply(const arguments *a);
int command_inspect(const arguments *a);
int command_verify(const arguments *a);
int command_export(const arguments *a);
int command_combine(const arguments *a);
int command_search(const arguments *a);
int command_kinship(const arguments *a);
int command_report(const arguments *a);
int command_fit(const arguments *a);

/* Whether a command is one of `emr fit`. */
bool is_fit(const arguments *a);

/* Prints a command's help; NULL: the program's. */
void print_help(FILE *out, const char *command);
/* That of `emr fit` and its commands; NULL: it is none of them. */
const char *fit_help(const char *command);

#endif
