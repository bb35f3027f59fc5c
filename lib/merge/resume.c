/* resume.c - see resume.h. */
#include "merge/resume.h"

#include "bundle/bundle.h"
#include "emr/version.h"
#include "merge/journal.h"

#include <string.h>

struct emr_resume {
    emr_allocator allocator;
    const emr_plan *plan;
    emr_io output;
    uint64_t interval, last; /* input bytes: between two records, and at the last one */
    emr_journal *journal;
    emr_driver *driver;
    emr_step *step;
    emr_writer *writer;
    bool continues; /* records of an earlier run are there and were taken up */
};

static void hash_number(emr_hasher *h, uint64_t number)
{
    emr_hasher_update(h, &number, sizeof number);
}

static void hash_text(emr_hasher *h, const char *text)
{
    emr_hasher_update(h, text, strlen(text) + 1);
}

static void hash_model(emr_hasher *h, const emr_model *m)
{
    hash_number(h, m->stamp);
    hash_number(h, m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        hash_text(h, t->name);
        hash_number(h, (uint64_t)t->dtype);
        hash_number(h, t->rank);
        emr_hasher_update(h, t->shape, t->rank * sizeof *t->shape);
    }
    hash_number(h, m->n_metadata);
    for (size_t i = 0; i < m->n_metadata; i++) {
        hash_text(h, m->metadata[i].key);
        hash_text(h, m->metadata[i].value);
    }
}

/* Everything that the bytes of the bundle depend on, but for the values of tensors: for them the files'
 * stamps stand. */
static emr_hash128 fingerprint(const emr_plan *plan, const emr_layout *l)
{
    const emr_merge_options *o = plan->options;
    const int numbers[] = {o->rescale,      o->rescale_per,   o->tie,        o->on_mismatch, o->on_missing,
                           o->on_nonfinite, o->unified_dtype, o->embed_base, o->extendable,  o->compression};
    emr_hasher h;
    emr_hasher_init(&h);
    hash_text(&h, emr_version());
    hash_number(&h, emr_codec_version());
    emr_hasher_update(&h, numbers, sizeof numbers);
    hash_number(&h, l->block_params);
    hash_number(&h, o->n_private_globs);
    for (size_t i = 0; i < o->n_private_globs; i++)
        hash_text(&h, o->private_globs[i]);
    hash_model(&h, plan->base);
    hash_number(&h, plan->n_tasks);
    for (size_t t = 0; t < plan->n_tasks; t++) {
        hash_text(&h, plan->tasks[t].name);
        hash_model(&h, plan->tasks[t].model);
    }
    if (plan->before)
        hash_number(
            &h, emr_hash64(plan->before->index,
                           (size_t)(plan->before->bytes - plan->before->index_offset - EMR_TRAILER_SIZE)));
    return emr_hasher_digest(&h);
}

emr_status emr_resume_create(emr_resume **resume, const emr_io *journal, const emr_io *output,
                             uint64_t interval, const emr_plan *plan, const emr_layout *layout,
                             emr_error *error)
{
    emr_resume *r = emr_allocate_array(&plan->allocator, 1, sizeof *r);
    if (!r)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    r->allocator = plan->allocator;
    r->plan = plan;
    r->output = *output;
    r->interval = interval;
    emr_status status =
        emr_journal_create(&r->journal, journal, fingerprint(plan, layout), &r->allocator, error);
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

static emr_status get(void *context, void *bytes, size_t n, emr_error *error)
{
    return emr_journal_get(context, bytes, n, error);
}

static void put(void *context, const void *bytes, size_t n)
{
    emr_journal_put(context, bytes, n);
}

emr_status emr_resume_find(emr_resume *r, emr_driver *driver, emr_step *step, emr_writer *writer, bool *stale,
                           emr_error *error)
{
    emr_status status = EMR_OK;
    bool right = true;
    while (!status && emr_journal_next(r->journal)) {
        r->continues = true;
        status = emr_driver_restore(driver, get, r->journal, error);
        if (!status)
            status = emr_step_restore(step, get, r->journal, error);
        if (!status)
            status = emr_writer_restore(writer, get, r->journal, error);
    }
    if (!status && emr_driver_flat(driver) != emr_step_flat(step))
        status = EMR_EFORMAT;
    if (!status && r->continues)
        status = emr_writer_check(writer, &right, error);
    *stale = status == EMR_EFORMAT || (!status && !right);
    if (*stale) {
        r->continues = false;
        return EMR_OK;
    }
    return !status && r->continues ? emr_driver_continue(driver, error) : status;
}

static void save(void *context, emr_journal *journal)
{
    const emr_resume *r = context;
    emr_driver_save(r->driver, put, journal);
    emr_step_save(r->step, emr_driver_row(r->driver), put, journal);
    emr_writer_save(r->writer, put, journal);
}

static emr_status make_record(emr_resume *r, emr_error *error)
{
    emr_status status = emr_writer_flush(r->writer, error);
    if (!status)
        status = emr_driver_settle(r->driver, error);
    if (!status && r->output.sync && r->output.sync(r->output.user))
        status = emr_fail(error, EMR_EIO, "writing the bundle failed: it could not be made durable");
    if (!status)
        status = emr_journal_append(r->journal, save, r, error);
    if (status)
        return status;
    emr_driver_saved(r->driver);
    emr_step_saved(r->step, emr_driver_row(r->driver));
    emr_writer_saved(r->writer);
    r->last = emr_driver_done(r->driver);
    return EMR_OK;
}

static emr_status window_done(void *context, emr_error *error)
{
    emr_resume *r = context;
    bool due = emr_driver_done(r->driver) - r->last >= r->interval;
    return due && emr_step_rests(r->step) ? make_record(r, error) : EMR_OK;
}

emr_status emr_resume_begin(emr_resume *r, emr_driver *driver, emr_step *step, emr_writer *writer,
                            emr_error *error)
{
    r->driver = driver;
    r->step = step;
    r->writer = writer;
    r->last = emr_driver_done(driver);
    emr_driver_on_window(driver, window_done, r);
    return r->continues ? EMR_OK : emr_journal_reset(r->journal, error);
}
