/* format.c - the table of stream kinds; seals. Freestanding. */
#include "bundle/format.h"

#include "emr/dtype.h"
#include "core/hash.h"

static const emr_stream_rule stream_rules[EMR_N_STREAM_KINDS] = {
    [EMR_STREAM_UNIFIED] = {.name = "unified", .required = true, .length = EMR_LENGTH_UNIFIED},
    [EMR_STREAM_MASK] = {.name = "mask", .per_task = true, .required = true, .length = EMR_LENGTH_CODES},
    [EMR_STREAM_BASE] = {.name = "base", .required = true, .length = EMR_LENGTH_ANY},
    [EMR_STREAM_PRIVATE] = {.name = "private", .per_task = true, .required = true, .length = EMR_LENGTH_ANY},
    [EMR_STREAM_ROW_RESCALERS] = {.name = "row rescalers",
                                  .per_task = true,
                                  .required = true,
                                  .length = EMR_LENGTH_SCALES},
    [EMR_STREAM_SUMS] = {.name = "sums", .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 32},
    [EMR_STREAM_OPPOSITES] = {.name = "opposites", .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 32},
    [EMR_STREAM_EXTREMES] = {.name = "extremes", .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 32},
    [EMR_STREAM_NONZEROS] =
        {.name = "non-zeros", .per_task = true, .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 1},
    [EMR_STREAM_UNDECIDED] =
        {.name = "undecided signs", .per_task = true, .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 1},
    [EMR_STREAM_ROW_NUMERATORS] =
        {.name = "row numerators", .per_task = true, .growth = true, .length = EMR_LENGTH_ROWS, .bits = 64},
};

const emr_stream_rule *emr_stream_rule_of(uint32_t kind)
{
    return kind < EMR_N_STREAM_KINDS && stream_rules[kind].name ? &stream_rules[kind] : NULL;
}

bool emr_stream_length_fits(const emr_stream_rule *rule, const emr_summary *s, uint64_t bytes)
{
    uint64_t rows = s->rescale_per == EMR_PER_ROW_BYTE ? s->n_rows : 0;
    switch (rule->length) {
    case EMR_LENGTH_ANY:
        return true;
    case EMR_LENGTH_UNIFIED:
        return bytes == s->flat_params * (s->unified_dtype == EMR_DTYPE_F32 ? 4 : 2);
    case EMR_LENGTH_CODES:
        return bytes == s->flat_params / 8;
    case EMR_LENGTH_PARAMS:
        return bytes == s->flat_params / 8 * rule->bits;
    case EMR_LENGTH_SCALES:
        return bytes == rows * sizeof(float);
    case EMR_LENGTH_ROWS:
        return bytes == rows * (rule->bits / 8);
    }
    return false;
}

void emr_set_seal(uint8_t *p)
{
    emr_store64(p + EMR_SEALED, emr_hash64(p, EMR_SEALED));
}

bool emr_is_sealed(const uint8_t *p)
{
    return emr_load64(p + EMR_SEALED) == emr_hash64(p, EMR_SEALED);
}
