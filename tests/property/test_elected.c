/* test_elected.c - kinds of modulators with a unified vector: what a merge computes is what the formulas say for masks
 * that are nearest and for two-sided tasks, with every rule of scales, per model, tensor and row; the sink gets the same;
 * threads, memory and pushing make no difference; how near a task comes is told; what cannot be is refused. */
#include "property.h"

#include <math.h>

/* What may be: a rule of scales, and what shares them, for masks that agree, nearest ones, and two-sided tasks of both. */
typedef struct choice {
    emr_modulation_spec spec;
    emr_merge_options options;
} choice;

enum { N_RULES = 4, N_CHOICES = 4 * N_RULES * 3 };

static const emr_rescale rules[N_RULES] = {EMR_RESCALE_L1, EMR_RESCALE_L2, EMR_RESCALE_NORM,
                                           EMR_RESCALE_UNBIASED};

/* Points into *c: it stays where it is. */
static void choose(choice *c, size_t number)
{
    *c = (choice){.spec = EMR_INIT(emr_modulation_spec), .options = small_options()};
    c->spec.kind = number % 2 ? EMR_MODULATOR_KIND_TWO_SIDED : EMR_MODULATOR_KIND_MASK;
    c->spec.mask_rule = number / 2 % 2 ? EMR_MASK_RULE_NEAREST : EMR_MASK_RULE_AGREE;
    c->spec.rescale = rules[number / 4 % N_RULES];
    c->spec.rescale_per = (emr_rescale_per)(1 + number / 4 / N_RULES);
    c->options.modulation = &c->spec;
}

static void every_choice_is_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CHOICES; i++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            test_set s = random_set(7 * i + seed, 1 + (i + seed) % 4, seed != 1);
            choice c;
            choose(&c, i);
            c.options.tie = (emr_tie)(seed % 2);
            c.options.unified_dtype = seed == 2 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
            c.options.block_params = seed == 2 ? 4096 : 0;
            if (seed == 1)
                test_set_on_grid(&s, i);
            assert_merge_is_formula(&s, &c.options);
            test_set_destroy(&s);
        }
    }
}

/* Tensors that span chunks, windows and blocks. */
static void large_tensors_are_the_formula(void **state)
{
    (void)state;
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 3, 1, SOURCE_MEMORY);
    for (size_t i = 13; i < N_CHOICES; i += 7) {
        choice c;
        choose(&c, i);
        assert_merge_is_formula(&s, &c.options);
    }
    test_set_destroy(&s);
}

/* What is left open is the paper's for the paper's masks, and UNBIASED per row for others. */
static void defaults_are_those_of_the_kind(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {9, 70}}, {"v", EMR_DTYPE_BF16, 1, {100}}};
    test_set s = test_set_create(tensors, 2, 3, 5, SOURCE_MEMORY);
    for (size_t i = 0; i < 4; i++) {
        choice c;
        emr_bundle_info info = EMR_INIT(emr_bundle_info);
        choose(&c, i);
        c.spec.rescale = c.spec.rescale_per = 0;
        assert_merge_is_formula(&s, &c.options);
        emr_buffer *buffer = test_merge_bundle(&s, &c.options);
        emr_bundle *bundle = test_bundle_open(buffer);
        assert_ok(emr_bundle_get_info(bundle, &info), NULL);
        assert_int_equal(info.rescale_per, i ? EMR_RESCALE_PER_ROW : EMR_RESCALE_PER_MODEL);
        assert_int_equal(info.version_minor, i % 2); /* masks of any rule need nothing of 1.1 */
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
    }
    test_set_destroy(&s);
}

static emr_buffer *merge_with(const test_set *s, emr_merge_options o, uint32_t threads, uint64_t mib,
                              bool push)
{
    emr_error error;
    emr_pool *pool = create_pool(threads);
    emr_resources resources = resources_within(mib << 20);

    emr_buffer *buffer = test_buffer_new();
    resources.executor = emr_pool_executor(pool);
    o.resources = &resources;
    test_set given = test_set_copy(s, push ? SOURCE_PUSHED : SOURCE_IO);
    emr_merge *merge = test_merge_create(&given, &o);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(push ? push_set(merge, &given, 777, &error) : emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    test_set_destroy(&given);
    emr_pool_destroy(&pool);
    return buffer;
}

static void threads_memory_and_pushing_make_no_difference(void **state)
{
    (void)state;
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 3, 11, SOURCE_MEMORY);
    for (size_t i = 5; i < N_CHOICES; i += 6) {
        choice c;
        choose(&c, i);
        c.options.block_params = 16384;
        emr_buffer *want = merge_with(&s, c.options, 1, 64, false);
        emr_buffer *few = merge_with(&s, c.options, 3, 12, false),
                   *pushed = merge_with(&s, c.options, 2, 12, true);
        assert_same_buffer(few, want, "three threads in 12 MiB");
        assert_same_buffer(pushed, want, "pushed");
        emr_buffer_destroy(&want);
        emr_buffer_destroy(&few);
        emr_buffer_destroy(&pushed);
    }
    test_set_destroy(&s);
}

