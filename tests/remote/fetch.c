/* fetch.c - a file by its address, as a host reads it: for the tests, which set what the program does not
 * offer, and for the benchmark.
 *
 *     fetch ADDRESS [NAME=VALUE]...
 *
 * connections, tries, stall (seconds), ahead (bytes), certificates, endpoint, region, key, secret, token: the
 * options; piece (bytes of a read), way (front, back, random), readers (threads), middle (a command run there),
 * cancel (after milliseconds), twice, quiet (the seconds that it took instead of the bytes).
 *
 * Writes the bytes to standard output, and on failure the sentence to standard error. */
#define _POSIX_C_SOURCE 200809L

#include <emr/emr.h>
#include <emr/remote/remote.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *text(int argc, char **argv, const char *name)
{
    size_t n = strlen(name);
    for (int i = 2; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return argv[i] + n + 1;
    return NULL;
}

static size_t number(int argc, char **argv, const char *name, size_t otherwise)
{
    const char *value = text(argc, argv, name);
    return value ? (size_t)strtoull(value, NULL, 10) : otherwise;
}

static int32_t is_late(void *user)
{
    return now() > *(const double *)user;
}

/* The i-th of n pieces to be read. */
static size_t piece_at(const char *way, size_t i, size_t n)
{
    if (way && strcmp(way, "back") == 0)
        return n - 1 - i;
    if (way && strcmp(way, "random") == 0) { /* a step that shares no divisor with n */
        size_t step = 7919;
        while (n % step == 0)
            step += 2;
        return i * step % n;
    }
    return i;
}

/* What each of several threads reads: every n-th piece. */
typedef struct reader {
    const emr_io *io;
    char *all; /* NULL: what is read is thrown away */
    const char *way;
    uint64_t bytes;
    size_t piece, first, step;
    const char *middle;
    emr_status status;
    emr_error error;
} reader;

static void *read_pieces(void *user)
{
    reader *r = user;
    size_t n = (size_t)((r->bytes + r->piece - 1) / r->piece);
    char *thrown = r->all ? NULL : malloc(r->piece);
    for (size_t i = r->first; i < n && !r->status; i += r->step) {
        uint64_t offset = (uint64_t)piece_at(r->way, i, n) * r->piece;
        size_t some = r->bytes - offset < r->piece ? (size_t)(r->bytes - offset) : r->piece;
        if (i == n / 2 && r->middle && system(r->middle))
            exit(2);
        r->status = r->io->read(r->io->user, offset, r->all ? r->all + offset : thrown, some, &r->error);
    }
    free(thrown);
    return NULL;
}

static emr_status read_all(const emr_io *io, int argc, char **argv, emr_error *error)
{
    enum { READERS = 16 };
    pthread_t threads[READERS];
    reader readers[READERS];
    uint64_t bytes = 0;
    emr_status status = io->length(io->user, &bytes, error);
    size_t n = number(argc, argv, "readers", 1);
    bool started = !status;
    char *all = number(argc, argv, "quiet", 0) ? NULL : malloc((size_t)bytes + 1);
    for (size_t i = 0; i < n && !status; i++) {
        readers[i] = (reader){.io = io,
                              .all = all,
                              .way = text(argc, argv, "way"),
                              .bytes = bytes,
                              .piece = number(argc, argv, "piece", 4u << 20),
                              .first = i,
                              .step = n,
                              .middle = text(argc, argv, "middle")};
        if (pthread_create(&threads[i], NULL, read_pieces, &readers[i]))
            exit(2);
    }
    for (size_t i = 0; i < n && started; i++) {
        pthread_join(threads[i], NULL);
        if (!status && readers[i].status) {
            status = readers[i].status;
            *error = readers[i].error;
        }
    }
    if (!status && all)
        fwrite(all, 1, (size_t)bytes, stdout);
    free(all);
    return status;
}

static emr_status fetch(const emr_source *source, int argc, char **argv, emr_error *error)
{
    emr_io io = EMR_INIT(emr_io);
    uint64_t stamp;
    emr_status status = source->open(source->user, argv[1], &io, &stamp, error);
    if (status)
        return status;
    status = read_all(&io, argc, argv, error);
    source->close(source->user, &io);
    return status;
}

int main(int argc, char **argv)
{
    emr_remote *remote;
    emr_error error;
    double end = now() + (double)number(argc, argv, "cancel", 0) / 1000;
    emr_remote_options o = EMR_INIT(emr_remote_options);
    o.connections = (uint32_t)number(argc, argv, "connections", 0);
    o.tries = (uint32_t)number(argc, argv, "tries", 0);
    o.stall_seconds = (uint32_t)number(argc, argv, "stall", 0);
    o.ahead_bytes = number(argc, argv, "ahead", 0);
    o.is_canceled = text(argc, argv, "cancel") ? is_late : NULL;
    o.user = &end;
    o.ca_file = text(argc, argv, "certificates");
    o.s3_endpoint = text(argc, argv, "endpoint");
    o.s3_region = text(argc, argv, "region");
    o.s3_key_id = text(argc, argv, "key");
    o.s3_secret = text(argc, argv, "secret");
    o.s3_token = text(argc, argv, "token");
    emr_status status = argc < 2 ? EMR_EINVAL : emr_remote_create(&remote, &o, &error);
    if (argc < 2)
        return fprintf(stderr, "fetch ADDRESS [NAME=VALUE]...\n"), 2;
    if (!status) {
        double start = now();
        status = fetch(emr_remote_source(remote), argc, argv, &error);
        if (!status && number(argc, argv, "twice", 0))
            status = fetch(emr_remote_source(remote), argc, argv, &error);
        if (!status && number(argc, argv, "quiet", 0))
            printf("%.3f\n", now() - start);
        emr_remote_destroy(&remote);
    }
    if (status)
        fprintf(stderr, "%s: %s\n", emr_status_name(status), error.text);
    return status ? 1 : 0;
}
