/* derive_vision.c - multi-layer perceptrons, vision transformers and ResNets. */
#include "derive.h"

#include <stdio.h>
#include <string.h>

/* fc0, fc1, ..., each a Linear behind the other. */
void fit_derive_mlp(deriving *d)
{
    char this[32], next[32];
    for (unsigned i = 0;; i++) {
        names n = {.turn = 0};
        snprintf(this, sizeof this, "fc%u", i);
        snprintf(next, sizeof next, "fc%u", i + 1);
        fit_add_layer(d, this, "", "", 1);
        if (!fit_find_tensor(d, fit_join_name(&n, next, "weight")))
            return;
        char name[48];
        snprintf(name, sizeof name, "hidden.%u", i);
        uint64_t width = fit_length_of(d, this, "weight", 0), inputs = fit_length_of(d, next, "weight", 1);
        spec_group *g = fit_units(d, "", name, width);
        fit_both(d, g, PART_UNITS, this, "", 0);
        spec_axis *a = fit_reads(d, g, PART_UNITS, next, "weight", 1);
        if (width && inputs % width)
            fit_stop_deriving(d, EMR_EMISMATCH, "inputs are no multiple of the outputs before them in", next);
        else if (width)
            a->inner = inputs / width; /* flattened channels */
        fit_add_site(d, g, next, "");
    }
}

/* Vision transformers by Hugging Face's names. */
void fit_derive_vit(deriving *d, const char *root)
{
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = fit_length_of(d, root, "embeddings.cls_token", 2),
             n_heads = fit_need_number(d, "num_attention_heads", NULL);
    fit_makes(d, &s.group, PART_UNITS, root, "embeddings.cls_token", 2);
    fit_makes(d, &s.group, PART_UNITS, root, "embeddings.position_embeddings", 2);
    fit_both(d, &s.group, PART_UNITS, root, "embeddings.patch_embeddings.projection", 0);
    for (unsigned i = 0; !d->status; i++) {
        char p[NAME_BYTES / 2];
        snprintf(p, sizeof p, "%s%sencoder.layer.%u", root, root[0] ? "." : "", i);
        if (!fit_find_tensor(d, fit_join_name(&n, p, "intermediate.dense.weight")))
            break;
        fit_encoder_layer(d, &s, p, "attention.attention", n_heads, width);
        fit_both(d, &s.group, PART_UNITS, p, "layernorm_before", 0);
        fit_both(d, &s.group, PART_UNITS, p, "layernorm_after", 0);
    }
    fit_both(d, &s.group, PART_UNITS, root, "layernorm", 0);
    if (fit_find_tensor(d, "classifier.weight"))
        fit_reads(d, &s.group, PART_UNITS, "", "classifier.weight", 1);
    fit_add_layer(d, "classifier", "", "", 1);
    fit_end_stream(d, &s, width, "", "classifier");
}

/* q, k and v are thirds of attn.qkv. */
void fit_derive_timm_vit(deriving *d, const char *root)
{
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = fit_length_of(d, root, "norm.weight", 0),
             n_heads = fit_need_number(d, "num_attention_heads", "num_heads");
    if (fit_find_tensor(d, fit_join_name(&n, root, "cls_token")))
        fit_makes(d, &s.group, PART_UNITS, root, "cls_token", 2);
    if (fit_find_tensor(d, fit_join_name(&n, root, "pos_embed")))
        fit_makes(d, &s.group, PART_UNITS, root, "pos_embed", 2);
    fit_both(d, &s.group, PART_UNITS, root, "patch_embed.proj", 0);
    for (unsigned i = 0; !d->status; i++) {
        static const char *const fitted[] = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"};
        char p[NAME_BYTES / 2];
        snprintf(p, sizeof p, "%s%sblocks.%u", root, root[0] ? "." : "", i);
        if (!fit_find_tensor(d, fit_join_name(&n, p, "mlp.fc1.weight")))
            break;
        spec_group *g = fit_heads(d, p, "attn", n_heads, n_heads, width / n_heads);
        fit_third(d, g, PART_Q, p, "attn.qkv", 0, 0);
        fit_third(d, g, PART_K, p, "attn.qkv", 0, width);
        fit_third(d, g, PART_V, p, "attn.qkv", 0, 2 * width);
        fit_reads(d, g, PART_O, p, "attn.proj.weight", 1);
        fit_add_site(d, g, p, "attn.proj");
        spec_set_text(d->spec, &g->qk_site, fit_join_name(&n, p, "attn.qkv"));
        g = fit_units(d, p, "mlp", fit_length_of(d, p, "mlp.fc1.weight", 0));
        fit_both(d, g, PART_UNITS, p, "mlp.fc1", 0);
        fit_reads(d, g, PART_UNITS, p, "mlp.fc2.weight", 1);
        fit_add_site(d, g, p, "mlp.fc2");
        fit_both(d, &s.group, PART_UNITS, p, "norm1", 0);
        fit_reads(d, &s.group, PART_UNITS, p, "attn.qkv.weight", 1);
        fit_both(d, &s.group, PART_UNITS, p, "attn.proj", 0);
        fit_both(d, &s.group, PART_UNITS, p, "norm2", 0);
        fit_reads(d, &s.group, PART_UNITS, p, "mlp.fc1.weight", 1);
        fit_both(d, &s.group, PART_UNITS, p, "mlp.fc2", 0);
        for (size_t k = 0; k < 4; k++)
            fit_add_layer(d, p, fitted[k], fitted[k], 1);
    }
    fit_both(d, &s.group, PART_UNITS, root, "norm", 0);
    if (fit_find_tensor(d, fit_join_name(&n, root, "head.weight")))
        fit_reads(d, &s.group, PART_UNITS, root, "head.weight", 1);
    fit_add_layer(d, root, "head", "head", 1);
    fit_end_stream(d, &s, width, root, "head");
}

