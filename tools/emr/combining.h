/* combining.h - what `emr combine` holds: one combination for the command line, one for each slice of a recipe. */
#ifndef EMR_TOOLS_COMBINING_H
#define EMR_TOOLS_COMBINING_H

#include "cli.h"

typedef struct recipe_job recipe_job;

typedef struct combine_part {
    emr_combination *combination;
    emr_model *model; /* of its combined tensors */
} combine_part;

typedef struct combine_job {
    merge_job inputs; /* the command line's models, and the session */
    const emr_method *method;
    recipe_job *recipe; /* --config */
    combine_part *parts;
    size_t n_parts;
    emr_dtype dtype;        /* of what is combined; 0: the base's */
    emr_model *labelled;    /* --heads: that of `parts`, with labels */
    const emr_model *model; /* what is written: of the parts, or the recipe's */
} combine_job;

/* The options that every combination of a run has in common. */
emr_combination_options combination_options(const combine_job *j, const arguments *a,
                                            const emr_policy *policy);

/* --set, and the weights behind --task, for the command line's combination. */
emr_status apply_settings(emr_combination *combination, const combine_job *j, const arguments *a,
                          emr_error *error);
/* A method by name: EMR_ENOTFOUND, with the names of all. */
emr_status find_method(const emr_method **method, const char *name, emr_error *error);
/* The number of a method's parameter; n_parameters: it has none of that name. */
uint32_t find_parameter(const emr_method *method, const char *name);
/* A parameter that is 0 or 1. */
bool is_flag(const emr_method_parameter *parameter);

/* A note on each pattern of --set, --keep and --merge that no tensor of any model has the name for. */
void note_idle_globs(const merge_job *inputs, const arguments *a);

/* --methods; of --method alone, where it is there too. */
int list_methods(const arguments *a);

/* --dry-run; and, after the run, what became of it. */
emr_status print_combine_plan(const combine_job *j, const arguments *a, emr_error *error);
int print_combine_report(const combine_job *j, const arguments *a, json_t *written);

/* Reads the recipe that --config names. On failure prints the error line; returns an exit status. */
int take_recipe(combine_job *j, const arguments *a);
/* Opens its models and plans its combinations. */
emr_status open_recipe(combine_job *j, const arguments *a, emr_error *error);
/* The model that comes out. */
emr_status finish_recipe(combine_job *j, const arguments *a, emr_error *error);
/* Everything that it holds, the parts included. */
void close_recipe(combine_job *j);
/* What a report says of it: "recipe", "base" and "models". */
json_t *recipe_models_json(const recipe_job *recipe);

#endif
