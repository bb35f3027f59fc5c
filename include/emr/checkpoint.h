/* checkpoint.h - model files: safetensors and GGUF, and adapters as the PEFT library saves them.
 *
 *     emr_checkpoint_open(&model, "model.safetensors", NULL, &error); // a file, an index or a directory
 *     emr_checkpoint_write(model, "copy.safetensors", NULL, &error);
 */
#ifndef EMR_CHECKPOINT_H
#define EMR_CHECKPOINT_H

#include "emr/adapter.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/resources.h"

/* The tensor that a model opened from a GGUF file has besides the file's own: U8, rank 1, the file's header
 * byte for byte, from its magic to the end of the tensors' descriptions (of a split model: see
 * emr_gguf_open). So metadata pass through merging and applying as any tensor does, and a model that has it
 * can be written as GGUF again. */
#define EMR_GGUF_HEADER "gguf.header"

/* A folder with a model holds more than weights: its configuration, its tokenizer. Opened with `side_files`,
 * a model has each of these files as a tensor of this prefix and the file's name ("file:config.json"): U8,
 * rank 1, the file byte for byte. So they pass through merging and applying as any tensor does, private to
 * each task, and emr_checkpoint_write puts them beside the weights where it writes a folder.
 * - They are files whose names end in .json, .txt, .jinja, .model, .tiktoken, .spm and .codes, directly in
 *   the folder, in additional_chat_templates/ or in folders such as 1_Pooling/ (sentence-transformers').
 *   Names are of printable ASCII. Left out: names that begin with a dot or with README, LICENSE, NOTICE or
 *   requirements; *.index.json, adapter_config.json, which is carried otherwise (see below),
 *   trainer_state.json and *_results.json.
 * - At most EMR_FILE_COUNT_MAX files, each of EMR_FILE_BYTES_MAX bytes, and of EMR_FILES_BYTES_MAX in all:
 *   EMR_ELIMIT.
 * - EMR_EUNSUPPORTED: a folder such as 1_Pooling/ holds weights, which would be lost.
 * - No tensor of a file may have such a name. */
#define EMR_FILE_PREFIX     "file:"
#define EMR_FILE_COUNT_MAX  256
#define EMR_FILE_BYTES_MAX  67108864
#define EMR_FILES_BYTES_MAX 536870912

/* Zero means the default. */
typedef struct emr_checkpoint_read_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    uint32_t map;                   /* non-zero: offer mapped windows, see emr_file_options */
    uint32_t dequantise; /* non-zero: tensors of GGUF's Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, Q8_K,
                            IQ4_NL and IQ4_XS, and the codes in safetensors that role.h calls can_dequantise,
                            are F32, computed as they are read, and can be merged; the codes' side-cars are
                            gone. EMR_EFORMAT: the scales' shape does not fit. Zero: all are as they lie in
                            the file. */
    uint32_t side_files; /* non-zero: the files beside the weights are tensors too, see EMR_FILE_PREFIX. Of
                            a directory; of a file only where its name is one that loaders look for:
                            model.safetensors, adapter_model.safetensors, diffusion_pytorch_model.safetensors
                            or an index. With `dequantise`, config.json loses its quantization_config if no
                            tensor of integers shorter than 64 bits or of 8-bit floats is left. */
    uint32_t reserved;
    const emr_source *source; /* emr_checkpoint_open: whose files the path names. NULL: the file system's */
} emr_checkpoint_read_options;

/* Zero means the default. */
typedef struct emr_checkpoint_write_options {
    size_t size;
    const emr_resources *resources; /* memory_bytes 0: 64 MiB */
    uint64_t shard_bytes; /* start a new shard before a file's data grows past this; a tensor is never split.
                             0: one file */
    uint32_t replace;     /* non-zero: replace files that exist */
    emr_dtype dtype;      /* in a folder: the weights' type that config.json is to name where it names one (as
                             torch_dtype or dtype, also in parts such as text_config). F16, BF16, F32 or F64;
                             0: it stays as it is */
    void (*written)(void *user, const char *path); /* called in the end with each file's path, unless NULL */
    void *user;                                    /* handed to it */
} emr_checkpoint_write_options;

