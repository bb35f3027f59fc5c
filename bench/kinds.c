/* kinds.c - see kinds.h. */
#include "kinds.h"

#define SPEC(...)                                                                                            \
    {                                                                                                        \
        .size = sizeof(emr_modulation_spec), __VA_ARGS__                                                     \
    }

const bench_kind bench_kinds[] = {
    {"mask", 1, true, SPEC(.kind = EMR_MODULATOR_KIND_MASK)},
    {"mask nearest", 1, true, SPEC(.kind = EMR_MODULATOR_KIND_MASK, .mask_rule = EMR_MASK_RULE_NEAREST)},
    {"two-sided", 1, true, SPEC(.kind = EMR_MODULATOR_KIND_TWO_SIDED)},
    {"sign", 1, false, SPEC(.kind = EMR_MODULATOR_KIND_SIGN)},
    {"thin 1/4", 0.25, false, SPEC(.kind = EMR_MODULATOR_KIND_THIN, .thinning = 4)},
    {"thin 1/32", 0.03125, false, SPEC(.kind = EMR_MODULATOR_KIND_THIN, .thinning = 32)},
    {"levels 4", 2, false, SPEC(.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 4)},
    {.name = NULL},
};
