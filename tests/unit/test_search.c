/* test_search.c - greedy merging with kinship against the algorithm written down once more, and against searches that
 * were worked out by hand; what callbacks that fail, or have no score, make of it. */
#include "support.h"

#include <math.h>
#include <stdio.h>

enum { DIMENSIONS = 3, MODELS_MAX = 2048, LOG_MAX = 4096 };

/* ---- a world: models are points, a merge is the middle, a score what a function of the point says ---- */

typedef struct point {
    double x[DIMENSIONS];
} point;

typedef struct world {
    emr_search *search; /* whose models are asked for within callbacks */
    point points[MODELS_MAX];
    bool released[MODELS_MAX];
    uint64_t salt;
    unsigned n_levels;     /* how many different scores there are */
    unsigned failing;      /* one of so many points has no score; 0: all have one */
    size_t calls, fail_at; /* the call that fails */
    emr_status fail_with;
    char log[LOG_MAX];
} world;

static uint64_t mix_bits(uint64_t x)
{
    x ^= x >> 31, x *= 0x7fb5d329728ea185, x ^= x >> 27, x *= 0x81dadef4bc2dd44d;
    return x ^ x >> 33;
}

static double score_point(const world *w, const point *p)
{
    uint64_t bits = w->salt;
    for (int d = 0; d < DIMENSIONS; d++)
        bits = mix_bits(bits ^ (uint64_t)(int64_t)(p->x[d] * 1024));
    if (w->failing && mix_bits(bits) % w->failing == 0)
        return NAN;
    return (double)(bits % w->n_levels);
}

static point middle_of(const point *a, const point *b)
{
    point m;
    for (int d = 0; d < DIMENSIONS; d++)
        m.x[d] = (a->x[d] + b->x[d]) / 2;
    return m;
}

/* Coarse, so that there are ties; of some pairs it is not known. */
static double likeness(const world *w, const point *a, const point *b)
{
    double sum = 0;
    for (int d = 0; d < DIMENSIONS; d++)
        sum += fabs(a->x[d] - b->x[d]);
    if (w->failing && (uint64_t)(sum * 8) % 13 == 0)
        return NAN;
    return 1 - floor(sum) / 16;
}

static emr_status count_call(world *w, emr_error *error)
{
    return w->calls++ == w->fail_at ? emr_error_set(error, w->fail_with, 0, NULL, "the host says no")
                                    : EMR_OK;
}

static emr_status merge_points(void *user, const emr_search_candidate *c, emr_error *error)
{
    world *w = user;
    assert_false(w->released[c->first] || w->released[c->second]);
    w->points[c->number] = middle_of(&w->points[c->first], &w->points[c->second]);
    return count_call(w, error);
}

static emr_status evaluate_point(void *user, const emr_search_candidate *c, double *score, emr_error *error)
{
    world *w = user;
    *score = score_point(w, &w->points[c->number]);
    return count_call(w, error);
}

static emr_status compare_points(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error)
{
    world *w = user;
    assert_true(a < b);
    assert_false(w->released[a] || w->released[b]);
    *similarity = likeness(w, &w->points[a], &w->points[b]);
    return count_call(w, error);
}

static void release_point(void *user, uint32_t number)
{
    world *w = user;
    assert_false(w->released[number]);
    w->released[number] = true;
}

static const emr_search_host whole_host = {.size = sizeof whole_host,
                                           .merge = merge_points,
                                           .evaluate = evaluate_point,
                                           .similarity = compare_points,
                                           .release = release_point};

static const char *const given_names[] = {"math", "code", "chat", "law", "art", "zoo", "b", "a"};

static void fill_world(world *w, uint64_t seed, unsigned n_levels, unsigned failing)
{
    rng r = {seed};
    memset(w, 0, sizeof *w);
    w->salt = rng_next(&r);
    w->n_levels = n_levels;
    w->failing = failing;
    w->fail_at = SIZE_MAX;
    for (size_t i = 0; i < 8; i++)
        for (int d = 0; d < DIMENSIONS; d++)
            w->points[i].x[d] = (double)rng_below(&r, 16);
}

static emr_status search_world(world *w, const emr_search_options *options, size_t n,
                               emr_search_result *result, emr_error *error)
{
    emr_search_host host = whole_host;
    host.user = w;
    if (options && options->partner == EMR_SEARCH_PARTNER_NONE && !options->use_stop_kinship)
        host.similarity = NULL;
    assert_ok(emr_search_create(&w->search, options, error), error);
    for (size_t i = 0; i < n; i++)
        assert_ok(emr_search_add_model(w->search, given_names[i], error), error);
    emr_status status = emr_search_run(w->search, &host, error);
    if (!status)
        assert_int_equal(emr_search_get_result(w->search, result), EMR_OK);
    return status;
}

