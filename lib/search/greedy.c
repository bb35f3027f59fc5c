/* greedy.c - top-k greedy merging with kinship (Algorithm 1): every generation merges each pair of the k best, and the
 * best with a partner that is little like it. Where the paper's versions contradict each other, options decide. */
#include "search/greedy.h"

#include <string.h>

static emr_search_node *node_of(const emr_search *s, size_t number)
{
    return &s->models.nodes[number];
}

/* What a failed callback makes of the search. */
static emr_status host_failed(emr_status status, const emr_error *why, const char *what,
                              const emr_search_candidate *of, emr_error *error)
{
    return emr_fail_because(error, emr_callback_status(status, EMR_EIO), why, "%s '%K' failed", what,
                            of->name);
}

/* ---- the k best ---- */

static bool is_better(const emr_search *s, uint32_t a, uint32_t b)
{
    const emr_search_candidate *x = &node_of(s, a)->about, *y = &node_of(s, b)->about;
    if (x->score != y->score)
        return s->options.minimise ? x->score < y->score : x->score > y->score;
    return strcmp(x->name, y->name) < 0;
}

static void rank_model(emr_search *s, uint32_t number)
{
    emr_best_list *best = &s->best;
    size_t at = best->n;
    while (at > 0 && is_better(s, number, best->numbers[at - 1]))
        at--;
    if (at == s->options.k)
        return;
    best->n += best->n < s->options.k;
    memmove(best->numbers + at + 1, best->numbers + at, (best->n - 1 - at) * sizeof *best->numbers);
    best->numbers[at] = number;
}

static bool is_in_list(const emr_best_list *list, uint32_t number)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->numbers[i] == number)
            return true;
    return false;
}

static bool are_same_lists(const emr_best_list *a, const emr_best_list *b)
{
    return a->n == b->n && memcmp(a->numbers, b->numbers, a->n * sizeof *a->numbers) == 0;
}

/* ---- what the host is asked ---- */

static emr_status find_kinship(emr_search *s, uint32_t x, uint32_t y, double *kinship, emr_error *error)
{
    uint32_t a = x < y ? x : y, b = x < y ? y : x;
    const emr_kin *known = emr_candidates_find_kin(&s->models, a, b);
    *kinship = known ? known->similarity : emr_no_score();
    if (known || !s->host.similarity)
        return EMR_OK;
    emr_error why = {.text = ""};
    emr_status status = s->host.similarity(s->host.user, a, b, kinship, &why);
    if (status)
        return host_failed(status, &why, "comparing", &node_of(s, b)->about, error);
    return emr_candidates_add_kin(&s->models, a, b, *kinship, error);
}

static emr_status score_model(emr_search *s, uint32_t number, emr_error *error)
{
    emr_search_node *node = node_of(s, number);
    emr_error why = {.text = ""};
    double score = node->about.score;
    emr_status status = s->host.evaluate(s->host.user, &node->about, &score, &why);
    if (status)
        return host_failed(status, &why, "scoring", &node->about, error);
    node->about.score = emr_is_score(score) ? score : emr_no_score();
    if (!emr_candidate_has_score(node))
        return EMR_OK;
    s->result.n_scored++;
    rank_model(s, number);
    return EMR_OK;
}

/* Merges two and scores what comes out; pair 0 is the best with its partner. */
static emr_status make_candidate(emr_search *s, uint32_t first, uint32_t second, uint64_t pair,
                                 emr_error *error)
{
    double kinship;
    emr_error why = {.text = ""};
    if (s->models.n >= INT32_MAX)
        return emr_fail(error, EMR_ELIMIT, "the search has 2^31 models");
    emr_status status = find_kinship(s, first, second, &kinship, error);
    if (!status)
        status = emr_candidates_append(&s->models,
                                       emr_candidate_name(&s->allocator, s->result.generation, pair), error);
    if (status)
        return status;
    emr_search_candidate *made = &node_of(s, s->models.n - 1)->about;
    made->generation = s->result.generation;
    made->first = first;
    made->second = second;
    made->kinship = kinship;
    status = s->host.merge(s->host.user, made, &why);
    return status ? host_failed(status, &why, "making", made, error) : score_model(s, made->number, error);
}

/* ---- generations ---- */

static emr_status score_added(emr_search *s, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < s->n_added; i++)
        status = score_model(s, (uint32_t)i, error);
    if (!status && !s->result.n_scored)
        status = emr_fail(error, EMR_ENOTFOUND, "no model has a score: there is nothing to merge");
    return status;
}

/* Every pair of those that have a score, whose numbers count all the same. */
static emr_status merge_added(emr_search *s, emr_error *error)
{
    emr_status status = EMR_OK;
    uint64_t pair = 1;
    s->result.generation = 1;
    for (uint32_t a = 0; a < s->n_added; a++)
        for (uint32_t b = a + 1; !status && b < s->n_added; b++, pair++)
            if (emr_candidate_has_score(node_of(s, a)) && emr_candidate_has_score(node_of(s, b)))
                status = make_candidate(s, a, b, pair, error);
    return status;
}

static emr_status merge_best(emr_search *s, emr_error *error)
{
    emr_status status = EMR_OK;
    uint64_t pair = 1;
    for (size_t i = 0; i < s->merged.n; i++) {
        for (size_t k = i + 1; !status && k < s->merged.n; k++, pair++) {
            uint32_t a = s->merged.numbers[i], b = s->merged.numbers[k];
            if (!emr_candidates_have_merged(&s->models, a, b))
                status = make_candidate(s, a, b, pair, error);
        }
    }
    return status;
}

