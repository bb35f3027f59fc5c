/* test_match.c - assignments are the best ones; matching undoes a permutation that was planted; what is refused. */
#include "networks.h"

#include <emr/fit/zip.h>

#include <math.h>

/* The best sum over all permutations of the columns from `row` on. */
static double best_sum(const double *similarity, size_t n, size_t row, unsigned used)
{
    double best = row == n ? 0 : -INFINITY;
    for (size_t j = 0; row < n && j < n; j++)
        if (!(used & (1U << j)))
            best = fmax(best, similarity[row * n + j] + best_sum(similarity, n, row + 1, used | (1U << j)));
    return best;
}

static double assigned_sum(const double *similarity, size_t n)
{
    uint32_t columns[64];
    bool used[64] = {false};
    double sum = 0;
    emr_error error;
    assert_ok(emr_assign(similarity, n, columns, NULL, &error), &error);
    for (size_t i = 0; i < n; i++) {
        assert_true(columns[i] < n && !used[columns[i]]);
        used[columns[i]] = true;
        sum += similarity[i * n + columns[i]];
    }
    return sum;
}

static void assignments_are_the_best(void **state)
{
    rng r = {3};
    double similarity[64];
    (void)state;
    for (int trial = 0; trial < 400; trial++) {
        size_t n = (size_t)rng_below(&r, 8);
        for (size_t i = 0; i < n * n; i++) /* with many ties, and of any sign */
            similarity[i] = trial % 2 ? (double)rng_normal(&r) : (double)rng_below(&r, 4) - 2;
        assert_true(fabs(assigned_sum(similarity, n) - best_sum(similarity, n, 0, 0)) < 1e-12);
    }
    similarity[1] = NAN;
    emr_error error;
    uint32_t columns[2];
    assert_int_equal(emr_assign(similarity, 2, columns, NULL, &error), EMR_ENONFINITE);
    similarity[0] = similarity[3] = 1e308;
    similarity[1] = similarity[2] = -1e308;
    assert_int_equal(emr_assign(similarity, 2, columns, NULL, &error), EMR_ENONFINITE);
    assert_ok(emr_assign(NULL, 0, NULL, NULL, &error), &error);
}

/* What is added to a row or a column does not change which assignment is best: larger ones, too. */
static void constants_do_not_matter(void **state)
{
    enum { N = 60 };
    static double one[N * N], other[N * N];
    uint32_t first[N], second[N];
    double rows[N], columns[N];
    rng r = {4};
    emr_error error;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        rows[i] = 100 * (double)rng_normal(&r);
        columns[i] = 100 * (double)rng_normal(&r);
    }
    for (size_t i = 0; i < N * N; i++) {
        one[i] = (double)rng_normal(&r);
        other[i] = one[i] + rows[i / N] + columns[i % N];
    }
    assert_ok(emr_assign(one, N, first, NULL, &error), &error);
    assert_ok(emr_assign(other, N, second, NULL, &error), &error);
    assert_memory_equal(first, second, sizeof first);
}

/* Products of row and column: all rows want the same columns, which takes paths through all of them, or an auction. The best order is
 * that of the rows, or where products are costs the reverse. */
static void rows_that_all_want_the_same_are_assigned(void **state)
{
    enum { N = 300 };
    static double similarity[N * N];
    uint32_t columns[N];
    emr_error error;
    (void)state;
    for (int is_cost = 0; is_cost < 2; is_cost++) {
        for (size_t i = 0; i < N * N; i++) {
            double product = (double)(i / N + 1) * (double)(i % N + 1);
            similarity[i] = is_cost ? -product : product;
        }
        assert_ok(emr_assign(similarity, N, columns, NULL, &error), &error);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(columns[i], is_cost ? N - 1 - i : i);
    }
}

/* A perceptron, and another whose units are in another order. */
typedef struct world {
    test_model a;
    emr_model *b;
    emr_permutation_spec *spec;
    emr_permutation *planted;
    emr_gram *gram;
} world;

static world make_world(uint64_t seed)
{
    world w = {.a = perceptron_create("a", seed)};
    emr_error error;
    w.spec = derived_spec(w.a.model, NULL);
    w.planted = random_permutation(w.spec, seed + 1);
    assert_ok(emr_permutation_open_model(w.planted, w.a.model, &w.b, &error), &error);
    const emr_model *const both[2] = {w.a.model, w.b};
    w.gram = perceptron_gram(both, 2, 300, seed + 2);
    return w;
}

static void free_world(world *w)
{
    emr_gram_destroy(&w->gram);
    emr_model_destroy(&w->b);
    emr_permutation_destroy(&w->planted);
    emr_permutation_spec_destroy(&w->spec);
    test_model_destroy(&w->a);
}

static void assert_undone(const emr_permutation *planted, const emr_permutation *found)
{
    static const char *const groups[] = {"hidden.0", "hidden.1"};
    static const size_t sizes[] = {N_FIRST, N_SECOND};
    emr_permutation *both;
    emr_error error;
    assert_ok(emr_permutation_compose(planted, found, &both, &error), &error);
    for (size_t g = 0; g < 2; g++)
        for (size_t i = 0; i < sizes[g]; i++)
            assert_int_equal(emr_permutation_units(both, groups[g])[i], i);
    emr_permutation_destroy(&both);
}

