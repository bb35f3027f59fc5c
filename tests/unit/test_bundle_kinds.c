/* test_bundle_kinds.c - bundles whose tasks have modulators of several kinds: their weights are those of the page,
 * whoever reads them; questions have answers; subsets lose what they must and no more. */
#include "kinds_bundle.h"

#include "bundle/bundle.h"

#include <math.h>

enum { PER = 3 };

static kinds_bundle all[PER]; /* by what shares the rescalers of elected tasks */
static emr_bundle *bundles[PER];
static float *weights[PER][KINDS_MOST][KINDS_TENSORS]; /* as they should be */

static float *right_weights(const kinds_bundle *k, uint32_t task, uint32_t tensor)
{
    float *w = malloc((size_t)kinds_count(tensor) * 4 + 1);
    kinds_weights(k, task, tensor, w);
    return w;
}

static int create_all(void **state)
{
    (void)state;
    for (uint8_t per = 0; per < PER; per++) {
        kinds_draw(&all[per], per, kinds_of_all, n_kinds_of_all);
        kinds_write(&all[per]);
        bundles[per] = test_bundle_open(all[per].buffer);
        for (uint32_t t = 0; t < n_kinds_of_all; t++)
            for (uint32_t i = 0; i < KINDS_TENSORS; i++)
                weights[per][t][i] = right_weights(&all[per], t, i);
    }
    return 0;
}

static int destroy_all(void **state)
{
    (void)state;
    for (uint8_t per = 0; per < PER; per++) {
        for (uint32_t t = 0; t < n_kinds_of_all; t++)
            for (uint32_t i = 0; i < KINDS_TENSORS; i++)
                free(weights[per][t][i]);
        emr_bundle_destroy(&bundles[per]);
        kinds_destroy(&all[per]);
    }
    return 0;
}

/* A task's model against what is right, whole and in pieces. */
static void check_task_model(const emr_bundle *b, uint32_t task, float *const *right, rng *r)
{
    emr_model *model;
    emr_error error;
    assert_ok(emr_bundle_open_task(&model, b, task, NULL, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), KINDS_TENSORS);
    for (uint32_t i = 0; i < KINDS_TENSORS; i++) {
        const emr_tensor *t = emr_model_find_tensor(model, kinds_tensor_name(i));
        size_t n = (size_t)kinds_count(i);
        float *got = malloc(n * 4 + 1);
        assert_ok(emr_tensor_read(t, 0, got, n * 4, &error), &error);
        assert_memory_equal(got, right[i], n * 4);
        for (int k = 0; n && k < 20; k++) {
            size_t first = (size_t)rng_below(r, n), some = 1 + (size_t)rng_below(r, n - first);
            memset(got, 0xff, n * 4);
            assert_ok(emr_tensor_read(t, first * 4, got, some * 4, &error), &error);
            assert_memory_equal(got, right[i] + first, some * 4);
        }
        free(got);
    }
    emr_model_destroy(&model);
}

static void weights_are_those_of_the_page(void **state)
{
    rng r = {5};
    (void)state;
    for (uint8_t per = 0; per < PER; per++)
        for (uint32_t t = 0; t < n_kinds_of_all; t++)
            check_task_model(bundles[per], t, weights[per][t], &r);
}

static void whole_bundles_verify(void **state)
{
    emr_error error;
    (void)state;
    for (uint8_t per = 0; per < PER; per++)
        assert_ok(emr_bundle_verify(bundles[per], NULL, &error), &error);
}

static float widened(const kinds_stream *s, uint64_t i)
{
    return emr_f32_from_bits((uint32_t)emr_load16(s->bytes + 2 * i) << 16);
}

