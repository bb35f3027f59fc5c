/* test_arranged.c - models that show another one's tensors otherwise: fitted into other shapes, cut into first rows and
 * the rest, joined again, under other names. Any range reads as it does from the whole. */
#include "support.h"

#include "core/memory.h"
#include "model/arranged.h"

#include <stdio.h>

enum { MOST_DIMENSIONS = 4 };

static emr_allocator default_allocator(void)
{
    emr_allocator allocator;
    assert_ok(emr_allocator_take(&allocator, NULL, NULL), NULL);
    return allocator;
}

/* A model with one tensor of random bytes. */
static test_model random_model(const test_tensor *t, test_source source, rng *r)
{
    test_model m = test_model_create("source", t, 1, source);
    for (size_t i = 0, n = (size_t)test_tensor_count(t) * emr_dtype_bits(t->dtype) / 8; i < n; i++)
        m.data[0][i] = (unsigned char)rng_next(r);
    return m;
}

/* What a tensor must hold: read whole, and in ranges that begin and end anywhere. */
static void assert_holds(const emr_tensor *t, const unsigned char *want, size_t n, rng *r)
{
    emr_error error;
    unsigned char *got = malloc(n + 1);
    assert_int_equal(emr_tensor_bytes(t), n);
    assert_ok(emr_tensor_read(t, 0, got, n, &error), &error);
    assert_memory_equal(got, want, n);
    for (size_t i = 0; n && i < 20; i++) {
        size_t first = (size_t)rng_below(r, n), some = (size_t)rng_below(r, n - first + 1);
        memset(got, 0xa5, n + 1);
        assert_ok(emr_tensor_read(t, first, got, some, &error), &error);
        assert_memory_equal(got, want + first, some);
        assert_int_equal(got[some], 0xa5);
    }
    free(got);
}

/* The corner in the plainest way; free it. */
static unsigned char *fit_plainly(const test_tensor *t, const unsigned char *data, const uint64_t *shape,
                                  size_t *bytes)
{
    size_t size = emr_dtype_bits(t->dtype) / 8;
    uint64_t n = 1;
    for (uint32_t d = 0; d < t->rank; d++)
        n *= shape[d];
    unsigned char *out = calloc((size_t)n * size + 1, 1);
    for (uint64_t p = 0; p < n; p++) {
        uint64_t at = 0, stride = 1, rest = p;
        bool inside = true;
        for (uint32_t d = t->rank; d-- > 0; rest /= shape[d]) {
            inside = inside && rest % shape[d] < t->shape[d];
            at += rest % shape[d] * stride;
            stride *= t->shape[d];
        }
        if (inside)
            memcpy(out + p * size, data + at * size, size);
    }
    *bytes = (size_t)n * size;
    return out;
}

static void check_fit(const test_tensor *t, const uint64_t *shape, test_source source, rng *r)
{
    emr_error error;
    emr_model *arranged;
    emr_allocator allocator = default_allocator();
    test_model m = random_model(t, source, r);
    size_t bytes;
    unsigned char *want = fit_plainly(t, m.data[0], shape, &bytes);
    assert_ok(emr_arranged_create(&arranged, m.model, &allocator, &error), &error);
    assert_ok(emr_arranged_fit(arranged, emr_model_tensor(m.model, 0), "fitted", shape, &error), &error);
    const emr_tensor *fitted = emr_model_find_tensor(arranged, "fitted");
    assert_memory_equal(emr_tensor_shape(fitted), shape, t->rank * sizeof *shape);
    assert_int_equal(emr_tensor_dtype(fitted), t->dtype);
    assert_holds(fitted, want, bytes, r);
    assert_string_equal(fitted->own->name, t->name);
    assert_memory_equal(fitted->own->shape, t->shape, t->rank * sizeof *shape);
    free(want);
    emr_model_destroy(&arranged);
    test_model_destroy(&m);
}

static void any_corner_of_any_rank(void **state)
{
    (void)state;
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_U8, EMR_DTYPE_F64};
    rng r = {41};
    for (size_t i = 0; i < 400; i++) {
        test_tensor t = {"t", dtypes[rng_below(&r, 4)], (uint32_t)rng_below(&r, MOST_DIMENSIONS + 1), {0}};
        uint64_t shape[MOST_DIMENSIONS] = {0};
        for (uint32_t d = 0; d < t.rank; d++) {
            t.shape[d] = rng_below(&r, 9);
            shape[d] = rng_below(&r, 3) ? rng_below(&r, 9) : t.shape[d];
        }
        check_fit(&t, shape, (test_source)(i % 3), &r);
    }
}

