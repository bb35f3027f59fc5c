/* spectral.c - see spectral.h. Matrices are row-major, so LAPACK sees them transposed: of X^T = V S U^T it gives V first. */
#include "emr/fit/spectral.h"

#include "options.h"
#include "weights.h"
#include "whole.h"

#include <string.h>

#ifdef FIT_WITH_LAPACK

/* LAPACK's interface is Fortran's: all by address, columns one behind the other. */
extern void dgesdd_(const char *job, const int *m, const int *n, double *a, const int *lda, double *s,
                    double *u, const int *ldu, double *vt, const int *ldvt, double *work, const int *lwork,
                    int *iwork, int *info);

typedef struct spectral {
    fit_host host;
    const emr_model **models; /* the base, then the tasks */
    uint32_t n_tasks;
    emr_spectral_method method;
    double scale;
} spectral;

/* X = U diag(s) V^T, X [m, n] row-major and written over, r = min(m, n): u [m, r], vt [r, n]. */
static emr_status decompose(const fit_host *host, double *x, size_t m, size_t n, double *u, double *s,
                            double *vt, emr_error *error)
{
    const int rows = (int)n, columns = (int)m, rank = (int)(m < n ? m : n), query = -1;
    int info = 0, size;
    double best;
    int *integers = fit_allocate(host, (size_t)rank, 8 * sizeof *integers);
    dgesdd_("S", &rows, &columns, x, &rows, s, vt, &rows, u, &rank, &best, &query, integers, &info);
    size = info == 0 ? (int)best : 1;
    double *work = fit_allocate(host, (size_t)size, sizeof *work);
    if (integers && work && info == 0)
        dgesdd_("S", &rows, &columns, x, &rows, s, vt, &rows, u, &rank, work, &size, integers, &info);
    bool is_whole = integers && work;
    fit_release(host, integers);
    fit_release(host, work);
    if (!is_whole)
        return fit_no_memory(error);
    return info == 0 ? EMR_OK
                     : emr_error_format(error, EMR_ENONFINITE,
                                        "a matrix of %u x %u has no singular value decomposition",
                                        (uint64_t)m, (uint64_t)n);
}

/* out [m, n] += factor * a [m, r] diag(s) b [r, n]; s NULL: ones. */
static void add_product(double *out, size_t m, size_t n, size_t r, double factor, const double *a,
                        const double *s, const double *b)
{
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < r; k++) {
            double x = factor * a[i * r + k] * (s ? s[k] : 1);
            for (size_t j = 0; j < n; j++)
                out[i * n + j] += x * b[k * n + j];
        }
}

/* The orthonormal matrix nearest to x [m, n], in its place. */
static emr_status make_orthonormal(const fit_host *host, double *x, size_t m, size_t n, emr_error *error)
{
    size_t r = m < n ? m : n;
    double *u = fit_allocate(host, m, r * sizeof *u), *vt = fit_allocate(host, r, n * sizeof *vt);
    double *s = fit_allocate(host, r, sizeof *s);
    emr_status status = u && vt && s ? decompose(host, x, m, n, u, s, vt, error) : fit_no_memory(error);
    if (!status) {
        memset(x, 0, m * n * sizeof *x);
        add_product(x, m, n, r, 1, u, NULL, vt);
    }
    fit_release(host, u);
    fit_release(host, vt);
    fit_release(host, s);
    return status;
}

/* A task vector, of all elements. */
static emr_status read_change(const emr_tensor *task, const double *base, double *change, size_t n,
                              emr_error *error)
{
    emr_status status = fit_read(task, 0, n, change, error);
    for (size_t i = 0; !status && i < n; i++)
        change[i] -= base[i];
    return status;
}

/* Room for one matrix and its decomposition. */
typedef struct matrices {
    double *change, *other, *u, *s, *vt;
} matrices;

static bool make_matrices(const fit_host *host, matrices *x, size_t m, size_t n)
{
    size_t r = m < n ? m : n;
    x->change = fit_allocate(host, m, n * sizeof(double));
    x->other = fit_allocate(host, m, n * sizeof(double));
    x->u = fit_allocate(host, m, r * sizeof(double));
    x->vt = fit_allocate(host, r, n * sizeof(double));
    x->s = fit_allocate(host, r, sizeof(double));
    return x->change && x->other && x->u && x->vt && x->s;
}

