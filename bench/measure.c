/* measure.c - see measure.h. */
#define _GNU_SOURCE

#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

void die(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "emr-bench: %s\n", what);
    exit(1);
}

void check(emr_status status, const emr_error *error)
{
    if (status)
        die(error->text);
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double seconds_of(void (*work)(void *arg), void *arg)
{
    double start = now();
    work(arg);
    return now() - start;
}

comparison take_turns(unsigned runs, void (*subject)(void *arg), void (*reference)(void *arg), void *arg)
{
    double subjects[RUNS_MAX], references[RUNS_MAX], ratios[RUNS_MAX];
    subject(arg);
    reference(arg);
    for (unsigned i = 0; i < runs; i++) {
        subjects[i] = seconds_of(subject, arg);
        references[i] = seconds_of(reference, arg);
        ratios[i] = subjects[i] / references[i];
    }
    return (comparison){median(subjects, runs), median(references, runs), median(ratios, runs)};
}

void *allocate_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("out of memory");
    return memory;
}

/* What was freed goes back to the system: a child that could use it again would seem to need less. */
static void trim_heap(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static double seconds_in(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

cost run_in_child(void (*work)(void *arg), void *arg)
{
    double *seconds = allocate_shared(sizeof *seconds);
    struct rusage usage;
    int status;
    fflush(stdout);
    trim_heap();
    pid_t child = fork();
    if (child == 0) {
        *seconds = seconds_of(work, arg);
        _exit(0);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) < 0 || status)
        die("a measured process failed");
    cost c = {*seconds, seconds_in(usage.ru_utime) + seconds_in(usage.ru_stime),
              (double)usage.ru_maxrss / 1024};
    release_large(seconds, sizeof *seconds);
    return c;
}

void *allocate_large(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("out of memory");
    memset(memory, 1, bytes);
    return memory;
}

void release_large(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

team team_create(unsigned threads)
{
    team t = {.resources = EMR_INIT(emr_resources)};
    emr_error error;
    emr_pool_options options = EMR_INIT(emr_pool_options);
    options.threads = threads;
    check(emr_pool_create(&t.pool, &options, &error), &error);
    t.resources.executor = t.executor = emr_pool_executor(t.pool);
    return t;
}

void team_destroy(team *t)
{
    emr_pool_destroy(&t->pool);
}

void team_run(const team *t, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    t->executor->parallel_for(t->executor->user, n, fn, arg);
}

size_t share_begin(size_t n, size_t i, size_t k, size_t unit)
{
    return i == k ? n : n / unit * i / k * unit;
}

thread_text threads_of(unsigned n)
{
    thread_text t;
    snprintf(t.text, sizeof t.text, n == 1 ? "%u thread" : "%u threads", n);
    return t;
}
