/* recipe_reading.h - what the files that read a recipe share: keys of maps, and sentences with lines. */
#ifndef EMR_TOOLS_RECIPE_READING_H
#define EMR_TOOLS_RECIPE_READING_H

#include "recipe.h"

typedef struct recipe_reader {
    recipe *r;
    emr_error *error;
} recipe_reader;

/* Reads the value of a key into `target`. */
typedef emr_status (*key_fn)(const recipe_reader *reader, const yaml_node *key, const yaml_node *value,
                             void *target);
typedef struct recipe_key {
    const char *name;
    key_fn read;
} recipe_key;

/* Where a reader `d` is there. */
#define FAIL(line, ...) recipe_fail(d->r, (line), d->error, __VA_ARGS__)

emr_status lack_room(const recipe_reader *d);
/* "'KEY' must be WHAT". */
emr_status fail_kind(const recipe_reader *d, const yaml_node *key, const yaml_node *value, const char *what);

/* Each key of a map, in its order; one without a value counts as absent. A table ends with a name of NULL. */
emr_status read_keys(const recipe_reader *d, const yaml_node *map, const recipe_key *keys, void *target);
emr_status read_word(const recipe_reader *d, const yaml_node *key, const yaml_node *value, const char **text);

emr_status read_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                           recipe_parameters *p);

/* A model wherever one is named, as its number in the recipe's list: a word, or {model: ..., lora: ...}. */
emr_status read_model(const recipe_reader *d, const yaml_node *key, const yaml_node *value, size_t *number);

/* A module, and what stands under 'models' and 'slices' of one (a recipe_module as target). */
emr_status read_module(const recipe_reader *d, const yaml_node *name, const yaml_node *node,
                       recipe_module *m);
emr_status read_module_models(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target);
emr_status read_module_slices(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target);

/* Once all is read: which source of each slice is its base, and whether there are as many as the method takes. */
emr_status settle_bases(const recipe_reader *d);

#endif
