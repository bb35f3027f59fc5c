/* resume.c - see resume.h. */
#include "pass/resume.h"

#include "pass/journal.h"

#include <string.h>

struct emr_resume {
    emr_allocator allocator;
    uint64_t interval, last; /* input bytes: between two records, and at the last one */
    emr_journal *journal;
    emr_pass *pass;
    bool continues; /* records of an earlier run are there and were taken up */
};

void emr_hash_number(emr_hasher *h, uint64_t number)
{
    emr_hasher_update(h, &number, sizeof number);
}

void emr_hash_text(emr_hasher *h, const char *text)
{
    emr_hasher_update(h, text, strlen(text) + 1);
}

void emr_hash_model(emr_hasher *h, const emr_model *m)
{
    emr_hash_number(h, m->stamp);
    emr_hash_number(h, m->n_tensors);
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        emr_hash_text(h, t->name);
        emr_hash_number(h, t->dtype);
        emr_hash_number(h, t->rank);
        emr_hasher_update(h, t->shape, t->rank * sizeof *t->shape);
    }
    emr_hash_number(h, m->n_metadata);
    for (uint32_t i = 0; i < m->n_metadata; i++) {
        emr_hash_text(h, m->metadata[i].key);
        emr_hash_text(h, m->metadata[i].value);
    }
}

emr_status emr_resume_create(emr_resume **resume, const emr_io *journal, uint64_t interval,
                             emr_hash128 fingerprint, const emr_allocator *allocator, emr_error *error)
{
    emr_resume *r = emr_allocate_array(allocator, 1, sizeof *r);
    *resume = NULL;
    if (!r)
        return emr_no_memory(error, NULL);
    r->allocator = *allocator;
    r->interval = interval;
    emr_status status = emr_journal_create(&r->journal, journal, fingerprint, allocator, error);
    if (status)
        emr_resume_destroy(&r);
    *resume = r;
    return status;
}

uint64_t emr_resume_memory(void)
{
    return sizeof(emr_resume) + emr_journal_memory();
}

void emr_resume_destroy(emr_resume **resume)
{
    emr_resume *r = *resume;
    if (!r)
        return;
    emr_allocator allocator = r->allocator;
    emr_journal_destroy(&r->journal);
    emr_release(&allocator, r);
    *resume = NULL;
}

static emr_status get_from_journal(void *context, void *bytes, size_t n, emr_error *error)
{
    return emr_journal_get(context, bytes, n, error);
}

static void put_into_journal(void *context, const void *bytes, size_t n)
{
    emr_journal_put(context, bytes, n);
}

emr_status emr_resume_find(emr_resume *r, emr_pass *pass, bool *stale, emr_error *error)
{
    emr_status status = EMR_OK;
    bool right = true;
    while (!status && emr_journal_next(r->journal)) {
        r->continues = true;
        status = emr_pass_restore(pass, get_from_journal, r->journal, error);
    }
    if (!status && r->continues)
        status = emr_pass_continue(pass, &right, error);
    *stale = status == EMR_EFORMAT || (!status && !right);
    if (!*stale)
        return status;
    r->continues = false;
    return EMR_OK;
}

static void save_pass(void *context, emr_journal *journal)
{
    const emr_resume *r = context;
    emr_pass_save(r->pass, put_into_journal, journal);
}

/* First what the record speaks of is durable, then the record. */
static emr_status make_record(emr_resume *r, emr_error *error)
{
    emr_status status = emr_pass_settle(r->pass, error);
    if (!status)
        status = emr_journal_append(r->journal, save_pass, r, error);
    if (status)
        return status;
    emr_pass_saved(r->pass);
    r->last = emr_pass_done(r->pass);
    return EMR_OK;
}

static emr_status record_if_due(void *context, emr_error *error)
{
    emr_resume *r = context;
    bool due = emr_pass_done(r->pass) - r->last >= r->interval;
    return due && emr_pass_can_save(r->pass) ? make_record(r, error) : EMR_OK;
}

emr_status emr_resume_begin(emr_resume *r, emr_pass *pass, emr_error *error)
{
    r->pass = pass;
    r->last = emr_pass_done(pass);
    emr_pass_on_window(pass, record_if_due, r);
    return r->continues ? EMR_OK : emr_journal_reset(r->journal, error);
}
