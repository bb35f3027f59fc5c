/* support.c - see support.h. */
#define _XOPEN_SOURCE 700

#include "support.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

void assert_ok_at(emr_status status, const emr_error *error, const char *file, int line)
{
    if (status) {
        print_error("%s: %s\n", emr_status_name(status), error ? error->text : "");
        _fail(file, line);
    }
}

bool test_span_is(const emr_error *error, emr_error_span span, const char *name)
{
    size_t n = strlen(name);
    return span.length == n && span.offset + n <= strlen(error->text) &&
           memcmp(error->text + span.offset, name, n) == 0;
}

uint64_t rng_next(rng *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1du;
}

uint64_t rng_below(rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

float rng_normal(rng *r)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)(rng_next(r) >> 11) * 0x1p-53;
    return (float)(sum - 6);
}

uint64_t test_tensor_count(const test_tensor *t)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        count *= t->shape[i];
    return count;
}

static size_t tensor_bytes(const test_tensor *t)
{
    return (size_t)(test_tensor_count(t) * emr_dtype_bits(t->dtype) / 8);
}

/* A tensor whose elements are computed: out of here. */
struct test_elements {
    const unsigned char *data;
    uint32_t bits; /* of each */
};

static emr_status compute_elements(const emr_computation *c, emr_error *error)
{
    const struct test_elements *from = c->user;
    (void)error;
    memcpy(c->out, from->data + c->first * from->bits / 8, c->count * from->bits / 8);
    return EMR_OK;
}

emr_model *test_model_new(const char *name)
{
    emr_error error;
    emr_model *model;
    emr_model_options options = EMR_INIT(emr_model_options);
    options.name = name;
    assert_ok(emr_model_create(&model, &options, &error), &error);
    return model;
}

test_model test_model_create(const char *name, const test_tensor *tensors, size_t n, test_source source)
{
    emr_error error;
    test_model m = {.n = n, .model = test_model_new(name)};
    m.tensors = calloc(n + 1, sizeof *m.tensors);
    m.data = calloc(n + 1, sizeof *m.data);
    m.buffers = calloc(n + 1, sizeof(emr_buffer *));
    m.computed = calloc(n + 1, sizeof *m.computed);
    for (size_t i = 0; i < n; i++) {
        m.tensors[i] = tensors[i];
        m.data[i] = calloc(tensor_bytes(&tensors[i]) + 1, 1);
        m.buffers[i] = test_buffer_of(m.data[i], tensor_bytes(&tensors[i]));
        m.computed[i] = (struct test_elements){m.data[i], emr_dtype_bits(tensors[i].dtype)};
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = tensors[i].name;
        d.dtype = tensors[i].dtype;
        d.rank = tensors[i].rank;
        d.shape = tensors[i].shape;
        d.data = source == SOURCE_MEMORY ? m.data[i] : NULL;
        d.io = source == SOURCE_IO ? emr_buffer_io(m.buffers[i]) : NULL;
        d.compute = source == SOURCE_READ ? compute_elements : NULL;
        d.user = &m.computed[i];
        assert_ok(emr_model_add(m.model, &d, &error), &error);
    }
    return m;
}

void test_model_destroy(test_model *m)
{
    emr_model_destroy(&m->model);
    for (size_t i = 0; i < m->n; i++) {
        emr_buffer_destroy(&m->buffers[i]);
        free(m->data[i]);
    }
    free(m->tensors);
    free(m->data);
    free(m->buffers);
    free(m->computed);
}

void test_model_randomise(test_model *m, rng *r)
{
    for (size_t i = 0; i < m->n; i++) {
        const test_tensor *t = &m->tensors[i];
        size_t size = emr_dtype_bits(t->dtype) / 8;
        for (uint64_t k = 0; k < test_tensor_count(t) && emr_dtype_is_float(t->dtype); k++) {
            float value = rng_normal(r);
            emr_convert(t->dtype, m->data[i] + k * size, EMR_DTYPE_F32, &value, 1);
        }
        for (size_t k = 0; k < tensor_bytes(t) && !emr_dtype_is_float(t->dtype); k++)
            m->data[i][k] = (unsigned char)(rng_next(r) >> 32 & (t->dtype == EMR_DTYPE_BOOL ? 1 : 255));
    }
}

void test_model_perturb(test_model *m, const test_model *base, float spread, rng *r)
{
    for (size_t i = 0; i < m->n; i++) {
        emr_dtype from = base->tensors[i].dtype, to = m->tensors[i].dtype;
        if (!emr_dtype_is_float(from)) {
            memcpy(m->data[i], base->data[i], tensor_bytes(&m->tensors[i]));
            continue;
        }
        for (uint64_t k = 0; k < test_tensor_count(&m->tensors[i]); k++) {
            double value;
            emr_convert(EMR_DTYPE_F64, &value, from, base->data[i] + k * (emr_dtype_bits(from) / 8), 1);
            value += (double)(spread * rng_normal(r));
            emr_convert(to, m->data[i] + k * (emr_dtype_bits(to) / 8), EMR_DTYPE_F64, &value, 1);
        }
    }
}

