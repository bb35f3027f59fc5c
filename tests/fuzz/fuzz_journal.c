/* fuzz_journal.c - a merge that was cut off goes on over a journal and an output of which bytes choose what
 * became of them: it ends with the bytes of a merge that was never cut off, or with a status. Where the
 * journal's hashes were made right again, which damage does not do, the bytes may be others; nothing else. */
#include "fuzz.h"
#include "property.h"

#include "core/bytes.h"
#include "core/hash.h"

enum {
    EVERY = 3000 /* bytes of input between records */,
    MEMORY = 4 << 20,
    MOST_EDITS = 24,
    ROOM = 256 << 10 /* of a store; a merge writes less */
};

/* The input, taken from its beginning; zeros follow its end. */
typedef struct choices {
    const uint8_t *data;
    size_t size;
} choices;

static size_t choose_byte(choices *c, size_t n)
{
    if (!c->size)
        return 0;
    c->size--;
    return *c->data++ % n;
}

static size_t choose_wide(choices *c, size_t n)
{
    size_t value = choose_byte(c, 256);
    value = value << 8 | choose_byte(c, 256);
    value = value << 8 | choose_byte(c, 256);
    return n ? value % n : 0;
}

/* What a disk holds; its writes fail once `left` of them are done, and nothing may be written far away. */
typedef struct store {
    uint8_t *bytes;
    size_t n;
    size_t *left;
} store;

static emr_status store_read(void *user, uint64_t offset, void *to, size_t n, emr_error *error)
{
    const store *s = user;
    if (offset > s->n || n > s->n - offset)
        return emr_error_set(error, EMR_EIO, 0, NULL, "the store ends before");
    memcpy(to, s->bytes + offset, n);
    return EMR_OK;
}

static emr_status store_write(void *user, uint64_t offset, const void *from, size_t n, emr_error *error)
{
    store *s = user;
    if (!*s->left || offset > ROOM || n > ROOM - offset)
        return emr_error_set(error, EMR_EIO, 0, NULL, "the store is full");
    --*s->left;
    memcpy(s->bytes + offset, from, n);
    s->n = offset + n > s->n ? (size_t)offset + n : s->n;
    return EMR_OK;
}

static emr_status store_length(void *user, uint64_t *n, emr_error *error)
{
    (void)error;
    *n = ((const store *)user)->n;
    return EMR_OK;
}

static emr_io store_io(store *s)
{
    emr_io io = EMR_INIT(emr_io);
    io.user = s;
    io.read = store_read;
    io.write = store_write;
    io.length = store_length;
    return io;
}

static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {9, 700}}, {"b", EMR_DTYPE_BF16, 1, {65}},
                                      {"c", EMR_DTYPE_F32, 1, {0}},      {"d", EMR_DTYPE_F32, 2, {30, 90}},
                                      {"e", EMR_DTYPE_I32, 1, {50}},     {"f.head", EMR_DTYPE_F32, 1, {500}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], KINDS = 4 };

/* The models and, for each kind of merge, what it gives; made once. */
typedef struct kind {
    emr_merge_options options;
    emr_buffer *want;
} kind;
static test_set set;
static kind kinds[KINDS];

static void prepare_kinds(void)
{
    static const char *const globs[] = {"*.head"};
    static const emr_policy policy = {.size = sizeof policy, .private_globs = globs, .n_private_globs = 1};
    static const emr_resources resources = {.size = sizeof resources, .memory_bytes = MEMORY};
    if (set.n)
        return;
    set = test_set_create(tensors, N_TENSORS, 2, 5, SOURCE_READ);
    for (uint32_t i = 0; i < KINDS; i++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.rescale_per = 1 + i % 3;
        o.block_params = 4096;
        o.resources = &resources;
        o.policy = &policy;
        o.extendable = i & 1;
        o.embed_base = i == 2;
        o.compression = i == 3 ? EMR_COMPRESSION_NONE : 0;
#ifndef EMR_WITH_ZSTD
        o.compression = EMR_COMPRESSION_NONE;
#endif
        kinds[i] = (kind){o, test_merge_bundle(&set, &o)};
        promise(emr_buffer_bytes(kinds[i].want) < ROOM);
    }
}

