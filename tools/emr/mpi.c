/* mpi.c - the program `emr-mpi`: `emr merge` by the ranks of an MPI job. Each makes parts and writes them into the
 * folder OUT.emr.parts, which all ranks see; rank 0 joins them. Parts that an earlier run left there are taken up. */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"
#include "crew.h"
#include "heads.h"

#include <mpi.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTS_A_RANK = 4, PARTS_MOST = 65536 };

static const char help_text[] =
    "mpirun -n RANKS emr-mpi merge --base CHECKPOINT --task [NAME=]CHECKPOINT [--task ...] -o OUT.emr\n"
    "\n"
    "emr merge by many machines: each rank makes parts of the merge, and rank 0 joins them into the bundle "
    "that one\n"
    "machine makes, to the last byte. All ranks see the checkpoints, and the folder OUT.emr.parts, where "
    "parts lie\n"
    "until OUT.emr is whole. What a run that failed has done is there, and the same command takes it up.\n"
    "\n"
    "  --parts N     cut the merge into N parts (4 a rank, or as an earlier run did)\n"
    "  --force       overwrite OUT.emr, and parts of other merges\n"
    "  --threads N   of each rank (all online processors of its machine)\n"
    "  --memory SIZE of each rank (256MiB)\n"
    "\n"
    "All other options are those of emr merge (emr merge --help), but for -o -, --part and --resume.\n";

static int check_usage(const arguments *a)
{
    int exit_status = check_merge(a, false);
    if (exit_status || a->dry_run)
        return exit_status;
    if (a->part || a->resume)
        return complain(EXIT_USAGE, "--part and --resume are for emr: here parts that are done are taken up");
    if (to_standard_output(a))
        return complain(EXIT_USAGE, "-o - is not possible: parts lie beside OUT.emr until it is whole");
    return EXIT_DONE;
}

/* "OUT.emr.parts", or the path of a part in it; to be freed. */
static char *parts_path(const arguments *a, uint32_t part, uint32_t n)
{
    size_t room = strlen(a->output) + 64;
    char *path = malloc(room);
    if (path && part)
        snprintf(path, room, "%s.parts/%05u-of-%05u.part", a->output, part, n);
    else if (path)
        snprintf(path, room, "%s.parts", a->output);
    return path;
}

/* How many parts an earlier run cut the merge into; 0: there is none. */
static uint32_t parts_of_before(const char *folder)
{
    unsigned part, n, found = 0;
    DIR *listing = opendir(folder);
    if (!listing)
        return 0;
    for (struct dirent *entry; !found && (entry = readdir(listing));)
        if (sscanf(entry->d_name, "%5u-of-%5u.part", &part, &n) == 2 && n <= PARTS_MOST)
            found = n;
    closedir(listing);
    return found;
}

/* The folder of the parts, and their number. */
static emr_status prepare_folder(uint32_t *n_parts, const arguments *a, int n_ranks, emr_error *error)
{
    char *folder = parts_path(a, 0, 0);
    emr_status status = EMR_OK;
    if (!folder)
        return EMR_ENOMEM;
    *n_parts = a->n_parts ? a->n_parts : parts_of_before(folder);
    if (!*n_parts)
        *n_parts = n_ranks < PARTS_MOST / PARTS_A_RANK ? PARTS_A_RANK * (uint32_t)n_ranks : PARTS_MOST;
    if (mkdir(folder, 0777) && errno != EEXIST)
        status = emr_error_set(error, EMR_EIO, errno, folder, strerror(errno));
    free(folder);
    return status;
}

/* Better known before the work than after. */
static emr_status check_output(const arguments *a, emr_error *error)
{
    const emr_io *io;
    emr_file *file;
    emr_status status = open_output(&io, &file, a, error);
    emr_file_close(&file);
    return status;
}

/* Whether an earlier run has made the part at hand. */
static emr_status find_part(bool *found, merge_job *j, const arguments *part, bool replaces, emr_error *error)
{
    emr_file *file;
    *found = false;
    if (access(part->output, F_OK))
        return EMR_OK;
    emr_status status = emr_merge_set_part(j->merge, part->part - 1, part->n_parts, error);
    if (!status)
        status = emr_file_open(&file, part->output, NULL, error);
    if (status)
        return status;
    status = emr_merge_check_part(j->merge, emr_file_io(file), part->output, error);
    emr_file_close(&file);
    *found = !status;
    bool foreign = status == EMR_EMISMATCH || status == EMR_EFORMAT || status == EMR_ECORRUPT;
    if (foreign && replaces)
        return EMR_OK;
    if (foreign) {
        char text[EMR_ERROR_TEXT_SIZE];
        snprintf(text, sizeof text, "%s", error->text);
        return fail_with(error, status, NULL, "%s: remove it, or --force makes it anew", text);
    }
    return status;
}

