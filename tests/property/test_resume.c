/* test_resume.c - a merge that is cut off at any point goes on from what is durable, and ends with the same
 * bytes: on I/O that loses or tears what was not synced, and in processes that are killed. */
#define _POSIX_C_SOURCE 200809L

#include "property.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Storage that keeps for sure only what was written before the last sync. */
typedef struct write_op {
    uint64_t offset;
    size_t n;
    unsigned char *bytes;
} write_op;

typedef struct store {
    unsigned char *seen, *durable; /* what reads give; what was synced */
    size_t seen_n, durable_n, n_writes;
    write_op *writes; /* since */
    struct machine *machine;
} store;

/* A machine whose power fails at its k-th write or sync: that one and all later calls fail. */
typedef struct machine {
    store output, journal;
    size_t calls, fail_at;
    rng random;
} machine;

/* All stores have room for this much; growing them a write at a time would take most of the test's time. */
enum { ROOM = 12 << 20 };

static void write_into(unsigned char **to, size_t *n, uint64_t offset, const void *bytes, size_t count)
{
    if (!*to)
        *to = calloc(1, ROOM);
    assert_non_null(*to);
    assert_true(offset + count <= ROOM);
    memcpy(*to + offset, bytes, count);
    *n = offset + count > *n ? (size_t)offset + count : *n;
}

static const char power_failed[] = "the power failed";

static emr_status fail_power(emr_error *error)
{
    return emr_error_set(error, EMR_EIO, 5, NULL, power_failed);
}

static emr_status store_read(void *user, uint64_t offset, void *to, size_t n, emr_error *error)
{
    const store *s = user;
    if (offset > s->seen_n || n > s->seen_n - offset)
        return emr_error_set(error, EMR_EIO, 0, NULL, "past the end");
    memcpy(to, s->seen + offset, n);
    return EMR_OK;
}

static emr_status store_length(void *user, uint64_t *n, emr_error *error)
{
    (void)error;
    *n = ((const store *)user)->seen_n;
    return EMR_OK;
}

static emr_status store_write(void *user, uint64_t offset, const void *bytes, size_t n, emr_error *error)
{
    store *s = user;
    s->writes = realloc(s->writes, (s->n_writes + 1) * sizeof *s->writes);
    assert_non_null(s->writes);
    write_op *w = &s->writes[s->n_writes++];
    *w = (write_op){offset, n, malloc(n + 1)};
    memcpy(w->bytes, bytes, n);
    write_into(&s->seen, &s->seen_n, offset, bytes, n);
    if (s->machine->calls++ < s->machine->fail_at)
        return EMR_OK;
    return fail_power(error); /* it may still get there, or in part */
}

static void forget_writes(store *s)
{
    for (size_t i = 0; i < s->n_writes; i++)
        free(s->writes[i].bytes);
    free(s->writes);
    s->writes = NULL;
    s->n_writes = 0;
}

static emr_status store_sync(void *user, emr_error *error)
{
    store *s = user;
    if (s->machine->calls++ >= s->machine->fail_at)
        return fail_power(error);
    for (size_t i = 0; i < s->n_writes; i++)
        write_into(&s->durable, &s->durable_n, s->writes[i].offset, s->writes[i].bytes, s->writes[i].n);
    forget_writes(s);
    return EMR_OK;
}

/* After the crash some writes are there, some are not, some in part, whatever their order. */
static void crash_store(store *s, rng *r)
{
    for (size_t i = 0; i < s->n_writes; i++) {
        uint64_t fate = rng_below(r, 3);
        size_t n = fate == 0 ? 0 : fate == 1 ? s->writes[i].n : (size_t)rng_below(r, s->writes[i].n + 1);
        if (n)
            write_into(&s->durable, &s->durable_n, s->writes[i].offset, s->writes[i].bytes, n);
    }
    forget_writes(s);
    free(s->seen);
    s->seen = NULL;
    s->seen_n = 0;
    if (s->durable_n)
        write_into(&s->seen, &s->seen_n, 0, s->durable, s->durable_n);
}

static void crash_machine(machine *m)
{
    crash_store(&m->output, &m->random);
    crash_store(&m->journal, &m->random);
    m->calls = 0;
}