test_set test_set_create(const test_tensor *tensors, size_t n_tensors, size_t n_tasks, uint64_t seed,
                         test_source source)
{
    rng r = {seed * 2654435761u + 1};
    test_set s = {.n = n_tasks};
    s.base = test_model_create("base", tensors, n_tensors, source);
    s.tasks = calloc(n_tasks + 1, sizeof *s.tasks);
    test_model_randomise(&s.base, &r);
    for (size_t t = 0; t < n_tasks; t++) {
        char name[32];
        snprintf(name, sizeof name, "task%zu", t);
        s.tasks[t] = test_model_create(name, tensors, n_tensors, source);
        test_model_perturb(&s.tasks[t], &s.base, 0.1f, &r);
    }
    return s;
}

void test_set_destroy(test_set *s)
{
    test_model_destroy(&s->base);
    for (size_t t = 0; t < s->n; t++)
        test_model_destroy(&s->tasks[t]);
    free(s->tasks);
}

static test_model copy_model(const test_model *m, test_source source)
{
    test_model copy = test_model_create(emr_model_name(m->model), m->tensors, m->n, source);
    for (size_t i = 0; i < m->n; i++)
        memcpy(copy.data[i], m->data[i], tensor_bytes(&m->tensors[i]));
    return copy;
}

test_set test_set_copy(const test_set *s, test_source source)
{
    test_set copy = {copy_model(&s->base, source), calloc(s->n + 1, sizeof(test_model)), s->n};
    for (size_t t = 0; t < s->n; t++)
        copy.tasks[t] = copy_model(&s->tasks[t], source);
    return copy;
}

emr_merge *test_merge_create(const test_set *s, const emr_merge_options *options)
{
    emr_error error;
    emr_merge *merge;
    assert_ok(emr_merge_create(&merge, options, &error), &error);
    assert_ok(emr_merge_set_base(merge, s->base.model, &error), &error);
    for (size_t t = 0; t < s->n; t++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu", t);
        assert_ok(emr_merge_add_task(merge, name, s->tasks[t].model, &error), &error);
    }
    return merge;
}

emr_buffer *test_merge_bundle(const test_set *s, const emr_merge_options *options)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_merge *merge = test_merge_create(s, options);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

emr_bundle *test_bundle_open(const emr_buffer *buffer)
{
    emr_error error;
    emr_bundle *bundle;
    assert_ok(emr_bundle_open(&bundle, emr_buffer_io(buffer), "test bundle", NULL, &error), &error);
    return bundle;
}

const test_tensor mixed_tensors[] = {
    {"a.weight", EMR_DTYPE_F32, 2, {48, 33}},  {"b.bias", EMR_DTYPE_F32, 1, {7}},
    {"c.scalar", EMR_DTYPE_F32, 0, {0}},       {"d.empty", EMR_DTYPE_F32, 2, {0, 4}},
    {"e.one", EMR_DTYPE_F32, 1, {1}},          {"f.conv", EMR_DTYPE_F32, 4, {5, 3, 3, 3}},
    {"g.odd", EMR_DTYPE_F32, 1, {4097}},       {"h.wide", EMR_DTYPE_F32, 2, {3, 1000}},
    {"i.tall", EMR_DTYPE_F32, 2, {1000, 3}},   {"j.big", EMR_DTYPE_F32, 2, {700, 515}},
    {"k.bf16", EMR_DTYPE_BF16, 2, {129, 515}}, {"l.f16", EMR_DTYPE_F16, 1, {70001}},
};
const size_t n_mixed_tensors = sizeof mixed_tensors / sizeof mixed_tensors[0];

emr_buffer *test_buffer_new(void)
{
    emr_error error;
    emr_buffer *buffer;
    assert_ok(emr_buffer_create(&buffer, NULL, &error), &error);
    return buffer;
}

emr_buffer *test_buffer_of(const void *bytes, size_t n)
{
    emr_error error;
    emr_buffer *buffer;
    assert_ok(emr_buffer_open(&buffer, bytes, n, NULL, &error), &error);
    return buffer;
}

unsigned char *test_buffer_bytes(const emr_buffer *buffer)
{
    return (unsigned char *)(uintptr_t)emr_buffer_data(buffer);
}

bool test_same_buffers(const emr_buffer *a, const emr_buffer *b)
{
    size_t n = emr_buffer_bytes(a);
    return n == emr_buffer_bytes(b) && (!n || memcmp(emr_buffer_data(a), emr_buffer_data(b), n) == 0);
}

emr_pool *test_pool_new(uint32_t threads)
{
    emr_error error;
    emr_pool *pool;
    emr_pool_options options = EMR_INIT(emr_pool_options);
    options.threads = threads;
    assert_ok(emr_pool_create(&pool, &options, &error), &error);
    return pool;
}

