/* select.c - see select.h. Readings go in rounds. In a round, each search either collects the keys of an interval or
 * counts them in a histogram; in between, intervals become smaller. */
#include "statistics/select.h"

#include "core/bytes.h"
#include "numeric/kernels.h"
#include "statistics/interval.h"

#include <stdatomic.h>
#include <string.h>

enum {
    SMALL = 1 << 16, /* keys: so few are collected whole, without a sample */
    GROUPS = 128,    /* of a sample */
    EACH_LEAST = 32, /* keys of a group */
    EACH_MOST = 256,
    SAMPLE_SHARE = 128, /* the sample is this part of all keys */
    ROOM_SHARE = 4,     /* and this part of all may be collected */
    JOBS_MAX = 4096,
    JOBS_BETWEEN = 16, /* for each worker, between two reports of progress */
    BITS_LEAST = 8,    /* of a histogram */
    BITS_MOST = 16,
    HEADER = 2, /* words before the keys of a segment: the job, how many */
    INFINITE_BITS = 0x7f800000,
    ROUNDS_MAX = 8 /* four narrow 32 bits by 8 each; then ties are tallied */
};

/* The search for one cut. */
typedef struct search {
    emr_cut *cut;
    emr_interval known; /* where the key is */
    uint32_t low, high; /* what is looked at in this round */
    unsigned bits;      /* of the histograms; 0: it collects */
    bool tallied;       /* whether tallies and segments are those of `known` */
    bool guesses, found;
    uint64_t *tallies;          /* for each job, keys in [low, high] */
    uint32_t *room;             /* the sample, or segments; or histograms for each worker */
    atomic_size_t used;         /* words of the room; more than there are: not all was collected */
    atomic_uint_fast64_t above; /* keys larger than `high` */
} search;

typedef struct selection {
    const emr_key_source *source;
    emr_vote_kernels kernels;
    const emr_workers *workers;
    search *searches;
    size_t n_searches, room_words;
    uint64_t *tallies;
    uint64_t *rooms;
    float *floats;    /* `chunk` for each worker */
    uint32_t *keys;   /* likewise */
    uint32_t *inside; /* likewise */
    size_t chunk;     /* a multiple of the granule */
    size_t n_each;    /* keys of a group of the sample; 0: there is none */
    uint64_t job_keys;
    size_t n_jobs, first_job;
} selection;

/* What follows from the source alone. */
static void lay_out(selection *s, const emr_key_source *source)
{
    s->source = source;
    s->chunk = source->chunk / (size_t)source->granule * (size_t)source->granule;
    uint64_t n_chunks = (source->count + s->chunk - 1) / s->chunk;
    s->job_keys = s->chunk * ((n_chunks + JOBS_MAX - 1) / JOBS_MAX);
    s->n_jobs = (size_t)((source->count + s->job_keys - 1) / s->job_keys);
    uint64_t each = source->count / SAMPLE_SHARE / GROUPS;
    each = each < EACH_LEAST ? EACH_LEAST : emr_min(each, EACH_MOST);
    each = emr_min(emr_round_up(each, source->granule), s->chunk);
    s->n_each = source->count > SMALL && each < source->count / GROUPS / 4 ? (size_t)each : 0;
}

/* Words of segments for n keys of which no chunk is left out. */
static uint64_t segment_words(const selection *s, uint64_t n_keys)
{
    return n_keys + HEADER * ((s->source->count + s->chunk - 1) / s->chunk);
}

static uint64_t histogram_words(size_t n_workers, unsigned bits)
{
    return (uint64_t)n_workers * sizeof(uint64_t) / sizeof(uint32_t) << bits;
}

/* Words of a search's room that are of use. */
static uint64_t useful_words(const selection *s, size_t n_workers)
{
    uint64_t count = s->source->count;
    if (count <= SMALL)
        return segment_words(s, count);
    uint64_t words = segment_words(s, count / ROOM_SHARE), histograms = histogram_words(n_workers, BITS_MOST);
    return words > histograms ? words : histograms;
}

static uint64_t fixed_memory(const selection *s, size_t n_workers, size_t n)
{
    return n * (sizeof(search) + s->n_jobs * sizeof(uint64_t)) +
           (uint64_t)n_workers * s->chunk * (sizeof(float) + 2 * sizeof(uint32_t));
}

