/* explain.c - see explain.h. */
#include "align/explain.h"

#include "numeric/convert.h"

#include <string.h>

/* "[2, 3]" into a small buffer, cut with "..." where it does not fit. */
static const char *shape_text(const emr_tensor *t, char text[64])
{
    size_t n = 0;
    text[n++] = '[';
    for (uint32_t i = 0; i < t->rank; i++) {
        char digits[20];
        size_t k = 0;
        for (uint64_t v = t->shape[i]; k == 0 || v; v /= 10)
            digits[k++] = (char)('0' + v % 10);
        if (n + k + 8 > 64) {
            for (int dots = 0; dots < 3; dots++)
                text[n++] = '.';
            break;
        }
        if (i) {
            text[n++] = ',';
            text[n++] = ' ';
        }
        while (k)
            text[n++] = digits[--k];
    }
    text[n++] = ']';
    text[n] = '\0';
    return text;
}

static bool ends_in(const char *text, size_t length, const char *end, size_t end_length)
{
    return length > end_length && memcmp(text + length - end_length, end, end_length) == 0;
}

enum { PREFIX_MAX = 48 };

/* What stands before `name` in the name of one of the model's tensors: "transformer." for "h.0.w". */
static bool find_prefix(const emr_model *model, const char *name, char prefix[PREFIX_MAX + 1])
{
    size_t n = strlen(name);
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        const char *longer = model->tensors[i]->name;
        size_t length = strlen(longer), before = length - n;
        if (!ends_in(longer, length, name, n) || before > PREFIX_MAX || strchr(longer, '=') ||
            longer[before - 1] != '.')
            continue;
        memcpy(prefix, longer, before);
        prefix[before] = '\0';
        return true;
    }
    return false;
}

/* The same the other way round: which of the model's tensors is `name` without its beginning. */
static bool find_without_prefix(const emr_model *model, const char *name, char prefix[PREFIX_MAX + 1])
{
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t before = (size_t)(dot + 1 - name);
        if (before > PREFIX_MAX || !emr_model_find_tensor(model, dot + 1))
            continue;
        memcpy(prefix, name, before);
        prefix[before] = '\0';
        return true;
    }
    return false;
}

bool emr_has_common_name(const emr_model *a, const emr_model *b)
{
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (emr_model_find_tensor(b, a->tensors[i]->name))
            return true;
    return false;
}

/* In "model.layers.0.mlp.experts.3.w1": what follows "experts."; NULL where there are none. */
static const char *after_experts(const char *name)
{
    const char *at = strstr(name, "experts.");
    return at ? at + strlen("experts.") : NULL;
}

/* Whether the model has the same experts otherwise: packed in one tensor where this name is of one of them, or
 * one by one where it is of all. */
static bool has_other_experts(const emr_model *model, const char *name)
{
    const char *after = after_experts(name);
    bool single = after && *after >= '0' && *after <= '9';
    for (uint32_t i = 0; after && i < model->n_tensors; i++) {
        const char *other = model->tensors[i]->name, *other_after = after_experts(other);
        if (other_after && other_after - other == after - name &&
            memcmp(other, name, (size_t)(after - name)) == 0 &&
            (*other_after >= '0' && *other_after <= '9') != single)
            return true;
    }
    return false;
}

/* Names that are the same but for their beginnings. False: they are not. */
static bool explain_prefix(const emr_alignment *a, const emr_tensor *base, const emr_task *task,
                           emr_error *error)
{
    char prefix[PREFIX_MAX + 1];
    if (find_prefix(task->model, base->name, prefix))
        emr_fail(
            error, EMR_EMISMATCH,
            "task '%K' (%F): no tensor of the base is in it, but its names begin with '%s' and the base's do "
            "not: '%T' is '%s%s' there (--rename %s=)",
            task->name, task->model->name, prefix, base->name, prefix, base->name, prefix);
    else if (find_without_prefix(task->model, base->name, prefix))
        emr_fail(error, EMR_EMISMATCH,
                 "task '%K' (%F): no tensor of the base is in it, but the base's (%s) begin with '%s' and "
                 "its own do "
                 "not: '%T' is '%s' there (--rename =%s)",
                 task->name, task->model->name, a->base->name, prefix, base->name,
                 base->name + strlen(prefix), prefix);
    else
        return false;
    return true;
}

emr_status emr_explain_missing(const emr_alignment *a, const emr_tensor *base, const emr_task *task,
                               emr_error *error)
{
    bool strangers = !emr_has_common_name(a->base, task->model);
    if (has_other_experts(task->model, base->name))
        return emr_fail(
            error, EMR_EMISMATCH,
            "task '%K' (%F): tensor '%T' of the base is absent: experts are packed in one tensor in one of "
            "them and one by one in the other: bring both into one form first",
            task->name, task->model->name, base->name);
    if (strangers && explain_prefix(a, base, task, error))
        return EMR_EMISMATCH;
    if (strangers)
        return emr_explain_strangers(a, task, error);
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' of the base is absent (--on-missing absent: the task goes without; "
        "--on-missing base: it has the base's; --private: each keeps its own)",
        task->name, task->model->name, base->name);
}

emr_status emr_explain_nameless(const emr_tensor *base, const emr_task *task, emr_error *error)
{
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' of the base is absent, and the base's cannot take its place: the task's "
        "own tensors have other names (--rename), and what this one is called among them is not known "
        "(--on-missing absent: the task goes without)",
        task->name, task->model->name, base->name);
}

emr_status emr_explain_strangers(const emr_alignment *a, const emr_task *task, emr_error *error)
{
    for (uint32_t i = 0; i < a->base->n_tensors; i++)
        if (!emr_model_find_tensor(task->model, a->base->tensors[i]->name) &&
            explain_prefix(a, a->base->tensors[i], task, error))
            return EMR_EMISMATCH;
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): it has no float tensor in common with the base (%s): another model, or other names "
        "(--rename OLD=NEW)",
        task->name, task->model->name, a->base->name);
}

/* Whether the first dimension alone differs. */
static bool differs_in_rows(const emr_tensor *a, const emr_tensor *b)
{
    return a->rank == b->rank && a->rank && emr_dtype_is_float(a->dtype) && emr_dtype_is_float(b->dtype) &&
           memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) == 0;
}

emr_status emr_explain_mismatch(const emr_alignment *a, const emr_tensor *base, const emr_tensor *own,
                                const emr_task *task, emr_error *error)
{
    char theirs[64], ours[64];
    if (!emr_tensor_same_shape(base, own))
        return emr_fail(
            error, EMR_EMISMATCH,
            "task '%K' (%F): tensor '%T' has shape %s, the base (%s) has %s (%s--on-mismatch private keeps "
            "it out of the merge)",
            task->name, task->model->name, base->name, shape_text(own, ours), a->base->name,
            shape_text(base, theirs),
            differs_in_rows(base, own) ? "--on-mismatch rows merges the rows that both have, " : "");
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' has dtype %s, which cannot be merged with the base's %s (--on-mismatch "
        "private keeps it out of the merge)",
        task->name, task->model->name, base->name, emr_dtype_name(own->dtype), emr_dtype_name(base->dtype));
}
