/* refused.h - calls that are refused with EMR_EINVAL, counted: what tests of NULL state. For one file of a program. */
#ifndef EMR_TESTS_REFUSED_H
#define EMR_TESTS_REFUSED_H

#include "support.h"

static emr_error error;
static emr_error *e; /* wanted in one round, not in the other */

static size_t n_broken;

static void check_promise(bool kept, const char *call, const char *what, int line)
{
    if (kept)
        return;
    print_error("line %d: %s %s\n", line, call, what);
    n_broken++;
}

static void check_status(emr_status status, const char *call, int line)
{
    check_promise(status == EMR_EINVAL, call, emr_status_name(status), line);
}

static void check_sentence(const char *call, int line)
{
    check_promise(!e || (e->status == EMR_EINVAL && e->text[0]), call, "gives no sentence", line);
}

/* A call without a sentence; one with; and one that would have given a handle. */
#define QUIET(call) check_status((call), #call, __LINE__)
#define REFUSED(call)                                                                                        \
    (memset(&error, 0, sizeof error), check_status((call), #call, __LINE__), check_sentence(#call, __LINE__))
#define NO_HANDLE(handle, call)                                                                              \
    (*(void **)&(handle) = &error, REFUSED(call), check_no_handle((handle), #call, __LINE__))

static void check_no_handle(const void *handle, const char *call, int line)
{
    check_promise(!handle, call, "leaves a handle", line);
}

#endif
