/* faults.h - what the library does, in little, with every part of it in the hands of a test that lets it
 * fail: merging, growing, verifying, giving weights back, dropping. */
#ifndef EMR_TESTS_FAULTS_H
#define EMR_TESTS_FAULTS_H

#include "property.h"

enum { N_MODELS = 3 }; /* the base and two tasks */

/* What may fail, and what it is done with. */
typedef struct fixture {
    test_set set, pushed;         /* the models in memory, and to be pushed */
    emr_buffer *files[N_MODELS];  /* the same models as safetensors files */
    emr_buffer *bundle;           /* what a merge must give */
    emr_buffer *rebuilt;          /* what taking task 1 out must give */
    emr_buffer *growable, *grown; /* with task 0 alone, and what adding task 1 must give */
    emr_buffer *dropped;          /* what dropping task 0 must give, or extracting task 1 */
    /* the trial */
    test_allocator counts;
    emr_allocator allocator;
    test_io inputs[N_MODELS], output, bundle_input, growable_input;
    const emr_modulation_spec *modulation; /* of tasks that are merged or added; NULL: masks */
    emr_progress_fn progress;
    void *progress_user;
    emr_error error;
    emr_buffer *result;
} fixture;

/* What messages call the models, by number; and the bundles. */
extern const char *const model_names[N_MODELS];
#define BUNDLE_NAME   "test.emr"
#define GROWABLE_NAME "growable.emr"

/* For cmocka: made once for all tests of a program. */
int make_fixture(void **state);
int free_fixture(void **state);

/* Starts a trial in which nothing fails yet. */
void reset(fixture *f);

/* What is done in a trial; what comes out is in f->result. */
typedef emr_status (*work_fn)(fixture *f);
emr_status pull_to_bundle(fixture *f);
emr_status pull_to_sink(fixture *f);
emr_status push_to_bundle(fixture *f);
/* Opens the bundle, verifies it, views task 1 over a base, and writes it out. */
emr_status rebuild_over_embedded_base(fixture *f);
emr_status rebuild_over_file(fixture *f);
/* Opens the bundle, makes a session of it over the base's file, and lets it act as both tasks; no output. */
emr_status switch_tasks(fixture *f);
/* Adds task 1 to a bundle of task 0; drops task 0 of both; extracts task 1. */
emr_status grow(fixture *f);
emr_status drop_one(fixture *f);
emr_status extract_other(fixture *f);

#endif
