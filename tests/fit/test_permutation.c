/* test_permutation.c - permuted networks compute the same; specs as text; what is no permutation, or no spec. */
#include "networks.h"

static bool same_bytes(const emr_model *a, const emr_model *b)
{
    bool same = emr_model_n_tensors(a) == emr_model_n_tensors(b);
    for (uint32_t i = 0; same && i < emr_model_n_tensors(a); i++) {
        const emr_tensor *t = emr_model_tensor(a, i);
        double *one = all_elements(a, emr_tensor_name(t)), *other = all_elements(b, emr_tensor_name(t));
        same = memcmp(one, other, (size_t)emr_tensor_count(t) * sizeof *one) == 0;
        free(one);
        free(other);
    }
    return same;
}

static emr_model *permuted(const emr_permutation *p, const emr_model *model)
{
    emr_model *opened;
    emr_error error;
    assert_ok(emr_permutation_open_model(p, model, &opened, &error), &error);
    return opened;
}

static void permuted_networks_compute_the_same(void **state)
{
    test_model m = perceptron_create("m", 4);
    emr_permutation_spec *spec = derived_spec(m.model, NULL);
    emr_permutation *p = random_permutation(spec, 8);
    (void)state;
    assert_int_equal(emr_permutation_spec_n_groups(spec), 2);
    assert_int_equal(emr_permutation_spec_n_layers(spec), 3);
    emr_model *other = permuted(p, m.model);
    assert_false(same_bytes(m.model, other));
    assert_true(same_outputs(m.model, other, 1e-9));
    emr_model_destroy(&other);
    emr_permutation_destroy(&p);
    emr_permutation_spec_destroy(&spec);
    test_model_destroy(&m);
}

/* Of a Llama: where each element of an attention's weights comes from, as the header says it. */
static void heads_move_as_the_header_says(void **state)
{
    enum { D = 6, R = 2 };
    test_model m = test_model_create("llama", llama, N_LLAMA, SOURCE_MEMORY);
    rng r = {3};
    test_model_randomise(&m, &r);
    emr_permutation_spec *spec = derived_spec(m.model, llama_config);
    emr_permutation *p = random_permutation(spec, 21);
    emr_head_units u = EMR_INIT(emr_head_units);
    emr_model *other = permuted(p, m.model);
    const char *names[] = {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight",
                           "model.layers.0.self_attn.o_proj.weight"};
    double *old[3], *new[3];
    (void)state;
    assert_int_equal(emr_permutation_get_heads(p, "model.layers.0.self_attn", &u), EMR_OK);
    for (size_t i = 0; i < 3; i++) {
        old[i] = all_elements(m.model, names[i]);
        new[i] = all_elements(other, names[i]);
    }
    for (size_t g = 0; g < 2; g++)
        for (size_t i = 0; i < D; i++)
            for (size_t x = 0; x < 24; x++) {
                assert_true(new[1][(g * D + i) * 24 + x] == old[1][(u.kv[g] * D + u.v[g * D + i]) * 24 + x]);
                for (size_t s = 0; s < R; s++) {
                    size_t from = u.kv[g] * R + u.slot[g * R + s], to = g * R + s;
                    assert_true(new[0][(to * D + i) * 24 + x] == old[0][(from * D + i) * 24 + x]);
                    assert_true(new[2][x * 24 + to * D + i] == old[2][x * 24 + from * D + u.v[g * D + i]]);
                }
            }
    for (size_t i = 0; i < 3; i++) {
        free(old[i]);
        free(new[i]);
    }
    emr_model_destroy(&other);
    emr_permutation_destroy(&p);
    emr_permutation_spec_destroy(&spec);
    test_model_destroy(&m);
}

static void any_range_reads_the_same(void **state)
{
    test_model m = test_model_create("llama", llama, N_LLAMA, SOURCE_IO);
    rng r = {5};
    test_model_randomise(&m, &r);
    emr_permutation_spec *spec = derived_spec(m.model, llama_config);
    emr_permutation *p = random_permutation(spec, 2);
    emr_model *other = permuted(p, m.model);
    emr_permutation_destroy(&p); /* is not needed any more, */
    emr_permutation_spec_destroy(&spec);
    (void)state;
    for (uint32_t i = 0; i < N_LLAMA; i++) {
        const emr_tensor *t = emr_model_tensor(other, i);
        size_t bytes = (size_t)emr_tensor_bytes(t);
        unsigned char *whole = calloc(bytes, 1), *part = calloc(bytes, 1);
        emr_error error;
        assert_ok(emr_tensor_read(t, 0, whole, bytes, &error), &error);
        for (int k = 0; k < 50; k++) {
            size_t first = (size_t)rng_below(&r, bytes), n = (size_t)rng_below(&r, bytes - first + 1);
            assert_ok(emr_tensor_read(t, first, part, n, &error), &error);
            assert_memory_equal(part, whole + first, n);
        }
        free(whole);
        free(part);
    }
    emr_model_destroy(&other);
    test_model_destroy(&m);
}

