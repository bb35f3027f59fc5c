/* results.h - what the demo measures, printed and checked. */
#ifndef DIGITS_RESULTS_H
#define DIGITS_RESULTS_H

#include <stdint.h>

enum { N_TASKS = 8 };
enum method { PRETRAINED, INDIVIDUAL, AVERAGING, ARITHMETIC, EMR, N_METHODS };

extern const char *const task_names[N_TASKS];

/* A bundle of all tasks with one kind of modulator. */
enum { N_KINDS = 7 };

typedef struct kind_result {
    const char *name;
    double accuracy; /* per cent, the mean over tasks */
    double bits;     /* of the bundle, for each parameter and task */
} kind_result;

typedef struct results {
    double accuracy[N_METHODS][N_TASKS]; /* per cent */
    double scale[N_METHODS];             /* of AVERAGING and ARITHMETIC: times the sum of task vectors */
    double individual[N_TASKS][N_TASKS]; /* per cent: each task's network (first) on each task (second) */
    double rescaler[N_TASKS];            /* lambda */
    double density[N_TASKS];             /* share of the mask's bits that are set */
    uint64_t mask_bytes[N_TASKS];        /* in the bundle */
    uint64_t base_bytes, checkpoint_bytes, bundle_bytes; /* of the files; of all checkpoints together */
    const char *unified_dtype;
    kind_result kinds[N_KINDS];
} results;

void results_print(const results *r);

/* What must hold however the networks were trained. Returns NULL, or a sentence about what does not. */
const char *results_check(const results *r);

#endif
