/* main.c - emr-bench: options, and the groups of measurements one after another. */
#define _GNU_SOURCE

#include "measure.h"
#include "rows.h"
#include "settings.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "emr-bench: how fast libemr is on this machine, and whether it reaches the bars that it sets itself.\n"
    "\n"
    "    emr-bench [--only GROUP] [--json] [options]\n"
    "\n"
    "Groups: machine  memory bandwidth: reading, writing, copying\n"
    "        kernels  merging and applying in memory, each variant, dtype and number of tasks\n"
    "        memory   merging in memory through the public API\n"
    "        files    merging and applying file to file, and its peak memory\n"
    "        combine  combined models file to file, and the peak memory of every method\n"
    "        masks    the size of masks on disk, and how fast they are compressed\n"
    "        open     opening bundles of many tensors\n"
    "        access   reading one tensor out of a large bundle; adding a task to one\n"
    "        session  inside an engine: switching tasks, multiplying, batches of many tasks\n"
    "        serving  the same from threads of the host's, over and into Q8_0, staged; gathering rows\n"
#ifdef BENCH_WITH_FIT
    "        fit      libemr-fit: sums of activations, assignments, matching, solving\n"
    "        coefficients  libemr-fit: a step of AdaMerging on checkpoints\n"
#endif
    "\n"
    "  --only PREFIX   only groups whose name begins so\n"
    "  --json          an array of {name, value, unit, bar, met}; bar and met are null where there is none\n"
    "  --quick         small sizes: shows that everything works, measures nothing; bars are left out\n"
    "  --runs N        passes of each measurement, of which the median counts (default 5)\n"
    "  --threads N     what \"all\" threads means (default: one per online processor)\n"
    "  --dir DIR       where files are made (default: a new directory in TMPDIR or /tmp, removed "
    "afterwards)\n"
    "  --huge          group files: also 64 tasks of 1 Gi parameters, sparse; reads 260 GB\n"
    "  --params N, --tasks N, --memory N\n"
    "                  groups files and combine: one set of files of these sizes instead of the table\n"
    "                  (defaults 64Mi, 8 and 256Mi)\n"
    "\n"
    "Numbers take the endings Ki, Mi and Gi. Missed bars do not change the exit status.\n";

static void usage(const char *what, const char *value)
{
    fprintf(stderr, "emr-bench: %s%s%s; see emr-bench --help\n", what, value ? ": " : "", value ? value : "");
    exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    static const char *const endings[] = {"", "Ki", "Mi", "Gi"};
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    for (unsigned i = 0; i < 4; i++) {
        if (end == text || strcmp(end, endings[i]) || value > UINT64_MAX >> 10 * i)
            continue;
        value <<= 10 * i;
        if (value < least || value > most)
            break;
        return value;
    }
    usage("a number was expected, or it is out of range", text);
    return 0;
}

/* Options without a value. */
static bool take_flag(settings *s, const char *option)
{
    if (strcmp(option, "--json") == 0)
        s->json = true;
    else if (strcmp(option, "--quick") == 0)
        s->quick = true;
    else if (strcmp(option, "--huge") == 0)
        s->huge = true;
    else
        return false;
    return true;
}

static bool take_value(settings *s, const char *option, const char *value)
{
    if (strcmp(option, "--only") == 0)
        s->only = value;
    else if (strcmp(option, "--dir") == 0)
        s->directory = value;
    else if (strcmp(option, "--runs") == 0)
        s->runs = (unsigned)number(value, 1, RUNS_MAX);
    else if (strcmp(option, "--threads") == 0)
        s->threads = (unsigned)number(value, 1, THREADS_MAX);
    else if (strcmp(option, "--params") == 0)
        s->params = number(value, 1 << 14, (uint64_t)1 << 40);
    else if (strcmp(option, "--tasks") == 0)
        s->tasks = (unsigned)number(value, 1, 64);
    else if (strcmp(option, "--memory") == 0)
        s->memory = number(value, 1, (uint64_t)1 << 50);
    else
        return false;
    return true;
}

static settings parse(int argc, char **argv)
{
    settings s = {.threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            exit(0);
        }
        if (take_flag(&s, argv[i]))
            continue;
        if (i + 1 == argc || !take_value(&s, argv[i], argv[i + 1]))
            usage("an unknown option, or one that lacks its value", argv[i]);
        i++;
    }
    s.threads = s.threads > THREADS_MAX ? THREADS_MAX : s.threads;
    s.runs = s.runs ? s.runs : s.quick ? 1 : 5;
    s.own_files = s.params || s.tasks || s.memory;
    s.params = s.params ? s.params : size_of_run(&s, 64 << 20, 1 << 16);
    s.tasks = s.tasks ? s.tasks : 8;
    s.memory = s.memory ? s.memory : 256 << 20;
    return s;
}

static const struct group {
    const char *name;
    void (*run)(const settings *s);
} groups[] = {
    {"machine", bench_machine}, {"kernels", bench_kernels},   {"memory", bench_memory},
    {"files", bench_files},     {"combine", bench_combining}, {"masks", bench_masks},
    {"open", bench_open},       {"access", bench_access},     {"session", bench_session},
    {"serving", bench_serving},
#ifdef BENCH_WITH_FIT
    {"fit", bench_fit},       {"coefficients", bench_coefficients},
#endif
};

enum { GROUPS = sizeof groups / sizeof *groups };

static bool is_chosen(const settings *s, const struct group *g)
{
    return !s->only || strncmp(g->name, s->only, strlen(s->only)) == 0;
}

static void run_groups(const settings *s)
{
    rows_begin(s->json, !s->quick);
    describe_machine(s);
    for (size_t i = 0; i < GROUPS; i++) {
        if (!is_chosen(s, &groups[i]))
            continue;
        double start = now();
        rows_gap();
        groups[i].run(s);
        row(now() - start, "s", no_bar(), "%s: whole group", groups[i].name);
    }
    rows_end();
}

/* The directory that was made for the files, and the process that made it. */
static char made[512];
static pid_t maker;

/* However the program ends, but for a signal that cannot be caught. Measured processes are forked and share
 * nothing of this. */
static void remove_made(void)
{
    DIR *directory = getpid() == maker ? opendir(made) : NULL;
    for (struct dirent *e; directory && (e = readdir(directory));) {
        char path[sizeof made + sizeof e->d_name + 1];
        snprintf(path, sizeof path, "%s/%s", made, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (directory) {
        closedir(directory);
        rmdir(made);
    }
}

static void interrupted(int number)
{
    exit(128 + number);
}

static const char *make_directory(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(made, sizeof made, "%s/emr-bench-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(made))
        die("no temporary directory");
    maker = getpid();
    atexit(remove_made);
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    return made;
}

int main(int argc, char **argv)
{
    settings s = parse(argc, argv);
    size_t n_chosen = 0;
    for (size_t i = 0; i < GROUPS; i++)
        n_chosen += is_chosen(&s, &groups[i]);
    if (!n_chosen)
        usage("no group's name begins so", s.only);
    if (!s.directory)
        s.directory = make_directory();
    else if (access(s.directory, W_OK | X_OK))
        die("--dir: the directory is not there, or cannot be written to");
    run_groups(&s);
    return 0;
}
