/* access.c - what it takes to get one tensor of one task out of a large bundle: it should cost in proportion
 * to that tensor, not to the bundle; and what it takes to add a task to one. All in memory, so that no disk
 * is measured. */
#include "measure.h"
#include "merging.h"
#include "rows.h"
#include "settings.h"
#include "synthetic.h"

#include <string.h>

enum { TENSORS = 4, TASKS = 3, SAMPLES = 9 };

static const char *const names[TENSORS] = {"64 KiB", "1 MiB", "16 MiB",
                                           "128 MiB"}; /* which are their sizes, too */

/* Models over the synthetic values, cut into tensors of the sizes wanted, the largest first. */
static emr_model *cut_model(const synthetic_models *m, size_t source, const uint64_t sizes[TENSORS])
{
    emr_model *model = create_model();
    size_t at = 0;
    for (size_t i = TENSORS; i-- > 0; at += sizes[i])
        add_matrix(model, names[i], EMR_DTYPE_F32, 1, sizes[i] / 4, m->sources[source] + at);
    return model;
}

/* An I/O over another that counts what is read. */
typedef struct counted {
    const emr_io *inner;
    uint64_t bytes;
} counted;

static emr_status counted_read(void *user, uint64_t offset, void *to, size_t n, emr_error *error)
{
    counted *c = user;
    c->bytes += n;
    return c->inner->read(c->inner->user, offset, to, n, error);
}

static emr_status counted_length(void *user, uint64_t *bytes, emr_error *error)
{
    const counted *c = user;
    return c->inner->length(c->inner->user, bytes, error);
}

static emr_status counted_map(void *user, uint64_t offset, size_t n, const void **window, emr_error *error)
{
    const counted *c = user;
    return c->inner->map(c->inner->user, offset, n, window, error);
}

static emr_io counted_io(counted *c, bool map)
{
    emr_io io = EMR_INIT(emr_io);
    io.user = c;
    io.read = counted_read;
    io.length = counted_length;
    if (map)
        io.map = counted_map;
    return io;
}

/* Memory that is there before it is written, so that none is measured to be had. */
typedef struct room {
    uint8_t *data;
    size_t bytes, capacity;
} room;

static room room_create(size_t capacity)
{
    return (room){allocate_large(capacity), 0, capacity};
}

static void room_destroy(room *r)
{
    release_large(r->data, r->capacity);
}

static emr_status room_write(void *user, uint64_t offset, const void *bytes, size_t n, emr_error *error)
{
    room *r = user;
    if (n > r->capacity - offset)
        return emr_error_set(error, EMR_ELIMIT, 0, NULL, "more than there is room for");
    memcpy(r->data + offset, bytes, n);
    r->bytes = (size_t)offset + n;
    return EMR_OK;
}

static emr_io room_io(room *r)
{
    emr_io io = EMR_INIT(emr_io);
    io.user = r;
    io.write = room_write;
    return io;
}

typedef struct models {
    synthetic_models values;
    uint64_t sizes[TENSORS];
    emr_model *sources[1 + TASKS]; /* the base and the tasks */
} models;

/* The first `n` tasks into the buffer. */
static double merge_into_room(const models *m, const team *t, size_t n, int compression, bool extendable,
                              room *to)
{
    emr_io io = room_io(to);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &t->resources;
    o.compression = compression;
    o.extendable = extendable;
    double start = now();
    run_merge(&o, m->sources, n, &io);
    return now() - start;
}