static void assert_near(float got, float want)
{
    if (!(fabsf(got - want) <= 2e-5f * fmaxf(1, fabsf(want))))
        fail_msg("%.9g, in f64 it is %.9g", (double)got, (double)want);
}

static void check_fidelity(emr_merge *merge, const reference *r, bool measured)
{
    for (uint32_t t = 0; t < r->set->n; t++) {
        emr_fidelity got = EMR_INIT(emr_fidelity), want = reference_fidelity(r, t);
        assert_ok(emr_merge_get_fidelity(merge, t, &got), NULL);
        if (!measured) {
            assert_true(isnan(got.error) && isnan(got.cosine) && isnan(got.coefficient));
            continue;
        }
        assert_near(got.error, want.error);
        assert_near(got.cosine, want.cosine);
        assert_near(got.coefficient, want.coefficient);
    }
    emr_fidelity none = EMR_INIT(emr_fidelity);
    assert_int_equal(emr_merge_get_fidelity(merge, (uint32_t)r->set->n, &none), EMR_ENOTFOUND);
}

/* A bundle tells what its tasks are, and how near they come; of the paper's masks the latter only if it is to. */
static void check_told(const emr_buffer *buffer, emr_merge *merge, const choice *c, bool is_paper)
{
    emr_bundle *b = test_bundle_open(buffer);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_ok(emr_bundle_get_info(b, &info), NULL);
    assert_int_equal(info.version_minor, c->spec.kind != EMR_MODULATOR_KIND_MASK);
    assert_int_equal(info.rescale, c->spec.rescale);
    for (uint32_t t = 0; t < info.n_tasks; t++) {
        emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
        emr_fidelity got = EMR_INIT(emr_fidelity), want = got;
        assert_ok(emr_bundle_get_modulation(b, t, &spec, &got), NULL);
        assert_ok(emr_merge_get_fidelity(merge, t, &want), NULL);
        assert_memory_equal(&spec, &c->spec, sizeof spec);
        if (is_paper && !c->options.measure)
            assert_true(isnan(got.error) && isnan(got.cosine) && isnan(got.coefficient));
        else
            assert_memory_equal(&got, &want, sizeof got);
    }
    emr_bundle_destroy(&b);
}

/* Measuring changes nothing but what is told. */
static void check_not_measured(const emr_buffer *measured, const test_set *s, choice *c)
{
    c->options.measure = 0;
    emr_buffer *plain = test_merge_bundle(s, &c->options);
    const unsigned char *a = emr_buffer_data(measured), *b = emr_buffer_data(plain);
    const unsigned char *trailer = b + emr_buffer_bytes(plain) - 64; /* begins with where the index does */
    size_t index = trailer[0] | (size_t)trailer[1] << 8 | (size_t)trailer[2] << 16;
    assert_memory_equal(a, b, index);
    emr_buffer_destroy(&plain);
}

/* Of L1 it is measured where the options say so. */
static void nearness_of_a_task_is_told(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {9, 170}},
                                          {"v", EMR_DTYPE_F32, 1, {100}},
                                          {"x", EMR_DTYPE_BF16, 2, {30, 1000}}};
    test_set s = test_set_create(tensors, 3, 3, 15, SOURCE_MEMORY);
    test_set_on_grid(&s, 3); /* ties, of which nothing is elected */
    for (size_t i = 0; i < 2 * N_CHOICES; i++) {
        choice c;
        emr_error error;
        emr_buffer *buffer = test_buffer_new();
        choose(&c, i / 2);
        c.options.measure = i % 2;
        bool measured = c.options.measure || c.spec.rescale != EMR_RESCALE_L1;
        bool is_paper =
            c.spec.kind == EMR_MODULATOR_KIND_MASK && !c.spec.mask_rule && c.spec.rescale <= EMR_RESCALE_L2;
        reference r = reference_make(&s, &c.options);
        emr_merge *merge = test_merge_create(&s, &c.options);
        emr_fidelity early = EMR_INIT(emr_fidelity);
        assert_int_equal(emr_merge_get_fidelity(merge, 0, &early), EMR_ESTATE);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        check_fidelity(merge, &r, measured);
        check_told(buffer, merge, &c, is_paper);
        emr_merge_destroy(&merge);
        if (c.spec.kind == EMR_MODULATOR_KIND_MASK)
            check_not_measured(buffer, &s, &c);
        emr_buffer_destroy(&buffer);
        reference_destroy(&r);
    }
    test_set_destroy(&s);
}