static void inverses_undo_and_compositions_follow(void **state)
{
    test_model m = test_model_create("llama", llama, N_LLAMA, SOURCE_MEMORY);
    rng r = {6};
    test_model_randomise(&m, &r);
    emr_permutation_spec *spec = derived_spec(m.model, llama_config);
    emr_permutation *one = random_permutation(spec, 2), *two = random_permutation(spec, 3), *both, *back;
    emr_error error;
    (void)state;
    assert_ok(emr_permutation_compose(one, two, &both, &error), &error);
    assert_ok(emr_permutation_invert(both, &back, &error), &error);
    emr_model *first = permuted(one, m.model), *second = permuted(two, first),
              *at_once = permuted(both, m.model);
    emr_model *again = permuted(back, at_once);
    assert_true(same_bytes(second, at_once));
    assert_false(same_bytes(at_once, m.model));
    assert_true(same_bytes(again, m.model));
    emr_model_destroy(&again);
    emr_model_destroy(&at_once);
    emr_model_destroy(&second);
    emr_model_destroy(&first);
    emr_permutation_destroy(&one);
    emr_permutation_destroy(&two);
    emr_permutation_destroy(&both);
    emr_permutation_destroy(&back);
    emr_permutation_spec_destroy(&spec);
    test_model_destroy(&m);
}

static emr_buffer *written(const emr_permutation_spec *spec)
{
    emr_buffer *text = test_buffer_new();
    emr_error error;
    assert_ok(emr_permutation_spec_write(spec, emr_buffer_io(text), &error), &error);
    return text;
}

static void specs_and_indices_are_saved(void **state)
{
    test_model m = test_model_create("llama", llama, N_LLAMA, SOURCE_MEMORY);
    rng r = {7};
    test_model_randomise(&m, &r);
    emr_permutation_spec *spec = derived_spec(m.model, llama_config), *read;
    emr_buffer *text = written(spec);
    emr_permutation *p = random_permutation(spec, 9), *q;
    emr_model *indices;
    emr_error error;
    (void)state;
    assert_ok(emr_permutation_spec_parse(&read, emr_buffer_data(text), emr_buffer_bytes(text), NULL, &error),
              &error);
    emr_buffer *again = written(read);
    assert_true(test_same_buffers(text, again));
    assert_ok(emr_permutation_open_indices(p, &indices, &error), &error);
    assert_ok(emr_permutation_create(&q, read, NULL, &error), &error);
    assert_ok(emr_permutation_read_indices(q, indices, &error), &error);
    emr_model *one = permuted(p, m.model), *other = permuted(q, m.model);
    assert_true(same_bytes(one, other));
    emr_model_destroy(&one);
    emr_model_destroy(&other);
    emr_model_destroy(&indices);
    emr_permutation_destroy(&p);
    emr_permutation_destroy(&q);
    emr_permutation_spec_destroy(&spec);
    emr_permutation_spec_destroy(&read);
    emr_buffer_destroy(&text);
    emr_buffer_destroy(&again);
    test_model_destroy(&m);
}

#define SPEC(groups) "{\"format\": \"emr-permutation-spec\", \"version\": 1, \"groups\": [" groups "]}"

static const char *const broken[] = {
    "",
    "[]",
    "{}",
    "{\"format\": \"emr-permutation-spec\"}",
    "{\"format\": \"other\", \"version\": 1}",
    "{\"format\": \"emr-permutation-spec\", \"version\": 2}",
    "{\"format\": \"emr-permutation-spec\", \"version\": 1, \"more\": 1}",
    "{\"format\": \"emr-permutation-spec\", \"version\": 1, \"groups\": {}}",
    "{\"format\": \"emr-permutation-spec\", \"version\": 1, \"version\": 1}",
    SPEC("1"),
    SPEC("{}"),
    SPEC("{\"name\": \"g\"}"),
    SPEC("{\"name\": \"g\", \"size\": 0}"),
    SPEC("{\"name\": \"g\", \"size\": -3}"),
    SPEC("{\"name\": \"g\", \"size\": 3.5}"),
    SPEC("{\"name\": \"g\", \"size\": 99999999999}"),
    SPEC("{\"name\": \"\", \"size\": 3}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"blocks\": 2}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"color\": 2}"),
    SPEC("{\"name\": \"g\", \"size\": 3}, {\"name\": \"g\", \"size\": 3}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"axes\": [{\"tensor\": \"t\"}]}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"axes\": [{\"tensor\": \"t\", \"axis\": 9}]}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"axes\": [{\"tensor\": \"t\", \"axis\": 0, \"outer\": 0}]}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"axes\": [{\"tensor\": \"t\", \"axis\": 0, \"stride\": 4}]}"),
    SPEC("{\"name\": \"g\", \"heads\": 3, \"kv_heads\": 2, \"head_dim\": 4}"),
    SPEC("{\"name\": \"g\", \"heads\": 4, \"kv_heads\": 2}"),
    SPEC("{\"name\": \"g\", \"heads\": 4, \"kv_heads\": 2, \"head_dim\": 4, \"qk\": \"loose\"}"),
    SPEC("{\"name\": \"g\", \"size\": 3, \"sites\": [1]}"),
    /* places that would begin anew at 0 beyond 64 bits */
    SPEC("{\"name\": \"g\", \"size\": 16777216, \"axes\": [{\"tensor\": \"x\", \"axis\": 0, \"outer\": "
         "1099511627776, "
         "\"offset\": 1}]}"),
    SPEC("{\"name\": \"g\", \"heads\": 16777216, \"head_dim\": 1, \"q\": [{\"tensor\": \"x\", \"axis\": 0, "
         "\"stride\": 1099511627776}]}"),
};

