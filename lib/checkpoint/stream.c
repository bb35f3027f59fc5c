/* stream.c - see stream.h.
 *
 * Two windows of the file take turns, and the work goes in rounds. In a round, side by side,
 * - the jobs of the filling window read its pieces of tensors, or derive them from a base, whose bytes they
 * keep;
 * - one job writes the leaving window, which the round before has filled;
 * - one job hashes those bytes of bases that the leaving window was made from, tensor by tensor, in order.
 * Then the windows change places. So what was computed from a base is written, one round later, while that
 * base is still being checked; but no round is followed by another, and no file is committed, once a hash was
 * wrong. */
#include "checkpoint/stream.h"

#include "checkpoint/config_text.h"

#include <string.h>

/* Windows are small, so that what is in one is still in the processor's caches when it is hashed and written, but
 * leave each of several threads some jobs. */
enum {
    WINDOW_BYTES_ALONE = 512 << 10, /* where there is one thread */
    WINDOW_BYTES_EACH = 1 << 20,    /* for each of several */
    WINDOW_BYTES_MAX = 8 << 20,
    WINDOW_BYTES_MIN = 4096,
    PIECE_BYTES = 128 << 10, /* at most; small ones share a job of so many */
    PIECES_MAX = 1024,
    AHEAD = 8 << 20, /* how far before they are read bytes are announced */
    MEMORY_DEFAULT = 64 << 20
};

/* A part of a tensor, and its place in the window; of a derived one, the source's too. */
typedef struct emr_stream_piece {
    const emr_tensor *tensor;
    uint64_t offset;   /* bytes in the tensor; */
    uint64_t block_at; /* in the block that they are computed from, if they are */
    size_t n, at, source_at;
} piece;

emr_status emr_output_take(emr_output *o, const emr_model *model, const emr_checkpoint_write_options *given,
                           const char *what, emr_error *error)
{
    memset(o, 0, sizeof *o);
    if (!model)
        return emr_fail(error, EMR_EINVAL, "%s: NULL", what);
    emr_status status = EMR_TAKE(&o->options, given, emr_checkpoint_write_options, error);
    if (!status && o->options.dtype && !emr_config_names(o->options.dtype))
        status = emr_fail(error, EMR_EINVAL, "%s: the dtype of a configuration must be F32, F16, BF16 or F64",
                          what);
    return status ? status : emr_env_take(&o->env, o->options.resources, &model->allocator, error);
}

emr_status emr_output_take_io(emr_io *io, const emr_io *given, emr_error *error)
{
    emr_status status = emr_io_take(io, given, error);
    if (!status && !io->write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    return status;
}

static bool has_derived(const emr_model *m)
{
    for (uint32_t i = 0; i < m->n_tensors; i++)
        if (emr_is_derived(m->tensors[i]))
            return true;
    return false;
}

/* False: out of memory. */
static bool create_window(const emr_stream *s, emr_stream_window *w, bool derived)
{
    const emr_allocator *a = &s->output->env.allocator;
    w->bytes = emr_allocate(a, s->window_bytes);
    w->sources = derived ? emr_allocate(a, s->window_bytes) : NULL;
    w->pieces = emr_allocate_array(a, s->max_pieces, sizeof *w->pieces);
    w->jobs = emr_allocate_array(a, s->max_pieces + 1, sizeof *w->jobs);
    return w->bytes && w->pieces && w->jobs && (w->sources || !derived);
}

static void destroy_window(const emr_stream *s, emr_stream_window *w)
{
    const emr_allocator *a = &s->output->env.allocator;
    emr_release(a, w->bytes);
    emr_release(a, w->sources);
    emr_release(a, w->pieces);
    emr_release(a, w->jobs);
}

/* Half of the memory is windows': two of the file, and where there are derived tensors, two of their sources. */
static emr_status choose_sizes(emr_stream *s, bool derived, emr_error *error)
{
    uint64_t memory = s->output->env.memory_bytes ? s->output->env.memory_bytes : MEMORY_DEFAULT;
    uint64_t wanted = s->workers.n == 1 ? WINDOW_BYTES_ALONE : (uint64_t)s->workers.n * WINDOW_BYTES_EACH;
    s->window_bytes = (size_t)emr_min(emr_min(wanted, WINDOW_BYTES_MAX), memory / (derived ? 8 : 4));
    s->max_pieces = (size_t)emr_min(PIECES_MAX, s->window_bytes / 256);
    return s->window_bytes < WINDOW_BYTES_MIN
               ? emr_fail(error, EMR_ELIMIT, "%u bytes of memory are too little to write a checkpoint",
                          memory)
               : EMR_OK;
}

emr_status emr_stream_begin(emr_stream *s, const emr_model *model, const emr_io *io, emr_output *output,
                            emr_error *error)
{
    bool derived = has_derived(model);
    memset(s, 0, sizeof *s);
    s->output = output;
    s->model = model;
    s->io = io;
    emr_status status = emr_workers_create(&s->workers, &output->env, SIZE_MAX, error);
    if (!status)
        status = choose_sizes(s, derived, error);
    if (status)
        return status;
    s->scratches = emr_allocate_array(&output->env.allocator, s->workers.n, sizeof *s->scratches);
    return s->scratches && create_window(s, &s->filling, derived) && create_window(s, &s->leaving, derived)
               ? EMR_OK
               : emr_no_memory(error, model->name);
}

emr_status emr_stream_put(emr_stream *s, const void *bytes, size_t n, emr_error *error)
{
    emr_error why;
    emr_status status = n ? emr_io_write(s->io, s->position, bytes, n, &why) : EMR_OK;
    if (status)
        return emr_fail_because(error, status, &why, "writing %u bytes at byte %u failed", (uint64_t)n,
                                s->position);
    s->position += n;
    return EMR_OK;
}

static emr_status hash_sources(emr_stream *s, emr_error *error)
{
    const emr_stream_window *w = &s->leaving;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < w->n_pieces; i++) {
        const piece *p = &w->pieces[i];
        const emr_tensor *t = p->tensor;
        if (emr_is_derived(t)) {
            size_t size = emr_element_bytes(t), source_size = emr_element_bytes(t->unchecked->source);
            status = emr_source_hash(&s->hasher, t, p->offset / size * source_size, w->sources + p->source_at,
                                     p->n / size * source_size, error);
        } else if (t->unchecked) {
            status = emr_source_hash(&s->hasher, t, p->offset, w->bytes + p->at, p->n, error);
        }
    }
    return status;
}

