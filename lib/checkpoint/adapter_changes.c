/* adapter_changes.c - see adapter_changes.h: the adapter's tensors, sorted by what they are and by the tensor
 * of the base that they belong to. */
#include "checkpoint/adapter_changes.h"

#include "checkpoint/adapter_names.h"

#include <string.h>

static const char *change_name_at(const void *owner, size_t i)
{
    return ((const emr_adaptation *)owner)->changes[i].name;
}

void emr_changes_free(emr_adaptation *d)
{
    emr_allocator allocator = d->env.allocator;
    for (size_t i = 0; i < d->n; i++) {
        emr_release(&allocator, d->changes[i].name);
        emr_release(&allocator, d->changes[i].module);
        emr_release(&allocator, d->changes[i].factors);
    }
    emr_release(&allocator, d->changes);
    emr_names_free(&d->names, &allocator);
    emr_release(&allocator, d->dropped);
    emr_release(&allocator, d->added);
    emr_adapter_settings_free(&d->settings);
    emr_release(&allocator, d);
}

const emr_change *emr_changes_lookup(const emr_adaptation *d, const char *name)
{
    size_t at = emr_names_find(&d->names, change_name_at, d, name);
    return at == EMR_NAMES_NONE ? NULL : &d->changes[at];
}

/* Whether `name` is DOT-separated words of which `tail` are the last; *n is what comes before them. */
static bool ends_with_words(const char *name, const char *tail, size_t *n)
{
    size_t all = strlen(name), k = strlen(tail);
    *n = all - k;
    return all > k + 1 && name[*n - 1] == '.' && strcmp(name + *n, tail) == 0;
}

/* Finds out how names differ, from one that is not the base's as it stands. */
static emr_status learn_prefix(emr_adaptation *d, const char *name, emr_error *error)
{
    const emr_tensor *found = NULL;
    size_t n;
    for (uint32_t i = 0; i < d->base->n_tensors; i++) {
        const emr_tensor *t = d->base->tensors[i];
        if (!ends_with_words(t->name, name, &n) && !ends_with_words(name, t->name, &n))
            continue;
        if (found)
            return emr_fail(error, EMR_EMISMATCH,
                            "%F: '%s' could be '%T' or '%s' of %s: which of them is meant cannot be told",
                            d->adapter->name, name, found->name, t->name, d->base->name);
        found = t;
    }
    if (!found)
        return EMR_OK;
    bool adds = ends_with_words(found->name, name, &n);
    if (!adds)
        ends_with_words(name, found->name, &n);
    char *prefix = emr_join_strings(&d->env.allocator, adds ? found->name : name, n, "");
    *(adds ? &d->added : &d->dropped) = prefix;
    return prefix ? EMR_OK : emr_no_memory(error, d->adapter->name);
}

/* The base's tensor of a name of the adapter's; NULL where there is none. */
emr_status emr_changes_find_base(const emr_adaptation *d, const char *name, const emr_tensor **found,
                                 emr_error *error)
{
    size_t n = d->dropped ? strlen(d->dropped) : 0;
    *found = emr_model_find_tensor(d->base, name);
    if (*found)
        return EMR_OK;
    if (d->dropped && strncmp(name, d->dropped, n) == 0)
        *found = emr_model_find_tensor(d->base, name + n);
    if (d->added) {
        char *joined = emr_join_strings(&d->env.allocator, d->added, strlen(d->added), name);
        if (!joined)
            return emr_no_memory(error, d->adapter->name);
        *found = emr_model_find_tensor(d->base, joined);
        emr_release(&d->env.allocator, joined);
    }
    return EMR_OK;
}

