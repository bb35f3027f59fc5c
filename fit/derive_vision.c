/* derive_vision.c - multi-layer perceptrons, vision transformers and ResNets. */
#include "derive.h"

#include <stdio.h>
#include <string.h>

/* fc0, fc1, ..., each a Linear behind the other. */
void derive_mlp(deriving *d)
{
    char this[32], next[32];
    for (unsigned i = 0;; i++) {
        names n = {.turn = 0};
        snprintf(this, sizeof this, "fc%u", i);
        snprintf(next, sizeof next, "fc%u", i + 1);
        layer(d, this, "", "", 1);
        if (!find_tensor(d, join(&n, next, "weight")))
            return;
        char name[48];
        snprintf(name, sizeof name, "hidden.%u", i);
        uint64_t width = length_of(d, this, "weight", 0), inputs = length_of(d, next, "weight", 1);
        spec_group *g = units(d, "", name, width);
        both(d, g, PART_UNITS, this, "", 0);
        spec_axis *a = reads(d, g, PART_UNITS, next, "weight", 1);
        if (width && inputs % width)
            stop_deriving(d, EMR_EMISMATCH, "inputs are no multiple of the outputs before them in", next);
        else if (width)
            a->inner = inputs / width; /* flattened channels */
        site(d, g, next, "");
    }
}

/* Vision transformers by Hugging Face's names. */
void derive_vit(deriving *d, const char *root)
{
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = length_of(d, root, "embeddings.cls_token", 2),
             n_heads = need_number(d, "num_attention_heads", NULL);
    makes(d, &s.group, PART_UNITS, root, "embeddings.cls_token", 2);
    makes(d, &s.group, PART_UNITS, root, "embeddings.position_embeddings", 2);
    both(d, &s.group, PART_UNITS, root, "embeddings.patch_embeddings.projection", 0);
    for (unsigned i = 0; !d->status; i++) {
        char p[NAME_BYTES / 2];
        snprintf(p, sizeof p, "%s%sencoder.layer.%u", root, root[0] ? "." : "", i);
        if (!find_tensor(d, join(&n, p, "intermediate.dense.weight")))
            break;
        encoder_layer(d, &s, p, "attention.attention", n_heads, width);
        both(d, &s.group, PART_UNITS, p, "layernorm_before", 0);
        both(d, &s.group, PART_UNITS, p, "layernorm_after", 0);
    }
    both(d, &s.group, PART_UNITS, root, "layernorm", 0);
    if (find_tensor(d, "classifier.weight"))
        reads(d, &s.group, PART_UNITS, "", "classifier.weight", 1);
    layer(d, "classifier", "", "", 1);
    end_stream(d, &s, width, "", "classifier");
}

/* q, k and v are thirds of attn.qkv. */
void derive_timm_vit(deriving *d, const char *root)
{
    stream s = {0};
    names n = {.turn = 0};
    uint64_t width = length_of(d, root, "norm.weight", 0),
             n_heads = need_number(d, "num_attention_heads", "num_heads");
    if (find_tensor(d, join(&n, root, "cls_token")))
        makes(d, &s.group, PART_UNITS, root, "cls_token", 2);
    if (find_tensor(d, join(&n, root, "pos_embed")))
        makes(d, &s.group, PART_UNITS, root, "pos_embed", 2);
    both(d, &s.group, PART_UNITS, root, "patch_embed.proj", 0);
    for (unsigned i = 0; !d->status; i++) {
        static const char *const fitted[] = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"};
        char p[NAME_BYTES / 2];
        snprintf(p, sizeof p, "%s%sblocks.%u", root, root[0] ? "." : "", i);
        if (!find_tensor(d, join(&n, p, "mlp.fc1.weight")))
            break;
        spec_group *g = heads(d, p, "attn", n_heads, n_heads, width / n_heads);
        third(d, g, PART_Q, p, "attn.qkv", 0, 0);
        third(d, g, PART_K, p, "attn.qkv", 0, width);
        third(d, g, PART_V, p, "attn.qkv", 0, 2 * width);
        reads(d, g, PART_O, p, "attn.proj.weight", 1);
        site(d, g, p, "attn.proj");
        spec_set_text(d->spec, &g->qk_site, join(&n, p, "attn.qkv"));
        g = units(d, p, "mlp", length_of(d, p, "mlp.fc1.weight", 0));
        both(d, g, PART_UNITS, p, "mlp.fc1", 0);
        reads(d, g, PART_UNITS, p, "mlp.fc2.weight", 1);
        site(d, g, p, "mlp.fc2");
        both(d, &s.group, PART_UNITS, p, "norm1", 0);
        reads(d, &s.group, PART_UNITS, p, "attn.qkv.weight", 1);
        both(d, &s.group, PART_UNITS, p, "attn.proj", 0);
        both(d, &s.group, PART_UNITS, p, "norm2", 0);
        reads(d, &s.group, PART_UNITS, p, "mlp.fc1.weight", 1);
        both(d, &s.group, PART_UNITS, p, "mlp.fc2", 0);
        for (size_t k = 0; k < 4; k++)
            layer(d, p, fitted[k], fitted[k], 1);
    }
    both(d, &s.group, PART_UNITS, root, "norm", 0);
    if (find_tensor(d, join(&n, root, "head.weight")))
        reads(d, &s.group, PART_UNITS, root, "head.weight", 1);
    layer(d, root, "head", "head", 1);
    end_stream(d, &s, width, root, "head");
}

