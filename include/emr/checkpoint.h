/* checkpoint.h - model files: reading and writing safetensors and GGUF; adapters as the PEFT library saves
 * them.
 */
#ifndef EMR_CHECKPOINT_H
#define EMR_CHECKPOINT_H

#include "emr/executor.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/progress.h"

/* The tensor that a model opened from a GGUF file has besides the file's own: U8, of rank 1, the file's
 * header byte for byte, from its magic to the end of the tensors' descriptions. So the metadata go through
 * merging and applying as any tensor does, and a model that has it can be written as GGUF again. */
#define EMR_GGUF_HEADER "gguf.header"

/* NULL or zero members mean the defaults. */
typedef struct emr_checkpoint_options {
    size_t size;                    /* sizeof(emr_checkpoint_options) */
    const emr_allocator *allocator; /* NULL: malloc and free */
    int map;                        /* opening: offer mapped windows, see emr_file_open */
    int replace;                    /* writing: replace files that exist */
    uint64_t shard_bytes;           /* writing: start a new shard before a file's data grows past this;
                                       0: one file. A tensor is never split. */
    size_t memory_bytes;            /* writing: cap on working memory; 0: 64 MiB */
    const emr_executor *executor;   /* writing: NULL: the calling thread alone */
    emr_progress_fn progress;       /* writing: may be NULL */
    void *progress_user;
    int dequantise; /* opening GGUF: tensors of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 are F32, computed as they are
                       read, and can be merged; else they are bytes, as are those of other block types */
} emr_checkpoint_options;

/* An adapter is a directory with adapter_model.safetensors and adapter_config.json. The text of the latter is
 * carried, byte for byte, in the model's metadata under this key: through a bundle to the task's model. It is
 * a JSON object of at most so many bytes (which rules out zero bytes and text that is not valid UTF-8). */
#define EMR_ADAPTER_CONFIG     "adapter_config.json"
#define EMR_ADAPTER_CONFIG_MAX 1048576

EMR_BEGIN_DECLS

/* Opens a checkpoint: a .safetensors file, a *.safetensors.index.json with its shards, a GGUF file (which
 * ends in .gguf, or begins as one), or a directory that holds one (model.safetensors.index.json or the only
 * *.safetensors.index.json, else model.safetensors, adapter_model.safetensors or the only *.safetensors, else
 * the only *.gguf). A file called adapter_model.safetensors, whichever way it was found, brings the
 * adapter_config.json that lies beside it, if one does: EMR_EFORMAT where that is not what EMR_ADAPTER_CONFIG
 * says. Reads headers only. The files stay open until the model is destroyed; tensors come in the order of
 * their data. Every rule of the format is checked: EMR_EFORMAT with a sentence otherwise. Pickle files (.bin,
 * .pt, .pth, .ckpt) are refused with EMR_EUNSUPPORTED. Headers and indexes are JSON by the letter of RFC
 * 8259, with distinct keys in every object, nested at most 64 deep; members that the format does not know are
 * passed over. A header or an index longer than 100,000,000 bytes is refused. Reading one, or a
 * configuration, takes at most 24 times its length + 64 KiB of memory, whatever stands in it; the model's
 * tensors and metadata are part of that. */
EMR_API emr_status emr_checkpoint_open(emr_model **model, const char *path,
                                       const emr_checkpoint_options *options, emr_error *error);

/* The same for one safetensors file behind the host's own I/O. `name` is what messages call it. */
EMR_API emr_status emr_safetensors_open(emr_model **model, const emr_io *io, const char *name,
                                        const emr_checkpoint_options *options, emr_error *error);

/* One GGUF file, of version 2 or 3 and little-endian. Its tensors come in the order of the file, then
 * EMR_GGUF_HEADER, whose name no tensor of the file may have. GGUF names the dimension that varies fastest
 * first, shapes here have it last. F32, F16, BF16, F64, I8, I16, I32 and I64 are dtypes here too. A tensor of
 * blocks (Q8_0, Q4_K, ...) is U8, and the last dimension is the bytes of a row; see `dequantise`. Every rule
 * of the format is checked: EMR_EFORMAT with a sentence otherwise. Metadata: keys of 1 to 65,535 bytes of
 * UTF-8, each once; values of known types, arrays nested at most 4 deep. general.alignment: a power of two or
 * a multiple of 8, at most 1,048,576; 32 if it is absent. Tensors: names of 1 to 64 bytes of UTF-8, each
 * once; at most 4 dimensions; each one's data begin where the padding of the one before ends, and the file
 * ends in or after the last one's. What the padding holds is not looked at. EMR_EUNSUPPORTED: other versions,
 * big-endian files, a part of a model that was split into several files. A header longer than 100,000,000
 * bytes is refused. Reading one takes at most 24 times its length + 64 KiB of memory, whatever stands in it.
 */
