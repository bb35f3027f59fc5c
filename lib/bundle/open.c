/* open.c - opening a bundle: reads the header, trailer and index, and checks everything in the index once, so
 * that nobody after this has to doubt a number in it. Freestanding. */
#include "bundle/bundle.h"

#include "core/hash.h"
#include "core/text.h"
#include "model/model.h"

#include <string.h>

static emr_status bad(const emr_bundle *b, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%s: not a valid bundle: %s", b->name, what);
}

static emr_status read_at(const emr_bundle *b, uint64_t offset, void *to, size_t n, emr_error *error)
{
    if (b->io.read(b->io.user, offset, to, n))
        return emr_fail(error, EMR_EIO, "%s: reading %u bytes at byte %u failed", b->name, (uint64_t)n,
                        offset);
    return EMR_OK;
}

static bool sealed(const uint8_t *p)
{
    return emr_load64(p + EMR_SEALED) == emr_hash64(p, EMR_SEALED);
}

static emr_status read_header(emr_bundle *b, emr_error *error)
{
    uint8_t p[EMR_HEADER_SIZE];
    emr_status status = read_at(b, 0, p, sizeof p, error);
    if (status)
        return status;
    if (memcmp(p, EMR_HEADER_MAGIC, 8) != 0)
        return emr_fail(error, EMR_EFORMAT, "%s: not a bundle (its first bytes are not those of one)",
                        b->name);
    if (!sealed(p))
        return emr_fail(error, EMR_ECORRUPT, "%s: the header's checksum differs, the file is damaged",
                        b->name);
    b->version_major = emr_load16(p + 8);
    b->version_minor = emr_load16(p + 10);
    if (b->version_major != EMR_FORMAT_MAJOR || emr_load64(p + 16) != 0)
        return emr_fail(error, EMR_EVERSION, "%s: bundle format %u.%u needs a newer libemr", b->name,
                        (uint64_t)b->version_major, (uint64_t)b->version_minor);
    return emr_load32(p + 12) == EMR_HEADER_SIZE ? EMR_OK : bad(b, "its header has the wrong size", error);
}

static emr_status read_index(emr_bundle *b, size_t *index_size, emr_error *error)
{
    uint8_t p[EMR_TRAILER_SIZE];
    emr_status status = read_at(b, b->bytes - sizeof p, p, sizeof p, error);
    if (status)
        return status;
    if (memcmp(p + 48, EMR_TRAILER_MAGIC, 8) != 0 || !sealed(p))
        return emr_fail(error, EMR_ECORRUPT, "%s: its end is missing or damaged (a truncated file?)",
                        b->name);
    uint64_t offset = emr_load64(p), size = emr_load64(p + 8), end = b->bytes - EMR_TRAILER_SIZE;
    if (emr_load64(p + 24) != b->bytes || offset < EMR_HEADER_SIZE || offset > end || size != end - offset ||
        offset % 8 || size > SIZE_MAX / 2)
        return bad(b, "the index does not lie where the trailer says", error);
    b->index_offset = offset;
    b->index = emr_allocate(&b->allocator, (size_t)size);
    if (!b->index)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory for its index of %u bytes", b->name, size);
    status = read_at(b, offset, b->index, (size_t)size, error);
    if (!status && emr_hash64(b->index, (size_t)size) != emr_load64(p + 16))
        status =
            emr_fail(error, EMR_ECORRUPT, "%s: the index's checksum differs, the file is damaged", b->name);
    *index_size = (size_t)size;
    return status;
}

static emr_status find_sections(emr_bundle *b, size_t index_size, emr_error *error)
{
    for (size_t at = 0; at < index_size;) {
        if (index_size - at < EMR_SECTION_HEAD)
            return bad(b, "a section is cut short", error);
        uint32_t kind = emr_load32(b->index + at), flags = emr_load32(b->index + at + 4);
        uint64_t size = emr_load64(b->index + at + 8);
        at += EMR_SECTION_HEAD;
        if (size > index_size - at || emr_round_up(size, 8) > index_size - at)
            return bad(b, "a section is longer than the index", error);
        if (kind > 0 && kind < EMR_N_SECTIONS) {
            if (b->sections[kind].data)
                return bad(b, "a section occurs twice", error);
            b->sections[kind] = (emr_section){b->index + at, size};
        } else if (flags & EMR_SECTION_REQUIRED) {
            return emr_fail(error, EMR_EVERSION, "%s: section %u needs a newer libemr", b->name,
                            (uint64_t)kind);
        }
        at += (size_t)emr_round_up(size, 8);
    }
    for (int kind = 1; kind < EMR_N_SECTIONS; kind++)
        if (!b->sections[kind].data && kind != EMR_SECTION_GROWTH)
            return bad(b, "a section is missing", error);
    return EMR_OK;
}

