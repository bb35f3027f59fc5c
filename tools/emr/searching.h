/* searching.h - what `emr search` holds: the models that it starts from, the folder in which it works, and its log. */
#ifndef EMR_TOOLS_SEARCHING_H
#define EMR_TOOLS_SEARCHING_H

#include "cli.h"

/* The file in the folder, a JSON object a line. */
#define SEARCH_LOG_NAME "search.jsonl"

/* What earlier runs found out, and where this one says what it does. */
typedef struct search_log search_log;

/* The log in the folder `place`, which is made where there is none. A log of other settings is EMR_EINVAL; one that another run
 * uses, EMR_EEXIST. `settings` is taken over. With `retry`, what failed is not known. */
emr_status open_search_log(search_log **log, const char *place, json_t *settings, bool retry,
                           emr_error *error);
void close_search_log(search_log **log);

/* A model's entry, or NULL. */
const json_t *find_logged(const search_log *log, const char *name);
/* An object with a member "name"; each is in the file, for good, when this returns. Taken over. */
emr_status log_score(search_log *log, json_t *entry, emr_error *error);
/* NaN: there is none. */
bool find_logged_kinship(const search_log *log, const char *a, const char *b, double *kinship);
emr_status log_kinship(search_log *log, const char *a, const char *b, double kinship, emr_error *error);
/* How a run ended, unless the last one ended so. Taken over. */
emr_status log_end(search_log *log, json_t *entry, emr_error *error);

/* A parameter that trials vary: of each task, or one for all. */
typedef struct varied_parameter {
    const char *name;
    bool is_per_task;
} varied_parameter;

typedef struct search_job {
    const arguments *a;
    merge_job inputs; /* base and models as they were given, and the session */
    const emr_method *method;
    const char *ending; /* of a candidate's path: "" for a folder */
    search_log *log;
    emr_search *search;
    emr_model **candidates; /* open ones, by number, from the first candidate on */
    size_t n_candidates;
    varied_parameter *varied;
    size_t n_varied;
    emr_trial best_trial;
    uint64_t n_scored, n_known, n_failed; /* by commands in this run, from the log, without a score */
    emr_status failed;                    /* why a callback ended the search */
    emr_error error;
} search_job;

/* "FOLDER/NAME.safetensors", or NULL: no memory. */
char *candidate_path(const search_job *j, const char *name);
bool has_candidate(const search_job *j, const char *name);
/* Writes what `combination` is under the candidate's name, where it appears when it is whole. */
emr_status write_candidate(const search_job *j, emr_combination *combination, const char *name,
                           emr_error *error);
void delete_candidate(const search_job *j, const char *name);
/* What runs that were cut off left half done. */
void delete_partial(const search_job *j, const char *name);

/* The folder that -o names: made where it is not there; refused where it holds anything but a search, or an input of
 * this one. Prints the error line and returns an exit status. */
int take_search_folder(const arguments *a);

/* Scores a model by the commands, and logs `facts` (taken over) with what came out. NaN: they gave no score. */
emr_status score_by_commands(search_job *j, const char *name, const char *path, json_t *facts, double *score);
/* What the log knows of it. False: nothing. */
bool score_by_log(search_job *j, const char *name, double *score);

/* Keeps why a callback failed, for the error line. */
emr_status keep_failure(search_job *j, emr_status status, emr_error *error);

/* The two strategies, once log and models are open; --dry-run; what came out. */
emr_status search_greedily(search_job *j, emr_error *error);
emr_status search_by_trials(search_job *j, emr_error *error);
emr_status take_varied(search_job *j, emr_error *error);
uint32_t n_varied_values(const search_job *j);
json_t *trial_values_json(const search_job *j, const emr_trial *trial);
emr_status check_first_candidate(search_job *j, emr_error *error);
emr_status print_search_plan(search_job *j, emr_error *error);
int print_search_report(const search_job *j);
void print_scored(const search_job *j, const char *name, const json_t *entry, bool is_known);

/* A pair of models as one combination, and all models with a trial's values. */
emr_status open_pair(emr_combination **combination, const search_job *j, const char *const names[2],
                     const emr_model *const models[2], emr_error *error);
emr_status open_trial(emr_combination **combination, const search_job *j, const double *values,
                      emr_error *error);

/* A number as JSON; null where it is not finite. */
json_t *score_json(double score);

#endif
