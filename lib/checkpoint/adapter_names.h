/* adapter_names.h - what a tensor of an adapter is, by its name. */
#ifndef EMR_CHECKPOINT_ADAPTER_NAMES_H
#define EMR_CHECKPOINT_ADAPTER_NAMES_H

#include <stddef.h>

typedef enum emr_adapter_role {
    EMR_ROLE_SAVED,       /* a tensor of the model itself: modules_to_save, biases */
    EMR_ROLE_A,           /* X.lora_A.weight */
    EMR_ROLE_B,           /* X.lora_B.weight */
    EMR_ROLE_B_BIAS,      /* X.lora_B.bias */
    EMR_ROLE_EMBEDDING_A, /* X.lora_embedding_A */
    EMR_ROLE_EMBEDDING_B, /* X.lora_embedding_B */
    EMR_ROLE_MAGNITUDE,   /* X.lora_magnitude_vector */
    EMR_ROLE_IA3,         /* X.ia3_l */
    EMR_ROLE_UNKNOWN      /* of an adapter, but of none that is known here */
} emr_adapter_role;

/* *length: of the module's name, X, with all prefixes; of the whole name where there is none. */
emr_adapter_role emr_adapter_role_of(const char *name, size_t *length);

/* The name behind "base_model.model.", or all of it. */
const char *emr_adapter_inner_name(const char *name);

#endif