/* The scale number i of a tensor, as the content that was written says. */
static float right_rescaler(const kinds_bundle *k, uint32_t task, uint32_t tensor, uint64_t i)
{
    uint32_t kind = k->modulators[task].kind, two = kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
    if (kind > EMR_MODULATOR_KIND_TWO_SIDED)
        return widened(&k->streams[EMR_STREAM_SCALES][task], kinds_slot(k, tensor, 0) + i);
    if (k->summary.rescale_per == EMR_PER_ROW_BYTE)
        return emr_f32_from_bits(emr_load32(k->streams[EMR_STREAM_ROW_RESCALERS][task].bytes +
                                            (k->tensors[tensor].first_row * two + i) * 4));
    return k->scales[task][k->summary.rescale_per == EMR_PER_MODEL_BYTE ? 0 : tensor][i];
}

static uint64_t right_n_rescalers(const kinds_bundle *k, uint32_t task, uint32_t tensor)
{
    uint32_t kind = k->modulators[task].kind, two = kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
    if (kind <= EMR_MODULATOR_KIND_TWO_SIDED)
        return k->summary.rescale_per == EMR_PER_ROW_BYTE ? kinds_rows(tensor) * two : two;
    if (kinds_is_vector(tensor))
        return 0;
    return kinds_slot(k, tensor, kinds_count(tensor) - 1) - kinds_slot(k, tensor, 0) + 1;
}

static void check_rescalers(const kinds_bundle *k, uint32_t task, emr_modulator *m)
{
    emr_error error;
    for (uint32_t i = 0; i < KINDS_MERGED; i++) {
        uint64_t n = right_n_rescalers(k, task, i);
        float got[2048];
        assert_int_equal(emr_modulator_n_rescalers(m, i), n);
        for (uint64_t first = 0; first <= n; first += n / 3 + 1) {
            assert_ok(emr_modulator_read_rescalers(m, i, first, (size_t)(n - first), got, &error), &error);
            for (uint64_t at = first; at < n; at++)
                assert_true(got[at - first] == right_rescaler(k, task, i, at));
        }
        assert_int_equal(emr_modulator_read_rescalers(m, i, n, 1, got, &error), EMR_EINVAL);
    }
}

static void rescalers_can_be_read(void **state)
{
    (void)state;
    for (uint8_t per = 0; per < PER; per++)
        for (uint32_t t = 0; t < n_kinds_of_all; t++) {
            emr_modulator *m;
            emr_error error;
            assert_ok(emr_bundle_open_modulator(&m, bundles[per], t, NULL, &error), &error);
            check_rescalers(&all[per], t, m);
            emr_modulator_destroy(&m);
        }
}

static void kinds_can_be_asked_for(void **state)
{
    (void)state;
    for (uint8_t per = 0; per < PER; per++)
        for (uint32_t t = 0; t < n_kinds_of_all; t++) {
            const emr_modulator_record *m = &kinds_of_all[t];
            emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
            emr_fidelity fidelity = EMR_INIT(emr_fidelity);
            bool elected = m->kind <= EMR_MODULATOR_KIND_TWO_SIDED;
            assert_int_equal(emr_bundle_get_modulation(bundles[per], t, &spec, &fidelity), EMR_OK);
            assert_int_equal(spec.kind, m->kind);
            assert_int_equal(spec.thinning, m->thinning ? 1 << m->thinning : 0);
            assert_int_equal(spec.n_levels, m->n_levels);
            assert_int_equal(spec.rescale, m->rescale + 1);
            assert_int_equal(spec.rescale_per, elected ? per + 1 : EMR_RESCALE_PER_ROW);
            assert_int_equal(spec.mask_rule, m->mask_rule);
            assert_int_equal(spec.vectors_dtype, m->vectors_dtype);
            assert_int_equal(spec.without_columns, m->kind == EMR_MODULATOR_KIND_SIGN && !m->has_columns);
            assert_int_equal(spec.seed, m->seed);
            assert_true(fidelity.error == m->error && fidelity.cosine == m->cosine &&
                        fidelity.coefficient == m->coefficient);
            assert_int_equal(emr_bundle_get_modulation(bundles[per], t, NULL, NULL), EMR_OK);
        }
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    assert_int_equal(emr_bundle_get_modulation(bundles[0], n_kinds_of_all, &spec, NULL), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_get_modulation(NULL, 0, &spec, NULL), EMR_EINVAL);
    spec.size = 4;
    assert_int_equal(emr_bundle_get_modulation(bundles[0], 0, &spec, NULL), EMR_EINVAL);
}

