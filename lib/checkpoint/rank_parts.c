/* rank_parts.c - see rank_parts.h. These are the names that Llama's and Mistral's original files
 * (consolidated.00), vLLM (model-rank-0-part-0), TensorRT-LLM (rank0), Megatron (mp_rank_00) and FSDP trainers
 * (model_world_size_2_rank_0) use. */
#include "checkpoint/rank_parts.h"

#include "core/error.h"
#include "io/source.h"

#include <string.h>

enum { DIGITS_MAX = 6 };

static bool is_rank_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The number that begins there; what follows it, NULL where none begins. */
static const char *read_rank_number(const char *at, uint32_t *value)
{
    const char *begin = at;
    for (*value = 0; is_rank_digit(*at) && at - begin < DIGITS_MAX; at++)
        *value = *value * 10 + (uint32_t)(*at - '0');
    return at == begin || is_rank_digit(*at) ? NULL : at;
}

/* "consolidated.01", which is never another thing. */
static const char *read_consolidated(const char *name, uint32_t *rank)
{
    static const char word[] = "consolidated.";
    const char *after =
        strncmp(name, word, sizeof word - 1) == 0 ? read_rank_number(name + sizeof word - 1, rank) : NULL;
    return after && *after == '.' ? after : NULL;
}

/* "rank0", "rank-0", "rank_00", as a word. */
static const char *read_rank_word(const char *name, uint32_t *rank)
{
    for (const char *at = strstr(name, "rank"); at; at = strstr(at + 1, "rank")) {
        const char *digits = at + 4 + (at[4] == '-' || at[4] == '_'), *after = read_rank_number(digits, rank);
        if (after && (at == name || !is_name_letter(at[-1])))
            return after;
    }
    return NULL;
}

bool emr_rank_parts_note(emr_rank_parts *parts, const char *name)
{
    static const char *const marks[] = {"world_size", "mp_rank", "tp_rank"};
    uint32_t rank, total = 0;
    const char *after = read_consolidated(name, &rank);
    bool certain = after && rank;
    if (!after)
        after = read_rank_word(name, &rank);
    if (!after)
        return false;
    if (strncmp(after, "-of-", 4) == 0 && read_rank_number(after + 4, &total) && total > 1)
        certain = true;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        certain = certain || (rank && strstr(name, marks[i]));
    parts->certain = parts->certain || certain;
    if (rank < 2)
        parts->found[rank] = true;
    return true;
}

bool emr_rank_parts_are(const emr_rank_parts *parts)
{
    return parts->certain || (parts->found[0] && parts->found[1]);
}

emr_status emr_rank_parts_refuse(const char *path, emr_error *error)
{
    return emr_fail(
        error, EMR_EUNSUPPORTED,
        "%F: tensor-parallel files, each of which holds a part of each tensor: join them into one "
        "model first (with the converter of what wrote them), and give that",
        path);
}

static void note_part(void *user, const char *name)
{
    size_t n = strlen(name);
    static const char end[] = ".safetensors";
    if (n >= sizeof end && strcmp(name + n - (sizeof end - 1), end) == 0)
        (void)emr_rank_parts_note(user, name);
}

emr_status emr_rank_parts_check_file(const emr_source *source, const char *path,
                                     const emr_allocator *allocator, emr_error *error)
{
    const char *name = emr_system_file_name(path);
    size_t n = (size_t)(name - path);
    emr_rank_parts parts = {.certain = false};
    if (!emr_rank_parts_note(&parts, name))
        return EMR_OK;
    char *directory = emr_join_strings(allocator, n ? path : "./", n ? n : 2, "");
    if (!directory)
        return emr_no_memory(error, path);
    (void)emr_source_list(source, directory, note_part, &parts, NULL);
    emr_release(allocator, directory);
    return emr_rank_parts_are(&parts) ? emr_rank_parts_refuse(path, error) : EMR_OK;
}
