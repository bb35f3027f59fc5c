/* kinds.h - the kinds of modulators that are measured beside one another. */
#ifndef BENCH_KINDS_H
#define BENCH_KINDS_H

#include <emr/emr.h>

#include <stdbool.h>

typedef struct bench_kind {
    const char *name;
    double bits;         /* of a task's codes, each parameter */
    bool shares_unified; /* and the tasks share a unified vector */
    emr_modulation_spec spec;
} bench_kind;

/* The first is the paper's mask; a name of NULL ends the list. */
extern const bench_kind bench_kinds[];

#endif
