/* test_session_threads.c - a session's handles at the same time, one a thread: what they write is what one
 * caller gets, to the bit, whatever room there is for codes; nothing is allocated; whoever fails does so for
 * himself; and who has to wait says so. */
#include "kinds_bundle.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum {
    CALLERS = 8,
    BATCH = 5,
    ROWS = 12,                              /* gathered at a time */
    PRODUCTS = 3 * KINDS_MERGED,            /* jobs: first these, */
    GATHERS = PRODUCTS + 2 * KINDS_TENSORS, /* up to this one rows, then weights */
    JOBS = GATHERS + KINDS_MOST * KINDS_TENSORS,
    PIECES = 3, /* shares of each caller's share */
    LONGEST = 40000
};

/* An allocator that may be used by all at once. */
typedef struct shared_meter {
    atomic_size_t requests, now, peak;
} shared_meter;

static void *meter_alloc(void *user, size_t bytes, size_t alignment)
{
    shared_meter *m = user;
    size_t whole = (bytes + 64 + alignment - 1) / alignment * alignment;
    unsigned char *p = aligned_alloc(alignment < 64 ? 64 : alignment, (whole + 63) / 64 * 64);
    size_t now = atomic_fetch_add(&m->now, bytes) + bytes, peak = atomic_load(&m->peak);
    while (now > peak && !atomic_compare_exchange_weak(&m->peak, &peak, now))
        ;
    atomic_fetch_add(&m->requests, 1);
    assert_non_null(p);
    memcpy(p, &bytes, sizeof bytes);
    return p + 64;
}

static void meter_free(void *user, void *pointer)
{
    shared_meter *m = user;
    unsigned char *p = (unsigned char *)pointer - 64;
    size_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    atomic_fetch_sub(&m->now, bytes);
    free(p);
}

/* Reads of which every nth fails, once that is wanted; and one that stays inside until somebody has waited.
 */
typedef struct gate {
    emr_io inner;
    atomic_size_t reads, every, n_failed; /* every 0: none */
    atomic_bool armed;                    /* the next read stays, */
    atomic_bool entered;
    bool fails; /* and fails at last */
    atomic_size_t waits;
} gate;

static emr_status gate_read(void *user, uint64_t offset, void *to, size_t n, emr_error *error)
{
    gate *g = user;
    size_t every = atomic_load(&g->every);
    bool fails = every && atomic_fetch_add(&g->reads, 1) % every == 0;
    if (atomic_exchange(&g->armed, false)) {
        atomic_store(&g->entered, true);
        while (!atomic_load(&g->waits))
            sched_yield();
        fails = g->fails;
    }
    if (!fails)
        return g->inner.read(g->inner.user, offset, to, n, error);
    atomic_fetch_add(&g->n_failed, 1);
    snprintf(error->text, sizeof error->text, "no such luck");
    error->status = EMR_EIO;
    return EMR_EIO;
}

static emr_status gate_length(void *user, uint64_t *bytes, emr_error *error)
{
    const gate *g = user;
    return g->inner.length(g->inner.user, bytes, error);
}

static void count_waits(void *user)
{
    gate *g = user;
    atomic_fetch_add(&g->waits, 1);
    sched_yield();
}

/* What one of the callers, or one alone, does: for each job, its share of the output. */
typedef struct job {
    uint32_t task; /* of weights; */
    uint32_t tensor;
    uint32_t tasks[ROWS]; /* of a product's vectors, or of rows: */
    uint64_t rows[ROWS];
    float *x;
    float *want, *got;
    uint64_t n_units, unit; /* rows, or elements: what is shared out, and the floats that belong to one */
} job;

typedef struct world {
    kinds_bundle k;
    gate gate;
    emr_bundle *bundle;
    emr_pool *pool; /* of the first handle */
    job jobs[JOBS];
    size_t n_jobs;
} world;

typedef struct caller {
    world *w;
    emr_session *session;
    size_t number, n; /* of so many callers */
    bool may_fail;    /* and then tries again */
    float *(*to)(const job *j);
    emr_status status[JOBS];
} caller;