EMR_BEGIN_DECLS

/* Opens a checkpoint and reads its headers. `path` is
 * - a .safetensors file, or a *.safetensors.index.json with its shards;
 * - a GGUF file, which ends in .gguf or begins like one; or one of those into which a GGUF model was split
 *   (NAME-00001-of-00003.gguf), with the others beside it: see emr_gguf_open;
 * - a directory, of which that is opened which transformers, diffusers or PEFT would load:
 *   - first what is called model, diffusion_pytorch_model or adapter_model, then the only one that has an
 *     index, then the only *.safetensors, then the only *.gguf;
 *   - of one name, the whole file (NAME.safetensors), the index, or all shards NAME-00001-of-0000N;
 *   - without any weights, a folder of the hub's cache (models--ORG--NAME) leads to its snapshot.
 *   EMR_EFORMAT where several are left to choose from, a whole file beside shards included, and where shards
 *   are absent: the sentence names them. EMR_EUNSUPPORTED: a pipeline (model_index.json, modules.json), whose
 *   folders hold models of their own.
 * Beside a file named adapter_model.safetensors, adapter_config.json is read too, if it is there: EMR_EFORMAT
 * where that is not what EMR_ADAPTER_CONFIG says. Tensors come in the order of their data.
 *
 * Of a model in many files 8 stay open until it is destroyed, and one more for each thread that reads; with
 * `map`, all. One that is opened again must not have changed: EMR_EIO.
 *
 * Every rule of the formats is checked: EMR_EFORMAT with a sentence otherwise, also for one shard of several,
 * a git-lfs pointer or a web page. EMR_EUNSUPPORTED: files known to be of another kind, such as pickles
 * (.bin, .pt, .pth, .ckpt) and bundles.
 * - JSON is read by the letter of RFC 8259: distinct keys in every object, at most 64 levels. Members that
 *   the format does not know are passed over.
 * - A header or an index has at most 100,000,000 bytes. Reading one takes at most 24 times its length + 64
 *   KiB of memory, whatever it contains, the model's tensors and metadata included. */
EMR_API emr_status emr_checkpoint_open(emr_model **model, const char *path,
                                       const emr_checkpoint_read_options *options, emr_error *error);

/* The same for one safetensors file behind the host's own I/O. `name` is what messages call it. */
EMR_API emr_status emr_safetensors_open(emr_model **model, const emr_io *io, const char *name,
                                        const emr_checkpoint_read_options *options, emr_error *error);

/* The same for one GGUF file: version 2 or 3, little-endian.
 * - Tensors come in the file's order, then EMR_GGUF_HEADER, whose name no tensor of the file may have. GGUF
 *   names the dimension that varies fastest first, shapes here have it last.
 * - F32, F16, BF16, F64, I8, I16, I32 and I64 are dtypes here too. A tensor of blocks (Q8_0, Q4_K, ...) is
 *   U8, its last dimension the bytes of a row; see `dequantise`.
 * - Metadata: keys of 1 to 65,535 bytes of UTF-8, each once; values of known types, arrays at most 4 deep;
 *   general.alignment a power of two or a multiple of 8, at most 1,048,576, and 32 where it is absent.
 * - Tensors: names of 1 to 127 bytes of UTF-8, each once; at most 4 dimensions; data begin where the padding
 *   of the tensor before ends, and the file ends in or after the last one's. Padding is not looked at.
 *   EMR_EUNSUPPORTED: other versions, big-endian files. Limits are those of emr_checkpoint_open.
 * - A split model, as llama-gguf-split makes them: split.no (UINT16, from 0), split.count (UINT16) and
 *   split.tensors.count (INT32, may be absent) of each file are true, no tensor is in two. Metadata are
 *   those of the first file. EMR_GGUF_HEADER is that of the one file that all of them make: without these
 *   three keys, with every tensor's description. Here, one file of several is EMR_EUNSUPPORTED. */
