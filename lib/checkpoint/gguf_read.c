/* gguf_read.c - a GGUF file as a model: its tensors, and its header as one more. */
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/side_files.h"
#include "core/bytes.h"

#include <string.h>

static emr_status add_described(emr_model *m, const emr_tensor_desc *desc, const char *path, emr_error *error)
{
    emr_status status = emr_model_add(m, desc, error);
    if (!status)
        m->tensors[m->n_tensors - 1]->model_name = path;
    else if (status == EMR_EEXIST) /* which one file checks by itself */
        status =
            emr_fail(error, EMR_EFORMAT, "%F: tensor '%T' is in another file of the split GGUF model, too",
                     path, desc->name);
    else if (status == EMR_EINVAL) /* in bytes a shape can be too large that is none in blocks */
        status = EMR_EFORMAT;
    return status;
}

static emr_status add_tensor(emr_model *m, const emr_gguf_info *info, const emr_io *io, uint64_t data,
                             const char *path, bool dequantise, emr_error *error)
{
    uint64_t shape[EMR_GGUF_DIMS];
    bool plain = dequantise && emr_block_bytes(info->type->number);
    bool unpack = dequantise && info->type->unpack;
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = info->name;
    d.dtype = plain || unpack ? EMR_DTYPE_F32 : info->type->dtype;
    d.shape = shape;
    d.rank = info->n_dims;
    emr_gguf_shape(info, info->type->block > 1 && d.dtype != EMR_DTYPE_F32, shape);
    if (unpack) {
        d.compute = emr_gguf_unpack;
        d.granule = info->type->block;
        d.max_count = EMR_GGUF_UNPACKED;
    } else {
        d.io = io;
        d.offset = data + info->offset;
        d.blocks = plain ? info->type->number : EMR_BLOCK_TYPE_NONE;
    }
    emr_status status = emr_side_files_check_name(path, info->name, error);
    if (!status)
        status = add_described(m, &d, path, error);
    if (status)
        return status;
    emr_tensor *t = m->tensors[m->n_tensors - 1];
    if (info->type->block > 1 && !plain)
        t->data = info->type;
    if (unpack) {
        t->user = t; /* it has all that unpacking needs, and lives as long */
        t->io = *io;
        t->offset = data + info->offset;
    }
    return EMR_OK;
}

/* Not held in memory: read from the file when it is asked for. */
static emr_status add_header(emr_model *m, const emr_io *io, uint64_t bytes, const char *path,
                             emr_error *error)
{
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = EMR_GGUF_HEADER;
    d.dtype = EMR_DTYPE_U8;
    d.shape = &bytes;
    d.rank = 1;
    d.io = io;
    return add_described(m, &d, path, error);
}

emr_status emr_gguf_add_tensors(emr_model *m, const emr_gguf_header *h, const emr_io *io, bool dequantise,
                                emr_error *error)
{
    uint64_t data = emr_round_up(h->at, h->alignment);
    size_t all = m->n_tensors + (size_t)h->n_tensors + 1;
    if (!emr_grow(&m->allocator, (void **)&m->tensors, &m->tensors_capacity, all, sizeof *m->tensors) ||
        emr_names_reserve(&m->names, &m->allocator, all))
        return emr_no_memory(error, h->path);
    emr_status status = EMR_OK;
    if (emr_gguf_info_find(h, EMR_GGUF_HEADER))
        status = emr_fail(error, EMR_EUNSUPPORTED,
                          "%F: it has a tensor '" EMR_GGUF_HEADER "', a name that is needed for its header",
                          h->path);
    for (uint64_t i = 0; !status && i < h->n_tensors; i++) {
        emr_gguf_info info = emr_gguf_info_read(h->in_order[i]);
        status = add_tensor(m, &info, io, data, h->path, dequantise, error);
    }
    return status;
}

emr_status emr_gguf_add_file(emr_model *m, const emr_gguf_header *h, const emr_io *io, bool dequantise,
                             emr_error *error)
{
    emr_status status = emr_gguf_add_tensors(m, h, io, dequantise, error);
    return status ? status : add_header(m, io, h->at, h->path, error);
}

emr_status emr_gguf_load(emr_model *m, const emr_io *io, const char *path,
                         const emr_checkpoint_read_options *options, emr_error *error)
{
    emr_gguf_header h;
    emr_status status = emr_gguf_header_read(&h, &m->allocator, io, path, error);
    if (!status && h.split.count > 1)
        status =
            emr_fail(error, EMR_EUNSUPPORTED,
                     "%F: it is number %u of the %u files of a split GGUF model: alone it cannot be read",
                     path, (uint64_t)h.split.no + 1, (uint64_t)h.split.count);
    if (!status)
        status = emr_gguf_add_file(m, &h, io, options->dequantise != 0, error);
    emr_gguf_header_free(&h);
    return status;
}

const char *emr_gguf_blocks(const emr_tensor *t, uint64_t *elements)
{
    const emr_gguf_type *type = t && t->kind == EMR_TENSOR_IO ? t->data : NULL;
    if (type && elements)
        *elements = t->count / type->block_bytes * type->block;
    return type ? type->name : NULL;
}

emr_status emr_gguf_open(emr_model **model, const emr_io *io, const char *name,
                         const emr_checkpoint_read_options *options, emr_error *error)
{
    return emr_checkpoint_open_io(model, io, name, options, emr_gguf_load, "emr_gguf_open", error);
}