static emr_status run_merge(const kind *k, store *output, store *journal, fuzz_budget *budget)
{
    emr_error error = {0};
    emr_io to = store_io(output), log = store_io(journal);
    emr_merge_options o = k->options;
    emr_allocator allocator = fuzz_allocator(budget);
    emr_resources resources = {.size = sizeof resources, .allocator = &allocator, .memory_bytes = MEMORY};
    emr_merge *merge;
    o.resources = &resources;
    merge = test_merge_create(&set, &o);
    promise(emr_merge_set_output(merge, &to, &error) == EMR_OK);
    promise(emr_merge_set_journal(merge, &log, EVERY, &error) == EMR_OK);
    emr_status status = fuzz_status(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    promise(budget->now == 0);
    return status;
}

/* The journal's hashes, as far as its records reach. */
static void seal_journal(store *journal)
{
    enum { HEAD = 64, HASH = 16 };
    if (journal->n < HEAD)
        return;
    emr_store64(journal->bytes + HEAD - 8, emr_hash64(journal->bytes, HEAD - 8));
    emr_hasher h;
    emr_hasher_init(&h);
    emr_hasher_update(&h, journal->bytes, HEAD);
    emr_hash128 chain = emr_hasher_digest(&h);
    for (size_t at = HEAD; journal->n - at >= 8 + HASH;) {
        uint64_t n = emr_load64(journal->bytes + at);
        if (n > journal->n - at - 8 - HASH)
            return;
        emr_hasher_init(&h);
        emr_hasher_update(&h, &chain, sizeof chain);
        emr_hasher_update(&h, journal->bytes + at, 8 + (size_t)n);
        chain = emr_hasher_digest(&h);
        at += 8 + (size_t)n;
        memcpy(journal->bytes + at, &chain, sizeof chain);
        at += HASH;
    }
}

static void edit_store(choices *c, store *s, const store *other)
{
    size_t at = choose_wide(c, s->n + 1), n = choose_byte(c, 64);
    n = n < s->n - at ? n : s->n - at;
    switch (choose_byte(c, 8)) {
    case 0: /* torn off */
        s->n = at;
        break;
    case 1: /* longer */
        memset(s->bytes + s->n, (int)choose_byte(c, 256), ROOM - s->n < 4096 ? ROOM - s->n : 4096);
        s->n += ROOM - s->n < 4096 ? ROOM - s->n : 4096;
        break;
    case 2: /* never written */
        memset(s->bytes + at, 0, n * 64 < s->n - at ? n * 64 : s->n - at);
        break;
    case 3: /* written elsewhere */
        memmove(s->bytes + choose_wide(c, s->n - n + 1), s->bytes + at, n);
        break;
    case 4: /* of the other file */
        n = n < other->n ? n : other->n;
        memcpy(s->bytes + at, other->bytes + choose_wide(c, other->n - n + 1), n);
        break;
    case 5: /* a number that is somewhat larger or smaller, or far away */
        at = at / 8 * 8;
        if (s->n - at >= 8)
            emr_store64(s->bytes + at, emr_load64(s->bytes + at) + choose_byte(c, 256) - 128);
        break;
    case 6:
        at = at / 8 * 8;
        if (s->n - at >= 8)
            emr_store64(s->bytes + at, (uint64_t)choose_byte(c, 256) << choose_byte(c, 64));
        break;
    default:
        if (at < s->n)
            s->bytes[at] ^= (uint8_t)(1 + choose_byte(c, 255));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prepare_kinds();
    choices c = {data, size};
    const kind *k = &kinds[choose_byte(&c, KINDS)];
    size_t left = choose_byte(&c, 256), unlimited = SIZE_MAX;
    bool forged = choose_byte(&c, 3) == 1;
    fuzz_budget budget = {0, 8 << 20};
    store output = {calloc(1, ROOM), 0, &left}, journal = {calloc(1, ROOM), 0, &left};
    promise(output.bytes && journal.bytes);
    run_merge(k, &output, &journal, &budget);
    for (size_t i = 0; c.size && i < MOST_EDITS; i++) {
        if (choose_byte(&c, 4))
            edit_store(&c, &journal, &output);
        else
            edit_store(&c, &output, &journal);
    }
    if (forged)
        seal_journal(&journal);
    output.left = journal.left = &unlimited;
    emr_status status = run_merge(k, &output, &journal, &budget);
    promise(forged || status == EMR_OK);
    size_t wanted = emr_buffer_bytes(k->want);
    promise(forged || (output.n >= wanted && memcmp(output.bytes, emr_buffer_data(k->want), wanted) == 0));
    free(output.bytes);
    free(journal.bytes);
    return 0;
}
