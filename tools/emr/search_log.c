/* search_log.c - the log of a search: what it was asked for, then a line for each model that was scored and each pair that
 * was compared. A run that was cut off goes on by doing the same again, and finding here what is known. */
#define _POSIX_C_SOURCE 200809L

#include "folder.h"
#include "searching.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct search_log {
    FILE *file; /* for reading, once; what is written does not go through it */
    int descriptor;
    char *path;
    json_t *scores;   /* entries by name */
    json_t *kinships; /* by the first one's name, by the second one's */
    json_t *end;      /* the last of its kind, or NULL */
};

json_t *score_json(double score)
{
    return isfinite(score) ? json_real(score) : json_null();
}

static double json_score(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* ---- writing ---- */

static emr_status log_failed(const search_log *log, emr_error *error)
{
    return emr_error_set(error, EMR_EIO, errno, log->path, strerror(errno));
}

static emr_status write_whole(const search_log *log, const char *bytes, size_t n, emr_error *error)
{
    while (n) {
        ssize_t written = write(log->descriptor, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return log_failed(log, error);
        bytes += written;
        n -= (size_t)written;
    }
    return fsync(log->descriptor) && errno != EINVAL && errno != EROFS ? log_failed(log, error) : EMR_OK;
}

/* Takes the object over. */
static emr_status append_object(search_log *log, json_t *object, emr_error *error)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!text)
        return EMR_ENOMEM;
    size_t n = strlen(text);
    text[n] = '\n'; /* in the place of the zero byte: one write, so that a line is whole or the last */
    emr_status status = write_whole(log, text, n + 1, error);
    free(text);
    return status;
}

/* ---- what is known ---- */

const json_t *find_logged(const search_log *log, const char *name)
{
    return json_object_get(log->scores, name);
}

emr_status log_score(search_log *log, json_t *entry, emr_error *error)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (!name || json_object_set(log->scores, name, entry)) {
        json_decref(entry);
        return EMR_ENOMEM;
    }
    return append_object(log, entry, error);
}

bool find_logged_kinship(const search_log *log, const char *a, const char *b, double *kinship)
{
    const json_t *known = json_object_get(json_object_get(log->kinships, a), b);
    *kinship = json_score(known);
    return known != NULL;
}

static bool keep_kinship(search_log *log, const char *a, const char *b, json_t *value)
{
    json_t *row = json_object_get(log->kinships, a);
    if (!row) {
        row = json_object();
        if (json_object_set_new(log->kinships, a, row))
            return false;
    }
    return json_object_set_new(row, b, value) == 0;
}

emr_status log_kinship(search_log *log, const char *a, const char *b, double kinship, emr_error *error)
{
    if (!keep_kinship(log, a, b, score_json(kinship)))
        return EMR_ENOMEM;
    return append_object(log, json_pack("{s:[s, s], s:o}", "compared", a, b, "kinship", score_json(kinship)),
                         error);
}

emr_status log_end(search_log *log, json_t *entry, emr_error *error)
{
    if (json_equal(log->end, entry)) {
        json_decref(entry);
        return EMR_OK;
    }
    return append_object(log, entry, error);
}

/* ---- reading ---- */

/* The first setting that differs, for the message. */
static emr_status check_settings(const search_log *log, const json_t *header, json_t *settings,
                                 emr_error *error)
{
    json_t *logged = json_object_get(header, "settings"), *value;
    const char *key;
    if (!json_is_integer(json_object_get(header, "emr_search")) || !json_is_object(logged))
        return fail_with(error, EMR_EFORMAT, log->path, "is no log of emr search");
    if (json_integer_value(json_object_get(header, "emr_search")) != 1)
        return fail_with(error, EMR_EVERSION, log->path, "was made by a newer version of emr search");
    json_object_foreach(settings, key, value)
    {
        if (!json_equal(json_object_get(logged, key), value))
            return fail_with(error, EMR_EINVAL, log->path,
                             "is the log of a search with other settings (%s): choose another folder", key);
    }
    return json_object_size(logged) == json_object_size(settings)
               ? EMR_OK
               : fail_with(error, EMR_EINVAL, log->path,
                           "is the log of a search with other settings: choose another folder");
}

