/* kinds.c - what the modulators of a bundle's tasks are. Freestanding. */
#include "bundle/bundle.h"

#include "model/model.h"

bool emr_is_vector(uint32_t rank, const uint64_t *shape)
{
    uint64_t columns = 1;
    if (rank < 2 || emr_shape_rows(rank, shape) == 0)
        return true;
    for (uint32_t d = 1; d < rank && columns < EMR_ROW_MIN; d++)
        columns *= shape[d];
    return columns < EMR_ROW_MIN;
}

uint64_t emr_matrix_columns(uint32_t rank, const uint64_t *shape)
{
    uint64_t columns = 1;
    if (emr_is_vector(rank, shape) || shape[0] < EMR_COLUMNS_ROWS_MIN)
        return 0;
    for (uint32_t d = 1; d < rank; d++) {
        if (shape[d] > EMR_COLUMNS_MAX / columns)
            return 0;
        columns *= shape[d];
    }
    return columns;
}

emr_modulator_record emr_bundle_modulator_record(const emr_bundle *b, uint32_t task)
{
    const emr_section *s = &b->sections[EMR_SECTION_MODULATORS];
    const float unknown = emr_f32_from_bits(EMR_NAN_F32);
    if (s->data)
        return emr_decode_modulator(s->data + (size_t)task * EMR_MODULATOR_SIZE);
    return (emr_modulator_record){.kind = EMR_MODULATOR_KIND_MASK,
                                  .rescale = b->summary.rescale,
                                  .error = unknown,
                                  .cosine = unknown,
                                  .coefficient = unknown};
}

static bool is_measured(float x)
{
    return (emr_f32_bits(x) & 0x7fffffff) <= 0x7f800000;
}

bool emr_modulator_is_plain(const emr_modulator_record *m)
{
    return m->kind == EMR_MODULATOR_KIND_MASK && m->mask_rule == EMR_MASK_RULE_AGREE &&
           m->rescale <= EMR_RESCALE_L2_BYTE && !is_measured(m->error) && !is_measured(m->cosine) &&
           !is_measured(m->coefficient);
}

const emr_kind *emr_bundle_kind(const emr_bundle *b, uint32_t task)
{
    return emr_kind_find(emr_bundle_modulator_record(b, task).kind);
}

emr_tensor_code emr_bundle_code(const emr_bundle *b, uint32_t task, uint32_t tensor)
{
    emr_modulator_record m = emr_bundle_modulator_record(b, task);
    emr_tensor_code code = {.kind = emr_kind_find(m.kind), .coding = {.rate = EMR_GROUP}};
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    if (code.kind->has_unified)
        return code;
    if (emr_is_vector(t.rank, emr_bundle_shape(b, t.shape))) {
        code.kind = &emr_kind_differences;
        code.coding.rate = EMR_GROUP * (m.vectors_dtype == EMR_DTYPE_F32 ? 32 : 16);
        return code;
    }
    code.coding = emr_kind_coding(code.kind, 1u << m.thinning, m.n_levels, m.seed);
    return code;
}