/* One part, in a merge of its own of the models that are open. */
static emr_status make_part(bool *found, merge_job *j, const arguments *a, uint32_t number, uint32_t n,
                            emr_error *error)
{
    char *path = parts_path(a, number, n);
    arguments part = *a;
    part.output = path;
    part.part = number;
    part.n_parts = n;
    part.force = 1;
    *found = false;
    emr_status status = path ? start_merge(j, &part, error) : EMR_ENOMEM;
    if (!status)
        status = find_part(found, j, &part, a->force, error);
    if (!status && !*found)
        status = run_merge(j, &part, error);
    emr_merge_destroy(&j->merge);
    close_merge_files(j, status);
    free(path);
    return status;
}

static int make_parts(crew *c, merge_job *j, const arguments *a)
{
    int before = CREW_FIRST;
    for (uint32_t part; (part = crew_next_part(c, before)) != 0;) {
        emr_error error = {.text = ""};
        bool found;
        emr_status status = make_part(&found, j, a, part, c->n_parts, &error);
        if (status && (c->is_over || interrupted))
            return EXIT_INTERRUPTED;
        if (status) {
            hint_at_dequantise(a, j->base, status, &error);
            hide_progress();
            int exit_status = complain_status(status, &error);
            crew_fail(c, exit_status);
            return exit_status;
        }
        before = found ? CREW_FOUND : CREW_MADE;
    }
    return EXIT_DONE;
}

/* Rank 0: all parts are there. They go once the bundle is whole. */
static int join_parts(const arguments *a, uint32_t n)
{
    const char **paths = calloc(n, sizeof *paths);
    char *folder = parts_path(a, 0, 0);
    arguments join = *a;
    bool all = paths && folder;
    for (uint32_t i = 0; all && i < n; i++)
        all = (paths[i] = parts_path(a, i + 1, n)) != NULL;
    join.command = "join";
    join.base = NULL;
    join.n_tasks = 0;
    join.files = paths;
    join.n_files = n;
    int exit_status = all ? command_join(&join) : complain(EXIT_SYSTEM, "out of memory");
    for (uint32_t i = 0; !exit_status && i < n; i++)
        unlink(paths[i]);
    if (!exit_status && rmdir(folder))
        complain(0, "note: %s: stays, as there are other files in it", folder);
    for (uint32_t i = 0; paths && i < n; i++)
        free((char *)paths[i]);
    free(paths);
    free(folder);
    return exit_status;
}

/* Rank 0, whatever became of it: what there is to go on with. */
static void tell_what_is_left(const crew *c, const arguments *a)
{
    hide_progress();
    if (c->n_done)
        complain(0, "%u of %u parts are done, in %s.parts: the same command takes them up", c->n_done,
                 c->n_parts, a->output);
}

/* Rank 0 looks at everything before the others begin, so that what is wrong is said once. */
static int prepare(crew *c, merge_job *j, const arguments *a)
{
    emr_error error = {.text = ""};
    emr_plan_summary summary = EMR_INIT(emr_plan_summary);
    emr_status status = check_output(a, &error);
    if (!status)
        status = start_merge(j, a, &error);
    if (!status)
        status = emr_merge_get_plan(j->merge, &summary, &error);
    if (!status)
        status = prepare_folder(&c->n_parts, a, c->size, &error);
    emr_merge_destroy(&j->merge);
    c->bytes = summary.bytes_in;
    c->next = 1;
    c->shares = calloc((size_t)c->size, sizeof *c->shares);
    if (!status && !c->shares)
        status = EMR_ENOMEM;
    if (!status)
        note_kept_blocks(a, j->models, j->base);
    if (!status && !a->quiet)
        note_codes(a, j->base, j->models);
    hint_at_dequantise(a, j->base, status, &error);
    return status ? complain_status(status, &error) : EXIT_DONE;
}

static int open_models(merge_job *j, const arguments *a)
{
    emr_error error = {.text = ""};
    emr_status status = open_merge_models(j, a, &error);
    if (!status && a->n_head_globs)
        status = view_heads(j, a, &error);
    return status ? complain_status(status, &error) : EXIT_DONE;
}