emr_status test_apply(emr_modulator *modulator, uint32_t tensor, uint64_t first, uint64_t count,
                      emr_dtype base_dtype, const void *base, emr_dtype out_dtype, void *out,
                      emr_error *error)
{
    const emr_application application = {.size = sizeof application,
                                         .base = base,
                                         .out = out,
                                         .first = first,
                                         .count = count,
                                         .tensor = tensor,
                                         .base_dtype = base_dtype,
                                         .out_dtype = out_dtype};
    return emr_modulator_apply(modulator, &application, error);
}

emr_resources test_resources(const emr_allocator *allocator, const emr_executor *executor)
{
    return (emr_resources){.size = sizeof(emr_resources), .allocator = allocator, .executor = executor};
}

static void *counted_alloc(void *user, size_t bytes, size_t alignment)
{
    test_allocator *a = user;
    if (a->requests++ == a->fail_at)
        return NULL;
    void *p = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    a->alive += p != NULL;
    return p;
}

static void counted_free(void *user, void *pointer)
{
    ((test_allocator *)user)->alive--;
    free(pointer);
}

emr_allocator test_allocator_make(test_allocator *state)
{
    return (emr_allocator){sizeof(emr_allocator), state, counted_alloc, counted_free};
}

static void *metered_alloc(void *user, size_t bytes, size_t alignment)
{
    test_meter *m = user;
    size_t *head = aligned_alloc(64, (bytes + 64 + 63) / 64 * 64);
    (void)alignment;
    *head = bytes;
    const size_t now = atomic_fetch_add(&m->now, bytes) + bytes;
    size_t peak = m->peak;
    while (now > peak && !atomic_compare_exchange_weak(&m->peak, &peak, now))
        ; /* another thread's peak was noted between: compare with that */
    return (unsigned char *)head + 64;
}

static void metered_free(void *user, void *pointer)
{
    size_t *head = (size_t *)(void *)((unsigned char *)pointer - 64);
    ((test_meter *)user)->now -= *head;
    free(head);
}

emr_allocator test_meter_make(test_meter *state)
{
    return (emr_allocator){sizeof(emr_allocator), state, metered_alloc, metered_free};
}

emr_status test_progress_note(void *user, const emr_progress *progress, emr_error *error)
{
    test_progress *p = user;
    p->backwards =
        p->backwards || progress->done < p->done || (progress->total && progress->done > progress->total);
    p->done = progress->done;
    p->total = progress->total;
    if (p->calls++ != p->stop_at)
        return EMR_OK;
    return p->why ? emr_error_set(error, EMR_ECANCELED, 0, NULL, p->why) : EMR_ECANCELED;
}

static const emr_io *look(test_io *t)
{
    return t->looks++ >= t->other_at && t->other.read ? &t->other : &t->inner;
}

static emr_status fail_as_told(const test_io *t, emr_error *error)
{
    emr_status status = t->status ? t->status : EMR_EIO;
    return t->why ? emr_error_set(error, status, t->system, NULL, t->why) : status;
}

static emr_status io_read(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    test_io *t = user;
    const emr_io *io = look(t);
    bool fails = t->reads++ >= t->fail_read;
    emr_status status = io->read(io->user, offset, destination, fails ? n / 2 : n, error);
    return fails ? fail_as_told(t, error) : status;
}

static emr_status io_write(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    test_io *t = user;
    return t->writes++ == t->fail_write ? fail_as_told(t, error)
                                        : t->inner.write(t->inner.user, offset, source, n, error);
}

static emr_status io_length(void *user, uint64_t *bytes, emr_error *error)
{
    const emr_io *io = look(user);
    return io->length(io->user, bytes, error);
}

emr_io test_io_make(test_io *state)
{
    emr_io io = {.size = sizeof io, .user = state};
    io.read = state->inner.read ? io_read : NULL;
    io.write = state->inner.write ? io_write : NULL;
    io.length = state->inner.length ? io_length : NULL;
    return io;
}

char *test_directory_make(void)
{
    char *path = strdup("/tmp/emr-test-XXXXXX");
    if (!mkdtemp(path))
        fail_msg("no temporary directory");
    return path;
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *where)
{
    (void)s, (void)kind, (void)where;
    return remove(path);
}

size_t test_directory_entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

void test_directory_remove(char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

char *test_path(const char *directory, const char *name)
{
    size_t n = strlen(directory) + strlen(name) + 2;
    char *path = malloc(n);
    snprintf(path, n, "%s/%s", directory, name);
    return path;
}

void test_write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f))
        fail_msg("%s: cannot be written", path);
}

unsigned char *test_read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *bytes = malloc(*n + 1);
    if (fread(bytes, 1, *n, f) != *n)
        fail_msg("%s: cannot be read", path);
    fclose(f);
    return bytes;
}
