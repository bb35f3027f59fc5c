/* greedy.h - the handle of a search, and the algorithm that runs over it. */
#ifndef EMR_SEARCH_GREEDY_H
#define EMR_SEARCH_GREEDY_H

#include "search/candidates.h"

/* The numbers of the k best, best first. */
typedef struct emr_best_list {
    uint32_t *numbers;
    size_t n;
} emr_best_list;

struct emr_search {
    emr_allocator allocator;
    emr_search_options options; /* with its defaults filled in */
    emr_candidates models;
    size_t n_added; /* of them: those that the host had */
    emr_best_list best;
    emr_best_list merged; /* the best ones whose pairs the generation merges */
    emr_search_host host; /* while it runs */
    emr_search_result result;
    size_t last_first; /* the first model of the generation before */
    bool has_begun, has_ended;
};

/* Runs it: emr_search_run without its checks. */
emr_status emr_search_greedily(emr_search *s, emr_error *error);

#endif