/* As stored, so that it depends on the codec; but all that the streams have. */
static uint64_t stored_of_task(const emr_bundle *b, uint32_t task, bool masks_alone)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        for (uint64_t k = 0; s.owner == task && k < emr_stream_blocks(&s); k++)
            if (!masks_alone || s.kind == EMR_STREAM_MASK)
                bytes += emr_bundle_block_record(b, (size_t)(s.first_block + k)).stored;
    }
    return bytes;
}

static void sizes_can_be_asked_for(void **state)
{
    static const unsigned scales_of_index[PER] = {1, KINDS_MERGED, 0};
    (void)state;
    for (uint8_t per = 0; per < PER; per++) {
        emr_bundle_info info = EMR_INIT(emr_bundle_info);
        assert_int_equal(emr_bundle_get_info(bundles[per], &info), EMR_OK);
        assert_int_equal(info.n_elected, 2);
        assert_int_equal(info.version_minor, 1);
        for (uint32_t t = 0; t < n_kinds_of_all; t++) {
            uint32_t kind = kinds_of_all[t].kind;
            unsigned scales = kind > EMR_MODULATOR_KIND_TWO_SIDED ? 0 : kind * scales_of_index[per];
            emr_task_info task = EMR_INIT(emr_task_info);
            assert_int_equal(emr_bundle_get_task(bundles[per], t, &task), EMR_OK);
            assert_int_equal(task.coded_bytes, stored_of_task(bundles[per], t, false) + 4 * scales);
            assert_int_equal(task.mask_bytes, stored_of_task(bundles[per], t, true));
            assert_int_equal(task.mask_bytes > 0, kind <= EMR_MODULATOR_KIND_TWO_SIDED);
        }
    }
}

static void masks_of_other_kinds_are_refused(void **state)
{
    (void)state;
    for (uint32_t t = 0; t < n_kinds_of_all; t++) {
        emr_model *model;
        emr_error error = {.text = ""};
        emr_modulator *m;
        bool elected = kinds_of_all[t].kind <= EMR_MODULATOR_KIND_TWO_SIDED;
        emr_status status = emr_bundle_open_mask(&model, bundles[0], t, NULL, &error);
        assert_int_equal(status, elected ? EMR_OK : EMR_EUNSUPPORTED);
        if (!elected) {
            assert_non_null(strstr(error.text, emr_bundle_kind(bundles[0], t)->name));
            assert_true(test_span_is(&error, error.task, emr_bundle_task_name(bundles[0], t)));
        }
        emr_model_destroy(&model);
        assert_ok(emr_bundle_open_modulator(&m, bundles[0], t, NULL, &error), &error);
        emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
        assert_ok(emr_modulator_get_stats(m, 0, &stats, &error), &error);
        assert_int_equal(stats.count, kinds_count(0));
        assert_int_equal(stats.ones > 0, elected);
        emr_modulator_destroy(&m);
    }
}

/* ---- subsets ---- */

typedef struct subset {
    uint32_t tasks[KINDS_MOST], n;
    bool has_elected, has_others;
} subset;

/* The tasks whose bits are set. */
static subset subset_of(unsigned bits)
{
    subset s = {.n = 0};
    for (uint32_t t = 0; t < n_kinds_of_all; t++) {
        if (!(bits >> t & 1))
            continue;
        s.tasks[s.n++] = t;
        s.has_elected = s.has_elected || kinds_of_all[t].kind <= EMR_MODULATOR_KIND_TWO_SIDED;
        s.has_others = s.has_others || kinds_of_all[t].kind != EMR_MODULATOR_KIND_MASK;
    }
    return s;
}

