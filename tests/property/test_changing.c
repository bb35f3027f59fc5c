/* test_changing.c - inputs that change under the library: a file that is cut off, grows, is replaced, or lies
 * about its length, from each read or look at the length on. Each work ends with what it would have given, or
 * with a status that says why; nothing leaks, and files have no output then. */
#define _XOPEN_SOURCE 700

#include "faults.h"

#include <unistd.h>

/* An object that says another length than it has; or none at all. */
typedef struct liar {
    emr_memory truth;
    uint64_t claim;
    bool mute;
} liar;

static int liar_read(void *user, uint64_t offset, void *to, size_t n)
{
    liar *l = user;
    emr_io io = emr_memory_io(&l->truth);
    return io.read(io.user, offset, to, n);
}

static int liar_length(void *user, uint64_t *bytes)
{
    const liar *l = user;
    *bytes = l->claim;
    return l->mute ? -1 : 0;
}

static emr_io liar_io(liar *l)
{
    emr_io io = EMR_INIT(emr_io);
    io.user = l;
    io.read = liar_read;
    io.length = liar_length;
    return io;
}

typedef test_io *(*input_fn)(fixture *f);

static test_io *base_input(fixture *f)
{
    return &f->inputs[0];
}

static test_io *task_input(fixture *f)
{
    return &f->inputs[2];
}

static test_io *bundle_input(fixture *f)
{
    return &f->bundle_input;
}

static test_io *growable_input(fixture *f)
{
    return &f->growable_input;
}

/* Every work with each of its inputs, and what it gives. */
typedef struct change {
    work_fn work;
    input_fn input;
    size_t result; /* offset of an emr_buffer in the fixture */
} change;

static const change changes[] = {
    {pull_to_bundle, base_input, offsetof(fixture, bundle)},
    {pull_to_bundle, task_input, offsetof(fixture, bundle)},
    {rebuild_over_embedded_base, bundle_input, offsetof(fixture, rebuilt)},
    {rebuild_over_file, bundle_input, offsetof(fixture, rebuilt)},
    {rebuild_over_file, base_input, offsetof(fixture, rebuilt)},
    {grow, growable_input, offsetof(fixture, grown)},
    {grow, base_input, offsetof(fixture, grown)},
    {grow, task_input, offsetof(fixture, grown)},
    {drop_one, bundle_input, offsetof(fixture, dropped)},
};
enum { N_CHANGES = sizeof changes / sizeof changes[0] };

static const emr_buffer *result_of(const fixture *f, const change *c)
{
    return (const emr_buffer *)(const void *)((const char *)f + c->result);
}

static emr_memory truth_of(fixture *f, const change *c)
{
    reset(f);
    return *(const emr_memory *)c->input(f)->inner.user;
}

/* From every look on, the input is another object; with other weights, perhaps. How often that was noticed.
 */
static size_t assert_each_change(fixture *f, const change *c, emr_io other, bool other_weights)
{
    size_t n_failed = 0;
    for (size_t k = 0;; k++) {
        reset(f);
        test_io *input = c->input(f);
        input->other = other;
        input->other_at = k;
        emr_status status = c->work(f);
        if (f->counts.alive)
            fail_msg("look %zu: %zu allocations are still alive", k, f->counts.alive);
        if (!status && !other_weights)
            assert_same_buffer(&f->result, result_of(f, c), "result");
        if (input->looks <= k) {
            assert_ok(status, &f->error);
            return n_failed;
        }
        if (status) {
            n_failed++;
            assert_says(&f->error, "");
            if (status != EMR_EIO && status != EMR_EFORMAT && status != EMR_ECORRUPT &&
                status != EMR_EMISMATCH &&
                !(other_weights && (status == EMR_ENONFINITE || status == EMR_EUNSUPPORTED)))
                fail_msg("look %zu: %s (%s)", k, emr_status_name(status), f->error.text);
        }
    }
}

static void inputs_that_are_cut_off(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        emr_memory whole = truth_of(f, &changes[i]);
        const uint64_t lengths[] = {0, 7, 100, whole.bytes / 2, whole.bytes - 1};
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            emr_memory cut = {whole.data, lengths[n]};
            assert_int_not_equal(assert_each_change(f, &changes[i], emr_memory_io(&cut), false), 0);
        }
    }
}

static void inputs_that_grow(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        emr_memory whole = truth_of(f, &changes[i]);
        size_t n = (size_t)whole.bytes + 1000;
        unsigned char *longer = calloc(1, n);
        memcpy(longer, whole.data, (size_t)whole.bytes);
        emr_memory grown = {longer, n};
        assert_each_change(f, &changes[i], emr_memory_io(&grown), false);
        free(longer);
    }
}

static void lengths_that_lie(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        emr_memory truth = truth_of(f, &changes[i]);
        const uint64_t claims[] = {0,
                                   1,
                                   truth.bytes - 1,
                                   truth.bytes + 1,
                                   truth.bytes + (1 << 30),
                                   INT64_MAX,
                                   (uint64_t)INT64_MAX + 1,
                                   UINT64_MAX - 1,
                                   UINT64_MAX};
        for (size_t n = 0; n < sizeof claims / sizeof claims[0]; n++) {
            liar l = {truth, claims[n], false};
            assert_int_not_equal(assert_each_change(f, &changes[i], liar_io(&l), false), 0);
        }
        liar mute = {truth, 0, true};
        reset(f);
        changes[i].input(f)->other = liar_io(&mute);
        assert_int_equal(changes[i].work(f), EMR_EIO);
        assert_int_equal(f->counts.alive, 0);
        assert_says(&f->error, "");
    }
}

