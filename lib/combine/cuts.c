/* cuts.c - see sums.h: lists are cut where their k largest end (statistics/select.h). A chunk of keys may lie in several
 * tensors, where the method joins them. */
#include "combine/sums.h"

#include "combine/reader.h"
#include "method/magnitude.h"
#include "statistics/select.h"

#include <string.h>

enum { KEYS_AT_A_TIME = 16384 };

/* A part of a worker's chunk: what of it is in one tensor. */
typedef struct key_part {
    const emr_combined *tensor;
    emr_combine_range range;
} key_part;

typedef struct key_chunk {
    emr_combine_reader *reader;
    key_part *parts;
    size_t n_parts;
} key_chunk;

typedef struct key_lists {
    emr_sweep *sweep;
    const emr_method_stage *stage;
    key_chunk *chunks; /* one a worker */
} key_lists;

/* The tensor in which a position is. */
static uint32_t find_tensor(const emr_sweep *s, uint64_t position)
{
    uint32_t low = 0, high = s->n_tensors;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (s->tensors[middle]->position <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static emr_status load_keys(void *context, size_t worker, uint64_t first, size_t n, emr_error *error)
{
    const key_lists *l = context;
    key_chunk *k = &l->chunks[worker];
    emr_status status = EMR_OK;
    size_t at = 0;
    k->n_parts = 0;
    for (uint32_t i = find_tensor(l->sweep, first); !status && n; i++) {
        const emr_combined *t = l->sweep->tensors[i];
        emr_combine_range range = {.first = first - t->position, .at = at};
        range.n = (size_t)emr_min(n, t->seen.count - range.first);
        k->parts[k->n_parts++] = (key_part){t, range};
        status = emr_reader_load(k->reader, t, &range, error);
        at += range.n;
        first += range.n;
        n -= range.n;
    }
    return status;
}

static void give_keys(void *context, size_t worker, uint32_t list, float *keys)
{
    const key_lists *l = context;
    const key_chunk *k = &l->chunks[worker];
    for (size_t i = 0; i < k->n_parts; i++) {
        const key_part *part = &k->parts[i];
        emr_method_tensor seen = part->tensor->seen;
        seen.found = l->sweep->found;
        const emr_method_chunk chunk = emr_reader_chunk(k->reader, part->tensor, &seen, &part->range);
        l->stage->list_keys(&chunk, list, keys + part->range.at);
    }
}

static emr_status advance_sweep(void *context, uint64_t n, emr_error *error)
{
    const key_lists *l = context;
    return emr_sweep_advance(l->sweep, n, error);
}

/* Magnitudes are the values themselves, but for their signs; those of all parts are side by side. */
static const float *find_magnitudes(void *context, size_t worker, uint32_t list)
{
    const key_lists *l = context;
    return l->stage->list_keys == emr_magnitude_keys ? l->chunks[worker].reader->buffers[list] : NULL;
}

static size_t choose_chunk(const emr_sweep *s)
{
    return s->n_tensors > 1 ? KEYS_AT_A_TIME : emr_sweep_largest_chunk(s);
}

/* Asks the method which lists are cut where; how many lists there are. */
static uint32_t place_cuts(const emr_sweep *s, const emr_method_stage *stage, emr_cut *cuts, uint32_t n)
{
    uint32_t n_lists = 0;
    for (uint32_t i = 0; i < n; i++) {
        cuts[i].k = stage->place_cut(&s->seen, i, &cuts[i].list);
        n_lists = cuts[i].list >= n_lists ? cuts[i].list + 1 : n_lists;
    }
    return n_lists;
}

/* What readers have left of the memory. */
static uint64_t memory_for_lists(const emr_sweep *s, size_t chunk)
{
    uint64_t readers = emr_reader_bytes(s->combination, chunk, false) * s->workers.n;
    return s->env->memory_bytes > readers ? s->env->memory_bytes - readers : 0;
}

static emr_status cut_lists(key_lists *l, emr_cut *cuts, uint32_t n, size_t chunk, emr_error *error)
{
    emr_sweep *s = l->sweep;
    const emr_key_source source = {.context = l,
                                   .load = load_keys,
                                   .keys = give_keys,
                                   .advance = s->env->progress ? advance_sweep : NULL,
                                   .find_keys = find_magnitudes,
                                   .count = s->seen.count,
                                   .chunk = chunk,
                                   .granule = s->seen.row_length ? s->seen.row_length : 1,
                                   .n_lists = place_cuts(s, l->stage, cuts, n),
                                   .kernels = s->combination->kernels};
    emr_status status =
        n ? emr_select_cuts(&source, &s->workers, memory_for_lists(s, chunk), cuts, n, error) : EMR_OK;
    for (uint32_t i = 0; !status && i < n; i++)
        memcpy(s->found + s->n_found + 2 * (size_t)i, cuts[i].found, sizeof cuts[i].found);
    return status;
}

static emr_status create_chunks(key_lists *l, emr_combine_reader *readers, key_part **parts, emr_error *error)
{
    const emr_sweep *s = l->sweep;
    const size_t most = (size_t)emr_min(s->n_tensors, KEYS_AT_A_TIME);
    l->chunks = emr_allocate_array(&s->env->allocator, s->workers.n, sizeof *l->chunks);
    *parts = emr_allocate_array(&s->env->allocator, s->workers.n, most * sizeof **parts);
    if (!l->chunks || !*parts)
        return emr_no_memory(error, NULL);
    for (size_t i = 0; i < s->workers.n; i++)
        l->chunks[i] = (key_chunk){.reader = &readers[i], .parts = *parts + i * most};
    return EMR_OK;
}

emr_status emr_sweep_cut(emr_sweep *s, const emr_method_stage *stage, uint32_t n, emr_error *error)
{
    const emr_allocator *a = &s->env->allocator;
    key_lists l = {.sweep = s, .stage = stage};
    emr_combine_reader *readers = NULL;
    uint8_t *memory = NULL;
    key_part *parts = NULL;
    const size_t chunk = choose_chunk(s);
    emr_cut *cuts = emr_allocate_array(a, n / 2, sizeof *cuts);
    emr_status status =
        cuts ? emr_sweep_readers_create(s, chunk, &readers, &memory, error) : emr_no_memory(error, NULL);
    if (!status)
        status = create_chunks(&l, readers, &parts, error);
    if (!status)
        status = cut_lists(&l, cuts, n / 2, chunk, error);
    emr_release(a, cuts);
    emr_release(a, l.chunks);
    emr_release(a, parts);
    emr_release(a, readers);
    emr_release(a, memory);
    return status;
}
