/* side_files.c - see side_files.h. A file is open only while it is read: a model of many tasks has many of them,
 * and a process few descriptors. */
#include "checkpoint/side_files.h"

#include "checkpoint/bytes.h"
#include "checkpoint/config_text.h"
#include "checkpoint/side_names.h"
#include "checkpoint/sort.h"
#include "io/source.h"

#include <string.h>

struct emr_side_file {
    emr_side_file *next;
    const emr_source *source;
    emr_allocator allocator;
    char *path, *text; /* text: what it holds instead of the file's bytes, or NULL */
    uint64_t bytes, stamp;
};

/* The names that fit, while a folder is looked through. */
typedef struct side_listing {
    const emr_allocator *allocator;
    const emr_source *source;
    const char *inside; /* the folder in the folder that is listed now, with its '/'; "" */
    char **names;
    size_t n, capacity;
    char *folders[16]; /* in the folder; of more than so many the rest is not looked into */
    size_t n_folders;
    char *weights; /* a file in one of these that is no side file, but belongs to the model; or NULL */
    bool no_memory;
} side_listing;

/* A module of sentence-transformers may have weights of its own: 2_Dense/model.safetensors. */
static bool is_module_weights(const side_listing *l, const char *name)
{
    return *l->inside && !l->weights && (emr_ends_with(name, ".safetensors") || emr_ends_with(name, ".bin"));
}

static void note_side_name(void *user, const char *name)
{
    side_listing *l = user;
    if (l->n > EMR_FILE_COUNT_MAX || l->no_memory)
        return;
    char *whole = emr_join_strings(l->allocator, l->inside, strlen(l->inside), name);
    bool is_folder = whole && !*l->inside && emr_is_side_folder(name) &&
                     l->n_folders < sizeof l->folders / sizeof l->folders[0];
    if (is_folder) {
        l->folders[l->n_folders++] = whole;
    } else if (whole && is_module_weights(l, name)) {
        l->weights = whole;
    } else if (whole && emr_is_side_name(whole) &&
               emr_grow(l->allocator, (void **)&l->names, &l->capacity, l->n + 1, sizeof *l->names)) {
        l->names[l->n++] = whole;
    } else {
        l->no_memory = !whole || emr_is_side_name(whole);
        emr_release(l->allocator, whole);
    }
}

static void free_side_listing(side_listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        emr_release(l->allocator, l->names[i]);
    for (size_t i = 0; i < l->n_folders; i++)
        emr_release(l->allocator, l->folders[i]);
    emr_release(l->allocator, l->names);
    emr_release(l->allocator, l->weights);
}

static emr_status list_side_folder(side_listing *l, const char *directory, emr_error *error)
{
    emr_error why;
    emr_status status = emr_source_list(l->source, *directory ? directory : ".", note_side_name, l, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: the directory cannot be read", directory);
    return l->no_memory ? emr_no_memory(error, directory) : EMR_OK;
}

/* The names in the folder, and in those in it that belong to the model. `directory` ends in a '/' or is empty. */
static emr_status list_side_files(side_listing *l, const char *directory, emr_error *error)
{
    emr_status status = list_side_folder(l, directory, error);
    for (size_t i = 0; !status && i < l->n_folders; i++) {
        char *path = emr_join_strings(l->allocator, directory, strlen(directory), l->folders[i]);
        char *inside = emr_join_strings(l->allocator, l->folders[i], strlen(l->folders[i]), "/");
        l->inside = inside;
        if (!path || !inside)
            status = emr_no_memory(error, directory);
        else if (emr_source_kind_of(l->source, path) == EMR_PATH_DIRECTORY)
            status = list_side_folder(l, path, error);
        emr_release(l->allocator, path);
        emr_release(l->allocator, inside);
    }
    if (!status && l->weights)
        status = emr_fail(
            error, EMR_EUNSUPPORTED,
            "%F: '%s' are weights of the model that are not read with those beside it: merge that file "
            "by itself, and the folder with --no-side-files",
            directory, l->weights);
    if (!status && l->n > EMR_FILE_COUNT_MAX)
        status = emr_fail(error, EMR_ELIMIT,
                          "%F: more than %u files beside the weights would go along with them "
                          "(--no-side-files leaves them out)",
                          directory, (uint64_t)EMR_FILE_COUNT_MAX);
    return status;
}

static emr_status open_side_file(emr_source_file *file, const emr_side_file *f, uint64_t *stamp,
                                 emr_error *error)
{
    const emr_file_options options = {.size = sizeof options, .allocator = &f->allocator};
    return emr_source_open(file, f->source, f->path, &options, stamp, error);
}

static emr_status read_side_file(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const emr_side_file *f = user;
    emr_source_file file;
    uint64_t stamp;
    emr_status status = open_side_file(&file, f, &stamp, error);
    if (status)
        return status;
    if (stamp != f->stamp)
        status = emr_fail(error, EMR_EIO, "%F: it has changed since it was first looked at", f->path);
    else
        status = emr_io_read(emr_source_io(&file), offset, destination, n, error);
    emr_source_close(&file);
    return status;
}

static emr_status side_file_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)error;
    *bytes = ((const emr_side_file *)user)->bytes;
    return EMR_OK;
}

