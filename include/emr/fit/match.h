/* match.h - which units of one model are those of another: by what they weigh (Git Re-Basin, Ainsworth and others, arXiv 2209.04836),
 * by what they do on the same samples, or by both (MuDSC, Xu and others, "Training-Free Pretrained Model Merging", arXiv 2403.01753).
 *
 *     emr_match_options options = EMR_INIT(emr_match_options);
 *     options.space = EMR_MATCH_SPACE_BOTH;
 *     options.gram = gram;                    // of both models, A first, on the same samples
 *     emr_match(spec, a, b, &options, &permutation, &report, &error);
 *     emr_permutation_open_model(permutation, b, &aligned, &error);  // then merge a and aligned
 *
 * Assignments are exact; the same bits for any threads and processor. */
#ifndef EMR_FIT_MATCH_H
#define EMR_FIT_MATCH_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/fit/gram.h"
#include "emr/fit/permutation.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

/* What units are compared by. */
typedef uint32_t emr_match_space;
enum {
    EMR_MATCH_SPACE_WEIGHTS =
        0, /* group by group, the others as they are at that time, until nothing changes */
    EMR_MATCH_SPACE_ACTIVATIONS = 1, /* each group for itself; groups that the gram has no site of stay */
    EMR_MATCH_SPACE_BOTH = 2         /* balance * weights' + (1 - balance) * activations' similarity */
};

/* How similar two units are: the inner product of their weights or activations, or Pearson's correlation. */
typedef uint32_t emr_similarity_kind;
enum {
    EMR_SIMILARITY_KIND_DEFAULT = 0, /* BOTH: CORRELATION; else INNER */
    EMR_SIMILARITY_KIND_INNER = 1,
    EMR_SIMILARITY_KIND_CORRELATION = 2
};

/* Zero means the default. Borrowed during the call. */
typedef struct emr_match_options {
    size_t size;
    const emr_resources
        *resources;               /* progress counts groups that were solved, of those of max_rounds rounds */
    const emr_gram *gram;         /* of two models, A and B; for ACTIVATIONS and BOTH */
    const emr_permutation *start; /* NULL: the activations' where there are some, else as B is */
    double balance;               /* the weights' share, from 0 to 1, with use_balance; else 0.5 */
    uint64_t
        seed; /* groups are taken in random orders that depend on it, round by round; 0: in the spec's order */
    emr_match_space space;
    emr_similarity_kind similarity;
    uint32_t use_balance;
    uint32_t max_rounds; /* 0: 100 */
    uint32_t patience;   /* with correlations: rounds that may be no better than the best; 0: 5 */
    uint32_t reserved;
} emr_match_options;

typedef struct emr_match_report {
    size_t size;
    double
        value; /* inner products: the sum over groups of what is matched, as each was last seen; correlations: its mean
                          over groups of the mean over units, of the best round */
    uint32_t n_rounds; /* that were begun */
    uint32_t n_groups; /* that were matched */
} emr_match_report;

EMR_BEGIN_DECLS

/* A permutation of B's units that brings it nearest to A. `report` may be NULL.
 * - EMR_EMISMATCH: a model does not fit the spec, or A's and B's shapes differ; the gram's widths are not a group's.
 * - EMR_EINVAL: a gram is needed, or is not of two models. EMR_ENONFINITE: weights that are not finite. */
EMR_API emr_status emr_match(const emr_permutation_spec *spec, const emr_model *a, const emr_model *b,
                             const emr_match_options *options, emr_permutation **permutation,
                             emr_match_report *report, emr_error *error);

/* The assignment with the largest sum: row i goes with column column_of_row[i] of an n x n matrix, row by row.
 * EMR_ENONFINITE: a similarity is not finite, or they are so far apart that their sums would not be. */
EMR_API emr_status emr_assign(const double *similarity, size_t n, uint32_t *column_of_row,
                              const emr_allocator *allocator, emr_error *error);

EMR_END_DECLS

#endif
