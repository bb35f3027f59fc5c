/* kept.c - whether thinned signs keep enough of the rows to stand for them. */
#include "cli.h"

/* The noise of thinned signs averages out over what is kept of a row. Where fewer are kept, tasks were
 * measured to come back visibly worse (docs/modulators.md). */
enum { KEPT_USUAL = 48 };

/* Of the parameters in the rows of merged matrices, those in rows of which fewer are kept. */
static double poor_share(const emr_merge *merge, uint32_t thinning)
{
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    uint64_t all = 0, poor = 0;
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &t) == EMR_OK; i++) {
        if (t.action != EMR_ACTION_MERGE || t.rank < 2 || t.count / (t.shape[0] ? t.shape[0] : 1) < 8)
            continue; /* kept as differences */
        all += t.count;
        poor += t.count / t.shape[0] / thinning < KEPT_USUAL ? t.count : 0;
    }
    return all ? (double)poor / (double)all : 0;
}

void note_few_kept(const merge_job *j, const arguments *a, size_t task)
{
    const emr_modulation_spec *spec = &a->tasks[task].modulation;
    const uint32_t thinning = spec->thinning ? spec->thinning : 4;
    if (a->quiet || spec->kind != EMR_MODULATOR_KIND_THIN)
        return;
    double poor = poor_share(j->merge, thinning);
    if (poor > 0.5)
        complain(
            0,
            "note: task '%s': of %.0f %% of its parameters thin:1/%u keeps fewer than %d a row, too few to "
            "average its noise out: more bits (sign, say) bring it nearer",
            a->tasks[task].name, 100 * poor, thinning, KEPT_USUAL);
}
