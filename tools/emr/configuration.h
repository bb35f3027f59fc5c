/* configuration.h - a model's config.json, changed. */
#ifndef EMR_TOOLS_CONFIGURATION_H
#define EMR_TOOLS_CONFIGURATION_H

#include <emr/model.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define CONFIGURATION_NAME "file:config.json"

/* A model's config.json; *root is NULL where it has none. EMR_EFORMAT: it is no JSON object. */
emr_status configuration_load(json_t **root, const emr_model *model, emr_error *error);

/* That it has `n` layers, which are those that had these numbers: in num_hidden_layers or what stands for it, and in a
 * list of their types. `module` (NULL: the whole model) says of what. False: it has no such key. */
bool configuration_set_layers(json_t *root, const char *module, const uint64_t *layers, size_t n);

/* `model`, which must outlive it, with another config.json, whose text is taken over; NULL: with its own. */
emr_status configuration_replace(emr_model **changed, const emr_model *model, char *text, emr_error *error);

/* As text, indented as transformers writes it; free it. NULL: no memory. Numbers keep their values. */
char *configuration_text(const json_t *root);

#endif
