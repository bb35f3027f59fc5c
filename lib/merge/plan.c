/* plan.c - see plan.h. */
#include "merge/plan.h"

#include "emr/version.h"
#include "bundle/bundle.h"
#include "bundle/codec.h"
#include "merge/adding.h"
#include "merge/estimate.h"
#include "merge/history.h"
#include "merge/merge_step.h"
#include "pass/resume.h"

#define MEMORY_DEFAULT ((uint64_t)256 << 20)

static emr_status check_rules(const emr_merge_options *o, emr_error *error)
{
    if (o->rescale > EMR_RESCALE_UNBIASED || o->rescale_per > EMR_RESCALE_PER_ROW ||
        o->tie > EMR_TIE_NEGATIVE || o->on_nonfinite > EMR_ON_NONFINITE_ZERO)
        return emr_fail(error, EMR_EINVAL,
                        "emr_merge_options: unknown rescale, rescale_per, tie or on_nonfinite");
    if (o->rescale == EMR_RESCALE_L1_MEANS && o->rescale_per > EMR_RESCALE_PER_MODEL)
        return emr_fail(error, EMR_EINVAL, "the rescaler l1-means is per model only");
    if (o->unified_dtype != EMR_DTYPE_F32 && o->unified_dtype != EMR_DTYPE_F16 &&
        o->unified_dtype != EMR_DTYPE_BF16)
        return emr_fail(error, EMR_EINVAL, "emr_merge_options: unified_dtype must be F32, F16 or BF16");
    if (o->extendable && o->rescale >= EMR_RESCALE_L2)
        return emr_fail(
            error, EMR_EINVAL,
            "a bundle with the rescalers l2, norm or unbiased cannot be extendable: they need every "
            "task's own weights");
    return EMR_OK;
}

emr_status emr_merge_check_options(emr_merge_options *o, emr_error *error)
{
    o->unified_dtype = o->unified_dtype ? o->unified_dtype : EMR_DTYPE_F32;
    o->embed_base = o->embed_base != 0;
    o->extendable = o->extendable != 0;
    o->measure = o->measure != 0;
    emr_status status = check_rules(o, error);
    if (status)
        return status;
    if (o->block_params &&
        (o->block_params < EMR_BLOCK_PARAMS_MIN || o->block_params > EMR_BLOCK_PARAMS_MAX ||
         (o->block_params & (o->block_params - 1))))
        return emr_fail(error, EMR_EINVAL,
                        "emr_merge_options: block_params must be a power of two, 4096 to 16 Mi");
    if (o->compression < EMR_COMPRESSION_NONE || o->compression > EMR_LEVEL_MAX)
        return emr_fail(error, EMR_EINVAL, "emr_merge_options: compression must be -1 to 19");
#ifndef EMR_WITH_ZSTD
    if (o->compression > 0)
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "this build has no zstd: compression must be none (--zstd-level 0)");
    o->compression = EMR_COMPRESSION_NONE;
#endif
    return EMR_OK;
}

static bool allocate_tables(emr_merge_plan *plan)
{
    const emr_allocator *allocator = &plan->env.allocator;
    const emr_alignment *a = &plan->alignment;
    plan->hashes.found = emr_allocate_array(allocator, a->n_base, sizeof *plan->hashes.found);
    plan->base_offsets = emr_allocate_array(allocator, a->n_base, sizeof *plan->base_offsets);
    plan->zeroed = emr_allocate_array(allocator, a->n_merged, sizeof *plan->zeroed);
    return plan->hashes.found && plan->base_offsets && plan->zeroed;
}

emr_status emr_merge_plan_make(emr_merge_plan *plan, const emr_model *base, emr_task *tasks, uint32_t n_tasks,
                               const emr_modulation_spec *given, emr_error *error)
{
    emr_status status = emr_modulations_settle(plan, tasks, n_tasks, given, error);
    for (uint32_t t = 0; t < plan->n_old; t++)
        tasks[t].copied = plan->copies;
    if (plan->copies)
        plan->alignment.choice = (emr_alignment_choice){emr_adding_choose, plan->before};
    if (!status)
        status =
            emr_align(&plan->alignment, &plan->env.allocator, &plan->policy, base, tasks, n_tasks, error);
    if (!status && !allocate_tables(plan))
        status = emr_no_memory(error, NULL);
    if (!status && plan->before)
        status = emr_history_expect_base(&plan->hashes, &plan->alignment, plan->before, error);
    if (!status && plan->copies)
        status = emr_adding_offsets(plan, error);
    if (status) {
        emr_merge_plan_free(plan);
        return status;
    }
    emr_merge_estimate(plan);
    return EMR_OK;
}