/* A sink that keeps the rescalers of one tensor, and the report's; compared with the bundle's. */
typedef struct kept {
    float values[3][512];
    size_t n[3], n_sides;
} kept;

static emr_status keep_rescalers(void *user, const emr_sink_part *p, emr_error *error)
{
    kept *k = user;
    (void)error;
    if (p->tensor != 0)
        return EMR_OK;
    assert_int_equal(p->first, k->n[p->task]);
    memcpy(k->values[p->task] + p->first * k->n_sides, p->values, p->n * k->n_sides * sizeof(float));
    k->n[p->task] += p->n;
    return EMR_OK;
}

static void sink_and_report_have_both_scales(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {60, 700}}, {"v", EMR_DTYPE_F32, 1, {100}}};
    test_set s = test_set_create(tensors, 2, 3, 25, SOURCE_MEMORY);
    for (size_t i = 0; i < N_CHOICES; i++) {
        choice c;
        emr_error error;
        choose(&c, i);
        size_t n_sides = c.spec.kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
        kept k = {.n_sides = n_sides};
        const emr_sink sink = {.size = sizeof sink, .user = &k, .rescalers = keep_rescalers};
        emr_merge *merge = test_merge_create(&s, &c.options);
        assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_buffer *buffer = test_merge_bundle(&s, &c.options);
        emr_bundle *bundle = test_bundle_open(buffer);
        for (uint32_t t = 0; t < 3; t++) {
            emr_task_report report = EMR_INIT(emr_task_report);
            size_t n;
            float *want = rescalers_of(bundle, t, 0, &n);
            bool per_model = c.spec.rescale_per == EMR_RESCALE_PER_MODEL;
            assert_ok(emr_merge_get_task_report(merge, t, &report), NULL);
            assert_int_equal(k.n[t], per_model ? 0 : n / n_sides);
            if (!per_model)
                assert_memory_equal(k.values[t], want, n * sizeof *want);
            assert_true(report.rescaler == (per_model ? want[0] : 0));
            assert_true(report.other_rescaler == (per_model && n_sides == 2 ? want[1] : 0));
            free(want);
        }
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        emr_merge_destroy(&merge);
    }
    test_set_destroy(&s);
}

/* A two-sided task that lacks a tensor has the base's, of which it makes something, too: its scales are those of a task
 * whose tensor is equal to the base's. */
static void lacking_a_tensor_is_having_the_bases(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {60, 70}},
                                          {"v", EMR_DTYPE_F32, 2, {50, 90}}};
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_buffer *of[2];
        for (size_t lacks = 0; lacks < 2; lacks++) {
            choice c;
            emr_policy policy = EMR_INIT(emr_policy);
            choose(&c, 1);
            policy.on_missing = EMR_ON_MISSING_BASE;
            c.spec.rescale = EMR_RESCALE_L1;
            c.spec.rescale_per = per;
            c.options.policy = &policy;
            test_set s = test_set_create(tensors, 2, 2, 45, SOURCE_MEMORY);
            test_model lacking = test_model_create("task", tensors, lacks ? 1 : 2, SOURCE_MEMORY);
            memcpy(lacking.data[0], s.tasks[1].data[0], 60 * 70 * sizeof(float));
            if (!lacks)
                memcpy(lacking.data[1], s.base.data[1], 50 * 90 * sizeof(float));
            test_model whole = s.tasks[1];
            s.tasks[1] = lacking;
            of[lacks] = test_merge_bundle(&s, &c.options);
            s.tasks[1] = whole;
            test_model_destroy(&lacking);
            test_set_destroy(&s);
        }
        emr_bundle *has = test_bundle_open(of[0]), *lacks = test_bundle_open(of[1]);
        for (uint32_t tensor = 0; tensor < 2; tensor++) {
            size_t n, n_other;
            float *a = rescalers_of(has, 1, tensor, &n), *b = rescalers_of(lacks, 1, tensor, &n_other);
            assert_int_equal(n, n_other);
            assert_memory_equal(a, b, n * sizeof *a);
            assert_true(a[1] > 0 || (tensor == 1 && per > EMR_RESCALE_PER_MODEL));
            free(a);
            free(b);
        }
        emr_bundle_destroy(&has);
        emr_bundle_destroy(&lacks);
        emr_buffer_destroy(&of[0]);
        emr_buffer_destroy(&of[1]);
    }
}

