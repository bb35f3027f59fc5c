/* config_text.h - what has to change in a model's config.json where its weights change: the name of their type,
 * and that they are quantised. All other bytes stay as they are. */
#ifndef EMR_CHECKPOINT_CONFIG_TEXT_H
#define EMR_CHECKPOINT_CONFIG_TEXT_H

#include "emr/dtype.h"
#include "core/memory.h"

#define EMR_CONFIG_NAME "config.json"

/* Longer ones are carried, but not changed. */
enum { EMR_CONFIG_MAX = 16 << 20 };

typedef struct emr_config_change {
    emr_dtype dtype; /* torch_dtype and dtype become this one's name, where they are names; 0: they stay */
    bool drop_quantization; /* quantization_config goes */
} emr_config_change;

typedef struct emr_config {
    char *text; /* changed; NULL: it stays as it is */
    size_t n;
    bool is_diffusers; /* it says that diffusers wrote it */
} emr_config;

/* Whether transformers has a name for the type. */
bool emr_config_names(emr_dtype dtype);

/* Looks at the `n` bytes of a configuration. EMR_EFORMAT where it is to change and is no JSON; but NaN and
 * Infinity, which transformers writes, are passed over. The text is the caller's to release. Takes at most 24
 * times its length of memory, and 64 KiB. */
emr_status emr_config_look(emr_config *config, const emr_allocator *allocator, const char *text, size_t n,
                           const emr_config_change *change, const char *path, emr_error *error);

#endif