/* The number of records in a section, or failure where its size is no multiple of theirs. */
static bool records(const emr_bundle *b, enum emr_section_kind kind, size_t size, size_t *n)
{
    *n = (size_t)(b->sections[kind].size / size);
    return b->sections[kind].size % size == 0;
}

static emr_status check_summary(emr_bundle *b, emr_error *error)
{
    if (b->sections[EMR_SECTION_SUMMARY].size < EMR_SUMMARY_SIZE)
        return bad(b, "the summary is too short", error);
    const emr_summary *s = &b->summary;
    b->summary = emr_decode_summary(b->sections[EMR_SECTION_SUMMARY].data);
    if (s->modulator != EMR_MODULATOR_MASK || s->rescale > 2 || s->rescale_per > 2 || s->tie > 1 ||
        s->on_nonfinite > 1 || (s->rescale == 1 && s->rescale_per != EMR_PER_MODEL_BYTE))
        return emr_fail(error, EMR_EVERSION, "%s: its modulators are of a kind that needs a newer libemr",
                        b->name);
    if (s->unified_dtype != EMR_DTYPE_F32 && s->unified_dtype != EMR_DTYPE_F16 && s->unified_dtype != EMR_DTYPE_BF16)
        return emr_fail(error, EMR_EVERSION, "%s: unified dtype %u needs a newer libemr", b->name,
                        (uint64_t)s->unified_dtype);
    size_t n_tasks, n_tensors;
    uint64_t dtypes, rescalers;
    if (!records(b, EMR_SECTION_TASKS, EMR_TASK_SIZE, &n_tasks) || n_tasks != s->n_tasks ||
        !records(b, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE, &n_tensors) || n_tensors != s->n_tensors ||
        s->n_merged > s->n_tensors || s->has_base > 1)
        return bad(b, "the counts of tasks and tensors disagree", error);
    if (!records(b, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE, &b->n_private) ||
        !records(b, EMR_SECTION_STREAMS, EMR_STREAM_SIZE, &b->n_streams) ||
        !records(b, EMR_SECTION_BLOCKS, EMR_BLOCK_SIZE, &b->n_blocks) ||
        !records(b, EMR_SECTION_METADATA, EMR_METADATA_SIZE, &b->n_metadata) ||
        b->sections[EMR_SECTION_SHAPES].size % 8)
        return bad(b, "a section ends within a record", error);
    bool fits = emr_mul(s->n_tasks, s->n_tensors, &dtypes) &&
                emr_mul((uint64_t)s->n_tasks * 4, s->n_merged, &rescalers);
    if (!fits || b->sections[EMR_SECTION_TASK_DTYPES].size != dtypes ||
        b->sections[EMR_SECTION_RESCALERS].size != (s->rescale_per == EMR_PER_TENSOR_BYTE ? rescalers : 0))
        return bad(b, "the tables by task and tensor have the wrong size", error);
    return EMR_OK;
}

/* A reference must lead to the beginning of a string: so names that differ are, all together, no longer than
 * the section, which ends in a zero byte (checked first). */
static bool string_fits(const emr_bundle *b, uint32_t offset)
{
    const emr_section *s = &b->sections[EMR_SECTION_STRINGS];
    return offset < s->size && (offset == 0 || s->data[offset - 1] == 0);
}

/* Checks a shape reference; gives the number of elements and bytes. */
static bool shape_fits(const emr_bundle *b, uint32_t first, uint16_t rank, uint16_t dtype, uint64_t *count,
                       uint64_t *bytes)
{
    uint64_t n = b->sections[EMR_SECTION_SHAPES].size / 8;
    return rank <= EMR_RANK_MAX && first <= n && rank <= n - first && emr_dtype_bits((emr_dtype)dtype) &&
           emr_shape_bytes((emr_dtype)dtype, rank, emr_bundle_shape(b, first), count, bytes);
}