/* ---- the algorithm once more, by names ---- */

typedef struct plain_model {
    char name[32], parents[2][32];
    point at;
    double score, kinship;
    int generation;
} plain_model;

typedef struct plain_search {
    const world *world;
    const emr_search_options *options;
    plain_model all[MODELS_MAX];
    size_t n;
    char top[16][32];
    size_t n_top;
    int generation;
} plain_search;

static plain_model *plain_find(plain_search *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->all[i].name, name) == 0)
            return &p->all[i];
    fail_msg("no model %s", name);
    return NULL;
}

static const plain_search *sorted_search;

static int by_score(const void *a, const void *b)
{
    const plain_model *x = *(plain_model *const *)a, *y = *(plain_model *const *)b;
    if (x->score != y->score)
        return (x->score < y->score) == !sorted_search->options->minimise ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void plain_rank(plain_search *p)
{
    static plain_model *sorted[MODELS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!isnan(p->all[i].score))
            sorted[n++] = &p->all[i];
    sorted_search = p;
    qsort(sorted, n, sizeof sorted[0], by_score);
    for (p->n_top = 0; p->n_top < n && p->n_top < p->options->k; p->n_top++)
        strcpy(p->top[p->n_top], sorted[p->n_top]->name);
}

static bool plain_done(const plain_search *p, const char *a, const char *b)
{
    for (size_t i = 0; i < p->n; i++)
        if ((!strcmp(p->all[i].parents[0], a) && !strcmp(p->all[i].parents[1], b)) ||
            (!strcmp(p->all[i].parents[0], b) && !strcmp(p->all[i].parents[1], a)))
            return true;
    return false;
}

static double plain_kinship(plain_search *p, const char *a, const char *b)
{
    bool is_known = p->options->partner != EMR_SEARCH_PARTNER_NONE || p->options->use_stop_kinship;
    return is_known ? likeness(p->world, &plain_find(p, a)->at, &plain_find(p, b)->at) : NAN;
}

static void plain_make(plain_search *p, const char *a, const char *b, const char *suffix)
{
    const plain_model *x = plain_find(p, a), *y = plain_find(p, b);
    if (isnan(x->score) || isnan(y->score) || plain_done(p, a, b))
        return;
    plain_model *m = &p->all[p->n];
    snprintf(m->name, sizeof m->name, "%d-%s", p->generation, suffix);
    strcpy(m->parents[0], a);
    strcpy(m->parents[1], b);
    m->at = middle_of(&x->at, &y->at);
    m->score = score_point(p->world, &m->at);
    m->kinship = plain_kinship(p, a, b);
    m->generation = p->generation;
    p->n++;
}

static void plain_pairs(plain_search *p, char names[][32], size_t n)
{
    char suffix[16];
    int pair = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++) {
            snprintf(suffix, sizeof suffix, "%d", ++pair);
            plain_make(p, names[i], names[k], suffix);
        }
}

static bool plain_in_pool(const plain_search *p, const plain_model *m, char s[][32], size_t n_s)
{
    bool is_top = false;
    for (size_t i = 0; i < n_s; i++)
        is_top = is_top || strcmp(s[i], m->name) == 0;
    return m->generation < p->generation && !isnan(m->score) && strcmp(m->name, s[0]) != 0 &&
           (p->options->pool != EMR_SEARCH_POOL_TOP || is_top) &&
           (p->options->pool != EMR_SEARCH_POOL_LAST || m->generation == p->generation - 1) &&
           !plain_done(p, m->name, s[0]);
}

static void plain_explore(plain_search *p, char s[][32], size_t n_s)
{
    const plain_model *pick = NULL;
    double sign = p->options->partner == EMR_SEARCH_PARTNER_LOWEST ? 1 : -1, least = 0;
    for (size_t i = 0; i < p->n; i++) {
        const plain_model *m = &p->all[i];
        double kin = plain_in_pool(p, m, s, n_s) ? sign * plain_kinship(p, m->name, s[0]) : NAN;
        if (isnan(kin))
            continue;
        if (!pick || kin < least || (kin == least && sign * strcmp(m->name, pick->name) < 0)) {
            pick = m;
            least = kin;
        }
    }
    if (pick)
        plain_make(p, pick->name, s[0], "exp");
}