static float *wanted_output(const job *j)
{
    return j->want;
}

static float *shared_output(const job *j)
{
    return j->got;
}

static emr_status do_units(const caller *c, size_t number, uint64_t first, uint64_t n, emr_error *error)
{
    const job *j = &c->w->jobs[number];
    if (number >= PRODUCTS && number < GATHERS) {
        const emr_gather g = {.size = sizeof g,
                              .name = kinds_tensor_name(j->tensor),
                              .tasks = j->tasks + first,
                              .rows = j->rows + first,
                              .out = c->to(j) + first * j->unit,
                              .n = (size_t)n};
        return emr_session_gather(c->session, &g, error);
    }
    if (number >= PRODUCTS) {
        const emr_weights to = {.size = sizeof to,
                                .name = kinds_tensor_name(j->tensor),
                                .data = c->to(j) + first,
                                .first = first,
                                .count = n};
        return emr_session_apply(c->session, j->task, &to, 1, error);
    }
    const emr_product p = {.size = sizeof p,
                           .tensor = j->tensor,
                           .first_row = first,
                           .n_rows = n,
                           .x = j->x,
                           .y = c->to(j) + first,
                           .y_stride = (size_t)j->n_units,
                           .batch = BATCH};
    return emr_session_multiply(c->session, j->tasks, &p, error);
}

static emr_status do_share(const caller *c, size_t number, emr_error *error)
{
    uint64_t n = c->w->jobs[number].n_units, shares = c->n * PIECES;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < PIECES; i++) {
        uint64_t share = i * c->n + c->number, first = n * share / shares, end = n * (share + 1) / shares;
        if (end == first)
            continue;
        do
            status = do_units(c, number, first, end - first, error);
        while (status == EMR_EIO && c->may_fail);
    }
    return status;
}

/* All jobs, each caller from another one on. */
static void *call_all(void *user)
{
    caller *c = user;
    for (size_t i = 0; i < c->w->n_jobs; i++) {
        size_t number = (i + c->number * 11) % c->w->n_jobs;
        emr_error error;
        c->status[number] = do_share(c, number, &error);
    }
    return NULL;
}

static void draw_tasks(const world *w, job *j, size_t n, rng *r)
{
    for (size_t b = 0; b < n; b++) {
        uint32_t any = (uint32_t)rng_below(r, w->k.n_tasks + 1);
        j->tasks[b] = any < w->k.n_tasks ? any : EMR_BASE;
    }
}

static void make_jobs(world *w, rng *r)
{
    for (size_t i = 0; i < PRODUCTS; i++) {
        job *j = &w->jobs[w->n_jobs++];
        *j = (job){.tensor = (uint32_t)(i % KINDS_MERGED)};
        j->n_units = kinds_rows(j->tensor);
        j->x = malloc((BATCH * kinds_columns(j->tensor) + 1) * sizeof *j->x);
        for (size_t c = 0; c < BATCH * kinds_columns(j->tensor); c++)
            j->x[c] = rng_normal(r);
        draw_tasks(w, j, BATCH, r);
        j->unit = BATCH;
    }
    for (size_t i = PRODUCTS; i < GATHERS; i++) {
        job *j = &w->jobs[w->n_jobs++];
        *j = (job){.tensor = (uint32_t)(i % KINDS_TENSORS)};
        j->n_units = kinds_rows(j->tensor) ? ROWS : 0;
        j->unit = kinds_columns(j->tensor);
        draw_tasks(w, j, ROWS, r);
        for (size_t k = 0; k < j->n_units; k++)
            j->rows[k] = rng_below(r, kinds_rows(j->tensor));
    }
    for (uint32_t t = 0; t < w->k.n_tasks; t++)
        for (uint32_t i = 0; i < KINDS_TENSORS; i++)
            w->jobs[w->n_jobs++] = (job){.task = t, .tensor = i, .n_units = kinds_count(i), .unit = 1};
    for (size_t i = 0; i < w->n_jobs; i++) {
        w->jobs[i].want = calloc(w->jobs[i].n_units * w->jobs[i].unit + 1, sizeof(float));
        w->jobs[i].got = calloc(w->jobs[i].n_units * w->jobs[i].unit + 1, sizeof(float));
    }
}

