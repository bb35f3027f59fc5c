/* gguf_header.c - the header of GGUF files, versions 2 and 3: read in growing pieces, because nothing says
 * how long it is, and checked to the last byte, because what it lets through is trusted from here on. */
#include "checkpoint/bytes.h"
#include "checkpoint/gguf_bytes.h"
#include "checkpoint/sort.h"
#include "checkpoint/unchecked.h"
#include "core/bytes.h"

#include <string.h>

enum { KV_MIN = 14 /* bytes of an entry of the metadata, at least */ };

emr_gguf_info emr_gguf_info_read(const uint8_t *p)
{
    emr_gguf_info info = {.n_dims = 0};
    size_t n = (size_t)emr_load64(p);
    memcpy(info.name, p + 8, n);
    p += 8 + n;
    info.n_dims = emr_load32(p);
    for (uint32_t i = 0; i < info.n_dims; i++)
        info.dims[i] = emr_load64(p + 4 + 8 * i);
    p += 4 + 8 * info.n_dims;
    info.type = emr_gguf_type_find(emr_load32(p));
    info.offset = emr_load64(p + 4);
    uint64_t count;
    if (info.type && emr_shape_bytes(EMR_DTYPE_U8, info.n_dims, info.dims, &count, &info.bytes))
        info.bytes = count / info.type->block * info.type->block_bytes;
    return info;
}

size_t emr_gguf_info_bytes(const emr_gguf_info *info)
{
    return 8 + strlen(info->name) + 4 + 8 * info->n_dims + 4 + 8;
}

size_t emr_gguf_info_put(uint8_t *p, const emr_gguf_info *info)
{
    size_t n = strlen(info->name);
    emr_store64(p, n);
    memcpy(p + 8, info->name, n);
    p += 8 + n;
    emr_store32(p, info->n_dims);
    for (uint32_t i = 0; i < info->n_dims; i++)
        emr_store64(p + 4 + 8 * i, info->dims[i]);
    p += 4 + 8 * info->n_dims;
    emr_store32(p, info->type->number);
    emr_store64(p + 4, info->offset);
    return emr_gguf_info_bytes(info);
}

void emr_gguf_shape(const emr_gguf_info *info, bool as_bytes, uint64_t shape[EMR_GGUF_DIMS])
{
    for (uint32_t i = 0; i < info->n_dims; i++)
        shape[info->n_dims - 1 - i] = info->dims[i];
    if (as_bytes && info->n_dims)
        shape[info->n_dims - 1] = info->dims[0] / info->type->block * info->type->block_bytes;
}

/* One tensor's description, whose data must begin at *next, which moves to where the next one's must. */
static emr_status read_info(emr_gguf_header *h, uint64_t number, uint64_t *next, emr_error *error)
{
    uint32_t n_dims = 0, type = 0;
    uint64_t dims[EMR_GGUF_DIMS] = {0}, offset = 0, count, bytes;
    char text[EMR_GGUF_NAME_BYTES + 1];
    size_t name = h->at;
    emr_status status = emr_gguf_skip_name(h, EMR_GGUF_NAME_BYTES, "tensor", number, error);
    if (!status)
        status = emr_gguf_take32(h, &n_dims, error);
    if (!status && n_dims > EMR_GGUF_DIMS)
        status = emr_gguf_bad_at(h, "tensor", name, "it has more than 4 dimensions", error);
    for (uint32_t i = 0; !status && i < n_dims; i++)
        status = emr_gguf_take64(h, &dims[i], error);
    if (!status)
        status = emr_gguf_take32(h, &type, error);
    if (!status)
        status = emr_gguf_take64(h, &offset, error);
    if (status)
        return status;
    const emr_gguf_type *t = emr_gguf_type_find(type);
    if (!t)
        return emr_fail(error, EMR_EFORMAT, "%F: %s: tensor '%T' has the unknown type %u", h->path, h->what,
                        emr_gguf_text(h, name, text), (uint64_t)type);
    if ((n_dims ? dims[0] : 1) % t->block)
        return emr_gguf_bad_at(h, "tensor", name, "its rows are no whole number of blocks", error);
    if (!emr_shape_bytes(EMR_DTYPE_U8, n_dims, dims, &count, &bytes) ||
        !emr_mul(count / t->block, t->block_bytes, &bytes) || bytes > EMR_GGUF_DATA_MAX ||
        *next > EMR_GGUF_DATA_MAX)
        return emr_gguf_bad_at(h, "tensor", name, "its shape is too large", error);
    if (offset != *next)
        return emr_gguf_bad_at(h, "tensor", name,
                               offset % h->alignment ? "its data are not aligned"
                               : offset < *next      ? "its data overlap another's"
                                                     : "there is a hole before its data",
                               error);
    *next = emr_round_up(*next + bytes, h->alignment);
    return EMR_OK;
}

