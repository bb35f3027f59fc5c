/* file.c - the emr_io of one file. A read is put together from its end to its beginning: what nobody has
 * asked for yet is asked for at once, over several connections and right into its place, and what was read
 * ahead is copied. */
#include "remote.h"

#include <stdlib.h>
#include <string.h>

enum {
    PIECES = 16, /* of one read, at a time */
    PIECE_LEAST = 1 << 20,
    SMALL = 1 << 17,    /* a read that brings more than it wants */
    RUN_LEAST = 1 << 16 /* two such reads, one behind the other, and the next is expected */
};

/* A read that goes on. */
typedef struct reading {
    remote_file *file;
    uint64_t offset, end; /* what is not the head's */
    char *into;           /* the byte at `offset` */
    remote_job pieces[PIECES];
    size_t n_pieces;
} reading;

static emr_status wait_for_pieces(reading *x, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; i < x->n_pieces; i++) {
        remote_wait(x->file->remote, &x->pieces[i]);
        if (!status && x->pieces[i].status) {
            status = x->pieces[i].status;
            *error = x->pieces[i].error;
        }
    }
    x->n_pieces = 0;
    return status;
}

static emr_status ask_for(reading *x, uint64_t begin, uint64_t end, emr_error *error)
{
    emr_remote *r = x->file->remote;
    uint64_t size = (end - begin) / (r->options.connections < PIECES ? r->options.connections : PIECES) + 1;
    emr_status status = EMR_OK;
    size = size < PIECE_LEAST ? PIECE_LEAST : size;
    while (begin < end && !status) {
        if (x->n_pieces == PIECES)
            status = wait_for_pieces(x, error);
        remote_job *j = &x->pieces[x->n_pieces++];
        size_t n = (size_t)(end - begin < size ? end - begin : size);
        *j = (remote_job){.file = x->file, .offset = begin, .n = n, .into = x->into + (begin - x->offset)};
        remote_push(r, j, true);
        begin += n;
    }
    return status;
}

/* Bytes [begin, end), which lie in the block. False: it failed, and is as if it were not there. */
static bool copy_block(reading *x, remote_block *b, uint64_t begin, uint64_t end)
{
    emr_remote *r = x->file->remote;
    b->n_readers++;
    remote_wait(r, &b->job);
    bool is_good = !b->job.status;
    if (is_good) {
        pthread_mutex_unlock(&r->mutex);
        memcpy(x->into + (begin - x->offset), b->job.into + (begin - b->job.offset), (size_t)(end - begin));
        pthread_mutex_lock(&r->mutex);
    }
    b->made = r->clock;
    if (!--b->n_readers && (!is_good || end == b->job.offset + b->job.n))
        b->is_used = false;
    return is_good;
}

static emr_status read_parts(reading *x, emr_error *error)
{
    emr_status status = EMR_OK;
    bool may_be_block = x->end - x->offset < SMALL;
    for (uint64_t end = x->end; end > x->offset && !status;) {
        remote_block *b = remote_find_block(x->file, end - 1);
        uint64_t begin = b ? b->job.offset : remote_gap_begin(x->file, x->offset, end);
        begin = begin < x->offset ? x->offset : begin;
        if (b) {
            bool is_good = copy_block(x, b, begin, end);
            may_be_block = may_be_block && is_good;
            end = is_good ? begin : end;
            continue;
        }
        if (may_be_block && remote_block_now(x->file, begin))
            continue;
        status = ask_for(x, begin, end, error);
        end = begin;
    }
    emr_error later;
    emr_status other = wait_for_pieces(x, &later);
    if (!status && other)
        *error = later;
    return status ? status : other;
}

