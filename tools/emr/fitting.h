/* fitting.h - what a run of `emr fit` holds, and its steps. */
#ifndef EMR_TOOLS_FITTING_H
#define EMR_TOOLS_FITTING_H

#include "cli.h"

#include <emr/fit/coefficients.h>
#include <emr/fit/gram.h>
#include <emr/fit/match.h>
#include <emr/fit/permutation.h>
#include <emr/fit/pleas.h>
#include <emr/fit/regmean.h>
#include <emr/fit/spectral.h>
#include <emr/fit/surgery.h>
#include <emr/fit/zip.h>

typedef struct fit_job {
    merge_job inputs;   /* the session; tasks and base, where they are named so */
    emr_model **models; /* given as files, or the tasks' */
    size_t n_models;
    emr_permutation_spec *spec;
    emr_gram **grams; /* one, or one a task */
    size_t n_grams;
    emr_permutation *permutation; /* that was read, made or found */
    emr_fit_layer *layers;        /* those that are solved */
    uint32_t n_layers;
    emr_match_report match;     /* n_groups 0: nothing was matched */
    emr_surgery_report surgery; /* n_steps 0: nothing was fitted */
    size_t n_samples;           /* that it was fitted on */
    emr_model *merged;          /* what comes out */
    emr_model *configured;      /* the same with another config.json, or NULL */
    emr_model *aligned;         /* match: for --aligned */
} fit_job;

/* What was read (fit_inputs.c). */
emr_status open_fit_models(fit_job *j, const arguments *a, emr_error *error);
emr_status open_fit_spec(fit_job *j, const arguments *a, emr_error *error);
emr_status open_fit_grams(fit_job *j, const arguments *a, emr_error *error);
/* The permutation that a file holds, of the job's spec. */
emr_status open_fit_permutation(emr_permutation **permutation, const fit_job *j, const char *path,
                                emr_error *error);
/* That no input but models is written over. On failure prints the error line and returns an exit status. */
int check_fit_places(const arguments *a);
void close_fit(fit_job *j, const arguments *a);

/* What is made of it: `merged`. */
emr_status make_spec(fit_job *j, const arguments *a, emr_error *error);
emr_status make_match(fit_job *j, const arguments *a, emr_error *error);
emr_status make_permuted(fit_job *j, const arguments *a, emr_error *error);
emr_status make_regmean(fit_job *j, const arguments *a, emr_error *error);
emr_status make_pleas(fit_job *j, const arguments *a, emr_error *error);
emr_status make_zip(fit_job *j, const arguments *a, emr_error *error);
emr_status make_spectral(fit_job *j, const arguments *a, emr_error *error);
emr_status make_coefficients(fit_job *j, const arguments *a, emr_error *error);
emr_status make_surgery(fit_job *j, const arguments *a, emr_error *error);

/* B's units matched with A's, with these options. */
emr_status find_permutation(fit_job *j, const emr_match_options *options, emr_error *error);

/* Has config.json say how wide layers are now, where PLeaS widened them and it can; else a note tells. */
emr_status configure_widths(fit_job *j, const arguments *a, const emr_pleas_width *widths, uint32_t n_widths,
                            emr_error *error);

/* What would be done; what was written. */
int print_fit_plan(const fit_job *j, const arguments *a);
int print_fit_report(const fit_job *j, const arguments *a, json_t *written, json_t *aligned);

#endif
