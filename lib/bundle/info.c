/* info.c - questions to an opened bundle that its index answers. Freestanding. */
#include "bundle/bundle.h"

#include "core/text.h"

#include "model/model.h"

uint64_t emr_bundle_count(const emr_bundle *b, const emr_tensor_record *t)
{
    const uint64_t *shape = emr_bundle_shape(b, t->shape);
    uint64_t count = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        count *= shape[i];
    return count;
}

/* Stored bytes of [from, to) of a stream, sharing out each block evenly. */
static uint64_t stored_bytes(const emr_bundle *b, size_t stream, uint64_t from, uint64_t to)
{
    if (stream == EMR_NO_STREAM || from == to)
        return 0;
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    uint64_t total = 0;
    for (uint64_t k = from / s.block_bytes; k * s.block_bytes < to; k++) {
        uint64_t start = k * s.block_bytes, length = emr_stream_block_length(&s, k);
        uint64_t low = from > start ? from - start : 0, high = emr_min(to - start, length);
        uint64_t stored = emr_bundle_block_record(b, (size_t)(s.first_block + k)).stored;
        total += stored * high / length - stored * low / length; /* parts add up to the whole */
    }
    return total;
}

const char *emr_bundle_name(const emr_bundle *b)
{
    return b->name;
}

/* The rule of the tasks that use the unified vector. */
static emr_rescale elected_rescale(const emr_bundle *b)
{
    for (uint32_t t = 0; emr_bundle_n_elected(b) && t < b->summary.n_tasks; t++)
        if (emr_bundle_kind(b, t)->has_unified)
            return emr_bundle_modulator_record(b, t).rescale + 1u;
    return b->summary.rescale + 1u;
}

emr_status emr_bundle_get_info(const emr_bundle *b, emr_bundle_info *info)
{
    if (!b)
        return EMR_EINVAL;
    const emr_summary *s = &b->summary;
    const emr_bundle_info known = {
        .bytes = b->bytes,
        .merged_params = s->merged_params,
        .n_tasks = s->n_tasks,
        .n_tensors = s->n_tensors,
        .n_merged = s->n_merged,
        .version_major = b->version_major,
        .version_minor = b->version_minor,
        .rescale = elected_rescale(b),
        .rescale_per = s->rescale_per + 1u,
        .tie = s->tie,
        .unified_dtype = s->unified_dtype,
        .has_base = s->has_base,
        .n_elected = emr_bundle_n_elected(b),
        .extendable = emr_bundle_is_extendable(b),
    };
    return EMR_GIVE(info, &known, emr_bundle_info);
}

/* Stored bytes of all of a task's streams of a kind. */
static uint64_t stored_whole(const emr_bundle *b, enum emr_stream_kind kind, uint32_t task)
{
    size_t stream = b->task_streams[kind][task];
    return stored_bytes(b, stream, 0, emr_bundle_stream_bytes(b, stream));
}

static uint64_t modulator_bytes(const emr_bundle *b, uint32_t task)
{
    static const enum emr_stream_kind parts[] = {EMR_STREAM_MASK,    EMR_STREAM_ROW_RESCALERS,
                                                 EMR_STREAM_CODES,   EMR_STREAM_SCALES,
                                                 EMR_STREAM_COLUMNS, EMR_STREAM_VECTORS};
    const emr_kind *kind = emr_bundle_kind(b, task);
    uint64_t groups = !kind->has_unified                              ? 0
                      : b->summary.rescale_per == EMR_PER_MODEL_BYTE  ? 1
                      : b->summary.rescale_per == EMR_PER_TENSOR_BYTE ? b->summary.n_merged
                                                                      : 0;
    uint64_t bytes = groups * kind->n_scales * sizeof(float);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        bytes += stored_whole(b, parts[i], task);
    return bytes;
}

emr_status emr_bundle_get_task(const emr_bundle *b, uint32_t task, emr_task_info *info)
{
    if (!b || !info)
        return EMR_EINVAL;
    if (task >= b->summary.n_tasks)
        return EMR_ENOTFOUND;
    emr_task_record t = emr_bundle_task_record(b, task);
    const emr_task_info known = {
        .name = emr_bundle_string(b, t.name),
        .mask_ones = t.ones,
        .mask_bytes = stored_whole(b, EMR_STREAM_MASK, task),
        .n_private = (uint32_t)(b->first_private[task + 1] - b->first_private[task]),
        .rescaler = t.rescaler,
        .coded_bytes = modulator_bytes(b, task),
    };
    return EMR_GIVE(info, &known, emr_task_info);
}

emr_status emr_bundle_get_modulation(const emr_bundle *b, uint32_t task, emr_modulation_spec *spec,
                                     emr_fidelity *fidelity)
{
    if (!b)
        return EMR_EINVAL;
    if (task >= b->summary.n_tasks)
        return EMR_ENOTFOUND;
    const emr_modulator_record m = emr_bundle_modulator_record(b, task);
    bool has_unified = emr_bundle_kind(b, task)->has_unified;
    const emr_modulation_spec what = {
        .kind = m.kind,
        .thinning = m.thinning ? 1u << m.thinning : 0,
        .n_levels = m.n_levels,
        .rescale = m.rescale + 1u,
        .rescale_per = has_unified ? b->summary.rescale_per + 1u : EMR_RESCALE_PER_ROW,
        .mask_rule = m.mask_rule,
        .vectors_dtype = m.vectors_dtype,
        .without_columns = m.kind == EMR_MODULATOR_KIND_SIGN && !m.has_columns,
        .seed = m.seed,
    };
    const emr_fidelity how = {.error = m.error, .cosine = m.cosine, .coefficient = m.coefficient};
    emr_status status = spec ? EMR_GIVE(spec, &what, emr_modulation_spec) : EMR_OK;
    return status || !fidelity ? status : EMR_GIVE(fidelity, &how, emr_fidelity);
}