static emr_buffer *extract(const emr_bundle *b, const subset *s, emr_drop_report *report)
{
    emr_buffer *out = test_buffer_new();
    emr_task_selection selection = {.size = sizeof selection, .tasks = s->tasks, .n_tasks = s->n};
    emr_error error;
    assert_ok(emr_bundle_extract(b, &selection, emr_buffer_io(out), report, &error), &error);
    return out;
}

static void check_subset(uint8_t per, unsigned bits, rng *r)
{
    subset kept = subset_of(bits), gone = subset_of(~bits);
    emr_drop_report report = EMR_INIT(emr_drop_report), other = report;
    emr_buffer *out = extract(bundles[per], &kept, &report), *dropped = test_buffer_new();
    emr_task_selection selection = {.size = sizeof selection, .tasks = gone.tasks, .n_tasks = gone.n};
    emr_error error;
    emr_bundle *left = test_bundle_open(out);
    assert_int_equal(left->features & EMR_FEATURE_KINDS, kept.has_others ? EMR_FEATURE_KINDS : 0);
    assert_int_equal(left->version_minor, kept.has_others);
    assert_non_null(
        left->sections[EMR_SECTION_MODULATORS].data); /* of the mask there is something to say, too */
    assert_int_equal(left->base_streams[EMR_STREAM_UNIFIED] != EMR_NO_STREAM, kept.has_elected);
    assert_int_equal(report.lost_unified, !kept.has_elected);
    assert_int_equal(emr_bundle_n_elected(left) > 0, kept.has_elected);
    assert_ok(emr_bundle_verify(left, NULL, &error), &error);
    if (gone.n) {
        assert_ok(emr_bundle_drop(bundles[per], &selection, emr_buffer_io(dropped), &other, &error), &error);
        assert_true(test_same_buffers(out, dropped));
        assert_memory_equal(&report, &other, sizeof report);
    }
    for (uint32_t i = 0; i < kept.n; i++)
        check_task_model(left, i, weights[per][kept.tasks[i]], r);
    emr_bundle_destroy(&left);
    emr_buffer_destroy(&out);
    emr_buffer_destroy(&dropped);
}

static void subsets_have_the_same_weights(void **state)
{
    rng r = {11};
    (void)state;
    for (uint8_t per = 0; per < PER; per++) {
        for (uint32_t t = 0; t < n_kinds_of_all; t++)
            check_subset(per, 1u << t, &r);
        check_subset(per, 0xfd, &r);
        check_subset(per, 0x3e, &r);
        check_subset(per, 0xfa, &r); /* no task is elected */
        check_subset(per, 0xff, &r);
    }
}

/* A bundle of a mask, and what is left of one where there was another task, too: alike. Whether it says of the mask
 * what only newer readers know. */
static void check_mask_alone(uint8_t per, const emr_modulator_record *mask, bool says_more)
{
    const emr_modulator_record both[] = {*mask, kinds_of_all[1]};
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    emr_fidelity fidelity = EMR_INIT(emr_fidelity);
    subset first = subset_of(1);
    kinds_bundle masks, mixed;
    kinds_draw(&masks, per, both, 1);
    kinds_draw(&mixed, per, both, 2);
    kinds_write(&masks);
    kinds_write(&mixed);
    emr_bundle *alone = test_bundle_open(masks.buffer), *more = test_bundle_open(mixed.buffer);
    emr_buffer *one = extract(alone, &first, NULL), *other = extract(more, &first, NULL);
    assert_true(test_same_buffers(one, other));
    emr_bundle_destroy(&alone);
    alone = test_bundle_open(one);
    assert_int_equal(alone->version_minor, 0);
    assert_int_equal(alone->features, 0);
    assert_int_equal(alone->sections[EMR_SECTION_MODULATORS].data != NULL, says_more);
    assert_int_equal(emr_bundle_get_info(alone, &info), EMR_OK);
    assert_int_equal(info.rescale, mask->rescale + 1);
    assert_int_equal(emr_bundle_get_modulation(alone, 0, &spec, &fidelity), EMR_OK);
    assert_int_equal(spec.rescale, mask->rescale + 1);
    assert_int_equal(spec.mask_rule, mask->mask_rule);
    assert_int_equal(emr_f32_bits(fidelity.error), emr_f32_bits(mask->error));
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&other);
    emr_bundle_destroy(&alone);
    emr_bundle_destroy(&more);
    kinds_destroy(&masks);
    kinds_destroy(&mixed);
}

