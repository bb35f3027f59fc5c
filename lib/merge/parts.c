/* parts.c - see parts.h. */
#include "merge/parts.h"

#include "bundle/bundle.h"
#include "core/text.h"
#include "merge/plan.h"
#include "numeric/convert.h"
#include "pass/carry.h"

/* A place on the line of all work. */
typedef struct line_place {
    uint64_t flat;
    uint32_t kept;
    uint64_t private;
} line_place;

/* What a tensor's bytes are in all sources that have it. */
static uint64_t bytes_of(const emr_alignment *a, const emr_entry *entry)
{
    uint64_t bytes = 0;
    for (uint32_t s = 0; s < a->n_sources; s++) {
        const emr_tensor *t = emr_alignment_tensor(a, entry, s);
        bytes += t ? t->bytes : 0;
    }
    return bytes;
}

/* What passing over a tensor of the base that is not merged reads. */
static uint64_t kept_bytes(const emr_alignment *a, const emr_entry *entry)
{
    return entry->action == EMR_ACTION_KEEP ? bytes_of(a, entry)
           : emr_entry_is_used(a, entry)    ? entry->base->bytes
                                            : 0;
}

/* Calls `fn` with the bytes of each tensor that a task may have as its own, until it says no. */
typedef bool (*private_fn)(void *context, uint64_t bytes);
static void walk_private(const emr_alignment *a, private_fn fn, void *context)
{
    for (uint32_t t = 0; t < a->n_tasks; t++)
        for (uint32_t i = 0; i < a->tasks[t].model->n_tensors; i++) {
            const emr_tensor *own = a->tasks[t].model->tensors[i];
            if (emr_carry_candidate(a, t, own) && !fn(context, own->bytes))
                return;
        }
}

typedef struct private_search {
    uint64_t wanted, bytes, n; /* on the line of private tensors: the place, and what was passed */
} private_search;

/* The boundary that is nearest: past a tensor whose middle is before the place. */
static bool pass_private(void *context, uint64_t bytes)
{
    private_search *s = context;
    if (s->bytes + bytes / 2 > s->wanted)
        return false;
    s->bytes += bytes;
    s->n++;
    return true;
}

static uint64_t cut_params(const emr_merge_plan *plan)
{
    size_t params = emr_store_block_params(plan);
    return params > EMR_CHUNK ? params : EMR_CHUNK;
}

/* The merged entry that a flat position lies in, which is before the end of flat space. */
static const emr_entry *entry_at(const emr_alignment *a, uint64_t flat)
{
    uint32_t low = 0, high = a->n_merged;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        *(a->entries[middle].first_param <= flat ? &low : &high) = middle;
    }
    return &a->entries[low];
}

static bool codes_columns(const emr_merge_plan *plan)
{
    for (uint32_t i = 0; i < plan->modulations.n_coded; i++)
        if (emr_coding_has_columns(&plan->modulations.specs[plan->modulations.coded[i]]))
            return true;
    return false;
}

/* Where what a flat position lies in begins, of which the part that ends it must have seen all. */
static uint64_t unit_start(const emr_merge_plan *plan, uint64_t flat)
{
    const emr_alignment *a = &plan->alignment;
    if (flat >= a->flat_params)
        return a->flat_params;
    const emr_entry *entry = entry_at(a, flat);
    uint64_t length = emr_row_length(entry->base), within = flat - entry->first_param;
    if (emr_coding_columns(entry->base) && codes_columns(plan))
        return entry->first_param;
    if (plan->modulations.n_elected && emr_merge_is_per(plan, EMR_RESCALE_PER_ROW))
        return entry->first_param + within / length * length;
    return flat;
}

/* An item begins there. */
static uint64_t item_start(const emr_merge_plan *plan, uint64_t flat)
{
    const emr_alignment *a = &plan->alignment;
    uint64_t chunk = flat / EMR_CHUNK * EMR_CHUNK;
    if (flat >= a->flat_params)
        return a->flat_params;
    uint64_t first = entry_at(a, flat)->first_param;
    return first > chunk ? first : chunk;
}

/* The nearest place where flat space may be cut. */
static uint64_t cut_flat(const emr_merge_plan *plan, uint64_t flat)
{
    uint64_t block = cut_params(plan), end = plan->alignment.flat_params;
    uint64_t nearest = (flat + block / 2) / block * block;
    return nearest >= end ? end : emr_min(emr_round_up(unit_start(plan, nearest), block), end);
}

static line_place find_place(const emr_merge_plan *plan, uint64_t bytes)
{
    const emr_alignment *a = &plan->alignment;
    uint64_t before = 0;
    for (uint32_t i = 0; i < a->n_merged && bytes < a->merged_bytes; i++) {
        const emr_entry *entry = &a->entries[i];
        uint64_t all = bytes_of(a, entry);
        if (bytes - before < all)
            return (line_place){
                cut_flat(plan, entry->first_param + (bytes - before) / (all / entry->base->count)),
                a->n_merged, 0};
        before += all;
    }
    line_place place = {a->flat_params, a->n_merged, 0};
    before = a->merged_bytes;
    for (; place.kept < a->n_base; place.kept++) {
        uint64_t all = kept_bytes(a, &a->entries[place.kept]);
        if (before + all / 2 > bytes)
            return place;
        before += all;
    }
    private_search search = {.wanted = bytes - before};
    if (bytes >= before)
        walk_private(a, pass_private, &search);
    place.private = search.n;
    return place;
}

/* What is read: of all, or of a range. */
static bool count_private(void *context, uint64_t bytes)
{
    private_search *s = context;
    s->bytes += s->n < s->wanted ? 0 : bytes;
    s->n++;
    return true;
}

