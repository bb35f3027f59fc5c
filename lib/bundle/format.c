/* format.c - the table of stream kinds, how long each is; seals. Freestanding. */
#include "bundle/format.h"

#include "emr/dtype.h"
#include "core/hash.h"
#include "modulator/kind.h"

static const emr_stream_rule stream_rules[EMR_N_STREAM_KINDS] = {
    [EMR_STREAM_UNIFIED] = {.name = "unified", .required = true, .length = EMR_LENGTH_UNIFIED},
    [EMR_STREAM_MASK] = {.name = "mask", .per_task = true, .required = true, .length = EMR_LENGTH_MASK},
    [EMR_STREAM_BASE] = {.name = "base", .required = true, .length = EMR_LENGTH_ANY},
    [EMR_STREAM_PRIVATE] = {.name = "private", .per_task = true, .required = true, .length = EMR_LENGTH_ANY},
    [EMR_STREAM_ROW_RESCALERS] = {.name = "row rescalers",
                                  .per_task = true,
                                  .required = true,
                                  .length = EMR_LENGTH_RESCALERS},
    [EMR_STREAM_SUMS] = {.name = "sums", .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 32},
    [EMR_STREAM_OPPOSITES] = {.name = "opposites", .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 32},
    [EMR_STREAM_EXTREMES] = {.name = "extremes", .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 32},
    [EMR_STREAM_NONZEROS] =
        {.name = "non-zeros", .per_task = true, .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 1},
    [EMR_STREAM_UNDECIDED] =
        {.name = "undecided signs", .per_task = true, .growth = true, .length = EMR_LENGTH_PARAMS, .bits = 1},
    [EMR_STREAM_ROW_NUMERATORS] =
        {.name = "row numerators", .per_task = true, .growth = true, .length = EMR_LENGTH_ROWS, .bits = 64},
    [EMR_STREAM_CODES] = {.name = "codes", .per_task = true, .required = true, .length = EMR_LENGTH_CODES},
    [EMR_STREAM_SCALES] = {.name = "scales", .per_task = true, .required = true, .length = EMR_LENGTH_SCALES},
    [EMR_STREAM_COLUMNS] = {.name = "columns",
                            .per_task = true,
                            .required = true,
                            .length = EMR_LENGTH_COLUMNS},
    [EMR_STREAM_VECTORS] = {.name = "vectors",
                            .per_task = true,
                            .required = true,
                            .length = EMR_LENGTH_VECTORS},
};

const emr_stream_rule *emr_stream_rule_of(uint32_t kind)
{
    return kind < EMR_N_STREAM_KINDS && stream_rules[kind].name ? &stream_rules[kind] : NULL;
}

uint32_t emr_code_rate(const emr_modulator_record *m)
{
    const emr_kind *kind = emr_kind_find(m->kind);
    return !kind || kind->has_unified ? 0 : emr_kind_coding(kind, 1u << m->thinning, m->n_levels, 0).rate;
}

uint64_t emr_stream_bytes(const emr_stream_rule *rule, const emr_summary *s, const emr_extent *extent,
                          const emr_modulator_record *m)
{
    const emr_kind *kind = m ? emr_kind_find(m->kind) : NULL;
    bool elected = kind && kind->has_unified, coded = kind && !elected;
    uint64_t rows = s->rescale_per == EMR_PER_ROW_BYTE ? s->n_rows : 0;
    switch (rule->length) {
    case EMR_LENGTH_ANY:
        return EMR_ANY_BYTES;
    case EMR_LENGTH_UNIFIED:
        return extent->n_elected ? s->flat_params * (s->unified_dtype == EMR_DTYPE_F32 ? 4 : 2) : 0;
    case EMR_LENGTH_MASK:
        return elected ? s->flat_params / 8 : 0;
    case EMR_LENGTH_RESCALERS:
        return elected ? rows * kind->n_scales * sizeof(float) : 0;
    case EMR_LENGTH_PARAMS:
        return s->flat_params / 8 * rule->bits;
    case EMR_LENGTH_ROWS:
        return rows * (rule->bits / 8);
    case EMR_LENGTH_CODES:
        return coded ? (s->flat_params / EMR_GROUP * emr_code_rate(m) + 7) / 8 : 0;
    case EMR_LENGTH_SCALES:
        return coded && s->flat_params ? (s->n_rows + s->flat_params / EMR_CHUNK + 1) * 2 : 0;
    case EMR_LENGTH_COLUMNS:
        return coded && m->has_columns ? extent->n_columns * 2 : 0;
    case EMR_LENGTH_VECTORS:
        return coded ? extent->n_differences * (m->vectors_dtype == EMR_DTYPE_F32 ? 4 : 2) : 0;
    }
    return EMR_ANY_BYTES;
}

void emr_set_seal(uint8_t *p)
{
    emr_store64(p + EMR_SEALED, emr_hash64(p, EMR_SEALED));
}

bool emr_is_sealed(const uint8_t *p)
{
    return emr_load64(p + EMR_SEALED) == emr_hash64(p, EMR_SEALED);
}
