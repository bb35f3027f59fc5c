/* check_index.c - whether a bundle's index can be what it says: docs/bundle-format.md, "What readers must
 * refuse". Each section is checked with what comes before it in mind; some have a file of their own. Freestanding. */
#include "bundle/bundle.h"

#include "core/text.h"
#include "model/model.h"

#include <string.h>

/* The number of records in a section, or failure where its size is no multiple of theirs. */
static bool count_records(const emr_bundle *b, enum emr_section_kind kind, size_t size, size_t *n)
{
    *n = (size_t)(b->sections[kind].size / size);
    return b->sections[kind].size % size == 0;
}

/* Numbers that mean something to this version. */
static emr_status check_meanings(emr_bundle *b, emr_error *error)
{
    const emr_summary *s = &b->summary;
    if (s->modulator != EMR_MODULATOR_KIND_MASK || s->rescale > 2 || s->rescale_per > 2 || s->tie > 1 ||
        s->on_nonfinite > 1 || (s->rescale == 1 && s->rescale_per != EMR_PER_MODEL_BYTE))
        return emr_fail(error, EMR_EVERSION, "%F: its modulators are of a kind that needs a newer libemr",
                        b->name);
    if (s->unified_dtype != EMR_DTYPE_F32 && s->unified_dtype != EMR_DTYPE_F16 &&
        s->unified_dtype != EMR_DTYPE_BF16)
        return emr_fail(error, EMR_EVERSION, "%F: unified dtype %u needs a newer libemr", b->name,
                        (uint64_t)s->unified_dtype);
    return EMR_OK;
}

static emr_status check_counts(emr_bundle *b, emr_error *error)
{
    const emr_summary *s = &b->summary;
    size_t n_tasks, n_tensors;
    uint64_t dtypes;
    if (!count_records(b, EMR_SECTION_TASKS, EMR_TASK_SIZE, &n_tasks) || n_tasks != s->n_tasks ||
        !count_records(b, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE, &n_tensors) || n_tensors != s->n_tensors ||
        s->n_merged > s->n_tensors || s->has_base > 1)
        return emr_bundle_malformed(b, "the counts of tasks and tensors disagree", error);
    if (!count_records(b, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE, &b->n_private) ||
        !count_records(b, EMR_SECTION_STREAMS, EMR_STREAM_SIZE, &b->n_streams) ||
        !count_records(b, EMR_SECTION_BLOCKS, EMR_BLOCK_SIZE, &b->n_blocks) ||
        !count_records(b, EMR_SECTION_METADATA, EMR_METADATA_SIZE, &b->n_metadata) ||
        !count_records(b, EMR_SECTION_ARRANGEMENT, EMR_ARRANGEMENT_SIZE, &b->n_arrangements) ||
        b->sections[EMR_SECTION_SHAPES].size % 8)
        return emr_bundle_malformed(b, "a section ends within a record", error);
    if (b->n_private > UINT32_MAX || b->n_metadata > UINT32_MAX)
        return emr_bundle_malformed(b, "it has too many private tensors or metadata", error);
    if (!emr_mul(s->n_tasks, s->n_tensors, &dtypes) || b->sections[EMR_SECTION_TASK_DTYPES].size != dtypes)
        return emr_bundle_malformed(b, "the tables by task and tensor have the wrong size", error);
    return EMR_OK;
}

static emr_status check_strings(const emr_bundle *b, emr_error *error)
{
    const emr_section *s = &b->sections[EMR_SECTION_STRINGS];
    if (!s->size || s->data[s->size - 1] != 0)
        return emr_bundle_malformed(b, "the strings do not end", error);
    if (!emr_is_utf8((const char *)s->data, (size_t)s->size))
        return emr_bundle_malformed(b, "a name is not valid UTF-8", error);
    return EMR_OK;
}

/* Shapes are used where they lie, so they are brought into the machine's byte order. */
static void convert_shapes(emr_bundle *b)
{
    const emr_section *shapes = &b->sections[EMR_SECTION_SHAPES];
    uint8_t *p = b->index + (shapes->data - b->index);
    for (uint64_t i = 0; i < shapes->size / 8; i++) {
        uint64_t dimension = emr_load64(p + 8 * i);
        memcpy(p + 8 * i, &dimension, sizeof dimension);
    }
}