static void masks_alone_are_an_older_bundle(void **state)
{
    emr_modulator_record nearest = kinds_paper_mask, norm = nearest, measured = nearest;
    (void)state;
    nearest.mask_rule = EMR_MASK_RULE_NEAREST;
    norm.rescale = 3;
    measured.error = 0.25f;
    for (uint8_t per = 0; per < PER; per++) {
        check_mask_alone(per, &kinds_of_all[0], true);
        check_mask_alone(per, &kinds_paper_mask, false);
        check_mask_alone(per, &nearest, true);
        check_mask_alone(per, &norm, true);
        check_mask_alone(per, &measured, true);
    }
}

static void unified_vector_goes_with_the_last_that_uses_it(void **state)
{
    subset coded = subset_of(0xfa), sided = subset_of(0xfe);
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
    emr_model *model;
    emr_error error = {.text = ""};
    (void)state;
    emr_buffer *out = extract(bundles[0], &coded, &report);
    emr_bundle *left = test_bundle_open(out);
    assert_true(report.alone > 0 && report.shared == 0 && report.unified >= report.alone);
    assert_int_equal(emr_bundle_open_unified(&model, left, NULL, &error), EMR_EUNSUPPORTED);
    assert_null(model);
    assert_true(strlen(error.text) > 20);
    assert_int_equal(emr_bundle_get_tensor(left, 0, &tensor), EMR_OK);
    assert_int_equal(tensor.unified_bytes, 0);
    emr_buffer *again = extract(left, &(subset){.tasks = {0}, .n = 1}, &report);
    assert_true(report.unified == 0 && report.alone == 0 && report.shared == 0 && !report.lost_unified);
    emr_bundle_destroy(&left);
    emr_buffer_destroy(&again);
    emr_buffer_destroy(&out);
    out = extract(bundles[0], &sided, &report); /* the mask goes, the two-sided one stays */
    assert_true(report.shared > 0 && !report.lost_unified);
    emr_buffer_destroy(&out);
}

/* ---- what cannot be ---- */

/* Contents of scales are looked at when they are used. */
static void impossible_scales_are_refused_when_read(void **state)
{
    static const uint16_t wrong[] = {0x8000, 0xbf80, 0x7f80, 0x7fc0, 0xffc0};
    (void)state;
    for (uint32_t t = 0; t < n_kinds_of_all; t++)
        for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
            kinds_bundle k;
            emr_model *model;
            emr_error error = {.text = ""};
            enum { TENSOR = 0, ROW = 3 };
            kinds_draw(&k, EMR_PER_ROW_BYTE, kinds_of_all, n_kinds_of_all);
            uint64_t row = k.tensors[TENSOR].first_row + ROW;
            if (kinds_of_all[t].kind == EMR_MODULATOR_KIND_MASK)
                emr_store32(k.streams[EMR_STREAM_ROW_RESCALERS][t].bytes + row * 4, (uint32_t)wrong[w] << 16);
            else if (kinds_of_all[t].kind == EMR_MODULATOR_KIND_TWO_SIDED)
                emr_store32(k.streams[EMR_STREAM_ROW_RESCALERS][t].bytes + row * 8 + 4,
                            (uint32_t)wrong[w] << 16);
            else
                emr_store16(k.streams[EMR_STREAM_SCALES][t].bytes +
                                2 * kinds_slot(&k, TENSOR, ROW * kinds_columns(TENSOR)),
                            wrong[w]);
            kinds_write(&k);
            emr_bundle *b = test_bundle_open(k.buffer);
            assert_ok(emr_bundle_open_task(&model, b, t, NULL, NULL, &error), &error);
            const emr_tensor *tensor = emr_model_find_tensor(model, kinds_tensor_name(TENSOR));
            size_t row_bytes = (size_t)kinds_columns(TENSOR) * 4;
            float got[64];
            assert_ok(emr_tensor_read(tensor, (ROW - 1) * row_bytes, got, row_bytes, &error), &error);
            assert_int_equal(emr_tensor_read(tensor, ROW * row_bytes, got, row_bytes, &error), EMR_EFORMAT);
            assert_true(test_span_is(&error, error.task, emr_bundle_task_name(b, t)));
            assert_true(test_span_is(&error, error.tensor, kinds_tensor_name(TENSOR)));
            emr_model_destroy(&model);
            emr_bundle_destroy(&b);
            kinds_destroy(&k);
        }
}