static emr_status read_remote(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    remote_file *f = user;
    emr_remote *r = f->remote;
    reading x = {.file = f, .offset = offset, .end = offset + n, .into = destination, .n_pieces = 0};
    if (offset > f->identity.bytes || n > f->identity.bytes - offset)
        return emr_error_set(error, EMR_EIO, 0, f->shown, "the file ends before that");
    if (offset < f->head_bytes && n) {
        size_t some = f->head_bytes - (size_t)offset < n ? f->head_bytes - (size_t)offset : n;
        memcpy(x.into, f->head + offset, some);
        x.offset += some;
        x.into += some;
    }
    pthread_mutex_lock(&r->mutex);
    r->clock++;
    bool is_run = n >= RUN_LEAST && f->run_bytes >= RUN_LEAST && offset == f->next_offset;
    f->last_read = r->clock;
    f->next_offset = offset + n;
    f->run_bytes = n;
    if (is_run)
        remote_ahead_far(f, x.end);
    emr_status status = read_parts(&x, error);
    pthread_mutex_unlock(&r->mutex);
    return status;
}

static emr_status remote_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)error;
    *bytes = ((const remote_file *)user)->identity.bytes;
    return EMR_OK;
}

static void remote_will_need(void *user, uint64_t offset, uint64_t n)
{
    remote_file *f = user;
    pthread_mutex_lock(&f->remote->mutex);
    remote_ahead(f, offset, n < UINT64_MAX - offset ? offset + n : UINT64_MAX);
    pthread_mutex_unlock(&f->remote->mutex);
}

void remote_free_file(remote_file *f)
{
    free(f->name);
    free(f->url);
    free(f->shown);
    free(f->head);
    free(f);
}

static remote_file *new_file(emr_remote *r, const char *name, emr_error *error)
{
    remote_file *f = calloc(1, sizeof *f);
    if (f) {
        f->remote = r;
        f->name = remote_copy(name, strlen(name));
    }
    if (!f || !f->name) {
        free(f);
        emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
        return NULL;
    }
    if (!remote_address(f, error))
        return f;
    remote_free_file(f);
    return NULL;
}

remote_file *remote_find_file(emr_remote *r, const char *name, emr_error *error)
{
    remote_file *f = r->files;
    while (f && strcmp(f->name, name) != 0)
        f = f->next;
    if (f)
        return f;
    f = new_file(r, name, error);
    if (f) {
        f->next = r->files;
        r->files = f;
    }
    return f;
}

void remote_begin_look(remote_file *f)
{
    if (f->look != REMOTE_UNSEEN)
        return;
    if (!f->head)
        f->head = malloc(REMOTE_HEAD);
    f->first = (remote_job){.file = f, .n = REMOTE_HEAD, .into = f->head};
    f->look = f->head ? REMOTE_LOOKING : REMOTE_FAILED;
    if (f->head) {
        remote_push(f->remote, &f->first, true);
    } else {
        f->first.finished = true;
        f->first.status = emr_error_set(&f->first.error, EMR_ENOMEM, 0, f->shown, "out of memory");
    }
}

void remote_end_look(remote_file *f)
{
    while (f->look == REMOTE_LOOKING)
        pthread_cond_wait(&f->remote->done, &f->remote->mutex);
    if (f->look != REMOTE_PRESENT || !f->head_bytes) {
        f->head_bytes = 0;
        free(f->head);
        f->head = NULL;
    }
}

/* Another look may go better. */
static emr_status fail_look(remote_file *f, emr_error *error)
{
    emr_status status = f->first.status;
    *error = f->first.error;
    f->look = REMOTE_UNSEEN;
    return status;
}

static uint64_t stamp_of(const remote_identity *i)
{
    uint64_t hash = i->bytes ^ 0xcbf29ce484222325u;
    for (const char *p = *i->tag ? i->tag : i->modified; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    return hash;
}

emr_status remote_open(void *user, const char *name, emr_io *io, uint64_t *stamp, emr_error *error)
{
    emr_remote *r = user;
    emr_status status = EMR_OK;
    pthread_mutex_lock(&r->mutex);
    remote_file *f = remote_find_file(r, name, error);
    if (f) {
        remote_begin_look(f);
        remote_end_look(f);
        status = f->look == REMOTE_PRESENT ? EMR_OK : fail_look(f, error);
    } else {
        status = error->status;
    }
    pthread_mutex_unlock(&r->mutex);
    if (status)
        return status;
    *stamp = stamp_of(&f->identity);
    io->user = f;
    io->read = read_remote;
    io->length = remote_length;
    io->will_need = remote_will_need;
    return EMR_OK;
}