emr_status emr_bundle_check_summary(emr_bundle *b, emr_error *error)
{
    if (b->sections[EMR_SECTION_SUMMARY].size < EMR_SUMMARY_SIZE)
        return emr_bundle_malformed(b, "the summary is too short", error);
    b->summary = emr_decode_summary(b->sections[EMR_SECTION_SUMMARY].data);
    emr_status status = check_meanings(b, error);
    if (!status)
        status = check_counts(b, error);
    if (!status)
        status = check_strings(b, error);
    if (!status)
        convert_shapes(b);
    return status;
}

/* A reference must lead to the beginning of a string: so names that differ are, all together, no longer than
 * the section, which ends in a zero byte (checked first). */
bool emr_bundle_string_fits(const emr_bundle *b, uint32_t offset)
{
    const emr_section *s = &b->sections[EMR_SECTION_STRINGS];
    return offset < s->size && (offset == 0 || s->data[offset - 1] == 0);
}

/* Checks a shape reference; gives the number of elements and bytes. */
bool emr_bundle_shape_fits(const emr_bundle *b, uint32_t first, uint16_t rank, uint16_t dtype,
                           uint64_t *count, uint64_t *bytes)
{
    uint64_t n = b->sections[EMR_SECTION_SHAPES].size / 8;
    return rank <= EMR_RANK_MAX && first <= n && rank <= n - first && emr_dtype_bits(dtype) &&
           emr_shape_bytes(dtype, rank, emr_bundle_shape(b, first), count, bytes);
}

static emr_status check_tensors(emr_bundle *b, emr_error *error)
{
    uint64_t flat = 0, params = 0, rows = 0, base_end = 0;
    uint64_t base_bytes = emr_bundle_stream_bytes(b, b->base_streams[EMR_STREAM_BASE]);
    for (size_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record t = emr_bundle_tensor_record(b, i);
        uint64_t count, bytes, room;
        if (!emr_bundle_string_fits(b, t.name) ||
            !emr_bundle_shape_fits(b, t.shape, t.rank, t.dtype, &count, &bytes))
            return emr_bundle_malformed(b, "a tensor has an impossible name or shape", error);
        if (t.merged != (i < b->summary.n_merged))
            return emr_bundle_malformed(b, "merged tensors do not come first", error);
        if (b->summary.has_base) {
            if (t.base_offset < base_end || t.base_offset > base_bytes || bytes > base_bytes - t.base_offset)
                return emr_bundle_malformed(b, "a tensor lies outside of the embedded base", error);
            base_end = t.base_offset + bytes;
        }
        if (!t.merged)
            continue;
        room = b->summary.flat_params - flat;
        if (!emr_dtype_is_float(t.dtype) || t.first_param != flat || count > room ||
            emr_round_up(count, EMR_TENSOR_ALIGNMENT) > room || t.first_row != rows)
            return emr_bundle_malformed(b, "a merged tensor lies outside of the flat space", error);
        flat += emr_round_up(count, EMR_TENSOR_ALIGNMENT);
        params += count;
        uint64_t r = emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape));
        if (!emr_add(rows, r, &rows))
            return emr_bundle_malformed(b, "it has too many rows", error);
        if (!emr_bundle_count_place(b, &t, count))
            return emr_bundle_malformed(b, "a merged tensor's scales of columns or differences overlap",
                                        error);
    }
    if (flat != b->summary.flat_params || params != b->summary.merged_params || rows != b->summary.n_rows)
        return emr_bundle_malformed(b, "the tensors do not fill the flat space", error);
    return EMR_OK;
}

/* A mask has a bit for each parameter of its block; other streams have blocks of as many bytes. */
static bool are_block_params(uint32_t n)
{
    return n / 8 >= EMR_BLOCK_BYTES_MIN && n <= EMR_BLOCK_BYTES_MAX && (n & (n - 1)) == 0;
}