emr_status emr_bundle_get_tensor(const emr_bundle *b, uint32_t tensor, emr_tensor_info *info)
{
    if (!b || !info)
        return EMR_EINVAL;
    if (tensor >= b->summary.n_tensors)
        return EMR_ENOTFOUND;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    emr_tensor_info known = {
        .name = emr_bundle_string(b, t.name),
        .shape = emr_bundle_shape(b, t.shape),
        .count = emr_bundle_count(b, &t),
        .base_hash = {t.hash_low, t.hash_high},
        .dtype = t.dtype,
        .rank = t.rank,
        .merged = t.merged,
    };
    if (t.merged && b->extent.n_elected) {
        unsigned size = b->summary.unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
        known.unified_bytes = stored_bytes(b, b->base_streams[EMR_STREAM_UNIFIED], t.first_param * size,
                                           (t.first_param + known.count) * size);
    }
    return EMR_GIVE(info, &known, emr_tensor_info);
}

emr_status emr_bundle_get_private(const emr_bundle *b, uint32_t task, uint32_t i, emr_private_info *info)
{
    if (!b || !info)
        return EMR_EINVAL;
    if (task >= b->summary.n_tasks || i >= b->first_private[task + 1] - b->first_private[task])
        return EMR_ENOTFOUND;
    emr_private_record p = emr_bundle_private_record(b, b->first_private[task] + i);
    const emr_tensor_record shape = {.shape = p.shape, .rank = p.rank};
    const emr_private_info known = {
        .name = emr_bundle_string(b, p.name),
        .shape = emr_bundle_shape(b, p.shape),
        .bytes = emr_bundle_count(b, &shape) * emr_dtype_bits(p.dtype) / 8,
        .dtype = p.dtype,
        .rank = p.rank,
    };
    return EMR_GIVE(info, &known, emr_private_info);
}

const char *emr_bundle_task_name(const void *owner, size_t i)
{
    const emr_bundle *b = owner;
    return emr_bundle_string(b, emr_bundle_task_record(b, i).name);
}

const char *emr_bundle_tensor_name(const void *owner, size_t i)
{
    const emr_bundle *b = owner;
    return emr_bundle_string(b, emr_bundle_tensor_record(b, i).name);
}

emr_status emr_bundle_find_task(const emr_bundle *b, const char *name, uint32_t *task, emr_error *error)
{
    if (!b || !name || !task)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_find_task: NULL");
    size_t i = emr_names_find(&b->task_names, emr_bundle_task_name, b, name);
    if (i == EMR_NAMES_NONE)
        return emr_fail(error, EMR_ENOTFOUND, "%F: task '%K' is not in the bundle", b->name, name);
    *task = (uint32_t)i;
    return EMR_OK;
}

emr_status emr_bundle_find_tensor(const emr_bundle *b, const char *name, uint32_t *tensor, emr_error *error)
{
    if (!b || !name || !tensor)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_find_tensor: NULL");
    size_t i = emr_names_find(&b->tensor_names, emr_bundle_tensor_name, b, name);
    if (i == EMR_NAMES_NONE)
        return emr_fail(error, EMR_ENOTFOUND, "%F: tensor '%T' is not in the bundle's base", b->name, name);
    *tensor = (uint32_t)i;
    return EMR_OK;
}

uint32_t emr_bundle_n_metadata(const emr_bundle *b, uint32_t task)
{
    if (task != EMR_BASE && task >= b->summary.n_tasks)
        return 0;
    size_t slot = emr_bundle_metadata_slot(b, task);
    return (uint32_t)(b->first_metadata[slot + 1] - b->first_metadata[slot]);
}

emr_metadata_record emr_bundle_owned_metadata(const emr_bundle *b, uint32_t owner, uint32_t i)
{
    return emr_bundle_metadata_record(b,
                                      b->metadata[b->first_metadata[emr_bundle_metadata_slot(b, owner)] + i]);
}

emr_status emr_bundle_get_metadata(const emr_bundle *b, uint32_t task, uint32_t i, const char **key,
                                   const char **value)
{
    if (!b || !key || !value)
        return EMR_EINVAL;
    if (i >= emr_bundle_n_metadata(b, task))
        return EMR_ENOTFOUND;
    emr_metadata_record m = emr_bundle_owned_metadata(b, task, i);
    *key = emr_bundle_string(b, m.key);
    *value = emr_bundle_string(b, m.value);
    return EMR_OK;
}

const char *emr_bundle_find_metadata(const emr_bundle *b, uint32_t task, const char *key)
{
    uint32_t n = emr_bundle_n_metadata(b, task);
    for (uint32_t i = 0; i < n; i++) {
        emr_metadata_record m = emr_bundle_owned_metadata(b, task, i);
        if (emr_same_text(emr_bundle_string(b, m.key), key))
            return emr_bundle_string(b, m.value);
    }
    return NULL;
}