/* A BatchNorm's running statistics follow its units, and are not compared. */
static void batch_norm(deriving *d, spec_group *g, const char *prefix, const char *name)
{
    names n = {.turn = 0};
    const char *place = join(&n, prefix, name);
    both(d, g, PART_UNITS, prefix, name, 0);
    if (!find_tensor(d, join(&n, place, "running_mean")))
        return;
    makes(d, g, PART_UNITS, place, "running_mean", 0)->is_matched = false;
    makes(d, g, PART_UNITS, place, "running_var", 0)->is_matched = false;
}

/* The convolutions of a block, the last of which makes units of the stage; `stage` is found again by its number, for groups
 * move. */
static void resnet_block(deriving *d, const char *p, size_t *stage, const char *stage_name, bool is_first)
{
    names n = {.turn = 0};
    reads(d, &d->spec->groups[*stage], PART_UNITS, p, "conv1.weight", 1);
    site(d, &d->spec->groups[*stage], p, "conv1");
    if (is_first && find_tensor(d, join(&n, p, "downsample.0.weight"))) {
        reads(d, &d->spec->groups[*stage], PART_UNITS, p, "downsample.0.weight", 1);
        spec_group *g = units(d, "", stage_name, length_of(d, p, "downsample.0.weight", 0));
        if (d->spec->lacks_memory)
            return;
        *stage = d->spec->n_groups - 1;
        makes(d, g, PART_UNITS, p, "downsample.0.weight", 0);
        batch_norm(d, g, p, "downsample.1");
        layer(d, p, "downsample.0", "downsample.0", 1);
    }
    for (unsigned c = 1; !d->spec->lacks_memory; c++) {
        char this[24], weight[32], norm[24], next[32], next_site[24], name[16];
        snprintf(this, sizeof this, "conv%u", c);
        snprintf(weight, sizeof weight, "conv%u.weight", c);
        snprintf(norm, sizeof norm, "bn%u", c);
        snprintf(next, sizeof next, "conv%u.weight", c + 1);
        snprintf(next_site, sizeof next_site, "conv%u", c + 1);
        snprintf(name, sizeof name, "%u", c);
        layer(d, p, this, this, 1);
        if (!find_tensor(d, join(&n, p, next))) {
            makes(d, &d->spec->groups[*stage], PART_UNITS, p, weight, 0);
            batch_norm(d, &d->spec->groups[*stage], p, norm);
            return;
        }
        spec_group *g = units(d, p, name, length_of(d, p, weight, 0));
        makes(d, g, PART_UNITS, p, weight, 0);
        batch_norm(d, g, p, norm);
        reads(d, g, PART_UNITS, p, next, 1);
        site(d, g, p, next_site);
    }
}

/* torchvision's names. A stage is one group: its blocks add to one stream. */
void derive_resnet(deriving *d, const char *root)
{
    names n = {.turn = 0};
    spec_group *g = units(d, "", "stem", length_of(d, root, "conv1.weight", 0));
    size_t stage = 0;
    makes(d, g, PART_UNITS, root, "conv1.weight", 0);
    batch_norm(d, g, root, "bn1");
    layer(d, root, "conv1", "conv1", 1);
    for (unsigned l = 1; !d->status && !d->spec->lacks_memory; l++) {
        unsigned b = 0;
        for (;; b++) {
            char p[NAME_BYTES / 2], name[16];
            snprintf(p, sizeof p, "%s%slayer%u.%u", root, root[0] ? "." : "", l, b);
            snprintf(name, sizeof name, "layer%u", l);
            if (d->status || d->spec->lacks_memory || !find_tensor(d, join(&n, p, "conv1.weight")))
                break;
            resnet_block(d, p, &stage, name, b == 0);
        }
        if (!b)
            break;
    }
    if (d->status || d->spec->lacks_memory)
        return;
    reads(d, &d->spec->groups[stage], PART_UNITS, root, "fc.weight", 1);
    site(d, &d->spec->groups[stage], root, "fc");
    layer(d, root, "fc", "fc", 1);
    refuse_unknown(d, 0);
}
