/* heads.h - what the layers above see of heads (emr/heads.h). */
#ifndef EMR_ALIGN_HEADS_H
#define EMR_ALIGN_HEADS_H

#include "emr/heads.h"

#include <stdbool.h>

/* Whether a tensor of that name is a head. */
bool emr_heads_has(const emr_heads *heads, const char *name);

/* A task as heads stand side by side: its model, and its rows. `task` is less than the number of tasks. */
const emr_model *emr_heads_model(const emr_heads *heads, uint32_t task);
uint32_t emr_heads_n_tasks(const emr_heads *heads);

const emr_allocator *emr_heads_allocator(const emr_heads *heads);

#endif