static double plain_mean(plain_search *p)
{
    double sum = 0;
    int n = 0;
    for (size_t i = 0; i < p->n_top; i++)
        for (size_t k = i + 1; k < p->n_top; k++) {
            double kin = plain_kinship(p, p->top[i], p->top[k]);
            sum += isnan(kin) ? 0 : kin;
            n += !isnan(kin);
        }
    return n ? sum / n : NAN;
}

static emr_search_end plain_run(plain_search *p, const world *w, const emr_search_options *options, size_t n)
{
    static char s[16][32], added[8][32];
    memset(p, 0, sizeof *p);
    p->world = w;
    p->options = options;
    for (size_t i = 0; i < n; i++, p->n++) {
        strcpy(p->all[i].name, given_names[i]);
        strcpy(added[i], given_names[i]);
        p->all[i].at = w->points[i];
        p->all[i].score = score_point(w, &w->points[i]);
        p->all[i].kinship = NAN;
    }
    p->generation = 1;
    plain_pairs(p, added, n);
    plain_rank(p);
    for (size_t n_s = SIZE_MAX;;) {
        if (n_s == p->n_top && memcmp(s, p->top, sizeof s) == 0)
            return EMR_SEARCH_END_STEADY;
        if ((uint32_t)p->generation >= options->max_generations)
            return EMR_SEARCH_END_GENERATIONS;
        if (options->use_stop_kinship && plain_mean(p) > options->stop_kinship)
            return EMR_SEARCH_END_KINSHIP;
        p->generation++;
        n_s = p->n_top;
        memcpy(s, p->top, sizeof s);
        plain_pairs(p, s, n_s);
        if (options->partner != EMR_SEARCH_PARTNER_NONE)
            plain_explore(p, s, n_s);
        memset(p->top, 0, sizeof p->top);
        plain_rank(p);
    }
}

/* ---- against it ---- */

static void assert_same_number(double a, double b)
{
    assert_true(a == b || (isnan(a) && isnan(b)));
}

static void compare_searches(const world *w, plain_search *plain, const emr_search_result *result)
{
    emr_search_candidate c = EMR_INIT(emr_search_candidate), parent = EMR_INIT(emr_search_candidate);
    assert_int_equal(result->n_models, plain->n);
    assert_int_equal(result->generation, plain->generation);
    for (uint32_t i = 0; i < result->n_models; i++) {
        const plain_model *m = &plain->all[i];
        assert_int_equal(emr_search_get_candidate(w->search, i, &c), EMR_OK);
        assert_string_equal(c.name, m->name);
        assert_int_equal(c.number, i);
        assert_int_equal(c.generation, m->generation);
        assert_same_number(c.score, m->score);
        assert_same_number(c.kinship, m->kinship);
        for (int k = 0; k < 2 && m->generation; k++) {
            assert_int_equal(emr_search_get_candidate(w->search, k ? c.second : c.first, &parent), EMR_OK);
            assert_string_equal(parent.name, m->parents[k]);
        }
    }
    assert_int_equal(emr_search_get_candidate(w->search, result->n_models, &c), EMR_ENOTFOUND);
    assert_int_equal(emr_search_get_candidate(w->search, result->best, &c), EMR_OK);
    assert_string_equal(c.name, plain->top[0]);
    assert_same_number(result->score, plain_find(plain, plain->top[0])->score);
    assert_same_number(result->kinship, plain_mean(plain));
}

static bool draw_options(emr_search_options *o, rng *r)
{
    *o = EMR_INIT(emr_search_options);
    o->k = 1 + (uint32_t)rng_below(r, 5);
    o->partner = (emr_search_partner)rng_below(r, 3);
    o->pool = (emr_search_pool)rng_below(r, 3);
    o->max_generations = 1 + (uint32_t)rng_below(r, 8);
    o->minimise = (uint32_t)rng_below(r, 2);
    o->use_stop_kinship = rng_below(r, 3) == 0;
    o->stop_kinship = 0.7;
    return true;
}

