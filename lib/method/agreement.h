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

#include "method/methods.h"

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

/* Elements at a time, so that their sums stay in the nearest cache. */
enum { EMR_AGREEMENT_STEP = 1024 };

/* Floats of a chunk's scratch for each of its elements: for the sums alone, and with room for emr_agreement_combine. */
enum { EMR_AGREEMENT_FLOATS = 5, EMR_AGREEMENT_SCRATCH = EMR_AGREEMENT_FLOATS + 1 };

/* Sums over the tasks so far, a number for each of n elements. */
typedef struct emr_agreement {
    float *total;
    float *plus, *minus; /* of those that are above and below 0 */
    float *plus_weight, *minus_weight;
    size_t n;
    bool elects; /* else there is `total` alone */
} emr_agreement;

/* The three steps, for methods that need whole chunks: `memory` is EMR_AGREEMENT_FLOATS for each of n elements. `sparse`
 * are an input's n values before it is weighed. */
void emr_agreement_begin(emr_agreement *agreement, float *memory, size_t n, bool elects);
void emr_agreement_add(const emr_agreement *agreement, const emr_method_tensor *tensor, uint32_t input,
                       const float *sparse);
void emr_agreement_end(const emr_agreement *agreement, const emr_method_tensor *tensor, float *out);

/* What the sum of all is divided by where no sign is elected: 1 unless it is normalized. */
float emr_agreement_divisor(const emr_method_tensor *tensor);

/* Elements [at, at + n) of the chunk's input, sparsified: in `room`, or where they are already. */
typedef const float *(*emr_sparsify_fn)(const emr_method_chunk *chunk, uint32_t input, size_t at, size_t n,
                                        float *room);

/* All of it, for methods that take each element alone. It goes through the chunk in steps of a multiple of 64, which stay
 * in the nearest cache. `sparsify` NULL: as they are. scratch_floats is EMR_AGREEMENT_SCRATCH. */
void emr_agreement_combine(const emr_method_chunk *chunk, bool elects, emr_sparsify_fn sparsify);

#endif
