/* resources.h - what a long call was given: memory, threads and progress, checked and copied. */
#ifndef EMR_CORE_RESOURCES_H
#define EMR_CORE_RESOURCES_H

#include "emr/resources.h"

#include <stdbool.h>

typedef struct emr_env {
    emr_allocator allocator;
    emr_executor executor; /* concurrency 0: the calling thread alone */
    emr_progress_fn progress;
    void *progress_user;
    uint64_t memory_bytes; /* 0: not said */
} emr_env;

/* By the size rule. NULL gives the defaults; `allocator` is the one to take where none is given, NULL the
 * library's own. */
emr_status emr_env_take(emr_env *taken, const emr_resources *given, const emr_allocator *allocator,
                        emr_error *error);

/* Tells how far the work is. EMR_ECANCELED, "WHAT was canceled", if the host wants it to stop. */
emr_status emr_env_progress(const emr_env *env, uint64_t done, uint64_t total, const char *what,
                            emr_error *error);

#endif