uint64_t emr_select_memory(const emr_key_source *source, size_t n_workers, size_t n)
{
    selection s;
    if (source->count == 0)
        return 0;
    lay_out(&s, source);
    return fixed_memory(&s, n_workers, n) + n * sizeof(uint32_t) * histogram_words(n_workers, BITS_LEAST);
}

static void choose_room(selection *s, uint64_t memory)
{
    uint64_t fixed = fixed_memory(s, s->workers->n, s->n_searches);
    uint64_t least = histogram_words(s->workers->n, BITS_LEAST), useful = useful_words(s, s->workers->n);
    uint64_t words = memory > fixed ? (memory - fixed) / sizeof(uint32_t) / s->n_searches : 0;
    words = emr_min(emr_min(words, useful), SIZE_MAX / 8 / s->n_searches) & ~(uint64_t)1; /* whole counters */
    s->room_words = (size_t)(words > least ? words : least);
    if (s->n_each * GROUPS > s->room_words)
        s->n_each = 0;
}

static bool allocate_memory(selection *s)
{
    const emr_allocator *a = &s->workers->allocator;
    size_t n = s->n_searches, n_buffers = s->workers->n * s->chunk;
    s->tallies = emr_allocate_array(a, n, s->n_jobs * sizeof *s->tallies);
    s->rooms = emr_allocate(a, n * s->room_words * sizeof(uint32_t));
    s->floats = emr_allocate(a, n_buffers * sizeof *s->floats);
    s->keys = emr_allocate(a, n_buffers * sizeof *s->keys);
    s->inside = emr_allocate(a, n_buffers * sizeof *s->inside);
    return s->tallies && s->rooms && s->floats && s->keys && s->inside;
}

static void release_memory(selection *s)
{
    const emr_allocator *a = &s->workers->allocator;
    emr_release(a, s->searches);
    emr_release(a, s->tallies);
    emr_release(a, s->rooms);
    emr_release(a, s->floats);
    emr_release(a, s->keys);
    emr_release(a, s->inside);
}

/* ---- keys of what a worker has loaded */

static const float *list_keys(const selection *s, size_t worker, uint32_t list)
{
    const emr_key_source *source = s->source;
    const float *found = source->find_keys ? source->find_keys(source->context, worker, list) : NULL;
    float *keys = s->floats + worker * s->chunk;
    if (found)
        return found;
    source->keys(source->context, worker, list, keys);
    return keys;
}

/* Their bits without signs. */
static const uint32_t *bits_of_keys(const selection *s, size_t worker, const float *keys, size_t n)
{
    uint32_t *bits = s->keys + worker * s->chunk;
    memcpy(bits, keys, n * sizeof *bits);
    for (size_t i = 0; i < n; i++)
        bits[i] &= 0x7fffffff;
    return bits;
}

static emr_status load_chunk(const selection *s, size_t worker, uint64_t first, size_t n, emr_error *error)
{
    return s->source->load(s->source->context, worker, first, n, error);
}

typedef void (*search_fn)(const selection *s, search *h, const float *keys, size_t n, size_t job,
                          size_t worker);

/* Loads keys and hands them to every search that goes on. */
static emr_status look_at(const selection *s, uint64_t first, size_t n, size_t job, size_t worker,
                          search_fn look, emr_error *error)
{
    const float *keys = NULL;
    emr_status status = load_chunk(s, worker, first, n, error);
    for (size_t i = 0, last = 0; !status && i < s->n_searches; i++) {
        search *h = &s->searches[i];
        if (h->found)
            continue;
        if (!keys || h->cut->list != s->searches[last].cut->list)
            keys = list_keys(s, worker, h->cut->list);
        last = i;
        look(s, h, keys, n, job, worker);
    }
    return status;
}

/* ---- a sample, and what it lets guess */

static void keep_sample(const selection *s, search *h, const float *keys, size_t n, size_t group,
                        size_t worker)
{
    memcpy(h->room + group * n, bits_of_keys(s, worker, keys, n), n * sizeof *h->room);
}