static int by_string(const void *a, const void *b)
{
    const uint8_t *x = *(const uint8_t *const *)a, *y = *(const uint8_t *const *)b;
    uint64_t n = emr_load64(x), k = emr_load64(y);
    int order = memcmp(x + 8, y + 8, (size_t)emr_min(n, k));
    return order ? order : n < k ? -1 : n > k;
}

/* Sorts what begins with a string by it; each may be there once. */
static emr_status sort_distinct(const emr_gguf_header *h, const uint8_t **all, uint64_t n, const char *kind,
                                emr_error *error)
{
    emr_sort(all, (size_t)n, sizeof *all, by_string);
    for (uint64_t i = 1; i < n; i++)
        if (by_string(&all[i - 1], &all[i]) == 0)
            return emr_gguf_bad_at(h, kind, (size_t)(all[i] - h->bytes), "it is there twice", error);
    return EMR_OK;
}

/* The metadata; `keys`, where there is room for them, are noted. */
static emr_status read_entries(emr_gguf_header *h, const uint8_t **keys, emr_error *error)
{
    emr_status status = EMR_OK;
    h->at = EMR_GGUF_START;
    for (uint64_t i = 0; !status && i < h->n_kv; i++) {
        if (keys)
            keys[i] = h->bytes + h->at;
        status = emr_gguf_read_entry(h, i, error);
    }
    h->infos = h->at;
    return status;
}

/* The same of the tensors. */
static emr_status read_infos(emr_gguf_header *h, const uint8_t **infos, emr_error *error)
{
    emr_status status = EMR_OK;
    uint64_t next = 0;
    h->at = h->infos;
    for (uint64_t i = 0; !status && i < h->n_tensors; i++) {
        if (infos)
            infos[i] = h->bytes + h->at;
        status = read_info(h, i, &next, error);
    }
    return status;
}

/* Everything is there, and stays where it is: what is noted now is where it will be. */
static emr_status check_names(emr_gguf_header *h, emr_error *error)
{
    const uint8_t **keys = emr_allocate_array(&h->allocator, (size_t)h->n_kv, sizeof *keys);
    h->in_order = emr_allocate_array(&h->allocator, (size_t)h->n_tensors, sizeof *h->in_order);
    h->by_name = emr_allocate_array(&h->allocator, (size_t)h->n_tensors, sizeof *h->by_name);
    emr_status status =
        keys && h->in_order && h->by_name ? read_entries(h, keys, error) : emr_no_memory(error, h->path);
    if (!status)
        status = sort_distinct(h, keys, h->n_kv, "key", error);
    emr_release(&h->allocator, keys);
    if (!status)
        status = read_infos(h, h->in_order, error);
    if (status)
        return status;
    if (h->n_tensors)
        memcpy(h->by_name, h->in_order, (size_t)h->n_tensors * sizeof *h->by_name);
    return sort_distinct(h, h->by_name, h->n_tensors, "tensor", error);
}

static emr_status read_start(emr_gguf_header *h, emr_error *error)
{
    uint32_t version;
    emr_status status = emr_gguf_need(h, EMR_GGUF_START, error);
    if (status)
        return status;
    if (memcmp(h->bytes, "GGUF", 4) != 0)
        return emr_gguf_bad(h, "it does not begin with 'GGUF'", error);
    version = emr_load32(h->bytes + 4);
    h->n_tensors = emr_load64(h->bytes + 8);
    h->n_kv = emr_load64(h->bytes + 16);
    h->at = EMR_GGUF_START;
    if (version && (version & 0xffff) == 0)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: big-endian GGUF files are not read", h->path);
    if (version != 2 && version != 3)
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "%F: GGUF files of version %u are not read, only those of versions 2 and 3", h->path,
                        (uint64_t)version);
    if (h->n_kv > (h->limit - h->at) / KV_MIN)
        return emr_gguf_bad(h, "it says that it has more metadata than fit in it (truncated?)", error);
    if (h->n_tensors > (h->limit - h->at) / EMR_GGUF_INFO_MIN)
        return emr_gguf_bad(h, "it says that it has more tensors than fit in it (truncated?)", error);
    return EMR_OK;
}