static emr_status look_at_file(emr_side_file *f, emr_error *error)
{
    emr_error why;
    emr_source_file file;
    emr_status status = open_side_file(&file, f, &f->stamp, &why);
    if (!status) {
        status = emr_io_length(emr_source_io(&file), &f->bytes, &why);
        emr_source_close(&file);
    }
    if (status)
        return emr_fail_because(error, status, &why,
                                "%F: a file beside the weights (--no-side-files leaves such files out)",
                                f->path);
    if (f->bytes > EMR_FILE_BYTES_MAX)
        return emr_fail(error, EMR_ELIMIT,
                        "%F: has %u bytes, and files that go along with the weights at most %u "
                        "(--no-side-files leaves them out)",
                        f->path, f->bytes, (uint64_t)EMR_FILE_BYTES_MAX);
    return EMR_OK;
}

/* Whether weights are left that are codes of something else, as quantised ones are. */
static bool has_codes(const emr_model *m)
{
    static const emr_dtype plain[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64,
                                      EMR_DTYPE_I64, EMR_DTYPE_U64, EMR_DTYPE_BOOL};
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        bool is_plain = emr_is_side_file(m->tensors[i]);
        for (size_t k = 0; k < sizeof plain / sizeof plain[0]; k++)
            is_plain = is_plain || m->tensors[i]->dtype == plain[k];
        if (!is_plain)
            return true;
    }
    return false;
}

/* Weights that were made floats are not quantised any more, and config.json must not say so. */
static emr_status drop_quantization(emr_side_file *f, emr_model *m, emr_error *error)
{
    const emr_config_change change = {.drop_quantization = true};
    emr_config config;
    emr_text text;
    if (f->bytes > EMR_CONFIG_MAX)
        return EMR_OK;
    emr_status status = emr_read_text(&text, f->source, &m->allocator, f->path, EMR_CONFIG_MAX, error);
    if (!status)
        status = emr_config_look(&config, &m->allocator, text.bytes, text.n, &change, f->path, error);
    emr_release(&m->allocator, text.bytes);
    if (!status && config.text) {
        f->text = config.text;
        f->bytes = config.n;
    }
    return status;
}

static emr_status add_side_tensor(emr_model *m, emr_side_file *f, const char *name, emr_error *error)
{
    const emr_io io = {.size = sizeof io, .user = f, .read = read_side_file, .length = side_file_length};
    char *tensor = emr_join_strings(&m->allocator, EMR_FILE_PREFIX, sizeof EMR_FILE_PREFIX - 1, name);
    if (!tensor)
        return emr_no_memory(error, f->path);
    emr_tensor_desc d = {
        .size = sizeof d, .name = tensor, .dtype = EMR_DTYPE_U8, .rank = 1, .shape = &f->bytes};
    if (f->text)
        d.data = f->text;
    else
        d.io = &io;
    emr_status status = emr_model_add(m, &d, error);
    if (!status)
        m->tensors[m->n_tensors - 1]->model_name = f->path;
    emr_release(&m->allocator, tensor);
    return status;
}

