/* adapter_settings.h - what an adapter's configuration says about how it is applied. */
#ifndef EMR_CHECKPOINT_ADAPTER_SETTINGS_H
#define EMR_CHECKPOINT_ADAPTER_SETTINGS_H

#include "model/model.h"

/* A number for the modules whose names match: an entry of rank_pattern or alpha_pattern. */
typedef struct emr_adapter_rule {
    const char *pattern;
    double value;
} emr_adapter_rule;

typedef struct emr_adapter_rules {
    emr_adapter_rule *rules; /* the first that matches counts */
    size_t n, capacity;
    double otherwise;
} emr_adapter_rules;

typedef struct emr_adapter_settings {
    emr_allocator allocator;
    const char *owner; /* the model's name, for messages */
    char *text;        /* in which the patterns are */
    emr_adapter_rules ranks, alphas;
    bool is_ia3; /* else LoRA */
    bool use_rslora, use_dora, fan_in_fan_out;
} emr_adapter_settings;

/* Of a model that carries a configuration. EMR_EFORMAT where it is none; EMR_EUNSUPPORTED where it says
 * something that is not followed here. Free the settings in either case. */
emr_status emr_adapter_settings_read(emr_adapter_settings *settings, const emr_model *adapter,
                                     const emr_allocator *allocator, emr_error *error);
void emr_adapter_settings_free(emr_adapter_settings *settings);

/* s of a LoRA module whose A has so many rows. EMR_EMISMATCH where the configuration says another rank. */
emr_status emr_adapter_settings_scale(const emr_adapter_settings *settings, const char *module, uint64_t rank,
                                      float *scale, emr_error *error);

/* adapter_pattern.c: whether a module's name matches a pattern as PEFT does it: Python's regular expression
 * "(.*\.)?(PATTERN)$" from the name's beginning. Characters, ".", "[a-z]", "\.", "\d", "\w", with "*", "+" or
 * "?" behind them, "^" first and "$" last; what else the language has is EMR_EUNSUPPORTED. Any name and
 * pattern: at most the product of their lengths in time. */
emr_status emr_adapter_pattern_match(const char *pattern, const char *module, bool *matches);

#endif
