/* test_ensemble.c - sources weighed sample by sample: the formula and its gradient, against one written out; fitting; saving; what
 * sources are compared with; and what is refused. */
#include "support.h"
#include "vectors.h"

#include "ensemble.h"

#include <math.h>

/* A network written out, part by part. The keys' shift is one that the formula has and the library leaves out, as it has no effect. */
enum { X_DOWN, X_UP, L_DOWN, L_UP, X_SCALE, L_SCALE, X_SHIFT, PARTS, L_SHIFT = PARTS };
static const char *const part_names[PARTS] = {"x.down.weight", "x.up.weight",   "l.down.weight",
                                              "l.up.weight",   "x.norm.weight", "l.norm.weight",
                                              "x.norm.bias"};

typedef struct network {
    size_t x_width, x_hidden, key_width, key_hidden, shared;
    bool has_norm, is_relu, mixes_probabilities;
    double temperature;
    double *parts[PARTS + 1];
} network;

static size_t part_rows(const network *n, int part)
{
    const size_t rows[] = {n->x_hidden, n->shared, n->key_hidden, n->shared, 0, 0, 0, 0};
    return rows[part];
}

static size_t part_columns(const network *n, int part)
{
    const size_t columns[] = {n->x_width, n->x_hidden, n->key_width, n->key_hidden,
                              n->shared,  n->shared,   n->shared,    n->shared};
    return columns[part];
}

static size_t part_size(const network *n, int part)
{
    return (part_rows(n, part) ? part_rows(n, part) : 1) * part_columns(n, part);
}

static network make_network(network n, uint64_t seed)
{
    rng r = {seed};
    for (int part = 0; part <= PARTS; part++) {
        n.parts[part] = calloc(part_size(&n, part), sizeof(double));
        for (size_t i = 0; i < part_size(&n, part); i++)
            n.parts[part][i] = (part == X_SCALE || part == L_SCALE) + 0.7 * (double)rng_normal(&r);
    }
    return n;
}

static void free_network(network *n)
{
    for (int part = 0; part <= PARTS; part++)
        free(n->parts[part]);
}

static network small_network(bool has_norm, bool is_relu, bool mixes_probabilities, uint64_t seed)
{
    return make_network((network){5, 4, 3, 6, 7, has_norm, is_relu, mixes_probabilities, 1.7, {NULL}}, seed);
}

/* As a file would have it. Destroy it. */
static emr_model *save_network(const network *n)
{
    emr_model *model = test_model_new("network");
    emr_error error;
    char temperature[40];
    for (int part = 0; part < (n->has_norm ? PARTS : X_SCALE); part++) {
        const uint64_t shape[2] = {part_rows(n, part), part_columns(n, part)};
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        desc.name = part_names[part];
        desc.dtype = EMR_DTYPE_F64;
        desc.rank = shape[0] ? 2 : 1;
        desc.shape = shape[0] ? shape : shape + 1;
        desc.data = n->parts[part];
        assert_ok(emr_model_add(model, &desc, &error), &error);
    }
    snprintf(temperature, sizeof temperature, "%.17g", n->temperature);
    assert_ok(emr_model_set_metadata(model, "emr.kind", "ensemble", &error), &error);
    assert_ok(emr_model_set_metadata(model, "emr.temperature", temperature, &error), &error);
    assert_ok(emr_model_set_metadata(model, "emr.activation", n->is_relu ? "relu" : "silu", &error), &error);
    assert_ok(
        emr_model_set_metadata(model, "emr.mix", n->mixes_probabilities ? "probabilities" : "logits", &error),
        &error);
    return model;
}

static emr_ensemble *open_network(const network *n, const emr_ensemble_options *options)
{
    emr_model *model = save_network(n);
    emr_ensemble *ensemble;
    emr_error error;
    assert_ok(emr_ensemble_open(&ensemble, model, options, &error), &error);
    emr_model_destroy(&model);
    return ensemble;
}

/* Where the library has a part among its parameters. */
static size_t part_begin(const emr_ensemble *e, int part)
{
    const size_t begins[PARTS] = {e->sides[0].matrices[0].begin,
                                  e->sides[0].matrices[1].begin,
                                  e->sides[1].matrices[0].begin,
                                  e->sides[1].matrices[1].begin,
                                  e->sides[0].scale,
                                  e->sides[1].scale,
                                  e->sides[0].shift};
    return begins[part];
}

/* Samples of random values. */
typedef struct samples {
    emr_ensemble_batch batch;
    float *x, *keys, *values;
    uint32_t *labels;
} samples;

static samples make_samples(size_t n, size_t n_sources, size_t n_columns, size_t x_width, size_t key_width,
                            uint64_t seed)
{
    rng r = {seed};
    samples s = {.batch = EMR_INIT(emr_ensemble_batch)};
    s.x = calloc(n * x_width, sizeof *s.x);
    s.values = calloc(n * n_sources * n_columns, sizeof *s.values);
    s.keys = key_width ? calloc(n * n_sources * key_width, sizeof *s.keys) : NULL;
    s.labels = calloc(n, sizeof *s.labels);
    for (size_t i = 0; i < n * x_width; i++)
        s.x[i] = rng_normal(&r);
    for (size_t i = 0; i < n * n_sources * n_columns; i++)
        s.values[i] = 2 * rng_normal(&r);
    for (size_t i = 0; i < n * n_sources * key_width; i++)
        s.keys[i] = 2 * rng_normal(&r);
    for (size_t i = 0; i < n; i++)
        s.labels[i] = (uint32_t)rng_below(&r, n_columns == 1 ? 2 : n_columns);
    s.batch.x = s.x;
    s.batch.keys = s.keys;
    s.batch.values = s.values;
    s.batch.labels = s.labels;
    s.batch.n = n;
    s.batch.n_sources = n_sources;
    s.batch.n_columns = n_columns;
    return s;
}

static void free_samples(samples *s)
{
    free(s->x);
    free(s->keys);
    free(s->values);
    free(s->labels);
}

