/* grams.c - see grams.h. Multiplications and additions are counted of one triangle: width * (width + 1) for each row. OpenBLAS has
 * the same rows in f64 beforehand; emr_gram_feed also looks at each value, and widens it. */
#include "grams.h"

#include "measure.h"
#include "openblas.h"
#include "rows.h"
#include "synthetic.h"

#include <string.h>

void random_values(emr_dtype dtype, void *to, size_t n, uint64_t seed)
{
    synthetic_values(dtype, to, 0, seed << 40, n);
}

static emr_gram *new_gram(const emr_resources *resources, uint64_t width)
{
    emr_gram_options options = EMR_INIT(emr_gram_options);
    emr_gram *gram;
    emr_error error;
    options.resources = resources;
    check(emr_gram_create(&gram, &options, &error), &error);
    check(emr_gram_add_site(gram, "site", &width, NULL, &error), &error);
    return gram;
}

static void feed(emr_gram *gram, emr_dtype dtype, const void *rows, size_t n_rows)
{
    emr_activations a = EMR_INIT(emr_activations);
    emr_error error;
    a.data = rows;
    a.dtype = dtype;
    check(emr_gram_feed(gram, 0, &a, n_rows, NULL, &error), &error);
}

emr_gram *make_gram(const emr_resources *resources, uint64_t width, size_t n_rows, uint64_t seed)
{
    emr_gram *gram = new_gram(resources, width);
    size_t n = (size_t)width * n_rows;
    float *rows = allocate_large(n * sizeof *rows);
    random_values(EMR_DTYPE_F32, rows, n, seed);
    feed(gram, EMR_DTYPE_F32, rows, n_rows);
    release_large(rows, n * sizeof *rows);
    return gram;
}

typedef struct sums {
    emr_gram *gram;
    openblas blas;
    emr_dtype dtype;
    size_t width, n_rows;
    unsigned threads;
    void *rows;
    double *widened, *products;
} sums;

static void feed_rows(void *arg)
{
    const sums *m = arg;
    feed(m->gram, m->dtype, m->rows, m->n_rows);
}

static void add_products(void *arg)
{
    const sums *m = arg;
    openblas_add_products(&m->blas, m->threads, (int)m->width, (int)m->n_rows, m->widened, m->products);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void measure_feed(const settings *s, sums *m, bool has_blas)
{
    team t = team_create(m->threads);
    const char *dtype = emr_dtype_name(m->dtype);
    const thread_text threads = threads_of(m->threads);
    double operations = (double)m->width * (double)(m->width + 1) * (double)m->n_rows;
    m->gram = new_gram(&t.resources, m->width);
    comparison c = take_turns(s->runs, feed_rows, has_blas ? add_products : do_nothing, m);
    row(operations / c.subject / 1e9, "GFLOP/s", no_bar(), "fit: sums of %zu x %zu, %s, %s", m->n_rows,
        m->width, dtype, threads.text);
    if (has_blas) {
        row(operations / c.reference / 1e9, "GFLOP/s", no_bar(),
            "fit: sums of %zu x %zu, %s, %s, OpenBLAS's dsyrk", m->n_rows, m->width, dtype, threads.text);
        row(1 / c.ratio, "of dsyrk", at_least(0.6), "fit: sums of %zu x %zu, %s, %s, ratio", m->n_rows,
            m->width, dtype, threads.text);
    }
    emr_gram_destroy(&m->gram);
    team_destroy(&t);
}

static void measure_width(const settings *s, sums *m, bool has_blas)
{
    size_t n = m->width * m->n_rows, squares = m->width * m->width;
    m->rows = allocate_large(n * sizeof(float));
    m->widened = allocate_large(n * sizeof *m->widened);
    m->products = allocate_large(squares * sizeof *m->products);
    memset(m->products, 0, squares * sizeof *m->products);
    for (int k = 0; k < 2; k++) {
        m->dtype = k ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
        random_values(m->dtype, m->rows, n, m->width);
        if (emr_convert(EMR_DTYPE_F64, m->widened, m->dtype, m->rows, n))
            die("the rows cannot be widened");
        m->threads = 1;
        measure_feed(s, m, has_blas);
        m->threads = s->threads;
        if (s->threads > 1)
            measure_feed(s, m, has_blas);
    }
    release_large(m->rows, n * sizeof(float));
    release_large(m->widened, n * sizeof *m->widened);
    release_large(m->products, squares * sizeof *m->products);
}

void bench_grams(const settings *s)
{
    static const size_t widths[] = {768, 3072, 4096}, rows[] = {32768, 2048, 1024}, small[] = {24, 48, 100};
    sums m = {0};
    bool has_blas = openblas_load(&m.blas);
    if (!has_blas)
        row_text("fit: sums against dsyrk", "no OpenBLAS here");
    for (size_t i = 0; i < 3; i++) {
        m.width = s->quick ? small[i] : widths[i];
        m.n_rows = (size_t)size_of_run(s, rows[i], 64);
        measure_width(s, &m, has_blas);
    }
}
