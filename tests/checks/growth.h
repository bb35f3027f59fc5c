/* growth.h - what the parts of growth.c share: structs with a member of the future, the models and handles that calls
 * are made with, and what is said of a call that was wrong. */
#ifndef GROWTH_H
#define GROWTH_H

#include <emr/emr.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if GROWTH < 0
#define SET_FUTURE(s, value) ((s)->future = (value))
#define FUTURE(s)            ((s)->future)
#else
#define SET_FUTURE(s, value) ((void)(s), (void)(value))
#define FUTURE(s)            ((void)(s), (uint64_t)0)
#endif

/* A struct that goes in, with everything but `future` for the caller to set. */
#define NEW(type, name, value)                                                                               \
    type name = EMR_INIT(type);                                                                              \
    SET_FUTURE(&name, value)

enum { ROWS = 4, COLUMNS = 16, COUNT = ROWS * COLUMNS, HEAD = 4 };
enum { BASE, FRENCH, GERMAN, N_MODELS };
static const char *const model_names[N_MODELS] = {"base", "french", "german"};

typedef struct world {
    const char *folder;
    float weight[N_MODELS][COUNT], head[N_MODELS][HEAD];
    emr_model *models[N_MODELS];
    emr_pool *pool;
    emr_buffer *bytes; /* of the bundle */
    emr_merge *merge;  /* which has run */
    emr_bundle *bundle;
    emr_session *session;
    emr_modulator *modulator;
    char path[4096]; /* of a checkpoint of the base's */
} world;

void fail(const char *what, const char *why);
void must(emr_status status, const emr_error *error);
/* What a function that is called next finds on its stack. */
void dirty_stack(void);
/* Says that the library has handed over a struct; wrong if its size is not the library's, or not `right`. */
void handed_over(const char *type, size_t size, size_t known, bool right);
emr_status on_progress(void *user, const emr_progress *progress, emr_error *error);
emr_status on_merge(void *user, const emr_search_candidate *candidate, emr_error *error);
emr_status on_evaluate(void *user, const emr_search_candidate *candidate, double *score, emr_error *error);
emr_status on_trial(void *user, const emr_trial *trial, double *score, emr_error *error);
const emr_method *library_method(void);
void fill_heads_options(world *w, emr_heads_options *options);
emr_search *make_search(emr_error *error);
/* A member that the library does not know is refused when it is set, and only then. */
void check_going_in(world *w);

#endif