static uint64_t line_bytes(const emr_alignment *a)
{
    private_search s = {.wanted = 0};
    uint64_t bytes = a->merged_bytes;
    for (uint32_t i = a->n_merged; i < a->n_base; i++)
        bytes += kept_bytes(a, &a->entries[i]);
    walk_private(a, count_private, &s);
    return bytes + s.bytes;
}

/* Merged tensors of a range, and what the hash of one that began before it needs. */
static uint64_t merged_bytes(const emr_alignment *a, const emr_pass_range *r)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < a->n_merged; i++) {
        const emr_entry *entry = &a->entries[i];
        uint64_t first = entry->first_param, end = first + entry->base->count;
        uint64_t from = r->begin > first ? r->begin : first, to = emr_min(r->end, end);
        if (from >= to)
            continue;
        bytes += (to - from) * (bytes_of(a, entry) / entry->base->count);
        if (from > first && end <= r->end)
            bytes += (from - first) * emr_float_size(entry->base->dtype);
    }
    return bytes;
}

typedef struct private_range {
    const emr_pass_range *range;
    uint64_t n, bytes;
} private_range;

static bool count_range(void *context, uint64_t bytes)
{
    private_range *p = context;
    bool in = p->n >= p->range->private_first;
    if (p->n++ >= p->range->private_end)
        return false;
    p->bytes += in ? bytes : 0;
    return true;
}

static uint64_t private_bytes(const emr_alignment *a, const emr_pass_range *r)
{
    private_range p = {.range = r};
    walk_private(a, count_range, &p);
    return p.bytes;
}

static uint64_t share_of(uint64_t all, uint32_t part, uint32_t n)
{
    return all / n * part + all % n * part / n;
}

emr_status emr_parts_cut(const emr_merge_plan *plan, uint32_t part, uint32_t n, emr_pass_range *range,
                         emr_error *error)
{
    const emr_alignment *a = &plan->alignment;
    if (plan->before)
        return emr_fail(
            error, EMR_EUNSUPPORTED,
            "%F: tasks are added to a bundle on one machine: merge all tasks anew in parts, or leave "
            "the part out",
            plan->before->name);
    for (uint32_t s = 0; s < a->n_sources; s++) {
        const emr_model *m = s ? a->tasks[s - 1].model : a->base;
        for (uint32_t i = 0; i < m->n_tensors; i++)
            if (m->tensors[i]->kind == EMR_TENSOR_PUSHED)
                return emr_fail(
                    error, EMR_EUNSUPPORTED,
                    "%F: tensor '%T': its bytes are pushed, and a part reads its own: give it data, "
                    "io or compute",
                    m->tensors[i]->model_name, m->tensors[i]->name);
    }
    uint64_t all = line_bytes(a);
    line_place first = {0, a->n_merged, 0}, end = {a->flat_params, a->n_base, UINT64_MAX};
    if (part > 0)
        first = find_place(plan, share_of(all, part, n));
    if (part + 1 < n)
        end = find_place(plan, share_of(all, part + 1, n));
    *range = (emr_pass_range){.begin = item_start(plan, unit_start(plan, first.flat)),
                              .first = first.flat,
                              .end = end.flat,
                              .kept_first = first.kept,
                              .kept_end = end.kept,
                              .private_first = first.private,
                              .private_end = end.private};
    if (range->first == range->end)
        range->begin = range->first;
    range->bytes = merged_bytes(a, range) + private_bytes(a, range);
    for (uint32_t i = range->kept_first; i < range->kept_end; i++)
        range->bytes += kept_bytes(a, &a->entries[i]);
    return EMR_OK;
}

uint64_t emr_parts_bytes_out(const emr_merge_plan *plan, const emr_pass_range *r)
{
    enum { RECORD = 64, DESCRIBED = 16 /* of a number's bytes, for each that a description has */ };
    const emr_alignment *a = &plan->alignment;
    uint64_t params = r->end - r->first, n_tasks = a->n_tasks, bytes = 0;
    uint64_t a_row =
        emr_merge_is_per(plan, EMR_RESCALE_PER_ROW) ? plan->modulations.n_elected * (uint64_t)16 : 0;
    for (uint32_t i = 0; i < a->n_merged; i++) {
        const emr_tensor *base = a->entries[i].base;
        uint64_t first = a->entries[i].first_param, from = first > r->first ? first : r->first;
        uint64_t to = emr_min(first + base->count, r->end);
        if (from >= to)
            continue;
        bytes +=
            emr_coding_tensor_bytes(plan, base, to - from) +
            ((to - from) / emr_row_length(base) + 1) * a_row +
            (emr_merge_embeds(plan) ? (to - from) * emr_float_size(base->dtype) + EMR_TENSOR_ALIGNMENT : 0);
        bytes += ((to - from) / EMR_CHUNK + 2) * n_tasks * 2 * sizeof(emr_sums); /* what is told of sums */
    }
    for (uint32_t i = r->kept_first; i < r->kept_end; i++)
        bytes += a->entries[i].base->bytes + RECORD + n_tasks;
    bytes +=
        params * emr_store_value_bytes(plan) + params / 8 * emr_store_plane_bits(plan) + private_bytes(a, r);
    for (uint32_t s = 0; s < a->n_sources; s++) {
        const emr_model *m = s ? a->tasks[s - 1].model : a->base;
        for (uint32_t i = 0; i < m->n_tensors; i++)
            bytes += (6 + 2 * (uint64_t)m->tensors[i]->rank) * DESCRIBED +
                     2 * emr_text_length(m->tensors[i]->name);
    }
    uint64_t blocks = bytes / (emr_store_block_params(plan) / 8) + 2 * emr_store_streams(plan) + 16;
    return bytes + blocks * RECORD + 2 * plan->index_bytes;
}
