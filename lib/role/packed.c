/* packed.c - codes of fewer than 8 bits, several in a stored number. They are recognised, and kept with all
 * that belongs to them; what weights they stand for is not computed here. */
#include "role/role.h"

static const emr_code_family nf4 = EMR_FAMILY("NF4 of bitsandbytes", EMR_SCALING_NONE);
static const emr_code_family fp4 = EMR_FAMILY("FP4 of bitsandbytes", EMR_SCALING_NONE);
static const emr_code_family blockwise = EMR_FAMILY("block codes of bitsandbytes", EMR_SCALING_NONE);
static const emr_code_family nvfp4 = EMR_FAMILY("NVFP4", EMR_SCALING_NONE);
static const emr_code_family mxfp4 = EMR_FAMILY("MXFP4", EMR_SCALING_NONE);
static const emr_code_family gptq = EMR_FAMILY("GPTQ", EMR_SCALING_NONE);
static const emr_code_family awq = EMR_FAMILY("AWQ", EMR_SCALING_NONE);
static const emr_code_family marlin = EMR_FAMILY("Marlin", EMR_SCALING_NONE);
static const emr_code_family mlx = EMR_FAMILY("packed integers of MLX", EMR_SCALING_NONE);
static const emr_code_family hqq = EMR_FAMILY("HQQ", EMR_SCALING_NONE);
static const emr_code_family aqlm = EMR_FAMILY("AQLM", EMR_SCALING_NONE);
static const emr_code_family vptq = EMR_FAMILY("VPTQ", EMR_SCALING_NONE);
static const emr_code_family quip = EMR_FAMILY("QuIP#", EMR_SCALING_NONE);
static const emr_code_family exl2 = EMR_FAMILY("EXL2", EMR_SCALING_NONE);
static const emr_code_family exl3 = EMR_FAMILY("EXL3", EMR_SCALING_NONE);
static const emr_code_family higgs = EMR_FAMILY("HIGGS", EMR_SCALING_NONE);
static const emr_code_family svdquant = EMR_FAMILY("SVDQuant", EMR_SCALING_NONE);
static const emr_code_family spqr = EMR_FAMILY("SpQR", EMR_SCALING_NONE);
static const emr_code_family sparse = EMR_FAMILY("weights without their zeros", EMR_SCALING_NONE);
static const emr_code_family packed = EMR_FAMILY("packed integers with scales", EMR_SCALING_NONE);

/* Families that names and dtypes alone tell. */
#define FAMILY_OF(family)                                                                                    \
    static const emr_code_family *family##_family(const emr_tensor *code, const emr_tensor *key)             \
    {                                                                                                        \
        (void)code, (void)key;                                                                               \
        return &(family);                                                                                    \
    }
FAMILY_OF(nf4)
FAMILY_OF(fp4)
FAMILY_OF(blockwise)
FAMILY_OF(nvfp4)
FAMILY_OF(mxfp4)
FAMILY_OF(gptq)
FAMILY_OF(awq)
FAMILY_OF(marlin)
FAMILY_OF(mlx)
FAMILY_OF(hqq)
FAMILY_OF(aqlm)
FAMILY_OF(vptq)
FAMILY_OF(quip)
FAMILY_OF(exl2)
FAMILY_OF(exl3)
FAMILY_OF(higgs)
FAMILY_OF(svdquant)
FAMILY_OF(spqr)
FAMILY_OF(sparse)

/* Of packed numbers, what their scales are tells. */
static const emr_code_family *family_by_scale(const emr_tensor *code, const emr_tensor *key)
{
    (void)code;
    return key->dtype == EMR_DTYPE_F8_E4M3                                 ? &nvfp4
           : key->dtype == EMR_DTYPE_U8 || key->dtype == EMR_DTYPE_F8_E8M0 ? &mxfp4
                                                                           : &packed;
}

/* bitsandbytes packs 4-bit codes into one column of numbers of any dtype, floats too. */
static bool is_column(const emr_tensor *t)
{
    return t->rank == 2 && (t->shape[0] == 1 || t->shape[1] == 1);
}

#define TABLE(name) static const emr_renaming name##_sidecars[]
#define BESIDE      EMR_RENAMING

TABLE(nf4) = {BESIDE("", ".absmax"),
              BESIDE("", ".quant_map"),
              BESIDE("", ".nested_absmax"),
              BESIDE("", ".nested_quant_map"),
              {0}};
TABLE(blockwise) = {BESIDE("", "_quant_map"),
                    BESIDE("", "_nested_absmax"),
                    BESIDE("", "_nested_quant_map"),
                    BESIDE("", "_quant_state"),
                    {0}};
TABLE(nvfp4) = {BESIDE("", "_scale"),
                BESIDE("", "_weight_scale"),
                BESIDE("weight", "input_scale"),
                BESIDE("", "_input_scale"),
                BESIDE("weight", "pre_quant_scale"),
                BESIDE("weight", "comfy_quant"),
                {0}};
