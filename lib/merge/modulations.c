/* modulations.c - see modulations.h. */
#include "merge/modulations.h"

#include "bundle/bundle.h"
#include "core/hash.h"
#include "merge/plan.h"

#include <string.h>

enum { THINNING_DEFAULT = 4, THINNING_MAX = 32, LEVELS_DEFAULT = 4 };

bool emr_modulation_is_elected(const emr_modulation_spec *s)
{
    return emr_kind_find(s->kind)->has_unified;
}

/* Of kinds without a unified vector. */
static emr_rescale default_rescale(emr_modulator_kind kind)
{
    return kind == EMR_MODULATOR_KIND_THIN ? EMR_RESCALE_MIXED : EMR_RESCALE_UNBIASED;
}

/* Members that are for one kind, or one family of kinds. */
static emr_status check_kind_members(const emr_modulation_spec *s, emr_error *error)
{
    emr_modulator_kind kind = s->kind ? s->kind : EMR_MODULATOR_KIND_MASK;
    const emr_kind *known = emr_kind_find(kind);
    if (!known)
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: kind %u is unknown", (uint64_t)s->kind);
    bool thin = kind == EMR_MODULATOR_KIND_THIN, levels = kind == EMR_MODULATOR_KIND_LEVELS;
    const char *odd = s->thinning && !thin                                      ? "thinning"
                      : s->seed && !thin                                        ? "seed"
                      : s->n_levels && !levels                                  ? "n_levels"
                      : s->without_columns && kind != EMR_MODULATOR_KIND_SIGN   ? "without_columns"
                      : s->vectors_dtype && known->has_unified                  ? "vectors_dtype"
                      : (s->rescale_per || s->mask_rule) && !known->has_unified ? "rescale_per or mask_rule"
                                                                                : NULL;
    if (odd)
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: the kind %s has no %s", known->name, odd);
    if (s->thinning && (s->thinning < 2 || s->thinning > THINNING_MAX || (s->thinning & (s->thinning - 1))))
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: thinning must be 2, 4, 8, 16 or 32");
    if (s->n_levels && !emr_kind_levels(s->n_levels))
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: n_levels must be 3, 4, 8 or 16");
    if (s->vectors_dtype && s->vectors_dtype != EMR_DTYPE_BF16 && s->vectors_dtype != EMR_DTYPE_F32)
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: vectors_dtype must be BF16 or F32");
    return EMR_OK;
}

static emr_status check_rule(const emr_modulation_spec *s, emr_error *error)
{
    emr_modulator_kind kind = s->kind ? s->kind : EMR_MODULATOR_KIND_MASK;
    if (s->rescale > EMR_RESCALE_MIXED || s->rescale_per > EMR_RESCALE_PER_ROW ||
        s->mask_rule > EMR_MASK_RULE_NEAREST)
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: unknown rescale, rescale_per or mask_rule");
    if ((s->rescale == EMR_RESCALE_MIXED && kind != EMR_MODULATOR_KIND_THIN) ||
        (s->rescale == EMR_RESCALE_L1_MEANS && kind != EMR_MODULATOR_KIND_MASK))
        return emr_fail(error, EMR_EINVAL, "emr_modulation_spec: the rule %s is for the kind %s alone",
                        s->rescale == EMR_RESCALE_MIXED ? "mixed" : "l1-means",
                        s->rescale == EMR_RESCALE_MIXED ? "thin" : "mask");
    return EMR_OK;
}

emr_status emr_modulation_take(emr_modulation_spec *taken, const emr_modulation_spec *given, emr_error *error)
{
    emr_status status = EMR_TAKE(taken, given, emr_modulation_spec, error);
    if (!status)
        status = check_kind_members(taken, error);
    return status ? status : check_rule(taken, error);
}

/* Fills in what a task's own name and kind decide. */
static void fill_spec(emr_modulation_spec *s, const char *name)
{
    s->kind = s->kind ? s->kind : EMR_MODULATOR_KIND_MASK;
    s->without_columns = s->without_columns != 0;
    if (emr_modulation_is_elected(s))
        return;
    s->rescale = s->rescale ? s->rescale : default_rescale(s->kind);
    s->vectors_dtype = s->vectors_dtype ? s->vectors_dtype : EMR_DTYPE_BF16;
    if (s->kind == EMR_MODULATOR_KIND_THIN) {
        s->thinning = s->thinning ? s->thinning : THINNING_DEFAULT;
        s->seed = s->seed ? s->seed : emr_hash32(name, strlen(name));
        s->seed = s->seed ? s->seed : 1;
    }
    if (s->kind == EMR_MODULATOR_KIND_LEVELS)
        s->n_levels = s->n_levels ? s->n_levels : LEVELS_DEFAULT;
}

