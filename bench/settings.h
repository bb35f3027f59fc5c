/* settings.h - what the command line chose, and the groups of measurements. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct settings {
    const char *only;      /* groups whose name begins so; NULL: all */
    const char *directory; /* for files; exists */
    unsigned threads;      /* what "all" means: at least 1 */
    unsigned runs;         /* passes of each measurement, of which the median counts: 1 to RUNS_MAX */
    bool json, quick, huge;
    bool own_files; /* measure files of these sizes instead of the table's: */
    unsigned tasks;
    uint64_t params, memory;
} settings;

/* Picks one of two sizes: that of the real run, or of the one that only shows that everything works. */
static inline uint64_t size_of_run(const settings *s, uint64_t real, uint64_t quick)
{
    return s->quick ? quick : real;
}

/* Each measures one group and prints its rows. */
void bench_machine(const settings *s);
void bench_kernels(const settings *s);
void bench_memory(const settings *s);
void bench_files(const settings *s);
void bench_parts(const settings *s);
void bench_combining(const settings *s);
void bench_masks(const settings *s);
void bench_open(const settings *s);
void bench_access(const settings *s);
void bench_session(const settings *s);
void bench_serving(const settings *s);
void bench_fit(const settings *s);          /* where libemr-fit is built */
void bench_coefficients(const settings *s); /* likewise */

/* Rows that name the machine, before all groups. */
void describe_machine(const settings *s);

#endif
