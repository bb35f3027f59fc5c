/* integers.c - weights of 8-bit integers, one an element, with scales beside them. */
#include "role/role.h"

static const emr_code_family scb = EMR_FAMILY("int8 of bitsandbytes", EMR_SCALING_SCB);
static const emr_code_family a_tensor = EMR_FAMILY("int8 with a scale a tensor", EMR_SCALING_PRODUCT);
static const emr_code_family a_row = EMR_FAMILY("int8 with a scale a row", EMR_SCALING_PRODUCT);
static const emr_code_family a_block = EMR_FAMILY("int8 with a scale a block", EMR_SCALING_PRODUCT);
static const emr_code_family odd = EMR_FAMILY("int8 with scales in an unknown order", EMR_SCALING_ODD);
static const emr_code_family columns = EMR_FAMILY("int8 of EETQ", EMR_SCALING_NONE);
static const emr_code_family wrapped = EMR_FAMILY("int8 of torchao or quanto", EMR_SCALING_NONE);

static const emr_code_family *scb_family(const emr_tensor *code, const emr_tensor *key)
{
    return code->rank == 2 && key->count == code->shape[0] ? &scb : &odd;
}

static const emr_code_family *integer_family(const emr_tensor *code, const emr_tensor *key)
{
    emr_scale_layout l;
    if (!emr_scale_layout_find(&l, code, key))
        return &odd;
    return l.one ? &a_tensor : l.row ? &a_row : &a_block;
}

static const emr_code_family *columns_family(const emr_tensor *code, const emr_tensor *key)
{
    (void)code, (void)key;
    return &columns;
}

static const emr_code_family *wrapped_integer(const emr_tensor *code, const emr_tensor *key)
{
    (void)code, (void)key;
    return &wrapped;
}

static const emr_renaming scb_sidecars[] = {
    EMR_RENAMING("weight", "weight_format"),
    {0},
};

static const emr_renaming sidecars[] = {
    EMR_RENAMING("weight", "input_scale"),
    EMR_RENAMING("weight", "input_zero_point"),
    EMR_RENAMING("weight", "azp_adj"),
    EMR_RENAMING("weight", "output_scale"),
    EMR_RENAMING("weight", "comfy_quant"),
    EMR_RENAMING("weight", "pre_quant_scale"),
    EMR_RENAMING("", "_zero_point"),
    EMR_RENAMING("", "_scale_2"),
    EMR_RENAMING("", "_g_idx"),
    EMR_RENAMING("", "_input_scale"),
    {0},
};

static const emr_renaming torchao_sidecars[] = {
    EMR_RENAMING("_weight_qdata", "_weight_zero_point"),
    {0},
};

static const emr_renaming quanto_sidecars[] = {
    EMR_RENAMING("._data", "._shift"),
    EMR_RENAMING("weight._data", "input_scale"),
    EMR_RENAMING("weight._data", "output_scale"),
    {0},
};

#define I8     EMR_DTYPE_BIT(I8)
#define PACKED (EMR_DTYPES_INTEGER | EMR_DTYPE_BIT(F4))
#define SCALES (EMR_DTYPES_FLOAT | EMR_DTYPE_BIT(F8_E8M0) | EMR_DTYPE_BIT(F8_E4M3))

const emr_code_rule emr_integer_rules[] = {
    {EMR_RENAMING("weight", "SCB"), I8, EMR_DTYPES_FLOAT, scb_family, scb_sidecars, NULL},
    {EMR_RENAMING("", "_scb"), I8, EMR_DTYPES_FLOAT, scb_family, scb_sidecars, NULL},
    {EMR_RENAMING("", "_scale"), I8, EMR_DTYPES_FLOAT, integer_family, sidecars, NULL},
    {EMR_RENAMING("", "_scale_inv"), I8, EMR_DTYPES_FLOAT, integer_family, sidecars, NULL},
    {EMR_RENAMING("", "_scales"), I8, EMR_DTYPES_FLOAT, columns_family, NULL, NULL},
    {EMR_RENAMING("_weight_qdata", "_weight_scale"), PACKED, SCALES, wrapped_integer, torchao_sidecars, NULL},
    {EMR_RENAMING("._data", "._scale"), PACKED, SCALES, wrapped_integer, quanto_sidecars, NULL},
    {{0}, 0, 0, NULL, NULL, NULL},
};