/* A new file of the list, which is to become a tensor. What is no file is passed over. */
static emr_status add_side_file(emr_side_file **list, emr_model *m, const char *directory, const char *name,
                                const emr_checkpoint_read_options *options, emr_error *error)
{
    emr_side_file *f = emr_allocate_array(&m->allocator, 1, sizeof *f);
    if (!f)
        return emr_no_memory(error, directory);
    f->next = *list;
    f->source = options->source;
    f->allocator = m->allocator;
    *list = f;
    f->path = emr_join_strings(&m->allocator, directory, strlen(directory), name);
    if (!f->path)
        return emr_no_memory(error, directory);
    if (emr_source_kind_of(f->source, f->path) != EMR_PATH_FILE)
        return EMR_OK;
    emr_status status = look_at_file(f, error);
    if (!status && options->dequantise && strcmp(name, EMR_CONFIG_NAME) == 0 && !has_codes(m))
        status = drop_quantization(f, m, error);
    if (status)
        return status;
    m->stamp = m->stamp * 31 + f->stamp;
    return add_side_tensor(m, f, name, error);
}

static int by_side_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static emr_status add_side_files(emr_side_file **list, emr_model *m, const char *directory,
                                 const emr_checkpoint_read_options *options, emr_error *error)
{
    side_listing l = {.allocator = &m->allocator, .source = options->source, .inside = ""};
    uint64_t total = 0;
    emr_status status = list_side_files(&l, directory, error);
    if (!status)
        emr_sort(l.names, l.n, sizeof *l.names, by_side_name);
    for (size_t i = 0; !status && i < l.n; i++) {
        status = add_side_file(list, m, directory, l.names[i], options, error);
        total += status ? 0 : (*list)->bytes;
        if (!status && total > EMR_FILES_BYTES_MAX)
            status = emr_fail(error, EMR_ELIMIT,
                              "%F: the files that would go along with the weights have more than %u bytes "
                              "(--no-side-files leaves them out)",
                              directory, (uint64_t)EMR_FILES_BYTES_MAX);
    }
    free_side_listing(&l);
    return status;
}

/* By these names loaders find weights in a folder: who names one means what the folder holds. */
static bool is_loaders_name(const char *name)
{
    static const char *const names[] = {"model.safetensors", "adapter_model.safetensors",
                                        "diffusion_pytorch_model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return emr_ends_with(name, ".safetensors.index.json");
}

emr_status emr_side_files_load(emr_side_file **list, emr_model *m, const char *weights, bool found,
                               const emr_checkpoint_read_options *options, emr_error *error)
{
    const char *name = emr_system_file_name(weights);
    *list = NULL;
    if (!options->side_files || (!found && !is_loaders_name(name)))
        return EMR_OK;
    char *directory = emr_join_strings(&m->allocator, weights, (size_t)(name - weights), "");
    emr_status status =
        directory ? add_side_files(list, m, directory, options, error) : emr_no_memory(error, weights);
    emr_release(&m->allocator, directory);
    return status;
}

void emr_side_files_free(emr_side_file *list, const emr_allocator *allocator)
{
    while (list) {
        emr_side_file *f = list;
        list = f->next;
        emr_release(allocator, f->path);
        emr_release(allocator, f->text);
        emr_release(allocator, f);
    }
}

emr_status emr_side_files_check_name(const char *path, const char *tensor, emr_error *error)
{
    return emr_begins_with(tensor, EMR_FILE_PREFIX)
               ? emr_fail(error, EMR_EFORMAT,
                          "%F: tensor '%T': names that begin with '" EMR_FILE_PREFIX
                          "' are those of files beside the weights",
                          path, tensor)
               : EMR_OK;
}

const char *emr_side_file_name(const emr_tensor *t)
{
    return t->name + sizeof EMR_FILE_PREFIX - 1;
}

emr_status emr_side_files_check(const emr_model *m, emr_error *error)
{
    uint64_t n = 0, total = 0;
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        if (!emr_is_side_file(t))
            continue;
        if (!emr_is_side_name(emr_side_file_name(t)))
            return emr_fail(error, EMR_EFORMAT,
                            "%F: tensor '%T': no name of a file that may be written beside weights", m->name,
                            t->name);
        if (t->bytes > EMR_FILE_BYTES_MAX || (total += t->bytes) > EMR_FILES_BYTES_MAX ||
            ++n > EMR_FILE_COUNT_MAX)
            return emr_fail(error, EMR_EFORMAT,
                            "%F: tensor '%T': more, or larger, files than are written beside weights",
                            m->name, t->name);
    }
    return EMR_OK;
}
