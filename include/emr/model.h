/* model.h - a model: an ordered set of named tensors that can be read in any range. It is opened from a
 * checkpoint (checkpoint.h) or out of a bundle (bundle.h), or built by the host, tensor by tensor.
 *
 * A model whose tensors are computed as they are read is a model like any other: every call that takes one
 * takes it, and emr_checkpoint_write streams it into a file. Here, the mean of two models (examples/ties.c
 * does more):
 *
 *     static emr_status mean(const emr_computation *c, emr_error *error)
 *     {
 *         const pair *p = c->user; // two float tensors; their mean is BF16
 *         float *a = c->scratch, *b = a + 8192;
 *         emr_status status = emr_tensor_read_floats(p->a, c->first, c->count, a, error);
 *         if (!status)
 *             status = emr_tensor_read_floats(p->b, c->first, c->count, b, error);
 *         for (size_t i = 0; !status && i < c->count; i++)
 *             a[i] = (a[i] + b[i]) / 2;
 *         return status ? status : emr_convert(EMR_DTYPE_BF16, c->out, EMR_DTYPE_F32, a, c->count);
 *     }
 *     ...
 *     emr_model_options options = EMR_INIT(emr_model_options);
 *     options.scratch_bytes = 2 * 8192 * sizeof(float); // 8192: the default of max_count
 *     options.user = pairs;
 *     options.destroy = free;
 *     emr_model_create(&model, &options, &error);
 *     ... emr_model_add(model, &desc, &error), with desc.compute = mean and desc.user = &pairs[i]
 *     emr_checkpoint_write(model, "mean.safetensors", NULL, &error);
 */
#ifndef EMR_MODEL_H
#define EMR_MODEL_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/resources.h"
#include "emr/status.h"
#include "emr/tensor.h"

typedef struct emr_model emr_model;

/* Zero means the default. `scratch` is memory that each reading thread has to itself while it computes: it
 * is zeroed, opened, then used for any number of computations of any of the model's tensors, and closed at
 * last.
 */
typedef struct emr_model_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    const char *name;               /* what messages call it, a path, say; NULL: "model" */
    void *user;                     /* handed to the functions below */
    void (*destroy)(
        void *user); /* called once, when the model is destroyed, after every close; may be NULL */
    size_t scratch_bytes;
    emr_status (*open_scratch)(void *user, void *scratch, emr_error *error); /* may be NULL */
    void (*close_scratch)(void *user, void *scratch);                        /* may be NULL */
    /* Finds out what computing a tensor needs, with threads and memory to spare: called by emr_model_prepare, and by
     * emr_checkpoint_write before it reads the tensor. May be called more than once and by several threads; computing
     * must do without it, if slower. `resources` is never NULL, and its progress, which may be, is that of this tensor. A
     * failure ends the call, a positive status as EMR_EIO. NULL: there is nothing to find out. */
    emr_status (*prepare)(void *user, const emr_tensor *tensor, const emr_resources *resources,
                          emr_error *error);
} emr_model_options;

/* How tensors are called: a name that `from` matches is called what `to` makes of it.
 * - Each with one '*': all of the name; the text that '*' stands for is carried over. "h.*.w" to "layer.*.w".
 * - Each without: the beginning of the name; either may be "". "transformer." to "" takes a prefix away. */
typedef struct emr_rename {
    const char *from;
    const char *to;
} emr_rename;

EMR_BEGIN_DECLS

/* An empty model. NULL options: all defaults. When this fails, `destroy` is not called. */
EMR_API emr_status emr_model_create(emr_model **model, const emr_model_options *options, emr_error *error);
EMR_API void emr_model_destroy(emr_model **model);

/* A model named "zeros" with the float tensors of another one: names, shapes, dtypes and order, and all
 * values +0. It is the base of models that were not fine-tuned from one, such as adapters. It takes memory
 * for names and shapes alone, has no metadata, and does not need `like` afterwards. */
EMR_API emr_status emr_model_create_zeros(emr_model **model, const emr_model *like,
                                          const emr_allocator *allocator, emr_error *error);

/* Appends a tensor. After a failure the model is as before. Tensors got from the model earlier stay valid.
 * - EMR_EEXIST: the name is taken.
 * - EMR_EINVAL: the dtype is unknown, the size does not fit in 63 bits or is not a whole number of bytes, or
 *   there is more than one source of bytes. */
EMR_API emr_status emr_model_add(emr_model *model, const emr_tensor_desc *desc, emr_error *error);

/* Appends a tensor of another model, which must outlive this one: same name, same bytes. */
EMR_API emr_status emr_model_add_tensor(emr_model *model, const emr_tensor *tensor, emr_error *error);

/* The same under another name. */
EMR_API emr_status emr_model_add_tensor_as(emr_model *model, const emr_tensor *tensor, const char *name,
                                           emr_error *error);

/* Finds out, for every tensor, what its computation needs (emr_model_options.prepare), with progress in bytes of the
 * model. Reading does it where this was not called, tensor by tensor, on the reading thread. Concurrent. */
EMR_API emr_status emr_model_prepare(const emr_model *model, const emr_resources *resources,
                                     emr_error *error);

/* A model with the tensors of another one, which must outlive it, under other names: those that the first
 * rule that matches gives them, in the model's own order; others keep theirs, as a GGUF file's header and a
 * folder's files always do (EMR_GGUF_HEADER, EMR_FILE_PREFIX). A task that is merged under such
 * names comes back under its own (emr_merge_add_task), and a base is recognised by its own, so only the
 * merge needs to rename. Metadata are copied; the model's name is the other's.
 * - EMR_EINVAL: a rule with '*' in one of its sides alone, or two in one; a rule that matches no tensor (the
 *   sentence names it).
 * - EMR_EEXIST: two tensors would have one name. */
EMR_API emr_status emr_model_create_renamed(emr_model **renamed, const emr_model *model,
                                            const emr_rename *rules, uint32_t n_rules,
                                            const emr_allocator *allocator, emr_error *error);

EMR_API const char *emr_model_name(const emr_model *model);
EMR_API uint32_t emr_model_n_tensors(const emr_model *model);

/* The i-th tensor in the model's order, or NULL past the end. */
EMR_API const emr_tensor *emr_model_tensor(const emr_model *model, uint32_t i);

/* The tensor of that name, or NULL. */
EMR_API const emr_tensor *emr_model_find_tensor(const emr_model *model, const char *name);

/* Metadata: text by key, safetensors' __metadata__. Setting replaces what was there; removing what is not
 * there is EMR_ENOTFOUND. */
EMR_API emr_status emr_model_set_metadata(emr_model *model, const char *key, const char *value,
                                          emr_error *error);
EMR_API emr_status emr_model_remove_metadata(emr_model *model, const char *key);

/* Sets all entries of another model. */
EMR_API emr_status emr_model_copy_metadata(emr_model *model, const emr_model *from, emr_error *error);

/* The value, or NULL; valid until it is set or removed. */
EMR_API const char *emr_model_find_metadata(const emr_model *model, const char *key);

/* The i-th entry, in the order in which keys were added. EMR_ENOTFOUND past the end. */
EMR_API uint32_t emr_model_n_metadata(const emr_model *model);
EMR_API emr_status emr_model_get_metadata(const emr_model *model, uint32_t i, const char **key,
                                          const char **value);

EMR_END_DECLS

#endif
