/* inspect.c - `emr inspect`: what a file holds. */
#include "cli.h"

#include <string.h>

/* The names of a task's private tensors; those that are files are listed apart, with their sizes. */
static json_t *private_json(const emr_bundle *b, uint32_t task, json_t *files)
{
    json_t *names = json_array();
    emr_private_info p = EMR_INIT(emr_private_info);
    for (uint32_t i = 0; emr_bundle_get_private(b, task, i, &p) == EMR_OK; i++) {
        const char *file = side_file_name(p.name);
        if (file)
            json_array_append_new(files, json_pack("{s:s, s:I}", "name", file, "bytes", (json_int_t)p.bytes));
        else
            json_array_append_new(names, json_string(p.name));
    }
    return names;
}

/* The files of a task, a line each if they are to be printed. Returns how many. */
static uint32_t list_files(const emr_bundle *b, uint32_t task, const char *name, bool print)
{
    emr_private_info p = EMR_INIT(emr_private_info);
    uint32_t n = 0;
    char size[32];
    for (uint32_t i = 0; emr_bundle_get_private(b, task, i, &p) == EMR_OK; i++) {
        const char *file = side_file_name(p.name);
        n += file != NULL;
        if (!file || !print)
            continue;
        print_name(name, 24);
        putchar(' ');
        print_name(file, 40);
        printf(" %s\n", size_text(p.bytes, size));
    }
    return n;
}

static void print_all_files(const emr_bundle *b)
{
    emr_task_info t = EMR_INIT(emr_task_info);
    uint32_t n = 0;
    for (uint32_t i = 0; emr_bundle_get_task(b, i, &t) == EMR_OK; i++)
        n += list_files(b, i, t.name, false);
    if (n)
        printf("\n%-24s %-40s %s\n", "task", "file", "size");
    for (uint32_t i = 0; emr_bundle_get_task(b, i, &t) == EMR_OK; i++)
        list_files(b, i, t.name, true);
}

static emr_status task_json(json_t *tasks, const emr_bundle *b, uint32_t task, emr_error *error)
{
    modulator_facts facts;
    emr_task_info t = EMR_INIT(emr_task_info);
    json_t *rescaler = NULL, *files = json_array();
    emr_status status = describe_task(&facts, b, task);
    if (!status)
        status = rescalers_json(&rescaler, b, task, error);
    emr_bundle_get_task(b, task, &t);
    json_t *row =
        json_pack("{s:s, s:o, s:I, s:I, s:o, s:o}", "name", t.name, "rescaler",
                  rescaler ? rescaler : json_null(), "mask_bytes", (json_int_t)t.mask_bytes, "coded_bytes",
                  (json_int_t)t.coded_bytes, "private_tensors", private_json(b, task, files), "files", files);
    add_facts_json(row, &facts);
    json_array_append_new(tasks, row);
    return status;
}

static emr_status bundle_json(json_t *root, const emr_bundle *b, emr_error *error)
{
    json_t *tasks = json_array(), *tensors = json_array();
    emr_tensor_info x = EMR_INIT(emr_tensor_info);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_status status = emr_bundle_get_info(b, &info);
    json_object_set_new(root, "tasks", tasks);
    json_object_set_new(root, "tensors", tensors);
    for (uint32_t i = 0; !status && i < info.n_tasks; i++)
        status = task_json(tasks, b, i, error);
    for (uint32_t i = 0; emr_bundle_get_tensor(b, i, &x) == EMR_OK; i++) {
        char hash[33];
        snprintf(hash, sizeof hash, "%016llx%016llx", (unsigned long long)x.base_hash[1],
                 (unsigned long long)x.base_hash[0]);
        json_array_append_new(tensors,
                              json_pack("{s:s, s:o, s:s, s:b, s:I, s:s}", "name", x.name, "shape",
                                        shape_json(x.rank, x.shape), "dtype", emr_dtype_name(x.dtype),
                                        "merged", (int)x.merged, "unified_bytes", (json_int_t)x.unified_bytes,
                                        "base_xxh3_128", hash));
    }
    return status;
}

static void print_bundle(const emr_bundle *b, const emr_bundle_info *info, const char *path)
{
    emr_task_info t = EMR_INIT(emr_task_info);
    emr_tensor_info x = EMR_INIT(emr_tensor_info);
    char size[32], shape[256];
    printf("%s: EMR bundle %u.%u, %s\n", path, info->version_major, info->version_minor,
           size_text(info->bytes, size));
    printf("%llu merged parameters in %u tensors; ", (unsigned long long)info->merged_params, info->n_merged);
    if (info->n_elected)
        printf("a unified vector of %u %s, tie %s, %s\n", info->n_elected,
               info->n_elected == 1 ? "task" : "tasks", tie_name(info->tie),
               emr_dtype_name(info->unified_dtype));
    else
        puts("no unified vector");
    printf("the base is %s; tasks with masks can%s be added, others always can\n\n",
           info->has_base ? "embedded" : "not embedded", info->extendable ? "" : "not");
    printf("%-24s ", "task");
    print_facts_head();
    printf(" %15s %12s %8s\n", "rescaler", "bytes", "private");
    for (uint32_t i = 0; emr_bundle_get_task(b, i, &t) == EMR_OK; i++) {
        modulator_facts facts;
        char rescaler[32];
        describe_task(&facts, b, i);
        print_name(t.name, 24);
        putchar(' ');
        print_facts(&facts);
        printf(" %15s %12llu %8u\n", rescaler_text(b, i, rescaler), (unsigned long long)t.coded_bytes,
               t.n_private - list_files(b, i, t.name, false));
    }
    printf("\n%-48s %-8s %-20s %s\n", "tensor", "dtype", "shape", "unified bytes");
    for (uint32_t i = 0; emr_bundle_get_tensor(b, i, &x) == EMR_OK; i++) {
        print_name(x.name, 48);
        printf(" %-8s %-20s ", emr_dtype_name(x.dtype), shape_text(x.rank, x.shape, shape));
        if (x.merged)
            printf("%llu\n", (unsigned long long)x.unified_bytes);
        else
            puts("kept from the base");
    }
    print_all_files(b);
}