/* What rank 0 found goes to all: an exit status, and the number of parts, 0 where there is nothing to do. */
static int share_plan(crew *c, int exit_status)
{
    int told[2] = {exit_status, (int)c->n_parts};
    crew_share(told, 2);
    c->n_parts = (uint32_t)told[1];
    return told[0];
}

static int open_job(merge_job *j, crew *c, const arguments *a)
{
    int exit_status = session_open(&j->session, a, "merging");
    if (exit_status)
        return exit_status;
    j->session.resources.progress = crew_progress;
    j->session.resources.progress_user = c;
    return open_models(j, a);
}

static void close_job(merge_job *j, const arguments *a)
{
    if (j->models)
        close_merge_models(j, a);
    session_close(&j->session);
}

/* Rank 0: parts are handed out and made, then joined. */
static int lead_parts(crew *c, merge_job *j, const arguments *a)
{
    int exit_status = make_parts(c, j, a);
    crew_wait_for_parts(c);
    if (c->n_found && !a->quiet) {
        hide_progress();
        complain(0, "note: %u of %u parts were done by an earlier run", c->n_found, c->n_parts);
    }
    if (!exit_status && !c->is_over && !interrupted)
        exit_status = join_parts(a, c->n_parts);
    exit_status = crew_end(c, exit_status);
    if (exit_status || interrupted)
        tell_what_is_left(c, a);
    return exit_status;
}

static int lead_merge(crew *c, const arguments *a)
{
    merge_job j = {0};
    int exit_status = open_job(&j, c, a);
    if (!exit_status)
        exit_status = prepare(c, &j, a);
    exit_status = share_plan(c, exit_status);
    if (!exit_status)
        exit_status = lead_parts(c, &j, a);
    free(c->shares);
    close_job(&j, a);
    return exit_status;
}

static int lead(crew *c, int argc, char **argv)
{
    arguments a = {.command = "merge", .all_parts = 1};
    if (argc > 1 && strcmp(argv[1], "merge") != 0 && argv[1][0] != '-')
        return share_plan(c, complain(EXIT_USAGE, "%s: unknown command (see emr-mpi --help)", argv[1]));
    bool has_command = argc > 1 && argv[1][0] != '-';
    int exit_status = parse_arguments(&a, argc - 1 - has_command, argv + 1 + has_command);
    bool merges = !exit_status && !a.help && !a.version && !a.dry_run;
    if (!exit_status && a.help)
        fputs(help_text, stdout);
    else if (!exit_status && a.version)
        printf("emr-mpi %s\n", emr_version());
    else if (!exit_status && !has_command)
        exit_status = complain(EXIT_USAGE, "the command is missing: merge (see emr-mpi --help)");
    else if (!exit_status)
        exit_status = check_usage(&a);
    if (!exit_status && a.dry_run && !a.help && !a.version)
        exit_status = command_merge(&a);
    exit_status = merges && !exit_status ? lead_merge(c, &a) : share_plan(c, exit_status);
    free_arguments(&a);
    return exit_status;
}

/* Another rank: rank 0 has found nothing wrong with the call. */
static int follow(crew *c, int argc, char **argv)
{
    arguments a = {.command = "merge", .all_parts = 1};
    merge_job j = {0};
    int exit_status = share_plan(c, EXIT_DONE);
    if (exit_status || !c->n_parts)
        return exit_status;
    exit_status = parse_arguments(&a, argc - 2, argv + 2);
    a.quiet = 1;
    if (!exit_status)
        exit_status = check_usage(&a);
    if (!exit_status)
        exit_status = open_job(&j, c, &a);
    if (exit_status)
        crew_fail(c, exit_status);
    else
        make_parts(c, &j, &a);
    exit_status = crew_end(c, EXIT_DONE);
    close_job(&j, &a);
    free_arguments(&a);
    return exit_status;
}

int main(int argc, char **argv)
{
    char machine[MPI_MAX_PROCESSOR_NAME] = "", name[MPI_MAX_PROCESSOR_NAME + 64] = "emr-mpi";
    crew c = {0};
    int level, length;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    start_process();
    MPI_Comm_rank(MPI_COMM_WORLD, &c.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c.size);
    MPI_Get_processor_name(machine, &length);
    if (c.rank)
        snprintf(name, sizeof name, "emr-mpi: rank %d on %s", c.rank, machine);
    program_name = name;
    int exit_status = c.rank == 0 ? lead(&c, argc, argv) : follow(&c, argc, argv);
    if (interrupted) { /* the others may be gone, and cannot be waited for */
        fflush(NULL);
        _exit(EXIT_INTERRUPTED);
    }
    MPI_Finalize();
    return finish_process(exit_status);
}
