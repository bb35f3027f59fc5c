/* match.h - what matching is made of: assignments, how similar units are, and the best permutation of one group. */
#ifndef EMR_FIT_MATCH_INSIDE_H
#define EMR_FIT_MATCH_INSIDE_H

#include "emr/fit/match.h"

#include "permutation.h"

/* The deviation of n numbers, from their sum and that of their squares; 0 where rounding makes the square negative. */
double fit_deviation(double n, double sum, double square);
/* Pearson's correlation of n pairs of numbers, from the sum of their products and their own. The product of their deviations counts
 * as 1e-7 at least, as in MuDSC's program: numbers that never vary have the correlation 0. */
double fit_correlation(double n, double product, double sum_a, double sum_b, double deviations);

/* The best column for each of n rows of a matrix. Rows are `stride` numbers apart. */
emr_status fit_assign(const fit_host *host, const double *similarity, size_t stride, size_t n,
                      uint32_t *column_of_row, emr_error *error);

/* How similar model A's units (rows) are to model B's (columns): a matrix for each part of a group, or NULL where there is
 * none. Of heads of which each has a kv head of its own, and correlations, K stands for Q too, and V for O. */
typedef struct fit_similarity {
    const fit_host *host;
    double *of[N_PARTS];
} fit_similarity;

void fit_similarity_clear(fit_similarity *similarity);
/* A matrix of zeros for a part, if there is none yet. */
emr_status fit_similarity_need(fit_similarity *similarity, const spec_group *group, spec_part part,
                               emr_error *error);
/* The part whose matrix a part's units are in. */
spec_part fit_similarity_part(const spec_group *group, spec_part part, emr_similarity_kind kind);

/* By weights: A's, and B's as `permutation` orders all other axes. */
emr_status fit_weight_similarity(fit_similarity *similarity, const fit_host *host,
                                 const emr_permutation *permutation, size_t group, const emr_model *a,
                                 const emr_model *b, emr_similarity_kind kind, emr_error *error);

/* By activations. *found: whether the gram has any of the group's sites. */
emr_status fit_activation_similarity(fit_similarity *similarity, const fit_host *host,
                                     const spec_group *group, const emr_gram *gram, const emr_model *a,
                                     const emr_model *b, emr_similarity_kind kind, bool *found,
                                     emr_error *error);

/* The best permutation of a group, and the sum of similarities that it reaches. */
emr_status fit_match_group(const fit_host *host, const spec_group *group, const fit_similarity *similarity,
                           group_units *best, double *value, emr_error *error);
/* What a permutation reaches. */
double fit_match_value(const spec_group *group, const fit_similarity *similarity, const group_units *units);
/* Units that were compared: what a mean is over. */
uint64_t fit_match_count(const spec_group *group, const fit_similarity *similarity);

#endif
