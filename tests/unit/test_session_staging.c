/* test_session_staging.c - weights that go through a function: part by part in order, each full but the last,
 * and to the bit those that are written directly; and tensors by their numbers. */
#include "session_world.h"

#include <stdio.h>

/* A host that takes parts. */
typedef struct part_taker {
    const unsigned char *want; /* of element 0 of the tensor on */
    unsigned char *data;
    uint64_t next, end, staging;
    emr_dtype dtype;
    size_t calls, fail_at;
    emr_status status;
    const char *why;
} part_taker;

static emr_status take_part(const emr_weights_part *part, emr_error *error)
{
    part_taker *t = part->user;
    size_t bytes = emr_dtype_bits(part->dtype) / 8;
    uint64_t left = t->end - t->next;
    assert_int_equal(part->size, sizeof *part);
    assert_ptr_equal(part->data, t->data);
    assert_non_null(error);
    assert_true(left > 0);
    assert_int_equal(part->first, t->next);
    assert_int_equal(part->count, left < t->staging ? left : t->staging);
    assert_int_equal(part->dtype, t->dtype);
    assert_int_equal(part->blocks, EMR_BLOCK_TYPE_NONE);
    assert_memory_equal(part->data, t->want + part->first * bytes, part->count * bytes);
    memset(t->data, 0x5a, (size_t)part->count * bytes);
    t->next += part->count;
    if (t->calls++ != t->fail_at)
        return EMR_OK;
    if (t->why)
        snprintf(error->text, sizeof error->text, "%s", t->why);
    return t->status;
}

/* As many as the library may hand over, and what it is to hand over. */
static part_taker taker_of(const emr_weights *w, const unsigned char *want, uint64_t total, emr_dtype dtype)
{
    return (part_taker){.want = want,
                        .data = w->data,
                        .next = w->first,
                        .end = w->first + (w->count ? w->count : total - w->first),
                        .staging = w->staging,
                        .dtype = dtype,
                        .fail_at = SIZE_MAX};
}

static emr_dtype given_dtype(emr_dtype stored, emr_dtype dtype)
{
    return dtype && emr_dtype_is_float(stored) ? dtype : stored;
}

/* One tensor through a function, between two that are written directly. */
static void check_staging(session_world *w, uint32_t task, const char *name, emr_dtype stored,
                          emr_dtype dtype, rng *r)
{
    static const uint64_t stagings[] = {1, 7, 1000, 4096, 50000, UINT64_MAX};
    static float before[97 * 24], behind[97 * 24];
    uint64_t total, n_embed;
    emr_dtype out = given_dtype(stored, dtype);
    unsigned char *want = world_weights(w, task, name, out, &total);
    unsigned char *embed = world_weights(w, task, "embed", EMR_DTYPE_F32, &n_embed);
    unsigned char *data = malloc(33000 * 8);
    emr_weights all[3] = {{.size = sizeof *all, .name = "embed", .data = before, .dtype = EMR_DTYPE_F32},
                          {.size = sizeof *all, .name = name, .data = data, .write = take_part},
                          {.size = sizeof *all, .name = "embed", .data = behind, .dtype = EMR_DTYPE_F32}};
    all[1].staging = stagings[total > 5000 ? 2 + rng_below(r, 4) : rng_below(r, 6)];
    all[1].dtype = emr_dtype_is_float(stored) ? dtype : EMR_DTYPE_NONE;
    all[1].first = total && rng_below(r, 2) ? rng_below(r, total) : 0;
    all[1].count = rng_below(r, 2) ? rng_below(r, total - all[1].first + 1) : 0;
    part_taker taker = taker_of(&all[1], want, total, out);
    all[1].user = &taker;
    assert_ok(emr_session_apply(w->session, task, all, 3, &w->error), &w->error);
    assert_int_equal(taker.next, taker.end);
    assert_memory_equal(before, embed, sizeof before);
    assert_memory_equal(behind, embed, sizeof behind);
    free(want);
    free(embed);
    free(data);
}