static void a_search_is_the_algorithm_written_down_once_more(void **state)
{
    static world w;
    static plain_search plain;
    rng r = {2412};
    size_t ends[4] = {0}, n_unscored = 0;
    (void)state;
    for (int round = 0; round < 3000; round++) {
        emr_search_options options;
        emr_search_result result = EMR_INIT(emr_search_result);
        emr_error error = {.text = ""};
        size_t n = 1 + rng_below(&r, 8);
        fill_world(&w, rng_next(&r), 1u << (1 + rng_below(&r, 10)), rng_below(&r, 2) ? 0 : 7);
        draw_options(&options, &r);
        emr_status status = search_world(&w, &options, n, &result, &error);
        emr_search_end end = plain_run(&plain, &w, &options, n);
        if (plain.n_top) {
            assert_ok(status, &error);
            assert_int_equal(result.end, end);
            compare_searches(&w, &plain, &result);
            ends[end]++;
        } else {
            assert_int_equal(status, EMR_ENOTFOUND);
            n_unscored++;
        }
        emr_search_destroy(&w.search);
    }
    assert_true(ends[1] > 100 && ends[2] > 100 && ends[3] > 100 && n_unscored > 0);
}

/* ---- by hand ---- */

/* Scores by name, from a table that ends in NULL; names that are not there have the score 0. */
typedef struct told_score {
    const char *name;
    double score;
} told_score;

typedef struct script {
    emr_search *search;
    const told_score *scores, *kinships; /* the latter by "A/B" */
    char merges[LOG_MAX], released[LOG_MAX];
} script;

