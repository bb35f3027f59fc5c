/* nonfinite.c - see nonfinite.h. */
#include "pass/nonfinite.h"

#include "core/bytes.h"
#include "numeric/convert.h"

static bool is_finite_at(emr_dtype dtype, const void *values, size_t i)
{
    double value;
    emr_load_f64(&value, dtype, (const uint8_t *)values + i * emr_float_size(dtype), 1);
    return (emr_f64_bits(value) >> 52 & 0x7ff) != 0x7ff;
}

emr_nonfinite emr_nonfinite_examine(const emr_item *item, uint32_t task, size_t at)
{
    return (emr_nonfinite){.base = !is_finite_at(item->entry->base->dtype, item->base, at),
                           .task = item->tasks[task] &&
                                   !is_finite_at(item->task_dtypes[task], item->tasks[task], at)};
}

emr_status emr_nonfinite_fail(const emr_nonfinite *found, const emr_item *item, const emr_task *task,
                              size_t at, emr_error *error)
{
    const emr_tensor *base = item->entry->base;
    uint64_t index = item->first + at;
    if (found->base)
        return emr_fail(error, EMR_ENONFINITE,
                        "the base (%F): tensor '%T': NaN or infinity at index %u (to count it "
                        "as unchanged: --on-nonfinite zero)",
                        base->model_name, base->name, index);
    return emr_fail(error, EMR_ENONFINITE,
                    "task '%K' (%F): tensor '%T': %s at index %u (to count it as unchanged: "
                    "--on-nonfinite zero)",
                    task->name, task->model->name, base->name,
                    found->task ? "NaN or infinity" : "the difference from the base overflows f32", index);
}
