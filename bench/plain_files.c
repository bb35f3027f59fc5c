/* plain_files.c - see plain_files.h. */
#define _GNU_SOURCE

#include "plain_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CALL_BYTES = 1 << 20, EXTENT_BYTES = 32 << 20 }; /* of a system call; of a thread's piece of work */

static emr_status write_plainly(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    const char *from = source;
    while (n) {
        ssize_t put = pwrite(*(const int *)user, from, n, (off_t)offset);
        if (put == 0 || (put < 0 && errno != EINTR))
            return emr_error_set(error, EMR_EIO, put ? errno : 0, NULL,
                                 put ? strerror(errno) : "nothing was written");
        put = put < 0 ? 0 : put;
        from += put;
        offset += (uint64_t)put;
        n -= (size_t)put;
    }
    return EMR_OK;
}

emr_io plain_output(const char *path, int *descriptor)
{
    emr_io io = EMR_INIT(emr_io);
    *descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (*descriptor < 0)
        die(path);
    io.user = descriptor;
    io.write = write_plainly;
    return io;
}

void plain_copy(const char *from, const char *to)
{
    int in = open(from, O_RDONLY), out;
    const emr_io io = plain_output(to, &out);
    char *buffer = malloc(CALL_BYTES);
    emr_error error;
    ssize_t n;
    if (in < 0 || !buffer)
        die(from);
    for (uint64_t at = 0; (n = pread(in, buffer, CALL_BYTES, (off_t)at)) > 0; at += (uint64_t)n)
        check(write_plainly(io.user, at, buffer, (size_t)n, &error), &error);
    free(buffer);
    close(in);
    close(out);
}

uint64_t file_bytes(const char *path)
{
    struct stat st;
    if (stat(path, &st))
        die(path);
    return (uint64_t)st.st_size;
}

/* Extents of all inputs, one after another, then those of the output. */
typedef struct plain {
    const char *const *inputs;
    size_t *first; /* n_inputs + 1 numbers: the first extent of each input, and of the output */
    size_t n_inputs;
    const char *output;
    uint64_t bytes_out;
} plain;

static size_t n_extents(uint64_t bytes)
{
    return (size_t)((bytes + EXTENT_BYTES - 1) / EXTENT_BYTES);
}

static void read_extent(const char *path, uint64_t begin, char *buffer)
{
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0)
        die(path);
    for (uint64_t at = begin; at < begin + EXTENT_BYTES; at += CALL_BYTES)
        if (pread(descriptor, buffer, CALL_BYTES, (off_t)at) <= 0)
            break;
    close(descriptor);
}

static void write_extent(const plain *p, uint64_t begin, char *buffer)
{
    uint64_t end = p->bytes_out - begin < EXTENT_BYTES ? p->bytes_out : begin + EXTENT_BYTES;
    emr_error error;
    int descriptor = open(p->output, O_WRONLY);
    if (descriptor < 0)
        die(p->output);
    memset(buffer, 1, CALL_BYTES);
    for (uint64_t at = begin; at < end; at += CALL_BYTES)
        check(write_plainly(&descriptor, at, buffer, (size_t)(end - at < CALL_BYTES ? end - at : CALL_BYTES),
                            &error),
              &error);
    close(descriptor);
}

static void pass_extent(void *arg, size_t i)
{
    const plain *p = arg;
    char *buffer = malloc(CALL_BYTES);
    size_t input = 0;
    if (!buffer)
        die("out of memory");
    while (input < p->n_inputs && i >= p->first[input + 1])
        input++;
    uint64_t begin = (uint64_t)(i - p->first[input]) * EXTENT_BYTES;
    if (input < p->n_inputs)
        read_extent(p->inputs[input], begin, buffer);
    else
        write_extent(p, begin, buffer);
    free(buffer);
}

void plain_pass(const team *t, const char *const *inputs, size_t n_inputs, const char *output,
                uint64_t bytes_out)
{
    size_t first[256] = {0};
    plain p = {inputs, first, n_inputs, output, bytes_out};
    int descriptor;
    if (n_inputs >= sizeof first / sizeof *first)
        die("too many files");
    for (size_t i = 0; i < n_inputs; i++)
        first[i + 1] = first[i] + n_extents(file_bytes(inputs[i]));
    plain_output(output, &descriptor);
    close(descriptor);
    team_run(t, first[n_inputs] + n_extents(bytes_out), pass_extent, &p);
}
