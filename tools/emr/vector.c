/* vector.c - what one task's modulator adds to the base, as a model: for emr export --vector. */
#include "cli.h"

#include <stdlib.h>

enum { VECTOR_CHUNK = 8192 };

typedef struct vector_source {
    const emr_bundle *bundle;
    uint32_t task;
} vector_source;

/* What a thread works with: a modulator of its own, and a base of zeros. */
typedef struct vector_scratch {
    emr_modulator *modulator;
    float zeros[VECTOR_CHUNK];
} vector_scratch;

static emr_status open_modulator(void *user, void *scratch, emr_error *error)
{
    const vector_source *source = user;
    vector_scratch *s = scratch;
    return emr_bundle_open_modulator(&s->modulator, source->bundle, source->task, NULL, error);
}

static void close_modulator(void *user, void *scratch)
{
    (void)user;
    emr_modulator_destroy(&((vector_scratch *)scratch)->modulator);
}

/* `user` is the tensor's number, in the bundle as in the modulator. */
static emr_status compute_vector(const emr_computation *c, emr_error *error)
{
    vector_scratch *s = c->scratch;
    emr_application application = EMR_INIT(emr_application);
    application.tensor = (uint32_t)(uintptr_t)c->user;
    application.first = c->first;
    application.count = c->count;
    application.base = s->zeros;
    application.base_dtype = EMR_DTYPE_F32;
    application.out = c->out;
    application.out_dtype = EMR_DTYPE_F32;
    return emr_modulator_apply(s->modulator, &application, error);
}

static emr_status add_vectors(emr_model *model, const emr_bundle *bundle, emr_error *error)
{
    emr_tensor_info t = EMR_INIT(emr_tensor_info);
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && emr_bundle_get_tensor(bundle, i, &t) == EMR_OK && t.merged; i++) {
        const emr_tensor_desc desc = {.size = sizeof desc,
                                      .name = t.name,
                                      .shape = t.shape,
                                      .rank = t.rank,
                                      .dtype = EMR_DTYPE_F32,
                                      .compute = compute_vector,
                                      .user = (void *)(uintptr_t)i,
                                      .max_count = VECTOR_CHUNK};
        status = emr_model_add(model, &desc, error);
    }
    return status;
}

emr_status open_vector(emr_model **model, const emr_bundle *bundle, uint32_t task, emr_error *error)
{
    vector_source *source = malloc(sizeof *source);
    const emr_model_options options = {.size = sizeof options,
                                       .name = emr_bundle_name(bundle),
                                       .user = source,
                                       .destroy = free,
                                       .scratch_bytes = sizeof(vector_scratch),
                                       .open_scratch = open_modulator,
                                       .close_scratch = close_modulator};
    if (!source)
        return EMR_ENOMEM;
    *source = (vector_source){bundle, task};
    emr_status status = emr_model_create(model, &options, error);
    if (status)
        free(source);
    return status ? status : add_vectors(*model, bundle, error);
}