/* h = N(U f(D v)). */
static void write_out_side(const network *n, bool is_x, const float *v, double *h)
{
    const int down = is_x ? X_DOWN : L_DOWN, up = is_x ? X_UP : L_UP;
    const size_t hidden = part_rows(n, down), width = part_columns(n, down);
    double mean = 0, square = 0;
    for (size_t i = 0; i < n->shared; i++) {
        h[i] = 0;
        for (size_t r = 0; r < hidden; r++) {
            double a = 0;
            for (size_t k = 0; k < width; k++)
                a += n->parts[down][r * width + k] * (double)v[k];
            h[i] += n->parts[up][i * hidden + r] * (n->is_relu ? fmax(a, 0) : a / (1 + exp(-a)));
        }
        mean += h[i] / (double)n->shared;
        square += h[i] * h[i] / (double)n->shared;
    }
    for (size_t i = 0; n->has_norm && i < n->shared; i++)
        h[i] = (h[i] - mean) / sqrt(square - mean * mean + 1e-5) * n->parts[is_x ? X_SCALE : L_SCALE][i] +
               n->parts[is_x ? X_SHIFT : L_SHIFT][i];
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

/* Probabilities of labels (of one column: of 0 and 1) from logits. */
static void write_out_softmax(const double *z, size_t n, double *p)
{
    double sum = 0;
    if (n == 1) {
        p[0] = 1 - sigmoid(z[0]);
        p[1] = sigmoid(z[0]);
        return;
    }
    for (size_t c = 0; c < n; c++)
        sum += p[c] = exp(z[c]);
    for (size_t c = 0; c < n; c++)
        p[c] /= sum;
}

/* Weights of a sample, what they make of the values, and -log p of the label. */
static double write_out(const network *n, const emr_ensemble_batch *b, size_t sample, double *a, double *out)
{
    double hx[64], h[64], z[64], p[65], mixed[65] = {0}, sum = 0;
    const size_t columns = b->n_columns, n_labels = columns == 1 ? 2 : columns;
    write_out_side(n, true, b->x + sample * n->x_width, hx);
    for (size_t j = 0; j < b->n_sources; j++) {
        const size_t source = sample * b->n_sources + j;
        write_out_side(n, false, b->keys ? b->keys + source * n->key_width : b->values + source * columns, h);
        a[j] = 0;
        for (size_t i = 0; i < n->shared; i++)
            a[j] += hx[i] * h[i] / n->temperature;
        sum += a[j] = exp(a[j]);
    }
    for (size_t j = 0; j < b->n_sources; j++) {
        a[j] /= sum;
        for (size_t c = 0; c < columns; c++)
            z[c] = (double)b->values[(sample * b->n_sources + j) * columns + c];
        write_out_softmax(z, columns, p);
        for (size_t c = 0; c < (n->mixes_probabilities ? n_labels : columns); c++)
            mixed[c] += a[j] * (n->mixes_probabilities ? p[c] : z[c]);
    }
    for (size_t c = 0; c < columns; c++)
        out[c] = mixed[n->mixes_probabilities && columns == 1 ? 1 : c];
    if (!n->mixes_probabilities) {
        write_out_softmax(mixed, columns, p);
        memcpy(mixed, p, sizeof p);
    }
    return b->labels ? -log(mixed[b->labels[sample]]) : 0;
}

static double write_out_loss(const network *n, const emr_ensemble_batch *b)
{
    double loss = 0, a[64], out[64];
    for (size_t i = 0; i < b->n; i++)
        loss += write_out(n, b, i, a, out) / (double)b->n;
    return loss;
}

static bool is_near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fmax(fabs(b), 1e-3);
}

/* Weights and what comes out, to the rounding of f32. */
static void assert_written_out(const network *n, const emr_ensemble *e, const emr_ensemble_batch *b)
{
    float *weights = calloc(b->n * b->n_sources, sizeof *weights),
          *out = calloc(b->n * b->n_columns, sizeof *out);
    double a[64], mixed[64];
    emr_error error;
    assert_ok(emr_ensemble_combine(e, b, weights, out, &error), &error);
    for (size_t i = 0; i < b->n; i++) {
        write_out(n, b, i, a, mixed);
        for (size_t j = 0; j < b->n_sources; j++)
            assert_true(is_near((double)weights[i * b->n_sources + j], a[j], 1e-6));
        for (size_t c = 0; c < b->n_columns; c++)
            assert_true(is_near((double)out[i * b->n_columns + c], mixed[c], 1e-6));
    }
    free(weights);
    free(out);
}

static void weights_and_mix_are_the_formula(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        network n = small_network(i & 1, i & 2, i & 4, 10 + (uint64_t)i);
        samples s = make_samples(37, 4, i & 8 ? 1 : 3, 5, i & 8 ? 3 : 0, 77);
        emr_ensemble *e = open_network(&n, NULL);
        s.batch.labels = NULL;
        assert_written_out(&n, e, &s.batch);
        emr_ensemble_destroy(&e);
        free_samples(&s);
        free_network(&n);
    }
}

/* The library's gradient by all parameters, and its loss. Free it. */
static double *find_gradient(const emr_ensemble *e, const emr_ensemble_batch *b, double *loss)
{
    ensemble_samples taken;
    ensemble_pass pass;
    emr_error error;
    double *gradient = calloc(e->n_parameters, sizeof *gradient);
    assert_ok(ensemble_take(&taken, e, b, true, &error), &error);
    assert_ok(ensemble_pass_create(&pass, e, &taken, true, &error), &error);
    assert_ok(ensemble_find_gradient(&pass, &taken, loss, &error), &error);
    memcpy(gradient, pass.gradient, e->n_parameters * sizeof *gradient);
    ensemble_pass_destroy(&pass);
    return gradient;
}

static void compare_gradient(network *n, const emr_ensemble_batch *b)
{
    emr_ensemble *e = open_network(n, NULL);
    double loss, *gradient = find_gradient(e, b, &loss), largest = 0, worst = 0;
    const double step = 1e-5;
    assert_true(is_near(loss, write_out_loss(n, b), 1e-12));
    for (int part = 0; part < (n->has_norm ? PARTS : X_SCALE); part++)
        for (size_t i = 0; i < part_size(n, part); i++) {
            double at = n->parts[part][i];
            n->parts[part][i] = at + step;
            double above = write_out_loss(n, b);
            n->parts[part][i] = at - step;
            double expected = (above - write_out_loss(n, b)) / (2 * step);
            n->parts[part][i] = at;
            largest = fmax(largest, fabs(expected));
            worst = fmax(worst, fabs(expected - gradient[part_begin(e, part) + i]));
        }
    assert_true(largest > 1e-3 && worst < 1e-7 * fmax(largest, 1));
    free(gradient);
    emr_ensemble_destroy(&e);
}

static void gradients_are_differences(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        network n = small_network(i & 1, i & 2, i & 4, 40 + (uint64_t)i);
        samples s = make_samples(9, 3, i & 8 ? 1 : 3, 5, i & 8 ? 3 : 0, 5 + (uint64_t)i),
                keyed = make_samples(4, 5, 6, 5, 3, 6);
        compare_gradient(&n, &s.batch);
        compare_gradient(&n, &keyed.batch);
        free_samples(&s);
        free_samples(&keyed);
        free_network(&n);
    }
}

/* Many samples in blocks, wide keys in pieces: the same as the sum of what each gives alone. */
static void sums_do_not_depend_on_blocks(void **state)
{
    network n = make_network((network){300, 9, 270, 17, 10, true, false, false, 20, {NULL}}, 8);
    samples s = make_samples(71, 2, 3, 300, 270, 9);
    emr_ensemble *e = open_network(&n, NULL);
    double loss, *gradient = find_gradient(e, &s.batch, &loss), *sum = calloc(e->n_parameters, sizeof *sum);
    (void)state;
    assert_true(is_near(loss, write_out_loss(&n, &s.batch), 1e-11));
    assert_written_out(&n, e, &s.batch);
    for (size_t i = 0; i < 71; i++) {
        emr_ensemble_batch one = s.batch;
        one.x += i * 300;
        one.keys += i * 2 * 270;
        one.values += i * 2 * 3;
        one.labels += i;
        one.n = 1;
        double *alone = find_gradient(e, &one, &loss);
        for (size_t k = 0; k < e->n_parameters; k++)
            sum[k] += alone[k] / 71;
        free(alone);
    }
    for (size_t k = 0; k < e->n_parameters; k++)
        assert_true(fabs(sum[k] - gradient[k]) <= 1e-12 * fmax(fabs(sum[k]), 1));
    free(sum);
    free(gradient);
    emr_ensemble_destroy(&e);
    free_samples(&s);
    free_network(&n);
}

