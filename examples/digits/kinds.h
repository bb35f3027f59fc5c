/* kinds.h - the same networks merged with each kind of modulator. */
#ifndef DIGITS_KINDS_H
#define DIGITS_KINDS_H

#include "network.h"
#include "results.h"

/* Merges base and tasks once for each kind, and measures every task's network on its samples. */
emr_status kinds_measure(kind_result kinds[N_KINDS], const emr_model *base, emr_model *const tasks[N_TASKS],
                         const samples samples[N_TASKS], emr_error *error);

#endif
