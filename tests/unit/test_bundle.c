/* test_bundle.c - what an opened bundle says about itself, and every way of asking wrongly. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>

static fixture f; /* rescalers per model, no base embedded */

static int set_up(void **state)
{
    (void)state;
    fixture_create(&f, NULL, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

static uint64_t merged_params(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i < FIXTURE_TENSORS; i++)
        if (strcmp(f.set.base.tensors[i].name, FIXTURE_PRIVATE) != 0 &&
            strcmp(f.set.base.tensors[i].name, FIXTURE_KEPT) != 0)
            n += test_tensor_count(&f.set.base.tensors[i]);
    return n;
}

static void the_bundle_describes_itself(void **state)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    (void)state;
    assert_int_equal(emr_bundle_get_info(f.bundle, &info), EMR_OK);
    assert_true(info.bytes == emr_buffer_bytes(f.buffer) && info.merged_params == merged_params());
    assert_int_equal(info.n_tasks, FIXTURE_TASKS);
    assert_int_equal(info.n_merged, FIXTURE_MERGED);
    assert_int_equal(info.n_tensors, FIXTURE_MERGED + 1);
    assert_int_equal(info.version_major, 1);
    assert_int_equal(info.rescale, EMR_RESCALE_L1);
    assert_int_equal(info.rescale_per, EMR_RESCALE_PER_MODEL);
    assert_int_equal(info.tie, EMR_TIE_ZERO);
    assert_int_equal(info.unified_dtype, EMR_DTYPE_F32);
    assert_int_equal(info.has_base, 0);
    info.size--;
    assert_int_equal(emr_bundle_get_info(f.bundle, &info), EMR_EINVAL);
    assert_int_equal(emr_bundle_get_info(f.bundle, NULL), EMR_EINVAL);
    assert_string_equal(emr_bundle_name(f.bundle), "test.emr");
}

static void options_are_kept_in_the_bundle(void **state)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    (void)state;
    options.rescale = EMR_RESCALE_L2;
    options.rescale_per = EMR_RESCALE_PER_ROW;
    options.tie = EMR_TIE_NEGATIVE;
    options.unified_dtype = EMR_DTYPE_BF16;
    options.embed_base = 1;
    fixture other;
    fixture_create(&other, &options, false);
    assert_int_equal(emr_bundle_get_info(other.bundle, &info), EMR_OK);
    assert_int_equal(info.rescale, EMR_RESCALE_L2);
    assert_int_equal(info.rescale_per, EMR_RESCALE_PER_ROW);
    assert_int_equal(info.tie, EMR_TIE_NEGATIVE);
    assert_int_equal(info.unified_dtype, EMR_DTYPE_BF16);
    assert_int_equal(info.has_base, 1);
    fixture_destroy(&other);
}

static void tensors_are_described(void **state)
{
    uint32_t n = 0, found;
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    (void)state;
    for (; emr_bundle_get_tensor(f.bundle, n, &info) == EMR_OK; n++) {
        const test_tensor *t = &f.set.base.tensors[fixture_index(&f, info.name)];
        assert_int_equal(info.merged, n < FIXTURE_MERGED);
        assert_int_equal(info.merged, strcmp(info.name, FIXTURE_KEPT) != 0);
        assert_int_equal(info.dtype, t->dtype);
        assert_int_equal(info.rank, t->rank);
        assert_true(info.count == test_tensor_count(t));
        for (uint32_t k = 0; k < t->rank; k++)
            assert_true(info.shape[k] == t->shape[k]);
        assert_int_equal(info.unified_bytes > 0, info.merged && info.count > 0);
        assert_true(info.unified_bytes <= 4 * info.count);
        assert_int_equal(emr_bundle_find_tensor(f.bundle, info.name, &found, NULL), EMR_OK);
        assert_int_equal(found, n);
    }
    assert_int_equal(n, FIXTURE_MERGED + 1);
    assert_int_equal(emr_bundle_get_tensor(f.bundle, n, &info), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_get_tensor(f.bundle, UINT32_MAX, &info), EMR_ENOTFOUND);
    info.size--;
    assert_int_equal(emr_bundle_get_tensor(f.bundle, 0, &info), EMR_EINVAL);
    assert_int_equal(emr_bundle_find_tensor(f.bundle, "no such", &found, NULL), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_find_tensor(f.bundle, NULL, &found, NULL), EMR_EINVAL);
    assert_int_equal(emr_bundle_find_tensor(f.bundle, "w", NULL, NULL), EMR_EINVAL);
}