/* Notes which models the best has been merged with. */
static void mark_mates(emr_search *s, uint32_t best)
{
    for (size_t i = s->n_added; i < s->models.n; i++) {
        const emr_search_candidate *made = &node_of(s, i)->about;
        if (made->first == best || made->second == best)
            node_of(s, made->first == best ? made->second : made->first)->paired_in = s->result.generation;
    }
}

static bool can_be_partner(const emr_search *s, uint32_t number, uint32_t best)
{
    const emr_search_node *node = node_of(s, number);
    if (number == best || !emr_candidate_has_score(node) || node->paired_in == s->result.generation)
        return false;
    return s->options.pool != EMR_SEARCH_POOL_TOP || is_in_list(&s->merged, number);
}

typedef struct partner_choice {
    double kinship;
    uint32_t number; /* or EMR_SEARCH_NO_MODEL */
} partner_choice;

static void consider_partner(const emr_search *s, partner_choice *choice, uint32_t number, double kinship)
{
    if (kinship != kinship)
        return;
    bool lowest = s->options.partner == EMR_SEARCH_PARTNER_LOWEST,
         wins = choice->number == EMR_SEARCH_NO_MODEL;
    if (!wins && kinship != choice->kinship)
        wins = lowest ? kinship < choice->kinship : kinship > choice->kinship;
    else if (!wins)
        wins = (strcmp(node_of(s, number)->about.name, node_of(s, choice->number)->about.name) < 0) == lowest;
    if (wins)
        *choice = (partner_choice){kinship, number};
}

/* Of the models that were there before this generation. */
static emr_status merge_partner(emr_search *s, size_t n_before, emr_error *error)
{
    const uint32_t best = s->merged.numbers[0];
    partner_choice choice = {.number = EMR_SEARCH_NO_MODEL};
    emr_status status = EMR_OK;
    double kinship;
    mark_mates(s, best);
    for (size_t i = s->options.pool == EMR_SEARCH_POOL_LAST ? s->last_first : 0; !status && i < n_before;
         i++) {
        if (!can_be_partner(s, (uint32_t)i, best))
            continue;
        status = find_kinship(s, (uint32_t)i, best, &kinship, error);
        if (!status)
            consider_partner(s, &choice, (uint32_t)i, kinship);
    }
    if (status || choice.number == EMR_SEARCH_NO_MODEL)
        return status;
    return make_candidate(s, choice.number, best, 0, error);
}

static emr_status run_generation(emr_search *s, emr_error *error)
{
    size_t n_before = s->models.n;
    s->result.generation++;
    emr_status status = merge_best(s, error);
    if (!status && s->options.partner != EMR_SEARCH_PARTNER_NONE)
        status = merge_partner(s, n_before, error);
    s->last_first = n_before;
    return status;
}

/* ---- the end ---- */

static bool is_needed(const emr_search *s, size_t number)
{
    if (!emr_candidate_has_score(node_of(s, number)))
        return false;
    if (is_in_list(&s->best, (uint32_t)number))
        return true;
    if (s->options.partner == EMR_SEARCH_PARTNER_NONE)
        return false;
    return s->options.pool == EMR_SEARCH_POOL_ALL ||
           (s->options.pool == EMR_SEARCH_POOL_LAST && number >= s->last_first);
}

static void release_models(emr_search *s)
{
    for (size_t i = s->n_added; s->host.release && i < s->models.n; i++) {
        if (node_of(s, i)->is_released || is_needed(s, i))
            continue;
        node_of(s, i)->is_released = true;
        s->host.release(s->host.user, (uint32_t)i);
    }
}

/* Of all pairs of the k best whose kinship is known. */
static emr_status mean_kinship(emr_search *s, double *mean, emr_error *error)
{
    double sum = 0, kinship;
    uint64_t n = 0;
    emr_status status = EMR_OK;
    for (size_t i = 0; i < s->best.n; i++) {
        for (size_t k = i + 1; !status && k < s->best.n; k++) {
            status = find_kinship(s, s->best.numbers[i], s->best.numbers[k], &kinship, error);
            bool counts = !status && kinship == kinship;
            sum += counts ? kinship : 0;
            n += counts;
        }
    }
    *mean = n ? sum / (double)n : emr_no_score();
    return status;
}

/* Looks whether there is a reason to end, and makes the k best those to be merged. */
static emr_status close_generation(emr_search *s, bool is_first, emr_error *error)
{
    const emr_search_options *o = &s->options;
    emr_status status = EMR_OK;
    release_models(s);
    if (!is_first && are_same_lists(&s->best, &s->merged))
        s->result.end = EMR_SEARCH_END_STEADY;
    else if (s->result.generation >= o->max_generations)
        s->result.end = EMR_SEARCH_END_GENERATIONS;
    if (o->use_stop_kinship || s->result.end)
        status = mean_kinship(s, &s->result.kinship, error);
    if (!s->result.end && o->use_stop_kinship && s->result.kinship > o->stop_kinship)
        s->result.end = EMR_SEARCH_END_KINSHIP;
    memcpy(s->merged.numbers, s->best.numbers, s->best.n * sizeof *s->best.numbers);
    s->merged.n = s->best.n;
    return status;
}

emr_status emr_search_greedily(emr_search *s, emr_error *error)
{
    emr_status status = score_added(s, error);
    s->last_first = s->n_added;
    if (!status)
        status = merge_added(s, error);
    if (!status)
        status = close_generation(s, true, error);
    while (!status && !s->result.end) {
        status = run_generation(s, error);
        if (!status)
            status = close_generation(s, false, error);
    }
    if (status)
        return status;
    s->result.size = sizeof s->result;
    s->result.best = s->best.numbers[0];
    s->result.score = node_of(s, s->result.best)->about.score;
    s->result.n_models = (uint32_t)s->models.n;
    return EMR_OK;
}
