/* plan.h - one merge, planned: its options, checked; which tensors are merged; what will be written at most;
 * and how the memory is used. */
#ifndef EMR_MERGE_PLAN_H
#define EMR_MERGE_PLAN_H

#include "emr/bundle.h"
#include "emr/merge.h"
#include "align/alignment.h"
#include "core/resources.h"
#include "merge/coding_layout.h"
#include "merge/modulations.h"
#include "merge/store_layout.h"
#include "pass/base_hash.h"
#include "pass/layout.h"
#include "pass/range.h"

typedef struct emr_merge_plan {
    emr_env env;
    emr_policy policy;
    emr_merge_options
        options; /* checked; `resources` and `policy` are the copies above, and `modulation` this: */
    emr_modulation_spec common;
    emr_modulations modulations;
    const emr_bundle *before; /* the bundle that is added to, or NULL; */
    uint32_t n_old;           /* its tasks, which come first and are settled */
    bool copies;              /* what that bundle has is copied as it is stored: no task is elected anew */
    emr_alignment alignment;
    emr_base_hashes hashes; /* what it finds and expects */
    uint64_t *base_offsets; /* of the base's tensors in the bundle's base stream, where there is one */
    uint64_t *zeroed;       /* values that counted as 0, one a merged tensor */
    emr_coding_sizes coded; /* what merged tensors are to tasks that share nothing */
    uint64_t bytes_out;     /* at most */
    uint64_t loose_bytes;   /* of it: base, private tensors and row rescalers */
    uint64_t index_bytes;   /* of it: the index but for the block table */
    emr_store_layout store;
    emr_layout layout;
    uint32_t part, n_parts; /* n_parts 0: all of it, in one */
    emr_pass_range range;   /* of the part */
} emr_merge_plan;

/* Checks what the library can do and fills in defaults. */
emr_status emr_merge_check_options(emr_merge_options *options, emr_error *error);

/* Aligns the models and estimates, by the plan's options and policy; `given` is as for
 * emr_modulations_settle. Afterwards the plan must be freed; a plan that failed holds nothing. */
emr_status emr_merge_plan_make(emr_merge_plan *plan, const emr_model *base, emr_task *tasks, uint32_t n_tasks,
                               const emr_modulation_spec *given, emr_error *error);
void emr_merge_plan_free(emr_merge_plan *plan);

/* Chooses the layouts. `writes` tells whether a bundle is written; `besides` are bytes of memory that the
 * merge takes in any layout. */
emr_status emr_merge_plan_layout(emr_merge_plan *plan, bool writes, uint64_t besides, emr_error *error);

/* The same for joining parts, where nothing is computed: no windows, and buffers as small as may be. */
emr_status emr_merge_plan_joining(emr_merge_plan *plan, uint64_t besides, emr_error *error);

/* What the bytes of the bundle depend on, but for the values of tensors: for them the files' stamps stand. */
emr_hash128 emr_merge_plan_fingerprint(const emr_merge_plan *plan);

/* The range of a part; NULL: all. */
static inline const emr_pass_range *emr_merge_range(const emr_merge_plan *plan)
{
    return plan->n_parts ? &plan->range : NULL;
}

/* The flat position before which what passes is another part's. */
static inline uint64_t emr_merge_first(const emr_merge_plan *plan)
{
    return plan->n_parts ? plan->range.first : 0;
}

/* Whether other parts have some of a merged tensor. */
static inline bool emr_merge_is_split(const emr_merge_plan *plan, const emr_entry *entry)
{
    return plan->n_parts && (entry->first_param < plan->range.first ||
                             entry->first_param + entry->base->count > plan->range.end);
}

/* Whether the base is written into the bundle. */
bool emr_merge_embeds(const emr_merge_plan *plan);

/* Patterns of the policy, of all lists. */
uint32_t emr_merge_n_globs(const emr_merge_plan *plan);

/* Whether a source has tensors otherwise than they are merged; and all that readers of the bundle must know.
 */
bool emr_merge_is_arranged(const emr_merge_plan *plan);
/* Whether a task's modulator is no mask. */
bool emr_merge_has_kinds(const emr_merge_plan *plan);
/* Whether the bundle says of each task what its modulator is: else all are masks of which its summary says enough. */
bool emr_merge_has_modulators(const emr_merge_plan *plan);
uint32_t emr_merge_features(const emr_merge_plan *plan);

/* A task that is elected. */
static inline const emr_task *emr_merge_elected_task(const emr_merge_plan *plan, uint32_t elected)
{
    return &plan->alignment.tasks[plan->modulations.elected[elected]];
}

/* How many scales each of its groups has; and the most that one of them has. */
uint32_t emr_merge_n_scales(const emr_merge_plan *plan, uint32_t elected);
uint32_t emr_merge_most_scales(const emr_merge_plan *plan);

static inline bool emr_merge_is_per(const emr_merge_plan *plan, emr_rescale_per per)
{
    return plan->options.rescale_per == per;
}

#endif
