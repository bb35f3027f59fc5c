/* test_coefficients.c - learning coefficients: gradients against sums in long double and differences of a loss, however they come in;
 * steps with every map against Adam in long hand; states; and what is refused. What is merged is in test_merging.c. */
#include "models.h"

#include <math.h>

static const char *const float_tensors[] = {"embed.weight",    "layers.0.weight", "layers.0.bias",
                                            "layers.1.weight", "layers.1.bias",   "empty",
                                            "head.weight"};
enum { N_FLOATS = 7 };

/* <gradient, tau> and the sum of magnitudes. */
static double dot_of(const world *w, const char *name, size_t task, const float *gradient, double *scale)
{
    size_t n;
    float *base = all_floats(w->set.base.model, name, &n), *of = all_floats(w->tasks[task], name, &n);
    long double sum = 0;
    *scale = 0;
    for (size_t i = 0; i < n; i++) {
        float tau = of[i] - base[i];
        sum += (long double)gradient[i] * (long double)tau;
        *scale += fabs((double)gradient[i] * (double)tau);
    }
    free(base);
    free(of);
    return (double)sum;
}

static void gradients_are_products_with_task_vectors(void **state)
{
    world w = world_create(1);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options);
    (void)state;
    assert_int_equal(emr_coefficients_n_groups(c), N_FLOATS);
    hand_in_all(c, &w, 5, false);
    hand_in_all(c, &w, 6, true);
    for (size_t i = 0; i < N_FLOATS; i++)
        for (uint32_t t = 0; t < N_TASKS; t++) {
            double wanted = 0, scale, scales = 0;
            for (uint64_t seed = 5; seed < 7; seed++) {
                size_t n;
                float *g = make_gradient(&w, float_tensors[i], seed, &n);
                wanted += dot_of(&w, float_tensors[i], t, g, &scale);
                scales += scale;
                free(g);
            }
            double found = get_coefficient(c, t, group_of(c, float_tensors[i])).gradient;
            if (!(fabs(found - wanted) <= 1e-14 * scales))
                fail_msg("%s, task %u: %.17g, not %.17g", float_tensors[i], t, found, wanted);
        }
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* The order of sums that dots.h defines, in whatever pieces, on whatever threads, in whatever order of tensors. */
static void bits_do_not_depend_on_how_gradients_come(void **state)
{
    static const size_t pieces[] = {1, 255, 256, 257, 16384, 0};
    static const uint32_t threads[] = {1, 2, 7};
    world w = world_create(2);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *whole = open_coefficients(&options);
    (void)state;
    hand_in_all(whole, &w, 5, false);
    for (size_t k = 0; k < 36; k++) {
        emr_pool *pool = test_pool_new(threads[k % 3]);
        emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
        resources.memory_bytes = k < 18 ? 0 : 30000; /* small pieces, a few workers */
        options.resources = &resources;
        emr_coefficients *c = open_coefficients(&options);
        for (size_t i = N_FLOATS; i--;) {
            size_t n;
            float *g = make_gradient(&w, float_tensors[i], 5, &n);
            hand_in(c, float_tensors[i], g, n, pieces[k / 3 % 6]);
            free(g);
        }
        assert_true(same_coefficients(whole, c));
        emr_coefficients_destroy(&c);
        emr_pool_destroy(&pool);
    }
    emr_coefficients_destroy(&whole);
    world_destroy(&w);
}

static void gradients_come_in_any_float(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    world w = world_create(3);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    size_t n;
    (void)state;
    float *g = make_gradient(&w, "layers.0.weight", 1, &n);
    for (size_t k = 0; k < 4; k++) {
        unsigned char *stored = calloc(n + 1, 8);
        float *rounded = calloc(n, sizeof *rounded);
        emr_coefficients *c = open_coefficients(&options), *plain = open_coefficients(&options);
        const size_t bytes = emr_dtype_bits(dtypes[k]) / 8;
        assert_int_equal(emr_convert(dtypes[k], stored + 1, EMR_DTYPE_F32, g, n), EMR_OK); /* not aligned */
        assert_int_equal(emr_convert(EMR_DTYPE_F32, rounded, dtypes[k], stored + 1, n), EMR_OK);
        assert_ok(emr_coefficients_gradient(c, "layers.0.weight", 0, 1001, dtypes[k], stored + 1, &error),
                  &error);
        assert_ok(emr_coefficients_gradient(c, "layers.0.weight", 1001, n - 1001, dtypes[k],
                                            stored + 1 + 1001 * bytes, &error),
                  &error);
        hand_in(plain, "layers.0.weight", rounded, n, n);
        assert_true(same_coefficients(c, plain));
        emr_coefficients_destroy(&c);
        emr_coefficients_destroy(&plain);
        free(stored);
        free(rounded);
    }
    free(g);
    world_destroy(&w);
}

/* L = 1/2 sum of a_i (W_i - b_i)^2 of merged weights, and its gradient. */
static double quadratic(const world *w, const emr_coefficients *c, const char *name, float *gradient)
{
    rng r = {77 + strlen(name)};
    emr_model *model;
    emr_error error;
    size_t n;
    assert_ok(emr_coefficients_open_model(c, &model, &error), &error);
    double *merged = all_doubles(model, name, &n), sum = 0;
    (void)w;
    for (size_t i = 0; i < n; i++) {
        double a = 1 + (double)rng_below(&r, 5), b = (double)rng_normal(&r);
        sum += a * (merged[i] - b) * (merged[i] - b) / 2;
        if (gradient)
            gradient[i] = (float)(a * (merged[i] - b));
    }
    free(merged);
    emr_model_destroy(&model);
    return sum;
}

static const test_tensor doubles[] = {{"a", EMR_DTYPE_F64, 2, {17, 30}}, {"b", EMR_DTYPE_F64, 1, {300}}};

