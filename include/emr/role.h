/* role.h - what a tensor is to its model. Most are weights. Some are numbers that mean nothing alone (FP8
 * beside its scales), or that nobody trained (running statistics, LoRA's alpha): merged like weights they
 * would be silently wrong.
 *
 *     emr_tensor_role role = EMR_INIT(emr_tensor_role);
 *     for (uint32_t i = 0; emr_tensor_get_role(emr_model_tensor(model, i), &role) == EMR_OK; i++)
 *         if (role.role != EMR_ROLE_WEIGHT)
 *             printf("%s: %s, %s\n", emr_tensor_name(emr_model_tensor(model, i)), emr_role_name(role.role),
 *                    role.family); // l.weight: code, FP8 with a scale a tensor
 *
 * A role is read from names, dtypes and shapes together, those of the tensors that it depends on included; no
 * bytes are read. docs/checkpoints.md lists what is recognised. A merge takes tensors of other roles than
 * EMR_ROLE_WEIGHT as each task has them, unless emr_policy.merge_globs says otherwise. */
#ifndef EMR_ROLE_H
#define EMR_ROLE_H

#include "emr/export.h"
#include "emr/status.h"
#include "emr/tensor.h"

typedef uint32_t emr_role;
enum {
    EMR_ROLE_WEIGHT = 0,    /* an ordinary tensor: merged if it is a float */
    EMR_ROLE_CODE = 1,      /* stands for weights, together with its side-cars: FP8, int8, NF4, GPTQ, ... */
    EMR_ROLE_SIDECAR = 2,   /* belongs to a code: a scale, a zero point, the order of its columns, ... */
    EMR_ROLE_STATISTIC = 3, /* gathered while training: running means and variances, optimiser states */
    EMR_ROLE_CONSTANT = 4,  /* given by architecture or configuration: LoRA's alpha, masks, rotary tables */
    EMR_ROLE_MAGNITUDE = 5  /* DoRA's lengths, which only go with the directions they were trained for */
};

typedef struct emr_tensor_role {
    size_t size;
    const char *family;     /* "FP8 with a scale a tensor"; a static string; NULL for a weight */
    const emr_tensor *code; /* a side-car's; NULL for others */
    emr_role role;
    uint32_t can_dequantise; /* a code or its side-car: emr_checkpoint_read_options.dequantise makes it F32 */
} emr_tensor_role;

EMR_BEGIN_DECLS

/* What a tensor is among those that its model has now. EMR_EINVAL where one is NULL. A few look-ups by name;
 * no memory is allocated. Names of 1,000 bytes and more are weights'. */
EMR_API emr_status emr_tensor_get_role(const emr_tensor *tensor, emr_tensor_role *role);

/* "weight", "code", "sidecar", "statistic", "constant", "magnitude", or "?". Static strings. */
EMR_API const char *emr_role_name(emr_role role);

EMR_END_DECLS

#endif
