/* inputs.c - what the command line names, looked up. */
#include "cli.h"
#include "folder.h"
#include "remote.h"

#include <string.h>

int check_one_file(const arguments *a, const char *what)
{
    return a->n_files == 1 ? EXIT_DONE
                           : complain(EXIT_USAGE, "%s: exactly one %s is needed", a->command, what);
}

/* ORG/NAME, as the hub calls a model: two words, of which not even the first is there. */
static bool is_hub_name(const char *path)
{
    char owner[100];
    size_t n = strcspn(path, "/");
    if (!n || n >= sizeof owner || strchr("./~", *path) || !path[n] || !path[n + 1] ||
        strchr(path + n + 1, '/') || strstr(path, ".safetensors") || strstr(path, ".gguf"))
        return false;
    memcpy(owner, path, n);
    owner[n] = '\0';
    return !path_exists(owner);
}

/* What is said where nothing is at a path; the reason the system gave is not all. */
static emr_status open_or_explain(emr_model **model, const char *path,
                                  const emr_checkpoint_read_options *options, emr_error *error)
{
    if (is_address(path)) {
        emr_checkpoint_read_options from = *options;
        emr_status found = remote_source(&from.source, path, error);
        return found ? found : emr_checkpoint_open(model, path, &from, error);
    }
    emr_status status = emr_checkpoint_open(model, path, options, error);
    if (status != EMR_EIO || path_exists(path))
        return status;
    if (*path == '~' || strstr(path, "/~/"))
        return fail_with(error, status, path,
                         "no such file or folder: a shell does not expand '~' inside a word: write $HOME");
    return is_hub_name(path) ? fail_with(error, status, path,
                                         "no such file or folder, and nothing is downloaded: give the folder "
                                         "that the model was downloaded to, or an address (https://)")
                             : status;
}

emr_status open_checkpoint(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    const emr_checkpoint_read_options options = {.size = sizeof options, .dequantise = a->dequantise};
    return open_or_explain(model, path, &options, error);
}

emr_status open_task(emr_model **model, const char *path, const arguments *a, emr_error *error)
{
    const emr_checkpoint_read_options options = {
        .size = sizeof options, .dequantise = a->dequantise, .side_files = !a->no_side_files};
    return open_or_explain(model, path, &options, error);
}

const char *side_file_name(const char *tensor)
{
    size_t n = sizeof EMR_FILE_PREFIX - 1;
    return strncmp(tensor, EMR_FILE_PREFIX, n) == 0 ? tensor + n : NULL;
}

emr_status find_task(const emr_bundle *bundle, const char *name, uint32_t *task, emr_error *error)
{
    emr_status status = emr_bundle_find_task(bundle, name, task, error);
    if (status != EMR_ENOTFOUND)
        return status;
    return emr_error_format(error, status, "%F: task '%K' is not in the bundle (emr inspect lists its tasks)",
                            emr_bundle_name(bundle), name);
}
