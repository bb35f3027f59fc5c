/* places.c - see places.h. A name is parts with dots between them: "model.layers.3.self_attn.q_proj.weight". What a
 * tensor is to its model is said by the last part that is not about the module's own parameters ("weight"), together
 * with those before it. */
#include "statistics/places.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct name_part {
    const char *text;
    size_t length;
} name_part;

static name_part first_part(const char *name)
{
    return (name_part){name, strcspn(name, ".")};
}

/* Without a text after the last. */
static name_part next_part(name_part p)
{
    const char *end = p.text + p.length;
    return *end ? first_part(end + 1) : (name_part){NULL, 0};
}

static bool part_is(name_part p, const char *word)
{
    return p.length == strlen(word) && memcmp(p.text, word, p.length) == 0;
}

/* ASCII alone; `word` is in small letters. */
static bool begins_like(const char *text, const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
        if (c != word[i])
            return false;
    }
    return true;
}

static bool part_has(name_part p, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= p.length; i++)
        if (begins_like(p.text + i, word, n))
            return true;
    return false;
}

static bool is_one_of(name_part p, const char *const *words)
{
    for (; *words; words++)
        if (p.length == strlen(*words) && begins_like(p.text, *words, p.length))
            return true;
    return false;
}

/* ---- layers ---- */

static int64_t number_of(name_part p)
{
    int64_t number = 0;
    if (!p.length || p.length > 18)
        return -1;
    for (size_t i = 0; i < p.length; i++) {
        if (p.text[i] < '0' || p.text[i] > '9')
            return -1;
        number = number * 10 + (p.text[i] - '0');
    }
    return number;
}