/* A worker keeps its scratch from piece to piece: what it has decoded for one, it may need for the next. */
static emr_status derive_piece(emr_stream *s, const piece *p, size_t worker, emr_error *error)
{
    emr_status status = EMR_OK;
    size_t size = emr_element_bytes(p->tensor);
    if (!s->scratches[worker])
        status = emr_scratch_borrow(s->model, &s->scratches[worker], error);
    return status ? status
                  : emr_derive(p->tensor, s->scratches[worker], p->offset / size, p->n / size,
                               s->filling.bytes + p->at, s->filling.sources + p->source_at, error);
}

static emr_status read_piece(emr_stream *s, const piece *p, size_t worker, emr_error *error)
{
    const emr_tensor *t = p->tensor;
    if (emr_is_derived(t))
        return derive_piece(s, p, worker, error);
    return emr_tensor_read(t->unchecked ? t->unchecked->source : t, p->offset, s->filling.bytes + p->at, p->n,
                           error);
}

enum { WRITING, HASHING, N_LEAVING_JOBS };

/* The leaving window's jobs are the longest, and come first. */
static emr_status run_stream_job(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_stream *s = context;
    if (job == WRITING)
        return emr_stream_put(s, s->leaving.bytes, s->leaving.used, error);
    if (job == HASHING)
        return hash_sources(s, error);
    emr_status status = EMR_OK;
    const emr_stream_window *w = &s->filling;
    const uint32_t *pieces = &w->jobs[job - N_LEAVING_JOBS];
    for (uint32_t i = pieces[0]; !status && i < pieces[1]; i++)
        status = read_piece(s, &w->pieces[i], worker, error);
    return status;
}

static emr_status fill_and_write(emr_stream *s, emr_error *error)
{
    s->filling.jobs[s->filling.n_jobs] = (uint32_t)s->filling.n_pieces;
    emr_status status = emr_work(&s->workers, N_LEAVING_JOBS + s->filling.n_jobs, run_stream_job, s, error);
    emr_stream_window written = s->leaving;
    s->output->done += written.used;
    written.used = written.sources_used = written.n_pieces = written.n_jobs = 0;
    s->leaving = s->filling;
    s->filling = written;
    return status ? status
                  : emr_env_progress(&s->output->env, s->output->done, s->output->total, "writing", error);
}

/* Bytes of the block that they are computed from, where a window has room for some; else 0. */
static uint64_t block_bytes(const emr_stream *s, const emr_tensor *t)
{
    uint64_t bytes = t->block * emr_element_bytes(t);
    return bytes <= s->window_bytes / 2 ? bytes : 0;
}

/* The next piece of a tensor, as much of it as the window has room for; nothing where it is full. What is
 * computed from one block is not torn, neither between windows nor, in joins_job(), between threads: each of them
 * would decode the block. */
