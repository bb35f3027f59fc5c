/* check_modulators.c - whether what a bundle says of its tasks' modulators can be: docs/bundle-format.md, "MODULATORS".
 * Freestanding. */
#include "bundle/bundle.h"

/* Whether this version knows what each member means that the kind has. */
static bool is_modulator_known(const emr_modulator_record *m)
{
    const emr_kind *kind = emr_kind_find(m->kind);
    if (!kind || m->rescale > EMR_RESCALE_MIXED_BYTE)
        return false;
    if (kind->has_unified)
        return m->mask_rule <= EMR_MASK_RULE_NEAREST;
    return (m->vectors_dtype == EMR_DTYPE_F32 || m->vectors_dtype == EMR_DTYPE_BF16) &&
           (m->kind != EMR_MODULATOR_KIND_THIN || (m->thinning >= 1 && m->thinning <= EMR_THINNING_MAX)) &&
           (m->kind != EMR_MODULATOR_KIND_LEVELS || emr_kind_levels(m->n_levels));
}

/* Whether a rule goes with a kind, of which both are known. */
static bool has_rule(const emr_bundle *b, const emr_modulator_record *m, bool has_unified)
{
    bool per_model = b->summary.rescale_per == EMR_PER_MODEL_BYTE;
    if (m->rescale == EMR_RESCALE_L1_MEANS_BYTE)
        return has_unified && per_model;
    return m->rescale != EMR_RESCALE_MIXED_BYTE || m->kind == EMR_MODULATOR_KIND_THIN;
}

/* Whether nothing is said that its kind does not have. */
static bool is_modulator_right(const emr_bundle *b, const emr_modulator_record *m)
{
    bool has_unified = emr_kind_find(m->kind)->has_unified;
    bool thin = m->kind == EMR_MODULATOR_KIND_THIN, sign = m->kind == EMR_MODULATOR_KIND_SIGN;
    bool two_sided = m->kind == EMR_MODULATOR_KIND_TWO_SIDED;
    bool per_model = b->summary.rescale_per == EMR_PER_MODEL_BYTE;
    return has_rule(b, m, has_unified) && (thin || (!m->thinning && !m->seed)) &&
           (m->kind == EMR_MODULATOR_KIND_LEVELS || !m->n_levels) && m->has_columns <= sign &&
           (has_unified ? !m->vectors_dtype : !m->mask_rule) && emr_is_rescaler(m->other_rescaler) &&
           ((two_sided && per_model) || m->other_rescaler == 0) &&
           (b->features & EMR_FEATURE_KINDS || m->kind == EMR_MODULATOR_KIND_MASK);
}

/* Every record; counts elected tasks and the scales of a tensor. */
static emr_status check_modulator_records(emr_bundle *b, size_t *n_scales, emr_error *error)
{
    for (uint32_t t = 0; t < b->summary.n_tasks; t++) {
        emr_modulator_record m = emr_bundle_modulator_record(b, t);
        if (!is_modulator_known(&m))
            return emr_fail(error, EMR_EVERSION, "%F: its modulators are of a kind that needs a newer libemr",
                            b->name);
        if (!is_modulator_right(b, &m))
            return emr_bundle_malformed(b, "a task has an impossible modulator", error);
        const emr_kind *kind = emr_kind_find(m.kind);
        if (b->first_scale)
            b->first_scale[t] = *n_scales;
        b->extent.n_elected += kind->has_unified;
        *n_scales += kind->has_unified ? kind->n_scales : 0;
    }
    return EMR_OK;
}

emr_status emr_bundle_check_modulators(emr_bundle *b, emr_error *error)
{
    const emr_summary *s = &b->summary;
    const emr_section *section = &b->sections[EMR_SECTION_MODULATORS];
    size_t n_scales = 0;
    uint64_t groups = s->rescale_per == EMR_PER_TENSOR_BYTE ? s->n_merged : 0, bytes;
    if (b->features & EMR_FEATURE_KINDS && !section->data)
        return emr_bundle_malformed(b, "its header and its modulators disagree", error);
    if (section->data && section->size != (uint64_t)s->n_tasks * EMR_MODULATOR_SIZE)
        return emr_bundle_malformed(b, "the counts of tasks and modulators disagree", error);
    emr_status status = check_modulator_records(b, &n_scales, error);
    if (status)
        return status;
    if (!emr_mul(n_scales, groups * sizeof(float), &bytes) ||
        b->sections[EMR_SECTION_RESCALERS].size != bytes)
        return emr_bundle_malformed(b, "the table of rescalers has the wrong size", error);
    return EMR_OK;
}

bool emr_bundle_count_place(emr_bundle *b, const emr_tensor_record *t, uint64_t count)
{
    const uint64_t *shape = emr_bundle_shape(b, t->shape);
    bool vector = emr_is_vector(t->rank, shape);
    uint64_t *place = vector ? &b->extent.n_differences : &b->extent.n_columns;
    bool right = !(b->features & EMR_FEATURE_KINDS) || t->first_place == *place;
    *place += vector ? count : emr_matrix_columns(t->rank, shape);
    return right;
}
