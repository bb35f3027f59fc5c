/* regmean.h - solving the layers of one site. */
#ifndef EMR_FIT_REGMEAN_INSIDE_H
#define EMR_FIT_REGMEAN_INSIDE_H

#include "layers.h"
#include "solved.h"

typedef struct fit_regmean {
    fit_host host;
    fit_layers layers;
    fit_cache cache;
    double *coefficients; /* of each model, their sum is 1 */
    double off_diagonal, ridge;
    emr_fit_scale scale;
} fit_regmean;

/* A fit_solve_fn, of a fit_regmean: the merged weights of a group's layers, as [inputs, outputs]; the bias, where it is
 * fitted, is the last input's. */
emr_status fit_regmean_solve(void *regmean, const fit_host *host, size_t group, fit_solved **solved,
                             emr_error *error);

#endif
