/* permutation.h - hidden units have no order of their own: which axes of a model's tensors move together, and models whose
 * units are in another order. new[i] = old[p[i]].
 *
 *     emr_permutation_spec_derive(&spec, model, config_json, NULL, &error);   // or _parse
 *     emr_permutation_create(&permutation, spec, NULL, &error);               // changes nothing
 *     emr_permutation_set_units(permutation, "layers.0.mlp", p, &error);
 *     emr_permutation_open_model(permutation, model, &reordered, &error);     // the same function of its inputs
 *
 * A spec is text too (JSON, docs/fitting.md has the format): groups of axes, and the linear layers with the sites of their inputs.
 * Two kinds of group:
 * - units: `size` of them, at each of their axes; with blocks (GroupNorm), blocks go to blocks, and units stay in theirs.
 * - heads of attention: kv heads are permuted; within each its query heads (slots); its dimensions of q and k together, unless
 *   rotary positions fix them; its dimensions of v and of the output's input together. */
#ifndef EMR_FIT_PERMUTATION_H
#define EMR_FIT_PERMUTATION_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/fit/regmean.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/status.h"

typedef struct emr_permutation_spec emr_permutation_spec;
typedef struct emr_permutation emr_permutation;

/* A group. Strings are the spec's. */
typedef struct emr_unit_group {
    size_t size;
    const char *name;
    uint64_t n_units;  /* of a group of units; 0: it is one of heads */
    uint32_t n_blocks; /* 1: units may go anywhere */
    uint32_t n_heads;  /* of queries */
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t fixed_qk; /* non-zero: dimensions of q and k stay where they are */
    uint32_t reserved;
} emr_unit_group;

/* How heads are permuted. Arrays of K kv heads, r = n_heads / K query heads each, d = head_dim: new kv head g is old head
 * kv[g]; its s-th query head was the slot[g * r + s]-th one of it; qk[g * d + i] and v[g * d + i] are old dimensions. */
typedef struct emr_head_units {
    size_t size;
    const uint32_t *kv;
    const uint32_t *slot;
    const uint32_t *qk;
    const uint32_t *v;
} emr_head_units;

/* Zero means the default. */
typedef struct emr_derive_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    uint32_t
        residual; /* non-zero: a group for the residual stream too; a model without a head then gives its outputs in
                          another order. Leave it for models that were trained from different initialisations */
    uint32_t reserved;
} emr_derive_options;

EMR_BEGIN_DECLS

/* A spec out of n bytes of JSON. EMR_EFORMAT says what is wrong, and in which group. Axes are looked at when a model is there. */
EMR_API emr_status emr_permutation_spec_parse(emr_permutation_spec **spec, const char *json, size_t n,
                                              const emr_allocator *allocator, emr_error *error);

/* A spec for a model of a common architecture: multi-layer perceptrons (fc0, fc1, ...), BERT, GPT-2, Llama, Mistral, Qwen2,
 * Qwen3, ViT (timm's names and Hugging Face's), ResNets (torchvision's names). `config_json` is the text of its config.json, for
 * the numbers of heads; NULL where none is needed.
 * - EMR_EUNSUPPORTED: another architecture, or a tensor in it of which it is not known how it reads units that move.
 *   EMR_EFORMAT: the configuration is none. EMR_EMISMATCH: it does not fit. */
EMR_API emr_status emr_permutation_spec_derive(emr_permutation_spec **spec, const emr_model *model,
                                               const char *config_json, const emr_derive_options *options,
                                               emr_error *error);

/* What was made from it stays valid: it is shared. */
EMR_API void emr_permutation_spec_destroy(emr_permutation_spec **spec);

/* As JSON, to `io`, which needs `write`. */
EMR_API emr_status emr_permutation_spec_write(const emr_permutation_spec *spec, const emr_io *io,
                                              emr_error *error);

/* Whether a model has all axes of the spec, each long enough. EMR_EMISMATCH names group and tensor. */
EMR_API emr_status emr_permutation_spec_check(const emr_permutation_spec *spec, const emr_model *model,
                                              emr_error *error);

EMR_API uint32_t emr_permutation_spec_n_groups(const emr_permutation_spec *spec);
EMR_API emr_status emr_permutation_spec_get_group(const emr_permutation_spec *spec, uint32_t i,
                                                  emr_unit_group *group);
EMR_API uint32_t emr_permutation_spec_n_layers(const emr_permutation_spec *spec);
EMR_API emr_status emr_permutation_spec_get_layer(const emr_permutation_spec *spec, uint32_t i,
                                                  emr_fit_layer *layer);

/* One that changes nothing. NULL allocator: malloc and free. */
EMR_API emr_status emr_permutation_create(emr_permutation **permutation, const emr_permutation_spec *spec,
                                          const emr_allocator *allocator, emr_error *error);
EMR_API void emr_permutation_destroy(emr_permutation **permutation);

/* Sets a group; copied. EMR_EINVAL: it is no permutation, does not send blocks to blocks, or moves what is fixed.
 * EMR_ENOTFOUND: there is no such group of that kind. */
EMR_API emr_status emr_permutation_set_units(emr_permutation *permutation, const char *group,
                                             const uint32_t *units, emr_error *error);
EMR_API emr_status emr_permutation_set_heads(emr_permutation *permutation, const char *group,
                                             const emr_head_units *units, emr_error *error);

/* A group's, the handle's until it is set; NULL or EMR_ENOTFOUND where there is none of that kind. */
EMR_API const uint32_t *emr_permutation_units(const emr_permutation *permutation, const char *group);
EMR_API emr_status emr_permutation_get_heads(const emr_permutation *permutation, const char *group,
                                             emr_head_units *units);

/* The one that undoes it. */
EMR_API emr_status emr_permutation_invert(const emr_permutation *permutation, emr_permutation **inverse,
                                          emr_error *error);

/* First `first`, then `second`, both of one spec. */
EMR_API emr_status emr_permutation_compose(const emr_permutation *first, const emr_permutation *second,
                                           emr_permutation **composed, emr_error *error);

/* The permutation as a model, and out of one: U32 tensors named as the groups; of heads four, "GROUP.kv" [K], "GROUP.slot"
 * [K, r], "GROUP.qk" and "GROUP.v" [K, d]. */
EMR_API emr_status emr_permutation_open_indices(const emr_permutation *permutation, emr_model **model,
                                                emr_error *error);
EMR_API emr_status emr_permutation_read_indices(emr_permutation *permutation, const emr_model *model,
                                                emr_error *error);

/* A model whose units are in the new order, which must outlive it; the permutation need not, and need not stay as it is. Tensors that no
 * group names are as they are. Any range is read from the places that it comes from; concurrently.
 * - EMR_EMISMATCH: as emr_permutation_spec_check. EMR_EUNSUPPORTED: an axis of elements of less than a byte. */
EMR_API emr_status emr_permutation_open_model(const emr_permutation *permutation, const emr_model *model,
                                              emr_model **permuted, emr_error *error);

EMR_END_DECLS

#endif
