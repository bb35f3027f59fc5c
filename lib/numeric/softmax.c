/* softmax.c - logits into probabilities, group by group (emr/heads.h). In f64, sums by position. Freestanding. */
#include "emr/heads.h"

#include "core/memory.h"
#include "core/structs.h"
#include "numeric/elementary.h"

#include <stdbool.h>

static double largest_logit(const float *z, uint64_t n)
{
    double largest = (double)z[0];
    for (uint64_t i = 1; i < n; i++)
        largest = (double)z[i] > largest || z[i] != z[i] ? (double)z[i] : largest;
    return largest;
}

/* exp(z_i - max), twice: once for the sum, once for the share. `p` may be `z`. */
static void softmax_values(const float *z, uint64_t n, float *p)
{
    double most = largest_logit(z, n), sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += emr_exp((double)z[i] - most);
    for (uint64_t i = 0; i < n; i++)
        p[i] = (float)(emr_exp((double)z[i] - most) / sum);
}

/* The exponential of what is at most 0: it cannot overflow. */
static double sigmoid_value(double z)
{
    double e = emr_exp(z < 0 ? z : -z);
    return z < 0 ? e / (1 + e) : 1 / (1 + e);
}

static void convert_group(const float *z, const emr_head_group *group, float *p)
{
    if (group->kind == EMR_HEAD_KIND_SOFTMAX && group->count > 1) {
        softmax_values(z, group->count, p);
        return;
    }
    for (uint64_t i = 0; i < group->count; i++)
        p[i] = group->kind == EMR_HEAD_KIND_IDENTITY ? z[i] : (float)sigmoid_value((double)z[i]);
}

/* The groups lie `groups->size` bytes apart. */
static emr_status take_head_group(emr_head_group *group, const emr_head_group *groups, size_t i,
                                  uint64_t *end)
{
    const void *given = (const char *)groups + i * groups->size;
    if (((const emr_head_group *)given)->size != groups->size)
        return EMR_EINVAL;
    emr_status status = EMR_TAKE(group, given, emr_head_group, NULL);
    if (status)
        return status;
    bool is_known = group->kind <= EMR_HEAD_KIND_IDENTITY && group->count;
    return is_known && emr_add(group->first, group->count, end) && *end <= SIZE_MAX / sizeof(float)
               ? EMR_OK
               : EMR_EINVAL;
}

static emr_status check_groups(const emr_head_group *groups, size_t n, size_t *stride)
{
    emr_head_group group;
    uint64_t furthest = 0, end = 0;
    for (size_t i = 0; i < n; i++) {
        emr_status status = take_head_group(&group, groups, i, &end);
        if (status)
            return status;
        furthest = end > furthest ? end : furthest;
    }
    if (!*stride)
        *stride = (size_t)furthest;
    return furthest <= *stride ? EMR_OK : EMR_EINVAL;
}

emr_status emr_group_softmax(const float *logits, size_t rows, size_t stride, const emr_head_group *groups,
                             size_t n_groups, float *out)
{
    emr_head_group group;
    uint64_t end;
    if (!logits || !groups || !out)
        return EMR_EINVAL;
    emr_status status = check_groups(groups, n_groups, &stride);
    for (size_t i = 0; !status && i < n_groups; i++) {
        status = take_head_group(&group, groups, i, &end);
        for (size_t row = 0; !status && row < rows; row++)
            convert_group(logits + row * stride + group.first, &group, out + row * stride + group.first);
    }
    return status;
}