/* Somewhere in the group's part of the source, so that no row or column is preferred. */
static emr_status draw_group(void *context, size_t group, size_t worker, emr_error *error)
{
    const selection *s = context;
    uint64_t part = s->source->count / GROUPS, spread = part - s->n_each;
    uint64_t at = (group + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 20;
    uint64_t first = group * part + at % (spread + 1);
    return look_at(s, first / s->source->granule * s->source->granule, s->n_each, group, worker, keep_sample,
                   error);
}

static emr_status guess_interval(void *context, size_t i, size_t worker, emr_error *error)
{
    const selection *s = context;
    search *h = &s->searches[i];
    const emr_sample sample = {.keys = h->room, .n_groups = GROUPS, .n_each = s->n_each};
    (void)worker, (void)error;
    emr_interval_guess(&sample, h->cut->k, s->source->count, &h->low, &h->high);
    h->guesses = true;
    return EMR_OK;
}

static emr_status guess_all(selection *s, emr_error *error)
{
    if (!s->n_each)
        return EMR_OK;
    emr_status status = emr_work(s->workers, GROUPS, draw_group, s, error);
    return status ? status : emr_work(s->workers, s->n_searches, guess_interval, s, error);
}

/* ---- a round */

static uint64_t *histogram_of(const search *h, size_t worker)
{
    return (uint64_t *)(void *)h->room + (worker << h->bits);
}

static void begin_round(const selection *s, search *h)
{
    if (!h->guesses) {
        h->low = h->known.low;
        h->high = h->known.high;
    }
    bool fits = h->guesses || h->low == h->high || segment_words(s, h->known.inside) <= s->room_words;
    for (h->bits = fits ? 0 : BITS_MOST; h->bits; h->bits--)
        if (histogram_words(s->workers->n, h->bits) <= s->room_words)
            break;
    if (h->bits)
        memset(h->room, 0, histogram_words(s->workers->n, h->bits) * sizeof *h->room);
    memset(h->tallies, 0, s->n_jobs * sizeof *h->tallies);
    atomic_store(&h->used, 0);
    atomic_store(&h->above, 0);
}

static float float_of_bits(uint32_t bits)
{
    return emr_f32_from_bits(bits < INFINITE_BITS ? bits : INFINITE_BITS);
}

static emr_key_interval interval_of(const search *h)
{
    return (emr_key_interval){h->low ? float_of_bits(h->low - 1) : -1, float_of_bits(h->high)};
}

static void store_segment(const selection *s, search *h, const uint32_t *keys, size_t n, size_t job)
{
    size_t at = atomic_fetch_add(&h->used, HEADER + n);
    if (at > s->room_words || HEADER + n > s->room_words - at)
        return;
    h->room[at] = (uint32_t)job;
    h->room[at + 1] = (uint32_t)n;
    memcpy(h->room + at + HEADER, keys, n * sizeof *keys);
}

static void collect_inside(const selection *s, search *h, const float *keys, size_t n, size_t job,
                           size_t worker)
{
    uint32_t *inside = s->inside + worker * s->chunk;
    size_t n_larger = 0;
    size_t n_inside = s->kernels.collect(keys, n, interval_of(h), inside, &n_larger);
    h->tallies[job] += n_inside;
    atomic_fetch_add(&h->above, n_larger);
    if (n_inside && h->low < h->high)
        store_segment(s, h, inside, n_inside, job);
}

static void look_once(const selection *s, search *h, const float *keys, size_t n, size_t job, size_t worker)
{
    if (!h->bits)
        collect_inside(s, h, keys, n, job, worker);
    else
        emr_interval_count(&h->known, h->bits, bits_of_keys(s, worker, keys, n), n, histogram_of(h, worker));
}

static emr_status look_at_job(void *context, size_t job, size_t worker, emr_error *error)
{
    const selection *s = context;
    uint64_t first = job * s->job_keys, end = emr_min(first + s->job_keys, s->source->count);
    emr_status status = EMR_OK;
    for (; !status && first < end; first += s->chunk)
        status = look_at(s, first, (size_t)emr_min(s->chunk, end - first), job, worker, look_once, error);
    return status;
}

/* ---- between rounds */

static emr_status keys_changed(emr_error *error)
{
    return emr_fail(error, EMR_EIO, "weights were not the same when they were read again");
}

static emr_status narrow_by_histogram(const selection *s, search *h, emr_error *error)
{
    uint64_t *sum = histogram_of(h, 0);
    for (size_t w = 1; w < s->workers->n; w++)
        for (size_t i = 0; i < (size_t)1 << h->bits; i++)
            sum[i] += histogram_of(h, w)[i];
    return emr_interval_narrow(&h->known, h->bits, sum, h->cut->k) ? EMR_OK : keys_changed(error);
}

/* The key is above, below or in what was looked at. */
static emr_status narrow_by_tallies(const selection *s, search *h, emr_error *error)
{
    const emr_interval old = h->known;
    uint64_t above = atomic_load(&h->above), inside = 0, k = h->cut->k;
    for (size_t i = 0; i < s->n_jobs; i++)
        inside += h->tallies[i];
    if (above < old.above || above + inside > old.above + old.inside)
        return keys_changed(error);
    if (k <= above)
        h->known = (emr_interval){old.above, above - old.above, h->high + 1, old.high};
    else if (k > above + inside)
        h->known =
            (emr_interval){above + inside, old.above + old.inside - above - inside, old.low, h->low - 1};
    else
        h->known = (emr_interval){above, inside, h->low, h->high};
    h->tallied = k > above && k <= above + inside && atomic_load(&h->used) <= s->room_words;
    return h->known.low > h->known.high ? keys_changed(error) : EMR_OK;
}

/* Whether the key is known, or can be found in what was collected. */
static bool is_settled(const search *h)
{
    const emr_interval *v = &h->known;
    return h->tallied || (v->low == v->high && h->cut->k == v->above + v->inside);
}

/* ---- what was collected */

typedef void (*segment_fn)(void *context, const uint32_t *keys, size_t n, size_t job);

static void each_segment(const search *h, segment_fn fn, void *context)
{
    for (size_t at = 0, used = atomic_load(&h->used); at < used; at += HEADER + h->room[at + 1])
        fn(context, h->room + at + HEADER, h->room[at + 1], h->room[at]);
}

enum { SEGMENT_BITS = 10 };

typedef struct narrowing {
    const emr_interval *interval;
    uint64_t buckets[1 << SEGMENT_BITS];
} narrowing;

static void count_segment(void *context, const uint32_t *keys, size_t n, size_t job)
{
    narrowing *c = context;
    (void)job;
    emr_interval_count(c->interval, SEGMENT_BITS, keys, n, c->buckets);
}

static void tally_segment(void *context, const uint32_t *keys, size_t n, size_t job)
{
    search *h = context;
    for (size_t i = 0; i < n; i++)
        h->tallies[job] += keys[i] == h->known.low;
}

/* Finds the key among those that were collected, and tallies those that equal it. */
static bool find_key(const selection *s, search *h)
{
    narrowing c = {.interval = &h->known};
    if (h->known.low == h->known.high)
        return true;
    while (h->known.low < h->known.high) {
        memset(c.buckets, 0, sizeof c.buckets);
        each_segment(h, count_segment, &c);
        if (!emr_interval_narrow(&h->known, SEGMENT_BITS, c.buckets, h->cut->k))
            return false;
    }
    memset(h->tallies, 0, s->n_jobs * sizeof *h->tallies);
    each_segment(h, tally_segment, h);
    return true;
}

/* The position behind the n-th of the keys that equal the cut's, in what a worker has loaded; else how many there are is
 * taken from n. */
static bool find_in_chunk(const uint32_t *keys, size_t n_keys, uint32_t key, uint64_t *n, size_t *behind)
{
    for (size_t i = 0; i < n_keys; i++)
        if (keys[i] == key && --*n == 0) {
            *behind = i + 1;
            return true;
        }
    return false;
}

/* The position behind the n-th key that equals the cut's: its job is read once more. */
static emr_status find_position(const selection *s, search *h, uint64_t n, size_t worker, emr_error *error)
{
    size_t job = 0, behind;
    while (job < s->n_jobs && n > h->tallies[job])
        n -= h->tallies[job++];
    uint64_t first = job * s->job_keys, end = emr_min(first + s->job_keys, s->source->count);
    for (; first < end; first += s->chunk) {
        size_t n_keys = (size_t)emr_min(s->chunk, end - first);
        emr_status status = load_chunk(s, worker, first, n_keys, error);
        if (status)
            return status;
        const uint32_t *keys = bits_of_keys(s, worker, list_keys(s, worker, h->cut->list), n_keys);
        if (find_in_chunk(keys, n_keys, h->known.low, &n, &behind)) {
            h->cut->found[1] = (double)(first + behind);
            return EMR_OK;
        }
    }
    return keys_changed(error);
}

static emr_status settle_search(void *context, size_t i, size_t worker, emr_error *error)
{
    const selection *s = context;
    search *h = &s->searches[i];
    if (h->found || !is_settled(h))
        return EMR_OK;
    if (!find_key(s, h))
        return keys_changed(error);
    h->found = true;
    h->cut->found[0] = (double)emr_f32_from_bits(h->known.low);
    h->cut->found[1] = (double)s->source->count;
    uint64_t n_kept = h->cut->k - h->known.above;
    return n_kept == h->known.inside ? EMR_OK : find_position(s, h, n_kept, worker, error);
}

/* ---- all of it */

static bool all_found(const selection *s)
{
    for (size_t i = 0; i < s->n_searches; i++)
        if (!s->searches[i].found)
            return false;
    return true;
}

static emr_status look_at_later_job(void *context, size_t job, size_t worker, emr_error *error)
{
    selection *s = context;
    return look_at_job(s, s->first_job + job, worker, error);
}

/* All jobs; where somebody wants to hear of them, some at a time. */
static emr_status look_at_jobs(selection *s, emr_error *error)
{
    const emr_key_source *source = s->source;
    size_t at_a_time = source->advance ? s->workers->n * JOBS_BETWEEN : s->n_jobs;
    emr_status status = EMR_OK;
    for (s->first_job = 0; !status && s->first_job < s->n_jobs; s->first_job += at_a_time) {
        size_t n = (size_t)emr_min(at_a_time, s->n_jobs - s->first_job);
        status = emr_work(s->workers, n, look_at_later_job, s, error);
        if (!status && source->advance)
            status = source->advance(
                source->context, emr_min(n * s->job_keys, source->count - s->first_job * s->job_keys), error);
    }
    return status;
}

static emr_status run_round(selection *s, emr_error *error)
{
    for (size_t i = 0; i < s->n_searches; i++)
        if (!s->searches[i].found)
            begin_round(s, &s->searches[i]);
    emr_status status = look_at_jobs(s, error);
    for (size_t i = 0; !status && i < s->n_searches; i++) {
        search *h = &s->searches[i];
        if (h->found)
            continue;
        status = h->bits ? narrow_by_histogram(s, h, error) : narrow_by_tallies(s, h, error);
        h->guesses = false;
    }
    return status ? status : emr_work(s->workers, s->n_searches, settle_search, s, error);
}

static emr_status run_rounds(selection *s, emr_error *error)
{
    emr_status status = guess_all(s, error);
    for (int round = 0; !status && !all_found(s); round++)
        status = round < ROUNDS_MAX ? run_round(s, error) : keys_changed(error);
    return status;
}

static void choose_kernels(selection *s)
{
    const emr_kernels *kernels = s->source->kernels ? s->source->kernels : emr_kernels_select();
    s->kernels = kernels->votes.collect ? kernels->votes : emr_votes_c;
}

/* Cuts that need no look at the keys are made here; searches are for the others. */
static bool begin_searches(selection *s, emr_cut *cuts, size_t n)
{
    s->searches = emr_allocate_array(&s->workers->allocator, n, sizeof *s->searches);
    for (size_t i = 0; s->searches && i < n; i++) {
        emr_cut *c = &cuts[i];
        c->found[0] = c->k ? 0 : (double)float_of_bits(INFINITE_BITS);
        c->found[1] = c->k ? (double)s->source->count : 0;
        if (c->k == 0 || c->k > s->source->count)
            continue;
        s->searches[s->n_searches++] =
            (search){.cut = c, .known = {.inside = s->source->count, .high = INT32_MAX}};
    }
    return s->searches;
}

emr_status emr_select_cuts(const emr_key_source *source, const emr_workers *workers, uint64_t memory_bytes,
                           emr_cut *cuts, size_t n, emr_error *error)
{
    selection s = {.workers = workers, .source = source};
    emr_status status = begin_searches(&s, cuts, n) ? EMR_OK : emr_no_memory(error, NULL);
    if (!status && s.n_searches) {
        lay_out(&s, source);
        choose_kernels(&s);
        choose_room(&s, memory_bytes);
        status = allocate_memory(&s) ? EMR_OK : emr_no_memory(error, NULL);
        for (size_t i = 0; !status && i < s.n_searches; i++) {
            s.searches[i].tallies = s.tallies + i * s.n_jobs;
            s.searches[i].room = (uint32_t *)(void *)s.rooms + i * s.room_words;
        }
        status = status ? status : run_rounds(&s, error);
    }
    release_memory(&s);
    return status;
}