static emr_status read_all(emr_gguf_header *h, emr_error *error)
{
    emr_status status = read_start(h, error);
    h->alignment = EMR_GGUF_ALIGNMENT;
    h->split.n_tensors = -1;
    if (!status)
        status = read_entries(h, NULL, error);
    if (!status)
        status = read_infos(h, NULL, error);
    return status ? status : check_names(h, error);
}

/* The data lie in the file, and nothing follows them but padding, of which the last may be cut off. */
static emr_status check_data(const emr_gguf_header *h, uint64_t file_bytes, emr_error *error)
{
    uint64_t data = emr_round_up(h->at, h->alignment), end = data;
    for (uint64_t i = 0; i < h->n_tensors; i++) {
        emr_gguf_info info = emr_gguf_info_read(h->in_order[i]);
        if (info.bytes && data + info.offset + info.bytes > file_bytes)
            return emr_gguf_bad_at(h, "tensor", (size_t)(h->in_order[i] - h->bytes),
                                   "its data lie beyond the end of the file (truncated?)", error);
        end = emr_round_up(data + info.offset + info.bytes, h->alignment);
    }
    return file_bytes <= end ? EMR_OK : emr_gguf_bad(h, "there are bytes after the last tensor", error);
}

emr_status emr_gguf_header_read(emr_gguf_header *h, const emr_allocator *allocator, const emr_io *io,
                                const char *path, emr_error *error)
{
    uint64_t file_bytes;
    *h = (emr_gguf_header){.allocator = *allocator, .path = path, .what = "not a valid GGUF file", .io = io};
    emr_status status = emr_bytes_length(io, path, &file_bytes, error);
    if (status)
        return status;
    h->limit = emr_min(file_bytes, EMR_GGUF_HEADER_MAX);
    status = read_all(h, error);
    return status ? status : check_data(h, file_bytes, error);
}

emr_status emr_gguf_header_take(emr_gguf_header *h, const emr_allocator *allocator, const emr_tensor *t,
                                const char *path, emr_error *error)
{
    *h = (emr_gguf_header){.allocator = *allocator,
                           .path = path,
                           .what = "its tensor '" EMR_GGUF_HEADER "' is no header of a GGUF file",
                           .limit = t->bytes};
    if (t->dtype != EMR_DTYPE_U8 || t->rank != 1 || t->bytes > EMR_GGUF_HEADER_MAX)
        return emr_gguf_bad(h, "its type or length is another", error);
    h->n = (size_t)t->bytes;
    h->bytes = emr_allocate(allocator, h->n);
    if (!h->bytes)
        return emr_no_memory(error, path);
    emr_status status = emr_read_whole(t, h->bytes, error);
    if (!status)
        status = read_all(h, error);
    return status || h->at == h->n ? status : emr_gguf_bad(h, "there are bytes after its end", error);
}

void emr_gguf_header_free(emr_gguf_header *h)
{
    emr_release(&h->allocator, h->bytes);
    emr_release(&h->allocator, h->in_order);
    emr_release(&h->allocator, h->by_name);
}

const uint8_t *emr_gguf_info_find(const emr_gguf_header *h, const char *name)
{
    size_t length = strlen(name), low = 0, high = (size_t)h->n_tensors;
    uint8_t wanted[8 + EMR_GGUF_NAME_BYTES];
    const uint8_t *key = wanted;
    if (length > EMR_GGUF_NAME_BYTES)
        return NULL;
    emr_store64(wanted, length);
    memcpy(wanted + 8, name, length);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = by_string(&key, &h->by_name[middle]);
        if (order == 0)
            return h->by_name[middle];
        *(order < 0 ? &high : &low) = order < 0 ? middle : middle + 1;
    }
    return NULL;
}

bool emr_gguf_is_it(const emr_io *io)
{
    char first[4];
    uint64_t n;
    emr_error why;
    return emr_io_length(io, &n, &why) == EMR_OK && n >= sizeof first &&
           emr_io_read(io, 0, first, sizeof first, &why) == EMR_OK &&
           memcmp(first, "GGUF", sizeof first) == 0;
}
