/* test_writes.c - what emr/io.h promises of `write`, while several threads work: one call at a time, front to
 * back, without gaps, something each time; and `sync` comes last. */
#define _POSIX_C_SOURCE 200809L

#include "property.h"

#include <stdatomic.h>
#include <time.h>

/* An output that watches how it is written. Calls may come from any thread, where no test may fail: what is
 * wrong is noted. */
typedef struct watched {
    emr_buffer *buffer;
    atomic_bool busy;
    atomic_bool overlaps, jumps, empty, late; /* what was wrong */
    uint64_t end;
    size_t writes, syncs;
} watched;

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

static emr_status watched_write(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    watched *w = user;
    if (atomic_exchange(&w->busy, true))
        atomic_store(&w->overlaps, true);
    if (w->writes++ % 8 == 0)
        wait_a_little(); /* so that another thread could come in between */
    if (offset != w->end)
        atomic_store(&w->jumps, true);
    if (n == 0)
        atomic_store(&w->empty, true);
    if (w->syncs)
        atomic_store(&w->late, true);
    w->end = offset + n;
    const emr_io *io = emr_buffer_io(w->buffer);
    emr_status status = io->write(io->user, offset, source, n, error);
    atomic_store(&w->busy, false);
    return status;
}

static emr_status watched_sync(void *user, emr_error *error)
{
    watched *w = user;
    (void)error;
    if (atomic_load(&w->busy))
        atomic_store(&w->overlaps, true);
    w->syncs++;
    return EMR_OK;
}

static emr_io watched_io(watched *w)
{
    emr_io io = EMR_INIT(emr_io);
    *w = (watched){.buffer = test_buffer_new()};
    io.user = w;
    io.write = watched_write;
    io.sync = watched_sync;
    return io;
}

/* Ends the watch; the same bytes come out of one thread. */
static void assert_watched(watched *w, const emr_buffer *want, const char *what)
{
    if (w->overlaps || w->jumps || w->empty || w->late)
        fail_msg("%s: write was called %s", what,
                 w->overlaps ? "from two threads at a time"
                 : w->jumps  ? "elsewhere than where the last call ended"
                 : w->empty  ? "with nothing"
                             : "after sync");
    assert_true(w->writes > 1 && w->syncs <= 1);
    assert_same_buffer(w->buffer, want, what);
    emr_buffer_destroy(&w->buffer);
}

enum { N_TASKS = 3, WAYS = 8 };

static emr_merge_options way_of(uint32_t i, emr_resources *resources)
{
    emr_merge_options o = rich_options(1 + i % 3);
    *resources = resources_within(i % 2 ? 16 << 20 : 64 << 20);
    o.resources = resources;
    o.block_params = i % 4 ? 4096 : 0;
    o.extendable = i % 2;
    o.embed_base = i % 3 != 1;
    o.compression = i == 4 ? EMR_COMPRESSION_NONE : 0;
    return o;
}

