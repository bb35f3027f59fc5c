/* subset.h - a new bundle with some of a bundle's tasks, which emr_bundle_drop and emr_bundle_extract both
 * are: what choosing the tasks (subset.c), counting for the report (subset_report.c) and writing
 * (subset_write.c) share.
 *
 * A hostile bundle can have any number of tasks, large blocks that are one byte over and over, and records
 * that share their strings: memory does not grow with tasks but for the index, such blocks are not decoded,
 * and what is shared stays so. */
#ifndef EMR_BUNDLE_SUBSET_H
#define EMR_BUNDLE_SUBSET_H

#include "bundle/bundle.h"
#include "core/resources.h"

typedef struct emr_subset {
    const emr_bundle *bundle;
    emr_env env;
    const char *what;     /* is done, for a sentence about its being canceled */
    uint64_t done, total; /* stored bytes: counted, then copied */
    bool *stays;          /* one a task */
    uint32_t *numbers;    /* the new ones of the tasks that stay */
    uint32_t n_left;
    /* Whether tasks that stay use the unified vector; have other modulators than masks; have records of modulators that
     * say more than a bundle without them. */
    bool has_elected, has_kinds, has_modulators;
    emr_drop_report report;
} emr_subset;

/* Whether a stream is in the new bundle as well: the base's, and those of tasks that stay, if this version
 * knows what they are. What growing needs is of no use without all tasks, nor are unified values that none of them
 * uses. */
bool emr_subset_keeps(const emr_subset *subset, const emr_stream_record *stream);

/* Bytes in the file of the blocks that hold [first, first + n) of a stream. */
uint64_t emr_subset_stored(const emr_bundle *b, size_t stream, uint64_t first, uint64_t n);

/* Reports progress: `bytes` more stored bytes. */
emr_status emr_subset_advance(emr_subset *subset, uint64_t bytes, emr_error *error);

/* Fills in the report, but for what is lost. */
emr_status emr_subset_count(emr_subset *subset, emr_error *error);

/* Writes the new bundle. */
emr_status emr_subset_write(emr_subset *subset, const emr_io *io, emr_error *error);

#endif
