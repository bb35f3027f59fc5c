/* merging.c - see merging.h. */
#include "merging.h"

#include <stdio.h>

emr_model *create_model(void)
{
    emr_error error;
    emr_model *model;
    check(emr_model_create(&model, NULL, &error), &error);
    return model;
}

static void add_shaped(emr_model *model, emr_tensor_desc d, uint64_t rows, uint64_t columns)
{
    emr_error error;
    uint64_t shape[2] = {rows, columns};
    d.size = sizeof d;
    d.rank = rows == 1 ? 1 : 2;
    d.shape = rows == 1 ? shape + 1 : shape;
    check(emr_model_add(model, &d, &error), &error);
}

void add_matrix(emr_model *model, const char *name, emr_dtype dtype, uint64_t rows, uint64_t columns,
                const void *data)
{
    add_shaped(model, (emr_tensor_desc){.name = name, .dtype = dtype, .data = data}, rows, columns);
}

void add_blocks(emr_model *model, const char *name, emr_block_type type, uint64_t rows, uint64_t columns,
                const void *data)
{
    add_shaped(model, (emr_tensor_desc){.name = name, .dtype = EMR_DTYPE_F32, .blocks = type, .data = data},
               rows, columns);
}

void add_computed(emr_model *model, const char *name, emr_dtype dtype, uint64_t rows, uint64_t columns,
                  emr_compute_fn compute, void *user)
{
    add_shaped(model, (emr_tensor_desc){.name = name, .dtype = dtype, .compute = compute, .user = user}, rows,
               columns);
}

void run_merge(const emr_merge_options *options, emr_model *const *models, size_t n_tasks,
               const emr_io *output)
{
    emr_error error;
    emr_merge *merge;
    emr_sink sink = EMR_INIT(emr_sink);
    check(emr_merge_create(&merge, options, &error), &error);
    check(emr_merge_set_base(merge, models[0], &error), &error);
    for (size_t i = 0; i < n_tasks; i++) {
        char name[32];
        snprintf(name, sizeof name, "task%zu", i);
        check(emr_merge_add_task(merge, name, models[i + 1], &error), &error);
    }
    check(output ? emr_merge_set_output(merge, output, &error) : emr_merge_set_sink(merge, &sink, &error),
          &error);
    check(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
}

void destroy_models(emr_model **models, size_t n)
{
    for (size_t i = 0; i < n; i++)
        emr_model_destroy(&models[i]);
}