static bool is_close(const double *a, const double *b, size_t n)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(b[i]));
        worst = fmax(worst, fabs(a[i] - b[i]));
    }
    return worst <= 1e-12 * largest;
}

static const char *const vector_names[PARTS + 1] = {"x.down",  "x.up",    "l.down",  "l.up",
                                                    "x.scale", "l.scale", "x.shift", "l.shift"};

/* What a vector file has of a part, at a time. Free it. */
static double *read_vector(const emr_model *file, const char *when, int part)
{
    char name[40];
    snprintf(name, sizeof name, "%s.%s", when, vector_names[part]);
    return test_vectors_read(file, name, NULL);
}

static void assert_vectors(const emr_model *file, bool has_norm)
{
    network n = {7, 4, 5, 3, 6, has_norm, false, false, 1, {NULL}};
    samples s = {.batch = EMR_INIT(emr_ensemble_batch)};
    emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
    double *labels = test_vectors_read(file, "labels", &s.batch.n), loss, before, weights[18];
    double *given_loss = test_vectors_read(file, "loss", NULL), *a = test_vectors_read(file, "weights", NULL),
           *l = test_vectors_read(file, "combined", NULL);
    emr_error error;
    ensemble_samples taken;
    ensemble_pass pass;
    const int n_parts = has_norm ? PARTS : X_SCALE;
    for (int part = 0; part < n_parts; part++)
        n.parts[part] = read_vector(file, "before", part);
    s.batch.x = s.x = test_vectors_read_floats(file, "x", NULL);
    s.batch.values = s.values = test_vectors_read_floats(file, "logits", NULL);
    s.batch.labels = s.labels = calloc(s.batch.n, sizeof *s.labels);
    s.batch.n_sources = 3;
    s.batch.n_columns = 5;
    for (size_t i = 0; i < s.batch.n; i++)
        s.labels[i] = (uint32_t)labels[i];
    options.adam = &adam;
    emr_ensemble *e = open_network(&n, &options);

    assert_int_equal(s.batch.n, 6);
    assert_ok(ensemble_take(&taken, e, &s.batch, true, &error), &error);
    assert_ok(ensemble_pass_create(&pass, e, &taken, false, &error), &error);
    assert_ok(ensemble_find_scores(&pass, &taken, &error), &error);
    for (size_t i = 0; i < 6; i++) {
        double room[2 * 5 + 3];
        ensemble_weigh(pass.scores + 3 * i, 3);
        ensemble_mix_values(EMR_ENSEMBLE_MIX_LOGITS, pass.scores + 3 * i, &taken.batch,
                            ensemble_values(&taken, i), room);
        assert_true(is_close(room, l + 5 * i, 5));
    }
    memcpy(weights, pass.scores, sizeof weights);
    ensemble_pass_destroy(&pass);
    assert_true(is_close(weights, a, 18));

    double *gradient = find_gradient(e, &s.batch, &loss);
    assert_true(is_close(&loss, given_loss, 1));
    assert_ok(emr_ensemble_train(e, &s.batch, &before, &error), &error);
    assert_true(before >= loss && before <= loss);
    for (int part = 0; part < n_parts; part++) {
        double *expected = read_vector(file, "gradient", part), *after = read_vector(file, "after", part);
        assert_true(is_close(gradient + part_begin(e, part), expected, part_size(&n, part)));
        assert_true(is_close(e->parameters + part_begin(e, part), after, part_size(&n, part)));
        free(expected);
        free(after);
    }
    free(gradient);
    free(labels);
    free(given_loss);
    free(a);
    free(l);
    emr_ensemble_destroy(&e);
    free_samples(&s);
    free_network(&n);
}

static void vectors_are_met(void **state)
{
    emr_model *plain = test_vectors_open("sesom.safetensors"),
              *norm = plain ? test_vectors_open("sesom-norm.safetensors") : NULL;
    (void)state;
    if (!plain)
        return;
    assert_vectors(plain, false);
    assert_vectors(norm, true);
    emr_model_destroy(&plain);
    emr_model_destroy(&norm);
}

static void sources_have_no_number(void **state)
{
    enum { N = 8, T = 4, C = 3 };
    static const size_t order[T] = {2, 0, 3, 1};
    network n = small_network(true, false, false, 3);
    samples s = make_samples(N, T, C, 5, 0, 4), other = make_samples(N, T, C, 5, 0, 4);
    emr_ensemble *e = open_network(&n, NULL);
    float a[N * T], b[N * T], out[N * C], changed[N * C];
    emr_error error;
    (void)state;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < T; j++)
            memcpy(other.values + (i * T + j) * C, s.values + (i * T + order[j]) * C, C * sizeof(float));
    assert_ok(emr_ensemble_combine(e, &s.batch, a, out, &error), &error);
    assert_ok(emr_ensemble_combine(e, &other.batch, b, changed, &error), &error);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < T; j++)
            assert_true(is_near((double)b[i * T + j], (double)a[i * T + order[j]], 1e-6));
    for (size_t i = 0; i < N * C; i++)
        assert_true(is_near((double)changed[i], (double)out[i], 1e-6));
    emr_ensemble_destroy(&e);
    free_samples(&s);
    free_samples(&other);
    free_network(&n);
}

/* One source, and several that say the same: the answer is theirs, to the bit, whatever the network. */
static void equal_sources_share_equally(void **state)
{
    enum { N = 6, C = 3 };
    network n = small_network(false, false, false, 5);
    samples one = make_samples(N, 1, C, 5, 0, 6), five = make_samples(N, 5, C, 5, 0, 6);
    emr_ensemble *e = open_network(&n, NULL);
    float a[N * 5], out[N * C];
    emr_error error;
    (void)state;
    for (size_t i = 0; i < N * 5; i++)
        memcpy(five.values + i * C, one.values + i / 5 * C, C * sizeof(float));
    assert_ok(emr_ensemble_combine(e, &one.batch, a, out, &error), &error);
    for (size_t i = 0; i < N; i++)
        assert_true(a[i] >= 1 && a[i] <= 1);
    assert_memory_equal(out, one.values, sizeof out);
    assert_ok(emr_ensemble_combine(e, &five.batch, a, out, &error), &error);
    for (size_t i = 0; i < N * 5; i++)
        assert_true(a[i] >= 0.2F && a[i] <= 0.2F);
    assert_memory_equal(out, one.values, sizeof out);
    emr_ensemble_destroy(&e);
    free_samples(&one);
    free_samples(&five);
    free_network(&n);
}

