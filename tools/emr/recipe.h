/* recipe.h - a recipe: mergekit's YAML, read, before any other file is looked at. What it means is that of mergekit
 * 0.1.5, which docs/recipes.md describes. No I/O here: texts come from anywhere.
 *
 *     recipe r;
 *     emr_status status = recipe_read(&r, text, n, "recipe.yml", &error);
 *     if (!status)
 *         status = recipe_check(&r, &error);
 *     ... recipe_value(&r, &place, parameter, &value)
 *     recipe_free(&r);
 */
#ifndef EMR_TOOLS_RECIPE_H
#define EMR_TOOLS_RECIPE_H

#include "recipe_yaml.h"

#include <emr/method.h>
#include <emr/status.h>

#define RECIPE_NO_MODEL SIZE_MAX

/* A setting's value for tensors whose name holds `filter`; NULL: for all. */
typedef struct recipe_case {
    const char *filter;
    const yaml_node **values; /* scalars */
    size_t n_values;
    bool is_list; /* a gradient, or a choice for each layer */
} recipe_case;

typedef struct recipe_setting {
    const char *name;
    recipe_case *cases; /* the first that fits holds */
    size_t n_cases;
    unsigned line;
} recipe_setting;

typedef struct recipe_parameters {
    recipe_setting *settings;
    size_t n_settings;
} recipe_parameters;

/* Each is in the list once, however often it is named. */
typedef struct recipe_model {
    const char *path, *adapter; /* adapter: NULL, there is none */
    unsigned line;
} recipe_model;

typedef struct recipe_source {
    size_t model;        /* number */
    uint64_t first, end; /* layers; 0 and 0: all */
    recipe_parameters parameters;
    unsigned line;
} recipe_source;

typedef struct recipe_slice {
    recipe_source *sources;
    size_t n_sources;
    size_t base; /* the model's number, or RECIPE_NO_MODEL */
    recipe_parameters parameters;
    unsigned line;
} recipe_slice;

typedef struct recipe_module {
    const char *name; /* NULL: the whole model */
    recipe_slice *slices;
    size_t n_slices;
    bool has_ranges; /* slices were written, no models */
    recipe_parameters parameters;
    unsigned line;
} recipe_module;

/* What a user should know although the recipe goes on. */
typedef struct recipe_note {
    const char *text;
    unsigned line;
} recipe_note;

typedef struct recipe {
    yaml_arena arena; /* that everything is in */
    const char *name; /* for messages; borrowed */
    const emr_method *method;
    recipe_model *models;
    size_t n_models;
    size_t base; /* the model's number, or RECIPE_NO_MODEL */
    recipe_module *modules;
    size_t n_modules;
    recipe_parameters parameters;
    recipe_note *notes;
    size_t n_notes;
    emr_dtype dtype, out_dtype; /* 0: not said */
    unsigned tokenizer_line;    /* where that is said */
    bool base_tokenizer;        /* tokenizers are the base's: where vocabularies are longer, its rows count */
} recipe;

enum { RECIPE_BYTES_MAX = 1 << 20 };

/* Reads a text. EMR_EINVAL, and a sentence with the line, for whatever is wrong or cannot be done. Free it in either
 * case. */
emr_status recipe_read(recipe *r, const char *text, size_t n, const char *name, emr_error *error);
void recipe_free(recipe *r);

/* Whether the method has what is set, and values are numbers in its ranges. Adds notes. */
emr_status recipe_check(recipe *r, emr_error *error);

/* What a scalar is for a parameter: a decimal number, or a flag where whole numbers are expected. False: neither. */
bool recipe_scalar(const yaml_node *scalar, const emr_method_parameter *parameter, double *value);

/* Where a value is asked for. */
typedef struct recipe_place {
    const recipe_module *module;
    const recipe_slice *slice;
    const recipe_source *source; /* of parameters of one input; NULL: of those that all have in common */
    const char *tensor;          /* its name: in the input, or what comes out */
    double t;                    /* depth in the slice, 0 to 1 */
} recipe_place;

/* The value of a parameter there: the source's, the slice's, the module's or the recipe's, whichever has one first, else
 * what it is initially. */
double recipe_value(const recipe *r, const recipe_place *place, const emr_method_parameter *parameter);

/* Fails with "NAME: line LINE: ...". Returns EMR_EINVAL. */
emr_status recipe_fail(const recipe *r, unsigned line, emr_error *error, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 4, 5)))
#endif
    ;

#endif