/* Rows longer than what is read at a time, and many short ones in which most is skipped. */
static void corners_of_large_tensors(void **state)
{
    (void)state;
    rng r = {43};
    for (test_source source = SOURCE_MEMORY; source <= SOURCE_READ; source++) {
        check_fit(&(test_tensor){"t", EMR_DTYPE_F32, 2, {3, 50000}}, (uint64_t[]){4, 40001}, source, &r);
        check_fit(&(test_tensor){"t", EMR_DTYPE_F32, 2, {3, 40001}}, (uint64_t[]){2, 50000}, source, &r);
        check_fit(&(test_tensor){"t", EMR_DTYPE_U8, 2, {9000, 70}}, (uint64_t[]){9001, 1}, source, &r);
        check_fit(&(test_tensor){"t", EMR_DTYPE_F64, 1, {70000}}, (uint64_t[]){69999}, source, &r);
        check_fit(&(test_tensor){"t", EMR_DTYPE_F64, 1, {10}}, (uint64_t[]){70000}, source, &r);
    }
}

static void what_cannot_be_fitted(void **state)
{
    (void)state;
    emr_error error;
    emr_model *arranged;
    emr_allocator allocator = default_allocator();
    const test_tensor tensors[] = {{"float", EMR_DTYPE_F32, 1, {4}}, {"half bytes", EMR_DTYPE_F4, 1, {4}}};
    for (size_t i = 0; i < 2; i++) {
        test_model m = test_model_create("source", &tensors[i], 1, i ? SOURCE_MEMORY : SOURCE_PUSHED);
        const emr_tensor *t = emr_model_tensor(m.model, 0);
        assert_ok(emr_arranged_create(&arranged, m.model, &allocator, &error), &error);
        assert_int_equal(emr_arranged_fit(arranged, t, "fitted", (uint64_t[]){2}, &error), EMR_EUNSUPPORTED);
        assert_true(strstr(error.text, tensors[i].name) != NULL);
        assert_ok(emr_arranged_rename(arranged, t, "renamed", &error), &error); /* but this is possible */
        assert_string_equal(emr_model_tensor(arranged, 0)->own->name, tensors[i].name);
        emr_model_destroy(&arranged);
        test_model_destroy(&m);
    }
}

/* First rows and the rest, and both in one piece again. */
static void check_rows(const test_tensor *t, uint64_t rows, test_source source, rng *r)
{
    emr_error error;
    emr_model *cut, *joined;
    emr_allocator allocator = default_allocator();
    test_model m = random_model(t, source, r);
    const emr_tensor *whole = emr_model_tensor(m.model, 0);
    size_t bytes = (size_t)emr_tensor_bytes(whole), first = bytes / (size_t)t->shape[0] * (size_t)rows;
    uint64_t shape[MOST_DIMENSIONS];
    memcpy(shape, t->shape, sizeof shape);
    shape[0] = rows;
    char *name = emr_rest_name(&allocator, t->name, rows);
    assert_ok(emr_arranged_create(&cut, m.model, &allocator, &error), &error);
    assert_ok(emr_arranged_fit(cut, whole, t->name, shape, &error), &error);
    assert_ok(emr_arranged_add_rest(cut, whole, name, rows, &error), &error);
    const emr_tensor *rest = emr_model_find_tensor(cut, name),
                     *rows_of_all = emr_model_find_tensor(cut, t->name);
    assert_holds(rows_of_all, m.data[0], first, r);
    assert_holds(rest, m.data[0] + first, bytes - first, r);
    assert_ptr_equal(rows_of_all->own->rest, rest);
    assert_false(rows_of_all->own->is_rest);
    assert_true(rest->own->is_rest);
    assert_ok(emr_arranged_create(&joined, cut, &allocator, &error), &error);
    assert_ok(emr_arranged_join(joined, rows_of_all, rest, "joined", &error), &error);
    assert_memory_equal(emr_tensor_shape(emr_model_tensor(joined, 0)), t->shape, t->rank * sizeof *shape);
    assert_holds(emr_model_tensor(joined, 0), m.data[0], bytes, r);
    emr_release(&allocator, name);
    emr_model_destroy(&joined);
    emr_model_destroy(&cut);
    test_model_destroy(&m);
}

static void rows_and_the_rest(void **state)
{
    (void)state;
    rng r = {47};
    for (size_t i = 0; i < 120; i++) {
        test_tensor t = {
            "embed", i % 2 ? EMR_DTYPE_F32 : EMR_DTYPE_BF16, 1 + (uint32_t)rng_below(&r, 3), {0}};
        for (uint32_t d = 0; d < t.rank; d++)
            t.shape[d] = 1 + rng_below(&r, 20);
        t.shape[0]++;
        check_rows(&t, 1 + rng_below(&r, t.shape[0] - 1), (test_source)(i % 3), &r);
    }
}

