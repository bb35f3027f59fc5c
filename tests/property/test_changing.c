/* test_changing.c - inputs that change under the library: a file that is cut off, grows, is replaced, or lies
 * about its length, from each read or look at the length on. Each work ends with what it would have given, or
 * with a status that says why; nothing leaks, and files have no output then. */
#define _XOPEN_SOURCE 700

#include "faults.h"

#include <unistd.h>

/* An object that says another length than it has; or none at all. */
typedef struct liar {
    const emr_buffer *truth;
    uint64_t claim;
    bool mute;
} liar;

static emr_status liar_read(void *user, uint64_t offset, void *to, size_t n, emr_error *error)
{
    const emr_io *io = emr_buffer_io(((const liar *)user)->truth);
    return io->read(io->user, offset, to, n, error);
}

static emr_status liar_length(void *user, uint64_t *bytes, emr_error *error)
{
    const liar *l = user;
    *bytes = l->claim;
    return l->mute ? emr_error_set(error, EMR_EIO, 0, NULL, "I will not say") : EMR_OK;
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
    size_t truth, result; /* offsets of an emr_buffer * in the fixture: what is read, and what it gives */
} change;

#define AT(member) offsetof(fixture, member)

static const change changes[] = {
    {pull_to_bundle, base_input, AT(files[0]), AT(bundle)},
    {pull_to_bundle, task_input, AT(files[2]), AT(bundle)},
    {rebuild_over_embedded_base, bundle_input, AT(bundle), AT(rebuilt)},
    {rebuild_over_file, bundle_input, AT(bundle), AT(rebuilt)},
    {rebuild_over_file, base_input, AT(files[0]), AT(rebuilt)},
    {grow, growable_input, AT(growable), AT(grown)},
    {grow, base_input, AT(files[0]), AT(grown)},
    {grow, task_input, AT(files[2]), AT(grown)},
    {drop_one, bundle_input, AT(bundle), AT(dropped)},
    {extract_other, bundle_input, AT(bundle), AT(dropped)},
};
enum { N_CHANGES = sizeof changes / sizeof changes[0] };

static const emr_buffer *buffer_at(const fixture *f, size_t offset)
{
    return *(emr_buffer *const *)(const void *)((const char *)f + offset);
}

/* From every look on, the input is another object; with other weights, perhaps. How often that was noticed.
 */
static size_t assert_each_change(fixture *f, const change *c, const emr_io *other, bool other_weights)
{
    size_t n_failed = 0;
    for (size_t k = 0;; k++) {
        reset(f);
        test_io *input = c->input(f);
        input->other = *other;
        input->other_at = k;
        emr_status status = c->work(f);
        if (f->counts.alive)
            fail_msg("look %zu: %zu allocations are still alive", k, f->counts.alive);
        if (!status && !other_weights)
            assert_same_buffer(f->result, buffer_at(f, c->result), "result");
        if (input->looks <= k) {
            assert_ok(status, &f->error);
            return n_failed;
        }
        if (status) {
            n_failed++;
            assert_says(&f->error, "");
            if (status != EMR_EIO && status != EMR_EFORMAT && status != EMR_ECORRUPT &&
                status != EMR_EMISMATCH &&
                !(other_weights &&
                  (status == EMR_ENONFINITE || status == EMR_EUNSUPPORTED || status == EMR_EEXIST)))
                fail_msg("look %zu: %s (%s)", k, emr_status_name(status), f->error.text);
        }
    }
}

static void inputs_that_are_cut_off(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        const emr_buffer *whole = buffer_at(f, changes[i].truth);
        size_t bytes = emr_buffer_bytes(whole);
        const size_t lengths[] = {0, 7, 100, bytes / 2, bytes - 1};
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            emr_buffer *cut = test_buffer_of(emr_buffer_data(whole), lengths[n]);
            assert_int_not_equal(assert_each_change(f, &changes[i], emr_buffer_io(cut), false), 0);
            emr_buffer_destroy(&cut);
        }
    }
}

static void inputs_that_grow(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        const emr_buffer *whole = buffer_at(f, changes[i].truth);
        size_t n = emr_buffer_bytes(whole);
        unsigned char *longer = calloc(1, n + 1000);
        memcpy(longer, emr_buffer_data(whole), n);
        emr_buffer *grown = test_buffer_of(longer, n + 1000);
        assert_each_change(f, &changes[i], emr_buffer_io(grown), false);
        emr_buffer_destroy(&grown);
        free(longer);
    }
}

static void lengths_that_lie(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        const emr_buffer *truth = buffer_at(f, changes[i].truth);
        uint64_t bytes = emr_buffer_bytes(truth);
        const uint64_t claims[] = {0,
                                   1,
                                   bytes - 1,
                                   bytes + 1,
                                   bytes + (1 << 30),
                                   INT64_MAX,
                                   (uint64_t)INT64_MAX + 1,
                                   UINT64_MAX - 1,
                                   UINT64_MAX};
        for (size_t n = 0; n < sizeof claims / sizeof claims[0]; n++) {
            liar l = {truth, claims[n], false};
            emr_io io = liar_io(&l);
            assert_int_not_equal(assert_each_change(f, &changes[i], &io, false), 0);
        }
        liar mute = {truth, 0, true};
        reset(f);
        changes[i].input(f)->other = liar_io(&mute);
        assert_int_equal(changes[i].work(f), EMR_EIO);
        assert_int_equal(f->counts.alive, 0);
        assert_says(&f->error, ": I will not say");
    }
}

/* By what has the same form, by what has not, and by nothing that makes sense. */
static void inputs_that_are_replaced(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < N_CHANGES; i++) {
        for (size_t n = 0; n <= N_MODELS; n++) {
            const emr_buffer *other = n < N_MODELS ? f->files[n] : f->bundle;
            assert_each_change(f, &changes[i], emr_buffer_io(other), true);
        }
        size_t n = emr_buffer_bytes(buffer_at(f, changes[i].truth));
        unsigned char *noise = malloc(n);
        rng r = {i + 1};
        for (size_t k = 0; k < n; k++)
            noise[k] = (unsigned char)(rng_next(&r) >> 40);
        emr_buffer *other = test_buffer_of(noise, n);
        assert_each_change(f, &changes[i], emr_buffer_io(other), true);
        emr_buffer_destroy(&other);
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
    assert_ok(emr_file_create(&out, c->out, NULL, &c->error), &c->error);
    assert_ok(emr_merge_set_output(merge, emr_file_io(out), &c->error), &c->error);
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
    o.check = EMR_BASE_CHECK_NONE;
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

static void write_buffer(const char *path, const emr_buffer *buffer)
{
    test_write_file(path, emr_buffer_data(buffer), emr_buffer_bytes(buffer));
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
        const emr_buffer *const whole[] = {f->files[0], f->files[2], f->files[0], f->bundle};
        int which = i / 2;
        write_buffer(c.base, f->files[0]);
        write_buffer(c.task, f->files[2]);
        write_buffer(c.bundle, f->bundle);
        uint64_t to = i % 2 ? 0 : emr_buffer_bytes(whole[which]) / 4;
        emr_status status = which < 2 ? merge_cut(&c, paths[which], to) : apply_cut(&c, paths[which], to);
        if (status != EMR_EIO)
            fail_msg("%d: %s (%s)", i, emr_status_name(status), c.error.text);
        assert_names_file(&c.error, paths[which]);
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
