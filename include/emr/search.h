/* search.h - looking for the best merge: greedy merging that is guided by kinship (Hu and others, 2024, arXiv
 * 2410.12613, Algorithm 1), and trials with parameters drawn at random (HM3, 2409.19173). Both only decide what to try:
 * the host merges, scores and compares models, by callbacks. The same scores and similarities give the same search.
 *
 *     emr_search_options options = EMR_INIT(emr_search_options);
 *     options.partner = EMR_SEARCH_PARTNER_NONE;
 *     emr_search_create(&search, &options, &error);
 *     emr_search_add_model(search, "math", &error);
 *     emr_search_add_model(search, "code", &error);
 *     emr_search_host host = {.size = sizeof host, .user = world, .merge = merge_two, .evaluate = score_one};
 *     emr_search_run(search, &host, &error);
 *     emr_search_get_result(search, &result);
 *     emr_search_get_candidate(search, result.best, &best);
 *
 * `emr search` is these over checkpoints; docs/search.md has the algorithm and what is known of it.
 */
#ifndef EMR_SEARCH_H
#define EMR_SEARCH_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/status.h"

typedef struct emr_search emr_search;

/* In the place of a model's number. */
#define EMR_SEARCH_NO_MODEL UINT32_MAX

/* Which model the best one is merged with beside the pairs of the best: the least or the most similar one. */
typedef uint32_t emr_search_partner;
enum { EMR_SEARCH_PARTNER_LOWEST = 0, EMR_SEARCH_PARTNER_HIGHEST = 1, EMR_SEARCH_PARTNER_NONE = 2 };

/* Where that one is taken from: all models so far, the k best, the generation before. */
typedef uint32_t emr_search_pool;
enum { EMR_SEARCH_POOL_ALL = 0, EMR_SEARCH_POOL_TOP = 1, EMR_SEARCH_POOL_LAST = 2 };

/* Why a search ended. */
typedef uint32_t emr_search_end;
enum {
    EMR_SEARCH_END_STEADY = 1,     /* a generation left the k best as they were */
    EMR_SEARCH_END_KINSHIP = 2,    /* the k best are more alike than stop_kinship */
    EMR_SEARCH_END_GENERATIONS = 3 /* max_generations */
};

/* Zero means the default. */
typedef struct emr_search_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free; copied */
    double stop_kinship; /* the mean similarity of pairs of the k best above which the search ends, with
                                       use_stop_kinship; the paper's is 0.9 */
    uint32_t use_stop_kinship;
    uint32_t k; /* how many of the best are merged with each other; 0: 3; at most 65,536 */
    emr_search_partner partner;
    emr_search_pool pool;
    uint32_t max_generations; /* 0: 20 */
    uint32_t minimise;        /* non-zero: the lowest score is the best */
} emr_search_options;

/* A model of the search. Strings are the search's. */
typedef struct emr_search_candidate {
    size_t size;
    const char
        *name;      /* as it was added; "2-3", the third pair of generation 2; "2-exp", made with a partner */
    double score;   /* NaN: none */
    double kinship; /* of the two that it is made of; NaN: there is none */
    uint32_t number;     /* in the order in which they came, from 0; first those that were added */
    uint32_t generation; /* 0: it was added */
    uint32_t first;      /* what it is made of, or EMR_SEARCH_NO_MODEL */
    uint32_t second;
} emr_search_candidate;

typedef struct emr_search_result {
    size_t size;
    double score;        /* of the best */
    double kinship;      /* mean of pairs of the k best, as far as it is known; NaN: there is none */
    uint32_t best;       /* number; of equal scores, that of the name whose bytes come first */
    uint32_t n_models;   /* the candidates' numbers are less */
    uint32_t n_scored;   /* with a score */
    uint32_t generation; /* the last one, from 1 */
    emr_search_end end;
    uint32_t reserved;
} emr_search_result;

/* What the host does, one call at a time, in the thread of emr_search_run. Borrowed during that. A status other than
 * EMR_OK ends the search: EMR_ECANCELED and EMR_ENOMEM are what emr_search_run returns then, else it is EMR_EIO. */
typedef struct emr_search_host {
    size_t size;
    void *user;
    /* Makes a model of `first` and `second`. */
    emr_status (*merge)(void *user, const emr_search_candidate *candidate, emr_error *error);
    /* Its score. NaN or an infinity: it has none and is out, merged with nothing and never the best. */
    emr_status (*evaluate)(void *user, const emr_search_candidate *candidate, double *score,
                           emr_error *error);
    /* How alike two models are: more is more. Asked for once a pair, a < b. NaN: not known; such a pair counts in no
     * mean, and neither is the other's partner. NULL: kinship is known of no pair. */
    emr_status (*similarity)(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error);
    /* A merged model that the search will not ask about again. May be NULL. */
    void (*release)(void *user, uint32_t number);
} emr_search_host;

/* One of the trials: values for the host's parameters. */
typedef struct emr_trial {
    size_t size;
    const double *values; /* in (0, 1]; NULL in what emr_trials_run fills */
    double score;         /* NaN: none */
    uint32_t number;      /* from 1 */
    uint32_t n_values;
} emr_trial;

/* Zero means the default. Borrowed during the call. */
typedef struct emr_trials_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    void *user;
    /* Makes a model with these values and scores it, as emr_search_host.evaluate. Required. */
    emr_status (*evaluate)(void *user, const emr_trial *trial, double *score, emr_error *error);
    uint64_t seed;
    uint32_t n_trials; /* 0: 500, as the paper has */
    uint32_t n_values; /* of each trial: parameters x models, say */
    uint32_t minimise; /* non-zero: the lowest score is the best */
    uint32_t reserved;
} emr_trials_options;

EMR_BEGIN_DECLS

/* Options NULL: all defaults. */
EMR_API emr_status emr_search_create(emr_search **search, const emr_search_options *options,
                                     emr_error *error);
EMR_API void emr_search_destroy(emr_search **search);

/* A model that is there. Names are unique, 1 to 255 bytes, and no name of a candidate. */
EMR_API emr_status emr_search_add_model(emr_search *search, const char *name, emr_error *error);

/* Searches. Scores those that were added and merges each pair of them; then, generation for generation, each pair of the
 * k best, and the best with its partner, but never the same two again; until there is a reason to end. A search runs once.
 * - EMR_EINVAL: there is no model, merge or evaluate.
 * - EMR_ENOTFOUND: no model has a score.
 * - EMR_ELIMIT: more than 2^31 models. */
EMR_API emr_status emr_search_run(emr_search *search, const emr_search_host *host, emr_error *error);

/* The i-th model; also within callbacks. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_search_get_candidate(const emr_search *search, uint32_t i,
                                            emr_search_candidate *candidate);

/* Once it has run: EMR_ESTATE before. */
EMR_API emr_status emr_search_get_result(const emr_search *search, emr_search_result *result);

/* The first n values of a trial: uniform in (0, 1], multiples of 2^-32. They depend on seed and number alone: Philox-4x32-10
 * with the key `seed` and the counter (i / 4, number, EMRT, 0), of which value i is word i % 4, plus one, times 2^-32. */
EMR_API void emr_trial_draw(uint64_t seed, uint32_t number, size_t n, double *values);

/* Tries n_trials of them, from number 1 on, and fills `best` with the best one; of equal scores, with the first. Its
 * values are those that emr_trial_draw gives.
 * - EMR_ENOTFOUND: no trial has a score. */
EMR_API emr_status emr_trials_run(const emr_trials_options *options, emr_trial *best, emr_error *error);

EMR_END_DECLS

#endif
