/* open.c - opening a bundle: reads the header, trailer and index, has everything in the index checked once
 * (check_index.c), so that nobody after this has to doubt a number in it. Freestanding. */
#include "bundle/bundle.h"

#include "core/hash.h"

#include <string.h>

emr_status emr_bundle_malformed(const emr_bundle *b, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%F: not a valid bundle: %s", b->name, what);
}

emr_status emr_bundle_read(const emr_bundle *b, uint64_t offset, void *to, size_t n, emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_read(&b->io, offset, to, n, &why);
    return status ? emr_fail_because(error, status, &why, "%F: reading %u bytes at byte %u failed", b->name,
                                     (uint64_t)n, offset)
                  : EMR_OK;
}

static emr_status read_bundle_header(emr_bundle *b, emr_error *error)
{
    uint8_t p[EMR_HEADER_SIZE];
    emr_status status = emr_bundle_read(b, 0, p, sizeof p, error);
    if (status)
        return status;
    if (memcmp(p, EMR_HEADER_MAGIC, 8) != 0)
        return emr_fail(error, EMR_EFORMAT, "%F: not a bundle (its first bytes are not those of one)",
                        b->name);
    if (!emr_is_sealed(p))
        return emr_fail(error, EMR_ECORRUPT, "%F: the header's checksum differs, the file is damaged",
                        b->name);
    b->version_major = emr_load16(p + 8);
    b->version_minor = emr_load16(p + 10);
    b->features = emr_load64(p + 16);
    if (b->version_major != EMR_FORMAT_MAJOR || b->features & ~(uint64_t)EMR_FEATURES_KNOWN)
        return emr_fail(error, EMR_EVERSION, "%F: bundle format %u.%u needs a newer libemr", b->name,
                        (uint64_t)b->version_major, (uint64_t)b->version_minor);
    return emr_load32(p + 12) == EMR_HEADER_SIZE
               ? EMR_OK
               : emr_bundle_malformed(b, "its header has the wrong size", error);
}

static emr_status read_index(emr_bundle *b, size_t *index_size, emr_error *error)
{
    uint8_t p[EMR_TRAILER_SIZE];
    emr_status status = emr_bundle_read(b, b->bytes - sizeof p, p, sizeof p, error);
    if (status)
        return status;
    if (memcmp(p + 48, EMR_TRAILER_MAGIC, 8) != 0 || !emr_is_sealed(p))
        return emr_fail(error, EMR_ECORRUPT, "%F: its end is missing or damaged (a truncated file?)",
                        b->name);
    uint64_t offset = emr_load64(p), size = emr_load64(p + 8), end = b->bytes - EMR_TRAILER_SIZE;
    if (emr_load64(p + 24) != b->bytes || offset < EMR_HEADER_SIZE || offset > end || size != end - offset ||
        offset % 8 || size > SIZE_MAX / 2)
        return emr_bundle_malformed(b, "the index does not lie where the trailer says", error);
    b->index_offset = offset;
    b->index = emr_allocate(&b->allocator, (size_t)size);
    if (!b->index)
        return emr_fail(error, EMR_ENOMEM, "%F: out of memory for its index of %u bytes", b->name, size);
    status = emr_bundle_read(b, offset, b->index, (size_t)size, error);
    if (!status && emr_hash64(b->index, (size_t)size) != emr_load64(p + 16))
        status =
            emr_fail(error, EMR_ECORRUPT, "%F: the index's checksum differs, the file is damaged", b->name);
    *index_size = (size_t)size;
    return status;
}

static emr_status find_sections(emr_bundle *b, size_t index_size, emr_error *error)
{
    for (size_t at = 0; at < index_size;) {
        if (index_size - at < EMR_SECTION_HEAD)
            return emr_bundle_malformed(b, "a section is cut short", error);
        uint32_t kind = emr_load32(b->index + at), flags = emr_load32(b->index + at + 4);
        uint64_t size = emr_load64(b->index + at + 8);
        at += EMR_SECTION_HEAD;
        if (size > index_size - at || emr_round_up(size, 8) > index_size - at)
            return emr_bundle_malformed(b, "a section is longer than the index", error);
        if (kind > 0 && kind < EMR_N_SECTIONS) {
            if (b->sections[kind].data)
                return emr_bundle_malformed(b, "a section occurs twice", error);
            b->sections[kind] = (emr_section){b->index + at, size};
        } else if (flags & EMR_SECTION_REQUIRED) {
            return emr_fail(error, EMR_EVERSION, "%F: section %u needs a newer libemr", b->name,
                            (uint64_t)kind);
        }
        at += (size_t)emr_round_up(size, 8);
    }
    for (int kind = 1; kind < EMR_N_SECTIONS; kind++)
        if (!b->sections[kind].data && kind < EMR_SECTION_GROWTH)
            return emr_bundle_malformed(b, "a section is missing", error);
    return EMR_OK;
}

