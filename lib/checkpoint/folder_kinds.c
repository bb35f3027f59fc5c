/* folder_kinds.c - see folder_kinds.h. Directories of other programs are known by the names in them. */
#include "checkpoint/folder_kinds.h"

#include "checkpoint/word_list.h"
#include "core/error.h"
#include "io/source.h"

#include <stdbool.h>
#include <string.h>

enum { NAMED = 3, NAME_SHOWN = 64 };

static const char
    distributed[] = "a distributed checkpoint of PyTorch, which is not read: join it first (python -m "
                    "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER joined.pt; accelerate "
                    "merge-weights writes safetensors)",
    deepspeed[] = "a checkpoint of DeepSpeed, a part on each rank, which is not read: join it first (python "
                  "zero_to_fp32.py --safe_serialization FOLDER OUT, FOLDER being that in which "
                  "zero_to_fp32.py lies)",
    megatron[] =
        "a checkpoint of Megatron, a part on each rank, which is not read: convert it to the Hugging "
        "Face format first",
    flax[] = "weights of Flax, which are not read: convert them to safetensors first",
    tensorflow[] = "a model of TensorFlow or Keras, which is not read: convert it to safetensors first",
    onnx[] = "an ONNX model, which is not read: give the safetensors files that it was made from",
    archive[] = "an archive: unpack it first, and give what was in it",
    numpy[] = "arrays of NumPy, which are not read: convert them to safetensors first";

/* The first that is found tells. A '0' in a beginning is any digit. */
static const struct {
    const char *beginning, *end, *what;
} kinds[] = {
    {"", ".distcp", distributed},
    {"pytorch_model_fsdp", "", distributed},
    {"zero_to_fp32.py", "", deepspeed},
    {"zero_pp_rank_", ".pt", deepspeed},
    {"bf16_zero_pp_rank_", ".pt", deepspeed},
    {"mp_rank_0", "_model_states.pt", deepspeed},
    {"global_step0", "", deepspeed},
    {"mp_rank_0", "", megatron},
    {"latest_checkpointed_iteration.txt", "", megatron},
    {"model_optim_rng.pt", "", megatron},
    {"", ".msgpack", flax},
    {"", ".h5", tensorflow},
    {"", ".keras", tensorflow},
    {"saved_model.pb", "", tensorflow},
    {"", ".ckpt.index", tensorflow},
    {"", ".onnx", onnx},
    {"", ".npz", numpy},
    {"", ".nemo", archive},
    {"", ".tar", archive},
    {"", ".tar.gz", archive},
    {"", ".tgz", archive},
    {"", ".zip", archive},
};

enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* A look into a directory, without memory of its own. */
typedef struct kind_look {
    size_t kind;
    char sign[NAME_SHOWN];         /* the first name of that kind, in order */
    char names[NAMED][NAME_SHOWN]; /* the first few, in order */
    size_t n;
} kind_look;

static bool fits_kind(size_t kind, const char *name, size_t n)
{
    const char *p = kinds[kind].beginning;
    size_t b = strlen(p), e = strlen(kinds[kind].end);
    if (n < b + e || memcmp(name + n - e, kinds[kind].end, e) != 0)
        return false;
    for (size_t i = 0; i < b; i++)
        if (p[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != p[i])
            return false;
    return true;
}

/* Cut, where it is too long, at the beginning of a character. */
static void copy_shown(char to[NAME_SHOWN], const char *name, size_t n)
{
    if (n >= NAME_SHOWN)
        for (n = NAME_SHOWN - 1; n && ((unsigned char)name[n] & 0xc0) == 0x80;)
            n--;
    memcpy(to, name, n);
    to[n] = '\0';
}

static void note_kind(kind_look *l, const char *name, size_t n)
{
    char shown[NAME_SHOWN];
    copy_shown(shown, name, n);
    for (size_t i = 0; i < N_KINDS && i <= l->kind; i++)
        if (fits_kind(i, name, n) && (i < l->kind || strcmp(shown, l->sign) < 0)) {
            l->kind = i;
            memcpy(l->sign, shown, sizeof shown);
            return;
        }
}

static void note_name(void *user, const char *name)
{
    kind_look *l = user;
    char shown[NAME_SHOWN], next[NAME_SHOWN];
    size_t n = strlen(name);
    note_kind(l, name, n);
    if (*name == '.')
        return;
    copy_shown(shown, name, n);
    size_t have = l->n < NAMED ? l->n : NAMED;
    l->n++;
    for (size_t i = 0; i < NAMED; i++) { /* each name puts the one after it one place further */
        if (i < have && strcmp(l->names[i], shown) <= 0)
            continue;
        memcpy(next, l->names[i], sizeof next);
        memcpy(l->names[i], shown, sizeof shown);
        memcpy(shown, next, sizeof shown);
        if (i >= have)
            return;
    }
}

emr_status emr_folder_kinds_refuse(const emr_source *source, const char *path, emr_error *error)
{
    kind_look look = {.kind = N_KINDS};
    emr_word_list words = {.n = 0};
    (void)emr_source_list(source, path, note_name, &look, NULL);
    if (look.kind < N_KINDS)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: '%s' belongs to %s", path, look.sign,
                        kinds[look.kind].what);
    for (size_t i = 0; i < look.n; i++)
        emr_word_list_add(&words, look.names[i < NAMED ? i : 0]);
    return emr_fail(error, EMR_EFORMAT,
                    "%F: no .safetensors file and no .gguf file lies in this directory, %s%s", path,
                    look.n ? "but there are: " : "which is empty", emr_word_list_end(&words));
}