static void parts_are_the_weights(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    rng r = {79};
    (void)state;
    for (size_t s = 0; s < n_world_settings; s++) {
        session_world w;
        world_create(&w, &world_settings[s]);
        size_t requests = w.counts.requests;
        for (size_t i = 0; i < w.set.base.n; i++)
            for (uint32_t k = 0; k < 8; k++) {
                const test_tensor *t = &w.set.base.tensors[i];
                uint32_t task = k % WORLD_LACKING;
                check_staging(&w, task, t->name, t->dtype, dtypes[k / 2], &r);
            }
        check_staging(&w, EMR_BASE, "tall", EMR_DTYPE_BF16, EMR_DTYPE_F32, &r);
        check_staging(&w, EMR_BASE, WORLD_IDS, EMR_DTYPE_I32, EMR_DTYPE_F32, &r);
        assert_int_equal(w.counts.requests, requests);
        world_destroy(&w);
    }
}

/* What the function says comes back, with the tensor's name; no part follows, and the session goes on. */
static void functions_that_fail_end_the_call(void **state)
{
    static const struct {
        emr_status given, want;
        const char *why;
    } failures[] = {{EMR_ECANCELED, EMR_ECANCELED, "the device is gone"},
                    {EMR_ENOMEM, EMR_ENOMEM, NULL},
                    {EMR_EFORMAT, EMR_EFORMAT, "two\nlines"},
                    {1, EMR_EIO, "a number of its own"},
                    {77, EMR_EIO, NULL}};
    static const char *const names[] = {"tall", WORLD_IDS, WORLD_PRIVATE};
    static const emr_dtype stored[] = {EMR_DTYPE_BF16, EMR_DTYPE_I32, EMR_DTYPE_F32};
    static unsigned char data[33000 * 4];
    rng r = {83};
    (void)state;
    for (size_t s = 0; s < n_world_settings; s++) {
        session_world w;
        world_create(&w, &world_settings[s]);
        for (size_t i = 0; i < 3; i++)
            for (size_t k = 0; k < 5; k++) {
                uint64_t total;
                unsigned char *want = world_weights(&w, 0, names[i], EMR_DTYPE_NONE, &total);
                emr_weights to = {.size = sizeof to, .name = names[i], .data = data, .write = take_part};
                to.staging = 20;
                part_taker taker = taker_of(&to, want, total, stored[i]);
                taker.fail_at = rng_below(&r, 3);
                taker.status = failures[k].given;
                taker.why = failures[k].why;
                to.user = &taker;
                assert_int_equal(emr_session_apply(w.session, 0, &to, 1, &w.error), failures[k].want);
                assert_int_equal(taker.calls, taker.fail_at + 1);
                assert_true(test_span_is(&w.error, w.error.tensor, names[i]));
                assert_null(strchr(w.error.text, '\n'));
                if (k == 0)
                    assert_non_null(strstr(w.error.text, failures[k].why));
                check_staging(&w, 1, names[i], stored[i], EMR_DTYPE_NONE, &r);
                free(want);
            }
        world_destroy(&w);
    }
}

static void wrong_staging_is_refused(void **state)
{
    static float room[900 * 31], direct[97 * 24];
    session_world w;
    (void)state;
    world_create(&w, &world_settings[0]);
    part_taker taker = {.end = 0}; /* which fails when it is called */
    const emr_weights good = {
        .size = sizeof good, .name = "tall", .data = room, .write = take_part, .user = &taker, .staging = 9};
    emr_weights two[2] = {{.size = sizeof *two, .name = "embed", .data = direct}, good};
    two[1].staging = 0;
    assert_told(&w, emr_session_apply(w.session, 0, two, 2, &w.error), EMR_EINVAL, "'tall'");
    two[1] = good, two[1].write = NULL;
    assert_told(&w, emr_session_apply(w.session, 0, two, 2, &w.error), EMR_EINVAL, "staging");
    two[1] = good, two[1].data = NULL;
    assert_told(&w, emr_session_apply(w.session, 0, two, 2, &w.error), EMR_EINVAL, "'tall'");
    two[1] = good, two[1].data = w.set.base.data[1] + 900 * 31 * 2 - 1;
    assert_told(&w, emr_session_apply(w.session, 0, two, 2, &w.error), EMR_EINVAL, "base");
    two[1].data = w.set.base.data[1] - 17, two[1].dtype = EMR_DTYPE_BF16;
    assert_told(&w, emr_session_apply(w.session, 0, two, 2, &w.error), EMR_EINVAL, "base");
    two[1] = good, two[1].count = 900 * 31 + 1;
    assert_told(&w, emr_session_apply(w.session, 0, two, 2, &w.error), EMR_EINVAL, "27900");
    for (size_t i = 0; i < 97 * 24; i++)
        assert_true(direct[i] == 0);                         /* nothing was written */
    two[1] = good, two[1].name = "none", two[1].data = NULL; /* of no elements, no part */
    assert_ok(emr_session_apply(w.session, 0, two, 2, &w.error), &w.error);
    world_destroy(&w);
}