static emr_status check_strings_and_shapes(emr_bundle *b, emr_error *error)
{
    const emr_section *strings = &b->sections[EMR_SECTION_STRINGS],
                      *shapes = &b->sections[EMR_SECTION_SHAPES];
    if (!strings->size || strings->data[strings->size - 1] != 0)
        return bad(b, "the strings do not end", error);
    if (!emr_is_utf8((const char *)strings->data, (size_t)strings->size))
        return bad(b, "a name is not valid UTF-8", error);
    uint8_t *p = b->index + (shapes->data - b->index); /* into the machine's byte order, in place */
    for (uint64_t i = 0; i < shapes->size / 8; i++) {
        uint64_t dimension = emr_load64(p + 8 * i);
        memcpy(p + 8 * i, &dimension, sizeof dimension);
    }
    return EMR_OK;
}

static bool is_extendable(const emr_bundle *b)
{
    return b->sections[EMR_SECTION_GROWTH].data != NULL;
}

static emr_status check_streams(emr_bundle *b, emr_error *error)
{
    uint64_t next_block = 0;
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        if (s.block_bytes < EMR_BLOCK_BYTES_MIN || s.block_bytes > EMR_BLOCK_BYTES_MAX ||
            (s.block_bytes & (s.block_bytes - 1)))
            return bad(b, "a stream has blocks of an impossible size", error);
        if (s.first_block != next_block || emr_stream_blocks(&s) > b->n_blocks - next_block)
            return bad(b, "the streams do not share out the block table", error);
        next_block += emr_stream_blocks(&s);
        bool known = s.kind > 0 && s.kind < EMR_N_STREAM_KINDS;
        if (!known || (emr_is_growth_stream(s.kind) && !is_extendable(b))) {
            if (!known && s.flags & EMR_STREAM_REQUIRED)
                return emr_fail(error, EMR_EVERSION, "%s: stream kind %u needs a newer libemr", b->name,
                                (uint64_t)s.kind);
            if (s.owner != EMR_BASE && s.owner >= b->summary.n_tasks)
                return bad(b, "a stream belongs to no task", error);
            continue;
        }
        bool of_base = emr_is_base_stream(s.kind);
        if (of_base ? s.owner != EMR_BASE : s.owner >= b->summary.n_tasks)
            return bad(b, "a stream belongs to no task", error);
        size_t *slot = of_base ? &b->base_streams[s.kind] : &b->task_streams[s.kind][s.owner];
        if (*slot != EMR_NO_STREAM)
            return bad(b, "a stream occurs twice", error);
        *slot = i;
    }
    return next_block == b->n_blocks ? EMR_OK : bad(b, "blocks belong to no stream", error);
}

static bool is_block_right(const emr_block_record *r, size_t length)
{
    bool shrunk = r->stored > 0 && r->stored < length;
    switch ((enum emr_codec)r->codec) {
    case EMR_CODEC_RAW:
        return r->stored == length && r->offset % EMR_RAW_ALIGNMENT == 0 && r->parameter == 0;
    case EMR_CODEC_ZSTD:
        return shrunk && r->parameter == 0;
    case EMR_CODEC_FILL:
        return r->stored == 0;
    case EMR_CODEC_PLANES:
        return shrunk && (r->parameter == 2 || r->parameter == 4) && length % r->parameter == 0;
    }
    return false;
}

static emr_status check_blocks(const emr_bundle *b, emr_error *error)
{
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        uint64_t n = emr_stream_blocks(&s);
        for (uint64_t k = 0; k < n; k++) {
            emr_block_record r = emr_bundle_block_record(b, (size_t)(s.first_block + k));
            size_t length = emr_stream_block_length(&s, k);
            if (r.codec > EMR_CODEC_PLANES)
                return emr_fail(error, EMR_EVERSION, "%s: codec %u needs a newer libemr", b->name,
                                (uint64_t)r.codec);
            if (!is_block_right(&r, length) || r.offset < EMR_HEADER_SIZE || r.offset > b->index_offset ||
                r.stored > b->index_offset - r.offset)
                return bad(b, "a block lies outside of the data or has the wrong size", error);
        }
    }
    return EMR_OK;
}

/* Bytes of a stream, 0 where it is absent. */
static uint64_t stream_bytes(const emr_bundle *b, size_t stream)
{
    return stream == EMR_NO_STREAM ? 0 : emr_bundle_stream_record(b, stream).bytes;
}