/* A file of which half the codes are zeros, and so are compressed, or none; in memory, or to be read. */
static world *make_world(bool compressed, bool mapped)
{
    world *w = calloc(1, sizeof *w);
    rng r = {71};
    emr_error error;
    kinds_draw(&w->k, EMR_PER_ROW_BYTE, kinds_of_all, n_kinds_of_all);
    for (uint32_t t = 0; compressed && t < w->k.n_tasks; t++)
        for (int kind = 0; kind < 2; kind++) {
            kinds_stream *s = &w->k.streams[kind ? EMR_STREAM_CODES : EMR_STREAM_MASK][t];
            for (uint64_t i = 0; i < s->n; i++)
                s->bytes[i] = i / 64 % 2 ? 0 : s->bytes[i];
        }
    kinds_write(&w->k);
    w->gate.inner = *emr_buffer_io(w->k.buffer);
    const emr_io read = {.size = sizeof read, .user = &w->gate, .read = gate_read, .length = gate_length};
    assert_ok(emr_bundle_open(&w->bundle, mapped ? &w->gate.inner : &read, "kinds.emr", NULL, &error),
              &error);
    w->pool = test_pool_new(2);
    make_jobs(w, &r);
    return w;
}

static void free_world(world *w)
{
    emr_bundle_destroy(&w->bundle);
    emr_pool_destroy(&w->pool);
    kinds_destroy(&w->k);
    for (size_t i = 0; i < w->n_jobs; i++) {
        free(w->jobs[i].x);
        free(w->jobs[i].want);
        free(w->jobs[i].got);
    }
    free(w);
}

static emr_session_info info_of(const emr_session *session)
{
    emr_session_info info = EMR_INIT(emr_session_info);
    assert_int_equal(emr_session_get_info(session, &info), EMR_OK);
    return info;
}

/* With a hook it has an executor too. */
static emr_session *open_session(world *w, shared_meter *meter, uint64_t mask_bytes, uint64_t memory_bytes,
                                 bool waits)
{
    const emr_allocator allocator = {
        .size = sizeof allocator, .user = meter, .alloc = meter_alloc, .free = meter_free};
    emr_resources resources = test_resources(&allocator, waits ? emr_pool_executor(w->pool) : NULL);
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_session *session;
    emr_error error;
    resources.memory_bytes = memory_bytes;
    o.resources = &resources;
    o.mask_bytes = mask_bytes;
    o.wait = waits ? count_waits : NULL;
    o.wait_user = &w->gate;
    emr_status status = emr_session_create(&session, w->bundle, NULL, &o, &error);
    if (status != EMR_ELIMIT)
        assert_ok(status, &error);
    return session;
}

/* What callers do, one after the other, each with a session of its own: what they get, and how each call
 * ends. */
static void call_alone(world *w, uint64_t mask_bytes, caller *callers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        shared_meter meter = {0};
        emr_session *session = open_session(w, &meter, mask_bytes, 0, false);
        callers[i] = (caller){.w = w, .session = session, .number = i, .n = n, .to = wanted_output};
        call_all(&callers[i]);
        emr_session_destroy(&session);
    }
}

static void compare_callers(const world *w, const caller *callers, const caller *alone, size_t n)
{
    for (size_t i = 0; i < w->n_jobs; i++) {
        const job *j = &w->jobs[i];
        bool done = true;
        for (size_t c = 0; c < n; c++) {
            assert_int_equal(callers[c].status[i], alone[c].status[i]);
            done = done && !alone[c].status[i];
        }
        if (done)
            assert_memory_equal(j->got, j->want, j->n_units * j->unit * sizeof(float));
        memset(j->got, 0, j->n_units * j->unit * sizeof(float));
    }
}