/* What a task of a bundle is. */
static emr_modulation_spec spec_of(const emr_bundle *b, uint32_t task)
{
    emr_modulator_record m = emr_bundle_modulator_record(b, task);
    bool elected = emr_kind_find(m.kind)->has_unified;
    return (emr_modulation_spec){.size = sizeof(emr_modulation_spec),
                                 .kind = m.kind,
                                 .thinning = m.thinning ? 1u << m.thinning : 0,
                                 .n_levels = m.n_levels,
                                 .rescale = m.rescale + 1u,
                                 .rescale_per = elected ? b->summary.rescale_per + 1u : 0,
                                 .mask_rule = m.mask_rule,
                                 .vectors_dtype = m.vectors_dtype,
                                 .without_columns = m.kind == EMR_MODULATOR_KIND_SIGN && !m.has_columns,
                                 .seed = m.seed};
}

/* Which tasks of the merge take part in its election. Of a bundle that is added to all do, or none: then it
 * is copied. */
static emr_status choose_family(emr_merge_plan *plan, uint32_t n_tasks, emr_error *error)
{
    emr_modulations *m = &plan->modulations;
    uint32_t n_new = 0;
    for (uint32_t t = plan->n_old; t < n_tasks; t++)
        n_new += emr_modulation_is_elected(&m->specs[t]);
    plan->copies = plan->before && !n_new;
    if (plan->before && n_new && n_new < n_tasks - plan->n_old)
        return emr_fail(
            error, EMR_EINVAL,
            "%F: tasks with a unified vector and tasks without one are added one after the other, "
            "not in one merge",
            plan->before->name);
    if (plan->before && n_new && !emr_bundle_is_extendable(plan->before))
        return emr_fail(
            error, EMR_EUNSUPPORTED,
            "%F: tasks cannot be added: it was not made extendable, or a task was dropped from it (tasks of "
            "a kind without a unified vector can be: sign, thin, levels)",
            plan->before->name);
    for (uint32_t t = plan->copies ? plan->n_old : 0; t < n_tasks; t++)
        if (emr_modulation_is_elected(&m->specs[t]))
            m->elected[m->places[t] = m->n_elected++] = t;
        else
            m->coded[m->places[t] = m->n_coded++] = t;
    plan->options.extendable = plan->options.extendable && !plan->copies;
    return EMR_OK;
}

static emr_status fail_other_spec(const emr_task *task, const emr_task *first, const char *what,
                                  emr_error *error)
{
    return emr_fail(
        error, EMR_EINVAL,
        "task '%K': all tasks with a unified vector have one %s, this one's is another than that of "
        "task '%s'",
        task->name, what, first->name);
}

/* Whether all elected tasks are masks that agree. */
static bool are_papers(const emr_modulations *m)
{
    bool are = m->mask_rule == EMR_MASK_RULE_AGREE;
    for (uint32_t i = 0; i < m->n_elected; i++)
        are = are && m->specs[m->elected[i]].kind == EMR_MODULATOR_KIND_MASK;
    return are;
}

/* What the elected tasks share: what one of them says, else the options, else the default: the paper's for
 * the paper's masks, what measured best for others. */
static emr_status agree_specs(emr_merge_plan *plan, const emr_task *tasks, emr_error *error)
{
    emr_modulations *m = &plan->modulations;
    emr_merge_options *o = &plan->options;
    const emr_modulation_spec *first = &m->specs[m->elected[0]];
    m->mask_rule = first->mask_rule;
    bool papers = are_papers(m);
    emr_rescale rescale = first->rescale ? first->rescale
                          : o->rescale   ? o->rescale
                          : papers       ? EMR_RESCALE_L1
                                         : EMR_RESCALE_UNBIASED;
    bool per_model = papers || rescale == EMR_RESCALE_L1_MEANS;
    emr_rescale_per per = first->rescale_per ? first->rescale_per
                          : o->rescale_per   ? o->rescale_per
                          : per_model        ? EMR_RESCALE_PER_MODEL
                                             : EMR_RESCALE_PER_ROW;
    for (uint32_t i = 0; i < m->n_elected; i++) {
        emr_modulation_spec *s = &m->specs[m->elected[i]];
        s->rescale = s->rescale ? s->rescale : rescale;
        s->rescale_per = s->rescale_per ? s->rescale_per : per;
        const char *what = s->rescale != rescale          ? "rule of rescalers"
                           : s->rescale_per != per        ? "group that shares a rescaler"
                           : s->mask_rule != m->mask_rule ? "mask rule"
                                                          : NULL;
        if (what)
            return fail_other_spec(&tasks[m->elected[i]], &tasks[m->elected[0]], what, error);
    }
    o->rescale = rescale;
    o->rescale_per = per;
    if (rescale == EMR_RESCALE_L1_MEANS && !papers)
        return emr_fail(error, EMR_EINVAL,
                        "the rescaler l1-means is for masks that agree alone: not for nearest ones, nor for "
                        "two-sided tasks");
    return EMR_OK;
}

