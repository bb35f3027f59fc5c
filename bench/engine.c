/* engine.c - see engine.h. */
#include "engine.h"

#include "merging.h"

#include <stdio.h>

size_t tensor_params(const engine *e)
{
    return e->values.n / TENSORS;
}

const char *engine_tensor(char *name, size_t size, size_t i)
{
    snprintf(name, size, "layers.%zu.weight", i);
    return name;
}

static emr_model *engine_model(const engine *e, size_t source)
{
    emr_model *model = create_model();
    for (size_t i = 0; i < TENSORS; i++) {
        char name[32];
        add_matrix(model, engine_tensor(name, sizeof name, i), e->values.dtype, tensor_params(e) / COLUMNS,
                   COLUMNS, e->values.sources[source] + i * tensor_params(e) * e->values.size);
    }
    return model;
}

void make_bundle(engine *e, int compression)
{
    emr_error error;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &e->team->resources;
    o.compression = compression;
    o.unified_dtype = e->unified_dtype;
    o.modulation = &e->kind->spec;
    check(emr_buffer_create(&e->file, NULL, &error), &error);
    run_merge(&o, e->models, TASKS, emr_buffer_io(e->file));
    check(emr_buffer_open(&e->memory, emr_buffer_data(e->file), emr_buffer_bytes(e->file), NULL, &error),
          &error);
    check(emr_bundle_open(&e->bundle, emr_buffer_io(e->memory), NULL, NULL, &error), &error);
}

void destroy_bundle(engine *e)
{
    emr_bundle_destroy(&e->bundle);
    emr_buffer_destroy(&e->memory);
    emr_buffer_destroy(&e->file);
}

void open_session(engine *e, uint64_t mask_bytes)
{
    emr_error error;
    emr_session_options o = EMR_INIT(emr_session_options);
    o.resources = &e->team->resources;
    o.check = EMR_BASE_CHECK_NONE;
    o.mask_bytes = mask_bytes;
    check(emr_session_create(&e->session, e->bundle, e->models[0], &o, &error), &error);
}

engine engine_create(const settings *s, const team *t, const bench_kind *kind, emr_dtype dtype,
                     emr_dtype unified)
{
    engine e = {.team = t,
                .kind = kind,
                .n_columns = COLUMNS,
                .unified_dtype = unified,
                .unified_size = kind->shares_unified ? emr_dtype_bits(unified) / 8 : 0};
    size_t n = (size_t)size_of_run(s, 32 << 20, 1 << 18), size = emr_dtype_bits(dtype) / 8;
    e.values = synthetic_create(t, dtype, AT_PAGES, TASKS, n * size * (TASKS + 1), TENSORS * COLUMNS * 8);
    e.weights = allocate_large(e.values.n * size);
    e.x = allocate_large(TASKS * COLUMNS * sizeof *e.x);
    e.y = allocate_large(TASKS * (e.values.n / TENSORS / COLUMNS) * sizeof *e.y);
    synthetic_values(EMR_DTYPE_F32, e.x, 3, 0, TASKS * COLUMNS);
    for (size_t i = 0; i <= TASKS; i++)
        e.models[i] = engine_model(&e, i);
    for (size_t i = 0; i < TENSORS; i++)
        e.targets[i] = (emr_weights){.size = sizeof(emr_weights),
                                     .tensor = (uint32_t)i,
                                     .data = e.weights + i * tensor_params(&e) * size,
                                     .dtype = dtype};
    make_bundle(&e, EMR_COMPRESSION_NONE);
    return e;
}

void engine_destroy(engine *e)
{
    size_t n = e->values.n;
    destroy_bundle(e);
    destroy_models(e->models, 1 + TASKS);
    release_large(e->weights, n * e->values.size);
    release_large(e->x, TASKS * COLUMNS * sizeof *e->x);
    release_large(e->y, TASKS * (n / TENSORS / COLUMNS) * sizeof *e->y);
    synthetic_destroy(&e->values);
}

void switch_task(void *arg)
{
    engine *e = arg;
    emr_error error;
    e->task = (e->task + 1) % TASKS;
    check(emr_session_apply(e->session, e->task, e->targets, TENSORS, &error), &error);
}

void set_batch(engine *e, size_t n_vectors, size_t n_tasks)
{
    e->n_vectors = n_vectors;
    for (size_t i = 0; i < n_vectors; i++)
        e->batch[i] = (uint32_t)(i % n_tasks);
}

emr_product product_of(const engine *e)
{
    emr_product p = EMR_INIT(emr_product);
    p.n_columns = e->n_columns;
    p.n_rows = tensor_params(e) / e->n_columns;
    p.x = e->x;
    p.y = e->y;
    p.batch = e->n_vectors;
    p.without_base = e->change;
    return p;
}

void multiply_batch(void *arg)
{
    const engine *e = arg;
    emr_error error;
    emr_product p = product_of(e);
    for (; p.tensor < TENSORS; p.tensor++)
        check(emr_session_multiply(e->session, e->batch, &p, &error), &error);
}