static bool precedes_number(name_part p)
{
    static const char *const words[] = {"layer", "layers", "h", "block", "blocks", "resblocks", "blk"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (part_is(p, words[i]))
            return true;
    return false;
}

int64_t emr_place_layer(const char *name)
{
    for (name_part p = first_part(name); p.text; p = next_part(p)) {
        name_part number = next_part(p);
        if (precedes_number(p) && number.text && number_of(number) >= 0 && next_part(number).text)
            return number_of(number);
    }
    return -1;
}

/* ---- kinds ---- */

enum { Q, K, V, QKV, O, UP, GATE, DOWN, NORM, EMBED, HEAD, OTHER };

/* The last part that says what module it is, and whether one of those before it tells of attention, of experts, or of
 * a head. */
typedef struct name_place {
    name_part module, before;
    bool in_attention, in_experts, in_head;
} name_place;

static bool is_about_parameters(name_part p)
{
    static const char *const words[] = {"weight",
                                        "bias",
                                        "gamma",
                                        "beta",
                                        "g",
                                        "b",
                                        "kernel",
                                        "scale",
                                        "lora_a",
                                        "lora_b",
                                        "default",
                                        "base_layer",
                                        "weight_g",
                                        "weight_v",
                                        "lora_magnitude_vector",
                                        "lora_embedding_a",
                                        "lora_embedding_b",
                                        NULL};
    return is_one_of(p, words);
}

static name_place place_of(const char *name)
{
    static const char *const heads[] = {"lm_head", "head",       "heads",     "classifier",   "score",
                                        "cls",     "qa_outputs", "embed_out", "fc_norm_head", NULL};
    name_place at = {first_part(name), {name, 0}, false, false, false};
    name_part last = {name, 0};
    for (name_part p = first_part(name); p.text && !is_about_parameters(p); p = next_part(p)) {
        at.in_attention = at.in_attention || part_has(last, "attn") || part_has(last, "attention");
        at.in_experts = at.in_experts || part_has(last, "experts");
        at.in_head = at.in_head || is_one_of(p, heads);
        at.before = last;
        at.module = last = p;
    }
    return at;
}

/* A word that says it whatever comes before. */
typedef struct kind_word {
    const char *word;
    uint32_t kind;
} kind_word;

static const kind_word kind_words[] = {
    {"q_proj", Q},
    {"query", Q},
    {"wq", Q},
    {"q", Q},
    {"attn_q", Q},
    {"q_lin", Q},
    {"to_q", Q},
    {"query_proj", Q},
    {"k_proj", K},
    {"key", K},
    {"wk", K},
    {"k", K},
    {"attn_k", K},
    {"k_lin", K},
    {"to_k", K},
    {"key_proj", K},
    {"v_proj", V},
    {"value", V},
    {"wv", V},
    {"v", V},
    {"attn_v", V},
    {"v_lin", V},
    {"to_v", V},
    {"value_proj", V},
    {"qkv", QKV},
    {"qkv_proj", QKV},
    {"c_attn", QKV},
    {"query_key_value", QKV},
    {"attn_qkv", QKV},
    {"wqkv", QKV},
    {"in_proj", QKV},
    {"in_proj_weight", QKV},
    {"in_proj_bias", QKV},
    {"w_pack", QKV},
    {"o_proj", O},
    {"out_proj", O},
    {"attn_output", O},
    {"out_lin", O},
    {"to_out", O},
    {"o", O},
    {"up_proj", UP},
    {"fc1", UP},
    {"c_fc", UP},
    {"fc_in", UP},
    {"dense_h_to_4h", UP},
    {"intermediate", UP},
    {"wi", UP},
    {"wi_1", UP},
    {"w3", UP},
    {"ffn_up", UP},
    {"ffn_up_exps", UP},
    {"gate_up_proj", UP},
    {"lin1", UP},
    {"linear1", UP},
    {"gate_proj", GATE},
    {"wi_0", GATE},
    {"w1", GATE},
    {"ffn_gate", GATE},
    {"ffn_gate_exps", GATE},
    {"down_proj", DOWN},
    {"fc2", DOWN},
    {"fc_out", DOWN},
    {"dense_4h_to_h", DOWN},
    {"w2", DOWN},
    {"ffn_down", DOWN},
    {"ffn_down_exps", DOWN},
    {"lin2", DOWN},
    {"linear2", DOWN},
};

/* Words that mean what is around them. */
static uint32_t kind_by_surroundings(const name_place *at)
{
    static const char *const outputs[] = {"proj", "c_proj", "dense", "output", "wo", NULL};
    static const char *const embeddings[] = {
        "wte", "wpe", "shared", "cls_token", "class_token", "relative_attention_bias", NULL};
    if (is_one_of(at->module, embeddings) || part_has(at->module, "embed") || part_has(at->module, "embd"))
        return EMBED;
    if (part_has(at->before, "embed"))
        return EMBED;
    if (part_is(at->module, "dense") && part_is(at->before, "intermediate"))
        return UP;
    if (is_one_of(at->module, outputs) && at->in_attention)
        return O;
    if (is_one_of(at->module, outputs) && at->before.length)
        return part_is(at->module, "dense") && !part_is(at->before, "output") ? OTHER : DOWN;
    return part_is(at->module, "output") ? HEAD : OTHER;
}

static bool is_norm(const name_place *at)
{
    return part_has(at->module, "norm") || (at->module.length >= 2 && begins_like(at->module.text, "ln", 2));
}

uint32_t emr_place_kind(const char *name)
{
    name_place at = place_of(name);
    if (is_norm(&at))
        return NORM;
    if (at.in_head)
        return HEAD;
    for (size_t i = 0; i < sizeof kind_words / sizeof *kind_words; i++)
        if (is_one_of(at.module, (const char *const[]){kind_words[i].word, NULL}))
            return kind_words[i].kind;
    return kind_by_surroundings(&at);
}

const char *emr_place_kind_name(uint32_t kind)
{
    static const char *const names[EMR_N_PLACE_KINDS] = {"q",    "k",    "v",    "qkv",   "o",    "up",
                                                         "gate", "down", "norm", "embed", "head", "other"};
    return names[kind];
}