static void rests_are_named_by_their_first_row(void **state)
{
    (void)state;
    static const struct {
        uint64_t first;
        const char *name;
    } names[] = {{0, "w[0:]"}, {7, "w[7:]"}, {32000, "w[32000:]"}, {UINT64_MAX, "w[18446744073709551615:]"}};
    emr_allocator allocator = default_allocator();
    for (size_t i = 0; i < 4; i++) {
        char *name = emr_rest_name(&allocator, "w", names[i].first);
        assert_string_equal(name, names[i].name);
        emr_release(&allocator, name);
    }
}

/* What was renamed and then cut is in its own model what it was first. */
static void what_a_tensor_was_first_is_remembered(void **state)
{
    (void)state;
    emr_error error;
    rng r = {53};
    emr_model *renamed, *cut;
    emr_allocator allocator = default_allocator();
    const test_tensor t = {"model.embed", EMR_DTYPE_F32, 2, {5, 3}};
    const emr_rename rule = {"model.", ""};
    test_model m = random_model(&t, SOURCE_MEMORY, &r);
    assert_ok(emr_model_create_renamed(&renamed, m.model, &rule, 1, NULL, &error), &error);
    assert_ok(emr_arranged_create(&cut, renamed, &allocator, &error), &error);
    assert_ok(emr_arranged_fit(cut, emr_model_tensor(renamed, 0), "embed", (uint64_t[]){4, 3}, &error),
              &error);
    assert_ok(emr_arranged_keep(cut, emr_model_tensor(renamed, 0), &error) == EMR_EEXIST ? EMR_OK
                                                                                         : EMR_EINVAL,
              &error);
    const struct emr_own *own = emr_model_tensor(cut, 0)->own;
    assert_string_equal(own->name, "model.embed");
    assert_int_equal(own->shape[0], 5);
    emr_model_destroy(&cut);
    emr_model_destroy(&renamed);
    test_model_destroy(&m);
}

/* Names by rules: what they are afterwards, in the model's order. */
typedef struct rename_case {
    emr_rename rules[3];
    uint32_t n_rules;
    const char *names[4]; /* of "transformer.h.0.w", "transformer.h.1.b", "head", "aa" */
    emr_status status;
    const char *says;
} rename_case;

static const test_tensor four_tensors[] = {{"transformer.h.0.w", EMR_DTYPE_F32, 1, {2}},
                                           {"transformer.h.1.b", EMR_DTYPE_I64, 2, {1, 2}},
                                           {"head", EMR_DTYPE_F4, 1, {4}},
                                           {"aa", EMR_DTYPE_F32, 0, {0}}};

static const rename_case renames[] = {
    {{{NULL, NULL}}, 0, {"transformer.h.0.w", "transformer.h.1.b", "head", "aa"}, EMR_OK, NULL},
    {{{"transformer.", ""}}, 1, {"h.0.w", "h.1.b", "head", "aa"}, EMR_OK, NULL},
    {{{"", "x."}}, 1, {"x.transformer.h.0.w", "x.transformer.h.1.b", "x.head", "x.aa"}, EMR_OK, NULL},
    {{{"transformer.h.*.w", "l.*.weight"}, {"transformer.", "t."}},
     2,
     {"l.0.weight", "t.h.1.b", "head", "aa"},
     EMR_OK,
     NULL},
    {{{"transformer.", "t."}, {"transformer.h.1", "never"}},
     2,
     {NULL},
     EMR_EINVAL,
     "'transformer.h.1=never' matches no tensor"},
    {{{"*", "m.*"}}, 1, {"m.transformer.h.0.w", "m.transformer.h.1.b", "m.head", "m.aa"}, EMR_OK, NULL},
    {{{"a*a", "*"}, {"he*", "*e"}}, 2, {"transformer.h.0.w", "transformer.h.1.b", "ade", ""}, EMR_OK, NULL},
    {{{"head", "aa"}}, 1, {NULL}, EMR_EEXIST, "aa"},
    {{{"head", "aa"}, {"aa", "head"}},
     2,
     {"transformer.h.0.w", "transformer.h.1.b", "aa", "head"},
     EMR_OK,
     NULL},
    {{{"aaa*", "*"}}, 1, {NULL}, EMR_EINVAL, "matches no tensor"},
    {{{"aa*aa", "*"}}, 1, {NULL}, EMR_EINVAL, "matches no tensor"},
    {{{"head*", "tail"}}, 1, {NULL}, EMR_EINVAL, "one '*' on each side"},
    {{{"head", "tail*"}}, 1, {NULL}, EMR_EINVAL, "one '*' on each side"},
    {{{"h*a*", "*"}}, 1, {NULL}, EMR_EINVAL, "one '*' on each side"},
    {{{"head*", "**"}}, 1, {NULL}, EMR_EINVAL, "one '*' on each side"},
    {{{"head", NULL}}, 1, {NULL}, EMR_EINVAL, "NULL"},
};

