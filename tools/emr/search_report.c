/* search_report.c - what a search will take, what it does, and what came out. */
#define _POSIX_C_SOURCE 200809L

#include "folder.h"
#include "searching.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* ---- while it works ---- */

static void print_values(const json_t *values)
{
    const char *parameter, *task;
    json_t *value, *number;
    json_object_foreach((json_t *)(uintptr_t)values, parameter, value)
    {
        printf("  %s", parameter);
        if (json_is_number(value))
            printf(" %.4g", json_number_value(value));
        json_object_foreach(value, task, number) printf(" %.4g", json_number_value(number));
    }
}

void print_scored(const search_job *j, const char *name, const json_t *entry, bool is_known)
{
    const json_t *parents = json_object_get(entry, "parents"), *kinship = json_object_get(entry, "kinship"),
                 *score = json_object_get(entry, "score");
    const char *why = json_string_value(json_object_get(entry, "failure"));
    if (j->a->quiet || j->a->json)
        return;
    print_name(name, 16);
    if (json_is_number(score))
        printf("  %-12.8g", json_number_value(score));
    else
        printf("  no score: %s", why ? why : "?");
    if (parents) {
        fputs("  ", stdout);
        print_name(json_string_value(json_array_get(parents, 0)), 0);
        fputs(" + ", stdout);
        print_name(json_string_value(json_array_get(parents, 1)), 0);
    }
    if (json_is_number(kinship))
        printf("  kinship %.4f", json_number_value(kinship));
    print_values(json_object_get(entry, "values"));
    puts(is_known ? "  (from the log)" : "");
    fflush(stdout);
}

/* ---- before it ---- */

/* How much there may be of what. */
typedef struct search_size {
    uint64_t models;  /* that are scored at most, those that are given included */
    uint64_t on_disk; /* candidates that are there at a time */
    uint64_t bytes;   /* of one */
    uint64_t disk;    /* of those */
    uint64_t free;    /* in the folder's file system; UINT64_MAX: not known */
} search_size;

static uint64_t pairs_of(uint64_t n)
{
    return n * (n - 1) / 2;
}

/* With the whole pool, every candidate may yet be somebody's partner. */
static void size_generations(const search_job *j, search_size *size)
{
    const search_arguments *s = &j->a->search;
    uint64_t n = j->a->n_tasks, k = s->k ? s->k : 3, generations = s->generations ? s->generations : 20;
    bool has_partner = s->partner != EMR_SEARCH_PARTNER_NONE;
    uint64_t first = n ? pairs_of(n) : 0, later = pairs_of(k) + has_partner;
    uint64_t all = first + (n > 1 ? (generations - 1) * later : 0);
    size->models = n + all;
    uint64_t pool = s->pool == EMR_SEARCH_POOL_LAST ? k + (first > later ? first : later) : k;
    size->on_disk = s->keep_all || (has_partner && s->pool == EMR_SEARCH_POOL_ALL)
                        ? all
                        : pool + (first > later ? first : later);
    size->on_disk = size->on_disk < all ? size->on_disk : all;
}

static void size_trials(const search_job *j, search_size *size)
{
    size->models = j->a->search.trials;
    size->on_disk = j->a->search.keep_all || size->models < 2 ? size->models : 2;
}

static uint64_t free_bytes(const char *output)
{
    struct statvfs about;
    char *place = path_exists(output) ? strdup(output) : path_folder(output);
    bool known = place && statvfs(*place ? place : ".", &about) == 0;
    free(place);
    return known ? (uint64_t)about.f_bavail * about.f_frsize : UINT64_MAX;
}

/* The first candidate stands for all of them. */
static emr_status size_candidate(search_job *j, search_size *size, emr_error *error)
{
    emr_combination *combination = NULL;
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    emr_status status = EMR_OK;
    if (j->a->search.trials) {
        double *values = calloc(n_varied_values(j), sizeof *values);
        emr_trial_draw(j->a->seed, 1, values ? n_varied_values(j) : 0, values);
        status = values ? open_trial(&combination, j, values, error) : EMR_ENOMEM;
        free(values);
    } else {
        const char *const names[2] = {j->a->tasks[0].name, j->a->n_tasks > 1 ? j->a->tasks[1].name : ""};
        const emr_model *const models[2] = {j->inputs.models[0], j->inputs.models[j->a->n_tasks > 1]};
        if (j->a->n_tasks > 1)
            status = open_pair(&combination, j, names, models, error);
    }
    if (!status && combination)
        status = emr_combination_get_plan(combination, &plan, error);
    emr_combination_destroy(&combination);
    size->bytes = plan.bytes_out;
    return status;
}

emr_status check_first_candidate(search_job *j, emr_error *error)
{
    search_size size;
    return size_candidate(j, &size, error);
}

static int print_plan_json(const search_job *j, const search_size *size)
{
    return print_json(json_pack(
        "{s:o, s:s, s:I, s:I, s:I, s:I, s:o}", "output", j->a->output ? text_json(j->a->output) : json_null(),
        "method", j->method->name, "models_at_most", (json_int_t)size->models, "candidates_on_disk_at_most",
        (json_int_t)size->on_disk, "candidate_bytes", (json_int_t)size->bytes, "disk_bytes_at_most",
        (json_int_t)size->disk, "free_bytes",
        size->free == UINT64_MAX ? json_null() : json_integer((json_int_t)size->free)));
}

