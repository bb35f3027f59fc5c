/* gather.c - rows of one tensor, each of a task of its own. Freestanding. */
#include "session/session.h"

emr_status emr_session_gather(emr_session *session, const emr_gather *gather, emr_error *error)
{
    (void)session, (void)gather;
    return emr_fail(error, EMR_EUNSUPPORTED, "emr_session_gather");
}