static void free_store(store *s)
{
    forget_writes(s);
    free(s->seen);
    free(s->durable);
    *s = (store){0};
}

static void free_machine(machine *m)
{
    free_store(&m->output);
    free_store(&m->journal);
}

static emr_io store_io(store *s, machine *m)
{
    emr_io io = EMR_INIT(emr_io);
    s->machine = m;
    io.user = s;
    io.read = store_read;
    io.write = store_write;
    io.length = store_length;
    io.sync = store_sync;
    return io;
}

typedef struct first_call {
    uint64_t done, total;
    bool called;
} first_call;

static emr_status note_first(void *user, const emr_progress *progress, emr_error *error)
{
    first_call *f = user;
    (void)error;
    if (!f->called)
        *f = (first_call){progress->done, progress->total, true};
    return EMR_OK;
}

enum { EVERY = 30000 }; /* bytes of input between records */

static emr_status run_machine(machine *m, const test_set *s, emr_merge_options o, size_t fail_at,
                              first_call *first)
{
    emr_error error = {0};
    emr_io output = store_io(&m->output, m), journal = store_io(&m->journal, m);
    emr_resources resources = *o.resources;
    if (first) {
        resources.progress = note_first;
        resources.progress_user = first;
    }
    o.resources = &resources;
    m->fail_at = fail_at;
    emr_merge *merge = test_merge_create(s, &o);
    assert_ok(emr_merge_set_output(merge, &output, &error), &error);
    assert_ok(emr_merge_set_journal(merge, &journal, EVERY, &error), &error);
    emr_status status = emr_merge_run(merge, &error);
    if (status) {
        assert_int_equal(status, EMR_EIO);
        assert_says(&error, power_failed);
        assert_int_equal(error.system, 5);
    }
    emr_merge_destroy(&merge);
    return status;
}

static void assert_same_bytes(const unsigned char *bytes, const emr_buffer *want)
{
    emr_buffer *got = test_buffer_of(bytes, emr_buffer_bytes(want));
    assert_same_buffer(got, want, "the bundle");
    emr_buffer_destroy(&got);
}

/* What an earlier, longer attempt left behind the bundle's end is not the bundle's. */
static void assert_bundle(const machine *m, const emr_buffer *want)
{
    assert_true(m->output.durable_n >= emr_buffer_bytes(want));
    assert_same_bytes(m->output.durable, want);
}

/* Ten windows of 16384 parameters, and blocks of 4096, so that there are many points to be cut off at. */
static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {100, 700}}, {"b", EMR_DTYPE_BF16, 1, {65}},
                                      {"c", EMR_DTYPE_F32, 2, {70, 90}},   {"d", EMR_DTYPE_F32, 1, {0}},
                                      {"e", EMR_DTYPE_F32, 2, {90, 900}},  {"f", EMR_DTYPE_I32, 1, {50}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0] };

static test_set make_set(test_source source)
{
    return test_set_create(tensors, N_TENSORS, 3, 5, source);
}

static emr_merge_options make_options(emr_rescale_per per)
{
    static const emr_resources resources = {.size = sizeof resources, .memory_bytes = 3 << 20};
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &resources;
    o.rescale_per = per;
    o.block_params = 4096;
    return o;
}

/* At about so many points. */
static size_t cut_off_everywhere(const test_set *s, const emr_merge_options *o, size_t wanted)
{
    size_t points = 0;
    uint64_t best = 0;
    emr_buffer *want = test_merge_bundle(s, o);
    machine whole = {.random = {1}};
    assert_int_equal(run_machine(&whole, s, *o, SIZE_MAX, NULL), EMR_OK);
    size_t calls = whole.calls, step = calls / wanted ? calls / wanted : 1;
    free_machine(&whole);
    for (size_t k = 0;; k += step) {
        machine m = {.random = {k + 1}};
        first_call first = {0};
        emr_status status = run_machine(&m, s, *o, k, NULL);
        if (status) {
            points++;
            crash_machine(&m);
            assert_int_equal(run_machine(&m, s, *o, SIZE_MAX, &first), EMR_OK);
            best = first.done > best ? first.done : best;
        }
        assert_bundle(&m, want);
        free_machine(&m);
        if (!status)
            break;
    }
    emr_buffer_destroy(&want);
    assert_true(best > 1000000); /* late ones went on from late records: there are 2.5 MB of input */
    return points;
}

