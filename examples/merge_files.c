/* merge_files.c - pull mode: checkpoints to a bundle, and every task's model back out of it.
 *
 *     merge_files BASE.safetensors OUT.emr TASK.safetensors...
 *
 * writes OUT.emr, then OUT.emr.0.safetensors and so on. Without arguments it makes small checkpoints in a
 * temporary directory and checks what comes back. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp */

#include <emr/emr.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TASKS = 64 };

/* EMR_OK is 0, so a chain of || ends at the first failure, and `error` holds the sentence. */
static int merge_files(const char *base_path, const char *bundle_path, const char *const *task_paths, int n,
                       emr_error *error)
{
    emr_model *base = NULL, *tasks[MAX_TASKS] = {NULL};
    emr_file *file = NULL;
    emr_merge *merge = NULL;
    const emr_file_options replacing = {.size = sizeof replacing, .replace = 1};
    int failed = emr_merge_create(&merge, NULL, error) ||
                 emr_checkpoint_open(&base, base_path, NULL, error) || emr_merge_set_base(merge, base, error);
    for (int t = 0; t < n && !failed; t++)
        failed = emr_checkpoint_open(&tasks[t], task_paths[t], NULL, error) ||
                 emr_merge_add_task(merge, task_paths[t], tasks[t], error);
    failed = failed || emr_file_create(&file, bundle_path, &replacing, error) ||
             emr_merge_set_output(merge, emr_file_io(file), error) || emr_merge_run(merge, error) ||
             emr_file_commit(file, error); /* only now does the bundle have its name */
    emr_merge_destroy(&merge);
    emr_file_close(&file);
    for (int t = 0; t < n; t++)
        emr_model_destroy(&tasks[t]);
    emr_model_destroy(&base);
    return failed;
}

/* One task's model as a checkpoint of its own, computed while it is written. The base is read once, and
 * compared with the bundle's on the way: with another one, there is no file. */
static int apply_file(const char *base_path, const char *bundle_path, uint32_t task, const char *out_path,
                      emr_error *error)
{
    const emr_view_options view = {.size = sizeof view, .check = EMR_BASE_CHECK_WRITE};
    const emr_checkpoint_write_options replacing = {.size = sizeof replacing, .replace = 1};
    emr_bundle *bundle = NULL;
    emr_model *base = NULL, *model = NULL;
    int failed = emr_bundle_open_file(&bundle, bundle_path, NULL, error) ||
                 emr_checkpoint_open(&base, base_path, NULL, error) ||
                 emr_bundle_open_task(&model, bundle, task, base, &view, error) ||
                 emr_checkpoint_write(model, out_path, &replacing, error);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return failed;
}

static int round_trip(const char *base_path, const char *bundle_path, const char *const *task_paths, int n,
                      emr_error *error)
{
    int failed = merge_files(base_path, bundle_path, task_paths, n, error);
    for (int t = 0; t < n && !failed; t++) {
        char out_path[4096];
        snprintf(out_path, sizeof out_path, "%s.%d.safetensors", bundle_path, t);
        failed = apply_file(base_path, bundle_path, (uint32_t)t, out_path, error);
    }
    return failed;
}

static int write_checkpoint(const char *path, const float values[4], emr_error *error)
{
    const uint64_t shape[] = {2, 2};
    const emr_tensor_desc weight = {.size = sizeof weight,
                                    .name = "weight",
                                    .shape = shape,
                                    .rank = 2,
                                    .dtype = EMR_DTYPE_F32,
                                    .data = values};
    emr_model *model = NULL;
    int failed = emr_model_create(&model, NULL, error) || emr_model_add(model, &weight, error) ||
                 emr_checkpoint_write(model, path, NULL, error);
    emr_model_destroy(&model);
    return failed;
}

static int expect(const char *path, const float expected[4], emr_error *error)
{
    emr_model *model = NULL;
    float values[4];
    int failed = emr_checkpoint_open(&model, path, NULL, error) ||
                 emr_tensor_read(emr_model_find_tensor(model, "weight"), 0, values, sizeof values, error);
    if (!failed && memcmp(values, expected, sizeof values) != 0)
        failed = emr_error_set(error, EMR_EMISMATCH, 0, path, "wrong weights");
    emr_model_destroy(&model);
    return failed;
}

/* Small enough to follow by hand. Task vectors: french (1, 2, -1, 0), german (3, -2, -1, 0); their sum elects
 * the signs (+, 0, -, 0), so the unified task vector is (3, 0, -1, 0). Both masks are (1, 0, 1, 0); rescalers
 * are 4 / 4 for french and 6 / 4 for german. */
static int demonstrate(emr_error *error)
{
    static const char *const files[] = {"base.safetensors",      "french.safetensors",
                                        "german.safetensors",    "all.emr.0.safetensors",
                                        "all.emr.1.safetensors", "all.emr"};
    int failed = write_checkpoint(files[0], (const float[]){1, 1, 1, 1}, error) ||
                 write_checkpoint(files[1], (const float[]){2, 3, 0, 1}, error) ||
                 write_checkpoint(files[2], (const float[]){4, -1, 0, 1}, error) ||
                 round_trip(files[0], "all.emr", files + 1, 2, error) ||
                 expect(files[3], (const float[]){4, 1, 0, 1}, error) ||
                 expect(files[4], (const float[]){5.5f, 1, -0.5f, 1}, error);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        remove(files[i]);
    return failed;
}

int main(int argc, char **argv)
{
    emr_error error;
    char directory[] = "/tmp/merge_files.XXXXXX";
    int failed;
    if (argc > 3 && argc - 3 <= MAX_TASKS) {
        failed = round_trip(argv[1], argv[2], (const char *const *)argv + 3, argc - 3, &error);
    } else if (argc == 1 && mkdtemp(directory) && chdir(directory) == 0) {
        failed = demonstrate(&error);
        rmdir(directory);
    } else {
        fprintf(stderr, "usage: merge_files [BASE.safetensors OUT.emr TASK.safetensors...]\n");
        return 2;
    }
    if (failed)
        fprintf(stderr, "merge_files: %s\n", error.text);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
