/* coefficients.c - the handle: its options, memory, and groups by name. */
#include "coefficients.h"

#include "coefficients_saved.h"
#include "elected.h"
#include "json.h"

#include <string.h>

enum { NAME_MAX_BYTES = 255, JOBS_A_WORKER = 32, ELECTED_MAX = 1 << 16 };

#define MEMORY_BYTES (UINT64_C(64) << 20)

void emr_coefficients_destroy(emr_coefficients **coefficients)
{
    if (!coefficients || !*coefficients)
        return;
    emr_coefficients *c = *coefficients;
    const fit_host host = c->host;
    for (uint32_t g = 0; g < c->n_groups; g++)
        fit_release(&host, c->groups[g].name);
    void *const arrays[] = {
        c->groups,       c->by_name,       c->group_of,        c->next,      c->all,
        c->sums,         c->has_gradient,  c->lambdas,         c->gradients, c->stream.waiting,
        c->stream.lanes, c->stream.totals, c->stream.job_lanes};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        fit_release(&host, arrays[i]);
    fit_crew_destroy(&c->crew);
    fit_vectors_release(c->vectors);
    fit_release(&host, c);
    *coefficients = NULL;
}

static emr_status bad_option(const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EINVAL, "emr_coefficients_options: %s", why);
}

static bool are_patterns(const char *const *patterns, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!patterns || !patterns[i])
            return false;
    return true;
}

static bool is_silent(const emr_coefficients_options *o)
{
    return !o->n_groups && !o->n_fixed && !o->n_exclude && !o->scope && !o->map && !o->use_initial &&
           !(o->initial < 0 || o->initial > 0) && !(o->keep > 0);
}

static emr_status check_options(const emr_coefficients_options *o, emr_error *error)
{
    if (!o->base || !o->tasks || !o->names || !o->n_tasks)
        return bad_option("base, tasks, names and n_tasks are required", error);
    if (!are_patterns(o->groups, o->n_groups) || !are_patterns(o->fixed, o->n_fixed) ||
        !are_patterns(o->exclude, o->n_exclude))
        return bad_option("patterns are required where their numbers are not 0", error);
    for (uint32_t i = 0; i < o->n_groups; i++)
        if (!fit_is_text(o->groups[i]))
            return bad_option("a pattern of groups is not valid UTF-8", error);
    if (o->scope > EMR_COEFFICIENT_SCOPE_MODEL || o->map > EMR_COEFFICIENT_MAP_SOFTMAX)
        return bad_option("scope or map is none that there is", error);
    if (!(o->keep >= 0 && o->keep <= 1))
        return bad_option("keep is a share from 0 to 1", error);
    if (!is_finite(o->initial))
        return bad_option("initial is not finite", error);
    if (o->map == EMR_COEFFICIENT_MAP_PROJECT && !(o->initial >= 0 && o->initial <= 1))
        return bad_option("initial is not from 0 to 1, to which this map clips", error);
    if (o->state && !is_silent(o))
        return bad_option(
            "groups, fixed, exclude, scope, map, initial and keep are those of the state: set none", error);
    for (uint32_t t = 0; t < o->n_tasks; t++) {
        if (!o->tasks[t] || !o->names[t] || !o->names[t][0] || strlen(o->names[t]) > NAME_MAX_BYTES)
            return bad_option("each task has a model and a name of 1 to 255 bytes", error);
        if (!fit_is_text(o->names[t]))
            return emr_error_format(error, EMR_EINVAL, "the task name '%K' is not valid UTF-8", o->names[t]);
        for (uint32_t s = 0; s < t; s++)
            if (strcmp(o->names[s], o->names[t]) == 0)
                return emr_error_format(error, EMR_EEXIST, "two tasks are called '%K'", o->names[t]);
    }
    return EMR_OK;
}

static emr_status create_vectors(emr_coefficients *c, const emr_coefficients_options *o, emr_error *error)
{
    fit_vectors *v = c->vectors = fit_allocate(&c->host, 1, sizeof *v);
    if (!v)
        return fit_no_memory(error);
    v->host = c->host;
    atomic_init(&v->references, 1);
    v->dots = fit_dots_select();
    v->base = o->base;
    v->n_tasks = o->n_tasks;
    v->are_vectors = o->are_vectors != 0;
    v->names = fit_allocate(&c->host, o->n_tasks, sizeof *v->names);
    for (uint32_t t = 0; v->names && t < o->n_tasks; t++)
        if (!(v->names[t] = fit_copy_string(&c->host, o->names[t])))
            return fit_no_memory(error);
    return v->names ? EMR_OK : fit_no_memory(error);
}

static uint64_t worker_bytes(const emr_coefficients *c, size_t piece)
{
    uint64_t lanes = (uint64_t)JOBS_A_WORKER * c->n_tasks * FIT_DOT_LANES * sizeof(double);
    return fit_room_bytes(c->vectors, piece) + lanes;
}

/* All tasks' elements of a piece, which are elected side by side. */
static bool is_beyond_caches(const emr_coefficients *c, size_t piece)
{
    return c->vectors->thresholds && (uint64_t)piece * c->n_tasks > ELECTED_MAX;
}