static void per_model_is_cut_off_everywhere(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_IO);
    emr_merge_options o = make_options(EMR_RESCALE_PER_MODEL);
    assert_true(cut_off_everywhere(&s, &o, 220) >= 200);
    test_set_destroy(&s);
}

static void per_row_extendable_is_cut_off_everywhere(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_READ);
    emr_merge_options o = make_options(EMR_RESCALE_PER_ROW);
    o.extendable = 1;
    o.embed_base = 1;
    emr_resources resources = resources_within(8 << 20);
    o.resources = &resources;
    assert_true(cut_off_everywhere(&s, &o, 60) >= 50);
    test_set_destroy(&s);
}

/* What of a tensor's columns, of a byte of codes and of rows without scales has passed is taken up again. */
static void coded_tasks_are_cut_off_everywhere(void **state)
{
    (void)state;
    static const emr_modulation_spec specs[] = {
        {.size = sizeof *specs, .kind = EMR_MODULATOR_KIND_SIGN, .vectors_dtype = EMR_DTYPE_F32},
        {.size = sizeof *specs, .kind = EMR_MODULATOR_KIND_THIN, .thinning = 32},
        {.size = sizeof *specs, .kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 8}};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        test_set s = make_set(SOURCE_IO);
        emr_merge_options o = make_options(EMR_RESCALE_PER_DEFAULT);
        o.modulation = &specs[i];
        assert_true(cut_off_everywhere(&s, &o, 60) >= 20);
        test_set_destroy(&s);
    }
}

/* Two scales a group, and how near the tasks come: all of it is in the journal. */
static void two_sided_tasks_are_cut_off_everywhere(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_IO);
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    spec.kind = EMR_MODULATOR_KIND_TWO_SIDED;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = make_options(per);
        o.modulation = &spec;
        assert_true(cut_off_everywhere(&s, &o, 25) >= 20);
    }
    test_set_destroy(&s);
}

static void per_tensor_in_other_memory(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_MEMORY);
    emr_merge_options o = make_options(EMR_RESCALE_PER_TENSOR), wide = o;
    emr_resources plenty = resources_within(0);
    wide.resources = &plenty;
    emr_buffer *want = test_merge_bundle(&s, &o);
    for (size_t k = 60; k < 350; k += 37) {
        machine m = {.random = {k}};
        if (run_machine(&m, &s, o, k, NULL)) {
            crash_machine(&m);
            assert_int_equal(run_machine(&m, &s, wide, SIZE_MAX, NULL),
                             EMR_OK); /* other windows, and buffers */
        }
        assert_bundle(&m, want);
        free_machine(&m);
    }
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

/* More tensors than a window has room for, so that windows end where a tensor does: its rescaler is saved then,
 * though the next item is said to be behind its end. */
static void many_small_tensors_are_cut_off(void **state)
{
    enum { MANY = 2000 };
    static char names[MANY][8];
    static test_tensor many[MANY];
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "t%zu", i);
        many[i] = (test_tensor){names[i], EMR_DTYPE_F32, 1, {64}};
    }
    test_set s = test_set_create(many, MANY, 2, 6, SOURCE_MEMORY);
    for (uint32_t extendable = 0; extendable < 2; extendable++) {
        emr_merge_options o = make_options(EMR_RESCALE_PER_TENSOR);
        emr_resources plenty = resources_within(0);
        o.resources = &plenty;
        o.extendable = extendable;
        emr_buffer *want = test_merge_bundle(&s, &o);
        for (size_t k = 20; k < 200; k += 11) {
            machine m = {.random = {k}};
            if (run_machine(&m, &s, o, k, NULL)) {
                crash_machine(&m);
                assert_int_equal(run_machine(&m, &s, o, SIZE_MAX, NULL), EMR_OK);
            }
            assert_bundle(&m, want);
            free_machine(&m);
        }
        emr_buffer_destroy(&want);
    }
    test_set_destroy(&s);
}

