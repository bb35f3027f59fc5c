/* openblas.c - see openblas.h. It is found at run time, so that nothing needs it to build. */
#define _GNU_SOURCE

#include "openblas.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_MAJOR = 102, LOWER = 122, NOT_TRANSPOSED = 111 }; /* of cblas.h */

bool openblas_load(openblas *b)
{
    /* Its threads do not stay awake in our turn, unless it is loaded already. */
    setenv("OPENBLAS_THREAD_TIMEOUT", "4", 0);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void *dsyrk = library ? dlsym(library, "cblas_dsyrk") : NULL;
    void *set_threads = library ? dlsym(library, "openblas_set_num_threads") : NULL;
    memcpy(&b->dsyrk, &dsyrk, sizeof dsyrk);
    memcpy(&b->set_threads, &set_threads, sizeof set_threads);
    return dsyrk && set_threads;
}

void openblas_add_products(const openblas *b, unsigned threads, int n, int k, const double *a, double *c)
{
    b->set_threads((int)threads);
    b->dsyrk(COLUMN_MAJOR, LOWER, NOT_TRANSPOSED, n, k, 1, a, n, 1, c, n);
}
