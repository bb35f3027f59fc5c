/* test_role.c - which tensors are recognised as no weights, family by family in the layouts that their
 * writers use, and which look alike and are weights all the same. */
#include "support.h"

#include "role/role.h"

#include <stdio.h>

/* clang-format off */
#define SHAPE(...) sizeof((uint64_t[]){0, __VA_ARGS__}) / 8 - 1, {__VA_ARGS__}
#define T(name, dtype, ...) {name, EMR_DTYPE_##dtype, SHAPE(__VA_ARGS__)}
#define SCALAR(name, dtype) {name, EMR_DTYPE_##dtype, 0, {0}}

enum { MOST = 9 };

/* A model, and what its tensors are: a letter each. w weight, c code, s side-car, n statistic, k constant, m
 * magnitude. */
typedef struct role_case {
    const char *family; /* of the first tensor that is no weight */
    const char *roles;
    int can_dequantise;
    test_tensor tensors[MOST];
} role_case;

static const role_case role_cases[] = {
    /* FP8: DeepSeek-V3, its last blocks ragged */
    {"FP8 with a scale a block", "csw", 1, {T("l.weight", F8_E4M3, 576, 300), T("l.weight_scale_inv", F32, 5, 3), T("n.weight", BF16, 8)}},
    {"FP8 with a scale a block", "cs", 1, {T("l.weight", F8_E4M3, 256, 256), T("l.scale", F8_E8M0, 2, 2)}},
    {"FP8 with a scale a block", "cs", 1, {T("experts.gate_up_proj", F8_E4M3, 2, 256, 384), T("experts.gate_up_proj_scale_inv", F32, 2, 2, 3)}},
    {"FP8 with a scale a tensor", "cs", 1, {T("l.weight", F8_E4M3, 8, 8), T("l.weight_scale_inv", F32, 1, 1)}},
    /* compressed-tensors, ModelOpt, FBGEMM */
    {"FP8 with a scale a tensor", "css", 1, {T("l.weight", F8_E4M3, 8, 8), T("l.weight_scale", BF16, 1), T("l.input_scale", BF16, 1)}},
    {"FP8 with a scale a row", "css", 1, {T("l.weight", F8_E4M3, 8, 6), T("l.weight_scale", F32, 8, 1), T("l.input_scale_ub", F32, 1)}},
    {"FP8 with a scale a row", "css", 0, {T("l.weight", F8_E4M3, 8, 6), T("l.weight_scale", F32, 8), T("l.weight_zero_point", F8_E4M3, 8)}},
    {"FP8 with a scale a block", "cs", 1, {T("e.down_proj", F8_E4M3, 4, 6, 8), T("e.down_proj_scale", F32, 4, 1, 8)}},
    {"FP8 with a scale a block", "cs", 1, {T("e.down_proj", F8_E4M3, 4, 6, 8), T("e.down_proj_scale", F32, 4)}},
    /* ComfyUI, Mistral */
    {"FP8 with a scale a tensor", "cssk", 1, {T("l.weight", F8_E4M3, 8, 8), T("l.scale_weight", F32, 1), T("l.scale_input", F32, 1), T("scaled_fp8", F8_E4M3, 0)}},
    {"FP8 with a scale a tensor", "csss", 1, {T("l.weight", F8_E4M3, 8, 8), SCALAR("l.weight_scale", F32), SCALAR("l.input_scale", F32), T("l.comfy_quant", U8, 30)}},
    {"FP8 with a scale a tensor", "css", 1, {T("l.weight", F8_E4M3, 8, 8), SCALAR("l.qscale_weight", F32), SCALAR("l.qscale_act", F32)}},
    {"FP8 with a scale a tensor", "cs", 1, {T("l.weight", F8_E5M2FNUZ, 8, 8), SCALAR("l.weight_scale", F32)}},
    /* MXFP8, in rows and in tiles; scales in no known order */
    {"MXFP8", "cs", 1, {T("l.weight", F8_E4M3, 4, 64), T("l.weight_scale", U8, 4, 2)}},
    {"MXFP8", "cs", 1, {T("l.weight", F8_E4M3, 4, 64), T("l.weight_scale_inv", F8_E8M0, 4, 2)}},
    {"MXFP8 with its scales in tiles", "css", 0, {T("l.weight", F8_E4M3, 4, 64), T("l.weight_scale", F8_E8M0, 128, 4), T("l.comfy_quant", U8, 20)}},
    {"FP8 with scales in an unknown order", "cs", 0, {T("l.weight", F8_E4M3, 8, 8), T("l.weight_scale", F32, 3, 5)}},
    {"FP8 with scales in an unknown order", "cs", 0, {T("l.weight", F8_E4M3, 8, 8), T("l.weight_scale", U8, 8, 1)}},
    {"FP8 of torchao or quanto", "cs", 0, {T("l._weight_qdata", F8_E4M3, 8, 8), T("l._weight_scale", F32, 8, 1)}},
    {"FP8 with a scale a row", "cs", 1, {T("l.weight", F8_E4M3, 8, 6), T("l.weight.scale", F32, 8)}},
    {"FP8 with a scale a tensor", "cs", 1, {T("l.weight", F8_E4M3, 8, 6), SCALAR("l.scale_inv", F32)}},
    /* int8 */
    {"int8 of bitsandbytes", "css", 1, {T("l.weight", I8, 8, 6), T("l.SCB", F32, 8), SCALAR("l.weight_format", U8)}},
    {"int8 of bitsandbytes", "cs", 1, {T("l.weight", I8, 8, 6), T("l.weight_scb", F32, 8)}},
    {"packed integers with scales", "css", 0, {T("l.weight", I8, 8, 6), T("l.scales", BF16, 8), T("l.zeros", BF16, 8)}},
    {"packed integers with scales", "cs", 0, {T("l.weight", I32, 8, 6), T("l.scales_and_zeros", BF16, 2, 8, 2)}},
    {"int8 with a scale a row", "cs", 1, {T("l.weight", I8, 8, 6), T("l.weight_scale", BF16, 8, 1)}},
    {"int8 with a scale a row", "csss", 0, {T("l.weight", I8, 8, 6), T("l.weight_scale", F32, 8, 1), T("l.weight_zero_point", I8, 8, 1), T("l.azp_adj", I32, 8)}},
    {"int8 with a scale a block", "cs", 1, {T("l.weight", I8, 256, 256), T("l.weight_scale", F32, 2, 2)}},
    {"int8 of EETQ", "cs", 0, {T("l.weight", I8, 8, 6), T("l.weight_scales", F16, 6)}},
    {"int8 of torchao or quanto", "csss", 0, {T("l.weight._data", I8, 8, 6), T("l.weight._scale", F32, 8, 1), T("l.input_scale", F32, 1), T("l.output_scale", F32, 1)}},
    {"int8 of torchao or quanto", "css", 0, {T("l._weight_qdata", I8, 8, 6), T("l._weight_scale", F32, 8, 1), T("l._weight_zero_point", I8, 8, 1)}},
    /* fewer bits */
    {"NF4 of bitsandbytes", "csssssw", 0, {T("l.weight", U8, 32, 1), T("l.weight.absmax", U8, 1), T("l.weight.quant_map", F32, 16), T("l.weight.nested_absmax", F32, 1), T("l.weight.nested_quant_map", F32, 256), T("l.weight.quant_state.bitsandbytes__nf4", U8, 90), T("l.bias", F32, 8)}},
    {"FP4 of bitsandbytes", "csss", 0, {T("l.weight", BF16, 16, 1), T("l.weight.absmax", F32, 1), T("l.weight.quant_map", F32, 16), T("l.weight.quant_state.bitsandbytes__fp4", U8, 90)}},
    {"block codes of bitsandbytes", "css", 0, {T("l.weight", U8, 32, 1), T("l.weight.absmax", F32, 1), T("l.weight.quant_map", F32, 16)}},
    {"GPTQ", "csssw", 0, {T("l.qweight", I32, 8, 16), T("l.qzeros", I32, 1, 2), T("l.scales", F16, 1, 16), T("l.g_idx", I32, 64), T("l.bias", F16, 16)}},
    {"AWQ", "css", 0, {T("l.qweight", I32, 64, 2), T("l.qzeros", I32, 1, 2), T("l.scales", F16, 1, 16)}},
    {"packed integers with scales", "csssss", 0, {T("l.weight_packed", I32, 8, 2), T("l.weight_scale", BF16, 8, 1), T("l.weight_zero_point", I32, 1, 1), T("l.weight_shape", I64, 2), T("l.weight_g_idx", I32, 16), T("l.input_scale", BF16, 1)}},
    {"NVFP4", "csss", 0, {T("l.weight_packed", U8, 8, 16), T("l.weight_scale", F8_E4M3, 8, 2), T("l.weight_global_scale", F32, 1), T("l.input_global_scale", F32, 1)}},
    {"NVFP4", "csss", 0, {T("l.weight", U8, 8, 16), T("l.weight_scale", F8_E4M3, 8, 2), SCALAR("l.weight_scale_2", F32), SCALAR("l.input_scale", F32)}},
    {"NVFP4", "csss", 0, {T("e.gate_up_proj", U8, 2, 8, 16), T("e.gate_up_proj_weight_scale", F8_E4M3, 2, 8, 2), T("e.gate_up_proj_weight_scale_2", F32, 2), T("e.gate_up_proj_input_scale", F32, 2)}},
    {"MXFP4", "csw", 0, {T("e.gate_up_proj_blocks", U8, 2, 8, 2, 16), T("e.gate_up_proj_scales", U8, 2, 8, 2), T("e.gate_up_proj_bias", BF16, 2, 8)}},
    {"MXFP4", "cs", 0, {T("m.mlp1_weight.blocks", U8, 2, 8, 2, 16), T("m.mlp1_weight.scales", U8, 2, 8, 2)}},
    {"MXFP4", "cs", 0, {T("l.weight", U8, 8, 32), T("l.weight_scale", U8, 8, 2)}},
    {"packed integers with scales", "cs", 0, {T("l.weight", U8, 2, 8), T("l.weight_scale", BF16, 1)}},
    {"packed integers of MLX", "css", 0, {T("l.weight", U32, 8, 8), T("l.scales", BF16, 8, 1), T("l.biases", BF16, 8, 1)}},
    {"HQQ", "csssw", 0, {T("l.W_q", U8, 32, 8), T("l.scale", F16, 8, 1), T("l.zero", F16, 8, 1), T("l.nbits", I32, 1), T("l.bias", F16, 8)}},
    {"AQLM", "css", 0, {T("l.codes", I8, 8, 8, 1), T("l.codebooks", F16, 1, 256, 1, 8), T("l.scales", F16, 8, 1, 1, 1)}},
    {"VPTQ", "cssw", 0, {T("l.indices", I16, 1, 8, 8), T("l.centroids.weight", F16, 1, 64), T("l.weight_scale", F16, 8), T("l.bias", F16, 8)}},
    {"QuIP#", "csss", 0, {T("l.Qidxs", I64, 8, 2), T("l.SU", F16, 8), T("l.SV", F16, 8), SCALAR("l.Wscale", F32)}},
    {"EXL2", "csss", 0, {T("l.q_weight", I32, 8, 8), T("l.q_scale", I32, 2, 2), T("l.q_scale_max", F16, 2), T("l.q_groups", I16, 4)}},
    {"EXL3", "css", 0, {T("l.trellis", I16, 2, 2, 16), T("l.suh", F16, 32), T("l.svh", F16, 32)}},
    {"HIGGS", "csss", 0, {T("l.weight", I16, 8, 8), T("l.scales", F16, 8, 1), T("l.tables", F16, 16), T("l.tables2", F32, 16, 16)}},
    {"SVDQuant", "cssss", 0, {T("l.qweight", I8, 8, 4), T("l.wscales", BF16, 1, 8), T("l.smooth", BF16, 8), T("l.lora_down", BF16, 8, 2), T("l.lora_up", BF16, 8, 2)}},
    {"Marlin", "csw", 0, {T("l.B", I32, 4, 16), T("l.s", F16, 1, 8), T("l.bias", F16, 8)}},
    {"weights without their zeros", "css", 0, {T("l.weight.compressed", BF16, 12), T("l.weight.bitmask", U8, 4, 1), T("l.weight.shape", I64, 2)}},
    /* statistics */
    {"running statistic of a normalisation", "nnnww", 0, {T("b.running_mean", F32, 8), T("b.running_var", F32, 8), SCALAR("b.num_batches_tracked", I64), T("b.weight", F32, 8), T("b.bias", F32, 8)}},
    {"running statistic of a normalisation", "nn", 0, {T("running_mean", BF16, 8), T("running_var", BF16, 8)}},
    {"running average beside a codebook", "nnw", 0, {T("q.cluster_size", F32, 8), T("q.embed_avg", F32, 8, 4), T("q.embed", F32, 8, 4)}},
    {"vector of a spectral norm", "nnww", 0, {T("c.weight_u", F32, 8), T("c.weight_v", F32, 6), T("c.weight_orig", F32, 8, 6), T("c.bias", F32, 8)}},
    {"vector of a spectral norm", "nw", 0, {T("c.parametrizations.weight.0._u", F32, 8), T("c.parametrizations.weight.original", F32, 8, 6)}},
    /* constants */
    {"alpha of an adapter", "kww", 0, {SCALAR("a.alpha", F16), T("a.lora_down.weight", F16, 4, 32), T("a.lora_up.weight", F16, 32, 4)}},
    {"alpha of an adapter", "kww", 0, {T("a.alpha", F32, 1), T("a.lora_A.weight", F16, 4, 32), T("a.lora_B.weight", F16, 32, 4)}},
    {"alpha of an adapter", "kwwww", 0, {SCALAR("a.alpha", BF16), T("a.hada_w1_a", F16, 4, 2), T("a.hada_w1_b", F16, 2, 4), T("a.hada_w2_a", F16, 4, 2), T("a.hada_w2_b", F16, 2, 4)}},
    {"alpha of an adapter", "kww", 0, {SCALAR("a.alpha", BF16), T("a.lokr_w1", F16, 4, 2), T("a.lokr_w2", F16, 2, 4)}},
    {"numbers of positions", "kw", 0, {T("e.position_ids", F16, 1, 77), T("e.position_embedding.weight", F16, 77, 8)}},
    {"table of rotary positions", "kkk", 0, {T("r.inv_freq", F32, 8), T("r.cos_cached", F32, 1, 1, 9, 8), T("r.sin_cached", F32, 1, 1, 9, 8)}},
    {"attention mask", "kkww", 0, {T("h.0.attn.bias", F32, 1, 1, 9, 9), SCALAR("h.0.attn.masked_bias", F32), T("h.0.attn.c_attn.bias", F32, 9), T("h.0.attn.c_proj.weight", F32, 9, 9)}},
    {"noise schedule", "kkkk", 0, {T("betas", F32, 10), T("alphas_cumprod", F32, 10), T("sqrt_alphas_cumprod", F32, 10), T("posterior_variance", F32, 10)}},
    {"buffer that is not trained", "k", 0, {T("final_logits_bias", F32, 1, 50)}},
    {"scale of a quantised cache", "kk", 0, {SCALAR("a.k_scale", F32), SCALAR("a.v_scale", F32)}},
    {"scale of a quantised cache", "kk", 0, {T("a.k_proj.k_scale", F32, 1), T("a.v_proj.v_scale", F32, 1)}},
    {"scale of a quantised cache", "kkkk", 0, {SCALAR("a.k_scale", F32), T("a.q_scale", F32, 1), SCALAR("a.prob_scale", F32), T("a.k_proj.output_scale", BF16, 1)}},
    {"scale of activations", "kkw", 0, {SCALAR("l.input_scale", F32), T("l.output_scale", BF16, 1), T("l.weight", BF16, 8, 8)}},
    {"scale of activations", "kkw", 0, {SCALAR("l.scale", F32), SCALAR("l.zero_point", I64), T("l.weight", F32, 8, 8)}},
    {"noise schedule", "kkkkkw", 0, {T("alphas_cumprod", F16, 10), T("log_one_minus_alphas_cumprod", F16, 10), T("sqrt_recipm1_alphas_cumprod", F16, 10), T("posterior_log_variance_clipped", F16, 10), T("posterior_mean_coef2", F16, 10), T("logvar", F16, 10)}},
    {"noise schedule", "kkkk", 0, {T("betas", F32, 10), T("alphas", F16, 10), T("d.sigmas", F32, 9), T("d.log_sigmas", F32, 9)}},
    {"noise schedule", "k", 0, {T("alphas_cumprod", F32, 10)}},
    {"buffer that is not trained", "knw", 0, {SCALAR("model_ema.decay", F32), SCALAR("model_ema.num_updates", I32), T("model_ema.w", F32, 8)}},
    {"buffer that is not trained", "kkn", 0, {SCALAR("model_ema.decay", F16), SCALAR("scale_factor", F32), T("ema.num_updates", F32, 1)}},
    {"attention mask", "kkkww", 0, {T("attn_mask", F32, 77, 77), T("s.1.attn_mask", F32, 4, 49, 49), T("h.causal_mask", F32, 1, 1, 9, 9), T("mask_token", F32, 1, 1, 8), T("x.attn_mask", F32, 7, 8)}},
    {"mask of a pruned weight", "kww", 0, {T("l.weight_mask", F32, 8, 6), T("l.weight_orig", F32, 8, 6), T("m.weight_mask", F32, 8, 6)}},
    /* training's state */
    {"state of an optimiser", "nnnwn", 0, {T("optimizer.state.l.weight.exp_avg", F32, 8, 6), T("optimizer.state.l.weight.exp_avg_sq", F32, 8, 6), SCALAR("optimizer.step", F32), T("l.weight", F32, 8, 6), SCALAR("lr_scheduler.last_epoch", F32)}},
    {"state of an optimiser", "nnnw", 0, {T("l.weight.exp_avg", F32, 8, 6), T("exp_avg_sq.l.weight", F32, 8, 6), T("state.0.momentum_buffer", BF16, 8), T("l.weight", F32, 8, 6)}},
    {"state of an optimiser", "nnw", 0, {T("optimizer_state.fp32.l.weight", F8_E4M3, 8, 6), T("optimizer_state.fp32.l.weight_scale", F32, 1), T("l.weight", F32, 8, 6)}},
    {"state of an optimiser", "nn", 0, {T("l.exp_avg", F8_E4M3, 8, 6), SCALAR("l.exp_avg_scale", F32)}},
    {"counter of training", "nnnw", 0, {SCALAR("step", F32), T("s.global_step", F32, 1), SCALAR("swa.n_averaged", I64), T("l.step", F32, 8)}},
    {"range that a quantiser has seen", "nnnw", 0, {SCALAR("o.min_val", F32), SCALAR("o.max_val", F32), T("l.weight_quantizer._amax", F32, 8, 1), T("l.weight", F32, 8, 8)}},
    /* magnitudes */
    {"magnitude of DoRA", "mww", 0, {T("l.lora_magnitude_vector", F32, 32), T("l.lora_A.weight", F32, 8, 32), T("l.lora_B.weight", F32, 32, 8)}},
    {"magnitude of DoRA", "mkww", 0, {T("l.dora_scale", F32, 32, 1), SCALAR("l.alpha", F16), T("l.lora_down.weight", F16, 8, 32), T("l.lora_up.weight", F16, 32, 8)}},
    {"magnitude of DoRA", "mww", 0, {T("l.m", F32, 32), T("l.lora_a", F32, 32, 8), T("l.lora_b", F32, 8, 32)}},

    /* weights, all of them */
    {NULL, "ww", 0, {T("l.weight", BF16, 8, 8), T("l.weight_scale", F32, 8, 1)}},
    {NULL, "ww", 0, {T("l.weight", BF16, 32, 1), T("l.weight.absmax", F32, 1)}},
    {NULL, "w", 0, {T("l.weight", F8_E4M3, 8, 8)}},
    {NULL, "ww", 0, {T("l.weight", F8_E4M3, 8, 8), T("l.scale", F32, 8)}},
    {NULL, "ww", 0, {T("l.weight", I32, 8, 8), T("l.weight_scale_inv", F32, 1)}},
    {NULL, "www", 0, {T("c.weight_g", F32, 8, 1), T("c.weight_v", F32, 8, 6), T("c.bias", F32, 8)}},
    {NULL, "www", 0, {T("norm.scale", F32, 8), T("norm.bias", F32, 8), T("b.scales", F16, 4)}},
    {NULL, "www", 0, {SCALAR("logit_scale", F32), T("l.layer_scale.lambda1", F32, 8), T("l.gamma", F32, 8)}},
    {NULL, "ww", 0, {T("snake.alpha", F32, 8), T("snake.beta", F32, 8)}},
    {NULL, "ww", 0, {SCALAR("gate.alpha", F32), T("gate.down.weight", F32, 8, 8)}},
    {NULL, "ww", 0, {T("a.alpha", F32, 4), T("a.lora_down.weight", F32, 4, 8)}},
    {NULL, "w", 0, {T("b.running_mean", F32, 8)}},
    {NULL, "ww", 0, {T("b.running_mean", F32, 8), T("b.running_var", F32, 9)}},
    {NULL, "www", 0, {T("attn.bias", F32, 9), T("relative.bias", F32, 1, 4, 9, 9), T("conv.bias", F32, 1, 1, 9, 8)}},
    {NULL, "ww", 0, {T("a.k_scale", F32, 8), T("a.v_scale", F32, 8)}},
    {NULL, "ww", 0, {T("x.magnitude", F32, 8), T("x.weight", F32, 8, 8)}},
    {NULL, "ww", 0, {T("m", F32, 8), T("w", F32, 8, 8)}},
    {NULL, "www", 0, {T("betas", F32, 10), T("overweight", F8_E4M3, 8), T("scale_weight", F32, 1)}},
    {NULL, "ww", 0, {T("_scale", F32, 1), T("", F8_E4M3, 8)}},
    {NULL, "www", 0, {T("my_optimizer.weight", F32, 8, 8), T("optimizer2.weight", F32, 8), T("l.exp_avg_pool", F32, 8)}},
    {NULL, "www", 0, {T("posterior_variance", F32, 8, 8), T("sigmas", F32, 8), T("decay", F32, 1)}},
    {NULL, "www", 0, {T("l.input_scale", F32, 8), T("l.min_val", F32, 1), T("a.q_scale", F32, 8)}},
    {NULL, "ww", 0, {T("relative_attention_bias.weight", F32, 32, 8), T("position_ids.weight", F32, 8)}},
};
/* clang-format on */