void emr_merge_plan_free(emr_merge_plan *plan)
{
    const emr_allocator *allocator = &plan->env.allocator;
    emr_release(allocator, plan->hashes.found);
    emr_release(allocator, (void *)(uintptr_t)plan->hashes.expected);
    emr_release(allocator, (void *)(uintptr_t)plan->hashes.is_expected);
    emr_release(allocator, plan->base_offsets);
    emr_release(allocator, plan->zeroed);
    plan->hashes = (emr_base_hashes){0};
    plan->base_offsets = plan->zeroed = NULL;
    emr_alignment_free(&plan->alignment);
    emr_modulations_free(&plan->modulations, allocator);
}

static uint64_t memory_cap(const emr_merge_plan *plan)
{
    return plan->env.memory_bytes ? plan->env.memory_bytes : MEMORY_DEFAULT;
}

emr_status emr_merge_plan_joining(emr_merge_plan *plan, uint64_t besides, emr_error *error)
{
    enum { ITEMS = 1 /* of a window that nothing passes through */, WORKER_BYTES = 1024 };
    uint64_t cap = memory_cap(plan);
    size_t block = emr_store_block_params(plan);
    uint32_t workers = plan->env.executor.concurrency;
    plan->store = (emr_store_layout){.block_params = block, .writes = true};
    plan->layout = (emr_layout){.window_params = EMR_CHUNK,
                                .job_params = EMR_CHUNK,
                                .span_params = block > EMR_CHUNK ? block : EMR_CHUNK,
                                .max_items = ITEMS,
                                .n_workers = workers ? workers : 1};
    plan->layout.memory = besides + plan->layout.n_workers * WORKER_BYTES;
    plan->layout.memory += emr_merge_step_table.memory(
        plan, &plan->layout, cap > plan->layout.memory ? cap - plan->layout.memory : 0);
    return plan->layout.memory <= cap
               ? EMR_OK
               : emr_fail(error, EMR_ELIMIT,
                          "%u bytes of memory are too little to join parts of %u tasks, %u would do", cap,
                          (uint64_t)plan->alignment.n_tasks, plan->layout.memory);
}

emr_status emr_merge_plan_layout(emr_merge_plan *plan, bool writes, uint64_t besides, emr_error *error)
{
    plan->store = (emr_store_layout){.block_params = emr_store_block_params(plan), .writes = writes};
    const emr_layout_needs needs = {
        .alignment = &plan->alignment,
        .step = &emr_merge_step_table,
        .plan = plan,
        .cap = memory_cap(plan),
        .besides = besides,
        .block_params = plan->store.block_params,
        .concurrency = plan->env.executor.concurrency,
    };
    return emr_layout_choose(&plan->layout, &needs, error);
}

uint32_t emr_merge_n_scales(const emr_merge_plan *plan, uint32_t elected)
{
    return emr_kind_find(plan->modulations.specs[plan->modulations.elected[elected]].kind)->n_scales;
}

uint32_t emr_merge_most_scales(const emr_merge_plan *plan)
{
    uint32_t most = 1;
    for (uint32_t t = 0; t < plan->modulations.n_elected; t++)
        most = emr_merge_n_scales(plan, t) > most ? emr_merge_n_scales(plan, t) : most;
    return most;
}

bool emr_merge_embeds(const emr_merge_plan *plan)
{
    return plan->options.embed_base && !plan->copies;
}

uint32_t emr_merge_n_globs(const emr_merge_plan *plan)
{
    const emr_policy *p = &plan->policy;
    return p->n_private_globs + p->n_merge_globs + p->n_absent_globs + p->n_base_globs;
}

static bool has_arranged(const emr_model *model)
{
    for (uint32_t i = 0; i < model->n_tensors; i++)
        if (model->tensors[i]->own)
            return true;
    return false;
}

