/* options.c - see options.h. */
#include "options.h"

#include "gram.h"

emr_status fit_check_float(emr_dtype dtype, const char *type, emr_error *error)
{
    if (!dtype || dtype == EMR_DTYPE_F32 || dtype == EMR_DTYPE_F16 || dtype == EMR_DTYPE_BF16 ||
        dtype == EMR_DTYPE_F64)
        return EMR_OK;
    return emr_error_format(error, EMR_EINVAL, "%s: dtype is F32, F16, BF16 or F64", type);
}

emr_status fit_check_gram(const emr_gram *gram, uint32_t n_models, const char *type, emr_error *error)
{
    if (!gram || gram->n_models == n_models)
        return EMR_OK;
    return emr_error_format(error, EMR_EINVAL, "%s: the gram is of %u models, not of %u", type,
                            (uint64_t)gram->n_models, (uint64_t)n_models);
}

emr_status fit_check_report(const emr_match_report *report, emr_error *error)
{
    if (!report || report->size >= FIT_ENDS_WITH(emr_match_report, n_groups))
        return EMR_OK;
    return emr_error_format(error, EMR_EINVAL, "emr_match_report: size is not set: begin with EMR_INIT");
}
