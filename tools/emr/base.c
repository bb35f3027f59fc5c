/* base.c - what --base names: a checkpoint, or the word "zeros" or "ones". */
#include "cli.h"

#include <string.h>

bool base_is_made(const arguments *a)
{
    return a->base && (strcmp(a->base, "zeros") == 0 || strcmp(a->base, "ones") == 0);
}

static emr_status make_base(emr_model **base, const arguments *a, const emr_model *like, emr_error *error)
{
    bool is_ones = strcmp(a->base, "ones") == 0;
    return (is_ones ? emr_adapter_create_ones : emr_model_create_zeros)(base, like, NULL, error);
}

/* The tensors that a bundle takes from its base, without their bytes: their names and shapes are all that
 * they need, and the bundle itself knows whether its base was that. */
static emr_status add_base_tensors(emr_model *model, const emr_bundle *bundle, emr_error *error)
{
    emr_tensor_info t = EMR_INIT(emr_tensor_info);
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && emr_bundle_get_tensor(bundle, i, &t) == EMR_OK; i++) {
        const emr_tensor_desc desc = {
            .size = sizeof desc, .name = t.name, .shape = t.shape, .rank = t.rank, .dtype = t.dtype};
        status = emr_model_add(model, &desc, error);
    }
    return status;
}

/* In a merge, they stand for the float tensors of the first task: as if a checkpoint of zeros had been made
 * from it, so that what holds for any base holds for this one. A float tensor that only later tasks have is
 * private to them, one that a later task lacks is an error or, with --on-missing base, what it is here. The
 * tensors of all tasks together would do worse: what one task alone has (its head, say) would be missing in
 * every other, and --on-missing base would give it to them.
 *
 * A bundle that is added to holds its first task, so adding sees the same base: besides what the bundle takes
 * from it, what that task has of its own. */
static emr_status add_private_tensors(emr_model *model, const emr_bundle *bundle, emr_error *error)
{
    emr_private_info t = EMR_INIT(emr_private_info);
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && emr_bundle_get_private(bundle, 0, i, &t) == EMR_OK; i++) {
        const emr_tensor_desc desc = {
            .size = sizeof desc, .name = t.name, .shape = t.shape, .rank = t.rank, .dtype = t.dtype};
        if (!emr_model_find_tensor(model, t.name))
            status = emr_model_add(model, &desc, error);
    }
    return status;
}

emr_status open_base(emr_model **base, const arguments *a, const emr_bundle *bundle, const emr_model *first,
                     emr_error *error)
{
    emr_model *like = NULL;
    bool is_copied = strcmp(a->command, "combine") == 0 || strcmp(a->command, "search") == 0 ||
                     is_fit(a); /* its files too */
    if (!base_is_made(a))
        return (is_copied ? open_task : open_checkpoint)(base, a->base, a, error);
    if (!bundle)
        return make_base(base, a, first, error);
    emr_status status = emr_model_create(&like, NULL, error);
    if (!status)
        status = add_base_tensors(like, bundle, error);
    if (!status && first)
        status = add_private_tensors(like, bundle, error);
    if (!status)
        status = make_base(base, a, like, error);
    emr_model_destroy(&like);
    return status;
}

/* Blocks of GGUF, or codes with scales. */
bool holds_quantised(const emr_model *m)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    for (uint32_t i = 0; i < emr_model_n_tensors(m); i++)
        if (emr_tensor_get_role(emr_model_tensor(m, i), &role) == EMR_OK && role.can_dequantise)
            return true;
    return holds_blocks(m);
}

/* A bundle does not know whether quantised tensors were made floats: that the commands are told alike is left
 * to the user. */
void hint_at_dequantise(const arguments *a, const emr_model *base, emr_status status, emr_error *error)
{
    const char *hint = NULL;
    size_t n = strlen(error->text);
    bool merges = strcmp(a->command, "merge") == 0;
    bool is_gguf = base && emr_model_find_tensor(base, EMR_GGUF_HEADER);
    if (status != EMR_EMISMATCH || !base || (merges && !is_gguf)) /* of codes the library itself says it */
        return;
    if (a->dequantise && !merges && is_gguf)
        hint = "--dequantise was given: was it to emr merge?";
    else if (!a->dequantise && holds_quantised(base))
        hint = merges ? "--dequantise merges quantised tensors"
                      : "--dequantise was not given: was it to emr merge?";
    if (hint)
        snprintf(error->text + n, sizeof error->text - n, " (%s)", hint);
}