static void cut_off_again_and_again(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_IO);
    emr_merge_options o = make_options(EMR_RESCALE_PER_TENSOR);
    o.extendable = 1;
    emr_buffer *want = test_merge_bundle(&s, &o);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        machine m = {.random = {seed}};
        size_t runs = 1;
        while (run_machine(&m, &s, o, 150 + (size_t)rng_below(&m.random, 150), NULL)) {
            crash_machine(&m);
            assert_true(++runs < 1000);
        }
        assert_true(runs > 2);
        assert_bundle(&m, want);
        free_machine(&m);
    }
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

/* A full disk: nothing is lost, and once there is room the merge goes on. */
static void without_a_crash_it_goes_on_too(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_IO);
    emr_merge_options o = make_options(EMR_RESCALE_PER_MODEL);
    emr_buffer *want = test_merge_bundle(&s, &o);
    machine m = {.random = {1}};
    first_call first = {0};
    assert_int_equal(run_machine(&m, &s, o, 230, NULL), EMR_EIO);
    m.calls = 0;
    assert_int_equal(run_machine(&m, &s, o, SIZE_MAX, &first), EMR_OK);
    assert_true(first.done > EVERY);
    assert_bundle(&m, want);
    free_machine(&m);
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

static void another_merge_begins_anew(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_IO);
    emr_merge_options o = make_options(EMR_RESCALE_PER_MODEL), other = o;
    other.rescale = EMR_RESCALE_L2;
    emr_buffer *want = test_merge_bundle(&s, &other);
    machine m = {.random = {1}}, fresh = {.random = {1}};
    first_call first = {0}, front = {0};
    assert_int_equal(run_machine(&fresh, &s, other, SIZE_MAX, &front), EMR_OK);
    assert_int_equal(run_machine(&m, &s, o, 230, NULL), EMR_EIO);
    crash_machine(&m);
    assert_int_equal(run_machine(&m, &s, other, SIZE_MAX, &first), EMR_OK);
    assert_int_equal(first.done, front.done);
    assert_bundle(&m, want);
    free_machine(&m);
    free_machine(&fresh);
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

/* Whatever byte of what was left is damaged, the bundle is right in the end. */
static void damage_is_noticed(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_IO);
    emr_merge_options o = make_options(EMR_RESCALE_PER_MODEL);
    emr_buffer *want = test_merge_bundle(&s, &o);
    for (size_t i = 0; i < 60; i++) {
        machine m = {.random = {i + 1}};
        assert_int_equal(run_machine(&m, &s, o, 200, NULL), EMR_EIO);
        crash_machine(&m);
        store *hurt = i % 2 ? &m.journal : &m.output;
        size_t at = (size_t)rng_below(&m.random, hurt->durable_n);
        hurt->durable[at] ^= (unsigned char)(1u << rng_below(&m.random, 8));
        hurt->seen[at] = hurt->durable[at];
        assert_int_equal(run_machine(&m, &s, o, SIZE_MAX, NULL), EMR_OK);
        assert_bundle(&m, want);
        free_machine(&m);
    }
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

/* Processes that are killed, with files. */
typedef struct killer {
    const emr_io *inner;
    size_t *calls, kill_at;
} killer;

static void count_call(const killer *k)
{
    if ((*k->calls)++ == k->kill_at)
        raise(SIGKILL);
}

static emr_status killer_write(void *user, uint64_t offset, const void *bytes, size_t n, emr_error *error)
{
    const killer *k = user;
    count_call(k);
    return k->inner->write(k->inner->user, offset, bytes, n, error);
}

static emr_status killer_sync(void *user, emr_error *error)
{
    const killer *k = user;
    count_call(k);
    return k->inner->sync(k->inner->user, error);
}

static emr_status killer_read(void *user, uint64_t offset, void *bytes, size_t n, emr_error *error)
{
    const killer *k = user;
    return k->inner->read(k->inner->user, offset, bytes, n, error);
}

static emr_status killer_length(void *user, uint64_t *n, emr_error *error)
{
    const killer *k = user;
    return k->inner->length(k->inner->user, n, error);
}

static emr_io killer_io(killer *k)
{
    emr_io io = EMR_INIT(emr_io);
    io.user = k;
    io.read = killer_read;
    io.write = killer_write;
    io.length = killer_length;
    io.sync = killer_sync;
    return io;
}