static bool keep_line(search_log *log, json_t *line, bool retry)
{
    const json_t *pair = json_object_get(line, "compared"), *score = json_object_get(line, "score");
    const char *name = json_string_value(json_object_get(line, "name"));
    const char *a = json_string_value(json_array_get(pair, 0)),
               *b = json_string_value(json_array_get(pair, 1));
    if (a && b)
        return keep_kinship(log, a, b, json_incref(json_object_get(line, "kinship")));
    if (name && score)
        return (json_is_null(score) && retry) || json_object_set(log->scores, name, line) == 0;
    if (json_object_get(line, "end")) {
        json_decref(log->end);
        log->end = json_incref(line);
    }
    return true;
}

static emr_status take_line(search_log *log, const char *text, unsigned number, json_t *settings, bool retry,
                            emr_error *error)
{
    json_t *line = json_loads(text, 0, NULL);
    emr_status status = EMR_OK;
    if (!json_is_object(line))
        status = fail_with(error, EMR_EFORMAT, log->path, "line %u is damaged", number);
    else if (number == 1)
        status = check_settings(log, line, settings, error);
    else if (!keep_line(log, line, retry))
        status = EMR_ENOMEM;
    json_decref(line);
    return status;
}

/* What a run that was cut off in the middle of a line left of it goes. */
static emr_status read_log(search_log *log, json_t *settings, bool retry, emr_error *error)
{
    char *text = NULL;
    size_t capacity = 0;
    ssize_t n;
    unsigned number = 0;
    off_t whole = 0;
    emr_status status = EMR_OK;
    rewind(log->file);
    while (!status && (n = getline(&text, &capacity, log->file)) > 0 && text[n - 1] == '\n') {
        status = take_line(log, text, ++number, settings, retry, error);
        whole += n;
    }
    if (!status && (ferror(log->file) || ftruncate(log->descriptor, whole)))
        status = log_failed(log, error);
    free(text);
    if (!status && !number)
        status = append_object(log, json_pack("{s:i, s:O}", "emr_search", 1, "settings", settings), error);
    return status;
}

/* One run at a time. */
static emr_status lock_log(search_log *log, emr_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(log->descriptor, F_SETLK, &lock) == 0)
        return EMR_OK;
    if (errno == EACCES || errno == EAGAIN)
        return fail_with(error, EMR_EEXIST, log->path, "another emr search is at work there");
    return EMR_OK; /* a file system without locks */
}

emr_status open_search_log(search_log **log, const char *place, json_t *settings, bool retry,
                           emr_error *error)
{
    search_log *l = calloc(1, sizeof *l);
    emr_status status = l && settings ? EMR_OK : EMR_ENOMEM;
    *log = l;
    if (!status) {
        l->path = join_path(place, SEARCH_LOG_NAME);
        l->scores = json_object();
        l->kinships = json_object();
        l->descriptor = l->path ? open(l->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
        status = !l->path || !l->scores || !l->kinships ? EMR_ENOMEM : EMR_OK;
    }
    if (!status)
        l->file = l->descriptor < 0 ? NULL : fdopen(l->descriptor, "a+");
    if (!status && !l->file)
        status = log_failed(l, error);
    if (!status)
        status = lock_log(l, error);
    if (!status)
        status = read_log(l, settings, retry, error);
    json_decref(settings);
    return status;
}

void close_search_log(search_log **log)
{
    search_log *l = *log;
    if (!l)
        return;
    if (l->file)
        fclose(l->file);
    free(l->path);
    json_decref(l->scores);
    json_decref(l->kinships);
    json_decref(l->end);
    free(l);
    *log = NULL;
}
