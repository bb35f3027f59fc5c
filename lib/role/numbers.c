/* numbers.c - tensors that are no weights, by themselves or beside another one: what was gathered while
 * training, what architecture or configuration gives, and DoRA's magnitudes. A name alone says little, so
 * shapes must fit too; what is not sure is a weight. */
#include "role/role.h"

#define NEVER(text) text, text ": never merged"
#define BATCH_NORM  NEVER("running statistic of a normalisation")
#define AVERAGE     NEVER("running average beside a codebook")
#define SPECTRAL    NEVER("vector of a spectral norm")
#define RANGE       NEVER("range that a quantiser has seen")
#define OPTIMISER   NEVER("state of an optimiser")
#define COUNTER     NEVER("counter of training")
#define ALPHA       NEVER("alpha of an adapter")
#define POSITIONS   NEVER("numbers of positions")
#define ROTARY      NEVER("table of rotary positions")
#define MASK        NEVER("attention mask")
#define SCHEDULE    NEVER("noise schedule")
#define PIXELS      NEVER("mean and deviation of the input")
#define BUFFER      NEVER("buffer that is not trained")
#define CACHE       NEVER("scale of a quantised cache")
#define ACTIVATION  NEVER("scale of activations")
#define PRUNING     NEVER("mask of a pruned weight")
#define MARKER      NEVER(EMR_ROLE_MARKER)
#define DORA        NEVER("magnitude of DoRA")

static bool fits_any(const emr_tensor *t, const emr_tensor *partner)
{
    (void)t, (void)partner;
    return true;
}

static bool fits_same(const emr_tensor *t, const emr_tensor *partner)
{
    return t->dtype == partner->dtype && emr_tensor_same_shape(t, partner);
}

static bool fits_shape(const emr_tensor *t, const emr_tensor *partner)
{
    return emr_tensor_same_shape(t, partner);
}

static bool fits_one(const emr_tensor *t, const emr_tensor *partner)
{
    (void)partner;
    return t->count == 1;
}

/* [n] or [1, n] */
static bool fits_line(const emr_tensor *t, const emr_tensor *partner)
{
    (void)partner;
    return t->rank == 1 || (t->rank == 2 && t->shape[0] == 1);
}

/* One number for each row or column of the partner's matrix, which may be of more dimensions */
static bool fits_vector(const emr_tensor *t, const emr_tensor *partner)
{
    return t->rank == 1 && partner->rank >= 2;
}

/* [n, n], perhaps with ones before it */
static bool fits_square(const emr_tensor *t, const emr_tensor *partner)
{
    (void)partner;
    if (t->rank < 2 || t->shape[t->rank - 1] < 2 || t->shape[t->rank - 1] != t->shape[t->rank - 2])
        return false;
    for (uint32_t i = 0; i + 2 < t->rank; i++)
        if (t->shape[i] != 1)
            return false;
    return true;
}

/* [..., n, n]: Swin has a mask a window */
static bool fits_squares(const emr_tensor *t, const emr_tensor *partner)
{
    (void)partner;
    return t->rank >= 2 && t->shape[t->rank - 1] == t->shape[t->rank - 2];
}

/* GPT-2's and GPT-NeoX's causal mask, which is called a bias: [1, 1, n, n] */
static bool fits_causal(const emr_tensor *t, const emr_tensor *partner)
{
    return t->rank == 4 && fits_square(t, partner);
}

/* A number a channel, or one */
static bool fits_channels(const emr_tensor *t, const emr_tensor *partner)
{
    return t->count <= 4 && fits_same(t, partner);
}

static bool fits_marker(const emr_tensor *t, const emr_tensor *partner)
{
    (void)partner;
    return t->rank == 1 && t->count <= 2 && emr_dtype_bits(t->dtype) == 8;
}

#define BESIDE      EMR_RENAMING
#define ALONE(name) EMR_RENAMING(name, "")

