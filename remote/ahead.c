/* ahead.c - see remote.h. Files that are read side by side share the blocks evenly; what was read to its
 * end is free again, and so is what nobody came for in a while. */
#include "remote.h"

#include <stdlib.h>

enum {
    ACTIVE_READS = 256, /* a file that was read within the last so many reads takes part */
    STALE_READS = 512,
    SMALL_BLOCK = 1 << 18
};

static uint64_t block_end(const remote_block *b)
{
    return b->job.offset + b->job.n;
}

/* One that failed is as if it were not there. */
static bool is_of(const remote_block *b, const remote_file *f)
{
    return b->is_used && b->job.file == f && !(b->job.finished && b->job.status);
}

remote_block *remote_find_block(const remote_file *f, uint64_t offset)
{
    emr_remote *r = f->remote;
    for (size_t i = 0; i < r->n_blocks; i++)
        if (is_of(&r->blocks[i], f) && r->blocks[i].job.offset <= offset && offset < block_end(&r->blocks[i]))
            return &r->blocks[i];
    return NULL;
}

uint64_t remote_gap_begin(const remote_file *f, uint64_t begin, uint64_t end)
{
    const emr_remote *r = f->remote;
    for (size_t i = 0; i < r->n_blocks; i++)
        if (is_of(&r->blocks[i], f) && block_end(&r->blocks[i]) > begin && block_end(&r->blocks[i]) <= end)
            begin = block_end(&r->blocks[i]);
    return begin;
}

/* Where the gap at `offset` ends: where a block begins, or at `end`. */
static uint64_t gap_end(const remote_file *f, uint64_t offset, uint64_t end)
{
    const emr_remote *r = f->remote;
    for (size_t i = 0; i < r->n_blocks; i++)
        if (is_of(&r->blocks[i], f) && r->blocks[i].job.offset > offset && r->blocks[i].job.offset < end)
            end = r->blocks[i].job.offset;
    return end;
}

static bool is_free(const emr_remote *r, const remote_block *b)
{
    if (!b->is_used)
        return true;
    return b->job.finished && !b->n_readers && (b->job.status || r->clock - b->made > STALE_READS);
}

/* One with memory before one without. */
static remote_block *take_block(remote_file *f, uint64_t offset, size_t n)
{
    emr_remote *r = f->remote;
    remote_block *b = NULL;
    for (size_t i = 0; i < r->n_blocks; i++)
        if (is_free(r, &r->blocks[i]) && (!b || (!b->job.into && r->blocks[i].job.into)))
            b = &r->blocks[i];
    char *into = !b ? NULL : b->job.into ? b->job.into : malloc(REMOTE_BLOCK);
    if (into)
        *b = (remote_block){
            .job = {.file = f, .offset = offset, .n = n, .into = into}, .is_used = true, .made = r->clock};
    return into ? b : NULL;
}

static size_t count_blocks(const remote_file *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->remote->n_blocks; i++)
        n += is_of(&f->remote->blocks[i], f);
    return n;
}

/* How many more blocks a file may have. */
static size_t count_room(const remote_file *f)
{
    const emr_remote *r = f->remote;
    size_t active = 0, have = count_blocks(f);
    for (const remote_file *other = r->files; other; other = other->next)
        active += other == f || (other->last_read && r->clock - other->last_read <= ACTIVE_READS &&
                                 other->next_offset < other->identity.bytes);
    size_t share = r->n_blocks / active;
    share += !share;
    return share > have ? share - have : 0;
}

void remote_ahead(remote_file *f, uint64_t offset, uint64_t end)
{
    emr_remote *r = f->remote;
    remote_job *chain = NULL, *last = NULL;
    size_t room = count_room(f), in_chain = 0, longest = room / r->options.connections;
    longest = longest < 1 ? 1 : longest > REMOTE_CHAIN ? REMOTE_CHAIN : longest;
    end = end < f->identity.bytes ? end : f->identity.bytes;
    if (offset < f->head_bytes)
        offset = f->head_bytes;
    while (offset < end && room) {
        const remote_block *there = remote_find_block(f, offset);
        uint64_t stop =
            there ? block_end(there) : gap_end(f, offset, f->identity.bytes); /* a whole block's */
        if (!there && stop - offset > REMOTE_BLOCK)
            stop = offset + REMOTE_BLOCK;
        remote_block *b = there ? NULL : take_block(f, offset, (size_t)(stop - offset));
        if (!there && !b)
            break;
        if (chain && (there || in_chain == longest)) {
            remote_push(r, chain, false);
            chain = NULL;
        }
        if (b) {
            *(chain ? &last->more : &chain) = &b->job;
            in_chain = chain == &b->job ? 1 : in_chain + 1;
            last = &b->job;
            room--;
        }
        offset = stop;
    }
    if (chain)
        remote_push(r, chain, false);
}

void remote_ahead_far(remote_file *f, uint64_t offset)
{
    remote_ahead(f, offset, f->identity.bytes);
}

bool remote_block_now(remote_file *f, uint64_t offset)
{
    uint64_t most = f->identity.bytes - offset;
    uint64_t end = gap_end(f, offset, offset + (most < SMALL_BLOCK ? most : SMALL_BLOCK));
    remote_block *b = take_block(f, offset, (size_t)(end - offset));
    if (b)
        remote_push(f->remote, &b->job, true);
    return b != NULL;
}