/* Room for what checking the index fills in. */
static emr_status allocate_index_tables(emr_bundle *b, emr_error *error)
{
    const emr_allocator *a = &b->allocator;
    size_t n = b->summary.n_tasks;
    b->first_private = emr_allocate_array(a, n + 1, sizeof *b->first_private);
    b->first_metadata = emr_allocate_array(a, n + 2, sizeof *b->first_metadata);
    b->metadata = emr_allocate_array(a, b->n_metadata, sizeof *b->metadata);
    bool has_records = b->sections[EMR_SECTION_MODULATORS].data != NULL;
    if (has_records)
        b->first_scale = emr_allocate_array(a, n, sizeof *b->first_scale);
    bool there = b->first_private && b->first_metadata && b->metadata && (!has_records || b->first_scale);
    for (uint32_t kind = 0; kind < EMR_N_STREAM_KINDS; kind++) {
        const emr_stream_rule *rule = emr_stream_rule_of(kind);
        b->base_streams[kind] = EMR_NO_STREAM;
        if (!rule || !rule->per_task || (rule->growth && !emr_bundle_is_extendable(b)))
            continue;
        size_t *streams = emr_allocate_array(a, n, sizeof *streams);
        for (size_t t = 0; streams && t < n; t++)
            streams[t] = EMR_NO_STREAM;
        b->task_streams[kind] = streams;
        there = there && streams;
    }
    return there ? EMR_OK : emr_no_memory(error, b->name);
}

static emr_status index_names(emr_bundle *b, emr_names *names, emr_name_at at, size_t n, emr_error *error)
{
    emr_status status = emr_names_reserve(names, &b->allocator, n);
    for (size_t i = 0; !status && i < n; i++)
        status = emr_names_add(names, &b->allocator, at, b, i);
    if (status == EMR_EEXIST)
        return emr_bundle_malformed(b, "two tensors or tasks have one name", error);
    return status ? emr_fail(error, status, "%F: %s", b->name, emr_status_text(status)) : EMR_OK;
}

static emr_status read_length(emr_bundle *b, emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_length(&b->io, &b->bytes, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: its length cannot be had", b->name);
    if (b->bytes < EMR_HEADER_SIZE + EMR_TRAILER_SIZE)
        return emr_fail(error, EMR_EFORMAT, "%F: not a bundle (only %u bytes)", b->name, b->bytes);
    return EMR_OK;
}

static emr_status load_bundle(emr_bundle *b, emr_error *error)
{
    size_t index_size = 0;
    emr_status status = read_length(b, error);
    if (!status)
        status = read_bundle_header(b, error);
    if (!status)
        status = read_index(b, &index_size, error);
    if (!status)
        status = find_sections(b, index_size, error);
    if (!status)
        status = emr_bundle_check_summary(b, error);
    if (!status)
        status = allocate_index_tables(b, error);
    if (!status)
        status = emr_bundle_check_index(b, error);
    if (!status)
        status = index_names(b, &b->tensor_names, emr_bundle_tensor_name, b->summary.n_tensors, error);
    if (!status)
        status = index_names(b, &b->task_names, emr_bundle_task_name, b->summary.n_tasks, error);
    return status;
}

static emr_status take_options(emr_allocator *allocator, emr_io *io, const emr_io *given, const char *name,
                               const emr_bundle_options *options, emr_error *error)
{
    emr_bundle_options known;
    emr_status status = EMR_TAKE(&known, options, emr_bundle_options, error);
    if (!status)
        status = emr_allocator_take(allocator, known.allocator, error);
    if (!status)
        status = emr_io_take(io, given, error);
    if (!status && (!io->read || !io->length))
        status = emr_fail(error, EMR_EINVAL, "%F: its emr_io needs read and length", name);
    return status;
}

emr_status emr_bundle_open(emr_bundle **bundle, const emr_io *given, const char *name,
                           const emr_bundle_options *options, emr_error *error)
{
    emr_allocator allocator;
    emr_io io;
    if (!bundle)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_open: NULL");
    *bundle = NULL;
    name = name ? name : "bundle";
    emr_status status = take_options(&allocator, &io, given, name, options, error);
    if (status)
        return status;
    emr_bundle *b = emr_allocate_array(&allocator, 1, sizeof *b);
    if (!b)
        return emr_no_memory(error, name);
    b->allocator = allocator;
    b->kernels = emr_kernels_select();
    b->io = io;
    b->name = emr_copy_string(&allocator, name);
    status = b->name ? load_bundle(b, error) : emr_no_memory(error, name);
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
    for (uint32_t kind = 0; kind < EMR_N_STREAM_KINDS; kind++)
        emr_release(&allocator, b->task_streams[kind]);
    emr_release(&allocator, b->first_private);
    emr_release(&allocator, b->first_scale);
    emr_release(&allocator, b->first_metadata);
    emr_release(&allocator, b->metadata);
    emr_names_free(&b->tensor_names, &allocator);
    emr_names_free(&b->task_names, &allocator);
    emr_release(&allocator, b->index);
    emr_release(&allocator, b->name);
    emr_release(&allocator, b);
    *bundle = NULL;
}