static const emr_file_options replacing = {.size = sizeof replacing, .replace = 1};

/* Merges into path; the number of calls that were made. */
static size_t merge_to_file(const test_set *s, const emr_merge_options *o, const char *path,
                            const char *log_path, size_t kill_at)
{
    emr_error error = {0};
    emr_file *file, *log;
    size_t calls = 0;
    assert_ok(emr_file_resume(&file, path, NULL, &error), &error);
    assert_ok(emr_file_resume(&log, log_path, &replacing, &error), &error);
    killer out = {emr_file_io(file), &calls, kill_at}, in = {emr_file_io(log), &calls, kill_at};
    emr_io output = killer_io(&out), journal = killer_io(&in);
    emr_merge *merge = test_merge_create(s, o);
    assert_ok(emr_merge_set_output(merge, &output, &error), &error);
    assert_ok(emr_merge_set_journal(merge, &journal, EVERY, &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    if (calls == kill_at)
        raise(SIGKILL);
    assert_ok(emr_file_commit(file, &error), &error);
    emr_merge_destroy(&merge);
    emr_file_close(&file);
    emr_file_discard(&log);
    return calls;
}

static void killed_processes(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_MEMORY);
    emr_merge_options o = make_options(EMR_RESCALE_PER_MODEL);
    emr_buffer *want = test_merge_bundle(&s, &o);
    char *directory = test_directory_make(), *path = test_path(directory, "x.emr"),
         *log_path = test_path(directory, "x.emr.journal");
    size_t calls = merge_to_file(&s, &o, path, log_path, SIZE_MAX), kills = 0;
    assert_int_equal(remove(path), 0);
    assert_true(calls >= 200);
    for (size_t k = 0; k <= calls; k += calls / 220) {
        size_t n;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)merge_to_file(&s, &o, path, log_path, k);
            _exit(1);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        kills++;
        assert_int_not_equal(access(path, F_OK), 0); /* absent until it is whole */
        (void)merge_to_file(&s, &o, path, log_path, SIZE_MAX);
        unsigned char *bytes = test_read_file(path, &n);
        assert_int_equal(n, emr_buffer_bytes(want));
        assert_same_bytes(bytes, want);
        free(bytes);
        assert_int_equal(test_directory_entries(directory), 1); /* nothing else is left */
        assert_int_equal(remove(path), 0);
    }
    assert_true(kills >= 200);
    printf("%zu kills\n", kills);
    free(path);
    free(log_path);
    test_directory_remove(directory);
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

static void files_have_one_owner(void **state)
{
    (void)state;
    emr_error error = {0};
    emr_file *file, *other;
    char *directory = test_directory_make(), *path = test_path(directory, "x");
    assert_ok(emr_file_resume(&file, path, NULL, &error), &error);
    assert_int_equal(emr_file_resume(&other, path, NULL, &error), EMR_EIO);
    assert_says(&error, "another process");
    assert_true(error.file.length > 0);
    assert_null(other);
    const emr_io *io = emr_file_io(file);
    assert_ok(io->write(io->user, 0, "long text", 9, &error), &error);
    emr_file_close(&file);
    assert_int_equal(test_directory_entries(directory), 1); /* it stays */
    assert_ok(emr_file_resume(&file, path, NULL, &error), &error);
    io = emr_file_io(file);
    char text[9];
    assert_ok(io->read(io->user, 0, text, 9, &error), &error);
    assert_memory_equal(text, "long text", 9);
    assert_ok(io->write(io->user, 0, "short", 5, &error), &error);
    assert_ok(emr_file_commit(file, &error), &error);
    emr_file_close(&file);
    size_t n;
    unsigned char *bytes = test_read_file(path, &n);
    assert_int_equal(n, 5);
    free(bytes);
    assert_int_equal(emr_file_resume(&file, path, NULL, &error), EMR_EEXIST);
    assert_ok(emr_file_resume(&file, path, &replacing, &error), &error);
    emr_file_discard(&file);
    assert_int_equal(test_directory_entries(directory), 1);
    free(path);
    test_directory_remove(directory);
}

/* The set's models in files of their own. */
static test_set open_files(const test_set *s, const char *directory)
{
    emr_error error = {0};
    test_set opened = {.n = s->n, .tasks = calloc(s->n, sizeof *opened.tasks)};
    for (size_t i = 0; i <= s->n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zu.safetensors", i);
        char *path = test_path(directory, name);
        if (access(path, F_OK))
            assert_ok(emr_checkpoint_write(i ? s->tasks[i - 1].model : s->base.model, path, NULL, &error),
                      &error);
        emr_model **model = i ? &opened.tasks[i - 1].model : &opened.base.model;
        assert_ok(emr_checkpoint_open(model, path, NULL, &error), &error);
        free(path);
    }
    return opened;
}

/* A task's weights are others, but their file has the size and the time that it had. */
static void a_replaced_input_is_noticed(void **state)
{
    (void)state;
    test_set s = make_set(SOURCE_MEMORY);
    emr_merge_options o = make_options(EMR_RESCALE_PER_MODEL);
    char *directory = test_directory_make(), *path = test_path(directory, "1.safetensors");
    test_set opened = open_files(&s, directory);
    machine m = {.random = {1}};
    assert_int_equal(run_machine(&m, &opened, o, 230, NULL), EMR_EIO);
    crash_machine(&m);
    test_set_destroy(&opened);

    struct stat before, after;
    size_t n;
    assert_int_equal(stat(path, &before), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL); /* a file system's clock is coarse */
    unsigned char *bytes = test_read_file(path, &n);
    for (size_t i = 2000; i < 50000; i += 4) /* of its first tensor, which was merged */
        bytes[i] ^= 1;
    test_write_file(path, bytes, n);
    free(bytes);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){before.st_atim, before.st_mtim}, 0), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    assert_int_equal(after.st_size, before.st_size);

    opened = open_files(&s, directory);
    emr_buffer *want = test_merge_bundle(&opened, &o);
    assert_int_equal(run_machine(&m, &opened, o, SIZE_MAX, NULL), EMR_OK);
    assert_bundle(&m, want);
    free_machine(&m);
    emr_buffer_destroy(&want);
    test_set_destroy(&opened);
    test_set_destroy(&s);
    free(path);
    test_directory_remove(directory);
}