TABLE(compressed) = {BESIDE("_packed", "_zero_point"),
                     BESIDE("_packed", "_shape"),
                     BESIDE("_packed", "_g_idx"),
                     BESIDE("_packed", "_global_scale"),
                     BESIDE("weight_packed", "input_scale"),
                     BESIDE("weight_packed", "input_zero_point"),
                     BESIDE("weight_packed", "input_global_scale"),
                     {0}};
TABLE(gptq) = {BESIDE("qweight", "qzeros"), BESIDE("qweight", "scales"), BESIDE("qweight", "perm"), {0}};
TABLE(awq) = {BESIDE("qweight", "scales"), {0}};
TABLE(qweight) = {BESIDE("qweight", "weight_global_scale"),
                  BESIDE("qweight", "act_global_scale"),
                  BESIDE("qweight", "forward_hadamard_matrix"),
                  BESIDE("qweight", "backward_hadamard_matrix"),
                  {0}};
TABLE(svdquant) = {BESIDE("qweight", "wzeros"),
                   BESIDE("qweight", "wtscale"),
                   BESIDE("qweight", "wcscales"),
                   BESIDE("qweight", "smooth"),
                   BESIDE("qweight", "smooth_orig"),
                   BESIDE("qweight", "smooth_factor"),
                   BESIDE("qweight", "smooth_factor_orig"),
                   BESIDE("qweight", "lora_down"), /* the weights are the codes' and this product's sum */
                   BESIDE("qweight", "lora_up"),
                   BESIDE("qweight", "proj_down"),
                   BESIDE("qweight", "proj_up"),
                   {0}};
TABLE(marlin) = {BESIDE("B", "workspace"), BESIDE("B_24", "B_meta"), BESIDE("B_24", "workspace"), {0}};
TABLE(packed) = {BESIDE("", "_zero_point"),
                 BESIDE("", "_g_idx"),
                 BESIDE("", "_global_scale"),
                 BESIDE("weight", "input_scale"),
                 BESIDE("weight", "pre_quant_scale"),
                 BESIDE("weight", "comfy_quant"),
                 {0}};
TABLE(scales) = {BESIDE("weight", "zero_point"), BESIDE("weight", "zeros"), BESIDE("weight", "zero"),
                 BESIDE("weight", "qzeros"),     BESIDE("weight", "g_idx"), {0}};
TABLE(mlx) = {BESIDE("weight", "biases"), {0}};
TABLE(hqq) = {BESIDE("W_q", "zero"),
              BESIDE("W_q", "meta"),
              BESIDE("W_q", "shape"),
              BESIDE("W_q", "nbits"),
              BESIDE("W_q", "group_size"),
              BESIDE("W_q", "axis"),
              BESIDE("W_q", "channel_wise"),
              BESIDE("W_q", "packing"),
              BESIDE("W_q", "optimize"),
              BESIDE("W_q", "round_zero"),
              BESIDE("W_q", "view_as_float"),
              BESIDE("W_q", "unpack_view_dtype"),
              BESIDE("W_q", "compute_dtype"),
              BESIDE("W_q", "quant_scale"),
              BESIDE("W_q", "quant_zero"),
              BESIDE("W_q", "offload_meta"),
              BESIDE("W_q", "stores_quant_config"),
              BESIDE("W_q", "encoded_state_dict"),
              {0}};
TABLE(aqlm) = {BESIDE("codes", "scales"), {0}};
TABLE(vptq) = {BESIDE("indices", "res_centroids.weight"),
               BESIDE("indices", "outlier_centroids.weight"),
               BESIDE("indices", "outlier_indices"),
               BESIDE("indices", "weight_scale"),
               BESIDE("indices", "weight_bias"),
               BESIDE("indices", "perm"),
               {0}};
TABLE(quip) = {BESIDE("Qidxs", "SV"),          BESIDE("Qidxs", "Wscale"), BESIDE("Qidxs", "codebook_id"),
               BESIDE("Qidxs", "fuse_scales"), BESIDE("Qidxs", "rcp"),    BESIDE("Qidxs", "scaleWH"),
               BESIDE("Qidxs", "A"),           BESIDE("Qidxs", "B"),      {0}};
TABLE(exl2) = {BESIDE("q_weight", "q_scale_max"), BESIDE("q_weight", "q_groups"),
               BESIDE("q_weight", "q_invperm"),   BESIDE("q_weight", "q_perm"),
               BESIDE("q_weight", "q_group_map"), {0}};
TABLE(exl3) = {BESIDE("trellis", "svh"), BESIDE("trellis", "su"),   BESIDE("trellis", "sv"),
               BESIDE("trellis", "mcg"), BESIDE("trellis", "mul1"), {0}};
