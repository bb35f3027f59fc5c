/* gguf.c - what the program says about GGUF models besides the library: that all models of a merge must be
 * of one kind, and which tensors --dequantise left as they were. */
#include "cli.h"

#include <string.h>

static const char *kind_name(const emr_model *model)
{
    return emr_model_find_tensor(model, EMR_GGUF_HEADER) ? "GGUF" : "safetensors";
}

/* Converters permute weights: even where names and shapes agree, values of the two kinds do not belong
 * together. Zeros are of any kind. */
emr_status check_kinds(const arguments *a, emr_model *const *models, const emr_model *base, emr_error *error)
{
    const char *first = kind_name(base && !base_is_made(a) ? base : models[0]);
    for (size_t i = 0; i < a->n_tasks; i++) {
        const char *kind = kind_name(models[i]), *task = a->tasks[i].name;
        if (strcmp(kind, first) == 0)
            continue;
        if (!base || base_is_made(a))
            return emr_error_format(error, EMR_EUNSUPPORTED,
                                    "task '%K' (%F) is %s, and task '%s' is %s: all must be of one kind",
                                    task, emr_model_name(models[i]), kind, a->tasks[0].name, first);
        return emr_error_format(error, EMR_EUNSUPPORTED,
                                "task '%K' (%F) is %s, and the base (%s) is %s: both must be of one kind",
                                task, emr_model_name(models[i]), kind, emr_model_name(base), first);
    }
    return EMR_OK;
}

bool holds_blocks(const emr_model *model)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++)
        if (emr_gguf_blocks(emr_model_tensor(model, i), NULL))
            return true;
    return false;
}

enum { TYPES_MAX = 32 };

/* "12 tensors of IQ2_XXS, 1 of MXFP4" for the tensors of blocks that a model has as bytes; empty: there are
 * none. */
static void list_blocks(const emr_model *model, char *text, size_t size)
{
    const char *types[TYPES_MAX];
    unsigned counts[TYPES_MAX] = {0};
    size_t n = 0, at = 0;
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const char *type = emr_gguf_blocks(emr_model_tensor(model, i), NULL);
        size_t k = 0;
        while (type && k < n && strcmp(types[k], type) != 0)
            k++;
        if (!type || k == TYPES_MAX)
            continue;
        types[k] = type;
        counts[k]++;
        n += k == n;
    }
    *text = '\0';
    for (size_t k = 0; k < n && at < size; k++)
        at += (size_t)snprintf(text + at, size - at, "%s%u %sof %s", k ? ", " : "", counts[k],
                               k                ? ""
                               : counts[k] == 1 ? "tensor "
                                                : "tensors ",
                               types[k]);
}

void note_kept_blocks(const arguments *a, emr_model *const *models, const emr_model *base)
{
    char before[400] = "", text[400];
    for (size_t i = !base; a->dequantise && !a->quiet && i <= a->n_tasks; i++) {
        const emr_model *model = i ? models[i - 1] : base;
        list_blocks(model, text, sizeof text);
        if (*text && strcmp(text, before) != 0) /* tasks are mostly as the base is: once is enough */
            complain(0, "note: %s: --dequantise does not know the type of %s, which stay bytes",
                     emr_model_name(model), text);
        memcpy(before, text, sizeof before);
    }
}