static void what_cannot_go_on_is_refused(void **state)
{
    (void)state;
    emr_error error = {0};
    emr_buffer *buffer = test_buffer_new(), *log = test_buffer_new();
    const emr_io *io = emr_buffer_io(buffer), *journal = emr_buffer_io(log);
    emr_io blind = *io;
    blind.read = NULL;
    test_set s = make_set(SOURCE_PUSHED);
    emr_merge *merge = test_merge_create(&s, NULL);
    assert_int_equal(emr_merge_set_journal(merge, journal, 0, &error), EMR_ESTATE);
    assert_ok(emr_merge_set_output(merge, &blind, &error), &error);
    assert_int_equal(emr_merge_set_journal(merge, journal, 0, &error), EMR_EINVAL);
    assert_says(&error, "output");
    emr_merge_destroy(&merge);
    merge = test_merge_create(&s, NULL);
    assert_ok(emr_merge_set_output(merge, io, &error), &error);
    assert_int_equal(emr_merge_set_journal(merge, &blind, 0, &error), EMR_EINVAL);
    assert_says(&error, "journal");
    assert_ok(emr_merge_set_journal(merge, journal, 0, &error), &error);
    assert_int_equal(emr_merge_begin(merge, &error), EMR_ESTATE);
    assert_says(&error, "emr_merge_run");
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&log);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(per_model_is_cut_off_everywhere),
        cmocka_unit_test(per_row_extendable_is_cut_off_everywhere),
        cmocka_unit_test(two_sided_tasks_are_cut_off_everywhere),
        cmocka_unit_test(coded_tasks_are_cut_off_everywhere),
        cmocka_unit_test(per_tensor_in_other_memory),
        cmocka_unit_test(many_small_tensors_are_cut_off),
        cmocka_unit_test(cut_off_again_and_again),
        cmocka_unit_test(without_a_crash_it_goes_on_too),
        cmocka_unit_test(another_merge_begins_anew),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(killed_processes),
        cmocka_unit_test(files_have_one_owner),
        cmocka_unit_test(a_replaced_input_is_noticed),
        cmocka_unit_test(what_cannot_go_on_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
