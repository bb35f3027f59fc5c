/* quantiles.c - see quantiles.h. */
#include "statistics/quantiles.h"

uint64_t emr_quantiles_memory(const emr_statistics *s, uint64_t sweep, uint64_t results)
{
    (void)s, (void)results;
    return sweep;
}

uint64_t emr_quantiles_bytes(const emr_statistics *s)
{
    (void)s;
    return 0;
}

emr_status emr_quantiles_find(emr_statistics *s, statistics_stage *stage, emr_error *error)
{
    (void)s, (void)stage;
    return emr_fail(error, EMR_EUNSUPPORTED, "quantiles: not yet");
}
