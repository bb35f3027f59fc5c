/* test_session_edges.c - what a session is asked for that is next to nothing, or out of all bounds: products of no
 * rows, strides that lead out of memory, arrays of odd steps, or that would be written over. */
#include "session_world.h"

/* As many vectors as need not be looked at at once; there is nothing to be read or written. */
static void products_of_no_rows_need_no_memory(void **state)
{
    (void)state;
    enum { BATCH = 150 };
    session_world w;
    uint32_t tasks[BATCH] = {0};
    world_create(&w, &world_settings[0]);
    for (uint32_t tensor = 0; tensor < w.info.n_merged; tensor++)
        for (uint32_t without_base = 0; without_base < 2; without_base++) {
            emr_product p = EMR_INIT(emr_product);
            p.tensor = tensor;
            p.batch = BATCH;
            p.without_base = without_base;
            assert_ok(emr_session_multiply(w.session, tasks, &p, &w.error), &w.error);
            tasks[BATCH - 1] = WORLD_TASKS; /* but tasks are looked at */
            assert_told(&w, emr_session_multiply(w.session, tasks, &p, &w.error), EMR_ENOTFOUND, "no task 3");
            tasks[BATCH - 1] = EMR_BASE;
        }
    world_destroy(&w);
}

/* Nor can the vectors lie anywhere that the strides lead to. */
static void strides_that_leave_memory_are_refused(void **state)
{
    (void)state;
    enum { BATCH = 100 };
    session_world w;
    float x[24 * BATCH] = {0}, y[BATCH];
    uint32_t tasks[BATCH] = {0};
    world_create(&w, &world_settings[0]);
    emr_product p = EMR_INIT(emr_product);
    p.name = "embed";
    p.x = x;
    p.y = y;
    p.batch = BATCH;
    p.n_rows = 1;
    assert_ok(emr_session_multiply(w.session, tasks, &p, &w.error), &w.error);
    for (size_t i = 1; i < 6; i++) {
        const size_t stride = SIZE_MAX / i - 23;
        p.x_stride = stride;
        assert_told(&w, emr_session_multiply(w.session, tasks, &p, &w.error), EMR_EINVAL, "fit in memory");
        p.x_stride = 0;
        p.y_stride = stride;
        assert_told(&w, emr_session_multiply(w.session, tasks, &p, &w.error), EMR_EINVAL, "fit in memory");
        p.y_stride = 0;
    }
    world_destroy(&w);
}

/* A later version may have larger structs, and of an array they need not be aligned. */
static void arrays_may_have_odd_steps(void **state)
{
    (void)state;
    enum { STEP = sizeof(emr_weights) + 3 };
    session_world w;
    float norm[48], scale, want[49];
    _Alignas(emr_weights) unsigned char array[2 * STEP] = {0};
    const emr_weights to[] = {{.size = STEP, .name = "norm", .data = norm},
                              {.size = STEP, .name = "scale", .data = &scale}};
    world_create(&w, &world_settings[0]);
    for (size_t i = 0; i < 2; i++) {
        emr_weights one = to[i];
        memcpy(array + i * STEP, &to[i], sizeof to[i]);
        one.size = sizeof one;
        one.data = want + i * 48;
        assert_ok(emr_session_apply(w.session, 0, &one, 1, &w.error), &w.error);
    }
    assert_ok(emr_session_apply(w.session, 0, (const void *)array, 2, &w.error), &w.error);
    assert_memory_equal(norm, want, sizeof norm);
    assert_memory_equal(&scale, want + 48, sizeof scale);
    world_destroy(&w);
}

/* The array is looked at until the last weights are written. */
static void weights_over_their_array_are_refused(void **state)
{
    (void)state;
    session_world w;
    enum { BYTES = 48 * sizeof(float) }; /* of the norm */
    struct surrounded {
        unsigned char before[BYTES];
        emr_weights to[2];
        unsigned char behind[BYTES];
    } all = {.to = {{.size = sizeof *all.to, .name = "scale"}, {.size = sizeof *all.to, .name = "norm"}}};
    float scale[2] = {7, 7};
    emr_weights *to = all.to;
    to[0].data = scale;
    world_create(&w, &world_settings[0]);
    to[1].data = all.before + 1;
    assert_told(&w, emr_session_apply(w.session, 0, to, 2, &w.error), EMR_EINVAL, "overwrite what is asked");
    to[1].data = (unsigned char *)&all + offsetof(struct surrounded, behind) - 1;
    assert_told(&w, emr_session_apply(w.session, 0, to, 2, &w.error), EMR_EINVAL, "'norm'");
    assert_true(scale[0] == 7);
    to[1].data = all.behind;
    assert_ok(emr_session_apply(w.session, 0, to, 2, &w.error), &w.error);
    to[1] = to[0];
    to[1].data = scale + 1;
    assert_ok(emr_session_apply(w.session, 0, to, 2, &w.error), &w.error);
    assert_true(scale[0] == scale[1] && scale[0] != 7);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_no_rows_need_no_memory),
        cmocka_unit_test(strides_that_leave_memory_are_refused),
        cmocka_unit_test(arrays_may_have_odd_steps),
        cmocka_unit_test(weights_over_their_array_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
