/* synthetic.c - see synthetic.h. A value depends on its position and source alone, so any range of any model
 * can be made by any thread. */
#include "synthetic.h"

#include "bandwidth.h"

/* Close to normal, with deviation 1: the sum of four uniform numbers. */
static float normal(uint64_t position, uint64_t stream)
{
    uint64_t x = mix64(position * SOURCES_MAX + stream);
    uint32_t sum = (uint32_t)(x & 0xffff) + (uint32_t)(x >> 16 & 0xffff) + (uint32_t)(x >> 32 & 0xffff) +
                   (uint32_t)(x >> 48);
    return ((float)sum - 131070.0f) / 37837.0f;
}

void synthetic_values(emr_dtype dtype, void *to, size_t source, uint64_t first, size_t n)
{
    enum { BLOCK = 256 };
    float values[BLOCK];
    uint8_t *out = to;
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t count = n - done < BLOCK ? n - done : BLOCK;
        for (size_t i = 0; i < count; i++) {
            values[i] = 0.02f * normal(first + done + i, 0);
            if (source)
                values[i] += 0.002f * normal(first + done + i, source);
        }
        emr_convert(dtype, out, EMR_DTYPE_F32, values, count);
        out += count * emr_dtype_bits(dtype) / 8;
    }
}

enum { FILL_PARTS = 16 };

static void fill_part(void *arg, size_t i)
{
    const synthetic_models *m = arg;
    size_t source = i / FILL_PARTS, begin = share_begin(m->n, i % FILL_PARTS, FILL_PARTS, 1);
    size_t end = share_begin(m->n, i % FILL_PARTS + 1, FILL_PARTS, 1);
    synthetic_values(m->dtype, m->sources[source] + begin * m->size, source, begin, end - begin);
}

static size_t bytes_allocated(const synthetic_models *m)
{
    return m->n * m->size + SPREAD * SOURCES_MAX;
}

synthetic_models synthetic_create(const team *t, emr_dtype dtype, placement place, size_t n_tasks,
                                  size_t bytes, size_t unit)
{
    synthetic_models m = {
        .dtype = dtype, .placement = place, .n_tasks = n_tasks, .size = emr_dtype_bits(dtype) / 8};
    m.n = bytes / m.size / (n_tasks + 1) / unit * unit;
    for (size_t s = 0; s <= n_tasks; s++)
        m.sources[s] = (uint8_t *)allocate_large(bytes_allocated(&m)) + s * m.placement;
    team_run(t, (n_tasks + 1) * FILL_PARTS, fill_part, &m);
    return m;
}

void synthetic_destroy(synthetic_models *m)
{
    for (size_t s = 0; s <= m->n_tasks; s++)
        release_large(m->sources[s] - s * m->placement, bytes_allocated(m));
}

double synthetic_bytes(const synthetic_models *m)
{
    return (double)m->n * (double)m->size * (double)(m->n_tasks + 1);
}

typedef struct reading {
    const synthetic_models *models;
    size_t n_threads;
    uint64_t sums[THREADS_MAX]; /* one a thread, so that the reading is needed */
} reading;

static void read_share(void *arg, size_t i)
{
    reading *r = arg;
    const synthetic_models *m = r->models;
    size_t bytes = m->n * m->size, begin = share_begin(bytes, i, r->n_threads, READ_UNIT);
    size_t end = share_begin(bytes, i + 1, r->n_threads, READ_UNIT);
    for (size_t s = 0; s <= m->n_tasks; s++)
        r->sums[i] += read_through(m->sources[s] + begin, end - begin);
}

void synthetic_read(const synthetic_models *m, const team *t)
{
    static reading r; /* static: the compiler must store the sums */
    r.models = m;
    r.n_threads = t->executor->concurrency;
    team_run(t, r.n_threads, read_share, &r);
}