/* Growing knows the paper's masks alone. */
static emr_status check_growing(const emr_merge_plan *plan, const emr_task *tasks, uint32_t n_tasks,
                                emr_error *error)
{
    for (uint32_t t = 0; plan->options.extendable && t < n_tasks; t++) {
        const emr_modulation_spec *s = &plan->modulations.specs[t];
        if (s->kind != EMR_MODULATOR_KIND_MASK || s->mask_rule != EMR_MASK_RULE_AGREE ||
            s->rescale > EMR_RESCALE_L1_MEANS)
            return emr_fail(
                error, EMR_EINVAL,
                "task '%K': a bundle to which tasks with a unified vector can be added (extendable) has "
                "masks that agree, with the rules l1 or l1-means, and nothing else",
                tasks[t].name);
    }
    return EMR_OK;
}

emr_status emr_modulations_settle(emr_merge_plan *plan, const emr_task *tasks, uint32_t n_tasks,
                                  const emr_modulation_spec *given, emr_error *error)
{
    emr_modulations *m = &plan->modulations;
    const emr_allocator *a = &plan->env.allocator;
    m->specs = emr_allocate_array(a, n_tasks, sizeof *m->specs);
    m->elected = emr_allocate_array(a, n_tasks, sizeof *m->elected);
    m->coded = emr_allocate_array(a, n_tasks, sizeof *m->coded);
    m->places = emr_allocate_array(a, n_tasks, sizeof *m->places);
    if (!m->specs || !m->elected || !m->coded || !m->places)
        return emr_no_memory(error, NULL);
    for (uint32_t t = 0; t < n_tasks; t++) {
        m->specs[t] = t < plan->n_old ? spec_of(plan->before, t) : given[t].size ? given[t] : plan->common;
        if (t >= plan->n_old)
            fill_spec(&m->specs[t], tasks[t].name);
    }
    emr_status status = choose_family(plan, n_tasks, error);
    if (!status && m->n_elected)
        status = agree_specs(plan, tasks, error);
    plan->options.rescale = plan->options.rescale ? plan->options.rescale : EMR_RESCALE_L1;
    plan->options.rescale_per = plan->options.rescale_per ? plan->options.rescale_per : EMR_RESCALE_PER_MODEL;
    if (!status)
        status = emr_merge_check_options(&plan->options, error);
    return status ? status : check_growing(plan, tasks, n_tasks, error);
}

void emr_modulations_free(emr_modulations *m, const emr_allocator *allocator)
{
    emr_release(allocator, m->specs);
    emr_release(allocator, m->elected);
    emr_release(allocator, m->coded);
    emr_release(allocator, m->places);
    *m = (emr_modulations){0};
}

/* The binary logarithm of a power of two. */
static uint8_t log2_of(uint32_t n)
{
    uint8_t k = 0;
    while (n >>= 1)
        k++;
    return k;
}

emr_modulator_record emr_modulation_record(const emr_modulation_spec *s)
{
    const float unknown = emr_f32_from_bits(EMR_NAN_F32);
    return (emr_modulator_record){.kind = (uint8_t)s->kind,
                                  .thinning = log2_of(s->thinning),
                                  .n_levels = (uint8_t)s->n_levels,
                                  .rescale = (uint8_t)(s->rescale - 1),
                                  .vectors_dtype = (uint8_t)s->vectors_dtype,
                                  .has_columns = s->kind == EMR_MODULATOR_KIND_SIGN && !s->without_columns,
                                  .mask_rule = (uint8_t)s->mask_rule,
                                  .seed = s->seed,
                                  .error = unknown,
                                  .cosine = unknown,
                                  .coefficient = unknown};
}
