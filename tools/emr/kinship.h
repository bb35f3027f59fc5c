/* kinship.h - what `emr kinship` holds and prints; `emr report` opens and compares models in the same way. */
#ifndef EMR_TOOLS_KINSHIP_H
#define EMR_TOOLS_KINSHIP_H

#include "cli.h"

/* --published: what the authors' program does otherwise. */
enum {
    PUBLISHED_ABSOLUTE = 1,
    PUBLISHED_ROWS = 2,
    PUBLISHED_SPLIT = 4,
    PUBLISHED_LOW_PRECISION = 8,
    PUBLISHED_MISSING = 16
};

typedef struct kinship_job {
    merge_job inputs; /* with a bundle, its tasks are the models */
    const char **names;
    uint32_t n_tasks;
    emr_statistics *statistics;
    double *matrix; /* of the model: what is printed, and drawn */
} kinship_job;

/* A bundle, its base and its tasks; or the base and tasks of the command line. Closed also after a failure. */
emr_status open_bundle_models(kinship_job *j, const arguments *a, emr_error *error);
emr_status open_checkpoint_models(kinship_job *j, const arguments *a, emr_error *error);
void close_kinship_models(kinship_job *j, const arguments *a);

/* Sets j->statistics up, before they run; and j->matrix, after that. */
emr_status create_statistics(kinship_job *j, const arguments *a, emr_error *error);
emr_status compute_matrix(kinship_job *j, const arguments *a, emr_error *error);

emr_kinship_options kinship_options(const arguments *a);
const char *metric_name(emr_kinship_metric metric);

/* What `matrix` is called: "Pearson's correlation", ... */
const char *kinship_words(const arguments *a);

emr_status print_kinship_plan(const kinship_job *j, const arguments *a, emr_error *error);
/* `order`: that of the heat map. */
emr_status print_kinship(const kinship_job *j, const arguments *a, const size_t *order, emr_error *error);

#endif
