/* sums.c - see sums.h: sums of chunks, which any worker may take, added up in the order of the chunks. */
#include "combine/sums.h"

#include <string.h>

enum { CHUNK_ELEMENTS = 16384, CHUNKS_A_WORKER = 16 /* of a round */ };

size_t emr_sweep_chunk(const emr_combined *t)
{
    uint64_t row = t->seen.row_length;
    return (size_t)(row > CHUNK_ELEMENTS ? row : row ? CHUNK_ELEMENTS / row * row : CHUNK_ELEMENTS);
}

/* A chunk of a round. */
typedef struct sum_chunk {
    const emr_combined *tensor;
    uint64_t first;
    size_t n;
} sum_chunk;

/* Some chunks, which are summed side by side. */
typedef struct sum_round {
    emr_sweep *sweep;
    const emr_method_stage *stage;
    emr_combine_reader *readers;
    uint8_t *memory;
    sum_chunk *chunks;
    double *sums; /* n_sums for each chunk */
    size_t n_chunks, max_chunks;
    uint32_t n_sums;
    uint32_t next_tensor; /* where the next round begins */
    uint64_t next_first;
} sum_round;

static void list_chunks(sum_round *r)
{
    const emr_sweep *s = r->sweep;
    for (r->n_chunks = 0; r->n_chunks < r->max_chunks && r->next_tensor < s->n_tensors; r->n_chunks++) {
        const emr_combined *t = s->tensors[r->next_tensor];
        size_t n = (size_t)emr_min(emr_sweep_chunk(t), t->seen.count - r->next_first);
        r->chunks[r->n_chunks] = (sum_chunk){t, r->next_first, n};
        r->next_first += n;
        if (r->next_first == t->seen.count) {
            r->next_tensor++;
            r->next_first = 0;
        }
    }
}

static emr_status sum_one(void *context, size_t job, size_t worker, emr_error *error)
{
    sum_round *r = context;
    const sum_chunk *k = &r->chunks[job];
    const emr_combine_range range = {k->first, k->n, 0};
    emr_combine_reader *reader = &r->readers[worker];
    double *sums = r->sums + job * r->n_sums;
    emr_method_tensor seen = k->tensor->seen;
    seen.found = r->sweep->found;
    emr_status status = emr_reader_load(reader, k->tensor, &range, error);
    if (status)
        return status;
    const emr_method_chunk chunk = emr_reader_chunk(reader, k->tensor, &seen, &range);
    memset(sums, 0, r->n_sums * sizeof *sums);
    r->stage->add_sums(&chunk, sums);
    return EMR_OK;
}

static void add_chunk_sums(sum_round *r, double *total)
{
    for (size_t k = 0; k < r->n_chunks; k++)
        for (uint32_t i = 0; i < r->n_sums; i++)
            total[i] += r->sums[k * r->n_sums + i];
}

static uint64_t count_elements(const sum_round *r)
{
    uint64_t n = 0;
    for (size_t k = 0; k < r->n_chunks; k++)
        n += r->chunks[k].n;
    return n;
}

static emr_status sum_in_rounds(sum_round *r, emr_error *error)
{
    double *total = r->sweep->found + r->sweep->n_found;
    emr_status status = EMR_OK;
    for (list_chunks(r); !status && r->n_chunks; list_chunks(r)) {
        status = emr_work(&r->sweep->workers, r->n_chunks, sum_one, r, error);
        if (status)
            return status;
        add_chunk_sums(r, total);
        status = emr_sweep_advance(r->sweep, count_elements(r), error);
    }
    return status;
}

emr_status emr_sweep_readers_create(const emr_sweep *s, size_t capacity, emr_combine_reader **readers,
                                    uint8_t **memory, emr_error *error)
{
    const emr_combination *c = s->combination;
    const emr_allocator *a = &s->env->allocator;
    uint64_t bytes = emr_round_up(emr_reader_bytes(c, capacity, false), EMR_ALIGNMENT), all;
    *memory = NULL;
    *readers = emr_allocate_array(a, s->workers.n, sizeof **readers);
    if (*readers && emr_mul(bytes, s->workers.n, &all) && all < SIZE_MAX / 2)
        *memory = a->alloc(a->user, (size_t)all, EMR_ALIGNMENT);
    if (!*memory)
        return emr_no_memory(error, NULL);
    for (size_t i = 0; i < s->workers.n; i++)
        emr_reader_place(&(*readers)[i], c, capacity, false, *memory + i * bytes);
    return EMR_OK;
}

size_t emr_sweep_largest_chunk(const emr_sweep *s)
{
    size_t largest = 0;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        size_t n = (size_t)emr_min(emr_sweep_chunk(s->tensors[i]), s->tensors[i]->seen.count);
        largest = n > largest ? n : largest;
    }
    return largest;
}

/* Chunks of a round: enough for all workers to take turns, but their sums are a quarter of the memory at most. */
static size_t choose_round(const emr_sweep *s, uint32_t n_sums)
{
    uint64_t most = s->env->memory_bytes / 4 / sizeof(double) / (n_sums ? n_sums : 1);
    uint64_t wanted = emr_min((uint64_t)s->workers.n * CHUNKS_A_WORKER, most);
    return wanted ? (size_t)wanted : 1;
}

emr_status emr_sweep_sum(emr_sweep *s, const emr_method_stage *stage, uint32_t n, emr_error *error)
{
    const emr_allocator *a = &s->env->allocator;
    sum_round r = {.sweep = s, .stage = stage, .n_sums = n, .max_chunks = choose_round(s, n)};
    emr_status status = emr_sweep_readers_create(s, emr_sweep_largest_chunk(s), &r.readers, &r.memory, error);
    r.chunks = emr_allocate_array(a, r.max_chunks, sizeof *r.chunks);
    r.sums = emr_allocate_array(a, r.max_chunks, n * sizeof *r.sums);
    if (!status)
        status = r.chunks && r.sums ? sum_in_rounds(&r, error) : emr_no_memory(error, NULL);
    emr_release(a, r.readers);
    emr_release(a, r.memory);
    emr_release(a, r.chunks);
    emr_release(a, r.sums);
    return status;
}