/* The change of the tensor of that name of the adapter's, a new one where there is none. */
emr_status emr_changes_get(emr_adaptation *d, const char *name, emr_change **c, emr_error *error)
{
    const emr_tensor *base;
    emr_status status = emr_changes_find_base(d, name, &base, error);
    if (status)
        return status;
    name = base ? base->name : name;
    size_t at = emr_names_find(&d->names, change_name_at, d, name);
    if (at == EMR_NAMES_NONE) {
        at = d->n;
        if (!emr_grow(&d->env.allocator, (void **)&d->changes, &d->capacity, d->n + 1, sizeof **c))
            return emr_no_memory(error, d->adapter->name);
        d->changes[at] = (emr_change){.name = emr_copy_string(&d->env.allocator, name), .base = base};
        if (!d->changes[at].name)
            return emr_no_memory(error, d->adapter->name);
        if (emr_names_add(&d->names, &d->env.allocator, change_name_at, d, at)) {
            emr_release(&d->env.allocator, d->changes[at].name);
            return emr_no_memory(error, d->adapter->name);
        }
        d->n++;
    }
    *c = &d->changes[at];
    return EMR_OK;
}

/* The adapter's tensor MODULE.END, or NULL; `length` bytes of `name` are the module's. */
static emr_status find_adapter_part(const emr_adaptation *d, const char *name, size_t length, const char *end,
                                    const emr_tensor **part, emr_error *error)
{
    char *joined = emr_join_strings(&d->env.allocator, name, length, end);
    *part = joined ? emr_model_find_tensor(d->adapter, joined) : NULL;
    emr_release(&d->env.allocator, joined);
    return joined ? EMR_OK : emr_no_memory(error, d->adapter->name);
}

/* MODULE.weight or MODULE.bias in the base, which must have it, and its change. */
static emr_status get_module_change(emr_adaptation *d, const char *module, size_t length, const char *end,
                                    emr_change **c, emr_error *error)
{
    emr_status status;
    const emr_tensor *found;
    char *name = emr_join_strings(&d->env.allocator, module, length, end);
    if (!name)
        return emr_no_memory(error, d->adapter->name);
    status = emr_changes_find_base(d, name, &found, error);
    if (!status && !found && !d->dropped && !d->added) {
        status = learn_prefix(d, name, error);
        if (!status)
            status = emr_changes_find_base(d, name, &found, error);
    }
    if (!status && !found)
        status =
            emr_fail(error, EMR_EMISMATCH,
                     "%F: the adapter belongs to a tensor '%T', which %s lacks: is it the adapter's base?",
                     d->adapter->name, name, d->base->name);
    if (!status)
        status = emr_changes_get(d, name, c, error);
    if (!status && ((*c)->b || (*c)->ia3))
        status = emr_fail(error, EMR_EFORMAT, "%F: the adapter changes '%T' twice", d->adapter->name, name);
    emr_release(&d->env.allocator, name);
    if (!status && !(*c)->module) {
        (*c)->module = emr_join_strings(&d->env.allocator, module, length, "");
        status = (*c)->module ? EMR_OK : emr_no_memory(error, d->adapter->name);
    }
    return status;
}

/* A, with its B and what else the module has. */
static emr_status add_lora(emr_adaptation *d, const emr_tensor *a, size_t length, bool is_embedding,
                           emr_error *error)
{
    const emr_tensor *b = NULL, *bias = NULL, *magnitude = NULL;
    const char *module = emr_adapter_inner_name(a->name);
    size_t inner = length - (size_t)(module - a->name);
    emr_change *c;
    emr_status status = find_adapter_part(d, a->name, length,
                                          is_embedding ? ".lora_embedding_B" : ".lora_B.weight", &b, error);
    if (!status && !is_embedding)
        status = find_adapter_part(d, a->name, length, ".lora_B.bias", &bias, error);
    if (!status)
        status = find_adapter_part(d, a->name, length, ".lora_magnitude_vector", &magnitude, error);
    if (!status && !magnitude)
        status = find_adapter_part(d, a->name, length, ".lora_magnitude_vector.weight", &magnitude, error);
    if (!status && !b)
        status = emr_fail(error, EMR_EFORMAT, "%F: tensor '%T' is half of a pair: its B is absent",
                          d->adapter->name, a->name);
    if (!status)
        status = get_module_change(d, module, inner, ".weight", &c, error);
    if (status)
        return status;
    c->a = a;
    c->b = b;
    c->magnitude = magnitude;
    c->is_embedding = is_embedding;
    if (!bias)
        return EMR_OK;
    status = get_module_change(d, module, inner, ".bias", &c, error);
    if (!status) {
        c->b = bias;
        c->a = a; /* for its rank */
        c->is_bias = true;
    }
    return status;
}

