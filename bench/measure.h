/* measure.h - clocks, medians, turns of two passes, processes of their own, and memory to measure in. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <emr/emr.h>

#include <stddef.h>

enum { RUNS_MAX = 64, THREADS_MAX = 256 };

/* Ends the program: a benchmark that cannot do its work has nothing to say. */
_Noreturn void die(const char *what);
void check(emr_status status, const emr_error *error);

double now(void);            /* seconds */
double processor_time(void); /* seconds of all of the program's threads on processors */
double median(double *values, size_t n);

/* Two passes that take turns, so that both meet the same machine. */
typedef struct comparison {
    double subject, reference; /* median seconds */
    double ratio;              /* median of subject / reference, each of neighbouring passes */
} comparison;

/* One turn of each goes first and does not count. */
comparison take_turns(unsigned runs, void (*subject)(void *arg), void (*reference)(void *arg), void *arg);

/* What a process of its own took: its seconds, those of all its threads on processors, in the program and in the system, and
 * the peak of its resident memory. */
typedef struct cost {
    double seconds, processor, peak_mib;
} cost;

/* Runs `work` in a child. The caller should hold little memory: a child begins with its parent's. */
cost run_in_child(void (*work)(void *arg), void *arg);

/* Memory far larger than the caches, every page of it there. */
void *allocate_large(size_t bytes);
void release_large(void *memory, size_t bytes);

/* Memory that a child shares with its parent, to hand results back in; zero. Freed by release_large. */
void *allocate_shared(size_t bytes);

/* A pool, its executor, and the resources of a call that runs on it. */
typedef struct team {
    emr_pool *pool;
    const emr_executor *executor;
    emr_resources resources;
} team;

team team_create(unsigned threads);
void team_destroy(team *t);
void team_run(const team *t, size_t n, void (*fn)(void *arg, size_t i), void *arg);

/* The beginning of share i of k of n things, in whole multiples of `unit`; share k begins at n. */
size_t share_begin(size_t n, size_t i, size_t k, size_t unit);

/* "1 thread", "8 threads". */
typedef struct thread_text {
    char text[32];
} thread_text;
thread_text threads_of(unsigned n);

#endif