/* As large pieces and as many workers as memory allows: pieces first. */
static emr_status create_crew(emr_coefficients *c, emr_error *error)
{
    const uint64_t most = c->host.memory_bytes;
    size_t piece = FIT_PIECE_MAX, n = fit_concurrency(&c->host);
    while (piece > FIT_DOT_BLOCK && (worker_bytes(c, piece) > most || is_beyond_caches(c, piece)))
        piece /= 2;
    if (worker_bytes(c, piece) > most)
        return emr_error_format(
            error, EMR_ELIMIT,
            "emr_coefficients_create: %u tasks take %u bytes of working memory at least, and "
            "memory_bytes is %u: raise it",
            (uint64_t)c->n_tasks, worker_bytes(c, piece), most);
    if (most / worker_bytes(c, piece) < n)
        n = (size_t)(most / worker_bytes(c, piece));
    c->vectors->piece = piece;
    c->stream.n_jobs = n * JOBS_A_WORKER;
    c->stream.job_lanes =
        fit_allocate(&c->host, c->stream.n_jobs * c->n_tasks, FIT_DOT_LANES * sizeof *c->stream.job_lanes);
    return c->stream.job_lanes
               ? fit_crew_create(&c->crew, &c->host, n, fit_room_bytes(c->vectors, piece), error)
               : fit_no_memory(error);
}

static emr_status create_coefficients(emr_coefficients *c, double initial, emr_error *error)
{
    const size_t tensors = c->vectors->n_tensors, tasks = c->n_tasks, n = c->n_groups * tasks;
    c->all = fit_allocate(&c->host, n, sizeof *c->all);
    c->sums = fit_allocate(&c->host, tensors * tasks, sizeof *c->sums);
    c->has_gradient = fit_allocate(&c->host, tensors, 1);
    c->lambdas = fit_allocate(&c->host, tasks, 2 * sizeof *c->lambdas);
    c->gradients = fit_allocate(&c->host, tasks, sizeof *c->gradients);
    c->stream.waiting = fit_allocate(&c->host, FIT_DOT_BLOCK, sizeof *c->stream.waiting);
    c->stream.lanes = fit_allocate(&c->host, tasks, FIT_DOT_LANES * sizeof *c->stream.lanes);
    c->stream.totals = fit_allocate(&c->host, tasks, sizeof *c->stream.totals);
    c->stream.tensor = NO_NUMBER;
    if (!c->all || !c->sums || !c->has_gradient || !c->lambdas || !c->gradients || !c->stream.waiting ||
        !c->stream.lanes || !c->stream.totals)
        return fit_no_memory(error);
    for (size_t i = 0; i < n; i++)
        c->all[i] = (coefficient){.raw = initial, .time = FIT_ADAM_START};
    return EMR_OK;
}

static double initial_of(const emr_coefficients_options *o)
{
    if (o->use_initial || o->initial < 0 || o->initial > 0)
        return o->initial;
    return o->map == EMR_COEFFICIENT_MAP_SOFTMAX ? 0 : 0.3;
}

/* With the options checked and the host taken; `saved` is NULL, or of the state. */
static emr_status fill_coefficients(emr_coefficients *c, const emr_coefficients_options *o,
                                    const fit_saved *saved, emr_error *error)
{
    fit_electing electing;
    c->map = saved ? saved->map : o->map;
    c->keep = saved ? saved->keep : o->keep;
    c->n_tasks = o->n_tasks;
    emr_status status = fit_adam_take(&c->adam, o->adam, error);
    if (!status)
        status = create_vectors(c, o, error);
    if (!status)
        status = fit_coefficients_find_groups(c, o, saved, error);
    if (!status)
        status = create_coefficients(c, initial_of(o), error);
    if (!status && saved)
        status = fit_coefficients_set_saved(c, saved, error);
    if (!status && c->keep > 0) /* before the crew, whose memory it takes */
        status = fit_elect_thresholds(c->vectors, o->tasks, c->keep, &electing, error);
    if (!status)
        status = create_crew(c, error);
    if (!status && c->keep > 0)
        status = fit_elect_majority(c->vectors, &c->crew, &electing, error);
    return status;
}

emr_status emr_coefficients_create(emr_coefficients **coefficients, const emr_coefficients_options *options,
                                   emr_error *error)
{
    emr_coefficients_options o;
    fit_saved saved = {0};
    fit_host host;
    if (!coefficients)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_create: NULL");
    *coefficients = NULL;
    emr_status status = FIT_TAKE(&o, options, emr_coefficients_options, are_vectors, error);
    if (!status)
        status = check_options(&o, error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (status)
        return status;
    emr_coefficients *c = fit_allocate(&host, 1, sizeof *c);
    if (!c)
        return fit_no_memory(error);
    c->host = host;
    c->host.memory_bytes = host.memory_bytes ? host.memory_bytes : MEMORY_BYTES;
    if (o.state)
        status = fit_saved_open(&saved, o.state, error);
    if (!status)
        status = fill_coefficients(c, &o, o.state ? &saved : NULL, error);
    fit_saved_close(&saved);
    if (status)
        emr_coefficients_destroy(&c);
    *coefficients = c;
    return status;
}

uint32_t emr_coefficients_n_tasks(const emr_coefficients *c)
{
    return c ? c->n_tasks : 0;
}

uint32_t emr_coefficients_n_groups(const emr_coefficients *c)
{
    return c ? c->n_groups : 0;
}

const char *emr_coefficients_group(const emr_coefficients *c, uint32_t group)
{
    return c && group < c->n_groups ? c->groups[group].name : NULL;
}

emr_status emr_coefficients_find_group(const emr_coefficients *c, const char *tensor, uint32_t *group,
                                       emr_error *error)
{
    if (!c || !tensor || !group)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_find_group: NULL");
    uint32_t number = fit_coefficients_find_tensor(c, tensor);
    if (number == NO_NUMBER)
        return emr_error_format(error, EMR_ENOTFOUND, "%F: tensor '%T' has no coefficient: the base %s",
                                emr_model_name(c->vectors->base), tensor,
                                emr_model_find_tensor(c->vectors->base, tensor)
                                    ? "has it, but it is excluded or no float"
                                    : "lacks it");
    *group = c->group_of[number];
    return EMR_OK;
}
