/* part_file.c - see part_file.h. */
#include "bundle/part_file.h"

#include "core/io.h"

#define MAGIC                                                                                                \
    "\x89"                                                                                                   \
    "EMP\r\n\x1a\n"

enum { VERSION = 1, CHAINED = 40 /* bytes of a record that its checksum is of */ };

static emr_status write_bytes(emr_part_writer *w, const void *bytes, uint64_t n, emr_error *error)
{
    emr_error why;
    emr_status status = n ? emr_io_write(&w->io, w->offset, bytes, (size_t)n, &why) : EMR_OK;
    if (status)
        return emr_fail_because(error, status, &why, "writing %u bytes of the part at byte %u failed", n,
                                w->offset);
    w->offset += n;
    return EMR_OK;
}

/* A record's checksum is that of its head behind the record before. */
static uint64_t chain_after(uint64_t chain, const uint8_t *head)
{
    return emr_hash64_seeded(head, CHAINED, chain);
}

emr_status emr_part_create(emr_part_writer *w, const emr_io *io, const emr_part_head *head, emr_error *error)
{
    uint8_t p[EMR_HEADER_SIZE] = {0};
    memcpy(p, MAGIC, 8);
    emr_store32(p + 8, VERSION);
    emr_store32(p + 12, EMR_HEADER_SIZE);
    emr_store64(p + 16, head->fingerprint.low);
    emr_store64(p + 24, head->fingerprint.high);
    emr_store32(p + 32, head->part);
    emr_store32(p + 36, head->n_parts);
    emr_set_seal(p);
    *w = (emr_part_writer){.io = *io, .chain = emr_hash64(p, sizeof p)};
    return write_bytes(w, p, sizeof p, error);
}

emr_status emr_part_put(emr_part_writer *w, emr_part_record r, const void *bytes, bool is_hashed,
                        emr_error *error)
{
    uint8_t p[EMR_PART_RECORD] = {0};
    emr_store32(p, r.kind);
    emr_store32(p + 4, r.number);
    emr_store64(p + 8, r.n);
    emr_store64(p + 16, r.size);
    emr_store64(p + 24, is_hashed ? r.hash : emr_hash64(bytes, (size_t)r.size));
    p[32] = r.codec;
    p[33] = r.parameter;
    w->chain = chain_after(w->chain, p);
    emr_store64(p + CHAINED, w->chain);
    emr_status status = write_bytes(w, p, sizeof p, error);
    return status ? status : write_bytes(w, bytes, r.size, error);
}

emr_status emr_part_finish(emr_part_writer *w, emr_error *error)
{
    emr_error why;
    emr_status status = emr_part_put(w, (emr_part_record){.kind = EMR_PART_END}, "", false, error);
    if (status)
        return status;
    status = emr_io_sync(&w->io, &why);
    return status ? emr_fail_because(error, status, &why, "the part could not be made durable") : EMR_OK;
}

emr_status emr_part_fail_damaged(const emr_part_reader *r, emr_error *error)
{
    return emr_fail(error, EMR_ECORRUPT,
                    "%F: a checksum before byte %u differs: the part is damaged, make it again", r->name,
                    r->offset);
}

static emr_status fail_cut_off(const emr_part_reader *r, emr_error *error)
{
    return emr_fail(error, EMR_ECORRUPT,
                    "%F: the part ends early, at byte %u: its run was cut off, make it again", r->name,
                    r->length);
}

static emr_status read_bytes(emr_part_reader *r, void *bytes, uint64_t n, emr_error *error)
{
    emr_error why;
    if (n > r->length - r->offset)
        return fail_cut_off(r, error);
    emr_status status = n ? emr_io_read(&r->io, r->offset, bytes, (size_t)n, &why) : EMR_OK;
    if (status)
        return emr_fail_because(error, status, &why, "%F: reading %u bytes at byte %u failed", r->name, n,
                                r->offset);
    r->offset += n;
    return EMR_OK;
}

emr_status emr_part_open(emr_part_reader *r, const emr_io *io, emr_error *error)
{
    uint8_t p[EMR_HEADER_SIZE];
    emr_error why;
    r->io = *io;
    r->offset = 0;
    emr_status status = emr_io_length(io, &r->length, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: its length cannot be told", r->name);
    status = r->length < sizeof p ? EMR_EFORMAT : read_bytes(r, p, sizeof p, error);
    if (status == EMR_EFORMAT || (!status && memcmp(p, MAGIC, 8) != 0))
        return emr_fail(error, EMR_EFORMAT, "%F: is no part of a merge (emr merge --part makes those)",
                        r->name);
    if (status)
        return status;
    if (!emr_is_sealed(p))
        return emr_part_fail_damaged(r, error);
    if (emr_load32(p + 8) != VERSION || emr_load32(p + 12) != EMR_HEADER_SIZE)
        return emr_fail(error, EMR_EVERSION, "%F: was made by another version of libemr: join with that one",
                        r->name);
    r->head =
        (emr_part_head){{emr_load64(p + 16), emr_load64(p + 24)}, emr_load32(p + 32), emr_load32(p + 36)};
    r->chain = emr_hash64(p, sizeof p);
    return EMR_OK;
}

emr_status emr_part_next(emr_part_reader *r, emr_part_record *record, emr_error *error)
{
    uint8_t *p = r->next;
    emr_status status = r->has_next ? EMR_OK : read_bytes(r, p, EMR_PART_RECORD, error);
    if (status)
        return status;
    r->offset += r->has_next ? EMR_PART_RECORD : 0;
    r->has_next = false;
    r->chain = chain_after(r->chain, p);
    *record = (emr_part_record){.kind = emr_load32(p),
                                .number = emr_load32(p + 4),
                                .n = emr_load64(p + 8),
                                .size = emr_load64(p + 16),
                                .hash = emr_load64(p + 24),
                                .codec = p[32],
                                .parameter = p[33]};
    if (emr_load64(p + CHAINED) != r->chain)
        return emr_part_fail_damaged(r, error);
    return record->size > r->length - r->offset ? fail_cut_off(r, error) : EMR_OK;
}

/* With what it holds comes the next record: one read less for each. */
emr_status emr_part_get(emr_part_reader *r, const emr_part_record *record, void *bytes, emr_error *error)
{
    uint64_t left = r->length - r->offset;
    r->has_next = record->size <= left && left - record->size >= EMR_PART_RECORD;
    emr_status status = read_bytes(r, bytes, record->size + (r->has_next ? EMR_PART_RECORD : 0), error);
    if (status)
        return status;
    if (r->has_next) {
        r->offset -= EMR_PART_RECORD;
        memcpy(r->next, (const uint8_t *)bytes + record->size, EMR_PART_RECORD);
    }
    return emr_hash64(bytes, (size_t)record->size) == record->hash ? EMR_OK : emr_part_fail_damaged(r, error);
}