/* By what has the same form, by what has not, and by nothing that makes sense. */
static void inputs_that_are_replaced(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        for (size_t n = 0; n <= N_MODELS; n++) {
            emr_memory other = n < N_MODELS ? f->memories[n] : f->bundle_memory;
            assert_each_change(f, &changes[i], emr_memory_io(&other), true);
        }
        emr_memory whole = truth_of(f, &changes[i]);
        unsigned char *noise = malloc((size_t)whole.bytes);
        rng r = {i + 1};
        for (size_t k = 0; k < whole.bytes; k++)
            noise[k] = (unsigned char)(rng_next(&r) >> 40);
        emr_memory other = {noise, whole.bytes};
        assert_each_change(f, &changes[i], emr_memory_io(&other), true);
        free(noise);
    }
}

/* A file that is cut off once it is open, and an output that must not appear. */
typedef struct cut_file {
    char *directory, *base, *task, *bundle, *out;
    emr_error error;
} cut_file;

static emr_status merge_cut(cut_file *c, const char *cut, uint64_t to)
{
    emr_model *base = NULL, *task = NULL;
    emr_merge *merge = NULL;
    emr_file *out = NULL;
    emr_merge_options o = small_options();
    assert_ok(emr_checkpoint_open(&base, c->base, NULL, &c->error), &c->error);
    assert_ok(emr_checkpoint_open(&task, c->task, NULL, &c->error), &c->error);
    assert_int_equal(truncate(cut, (off_t)to), 0);
    assert_ok(emr_merge_create(&merge, &o, &c->error), &c->error);
    assert_ok(emr_merge_set_base(merge, base, &c->error), &c->error);
    assert_ok(emr_merge_add_task(merge, "t", task, &c->error), &c->error);
    assert_ok(emr_file_create(&out, c->out, 0, NULL, &c->error), &c->error);
    emr_io io = emr_file_io(out);
    assert_ok(emr_merge_set_output(merge, &io, &c->error), &c->error);
    emr_status status = emr_merge_run(merge, &c->error);
    if (!status)
        status = emr_file_commit(out, &c->error);
    emr_file_close(&out);
    emr_merge_destroy(&merge);
    emr_model_destroy(&task);
    emr_model_destroy(&base);
    return status;
}

static emr_status apply_cut(cut_file *c, const char *cut, uint64_t to)
{
    emr_model *base = NULL, *model = NULL;
    emr_bundle *bundle = NULL;
    emr_view_options o = EMR_INIT(emr_view_options);
    o.trust_base = 1;
    assert_ok(emr_checkpoint_open(&base, c->base, NULL, &c->error), &c->error);
    assert_ok(emr_bundle_open_file(&bundle, c->bundle, NULL, &c->error), &c->error);
    assert_int_equal(truncate(cut, (off_t)to), 0);
    emr_status status = emr_bundle_open_task(&model, bundle, 1, base, &o, &c->error);
    if (!status)
        status = emr_checkpoint_write(model, c->out, NULL, &c->error);
    emr_model_destroy(&model);
    emr_bundle_destroy(&bundle);
    emr_model_destroy(&base);
    return status;
}

static void files_that_are_cut_off_give_no_output(void **state)
{
    fixture *f = *state;
    cut_file c = {.directory = test_directory_make()};
    c.base = test_path(c.directory, "base.safetensors");
    c.task = test_path(c.directory, "task.safetensors");
    c.bundle = test_path(c.directory, "all.emr");
    c.out = test_path(c.directory, "out.safetensors");
    for (int i = 0; i < 8; i++) {
        const char *const paths[] = {c.base, c.task, c.base, c.bundle};
        const emr_buffer *const whole[] = {&f->files[0], &f->files[2], &f->files[0], &f->bundle};
        int which = i / 2;
        test_write_file(c.base, f->files[0].data, f->files[0].bytes);
        test_write_file(c.task, f->files[2].data, f->files[2].bytes);
        test_write_file(c.bundle, f->bundle.data, f->bundle.bytes);
        uint64_t to = i % 2 ? 0 : whole[which]->bytes / 4;
        emr_status status = which < 2 ? merge_cut(&c, paths[which], to) : apply_cut(&c, paths[which], to);
        if (status != EMR_EIO)
            fail_msg("%d: %s (%s)", i, emr_status_name(status), c.error.text);
        assert_says(&c.error, paths[which]);
        assert_int_equal(test_directory_entries(c.directory), 3);
    }
    free(c.base);
    free(c.task);
    free(c.bundle);
    free(c.out);
    test_directory_remove(c.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_that_are_cut_off),
        cmocka_unit_test(inputs_that_grow),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(inputs_that_are_replaced),
        cmocka_unit_test(files_that_are_cut_off_give_no_output),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}