/* Adds the last task to a bundle of the others. */
static double add_into_room(const models *m, const team *t, const emr_io *from, room *to)
{
    emr_error error;
    emr_bundle *before;
    emr_merge *merge;
    emr_io io = room_io(to);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &t->resources;
    double start = now();
    check(emr_bundle_open(&before, from, NULL, NULL, &error), &error);
    check(emr_merge_create(&merge, &o, &error), &error);
    check(emr_merge_extend(merge, before, &error), &error);
    check(emr_merge_set_base(merge, m->sources[0], &error), &error);
    check(emr_merge_add_task(merge, "task2", m->sources[TASKS], &error), &error);
    check(emr_merge_set_output(merge, &io, &error), &error);
    check(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    emr_bundle_destroy(&before);
    return now() - start;
}

/* One tensor of a task, from the opened bundle to its weights in memory. */
static double read_tensor(const emr_bundle *b, const models *m, size_t tensor, void *to)
{
    emr_error error;
    emr_model *view;
    emr_view_options o = EMR_INIT(emr_view_options);
    o.check = EMR_BASE_CHECK_NONE;
    double start = now();
    check(emr_bundle_open_task(&view, b, 1, m->sources[0], &o, &error), &error);
    const emr_tensor *t = emr_model_find_tensor(view, names[tensor]);
    check(emr_tensor_read(t, 0, to, (size_t)emr_tensor_bytes(t), &error), &error);
    emr_model_destroy(&view);
    return now() - start;
}

static void measure_access(const settings *s, const models *m, const room *bundle, const char *kind, bool map)
{
    emr_error error;
    emr_bundle *b;
    emr_buffer *memory;
    counted c = {0};
    emr_io io = counted_io(&c, map);
    unsigned runs = s->quick ? 1 : SAMPLES;
    void *to = allocate_large((size_t)m->sizes[TENSORS - 1]);
    check(emr_buffer_open(&memory, bundle->data, bundle->bytes, NULL, &error), &error);
    c.inner = emr_buffer_io(memory);
    check(emr_bundle_open(&b, &io, NULL, NULL, &error), &error);
    for (size_t i = 0; i < TENSORS; i++) {
        double seconds[SAMPLES], size = (double)m->sizes[i];
        c.bytes = 0;
        for (unsigned k = 0; k < runs; k++)
            seconds[k] = read_tensor(b, m, i, to);
        double took = median(seconds, runs);
        row(took * 1e3, "ms", no_bar(), "access: a tensor of %s, %s, 1 thread", names[i], kind);
        row(took / size * 1e9, "ns/byte", no_bar(), "access: a tensor of %s, %s, for its size", names[i],
            kind);
        row((double)c.bytes / runs / 1024, "KiB", no_bar(),
            "access: a tensor of %s, %s, read from the bundle", names[i], kind);
    }
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&memory);
    release_large(to, (size_t)m->sizes[TENSORS - 1]);
}

/* Adding the last task to a bundle of the others, against merging all anew. */
static void measure_growth(const settings *s, const models *m, const team *t)
{
    emr_error error;
    size_t most = (size_t)m->values.n * 20 + (1 << 20);
    room all = room_create(most), grown = room_create(most), few = room_create(most),
         plain = room_create(most);
    emr_buffer *before;
    unsigned runs = s->quick ? 1 : 3;
    double adding[3], anew[3], without[3];
    merge_into_room(m, t, TASKS - 1, 0, true, &few);
    check(emr_buffer_open(&before, few.data, few.bytes, NULL, &error), &error);
    for (unsigned i = 0; i < runs; i++) {
        without[i] = merge_into_room(m, t, TASKS, 0, false, &plain);
        anew[i] = merge_into_room(m, t, TASKS, 0, true, &all);
        adding[i] = add_into_room(m, t, emr_buffer_io(before), &grown);
    }
    double params = (double)m->values.n;
    row((double)plain.bytes / params, "bytes/param", no_bar(), "access: a bundle of %d tasks", TASKS);
    row((double)all.bytes / params, "bytes/param", no_bar(), "access: the same, extendable");
    row(params / median(without, runs) / 1e6, "Mparam/s", no_bar(), "access: merging %d tasks, in memory",
        TASKS);
    row(params / median(anew, runs) / 1e6, "Mparam/s", no_bar(), "access: merging them extendable");
    row(params / median(adding, runs) / 1e6, "Mparam/s", no_bar(), "access: adding the last of them");
    emr_buffer_destroy(&before);
    room_destroy(&all);
    room_destroy(&grown);
    room_destroy(&few);
    room_destroy(&plain);
}

void bench_access(const settings *s)
{
    static const uint64_t real[TENSORS] = {64 << 10, 1 << 20, 16 << 20, 128 << 20};
    models m = {.sizes = {0}};
    uint64_t total = 0;
    team t = team_create(s->threads);
    for (size_t i = 0; i < TENSORS; i++)
        total += m.sizes[i] = s->quick ? (uint64_t)4096 << i : real[i];
    m.values =
        synthetic_create(&t, EMR_DTYPE_F32, AT_PAGES, TASKS, (size_t)total * (TASKS + 1), (size_t)total / 4);
    for (size_t i = 0; i <= TASKS; i++)
        m.sources[i] = cut_model(&m.values, i, m.sizes);
    size_t most = (size_t)total * 2 + (1 << 20);
    room raw = room_create(most), packed = room_create(most);
    merge_into_room(&m, &t, TASKS, EMR_COMPRESSION_NONE, false, &raw);
    merge_into_room(&m, &t, TASKS, 0, false, &packed);
    measure_access(s, &m, &packed, "compressed", false);
    measure_access(s, &m, &raw, "raw", false);
    measure_access(s, &m, &raw, "raw and mapped", true);
    room_destroy(&raw);
    room_destroy(&packed);
    measure_growth(s, &m, &t);
    destroy_models(m.sources, 1 + TASKS);
    synthetic_destroy(&m.values);
    team_destroy(&t);
}