/* By outputs, which is told by the shape later, the bias is scaled too. */
static emr_status add_ia3(emr_adaptation *d, const emr_tensor *vector, size_t length, emr_error *error)
{
    const char *module = emr_adapter_inner_name(vector->name);
    emr_change *c = NULL;
    emr_status status =
        get_module_change(d, module, length - (size_t)(module - vector->name), ".weight", &c, error);
    if (!status)
        c->ia3 = vector;
    return status;
}

/* Each kind of adapter has its own tensors, and B and its kin come with their A. */
static emr_status add_adapter_part(emr_adaptation *d, const emr_tensor *t, emr_error *error)
{
    const emr_tensor *a = NULL;
    emr_status status = EMR_OK;
    size_t length;
    emr_adapter_role role = emr_adapter_role_of(t->name, &length);
    bool is_a = role == EMR_ROLE_A || role == EMR_ROLE_EMBEDDING_A;
    if (role == EMR_ROLE_SAVED)
        return EMR_OK;
    if (role == EMR_ROLE_UNKNOWN || (role == EMR_ROLE_IA3) != d->settings.is_ia3)
        return emr_fail(
            error, EMR_EUNSUPPORTED,
            "%F: tensor '%T' is none that an adapter of PEFT's peft_type %s has, and cannot be applied",
            d->adapter->name, t->name, d->settings.is_ia3 ? "IA3" : "LORA");
    if (role == EMR_ROLE_IA3)
        return add_ia3(d, t, length, error);
    if (is_a)
        return add_lora(d, t, length, role == EMR_ROLE_EMBEDDING_A, error);
    status = find_adapter_part(d, t->name, length, ".lora_A.weight", &a, error);
    if (!status && !a)
        status = find_adapter_part(d, t->name, length, ".lora_embedding_A", &a, error);
    if (!status && !a)
        status = emr_fail(error, EMR_EFORMAT, "%F: tensor '%T' is half of a pair: its A is absent",
                          d->adapter->name, t->name);
    return status;
}

/* Takes out what PEFT's wrappers put into names: "X.base_layer.weight" is X.weight. */
static void unwrap_name(char *name)
{
    static const char *const wrappers[] = {".modules_to_save.default", ".modules_to_save", ".base_layer"};
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        size_t n = strlen(wrappers[i]);
        char *at = strstr(name, wrappers[i]);
        if (at && at[n] == '.')
            memmove(at, at + n, strlen(at + n) + 1);
    }
}

static emr_status add_saved(emr_adaptation *d, const emr_tensor *t, emr_error *error)
{
    size_t length;
    emr_change *c = NULL;
    if (emr_adapter_role_of(t->name, &length) != EMR_ROLE_SAVED)
        return EMR_OK;
    char *name = emr_copy_string(&d->env.allocator, emr_adapter_inner_name(t->name));
    if (!name)
        return emr_no_memory(error, d->adapter->name);
    unwrap_name(name);
    emr_status status = emr_changes_get(d, name, &c, error);
    emr_release(&d->env.allocator, name);
    if (!status && c->saved)
        return emr_fail(error, EMR_EFORMAT, "%F: tensors '%T' and '%s' are one tensor of the model",
                        d->adapter->name, c->saved->name, t->name);
    if (!status)
        c->saved = t;
    return status;
}

emr_status emr_changes_find(emr_adaptation *d, emr_error *error)
{
    emr_status status = emr_adapter_settings_read(&d->settings, d->adapter, &d->env.allocator, error);
    for (uint32_t i = 0; !status && i < d->adapter->n_tensors; i++)
        status = add_adapter_part(d, d->adapter->tensors[i], error);
    if (!status && !d->n)
        status = emr_fail(error, EMR_EUNSUPPORTED, "%F: no tensor of an adapter is in it", d->adapter->name);
    for (uint32_t i = 0; !status && i < d->adapter->n_tensors; i++)
        status = add_saved(d, d->adapter->tensors[i], error);
    return status;
}
