/* candidates.h - the models of a search: names, scores, what they are made of, and how alike they are. */
#ifndef EMR_SEARCH_CANDIDATES_H
#define EMR_SEARCH_CANDIDATES_H

#include "emr/search.h"

#include "core/memory.h"
#include "core/names.h"
#include "search/score.h"

/* How alike a model and one before it are. */
typedef struct emr_kin {
    double similarity; /* NaN: there is none */
    uint32_t other;
} emr_kin;

typedef struct emr_search_node {
    emr_search_candidate about; /* whose name is allocated */
    emr_kin *kin;
    size_t n_kin, kin_capacity;
    uint32_t paired_in; /* the last generation that found it merged with the best already */
    bool is_released;
} emr_search_node;

typedef struct emr_candidates {
    const emr_allocator *allocator;
    emr_search_node *nodes;
    size_t n, capacity;
    emr_names names;
} emr_candidates;

void emr_candidates_free(emr_candidates *c);

/* Takes `name` over, also on failure. EMR_EEXIST: there is one of that name. */
emr_status emr_candidates_append(emr_candidates *c, char *name, emr_error *error);

/* "GENERATION-PAIR", or of pair 0 "GENERATION-exp"; NULL: no memory. */
char *emr_candidate_name(const emr_allocator *allocator, uint32_t generation, uint64_t pair);
bool emr_is_candidate_name(const char *name);

static inline bool emr_candidate_has_score(const emr_search_node *node)
{
    return emr_is_score(node->about.score);
}

/* Whether two have been merged. */
bool emr_candidates_have_merged(const emr_candidates *c, uint32_t a, uint32_t b);

/* What is known of two, a < b; NULL: nothing. */
const emr_kin *emr_candidates_find_kin(const emr_candidates *c, uint32_t a, uint32_t b);
emr_status emr_candidates_add_kin(emr_candidates *c, uint32_t a, uint32_t b, double similarity,
                                  emr_error *error);

#endif
