/* configuration.c - see configuration.h. */
#include "configuration.h"

#include <stdlib.h>
#include <string.h>

emr_status configuration_load(json_t **root, const emr_model *model, emr_error *error)
{
    const emr_tensor *file = emr_model_find_tensor(model, CONFIGURATION_NAME);
    json_error_t why;
    *root = NULL;
    if (!file)
        return EMR_OK;
    size_t n = (size_t)emr_tensor_bytes(file);
    char *text = malloc(n + 1);
    if (!text)
        return EMR_ENOMEM;
    emr_status status = emr_tensor_read(file, 0, text, n, error);
    if (!status) {
        *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
        if (!json_is_object(*root)) {
            json_decref(*root);
            *root = NULL;
            status = emr_error_format(error, EMR_EFORMAT, "%F: its config.json is no JSON object: %s",
                                      emr_model_name(model), why.text);
        }
    }
    free(text);
    return status;
}

/* The object that holds the last word of "text_config.num_hidden_layers", if that is there; *key is the word. */
static json_t *find_holder(json_t *root, const char *path, const char **key)
{
    const char *dot = strchr(path, '.');
    char first[32];
    *key = dot ? dot + 1 : path;
    if (dot) {
        memcpy(first, path, (size_t)(dot - path));
        first[dot - path] = '\0';
        root = json_object_get(root, first);
    }
    return json_is_integer(json_object_get(root, *key)) ? root : NULL;
}

static json_t *find_layers_key(json_t *root, const char *module, const char **key)
{
    static const struct {
        const char *module, *path; /* module NULL: of the whole, and of the language model */
    } keys[] = {
        {"vision_tower", "vision_config.num_hidden_layers"},
        {"vision_tower", "vision_config.depth"},
        {"vision_model", "vision_config.num_hidden_layers"},
        {"vision_model", "vision_config.depth"},
        {"encoder", "encoder_layers"},
        {"encoder", "num_hidden_layers"},
        {"encoder", "num_layers"},
        {"decoder", "decoder_layers"},
        {"decoder", "num_decoder_layers"},
        {NULL, "text_config.num_hidden_layers"},
        {NULL, "num_hidden_layers"},
        {NULL, "n_layer"},
        {NULL, "n_layers"},
        {NULL, "num_layers"},
    };
    bool is_whole = !module || strcmp(module, "default") == 0 || strcmp(module, "text_decoder") == 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        bool fits = keys[i].module ? !is_whole && strcmp(keys[i].module, module) == 0 : is_whole;
        json_t *holder = fits ? find_holder(root, keys[i].path, key) : NULL;
        if (holder)
            return holder;
    }
    return NULL;
}

/* Such as layer_types: one item a layer. */
static void restack_list(json_t *holder, const char *key, json_int_t before, const uint64_t *layers, size_t n)
{
    json_t *old = json_object_get(holder, key), *list = json_array();
    bool fits = json_is_array(old) && (json_int_t)json_array_size(old) == before;
    for (size_t i = 0; fits && i < n; i++)
        fits = json_array_append(list, json_array_get(old, (size_t)layers[i])) == 0;
    if (fits)
        json_object_set(holder, key, list);
    json_decref(list);
}

bool configuration_set_layers(json_t *root, const char *module, const uint64_t *layers, size_t n)
{
    const char *key;
    json_t *holder = find_layers_key(root, module, &key);
    if (!holder)
        return false;
    json_int_t before = json_integer_value(json_object_get(holder, key));
    json_object_set_new(holder, key, json_integer((json_int_t)n));
    restack_list(holder, "layer_types", before, layers, n);
    return true;
}

char *configuration_text(const json_t *root)
{
    char *text = NULL;
    for (size_t precision = 15; precision <= 17; precision++) { /* 1e-5, not 1.0000000000000001e-5 */
        free(text);
        text = json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(precision));
        json_t *again = text ? json_loads(text, 0, NULL) : NULL;
        bool is_same = json_equal(root, again) == 1;
        json_decref(again);
        if (is_same || !text)
            break;
    }
    return text;
}

static emr_status add_text(emr_model *changed, const char *text, emr_error *error)
{
    const uint64_t n = strlen(text);
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = CONFIGURATION_NAME,
                                  .shape = &n,
                                  .rank = 1,
                                  .dtype = EMR_DTYPE_U8,
                                  .data = text};
    return emr_model_add(changed, &desc, error);
}

emr_status configuration_replace(emr_model **changed, const emr_model *model, char *text, emr_error *error)
{
    const emr_model_options options = {
        .size = sizeof options, .name = emr_model_name(model), .user = text, .destroy = free};
    emr_status status = emr_model_create(changed, &options, error);
    if (status) {
        free(text);
        return status;
    }
    status = emr_model_copy_metadata(*changed, model, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(model); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        if (!text || strcmp(emr_tensor_name(t), CONFIGURATION_NAME) != 0)
            status = emr_model_add_tensor(*changed, t, error);
    }
    if (!status && text)
        status = add_text(*changed, text, error);
    if (status)
        emr_model_destroy(changed);
    return status;
}
