/* search.c - looks for the best merge of some networks, with the host's own way of scoring them: mean accuracy over the
 * digit tasks. Candidates stay in memory; SLERP makes them, kinship guides the search.
 *
 *     search DIGITS
 *
 * DIGITS is examples/digits: models/ and heldout.safetensors. The search with the least kin partner, the one with the
 * most kin one and the one without must each find a model that is better than all it began with; and what each found
 * must be the middle of its two parents on the great circle, computed here once more, and score the same again. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"

enum { N_TASKS = 4, MODELS_MAX = 256, PATH_SIZE = 4096, N_TENSORS = 6 };

static const char *const task_names[N_TASKS] = {"digit", "parity", "thirds", "loops"};

/* One model: its parameters, and the emr_model whose tensors lie in them. */
typedef struct entry {
    network *net;
    emr_model *model;
} entry;

typedef struct world {
    emr_model *base, *heldout;
    samples samples[N_TASKS];
    entry entries[MODELS_MAX];
    emr_search *search;
} world;

static const struct {
    const char *name;
    uint64_t shape[2];
    uint32_t rank;
} tensors[N_TENSORS] = {
    {"fc1.weight", {N_HIDDEN, N_PIXELS}, 2}, {"fc1.bias", {N_HIDDEN, 0}, 1},
    {"fc2.weight", {N_HIDDEN, N_HIDDEN}, 2}, {"fc2.bias", {N_HIDDEN, 0}, 1},
    {"fc3.weight", {N_LOGITS, N_HIDDEN}, 2}, {"fc3.bias", {N_LOGITS, 0}, 1},
};

static size_t count_of(size_t i)
{
    return (size_t)(tensors[i].shape[0] * (tensors[i].rank == 2 ? tensors[i].shape[1] : 1));
}

/* Reads the model into memory, and makes one of that. */
static emr_status keep_network(entry *e, const emr_model *from, emr_error *error)
{
    e->net = malloc(sizeof *e->net);
    emr_status status = e->net ? network_read(e->net, from, error) : EMR_ENOMEM;
    if (!status)
        status = emr_model_create(&e->model, NULL, error);
    const float *next = e->net ? e->net->parameters : NULL;
    for (size_t i = 0; !status && i < N_TENSORS; i++, next += count_of(i - 1)) {
        const emr_tensor_desc desc = {.size = sizeof desc,
                                      .name = tensors[i].name,
                                      .shape = tensors[i].shape,
                                      .rank = tensors[i].rank,
                                      .dtype = EMR_DTYPE_F32,
                                      .data = next};
        status = emr_model_add(e->model, &desc, error);
    }
    return status;
}

static void drop_network(entry *e)
{
    emr_model_destroy(&e->model);
    free(e->net);
    e->net = NULL;
}

/* ---- what the search asks for ---- */

static const char *name_of(const world *w, uint32_t number)
{
    emr_search_candidate c = EMR_INIT(emr_search_candidate);
    return emr_search_get_candidate(w->search, number, &c) == EMR_OK ? c.name : "?";
}

static emr_status merge_two(void *user, const emr_search_candidate *c, emr_error *error)
{
    world *w = user;
    emr_combination *pair = NULL;
    emr_model *merged = NULL;
    const emr_combination_options options = {.size = sizeof options, .method = emr_method_find("slerp")};
    if (c->number >= MODELS_MAX)
        return emr_error_set(error, EMR_ELIMIT, 0, NULL, "more models than this example has room for");
    emr_status status = emr_combination_create(&pair, &options, error);
    if (!status)
        status = emr_combination_add_task(pair, name_of(w, c->first), w->entries[c->first].model, error);
    if (!status)
        status = emr_combination_add_task(pair, name_of(w, c->second), w->entries[c->second].model, error);
    if (!status)
        status = emr_combination_set_parameter(pair, "t", EMR_EVERY_TASK, NULL, 0.5, error);
    if (!status)
        status = emr_combination_open_model(pair, &merged, error);
    if (!status)
        status = keep_network(&w->entries[c->number], merged, error);
    emr_model_destroy(&merged);
    emr_combination_destroy(&pair);
    return status;
}

static double mean_accuracy(const world *w, const network *net)
{
    double sum = 0;
    for (int t = 0; t < N_TASKS; t++)
        sum += network_accuracy(net, &w->samples[t]);
    return sum / N_TASKS;
}

static emr_status score_one(void *user, const emr_search_candidate *c, double *score, emr_error *error)
{
    const world *w = user;
    (void)error;
    *score = mean_accuracy(w, w->entries[c->number].net);
    return EMR_OK;
}

/* Pearson's correlation of the task vectors. */
static emr_status compare_two(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error)
{
    const world *w = user;
    emr_statistics *s = NULL;
    emr_statistics_group group = EMR_INIT(emr_statistics_group);
    double matrix[4];
    emr_status status = emr_statistics_create(&s, NULL, error);
    if (!status)
        status = emr_statistics_set_base(s, w->base, error);
    if (!status)
        status = emr_statistics_add_task(s, "a", w->entries[a].model, error);
    if (!status)
        status = emr_statistics_add_task(s, "b", w->entries[b].model, error);
    if (!status)
        status = emr_statistics_run(s, error);
    if (!status)
        status = emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, &group);
    if (!status)
        status = emr_kinship(&group, NULL, matrix, error);
    emr_statistics_destroy(&s);
    *similarity = status ? 0 : matrix[1];
    return status;
}