static double told(const told_score *table, const char *name)
{
    for (; table && table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table->score;
    return 0;
}

static const char *name_of(const script *s, uint32_t number)
{
    emr_search_candidate c = EMR_INIT(emr_search_candidate);
    assert_int_equal(emr_search_get_candidate(s->search, number, &c), EMR_OK);
    return c.name;
}

static emr_status note_merge(void *user, const emr_search_candidate *c, emr_error *error)
{
    script *s = user;
    size_t n = strlen(s->merges);
    (void)error;
    snprintf(s->merges + n, sizeof s->merges - n, "%s=%s+%s ", c->name, name_of(s, c->first),
             name_of(s, c->second));
    return EMR_OK;
}

static emr_status tell_score(void *user, const emr_search_candidate *c, double *score, emr_error *error)
{
    const script *s = user;
    (void)error;
    *score = told(s->scores, c->name);
    return EMR_OK;
}

static emr_status tell_kinship(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error)
{
    const script *s = user;
    char pair[64];
    (void)error;
    snprintf(pair, sizeof pair, "%s/%s", name_of(s, a), name_of(s, b));
    *similarity = told(s->kinships, pair);
    return EMR_OK;
}

static void note_release(void *user, uint32_t number)
{
    script *s = user;
    size_t n = strlen(s->released);
    snprintf(s->released + n, sizeof s->released - n, "%s ", name_of(s, number));
}

static emr_search_result follow_script(script *s, const emr_search_options *options, const char *const *names)
{
    emr_search_host host = {.size = sizeof host,
                            .user = s,
                            .merge = note_merge,
                            .evaluate = tell_score,
                            .similarity = tell_kinship,
                            .release = note_release};
    emr_search_result result = EMR_INIT(emr_search_result);
    emr_error error = {.text = ""};
    assert_ok(emr_search_create(&s->search, options, &error), &error);
    for (; *names; names++)
        assert_ok(emr_search_add_model(s->search, *names, &error), &error);
    assert_ok(emr_search_run(s->search, &host, &error), &error);
    assert_int_equal(emr_search_get_result(s->search, &result), EMR_OK);
    assert_int_equal(emr_search_run(s->search, &host, &error), EMR_ESTATE);
    return result;
}

/* Three models; the best of generation 1 is merged with the one that went into neither of its parents, which is what the
 * paper's own trace shows. */
static void the_best_meets_what_is_least_like_it(void **state)
{
    static const char *const names[] = {"meta", "open", "inst", NULL};
    static const told_score scores[] = {{"meta", 60},  {"open", 61}, {"inst", 50},  {"1-1", 65},
                                        {"1-2", 55},   {"1-3", 56},  {"2-exp", 66}, {"2-1", 62},
                                        {"2-2", 61.5}, {"2-3", 10},  {"3-exp", 1},  {NULL, 0}};
    static const told_score kinships[] = {{"inst/1-1", 0.1}, {"1-1/1-2", 0.5},  {"1-1/1-3", 0.6},
                                          {"meta/1-1", 0.8}, {"open/1-1", 0.7}, {NULL, 0}};
    script s = {.scores = scores, .kinships = kinships};
    (void)state;
    emr_search_result result = follow_script(&s, NULL, names);
    assert_memory_equal(
        s.merges,
        "1-1=meta+open 1-2=meta+inst 1-3=open+inst "
        "2-1=1-1+open 2-2=1-1+meta 2-exp=inst+1-1 ", /* meta and open were merged already: no 2-3 */
        strlen("1-1=meta+open 1-2=meta+inst 1-3=open+inst 2-1=1-1+open 2-2=1-1+meta 2-exp=inst+1-1 "));
    assert_string_equal(name_of(&s, result.best), "2-exp");
    assert_true(result.score == 66);
    assert_int_equal(result.end, EMR_SEARCH_END_STEADY);
    assert_string_equal(s.released, ""); /* any of them may be a partner yet */
    emr_search_destroy(&s.search);
}

static void equal_scores_are_ranked_by_name(void **state)
{
    static const char *const names[] = {"c", "b", "a", NULL};
    emr_search_options options = EMR_INIT(emr_search_options);
    script s = {0};
    (void)state;
    options.k = 2;
    options.partner = EMR_SEARCH_PARTNER_NONE;
    emr_search_result result = follow_script(&s, &options, names);
    assert_string_equal(s.merges, "1-1=c+b 1-2=c+a 1-3=b+a 2-1=1-1+1-2 "); /* '1' comes before letters */
    assert_string_equal(s.released, "1-3 2-1 ");
    assert_string_equal(name_of(&s, result.best), "1-1");
    assert_int_equal(result.generation, 2);
    emr_search_destroy(&s.search);
}

static void one_model_is_its_own_best(void **state)
{
    static const char *const names[] = {"only", NULL};
    script s = {0};
    (void)state;
    emr_search_result result = follow_script(&s, NULL, names);
    assert_string_equal(s.merges, "");
    assert_int_equal(result.best, 0);
    assert_int_equal(result.end, EMR_SEARCH_END_STEADY);
    assert_true(isnan(result.kinship));
    emr_search_destroy(&s.search);
}

/* Three is more than there are, and each merge joins those that are merged next. */
static void two_models_are_enough(void **state)
{
    static const char *const names[] = {"a", "b", NULL};
    static const told_score scores[] = {{"a", 3}, {"b", 2}, {"1-1", 4}, {NULL, 0}};
    script s = {.scores = scores};
    (void)state;
    emr_search_result result = follow_script(&s, NULL, names);
    assert_string_equal(s.merges, "1-1=a+b 2-1=1-1+a 2-2=1-1+b ");
    assert_string_equal(name_of(&s, result.best), "1-1");
    assert_int_equal(result.n_scored, 5);
    emr_search_destroy(&s.search);
}

static void models_without_a_score_are_out(void **state)
{
    static const char *const names[] = {"a", "bad", "b", NULL};
    static const told_score scores[] = {{"a", 3}, {"bad", NAN}, {"b", 2}, {"1-2", INFINITY}, {NULL, 0}};
    script s = {.scores = scores};
    (void)state;
    emr_search_result result = follow_script(&s, NULL, names);
    assert_string_equal(s.merges, "1-2=a+b "); /* the second pair of three, and endlessly good is no score */
    assert_string_equal(s.released, "1-2 ");
    assert_int_equal(result.best, 0);
    assert_int_equal(result.n_models, 4);
    assert_int_equal(result.n_scored, 2);
    emr_search_destroy(&s.search);
}

static void likeness_ends_a_search(void **state)
{
    static const char *const names[] = {"a", "b", NULL};
    static const told_score kinships[] = {{"a/b", 0.95}, {"a/1-1", 0.96}, {"b/1-1", 0.97}, {NULL, 0}};
    emr_search_options options = EMR_INIT(emr_search_options);
    script s = {.kinships = kinships};
    (void)state;
    options.use_stop_kinship = 1;
    options.stop_kinship = 0.9;
    emr_search_result result = follow_script(&s, &options, names);
    assert_string_equal(s.merges, "1-1=a+b ");
    assert_int_equal(result.end, EMR_SEARCH_END_KINSHIP);
    assert_true(fabs(result.kinship - 0.96) < 1e-15);
    emr_search_destroy(&s.search);
}

/* ---- what goes wrong ---- */

static void a_failing_callback_ends_it(void **state)
{
    static const struct {
        emr_status given, returned;
    } statuses[] = {
        {EMR_ECANCELED, EMR_ECANCELED}, {EMR_ENOMEM, EMR_ENOMEM}, {EMR_EFORMAT, EMR_EIO}, {1, EMR_EIO}};
    static world w;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (size_t at = 0;; at++) {
            emr_search_result result = EMR_INIT(emr_search_result);
            emr_error error = {.text = ""};
            fill_world(&w, 5, 16, 0);
            w.fail_at = at;
            w.fail_with = statuses[i].given;
            emr_status status = search_world(&w, NULL, 4, &result, &error);
            assert_int_equal(status, w.calls > at ? statuses[i].returned : EMR_OK);
            assert_true(!status || strstr(error.text, "the host says no"));
            if (status)
                assert_int_equal(emr_search_get_result(w.search, &result), EMR_ESTATE);
            emr_search_destroy(&w.search);
            if (!status)
                break;
        }
    }
}

