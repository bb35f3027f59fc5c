/* journal.c - see journal.h. The journal begins with a head; a record is its length, its bytes and a hash
 * that goes on from the hash before it, the first one from the head's. A new head has a new number, so that
 * no older record continues it. */
#include "pass/journal.h"

#include "core/bytes.h"

enum {
    HEAD = 64, /* magic, number, fingerprint, reserved; ends in the XXH3-64 of what is before it */
    HASHED = HEAD - 8,
    RECORD_ENDS = 8 + 16, /* a record's length and hash */
    BUFFER = 64 << 10,
};

#define MAGIC "EMRJRNL2"

struct emr_journal {
    emr_allocator allocator;
    emr_io io;
    emr_hash128 fingerprint;
    uint64_t number;   /* of the head */
    uint64_t at;       /* where the next record begins, or reading goes on */
    uint64_t end;      /* reading: of the record's bytes */
    emr_hash128 chain; /* the last hash */
    emr_hasher hasher; /* of the record that is read or written */
    uint8_t *buffer;
    size_t n; /* bytes in it */
    uint64_t counted;
    bool counting;
    emr_status failed; /* of the record that is written, and why */
    emr_error why;
};

static emr_status fail_journal(emr_status status, const emr_error *why, const char *what, emr_error *error)
{
    return emr_fail_because(error, status, why, "%s the journal failed", what);
}

static void start_hash(emr_journal *j)
{
    emr_hasher_init(&j->hasher);
    emr_hasher_update(&j->hasher, &j->chain, sizeof j->chain);
}

static emr_hash128 hash_of_head(const uint8_t head[HEAD])
{
    emr_hasher h;
    emr_hasher_init(&h);
    emr_hasher_update(&h, head, HEAD);
    return emr_hasher_digest(&h);
}

/* Whether there is a head of this merge's. */
static void read_head(emr_journal *j)
{
    uint8_t head[HEAD] = {0};
    uint64_t length = 0;
    emr_error why;
    bool there = emr_io_length(&j->io, &length, &why) == EMR_OK && length >= HEAD &&
                 emr_io_read(&j->io, 0, head, HEAD, &why) == EMR_OK;
    bool whole =
        there && memcmp(head, MAGIC, 8) == 0 && emr_load64(head + HASHED) == emr_hash64(head, HASHED);
    /* a torn head gives a number too that is unlike that of any other */
    j->number = whole ? emr_load64(head + 8) : emr_hash64(head, HEAD);
    if (whole && emr_load64(head + 16) == j->fingerprint.low &&
        emr_load64(head + 24) == j->fingerprint.high) {
        j->chain = hash_of_head(head);
        j->at = HEAD;
    }
}

emr_status emr_journal_create(emr_journal **journal, const emr_io *io, emr_hash128 fingerprint,
                              const emr_allocator *allocator, emr_error *error)
{
    emr_journal *j = emr_allocate_array(allocator, 1, sizeof *j);
    uint8_t *buffer = emr_allocate(allocator, BUFFER);
    if (!j || !buffer) {
        emr_release(allocator, j);
        emr_release(allocator, buffer);
        return emr_no_memory(error, NULL);
    }
    j->allocator = *allocator;
    j->io = *io;
    j->fingerprint = fingerprint;
    j->buffer = buffer;
    read_head(j);
    *journal = j;
    return EMR_OK;
}

uint64_t emr_journal_memory(void)
{
    return sizeof(emr_journal) + BUFFER;
}

void emr_journal_destroy(emr_journal **journal)
{
    emr_journal *j = *journal;
    if (!j)
        return;
    emr_allocator allocator = j->allocator;
    emr_release(&allocator, j->buffer);
    emr_release(&allocator, j);
    *journal = NULL;
}

