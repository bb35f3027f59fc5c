/* bridge_session.h - what sessions call back, and what must be known of a tensor before memory is handed to one. */
#ifndef EMR_GO_BRIDGE_SESSION_H
#define EMR_GO_BRIDGE_SESSION_H

#include "bridge.h"

#include <sched.h>

emr_status emrGoTakeWeights(emr_weights_part *part, emr_error *error);

/* Goroutines that wait in C hold a thread each, and there are more of these than processors. */
static inline void emr_go_wait(void *user)
{
    (void)user;
    sched_yield();
}

/* The elements of a tensor of the bundle, and of these the columns of a row; 0 where there is no such tensor. */
static inline void emr_go_find_matrix(const emr_bundle *bundle, const char *name, uint64_t *count,
                                      uint64_t *columns)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    uint32_t tensor;
    *count = *columns = 0;
    if (emr_bundle_find_tensor(bundle, name, &tensor, NULL) || emr_bundle_get_tensor(bundle, tensor, &info))
        return;
    *count = info.count;
    *columns = info.rank < 2 || !info.shape[0] ? info.count : info.count / info.shape[0];
}

#endif
