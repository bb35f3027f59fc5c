/* emr.h - the whole public interface of libemr.
 *
 * libemr merges N checkpoints fine-tuned from one base with EMR-Merging (Elect, Mask & Rescale; arXiv
 * 2405.17461) into one bundle - a unified task vector and, for each task, a 1-bit mask and a rescaler - and
 * gives every task's weights back from it.
 *
 * Rules that hold in every header:
 *
 * - Names. emr_x_create makes a handle, emr_x_open one of what exists, emr_x_open_y one that depends on
 *   another; emr_x_destroy ends it (emr_file_close a file). emr_x_get_y fills a struct; emr_x_set_y, _add_y,
 *   _find_y and _read_y do what they say; emr_x_y alone returns a property.
 * - Status. A call that can fail returns EMR_OK (0, so that calls chain with ||) or a negative emr_status.
 *   Where a sentence helps, the last parameter is `emr_error *error`; NULL means it is not wanted.
 * - NULL. A call that returns a status returns EMR_EINVAL where a handle or an output is NULL. Calls that
 *   return a property do not check.
 * - Handles. On failure an output handle is set to NULL. emr_x_destroy(&x) accepts NULL and a pointer to
 *   NULL, and sets the pointer to NULL. After a failed call a handle may only be destroyed, unless its
 *   header says more.
 * - Structs. All but emr_error and emr_error_span begin with `size_t size`: set it to sizeof the struct (the
 *   EMR_INIT macro does) and leave everything else, `reserved` too, zero for the defaults. NULL options mean
 *   all defaults. A struct smaller than that of version 1 is EMR_EINVAL; a larger one whose unknown tail is
 *   not all zero is EMR_EVERSION. Structs that the library fills or hands to callbacks have its own size.
 * - Numbers. Tasks and tensors are uint32_t, and EMR_BASE is the base among tasks; parameters and bytes of
 *   files are uint64_t; memory is size_t; flags are uint32_t, and any non-zero value means yes.
 * - Strings are UTF-8 and end in a zero byte. What is passed in is copied, unless "borrowed" is said.
 * - Threads. Calls whose handles are all const are concurrent: they may run at the same time on the same
 *   handles. Every other call needs its handle to itself. Distinct handles are independent of each other.
 * - A good guest. The library keeps no global state, prints nothing, never aborts, starts no thread unless
 *   asked to.
 */
#ifndef EMR_EMR_H
#define EMR_EMR_H

#include "emr/adapter.h"
#include "emr/allocator.h"
#include "emr/blocks.h"
#include "emr/bundle.h"
#include "emr/checkpoint.h"
#include "emr/combine.h"
#include "emr/dtype.h"
#include "emr/elementary.h"
#include "emr/executor.h"
#include "emr/export.h"
#include "emr/heads.h"
#include "emr/io.h"
#include "emr/merge.h"
#include "emr/method.h"
#include "emr/model.h"
#include "emr/modulator.h"
#include "emr/policy.h"
#include "emr/product.h"
#include "emr/resources.h"
#include "emr/role.h"
#include "emr/search.h"
#include "emr/session.h"
#include "emr/statistics.h"
#include "emr/status.h"
#include "emr/tensor.h"
#include "emr/version.h"

#endif
