/* agreement.h - what mergekit's family of methods shares (task arithmetic, TIES, DARE, Breadcrumbs, DELLA): task
 * vectors, sparsified in one way or another, are weighed and added up.
 *
 *     d_t = weight_t * sparse_t
 *     without an election: mixed = sum d_t, divisor = sum weight_t, or 1 where that is below 1e-8
 *     with one: the sign of sum d_t is elected, plus where it is 0; mixed = sum of those d_t that have that sign,
 *               divisor = sum of their weights, or 1 where that is 0
 *     out = lambda * (mixed / divisor if normalize, else mixed)
 *
 * All in f32, tasks in their order. */
#ifndef EMR_METHOD_AGREEMENT_H
#define EMR_METHOD_AGREEMENT_H

#include "method/magnitude.h"

#include <float.h>
#include <stdbool.h>

/* The first parameters of each method of the family. `normalizes` is the default of normalize. */
enum { EMR_AGREEMENT_WEIGHT, EMR_AGREEMENT_LAMBDA, EMR_AGREEMENT_NORMALIZE, EMR_AGREEMENT_PARAMETERS };
#define EMR_AGREEMENT_PARAMETER_LIST(normalizes)                                                             \
    {.name = "weight", .initial = EMR_METHOD_UNSET, .least = -FLT_MAX, .most = FLT_MAX, .per_task = 1},      \
        {.name = "lambda", .initial = 1, .least = -FLT_MAX, .most = FLT_MAX},                                \
    {                                                                                                        \
        .name = "normalize", .initial = (normalizes), .least = 0, .most = 1, .is_whole = 1                   \
    }

/* Which of an input's values stay, and what they are multiplied by. */
typedef struct emr_sparsity {
    emr_magnitude_cuts cuts; /* where nothing is drawn */
    bool is_drawn;
    uint64_t key, threshold; /* as emr_random_draw has them */
    float scale;             /* 1 where all stay */
} emr_sparsity;

typedef emr_sparsity (*emr_sparsity_fn)(const emr_method_tensor *tensor, uint32_t input);

/* Combines a chunk; `sparsity` NULL: all stays. */
void emr_agreement_combine(const emr_method_chunk *chunk, bool elects, emr_sparsity_fn sparsity);

/* The same for methods that sparsify whole chunks, an input after the other: adds the chunk's n values of an input, sparsified
 * and times `scale`, to the sums, which are EMR_AGREEMENT_FLOATS for each element; with the last input `out` is done. */
enum { EMR_AGREEMENT_FLOATS = 5 };
void emr_agreement_add(const emr_method_chunk *chunk, bool elects, uint32_t input, const float *sparse,
                       float scale, float *sums);

#endif
