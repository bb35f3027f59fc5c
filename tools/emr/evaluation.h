/* evaluation.h - a command that scores a model: how it is run, and what it says. */
#ifndef EMR_TOOLS_EVALUATION_H
#define EMR_TOOLS_EVALUATION_H

#include <emr/emr.h>

#include <stdbool.h>

typedef struct evaluation {
    double score;    /* a finite number; NaN: the command gave none */
    char why[200];   /* it gave none: "exit status 1" */
    double seconds;  /* that it took */
    bool is_missing; /* the shell has no such command, or cannot run it */
} evaluation;

/* Whether a command says where the model's path goes. */
bool names_model(const char *command);

/* Runs `command` by /bin/sh, in a process group of its own, with nothing on standard input; "{}" stands for `path` as one
 * word, whatever characters it has, in quotes or not. The last line on its standard output that is not blank must be a
 * number. After `timeout` seconds (0: never) all of its group is ended, and likewise where the program is interrupted,
 * which is EMR_ECANCELED. That the command failed is no failure here: it is in `e`. */
emr_status run_evaluation(evaluation *e, const char *command, const char *path, double timeout,
                          emr_error *error);

#endif