static emr_status check_tensors(const emr_bundle *b, emr_error *error)
{
    uint64_t flat = 0, params = 0, rows = 0, base_end = 0;
    uint64_t base_bytes = stream_bytes(b, b->base_streams[EMR_STREAM_BASE]);
    for (size_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record t = emr_bundle_tensor_record(b, i);
        uint64_t count, bytes, room;
        if (!string_fits(b, t.name) || !shape_fits(b, t.shape, t.rank, t.dtype, &count, &bytes))
            return bad(b, "a tensor has an impossible name or shape", error);
        if (t.merged != (i < b->summary.n_merged))
            return bad(b, "merged tensors do not come first", error);
        if (b->summary.has_base) {
            if (t.base_offset < base_end || t.base_offset > base_bytes || bytes > base_bytes - t.base_offset)
                return bad(b, "a tensor lies outside of the embedded base", error);
            base_end = t.base_offset + bytes;
        }
        if (!t.merged)
            continue;
        room = b->summary.flat_params - flat;
        if (!emr_dtype_is_float((emr_dtype)t.dtype) || t.first_param != flat || count > room ||
            emr_round_up(count, EMR_TENSOR_ALIGNMENT) > room || t.first_row != rows)
            return bad(b, "a merged tensor lies outside of the flat space", error);
        flat += emr_round_up(count, EMR_TENSOR_ALIGNMENT);
        params += count;
        uint64_t r = emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape));
        if (!emr_add(rows, r, &rows))
            return bad(b, "it has too many rows", error);
    }
    if (flat != b->summary.flat_params || params != b->summary.merged_params || rows != b->summary.n_rows)
        return bad(b, "the tensors do not fill the flat space", error);
    return EMR_OK;
}

static emr_status check_sizes(const emr_bundle *b, emr_error *error)
{
    const emr_summary *s = &b->summary;
    uint64_t unified, rows;
    if (s->flat_params > UINT64_MAX / 8 || s->n_rows > UINT64_MAX / 8)
        return bad(b, "it has too many parameters", error);
    unified = s->flat_params * (s->unified_dtype == EMR_DTYPE_F32 ? 4 : 2);
    rows = s->rescale_per == EMR_PER_ROW_BYTE ? s->n_rows * 4 : 0;
    bool right = stream_bytes(b, b->base_streams[EMR_STREAM_UNIFIED]) == unified &&
                 (s->has_base != 0) == (b->base_streams[EMR_STREAM_BASE] != EMR_NO_STREAM);
    for (size_t t = 0; right && t < s->n_tasks; t++)
        right = stream_bytes(b, b->task_streams[EMR_STREAM_MASK][t]) == s->flat_params / 8 &&
                stream_bytes(b, b->task_streams[EMR_STREAM_ROW_RESCALERS][t]) == rows;
    return right ? EMR_OK : bad(b, "a stream has the wrong size", error);
}

/* A mask has a bit for each parameter of its block; other streams have blocks of as many bytes. */
static bool are_block_params(uint32_t n)
{
    return n / 8 >= EMR_BLOCK_BYTES_MIN && n <= EMR_BLOCK_BYTES_MAX && (n & (n - 1)) == 0;
}

/* What adding a task needs: all of it, or none. */
static emr_status check_growth(const emr_bundle *b, emr_error *error)
{
    const emr_section *section = &b->sections[EMR_SECTION_GROWTH];
    const emr_summary *s = &b->summary;
    uint64_t numerators = s->rescale_per == EMR_PER_MODEL_BYTE    ? s->n_tasks
                          : s->rescale_per == EMR_PER_TENSOR_BYTE ? (uint64_t)s->n_tasks * s->n_merged
                                                                  : 0;
    if (!is_extendable(b))
        return EMR_OK;
    if (section->size < EMR_GROWTH_SIZE)
        return bad(b, "the growth section is too short", error);
    emr_growth_record g = emr_decode_growth(section->data);
    uint64_t first = emr_growth_numerators(g.n_globs);
    if (section->size < first || (section->size - first) / 8 != numerators || section->size % 8)
        return bad(b, "the growth section has the wrong size", error);
    if (g.on_mismatch > 1 || g.on_missing > 1 || g.compression < -1 || g.compression > EMR_LEVEL_MAX ||
        s->rescale == EMR_RESCALE_L2_BYTE)
        return emr_fail(error, EMR_EVERSION, "%s: adding to it needs a newer libemr", b->name);
    if (g.block_params && !are_block_params(g.block_params))
        return bad(b, "tasks would be added in blocks of an impossible size", error);
    for (uint32_t i = 0; i < g.n_globs; i++)
        if (!string_fits(b, emr_load32(section->data + EMR_GROWTH_SIZE + 4 * i)))
            return bad(b, "a private pattern is no string", error);
    for (uint64_t i = 0; i < numerators; i++)
        if (emr_load64(section->data + first + 8 * i) >= (uint64_t)0x7ff << 52)
            return bad(b, "a numerator is impossible", error);
    bool right = true;
    for (uint32_t kind = EMR_STREAM_SUMS; kind < EMR_N_STREAM_KINDS; kind++) {
        uint64_t bytes = emr_is_base_stream(kind)             ? s->flat_params * 4
                         : kind != EMR_STREAM_ROW_NUMERATORS  ? s->flat_params / 8
                         : s->rescale_per == EMR_PER_ROW_BYTE ? s->n_rows * 8
                                                              : 0;
        if (emr_is_base_stream(kind))
            right = right && stream_bytes(b, b->base_streams[kind]) == bytes;
        for (size_t t = 0; right && !emr_is_base_stream(kind) && t < s->n_tasks; t++)
            right = stream_bytes(b, b->task_streams[kind][t]) == bytes;
    }
    return right ? EMR_OK : bad(b, "a stream for growth has the wrong size", error);
}

