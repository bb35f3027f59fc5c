/* zip_tensor.c - see zip.h. */
#include "zip.h"

#include "weights.h"

#include <string.h>

/* One entry of the spec: each unit's elements go to the merged unit's place. */
static void zip_axis(const spec_group *g, const spec_axis *a, const zip_group *group, uint32_t n_models,
                     uint32_t m, const emr_tensor *tensor, bool averages, const double *from, double *to)
{
    const uint64_t *shape = emr_tensor_shape(tensor);
    uint64_t before = 1, after = 1, length = shape[a->axis], n = g->n_units;
    for (uint32_t i = 0; i < emr_tensor_rank(tensor); i++) {
        before *= i < a->axis ? shape[i] : 1;
        after *= i > a->axis ? shape[i] : 1;
    }
    memcpy(to, from, (size_t)emr_tensor_count(tensor) * sizeof *to);
    for (uint64_t b = 0; b < before; b++)
        for (uint64_t o = 0; o < a->outer; o++) {
            const uint64_t start = b * length, run = a->inner * after;
            for (uint64_t unit = 0; unit < n; unit++)
                memset(to + (start + spec_place(g, a, o, unit, 0)) * after, 0, (size_t)run * sizeof *to);
            for (uint64_t unit = 0; unit < n; unit++) {
                uint32_t into = group->member[m * n + unit];
                double share = averages ? (double)n_models / group->sizes[into] : 1;
                const double *one = from + (start + spec_place(g, a, o, unit, 0)) * after;
                double *sum = to + (start + spec_place(g, a, o, into, 0)) * after;
                for (uint64_t i = 0; i < run; i++)
                    sum[i] += share * one[i];
            }
        }
}

emr_status fit_zip_tensor(const emr_permutation_spec *spec, const zip_group *groups, uint32_t n_models,
                          uint32_t m, const emr_tensor *tensor, const spec_axis *without, bool compares,
                          double *values, double *room, emr_error *error)
{
    size_t count = (size_t)emr_tensor_count(tensor);
    emr_status status = fit_read(tensor, 0, count, values, error);
    for (size_t i = 0; !status && i < spec->n_groups; i++) {
        const spec_group *g = &spec->groups[i];
        for (size_t k = 0; groups[i].member && k < g->n_axes; k++) {
            if (&g->axes[k] == without || strcmp(g->axes[k].tensor, emr_tensor_name(tensor)) != 0)
                continue;
            zip_axis(g, &g->axes[k], &groups[i], n_models, m, tensor, g->axes[k].is_input == compares, values,
                     room);
            memcpy(values, room, count * sizeof *values);
        }
    }
    return status;
}
