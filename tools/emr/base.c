/* base.c - what --base names: a checkpoint, or the word "zeros". */
#include "cli.h"

#include <string.h>

bool base_is_zeros(const arguments *a)
{
    return a->base && strcmp(a->base, "zeros") == 0;
}

/* The tensors that a bundle takes from its base, without their bytes: their names and shapes are all that
 * zeros need, and the bundle itself knows whether its base was zeros. */
static emr_status tensors_of(emr_model **model, const emr_bundle *bundle, emr_error *error)
{
    emr_tensor_info t = EMR_INIT(emr_tensor_info);
    emr_status status = emr_model_create(model, "zeros", NULL, error);
    for (size_t i = 0; !status && emr_bundle_tensor(bundle, i, &t) == EMR_OK; i++) {
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        desc.name = t.name;
        desc.shape = t.shape;
        desc.rank = t.rank;
        desc.dtype = t.dtype;
        status = emr_model_add(*model, &desc, error);
    }
    return status;
}

/* In a merge, zeros stand for the float tensors of the first task: as if a checkpoint of zeros had been made
 * from it, so that what holds for any base holds for this one. A float tensor that only later tasks have is
 * private to them, one that a later task lacks is an error or, with --on-missing base, zeros. The tensors of
 * all tasks together would do worse: what one task alone has (its head, say) would be missing in every other,
 * and
 * --on-missing base would give it to them. And the bundle holds the first task, so adding sees the same base.
 */
emr_status open_base(emr_model **base, const arguments *a, const emr_bundle *bundle, const emr_model *first,
                     emr_error *error)
{
    emr_model *own = NULL;
    emr_status status = EMR_OK;
    if (!base_is_zeros(a))
        return open_checkpoint(base, a->base, a, error);
    if (bundle)
        status = tensors_of(&own, bundle, error);
    if (!status)
        status = emr_model_zeros(base, bundle ? own : first, NULL, error);
    emr_model_destroy(&own);
    return status;
}
