/* directory.c - see directory.h. The files of one model, by their names, are a group: model.safetensors,
 * its index, its shards. Which group is meant is what transformers, diffusers and PEFT would load:
 *
 *     groups in the directory                          the checkpoint
 *     any, beside folders that are parts of a pipeline none: check_pipeline()
 *     one with a loader's own name (usual_models)      that; other files are passed over
 *     one with an index                                that
 *     one of safetensors files                         that
 *     several, each a part of all tensors              none: rank_parts.h
 *     one of GGUF files                                that
 *     several in the first line that holds             none: the sentence names them
 *     none                                             see refuse_empty(), pipelines.h, folder_kinds.h
 *
 *     of the group there are                           what is opened
 *     the whole file, with or without an index         the file: shards that the index names are gone
 *     the whole file and shards                        none: loaders differ, and either may be left over
 *     the index, with or without shards                the index
 *     shards alone                                     they, if they are all there
 */
#include "checkpoint/directory.h"

#include "checkpoint/adapter.h"
#include "checkpoint/folder_kinds.h"
#include "checkpoint/foreign.h"
#include "checkpoint/pipelines.h"
#include "checkpoint/rank_parts.h"
#include "checkpoint/side_names.h"
#include "checkpoint/sort.h"
#include "checkpoint/weights_name.h"
#include "io/source.h"

#include <string.h>

enum { FOLLOWED_MAX = 3 /* a cache, its model, its snapshot */ };

static const char *const usual_models[] = {"model", "diffusion_pytorch_model", EMR_ADAPTER_STEM,
                                           EMR_LORA_STEM};

typedef struct weights_file {
    char *name, *model;
    emr_weights_name parts;
} weights_file;

typedef struct listing {
    const emr_allocator *allocator;
    const emr_source *source;
    weights_file *files; /* pickles come last */
    size_t n, n_pickles, capacity;
    emr_rank_parts parts, pickled_parts;
    bool has_pickle_index;
    const char *pipeline; /* the file that describes one */
    bool no_memory;
} listing;

/* The files of one model, which follow each other. */
typedef struct group {
    const weights_file *first;
    size_t n;
} group;

/* Which line of the first table a group belongs to. */
typedef enum group_class {
    GROUP_USUAL,
    GROUP_INDEXED,
    GROUP_SAFETENSORS,
    GROUP_GGUF,
    GROUP_CLASSES
} group_class;

static void note_entry(void *user, const char *name)
{
    listing *l = user;
    if (strcmp(name, "model_index.json") == 0)
        l->pipeline = "model_index.json";
    else if (strcmp(name, "modules.json") == 0 && !l->pipeline)
        l->pipeline = "modules.json";
    l->has_pickle_index = l->has_pickle_index || emr_is_pickle_index(name);
    if (l->no_memory || emr_weights_name_read(name).form == EMR_WEIGHTS_NONE)
        return;
    weights_file f = {.name = emr_copy_string(l->allocator, name)};
    if (f.name) {
        f.parts = emr_weights_name_read(f.name);
        f.model = emr_weights_model(&f.parts, l->allocator);
    }
    l->no_memory = !f.model || !emr_grow(l->allocator, (void **)&l->files, &l->capacity, l->n + 1, sizeof f);
    if (l->no_memory) {
        emr_release(l->allocator, f.name);
        emr_release(l->allocator, f.model);
        return;
    }
    (void)emr_rank_parts_note(f.parts.form == EMR_WEIGHTS_PICKLE ? &l->pickled_parts : &l->parts, name);
    l->n_pickles += f.parts.form == EMR_WEIGHTS_PICKLE;
    l->files[l->n++] = f;
}

static int by_model(const void *a, const void *b)
{
    const weights_file *x = a, *y = b;
    const emr_weights_name *p = &x->parts, *q = &y->parts;
    bool p_last = p->form == EMR_WEIGHTS_PICKLE, q_last = q->form == EMR_WEIGHTS_PICKLE;
    int order = p_last != q_last     ? p_last - q_last
                : p->gguf != q->gguf ? p->gguf - q->gguf
                                     : strcmp(x->model, y->model);
    if (order)
        return order;
    if (p->form != q->form)
        return p->form < q->form ? -1 : 1;
    if (p->total != q->total)
        return p->total < q->total ? -1 : 1;
    if (p->number != q->number)
        return p->number < q->number ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void free_listing(listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        emr_release(l->allocator, l->files[i].name);
        emr_release(l->allocator, l->files[i].model);
    }
    emr_release(l->allocator, l->files);
}