static void tasks_are_described(void **state)
{
    emr_task_info info = EMR_INIT(emr_task_info);
    uint32_t found;
    (void)state;
    for (uint32_t t = 0; t < FIXTURE_TASKS; t++) {
        const char name[] = {'t', (char)('0' + t), '\0'};
        assert_int_equal(emr_bundle_get_task(f.bundle, t, &info), EMR_OK);
        assert_string_equal(info.name, name);
        assert_int_equal(info.n_private, 1);
        assert_true(info.mask_ones > 0 && info.mask_ones < merged_params());
        assert_true(info.rescaler > 0);
        assert_true(info.mask_bytes > 0);
        assert_int_equal(emr_bundle_find_task(f.bundle, name, &found, NULL), EMR_OK);
        assert_int_equal(found, t);
    }
    assert_int_equal(emr_bundle_get_task(f.bundle, FIXTURE_TASKS, &info), EMR_ENOTFOUND);
    info.size = 8;
    assert_int_equal(emr_bundle_get_task(f.bundle, 0, &info), EMR_EINVAL);
    assert_int_equal(emr_bundle_find_task(f.bundle, "t3", &found, NULL), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_find_task(f.bundle, NULL, &found, NULL), EMR_EINVAL);
    assert_int_equal(emr_bundle_find_task(f.bundle, "t0", NULL, NULL), EMR_EINVAL);
}

static void private_tensors_are_described(void **state)
{
    emr_private_info info = EMR_INIT(emr_private_info);
    (void)state;
    assert_int_equal(emr_bundle_get_private(f.bundle, 1, 0, &info), EMR_OK);
    assert_string_equal(info.name, FIXTURE_PRIVATE);
    assert_true(info.rank == 1 && info.shape[0] == 10 && info.bytes == 40);
    assert_int_equal(info.dtype, EMR_DTYPE_F32);
    assert_int_equal(emr_bundle_get_private(f.bundle, 1, 1, &info), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_get_private(f.bundle, FIXTURE_TASKS, 0, &info), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_get_private(f.bundle, 0, UINT32_MAX, &info), EMR_ENOTFOUND);
    info.size--;
    assert_int_equal(emr_bundle_get_private(f.bundle, 1, 0, &info), EMR_EINVAL);
}

/* lambda = sum |tau| / sum |M * unified| over rows [first, first + n) of a tensor, in f64, from the weights.
 */
typedef struct ratio {
    double top, bottom;
} ratio;

static void add_ratio(const fixture *x, size_t task, size_t tensor, uint64_t first, uint64_t n, ratio *sums)
{
    emr_dtype dtype = x->set.base.tensors[tensor].dtype;
    size_t size = emr_dtype_bits(dtype) / 8;
    for (uint64_t i = first; i < first + n; i++) {
        float tau[FIXTURE_TASKS], sum = 0, elected = 0;
        for (size_t t = 0; t < FIXTURE_TASKS; t++) {
            double w, w0;
            emr_convert(EMR_DTYPE_F64, &w, dtype, x->set.tasks[t].data[tensor] + i * size, 1);
            emr_convert(EMR_DTYPE_F64, &w0, dtype, x->set.base.data[tensor] + i * size, 1);
            tau[t] = (float)(w - w0);
            sum += tau[t];
        }
        for (size_t t = 0; t < FIXTURE_TASKS; t++)
            if (tau[t] * sum > 0)
                elected = fmaxf(elected, fabsf(tau[t]));
        sums->top += (double)fabsf(tau[task]);
        sums->bottom += tau[task] * sum > 0 ? (double)elected : 0;
    }
}

/* Rescalers of one task's tensor, through a modulator. */
static emr_status read_rescalers(const emr_bundle *bundle, uint32_t task, uint32_t tensor, uint64_t first,
                                 size_t n, float *rescalers, emr_error *error)
{
    emr_modulator *modulator;
    emr_status status = emr_bundle_open_modulator(&modulator, bundle, task, NULL, error);
    if (!status)
        status = emr_modulator_read_rescalers(modulator, tensor, first, n, rescalers, error);
    emr_modulator_destroy(&modulator);
    return status;
}

