/* custom_io.c - a host's own I/O: checkpoints and bundle are entries of one archive, read and written in
 * place through a FILE *. */
#define _POSIX_C_SOURCE 200809L /* fseeko, flockfile */

#include <emr/emr.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static emr_error error;

static void must(emr_status status)
{
    if (status != EMR_OK) {
        fprintf(stderr, "custom_io: %s: %s\n", emr_status_text(status), error.text);
        exit(EXIT_FAILURE);
    }
}

/* An extent of the archive. */
typedef struct entry {
    const char *name;
    FILE *archive;
    off_t offset;
    uint64_t bytes;
} entry;

/* A callback says why it failed; the library's sentence says during what, and in which tensor. */
static emr_status entry_failed(const entry *e, emr_error *reason)
{
    return feof(e->archive) ? emr_error_set(reason, EMR_EIO, 0, e->name, "the archive is cut short")
                            : emr_error_set(reason, EMR_EIO, errno, e->name, strerror(errno));
}

/* Reads may come from several threads at a time, and a FILE * has one position: hold its lock for both calls.
 */
static emr_status entry_read(void *user, uint64_t offset, void *destination, size_t n, emr_error *reason)
{
    const entry *e = user;
    if (offset > e->bytes || n > e->bytes - offset)
        return emr_error_set(reason, EMR_EIO, 0, e->name, "the entry ends before that");
    flockfile(e->archive);
    bool done = fseeko(e->archive, e->offset + (off_t)offset, SEEK_SET) == 0 &&
                fread(destination, 1, n, e->archive) == n;
    emr_status status = done ? EMR_OK : entry_failed(e, reason);
    funlockfile(e->archive);
    return status;
}

/* The library writes front to back, so the last entry of the archive grows. */
static emr_status entry_write(void *user, uint64_t offset, const void *source, size_t n, emr_error *reason)
{
    entry *e = user;
    flockfile(e->archive);
    bool done =
        fseeko(e->archive, e->offset + (off_t)offset, SEEK_SET) == 0 && fwrite(source, 1, n, e->archive) == n;
    emr_status status = done ? EMR_OK : entry_failed(e, reason);
    funlockfile(e->archive);
    if (done)
        e->bytes = offset + n;
    return status;
}

static emr_status entry_length(void *user, uint64_t *bytes, emr_error *reason)
{
    (void)reason;
    *bytes = ((const entry *)user)->bytes;
    return EMR_OK;
}

/* `map` and `sync` are optional; an archive offers neither. */
static emr_io entry_io(entry *e)
{
    return (emr_io){
        .size = sizeof(emr_io), .user = e, .read = entry_read, .write = entry_write, .length = entry_length};
}

/* A new entry at the end of the archive. */
static entry append_entry(FILE *archive, const char *name)
{
    fseeko(archive, 0, SEEK_END);
    return (entry){name, archive, ftello(archive), 0};
}

enum { BASE, FRENCH, GERMAN, N_MODELS, BUNDLE = N_MODELS, N_ENTRIES };
static const char *const names[N_ENTRIES] = {"base", "french", "german", "bundle"};

static void store_model(const emr_io *io, const float values[4])
{
    const uint64_t shape[] = {4};
    const emr_tensor_desc weight = {.size = sizeof weight,
                                    .name = "weight",
                                    .shape = shape,
                                    .rank = 1,
                                    .dtype = EMR_DTYPE_F32,
                                    .data = values};
    emr_model *model;
    must(emr_model_create(&model, NULL, &error));
    must(emr_model_add(model, &weight, &error));
    must(emr_safetensors_write(model, io, NULL, &error));
    emr_model_destroy(&model);
}

/* Merges the entries of the models into the entry of the bundle, which becomes the last one. */
static void merge_entries(const emr_io *io)
{
    emr_pool *pool;
    must(emr_pool_create(&pool, NULL, &error));
    const emr_resources resources = {.size = sizeof resources, .executor = emr_pool_executor(pool)};
    const emr_merge_options options = {.size = sizeof options, .resources = &resources};
    emr_model *models[N_MODELS];
    emr_merge *merge;
    must(emr_merge_create(&merge, &options, &error));
    for (int i = 0; i < N_MODELS; i++) {
        must(emr_safetensors_open(&models[i], &io[i], names[i], NULL, &error));
        must(i == BASE ? emr_merge_set_base(merge, models[i], &error)
                       : emr_merge_add_task(merge, names[i], models[i], &error));
    }
    must(emr_merge_set_output(merge, &io[BUNDLE], &error));
    must(emr_merge_run(merge, &error));
    emr_merge_destroy(&merge);
    for (int i = 0; i < N_MODELS; i++)
        emr_model_destroy(&models[i]);
    emr_pool_destroy(&pool);
}

static void read_task(const emr_io *io, const char *name, float weight[4])
{
    emr_bundle *bundle;
    emr_model *base, *model;
    uint32_t task;
    must(emr_safetensors_open(&base, &io[BASE], names[BASE], NULL, &error));
    must(emr_bundle_open(&bundle, &io[BUNDLE], names[BUNDLE], NULL, &error));
    must(emr_bundle_find_task(bundle, name, &task, &error));
    must(emr_bundle_open_task(&model, bundle, task, base, NULL, &error));
    must(emr_tensor_read(emr_model_find_tensor(model, "weight"), 0, weight, 4 * sizeof *weight, &error));
    emr_model_destroy(&model);
    emr_bundle_destroy(&bundle);
    emr_model_destroy(&base);
}

/* What the user reads when something is wrong with the archive itself. */
static bool says_why(FILE *archive)
{
    entry lost = append_entry(archive, "lost");
    lost.bytes = 1000; /* says the archive's directory, but it ends here */
    const emr_io io = entry_io(&lost);
    emr_model *model;
    emr_status status = emr_safetensors_open(&model, &io, lost.name, NULL, &error);
    printf("%s\n", error.text);
    return status == EMR_EIO && strstr(error.text, "the archive is cut short");
}

int main(void)
{
    /* task vectors (1, 2, -1, 0) and (3, -2, -1, 0): unified (3, 0, -1, 0), german's rescaler 6 / 4 */
    static const float values[N_MODELS][4] = {{1, 1, 1, 1}, {2, 3, 0, 1}, {4, -1, 0, 1}};
    static const float expected[4] = {5.5f, 1, -0.5f, 1};
    FILE *archive = tmpfile();
    if (!archive) {
        perror("custom_io");
        return EXIT_FAILURE;
    }
    entry entries[N_ENTRIES];
    emr_io io[N_ENTRIES];
    for (int i = 0; i < N_ENTRIES; i++) {
        entries[i] = append_entry(archive, names[i]);
        io[i] = entry_io(&entries[i]);
        if (i < N_MODELS)
            store_model(&io[i], values[i]);
    }
    merge_entries(io);
    float weight[4];
    read_task(io, "german", weight);
    printf("german: %g %g %g %g\n", (double)weight[0], (double)weight[1], (double)weight[2],
           (double)weight[3]);
    bool right = memcmp(weight, expected, sizeof weight) == 0 && says_why(archive);
    fclose(archive);
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