static void assert_no_merge(const test_set *s, choice c, const char *says)
{
    emr_error error;
    emr_merge *merge = NULL;
    c.options.modulation = &c.spec;
    emr_status status = emr_merge_create(&merge, &c.options, &error);
    if (!status) {
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        emr_merge_destroy(&merge);
        merge = test_merge_create(s, &c.options);
        status = emr_merge_get_plan(merge, &plan, &error);
    }
    emr_merge_destroy(&merge);
    assert_int_equal(status, EMR_EINVAL);
    assert_says(&error, says);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {9, 70}}};
    test_set s = test_set_create(tensors, 1, 2, 5, SOURCE_MEMORY);
    choice c;
    choose(&c, 0);
    for (size_t i = 0; i < 2; i++) { /* said by the task, or by the options */
        choose(&c, 1);
        *(i ? &c.options.rescale : &c.spec.rescale) = EMR_RESCALE_L1_MEANS;
        c.spec.rescale = i ? 0 : c.spec.rescale;
        c.spec.rescale_per = 0;
        assert_no_merge(&s, c, "l1-means");
        choose(&c, 2);
        *(i ? &c.options.rescale : &c.spec.rescale) = EMR_RESCALE_L1_MEANS;
        c.spec.rescale = i ? 0 : c.spec.rescale;
        c.spec.rescale_per = 0;
        assert_no_merge(&s, c, "l1-means");
    }
    choose(&c, 0);
    c.spec.rescale = EMR_RESCALE_L1_MEANS;
    c.spec.rescale_per = EMR_RESCALE_PER_ROW;
    assert_no_merge(&s, c, "per model only");
    c.spec.rescale = EMR_RESCALE_MIXED;
    assert_no_merge(&s, c, "mixed");
    for (size_t i = 0; i < 16; i++) { /* all but the paper's masks */
        choose(&c, i);
        c.options.extendable = 1;
        if (i)
            assert_no_merge(&s, c, "extendable");
    }
    for (emr_rescale rule = EMR_RESCALE_L2; rule <= EMR_RESCALE_UNBIASED; rule++) {
        c.options = small_options();
        c.spec = EMR_INIT(emr_modulation_spec);
        c.options.extendable = 1;
        c.options.rescale = rule;
        assert_no_merge(&s, c, "extendable");
    }
    test_set_destroy(&s);
}

/* Masks and two-sided tasks in one merge: each has its own number of scales, and the unified vector is that of all. */
static void masks_and_two_sided_tasks_mix(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {40, 700}},
                                          {"v", EMR_DTYPE_BF16, 1, {300}}};
    test_set s = test_set_create(tensors, 2, 4, 35, SOURCE_MEMORY);
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_error error;
        choice mask, both;
        emr_buffer *buffer = test_buffer_new();
        choose(&mask, 0);
        choose(&both, 1);
        mask.spec.rescale = both.spec.rescale = EMR_RESCALE_UNBIASED;
        mask.spec.rescale_per = both.spec.rescale_per = per;
        reference of[2] = {reference_make(&s, &mask.options), reference_make(&s, &both.options)};
        emr_merge *merge = test_merge_create(&s, &mask.options);
        assert_ok(emr_merge_set_modulation(merge, 1, &both.spec, &error), &error);
        assert_ok(emr_merge_set_modulation(merge, 3, &both.spec, &error), &error);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_merge_destroy(&merge);
        emr_bundle *bundle = test_bundle_open(buffer);
        for (uint32_t t = 0; t < 4; t++)
            assert_task_is_formula(bundle, t, s.base.model, &of[t % 2]);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        reference_destroy(&of[0]);
        reference_destroy(&of[1]);
    }
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice_is_the_formula),
        cmocka_unit_test(large_tensors_are_the_formula),
        cmocka_unit_test(defaults_are_those_of_the_kind),
        cmocka_unit_test(threads_memory_and_pushing_make_no_difference),
        cmocka_unit_test(nearness_of_a_task_is_told),
        cmocka_unit_test(sink_and_report_have_both_scales),
        cmocka_unit_test(lacking_a_tensor_is_having_the_bases),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(masks_and_two_sided_tasks_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
