/* compare.c - what is no weight must be the same in all models (combined.h). */
#include "combine/combined.h"

#include "role/role.h"

#include <string.h>

enum { BYTES = 128 << 10 /* compared at a time: of two tensors */ };

static emr_status refuse_other(const emr_combined *t, const emr_task *task, const emr_tensor *own,
                               emr_error *error)
{
    const emr_combination *c = t->owner;
    const char *whose = c->base && t->sample->model == c->base ? "the base" : "the first task";
    emr_tensor_role role = {.size = sizeof role}, sample_role = {.size = sizeof sample_role};
    emr_tensor_get_role(own, &role);
    emr_tensor_get_role(t->sample, &sample_role);
    const char *family = role.family ? role.family : sample_role.family;
    bool is_float = emr_dtype_is_float(own->dtype) && emr_dtype_is_float(t->sample->dtype);
    const char *remedy = role.can_dequantise || sample_role.can_dequantise
                             ? "to combine the weights that it stands for: --dequantise; "
                         : is_float ? "to combine it like a weight: --merge; "
                                    : "";
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' is no weight (%s), and not the same as that of %s (%sto have "
        "%s's: --keep)",
        task->name, task->model->name, own->name, family ? family : emr_dtype_name(own->dtype), whose, remedy,
        whose);
}

/* Bytes of both, in halves of the memory. */
static emr_status have_same_bytes(const emr_tensor *a, const emr_tensor *b, uint8_t *memory, bool *same,
                                  emr_error *error)
{
    emr_status status = EMR_OK;
    *same = a->dtype == b->dtype && emr_tensor_same_shape(a, b);
    for (uint64_t at = 0; !status && *same && at < a->bytes; at += BYTES / 2) {
        size_t n = (size_t)emr_min(BYTES / 2, a->bytes - at);
        status = emr_tensor_read(a, at, memory, n, error);
        if (!status)
            status = emr_tensor_read(b, at, memory + BYTES / 2, n, error);
        *same = status || memcmp(memory, memory + BYTES / 2, n) == 0;
    }
    return status;
}

static emr_status compare_tensor(const emr_combined *t, uint8_t *memory, emr_error *error)
{
    const emr_combination *c = t->owner;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < c->n_tasks; i++) {
        const emr_tensor *own = emr_model_find_tensor(c->tasks[i].model, t->sample->name);
        bool same = true;
        if (own && own != t->sample)
            status = have_same_bytes(t->sample, own, memory, &same, error);
        if (status)
            return status;
        if (!same)
            status = refuse_other(t, &c->tasks[i], own, error);
    }
    return status;
}

emr_status emr_combined_compare(const emr_combination *c, emr_error *error)
{
    emr_status status = EMR_OK;
    uint8_t *memory = emr_allocate(&c->allocator, BYTES);
    if (!memory)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < c->n_tensors; i++)
        if (c->tensors[i].is_compared)
            status = compare_tensor(&c->tensors[i], memory, error);
    emr_release(&c->allocator, memory);
    return status;
}