EMR_API emr_status emr_gguf_open(emr_model **model, const emr_io *io, const char *name,
                                 const emr_checkpoint_options *options, emr_error *error);

/* Writes any model (opened, built, or viewed out of a bundle) as safetensors, in the model's order. `path`
 * ends in .safetensors, or in .safetensors.index.json, which stands for the same without ".index.json", or is
 * a directory, in which the name is "model". With shard_bytes set, a directory is made where absent, and
 * where more than one shard is needed NAME-00001-of-0000N.safetensors and NAME.safetensors.index.json are
 * written. Each file appears whole or not at all, the index last. EMR_EEXIST if a file is there and `replace`
 * is 0. A `path` that ends in .gguf is written as emr_gguf_write does; EMR_EUNSUPPORTED with shard_bytes.
 * Of a model that carries an adapter's configuration, a directory gets adapter_model.safetensors, and is made
 * where absent. Beside a file of that name, however it was asked for, adapter_config.json is written: both
 * appear, or, unless one is replaced, neither. EMR_EFORMAT if the configuration is none; EMR_EINVAL if such a
 * file would need shards. All metadata, the configuration too, is also in the files' __metadata__. */
EMR_API emr_status emr_checkpoint_write(const emr_model *model, const char *path,
                                        const emr_checkpoint_options *options, emr_error *error);

/* Whether adapters can be merged: models of which none carries a configuration, or whose configurations
 * agree. EMR_EMISMATCH otherwise, in a sentence with the two models, the key and both values. `names` are
 * what messages call them ("task 'french'"). Fewer than two models agree. EMR_EFORMAT if a configuration is
 * none. All keys must agree but those that have no bearing on what a tensor means: auto_mapping,
 * inference_mode, peft_version, task_type (how the model is wrapped), lora_dropout, module_dropout,
 * rank_dropout (training alone), megatron_core, qalora_group_size, runtime_config (set by default in some
 * versions of PEFT and unknown to others, and without effect on their own). base_model_name_or_path and
 * revision must agree: an adapter means nothing without its model, and nothing else tells of it. A key that
 * is absent, null, false, or an empty list or object is not set: versions of PEFT differ in what they write
 * for that. The order of keys never counts, nor, right at the top, that of lists named exclude_modules,
 * feedforward_modules, layers_pattern, layers_to_transform, modules_to_save, target_modules,
 * target_parameters: they are sets. Numbers are compared by value. Keeps two configurations in memory at a
 * time, at most 50 times their length + 64 KiB. Concurrent. */
EMR_API emr_status emr_adapters_agree(const emr_model *const *models, const char *const *names, size_t n,
                                      const emr_allocator *allocator, emr_error *error);

/* One safetensors file written front to back through the host's I/O (a pipe will do). */
EMR_API emr_status emr_safetensors_write(const emr_model *model, const emr_io *io,
                                         const emr_checkpoint_options *options, emr_error *error);

/* The same as GGUF: the metadata are those of the model's EMR_GGUF_HEADER, byte for byte, the tensors are
 * described anew, in the model's order, and padded with zeros. A U8 tensor becomes what the header calls it,
 * if that is a tensor of blocks with these bytes. Metadata about the tensors' types (general.file_type) stay
 * as they are, even where a type has changed. EMR_EUNSUPPORTED for what GGUF does not have: a model without
 * EMR_GGUF_HEADER, other dtypes and U8 tensors, more than 4 dimensions, names longer than 64 bytes.
 * EMR_EFORMAT if EMR_GGUF_HEADER breaks a rule of the format. Beside memory_bytes, at most 4 times its length
 * is taken for it, and the new header. */
EMR_API emr_status emr_gguf_write(const emr_model *model, const emr_io *io,
                                  const emr_checkpoint_options *options, emr_error *error);

EMR_END_DECLS

#endif
