/* machine.c - names the machine, and measures how fast it reads, writes and copies memory.
 *
 * What is counted: reading, the bytes of the buffer that is added up; writing, the bytes of the buffer that
 * is set; copying, bytes read and bytes written, so twice the size of one buffer. Threads have equal shares.
 */
#define _GNU_SOURCE

#include "bandwidth.h"
#include "measure.h"
#include "rows.h"
#include "settings.h"

#include "numeric/kernels.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STREAMS = 9 };

static void read_processor_name(char *name, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(name, size, "%s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

static bool is_available(const char *variant)
{
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++)
        if (strcmp((*k)->name, variant) == 0)
            return true;
    return false;
}

static void append_name(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

void describe_machine(const settings *s)
{
    static const char *const known[] = {"c", "avx2", "avx512", "neon"};
    char name[256], have[256] = "", missing[256] = "";
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++)
        append_name(have, sizeof have, (*k)->name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!is_available(known[i]))
            append_name(missing, sizeof missing, known[i]);
    read_processor_name(name, sizeof name);
    row_text("machine: processor", name);
    row((double)sysconf(_SC_NPROCESSORS_ONLN), "online", no_bar(), "machine: processors");
    row(s->threads, "threads", no_bar(), "machine: threads used at most");
    row((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 0x1p30, "GiB", no_bar(),
        "machine: memory");
    row_text("machine: kernel variants that ran", have);
    row_text("machine: kernel variants that did not", *missing ? missing : "none");
    row_text("machine: libemr", emr_version());
}

typedef struct buffers {
    const team *team;
    uint8_t *from, *to;
    size_t bytes;
    uint64_t sums[THREADS_MAX]; /* one a thread, so that the reading is needed */
} buffers;

typedef struct part {
    size_t begin, bytes;
} part;

static part part_of(const buffers *b, size_t i)
{
    size_t k = b->team->executor->concurrency;
    size_t begin = share_begin(b->bytes, i, k, READ_UNIT * STREAMS);
    return (part){begin, share_begin(b->bytes, i + 1, k, READ_UNIT * STREAMS) - begin};
}

static void read_part(void *arg, size_t i)
{
    buffers *b = arg;
    part p = part_of(b, i);
    b->sums[i] = read_through(b->from + p.begin, p.bytes);
}

static void read_part_in_streams(void *arg, size_t i)
{
    buffers *b = arg;
    part p = part_of(b, i);
    size_t stream = p.bytes / STREAMS;
    uint64_t sum = 0;
    for (size_t at = 0; at < stream; at += READ_UNIT)
        for (size_t s = 0; s < STREAMS; s++)
            sum += read_through(b->from + p.begin + s * stream + at, READ_UNIT);
    b->sums[i] = sum;
}

static void write_part(void *arg, size_t i)
{
    buffers *b = arg;
    part p = part_of(b, i);
    memset(b->to + p.begin, (int)i + 1, p.bytes);
}

static void copy_part(void *arg, size_t i)
{
    buffers *b = arg;
    part p = part_of(b, i);
    memcpy(b->to + p.begin, b->from + p.begin, p.bytes);
}

static void measure(const settings *s, buffers *b, const char *name, double bytes,
                    void (*pass)(void *, size_t))
{
    double seconds[RUNS_MAX];
    unsigned threads = b->team->executor->concurrency;
    team_run(b->team, threads, pass, b);
    for (unsigned i = 0; i < s->runs; i++) {
        double start = now();
        team_run(b->team, threads, pass, b);
        seconds[i] = now() - start;
    }
    row(bytes / median(seconds, s->runs) / 1e9, "GB/s", no_bar(), "machine: %s, %s", name,
        threads_of(threads).text);
}

void bench_machine(const settings *s)
{
    static buffers b;
    b.bytes = (size_t)size_of_run(s, 512 << 20, 4 << 20) / (READ_UNIT * STREAMS) * (READ_UNIT * STREAMS);
    b.from = allocate_large(b.bytes);
    b.to = allocate_large(b.bytes);
    for (unsigned threads = 1;; threads = s->threads) {
        team t = team_create(threads);
        b.team = &t;
        measure(s, &b, "read one stream", (double)b.bytes, read_part);
        measure(s, &b, "read 9 streams side by side", (double)b.bytes, read_part_in_streams);
        measure(s, &b, "write", (double)b.bytes, write_part);
        measure(s, &b, "copy", 2.0 * (double)b.bytes, copy_part);
        team_destroy(&t);
        if (threads == s->threads)
            break;
    }
    release_large(b.from, b.bytes);
    release_large(b.to, b.bytes);
}
