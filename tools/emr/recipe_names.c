/* recipe_names.c - see recipe_names.h. */
#include "recipe_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool find_layer(const char *name, layer_place *place)
{
    enum { DIGITS_MAX = 6 };
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t n = strspn(dot + 1, "0123456789");
        if (!n || n > DIGITS_MAX || dot[1 + n] != '.' || dot == name)
            continue;
        place->stack_length = (size_t)(dot - name);
        place->digits = place->stack_length + 1;
        place->end = place->digits + n;
        place->layer = strtoull(dot + 1, NULL, 10);
        return true;
    }
    return false;
}

char *renumber_layer(const char *name, const layer_place *place, uint64_t layer)
{
    size_t size = strlen(name) + 24;
    char *renamed = malloc(size);
    if (renamed)
        snprintf(renamed, size, "%.*s%" PRIu64 "%s", (int)place->digits, name, layer, name + place->end);
    return renamed;
}

/* Whether one of the words between the dots of a name is `word`. */
static bool has_component(const char *name, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = name; at; at = strchr(at, '.')) {
        at += *at == '.';
        if (strncmp(at, word, n) == 0 && (!at[n] || at[n] == '.'))
            return true;
    }
    return false;
}

static bool has_any(const char *name, const char *const *words)
{
    for (; *words; words++)
        if (has_component(name, *words))
            return true;
    return false;
}

bool is_before_layers(const char *name)
{
    static const char *const words[] = {"wte",    "wpe", "embd", "relative_pe", "rotary_pos_emb",
                                        "shared", NULL};
    return has_any(name, words) || (strstr(name, "embed") && !strstr(name, "embed_out"));
}

static bool is_projector(const char *tensor)
{
    static const char *const words[] = {"merger", "deepstack_merger_list", NULL};
    return has_component(tensor, "multi_modal_projector") ||
           (has_component(tensor, "visual") && has_any(tensor, words));
}

static bool is_vision(const char *tensor)
{
    static const char *const words[] = {"visual", "vision_tower", "vision_model", NULL};
    return has_any(tensor, words) && !is_projector(tensor);
}

bool is_module_name(const char *module)
{
    static const char *const names[] = {"default",
                                        "text_decoder",
                                        "vision_tower",
                                        "vision_model",
                                        "multi_modal_projector",
                                        "encoder",
                                        "decoder",
                                        "shared",
                                        NULL};
    for (const char *const *n = names; *n; n++)
        if (strcmp(*n, module) == 0)
            return true;
    return false;
}

bool module_has(const char *module, const char *tensor)
{
    bool is_encoder = has_component(tensor, "encoder"), is_decoder = has_component(tensor, "decoder");
    if (strcmp(module, "vision_tower") == 0 || strcmp(module, "vision_model") == 0)
        return is_vision(tensor);
    if (strcmp(module, "multi_modal_projector") == 0)
        return is_projector(tensor);
    if (strcmp(module, "text_decoder") == 0)
        return !is_vision(tensor) && !is_projector(tensor);
    if (strcmp(module, "encoder") == 0)
        return is_encoder;
    if (strcmp(module, "decoder") == 0)
        return is_decoder && !is_encoder;
    return strcmp(module, "shared") == 0 ? !is_encoder && !is_decoder : true;
}

const char *tied_name(const char *head, size_t i)
{
    static const char *const pairs[][2] = {
        {"lm_head.weight", "model.embed_tokens.weight"},
        {"lm_head.weight", "model.language_model.embed_tokens.weight"},
        {"lm_head.weight", "transformer.wte.weight"},
        {"lm_head.weight", "wte.weight"},
        {"lm_head.weight", "backbone.embeddings.weight"},
        {"lm_head.weight", "shared.weight"},
        {"lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"},
        {"output.weight", "model.tok_embeddings.weight"},
        {"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"},
        {"vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"},
    };
    for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++)
        if (strcmp(pairs[k][0], head) == 0 && i-- == 0)
            return pairs[k][1];
    return NULL;
}
