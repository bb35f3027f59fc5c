/* subset_write.c - writing the bundle with the tasks that stay: blocks are copied as they are stored, and
 * checked on the way; the index is made again. */
#include "bundle/subset.h"

#include "bundle/arrangement.h"
#include "bundle/block_copy.h"
#include "bundle/writer.h"

#include <string.h>

typedef struct subset_copy {
    emr_subset *subset;
    const emr_bundle *bundle;
    emr_writer *writer;
    size_t *streams;       /* in the writer; EMR_NO_STREAM: left out */
    uint32_t *strings;     /* by offset in the bundle: offset in the new one + 1; 0: not there yet */
    uint64_t string_bytes; /* in the new one */
} subset_copy;

static emr_status declare_kept_streams(subset_copy *c, emr_error *error)
{
    for (size_t i = 0; i < c->bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(c->bundle, i);
        c->streams[i] = EMR_NO_STREAM;
        if (!emr_subset_keeps(c->subset, &s))
            continue;
        uint32_t owner = s.owner == EMR_BASE ? s.owner : c->subset->numbers[s.owner];
        c->streams[i] = emr_writer_stream(c->writer, (enum emr_stream_kind)s.kind, owner, s.block_bytes,
                                          EMR_TEXTURE_UNKNOWN);
        if (c->streams[i] == EMR_NO_MEMORY_STREAM)
            return emr_no_memory(error, c->bundle->name);
    }
    return EMR_OK;
}

static emr_status advance_copy(void *context, uint64_t bytes, emr_error *error)
{
    return emr_subset_advance(context, bytes, error);
}

static emr_status copy_kept_blocks(subset_copy *c, emr_error *error)
{
    const emr_block_copy copy = {.bundle = c->bundle,
                                 .allocator = &c->subset->env.allocator,
                                 .writer = c->writer,
                                 .streams = c->streams,
                                 .advance = advance_copy,
                                 .context = c->subset};
    return emr_copy_blocks(&copy, error);
}

/* A string of the bundle's in the new one: once, however many records share it. */
static bool copy_string(subset_copy *c, uint32_t *offset)
{
    uint32_t *copy = &c->strings[*offset];
    const char *text = emr_bundle_string(c->bundle, *offset);
    if (!*copy) {
        *copy = emr_writer_string(c->writer, text) + 1; /* 0 too where there is no room */
        c->string_bytes += strlen(text) + 1;
    }
    *offset = *copy - 1;
    return *copy != 0;
}

static bool copy_shape(const subset_copy *c, uint32_t rank, uint32_t *shape)
{
    *shape = emr_writer_shape(c->writer, rank, emr_bundle_shape(c->bundle, *shape));
    return *shape != UINT32_MAX;
}

static bool index_tensors(subset_copy *c)
{
    const emr_bundle *b = c->bundle;
    for (size_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        uint8_t *p = emr_writer_record(c->writer, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE);
        if (!p || !copy_string(c, &r.name) || !copy_shape(c, r.rank, &r.shape))
            return false;
        r.first_place = c->subset->has_kinds ? r.first_place : 0;
        emr_encode_tensor(p, &r);
    }
    return true;
}

static bool index_private(subset_copy *c, size_t task)
{
    const emr_bundle *b = c->bundle;
    for (size_t i = b->first_private[task]; i < b->first_private[task + 1]; i++) {
        emr_private_record r = emr_bundle_private_record(b, i);
        uint8_t *p = emr_writer_record(c->writer, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE);
        r.task = c->subset->numbers[task];
        if (!p || !copy_string(c, &r.name) || !copy_shape(c, r.rank, &r.shape))
            return false;
        emr_encode_private(p, &r);
    }
    return true;
}

/* The base's records come last, as they do in the bundle. */
static bool index_arrangements(subset_copy *c, uint32_t owner)
{
    const emr_bundle *b = c->bundle;
    size_t first, end;
    emr_bundle_arrangements(b, owner, &first, &end);
    for (size_t i = first; i < end; i++) {
        emr_arrangement_record r = emr_bundle_arrangement_record(b, i);
        size_t task = owner;
        uint32_t rank =
            r.tensor < b->summary.n_tensors
                ? emr_bundle_tensor_record(b, r.tensor).rank
                : emr_bundle_private_record(b, b->first_private[task] + r.tensor - b->summary.n_tensors).rank;
        uint8_t *p = emr_writer_record(c->writer, EMR_SECTION_ARRANGEMENT, EMR_ARRANGEMENT_SIZE);
        r.owner = owner == EMR_BASE ? owner : c->subset->numbers[owner];
        if (!p || !copy_string(c, &r.name) || !copy_shape(c, rank, &r.shape))
            return false;
        emr_encode_arrangement(p, &r);
    }
    return true;
}

/* A task's part of a section. */
static bool copy_part(subset_copy *c, enum emr_section_kind kind, size_t first, size_t size)
{
    uint8_t *p = emr_writer_record(c->writer, kind, size);
    if (p && size)
        memcpy(p, c->bundle->sections[kind].data + first, size);
    return p != NULL;
}

static bool copy_rescalers(subset_copy *c, size_t task)
{
    const emr_bundle *b = c->bundle;
    const emr_kind *kind = emr_bundle_kind(b, (uint32_t)task);
    size_t one = (size_t)b->summary.n_merged * sizeof(float);
    if (b->summary.rescale_per != EMR_PER_TENSOR_BYTE || !kind->has_unified)
        return true;
    return copy_part(c, EMR_SECTION_RESCALERS, emr_bundle_first_scale(b, task) * one, kind->n_scales * one);
}