static int inspect_bundle(const arguments *a, const emr_bundle *b)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_error error = {.text = ""};
    emr_bundle_get_info(b, &info);
    if (!a->json) {
        print_bundle(b, &info, a->files[0]);
        return EXIT_DONE;
    }
    bool shares = info.n_elected != 0;
    json_t *root = json_pack(
        "{s:[i, i], s:s?, s:s?, s:s?, s:s?, s:b, s:b, s:I, s:I}", "format_version", (int)info.version_major,
        (int)info.version_minor, "rule", shares ? rule_name(info.rescale) : NULL, "per",
        shares ? per_name(info.rescale_per) : NULL, "tie", shares ? tie_name(info.tie) : NULL,
        "unified_dtype", shares ? emr_dtype_name(info.unified_dtype) : NULL, "base_embedded",
        (int)info.has_base, "extendable", (int)info.extendable, "merged_params",
        (json_int_t)info.merged_params, "bytes", (json_int_t)info.bytes);
    emr_status status = bundle_json(root, b, &error);
    if (!status)
        return print_json(root);
    json_decref(root);
    return complain_status(status, &error);
}

static int inspect_checkpoint(const arguments *a, const emr_model *m)
{
    uint64_t params = 0, bytes = 0;
    char size[32], shape[256];
    json_t *tensors = json_array(), *metadata = json_object();
    const char *key, *value;
    for (uint32_t i = 0; i < emr_model_n_tensors(m); i++) {
        const emr_tensor *t = emr_model_tensor(m, i);
        uint64_t elements = emr_tensor_count(t);
        const char *blocks = emr_gguf_blocks(t, &elements);
        params += strcmp(emr_tensor_name(t), EMR_GGUF_HEADER) == 0 ? 0 : elements;
        bytes += emr_tensor_bytes(t);
        if (!a->json) {
            print_name(emr_tensor_name(t), 48);
            printf(" %-8s %s", blocks ? blocks : emr_dtype_name(emr_tensor_dtype(t)),
                   shape_text(emr_tensor_rank(t), emr_tensor_shape(t), shape));
            print_role(t);
            putchar('\n');
        }
        json_t *row =
            json_pack("{s:s, s:o, s:s, s:I}", "name", emr_tensor_name(t), "shape",
                      shape_json(emr_tensor_rank(t), emr_tensor_shape(t)), "dtype",
                      emr_dtype_name(emr_tensor_dtype(t)), "bytes", (json_int_t)emr_tensor_bytes(t));
        if (blocks)
            json_object_set_new(row, "blocks", json_string(blocks));
        add_role(row, t);
        json_array_append_new(tensors, row);
    }
    for (uint32_t i = 0; emr_model_get_metadata(m, i, &key, &value) == EMR_OK; i++)
        json_object_set_new(metadata, key, json_string(value));
    json_t *root = json_pack("{s:o, s:o, s:I, s:I}", "tensors", tensors, "metadata", metadata, "params",
                             (json_int_t)params, "bytes", (json_int_t)bytes);
    if (a->json)
        return print_json(root);
    printf("%s: %u tensors, %llu parameters, %s\n", a->files[0], emr_model_n_tensors(m),
           (unsigned long long)params, size_text(bytes, size));
    json_decref(root);
    return EXIT_DONE;
}

bool looks_like_bundle(const char *path)
{
    char first[4] = {0};
    emr_file *file;
    emr_error error;
    if (emr_file_open(&file, path, NULL, NULL)) /* a directory, say; who opens it next says what is wrong */
        return false;
    const emr_io *io = emr_file_io(file);
    bool alike = io->read(io->user, 0, first, sizeof first, &error) == EMR_OK &&
                 memcmp(first, "\211EMR", sizeof first) == 0;
    emr_file_close(&file);
    return alike;
}

int command_inspect(const arguments *a)
{
    emr_bundle *bundle = NULL;
    emr_model *model = NULL;
    emr_error error = {.text = ""};
    emr_status status;
    int exit_status = check_one_file(a, "FILE");
    if (exit_status)
        return exit_status;
    if (looks_like_bundle(a->files[0])) {
        status = emr_bundle_open_file(&bundle, a->files[0], NULL, &error);
        exit_status = status ? complain_status(status, &error) : inspect_bundle(a, bundle);
    } else {
        status = open_checkpoint(&model, a->files[0], a, &error);
        exit_status = status ? complain_status(status, &error) : inspect_checkpoint(a, model);
    }
    emr_bundle_destroy(&bundle);
    emr_model_destroy(&model);
    return exit_status;
}
