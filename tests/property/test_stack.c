/* test_stack.c - how much stack an executor's threads need, whatever the kernels: no more than emr/executor.h
 * says. Each piece of work runs in a thread of its own, on a stack that was painted. */
#define _XOPEN_SOURCE 700

#include "property.h"

#include "bundle/bundle.h"
#include "merge/force.h"

#include <pthread.h>

/* In a build that optimises; others take more, and with sanitizers there is no telling. */
enum {
    STACK = 512 << 10,
    OWN = 8 << 10, /* of the thread itself: its descriptor and its start */
    PAINT = 0xa5,
#ifdef __OPTIMIZE__
    PROMISED = 48 << 10,
#else
    PROMISED = 128 << 10,
#endif
};

#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

typedef struct painted {
    unsigned char *stack;
    size_t most;
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t i;
} painted;

static void *run_painted(void *user)
{
    painted *p = user;
    p->fn(p->arg, p->i);
    return NULL;
}

static void painted_parallel_for(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    painted *p = user;
    p->fn = fn;
    p->arg = arg;
    for (p->i = 0; p->i < n; p->i++) {
        pthread_t thread;
        pthread_attr_t attributes;
        size_t untouched = 0;
        memset(p->stack, PAINT, STACK);
        pthread_attr_init(&attributes);
        assert_int_equal(pthread_attr_setstack(&attributes, p->stack, STACK), 0);
        assert_int_equal(pthread_create(&thread, &attributes, run_painted, p), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        pthread_attr_destroy(&attributes);
        while (untouched < STACK && p->stack[untouched] == PAINT)
            untouched++;
        p->most = STACK - untouched > p->most ? STACK - untouched : p->most;
    }
}

/* Multiplies by every merged tensor, for all tasks and the base at a time. */
static void multiply_all(const test_set *s, const emr_bundle *b, const emr_resources *resources)
{
    emr_error error;
    emr_session *session;
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    uint32_t tasks[9];
    o.resources = resources;
    assert_ok(emr_session_create(&session, b, s->base.model, &o, &error), &error);
    assert_int_equal(emr_bundle_get_info(b, &info), EMR_OK);
    for (uint32_t i = 0; i < 9; i++)
        tasks[i] = i < info.n_tasks ? i : EMR_BASE;
    for (uint32_t i = 0; i < info.n_merged; i++) {
        emr_tensor_info t = EMR_INIT(emr_tensor_info);
        emr_product p = EMR_INIT(emr_product);
        assert_int_equal(emr_bundle_get_tensor(b, i, &t), EMR_OK);
        p.tensor = i;
        p.batch = 9;
        p.n_rows = t.count == 0 ? 0 : t.rank < 2 ? 1 : t.shape[0];
        float *x = calloc(9 * (t.count + 1), sizeof *x), *y = calloc(9 * (t.count + 1), sizeof *y);
        p.x = x;
        p.y = y;
        assert_ok(emr_session_multiply(session, tasks, &p, &error), &error);
        free(x);
        free(y);
    }
    emr_session_destroy(&session);
}

/* Merges, adds, verifies, compares the base, gives a task's weights back, and multiplies by them. */
static void do_everything(const test_set *s, emr_merge_options o, const emr_kernels *kernels, painted *p)
{
    emr_error error = {0};
    const emr_executor executor = {
        .size = sizeof executor, .user = p, .parallel_for = painted_parallel_for, .concurrency = 3};
    emr_resources merging = test_resources(NULL, &executor), other = merging;
    emr_buffer *buffer = test_buffer_new(), *grown = test_buffer_new(), *weights = test_buffer_new();
    emr_model *model;
    emr_view_options view = EMR_INIT(emr_view_options);
    emr_checkpoint_write_options write = EMR_INIT(emr_checkpoint_write_options);
    merging.memory_bytes = 64 << 20;
    o.resources = &merging;
    view.resources = write.resources = &other;
    emr_merge *merge = test_merge_create(s, &o);
    emr_merge_force_kernels(merge, kernels);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    emr_bundle *b = test_bundle_open(buffer);
    b->kernels = kernels;
    assert_ok(emr_bundle_verify(b, &other, &error), &error);
    assert_ok(emr_bundle_open_task(&model, b, 0, s->base.model, &view, &error), &error);
    assert_ok(emr_safetensors_write(model, emr_buffer_io(weights), &write, &error), &error);
    emr_model_destroy(&model);
    multiply_all(s, b, &other);
    if (o.extendable) {
        assert_ok(emr_merge_create(&merge, &o, &error), &error);
        assert_ok(emr_merge_set_base(merge, s->base.model, &error), &error);
        assert_ok(emr_merge_extend(merge, b, &error), &error);
        assert_ok(emr_merge_add_task(merge, "another", s->tasks[0].model, &error), &error);
        emr_merge_force_kernels(merge, kernels);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(grown), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_merge_destroy(&merge);
    }
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&grown);
    emr_buffer_destroy(&weights);
}

static void threads_need_no_more_stack_than_is_said(void **state)
{
    painted p = {.stack = aligned_alloc(4096, STACK)};
    (void)state;
#ifdef SANITIZED
    free(p.stack);
    skip();
#endif
    assert_non_null(p.stack);
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        p.most = 0;
        for (uint32_t way = 0; way < 4; way++) {
            test_set s = way < 3 ? rich_set(3, 18, SOURCE_IO) : random_set(4, 18, true);
            emr_merge_options o = rich_options(1 + way % 3);
            o.rescale = way == 2 ? EMR_RESCALE_L2 : EMR_RESCALE_L1;
            o.extendable = way < 2;
#ifdef EMR_WITH_ZSTD
            o.compression = way == 1 ? 9 : 0;
#endif
            do_everything(&s, o, *k, &p);
            test_set_destroy(&s);
        }
        print_message("%s: %zu bytes\n", (*k)->name, p.most);
        if (p.most > PROMISED + OWN)
            fail_msg("%s: %zu bytes of stack", (*k)->name, p.most);
        assert_true(p.most > 4096);
    }
    free(p.stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_need_no_more_stack_than_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