/* Where h is 0, and without a network: the mean of all. */
static void uniform_ensemble_is_the_mean(void **state)
{
    enum { N = 5, T = 3, C = 3 };
    network n = small_network(false, false, false, 5);
    samples s = make_samples(N, T, C, 5, 0, 6);
    float a[N * T], out[N * C], b[N * T], mean[N * C];
    emr_error error;
    (void)state;
    memset(n.parts[X_UP], 0, part_size(&n, X_UP) * sizeof(double));
    emr_ensemble *e = open_network(&n, NULL);
    assert_ok(emr_ensemble_combine(e, &s.batch, a, out, &error), &error);
    s.batch.x = NULL;
    assert_ok(emr_ensemble_combine(NULL, &s.batch, b, mean, &error), &error);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(out, mean, sizeof out);
    for (size_t i = 0; i < N * C; i++) {
        const float *values = s.values + i / C * T * C + i % C;
        assert_true(is_near((double)mean[i],
                            ((double)values[0] + (double)values[C] + (double)values[2 * C]) / 3, 1e-6));
    }
    emr_ensemble_destroy(&e);
    free_samples(&s);
    free_network(&n);
}

/* Sources that come later: the weights of those before keep their ratios. */
static void sources_can_be_added(void **state)
{
    enum { N = 4, C = 3 };
    network n = small_network(true, true, true, 15);
    samples few = make_samples(N, 2, C, 5, 0, 16), many = make_samples(N, 6, C, 5, 0, 17);
    emr_ensemble *e = open_network(&n, NULL);
    float before[N * 2], after[N * 6];
    emr_error error;
    (void)state;
    memcpy(many.x, few.x, N * 5 * sizeof(float));
    for (size_t i = 0; i < N; i++)
        memcpy(many.values + i * 6 * C, few.values + i * 2 * C, 2 * C * sizeof(float));
    assert_ok(emr_ensemble_combine(e, &few.batch, before, NULL, &error), &error);
    assert_ok(emr_ensemble_combine(e, &many.batch, after, NULL, &error), &error);
    for (size_t i = 0; i < N; i++)
        assert_true(is_near((double)(after[i * 6] / after[i * 6 + 1]),
                            (double)(before[i * 2] / before[i * 2 + 1]), 1e-5));
    assert_written_out(&n, e, &many.batch);
    emr_ensemble_destroy(&e);
    free_samples(&few);
    free_samples(&many);
    free_network(&n);
}

/* Logits of any size: no overflow of exp, and the source that is sure wins. */
static void large_logits_do_no_harm(void **state)
{
    for (uint32_t mix = 0; mix < 2; mix++) {
        const float x[1] = {1}, values[4] = {3e38F, -3e38F, -1000, 1000};
        const uint32_t label = 1;
        emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
        emr_ensemble_batch batch = EMR_INIT(emr_ensemble_batch);
        emr_ensemble *e;
        emr_error error;
        float keys[2] = {0, 0}, weights[2], out[2];
        double loss;
        (void)state;
        options.x_width = options.key_width = 1;
        options.mix = mix;
        assert_ok(emr_ensemble_create(&e, &options, &error), &error);
        batch.x = x;
        batch.keys = keys;
        batch.values = values;
        batch.labels = &label;
        batch.n = 1;
        batch.n_sources = batch.n_columns = 2;
        assert_ok(emr_ensemble_combine(e, &batch, weights, out, &error), &error);
        assert_true(weights[0] >= 0.5F && weights[0] <= 0.5F);
        assert_true(mix ? out[0] >= 0.5F && out[0] <= 0.5F : isfinite(out[0]) && out[0] > 1e38F);
        assert_ok(emr_ensemble_train(e, &batch, &loss, &error), &error);
        assert_true(mix ? is_near(loss, log(2), 1e-12) : loss > 1e38 && isfinite(loss));
        emr_ensemble_destroy(&e);
    }
}

static emr_ensemble *create(uint32_t x_width, uint32_t key_width, const emr_resources *resources,
                            const emr_adam *adam)
{
    emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
    emr_ensemble *e;
    emr_error error;
    options.resources = resources;
    options.adam = adam;
    options.x_width = x_width;
    options.key_width = key_width;
    options.x_hidden = options.key_hidden = 8;
    options.shared_width = 8;
    options.use_norm = 1;
    options.seed = 12;
    assert_ok(emr_ensemble_create(&e, &options, &error), &error);
    return e;
}

static bool have_same_parameters(const emr_ensemble *a, const emr_ensemble *b)
{
    return memcmp(a->parameters, b->parameters, 3 * a->n_parameters * sizeof(double)) == 0;
}

/* The first weights are the words of the seed, one matrix after another. */
static void first_weights_are_drawn(void **state)
{
    emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
    emr_ensemble *e, *other;
    emr_error error;
    (void)state;
    options.x_width = 100;
    options.key_width = 3;
    options.seed = 5;
    assert_ok(emr_ensemble_create(&e, &options, &error), &error);
    options.seed = 6;
    assert_ok(emr_ensemble_create(&other, &options, &error), &error);
    assert_int_equal(e->n_parameters, 32 * 100 + 64 * 32 + 32 * 3 + 64 * 32);
    const size_t ends[4] = {32 * 100, 32 * 100 + 64 * 32, 32 * 100 + 64 * 32 + 32 * 3, e->n_parameters};
    const double columns[4] = {100, 32, 3, 32};
    for (size_t i = 0, part = 0; i < e->n_parameters; i++) {
        part += i == ends[part];
        uint64_t z = 5 + (i + 1) * UINT64_C(0x9e3779b97f4a7c15); /* splitmix64, written out */
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        double u = ((double)(z >> 11) + 0.5) / 9007199254740992.0;
        assert_true(is_near(e->parameters[i], (2 * u - 1) / sqrt(columns[part]), 1e-12));
    }
    assert_false(have_same_parameters(e, other));
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&other);
    emr_ensemble_destroy(&other);
    emr_ensemble_destroy(NULL);
}

/* Three sources, each of which knows the answers for a third of the inputs, and guesses the others' as loudly; each favours a word of
 * its own beside the four answers, by which it is known. */
static samples make_experts(size_t n, uint64_t seed)
{
    enum { T = 3, C = 7, WIDTH = 4 };
    samples s = make_samples(n, T, C, WIDTH, 0, seed);
    rng r = {seed * 3 + 1};
    for (size_t i = 0; i < n; i++) {
        const float x = s.x[i * WIDTH];
        const size_t expert = x < -0.43F ? 0 : x < 0.43F ? 1 : 2;
        s.labels[i] = (uint32_t)rng_below(&r, 4);
        for (size_t j = 0; j < T; j++) {
            float *values = s.values + (i * T + j) * C;
            for (size_t c = 0; c < C; c++)
                values[c] = rng_normal(&r);
            values[j == expert ? s.labels[i] : rng_below(&r, 4)] += 4;
            values[4 + j] += 2;
        }
    }
    return s;
}

static size_t count_right(const emr_ensemble *e, const emr_ensemble_batch *b)
{
    float *out = calloc(b->n * b->n_columns, sizeof *out);
    emr_error error;
    size_t n_right = 0;
    assert_ok(emr_ensemble_combine(e, b, NULL, out, &error), &error);
    for (size_t i = 0; i < b->n; i++) {
        size_t best = 0;
        for (size_t c = 1; c < b->n_columns; c++)
            best = out[i * b->n_columns + c] > out[i * b->n_columns + best] ? c : best;
        n_right += best == b->labels[i];
    }
    free(out);
    return n_right;
}

