/* adapter_keys.h - what each key of an adapter's configuration has to do with what the tensors mean. */
#ifndef EMR_CHECKPOINT_ADAPTER_KEYS_H
#define EMR_CHECKPOINT_ADAPTER_KEYS_H

#include <stdbool.h>

typedef enum emr_key_bearing {
    EMR_KEY_DECIDES, /* on all of it; also keys that nobody here knows */
    EMR_KEY_IDLE,    /* nothing, once training is over */
    EMR_KEY_SCALE,   /* a factor: comes back with the task's own configuration */
    EMR_KEY_LAYERS,  /* which layers there are; so does this, where a layer's tensors stand for themselves */
    EMR_KEY_RANK,    /* how many rows and columns; so does this, where they are terms of a sum */
    EMR_KEY_INIT,    /* how training began: see below */
    EMR_KEY_MODEL    /* which model it belongs to */
} emr_key_bearing;

/* Of a key at the top level. */
emr_key_bearing emr_adapter_key_bearing(const char *key);

/* Keys whose lists PEFT keeps as sets, or reads as if they were. */
bool emr_adapter_key_is_set(const char *key);

/* What may differ between adapters of a peft_type: layers, ranks. */
bool emr_adapter_layers_are_free(const char *peft_type);
bool emr_adapter_ranks_are_free(const char *peft_type);

/* Whether a string as the value of an EMR_KEY_INIT left the base as it was. */
bool emr_adapter_init_is_idle(const char *value);

#endif