static void check_case(const role_case *c)
{
    static const char letters[] = "wcsnkm";
    size_t n = strlen(c->roles);
    const char *family = NULL;
    test_model m = test_model_create("model", c->tensors, n, SOURCE_MEMORY);
    for (size_t i = 0; i < n; i++) {
        const emr_tensor *t = emr_model_find_tensor(m.model, c->tensors[i].name);
        emr_tensor_role role = EMR_INIT(emr_tensor_role);
        assert_int_equal(emr_tensor_get_role(t, &role), EMR_OK);
        if (letters[role.role] != c->roles[i])
            fail_msg("%s: '%s' is a %s (%s)", c->family ? c->family : "weights", c->tensors[i].name,
                     emr_role_name(role.role), role.family ? role.family : "");
        assert_int_equal(role.family == NULL, role.role == EMR_ROLE_WEIGHT);
        assert_int_equal(role.code != NULL, role.role == EMR_ROLE_SIDECAR);
        if (role.code) {
            emr_tensor_role of_code = EMR_INIT(emr_tensor_role);
            assert_int_equal(emr_tensor_get_role(role.code, &of_code), EMR_OK);
            assert_int_equal(of_code.role, EMR_ROLE_CODE);
            assert_ptr_equal(of_code.family, role.family);
            assert_int_equal(of_code.can_dequantise, role.can_dequantise);
        }
        const emr_found_role quickly = emr_role_find_quickly(t, emr_role_is_possible(c->tensors[i].name));
        assert_int_equal(quickly.role, role.role);
        if (role.role == EMR_ROLE_CODE)
            assert_int_equal(role.can_dequantise, c->can_dequantise);
        family = family ? family : role.family;
    }
    if (c->family)
        assert_string_equal(family, c->family);
    test_model_destroy(&m);
}

