/* adapter_keys.c - see adapter_keys.h. From the configurations of PEFT 0.21 (src/peft/tuners/.../config.py)
 * and what its layers do with them; emr/adapter.h has the rules. */
#include "checkpoint/adapter_keys.h"

#include <stddef.h>
#include <string.h>

typedef struct known_key {
    const char *key;
    emr_key_bearing bearing;
} known_key;

static const known_key known_keys[] = {
    /* how the model is wrapped, was saved or is run */
    {"auto_mapping", EMR_KEY_IDLE},
    {"inference_mode", EMR_KEY_IDLE},
    {"peft_version", EMR_KEY_IDLE},
    {"progressbar", EMR_KEY_IDLE},
    {"runtime_config", EMR_KEY_IDLE},
    {"runtime_offload_base_weight", EMR_KEY_IDLE},
    {"task_type", EMR_KEY_IDLE},
    /* set by some versions of PEFT, unknown to others, without effect on their own */
    {"megatron_core", EMR_KEY_IDLE},
    {"qalora_group_size", EMR_KEY_IDLE},
    /* training alone; everything about dropout is besides, by its end */
    {"rank_dropout_scale", EMR_KEY_IDLE},
    {"velora_config", EMR_KEY_IDLE},
    {"beta1", EMR_KEY_IDLE},
    {"beta2", EMR_KEY_IDLE},
    {"deltaT", EMR_KEY_IDLE},
    {"orth_reg_weight", EMR_KEY_IDLE},
    {"tfinal", EMR_KEY_IDLE},
    {"tinit", EMR_KEY_IDLE},
    {"total_step", EMR_KEY_IDLE},
    {"opt_loss_decay_factor", EMR_KEY_IDLE},
    {"opt_projection_epsilon", EMR_KEY_IDLE},
    {"opt_projection_format_epsilon", EMR_KEY_IDLE},
    {"opt_weighted_loss_type", EMR_KEY_IDLE},
    {"regularization_alpha", EMR_KEY_IDLE},
    {"auxiliary_loss_weight", EMR_KEY_IDLE},
    /* what tensors began as, none of which changes the base */
    {"d_initial", EMR_KEY_IDLE},
    {"eva_config", EMR_KEY_IDLE},
    {"init_ia3_weights", EMR_KEY_IDLE},
    {"init_logits_std", EMR_KEY_IDLE},
    {"init_theta_d_bound", EMR_KEY_IDLE},
    {"init_v_bound", EMR_KEY_IDLE},
    {"init_vector_bank_bound", EMR_KEY_IDLE},
    {"prompt_tuning_init", EMR_KEY_IDLE},
    {"prompt_tuning_init_state_dict_path", EMR_KEY_IDLE},
    {"prompt_tuning_init_task", EMR_KEY_IDLE},
    {"prompt_tuning_init_text", EMR_KEY_IDLE},
    {"tokenizer_kwargs", EMR_KEY_IDLE},
    {"tokenizer_name_or_path", EMR_KEY_IDLE},
    {"init_lora_weights", EMR_KEY_INIT},
    {"init_weights", EMR_KEY_INIT},
    /* scales */
    {"alpha", EMR_KEY_SCALE},
    {"alpha_pattern", EMR_KEY_SCALE},
    {"lora_alpha", EMR_KEY_SCALE},
    {"use_rslora", EMR_KEY_SCALE},
    /* layers */
    {"exclude_modules", EMR_KEY_LAYERS},
    {"feedforward_modules", EMR_KEY_LAYERS},
    {"layers_pattern", EMR_KEY_LAYERS},
    {"layers_to_transform", EMR_KEY_LAYERS},
    {"modules_to_save", EMR_KEY_LAYERS},
    {"target_modules", EMR_KEY_LAYERS},
    /* ranks */
    {"init_r", EMR_KEY_RANK},
    {"r", EMR_KEY_RANK},
    {"rank_pattern", EMR_KEY_RANK},
    {"target_r", EMR_KEY_RANK},
    {"base_model_name_or_path", EMR_KEY_MODEL},
    {"revision", EMR_KEY_MODEL},
};

static bool is_listed(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, list[i]) == 0)
            return true;
    return false;
}

#define IS_LISTED(word, list) is_listed((word), (list), sizeof(list) / sizeof((list)[0]))

/* "lora_dropout", "xlora_dropout_p" */
static bool is_dropout(const char *key)
{
    const char *end = strstr(key, "_dropout");
    return end && (strcmp(end, "_dropout") == 0 || strcmp(end, "_dropout_p") == 0);
}

emr_key_bearing emr_adapter_key_bearing(const char *key)
{
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++)
        if (strcmp(key, known_keys[i].key) == 0)
            return known_keys[i].bearing;
    return is_dropout(key) ? EMR_KEY_IDLE : EMR_KEY_DECIDES;
}

bool emr_adapter_key_is_set(const char *key)
{
    static const char *const list[] = {"exclude_modules",     "feedforward_modules", "layers_pattern",
                                       "layers_to_transform", "modules_to_save",     "target_modules",
                                       "target_parameters"};
    return IS_LISTED(key, list);
}

/* Not those whose layers share tensors (VeRA, VB-LoRA, ...), nor prompts. */
bool emr_adapter_layers_are_free(const char *peft_type)
{
    static const char *const list[] = {"IA3", "OFT", "BOFT", "HRA"};
    return emr_adapter_ranks_are_free(peft_type) || IS_LISTED(peft_type, list);
}

/* Not those whose r is a number of blocks, or the size of random matrices that are made anew from a seed. */
bool emr_adapter_ranks_are_free(const char *peft_type)
{
    static const char *const list[] = {"LORA", "ADALORA", "LOHA", "LOKR"};
    return IS_LISTED(peft_type, list);
}

/* PEFT looks at some of these without regard to case, so all are taken so. */
bool emr_adapter_init_is_idle(const char *value)
{
    static const char *const list[] = {"gaussian", "orthogonal", "eva", "mica", "lycoris"};
    char lower[16];
    size_t n = strlen(value);
    if (n >= sizeof lower)
        return false;
    for (size_t i = 0; i <= n; i++)
        lower[i] = value[i] >= 'A' && value[i] <= 'Z' ? (char)(value[i] - 'A' + 'a') : value[i];
    return IS_LISTED(lower, list);
}