static void free_matrices(const fit_host *host, matrices *x)
{
    fit_release(host, x->change);
    fit_release(host, x->other);
    fit_release(host, x->u);
    fit_release(host, x->vt);
    fit_release(host, x->s);
}

static emr_status add_iso_c(const spectral *p, matrices *x, const emr_tensor *const *tensors,
                            const double *base, size_t m, size_t n, double *out, emr_error *error)
{
    size_t r = m < n ? m : n;
    double mean = 0;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < p->n_tasks; t++) {
        status = read_change(tensors[t + 1], base, x->other, m * n, error);
        for (size_t i = 0; !status && i < m * n; i++)
            x->change[i] += x->other[i];
    }
    if (!status)
        status = decompose(&p->host, x->change, m, n, x->u, x->s, x->vt, error);
    for (size_t k = 0; k < r; k++)
        mean += x->s[k] / (double)r;
    if (!status)
        add_product(out, m, n, r, p->scale * mean, x->u, NULL, x->vt);
    return status;
}

/* The tasks' largest triples side by side: u [m, r], s [r], vt [r, n], zeros behind them. */
static emr_status gather_triples(const spectral *p, matrices *x, const emr_tensor *const *tensors,
                                 const double *base, size_t m, size_t n, double *u, double *s, double *vt,
                                 emr_error *error)
{
    size_t r = m < n ? m : n, each = r / p->n_tasks;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < p->n_tasks; t++) {
        status = read_change(tensors[t + 1], base, x->change, m * n, error);
        if (!status)
            status = decompose(&p->host, x->change, m, n, x->u, x->s, x->vt, error);
        for (size_t i = 0; !status && i < m; i++)
            memcpy(u + i * r + t * each, x->u + i * r, each * sizeof *u);
        memcpy(s + t * each, x->s, each * sizeof *s);
        memcpy(vt + t * each * n, x->vt, each * n * sizeof *vt);
    }
    return status;
}

static emr_status add_tsv_m(const spectral *p, matrices *x, const emr_tensor *const *tensors,
                            const double *base, size_t m, size_t n, double *out, emr_error *error)
{
    size_t r = m < n ? m : n;
    double *u = fit_allocate(&p->host, m, r * sizeof *u), *vt = fit_allocate(&p->host, r, n * sizeof *vt);
    double *s = fit_allocate(&p->host, r, sizeof *s);
    emr_status status =
        u && vt && s ? gather_triples(p, x, tensors, base, m, n, u, s, vt, error) : fit_no_memory(error);
    if (!status)
        status = make_orthonormal(&p->host, u, m, r, error);
    if (!status)
        status = make_orthonormal(&p->host, vt, r, n, error);
    if (!status)
        add_product(out, m, n, r, p->scale, u, s, vt);
    fit_release(&p->host, u);
    fit_release(&p->host, vt);
    fit_release(&p->host, s);
    return status;
}

static emr_status merge_matrix(const spectral *p, const emr_tensor *const *tensors, double *out,
                               emr_error *error)
{
    size_t m = (size_t)emr_tensor_shape(tensors[0])[0], n = (size_t)emr_tensor_shape(tensors[0])[1];
    matrices x = {0};
    if (m > INT32_MAX / 2 || n > INT32_MAX / 2)
        return emr_error_format(error, EMR_ELIMIT, "a matrix of %u x %u is beyond what LAPACK takes",
                                (uint64_t)m, (uint64_t)n);
    double *base = fit_allocate(&p->host, m * n, sizeof *base);
    emr_status status = base && make_matrices(&p->host, &x, m, n) ? EMR_OK : fit_no_memory(error);
    if (!status)
        memcpy(base, out, m * n * sizeof *base);
    if (!status)
        status = p->method == EMR_SPECTRAL_METHOD_ISO_C ? add_iso_c(p, &x, tensors, base, m, n, out, error)
                                                        : add_tsv_m(p, &x, tensors, base, m, n, out, error);
    free_matrices(&p->host, &x);
    fit_release(&p->host, base);
    return status;
}