TABLE(higgs) = {BESIDE("weight", "scales"), BESIDE("weight", "tables2"), BESIDE("weight", "qmap"), {0}};
TABLE(spqr) = {BESIDE("dense_weights", "col_vals"), BESIDE("dense_weights", "in_perm"), {0}};
TABLE(sparse) = {BESIDE(".compressed", ".shape"), BESIDE(".compressed", ".row_offsets"), {0}};

#define FLOAT   EMR_DTYPES_FLOAT
#define INTEGER EMR_DTYPES_INTEGER
#define ANY     EMR_DTYPES_ANY
#define U8      EMR_DTYPE_BIT(U8)
#define I32     EMR_DTYPE_BIT(I32)
#define SCALES  (FLOAT | U8 | EMR_DTYPE_BIT(F8_E4M3) | EMR_DTYPE_BIT(F8_E8M0))
#define BYTES   (U8 | EMR_DTYPE_BIT(I8) | EMR_DTYPE_BIT(F4))

const emr_code_rule emr_packed_rules[] = {
    {BESIDE("", ".quant_state.bitsandbytes__nf4"), ANY, U8, nf4_family, nf4_sidecars, is_column},
    {BESIDE("", ".quant_state.bitsandbytes__fp4"), ANY, U8, fp4_family, nf4_sidecars, is_column},
    {BESIDE("", ".absmax"), BYTES, FLOAT | U8, blockwise_family, nf4_sidecars, NULL},
    {BESIDE("", "_absmax"), BYTES, FLOAT | U8, blockwise_family, blockwise_sidecars, NULL},
    {BESIDE("_packed", "_scale"), INTEGER, SCALES, family_by_scale, compressed_sidecars, NULL},
    {BESIDE("qweight", "g_idx"), INTEGER, INTEGER, gptq_family, gptq_sidecars, NULL},
    {BESIDE("qweight", "qzeros"), INTEGER, INTEGER | FLOAT, awq_family, awq_sidecars, NULL},
    {BESIDE("qweight", "wscales"), INTEGER, SCALES, svdquant_family, svdquant_sidecars, NULL},
    {BESIDE("qweight", "scales"), INTEGER, SCALES, family_by_scale, qweight_sidecars, NULL},
    {BESIDE("B", "s"), I32, FLOAT, marlin_family, marlin_sidecars, NULL},
    {BESIDE("B_24", "s"), I32, FLOAT, marlin_family, marlin_sidecars, NULL},
    {BESIDE("_blocks", "_scales"), U8, U8, mxfp4_family, NULL, NULL},
    {BESIDE(".blocks", ".scales"), U8, U8, mxfp4_family, NULL, NULL},
    {BESIDE("", "_scale_2"), BYTES, FLOAT, nvfp4_family, nvfp4_sidecars, NULL},
    {BESIDE("", "_weight_scale_2"), BYTES, FLOAT, nvfp4_family, nvfp4_sidecars, NULL},
    {BESIDE("", "_scale"), U8 | I32 | EMR_DTYPE_BIT(F4), SCALES, family_by_scale, packed_sidecars, NULL},
    {BESIDE("weight", "scales"), EMR_DTYPE_BIT(U32), FLOAT | U8, mlx_family, mlx_sidecars, NULL},
    {BESIDE("weight", "tables"), INTEGER, FLOAT, higgs_family, higgs_sidecars, NULL},
    {BESIDE("", "_scales"), INTEGER, SCALES, family_by_scale, packed_sidecars, NULL},
    {BESIDE("weight", "scales"), INTEGER, SCALES, family_by_scale, scales_sidecars, NULL},
    {BESIDE("weight", "scale"), INTEGER, SCALES, family_by_scale, scales_sidecars, NULL},
    {BESIDE("weight", "scales_and_zeros"), INTEGER, FLOAT, family_by_scale, NULL, NULL},
    {BESIDE("W_q", "scale"), ANY, FLOAT, hqq_family, hqq_sidecars, NULL},
    {BESIDE("codes", "codebooks"), INTEGER, FLOAT, aqlm_family, aqlm_sidecars, NULL},
    {BESIDE("indices", "centroids.weight"), INTEGER, FLOAT, vptq_family, vptq_sidecars, NULL},
    {BESIDE("Qidxs", "SU"), INTEGER, FLOAT, quip_family, quip_sidecars, NULL},
    {BESIDE("q_weight", "q_scale"), INTEGER, INTEGER, exl2_family, exl2_sidecars, NULL},
    {BESIDE("trellis", "suh"), INTEGER, FLOAT, exl3_family, exl3_sidecars, NULL},
    {BESIDE("dense_weights", "row_offsets"), INTEGER, INTEGER, spqr_family, spqr_sidecars, NULL},
    {BESIDE(".compressed", ".bitmask"), ANY, U8, sparse_family, sparse_sidecars, NULL},
    {{0}, 0, 0, NULL, NULL, NULL},
};
