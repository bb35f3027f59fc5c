/* candidates.c - the list of a search's models, and their names. */
#include "search/candidates.h"

#include <string.h>

enum { DECIMAL_DIGITS = 20 };

static const char *candidate_name_at(const void *owner, size_t i)
{
    return ((const emr_candidates *)owner)->nodes[i].about.name;
}

void emr_candidates_free(emr_candidates *c)
{
    for (size_t i = 0; i < c->n; i++) {
        emr_release(c->allocator, (char *)c->nodes[i].about.name);
        emr_release(c->allocator, c->nodes[i].kin);
    }
    emr_release(c->allocator, c->nodes);
    emr_names_free(&c->names, c->allocator);
}

emr_status emr_candidates_append(emr_candidates *c, char *name, emr_error *error)
{
    if (!name || !emr_grow(c->allocator, (void **)&c->nodes, &c->capacity, c->n + 1, sizeof *c->nodes)) {
        emr_release(c->allocator, name);
        return emr_no_memory(error, NULL);
    }
    c->nodes[c->n] = (emr_search_node){.about = {.size = sizeof(emr_search_candidate),
                                                 .name = name,
                                                 .score = emr_no_score(),
                                                 .kinship = emr_no_score(),
                                                 .number = (uint32_t)c->n,
                                                 .first = EMR_SEARCH_NO_MODEL,
                                                 .second = EMR_SEARCH_NO_MODEL}};
    emr_status status = emr_names_add(&c->names, c->allocator, candidate_name_at, c, c->n);
    if (status == EMR_EEXIST)
        status = emr_fail(error, EMR_EEXIST, "the search has a model '%K' already", name);
    else if (status)
        status = emr_no_memory(error, NULL);
    else
        c->n++;
    if (status)
        emr_release(c->allocator, name);
    return status;
}

/* The digits of a number before `end`; where they begin. */
static char *put_decimal(char *end, uint64_t number)
{
    do
        *--end = (char)('0' + number % 10);
    while (number /= 10);
    return end;
}

char *emr_candidate_name(const emr_allocator *allocator, uint32_t generation, uint64_t pair)
{
    char text[2 * DECIMAL_DIGITS + sizeof "-exp"], *end = text + sizeof text - 1, *begin;
    *end = '\0';
    begin = pair ? put_decimal(end, pair) : memcpy(end - 3, "exp", 3);
    *--begin = '-';
    return emr_copy_string(allocator, put_decimal(begin, generation));
}

static const char *skip_decimal(const char *text)
{
    while (*text >= '0' && *text <= '9')
        text++;
    return text;
}

bool emr_is_candidate_name(const char *name)
{
    const char *dash = skip_decimal(name);
    if (dash == name || *dash != '-')
        return false;
    return strcmp(dash, "-exp") == 0 || (dash[1] && !*skip_decimal(dash + 1));
}

bool emr_candidates_have_merged(const emr_candidates *c, uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < c->n; i++) {
        const emr_search_candidate *made = &c->nodes[i].about;
        if ((made->first == a && made->second == b) || (made->first == b && made->second == a))
            return true;
    }
    return false;
}

const emr_kin *emr_candidates_find_kin(const emr_candidates *c, uint32_t a, uint32_t b)
{
    const emr_search_node *node = &c->nodes[b];
    for (size_t i = 0; i < node->n_kin; i++)
        if (node->kin[i].other == a)
            return &node->kin[i];
    return NULL;
}

emr_status emr_candidates_add_kin(emr_candidates *c, uint32_t a, uint32_t b, double similarity,
                                  emr_error *error)
{
    emr_search_node *node = &c->nodes[b];
    if (!emr_grow(c->allocator, (void **)&node->kin, &node->kin_capacity, node->n_kin + 1, sizeof *node->kin))
        return emr_no_memory(error, NULL);
    node->kin[node->n_kin++] = (emr_kin){.similarity = similarity, .other = a};
    return EMR_OK;
}
