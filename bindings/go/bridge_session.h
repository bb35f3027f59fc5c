/* bridge_session.h - what sessions call back, and what must be known of a tensor before memory is handed to one. */
#ifndef EMR_GO_BRIDGE_SESSION_H
#define EMR_GO_BRIDGE_SESSION_H

#include "bridge.h"

emr_status emrGoTakeWeights(emr_weights_part *part, emr_error *error);

/* emr_session_options.wait: goroutines that wait in C hold a thread each, of which there are more than processors. */
void emr_go_wait(void *user);

/* The elements of a tensor of the bundle, and the columns of a row; 0 where there is no such tensor. */
void emr_go_find_matrix(const emr_bundle *bundle, const char *name, uint64_t *count, uint64_t *columns);

#endif
