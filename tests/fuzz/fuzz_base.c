/* fuzz_base.c - see fuzz_base.h. */
#include "fuzz_base.h"

/* The bytes of a base that is made up: no memory holds them. */
static emr_status read_pattern(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    fuzz_pattern *p = user;
    if (n > p->left) {
        strcpy(error ? error->text : (char[32]){0}, "the pattern ends here");
        return EMR_EIO;
    }
    p->left -= n;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)destination)[i] = (uint8_t)((offset + i) * 37 >> 2);
    return EMR_OK;
}

emr_model *fuzz_made_up_base(const emr_bundle *bundle, fuzz_pattern *pattern, size_t wrong,
                             fuzz_random *random)
{
    static const uint64_t other_shape[] = {3, 1, 7};
    emr_error error = {""};
    emr_bundle_info all = EMR_INIT(emr_bundle_info);
    emr_model *base;
    promise(emr_bundle_get_info(bundle, &all) == EMR_OK);
    promise(emr_model_create(&base, "made-up", NULL, &error) == EMR_OK);
    for (size_t i = 0; i < all.n_tensors; i++) {
        emr_tensor_info info = EMR_INIT(emr_tensor_info);
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        promise(emr_bundle_get_tensor(bundle, i, &info) == EMR_OK);
        desc.name = info.name;
        desc.dtype = info.dtype;
        desc.rank = info.rank;
        desc.shape = info.shape;
        desc.read = read_pattern;
        desc.user = pattern;
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
        if (fault == 1 && emr_model_add(base, &desc, &error) == EMR_EINVAL)
            continue; /* so large that other elements make it too large */
        promise(fault == 1 || emr_model_add(base, &desc, &error) == EMR_OK);
    }
    return base;
}