/* A BatchNorm's running statistics follow its units, and are not compared. */
static void batch_norm(deriving *d, spec_group *g, const char *prefix, const char *name)
{
    names n = {.turn = 0};
    const char *place = fit_join_name(&n, prefix, name);
    fit_both(d, g, PART_UNITS, prefix, name, 0);
    if (!fit_find_tensor(d, fit_join_name(&n, place, "running_mean")))
        return;
    fit_makes(d, g, PART_UNITS, place, "running_mean", 0)->is_matched = false;
    fit_makes(d, g, PART_UNITS, place, "running_var", 0)->is_matched = false;
}

/* The convolutions of a block, the last of which makes units of the stage; `stage` is found again by its number, for groups
 * move. */
static void resnet_block(deriving *d, const char *p, size_t *stage, const char *stage_name, bool is_first)
{
    names n = {.turn = 0};
    fit_reads(d, &d->spec->groups[*stage], PART_UNITS, p, "conv1.weight", 1);
    fit_add_site(d, &d->spec->groups[*stage], p, "conv1");
    if (is_first && fit_find_tensor(d, fit_join_name(&n, p, "downsample.0.weight"))) {
        fit_reads(d, &d->spec->groups[*stage], PART_UNITS, p, "downsample.0.weight", 1);
        spec_group *g = fit_units(d, "", stage_name, fit_length_of(d, p, "downsample.0.weight", 0));
        if (d->spec->lacks_memory)
            return;
        *stage = d->spec->n_groups - 1;
        fit_makes(d, g, PART_UNITS, p, "downsample.0.weight", 0);
        batch_norm(d, g, p, "downsample.1");
        fit_add_layer(d, p, "downsample.0", "downsample.0", 1);
    }
    for (unsigned c = 1; !d->spec->lacks_memory; c++) {
        char this[24], weight[32], norm[24], next[32], next_site[24], name[16];
        snprintf(this, sizeof this, "conv%u", c);
        snprintf(weight, sizeof weight, "conv%u.weight", c);
        snprintf(norm, sizeof norm, "bn%u", c);
        snprintf(next, sizeof next, "conv%u.weight", c + 1);
        snprintf(next_site, sizeof next_site, "conv%u", c + 1);
        snprintf(name, sizeof name, "%u", c);
        fit_add_layer(d, p, this, this, 1);
        if (!fit_find_tensor(d, fit_join_name(&n, p, next))) {
            fit_makes(d, &d->spec->groups[*stage], PART_UNITS, p, weight, 0);
            batch_norm(d, &d->spec->groups[*stage], p, norm);
            return;
        }
        spec_group *g = fit_units(d, p, name, fit_length_of(d, p, weight, 0));
        fit_makes(d, g, PART_UNITS, p, weight, 0);
        batch_norm(d, g, p, norm);
        fit_reads(d, g, PART_UNITS, p, next, 1);
        fit_add_site(d, g, p, next_site);
    }
}

/* torchvision's names. A stage is one group: its blocks add to one stream. */
void fit_derive_resnet(deriving *d, const char *root)
{
    names n = {.turn = 0};
    spec_group *g = fit_units(d, "", "stem", fit_length_of(d, root, "conv1.weight", 0));
    size_t stage = 0;
    fit_makes(d, g, PART_UNITS, root, "conv1.weight", 0);
    batch_norm(d, g, root, "bn1");
    fit_add_layer(d, root, "conv1", "conv1", 1);
    for (unsigned l = 1; !d->status && !d->spec->lacks_memory; l++) {
        unsigned b = 0;
        for (;; b++) {
            char p[NAME_BYTES / 2], name[16];
            snprintf(p, sizeof p, "%s%slayer%u.%u", root, root[0] ? "." : "", l, b);
            snprintf(name, sizeof name, "layer%u", l);
            if (d->status || d->spec->lacks_memory ||
                !fit_find_tensor(d, fit_join_name(&n, p, "conv1.weight")))
                break;
            resnet_block(d, p, &stage, name, b == 0);
        }
        if (!b)
            break;
    }
    if (d->status || d->spec->lacks_memory)
        return;
    fit_reads(d, &d->spec->groups[stage], PART_UNITS, root, "fc.weight", 1);
    fit_add_site(d, &d->spec->groups[stage], root, "fc");
    fit_add_layer(d, root, "fc", "fc", 1);
    fit_refuse_unknown(d, 0);
}
