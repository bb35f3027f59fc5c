/* derive_transformers.c - GPT-2, BERT and Llama. */
#include "derive.h"

#include <stdio.h>
#include <string.h>

/* GPT-2: Conv1D weights are [in, out]; q, k and v are thirds of c_attn. */
void fit_derive_gpt2(deriving *d, const char *root)
{
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = fit_length_of(d, root, "wte.weight", 1),
             n_heads = fit_need_number(d, "n_head", "num_attention_heads");
    fit_makes(d, &s.group, PART_UNITS, root, "wte.weight", 1);
    fit_makes(d, &s.group, PART_UNITS, root, "wpe.weight", 1);
    for (unsigned i = 0; !d->status; i++) {
        char h[NAME_BYTES / 2];
        snprintf(h, sizeof h, "%s%sh.%u", root, root[0] ? "." : "", i);
        if (!fit_find_tensor(d, fit_join_name(&n, h, "mlp.c_fc.weight")))
            break;
        spec_group *g = fit_heads(d, h, "attn", n_heads, n_heads, width / n_heads);
        fit_third(d, g, PART_Q, h, "attn.c_attn", 1, 0);
        fit_third(d, g, PART_K, h, "attn.c_attn", 1, width);
        fit_third(d, g, PART_V, h, "attn.c_attn", 1, 2 * width);
        for (size_t k = 0; k < g->n_axes; k++) /* biases have one axis */
            g->axes[k].axis = strstr(g->axes[k].tensor, ".bias") ? 0 : 1;
        fit_reads(d, g, PART_O, h, "attn.c_proj.weight", 0);
        fit_add_site(d, g, h, "attn.c_proj");
        spec_set_text(d->spec, &g->qk_site, fit_join_name(&n, h, "attn.c_attn"));
        g = fit_units(d, h, "mlp", fit_length_of(d, h, "mlp.c_fc.weight", 1));
        fit_makes(d, g, PART_UNITS, h, "mlp.c_fc.weight", 1);
        fit_makes(d, g, PART_UNITS, h, "mlp.c_fc.bias", 0);
        fit_reads(d, g, PART_UNITS, h, "mlp.c_proj.weight", 0);
        fit_add_site(d, g, h, "mlp.c_proj");
        fit_both(d, &s.group, PART_UNITS, h, "ln_1", 0);
        fit_both(d, &s.group, PART_UNITS, h, "ln_2", 0);
        fit_reads(d, &s.group, PART_UNITS, h, "attn.c_attn.weight", 0);
        fit_reads(d, &s.group, PART_UNITS, h, "mlp.c_fc.weight", 0);
        fit_makes(d, &s.group, PART_UNITS, h, "attn.c_proj.weight", 1);
        fit_makes(d, &s.group, PART_UNITS, h, "attn.c_proj.bias", 0);
        fit_makes(d, &s.group, PART_UNITS, h, "mlp.c_proj.weight", 1);
        fit_makes(d, &s.group, PART_UNITS, h, "mlp.c_proj.bias", 0);
        fit_add_layer(d, h, "attn.c_attn", "attn.c_attn", 0);
        fit_add_layer(d, h, "attn.c_proj", "attn.c_proj", 0);
        fit_add_layer(d, h, "mlp.c_fc", "mlp.c_fc", 0);
        fit_add_layer(d, h, "mlp.c_proj", "mlp.c_proj", 0);
    }
    fit_both(d, &s.group, PART_UNITS, root, "ln_f", 0);
    fit_end_in_heads(d, &s);
    fit_end_stream(d, &s, width, "", "lm_head");
}

/* A head that predicts words: a transformation of the stream, whose outputs are in the stream's order, for the last weight
 * is the embeddings'. */
static void word_head(deriving *d, stream *s, const char *transform, const char *norm, const char *decoder)
{
    names n = {.turn = 0};
    if (!fit_find_tensor(d, fit_join_name(&n, transform, "weight")))
        return;
    fit_reads(d, &s->group, PART_UNITS, transform, "weight", 1);
    fit_both(d, &s->group, PART_UNITS, transform, "", 0);
    fit_both(d, &s->group, PART_UNITS, norm, "", 0);
    if (fit_find_tensor(d, decoder))
        fit_reads(d, &s->group, PART_UNITS, "", decoder, 1);
}

/* The pooler's outputs are a group where all that reads them is known. */
static void bert_pooler(deriving *d, stream *s, const char *root)
{
    static const char *const readers[] = {"classifier", "cls.seq_relationship"};
    names n = {.turn = 0};
    fit_add_layer(d, root, "pooler.dense", "pooler.dense", 1);
    fit_reads(d, &s->group, PART_UNITS, root, "pooler.dense.weight", 1);
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        if (!fit_find_tensor(d, fit_join_name(&n, readers[i], "weight")))
            continue;
        spec_group *g = fit_units(d, root, "pooler", fit_length_of(d, root, "pooler.dense.weight", 0));
        fit_both(d, g, PART_UNITS, root, "pooler.dense", 0);
        fit_reads(d, g, PART_UNITS, readers[i], "weight", 1);
        fit_add_site(d, g, readers[i], "");
        fit_add_layer(d, readers[i], "", "", 1);
    }
}

/* RoBERTa's classifier, which has a layer of its own. */
static void roberta_classifier(deriving *d, stream *s)
{
    fit_reads(d, &s->group, PART_UNITS, "classifier", "dense.weight", 1);
    fit_add_layer(d, "classifier", "dense", "dense", 1);
    if (!fit_find_tensor(d, "classifier.out_proj.weight"))
        return;
    spec_group *g = fit_units(d, "classifier", "", fit_length_of(d, "classifier", "dense.weight", 0));
    fit_both(d, g, PART_UNITS, "classifier", "dense", 0);
    fit_reads(d, g, PART_UNITS, "classifier", "out_proj.weight", 1);
    fit_add_site(d, g, "classifier", "out_proj");
    fit_add_layer(d, "classifier", "out_proj", "out_proj", 1);
}