bool emr_merge_is_arranged(const emr_merge_plan *plan)
{
    const emr_alignment *a = &plan->alignment;
    bool arranged = has_arranged(a->base);
    for (uint32_t t = 0; !arranged && t < a->n_tasks; t++)
        arranged = has_arranged(a->tasks[t].model);
    return arranged;
}

static bool has_absent(const emr_alignment *a)
{
    for (uint32_t i = 0; i < a->n_merged; i++)
        if (a->entries[i].parts)
            return true;
    return false;
}

bool emr_merge_has_kinds(const emr_merge_plan *plan)
{
    for (uint32_t t = 0; t < plan->alignment.n_tasks; t++)
        if (plan->modulations.specs[t].kind != EMR_MODULATOR_KIND_MASK)
            return true;
    return false;
}

bool emr_merge_has_modulators(const emr_merge_plan *plan)
{
    bool more = emr_merge_has_kinds(plan) || plan->options.measure;
    for (uint32_t t = 0; t < plan->alignment.n_tasks; t++)
        more = more || plan->modulations.specs[t].mask_rule != EMR_MASK_RULE_AGREE ||
               plan->modulations.specs[t].rescale > EMR_RESCALE_L2;
    return more;
}

uint32_t emr_merge_features(const emr_merge_plan *plan)
{
    bool rules = plan->options.extendable && emr_merge_n_globs(plan) > plan->policy.n_private_globs;
    bool arranged =
        emr_merge_is_arranged(plan) ||
        (plan->before && plan->before->features & EMR_FEATURE_ARRANGED); /* perhaps without records */
    return (has_absent(&plan->alignment) ? EMR_FEATURE_ABSENT : 0u) | (rules ? EMR_FEATURE_RULES : 0u) |
           (arranged ? EMR_FEATURE_ARRANGED : 0u) | (emr_merge_has_kinds(plan) ? EMR_FEATURE_KINDS : 0u);
}

static void hash_globs(emr_hasher *h, const char *const *globs, uint32_t n)
{
    emr_hash_number(h, n);
    for (uint32_t i = 0; i < n; i++)
        emr_hash_text(h, globs[i]);
}

/* Everything behind the pointers, so that a new option is in it of itself, as are members of a modulation.
 * There is no padding (tests/checks/layout.txt). */
static void hash_options(emr_hasher *h, const emr_merge_plan *plan)
{
    const size_t first = offsetof(emr_merge_options, rescale);
    emr_hasher_update(h, (const uint8_t *)&plan->options + first, sizeof plan->options - first);
    emr_hash_number(h, plan->store.block_params);
    emr_hash_number(h, plan->policy.on_mismatch);
    emr_hash_number(h, plan->policy.on_missing);
    hash_globs(h, plan->policy.private_globs, plan->policy.n_private_globs);
    hash_globs(h, plan->policy.merge_globs, plan->policy.n_merge_globs);
    hash_globs(h, plan->policy.absent_globs, plan->policy.n_absent_globs);
    hash_globs(h, plan->policy.base_globs, plan->policy.n_base_globs);
}

emr_hash128 emr_merge_plan_fingerprint(const emr_merge_plan *plan)
{
    const emr_alignment *a = &plan->alignment;
    emr_hasher h;
    emr_hasher_init(&h);
    emr_hash_text(&h, emr_version());
    emr_hash_number(&h, emr_codec_version());
    hash_options(&h, plan);
    emr_hash_number(&h, emr_merge_features(plan)); /* the header is written first, and stays */
    emr_hash_model(&h, a->base);
    emr_hash_number(&h, a->n_tasks);
    for (uint32_t t = 0; t < a->n_tasks; t++) {
        emr_hash_text(&h, a->tasks[t].name);
        emr_hasher_update(&h, &plan->modulations.specs[t], sizeof *plan->modulations.specs);
        emr_hash_model(&h, a->tasks[t].model);
    }
    if (plan->before)
        emr_hash_number(
            &h, emr_hash64(plan->before->index,
                           (size_t)(plan->before->bytes - plan->before->index_offset - EMR_TRAILER_SIZE)));
    return emr_hasher_digest(&h);
}