/* Finite and not negative: sums of magnitudes give nothing else. */
static bool is_rescaler(float rescaler)
{
    return emr_f32_bits(rescaler) < 0x7f800000;
}

static emr_status check_rescalers(const emr_bundle *b, emr_error *error)
{
    const emr_section *s = &b->sections[EMR_SECTION_RESCALERS];
    for (uint64_t i = 0; i < s->size; i += 4)
        if (!is_rescaler(emr_f32_from_bits(emr_load32(s->data + i))))
            return bad(b, "a tensor has an impossible rescaler", error);
    return EMR_OK;
}

static bool is_task_right(const emr_bundle *b, const emr_task_record *t)
{
    const emr_summary *s = &b->summary;
    return is_rescaler(t->rescaler) && (s->rescale_per == EMR_PER_MODEL_BYTE || t->rescaler == 0) &&
           t->ones <= s->merged_params && (s->on_nonfinite || t->zeroed == 0) && t->empty_mask <= 1;
}

static emr_status check_tasks(const emr_bundle *b, emr_error *error)
{
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        emr_task_record task = emr_bundle_task_record(b, t);
        if (!string_fits(b, task.name) || !*emr_bundle_string(b, task.name))
            return bad(b, "a task has an impossible name", error);
        if (!is_task_right(b, &task))
            return bad(b, "a task has an impossible rescaler or count", error);
        for (size_t i = 0; i < b->summary.n_tensors; i++) {
            emr_dtype dtype = emr_bundle_task_dtype(b, t, i);
            emr_tensor_record tensor = emr_bundle_tensor_record(b, i);
            bool right = tensor.merged ? emr_dtype_is_float(dtype)
                                       : dtype == EMR_DTYPE_NONE || (unsigned)dtype == tensor.dtype;
            if (!right)
                return bad(b, "a task has a tensor of an impossible dtype", error);
        }
    }
    for (size_t i = 0; i < b->n_metadata; i++) {
        emr_metadata_record m = emr_bundle_metadata_record(b, i);
        if (!string_fits(b, m.key) || !string_fits(b, m.value) ||
            (m.owner != EMR_BASE && m.owner >= b->summary.n_tasks))
            return bad(b, "its metadata is impossible", error);
    }
    return EMR_OK;
}

static emr_status check_private(emr_bundle *b, emr_error *error)
{
    size_t i = 0;
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        uint64_t end = 0, stream = stream_bytes(b, b->task_streams[EMR_STREAM_PRIVATE][t]);
        b->first_private[t] = i;
        for (; i < b->n_private && emr_bundle_private_record(b, i).task == t; i++) {
            emr_private_record p = emr_bundle_private_record(b, i);
            uint64_t count, bytes;
            if (!string_fits(b, p.name) || !shape_fits(b, p.shape, p.rank, p.dtype, &count, &bytes) ||
                p.offset < end || p.offset > stream || bytes > stream - p.offset)
                return bad(b, "a private tensor lies outside of its stream", error);
            end = p.offset + bytes;
        }
    }
    b->first_private[b->summary.n_tasks] = i;
    return i == b->n_private ? EMR_OK : bad(b, "private tensors are not sorted by task", error);
}

static emr_status index_names(emr_bundle *b, emr_names *names, emr_name_at at, size_t n, emr_error *error)
{
    emr_status status = emr_names_reserve(names, &b->allocator, n);
    for (size_t i = 0; !status && i < n; i++)
        status = emr_names_add(names, &b->allocator, at, b, i);
    if (status == EMR_EEXIST)
        return bad(b, "two tensors or tasks have one name", error);
    return status ? emr_fail(error, status, "%s: %s", b->name, emr_status_text(status)) : EMR_OK;
}

