/* join.h - the parts of a merge (emr_merge_set_part) become its bundle: to the last byte that of one machine.
 *
 *     emr_join_create(&join, NULL, &error);
 *     emr_join_add_part(join, emr_file_io(part), "p3.part", &error);    // each of them, in any order
 *     emr_join_set_output(join, emr_file_io(file), &error);
 *     emr_join_run(join, &error);
 *     emr_join_destroy(&join);
 *
 * No checkpoint is needed. Parts are read once, front to back, and mostly copied: what was compressed stays as it
 * is. Memory does not depend on their size. */
#ifndef EMR_JOIN_H
#define EMR_JOIN_H

#include "emr/export.h"
#include "emr/io.h"
#include "emr/resources.h"
#include "emr/status.h"

typedef struct emr_join emr_join;

EMR_BEGIN_DECLS

/* NULL resources: all defaults; memory_bytes 0: 256 MiB. */
EMR_API emr_status emr_join_create(emr_join **join, const emr_resources *resources, emr_error *error);
EMR_API void emr_join_destroy(emr_join **join);

/* Adds a part; `io` needs read and length, and its `user` is borrowed until the join is destroyed. `name` is what
 * messages call it; NULL: "part". Only its first bytes are read now.
 * - EMR_EFORMAT: no part of a merge. EMR_EMISMATCH: one of another merge, of other models, options, number of
 *   parts or release of libemr or zstd than the first one. EMR_EINVAL: its number is there already. */
EMR_API emr_status emr_join_add_part(emr_join *join, const emr_io *io, const char *name, emr_error *error);

/* Where the bundle goes. `io` needs `write` alone. It is whole when the run returns EMR_OK, and worthless
 * otherwise. */
EMR_API emr_status emr_join_set_output(emr_join *join, const emr_io *io, emr_error *error);

/* EMR_ENOTFOUND: a part is missing; which one, the sentence says. EMR_ECORRUPT names a part that is damaged or
 * was cut off; EMR_EVERSION: parts were made by another release of libemr or zstd than joins them. Once. */
EMR_API emr_status emr_join_run(emr_join *join, emr_error *error);

EMR_END_DECLS

#endif
