/* test_ensemble_model.c - first weights of an ensemble; saving and opening it; files that are none. */
#include "ensembles.h"

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
        assert_int_equal(open_broken(&absent, true, 0, &error), EMR_EFORMAT);
        assert_true(test_span_is(&error, error.tensor, part_names[part]));
        assert_int_equal(open_broken(&odd, true, NAN, &error), EMR_EFORMAT);
        assert_int_equal(open_broken(&odd, true, INFINITY, &error), EMR_EFORMAT);
        assert_true(test_span_is(&error, error.tensor, part_names[part]));
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ensembles_are_saved),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(first_weights_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