static void gradients_are_those_of_the_loss(void **state)
{
    static const char *const names[] = {"a", "b"};
    world w = world_of(doubles, 2, 4);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    options.scope = EMR_COEFFICIENT_SCOPE_MODEL;
    options.map = EMR_COEFFICIENT_MAP_FREE;
    emr_coefficients *c = open_coefficients(&options);
    (void)state;
    assert_string_equal(emr_coefficients_group(c, 0), "*");
    for (uint32_t t = 0; t < N_TASKS; t++)
        assert_ok(emr_coefficients_set(c, t, 0, 0.1 + 0.2 * t, &error), &error);
    for (size_t i = 0; i < 2; i++) {
        float g[600];
        size_t n = (size_t)emr_tensor_count(emr_model_find_tensor(w.set.base.model, names[i]));
        (void)quadratic(&w, c, names[i], g);
        hand_in(c, names[i], g, n, 100);
    }
    for (uint32_t t = 0; t < N_TASKS; t++) {
        emr_coefficient info = get_coefficient(c, t, 0);
        double loss[2];
        for (int k = 0; k < 2; k++) {
            assert_ok(emr_coefficients_set(c, t, 0, info.raw + (k ? 1e-3 : -1e-3), &error), &error);
            loss[k] = quadratic(&w, c, "a", NULL) + quadratic(&w, c, "b", NULL);
        }
        assert_ok(emr_coefficients_set(c, t, 0, info.raw, &error), &error);
        double slope = (loss[1] - loss[0]) / 2e-3; /* exact of a quadratic */
        if (!(fabs(slope - info.gradient) <= 1e-6 * (1 + fabs(slope))))
            fail_msg("task %u: %.17g, not %.17g", t, info.gradient, slope);
    }
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* Adam and the maps in long hand, of one group. */
typedef struct by_hand {
    double raw[N_TASKS], m[N_TASKS], v[N_TASKS];
    int t;
} by_hand;

static void lambdas_by_hand(emr_coefficient_map map, const by_hand *h, double *lambdas)
{
    double sum = 0;
    for (int t = 0; t < N_TASKS; t++)
        sum += exp(h->raw[t]);
    for (int t = 0; t < N_TASKS; t++)
        lambdas[t] = map == EMR_COEFFICIENT_MAP_SOFTMAX ? exp(h->raw[t]) / sum
                     : map == EMR_COEFFICIENT_MAP_CLAMP ? fmin(fmax(h->raw[t], 0), 1)
                                                        : h->raw[t];
}

static void step_by_hand(emr_coefficient_map map, by_hand *h, const double *gradient)
{
    double lambdas[N_TASKS];
    lambdas_by_hand(map, h, lambdas);
    h->t++;
    for (int t = 0; t < N_TASKS; t++) {
        double g = gradient[t];
        if (map == EMR_COEFFICIENT_MAP_CLAMP && (h->raw[t] < 0 || h->raw[t] > 1))
            g = 0;
        if (map == EMR_COEFFICIENT_MAP_SOFTMAX) { /* its Jacobian, entry by entry */
            g = 0;
            for (int s = 0; s < N_TASKS; s++)
                g += gradient[s] * lambdas[s] * ((s == t) - lambdas[t]);
        }
        h->m[t] = 0.8 * h->m[t] + 0.2 * g;
        h->v[t] = 0.99 * h->v[t] + 0.01 * g * g;
    }
    for (int t = 0; t < N_TASKS; t++) {
        double m = h->m[t] / (1 - pow(0.8, h->t)), v = h->v[t] / (1 - pow(0.99, h->t));
        h->raw[t] -= 0.1 * m / (sqrt(v) + 1e-8);
        if (map == EMR_COEFFICIENT_MAP_PROJECT)
            h->raw[t] = fmin(fmax(h->raw[t], 0), 1);
    }
}

static void maps_are_as_in_long_hand(void **state)
{
    world w = world_create(8);
    emr_adam adam = EMR_INIT(emr_adam);
    emr_error error;
    (void)state;
    adam.lr = 0.1;
    adam.beta1 = 0.8;
    adam.beta2 = 0.99;
    for (emr_coefficient_map map = 0; map <= EMR_COEFFICIENT_MAP_SOFTMAX; map++) {
        emr_coefficients_options options = world_options(&w);
        by_hand h = {{0.3, 0.3, 0.3}, {0}, {0}, 0};
        if (map == EMR_COEFFICIENT_MAP_SOFTMAX)
            h = (by_hand){0};
        options.map = map;
        options.adam = &adam;
        options.scope = EMR_COEFFICIENT_SCOPE_MODEL;
        emr_coefficients *c = open_coefficients(&options);
        for (int step = 0; step < 12; step++) {
            double gradient[N_TASKS], before[N_TASKS], lambdas[N_TASKS], move = 0;
            uint32_t low = 0, high = 0, stuck = 0;
            emr_coefficients_report report = EMR_INIT(emr_coefficients_report);
            hand_in_all(c, &w, (uint64_t)step / 6, false); /* as good as the same direction, then another */
            for (uint32_t t = 0; t < N_TASKS; t++)
                gradient[t] = get_coefficient(c, t, 0).gradient;
            lambdas_by_hand(map, &h, before);
            step_by_hand(map, &h, gradient);
            lambdas_by_hand(map, &h, lambdas);
            assert_ok(emr_coefficients_step(c, &report, &error), &error);
            for (uint32_t t = 0; t < N_TASKS; t++) {
                emr_coefficient info = get_coefficient(c, t, 0);
                bool is_stuck = map == EMR_COEFFICIENT_MAP_CLAMP && (h.raw[t] < 0 || h.raw[t] > 1);
                if (!(fabs(info.raw - h.raw[t]) <= 1e-12) || !(fabs(info.lambda - lambdas[t]) <= 1e-12))
                    fail_msg("map %u, step %d, task %u: %.17g, not %.17g", map, step, t, info.raw, h.raw[t]);
                assert_int_equal(info.is_stuck, is_stuck);
                assert_int_equal(info.n_steps, step + 1);
                assert_true(info.gradient == 0);
                move = fmax(move, fabs(lambdas[t] - before[t]));
                low += lambdas[t] <= 0;
                high += lambdas[t] >= 1;
                stuck += is_stuck;
            }
            assert_true(fabs(report.largest_move - move) <= 1e-12);
            assert_int_equal(report.n_steps, step + 1);
            assert_int_equal(report.n_moved, N_TASKS);
            assert_int_equal(report.n_low, low);
            assert_int_equal(report.n_high, high);
            assert_int_equal(report.n_stuck, stuck);
        }
        emr_coefficients_destroy(&c);
    }
    world_destroy(&w);
}

/* A gradient along the first task's vector of one tensor: its lambda falls; against it, it rises. */
static void push(emr_coefficients *c, const world *w, float sign)
{
    size_t n;
    emr_error error;
    float *base = all_floats(w->set.base.model, "embed.weight", &n),
          *of = all_floats(w->tasks[0], "embed.weight", &n);
    for (size_t i = 0; i < n; i++)
        of[i] = sign * (of[i] - base[i]);
    hand_in(c, "embed.weight", of, n, n);
    assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    free(base);
    free(of);
}

static void clamped_coefficients_never_return_and_projected_ones_do(void **state)
{
    world w = world_create(9);
    emr_adam adam = EMR_INIT(emr_adam);
    (void)state;
    adam.lr = 0.05;
    for (emr_coefficient_map map = 0; map <= EMR_COEFFICIENT_MAP_PROJECT; map++) {
        emr_coefficients_options options = world_options(&w);
        options.map = map;
        options.adam = &adam;
        emr_coefficients *c = open_coefficients(&options);
        uint32_t group = group_of(c, "embed.weight");
        for (int i = 0; i < 12; i++)
            push(c, &w, 1);
        emr_coefficient out = get_coefficient(c, 0, group);
        for (int i = 0; i < 40; i++)
            push(c, &w, -1);
        emr_coefficient back = get_coefficient(c, 0, group);
        if (map == EMR_COEFFICIENT_MAP_CLAMP) {
            assert_true(out.is_stuck && back.is_stuck && out.lambda == 0 && back.lambda == 0 &&
                        back.raw < out.raw);
        } else {
            assert_true(!back.is_stuck && back.lambda > 0.1);
            assert_true(map == EMR_COEFFICIENT_MAP_FREE ? out.lambda < 0 : out.lambda == 0);
        }
        emr_coefficients_destroy(&c);
    }
    world_destroy(&w);
}

/* No gradient: passed over. A gradient of zero: moved on by its momentum. */
static void no_gradient_is_not_a_gradient_of_zero(void **state)
{
    world w = world_create(10);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options);
    emr_coefficients_report report = EMR_INIT(emr_coefficients_report);
    emr_error error;
    size_t n;
    (void)state;
    hand_in_all(c, &w, 1, false);
    assert_ok(emr_coefficients_step(c, &report, &error), &error);
    assert_int_equal(report.n_moved, N_FLOATS * N_TASKS);
    uint32_t zero = group_of(c, "embed.weight"), none = group_of(c, "head.weight");
    emr_coefficient before[2] = {get_coefficient(c, 0, zero), get_coefficient(c, 0, none)};
    float *g = make_gradient(&w, "embed.weight", 1, &n);
    memset(g, 0, n * sizeof *g);
    hand_in(c, "embed.weight", g, n, n);
    assert_ok(emr_coefficients_step(c, &report, &error), &error);
    assert_int_equal(report.n_moved, N_TASKS);
    assert_int_equal(report.n_steps, 2);
    emr_coefficient after[2] = {get_coefficient(c, 0, zero), get_coefficient(c, 0, none)};
    assert_true(after[0].raw != before[0].raw && after[0].n_steps == 2);
    assert_true(after[1].raw == before[1].raw && after[1].n_steps == 1);
    free(g);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

static void groups_are_by_patterns_and_scope(void **state)
{
    static const char *const groups[] = {"*.bias", "embed.*"}, *const fixed[] = {"layers.1.weight"},
                             *const exclude[] = {"head.*"};
    world w = world_create(11);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    uint32_t group;
    (void)state;
    options.groups = groups;
    options.n_groups = 2;
    options.fixed = fixed;
    options.n_fixed = 1;
    options.exclude = exclude;
    options.n_exclude = 1;
    options.scope = EMR_COEFFICIENT_SCOPE_LAYER;
    options.initial = 0.5;
    emr_coefficients *c = open_coefficients(&options);
    static const char *const wanted[] = {"embed.*", "layer 0", "*.bias", "layers.1.weight", "no layer"};
    assert_int_equal(emr_coefficients_n_groups(c), 5);
    assert_int_equal(emr_coefficients_n_tasks(c), N_TASKS);
    for (uint32_t g = 0; g < 5; g++) {
        assert_string_equal(emr_coefficients_group(c, g), wanted[g]);
        assert_int_equal(get_coefficient(c, 1, g).is_fixed, g == 3);
    }
    assert_null(emr_coefficients_group(c, 5));
    assert_int_equal(group_of(c, "layers.0.bias"), group_of(c, "layers.1.bias"));
    assert_int_equal(emr_coefficients_find_group(c, "head.weight", &group, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_coefficients_find_group(c, "steps", &group, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_coefficients_find_group(c, "nothing", &group, &error), EMR_ENOTFOUND);
    hand_in_all(c, &w, 1, false); /* those that are fixed or excluded are passed over */
    assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    for (uint32_t g = 0; g < 5; g++)
        assert_int_equal(get_coefficient(c, 0, g).n_steps, g != 3);
    assert_true(get_coefficient(c, 0, 3).raw == 0.5 && get_coefficient(c, 0, 0).raw != 0.5);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

static emr_status hand_in_one(emr_coefficients *c, const char *name, size_t n, float value, emr_error *error)
{
    float *g = calloc(n, sizeof *g);
    for (size_t i = 0; i < n; i++)
        g[i] = i == n / 2 ? value : 1;
    emr_status status = emr_coefficients_gradient(c, name, 0, n, EMR_DTYPE_F32, g, error);
    free(g);
    return status;
}

static void steps_without_finite_gradients_change_nothing(void **state)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    world w = world_create(12);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options), *before = open_coefficients(&options);
    emr_error error;
    (void)state;
    for (int k = 0; k < 3; k++) {
        assert_ok(hand_in_one(c, "embed.weight", 700, 1, &error), &error);
        assert_int_equal(hand_in_one(c, "layers.0.weight", 33800, bad[k], &error), EMR_ENONFINITE);
        assert_true(test_span_is(&error, error.tensor, "layers.0.weight"));
        assert_non_null(strstr(error.text, "16900"));
        assert_int_equal(hand_in_one(c, "head.weight", 15, 1, &error), EMR_ENONFINITE);
        assert_int_equal(emr_coefficients_step(c, NULL, &error), EMR_ENONFINITE);
        assert_true(same_coefficients(c, before));
        assert_int_equal(emr_coefficients_step(c, NULL, &error), EMR_ESTATE); /* all were forgotten */
    }
    assert_int_equal(hand_in_one(c, "layers.0.weight", 33800, NAN, &error), EMR_ENONFINITE);
    emr_coefficients_clear(c);
    assert_ok(hand_in_one(c, "head.weight", 15, 1, &error), &error);
    assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    emr_coefficients_destroy(&c);
    float *embed = (float *)(void *)w.set.tasks[1].data[0];
    embed[5] = INFINITY;
    c = open_coefficients(&options);
    assert_int_equal(hand_in_one(c, "embed.weight", 700, 1, &error), EMR_ENONFINITE);
    assert_true(test_span_is(&error, error.task, "digits") &&
                test_span_is(&error, error.tensor, "embed.weight"));
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&before);
    world_destroy(&w);
}

static void gradients_come_in_order(void **state)
{
    world w = world_create(13);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options);
    emr_error error;
    float g[700] = {1};
    (void)state;
    assert_int_equal(emr_coefficients_step(c, NULL, &error), EMR_ESTATE);
    assert_int_equal(emr_coefficients_gradient(c, "nothing", 0, 1, EMR_DTYPE_F32, g, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_coefficients_gradient(c, "embed.weight", 1, 1, EMR_DTYPE_F32, g, &error),
                     EMR_EINVAL);
    assert_int_equal(emr_coefficients_gradient(c, "embed.weight", 0, 701, EMR_DTYPE_F32, g, &error),
                     EMR_EINVAL);
    assert_int_equal(emr_coefficients_gradient(c, "embed.weight", 0, 1, EMR_DTYPE_I64, g, &error),
                     EMR_EINVAL);
    assert_int_equal(emr_coefficients_gradient(c, "embed.weight", 0, 1, EMR_DTYPE_F32, NULL, &error),
                     EMR_EINVAL);
    assert_int_equal(emr_coefficients_step(c, NULL, &error), EMR_ESTATE); /* nothing of that counts */
    assert_ok(emr_coefficients_gradient(c, "steps", 0, 1, EMR_DTYPE_F32, g, &error), &error);
    assert_ok(emr_coefficients_gradient(c, "embed.weight", 0, 300, EMR_DTYPE_F32, g, &error), &error);
    assert_int_equal(emr_coefficients_gradient(c, "head.weight", 0, 15, EMR_DTYPE_F32, g, &error),
                     EMR_EINVAL);
    assert_non_null(strstr(error.text, "embed.weight"));
    assert_int_equal(emr_coefficients_gradient(c, "embed.weight", 0, 300, EMR_DTYPE_F32, g, &error),
                     EMR_EINVAL);
    assert_non_null(strstr(error.text, "300"));
    assert_int_equal(emr_coefficients_gradient(c, "embed.weight", 300, 400, EMR_DTYPE_BF16, g, &error),
                     EMR_EINVAL);
    assert_ok(emr_coefficients_gradient(c, "embed.weight", 300, 399, EMR_DTYPE_F32, g, &error), &error);
    assert_int_equal(emr_coefficients_step(c, NULL, &error), EMR_ESTATE);
    assert_non_null(strstr(error.text, "699"));
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* Steps from `first` on. */
static void go_on(emr_coefficients *c, const world *w, uint64_t first, uint64_t end)
{
    emr_error error;
    for (uint64_t step = first; step < end; step++) {
        if (step % 3)
            hand_in_all(c, w, step, false);
        else
            push(c, w, 1);
        if (step % 3)
            assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    }
}

static void states_go_on_to_the_bit(void **state)
{
    world w = world_create(14);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    char *directory = test_directory_make(), *path = test_path(directory, "lambda.safetensors");
    emr_model *saved, *opened;
    (void)state;
    options.map = EMR_COEFFICIENT_MAP_FREE;
    emr_coefficients *c = open_coefficients(&options), *again = open_coefficients(&options);
    go_on(c, &w, 0, 5);
    assert_ok(emr_coefficients_open_state(c, &saved, &error), &error);
    go_on(c, &w, 5, 6);
    assert_ok(emr_checkpoint_write(saved, path, NULL, &error), &error);
    emr_model_destroy(&saved);
    go_on(c, &w, 6, 10);
    assert_ok(emr_checkpoint_open(&opened, path, NULL, &error), &error);
    assert_string_equal(emr_model_find_metadata(opened, "emr.kind"), "coefficients");
    assert_string_equal(emr_model_find_metadata(opened, "emr.map"), "free");
    assert_string_equal(emr_model_find_metadata(opened, "emr.steps"), "5");
    hand_in_all(again, &w, 99, false); /* is forgotten */
    assert_ok(emr_coefficients_set_state(again, opened, &error), &error);
    go_on(again, &w, 5, 10);
    assert_true(same_coefficients(c, again));
    emr_coefficients_destroy(&again);

    const emr_model *turned[N_TASKS];
    const char *names[N_TASKS];
    for (uint32_t t = 0; t < N_TASKS; t++) {
        turned[t] = w.tasks[(t + 1) % N_TASKS];
        names[t] = w.names[(t + 1) % N_TASKS];
    }
    options.tasks = turned;
    options.names = names;
    again = open_coefficients(&options);
    assert_ok(emr_coefficients_set_state(again, opened, &error), &error);
    go_on(again, &w, 5, 10);
    for (uint32_t t = 0; t < N_TASKS; t++)
        for (uint32_t g = 0; g < N_FLOATS; g++) {
            emr_coefficient x = get_coefficient(again, t, g), y = get_coefficient(c, (t + 1) % N_TASKS, g);
            assert_memory_equal(&x, &y, sizeof x);
        }
    emr_model_destroy(&opened);
    emr_coefficients_destroy(&again);
    emr_coefficients_destroy(&c);
    test_directory_remove(directory);
    free(path);
    world_destroy(&w);
}

/* The state of a handle with one thing changed. */
static emr_status set_broken(const emr_coefficients *from, emr_coefficients *to, const char *key,
                             const char *value, emr_error *error)
{
    emr_model *model;
    assert_ok(emr_coefficients_open_state(from, &model, error), error);
    if (value)
        assert_ok(emr_model_set_metadata(model, key, value, error), error);
    else if (key)
        assert_int_equal(emr_model_remove_metadata(model, key), EMR_OK);
    emr_status status = emr_coefficients_set_state(to, model, error);
    emr_model_destroy(&model);
    return status;
}

static void states_of_others_are_refused(void **state)
{
    world w = world_create(15);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options), *before = open_coefficients(&options);
    emr_error error;
    (void)state;
    go_on(c, &w, 0, 2);
    assert_int_equal(set_broken(c, before, "emr.kind", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.kind", "adapters", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.map", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.map", "none", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.map", "free", &error), EMR_EMISMATCH);
    assert_int_equal(set_broken(c, before, "emr.steps", "", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.steps", "-1", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.steps", "99999999999999999999999999", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.steps", "1", &error), EMR_EFORMAT); /* fewer than of one */
    assert_int_equal(set_broken(c, before, "emr.keep", "x", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.keep", "0.2", &error), EMR_EMISMATCH);
    assert_int_equal(set_broken(c, before, "emr.tasks", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "{}", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[1, 2, 3]", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[\"cars\", \"cars\", \"digits\"]", &error),
                     EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[\"cars\", \"digits\"]", &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "no task 'signs "));
    options.names = (const char *const[]){"cars", "digits", "trees"};
    emr_coefficients *other = open_coefficients(&options);
    assert_int_equal(set_broken(c, other, NULL, NULL, &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "a task 'signs "));
    emr_coefficients_destroy(&other);
    options = world_options(&w);
    options.keep = 0.2;
    other = open_coefficients(&options);
    assert_int_equal(set_broken(c, other, NULL, NULL, &error), EMR_EMISMATCH);
    assert_ok(set_broken(other, other, NULL, NULL, &error), &error);
    emr_coefficients_destroy(&other);
    options = world_options(&w);
    options.scope = EMR_COEFFICIENT_SCOPE_MODEL;
    other = open_coefficients(&options);
    assert_int_equal(set_broken(c, other, NULL, NULL, &error), EMR_EMISMATCH);
    assert_int_equal(set_broken(other, c, NULL, NULL, &error), EMR_EMISMATCH);
    emr_coefficients_destroy(&other);
    assert_int_equal(emr_coefficients_set_state(before, w.set.base.model, &error), EMR_EFORMAT);
    assert_true(get_coefficient(before, 0, 0).n_steps == 0 && get_coefficient(before, 0, 0).raw == 0.3);
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&before);
    world_destroy(&w);
}

/* In a state of tensors `from`, one goes to another group, is left out or comes in. */
static void states_of_other_members_are_refused(void **state)
{
    static const char *const heads[] = {"head.*"};
    world w = world_create(15);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    (void)state;
    options.scope = EMR_COEFFICIENT_SCOPE_LAYER;
    emr_coefficients *c = open_coefficients(&options);
    options.exclude = heads;
    options.n_exclude = 1;
    emr_coefficients *fewer = open_coefficients(&options);
    assert_int_equal(emr_coefficients_n_groups(c), emr_coefficients_n_groups(fewer)); /* of the same names */
    assert_int_equal(set_broken(c, fewer, NULL, NULL, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "head.weight"));
    assert_int_equal(set_broken(fewer, c, NULL, NULL, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "head.weight"));
    static const struct {
        const char *tensors;
        emr_status status;
        const char *tensor;
    } all[] = {
        {"{'embed.weight':0,'layers.0.weight':1,'layers.0.bias':1,'layers.1.weight':2,'layers.1.bias':1,"
         "'empty':0}",
         EMR_EMISMATCH, "layers.1.bias"},
        {"{'embed.weight':0,'layers.0.weight':1,'layers.0.bias':3,'layers.1.weight':2,'layers.1.bias':2,"
         "'empty':0}",
         EMR_EFORMAT, "layers.0.bias"},
        {"{'embed.weight':-1}", EMR_EFORMAT, "embed.weight"},
        {"{'embed.weight':'no layer'}", EMR_EFORMAT, "embed.weight"},
        {"[]", EMR_EFORMAT, NULL},
        {NULL, EMR_EFORMAT, NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[300] = "";
        for (size_t k = 0; all[i].tensors && all[i].tensors[k]; k++)
            text[k] = all[i].tensors[k] == '\'' ? '"' : all[i].tensors[k];
        assert_int_equal(set_broken(fewer, fewer, "emr.tensors", all[i].tensors ? text : NULL, &error),
                         all[i].status);
        assert_true(!all[i].tensor || test_span_is(&error, error.tensor, all[i].tensor));
    }
    assert_int_equal(set_broken(c, c, "emr.fixed", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, c, "emr.fixed", "[3]", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, c, "emr.groups", "[\"a\", \"a\", \"b\"]", &error), EMR_EFORMAT);
    assert_ok(set_broken(c, c, NULL, NULL, &error), &error);
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&fewer);
    world_destroy(&w);
}

/* What a state says is enough: groups, what is fixed or left out, map, keep, and the numbers. */
static void a_state_opens_by_itself(void **state)
{
    static const char *const groups[] = {"*.bias", "embed.*"}, *const fixed[] = {"layers.1.weight"},
                             *const exclude[] = {"head.*"};
    world w = world_create(19);
    emr_error error;
    uint32_t group;
    (void)state;
    for (emr_coefficient_map map = 0; map <= EMR_COEFFICIENT_MAP_SOFTMAX; map++) {
        emr_coefficients_options options = world_options(&w);
        emr_model *saved;
        options.groups = groups;
        options.n_groups = 2;
        options.fixed = fixed;
        options.n_fixed = 1;
        options.exclude = exclude;
        options.n_exclude = 1;
        options.scope = map % 2 ? EMR_COEFFICIENT_SCOPE_LAYER : EMR_COEFFICIENT_SCOPE_TENSOR;
        options.map = map;
        options.keep = map % 2 ? 0.3 : 0;
        emr_coefficients *c = open_coefficients(&options);
        hand_in_all(c, &w, 1, false);
        assert_ok(emr_coefficients_step(c, NULL, &error), &error);
        assert_ok(emr_coefficients_open_state(c, &saved, &error), &error);
        options = world_options(&w);
        options.state = saved;
        emr_coefficients *again = open_coefficients(&options);
        emr_model_destroy(&saved);
        assert_int_equal(emr_coefficients_n_groups(again), emr_coefficients_n_groups(c));
        for (uint32_t g = 0; g < emr_coefficients_n_groups(c); g++)
            assert_string_equal(emr_coefficients_group(again, g), emr_coefficients_group(c, g));
        for (size_t i = 0; i < N_FLOATS - 1; i++)
            assert_int_equal(group_of(again, float_tensors[i]), group_of(c, float_tensors[i]));
        assert_int_equal(emr_coefficients_find_group(again, "head.weight", &group, &error), EMR_ENOTFOUND);
        for (uint64_t step = 2; step < 4; step++) {
            assert_true(same_coefficients(c, again));
            hand_in_all(c, &w, step, false);
            hand_in_all(again, &w, step, true);
            assert_ok(emr_coefficients_step(c, NULL, &error), &error);
            assert_ok(emr_coefficients_step(again, NULL, &error), &error);
        }
        emr_coefficients_destroy(&c);
        emr_coefficients_destroy(&again);
    }
    world_destroy(&w);
}

static emr_status try_create(const emr_coefficients_options *options, emr_error *error)
{
    emr_coefficients *c = NULL;
    emr_status status = emr_coefficients_create(&c, options, error);
    assert_true(!status == (c != NULL));
    emr_coefficients_destroy(&c);
    return status;
}

static void what_cannot_be_is_refused(void **state)
{
    static const char *const nothing[] = {"nothing*"}, *const all[] = {"*", "*"},
                             *const twice[] = {"a", "b", "a"}, *const latin[] = {"[!\xe9]*", "b", "c"};
    world w = world_create(16), other = world_of(doubles, 2, 1);
    const emr_model *mixed[N_TASKS] = {w.tasks[0], other.tasks[0], w.tasks[2]};
    emr_adam adam = EMR_INIT(emr_adam);
    emr_error error;
    (void)state;
#define TRY(status, ...)                                                                                     \
    do {                                                                                                     \
        emr_coefficients_options o = world_options(&w);                                                      \
        __VA_ARGS__;                                                                                         \
        assert_int_equal(try_create(&o, &error), status);                                                    \
    } while (0)
    TRY(EMR_OK, o.size = o.size);
    TRY(EMR_EINVAL, o.size = 8);
    TRY(EMR_EINVAL, o.base = NULL);
    TRY(EMR_EINVAL, o.tasks = NULL);
    TRY(EMR_EINVAL, o.names = NULL);
    TRY(EMR_EINVAL, o.n_tasks = 0);
    TRY(EMR_EEXIST, o.names = twice);
    assert_true(test_span_is(&error, error.task, "a"));
    TRY(EMR_EINVAL, o.names = latin); /* it could not be saved */
    TRY(EMR_EINVAL, o.groups = latin, o.n_groups = 1);
    assert_non_null(strstr(error.text, "UTF-8"));
    TRY(EMR_EINVAL, o.scope = 3);
    TRY(EMR_EINVAL, o.map = 4);
    TRY(EMR_EINVAL, o.keep = -0.1);
    TRY(EMR_EINVAL, o.keep = 1.1);
    TRY(EMR_EINVAL, o.keep = NAN);
    TRY(EMR_EINVAL, o.initial = INFINITY);
    TRY(EMR_EINVAL, o.initial = 1.5, o.map = EMR_COEFFICIENT_MAP_PROJECT);
    TRY(EMR_OK, o.initial = 1.5, o.map = EMR_COEFFICIENT_MAP_FREE);
    TRY(EMR_EINVAL, o.n_groups = 1);
    TRY(EMR_EINVAL, o.groups = nothing, o.n_groups = 1);
    assert_non_null(strstr(error.text, "nothing*"));
    TRY(EMR_EINVAL, o.groups = all, o.n_groups = 2);
    TRY(EMR_EINVAL, o.fixed = nothing, o.n_fixed = 1);
    TRY(EMR_EINVAL, o.exclude = nothing, o.n_exclude = 1);
    TRY(EMR_EINVAL, o.exclude = all, o.n_exclude = 1);
    TRY(EMR_EMISMATCH, o.tasks = mixed);
    assert_true(test_span_is(&error, error.task, "digits") &&
                test_span_is(&error, error.tensor, "embed.weight"));
    TRY(EMR_EINVAL, o.adam = &adam, adam.lr = -1);
    adam.lr = 0;
    emr_model *saved;
    emr_coefficients_options plain = world_options(&w);
    emr_coefficients *learned = open_coefficients(&plain);
    assert_ok(emr_coefficients_open_state(learned, &saved, &error), &error);
    emr_coefficients_destroy(&learned);
    TRY(EMR_OK, o.state = saved);
    TRY(EMR_EINVAL, o.state = saved, o.keep = 0.2);
    TRY(EMR_EINVAL, o.state = saved, o.scope = EMR_COEFFICIENT_SCOPE_MODEL);
    TRY(EMR_EINVAL, o.state = saved, o.map = EMR_COEFFICIENT_MAP_FREE);
    TRY(EMR_EINVAL, o.state = saved, o.initial = 0.2);
    TRY(EMR_EINVAL, o.state = saved, o.use_initial = 1);
    TRY(EMR_EINVAL, o.state = saved, o.groups = all, o.n_groups = 1);
    TRY(EMR_EINVAL, o.state = saved, o.fixed = all, o.n_fixed = 1);
    TRY(EMR_EINVAL, o.state = saved, o.exclude = nothing, o.n_exclude = 1);
    TRY(EMR_EFORMAT, o.state = w.set.base.model);
    TRY(EMR_EMISMATCH, o.state = saved, o.n_tasks = 2);
    assert_non_null(strstr(error.text, "a task 'signs "));
    TRY(EMR_EMISMATCH, o.state = saved, o.base = other.set.base.model, o.tasks = other.tasks);
    assert_true(test_span_is(&error, error.tensor, "embed.weight"));
    assert_ok(emr_model_set_metadata(saved, "emr.groups", "[\"a\"]", &error), &error);
    TRY(EMR_EFORMAT, o.state = saved);
    assert_ok(emr_model_set_metadata(saved, "emr.tensors", "{}", &error), &error);
    TRY(EMR_EFORMAT, o.state = saved);
    emr_model_destroy(&saved);
    emr_coefficients_options o = world_options(&w);
    emr_resources resources = test_resources(NULL, NULL);
    o.resources = &resources;
    resources.memory_bytes = 1000;
    assert_int_equal(try_create(&o, &error), EMR_ELIMIT);
    char *number = strpbrk(error.text, "123456789");
    number = strstr(number, "take ");
    assert_non_null(number);
    resources.memory_bytes = strtoull(number + 5, NULL, 10) - 1;
    assert_int_equal(try_create(&o, &error), EMR_ELIMIT);
    resources.memory_bytes++;
    assert_ok(try_create(&o, &error), &error);

    emr_coefficient info = EMR_INIT(emr_coefficient);
    o.map = EMR_COEFFICIENT_MAP_PROJECT;
    emr_coefficients *c = open_coefficients(&o);
    assert_int_equal(emr_coefficients_get(c, N_TASKS, 0, &info), EMR_ENOTFOUND);
    assert_int_equal(emr_coefficients_get(c, 0, N_FLOATS, &info), EMR_ENOTFOUND);
    info.size = 0;
    assert_int_equal(emr_coefficients_get(c, 0, 0, &info), EMR_EINVAL);
    assert_int_equal(emr_coefficients_set(c, 0, N_FLOATS, 0, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_coefficients_set(c, 0, 0, NAN, &error), EMR_EINVAL);
    assert_int_equal(emr_coefficients_set(c, 0, 0, 1.1, &error), EMR_EINVAL);
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(NULL);
    world_destroy(&w);
    world_destroy(&other);
}

/* Like a task's model, but one tensor is read by an io that breaks. */
static emr_model *broken_model(const test_set *set, size_t task, const test_tensor *all, size_t n,
                               size_t broken, const emr_io *io)
{
    emr_model *model = test_model_new("lost.safetensors");
    emr_error error;
    for (size_t i = 0; i < n; i++) {
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = all[i].name;
        d.dtype = all[i].dtype;
        d.rank = all[i].rank;
        d.shape = all[i].shape;
        d.data = i == broken ? NULL : set->tasks[task].data[i];
        d.io = i == broken ? io : NULL;
        assert_ok(emr_model_add(model, &d, &error), &error);
    }
    return model;
}

static void assert_says_lost(const emr_error *error, const char *task, const char *tensor)
{
    assert_int_equal(error->status, EMR_EIO);
    assert_true(test_span_is(error, error->task, task) && test_span_is(error, error->tensor, tensor) &&
                test_span_is(error, error->file, "lost.safetensors"));
    assert_non_null(strstr(error->text, "the connection was lost"));
    assert_int_equal(error->system, 104);
}

/* The k-th read fails, for every k: of a gradient's call, then of one that writes weights. */
static void fail_each_read(emr_coefficients *c, emr_coefficients *whole, const world *w, test_io *io,
                           const test_tensor *tensor)
{
    emr_error error;
    size_t n, k = 0;
    float *g = make_gradient(w, tensor->name, 5, &n);
    emr_status status = EMR_EIO;
    for (; status; k++) {
        io->reads = 0;
        io->fail_read = k;
        status = emr_coefficients_gradient(c, tensor->name, 0, n, EMR_DTYPE_F32, g, &error);
        if (!status)
            break;
        assert_says_lost(&error, w->names[1], tensor->name);
        assert_int_equal(emr_coefficients_step(c, NULL, &error), EMR_EIO);
        assert_true(same_coefficients(c, whole));
    }
    assert_true(k > 0);
    hand_in(whole, tensor->name, g, n, n);
    assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    assert_ok(emr_coefficients_step(whole, NULL, &error), &error);
    assert_true(same_coefficients(c, whole));
    float *found = calloc(n, sizeof *found), *wanted = calloc(n, sizeof *wanted);
    emr_weights weights = {.size = sizeof weights, .name = tensor->name, .dtype = EMR_DTYPE_F32};
    for (k = 0, status = EMR_EIO; status; k++) {
        io->reads = 0;
        io->fail_read = k;
        weights.data = found;
        status = emr_coefficients_apply(c, &weights, 1, &error);
        if (status)
            assert_says_lost(&error, w->names[1], tensor->name);
    }
    assert_true(k > 1);
    weights.data = wanted;
    assert_ok(emr_coefficients_apply(whole, &weights, 1, &error), &error);
    assert_memory_equal(found, wanted, n * sizeof *found);
    free(found);
    free(wanted);
    free(g);
}

static void tasks_that_cannot_be_read_are_named(void **state)
{
    static const test_tensor all[] = {{"narrow", EMR_DTYPE_BF16, 2, {130, 260}},
                                      {"plain", EMR_DTYPE_F32, 1, {50000}},
                                      {"wide", EMR_DTYPE_F64, 1, {20000}}};
    enum { N = 3 };
    static const uint32_t threads[] = {1, 3};
    (void)state;
    for (size_t i = 0; i < 2 * N; i++) {
        const size_t at = i % N;
        world w = world_of(all, N, 20 + i);
        emr_buffer *file = test_buffer_of(
            w.set.tasks[1].data[at], (size_t)emr_tensor_bytes(emr_model_tensor(w.tasks[1], (uint32_t)at)));
        test_io broken = {.inner = *emr_buffer_io(file), .why = "the connection was lost", .system = 104};
        const emr_io io = test_io_make(&broken);
        emr_pool *pool = test_pool_new(threads[i / N]);
        emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
        emr_coefficients_options options = world_options(&w);
        options.resources = &resources;
        options.map = EMR_COEFFICIENT_MAP_FREE;
        emr_coefficients *whole = open_coefficients(&options);
        emr_model *lost = broken_model(&w.set, 1, all, N, at, &io);
        const emr_model *tasks[N_TASKS] = {w.tasks[0], lost, w.tasks[2]};
        options.tasks = tasks;
        broken.fail_write = SIZE_MAX;
        emr_coefficients *c = open_coefficients(&options);
        fail_each_read(c, whole, &w, &broken, &all[at]);
        emr_coefficients_destroy(&c);
        emr_coefficients_destroy(&whole);
        emr_model_destroy(&lost);
        emr_pool_destroy(&pool);
        emr_buffer_destroy(&file);
        world_destroy(&w);
    }
}

/* Every request of memory fails once, in all calls. */
static void nothing_leaks_without_memory(void **state)
{
    world w = world_create(17);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_coefficients_options options = world_options(&w);
        emr_coefficients *c = NULL;
        emr_model *merged = NULL, *saved = NULL;
        emr_error error;
        options.resources = &resources;
        options.keep = 0.2;
        status = emr_coefficients_create(&c, &options, &error);
        if (!status)
            status = hand_in_one(c, "embed.weight", 700, 1, &error);
        if (!status)
            status = emr_coefficients_step(c, NULL, &error);
        if (!status)
            status = emr_coefficients_open_model(c, &merged, &error);
        if (!status)
            status = emr_coefficients_open_state(c, &saved, &error);
        if (!status)
            status = emr_coefficients_set_state(c, saved, &error);
        emr_coefficients_destroy(&c);
        options.keep = 0;
        options.state = saved;
        if (!status)
            status = emr_coefficients_create(&c, &options, &error);
        emr_model_destroy(&saved);
        emr_coefficients_destroy(&c);
        emr_model_destroy(&merged);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
    world_destroy(&w);
}

/* Working memory is what it is said to be, whatever the tensors' sizes; what the coefficients take comes on top. */
static void memory_is_bounded(void **state)
{
    static const test_tensor large[] = {{"a", EMR_DTYPE_F32, 2, {1000, 1000}},
                                        {"b", EMR_DTYPE_BF16, 1, {300000}}};
    world w = world_of(large, 2, 18);
    test_meter meter = {0, 0};
    const emr_allocator allocator = test_meter_make(&meter);
    emr_pool *pool = test_pool_new(4);
    emr_resources resources = test_resources(&allocator, emr_pool_executor(pool));
    emr_coefficients_options options = world_options(&w);
    (void)state;
    resources.memory_bytes = 200000;
    options.resources = &resources;
    emr_coefficients *c = open_coefficients(&options);
    hand_in_all(c, &w, 1, false);
    assert_in_range(meter.peak, 1, 200000 + 8000);
    emr_coefficients_destroy(&c);
    emr_pool_destroy(&pool);
    world_destroy(&w);
}

/* Of what takes most, the quantiles, and not of what is looked at first. */
static void what_would_do_does(void **state)
{
    world w = world_create(19);
    emr_resources resources = test_resources(NULL, NULL);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    (void)state;
    options.resources = &resources;
    options.keep = 0.2;
    resources.memory_bytes = 1;
    assert_int_equal(try_create(&options, &error), EMR_ELIMIT);
    const char *number = strstr(error.text, "tasks, ");
    assert_non_null(number);
    resources.memory_bytes = strtoull(number + 7, NULL, 10) - 1;
    assert_int_equal(try_create(&options, &error), EMR_ELIMIT);
    resources.memory_bytes++;
    assert_ok(try_create(&options, &error), &error);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_products_with_task_vectors),
        cmocka_unit_test(bits_do_not_depend_on_how_gradients_come),
        cmocka_unit_test(gradients_come_in_any_float),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(maps_are_as_in_long_hand),
        cmocka_unit_test(clamped_coefficients_never_return_and_projected_ones_do),
        cmocka_unit_test(no_gradient_is_not_a_gradient_of_zero),
        cmocka_unit_test(groups_are_by_patterns_and_scope),
        cmocka_unit_test(steps_without_finite_gradients_change_nothing),
        cmocka_unit_test(gradients_come_in_order),
        cmocka_unit_test(states_go_on_to_the_bit),
        cmocka_unit_test(states_of_others_are_refused),
        cmocka_unit_test(states_of_other_members_are_refused),
        cmocka_unit_test(a_state_opens_by_itself),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(tasks_that_cannot_be_read_are_named),
        cmocka_unit_test(nothing_leaks_without_memory),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(what_would_do_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
