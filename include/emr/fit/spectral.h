/* spectral.h - merging whole matrices by their singular values: Iso-C (Marczak and others, "No Task Left Behind", arXiv 2502.04959) and
 * TSV-M (Gargiulo and others, "Task Singular Vectors", arXiv 2412.00081).
 *
 * With task vectors D_t of matrices [rows, columns], W_0 the base's:
 * - ISO_C: sum of D_t = U S V^T;                  W = W_0 + scale * mean(S) * U V^T
 * - TSV_M: of each D_t its min(rows, columns) / n_tasks largest triples, side by side: U, S, V; P(X) the orthonormal matrix
 *   that is nearest to X;                          W = W_0 + scale * P(U) S P(V^T)
 * Tensors of another rank: W_0 + scale * the mean of D_t.
 *
 * The singular value decomposition is LAPACK's, if the library was built with it (-Dlapack=enabled): with another LAPACK, the last
 * bits are others. */
#ifndef EMR_FIT_SPECTRAL_H
#define EMR_FIT_SPECTRAL_H

#include "emr/export.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

typedef uint32_t emr_spectral_method;
enum { EMR_SPECTRAL_METHOD_ISO_C = 1, EMR_SPECTRAL_METHOD_TSV_M = 2 };

/* Zero means the default. Models are borrowed by the merged model. */
typedef struct emr_spectral_options {
    size_t size;
    const emr_resources *resources; /* its allocator */
    const emr_model *base;
    const emr_model *const *tasks; /* at least one */
    double scale;                  /* with use_scale; else 1 */
    uint32_t n_tasks;
    emr_spectral_method method;
    uint32_t use_scale;
    emr_dtype dtype; /* of float tensors that come out; 0: the base's */
} emr_spectral_options;

EMR_BEGIN_DECLS

/* The merged model: the base's tensors; those that are no floats are the base's own. Each is merged as a whole when it is first
 * read, in f64, which takes about 8 * (n_tasks + 6) bytes an element.
 * - EMR_EUNSUPPORTED: the library was built without LAPACK. EMR_EMISMATCH: a task lacks a tensor, or has another shape.
 * - When read: EMR_ENONFINITE, the matrix has no decomposition. */
EMR_API emr_status emr_spectral_open_model(const emr_spectral_options *options, emr_model **model,
                                           emr_error *error);

EMR_END_DECLS

#endif