/* How many numerators GROWTH holds; those of rows are in streams. */
static uint64_t growth_numerators(const emr_summary *s)
{
    return s->rescale_per == EMR_PER_MODEL_BYTE    ? s->n_tasks
           : s->rescale_per == EMR_PER_TENSOR_BYTE ? (uint64_t)s->n_tasks * s->n_merged
                                                   : 0;
}

static bool is_pattern(const emr_bundle *b, uint32_t offset)
{
    if (!emr_bundle_string_fits(b, offset))
        return false;
    char list = *emr_bundle_string(b, offset);
    return !(b->features & EMR_FEATURE_RULES) || list == EMR_GLOB_PRIVATE || list == EMR_GLOB_MERGE ||
           list == EMR_GLOB_ABSENT || list == EMR_GLOB_BASE;
}

/* Growing knows masks that agree, of the rules whose numerators there are. */
static bool can_grow(const emr_bundle *b)
{
    bool can = !(b->features & EMR_FEATURE_KINDS) && b->summary.rescale != EMR_RESCALE_L2_BYTE;
    for (uint32_t t = 0; can && t < b->summary.n_tasks; t++) {
        emr_modulator_record m = emr_bundle_modulator_record(b, t);
        can = m.mask_rule == EMR_MASK_RULE_AGREE && m.rescale == b->summary.rescale;
    }
    return can;
}

static emr_status check_growth_section(const emr_bundle *b, const emr_section *section, emr_error *error)
{
    uint64_t numerators = growth_numerators(&b->summary);
    if (section->size < EMR_GROWTH_SIZE)
        return emr_bundle_malformed(b, "the growth section is too short", error);
    emr_growth_record g = emr_decode_growth(section->data);
    uint64_t first = emr_growth_numerators(g.n_globs);
    if (section->size < first || (section->size - first) / 8 != numerators || section->size % 8)
        return emr_bundle_malformed(b, "the growth section has the wrong size", error);
    if (!can_grow(b) || g.on_mismatch > 3 || g.on_missing > 2 || g.compression < -1 ||
        g.compression > EMR_LEVEL_MAX)
        return emr_fail(error, EMR_EVERSION, "%F: adding to it needs a newer libemr", b->name);
    if (g.block_params && !are_block_params(g.block_params))
        return emr_bundle_malformed(b, "tasks would be added in blocks of an impossible size", error);
    for (uint32_t i = 0; i < g.n_globs; i++)
        if (!is_pattern(b, emr_load32(section->data + EMR_GROWTH_SIZE + 4 * (size_t)i)))
            return emr_bundle_malformed(b, "a pattern is no string, or of no list", error);
    for (uint64_t i = 0; i < numerators; i++)
        if (emr_load64(section->data + first + 8 * i) >= (uint64_t)0x7ff << 52)
            return emr_bundle_malformed(b, "a numerator is impossible", error);
    return EMR_OK;
}

/* What adding a task needs: all of it, or none. */
static emr_status check_growth(const emr_bundle *b, emr_error *error)
{
    if (!emr_bundle_is_extendable(b))
        return EMR_OK;
    emr_status status = check_growth_section(b, &b->sections[EMR_SECTION_GROWTH], error);
    if (!status && !emr_bundle_are_lengths_right(b, true))
        status = emr_bundle_malformed(b, "a stream for growth has the wrong size", error);
    return status;
}

static emr_status check_rescalers(const emr_bundle *b, emr_error *error)
{
    const emr_section *s = &b->sections[EMR_SECTION_RESCALERS];
    for (uint64_t i = 0; i < s->size; i += 4)
        if (!emr_is_rescaler(emr_f32_from_bits(emr_load32(s->data + i))))
            return emr_bundle_malformed(b, "a tensor has an impossible rescaler", error);
    return EMR_OK;
}

static bool is_task_right(const emr_bundle *b, const emr_task_record *t, bool elected)
{
    const emr_summary *s = &b->summary;
    if (!elected && (emr_f32_bits(t->rescaler) || t->ones || t->empty_mask))
        return false;
    return emr_is_rescaler(t->rescaler) && (s->rescale_per == EMR_PER_MODEL_BYTE || t->rescaler == 0) &&
           t->ones <= s->merged_params && (s->on_nonfinite || t->zeroed == 0) && t->empty_mask <= 1;
}