/* What nobody checks must harm nobody: a NaN and an infinity among columns and differences. */
static void any_columns_and_differences_can_be_read(void **state)
{
    static const uint16_t odd[] = {0x7fc1, 0xff80, 0x7f80, 0x8000, 0xc000};
    kinds_bundle k;
    rng r = {3};
    (void)state;
    kinds_draw(&k, EMR_PER_MODEL_BYTE, kinds_of_all, n_kinds_of_all);
    for (uint32_t t = 0; t < n_kinds_of_all; t++)
        for (uint32_t kind = EMR_STREAM_COLUMNS; kind <= EMR_STREAM_VECTORS; kind++)
            for (uint64_t i = 0; i < k.streams[kind][t].n; i += 14)
                emr_store16(k.streams[kind][t].bytes + i, odd[rng_below(&r, 5)]);
    kinds_write(&k);
    emr_bundle *b = test_bundle_open(k.buffer);
    for (uint32_t t = 0; t < n_kinds_of_all; t++) {
        emr_model *model;
        emr_error error;
        assert_ok(emr_bundle_open_task(&model, b, t, NULL, NULL, &error), &error);
        for (uint32_t i = 0; i < KINDS_TENSORS; i++) {
            float *got = malloc((size_t)kinds_count(i) * 4 + 1), *right = right_weights(&k, t, i);
            const emr_tensor *tensor = emr_model_find_tensor(model, kinds_tensor_name(i));
            assert_ok(emr_tensor_read(tensor, 0, got, (size_t)kinds_count(i) * 4, &error), &error);
            for (uint64_t at = 0; at < kinds_count(i); at++) {
                if (isnan(right[at]))
                    right[at] = emr_f32_from_bits(EMR_NAN_F32);
                assert_int_equal(emr_f32_bits(got[at]), emr_f32_bits(right[at]));
            }
            free(got);
            free(right);
        }
        emr_model_destroy(&model);
    }
    emr_bundle_destroy(&b);
    kinds_destroy(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_page),
        cmocka_unit_test(whole_bundles_verify),
        cmocka_unit_test(rescalers_can_be_read),
        cmocka_unit_test(kinds_can_be_asked_for),
        cmocka_unit_test(sizes_can_be_asked_for),
        cmocka_unit_test(masks_of_other_kinds_are_refused),
        cmocka_unit_test(subsets_have_the_same_weights),
        cmocka_unit_test(masks_alone_are_an_older_bundle),
        cmocka_unit_test(unified_vector_goes_with_the_last_that_uses_it),
        cmocka_unit_test(impossible_scales_are_refused_when_read),
        cmocka_unit_test(any_columns_and_differences_can_be_read),
    };
    return cmocka_run_group_tests(tests, create_all, destroy_all);
}