static piece next_piece(const emr_stream *s, const emr_tensor *t, uint64_t offset)
{
    const emr_stream_window *w = &s->filling;
    piece p = {.tensor = t, .offset = offset, .at = w->used, .source_at = w->sources_used};
    size_t size = emr_element_bytes(t), room = s->window_bytes - w->used;
    uint64_t left = t->bytes - offset, block = block_bytes(s, t);
    if (emr_is_derived(t)) {
        size_t elements = (s->window_bytes - w->sources_used) / emr_element_bytes(t->unchecked->source);
        room = (size_t)emr_min(room / size, elements) * size;
    }
    if (block) {
        p.block_at = (t->place * size + offset) % block;
        left = emr_min(left, block - p.block_at);
        room = left > room && w->used ? 0 : room;
    }
    p.n = (size_t)emr_min(emr_min(PIECE_BYTES, left), room);
    return p;
}

/* What lies some way behind a job's bytes in its file is announced: so a disk is at work while we are. */
static void announce_ahead(const piece *p)
{
    const emr_tensor *t = p->tensor->unchecked ? p->tensor->unchecked->source : p->tensor;
    if (t->kind == EMR_TENSOR_IO && t->io.will_need)
        t->io.will_need(t->io.user, t->offset + p->offset + AHEAD, PIECE_BYTES);
}

/* Whether a piece is read by the job of those before it: small ones are, and those of one block. */
static bool joins_job(const emr_stream_window *w, const piece *p)
{
    return w->n_jobs && (w->job_bytes + p->n <= PIECE_BYTES || p->block_at > 0);
}

static void add_piece(emr_stream_window *w, const piece *p)
{
    if (!joins_job(w, p)) {
        announce_ahead(p);
        w->jobs[w->n_jobs++] = (uint32_t)w->n_pieces;
        w->job_bytes = 0;
    }
    w->pieces[w->n_pieces++] = *p;
    w->job_bytes += p->n;
    w->used += p->n;
    if (emr_is_derived(p->tensor))
        w->sources_used +=
            p->n / emr_element_bytes(p->tensor) * emr_element_bytes(p->tensor->unchecked->source);
}

/* Nothing is written meanwhile, but the host may cancel. */
static emr_status stay_where_it_is(void *user, const emr_progress *progress, emr_error *error)
{
    const emr_output *o = user;
    const emr_progress written = {.size = sizeof written, .done = o->done, .total = o->total};
    (void)progress;
    return o->env.progress(o->env.progress_user, &written, error);
}

/* What computing it needs is found out first, while all workers are free. */
static emr_status prepare_tensor(const emr_stream *s, const emr_tensor *t, emr_error *error)
{
    const emr_env *env = &s->output->env;
    const emr_resources resources = {.size = sizeof resources,
                                     .allocator = &env->allocator,
                                     .executor = env->executor.concurrency ? &env->executor : NULL,
                                     .progress = env->progress ? stay_where_it_is : NULL,
                                     .progress_user = s->output,
                                     .memory_bytes = env->memory_bytes};
    return emr_tensor_prepare(t, &resources, error);
}

emr_status emr_stream_tensor(emr_stream *s, const emr_tensor *t, emr_error *error)
{
    emr_status status = prepare_tensor(s, t, error);
    for (uint64_t offset = 0; !status && offset < t->bytes;) {
        piece p = next_piece(s, t, offset);
        if (p.n == 0 || s->filling.n_pieces == s->max_pieces) {
            status = fill_and_write(s, error);
        } else {
            add_piece(&s->filling, &p);
            offset += p.n;
        }
    }
    return status;
}

emr_status emr_stream_zeros(emr_stream *s, uint64_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && n) {
        size_t now = (size_t)emr_min(n, s->window_bytes - s->filling.used);
        memset(s->filling.bytes + s->filling.used, 0, now);
        s->filling.used += now;
        n -= now;
        if (n)
            status = fill_and_write(s, error);
    }
    return status;
}

emr_status emr_stream_end(emr_stream *s, emr_status status, emr_error *error)
{
    for (int i = 0; i < 2 && !status; i++) /* the last window is filled, then it leaves */
        status = fill_and_write(s, error);
    for (size_t i = 0; s->scratches && i < s->workers.n; i++)
        emr_scratch_return(s->model, s->scratches[i]);
    emr_release(&s->output->env.allocator, s->scratches);
    destroy_window(s, &s->filling);
    destroy_window(s, &s->leaving);
    emr_workers_destroy(&s->workers);
    return status;
}

uint64_t emr_model_bytes(const emr_model *m)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->n_tensors; i++)
        total += emr_is_side_file(m->tensors[i]) ? 0 : m->tensors[i]->bytes;
    return total;
}