/* Hashes the record's bytes; false where they cannot be read. */
static bool hash_record(emr_journal *j, uint64_t from, uint64_t end)
{
    emr_error why;
    start_hash(j);
    while (from < end) {
        size_t n = (size_t)emr_min(BUFFER, end - from);
        if (emr_io_read(&j->io, from, j->buffer, n, &why))
            return false;
        emr_hasher_update(&j->hasher, j->buffer, n);
        from += n;
    }
    return true;
}

bool emr_journal_next(emr_journal *j)
{
    uint64_t length, n, at = j->end ? j->end + 16 : j->at;
    emr_hash128 stored, computed;
    emr_error why;
    if (!j->at || emr_io_length(&j->io, &length, &why) || at > length || length - at < RECORD_ENDS ||
        emr_io_read(&j->io, at, &n, 8, &why) || n > length - at - RECORD_ENDS ||
        !hash_record(j, at, at + 8 + n) || emr_io_read(&j->io, at + 8 + n, &stored, sizeof stored, &why))
        return false;
    computed = emr_hasher_digest(&j->hasher);
    if (computed.low != stored.low || computed.high != stored.high)
        return false;
    j->chain = stored;
    j->at = at + 8;
    j->end = at + 8 + n;
    return true;
}

emr_status emr_journal_get(emr_journal *j, void *bytes, size_t n, emr_error *error)
{
    emr_error why;
    if (n > j->end - j->at)
        return emr_fail(error, EMR_EIO, "reading the journal failed: its record is too short");
    emr_status status = emr_io_read(&j->io, j->at, bytes, n, &why);
    if (status)
        return fail_journal(status, &why, "reading", error);
    j->at += n;
    return EMR_OK;
}

static emr_status make_durable(emr_journal *j, emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_sync(&j->io, &why);
    return status ? fail_journal(status, &why, "syncing", error) : EMR_OK;
}

emr_status emr_journal_reset(emr_journal *j, emr_error *error)
{
    uint8_t head[HEAD] = {0};
    memcpy(head, MAGIC, 8);
    emr_store64(head + 8, ++j->number);
    emr_store64(head + 16, j->fingerprint.low);
    emr_store64(head + 24, j->fingerprint.high);
    emr_store64(head + HASHED, emr_hash64(head, HASHED));
    emr_error why;
    emr_status status = emr_io_write(&j->io, 0, head, HEAD, &why);
    if (status)
        return fail_journal(status, &why, "writing", error);
    j->chain = hash_of_head(head);
    j->at = HEAD;
    j->end = 0;
    return make_durable(j, error);
}

static void write_buffer(emr_journal *j)
{
    if (!j->failed && j->n)
        j->failed = emr_io_write(&j->io, j->at, j->buffer, j->n, &j->why);
    j->at += j->n;
    j->n = 0;
}

void emr_journal_put(emr_journal *j, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    if (j->counting) {
        j->counted += n;
        return;
    }
    emr_hasher_update(&j->hasher, bytes, n);
    while (n) {
        size_t part = (size_t)emr_min(n, BUFFER - j->n);
        memcpy(j->buffer + j->n, from, part);
        j->n += part;
        from += part;
        n -= part;
        if (j->n == BUFFER)
            write_buffer(j);
    }
}

emr_status emr_journal_append(emr_journal *j, void (*save)(void *context, emr_journal *journal),
                              void *context, emr_error *error)
{
    if (j->end) /* records were read: go on behind the last one */
        j->at = j->end + 16;
    j->end = 0;
    j->counted = 0;
    j->counting = true;
    save(context, j);
    j->counting = false;
    j->failed = EMR_OK;
    start_hash(j);
    emr_journal_put_number(j, j->counted);
    save(context, j);
    emr_hash128 hash = emr_hasher_digest(&j->hasher);
    emr_journal_put(j, &hash, sizeof hash);
    write_buffer(j);
    j->chain = hash;
    return j->failed ? fail_journal(j->failed, &j->why, "writing", error) : make_durable(j, error);
}
