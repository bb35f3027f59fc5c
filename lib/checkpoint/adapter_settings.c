/* adapter_settings.c - see adapter_settings.h. Each key that bears on the weights has a line in a table; the
 * rest is passed over. Where a key is absent or null, PEFT's default holds. */
#include "checkpoint/adapter_settings.h"

#include "checkpoint/adapter.h"
#include "checkpoint/adapter_keys.h"
#include "checkpoint/json.h"
#include "core/bytes.h"
#include "numeric/root.h"

#include <string.h>

enum { DEFAULT_RANK = 8, DEFAULT_ALPHA = 8 };

/* A configuration while it is read. */
typedef struct reading {
    emr_adapter_settings *settings;
    emr_json json;
    const char *key;
    emr_json_token token; /* the first of its value */
    emr_error *error;
} reading;

static emr_status fail_value(const reading *r, const char *wanted)
{
    return emr_fail(r->error, EMR_EFORMAT, "%F: its adapter_config.json has a '%s' that is no %s",
                    r->settings->owner, r->key, wanted);
}

static emr_status fail_settings_json(const reading *r)
{
    return emr_json_fail(&r->json, r->settings->owner, "its adapter_config.json is", r->error);
}

/* Ten to a power, exactly: 22 is the largest for which a double can. */
static double power_of_ten(unsigned exponent)
{
    double power = 1;
    while (exponent--)
        power *= 10;
    return power;
}

/* A decimal number with at most 19 digits and a point or exponent that moves them by at most 22 places:
 * within two units in the last place of a double, and the same on every machine. */
static bool parse_decimal(const char *text, size_t n, double *value)
{
    uint64_t digits = 0;
    int64_t exponent = 0, given = 0;
    bool negative = n && text[0] == '-', in_fraction = false, minus = false;
    size_t at = negative;
    for (; at < n && text[at] != 'e' && text[at] != 'E'; at++) {
        if (text[at] == '.') {
            in_fraction = true;
            continue;
        }
        if (digits > (UINT64_MAX - 9) / 10)
            return false;
        digits = 10 * digits + (uint64_t)(text[at] - '0');
        exponent -= in_fraction;
    }
    for (at += at < n; at < n; at++) {
        minus = minus || text[at] == '-';
        if (text[at] >= '0' && text[at] <= '9' && given < 1000)
            given = 10 * given + (text[at] - '0');
    }
    exponent += minus ? -given : given;
    if (digits && (exponent < -22 || exponent > 22))
        return false;
    *value = (double)digits;
    if (digits)
        *value = exponent < 0 ? *value / power_of_ten((unsigned)-exponent)
                              : *value * power_of_ten((unsigned)exponent);
    if (negative)
        *value = -*value;
    return true;
}

static emr_status read_setting_number(const reading *r, emr_json_token token, double *value)
{
    const emr_json *j = &r->json;
    bool is_number = token == EMR_JSON_NATURAL || token == EMR_JSON_LARGE || token == EMR_JSON_NUMBER;
    if (!is_number || !parse_decimal(j->text + j->begin, j->at - j->begin, value))
        return fail_value(r, "number of at most 19 digits");
    return EMR_OK;
}

static emr_status take_rules(reading *r, emr_adapter_rules *rules)
{
    emr_json_token token;
    emr_status status = EMR_OK;
    if (r->token != EMR_JSON_OBJECT)
        return fail_value(r, "object");
    while (!status && (token = emr_json_next(&r->json)) == EMR_JSON_KEY) {
        emr_adapter_rule rule = {.pattern = r->json.string};
        token = emr_json_next(&r->json);
        if (token == EMR_JSON_FAILED)
            return fail_settings_json(r);
        status = read_setting_number(r, token, &rule.value);
        if (!status && !emr_grow(&r->settings->allocator, (void **)&rules->rules, &rules->capacity,
                                 rules->n + 1, sizeof rule))
            status = emr_no_memory(r->error, r->settings->owner);
        if (!status)
            rules->rules[rules->n++] = rule;
    }
    return status || token == EMR_JSON_OBJECT_END ? status : fail_settings_json(r);
}