static void names_by_rules(void **state)
{
    (void)state;
    rng r = {59};
    test_model m = test_model_create("source", four_tensors, 4, SOURCE_MEMORY);
    test_model_randomise(&m, &r);
    emr_error error;
    assert_ok(emr_model_set_metadata(m.model, "format", "pt", &error), &error);
    for (size_t i = 0; i < sizeof renames / sizeof *renames; i++) {
        emr_model *renamed;
        emr_status status =
            emr_model_create_renamed(&renamed, m.model, renames[i].rules, renames[i].n_rules, NULL, &error);
        assert_int_equal(status, renames[i].status);
        if (status) {
            assert_null(renamed);
            if (!strstr(error.text, renames[i].says))
                fail_msg("'%s' does not say '%s'", error.text, renames[i].says);
            continue;
        }
        assert_string_equal(emr_model_name(renamed), "source");
        assert_string_equal(emr_model_find_metadata(renamed, "format"), "pt");
        assert_int_equal(emr_model_n_tensors(renamed), 4);
        for (uint32_t k = 0; k < 4; k++) {
            const emr_tensor *t = emr_model_tensor(renamed, k);
            assert_string_equal(emr_tensor_name(t), renames[i].names[k]);
            assert_holds(t, m.data[k], (size_t)emr_tensor_bytes(t), &r);
        }
        emr_model_destroy(&renamed);
    }
    assert_int_equal(emr_model_create_renamed(NULL, m.model, NULL, 0, NULL, &error), EMR_EINVAL);
    test_model_destroy(&m);
}

/* A GGUF file's header and a folder's files are found by their names; a weight that is only called so is not
 * meant. */
static void what_has_a_fixed_name_keeps_it(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 1, {2}},
                                          {"gguf.header", EMR_DTYPE_U8, 1, {9}},
                                          {"file:config.json", EMR_DTYPE_U8, 1, {7}},
                                          {"file:w", EMR_DTYPE_F32, 1, {2}}};
    static const char *const names[] = {"m.w", "gguf.header", "file:config.json", "m.file:w"};
    const emr_rename all[] = {{"", "m."}, {"*", "m.*"}}, none = {"gguf.", "g."};
    emr_error error;
    emr_model *renamed;
    test_model m = test_model_create("source", tensors, 4, SOURCE_MEMORY);
    for (size_t i = 0; i < 2; i++) {
        assert_ok(emr_model_create_renamed(&renamed, m.model, &all[i], 1, NULL, &error), &error);
        for (uint32_t k = 0; k < 4; k++)
            assert_string_equal(emr_tensor_name(emr_model_tensor(renamed, k)), names[k]);
        emr_model_destroy(&renamed);
    }
    assert_int_equal(emr_model_create_renamed(&renamed, m.model, &none, 1, NULL, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "matches no tensor"));
    test_model_destroy(&m);
}

/* Each allocation of renaming fails once. */
static void renaming_without_memory(void **state)
{
    (void)state;
    test_model m = test_model_create("source", four_tensors, 4, SOURCE_MEMORY);
    emr_error error;
    assert_ok(emr_model_set_metadata(m.model, "format", "pt", &error), &error);
    const emr_rename rules[] = {{"transformer.h.*.w", "l.*.weight"}, {"transformer.", "t."}};
    emr_status status = EMR_ENOMEM;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {.fail_at = k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_model *renamed;
        status = emr_model_create_renamed(&renamed, m.model, rules, 2, &allocator, &error);
        assert_true(status == EMR_OK || (status == EMR_ENOMEM && !renamed));
        assert_true(status != EMR_OK || k > 10);
        emr_model_destroy(&renamed);
        assert_int_equal(counts.alive, 0);
    }
    test_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_corner_of_any_rank),
        cmocka_unit_test(corners_of_large_tensors),
        cmocka_unit_test(what_cannot_be_fitted),
        cmocka_unit_test(rows_and_the_rest),
        cmocka_unit_test(rests_are_named_by_their_first_row),
        cmocka_unit_test(what_a_tensor_was_first_is_remembered),
        cmocka_unit_test(names_by_rules),
        cmocka_unit_test(what_has_a_fixed_name_keeps_it),
        cmocka_unit_test(renaming_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