/* It beats the mean, the vote and every source on samples that it was not fitted on, and the report says what is true. */
static void it_learns_whom_to_trust(void **state)
{
    enum { SHOTS = 256, N = 800 };
    samples shots = make_experts(SHOTS, 3), test = make_experts(N, 4);
    emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_ensemble *e = create(4, 7, NULL, &adam);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_error error;
    uint32_t answers[N];
    size_t source, best, voted = 0;
    (void)state;
    double before, *gradient = find_gradient(e, &shots.batch, &before);
    free(gradient);
    assert_ok(emr_ensemble_fit(e, &shots.batch, NULL, &report, &error), &error);
    assert_true(report.loss_after < report.loss_before && report.held_out_after < report.held_out_before);
    assert_true(report.n_best > 0 && report.n_best <= report.n_steps && report.n_steps <= 500);
    assert_int_equal(report.n_held_out, SHOTS / 4);
    const double weight = (double)report.n_held_out / SHOTS; /* both parts together are all shots */
    assert_true(is_near(report.held_out_before * weight + report.loss_before * (1 - weight), before, 1e-12));
    gradient = find_gradient(e, &shots.batch, &before);
    free(gradient);
    assert_true(is_near(report.held_out_after * weight + report.loss_after * (1 - weight), before, 1e-12));

    assert_ok(emr_ensemble_vote(&test.batch, answers, &error), &error);
    assert_ok(emr_ensemble_best_source(&test.batch, &source, &best, &error), &error);
    for (size_t i = 0; i < N; i++)
        voted += answers[i] == test.labels[i];
    const size_t ours = count_right(e, &test.batch);
    assert_true(ours > count_right(NULL, &test.batch) + N / 20 && ours > voted + N / 20 &&
                ours > best + N / 20);
    emr_ensemble_destroy(&e);
    free_samples(&shots);
    free_samples(&test);
}

/* Labels at random: there is nothing to learn, and the report shows what was learned by heart. */
static void fitting_stops_early_and_goes_back(void **state)
{
    samples s = make_samples(60, 5, 4, 20, 12, 21);
    const emr_adam adam = {.size = sizeof adam, .lr = 3e-3};
    emr_ensemble *e = create(20, 12, NULL, &adam), *again = create(20, 12, NULL, &adam),
                 *all = create(20, 12, NULL, &adam);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report), exact = EMR_INIT(emr_ensemble_report);
    emr_error error;
    (void)state;
    options.patience = 30;
    options.seed = 4;
    options.n_batch = 10;
    assert_ok(emr_ensemble_fit(e, &s.batch, &options, &report, &error), &error);
    assert_int_equal(report.n_steps, report.n_best + 30);
    assert_true(report.n_steps < 500 && report.held_out_after <= report.held_out_before);
    options.n_steps = report.n_best;
    if (report.n_best)
        assert_ok(emr_ensemble_fit(again, &s.batch, &options, &exact, &error), &error);
    assert_true(have_same_parameters(e, again)); /* Adam's state among them: fitting goes on from there */

    options.n_steps = 400;
    options.patience = 400;
    assert_ok(emr_ensemble_fit(e, &s.batch, &options, NULL, &error), &error);
    options.use_held_out = 1;
    assert_ok(emr_ensemble_fit(all, &s.batch, &options, &report, &error), &error);
    assert_true(report.n_held_out == 0 && isnan(report.held_out_before) && isnan(report.held_out_after));
    assert_true(report.n_steps == 400 && report.n_best == 400);
    assert_true(report.loss_after < report.loss_before - 0.2);
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&again);
    emr_ensemble_destroy(&all);
    free_samples(&s);
}

/* How many of three labels are held out, by a loss that is 128^-label for each of a lone source's samples: digits of the sum. */
static void count_held_out(const size_t *n_of_label, double share, uint64_t seed, size_t *held_out)
{
    const size_t n = n_of_label[0] + n_of_label[1] + n_of_label[2];
    samples s = make_samples(n, 1, 3, 4, 0, 3);
    emr_ensemble *e = create(4, 3, NULL, NULL);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_error error;
    double unit = 1, sum;
    for (size_t label = 0, i = 0; label < 3; label++, unit /= 128)
        for (size_t k = 0; k < n_of_label[label]; k++, i++) {
            s.labels[i] = (uint32_t)label;
            for (size_t c = 0; c < 3; c++)
                s.values[i * 3 + c] = c == label ? (float)-log((exp(unit) - 1) / 2) : 0;
        }
    options.use_held_out = 1;
    options.held_out = share;
    options.n_steps = 1;
    options.seed = seed;
    assert_ok(emr_ensemble_fit(e, &s.batch, &options, &report, &error), &error);
    assert_true(report.n_held_out < n && isfinite(report.loss_before));
    sum = report.n_held_out ? report.held_out_before * (double)report.n_held_out + 1e-5 : 0;
    for (size_t label = 0; label < 3; label++, sum *= 128) {
        held_out[label] = (size_t)sum;
        sum -= (double)held_out[label];
    }
    assert_int_equal(held_out[0] + held_out[1] + held_out[2], report.n_held_out);
    emr_ensemble_destroy(&e);
    free_samples(&s);
}