static void no_memory_is_said_and_nothing_leaks(void **state)
{
    static world w;
    test_allocator counts = {0, 0, SIZE_MAX};
    const emr_allocator allocator = test_allocator_make(&counts);
    emr_search_options options = EMR_INIT(emr_search_options);
    emr_search_host host = whole_host;
    size_t n_failed = 0;
    emr_status status = EMR_ENOMEM;
    (void)state;
    options.allocator = &allocator;
    host.user = &w;
    while (status) {
        emr_error error;
        fill_world(&w, 11, 64, 0);
        counts = (test_allocator){0, 0, n_failed};
        status = emr_search_create(&w.search, &options, &error);
        for (size_t i = 0; !status && i < 5; i++)
            status = emr_search_add_model(w.search, given_names[i], &error);
        if (!status)
            status = emr_search_run(w.search, &host, &error);
        assert_int_equal(status, counts.requests > n_failed ? EMR_ENOMEM : EMR_OK);
        emr_search_destroy(&w.search);
        assert_int_equal(counts.alive, 0);
        n_failed++;
    }
    assert_true(n_failed > 20);
}

static void bad_options_and_names_are_refused(void **state)
{
    static const char *const wrong[] = {"", "1-1", "12-exp", "0-0", NULL}, *const right[] = {
                                                                               "1-",  "-1", "1-1a",
                                                                               "exp", "1",  "1-exp2"};
    emr_search_options options[4];
    emr_search *search;
    emr_error error;
    char longest[257];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        options[i] = EMR_INIT(emr_search_options);
    options[0].partner = 3;
    options[1].pool = 3;
    options[2].k = 65537;
    options[3].use_stop_kinship = 1;
    options[3].stop_kinship = NAN;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(emr_search_create(&search, &options[i], &error), EMR_EINVAL);
    assert_ok(emr_search_create(&search, NULL, &error), &error);
    memset(longest, 'x', 256);
    longest[256] = '\0';
    assert_int_equal(emr_search_add_model(search, longest, &error), EMR_EINVAL);
    assert_ok(emr_search_add_model(search, longest + 1, &error), &error);
    assert_int_equal(emr_search_add_model(search, longest + 1, &error), EMR_EEXIST);
    for (size_t i = 0; wrong[i]; i++)
        assert_int_equal(emr_search_add_model(search, wrong[i], &error), EMR_EINVAL);
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        assert_ok(emr_search_add_model(search, right[i], &error), &error);
    emr_search_destroy(&search);
}

static void a_search_of_nothing_is_refused(void **state)
{
    static world w;
    emr_search_host host = whole_host;
    emr_search *search;
    emr_error error;
    (void)state;
    host.user = &w;
    assert_ok(emr_search_create(&search, NULL, &error), &error);
    assert_int_equal(emr_search_run(search, &host, &error), EMR_EINVAL);
    assert_ok(emr_search_add_model(search, "a", &error), &error);
    host.evaluate = NULL;
    assert_int_equal(emr_search_run(search, &host, &error), EMR_EINVAL);
    host = whole_host;
    host.merge = NULL;
    assert_int_equal(emr_search_run(search, &host, &error), EMR_EINVAL);
    emr_search_destroy(&search);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_is_the_algorithm_written_down_once_more),
        cmocka_unit_test(the_best_meets_what_is_least_like_it),
        cmocka_unit_test(equal_scores_are_ranked_by_name),
        cmocka_unit_test(one_model_is_its_own_best),
        cmocka_unit_test(two_models_are_enough),
        cmocka_unit_test(models_without_a_score_are_out),
        cmocka_unit_test(likeness_ends_a_search),
        cmocka_unit_test(a_failing_callback_ends_it),
        cmocka_unit_test(no_memory_is_said_and_nothing_leaks),
        cmocka_unit_test(bad_options_and_names_are_refused),
        cmocka_unit_test(a_search_of_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