/* All at once, handles of one session. */
static void call_together(world *w, uint64_t mask_bytes, const caller *alone, size_t n, size_t every)
{
    shared_meter meter = {0};
    emr_error error;
    emr_session *session = open_session(w, &meter, mask_bytes, 0, n > 2);
    emr_session_info info = info_of(session);
    uint64_t cap = info.memory_bytes + (n - 1) * info.thread_bytes;
    emr_session_destroy(&session);
    assert_int_equal(atomic_load(&meter.now), 0);
    session = open_session(w, &meter, mask_bytes, cap, n > 2);

    caller callers[CALLERS];
    pthread_t threads[CALLERS];
    emr_session *handles[CALLERS + 1] = {session};
    for (size_t i = 1; i < n; i++)
        assert_ok(emr_session_open_thread(&handles[i], handles[i / 2], &error), &error);
    assert_int_equal(emr_session_open_thread(&handles[n], session, &error), EMR_ELIMIT);
    assert_null(handles[n]);
    assert_non_null(strstr(error.text, "memory_bytes"));
    assert_int_equal(info_of(session).memory_bytes, cap);
    size_t before = atomic_load(&meter.requests);
    atomic_store(&w->gate.every, every);
    for (size_t i = 0; i < n; i++) {
        callers[i] = (caller){
            .w = w, .session = handles[i], .number = i, .n = n, .may_fail = every > 0, .to = shared_output};
        assert_int_equal(pthread_create(&threads[i], NULL, call_all, &callers[i]), 0);
    }
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&w->gate.every, 0);
    assert_int_equal(atomic_load(&meter.requests), before);
    assert_true(atomic_load(&meter.peak) <= cap);
    compare_callers(w, callers, alone, n);
    for (size_t i = 0; i < n; i++)
        emr_session_destroy(&handles[(i + 3) % n]); /* in any order */
    assert_int_equal(atomic_load(&meter.now), 0);
}

/* mask_bytes for one block. */
static uint64_t slot_bytes(world *w)
{
    shared_meter meter = {0};
    for (uint64_t bytes = 64;; bytes += 64) {
        emr_session *session = open_session(w, &meter, bytes, 0, false);
        if (!session)
            continue;
        emr_session_destroy(&session);
        return bytes;
    }
}

static bool all_succeed(const caller *callers, size_t n_callers, size_t n_jobs)
{
    for (size_t c = 0; c < n_callers; c++)
        for (size_t i = 0; i < n_jobs; i++)
            if (callers[c].status[i])
                return false;
    return true;
}

/* How many blocks there must be room for: those of the longest row, for all tasks of a batch. */
static uint64_t least_slots(world *w, uint64_t slot)
{
    caller one;
    for (uint64_t lower = 0, upper = 64;;) {
        uint64_t middle = (lower + upper) / 2;
        call_alone(w, middle * slot, &one, 1);
        if (all_succeed(&one, 1, w->n_jobs))
            upper = middle;
        else
            lower = middle;
        if (lower + 1 == upper)
            return upper;
    }
}

static void check_world(bool compressed, bool mapped, size_t n, size_t every)
{
    world *w = make_world(compressed, mapped);
    caller alone[CALLERS];
    uint64_t slot = slot_bytes(w), least = least_slots(w, slot);
    const uint64_t slots[] = {1, least - 1, least, least * 2, 0};
    assert_true(least > BATCH);
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        call_alone(w, slots[i] * slot, alone, n);
        assert_true(all_succeed(alone, n, w->n_jobs) == (i >= 2));
        call_together(w, slots[i] * slot, alone, n, every);
    }
    assert_true((atomic_load(&w->gate.n_failed) > 0) == (every > 0));
    free_world(w);
}

static void callers_together_get_what_one_gets(void **state)
{
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++)
        for (int mapped = 0; mapped < 2; mapped++)
            check_world(compressed, mapped, CALLERS, 0);
}

/* Two need no hook. */
static void callers_spin_without_a_hook(void **state)
{
    (void)state;
    check_world(true, false, 2, 0);
}

