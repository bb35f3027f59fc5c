/* resume.h - a merge that can go on after it was cut off: from time to time everything that was computed is
 * made durable, and then a record in a journal that says where the merge stands. */
#ifndef EMR_MERGE_RESUME_H
#define EMR_MERGE_RESUME_H

#include "merge/driver.h"
#include "merge/emr_step.h"
#include "numeric/kernels.h"

typedef struct emr_resume emr_resume;

/* Everything given is borrowed; `output` is what the writer writes to, and has read and length. */
emr_status emr_resume_create(emr_resume **resume, const emr_io *journal, const emr_io *output,
                             uint64_t interval, const emr_plan *plan, const emr_layout *layout,
                             emr_error *error);
void emr_resume_destroy(emr_resume **resume);

/* Its memory, for the plan. */
uint64_t emr_resume_memory(void);

/* Goes to where an earlier run of the same merge came, if there was one: driver, step and writer are new.
 * *stale: there was one, but what it left is not there; then they are of no more use, and new ones must begin
 * from the front. */
emr_status emr_resume_find(emr_resume *resume, emr_driver *driver, emr_step *step, emr_writer *writer,
                           bool *stale, emr_error *error);

/* From here on records are made. */
emr_status emr_resume_begin(emr_resume *resume, emr_driver *driver, emr_step *step, emr_writer *writer,
                            emr_error *error);

#endif
