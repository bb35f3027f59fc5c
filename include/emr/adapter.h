/* adapter.h - adapters as the PEFT library saves them: whether they are of one kind, and what a model becomes
 * with one.
 *
 *     emr_checkpoint_open(&adapter, "french", NULL, &error); // or its .safetensors
 *     emr_adapter_apply(&french, base, adapter, NULL, &error); // W + s B A, computed as it is read
 */
#ifndef EMR_ADAPTER_H
#define EMR_ADAPTER_H

#include "emr/export.h"
#include "emr/model.h"
#include "emr/resources.h"

/* An adapter is a directory with adapter_model.safetensors and adapter_config.json. The latter's text is
 * carried, byte for byte, in the model's metadata under this key: through a bundle to the task's model. It
 * is a JSON object of at most EMR_ADAPTER_CONFIG_MAX bytes (so without zero bytes and valid UTF-8). */
#define EMR_ADAPTER_CONFIG     "adapter_config.json"
#define EMR_ADAPTER_CONFIG_MAX 1048576

/* Zero means the default. */
typedef struct emr_agree_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    const char *const *differ; /* keys of the configuration that may differ besides those that always may */
    size_t n_differ;
} emr_agree_options;

EMR_BEGIN_DECLS

/* Whether adapters can be merged: models none of which carries a configuration, or whose configurations
 * agree. `names` are what messages call them ("task 'french'"). Fewer than two models always agree.
 * - EMR_EMISMATCH: they do not; the sentence has both models, the key and both values.
 * - EMR_EFORMAT: a configuration is none.
 *
 * All keys must agree, also those that nobody here knows, but
 * - what says how the model is wrapped or was saved (task_type, peft_version, ...), or how it was trained
 *   (everything about dropout, how tensors were initialised, losses): they may be anything;
 * - what a task has back with its own configuration: scales (lora_alpha, alpha_pattern, use_rslora, ...);
 *   and in LoRA, AdaLoRA, LoHa, LoKr, (IA)^3, OFT, BOFT and HRA which layers it has (target_modules, ...), in
 *   the first four of these also ranks (r, rank_pattern). But where init_lora_weights has changed the model
 *   that the adapter belongs to, which depends on all of these, they must agree;
 * - init_lora_weights itself among values that leave that model as it is: true, false, "gaussian",
 *   "orthogonal", "eva", "mica". "pissa", "olora", "loftq", "corda" and "lora_ga" do not.
 * base_model_name_or_path and revision must agree: an adapter means nothing without its model. A key that is
 * absent, null, false, or an empty list or object is not set. The order of keys never counts, nor, at the
 * top level, that of lists which are sets, such as target_modules. Numbers are compared by value. Takes at
 * most 50 times the length of two configurations + 64 KiB of memory. */
EMR_API emr_status emr_adapters_agree(const emr_model *const *models, const char *const *names, size_t n,
                                      const emr_agree_options *options, emr_error *error);

/* The dimension of a LoRA tensor that is its rank, by the tensor's name: 0 in A, lora_embedding_A, lora_down;
 * 1 in B, lora_embedding_B, lora_up; else -1. B A stays the same where A gets rows and B columns of zeros. */
EMR_API int32_t emr_adapter_rank_dimension(const char *name);

/* Zeros, and ones for the vectors that (IA)^3 multiplies by ("X.ia3_l"), for the float tensors of another
 * model: the base of adapters that leave a model as it is. Else as emr_model_create_zeros; named "ones". */
EMR_API emr_status emr_adapter_create_ones(emr_model **model, const emr_model *like,
                                           const emr_allocator *allocator, emr_error *error);

/* What the base becomes with an adapter: the base's tensors in its order, then those that only the adapter
 * has; the base's metadata. Both models must outlive it. Elements are computed as they are read, by these
 * formulas, in f32 and in this order; each is rounded once into the dtype of the weight W, and NaN is always
 * the same one:
 * - LoRA, in linear, convolutional and embedding layers:  W + s p, with p = 0 + B[i][0] A[0][j] + B[i][1]
 *   A[1][j] + ..., s = lora_alpha / r or, with use_rslora, lora_alpha / sqrt(r), each as its alpha_pattern
 *   and rank_pattern say. Where W is stored transposed (GPT-2's Conv1D, embeddings), so is p: by the shapes,
 *   and by fan_in_fan_out where both fit. A bias gets s times that of B.
 * - DoRA:  V m / |V|, with V as above, |V| the root of the sum in f64 of the squares of what makes up one
 *   output, in the order in which it is stored; m / |V| is rounded to f32. All of V is read once here.
 * - (IA)^3:  W l, by outputs or by inputs; by outputs the bias, too.
 * - Other tensors of the adapter (modules_to_save, biases) take the base's place, or are added to it.
 *
 * "base_model.model.X.lora_A.weight" belongs to the base's X.weight; where the base's names have a prefix
 * more or less than the adapter's, it is found by the rest, if that is one tensor's.
 * - EMR_EUNSUPPORTED: it is no adapter, or of another kind, or made for a changed base (init_lora_weights
 *   "pissa", "olora", ...); weights that are not F32, F16 or BF16; patterns with groups or alternatives.
 * - EMR_EMISMATCH: shapes that do not fit, ranks that are not the configuration's, names that the base lacks.
 * - EMR_EFORMAT: the configuration is none.
 * - EMR_ECANCELED: the host wanted DoRA's reading to stop. Of `resources` the allocator and progress are
 *   used. */
EMR_API emr_status emr_adapter_apply(emr_model **model, const emr_model *base, const emr_model *adapter,
                                     const emr_resources *resources, emr_error *error);

EMR_END_DECLS

#endif