static uint64_t n_rescalers(const emr_bundle *bundle, uint32_t tensor)
{
    emr_modulator *modulator;
    assert_int_equal(emr_bundle_open_modulator(&modulator, bundle, 0, NULL, NULL), EMR_OK);
    uint64_t n = emr_modulator_n_rescalers(modulator, tensor);
    emr_modulator_destroy(&modulator);
    return n;
}

static void check_rescaler(float got, ratio sums)
{
    double expected = sums.bottom > 0 ? sums.top / sums.bottom : 0;
    assert_true(fabs((double)got - expected) <= 1e-6 * fmax(expected, 1));
}

static void rescalers_are_those_of_the_formula(void **state)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    emr_error error;
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        options.rescale_per = per;
        fixture x;
        fixture_create(&x, &options, false);
        for (uint32_t t = 0; t < FIXTURE_TASKS; t++) {
            ratio model = {0, 0};
            for (uint32_t i = 0; i < FIXTURE_MERGED; i++) {
                emr_bundle_get_tensor(x.bundle, i, &info);
                add_ratio(&x, t, fixture_index(&x, info.name), 0, info.count, &model);
            }
            for (uint32_t i = 0; i < FIXTURE_MERGED; i++) {
                float got[16];
                emr_bundle_get_tensor(x.bundle, i, &info);
                uint64_t rows = per == EMR_RESCALE_PER_ROW && info.rank > 1 ? info.shape[0] : 1;
                rows = per == EMR_RESCALE_PER_ROW && info.count == 0 ? 0 : rows;
                assert_true(n_rescalers(x.bundle, i) == rows);
                assert_ok(read_rescalers(x.bundle, t, i, 0, (size_t)rows, got, &error), &error);
                for (uint64_t row = 0; row < rows; row++) {
                    ratio sums = {0, 0};
                    uint64_t n = info.count / rows;
                    add_ratio(&x, t, fixture_index(&x, info.name), row * n, n, &sums);
                    check_rescaler(got[row], per == EMR_RESCALE_PER_MODEL ? model : sums);
                }
            }
        }
        fixture_destroy(&x);
    }
}

static void rescalers_come_in_any_range(void **state)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    float all[6], got[6];
    uint32_t w;
    (void)state;
    options.rescale_per = EMR_RESCALE_PER_ROW;
    fixture x;
    fixture_create(&x, &options, false);
    assert_int_equal(emr_bundle_find_tensor(x.bundle, "w", &w, NULL), EMR_OK);
    assert_int_equal(read_rescalers(x.bundle, 1, w, 0, 6, all, NULL), EMR_OK);
    for (size_t first = 0; first <= 6; first++) {
        for (size_t n = 0; n <= 6 - first; n++) {
            assert_int_equal(read_rescalers(x.bundle, 1, w, first, n, got, NULL), EMR_OK);
            assert_memory_equal(got, all + first, n * sizeof *got);
        }
        assert_int_equal(read_rescalers(x.bundle, 1, w, first, 7 - first, got, NULL), EMR_EINVAL);
    }
    assert_int_equal(read_rescalers(x.bundle, 1, w, UINT64_MAX, 2, got, NULL), EMR_EINVAL);
    assert_int_equal(read_rescalers(x.bundle, FIXTURE_TASKS, w, 0, 1, got, NULL), EMR_ENOTFOUND);
    assert_int_equal(read_rescalers(x.bundle, 1, FIXTURE_MERGED, 0, 1, got, NULL), EMR_EINVAL);
    assert_int_equal(read_rescalers(x.bundle, 1, w, 0, 1, NULL, NULL), EMR_EINVAL);
    assert_true(n_rescalers(x.bundle, FIXTURE_MERGED) == 0);
    fixture_destroy(&x);
}

