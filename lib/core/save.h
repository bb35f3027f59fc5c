/* save.h - how state is saved, so that work can continue after it was cut off: put as bytes, and got back in
 * the same order. */
#ifndef EMR_CORE_SAVE_H
#define EMR_CORE_SAVE_H

#include "emr/status.h"

typedef void (*emr_put_fn)(void *context, const void *bytes, size_t n);
typedef emr_status (*emr_get_fn)(void *context, void *bytes, size_t n, emr_error *error);

#endif