static void watch_merges(const emr_executor *executor)
{
    for (uint32_t i = 0; i < WAYS; i++) {
        emr_error error = {0};
        watched w;
        emr_io io = watched_io(&w);
        test_set s = rich_set(2, N_TASKS, i % 2 ? SOURCE_IO : SOURCE_MEMORY);
        emr_resources resources;
        emr_merge_options o = way_of(i, &resources);
        emr_buffer *want = test_merge_bundle(&s, &o);
        resources.executor = executor;
        emr_merge *merge = test_merge_create(&s, &o);
        assert_ok(emr_merge_set_output(merge, &io, &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_merge_destroy(&merge);
        assert_watched(&w, want, "a merge");
        emr_buffer_destroy(&want);
        test_set_destroy(&s);
    }
}

/* Float tensors alone: others that are kept cannot be pushed. */
static void watch_pushed_merges(const emr_executor *executor)
{
    for (uint32_t i = 0; i < WAYS; i++) {
        emr_error error = {0};
        watched w;
        emr_io io = watched_io(&w);
        test_set s = test_set_create(mixed_tensors, n_mixed_tensors, N_TASKS, 7, SOURCE_PUSHED),
                 readable = test_set_copy(&s, SOURCE_MEMORY);
        emr_resources resources;
        emr_merge_options o = way_of(i, &resources);
        emr_buffer *want = test_merge_bundle(&readable, &o);
        resources.executor = executor;
        emr_merge *merge = test_merge_create(&s, &o);
        assert_ok(emr_merge_set_output(merge, &io, &error), &error);
        assert_ok(push_set(merge, &s, 50000, &error), &error);
        emr_merge_destroy(&merge);
        assert_watched(&w, want, "a pushed merge");
        emr_buffer_destroy(&want);
        test_set_destroy(&s);
        test_set_destroy(&readable);
    }
}

/* Adds a task to a bundle, drops one from it or extracts the other, and writes a task's checkpoint. */
static void watch_others(const emr_executor *executor)
{
    emr_error error = {0};
    watched w;
    emr_io io = watched_io(&w);
    test_set s = rich_set(2, N_TASKS, SOURCE_IO), fewer = s;
    emr_resources resources;
    emr_merge_options o = way_of(3, &resources);
    fewer.n = N_TASKS - 1;
    emr_buffer *want = test_merge_bundle(&s, &o), *before = test_merge_bundle(&fewer, &o),
               *plain = test_buffer_new(), *checkpoint = test_buffer_new();
    emr_bundle *b = test_bundle_open(before);
    emr_merge *merge;
    resources.executor = executor;
    assert_ok(emr_merge_create(&merge, &o, &error), &error);
    assert_ok(emr_merge_set_base(merge, s.base.model, &error), &error);
    assert_ok(emr_merge_extend(merge, b, &error), &error);
    assert_ok(emr_merge_add_task(merge, "t2", s.tasks[N_TASKS - 1].model, &error), &error);
    assert_ok(emr_merge_set_output(merge, &io, &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    assert_watched(&w, want, "adding");

    const emr_resources threads = test_resources(NULL, executor);
    const emr_task_selection gone = {
        .size = sizeof gone, .resources = &threads, .tasks = (const uint32_t[]){0}, .n_tasks = 1};
    const emr_task_selection kept = {
        .size = sizeof kept, .resources = &threads, .tasks = (const uint32_t[]){1}, .n_tasks = 1};
    assert_ok(emr_bundle_drop(b, &gone, emr_buffer_io(plain), NULL, &error), &error);
    io = watched_io(&w);
    assert_ok(emr_bundle_drop(b, &gone, &io, NULL, &error), &error);
    assert_watched(&w, plain, "dropping");
    io = watched_io(&w);
    assert_ok(emr_bundle_extract(b, &kept, &io, NULL, &error), &error);
    assert_watched(&w, plain, "extracting");

    emr_model *model;
    assert_ok(emr_bundle_open_task(&model, b, 1, s.base.model, NULL, &error), &error);
    resources = resources_within(256 << 10); /* many rounds */
    const emr_checkpoint_write_options c = {.size = sizeof c, .resources = &resources};
    assert_ok(emr_safetensors_write(model, emr_buffer_io(checkpoint), &c, &error), &error);
    resources.executor = executor;
    io = watched_io(&w);
    assert_ok(emr_safetensors_write(model, &io, &c, &error), &error);
    assert_watched(&w, checkpoint, "writing a checkpoint");
    emr_model_destroy(&model);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&plain);
    emr_buffer_destroy(&checkpoint);
    emr_buffer_destroy(&want);
    emr_buffer_destroy(&before);
    test_set_destroy(&s);
}

static void writes_are_in_order_whatever_the_threads(void **state)
{
    (void)state;
    for (uint32_t threads = 2; threads <= 5; threads += 3) {
        emr_pool *pool = create_pool(threads);
        const emr_executor *executor = emr_pool_executor(pool);
        watch_merges(executor);
        watch_pushed_merges(executor);
        watch_others(executor);
        emr_pool_destroy(&pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_are_in_order_whatever_the_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
