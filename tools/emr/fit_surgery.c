/* fit_surgery.c - `emr fit surgery`: an adapter, fitted on features in files. */
#include "fitting.h"

#include <stdlib.h>
#include <string.h>

/* Rows of features; n_rows * width of them. */
typedef struct features {
    float *values;
    size_t n_rows;
    size_t width;
} features;

static emr_status check_features(const emr_tensor *tensor, const char *name, const char *path,
                                 emr_error *error)
{
    if (!tensor)
        return fail_with(error, EMR_ENOTFOUND, path,
                         "there is no tensor '%.200s' (--features NAME says which holds features)", name);
    const uint64_t *shape = emr_tensor_shape(tensor);
    uint32_t rank = emr_tensor_rank(tensor);
    if (!emr_dtype_is_float(emr_tensor_dtype(tensor)) || rank < 2 || !emr_tensor_count(tensor))
        return fail_with(error, EMR_EFORMAT, path,
                         "tensor '%.200s' holds no features: floats of [samples, width]", name);
    return emr_tensor_count(tensor) / shape[rank - 1] <= SIZE_MAX / sizeof(float) / shape[rank - 1]
               ? EMR_OK
               : EMR_ENOMEM;
}

/* Samples, or samples and tokens: all dimensions but the last are rows. */
static emr_status read_features(features *f, const char *path, const arguments *a, emr_error *error)
{
    const char *name = a->fit.features ? a->fit.features : "features";
    emr_model *model;
    emr_status status = emr_checkpoint_open(&model, path, NULL, error);
    if (status)
        return status;
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    status = check_features(tensor, name, path, error);
    if (!status) {
        size_t n = (size_t)emr_tensor_count(tensor);
        f->width = (size_t)emr_tensor_shape(tensor)[emr_tensor_rank(tensor) - 1];
        f->n_rows = n / f->width;
        f->values = malloc(n * sizeof *f->values);
        status = f->values ? emr_tensor_read_floats(tensor, 0, n, f->values, error) : EMR_ENOMEM;
    }
    emr_model_destroy(&model);
    return status;
}

static emr_status check_pair(const features *x, const features *z, const arguments *a, emr_error *error)
{
    if (x->n_rows == z->n_rows && x->width == z->width)
        return EMR_OK;
    return fail_with(error, EMR_EMISMATCH, a->fit.individual,
                     "it has %zu samples of %zu features, and the merged model's file %zu of %zu: both "
                     "models must have seen the same samples",
                     z->n_rows, z->width, x->n_rows, x->width);
}

static emr_status fit_adapter(fit_job *j, emr_surgery *adapter, const features *x, const features *z,
                              const arguments *a, emr_error *error)
{
    const emr_surgery_fit_options options = {
        .size = sizeof options, .n_steps = a->fit.steps, .n_batch = a->fit.batch, .seed = a->seed};
    j->surgery = EMR_INIT(emr_surgery_report);
    count_progress("steps");
    emr_status status =
        emr_surgery_fit(adapter, x->values, z->values, x->n_rows, &options, &j->surgery, error);
    if (!status)
        status =
            emr_surgery_open_model((const emr_surgery *const *)&adapter, &a->fit.place, 1, &j->merged, error);
    return status;
}

emr_status make_surgery(fit_job *j, const arguments *a, emr_error *error)
{
    features x = {NULL, 0, 0}, z = {NULL, 0, 0};
    emr_surgery *adapter = NULL;
    const emr_adam adam = {.size = sizeof adam, .lr = a->fit.rate.value};
    emr_surgery_options options = {.size = sizeof options,
                                   .resources = &j->inputs.session.resources,
                                   .adam = &adam,
                                   .seed = a->seed,
                                   .rank = a->fit.rank,
                                   .loss = a->fit.loss};
    emr_status status = read_features(&x, a->fit.merged, a, error);
    if (!status)
        status = read_features(&z, a->fit.individual, a, error);
    if (!status)
        status = check_pair(&x, &z, a, error);
    options.width = x.width;
    if (!status)
        status = emr_surgery_create(&adapter, &options, error);
    if (!status)
        status = fit_adapter(j, adapter, &x, &z, a, error);
    j->n_samples = x.n_rows;
    emr_surgery_destroy(&adapter);
    free(x.values);
    free(z.values);
    return status;
}
