/* foreign.c - see foreign.h. Asked only once a file is known to be no checkpoint: a header's length can
 * look like anything. */
#include "checkpoint/foreign.h"

#include "core/bytes.h"
#include "core/error.h"
#include "core/text.h"
#include "system/system.h"

#include <string.h>

enum { LOOKED_AT = 512 /* bytes from the first on */, SHOWN = 40 };

static const char lfs_pointer[] = "version https://git-lfs.github.com/spec/";

static const char
    unpack[] = "a compressed file or an archive: unpack it first",
    keras[] = "an HDF5 file, as Keras and TensorFlow write, which is not read: convert it to safetensors",
    numpy[] = "an array of NumPy, which is not read: convert it to safetensors",
    lite[] = "a TensorFlow Lite model, which is not read: give the safetensors file that it was made from",
    onnx[] = "an ONNX model, which is not read: give the safetensors file that it was made from",
    old_ggml[] = "a GGML file older than GGUF, which is not read: convert it with llama.cpp";

typedef struct sign {
    const char *bytes;
    uint32_t n, at;
    const char *what;
} sign;

static const sign signs[] = {
    {"\211EMR\r\n\032\n", 8, 0,
     "an emr bundle and no checkpoint: write a task's model from it first (emr apply)"},
    {"\x89HDF\r\n\x1a\n", 8, 0, keras},
    {"\x93NUMPY", 6, 0, numpy},
    {"\x1f\x8b\x08", 3, 0, unpack},
    {"BZh", 3, 0, unpack},
    {"\3757zXZ", 6, 0, unpack},
    {"\x28\xb5\x2f\xfd", 4, 0, unpack},
    {"7z\xbc\xaf\x27\x1c", 6, 0, unpack},
    {"Rar!", 4, 0, unpack},
    {"ustar", 5, 257, unpack},
    {"TFL3", 4, 4, lite},
    {"lmgg", 4, 0, old_ggml},
    {"fmgg", 4, 0, old_ggml},
    {"tjgg", 4, 0, old_ggml},
    {"algg", 4, 0, old_ggml},
};

/* A file's first bytes, and zeros behind its end. */
typedef struct beginning {
    uint64_t file_bytes;
    size_t n;
    uint8_t bytes[LOOKED_AT];
} beginning;

static bool begins_with(const beginning *b, const char *text)
{
    size_t n = strlen(text);
    return b->n >= n && memcmp(b->bytes, text, n) == 0;
}

bool emr_is_lfs_pointer(const char *text, size_t n)
{
    return n >= strlen(lfs_pointer) && memcmp(text, lfs_pointer, strlen(lfs_pointer)) == 0;
}

emr_status emr_lfs_refuse(const char *path, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT,
                    "%F: a git-lfs pointer and not the file itself: fetch that (git lfs pull)", path);
}

/* torch.load reads old and new pickles; clones let go of memory that tied tensors share, which safetensors
 * refuses; loaders ask for the metadata; and in the same folder an adapter finds its configuration. */
emr_status emr_pickle_refuse(const char *directory, const char *name, emr_error *error)
{
    const char *file = emr_system_file_name(name), *dot = strrchr(file, '.');
    char stem[100] = "model";
    size_t n = dot ? (size_t)(dot - file) : strlen(file),
           skipped = strncmp(file, "pytorch_model", 13) == 0 ? 8 : 0;
    if (n && n - skipped < sizeof stem) {
        memcpy(stem, file + skipped, n - skipped);
        stem[n - skipped] = '\0';
    }
    return emr_fail(
        error, EMR_EUNSUPPORTED,
        "%F%s%s: a pickle, which can run code when it is loaded, is not read: convert it in Python, there: "
        "import torch, safetensors.torch as s; d = torch.load('%s', 'cpu', weights_only=True); "
        "s.save_file({k: v.contiguous().clone() for k, v in d.items()}, '%s.safetensors', "
        "{'format': 'pt'})",
        directory ? directory : name, directory ? "/" : "", directory ? name : "", file, stem);
}

bool emr_is_pickle_index(const char *name)
{
    return strncmp(name, "pytorch_model.bin.index.", 24) == 0;
}

/* Shards of the right names need no index. */
emr_status emr_pickles_refuse(const char *path, emr_error *error)
{
    return emr_fail(
        error, EMR_EUNSUPPORTED,
        "%F: pickles, which can run code when they are loaded, are not read: convert them in Python, there: "
        "import glob, torch, safetensors.torch as s; [s.save_file({k: v.contiguous().clone() for k, v in "
        "torch.load(f, 'cpu', weights_only=True).items()}, f[8:-3] + 'safetensors', {'format': 'pt'}) for f "
        "in glob.glob('pytorch_model-*.bin')]",
        path);
}

