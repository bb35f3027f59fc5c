/* fuzz_session.h - any bundle that opens, inside a session. */
#ifndef EMR_TESTS_FUZZ_SESSION_H
#define EMR_TESTS_FUZZ_SESSION_H

#include "fuzz_base.h"

/* Holds the bundle in a session, over `base` (NULL: the embedded one), and lets it act as a task and
 * multiply: the weights are those of the task's model, the products those of the weights, and the memory is
 * what the session says, to the byte. `slack` is what it may take before it finds that its cap is too small.
 * Where `intact`, nothing may be found damaged. */
void fuzz_session(const emr_bundle *bundle, const emr_model *base, fuzz_pattern *pattern, size_t slack,
                  fuzz_random *random, bool intact);

#endif
