/* fuzz_base.c - see fuzz_base.h. */
#include "fuzz_base.h"

#include "bundle/arrangement.h"

/* A tensor of it. */
typedef struct made_up {
    fuzz_pattern *pattern;
    uint64_t bits; /* of an element */
} made_up;

/* The bytes of a base that is made up: no memory holds them. */
static emr_status compute_pattern(const emr_computation *c, emr_error *error)
{
    const made_up *t = c->user;
    uint64_t offset = c->first * t->bits / 8;
    size_t n = (size_t)((c->count * t->bits + 7) / 8);
    if (n > t->pattern->left)
        return emr_error_set(error, EMR_EIO, 0, NULL, "the pattern ends here");
    t->pattern->left -= n;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)c->out)[i] = (uint8_t)((offset + i) * 37 >> 2);
    return EMR_OK;
}

emr_model *fuzz_made_up_base(const emr_bundle *bundle, fuzz_pattern *pattern, uint32_t wrong,
                             fuzz_random *random)
{
    static const uint64_t other_shape[] = {3, 1, 7};
    emr_error error = {0};
    emr_bundle_info all = EMR_INIT(emr_bundle_info);
    emr_model_options options = EMR_INIT(emr_model_options);
    emr_model *base;
    promise(emr_bundle_get_info(bundle, &all) == EMR_OK);
    made_up *tensors = calloc(all.n_tensors + 1, sizeof *tensors);
    promise(tensors != NULL);
    options.name = "made-up";
    options.user = tensors;
    options.destroy = free;
    promise(emr_model_create(&base, &options, &error) == EMR_OK);
    for (uint32_t i = 0; i < all.n_tensors; i++) {
        emr_tensor_info info = EMR_INIT(emr_tensor_info);
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        promise(emr_bundle_get_tensor(bundle, i, &info) == EMR_OK);
        desc.name = info.name;
        desc.dtype = info.dtype;
        desc.rank = info.rank;
        desc.shape = info.shape;
        desc.compute = compute_pattern;
        desc.user = &tensors[i];
        size_t fault = i == wrong ? fuzz_below(random, 3) : 3;
        if (fault == 0)
            continue;
        if (fault == 1)
            desc.dtype = info.dtype == EMR_DTYPE_C64 ? EMR_DTYPE_U8 : EMR_DTYPE_C64;
        if (fault == 2) {
            desc.shape = other_shape;
            desc.rank = info.rank == 2 ? 3 : 2;
            desc.dtype = EMR_DTYPE_F64;
        }
        tensors[i] = (made_up){pattern, emr_dtype_bits(desc.dtype)};
        if (fault == 1 && emr_model_add(base, &desc, &error) == EMR_EINVAL)
            continue; /* so large that other elements make it too large */
        promise(fault == 1 || emr_model_add(base, &desc, &error) == EMR_OK);
    }
    return base;
}

bool fuzz_is_arranged(const emr_bundle *bundle, uint32_t owner)
{
    size_t first, end;
    emr_bundle_arrangements(bundle, owner, &first, &end);
    return first < end;
}

/* What the base has of a tensor: nothing where it is the rest of another one. */
static bool find_own(const emr_bundle *bundle, uint32_t number, emr_tensor_desc *desc)
{
    size_t first, end;
    emr_bundle_arrangements(bundle, EMR_BASE, &first, &end);
    for (size_t i = first; i < end; i++) {
        emr_arrangement_record r = emr_bundle_arrangement_record(bundle, i);
        if (r.rest == number)
            return false;
        if (r.tensor != number)
            continue;
        desc->name = emr_bundle_string(bundle, r.name);
        desc->shape = emr_bundle_shape(bundle, r.shape);
    }
    return true;
}

emr_model *fuzz_own_base(const emr_bundle *bundle, fuzz_pattern *pattern)
{
    emr_error error = {0};
    emr_bundle_info all = EMR_INIT(emr_bundle_info);
    emr_model_options options = EMR_INIT(emr_model_options);
    emr_model *base;
    promise(emr_bundle_get_info(bundle, &all) == EMR_OK);
    made_up *tensors = calloc(all.n_tensors + 1, sizeof *tensors);
    promise(tensors != NULL);
    options.name = "own";
    options.user = tensors;
    options.destroy = free;
    promise(emr_model_create(&base, &options, &error) == EMR_OK);
    for (uint32_t i = 0; i < all.n_tensors; i++) {
        emr_tensor_info info = EMR_INIT(emr_tensor_info);
        promise(emr_bundle_get_tensor(bundle, i, &info) == EMR_OK);
        emr_tensor_desc desc = {.size = sizeof desc,
                                .name = info.name,
                                .dtype = info.dtype,
                                .rank = info.rank,
                                .shape = info.shape,
                                .compute = compute_pattern,
                                .user = &tensors[i]};
        tensors[i] = (made_up){pattern, emr_dtype_bits(desc.dtype)};
        if (find_own(bundle, i, &desc)) {
            emr_status status = emr_model_add(base, &desc, &error);
            promise(status == EMR_OK || status == EMR_EEXIST); /* two of one own name */
        }
    }
    return base;
}
