/* session_world.h - a bundle with tensors of every sort, and sessions over it. */
#ifndef EMR_TESTS_SESSION_WORLD_H
#define EMR_TESTS_SESSION_WORLD_H

#include "support.h"

enum { WORLD_TASKS = 3, WORLD_LACKING = 2 /* the task that lacks tensors */ };
#define WORLD_LACKED  "late"            /* merged */
#define WORLD_IDS     "ids"             /* kept: integers, */
#define WORLD_MEAN    "bn.running_mean" /* and floats */
#define WORLD_PRIVATE "head.a"          /* of every task */

/* How a session comes by what it needs. */
typedef struct world_setting {
    test_source source;   /* of the base */
    uint32_t threads;     /* 0: no executor */
    uint64_t mask_blocks; /* room for so many; 0: for all */
    bool embedded;        /* the base is the bundle's own */
} world_setting;

extern const world_setting world_settings[];
extern const size_t n_world_settings;

typedef struct session_world {
    test_set set;
    emr_buffer *buffer;
    test_io input;
    emr_bundle *bundle;
    emr_bundle_info info;
    emr_pool *pool;
    test_allocator counts;
    emr_session *session;
    emr_error error;
} session_world;

void world_create(session_world *w, const world_setting *setting);
void world_destroy(session_world *w);

/* A tensor of the bundle by its number. */
emr_tensor_info world_tensor(const session_world *w, uint32_t tensor);
uint32_t world_number(const session_world *w, const char *name);

/* All of a task's tensor in a dtype, written directly; free it. *n is its elements. */
unsigned char *world_weights(session_world *w, uint32_t task, const char *name, emr_dtype dtype, uint64_t *n);

/* The last failure: its status, and something that its sentence says. */
void assert_told(session_world *w, emr_status status, emr_status want, const char *says);

#endif