static void tensors_are_recognised(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof role_cases / sizeof role_cases[0]; i++)
        check_case(&role_cases[i]);
}

/* The same in a deeper place of a model, and where the tensors come in another order. */
static void place_and_order_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof role_cases / sizeof role_cases[0]; i++) {
        role_case c = role_cases[i];
        char names[MOST][128], roles[MOST + 1] = {0};
        size_t n = strlen(c.roles);
        if (c.tensors[n - 1].name[0] == '\0')
            continue;
        for (size_t k = 0; k < n; k++) {
            c.tensors[k] = role_cases[i].tensors[n - 1 - k];
            roles[k] = role_cases[i].roles[n - 1 - k];
            snprintf(names[k], sizeof names[k], "model.layers.3.%s", c.tensors[k].name);
            c.tensors[k].name = names[k];
        }
        c.roles = roles;
        c.family = NULL;
        check_case(&c);
    }
}

/* Long names are weights' names; the longest that is looked at has 999 bytes. */
static void long_names_are_weights(void **state)
{
    static char code[1100], scale[1100];
    (void)state;
    for (size_t n = 980; n < 1010; n++) {
        memset(code, 'x', n);
        strcpy(code + n, ".weight");
        strcpy(strcpy(scale, code) + n, ".weight_scale_inv");
        const test_tensor tensors[] = {{code, EMR_DTYPE_F8_E4M3, 1, {4}}, {scale, EMR_DTYPE_F32, 1, {1}}};
        test_model m = test_model_create("model", tensors, 2, SOURCE_MEMORY);
        for (uint32_t i = 0; i < 2; i++) {
            emr_tensor_role role = EMR_INIT(emr_tensor_role);
            assert_int_equal(emr_tensor_get_role(emr_model_tensor(m.model, i), &role), EMR_OK);
            assert_int_equal(role.role != EMR_ROLE_WEIGHT, strlen(scale) < 1000);
        }
        test_model_destroy(&m);
    }
}

static void nothing_has_no_role(void **state)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    (void)state;
    assert_int_equal(emr_tensor_get_role(NULL, &role), EMR_EINVAL);
    assert_string_equal(emr_role_name(EMR_ROLE_STATISTIC), "statistic");
    assert_string_equal(emr_role_name(6), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_recognised),
        cmocka_unit_test(place_and_order_do_not_matter),
        cmocka_unit_test(long_names_are_weights),
        cmocka_unit_test(nothing_has_no_role),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