static void modulators_are_those_of_the_bundle(void **state)
{
    emr_modulator *modulator;
    emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    emr_error error;
    uint32_t found;
    (void)state;
    for (uint32_t t = 0; t < FIXTURE_TASKS; t++) {
        uint64_t ones = 0;
        assert_ok(emr_bundle_open_modulator(&modulator, f.bundle, t, NULL, &error), &error);
        assert_int_equal(emr_modulator_n_tensors(modulator), FIXTURE_MERGED);
        for (uint32_t i = 0; i < FIXTURE_MERGED; i++) {
            emr_bundle_get_tensor(f.bundle, i, &info);
            assert_string_equal(emr_modulator_tensor_name(modulator, i), info.name);
            assert_true(emr_modulator_tensor_count(modulator, i) == info.count);
            assert_int_equal(emr_modulator_find_tensor(modulator, info.name, &found), EMR_OK);
            assert_int_equal(found, i);
            assert_ok(emr_modulator_get_stats(modulator, i, &stats, &error), &error);
            assert_true(stats.count == info.count);
            ones += stats.ones;
        }
        emr_bundle_get_task(f.bundle, t, &task);
        assert_true(ones == task.mask_ones);
        assert_int_equal(emr_modulator_find_tensor(modulator, FIXTURE_KEPT, &found), EMR_ENOTFOUND);
        emr_modulation m = EMR_INIT(emr_modulation);
        assert_int_equal(emr_modulator_add(modulator, &m, NULL), EMR_ESTATE);
        emr_modulator_destroy(&modulator);
    }
    assert_int_equal(emr_bundle_open_modulator(&modulator, f.bundle, FIXTURE_TASKS, NULL, &error),
                     EMR_ENOTFOUND);
    assert_null(modulator);
    assert_int_equal(emr_bundle_open_modulator(&modulator, NULL, 0, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_modulator(NULL, f.bundle, 0, NULL, &error), EMR_EINVAL);
}

static void bundles_open_from_files(void **state)
{
    char *directory = test_directory_make(), *path = test_path(directory, "all.emr");
    emr_bundle *bundle;
    emr_error error;
    (void)state;
    test_write_file(path, emr_buffer_data(f.buffer), emr_buffer_bytes(f.buffer));
    for (uint32_t map = 0; map < 2; map++) {
        emr_bundle_options options = EMR_INIT(emr_bundle_options);
        options.map = map;
        assert_ok(emr_bundle_open_file(&bundle, path, &options, &error), &error);
        assert_ok(emr_bundle_verify(bundle, NULL, &error), &error);
        assert_string_equal(emr_bundle_name(bundle), path);
        emr_bundle_destroy(&bundle);
        assert_null(bundle);
    }
    emr_bundle_destroy(&bundle);
    emr_bundle_destroy(NULL);
    test_write_file(path, "{\"not\": \"a bundle\"}", 18);
    assert_int_equal(emr_bundle_open_file(&bundle, path, NULL, &error), EMR_EFORMAT);
    assert_null(bundle);
    assert_non_null(strstr(error.text, path));
    remove(path);
    assert_int_equal(emr_bundle_open_file(&bundle, path, NULL, &error), EMR_EIO);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(emr_bundle_open_file(&bundle, directory, NULL, &error), EMR_EIO);
    assert_int_equal(emr_bundle_open_file(NULL, path, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_file(&bundle, NULL, NULL, &error), EMR_EINVAL);
    free(path);
    test_directory_remove(directory);
}

static void incomplete_tables_are_refused(void **state)
{
    const emr_io good = *emr_buffer_io(f.buffer);
    emr_io io = good;
    emr_bundle *bundle = f.bundle;
    emr_bundle_options small = {.size = 8};
    emr_error error;
    (void)state;
    io.read = NULL;
    assert_int_equal(emr_bundle_open(&bundle, &io, "x.emr", NULL, &error), EMR_EINVAL);
    assert_null(bundle);
    assert_non_null(strstr(error.text, "x.emr"));
    io = good;
    io.length = NULL;
    assert_int_equal(emr_bundle_open(&bundle, &io, "x.emr", NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open(&bundle, NULL, "x.emr", NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open(NULL, &good, "x.emr", NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open(&bundle, &good, "x.emr", &small, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open(&bundle, &good, NULL, NULL, &error), EMR_OK);
    assert_string_equal(emr_bundle_name(bundle), "bundle");
    emr_bundle_destroy(&bundle);
}

static void check_metadata(const emr_bundle *bundle, uint32_t task, const char *const (*entries)[2],
                           uint32_t n)
{
    const char *key, *value;
    assert_int_equal(emr_bundle_n_metadata(bundle, task), n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(emr_bundle_get_metadata(bundle, task, i, &key, &value), EMR_OK);
        assert_string_equal(key, entries[i][0]);
        assert_string_equal(value, entries[i][1]);
        assert_ptr_equal(emr_bundle_find_metadata(bundle, task, key), value);
    }
    assert_int_equal(emr_bundle_get_metadata(bundle, task, n, &key, &value), EMR_ENOTFOUND);
    assert_null(emr_bundle_find_metadata(bundle, task, "absent"));
}

static void metadata_are_those_of_the_checkpoints(void **state)
{
    static const char *const of_base[][2] = {{"format", "pt"}}, *const of_1[][2] = {{"format", "np"},
                                                                                    {"", "empty key"},
                                                                                    {"license", ""}};
    const char *key, *value;
    emr_error error;
    (void)state;
    test_set s = test_set_create(mixed_tensors, 2, 3, 3, SOURCE_MEMORY);
    assert_ok(emr_model_set_metadata(s.base.model, "format", "pt", &error), &error);
    for (size_t i = 0; i < 3; i++)
        assert_ok(emr_model_set_metadata(s.tasks[1].model, of_1[i][0], of_1[i][1], &error), &error);
    emr_buffer *buffer = test_merge_bundle(&s, NULL);
    emr_bundle *bundle = test_bundle_open(buffer);
    check_metadata(bundle, EMR_BASE, of_base, 1);
    check_metadata(bundle, 0, NULL, 0);
    check_metadata(bundle, 1, of_1, 3);
    check_metadata(bundle, 2, NULL, 0);
    assert_int_equal(emr_bundle_get_metadata(bundle, 3, 0, &key, &value), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_n_metadata(bundle, 3), 0);
    assert_null(emr_bundle_find_metadata(bundle, 3, "format"));
    assert_int_equal(emr_bundle_get_metadata(bundle, 1, 0, NULL, &value), EMR_EINVAL);
    assert_int_equal(emr_bundle_get_metadata(bundle, 1, 0, &key, NULL), EMR_EINVAL);
    assert_int_equal(emr_bundle_get_metadata(NULL, 1, 0, &key, &value), EMR_EINVAL);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

static void reasons_of_reading_are_passed_on(void **state)
{
    emr_bundle *bundle;
    emr_error e;
    size_t at = 0;
    (void)state;
    for (emr_status status = EMR_EIO; status; at++) {
        test_io broken = {.inner = *emr_buffer_io(f.buffer), .fail_read = at, .fail_write = SIZE_MAX};
        broken.why = "the connection was lost";
        broken.system = 104;
        const emr_io io = test_io_make(&broken);
        memset(&e, 0, sizeof e);
        status = emr_bundle_open(&bundle, &io, "x.emr", NULL, &e);
        assert_true(status == EMR_OK || status == EMR_EIO);
        assert_int_equal(e.status, status);
        assert_int_equal(e.system, status ? 104 : 0);
        assert_true(!status == !strstr(e.text, ": the connection was lost"));
        assert_true(test_span_is(&e, e.file, status ? "x.emr" : ""));
        emr_bundle_destroy(&bundle);
    }
    assert_true(at > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bundle_describes_itself),
        cmocka_unit_test(options_are_kept_in_the_bundle),
        cmocka_unit_test(tensors_are_described),
        cmocka_unit_test(tasks_are_described),
        cmocka_unit_test(private_tensors_are_described),
        cmocka_unit_test(rescalers_are_those_of_the_formula),
        cmocka_unit_test(rescalers_come_in_any_range),
        cmocka_unit_test(modulators_are_those_of_the_bundle),
        cmocka_unit_test(metadata_are_those_of_the_checkpoints),
        cmocka_unit_test(reasons_of_reading_are_passed_on),
        cmocka_unit_test(bundles_open_from_files),
        cmocka_unit_test(incomplete_tables_are_refused),
    };
    return cmocka_run_group_tests_name("bundle", tests, set_up, tear_down);
}