static void broken_specs_are_refused(void **state)
{
    emr_permutation_spec *spec;
    emr_error error;
    (void)state;
    assert_ok(emr_permutation_spec_parse(&spec, SPEC("{\"name\": \"g\", \"size\": 3}"),
                                         strlen(SPEC("{\"name\": \"g\", \"size\": 3}")), NULL, &error),
              &error);
    emr_permutation_spec_destroy(&spec);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        if (emr_permutation_spec_parse(&spec, broken[i], strlen(broken[i]), NULL, &error) != EMR_EFORMAT)
            fail_msg("%s", broken[i]);
        assert_null(spec);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    static const char text[] =
        SPEC("{\"name\": \"g\", \"size\": 4, \"blocks\": 2, \"axes\": [{\"tensor\": \"x\", \"axis\": 0}]}");
    static const test_tensor short_axis[] = {{"x", EMR_DTYPE_F32, 1, {3}}},
                             other[] = {{"y", EMR_DTYPE_F32, 1, {4}}};
    static const uint32_t twice[] = {0, 0, 2, 3}, outside[] = {0, 1, 2, 4}, across[] = {0, 2, 1, 3},
                          good[] = {3, 2, 1, 0};
    test_model few = test_model_create("few", short_axis, 1, SOURCE_MEMORY),
               none = test_model_create("none", other, 1, SOURCE_MEMORY);
    emr_permutation_spec *spec;
    emr_permutation *p;
    emr_model *opened;
    emr_error error;
    (void)state;
    assert_ok(emr_permutation_spec_parse(&spec, text, strlen(text), NULL, &error), &error);
    assert_ok(emr_permutation_create(&p, spec, NULL, &error), &error);
    assert_int_equal(emr_permutation_open_model(p, few.model, &opened, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "x"));
    assert_int_equal(emr_permutation_open_model(p, none.model, &opened, &error), EMR_EMISMATCH);
    assert_int_equal(emr_permutation_set_units(p, "g", twice, &error), EMR_EINVAL);
    assert_int_equal(emr_permutation_set_units(p, "g", outside, &error), EMR_EINVAL);
    assert_int_equal(emr_permutation_set_units(p, "g", across, &error), EMR_EINVAL);
    assert_int_equal(emr_permutation_set_units(p, "h", good, &error), EMR_ENOTFOUND);
    assert_ok(emr_permutation_set_units(p, "g", good, &error), &error);
    assert_int_equal(emr_permutation_units(p, "g")[0], 3);
    assert_null(emr_permutation_units(p, "h"));
    emr_permutation_spec_destroy(&spec);
    assert_int_equal(emr_permutation_spec_derive(&spec, none.model, NULL, NULL, &error), EMR_EUNSUPPORTED);
    assert_int_equal(emr_permutation_spec_derive(&spec, none.model, "[]", NULL, &error), EMR_EFORMAT);
    emr_permutation_destroy(&p);
    test_model_destroy(&few);
    test_model_destroy(&none);
}

/* Every request of memory fails once. */
static void nothing_leaks_without_memory(void **state)
{
    test_model m = test_model_create("llama", llama, N_LLAMA, SOURCE_MEMORY);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        emr_derive_options options = EMR_INIT(emr_derive_options);
        emr_permutation_spec *spec = NULL;
        emr_permutation *p = NULL;
        emr_model *opened = NULL, *indices = NULL;
        emr_error error;
        options.allocator = &allocator;
        options.residual = 1;
        status = emr_permutation_spec_derive(&spec, m.model, llama_config, &options, &error);
        if (!status)
            status = emr_permutation_create(&p, spec, &allocator, &error);
        if (!status)
            status = emr_permutation_open_model(p, m.model, &opened, &error);
        if (!status)
            status = emr_permutation_open_indices(p, &indices, &error);
        emr_model_destroy(&indices);
        emr_model_destroy(&opened);
        emr_permutation_destroy(&p);
        emr_permutation_spec_destroy(&spec);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
    test_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permuted_networks_compute_the_same),
        cmocka_unit_test(heads_move_as_the_header_says),
        cmocka_unit_test(any_range_reads_the_same),
        cmocka_unit_test(inverses_undo_and_compositions_follow),
        cmocka_unit_test(specs_and_indices_are_saved),
        cmocka_unit_test(broken_specs_are_refused),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
