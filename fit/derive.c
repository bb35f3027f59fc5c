/* derive.c - which architecture a model is of: by its tensors' names, and what config.json calls it. */
#include "derive.h"

#include <string.h>

typedef struct architecture {
    const char *mark;         /* a tensor that is there, behind the root */
    const char *const *types; /* of config.json's model_type, where there is one; NULL: any */
    void (*derive)(deriving *d, const char *root);
} architecture;

static void derive_mlp_at(deriving *d, const char *root)
{
    (void)root;
    fit_derive_mlp(d);
}

static const char *const gpt2_types[] = {"gpt2", NULL};
static const char *const bert_types[] = {"bert", "roberta", "xlm-roberta", "camembert", NULL};
static const char *const llama_types[] = {"llama", "mistral", "qwen2", "qwen3", NULL};
static const char *const vit_types[] = {"vit", "deit", NULL};

static const architecture architectures[] = {
    {"fc0.weight", NULL, derive_mlp_at},
    {"h.0.attn.c_attn.weight", gpt2_types, fit_derive_gpt2},
    {"encoder.layer.0.attention.self.query.weight", bert_types, fit_derive_bert},
    {"layers.0.self_attn.q_proj.weight", llama_types, fit_derive_llama},
    {"encoder.layer.0.attention.attention.query.weight", vit_types, fit_derive_vit},
    {"blocks.0.attn.qkv.weight", NULL, fit_derive_timm_vit},
    {"layer1.0.conv1.weight", NULL, fit_derive_resnet},
};

/* What stands before `mark` in a tensor's name: "", or something that ends in a dot, without that. */
static bool find_root(const emr_model *model, const char *mark, char root[NAME_BYTES / 4])
{
    size_t n = strlen(mark);
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const char *name = emr_tensor_name(emr_model_tensor(model, i));
        size_t length = strlen(name);
        if (length < n || strcmp(name + length - n, mark) != 0)
            continue;
        size_t before = length - n;
        if (before && (name[before - 1] != '.' || before > NAME_BYTES / 4))
            continue;
        memset(root, 0, NAME_BYTES / 4);
        memcpy(root, name, before ? before - 1 : 0);
        return true;
    }
    return false;
}

static bool is_type(const architecture *a, const char *type)
{
    for (size_t i = 0; a->types && type && a->types[i]; i++)
        if (strcmp(a->types[i], type) == 0)
            return true;
    return !a->types || !type;
}

static void derive_any(deriving *d)
{
    const char *type = json_string_value(json_object_get(d->config, "model_type"));
    char root[NAME_BYTES / 4];
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (find_root(d->model, architectures[i].mark, root) && is_type(&architectures[i], type)) {
            architectures[i].derive(d, root);
            return;
        }
    }
    fit_stop_deriving(d, EMR_EUNSUPPORTED,
                      "no permutation spec is known for this architecture; write one as JSON. model_type:",
                      type ? type : "none");
}

emr_status emr_permutation_spec_derive(emr_permutation_spec **spec, const emr_model *model,
                                       const char *config_json, const emr_derive_options *options,
                                       emr_error *error)
{
    emr_derive_options o;
    json_error_t why = {.text = ""};
    json_t *config = NULL;
    if (spec)
        *spec = NULL;
    if (!spec || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_spec_derive: NULL");
    emr_status status = FIT_TAKE(&o, options, emr_derive_options, reserved, error);
    if (status)
        return status;
    if (config_json) {
        config = json_loads(config_json, JSON_REJECT_DUPLICATES, &why);
        if (!json_is_object(config)) {
            json_decref(config);
            return emr_error_format(error, EMR_EFORMAT, "%F: config.json is no JSON object: line %i: %s",
                                    emr_model_name(model), (int64_t)why.line, why.text);
        }
    }
    deriving d = {.spec = spec_create(o.allocator, error),
                  .model = model,
                  .config = config,
                  .residual = o.residual != 0,
                  .error = error};
    d.status = d.spec ? EMR_OK : EMR_ENOMEM;
    if (d.spec)
        derive_any(&d);
    json_decref(config);
    if (!d.status)
        d.status = spec_validate(d.spec, error);
    if (!d.status)
        d.status = emr_permutation_spec_check(d.spec, model, error);
    if (d.status)
        spec_release(d.spec);
    else
        *spec = d.spec;
    return d.status;
}
