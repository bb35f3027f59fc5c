/* learner.h - the loop of AdaMerging: the host's part of learning how much of each task vector goes into a network. */
#ifndef FIT_LEARNER_H
#define FIT_LEARNER_H

#include <emr/fit/coefficients.h>

#include "tasks.h"

enum { LEARN_STEPS = 50, LEARN_BATCH = 16 };
#define LEARN_RATE 0.02

/* What is brought down: the entropy of predictions (the paper), or the cross-entropy of what the task's own network answers.
 * Neither asks for labels. */
typedef enum learner_loss { LOSS_ENTROPY, LOSS_ANSWERS } learner_loss;

typedef struct learner_options {
    const emr_model *const *models; /* of the tasks that are merged; NULL: the checkpoints of all */
    int first, n_tasks;             /* which tasks those are */
    learner_loss loss;
    emr_coefficient_scope scope;
    emr_coefficient_map map;
    double initial, keep;
    int with_head; /* the last layer is merged, too; else each task keeps its own */
} learner_options;

typedef struct learner {
    const tasks *of;
    learner_options options;
    emr_coefficients *coefficients;
    emr_coefficients_report report; /* of the last step */
    network merged;                 /* with the coefficients of the moment */
    network gradient;               /* of all passes since the last step */
    size_t n_steps;
} learner;

/* Close it also after a failure. */
emr_status learner_open(learner *l, const tasks *of, const learner_options *options, emr_error *error);
void learner_close(learner *l);

/* The coefficients into the network. */
emr_status learner_apply(learner *l, emr_error *error);

/* Of a batch of each task's unlabelled images: the losses' sum, and their gradient handed to the coefficients. */
emr_status learner_pass(learner *l, double *loss, emr_error *error);

/* That, and a step of Adam. */
emr_status learner_step(learner *l, emr_error *error);

/* Means over tasks: of the entropy and the loss on all unlabelled images, and per cent of the held-out ones that are right. */
typedef struct measured {
    double entropy, loss, accuracy;
} measured;
emr_status learner_measure(learner *l, measured *m, emr_error *error);

#endif