EMR_API emr_status emr_gguf_open(emr_model **model, const emr_io *io, const char *name,
                                 const emr_checkpoint_read_options *options, emr_error *error);

/* The name of the blocks of which a tensor consists that a model has as bytes ("Q4_K"), and how many
 * elements they are, if `elements` is not NULL. NULL for any other tensor: its elements are
 * emr_tensor_count(). */
EMR_API const char *emr_gguf_blocks(const emr_tensor *tensor, uint64_t *elements);

/* Writes any model, in its order. `path` is
 * - a name that ends in .safetensors, or in .safetensors.index.json, which stands for the same without
 *   ".index.json";
 * - a name that ends in .gguf: see emr_gguf_write;
 * - a folder: one that is there, or one to be made: a path that ends in '/', any other with shard_bytes or
 *   of a model that carries an adapter's configuration, and a name without a '.' of a model that has side
 *   files.
 * Where shard_bytes asks for more than one file, NAME-00001-of-0000N.safetensors and
 * NAME.safetensors.index.json are written; of GGUF, NAME-00001-of-0000N.gguf, with metadata in the first,
 * and in each what emr_gguf_open says of a split model (general.alignment too, where it is not 32;
 * EMR_ELIMIT: more than 65,535 files). Each file appears whole or not at all, the index last. EMR_EEXIST if
 * a file is there and `replace` is 0; a NAME.safetensors that is there beside shards counts, and the other
 * way round.
 *
 * In a folder NAME is "model"; "diffusion_pytorch_model" where the model's config.json has a
 * "_diffusers_version". A model with EMR_GGUF_HEADER is written as model.gguf. Beside the weights come the
 * model's side files (EMR_FILE_PREFIX), which all other outputs leave out; all appear, or, unless one is
 * replaced, none. EMR_EFORMAT: one has a name or a length that is not carried (who made the model is not
 * trusted), or config.json is to change and is no JSON.
 * - What transformers, diffusers and PEFT might take for the model's weights there, and is none of the files
 *   written: EMR_EEXIST; with `replace` it is removed in the end.
 * - With `replace`, in a folder that held weights: generation_config.json goes if the model has a
 *   config.json and none of these; likewise the tokenizers' usual files if it has a tokenizer_config.json.
 *
 * A model that carries an adapter's configuration is written to a directory as adapter_model.safetensors;
 * the directory is made where it is absent. Beside a file of that name, however it was asked for,
 * adapter_config.json is written: both appear, or, unless one is replaced, neither. EMR_EFORMAT: the
 * configuration is none; EMR_EINVAL: such a file would need shards. All metadata, the configuration too, are
 * in the files' __metadata__ as well. */
EMR_API emr_status emr_checkpoint_write(const emr_model *model, const char *path,
                                        const emr_checkpoint_write_options *options, emr_error *error);

/* One safetensors file, written front to back through the host's I/O (a pipe will do). */
EMR_API emr_status emr_safetensors_write(const emr_model *model, const emr_io *io,
                                         const emr_checkpoint_write_options *options, emr_error *error);

/* The same as GGUF. Metadata are those of the model's EMR_GGUF_HEADER, byte for byte, but that
 * - split.no, split.count and split.tensors.count are left out;
 * - general.file_type says so where types have changed and all but vectors and integers are now F32 (0), F16
 *   (1) or BF16 (32).
 * Tensors are described afresh, in the model's order, padded with zeros. A U8 tensor becomes what the header
 * calls it, if that is a tensor of blocks with these bytes.
 * - EMR_EUNSUPPORTED: what GGUF does not have: a model without EMR_GGUF_HEADER, other dtypes and U8 tensors,
 *   more than 4 dimensions, names longer than 127 bytes.
 * - EMR_EFORMAT: EMR_GGUF_HEADER breaks a rule of the format. Takes, besides memory_bytes, at most 4 times
 *   the header's length, and the new header. */
EMR_API emr_status emr_gguf_write(const emr_model *model, const emr_io *io,
                                  const emr_checkpoint_write_options *options, emr_error *error);

EMR_END_DECLS

#endif
