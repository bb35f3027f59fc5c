/* derive.h - what deriving a spec is made of: each architecture's function reads like the network, which weights make units, and
 * which read them. */
#ifndef EMR_FIT_DERIVE_H
#define EMR_FIT_DERIVE_H

#include "spec.h"

#include <jansson.h>

enum { NAME_BYTES = 512 };

/* A spec that is being derived. */
typedef struct deriving {
    emr_permutation_spec *spec;
    const emr_model *model;
    const json_t *config; /* NULL: there is none */
    bool residual;
    emr_status status; /* the first failure's */
    emr_error *error;
} deriving;

void fit_stop_deriving(deriving *d, emr_status status, const char *what, const char *name);
const emr_tensor *fit_find_tensor(const deriving *d, const char *name);

/* "PREFIX.NAME", in one of a few places by turns: as many names live at a time. */
typedef struct names {
    char text[4][NAME_BYTES];
    unsigned turn;
} names;
const char *fit_join_name(names *n, const char *prefix, const char *name);

/* Length of an axis; 0 where there is none, which ends the derivation. */
uint64_t fit_length_of(deriving *d, const char *prefix, const char *name, uint32_t axis);

/* A whole number of the configuration, in it or in its text_config or vision_config; 0 where there is none. */
uint64_t fit_config_number(const deriving *d, const char *key);
/* By one of two keys; that it is absent ends the derivation. */
uint64_t fit_need_number(deriving *d, const char *key, const char *other);

/* Groups. They move when another one is added. */
spec_group *fit_units(deriving *d, const char *prefix, const char *name, uint64_t n_units);
spec_group *fit_heads(deriving *d, const char *prefix, const char *name, uint64_t n_heads,
                      uint64_t n_kv_heads, uint64_t head_dim);

/* A weight's axis makes units; a layer's weight and, where it has one, its bias make units; the same of a third of a fused
 * one; a weight's axis reads units. */
spec_axis *fit_makes(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *name,
                     uint32_t axis);
void fit_both(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *layer,
              uint32_t axis);
void fit_third(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *layer,
               uint32_t axis, uint64_t offset);
spec_axis *fit_reads(deriving *d, spec_group *g, spec_part part, const char *prefix, const char *name,
                     uint32_t axis);

void fit_add_site(deriving *d, spec_group *g, const char *prefix, const char *name);
void fit_add_layer(deriving *d, const char *prefix, const char *name, const char *site_name,
                   uint32_t input_axis);

/* The residual stream, to which axes are added as layers are met: a group of its own, which comes last, if it is wanted. */
typedef struct stream {
    spec_group group;
} stream;
/* Layer p of an encoder by Hugging Face's names, of BERT or ViT, with q, k and v in "P.SELF"; norms apart. */
void fit_encoder_layer(deriving *d, stream *s, const char *p, const char *self, uint64_t n_heads,
                       uint64_t width);
/* Heads of common names that read the stream as the network leaves it. */
void fit_end_in_heads(deriving *d, stream *s);
void fit_end_stream(deriving *d, stream *s, uint64_t width, const char *prefix, const char *site_name);

/* Ends the derivation where a matrix with an axis of `width` (0: any matrix) is in no group: something else reads the
 * units that move. */
void fit_refuse_unknown(deriving *d, uint64_t width);

/* The architectures. `root` is what stands before the names that they have in common. */
void fit_derive_mlp(deriving *d);
void fit_derive_gpt2(deriving *d, const char *root);
void fit_derive_bert(deriving *d, const char *root);
void fit_derive_llama(deriving *d, const char *root);
void fit_derive_vit(deriving *d, const char *root);      /* Hugging Face's names */
void fit_derive_timm_vit(deriving *d, const char *root); /* timm's */
void fit_derive_resnet(deriving *d, const char *root);

#endif