static void planted_permutations_are_found(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        world w = make_world(10 * seed);
        for (uint32_t space = 0; space < 3; space++)
            for (uint32_t kind = 0; kind < 3; kind++) {
                emr_match_options options = EMR_INIT(emr_match_options);
                emr_match_report report = EMR_INIT(emr_match_report);
                emr_permutation *found;
                emr_error error;
                options.space = space;
                options.similarity = kind;
                options.gram = space ? w.gram : NULL;
                options.seed = seed % 2 ? seed : 0;
                if (space == EMR_MATCH_SPACE_BOTH && kind == EMR_SIMILARITY_KIND_INNER)
                    continue;
                assert_ok(emr_match(w.spec, w.a.model, w.b, &options, &found, &report, &error), &error);
                assert_undone(w.planted, found);
                assert_int_equal(report.n_groups, 2);
                if (space == EMR_MATCH_SPACE_WEIGHTS && kind == EMR_SIMILARITY_KIND_CORRELATION)
                    assert_true(fabs(report.value - 1) < 1e-9);
                emr_permutation_destroy(&found);
            }
        free_world(&w);
    }
}

/* By inner products matching ends where no group alone can be bettered: begun there, it ends at once. */
static void what_is_matched_stays(void **state)
{
    static const char *const groups[] = {"hidden.0", "hidden.1"};
    static const size_t sizes[] = {N_FIRST, N_SECOND};
    (void)state;
    for (uint64_t seed = 1; seed < 30; seed++) {
        test_model a = perceptron_create("a", seed), b = perceptron_create("b", 1000 + seed);
        emr_permutation_spec *spec = derived_spec(a.model, NULL);
        emr_match_options options = EMR_INIT(emr_match_options);
        emr_match_report report = EMR_INIT(emr_match_report);
        emr_permutation *first, *second;
        emr_error error;
        options.seed = seed;
        assert_ok(emr_match(spec, a.model, b.model, &options, &first, &report, &error), &error);
        assert_true(report.n_rounds > 1);
        options.start = first;
        assert_ok(emr_match(spec, a.model, b.model, &options, &second, &report, &error), &error);
        assert_int_equal(report.n_rounds, 1);
        for (size_t g = 0; g < 2; g++)
            assert_memory_equal(emr_permutation_units(first, groups[g]),
                                emr_permutation_units(second, groups[g]), sizes[g] * sizeof(uint32_t));
        emr_permutation_destroy(&first);
        emr_permutation_destroy(&second);
        emr_permutation_spec_destroy(&spec);
        test_model_destroy(&a);
        test_model_destroy(&b);
    }
}

/* A tensor that counts its elements as they are read. */
typedef struct counted {
    const emr_tensor *tensor;
    uint64_t n_read;
} counted;

static emr_status read_counted(const emr_computation *c, emr_error *error)
{
    counted *t = c->user;
    size_t bytes = emr_dtype_bits(emr_tensor_dtype(t->tensor)) / 8;
    t->n_read += c->count;
    return emr_tensor_read(t->tensor, c->first * bytes, c->out, c->count * bytes, error);
}

/* Groups that share no tensor are compared once, however many rounds there are: of each tensor no element is read twice. */
static void groups_that_stand_alone_are_compared_once(void **state)
{
    test_model a = test_model_create("a", llama, N_LLAMA, SOURCE_MEMORY),
               b = test_model_create("b", llama, N_LLAMA, SOURCE_MEMORY);
    rng r = {31};
    counted tensors[N_LLAMA];
    emr_model *counting = test_model_new("counting");
    emr_match_options options = EMR_INIT(emr_match_options);
    emr_match_report report = EMR_INIT(emr_match_report);
    emr_permutation *p;
    emr_error error;
    (void)state;
    test_model_randomise(&a, &r);
    test_model_randomise(&b, &r);
    for (size_t i = 0; i < N_LLAMA; i++) {
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        tensors[i] = (counted){emr_model_find_tensor(b.model, llama[i].name), 0};
        d.name = llama[i].name;
        d.dtype = llama[i].dtype;
        d.rank = llama[i].rank;
        d.shape = llama[i].shape;
        d.compute = read_counted;
        d.user = &tensors[i];
        assert_ok(emr_model_add(counting, &d, &error), &error);
    }
    emr_permutation_spec *spec = derived_spec(a.model, llama_config);
    options.similarity = EMR_SIMILARITY_KIND_CORRELATION;
    assert_ok(emr_match(spec, a.model, counting, &options, &p, &report, &error), &error);
    assert_int_equal(report.n_rounds, 6);
    for (size_t i = 0; i < N_LLAMA; i++)
        assert_true(tensors[i].n_read == 0 || tensors[i].n_read == emr_tensor_count(tensors[i].tensor));
    assert_true(tensors[5].n_read > 0);
    emr_permutation_destroy(&p);
    emr_permutation_spec_destroy(&spec);
    emr_model_destroy(&counting);
    test_model_destroy(&a);
    test_model_destroy(&b);
}