static emr_status merge_mean(const spectral *p, const emr_tensor *const *tensors, double *out,
                             emr_error *error)
{
    size_t count = (size_t)emr_tensor_count(tensors[0]);
    double *task = fit_allocate(&p->host, count, sizeof *task),
           *sum = fit_allocate(&p->host, count, sizeof *sum);
    emr_status status = task && sum ? EMR_OK : fit_no_memory(error);
    for (uint32_t t = 0; !status && t < p->n_tasks; t++) {
        status = read_change(tensors[t + 1], out, task, count, error);
        for (size_t i = 0; !status && i < count; i++)
            sum[i] += task[i];
    }
    for (size_t i = 0; !status && i < count; i++)
        out[i] += p->scale * (sum[i] / p->n_tasks);
    fit_release(&p->host, task);
    fit_release(&p->host, sum);
    return status;
}

static emr_status merge_tensor(void *user, const emr_tensor *const *tensors, double *values, emr_error *error)
{
    const spectral *p = user;
    emr_status status = fit_read(tensors[0], 0, (size_t)emr_tensor_count(tensors[0]), values, error);
    if (status)
        return status;
    return emr_tensor_rank(tensors[0]) == 2 && emr_tensor_count(tensors[0])
               ? merge_matrix(p, tensors, values, error)
               : merge_mean(p, tensors, values, error);
}

static void destroy_spectral(void *user)
{
    spectral *p = user;
    const fit_host host = p->host;
    fit_release(&host, p->models);
    fit_release(&host, p);
}

static emr_status open_spectral(const fit_host *host, const emr_spectral_options *o, emr_model **model,
                                emr_error *error)
{
    spectral *p = fit_allocate(host, 1, sizeof *p);
    if (!p)
        return fit_no_memory(error);
    p->host = *host;
    p->n_tasks = o->n_tasks;
    p->method = o->method;
    p->scale = o->use_scale ? o->scale : 1;
    p->models = fit_allocate(host, (size_t)o->n_tasks + 1, sizeof *p->models);
    if (!p->models) {
        destroy_spectral(p);
        return fit_no_memory(error);
    }
    p->models[0] = o->base;
    for (uint32_t t = 0; t < o->n_tasks; t++)
        p->models[t + 1] = o->tasks[t];
    const fit_whole_options whole = {o->method == EMR_SPECTRAL_METHOD_ISO_C ? "Iso-C" : "TSV-M",
                                     p->models,
                                     o->n_tasks + 1,
                                     o->dtype,
                                     merge_tensor,
                                     p,
                                     destroy_spectral};
    return fit_whole_open(host, &whole, model, error);
}

#else

static emr_status open_spectral(const fit_host *host, const emr_spectral_options *o, emr_model **model,
                                emr_error *error)
{
    (void)host;
    (void)o;
    (void)model;
    return emr_error_format(error, EMR_EUNSUPPORTED,
                            "TSV-M and Iso-C need LAPACK, which libemr-fit was built without");
}

#endif

emr_status emr_spectral_open_model(const emr_spectral_options *options, emr_model **model, emr_error *error)
{
    emr_spectral_options o;
    fit_host host;
    if (model)
        *model = NULL;
    if (!options || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_spectral_open_model: NULL");
    emr_status status = FIT_TAKE(&o, options, emr_spectral_options, dtype, error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (status)
        return status;
    if (!o.base || !o.tasks || !o.n_tasks ||
        (o.method != EMR_SPECTRAL_METHOD_ISO_C && o.method != EMR_SPECTRAL_METHOD_TSV_M))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_spectral_options: base, tasks and a method are required");
    if (o.use_scale && o.scale - o.scale != 0)
        return emr_error_format(error, EMR_EINVAL, "emr_spectral_options: scale is no number");
    for (uint32_t t = 0; t < o.n_tasks; t++)
        if (!o.tasks[t])
            return emr_error_format(error, EMR_EINVAL, "emr_spectral_options: a task is NULL");
    status = fit_check_float(o.dtype, "emr_spectral_options", error);
    return status ? status : open_spectral(&host, &o, model, error);
}
