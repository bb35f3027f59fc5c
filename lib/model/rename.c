/* rename.c - a model under other names, by rules. Freestanding. */
#include "model/arranged.h"

#include "core/text.h"

#include <string.h>

/* A rule's sides, each cut at its '*'; a side without one is all head. */
typedef struct rename_rule {
    const char *head, *tail;         /* of `from`: what a name begins with, and ends with */
    size_t head_length, tail_length; /* tail_length is 0 for a prefix */
    const char *to_head, *to_tail;
    size_t to_head_length;
    bool is_glob;
} rename_rule;

static emr_status read_rule(rename_rule *r, const emr_rename *given, emr_error *error)
{
    if (!given->from || !given->to)
        return emr_fail(error, EMR_EINVAL, "emr_rename: NULL");
    const char *star = emr_find_char(given->from, '*'), *to_star = emr_find_char(given->to, '*');
    if (!star != !to_star || (star && (emr_find_char(star + 1, '*') || emr_find_char(to_star + 1, '*'))))
        return emr_fail(error, EMR_EINVAL, "the rule '%s=%s' needs one '*' on each side, or none",
                        given->from, given->to);
    *r = (rename_rule){.head = given->from, .to_head = given->to, .is_glob = star != NULL};
    r->head_length = star ? (size_t)(star - given->from) : emr_text_length(given->from);
    r->tail = star ? star + 1 : "";
    r->tail_length = emr_text_length(r->tail);
    r->to_head_length = to_star ? (size_t)(to_star - given->to) : emr_text_length(given->to);
    r->to_tail = to_star ? to_star + 1 : "";
    return EMR_OK;
}

static bool rule_matches(const rename_rule *r, const char *name)
{
    size_t n = emr_text_length(name);
    return n >= r->head_length + r->tail_length && memcmp(name, r->head, r->head_length) == 0 &&
           memcmp(name + n - r->tail_length, r->tail, r->tail_length) == 0;
}

/* What a rule makes of a name that it matches; NULL: no memory. */
static char *apply_rule(const rename_rule *r, const char *name, const emr_allocator *allocator)
{
    size_t kept = emr_text_length(name) - r->head_length - r->tail_length, tail = emr_text_length(r->to_tail);
    char *made = emr_allocate(allocator, r->to_head_length + kept + tail + 1);
    if (!made)
        return NULL;
    memcpy(made, r->to_head, r->to_head_length);
    memcpy(made + r->to_head_length, name + r->head_length, kept);
    memcpy(made + r->to_head_length + kept, r->to_tail, tail + 1);
    return made;
}

/* What a reader finds by its very name, and no rule for weights means. */
static bool has_fixed_name(const emr_tensor *t)
{
    return emr_is_gguf_header(t) || emr_is_side_file(t);
}

/* One tensor, by the first rule that matches its name; that one is marked as used. */
static emr_status add_by_rules(emr_model *m, const emr_tensor *t, const rename_rule *rules, uint32_t n,
                               bool *used, emr_error *error)
{
    const emr_allocator *a = &m->allocator;
    uint32_t i = has_fixed_name(t) ? n : 0;
    while (i < n && !rule_matches(&rules[i], t->name))
        i++;
    if (i == n)
        return emr_arranged_keep(m, t, error);
    char *name = apply_rule(&rules[i], t->name, a);
    if (!name)
        return emr_no_memory(error, m->name);
    m->renamed = used[i] = true;
    emr_status status = emr_arranged_rename(m, t, name, error);
    emr_release(a, name);
    return status;
}

static emr_status rename_all(emr_model *m, const emr_model *source, const emr_rename *given,
                             rename_rule *rules, bool *used, uint32_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < n; i++)
        status = read_rule(&rules[i], &given[i], error);
    for (uint32_t i = 0; !status && i < source->n_tensors; i++)
        status = add_by_rules(m, source->tensors[i], rules, n, used, error);
    for (uint32_t i = 0; !status && i < n; i++)
        if (!used[i])
            status = emr_fail(error, EMR_EINVAL, "%F: the rule '%s=%s' matches no tensor", source->name,
                              given[i].from, given[i].to);
    return status;
}

emr_status emr_model_create_renamed(emr_model **renamed, const emr_model *model, const emr_rename *rules,
                                    uint32_t n_rules, const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (renamed)
        *renamed = NULL;
    if (!renamed || !model || (n_rules && !rules))
        return emr_fail(error, EMR_EINVAL, "emr_model_create_renamed: NULL");
    emr_status status = emr_allocator_take(&allocator, given, error);
    if (!status)
        status = emr_arranged_create(renamed, model, &allocator, error);
    if (status)
        return status;
    rename_rule *read = emr_allocate_array(&allocator, n_rules, sizeof *read);
    bool *used = emr_allocate_array(&allocator, n_rules, sizeof *used);
    status = read && used ? rename_all(*renamed, model, rules, read, used, n_rules, error)
                          : emr_no_memory(error, model->name);
    emr_release(&allocator, read);
    emr_release(&allocator, used);
    if (status)
        emr_model_destroy(renamed);
    return status;
}
