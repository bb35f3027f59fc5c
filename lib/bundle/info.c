/* info.c - questions to an opened bundle that its index answers. Freestanding. */
#include "bundle/bundle.h"

uint64_t emr_shape_rows(uint32_t rank, const uint64_t *shape)
{
    for (uint32_t i = 0; i < rank; i++)
        if (shape[i] == 0)
            return 0;
    return rank < 2 ? 1 : shape[0];
}

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

emr_status emr_bundle_get_info(const emr_bundle *b, emr_bundle_info *info)
{
    const emr_summary *s = &b->summary;
    emr_bundle_info known = {
        .bytes = b->bytes,
        .merged_params = s->merged_params,
        .n_tasks = s->n_tasks,
        .n_tensors = s->n_tensors,
        .n_merged = s->n_merged,
        .version_major = b->version_major,
        .version_minor = b->version_minor,
        .rescale = s->rescale,
        .rescale_per = s->rescale_per,
        .tie = s->tie,
        .unified_dtype = s->unified_dtype,
        .has_base = s->has_base,
        .extendable = b->sections[EMR_SECTION_GROWTH].data != NULL,
    };
    return emr_give_struct(info, &known, sizeof known, sizeof(emr_bundle_info));
}

emr_status emr_bundle_get_task(const emr_bundle *b, size_t task, emr_task_info *info)
{
    if (task >= b->summary.n_tasks)
        return EMR_ENOTFOUND;
    emr_task_record t = emr_bundle_task_record(b, task);
    emr_task_info known = {
        .name = emr_bundle_string(b, t.name),
        .mask_ones = t.ones,
        .mask_bytes = stored_bytes(b, b->task_streams[EMR_STREAM_MASK][task], 0, b->summary.flat_params / 8),
        .n_private = b->first_private[task + 1] - b->first_private[task],
        .rescaler = t.rescaler,
    };
    return emr_give_struct(info, &known, sizeof known, sizeof(emr_task_info));
}

emr_status emr_bundle_get_tensor(const emr_bundle *b, size_t tensor, emr_tensor_info *info)
{
    if (tensor >= b->summary.n_tensors)
        return EMR_ENOTFOUND;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    emr_tensor_info known = {
        .name = emr_bundle_string(b, t.name),
        .shape = emr_bundle_shape(b, t.shape),
        .count = emr_bundle_count(b, &t),
        .base_hash = {t.hash_low, t.hash_high},
        .rank = t.rank,
        .dtype = t.dtype,
        .merged = t.merged,
    };
    if (t.merged) {
        unsigned size = b->summary.unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
        known.unified_bytes = stored_bytes(b, b->base_streams[EMR_STREAM_UNIFIED], t.first_param * size,
                                           (t.first_param + known.count) * size);
    }
    return emr_give_struct(info, &known, sizeof known, sizeof(emr_tensor_info));
}

emr_status emr_bundle_get_private(const emr_bundle *b, size_t task, size_t i, emr_private_info *info)
{
    if (task >= b->summary.n_tasks || i >= b->first_private[task + 1] - b->first_private[task])
        return EMR_ENOTFOUND;
    emr_private_record p = emr_bundle_private_record(b, b->first_private[task] + i);
    emr_tensor_record shape = {.shape = p.shape, .rank = p.rank};
    emr_private_info known = {
        .name = emr_bundle_string(b, p.name),
        .shape = emr_bundle_shape(b, p.shape),
        .bytes = emr_bundle_count(b, &shape) * emr_dtype_bits((emr_dtype)p.dtype) / 8,
        .rank = p.rank,
        .dtype = p.dtype,
    };
    return emr_give_struct(info, &known, sizeof known, sizeof(emr_private_info));
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

emr_status emr_bundle_find_task(const emr_bundle *b, const char *name, size_t *task)
{
    if (!name || !task)
        return EMR_EINVAL;
    *task = emr_names_find(&b->task_names, emr_bundle_task_name, b, name);
    return *task == EMR_NAMES_NONE ? EMR_ENOTFOUND : EMR_OK;
}

emr_status emr_bundle_find_tensor(const emr_bundle *b, const char *name, size_t *tensor)
{
    if (!name || !tensor)
        return EMR_EINVAL;
    *tensor = emr_names_find(&b->tensor_names, emr_bundle_tensor_name, b, name);
    return *tensor == EMR_NAMES_NONE ? EMR_ENOTFOUND : EMR_OK;
}

uint64_t emr_bundle_n_rescalers(const emr_bundle *b, size_t tensor)
{
    if (tensor >= b->summary.n_merged)
        return 0;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    return b->summary.rescale_per == EMR_PER_ROW_BYTE ? emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape))
                                                      : 1;
}

emr_status emr_bundle_rescalers(const emr_bundle *b, size_t task, size_t tensor, uint64_t first, size_t n,
                                float *rescalers, emr_error *error)
{
    uint64_t all = emr_bundle_n_rescalers(b, tensor);
    if (task >= b->summary.n_tasks || tensor >= b->summary.n_merged || first > all || n > all - first ||
        (n && !rescalers))
        return emr_fail(error, EMR_EINVAL, "%s: there are no such rescalers", b->name);
    if (b->summary.rescale_per != EMR_PER_ROW_BYTE) {
        if (n)
            rescalers[0] = emr_bundle_rescaler(b, task, tensor);
        return EMR_OK;
    }
    emr_cursor cursor;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    emr_status status =
        emr_cursor_open(&cursor, b, b->task_streams[EMR_STREAM_ROW_RESCALERS][task], &b->allocator, error);
    for (size_t i = 0; !status && i < n; i++) {
        uint8_t bytes[4];
        status = emr_cursor_read(&cursor, (t.first_row + first + i) * 4, bytes, 4, error);
        rescalers[i] = status ? 0 : emr_f32_from_bits(emr_load32(bytes));
    }
    emr_cursor_close(&cursor);
    return status;
}