static emr_status read_listing(listing *l, const emr_source *source, const char *path, const emr_allocator *a,
                               emr_error *error)
{
    emr_error why;
    *l = (listing){.allocator = a, .source = source};
    emr_status status = emr_source_list(source, path, note_entry, l, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: the directory cannot be read", path);
    emr_sort(l->files, l->n, sizeof *l->files, by_model);
    return l->no_memory ? emr_no_memory(error, path) : EMR_OK;
}

/* The group that begins with the i-th file; empty behind the last. */
static group group_at(const listing *l, size_t i)
{
    size_t end = i, n = l->n - l->n_pickles;
    while (end < n && l->files[end].parts.gguf == l->files[i].parts.gguf &&
           strcmp(l->files[end].model, l->files[i].model) == 0)
        end++;
    return end > i ? (group){l->files + i, end - i} : (group){NULL, 0};
}

static group next_group(const listing *l, const group *g)
{
    return group_at(l, (size_t)(g->first - l->files) + g->n);
}

/* The first file of a form; NULL: there is none. */
static const weights_file *find_form(const group *g, emr_weights_form form)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->first[i].parts.form == form)
            return &g->first[i];
    return NULL;
}

static group_class classify_group(const group *g)
{
    if (g->first->parts.gguf)
        return GROUP_GGUF;
    for (size_t i = 0; i < sizeof usual_models / sizeof usual_models[0]; i++)
        if (strcmp(g->first->model, usual_models[i]) == 0)
            return GROUP_USUAL;
    return find_form(g, EMR_WEIGHTS_INDEX) ? GROUP_INDEXED : GROUP_SAFETENSORS;
}

/* The file by which people would name a group. */
static const char *group_name(const group *g)
{
    const weights_file *index = find_form(g, EMR_WEIGHTS_INDEX);
    return g->first->parts.form == EMR_WEIGHTS_SHARD && index ? index->name : g->first->name;
}

/* The one group of the first class that has any; empty where there is none. Half a model is none. */
static emr_status choose_group(group *chosen, const listing *l, const char *path, emr_error *error)
{
    group found[GROUP_CLASSES] = {{NULL, 0}};
    emr_word_list words[GROUP_CLASSES] = {{.n = 0}};
    group_class c = GROUP_USUAL;
    for (group g = group_at(l, 0); g.n; g = next_group(l, &g)) {
        group_class its = classify_group(&g);
        emr_word_list_add(&words[its], group_name(&g));
        found[its] = g;
    }
    while (c < GROUP_GGUF && !found[c].n)
        c++;
    *chosen = found[c];
    if (c == GROUP_SAFETENSORS && emr_rank_parts_are(&l->parts))
        return emr_rank_parts_refuse(path, error);
    return words[c].n > 1
               ? emr_fail(error, EMR_EFORMAT,
                          "%F: several checkpoints lie in this directory: give the path of one: %s", path,
                          emr_word_list_end(&words[c]))
               : EMR_OK;
}

/* Whether all shards are there, once each. */
static emr_status check_complete(const group *shards, const char *path, emr_error *error)
{
    const weights_file *f = shards->first, *last = f + shards->n - 1;
    uint32_t total = f->parts.total, next = 1;
    if (last->parts.total != total)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: '%s' and '%s' are shards of two models, and the index of neither is there", path,
                        f->name, last->name);
    for (; f <= last && f->parts.number <= next; f++, next++)
        if (f->parts.number < next)
            return emr_fail(error, EMR_EFORMAT, "%F: '%s' and '%s' are both shard %u of %u", path, f[-1].name,
                            f->name, (uint64_t)f->parts.number, (uint64_t)total);
    return next > total
               ? EMR_OK
               : emr_fail(error, EMR_EFORMAT,
                          "%F: '%s' lies in this directory, but shard %u of %u is absent%s", path, last->name,
                          (uint64_t)next, (uint64_t)total, last->parts.gguf ? "" : ", and so is their index");
}

static emr_status load_named(emr_model *m, const char *path, const char *name, emr_add_file load,
                             emr_error *error)
{
    char *joined = emr_join_path(&m->allocator, path, name);
    emr_status status = joined ? load(m, joined, error) : emr_no_memory(error, path);
    emr_release(&m->allocator, joined);
    return status;
}