static emr_status take_ranks(reading *r)
{
    return take_rules(r, &r->settings->ranks);
}

static emr_status take_alphas(reading *r)
{
    return take_rules(r, &r->settings->alphas);
}

static emr_status take_rank(reading *r)
{
    return read_setting_number(r, r->token, &r->settings->ranks.otherwise);
}

static emr_status take_alpha(reading *r)
{
    return read_setting_number(r, r->token, &r->settings->alphas.otherwise);
}

static emr_status take_bool(reading *r, bool *value)
{
    if (r->token != EMR_JSON_LITERAL)
        return fail_value(r, "true or false");
    *value = r->json.text[r->json.begin] == 't';
    return EMR_OK;
}

static emr_status take_rslora(reading *r)
{
    return take_bool(r, &r->settings->use_rslora);
}

static emr_status take_dora(reading *r)
{
    return take_bool(r, &r->settings->use_dora);
}

static emr_status take_fan_in(reading *r)
{
    return take_bool(r, &r->settings->fan_in_fan_out);
}

static emr_status take_type(reading *r)
{
    if (r->token != EMR_JSON_STRING)
        return fail_value(r, "string");
    r->settings->is_ia3 = strcmp(r->json.string, "IA3") == 0;
    if (r->settings->is_ia3 || strcmp(r->json.string, "LORA") == 0)
        return EMR_OK;
    return emr_fail(
        r->error, EMR_EUNSUPPORTED,
        "%F: adapters of peft_type %s are not applied here, only LORA and IA3: fold it into its model first "
        "(merge_and_unload in PEFT), and merge the whole models",
        r->settings->owner, r->json.string);
}

static emr_status refuse_changed_base(reading *r)
{
    if (r->token == EMR_JSON_LITERAL ||
        (r->token == EMR_JSON_STRING && emr_adapter_init_is_idle(r->json.string)))
        return EMR_OK;
    return emr_fail(
        r->error, EMR_EUNSUPPORTED,
        "%F: init_lora_weights (%s) has changed the model that it belongs to: make it plain LoRA first "
        "(save_pretrained with path_initial_model_for_weight_conversion in PEFT), or fold it into its model",
        r->settings->owner, r->token == EMR_JSON_STRING ? r->json.string : "no string");
}

/* Variants of LoRA that compute something else, or elsewhere. */
static emr_status refuse_variant(reading *r)
{
    emr_json_token first = r->token, second = EMR_JSON_OBJECT_END;
    if (first == EMR_JSON_LITERAL && r->json.text[r->json.begin] != 't')
        return EMR_OK;
    if (first == EMR_JSON_OBJECT || first == EMR_JSON_ARRAY) {
        second = emr_json_next(&r->json);
        if (second == EMR_JSON_FAILED)
            return fail_settings_json(r);
        if (second == (first == EMR_JSON_OBJECT ? EMR_JSON_OBJECT_END : EMR_JSON_ARRAY_END))
            return EMR_OK;
    }
    return emr_fail(
        r->error, EMR_EUNSUPPORTED,
        "%F: an adapter with %s is not applied here: fold it into its model first (merge_and_unload in PEFT)",
        r->settings->owner, r->key);
}

static const struct {
    const char *key;
    emr_status (*take)(reading *r);
} settings_keys[] = {
    {"peft_type", take_type},
    {"r", take_rank},
    {"lora_alpha", take_alpha},
    {"rank_pattern", take_ranks},
    {"alpha_pattern", take_alphas},
    {"use_rslora", take_rslora},
    {"use_dora", take_dora},
    {"fan_in_fan_out", take_fan_in},
    {"init_lora_weights", refuse_changed_base},
    {"alora_invocation_tokens", refuse_variant},
    {"arrow_config", refuse_variant},
    {"kasa_config", refuse_variant},
    {"layer_replication", refuse_variant},
    {"monteclora_config", refuse_variant},
    {"target_parameters", refuse_variant},
    {"trainable_token_indices", refuse_variant},
    {"use_bdlora", refuse_variant},
    {"use_qalora", refuse_variant},
};