static emr_status allocate_tables(emr_bundle *b, emr_error *error)
{
    size_t n = b->summary.n_tasks;
    b->first_private = emr_allocate_array(&b->allocator, n + 1, sizeof *b->first_private);
    bool there = b->first_private != NULL;
    for (uint32_t kind = 1; kind < EMR_N_STREAM_KINDS; kind++) {
        b->base_streams[kind] = EMR_NO_STREAM;
        if (emr_is_base_stream(kind) || (emr_is_growth_stream(kind) && !is_extendable(b)))
            continue;
        size_t *streams = emr_allocate_array(&b->allocator, n, sizeof *streams);
        for (size_t t = 0; streams && t < n; t++)
            streams[t] = EMR_NO_STREAM;
        b->task_streams[kind] = streams;
        there = there && streams;
    }
    return there ? EMR_OK : emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
}

static emr_status load(emr_bundle *b, emr_error *error)
{
    size_t index_size = 0;
    if (b->io.length(b->io.user, &b->bytes))
        return emr_fail(error, EMR_EIO, "%s: its length cannot be had", b->name);
    if (b->bytes < EMR_HEADER_SIZE + EMR_TRAILER_SIZE)
        return emr_fail(error, EMR_EFORMAT, "%s: not a bundle (only %u bytes)", b->name, b->bytes);
    emr_status status = read_header(b, error);
    if (!status)
        status = read_index(b, &index_size, error);
    if (!status)
        status = find_sections(b, index_size, error);
    if (!status)
        status = check_summary(b, error);
    if (!status)
        status = check_strings_and_shapes(b, error);
    if (!status)
        status = allocate_tables(b, error);
    if (!status)
        status = check_streams(b, error);
    if (!status)
        status = check_blocks(b, error);
    if (!status)
        status = check_tensors(b, error);
    if (!status)
        status = check_sizes(b, error);
    if (!status)
        status = check_growth(b, error);
    if (!status)
        status = check_tasks(b, error);
    if (!status)
        status = check_rescalers(b, error);
    if (!status)
        status = check_private(b, error);
    if (!status)
        status = index_names(b, &b->tensor_names, emr_bundle_tensor_name, b->summary.n_tensors, error);
    if (!status)
        status = index_names(b, &b->task_names, emr_bundle_task_name, b->summary.n_tasks, error);
    return status;
}

emr_status emr_bundle_open(emr_bundle **bundle, const emr_io *given, const char *name,
                           const emr_bundle_options *options, emr_error *error)
{
    emr_bundle_options known;
    emr_allocator allocator;
    emr_io io;
    if (!bundle)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_open: NULL");
    *bundle = NULL;
    emr_status status = emr_take_struct(&known, sizeof known, sizeof(emr_bundle_options), options,
                                        "emr_bundle_options", error);
    if (!status)
        status = emr_allocator_take(&allocator, known.allocator, error);
    if (!status)
        status = emr_io_take(&io, given, error);
    if (!status && (!io.read || !io.length))
        status = emr_fail(error, EMR_EINVAL, "%s: its emr_io needs read and length", name ? name : "bundle");
    if (status)
        return status;
    emr_bundle *b = emr_allocate_array(&allocator, 1, sizeof *b);
    if (!b)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    b->allocator = allocator;
    b->kernels = emr_kernels_select();
    b->io = io;
    b->name = emr_copy_string(&allocator, name ? name : "bundle");
    status = b->name ? load(b, error) : emr_fail(error, EMR_ENOMEM, "out of memory");
    if (status)
        emr_bundle_destroy(&b);
    *bundle = b;
    return status;
}

void emr_bundle_destroy(emr_bundle **bundle)
{
    if (!bundle || !*bundle)
        return;
    emr_bundle *b = *bundle;
    emr_allocator allocator = b->allocator;
    if (b->on_destroy)
        b->on_destroy(b->owner);
    for (int kind = 0; kind < EMR_N_STREAM_KINDS; kind++)
        emr_release(&allocator, b->task_streams[kind]);
    emr_release(&allocator, b->first_private);
    emr_names_free(&b->tensor_names, &allocator);
    emr_names_free(&b->task_names, &allocator);
    emr_release(&allocator, b->index);
    emr_release(&allocator, b->name);
    emr_release(&allocator, b);
    *bundle = NULL;
}
