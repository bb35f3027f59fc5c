/* weights_name.c - see weights_name.h. These are the names that transformers, diffusers, PEFT, mlx and
 * llama.cpp give to what they save. */
#include "checkpoint/weights_name.h"

#include <string.h>

enum { DIGITS_MAX = 9 };

static bool has_ending(const char *name, size_t n, const char *end)
{
    size_t k = strlen(end);
    return n > k && memcmp(name + n - k, end, k) == 0;
}

/* The digits that begin there, at most DIGITS_MAX; their number. */
static size_t read_digits(const char *at, const char *end, uint32_t *value)
{
    size_t n = 0;
    for (*value = 0; at + n < end && n < DIGITS_MAX && at[n] >= '0' && at[n] <= '9'; n++)
        *value = *value * 10 + (uint32_t)(at[n] - '0');
    return n;
}

/* Whether "-NUMBER-of-TOTAL" begins there, and nothing but a variant follows before `end`. */
static bool read_shard_number(emr_weights_name *w, const char *at, const char *end)
{
    uint32_t number, total;
    size_t n = *at == '-' || *at == '_' ? read_digits(at + 1, end, &number) : 0;
    const char *of = at + 1 + n;
    if (!n || end - of < 5 || memcmp(of, "-of-", 4) != 0)
        return false;
    size_t k = read_digits(of + 4, end, &total);
    const char *after = of + 4 + k;
    if (!k || !number || number > total || (after < end && *after != '.'))
        return false;
    w->form = EMR_WEIGHTS_SHARD;
    w->number = number;
    w->total = total;
    w->stem = (size_t)(at - w->name);
    w->variant = after;
    w->variant_bytes = (size_t)(end - after);
    return true;
}

/* A file of weights, whose name without its ending has so many bytes. */
static void read_weights(emr_weights_name *w, size_t n)
{
    w->form = EMR_WEIGHTS_WHOLE;
    w->stem = n;
    for (size_t i = 0; i < n; i++)
        if (read_shard_number(w, w->name + i, w->name + n))
            return;
}

/* "STEM.safetensors.index.json", with a variant before or behind "index". */
static void read_index_name(emr_weights_name *w, size_t n)
{
    static const char weights[] = ".safetensors.", index[] = "index";
    const char *at = strstr(w->name, weights), *end = w->name + n - strlen(".json");
    if (!at || at == w->name || at + strlen(weights) > end)
        return;
    const char *middle = at + strlen(weights);
    size_t k = (size_t)(end - middle);
    bool first = k >= strlen(index) && memcmp(middle, index, strlen(index)) == 0;
    if (!first && !has_ending(middle, k, ".index"))
        return;
    const char *variant = first ? middle + strlen(index) : middle - 1;
    if (k > strlen(index) && *variant != '.')
        return;
    w->form = EMR_WEIGHTS_INDEX;
    w->stem = (size_t)(at - w->name);
    w->variant = variant;
    w->variant_bytes = k - strlen(index);
}

/* What may be weights: the rest of a training run's state, and DeepSpeed's and Megatron's parts, are not. */
static bool is_pickle_name(const char *name, size_t n)
{
    static const char *const endings[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
    static const char *const others[] = {"training_args.",    "optimizer.", "scheduler.",
                                         "scaler.",           "rng_state",  "zero_pp_rank",
                                         "bf16_zero_pp_rank", "mp_rank_",   "model_optim_rng"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strncmp(name, others[i], strlen(others[i])) == 0)
            return false;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (has_ending(name, n, endings[i]))
            return true;
    return false;
}

emr_weights_name emr_weights_name_read(const char *name)
{
    size_t n = strlen(name);
    emr_weights_name w = {.name = name, .variant = ""};
    if (has_ending(name, n, ".safetensors")) {
        read_weights(&w, n - strlen(".safetensors"));
    } else if (has_ending(name, n, ".gguf")) {
        w.gguf = true;
        read_weights(&w, n - strlen(".gguf"));
    } else if (has_ending(name, n, ".json")) {
        read_index_name(&w, n);
    } else if (is_pickle_name(name, n)) {
        w.form = EMR_WEIGHTS_PICKLE;
        w.stem = (size_t)(strrchr(name, '.') - name);
    }
    return w;
}

char *emr_weights_model(const emr_weights_name *w, const emr_allocator *allocator)
{
    char *model = emr_allocate(allocator, w->stem + w->variant_bytes + 1);
    if (!model)
        return NULL;
    memcpy(model, w->name, w->stem);
    memcpy(model + w->stem, w->variant, w->variant_bytes);
    model[w->stem + w->variant_bytes] = '\0';
    return model;
}