/* The value of the key that is the last token. */
static emr_status read_setting(reading *r)
{
    r->key = r->json.string;
    r->token = emr_json_next(&r->json);
    bool is_null = r->token == EMR_JSON_LITERAL && r->json.text[r->json.begin] == 'n';
    for (size_t i = 0; i < sizeof settings_keys / sizeof settings_keys[0]; i++)
        if (!is_null && r->token != EMR_JSON_FAILED && strcmp(r->key, settings_keys[i].key) == 0)
            return settings_keys[i].take(r);
    return emr_json_skip(&r->json, r->token) ? EMR_OK : fail_settings_json(r);
}

static emr_status read_settings(reading *r)
{
    emr_status status = EMR_OK;
    emr_json_token token = emr_json_next(&r->json);
    if (token == EMR_JSON_FAILED)
        return fail_settings_json(r);
    if (token != EMR_JSON_OBJECT)
        return emr_fail(r->error, EMR_EFORMAT, "%F: its adapter_config.json is no JSON object",
                        r->settings->owner);
    while (!status && (token = emr_json_next(&r->json)) == EMR_JSON_KEY)
        status = read_setting(r);
    if (!status && (token != EMR_JSON_OBJECT_END || emr_json_next(&r->json) != EMR_JSON_END))
        status = fail_settings_json(r);
    return status;
}

emr_status emr_adapter_settings_read(emr_adapter_settings *s, const emr_model *adapter,
                                     const emr_allocator *allocator, emr_error *error)
{
    const char *config = emr_model_find_metadata(adapter, EMR_ADAPTER_CONFIG);
    *s = (emr_adapter_settings){.allocator = *allocator, .owner = adapter->name};
    if (!config)
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "%F: no adapter_config.json lies beside it, which says how large its part is: only "
                        "adapters as PEFT "
                        "saves them are applied",
                        adapter->name);
    if (strlen(config) > EMR_ADAPTER_CONFIG_MAX)
        return emr_fail(error, EMR_EFORMAT, "%F: its adapter_config.json has more than %u bytes",
                        adapter->name, (uint64_t)EMR_ADAPTER_CONFIG_MAX);
    s->ranks.otherwise = DEFAULT_RANK;
    s->alphas.otherwise = DEFAULT_ALPHA;
    s->text = emr_copy_string(allocator, config);
    if (!s->text)
        return emr_no_memory(error, adapter->name);
    reading r = {.settings = s, .error = error};
    emr_json_begin(&r.json, &s->allocator, s->text, strlen(config));
    emr_status status = read_settings(&r);
    emr_json_free(&r.json);
    return status;
}

void emr_adapter_settings_free(emr_adapter_settings *s)
{
    emr_release(&s->allocator, s->ranks.rules);
    emr_release(&s->allocator, s->alphas.rules);
    emr_release(&s->allocator, s->text);
}

static emr_status apply_rules(const emr_adapter_settings *s, const emr_adapter_rules *rules,
                              const char *module, double *value, emr_error *error)
{
    *value = rules->otherwise;
    for (size_t i = 0; i < rules->n; i++) {
        bool matches;
        if (emr_adapter_pattern_match(rules->rules[i].pattern, module, &matches))
            return emr_fail(error, EMR_EUNSUPPORTED,
                            "%F: the pattern '%s' in its adapter_config.json has groups, alternatives or "
                            "other things that "
                            "are not followed here: write one pattern for each",
                            s->owner, rules->rules[i].pattern);
        if (!matches)
            continue;
        *value = rules->rules[i].value;
        break;
    }
    return EMR_OK;
}

emr_status emr_adapter_settings_scale(const emr_adapter_settings *s, const char *module, uint64_t rank,
                                      float *scale, emr_error *error)
{
    double r, alpha;
    emr_status status = apply_rules(s, &s->ranks, module, &r, error);
    if (!status)
        status = apply_rules(s, &s->alphas, module, &alpha, error);
    if (status)
        return status;
    if (r != (double)rank)
        return emr_fail(
            error, EMR_EMISMATCH,
            "%F: '%s' has rank %u, and its adapter_config.json says another: are they of one adapter?",
            s->owner, module, rank);
    *scale = (float)(s->use_rslora ? alpha / emr_square_root(r) : alpha / r);
    return EMR_OK;
}
