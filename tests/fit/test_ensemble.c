/* test_ensemble.c - sources weighed sample by sample: the formula and its gradient, against one written out, and what follows from it. */
#include "ensembles.h"
#include "vectors.h"

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

/* That of the loss written out, by its differences, of parts from `first` on. */
static void compare_gradient(network *n, const emr_ensemble_batch *b, int first)
{
    emr_ensemble *e = open_network(n, NULL);
    double loss, *gradient = find_gradient(e, b, &loss), largest = 0, worst = 0;
    const double step = 1e-5;
    assert_true(is_near(loss, write_out_loss(n, b), 1e-11));
    for (int part = first; part < (n->has_norm ? PARTS : X_SCALE); part++)
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
        compare_gradient(&n, &s.batch, X_DOWN);
        compare_gradient(&n, &keyed.batch, X_DOWN);
        free_samples(&s);
        free_samples(&keyed);
        free_network(&n);
    }
}

/* Many samples in blocks, wide keys in pieces: the same as the sum of what each gives alone. */
static void sums_do_not_depend_on_blocks(void **state)
{
    network n = make_network((network){300, 9, 270, 259, 10, true, false, false, 20, {NULL}}, 8);
    samples s = make_samples(71, 2, 3, 300, 270, 9);
    emr_ensemble *e = open_network(&n, NULL);
    double loss, *gradient = find_gradient(e, &s.batch, &loss), *sum = calloc(e->n_parameters, sizeof *sum);
    (void)state;
    compare_gradient(&n, &s.batch, X_SCALE);
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
    assert_ok(fit_ensemble_take(&taken, e, &s.batch, true, &error), &error);
    assert_ok(fit_ensemble_pass_create(&pass, e, &taken, false, &error), &error);
    assert_ok(fit_ensemble_find_scores(&pass, &taken, &error), &error);
    for (size_t i = 0; i < 6; i++) {
        double room[2 * 5 + 3];
        fit_ensemble_weigh(pass.scores + 3 * i, 3);
        fit_ensemble_mix_values(EMR_ENSEMBLE_MIX_LOGITS, pass.scores + 3 * i, &taken.batch,
                                ensemble_values(&taken, i), room);
        assert_true(is_close(room, l + 5 * i, 5));
    }
    memcpy(weights, pass.scores, sizeof weights);
    fit_ensemble_pass_destroy(&pass);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_and_mix_are_the_formula), cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(sums_do_not_depend_on_blocks),    cmocka_unit_test(vectors_are_met),
        cmocka_unit_test(sources_have_no_number),          cmocka_unit_test(equal_sources_share_equally),
        cmocka_unit_test(uniform_ensemble_is_the_mean),    cmocka_unit_test(sources_can_be_added),
        cmocka_unit_test(large_logits_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
