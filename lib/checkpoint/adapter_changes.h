/* adapter_changes.h - what an adapter changes in a base: found by names (adapter_changes.c), then checked by
 * shapes and computed as far as it is before elements are (adapter_fit.c). */
#ifndef EMR_CHECKPOINT_ADAPTER_CHANGES_H
#define EMR_CHECKPOINT_ADAPTER_CHANGES_H

#include "checkpoint/adapter_settings.h"
#include "checkpoint/adapter_weights.h"
#include "core/resources.h"

/* What becomes of one tensor of the result. */
typedef struct emr_change {
    char *name;              /* of the result; the base's where that has it */
    char *module;            /* of the adapter, as patterns know it; NULL: nothing but `saved` */
    const emr_tensor *base;  /* NULL: only the adapter has it */
    const emr_tensor *saved; /* what takes the base's place; or NULL */
    const emr_tensor *a, *b, *magnitude, *ia3;
    float *factors;
    bool is_embedding, is_bias;
    emr_adapted work;
} emr_change;

typedef struct emr_adaptation {
    emr_env env;
    emr_adapter_settings settings;
    const emr_model *base, *adapter;
    emr_change *changes;
    size_t n, capacity;
    emr_names names;       /* of the changes */
    char *dropped, *added; /* how the base's names differ from the adapter's at their beginnings; NULL: not */
    bool has_square, has_turned, has_straight; /* of matrices: either way fits; only one does */
} emr_adaptation;

/* Settings first, then a change for each tensor that the adapter changes or brings, by names alone. */
emr_status emr_changes_find(emr_adaptation *adaptation, emr_error *error);

/* Each change's `work` from the shapes, and all factors. */
emr_status emr_changes_fit(emr_adaptation *adaptation, emr_error *error);

/* What the reader of any of them needs. */
size_t emr_changes_scratch(const emr_adaptation *adaptation);

/* The change of the tensor that the adapter calls `name`, a new one where there is none; or the base's
 * tensor, NULL where it has none. Changes may move. */
emr_status emr_changes_get(emr_adaptation *adaptation, const char *name, emr_change **change,
                           emr_error *error);
emr_status emr_changes_find_base(const emr_adaptation *adaptation, const char *name, const emr_tensor **found,
                                 emr_error *error);

/* The change of the result's tensor of that name, or NULL. */
const emr_change *emr_changes_lookup(const emr_adaptation *adaptation, const char *name);

void emr_changes_free(emr_adaptation *adaptation);

#endif