emr_status print_search_plan(search_job *j, emr_error *error)
{
    search_size size = {0};
    char one[32], all[32], left[32];
    emr_status status = size_candidate(j, &size, error);
    if (status)
        return status;
    if (j->a->search.trials)
        size_trials(j, &size);
    else
        size_generations(j, &size);
    size.disk = size.bytes && size.on_disk > UINT64_MAX / size.bytes ? UINT64_MAX : size.bytes * size.on_disk;
    size.free = j->a->output ? free_bytes(j->a->output) : UINT64_MAX;
    if (j->a->json)
        return print_plan_json(j, &size) ? EMR_EIO : EMR_OK;
    printf("%s by %s: at most %llu models to score\n", j->a->search.trials ? "trials" : "greedy merging",
           j->method->name, (unsigned long long)size.models);
    printf("a candidate has %s; at most %llu at a time: %s", size_text(size.bytes, one),
           (unsigned long long)size.on_disk, size_text(size.disk, all));
    if (size.free != UINT64_MAX)
        printf(", of %s that are free", size_text(size.free, left));
    putchar('\n');
    return EMR_OK;
}

/* ---- after it ---- */

static const char *const end_texts[] = {"?", "a generation left the k best as they were",
                                        "the k best are more alike than --stop-kinship",
                                        "all generations are done"};
static const char *const end_names[] = {"?", "steady", "kinship", "generations"};

static emr_search_candidate greedy_candidate(const search_job *j, uint32_t i)
{
    emr_search_candidate c = EMR_INIT(emr_search_candidate);
    emr_search_get_candidate(j->search, i, &c);
    return c;
}

static char *path_of_best(const search_job *j, const emr_search_candidate *best)
{
    return best->generation ? candidate_path(j, best->name) : strdup(j->a->tasks[best->number].path);
}

static json_t *candidate_json(const search_job *j, const emr_search_candidate *c)
{
    json_t *object = json_pack("{s:s, s:i, s:o, s:o}", "name", c->name, "generation", (int)c->generation,
                               "score", score_json(c->score), "kinship", score_json(c->kinship));
    if (c->generation)
        json_object_set_new(
            object, "parents",
            json_pack("[s, s]", greedy_candidate(j, c->first).name, greedy_candidate(j, c->second).name));
    return object;
}

static json_t *counts_json(const search_job *j)
{
    char *log = join_path(j->a->output, SEARCH_LOG_NAME);
    json_t *object = json_pack("{s:o, s:o, s:I, s:I, s:I}", "output", text_json(j->a->output), "log",
                               text_json(log ? log : SEARCH_LOG_NAME), "scored", (json_int_t)j->n_scored,
                               "from_log", (json_int_t)j->n_known, "without_score", (json_int_t)j->n_failed);
    free(log);
    return object;
}

static int report_greedy_json(const search_job *j, const emr_search_result *result, const char *path)
{
    emr_search_candidate best = greedy_candidate(j, result->best);
    json_t *root = counts_json(j), *all = json_array(), *winner = candidate_json(j, &best);
    json_object_set_new(winner, "path", text_json(path));
    json_object_set_new(root, "best", winner);
    json_object_set_new(root, "end", json_string(end_names[result->end]));
    json_object_set_new(root, "generations", json_integer(result->generation));
    json_object_set_new(root, "kinship", score_json(result->kinship));
    for (uint32_t i = 0; i < result->n_models; i++) {
        emr_search_candidate c = greedy_candidate(j, i);
        json_array_append_new(all, candidate_json(j, &c));
    }
    json_object_set_new(root, "candidates", all);
    return print_json(root);
}

static void print_counts(const search_job *j)
{
    uint64_t n = j->n_scored + j->n_known;
    printf("%llu model%s scored", (unsigned long long)n, n == 1 ? "" : "s");
    if (j->n_known)
        printf(", %llu of them from the log", (unsigned long long)j->n_known);
    if (j->n_failed)
        printf("; %llu had no score and were left out", (unsigned long long)j->n_failed);
    putchar('\n');
}

static int report_greedy(const search_job *j)
{
    emr_search_result result = EMR_INIT(emr_search_result);
    emr_search_get_result(j->search, &result);
    emr_search_candidate best = greedy_candidate(j, result.best);
    char *path = path_of_best(j, &best);
    int exit_status = EXIT_DONE;
    if (j->a->json) {
        exit_status = report_greedy_json(j, &result, path ? path : "");
    } else if (!j->a->quiet) {
        print_counts(j);
        printf("ended with generation %u: %s\n", result.generation, end_texts[result.end]);
        printf("best: ");
        print_name(path ? path : best.name, 0);
        printf(", score %.8g%s\n", best.score, best.generation ? "" : ", which no merge was better than");
    }
    free(path);
    return exit_status;
}

static int report_trials(const search_job *j)
{
    char name[32];
    const emr_trial *best = &j->best_trial;
    snprintf(name, sizeof name, "trial-%u", best->number);
    char *path = candidate_path(j, name);
    json_t *values = trial_values_json(j, best);
    int exit_status = EXIT_DONE;
    if (j->a->json) {
        json_t *root = counts_json(j);
        json_object_set_new(root, "best",
                            json_pack("{s:s, s:o, s:f, s:i, s:O}", "name", name, "path",
                                      text_json(path ? path : name), "score", best->score, "trial",
                                      (int)best->number, "values", values));
        json_object_set_new(root, "trials", json_integer(j->a->search.trials));
        exit_status = print_json(root);
    } else if (!j->a->quiet) {
        print_counts(j);
        printf("best: ");
        print_name(path ? path : name, 0);
        printf(", score %.8g:", best->score);
        print_values(values);
        putchar('\n');
    }
    json_decref(values);
    free(path);
    return exit_status;
}

int print_search_report(const search_job *j)
{
    return j->a->search.trials ? report_trials(j) : report_greedy(j);
}
