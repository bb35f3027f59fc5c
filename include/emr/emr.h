/* emr.h - the whole public interface of libemr.
 *
 * libemr merges N checkpoints fine-tuned from one base with EMR-Merging (Elect, Mask & Rescale;
 * arXiv 2405.17461) into one bundle - a unified task vector and, per task, a 1-bit mask and a rescaler -
 * and gives every task's weights back from it.
 *
 * Rules that hold in every header:
 *
 * - A call that can fail returns an emr_status: EMR_OK (0, so that calls chain with ||) or a negative number.
 *   Where a sentence helps, the last parameter is `emr_error *error`; NULL means the sentence is not wanted.
 *   Every failure sets it; on success it is untouched.
 * - On failure an output handle is set to NULL. `emr_x_destroy(&x)` accepts NULL and a pointer to NULL, and
 *   sets the pointer to NULL. After a failed call a handle may only be destroyed, unless its header says
 *   more.
 * - Option structs and tables of callbacks begin with `size_t size`: set it to sizeof the struct (the
 *   EMR_INIT macro does) and leave everything else zero for the defaults. NULL options mean all defaults.
 *   A struct smaller than that of version 1 is EMR_EINVAL; a larger one whose unknown tail is not all zero
 *   is EMR_EVERSION.
 * - Strings are UTF-8 and end in a zero byte. What is passed in is copied, unless "borrowed" is said.
 * - The library keeps no global state, prints nothing, never aborts, starts no thread unless asked to.
 *   Distinct handles are independent of each other. One handle is used by one thread at a time, except where
 *   a call is marked "concurrent": such calls may run at the same time on the same handle.
 */
#ifndef EMR_EMR_H
#define EMR_EMR_H

#include "emr/allocator.h"
#include "emr/bundle.h"
#include "emr/checkpoint.h"
#include "emr/dtype.h"
#include "emr/executor.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/merge.h"
#include "emr/model.h"
#include "emr/modulator.h"
#include "emr/product.h"
#include "emr/progress.h"
#include "emr/session.h"
#include "emr/status.h"
#include "emr/tensor.h"
#include "emr/version.h"

#endif
