/* test_session_format.c - sessions over bundles that the format allows and this library's merges do not
 * write: private tensors at any byte, floats that are kept from the base, rows across thousands of blocks.
 * And that the memory a session says it needs is what it takes. */
#include "property.h"

#include "image.h"

#include <stdio.h>

enum { N_TASKS = 2 };

typedef struct subject {
    test_set set;
    emr_buffer *buffer;
    emr_bundle *bundle;
    emr_session *session;
    emr_error error;
} subject;

static subject merge_subject(const test_tensor *tensors, size_t n_tensors, size_t n_tasks,
                             emr_merge_options o)
{
    static const char *const globs[] = {"head.*"};
    emr_policy policy = private_policy(globs);
    subject s = {0};
    o.policy = &policy;
    o.block_params = 4096;
    s.set = test_set_create(tensors, n_tensors, n_tasks, 5, SOURCE_MEMORY);
    s.buffer = test_merge_bundle(&s.set, &o);
    return s;
}

static image image_of(const subject *s)
{
    size_t n = emr_buffer_bytes(s->buffer);
    return (image){test_buffer_bytes(s->buffer), n, n};
}

/* The bundle as it is now in memory, with right checksums; nothing of it is used in place. */
static void open_subject(subject *s, const emr_session_options *options)
{
    image im = image_of(s);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    image_seal(&im, false);
    assert_ok(emr_bundle_open(&s->bundle, emr_buffer_io(s->buffer), "test.emr", NULL, &s->error), &s->error);
    assert_int_equal(emr_bundle_get_info(s->bundle, &info), EMR_OK);
    assert_ok(emr_session_create(&s->session, s->bundle, info.has_base ? NULL : s->set.base.model, options,
                                 &s->error),
              &s->error);
}

static void destroy_subject(subject *s)
{
    emr_session_destroy(&s->session);
    emr_bundle_destroy(&s->bundle);
    emr_buffer_destroy(&s->buffer);
    test_set_destroy(&s->set);
}

/* A record of a section, to be changed. */
static uint8_t *record_at(const subject *s, enum emr_section_kind kind, size_t i, size_t size)
{
    const image im = image_of(s);
    image_section section;
    assert_true(image_find(&im, kind, &section));
    return im.bytes + section.head + EMR_SECTION_HEAD + i * size;
}

/* Parts of a task's tensor in every dtype, against the task's model. */
static void check_parts(subject *s, uint32_t task, const char *name, rng *r)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16,
                                       EMR_DTYPE_F64};
    for (size_t k = 0; k < 40; k++) {
        emr_view_options o = EMR_INIT(emr_view_options);
        emr_model *model;
        o.dtype = dtypes[k % 5];
        assert_ok(emr_bundle_open_task(&model, s->bundle, task, NULL, &o, &s->error), &s->error);
        const emr_tensor *t = emr_model_find_tensor(model, name);
        size_t size = emr_dtype_bits(emr_tensor_dtype(t)) / 8;
        uint64_t count = emr_tensor_count(t), first = k ? rng_below(r, count) : 0;
        uint64_t n = k ? 1 + rng_below(r, count - first) : count;
        unsigned char *want = malloc(n * size), *got = malloc(n * size + 1);
        emr_weights w = {
            .size = sizeof w, .name = name, .data = got + 1, .first = first, .count = n, .dtype = o.dtype};
        assert_ok(emr_tensor_read(t, first * size, want, n * size, &s->error), &s->error);
        assert_ok(emr_session_apply(s->session, task, &w, 1, &s->error), &s->error);
        assert_memory_equal(got + 1, want, n * size);
        free(want);
        free(got);
        emr_model_destroy(&model);
    }
}

/* Elements that lie across blocks: the second private tensor is moved to an odd byte. */
static void private_tensors_may_begin_at_any_byte(void **state)
{
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 1, {100}},
                                          {"head.a", EMR_DTYPE_F32, 1, {5000}},
                                          {"head.b", EMR_DTYPE_F32, 1, {9000}}};
    rng r = {3};
    (void)state;
    for (int32_t compression = EMR_COMPRESSION_NONE; compression < 1; compression++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.embed_base = 1;
        o.compression = compression;
        subject s = merge_subject(tensors, 3, N_TASKS, o);
        for (size_t t = 0; t < N_TASKS; t++) {
            uint8_t *offset = record_at(&s, EMR_SECTION_PRIVATE, 2 * t + 1, EMR_PRIVATE_SIZE) + 16;
            assert_true(emr_load64(offset) > 5000 * 4);
            emr_store64(offset, emr_load64(offset) - 3);
        }
        open_subject(&s, NULL);
        for (uint32_t t = 0; t < N_TASKS; t++) {
            check_parts(&s, t, "head.a", &r);
            check_parts(&s, t, "head.b", &r);
        }
        destroy_subject(&s);
    }
}

