/* journal.h - a log of how far a merge has come, so that it can go on after it was cut off: records that are
 * appended and made durable one at a time. A record counts if it is whole and continues the ones before it;
 * what comes after the last such one is as if it were not there. Nobody but the same merge, by the same
 * library, has to understand it. */
#ifndef EMR_PASS_JOURNAL_H
#define EMR_PASS_JOURNAL_H

#include "emr/io.h"
#include "core/hash.h"
#include "core/io.h"
#include "core/memory.h"

typedef struct emr_journal emr_journal;

/* Looks for the records of the merge with this fingerprint. */
emr_status emr_journal_create(emr_journal **journal, const emr_io *io, emr_hash128 fingerprint,
                              const emr_allocator *allocator, emr_error *error);
void emr_journal_destroy(emr_journal **journal);

/* Its memory, for the plan. */
uint64_t emr_journal_memory(void);

/* Reading, before anything is appended: goes to the next record, false if there is none. Then its bytes, in
 * the order in which they were put. */
bool emr_journal_next(emr_journal *journal);
emr_status emr_journal_get(emr_journal *journal, void *bytes, size_t n, emr_error *error);

/* Forgets all records. */
emr_status emr_journal_reset(emr_journal *journal, emr_error *error);

/* Appends a record: `save` puts its bytes, twice the same ones. Durable on return if the I/O has sync. */
emr_status emr_journal_append(emr_journal *journal, void (*save)(void *context, emr_journal *journal),
                              void *context, emr_error *error);
void emr_journal_put(emr_journal *journal, const void *bytes, size_t n);

/* Numbers in the machine's byte order: a journal does not travel. */
static inline void emr_journal_put_number(emr_journal *journal, uint64_t number)
{
    emr_journal_put(journal, &number, sizeof number);
}

#endif