/* A pickle is bare, or in a zip archive; NumPy's archives are another matter. */
static bool is_pickle(const beginning *b)
{
    return begins_with(b, "PK\3\4") ||
           (b->n >= 2 && b->bytes[0] == 0x80 && b->bytes[1] >= 2 && b->bytes[1] <= 5);
}

/* Whether the first file in a zip archive is an array. */
static bool is_array_archive(const beginning *b)
{
    size_t n = emr_load16(b->bytes + 26);
    return begins_with(b, "PK\3\4") && n >= 4 && 30 + n <= b->n &&
           memcmp(b->bytes + 30 + n - 4, ".npy", 4) == 0;
}

/* Protocol buffers have no magic: an ONNX model begins with its version and, as a rule, its writer's name. */
static bool is_onnx(const beginning *b)
{
    const uint8_t *p = b->bytes;
    if (b->n < 6 || p[0] != 0x08 || p[1] < 1 || p[1] > 32 || p[2] != 0x12 || p[3] < 2 || p[3] > 64 ||
        4u + p[3] > b->n)
        return false;
    for (size_t i = 0; i < p[3]; i++)
        if (p[4 + i] < 0x20 || p[4 + i] > 0x7e)
            return false;
    return true;
}

/* Less what may be the first part of a character that was cut off; 0 where that is not all. */
static size_t whole_characters(const void *text, size_t n)
{
    for (size_t cut = 0; cut < 4 && cut < n; cut++)
        if (emr_is_utf8(text, n - cut))
            return n - cut;
    return 0;
}

static bool looks_like_text(const beginning *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->bytes[i] < 0x20 && b->bytes[i] != '\n' && b->bytes[i] != '\r' && b->bytes[i] != '\t')
            return false;
    size_t n = whole_characters(b->bytes, b->n);
    return b->n == LOOKED_AT ? n > 0 : n == b->n;
}

static bool has_only_zeros(const beginning *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->bytes[i])
            return false;
    return true;
}

/* A web page, an error in JSON or in words: what a server sent in place of the file. */
static emr_status refuse_text(const beginning *b, const char *path, emr_error *error)
{
    char line[SHOWN + 1];
    size_t n = 0, from = 0;
    while (from < b->n && strchr(" \t\r\n", b->bytes[from]))
        from++;
    while (n < SHOWN && from + n < b->n && b->bytes[from + n] != '\n' && b->bytes[from + n] != '\r') {
        line[n] = (char)b->bytes[from + n];
        n++;
    }
    line[whole_characters(line, n)] = '\0';
    return emr_fail(error, EMR_EFORMAT, "%F: %s and no weights, it begins '%s': download the file again",
                    path,
                    *line == '<'                   ? "a web page (HTML)"
                    : *line == '{' || *line == '[' ? "a text (JSON)"
                                                   : "a text",
                    line);
}

static bool has_sign(const beginning *b, const sign *s)
{
    return s->at + s->n <= b->n && memcmp(b->bytes + s->at, s->bytes, s->n) == 0;
}

/* EMR_OK where nothing is known about it. */
static emr_status explain_beginning(const beginning *b, const char *path, emr_error *error)
{
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (has_sign(b, &signs[i]))
            return emr_fail(error, EMR_EUNSUPPORTED, "%F: %s", path, signs[i].what);
    if (b->file_bytes == 0)
        return emr_fail(error, EMR_EFORMAT, "%F: the file is empty (an unfinished download?)", path);
    if (emr_is_lfs_pointer((const char *)b->bytes, b->n))
        return emr_lfs_refuse(path, error);
    if (is_array_archive(b))
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: %s", path, numpy);
    if (is_pickle(b))
        return emr_pickle_refuse(NULL, path, error);
    if (is_onnx(b))
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: %s", path, onnx);
    if (b->n == LOOKED_AT && has_only_zeros(b))
        return emr_fail(error, EMR_EFORMAT, "%F: the file begins with zeros (an unfinished download?)", path);
    return b->n > 1 && looks_like_text(b) ? refuse_text(b, path, error) : EMR_OK;
}

/* Damaged, but of a kind that is read. */
static bool is_known_kind(const beginning *b)
{
    return begins_with(b, "GGUF") || (b->n > 8 && b->bytes[8] == '{' && emr_load64(b->bytes) < 1 << 30);
}

emr_status emr_foreign_explain(const emr_io *io, const char *path, emr_status status, emr_error *error)
{
    emr_error ignored;
    beginning b;
    memset(&b, 0, sizeof b);
    if ((status != EMR_EFORMAT && status != EMR_EUNSUPPORTED) || emr_io_length(io, &b.file_bytes, &ignored))
        return status;
    b.n = b.file_bytes < LOOKED_AT ? (size_t)b.file_bytes : LOOKED_AT;
    if ((b.n && emr_io_read(io, 0, b.bytes, b.n, &ignored)) || is_known_kind(&b))
        return status;
    emr_status explained = explain_beginning(&b, path, error);
    return explained ? explained : status;
}