/* Who waited for a block that another failed to read reads it himself, and fails for himself. */
static void failing_reads_are_tried_by_others(void **state)
{
    (void)state;
    check_world(false, false, CALLERS, 41);
    check_world(true, false, CALLERS, 67);
}

typedef struct one_call {
    emr_session *session;
    uint32_t task;
    float out[9 * 40];
    emr_status status;
    emr_error error;
} one_call;

static void *call_once(void *user)
{
    one_call *c = user;
    const emr_weights to = {.size = sizeof to, .name = "square", .data = c->out};
    c->status = emr_session_apply(c->session, c->task, &to, 1, &c->error);
    return NULL;
}

/* One stays in a read until the other has waited for him. */
static void check_waiting(uint32_t other_task, uint64_t n_slots, bool fails)
{
    world *w = make_world(false, false);
    shared_meter meter = {0};
    static one_call a, b, fresh;
    pthread_t threads[2];
    emr_session *session = open_session(w, &meter, n_slots * slot_bytes(w), 0, true), *thread;
    assert_ok(emr_session_open_thread(&thread, session, &a.error), &a.error);
    w->gate.fails = fails;
    a = (one_call){.session = session, .task = 0};
    b = (one_call){.session = thread, .task = other_task};
    atomic_store(&w->gate.waits, 0);
    atomic_store(&w->gate.entered, false);
    atomic_store(&w->gate.armed, true);
    assert_int_equal(pthread_create(&threads[0], NULL, call_once, &a), 0);
    while (!atomic_load(&w->gate.entered))
        sched_yield();
    assert_int_equal(pthread_create(&threads[1], NULL, call_once, &b), 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_true(atomic_load(&w->gate.waits) > 0);
    assert_int_equal(a.status, fails ? EMR_EIO : EMR_OK);
    assert_ok(b.status, &b.error);
    assert_int_equal(info_of(session).masks_read, fails || other_task ? 2 : 1);
    emr_session_destroy(&session);
    emr_session_destroy(&thread);
    session = open_session(w, &meter, 0, 0, false);
    fresh = (one_call){.session = session, .task = other_task};
    call_once(&fresh);
    assert_memory_equal(fresh.out, b.out, sizeof b.out);
    emr_session_destroy(&session);
    free_world(w);
}

static void who_waits_says_so(void **state)
{
    (void)state;
    check_waiting(0, 4, false); /* for the same block, */
    check_waiting(0, 4, true);  /* which the first one cannot read; */
    check_waiting(2, 1, false); /* for room, */
    check_waiting(2, 1, true);
}

/* Every allocation of a thread's handle fails once. */
static void threads_without_memory(void **state)
{
    world *w = make_world(true, false);
    test_allocator counts = {.fail_at = SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    const emr_resources resources = test_resources(&allocator, NULL);
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_session *session, *thread;
    emr_error error;
    emr_status status;
    (void)state;
    o.resources = &resources;
    assert_ok(emr_session_create(&session, w->bundle, NULL, &o, &error), &error);
    size_t alive = counts.alive, first = counts.requests, n_failed = 0;
    uint64_t bytes = info_of(session).memory_bytes;
    counts.fail_at = first;
    while ((status = emr_session_open_thread(&thread, session, &error)) == EMR_ENOMEM) {
        assert_null(thread);
        assert_int_equal(counts.alive, alive);
        assert_int_equal(info_of(session).memory_bytes, bytes);
        counts.requests = first;
        counts.fail_at = first + ++n_failed;
    }
    assert_ok(status, &error);
    assert_true(n_failed > 5);
    emr_session_destroy(&session);
    emr_session_destroy(&thread);
    assert_int_equal(counts.alive, 0);
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_together_get_what_one_gets),
        cmocka_unit_test(callers_spin_without_a_hook),
        cmocka_unit_test(failing_reads_are_tried_by_others),
        cmocka_unit_test(who_waits_says_so),
        cmocka_unit_test(threads_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