static emr_status load_group(emr_model *m, const group *g, const char *path, emr_add_file load_file,
                             emr_add_file add_shard, emr_error *error)
{
    const weights_file *whole = find_form(g, EMR_WEIGHTS_WHOLE), *index = find_form(g, EMR_WEIGHTS_INDEX),
                       *shard = find_form(g, EMR_WEIGHTS_SHARD);
    if (whole && shard)
        return emr_fail(
            error, EMR_EFORMAT,
            "%F: '%s' and '%s' lie in this directory and may be two models: give the path of the one "
            "that is meant",
            path, whole->name, index ? index->name : shard->name);
    if (whole || index)
        return load_named(m, path, whole ? whole->name : index->name, load_file, error);
    emr_status status = check_complete(g, path, error);
    if (shard->parts.gguf && !status) /* whose first one leads to the others */
        return load_named(m, path, shard->name, load_file, error);
    for (size_t i = 0; !status && i < g->n; i++)
        status = load_named(m, path, shard[i].name, add_shard, error);
    return status;
}

/* Models that belong together are merged one by one: nobody shall believe that one of them is all. */
static emr_status check_pipeline(const listing *l, const char *path, emr_error *error)
{
    emr_word_list words = {.most = 6};
    emr_status status =
        l->pipeline ? emr_folders_find(&words, l->source, path, l->pipeline, l->allocator, error) : EMR_OK;
    if (status || !words.n)
        return status;
    for (group g = group_at(l, 0); g.n; g = next_group(l, &g))
        emr_word_list_add(&words, group_name(&g));
    return emr_fail(error, EMR_EUNSUPPORTED,
                    "%F: '%s' says that these are several models that belong together: merge them one at a "
                    "time, by their paths: %s",
                    path, l->pipeline, emr_word_list_end(&words));
}

/* Whether the first of the pickles is one of several of a model. */
static bool pickled_shards(const listing *l)
{
    return l->n_pickles && emr_begins_with(l->files[l->n - l->n_pickles].name, "pytorch_model-");
}

/* Nothing to read: a pickle is told how to be converted, folders that hold weights are named, other programs'
 * directories are called what they are. */
static emr_status refuse_empty(const listing *l, const char *path, emr_error *error)
{
    emr_word_list words = {.n = 0};
    if (emr_rank_parts_are(&l->pickled_parts))
        return emr_rank_parts_refuse(path, error);
    if (l->has_pickle_index || pickled_shards(l))
        return emr_pickles_refuse(path, error);
    if (l->n_pickles)
        return emr_pickle_refuse(path, l->files[l->n - l->n_pickles].name, error);
    emr_status status = emr_folders_find(&words, l->source, path, NULL, l->allocator, error);
    if (status)
        return status;
    return words.n ? emr_fail(error, EMR_EFORMAT,
                              "%F: no .safetensors file and no .gguf file lies in this directory, but in its "
                              "folders: %s: give the path of one",
                              path, emr_word_list_end(&words))
                   : emr_folder_kinds_refuse(l->source, path, error);
}

/* What lies in the directory itself; *next is another one to look into instead. */
static emr_status load_listed(emr_model *m, const listing *l, const char *path, char **next,
                              emr_add_file load_file, emr_add_file add_shard, emr_error *error)
{
    group g = {NULL, 0};
    emr_status status = check_pipeline(l, path, error);
    if (!status)
        status = choose_group(&g, l, path, error);
    if (status || g.n)
        return status ? status : load_group(m, &g, path, load_file, add_shard, error);
    if (next)
        status = emr_cache_follow(next, path, l->allocator, error);
    return status || (next && *next) ? status : refuse_empty(l, path, error);
}

emr_status emr_directory_load(emr_model *m, const emr_source *source, const char *path,
                              emr_add_file load_file, emr_add_file add_shard, emr_error *error)
{
    char *followed = NULL, *next = NULL;
    for (unsigned n = 0;; n++) {
        const char *here = followed ? followed : path;
        listing l;
        emr_status status = read_listing(&l, source, here, &m->allocator, error);
        if (!status)
            status = load_listed(m, &l, here, n < FOLLOWED_MAX && !source ? &next : NULL, load_file,
                                 add_shard, error);
        free_listing(&l);
        emr_release(&m->allocator, followed);
        if (!next)
            return status;
        followed = next;
        next = NULL;
    }
}