static void labels_are_held_out_evenly(void **state)
{
    static const struct {
        size_t n[3];
        double share;
        size_t held_out[3];
    } cases[] = {{{80, 20, 40}, 0.25, {20, 5, 10}}, {{80, 3, 3}, 0.1, {8, 1, 1}}, {{4, 4, 4}, 0.9, {3, 3, 3}},
                 {{2, 2, 2}, 0.25, {0, 1, 0}},      {{1, 1, 1}, 0.9, {0, 0, 0}},  {{1, 0, 0}, 0.5, {0, 0, 0}},
                 {{10, 0, 7}, 0, {0, 0, 0}},        {{3, 0, 0}, 0.01, {1, 0, 0}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            size_t held_out[3];
            count_held_out(cases[i].n, cases[i].share, seed, held_out);
            assert_memory_equal(held_out, cases[i].held_out, sizeof held_out);
        }
}

/* Whatever shares the work out. */
static void bits_do_not_depend_on_threads(void **state)
{
    samples s = make_samples(101, 3, 4, 300, 270, 31);
    emr_pool *pool = test_pool_new(3);
    const emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    emr_ensemble *one = create(300, 270, NULL, NULL), *three = create(300, 270, &resources, NULL);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report a = EMR_INIT(emr_ensemble_report), b = a;
    float out[101 * 4], other[101 * 4], weights[101 * 3], others[101 * 3];
    emr_error error;
    (void)state;
    for (size_t n_batch = 0; n_batch < 80; n_batch += 37) {
        options.n_steps = 4;
        options.n_batch = n_batch;
        assert_ok(emr_ensemble_fit(one, &s.batch, &options, &a, &error), &error);
        assert_ok(emr_ensemble_fit(three, &s.batch, &options, &b, &error), &error);
        assert_true(have_same_parameters(one, three));
        assert_memory_equal(&a, &b, sizeof a);
    }
    assert_ok(emr_ensemble_combine(one, &s.batch, weights, out, &error), &error);
    assert_ok(emr_ensemble_combine(three, &s.batch, others, other, &error), &error);
    assert_memory_equal(out, other, sizeof out);
    assert_memory_equal(weights, others, sizeof weights);
    emr_ensemble_destroy(&one);
    emr_ensemble_destroy(&three);
    emr_pool_destroy(&pool);
    free_samples(&s);
}

static void fitting_can_be_stopped(void **state)
{
    samples s = make_experts(64, 9);
    test_progress progress = {.stop_at = 6, .why = "enough"};
    emr_resources resources = EMR_INIT(emr_resources);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_error error;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &progress;
    emr_ensemble *stopped = create(4, 7, &resources, NULL), *seven = create(4, 7, NULL, NULL);
    assert_int_equal(emr_ensemble_fit(stopped, &s.batch, &options, &report, &error), EMR_ECANCELED);
    assert_string_equal(error.text, "fitting the ensemble was canceled: enough");
    assert_false(progress.backwards);
    options.n_steps = 7;
    assert_ok(emr_ensemble_fit(seven, &s.batch, &options, NULL, &error), &error);
    assert_true(have_same_parameters(stopped, seven));
    emr_ensemble_destroy(&stopped);
    emr_ensemble_destroy(&seven);
    free_samples(&s);
}

/* What is saved comes back to the bit, by way of a file too, and does not change as fitting goes on. */
static void ensembles_are_saved(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        network n = small_network(i & 1, i & 2, i & 4, 60 + (uint64_t)i);
        n.temperature = 1.0 / 3;
        samples s = make_samples(20, 3, 4, 5, 3, 6);
        emr_ensemble *e = open_network(&n, NULL), *opened;
        emr_model *model, *file;
        emr_buffer *bytes = test_buffer_new();
        emr_error error;
        float out[80], same[80];
        double temperature;
        assert_ok(emr_ensemble_open_model(e, &model, &error), &error);
        assert_ok(emr_ensemble_combine(e, &s.batch, NULL, out, &error), &error);
        assert_ok(emr_ensemble_train(e, &s.batch, NULL, &error), &error);
        temperature = e->temperature;
        emr_ensemble_destroy(&e);
        assert_int_equal(emr_model_n_tensors(model), n.has_norm ? 7 : 4);
        assert_ok(emr_safetensors_write(model, emr_buffer_io(bytes), NULL, &error), &error);
        assert_ok(emr_safetensors_open(&file, emr_buffer_io(bytes), "e", NULL, &error), &error);
        assert_ok(emr_ensemble_open(&opened, file, NULL, &error), &error);
        assert_memory_equal(&opened->temperature, &temperature, sizeof temperature);
        for (int part = 0; part < (n.has_norm ? PARTS : X_SCALE); part++)
            assert_memory_equal(opened->parameters + part_begin(opened, part), n.parts[part],
                                part_size(&n, part) * sizeof(double));
        assert_ok(emr_ensemble_combine(opened, &s.batch, NULL, same, &error), &error);
        assert_memory_equal(out, same, sizeof out);
        emr_ensemble_destroy(&opened);
        emr_model_destroy(&model);
        emr_model_destroy(&file);
        emr_buffer_destroy(&bytes);
        free_samples(&s);
        free_network(&n);
    }
}

/* A saved network with something wrong in it: one tensor (of number `part`) that is absent or of another kind, or a key of the
 * metadata. */
typedef struct fault {
    int part;
    bool is_absent;
    emr_dtype dtype;
    uint32_t rank;
    uint64_t shape[2];
    const char *key, *value;
} fault;

static emr_status open_broken(const fault *f, bool has_norm, double first, emr_error *error)
{
    network n = small_network(has_norm, false, false, 9);
    emr_model *good = save_network(&n), *bad = test_model_new("bad");
    emr_ensemble *e;
    double *values = calloc(100, sizeof *values);
    values[0] = first;
    assert_ok(emr_model_copy_metadata(bad, good, error), error);
    for (int part = 0; part < (has_norm ? PARTS : X_SCALE); part++) {
        const emr_tensor *tensor = emr_model_find_tensor(good, part_names[part]);
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        if (part != f->part) {
            assert_ok(emr_model_add_tensor(bad, tensor, error), error);
            continue;
        }
        desc.name = part_names[part];
        desc.dtype = f->dtype ? f->dtype : EMR_DTYPE_F64;
        desc.rank = f->rank ? f->rank : emr_tensor_rank(tensor);
        desc.shape = f->rank ? f->shape : emr_tensor_shape(tensor);
        desc.data = values;
        if (!f->is_absent)
            assert_ok(emr_model_add(bad, &desc, error), error);
    }
    if (f->key && !f->value)
        assert_int_equal(emr_model_remove_metadata(bad, f->key), EMR_OK);
    if (f->key && f->value)
        assert_ok(emr_model_set_metadata(bad, f->key, f->value, error), error);
    emr_status status = emr_ensemble_open(&e, bad, NULL, error);
    emr_ensemble_destroy(&e);
    emr_model_destroy(&bad);
    emr_model_destroy(&good);
    free(values);
    free_network(&n);
    return status;
}

static void broken_files_are_refused(void **state)
{
    static const fault faults[] = {
        {.part = -1, .key = "emr.kind"},
        {.part = -1, .key = "emr.kind", .value = "adapters"},
        {.part = -1, .key = "emr.activation"},
        {.part = -1, .key = "emr.activation", .value = "gelu"},
        {.part = -1, .key = "emr.mix", .value = ""},
        {.part = -1, .key = "emr.temperature"},
        {.part = -1, .key = "emr.temperature", .value = "nan"},
        {.part = -1, .key = "emr.temperature", .value = "inf"},
        {.part = -1, .key = "emr.temperature", .value = "1e999"},
        {.part = -1, .key = "emr.temperature", .value = "-1"},
        {.part = -1, .key = "emr.temperature", .value = "0"},
        {.part = -1, .key = "emr.temperature", .value = ""},
        {.part = -1, .key = "emr.temperature", .value = "1 2"},
        {.part = -1, .key = "emr.temperature", .value = "\"1\""},
        {.part = X_DOWN, .rank = 1, .shape = {20}},
        {.part = X_DOWN, .rank = 2, .shape = {0, 5}},
        {.part = X_DOWN, .rank = 2, .shape = {4, 0}},
        {.part = X_DOWN, .rank = 2, .shape = {5, 4}},
        {.part = X_DOWN, .rank = 2, .shape = {65537, 1}},
        {.part = X_DOWN, .rank = 2, .shape = {4, (1 << 24) + 1}},
        {.part = X_UP, .rank = 2, .shape = {65536, 4}},
        {.part = L_UP, .rank = 2, .shape = {7, 5}},
        {.part = L_UP, .rank = 2, .shape = {8, 6}},
        {.part = L_DOWN, .rank = 2, .shape = {65536, 1}},
        {.part = X_SHIFT, .rank = 1, .shape = {6}},
        {.part = X_SHIFT, .rank = 2, .shape = {7, 1}},
        {.part = X_SHIFT, .rank = 2, .shape = {1, 7}},
        {.part = L_SCALE, .dtype = EMR_DTYPE_I64},
    };
    const fault none = {.part = -1}, f32 = {.part = L_UP, .dtype = EMR_DTYPE_F32},
                whole = {.part = -1, .key = "emr.temperature", .value = "2"};
    emr_error error;
    (void)state;
    assert_ok(open_broken(&none, true, 0, &error), &error);
    assert_ok(open_broken(&none, false, 0, &error), &error);
    assert_ok(open_broken(&f32, true, 0, &error), &error); /* any float will do */
    assert_ok(open_broken(&whole, true, 0, &error), &error);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (open_broken(&faults[i], true, 0, &error) != EMR_EFORMAT)
            fail_msg("fault %d: %s", (int)i, error.text);
        assert_true(test_span_is(&error, error.file, "bad"));
    }
    for (int part = 0; part < PARTS; part++) {
        const fault absent = {.part = part, .is_absent = true}, odd = {.part = part};
        assert_int_equal(open_broken(&absent, true, 0, &error),
                         part == X_SCALE ? EMR_OK : EMR_EFORMAT); /* without it there is no norm */
        if (part != X_SCALE)
            assert_true(test_span_is(&error, error.tensor, part_names[part]));
        assert_int_equal(open_broken(&odd, true, NAN, &error), EMR_EFORMAT);
        assert_int_equal(open_broken(&odd, true, INFINITY, &error), EMR_EFORMAT);
        assert_true(test_span_is(&error, error.tensor, part_names[part]));
    }
}

