/* float8.c - FP8 weights with scales beside them: weight = code x scale, under every name that writers use.
 * `weight_scale_inv` too is what codes are multiplied by: the inverse of what they were made with. */
#include "role/role.h"

static const emr_code_family a_tensor = EMR_FAMILY("FP8 with a scale a tensor", EMR_SCALING_PRODUCT);
static const emr_code_family a_row = EMR_FAMILY("FP8 with a scale a row", EMR_SCALING_PRODUCT);
static const emr_code_family a_block = EMR_FAMILY("FP8 with a scale a block", EMR_SCALING_PRODUCT);
static const emr_code_family mxfp8 = EMR_FAMILY("MXFP8", EMR_SCALING_PRODUCT);
static const emr_code_family mxfp8_tiles = EMR_FAMILY("MXFP8 with its scales in tiles", EMR_SCALING_NONE);
static const emr_code_family odd = EMR_FAMILY("FP8 with scales in an unknown order", EMR_SCALING_ODD);
static const emr_code_family wrapped = EMR_FAMILY("FP8 of torchao or quanto", EMR_SCALING_NONE);

#define F8                                                                                                   \
    (EMR_DTYPE_BIT(F8_E4M3) | EMR_DTYPE_BIT(F8_E5M2) | EMR_DTYPE_BIT(F8_E4M3FNUZ) |                          \
     EMR_DTYPE_BIT(F8_E5M2FNUZ))
#define EXPONENT (EMR_DTYPE_BIT(F8_E8M0) | EMR_DTYPE_BIT(U8)) /* a power of two in a byte */

/* A scale for each 32 elements of a row. */
static bool is_by_32(const emr_tensor *code, const emr_scale_layout *l)
{
    for (uint32_t i = 0; i + 1 < code->rank; i++)
        if (l->block[i] != 1)
            return false;
    return code->rank && l->block[code->rank - 1] == 32;
}

/* ComfyUI keeps MXFP8's scales in the order of its matrix units, and says so in a tensor beside them. */
static const emr_code_family *float8_family(const emr_tensor *code, const emr_tensor *key)
{
    static const emr_renaming comfy = EMR_RENAMING("weight", "comfy_quant");
    bool is_exponent = EXPONENT >> key->dtype & 1;
    emr_scale_layout l;
    if (is_exponent && key->count > 1 && emr_role_partner(code, &comfy))
        return &mxfp8_tiles;
    if (!emr_scale_layout_find(&l, code, key))
        return &odd;
    if (is_exponent && is_by_32(code, &l))
        return &mxfp8;
    if (key->dtype == EMR_DTYPE_U8)
        return &odd;
    return l.one ? &a_tensor : l.row ? &a_row : &a_block;
}

/* "scale" says little: only what DeepSeek's own programs write counts, a scale a block or a tensor. */
static const emr_code_family *family_of_scale(const emr_tensor *code, const emr_tensor *key)
{
    const emr_code_family *family = float8_family(code, key);
    return (key->rank == code->rank || key->count == 1) && family != &odd ? family : NULL;
}

static const emr_code_family *wrapped_float8(const emr_tensor *code, const emr_tensor *key)
{
    (void)code, (void)key;
    return &wrapped;
}

/* Most are of activations: they are of no use to weights that are no codes any more. */
static const emr_renaming sidecars[] = {
    EMR_RENAMING("weight", "input_scale"),
    EMR_RENAMING("weight", "input_scale_ub"),
    EMR_RENAMING("weight", "input_zero_point"),
    EMR_RENAMING("weight", "output_scale"),
    EMR_RENAMING("weight", "act_scale"),
    EMR_RENAMING("weight", "activation_scale"),
    EMR_RENAMING("weight", "scale_input"),
    EMR_RENAMING("weight", "qscale_act"),
    EMR_RENAMING("weight", "weight_scalar"),
    EMR_RENAMING("weight", "comfy_quant"),
    EMR_RENAMING("weight", "pre_quant_scale"),
    EMR_RENAMING("", "_zero_point"),
    EMR_RENAMING("", "_scale_2"),
    EMR_RENAMING("", "_g_idx"),
    EMR_RENAMING("", "_input_scale"),
    EMR_RENAMING("", "_activation_scale"),
    {0},
};

static const emr_renaming wrapped_sidecars[] = {
    EMR_RENAMING("weight._data", "input_scale"),
    EMR_RENAMING("weight._data", "output_scale"),
    {0},
};

#define SCALES (EMR_DTYPES_FLOAT | EXPONENT)

const emr_code_rule emr_float8_rules[] = {
    {EMR_RENAMING("", "_scale_inv"), F8, SCALES, float8_family, sidecars, NULL},
    {EMR_RENAMING("", "_scale"), F8, SCALES, float8_family, sidecars, NULL},
    {EMR_RENAMING("", ".scale"), F8, SCALES, float8_family, sidecars, NULL},
    {EMR_RENAMING("weight", "scale_weight"), F8, SCALES, float8_family, sidecars, NULL},
    {EMR_RENAMING("weight", "qscale_weight"), F8, SCALES, float8_family, sidecars, NULL},
    {EMR_RENAMING("weight", "scale_inv"), F8, SCALES, float8_family, sidecars, NULL},
    {EMR_RENAMING("weight", "scale"), F8, SCALES, family_of_scale, sidecars, NULL},
    {EMR_RENAMING("weight", "scales"), F8, SCALES, family_of_scale, sidecars, NULL},
    {EMR_RENAMING("_weight_qdata", "_weight_scale"), F8, SCALES, wrapped_float8, NULL, NULL},
    {EMR_RENAMING("._data", "._scale"), F8, SCALES, wrapped_float8, wrapped_sidecars, NULL},
    {{0}, 0, 0, NULL, NULL, NULL},
};