static emr_status check_tasks(const emr_bundle *b, emr_error *error)
{
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        emr_task_record task = emr_bundle_task_record(b, t);
        if (!emr_bundle_string_fits(b, task.name) || !*emr_bundle_string(b, task.name))
            return emr_bundle_malformed(b, "a task has an impossible name", error);
        if (!is_task_right(b, &task, emr_bundle_kind(b, (uint32_t)t)->has_unified))
            return emr_bundle_malformed(b, "a task has an impossible rescaler or count", error);
        for (size_t i = 0; i < b->summary.n_tensors; i++) {
            emr_dtype dtype = emr_bundle_task_dtype(b, t, i);
            emr_tensor_record tensor = emr_bundle_tensor_record(b, i);
            bool right = tensor.merged && (dtype || !(b->features & EMR_FEATURE_ABSENT))
                             ? emr_dtype_is_float(dtype)
                             : dtype == EMR_DTYPE_NONE || (unsigned)dtype == tensor.dtype;
            if (!right)
                return emr_bundle_malformed(b, "a task has a tensor of an impossible dtype", error);
        }
    }
    return EMR_OK;
}

/* Checks the entries, and sorts their positions by owner: counted, then put where each owner's begin. */
static emr_status check_metadata(emr_bundle *b, emr_error *error)
{
    size_t *first = b->first_metadata, n_owners = (size_t)b->summary.n_tasks + 1;
    for (size_t i = 0; i < b->n_metadata; i++) {
        emr_metadata_record m = emr_bundle_metadata_record(b, i);
        if (!emr_bundle_string_fits(b, m.key) || !emr_bundle_string_fits(b, m.value) ||
            (m.owner != EMR_BASE && m.owner >= b->summary.n_tasks))
            return emr_bundle_malformed(b, "its metadata is impossible", error);
        first[emr_bundle_metadata_slot(b, m.owner)]++;
    }
    for (size_t owner = 0, end = 0; owner <= n_owners; owner++)
        first[owner] = end += first[owner];  /* where it ends, ... */
    for (size_t i = b->n_metadata; i-- > 0;) /* ... and begins, once its entries are put down from behind */
        b->metadata[--first[emr_bundle_metadata_slot(b, emr_bundle_metadata_record(b, i).owner)]] =
            (uint32_t)i;
    return EMR_OK;
}

static emr_status check_private(emr_bundle *b, emr_error *error)
{
    size_t i = 0;
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        uint64_t end = 0, stream = emr_bundle_stream_bytes(b, b->task_streams[EMR_STREAM_PRIVATE][t]);
        b->first_private[t] = i;
        for (; i < b->n_private && emr_bundle_private_record(b, i).task == t; i++) {
            emr_private_record p = emr_bundle_private_record(b, i);
            uint64_t count, bytes;
            if (!emr_bundle_string_fits(b, p.name) ||
                !emr_bundle_shape_fits(b, p.shape, p.rank, p.dtype, &count, &bytes) || p.offset < end ||
                p.offset > stream || bytes > stream - p.offset)
                return emr_bundle_malformed(b, "a private tensor lies outside of its stream", error);
            end = p.offset + bytes;
        }
    }
    b->first_private[b->summary.n_tasks] = i;
    return i == b->n_private ? EMR_OK
                             : emr_bundle_malformed(b, "private tensors are not sorted by task", error);
}

emr_status emr_bundle_check_index(emr_bundle *b, emr_error *error)
{
    emr_status status = emr_bundle_check_modulators(b, error);
    if (!status)
        status = emr_bundle_check_streams(b, error);
    if (!status)
        status = check_tensors(b, error);
    if (!status)
        status = emr_bundle_check_lengths(b, error);
    if (!status)
        status = check_growth(b, error);
    if (!status)
        status = check_tasks(b, error);
    if (!status)
        status = check_metadata(b, error);
    if (!status)
        status = check_rescalers(b, error);
    if (!status)
        status = check_private(b, error);
    if (!status)
        status = emr_bundle_check_arrangement(b, error);
    return status;
}
