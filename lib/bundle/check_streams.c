/* check_streams.c - whether a bundle's streams and blocks can be what its index says; part of check_index.c's work.
 * Freestanding. */
#include "bundle/bundle.h"

/* Streams that are not looked at further: of kinds that a newer libemr may have added, and those for growth
 * in a bundle that has no GROWTH. */
static emr_status check_skipped(const emr_bundle *b, const emr_stream_record *s, emr_error *error)
{
    if (!emr_stream_rule_of(s->kind) && s->flags & EMR_STREAM_REQUIRED)
        return emr_fail(error, EMR_EVERSION, "%F: stream kind %u needs a newer libemr", b->name,
                        (uint64_t)s->kind);
    if (s->owner != EMR_BASE && s->owner >= b->summary.n_tasks)
        return emr_bundle_malformed(b, "a stream belongs to no task", error);
    return EMR_OK;
}

/* Notes a stream of a known kind as its owner's. */
static emr_status enter_stream(emr_bundle *b, size_t i, const emr_stream_record *s, bool per_task,
                               emr_error *error)
{
    if (per_task ? s->owner >= b->summary.n_tasks : s->owner != EMR_BASE)
        return emr_bundle_malformed(b, "a stream belongs to no task", error);
    size_t *place = per_task ? &b->task_streams[s->kind][s->owner] : &b->base_streams[s->kind];
    if (*place != EMR_NO_STREAM)
        return emr_bundle_malformed(b, "a stream occurs twice", error);
    *place = i;
    return EMR_OK;
}

/* A power of two; times 3 for codes of 3 bits, so that none lies in two blocks. */
static bool is_block_size(const emr_bundle *b, const emr_stream_record *s)
{
    bool owned = s->owner < b->summary.n_tasks;
    bool thirds =
        s->kind == EMR_STREAM_CODES && owned && emr_bundle_modulator_record(b, s->owner).n_levels == 8;
    uint32_t least = s->kind == EMR_STREAM_VECTORS ? EMR_VECTORS_BLOCK_MIN : EMR_BLOCK_BYTES_MIN;
    uint32_t times = thirds ? 3 : 1, power = s->block_bytes / times;
    return s->block_bytes % times == 0 && (power & (power - 1)) == 0 && s->block_bytes >= least &&
           s->block_bytes <= EMR_BLOCK_BYTES_MAX;
}

static emr_status share_out_blocks(emr_bundle *b, emr_error *error)
{
    uint64_t next_block = 0;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        const emr_stream_rule *rule = emr_stream_rule_of(s.kind);
        if (!is_block_size(b, &s))
            return emr_bundle_malformed(b, "a stream has blocks of an impossible size", error);
        if (s.first_block != next_block || emr_stream_blocks(&s) > b->n_blocks - next_block)
            return emr_bundle_malformed(b, "the streams do not share out the block table", error);
        next_block += emr_stream_blocks(&s);
        bool skipped = !rule || (rule->growth && !emr_bundle_is_extendable(b));
        status = skipped ? check_skipped(b, &s, error) : enter_stream(b, i, &s, rule->per_task, error);
    }
    if (!status && next_block != b->n_blocks)
        status = emr_bundle_malformed(b, "blocks belong to no stream", error);
    return status;
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
                return emr_fail(error, EMR_EVERSION, "%F: codec %u needs a newer libemr", b->name,
                                (uint64_t)r.codec);
            if (!is_block_right(&r, length) || r.offset < EMR_HEADER_SIZE || r.offset > b->index_offset ||
                r.stored > b->index_offset - r.offset)
                return emr_bundle_malformed(b, "a block lies outside of the data or has the wrong size",
                                            error);
        }
    }
    return EMR_OK;
}

static bool is_length_right(const emr_bundle *b, const emr_stream_rule *rule, const emr_modulator_record *m,
                            size_t stream)
{
    uint64_t bytes = emr_stream_bytes(rule, &b->summary, &b->extent, m);
    const emr_extent elected = {.n_elected = 1};
    if (rule->length == EMR_LENGTH_UNIFIED && !b->summary.n_tasks && stream != EMR_NO_STREAM &&
        emr_bundle_stream_bytes(b, stream) == emr_stream_bytes(rule, &b->summary, &elected, m))
        return true; /* without tasks there may be values all the same */
    return bytes == EMR_ANY_BYTES || (rule->optional && stream == EMR_NO_STREAM) ||
           bytes == emr_bundle_stream_bytes(b, stream);
}

bool emr_bundle_are_lengths_right(const emr_bundle *b, bool growth)
{
    bool right = true;
    for (uint32_t kind = 0; right && kind < EMR_N_STREAM_KINDS; kind++) {
        const emr_stream_rule *rule = emr_stream_rule_of(kind);
        if (!rule || rule->growth != growth)
            continue;
        if (!rule->per_task)
            right = is_length_right(b, rule, NULL, b->base_streams[kind]);
        for (uint32_t t = 0; right && rule->per_task && t < b->summary.n_tasks; t++) {
            emr_modulator_record m = emr_bundle_modulator_record(b, t);
            right = is_length_right(b, rule, &m, b->task_streams[kind][t]);
        }
    }
    return right;
}

emr_status emr_bundle_check_lengths(const emr_bundle *b, emr_error *error)
{
    const emr_summary *s = &b->summary;
    if (s->flat_params > UINT64_MAX / 8 || s->n_rows > UINT64_MAX / 8)
        return emr_bundle_malformed(b, "it has too many parameters", error);
    bool has_base = b->base_streams[EMR_STREAM_BASE] != EMR_NO_STREAM;
    return (s->has_base != 0) == has_base && emr_bundle_are_lengths_right(b, false)
               ? EMR_OK
               : emr_bundle_malformed(b, "a stream has the wrong size", error);
}

emr_status emr_bundle_check_streams(emr_bundle *b, emr_error *error)
{
    emr_status status = share_out_blocks(b, error);
    return status ? status : check_blocks(b, error);
}