static bool index_task(subset_copy *c, size_t task)
{
    const emr_bundle *b = c->bundle;
    size_t n_tensors = b->summary.n_tensors;
    emr_task_record r = emr_bundle_task_record(b, task);
    uint8_t *p = emr_writer_record(c->writer, EMR_SECTION_TASKS, EMR_TASK_SIZE);
    if (!p || !copy_string(c, &r.name))
        return false;
    emr_encode_task(p, &r);
    return copy_part(c, EMR_SECTION_TASK_DTYPES, task * n_tensors, n_tensors) && copy_rescalers(c, task) &&
           (!c->subset->has_modulators ||
            copy_part(c, EMR_SECTION_MODULATORS, task * EMR_MODULATOR_SIZE, EMR_MODULATOR_SIZE)) &&
           index_private(c, task) && index_arrangements(c, (uint32_t)task);
}

/* The entries of one owner may refer to no more than the strings hold, each time counted: where they share
 * strings and what filled the section has gone, zeros take its place. */
static bool fill_strings(subset_copy *c, uint64_t referred)
{
    uint64_t wanted = emr_min(referred, c->bundle->sections[EMR_SECTION_STRINGS].size);
    return wanted <= c->string_bytes ||
           emr_writer_record(c->writer, EMR_SECTION_STRINGS, (size_t)(wanted - c->string_bytes));
}

static bool index_kept_metadata(subset_copy *c)
{
    const emr_bundle *b = c->bundle;
    uint64_t referred = 0, enough = b->sections[EMR_SECTION_STRINGS].size;
    for (size_t i = 0; i < b->n_metadata; i++) {
        emr_metadata_record r = emr_bundle_metadata_record(b, i);
        if (r.owner != EMR_BASE && !c->subset->stays[r.owner])
            continue;
        if (referred < enough)
            referred += strlen(emr_bundle_string(b, r.key)) + strlen(emr_bundle_string(b, r.value)) + 2;
        uint8_t *p = emr_writer_record(c->writer, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        r.owner = r.owner == EMR_BASE ? r.owner : c->subset->numbers[r.owner];
        if (!p || !copy_string(c, &r.key) || !copy_string(c, &r.value))
            return false;
        emr_encode_metadata(p, &r);
    }
    return fill_strings(c, referred);
}

static bool make_index(subset_copy *c)
{
    emr_summary summary = c->bundle->summary;
    summary.n_tasks = c->subset->n_left;
    uint8_t *p = emr_writer_record(c->writer, EMR_SECTION_SUMMARY, EMR_SUMMARY_SIZE);
    if (!p)
        return false;
    emr_encode_summary(p, &summary);
    bool there = index_tensors(c);
    for (size_t t = 0; there && t < c->bundle->summary.n_tasks; t++)
        there = !c->subset->stays[t] || index_task(c, t);
    return there && index_arrangements(c, EMR_BASE) && index_kept_metadata(c);
}

static bool allocate_copy(subset_copy *c)
{
    const emr_allocator *a = &c->subset->env.allocator;
    const emr_bundle *b = c->bundle;
    c->streams = emr_allocate_array(a, b->n_streams, sizeof *c->streams);
    c->strings = emr_allocate_array(a, (size_t)b->sections[EMR_SECTION_STRINGS].size, sizeof *c->strings);
    return c->streams && c->strings;
}

static void release_copy(subset_copy *c)
{
    const emr_allocator *a = &c->subset->env.allocator;
    emr_release(a, c->streams);
    emr_release(a, c->strings);
}

/* What readers of the new bundle must know: arrangements may all have been those of tasks that go. */
static uint32_t kept_features(const subset_copy *c)
{
    bool arranged = false;
    for (size_t i = 0; i < c->bundle->n_arrangements; i++) {
        uint32_t owner = emr_bundle_arrangement_record(c->bundle, i).owner;
        arranged = arranged || owner == EMR_BASE || c->subset->stays[owner];
    }
    return (uint32_t)(c->bundle->features & EMR_FEATURE_ABSENT) | (arranged ? EMR_FEATURE_ARRANGED : 0u) |
           (c->subset->has_kinds ? EMR_FEATURE_KINDS : 0u);
}

static emr_status run_copy(subset_copy *c, const emr_io *io, const emr_workers *workers, emr_error *error)
{
    const emr_writer_limits limits = {.loose_blocks = 1, .compression = -1, .features = kept_features(c)};
    emr_status status = emr_writer_create(&c->writer, io, &c->subset->env.allocator, workers, &limits, error);
    if (!status)
        status = declare_kept_streams(c, error);
    if (!status)
        status = copy_kept_blocks(c, error);
    if (!status && !make_index(c))
        status = emr_no_memory(error, c->bundle->name);
    if (!status)
        status = emr_writer_finish(c->writer, error);
    emr_writer_destroy(&c->writer);
    return status;
}

emr_status emr_subset_write(emr_subset *subset, const emr_io *io, emr_error *error)
{
    const emr_env alone = {.allocator =
                               subset->env.allocator}; /* nothing is computed that could be shared out */
    subset_copy c = {.subset = subset, .bundle = subset->bundle};
    emr_workers workers;
    emr_status status = emr_workers_create(&workers, &alone, 1, error);
    if (status)
        return status;
    status = allocate_copy(&c) ? run_copy(&c, io, &workers, error) : emr_no_memory(error, c.bundle->name);
    release_copy(&c);
    emr_workers_destroy(&workers);
    return status;
}
