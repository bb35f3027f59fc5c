/* names.h - finding things by name: an open-addressing table of indexes into a list that the owner keeps. */
#ifndef EMR_CORE_NAMES_H
#define EMR_CORE_NAMES_H

#include "core/memory.h"

typedef struct emr_names {
    struct emr_name_slot *slots;
    size_t n_slots; /* a power of two, or 0 */
    size_t n;
    uint64_t seed; /* of the hashes */
} emr_names;

#define EMR_NAMES_NONE SIZE_MAX

/* The owner's list: the i-th name. */
typedef const char *(*emr_name_at)(const void *owner, size_t i);

/* The index under which `name` was added, or EMR_NAMES_NONE. */
size_t emr_names_find(const emr_names *names, emr_name_at at, const void *owner, const char *name);

/* Adds the owner's i-th name, i being the number of names so far. EMR_EEXIST if it is taken, EMR_ENOMEM; the
 * table is unchanged then. */
emr_status emr_names_add(emr_names *names, const emr_allocator *allocator, emr_name_at at, const void *owner,
                         size_t i);

/* Bytes that a table has allocated after n names, or once there is room for them. */
uint64_t emr_names_memory(size_t n);

/* Room for n names without growing on the way. */
emr_status emr_names_reserve(emr_names *names, const emr_allocator *allocator, size_t n);

void emr_names_free(emr_names *names, const emr_allocator *allocator);

#endif