static void threads_do_not_matter(void **state)
{
    world w = make_world(77);
    emr_pool *pool = test_pool_new(3);
    emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    emr_match_options options = EMR_INIT(emr_match_options);
    emr_match_report one = EMR_INIT(emr_match_report), three = EMR_INIT(emr_match_report);
    test_model other = perceptron_create("other", 123);
    emr_permutation *p;
    emr_error error;
    (void)state;
    options.space = EMR_MATCH_SPACE_BOTH;
    options.gram = w.gram;
    assert_ok(emr_match(w.spec, w.a.model, other.model, &options, &p, &one, &error), &error);
    emr_permutation_destroy(&p);
    options.resources = &resources;
    assert_ok(emr_match(w.spec, w.a.model, other.model, &options, &p, &three, &error), &error);
    assert_memory_equal(&one, &three, sizeof one);
    emr_permutation_destroy(&p);
    test_model_destroy(&other);
    emr_pool_destroy(&pool);
    free_world(&w);
}

static void what_cannot_be_is_refused(void **state)
{
    world w = make_world(5);
    emr_match_options options = EMR_INIT(emr_match_options);
    const emr_model *const one[1] = {w.a.model};
    emr_gram *own = perceptron_gram(one, 1, 10, 3);
    test_progress stop = {.stop_at = 0};
    emr_resources resources = test_resources(NULL, NULL);
    emr_permutation *p;
    emr_error error;
    (void)state;
    options.space = EMR_MATCH_SPACE_ACTIVATIONS;
    assert_int_equal(emr_match(w.spec, w.a.model, w.b, &options, &p, NULL, &error), EMR_EINVAL);
    options.gram = own;
    assert_int_equal(emr_match(w.spec, w.a.model, w.b, &options, &p, NULL, &error), EMR_EINVAL);
    options.gram = w.gram;
    options.space = EMR_MATCH_SPACE_BOTH;
    options.similarity = EMR_SIMILARITY_KIND_INNER;
    assert_int_equal(emr_match(w.spec, w.a.model, w.b, &options, &p, NULL, &error), EMR_EINVAL);
    options.similarity = 0;
    options.use_balance = 1;
    options.balance = 2;
    assert_int_equal(emr_match(w.spec, w.a.model, w.b, &options, &p, NULL, &error), EMR_EINVAL);
    options.use_balance = 0;
    resources.progress = test_progress_note;
    resources.progress_user = &stop;
    options.resources = &resources;
    assert_int_equal(emr_match(w.spec, w.a.model, w.b, &options, &p, NULL, &error), EMR_ECANCELED);
    assert_null(p);
    emr_gram_destroy(&own);
    free_world(&w);
}

/* Before the work, which may take hours. */
static void what_cannot_be_told_is_refused_at_once(void **state)
{
    world w = make_world(8);
    const emr_model *const both[2] = {w.a.model, w.b};
    test_progress seen = {.stop_at = SIZE_MAX};
    emr_resources resources = test_resources(NULL, NULL);
    emr_match_options matching = EMR_INIT(emr_match_options);
    emr_zip_options zipping = EMR_INIT(emr_zip_options);
    emr_match_report report = {.size = 8};
    emr_permutation *p;
    emr_model *model;
    emr_error error;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &seen;
    matching.resources = zipping.resources = &resources;
    zipping.models = both;
    zipping.n_models = 2;
    assert_int_equal(emr_match(w.spec, w.a.model, w.b, &matching, &p, &report, &error), EMR_EINVAL);
    assert_int_equal(emr_zip_open_model(w.spec, &zipping, &model, &report, &error), EMR_EINVAL);
    zipping.dtype = EMR_DTYPE_I8;
    assert_int_equal(emr_zip_open_model(w.spec, &zipping, &model, NULL, &error), EMR_EINVAL);
    assert_int_equal(seen.calls, 0);
    zipping.dtype = EMR_DTYPE_BF16;
    assert_ok(emr_zip_open_model(w.spec, &zipping, &model, NULL, &error), &error);
    assert_true(seen.calls > 0);
    emr_model_destroy(&model);
    free_world(&w);
}

/* Every request of memory fails once. */
static void nothing_leaks_without_memory(void **state)
{
    world w = make_world(6);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_match_options options = EMR_INIT(emr_match_options);
        emr_permutation *p = NULL;
        emr_error error;
        options.resources = &resources;
        options.space = EMR_MATCH_SPACE_BOTH;
        options.gram = w.gram;
        options.max_rounds = 2;
        status = emr_match(w.spec, w.a.model, w.b, &options, &p, NULL, &error);
        emr_permutation_destroy(&p);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assignments_are_the_best),
        cmocka_unit_test(constants_do_not_matter),
        cmocka_unit_test(rows_that_all_want_the_same_are_assigned),
        cmocka_unit_test(planted_permutations_are_found),
        cmocka_unit_test(what_is_matched_stays),
        cmocka_unit_test(groups_that_stand_alone_are_compared_once),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(what_cannot_be_told_is_refused_at_once),
        cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