/* Integers that all tasks share become floats: kept, as another program may have them. */
static void kept_tensors_may_be_floats(void **state)
{
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 1, {100}},
                                          {"kept", EMR_DTYPE_I32, 2, {70, 50}}};
    static unsigned char room[70 * 50 * 2 + 8];
    static float values[70 * 50];
    static unsigned char want[70 * 50 * 2];
    rng r = {4};
    (void)state;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.embed_base = 1;
    subject s = merge_subject(tensors, 2, N_TASKS, o);
    emr_store16(record_at(&s, EMR_SECTION_TENSORS, 1, EMR_TENSOR_SIZE) + 10, EMR_DTYPE_F32);
    for (size_t t = 0; t < N_TASKS; t++)
        *record_at(&s, EMR_SECTION_TASK_DTYPES, t * 2 + 1, 1) = EMR_DTYPE_F32;
    open_subject(&s, NULL);
    check_parts(&s, 1, "kept", &r);

    /* in a narrower dtype they take its room, no more, and are its values */
    emr_weights w = {.size = sizeof w, .name = "kept", .data = values, .dtype = EMR_DTYPE_F32};
    assert_ok(emr_session_apply(s.session, 0, &w, 1, &s.error), &s.error);
    assert_int_equal(emr_convert(EMR_DTYPE_BF16, want, EMR_DTYPE_F32, values, 70 * 50), EMR_OK);
    memset(room, 0xa5, sizeof room);
    w.data = room;
    w.dtype = EMR_DTYPE_BF16;
    assert_ok(emr_session_apply(s.session, 0, &w, 1, &s.error), &s.error);
    assert_memory_equal(room, want, sizeof want);
    for (size_t i = sizeof want; i < sizeof room; i++)
        assert_int_equal(room[i], 0xa5);
    destroy_subject(&s);
}

/* Room for all masks is room for any product, however many blocks its rows lie in. */
static void rows_may_lie_across_thousands_of_blocks(void **state)
{
    enum { TASKS = 16, COLUMNS = 260 * 4096 };
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_BF16, 1, {COLUMNS}}};
    float *x = calloc(COLUMNS, sizeof *x);
    float y[TASKS], want[TASKS];
    uint32_t tasks[TASKS];
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_product p = EMR_INIT(emr_product);
    emr_session_info info = EMR_INIT(emr_session_info);
    (void)state;
    subject s = merge_subject(tensors, 1, TASKS, (emr_merge_options)EMR_INIT(emr_merge_options));
    x[COLUMNS - 1] = x[5] = 1;
    p.n_rows = 1;
    p.x = x;
    p.x_stride = COLUMNS;
    p.batch = 1;
    open_subject(&s, NULL);
    for (uint32_t t = 0; t < TASKS; t++) {
        tasks[t] = t;
        p.y = &want[t];
        assert_ok(emr_session_multiply(s.session, &t, &p, &s.error), &s.error);
    }
    float *all = calloc(TASKS, COLUMNS * sizeof *all);
    for (size_t t = 0; t < TASKS; t++)
        memcpy(all + t * COLUMNS, x, COLUMNS * sizeof *x);
    p.x = all;
    p.y = y;
    p.batch = TASKS;
    assert_ok(emr_session_multiply(s.session, tasks, &p, &s.error), &s.error);
    assert_memory_equal(y, want, sizeof y);
    assert_int_equal(emr_session_get_info(s.session, &info), EMR_OK);

    /* and exactly so much room is needed */
    emr_session_destroy(&s.session);
    o.mask_bytes = info.mask_bytes;
    assert_ok(emr_session_create(&s.session, s.bundle, s.set.base.model, &o, &s.error), &s.error);
    assert_ok(emr_session_multiply(s.session, tasks, &p, &s.error), &s.error);
    emr_session_destroy(&s.session);
    o.mask_bytes--;
    assert_ok(emr_session_create(&s.session, s.bundle, s.set.base.model, &o, &s.error), &s.error);
    assert_int_equal(emr_session_multiply(s.session, tasks, &p, &s.error), EMR_ELIMIT);
    assert_says(&s.error, "mask_bytes");
    free(x);
    free(all);
    destroy_subject(&s);
}

/* Many tensors with long names, of an embedded base, and many tasks: none of it beyond the cap. */
static void tables_count_too(void **state)
{
    enum { TENSORS = 4000, TASKS = 4 };
    static test_tensor tensors[TENSORS];
    static char names[TENSORS][200];
    (void)state;
    for (size_t i = 0; i < TENSORS; i++) {
        snprintf(names[i], sizeof names[i], "%s%0150zu", i % 3 ? "w" : "head.", i);
        tensors[i] = (test_tensor){names[i], i % 5 ? EMR_DTYPE_F32 : EMR_DTYPE_I32, 4, {1, 2, 1, 3}};
    }
    for (uint32_t embed = 0; embed < 2; embed++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        emr_session_options so = EMR_INIT(emr_session_options);
        emr_session_info info = EMR_INIT(emr_session_info);
        test_meter meter = {0};
        emr_allocator allocator = test_meter_make(&meter);
        emr_session *again = NULL;
        o.embed_base = embed;
        subject s = merge_subject(tensors, TENSORS, TASKS, o);
        emr_resources resources = test_resources(&allocator, NULL);
        so.resources = &resources;
        open_subject(&s, &so);
        const emr_model *base = embed ? NULL : s.set.base.model;
        assert_int_equal(emr_session_get_info(s.session, &info), EMR_OK);
        if (meter.peak > info.memory_bytes)
            fail_msg("embedded %u: %zu bytes, not %zu", embed, meter.peak, (size_t)info.memory_bytes);
        emr_session_destroy(&s.session);
        assert_int_equal(meter.now, 0);
        resources.memory_bytes = info.memory_bytes - 1;
        assert_int_equal(emr_session_create(&again, s.bundle, base, &so, &s.error), EMR_ELIMIT);
        assert_null(again);
        resources.memory_bytes = info.memory_bytes;
        assert_ok(emr_session_create(&again, s.bundle, base, &so, &s.error), &s.error);
        emr_session_destroy(&again);
        destroy_subject(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_tensors_may_begin_at_any_byte),
        cmocka_unit_test(kept_tensors_may_be_floats),
        cmocka_unit_test(rows_may_lie_across_thousands_of_blocks),
        cmocka_unit_test(tables_count_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