/* Every call that takes a batch fails with the sentence, and nothing is written. */
static void assert_refused(emr_ensemble *e, const emr_ensemble_batch *b, emr_status expected,
                           const char *text)
{
    float out[64] = {42}, weights[64] = {42};
    double loss = 42;
    emr_error error;
    assert_int_equal(emr_ensemble_combine(e, b, weights, out, &error), expected);
    assert_string_equal(error.text, text);
    assert_int_equal(emr_ensemble_train(e, b, &loss, &error), expected);
    assert_string_equal(error.text, text);
    assert_int_equal(emr_ensemble_fit(e, b, NULL, NULL, &error), expected);
    assert_string_equal(error.text, text);
    assert_true(out[0] >= 42 && weights[0] >= 42 && loss >= 42);
}

static void bad_batches_are_refused(void **state)
{
    samples s = make_samples(4, 3, 2, 5, 6, 8);
    emr_ensemble *e = create(5, 6, NULL, NULL), *same = create(5, 6, NULL, NULL);
    emr_ensemble_batch b = s.batch;
    emr_error error;
    double loss;
    (void)state;
    b.n = 0;
    assert_refused(e, &b, EMR_EINVAL,
                   "emr_ensemble_batch: 0 samples, 3 sources, 2 columns: there must be one at least of each");
    b = s.batch;
    b.n_sources = 0;
    assert_refused(e, &b, EMR_EINVAL,
                   "emr_ensemble_batch: 4 samples, 0 sources, 2 columns: there must be one at least of each");
    b = s.batch;
    b.n_columns = 0;
    assert_refused(e, &b, EMR_EINVAL,
                   "emr_ensemble_batch: 4 samples, 3 sources, 0 columns: there must be one at least of each");
    b = s.batch;
    b.n = SIZE_MAX / 16;
    assert_int_equal(emr_ensemble_combine(e, &b, NULL, NULL, &error), EMR_EINVAL);
    b = s.batch;
    b.x = NULL;
    assert_refused(e, &b, EMR_EINVAL, "emr_ensemble_batch: x is missing");
    b = s.batch;
    b.values = NULL;
    assert_refused(e, &b, EMR_EINVAL, "emr_ensemble_batch: values are missing");
    b = s.batch;
    b.keys = NULL;
    assert_refused(
        e, &b, EMR_EINVAL,
        "emr_ensemble_batch: keys are missing, and values of 2 columns cannot be keys, whose width is "
        "6");
    b = s.batch;
    b.size = 8;
    assert_refused(e, &b, EMR_EINVAL, "emr_ensemble_batch: size is not set: begin with EMR_INIT");
    s.x[2 * 5 + 4] = NAN;
    assert_refused(e, &s.batch, EMR_ENONFINITE, "sample 2: x[4] is NaN or infinite");
    s.x[2 * 5 + 4] = 0;
    s.keys[(3 * 3 + 1) * 6 + 5] = INFINITY;
    assert_refused(e, &s.batch, EMR_ENONFINITE, "sample 3, source 1: keys[5] is NaN or infinite");
    s.keys[(3 * 3 + 1) * 6 + 5] = 0;
    s.values[(1 * 3 + 2) * 2] = -INFINITY;
    assert_refused(e, &s.batch, EMR_ENONFINITE, "sample 1, source 2: values[0] is NaN or infinite");
    assert_int_equal(emr_ensemble_combine(NULL, &s.batch, NULL, NULL, &error), EMR_ENONFINITE);
    s.values[(1 * 3 + 2) * 2] = 0;

    s.labels[3] = 2;
    assert_int_equal(emr_ensemble_train(e, &s.batch, &loss, &error), EMR_EINVAL);
    assert_string_equal(error.text, "sample 3: its label is 2, and there are 2 columns");
    assert_ok(emr_ensemble_combine(e, &s.batch, NULL, NULL, &error),
              &error); /* which has no use for labels */
    b = s.batch;
    b.n_columns = 1;
    assert_int_equal(emr_ensemble_fit(e, &b, NULL, NULL, &error), EMR_EINVAL);
    assert_string_equal(error.text, "sample 3: its label is 2, and of a single column it is 0 or 1");
    b.labels = NULL;
    assert_int_equal(emr_ensemble_train(e, &b, &loss, &error), EMR_EINVAL);
    assert_string_equal(error.text, "emr_ensemble_batch: labels are missing");
    assert_int_equal(emr_ensemble_combine(e, NULL, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_train(NULL, &s.batch, &loss, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_fit(NULL, &s.batch, NULL, NULL, &error), EMR_EINVAL);
    assert_true(have_same_parameters(e, same));
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&same);
    free_samples(&s);
}

static void bad_options_are_refused(void **state)
{
    const emr_ensemble_options good = {.size = sizeof good, .x_width = 2, .key_width = 2};
    emr_ensemble_options bad[9];
    const emr_adam negative = {.size = sizeof negative, .lr = -1};
    emr_ensemble_fit_options fit = {.size = sizeof fit, .use_held_out = 1};
    emr_ensemble_report unset = {0};
    samples s = make_samples(4, 3, 2, 5, 2, 8);
    emr_ensemble *e;
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        bad[i] = good;
    bad[0].x_width = 0;
    bad[1].key_width = (1 << 24) + 1;
    bad[2].shared_width = (1 << 16) + 1;
    bad[3].temperature = -1;
    bad[4].temperature = NAN;
    bad[5].temperature = INFINITY;
    bad[6].activation = 2;
    bad[7].mix = 2;
    bad[8].adam = &negative;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(emr_ensemble_create(&e, &bad[i], &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_create(&e, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_create(NULL, &good, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_open(&e, NULL, NULL, &error), EMR_EINVAL);
    e = create(5, 2, NULL, NULL);
    static const double shares[] = {-0.1, 0.91, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        fit.held_out = shares[i];
        assert_int_equal(emr_ensemble_fit(e, &s.batch, &fit, NULL, &error), EMR_EINVAL);
    }
    assert_int_equal(emr_ensemble_fit(e, &s.batch, NULL, &unset, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_open_model(e, NULL, &error), EMR_EINVAL);
    emr_ensemble_destroy(&e);
    free_samples(&s);
}

/* A step too long: weights whose scores overflow are told, and the best before it is kept. */
static void divergence_is_told(void **state)
{
    samples s = make_experts(40, 6);
    const emr_adam wild = {.size = sizeof wild, .lr = 1e200};
    emr_ensemble *e = create(4, 7, NULL, &wild), *before = create(4, 7, NULL, &wild);
    emr_error error;
    double loss;
    (void)state;
    assert_int_equal(emr_ensemble_fit(e, &s.batch, NULL, NULL, &error), EMR_ENONFINITE);
    assert_true(have_same_parameters(e, before));
    assert_ok(emr_ensemble_train(e, &s.batch, &loss, &error), &error);
    assert_int_equal(emr_ensemble_train(e, &s.batch, &loss, &error), EMR_ENONFINITE);
    assert_int_equal(emr_ensemble_combine(e, &s.batch, NULL, NULL, &error), EMR_ENONFINITE);
    assert_non_null(strstr(error.text, "sample 0: the ensemble's numbers overflow"));
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&before);
    free_samples(&s);
}

/* Every request of memory fails once; nothing leaks, and a step that failed has changed nothing. */
static void nothing_leaks_without_memory(void **state)
{
    samples s = make_samples(12, 3, 2, 5, 6, 8);
    emr_ensemble *fresh = create(5, 6, NULL, NULL);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = test_resources(&allocator, NULL);
        emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
        emr_ensemble_fit_options fit = EMR_INIT(emr_ensemble_fit_options);
        emr_ensemble *e = NULL, *opened = NULL;
        emr_model *model = NULL;
        emr_error error;
        float out[24] = {42}, weights[36];
        options.resources = &resources;
        options.x_width = 5;
        options.key_width = 6;
        options.x_hidden = options.key_hidden = options.shared_width = 8;
        options.use_norm = 1;
        options.seed = 12;
        fit.n_steps = 2;
        status = emr_ensemble_create(&e, &options, &error);
        if (!status && (status = emr_ensemble_combine(e, &s.batch, weights, out, &error)) != EMR_OK)
            assert_true(out[0] >= 42);
        if (!status && (status = emr_ensemble_train(e, &s.batch, NULL, &error)) != EMR_OK)
            assert_true(have_same_parameters(e, fresh));
        if (!status)
            status = emr_ensemble_fit(e, &s.batch, &fit, NULL, &error);
        if (!status)
            status = emr_ensemble_open_model(e, &model, &error);
        if (!status)
            status = emr_ensemble_open(&opened, model, &options, &error);
        emr_model_destroy(&model);
        emr_ensemble_destroy(&opened);
        emr_ensemble_destroy(&e);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_true(k < 200);
    }
    emr_ensemble_destroy(&fresh);
    free_samples(&s);
}

static void votes_and_best_sources_are_counted(void **state)
{
    /* Four sources of three columns; of the first source's second sample two columns are largest. */
    static const float values[] = {1, 2, 0, 0, 5, 1, 9, 0, 0, 3, 1, 2, 4, 4, 1, 0, 0, 1,
                                   0, 0, 2, 0, 1, 0, 7, 0, 0, 0, 7, 0, 0, 0, 7, 1, 2, 3};
    static const float yes[] = {1, -1, 2, 0, 0, -3};
    static const uint32_t labels[] = {0, 2, 2}, truths[] = {1, 0};
    emr_ensemble_batch b = EMR_INIT(emr_ensemble_batch);
    emr_error error;
    uint32_t answers[3] = {9, 9, 9};
    size_t source = 9, n_right = 9;
    (void)state;
    b.values = values;
    b.labels = labels;
    b.n = 3;
    b.n_sources = 4;
    b.n_columns = 3;
    assert_ok(emr_ensemble_vote(&b, answers, &error), &error);
    assert_true(answers[0] == 0 && answers[1] == 2 &&
                answers[2] == 2); /* two and two; 0, 2, 2, 1; 0, 1, 2, 2 */
    assert_ok(emr_ensemble_best_source(&b, &source, &n_right, &error), &error);
    assert_true(source == 2 && n_right == 3);
    b.values = yes; /* of a single column each: yes, no, yes; then no three times, 0 being none */
    b.labels = truths;
    b.n = 2;
    b.n_sources = 3;
    b.n_columns = 1;
    assert_ok(emr_ensemble_vote(&b, answers, &error), &error);
    assert_true(answers[0] == 1 && answers[1] == 0);
    assert_ok(emr_ensemble_best_source(&b, &source, &n_right, &error), &error);
    assert_true(source == 0 && n_right == 2);
    b.labels = NULL;
    assert_int_equal(emr_ensemble_best_source(&b, &source, &n_right, &error), EMR_EINVAL);
    b.n = 0;
    assert_int_equal(emr_ensemble_vote(&b, answers, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_vote(&b, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_best_source(&b, NULL, &n_right, &error), EMR_EINVAL);
}

static void padding_takes_no_part(void **state)
{
    float embeddings[2 * 3 * 2] = {1, -5, 9, 9, -1, -2, -3, -4, -8, -1, NAN, 0}, x[4] = {42, 42, 42, 42};
    static const float expected[4] = {1, -2, -3, -1};
    uint8_t keep[6] = {1, 0, 255, 1, 1, 0};
    emr_error error;
    (void)state;
    assert_int_equal(emr_ensemble_pool(embeddings, 2, 3, 2, NULL, x, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "sample 1: feature 0 of token 2 is NaN or infinite");
    assert_true(x[0] >= 42);
    assert_ok(emr_ensemble_pool(embeddings, 2, 3, 2, keep, x, &error), &error);
    assert_memory_equal(x, expected, sizeof x);
    assert_ok(emr_ensemble_pool(embeddings, 1, 3, 2, NULL, x, &error), &error);
    assert_true(x[0] >= 9 && x[1] >= 9);
    keep[3] = keep[4] = 0;
    assert_int_equal(emr_ensemble_pool(embeddings, 2, 3, 2, keep, x, &error), EMR_EINVAL);
    assert_string_equal(error.text, "sample 1: all its tokens are padding");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(emr_ensemble_pool(embeddings, i != 0, i != 1, i != 2, NULL, x, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_pool(NULL, 1, 1, 1, NULL, x, &error), EMR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_and_mix_are_the_formula),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(sums_do_not_depend_on_blocks),
        cmocka_unit_test(vectors_are_met),
        cmocka_unit_test(sources_have_no_number),
        cmocka_unit_test(equal_sources_share_equally),
        cmocka_unit_test(uniform_ensemble_is_the_mean),
        cmocka_unit_test(sources_can_be_added),
        cmocka_unit_test(large_logits_do_no_harm),
        cmocka_unit_test(first_weights_are_drawn),
        cmocka_unit_test(it_learns_whom_to_trust),
        cmocka_unit_test(fitting_stops_early_and_goes_back),
        cmocka_unit_test(labels_are_held_out_evenly),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(fitting_can_be_stopped),
        cmocka_unit_test(ensembles_are_saved),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(divergence_is_told),
        cmocka_unit_test(nothing_leaks_without_memory),
        cmocka_unit_test(votes_and_best_sources_are_counted),
        cmocka_unit_test(padding_takes_no_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