static void release_one(void *user, uint32_t number)
{
    drop_network(&((world *)user)->entries[number]);
}

/* ---- one search, and whether it holds ---- */

/* The middle of two tensors on the great circle: (a + b) / (2 cos(angle / 2)). */
static double distance_from_middle(const float *a, const float *b, const float *m, size_t n)
{
    double aa = 0, bb = 0, ab = 0, furthest = 0;
    for (size_t i = 0; i < n; i++) {
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
        ab += (double)a[i] * b[i];
    }
    double cosine = ab / sqrt(aa * bb), scale = cosine > 0.9995 ? 0.5 : 0.5 / sqrt((1 + cosine) / 2);
    for (size_t i = 0; i < n; i++)
        furthest = fmax(furthest, fabs(scale * ((double)a[i] + b[i]) - m[i]));
    return furthest;
}

static int is_middle(const world *w, const emr_search_candidate *c)
{
    const network *a = w->entries[c->first].net, *b = w->entries[c->second].net,
                  *m = w->entries[c->number].net;
    double furthest = 0;
    for (size_t i = 0, at = 0; i < N_TENSORS; at += count_of(i), i++)
        furthest = fmax(furthest, distance_from_middle(a->parameters + at, b->parameters + at,
                                                       m->parameters + at, count_of(i)));
    return furthest < 1e-6;
}

static int check_best(const world *w, const emr_search_result *result)
{
    emr_search_candidate best = EMR_INIT(emr_search_candidate), given = EMR_INIT(emr_search_candidate);
    int right = emr_search_get_candidate(w->search, result->best, &best) == EMR_OK && best.generation > 0;
    for (uint32_t t = 0; right && t < N_TASKS; t++)
        right = emr_search_get_candidate(w->search, t, &given) == EMR_OK && given.score < best.score;
    right = right && is_middle(w, &best) && !(mean_accuracy(w, w->entries[best.number].net) != best.score);
    printf("%-8s %6.2f %%  %3u models, %2u generations  %s\n", best.name, best.score, result->n_models,
           result->generation, right ? "" : "WRONG");
    return right ? 0 : 1;
}

static int run_one(world *w, emr_search_partner partner, emr_error *error)
{
    const emr_search_options options = {.size = sizeof options, .partner = partner, .max_generations = 4};
    const emr_search_host host = {
        .size = sizeof host,
        .user = w,
        .merge = merge_two,
        .evaluate = score_one,
        .similarity = compare_two,
        /* check_best looks at the parents, which only without a partner could be gone */
        .release = partner == EMR_SEARCH_PARTNER_NONE ? NULL : release_one};
    emr_search_result result = EMR_INIT(emr_search_result);
    emr_status status = emr_search_create(&w->search, &options, error);
    for (int t = 0; !status && t < N_TASKS; t++)
        status = emr_search_add_model(w->search, task_names[t], error);
    if (!status)
        status = emr_search_run(w->search, &host, error);
    if (!status)
        status = emr_search_get_result(w->search, &result);
    int wrong = status ? 1 : check_best(w, &result);
    emr_search_destroy(&w->search);
    for (size_t i = N_TASKS; i < MODELS_MAX; i++)
        drop_network(&w->entries[i]);
    return wrong;
}

static emr_status open_world(world *w, const char *folder, emr_error *error)
{
    char path[PATH_SIZE];
    emr_model *model = NULL;
    snprintf(path, sizeof path, "%s/models/pretrained.safetensors", folder);
    emr_status status = emr_checkpoint_open(&w->base, path, NULL, error);
    snprintf(path, sizeof path, "%s/heldout.safetensors", folder);
    if (!status)
        status = emr_checkpoint_open(&w->heldout, path, NULL, error);
    for (int t = 0; !status && t < N_TASKS; t++) {
        snprintf(path, sizeof path, "%s/models/%s.safetensors", folder, task_names[t]);
        status = emr_checkpoint_open(&model, path, NULL, error);
        if (!status)
            status = keep_network(&w->entries[t], model, error);
        if (!status)
            status = samples_read(&w->samples[t], w->heldout, task_names[t], error);
        emr_model_destroy(&model);
    }
    return status;
}

int main(int argc, char **argv)
{
    static world w;
    static const struct {
        const char *what;
        emr_search_partner partner;
    } ways[] = {{"least kin partner", EMR_SEARCH_PARTNER_LOWEST},
                {"most kin partner", EMR_SEARCH_PARTNER_HIGHEST},
                {"no partner", EMR_SEARCH_PARTNER_NONE}};
    emr_error error = {.text = ""};
    int wrong = argc == 2 ? 0 : 1;
    if (wrong)
        fprintf(stderr, "usage: search DIGITS (the folder examples/digits)\n");
    else
        wrong = open_world(&w, argv[1], &error) != EMR_OK;
    for (int t = 0; !wrong && t < N_TASKS; t++)
        printf("%-18s %-8s %6.2f %%\n", "given", task_names[t], mean_accuracy(&w, w.entries[t].net));
    for (size_t i = 0; !wrong && i < sizeof ways / sizeof ways[0]; i++) {
        printf("%-18s ", ways[i].what);
        wrong = run_one(&w, ways[i].partner, &error);
    }
    if (error.text[0])
        fprintf(stderr, "search: %s\n", error.text);
    for (size_t t = 0; t < N_TASKS; t++)
        drop_network(&w.entries[t]);
    emr_model_destroy(&w.base);
    emr_model_destroy(&w.heldout);
    return wrong;
}
