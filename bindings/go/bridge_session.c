/* bridge_session.c - see bridge_session.h. */
#include "bridge_session.h"

#include <sched.h>

void emr_go_wait(void *user)
{
    (void)user;
    sched_yield();
}

void emr_go_find_matrix(const emr_bundle *bundle, const char *name, uint64_t *count, uint64_t *columns)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    uint32_t tensor;
    *count = *columns = 0;
    if (emr_bundle_find_tensor(bundle, name, &tensor, NULL) || emr_bundle_get_tensor(bundle, tensor, &info))
        return;
    *count = info.count;
    *columns = info.rank < 2 || !info.shape[0] ? info.count : info.count / info.shape[0];
}
