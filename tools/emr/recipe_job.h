/* recipe_job.h - a recipe being done: its models, opened; what each slice sees of them; and the model that comes out. */
#ifndef EMR_TOOLS_RECIPE_JOB_H
#define EMR_TOOLS_RECIPE_JOB_H

#include "combining.h"
#include "recipe.h"
#include "recipe_names.h"

/* A model that the recipe names. */
typedef struct recipe_input {
    emr_model *file, *adapter, *applied;
    const emr_model *model; /* the file's, or what it becomes with its adapter */
    char *name;             /* as a task */
} recipe_input;

/* Tensors that are read as another type. */
typedef struct type_cast type_cast;

/* What one slice takes of a model, under the names that come out. */
typedef struct slice_view {
    emr_model *model;
    emr_model *narrow; /* what it was, where it had to be widened; or NULL */
} slice_view;

/* A slice, its views in the order of its sources, and where it lies. */
typedef struct slice_work {
    const recipe_module *module;
    const recipe_slice *slice;
    slice_view *views;
    uint64_t first_layer; /* what its first layer is called in the output */
    bool is_first, is_last;
} slice_work;

struct recipe_job {
    recipe recipe;
    char *text;
    recipe_input *inputs; /* in the order of recipe.models */
    slice_work *slices;   /* of all modules */
    size_t n_slices;
    type_cast *casts;
    char *config; /* a new config.json, or NULL */
    emr_model *output;
    emr_dtype widest; /* of what comes out, where no dtype is said and models differ; else 0 */
};

/* Reads the file and checks what it says. Prints the error line; returns an exit status. */
int read_recipe_file(recipe_job *w, const arguments *a);

/* recipe_models.c */
emr_status open_inputs(recipe_job *w, const arguments *a, const emr_resources *resources, emr_error *error);
void close_inputs(recipe_job *w);
/* Whose files and metadata the output has: the base, else the first model. */
const emr_model *donor_model(const recipe_job *w);

/* recipe_tokenizers.c: where the base's tokenizer is asked for, whether rows mean the same tokens. */
emr_status check_tokenizers(const recipe_job *w, const arguments *a, emr_error *error);

/* recipe_settings.c */
emr_status set_recipe_parameters(const recipe_job *w, const slice_work *s, emr_combination *c,
                                 emr_error *error);

/* recipe_views.c */
emr_status build_views(recipe_job *w, slice_work *s, emr_error *error);
void close_views(recipe_job *w);
/* The number of a slice's first input: its base, or its first source. */
size_t leading_source(const slice_work *s);

#endif
