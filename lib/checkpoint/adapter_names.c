/* adapter_names.c - see adapter_names.h; and what follows from a tensor's name alone. */
#include "checkpoint/adapter_names.h"

#include "checkpoint/adapter.h"
#include "core/memory.h"

#include <string.h>

static const struct {
    const char *end;
    emr_adapter_role role;
    int32_t rank_dimension;
} role_ends[] = {
    {".lora_A.weight", EMR_ROLE_A, 0},
    {".lora_B.weight", EMR_ROLE_B, 1},
    {".lora_B.bias", EMR_ROLE_B_BIAS, -1},
    {".lora_embedding_A", EMR_ROLE_EMBEDDING_A, 0},
    {".lora_embedding_B", EMR_ROLE_EMBEDDING_B, 1},
    {".lora_magnitude_vector", EMR_ROLE_MAGNITUDE, -1},
    {".lora_magnitude_vector.weight", EMR_ROLE_MAGNITUDE, -1},
    {".ia3_l", EMR_ROLE_IA3, -1},
    /* kohya's and diffusers' names, whose alpha is a tensor */
    {".lora_down.weight", EMR_ROLE_UNKNOWN, 0},
    {".lora_up.weight", EMR_ROLE_UNKNOWN, 1},
    {".lora.down.weight", EMR_ROLE_UNKNOWN, 0},
    {".lora.up.weight", EMR_ROLE_UNKNOWN, 1},
};

enum { N_ROLE_ENDS = sizeof role_ends / sizeof role_ends[0] };

/* Which of the ends a name has, or N_ROLE_ENDS. */
static size_t find_role_end(const char *name)
{
    size_t n = strlen(name), i = 0;
    for (; i < N_ROLE_ENDS; i++) {
        size_t k = strlen(role_ends[i].end);
        if (n > k && strcmp(name + n - k, role_ends[i].end) == 0)
            break;
    }
    return i;
}

emr_adapter_role emr_adapter_role_of(const char *name, size_t *length)
{
    static const char *const marks[] = {".lora_",          ".lora.",           ".ia3_", ".hada_", ".lokr_",
                                        ".token_adapter.", "prompt_embeddings"};
    size_t i = find_role_end(name);
    *length = strlen(name);
    if (i < N_ROLE_ENDS) {
        *length -= strlen(role_ends[i].end);
        return role_ends[i].role;
    }
    for (i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strstr(name, marks[i]))
            return EMR_ROLE_UNKNOWN;
    return EMR_ROLE_SAVED;
}

const char *emr_adapter_inner_name(const char *name)
{
    static const char prefix[] = "base_model.model.";
    return strncmp(name, prefix, sizeof prefix - 1) == 0 ? name + sizeof prefix - 1 : name;
}

int32_t emr_adapter_rank_dimension(const char *name)
{
    size_t i = find_role_end(name);
    return i < N_ROLE_ENDS ? role_ends[i].rank_dimension : -1;
}

static bool begins_as_one(const emr_tensor *t)
{
    size_t length;
    return emr_adapter_role_of(t->name, &length) == EMR_ROLE_IA3;
}

emr_status emr_adapter_create_ones(emr_model **model, const emr_model *like, const emr_allocator *allocator,
                                   emr_error *error)
{
    if (model)
        *model = NULL;
    if (!model || !like)
        return emr_fail(error, EMR_EINVAL, "emr_adapter_create_ones: NULL");
    return emr_model_create_constant(model, "ones", like, begins_as_one, allocator, error);
}
