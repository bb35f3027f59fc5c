/* quantiles.h - exact quantiles of magnitudes, per tensor and for the model, by cutting lists (select.h). */
#ifndef EMR_STATISTICS_QUANTILES_H
#define EMR_STATISTICS_QUANTILES_H

#include "statistics/handle.h"

/* Peak memory of a run whose sums take `sweep` bytes and whose results `results` of them. */
uint64_t emr_quantiles_memory(const emr_statistics *statistics, uint64_t sweep, uint64_t results);

/* Bytes that are read for them, unless more readings are needed: what progress is told of. */
uint64_t emr_quantiles_bytes(const emr_statistics *statistics);

/* EMR_ELIMIT: too little memory; `results`: what is taken by them. */
emr_status emr_quantiles_check(const emr_statistics *statistics, uint64_t results, emr_error *error);

/* After the sums. */
emr_status emr_quantiles_find(emr_statistics *statistics, uint64_t results, statistics_stage *stage,
                              emr_error *error);

#endif
