/* fixture.c - see fixture.h. */
#include "fixture.h"

static const test_tensor fixture_tensors[FIXTURE_TENSORS] = {
    {"w", EMR_DTYPE_F32, 2, {6, 40}},        {"ids", EMR_DTYPE_I64, 1, {5}},
    {"bias", EMR_DTYPE_F32, 1, {7}},         {"head.bias", EMR_DTYPE_F32, 1, {10}},
    {"scalar", EMR_DTYPE_F32, 0, {0}},       {"empty", EMR_DTYPE_F32, 2, {0, 4}},
    {"half", EMR_DTYPE_BF16, 3, {3, 5, 11}}, {"wide", EMR_DTYPE_F64, 1, {9}},
    {"big", EMR_DTYPE_F32, 2, {5, 30}},
};

void fixture_create(fixture *f, const emr_merge_options *given, bool large)
{
    static const char *const globs[] = {"head.*"};
    emr_merge_options options = given ? *given : EMR_INIT(emr_merge_options);
    test_tensor tensors[FIXTURE_TENSORS];
    memcpy(tensors, fixture_tensors, sizeof tensors);
    if (large) {
        tensors[8].shape[0] = 310;
        tensors[8].shape[1] = 1000; /* 310,000 parameters: two blocks of masks, five of unified values */
    }
    emr_policy policy = options.policy ? *options.policy : EMR_INIT(emr_policy);
    policy.private_globs = globs;
    policy.n_private_globs = 1;
    options.policy = &policy;
    f->set = test_set_create(tensors, FIXTURE_TENSORS, FIXTURE_TASKS, 77, SOURCE_MEMORY);
    f->buffer = test_merge_bundle(&f->set, &options);
    emr_error error;
    assert_ok(emr_bundle_open(&f->bundle, emr_buffer_io(f->buffer), "test.emr", NULL, &error), &error);
}

void fixture_create_rich(fixture *f)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.rescale_per = EMR_RESCALE_PER_ROW;
    options.embed_base = 1;
    fixture_create(f, &options, false);
}

void fixture_destroy(fixture *f)
{
    emr_bundle_destroy(&f->bundle);
    emr_buffer_destroy(&f->buffer);
    test_set_destroy(&f->set);
}

size_t fixture_index(const fixture *f, const char *name)
{
    size_t i = 0;
    while (strcmp(f->set.base.tensors[i].name, name) != 0)
        i++;
    return i;
}

unsigned char *read_all(const emr_tensor *tensor)
{
    size_t n = (size_t)emr_tensor_bytes(tensor);
    unsigned char *bytes = malloc(n + 1);
    emr_error error;
    assert_ok(emr_tensor_read(tensor, 0, bytes, n, &error), &error);
    return bytes;
}

bool same_models(const emr_model *a, const emr_model *b)
{
    bool same = emr_model_n_tensors(a) == emr_model_n_tensors(b);
    for (uint32_t i = 0; same && i < emr_model_n_tensors(a); i++) {
        const emr_tensor *x = emr_model_tensor(a, i), *y = emr_model_find_tensor(b, emr_tensor_name(x));
        same = y && emr_tensor_dtype(x) == emr_tensor_dtype(y) && emr_tensor_rank(x) == emr_tensor_rank(y) &&
               emr_tensor_bytes(x) == emr_tensor_bytes(y);
        for (uint32_t k = 0; same && k < emr_tensor_rank(x); k++)
            same = emr_tensor_shape(x)[k] == emr_tensor_shape(y)[k];
        if (!same)
            break;
        unsigned char *p = read_all(x), *q = read_all(y);
        same = memcmp(p, q, (size_t)emr_tensor_bytes(x)) == 0;
        free(p);
        free(q);
    }
    return same;
}