const emr_number_rule emr_number_rules[] = {
    {BESIDE("running_mean", "running_var"), EMR_ROLE_STATISTIC, BATCH_NORM, fits_same},
    {BESIDE("running_var", "running_mean"), EMR_ROLE_STATISTIC, BATCH_NORM, fits_same},
    {BESIDE("num_batches_tracked", "running_mean"), EMR_ROLE_STATISTIC, BATCH_NORM, fits_one},
    {BESIDE("num_batches_tracked", "running_var"), EMR_ROLE_STATISTIC, BATCH_NORM, fits_one},
    {BESIDE("moving_mean", "moving_variance"), EMR_ROLE_STATISTIC, BATCH_NORM, fits_same},
    {BESIDE("moving_variance", "moving_mean"), EMR_ROLE_STATISTIC, BATCH_NORM, fits_same},
    {BESIDE("cluster_size", "embed_avg"), EMR_ROLE_STATISTIC, AVERAGE, fits_any},
    {BESIDE("embed_avg", "cluster_size"), EMR_ROLE_STATISTIC, AVERAGE, fits_any},
    {BESIDE("weight_u", "weight_orig"), EMR_ROLE_STATISTIC, SPECTRAL, fits_vector},
    {BESIDE("weight_v", "weight_orig"), EMR_ROLE_STATISTIC, SPECTRAL, fits_vector},
    {BESIDE(".0._u", ".original"), EMR_ROLE_STATISTIC, SPECTRAL, fits_vector},
    {BESIDE(".0._v", ".original"), EMR_ROLE_STATISTIC, SPECTRAL, fits_vector},

    {BESIDE("min_val", "max_val"), EMR_ROLE_STATISTIC, RANGE, fits_same},
    {BESIDE("max_val", "min_val"), EMR_ROLE_STATISTIC, RANGE, fits_same},
    {ALONE("_amax"), EMR_ROLE_STATISTIC, RANGE, fits_any},
    {ALONE("step"), EMR_ROLE_STATISTIC, COUNTER, fits_one},
    {ALONE("global_step"), EMR_ROLE_STATISTIC, COUNTER, fits_one},
    {ALONE("num_updates"), EMR_ROLE_STATISTIC, COUNTER, fits_one},
    {ALONE("n_averaged"), EMR_ROLE_STATISTIC, COUNTER, fits_one},

    {BESIDE("alpha", "lora_down.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lora_up.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lora_A.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lora_A.default.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lora_A"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("lora_alpha", "lora_A.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("lora_alpha", "lora_A"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lora.down.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lora_a"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "hada_w1_a"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lokr_w1"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "lokr_w1_a"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "oft_blocks"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "oft_diag"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE("alpha", "a1.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},
    {BESIDE(".down.weight.alpha", ".down.weight"), EMR_ROLE_CONSTANT, ALPHA, fits_one},

    {ALONE("position_ids"), EMR_ROLE_CONSTANT, POSITIONS, fits_line},
    {ALONE("token_type_ids"), EMR_ROLE_CONSTANT, POSITIONS, fits_line},
    {ALONE("relative_position_index"), EMR_ROLE_CONSTANT, POSITIONS, fits_any},
    {ALONE("relative_coords_table"), EMR_ROLE_CONSTANT, POSITIONS, fits_any},

    {ALONE("inv_freq"), EMR_ROLE_CONSTANT, ROTARY, fits_line},
    {ALONE("original_inv_freq"), EMR_ROLE_CONSTANT, ROTARY, fits_line},
    {ALONE("rope.freqs"), EMR_ROLE_CONSTANT, ROTARY, fits_line},
    {ALONE("rope_freqs.weight"), EMR_ROLE_CONSTANT, ROTARY, fits_line},
    {ALONE("rope_factors_long.weight"), EMR_ROLE_CONSTANT, ROTARY, fits_line},
    {ALONE("rope_factors_short.weight"), EMR_ROLE_CONSTANT, ROTARY, fits_line},
    {BESIDE("cos_cached", "sin_cached"), EMR_ROLE_CONSTANT, ROTARY, fits_same},
    {BESIDE("sin_cached", "cos_cached"), EMR_ROLE_CONSTANT, ROTARY, fits_same},
    {BESIDE("freqs_cos", "freqs_sin"), EMR_ROLE_CONSTANT, ROTARY, fits_same},
    {BESIDE("freqs_sin", "freqs_cos"), EMR_ROLE_CONSTANT, ROTARY, fits_same},

    {ALONE("bias"), EMR_ROLE_CONSTANT, MASK, fits_causal},
    {ALONE("masked_bias"), EMR_ROLE_CONSTANT, MASK, fits_one},
    {ALONE("causal_mask"), EMR_ROLE_CONSTANT, MASK, fits_squares},
    {ALONE("attn_mask"), EMR_ROLE_CONSTANT, MASK, fits_squares},
    {ALONE("attention_mask"), EMR_ROLE_CONSTANT, MASK, fits_squares},
    {ALONE("tril"), EMR_ROLE_CONSTANT, MASK, fits_square},
    {ALONE("triu"), EMR_ROLE_CONSTANT, MASK, fits_square},
    {ALONE("mask"), EMR_ROLE_CONSTANT, MASK, fits_square},
    {BESIDE("weight_mask", "weight_orig"), EMR_ROLE_CONSTANT, PRUNING, fits_shape},
    {BESIDE("bias_mask", "bias_orig"), EMR_ROLE_CONSTANT, PRUNING, fits_shape},

    {BESIDE("betas", "alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {BESIDE("betas", "sqrt_alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {BESIDE("betas", "alphas"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {BESIDE("alphas", "betas"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {ALONE("alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("alphas_cumprod_prev"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("alphas_cumprod_next"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("sqrt_alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("sqrt_one_minus_alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("log_one_minus_alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("sqrt_recip_alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("sqrt_recipm1_alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("sqrt_recip_alphas"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("posterior_variance"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("posterior_log_variance_clipped"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("posterior_mean_coef1"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("posterior_mean_coef2"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("lvlb_weights"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("p2_loss_weight"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {ALONE("denoiser.sigmas"), EMR_ROLE_CONSTANT, SCHEDULE, fits_line},
    {BESIDE("loss_weight", "alphas_cumprod"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {BESIDE("sigmas", "log_sigmas"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {BESIDE("log_sigmas", "sigmas"), EMR_ROLE_CONSTANT, SCHEDULE, fits_shape},
    {ALONE("model_ema.decay"), EMR_ROLE_CONSTANT, BUFFER, fits_one},
    {ALONE("ema.decay"), EMR_ROLE_CONSTANT, BUFFER, fits_one},
    {ALONE("ema_decay"), EMR_ROLE_CONSTANT, BUFFER, fits_one},
    {BESIDE("decay", "num_updates"), EMR_ROLE_CONSTANT, BUFFER, fits_one},
    {ALONE("scale_factor"), EMR_ROLE_CONSTANT, BUFFER, fits_one},

    {BESIDE("pixel_mean", "pixel_std"), EMR_ROLE_CONSTANT, PIXELS, fits_channels},
    {BESIDE("pixel_std", "pixel_mean"), EMR_ROLE_CONSTANT, PIXELS, fits_channels},
    {BESIDE("image_mean", "image_std"), EMR_ROLE_CONSTANT, PIXELS, fits_channels},
    {BESIDE("image_std", "image_mean"), EMR_ROLE_CONSTANT, PIXELS, fits_channels},
    {ALONE("final_logits_bias"), EMR_ROLE_CONSTANT, BUFFER, fits_line},
    {ALONE("_float_tensor"), EMR_ROLE_CONSTANT, BUFFER, fits_one},

    {ALONE("k_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("v_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("q_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("prob_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("kv_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("k_proj.output_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("v_proj.output_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("q_proj.output_scale"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("fake_quantizer.qscale_act"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("kv_fake_quantizer.qscale_act"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("k_fake_quantizer.qscale_act"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("v_fake_quantizer.qscale_act"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("q_fake_quantizer.qscale_act"), EMR_ROLE_CONSTANT, CACHE, fits_one},
    {ALONE("input_scale"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {ALONE("output_scale"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {ALONE("input_global_scale"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {ALONE("input_zero_point"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {ALONE("output_zero_point"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {ALONE("act_scale"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {ALONE("activation_scale"), EMR_ROLE_CONSTANT, ACTIVATION, fits_one},
    {BESIDE("scale", "zero_point"), EMR_ROLE_CONSTANT, ACTIVATION, fits_shape},
    {BESIDE("zero_point", "scale"), EMR_ROLE_CONSTANT, ACTIVATION, fits_shape},
    {ALONE("scaled_fp8"), EMR_ROLE_CONSTANT, MARKER, fits_marker},

    {BESIDE("lora_magnitude_vector", "lora_A.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("lora_magnitude_vector", "lora_embedding_A"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("lora_magnitude_vector.weight", "lora_A.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("lora_magnitude_vector.default", "lora_A.default.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("lora_magnitude_vector.default.weight", "lora_A.default.weight"), EMR_ROLE_MAGNITUDE, DORA,
     fits_any},
    {BESIDE("lora_magnitude_vector.weight", "lora.down.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("dora_scale", "lora_down.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("dora_scale", "lora_A.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("dora_scale", "hada_w1_a"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("dora_scale", "lokr_w1"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("dora_scale", "lokr_w1_a"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("magnitude", "lora_a.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("magnitude", "lora_A.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("dora_layer.magnitude", "lora_A.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("magnitude_layer.magnitude", "dora_layer.lora_A.weight"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {BESIDE("m", "lora_a"), EMR_ROLE_MAGNITUDE, DORA, fits_any},
    {{0}, 0, NULL, NULL, NULL},
};

/* How savers call the optimiser's part of a file, and its tensors, before a weight's name or after it. */
const emr_part_rule emr_part_rules[] = {
    {"optimizer", EMR_ROLE_STATISTIC, OPTIMISER},
    {"optimizers", EMR_ROLE_STATISTIC, OPTIMISER},
    {"optimizer_state", EMR_ROLE_STATISTIC, OPTIMISER},
    {"optimizer_states", EMR_ROLE_STATISTIC, OPTIMISER},
    {"optimizer_state_dict", EMR_ROLE_STATISTIC, OPTIMISER},
    {"optim", EMR_ROLE_STATISTIC, OPTIMISER},
    {"optim_state", EMR_ROLE_STATISTIC, OPTIMISER},
    {"opt_state", EMR_ROLE_STATISTIC, OPTIMISER},
    {"lr_scheduler", EMR_ROLE_STATISTIC, OPTIMISER},
    {"lr_schedulers", EMR_ROLE_STATISTIC, OPTIMISER},
    {"grad_scaler", EMR_ROLE_STATISTIC, OPTIMISER},
    {"exp_avg", EMR_ROLE_STATISTIC, OPTIMISER},
    {"exp_avg_sq", EMR_ROLE_STATISTIC, OPTIMISER},
    {"max_exp_avg_sq", EMR_ROLE_STATISTIC, OPTIMISER},
    {"exp_avg_sq_row", EMR_ROLE_STATISTIC, OPTIMISER},
    {"exp_avg_sq_col", EMR_ROLE_STATISTIC, OPTIMISER},
    {"exp_inf", EMR_ROLE_STATISTIC, OPTIMISER},
    {"momentum_buffer", EMR_ROLE_STATISTIC, OPTIMISER},
    {"square_avg", EMR_ROLE_STATISTIC, OPTIMISER},
    {"acc_delta", EMR_ROLE_STATISTIC, OPTIMISER},
    {NULL, 0, NULL, NULL},
};