/* BERT and its like; `root` is what stands before "encoder". */
void fit_derive_bert(deriving *d, const char *root)
{
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = fit_length_of(d, root, "embeddings.word_embeddings.weight", 1);
    uint64_t n_heads = fit_need_number(d, "num_attention_heads", NULL);
    fit_makes(d, &s.group, PART_UNITS, root, "embeddings.word_embeddings.weight", 1);
    fit_makes(d, &s.group, PART_UNITS, root, "embeddings.position_embeddings.weight", 1);
    fit_makes(d, &s.group, PART_UNITS, root, "embeddings.token_type_embeddings.weight", 1);
    fit_both(d, &s.group, PART_UNITS, root, "embeddings.LayerNorm", 0);
    for (unsigned i = 0; !d->status; i++) {
        char p[NAME_BYTES / 2];
        snprintf(p, sizeof p, "%s%sencoder.layer.%u", root, root[0] ? "." : "", i);
        if (!fit_find_tensor(d, fit_join_name(&n, p, "intermediate.dense.weight")))
            break;
        fit_encoder_layer(d, &s, p, "attention.self", n_heads, width);
        fit_both(d, &s.group, PART_UNITS, p, "attention.output.LayerNorm", 0);
        fit_both(d, &s.group, PART_UNITS, p, "output.LayerNorm", 0);
    }
    if (fit_find_tensor(d, fit_join_name(&n, root, "pooler.dense.weight")))
        bert_pooler(d, &s, root);
    else if (fit_find_tensor(d, "classifier.weight")) {
        fit_reads(d, &s.group, PART_UNITS, "classifier", "weight", 1);
        fit_add_layer(d, "classifier", "", "", 1);
    }
    if (fit_find_tensor(d, "classifier.dense.weight"))
        roberta_classifier(d, &s);
    word_head(d, &s, "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
              "cls.predictions.decoder.weight");
    word_head(d, &s, "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder.weight");
    fit_end_in_heads(d, &s);
    fit_end_stream(d, &s, width, root, "pooler.dense");
}

/* Llama, Mistral, Qwen2, Qwen3: rotary positions give every dimension of q and k a frequency of its own. */
void fit_derive_llama(deriving *d, const char *root)
{
    static const char *const inputs[] = {"q_proj", "k_proj", "v_proj"};
    static const spec_part parts[] = {PART_Q, PART_K, PART_V};
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = fit_length_of(d, root, "embed_tokens.weight", 1),
             n_heads = fit_need_number(d, "num_attention_heads", NULL);
    uint64_t n_kv = fit_config_number(d, "num_key_value_heads"), head_dim = fit_config_number(d, "head_dim");
    n_kv = n_kv ? n_kv : n_heads;
    head_dim = head_dim ? head_dim : width / n_heads;
    fit_makes(d, &s.group, PART_UNITS, root, "embed_tokens.weight", 1);
    for (unsigned i = 0; !d->status; i++) {
        char p[NAME_BYTES / 2], a[NAME_BYTES / 2 + 32], m[NAME_BYTES / 2 + 32];
        snprintf(p, sizeof p, "%s%slayers.%u", root, root[0] ? "." : "", i);
        snprintf(a, sizeof a, "%s.self_attn", p);
        snprintf(m, sizeof m, "%s.mlp", p);
        if (!fit_find_tensor(d, fit_join_name(&n, p, "mlp.up_proj.weight")))
            break;
        spec_group *g = fit_heads(d, a, "", n_heads, n_kv, head_dim);
        g->fixed_qk = true;
        for (size_t k = 0; k < 3; k++)
            fit_both(d, g, parts[k], a, inputs[k], 0);
        fit_reads(d, g, PART_O, a, "o_proj.weight", 1);
        fit_add_site(d, g, a, "o_proj");
        spec_set_text(d->spec, &g->qk_site, fit_join_name(&n, a, "input"));
        g = fit_units(d, m, "", fit_length_of(d, m, "up_proj.weight", 0));
        fit_both(d, g, PART_UNITS, m, "gate_proj", 0);
        fit_both(d, g, PART_UNITS, m, "up_proj", 0);
        fit_reads(d, g, PART_UNITS, m, "down_proj.weight", 1);
        fit_add_site(d, g, m, "down_proj");
        fit_makes(d, &s.group, PART_UNITS, p, "input_layernorm.weight", 0);
        fit_makes(d, &s.group, PART_UNITS, p, "post_attention_layernorm.weight", 0);
        for (size_t k = 0; k < 3; k++) {
            fit_reads(d, &s.group, PART_UNITS, a, fit_join_name(&n, inputs[k], "weight"), 1);
            fit_add_layer(d, a, inputs[k], "input", 1);
        }
        fit_both(d, &s.group, PART_UNITS, a, "o_proj", 0);
        fit_reads(d, &s.group, PART_UNITS, m, "gate_proj.weight", 1);
        fit_reads(d, &s.group, PART_UNITS, m, "up_proj.weight", 1);
        fit_both(d, &s.group, PART_UNITS, m, "down_proj", 0);
        fit_add_layer(d, a, "o_proj", "o_proj", 1);
        fit_add_layer(d, m, "gate_proj", "input", 1);
        fit_add_layer(d, m, "up_proj", "input", 1);
        fit_add_layer(d, m, "down_proj", "down_proj", 1);
    }
    fit_makes(d, &s.group, PART_UNITS, root, "norm.weight", 0);
    fit_end_in_heads(d, &s);
    fit_end_stream(d, &s, width, "", "lm_head");
}
