/* progress.h - how far a long call has come, and how to stop it. */
#ifndef EMR_PROGRESS_H
#define EMR_PROGRESS_H

#include "emr/export.h"

/* Called often (every few MiB), from the thread that made the long call. Bytes are input bytes done and in
 * all; `total` may be 0 where it is not known. A non-zero return stops the call with EMR_ECANCELED. */
typedef int (*emr_progress_fn)(void *user, uint64_t done, uint64_t total);

#endif
