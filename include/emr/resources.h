/* resources.h - what a long call may use: memory, threads, and a way to follow and stop it.
 *
 *     emr_resources resources = EMR_INIT(emr_resources);
 *     resources.executor = emr_pool_executor(pool);
 *     resources.memory_bytes = 512 << 20;
 *     resources.progress = show_progress;
 *     emr_merge_options options = EMR_INIT(emr_merge_options);
 *     options.resources = &resources;
 */
#ifndef EMR_RESOURCES_H
#define EMR_RESOURCES_H

#include "emr/allocator.h"
#include "emr/executor.h"
#include "emr/export.h"
#include "emr/status.h"

/* How far a call has come. */
typedef struct emr_progress {
    size_t size;
    uint64_t done;  /* bytes of input; never decreases */
    uint64_t total; /* in all; 0 where that is not known */
} emr_progress;

/* Called every few MiB, from the thread that made the long call. EMR_OK goes on; anything else stops the
 * call with EMR_ECANCELED. `error` is never NULL; what the callback writes there is what the caller reads.
 */
typedef emr_status (*emr_progress_fn)(void *user, const emr_progress *progress, emr_error *error);

/* Zero means the default. Copied, allocator and executor too; their `user` and `progress_user` are borrowed
 * until the call returns or, where a handle was made with them, that is destroyed. */
typedef struct emr_resources {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free, or that of the handle that the call is about */
    const emr_executor *executor;   /* NULL: the calling thread alone */
    emr_progress_fn progress;       /* may be NULL */
    void *progress_user;
    uint64_t memory_bytes; /* cap on working memory; 0: each call's default. EMR_ELIMIT: too little */
} emr_resources;

#endif