/* Reading fails between parts. */
static void parts_of_damaged_weights_are_not_handed_over(void **state)
{
    static unsigned char data[4096 * 4];
    const world_setting setting = {.mask_blocks = 1};
    static const char *const names[] = {"tall", WORLD_PRIVATE};
    static const emr_dtype stored[] = {EMR_DTYPE_BF16, EMR_DTYPE_F32};
    rng r = {89};
    session_world w;
    (void)state;
    world_create(&w, &setting);
    for (size_t i = 0; i < 2; i++) {
        uint64_t total;
        unsigned char *want = world_weights(&w, 1, names[i], stored[i], &total);
        emr_weights to = {.size = sizeof to, .name = names[i], .data = data, .write = take_part};
        to.staging = 4096;
        part_taker taker = taker_of(&to, want, total, stored[i]);
        to.user = &taker;
        w.input.reads = 0;
        w.input.fail_read = i ? 7 : 3;
        assert_told(&w, emr_session_apply(w.session, 1, &to, 1, &w.error), EMR_EIO, "'t1'");
        assert_true(taker.calls > 0 && taker.next < taker.end);
        w.input.fail_read = SIZE_MAX;
        check_staging(&w, 1, names[i], stored[i], EMR_DTYPE_NONE, &r);
        free(want);
    }
    world_destroy(&w);
}

/* A number stands for the bundle's name. */
static void numbers_stand_for_names(void **state)
{
    static unsigned char room[900 * 31 * 8];
    session_world w;
    (void)state;
    world_create(&w, &world_settings[0]);
    for (uint32_t i = 0; i < w.info.n_tensors; i++)
        for (uint32_t task = 0; task <= WORLD_TASKS; task++) {
            emr_tensor_info info = world_tensor(&w, i);
            emr_weights to = {.size = sizeof to, .data = room, .tensor = i};
            uint32_t of = task < WORLD_TASKS ? task : EMR_BASE;
            uint64_t n;
            emr_status status = emr_session_apply(w.session, of, &to, 1, &w.error);
            if (task == WORLD_LACKING && strcmp(info.name, WORLD_LACKED) == 0) {
                assert_told(&w, status, EMR_ENOTFOUND, "task 't2' has no tensor '" WORLD_LACKED "'");
                continue;
            }
            assert_ok(status, &w.error);
            unsigned char *want = world_weights(&w, of, info.name, EMR_DTYPE_NONE, &n);
            assert_memory_equal(room, want, n * (emr_dtype_bits(info.dtype) / 8));
            free(want);
        }
    emr_weights to = {.size = sizeof to, .data = room, .tensor = w.info.n_tensors};
    assert_told(&w, emr_session_apply(w.session, 0, &to, 1, &w.error), EMR_ENOTFOUND, "no tensor");
    to.tensor = UINT32_MAX;
    assert_told(&w, emr_session_apply(w.session, 0, &to, 1, &w.error), EMR_ENOTFOUND, "no tensor");
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_the_weights),
        cmocka_unit_test(functions_that_fail_end_the_call),
        cmocka_unit_test(wrong_staging_is_refused),
        cmocka_unit_test(parts_of_damaged_weights_are_not_handed_over),
        cmocka_unit_test(numbers_stand_for_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
