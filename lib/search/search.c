/* search.c - the handle of a search (emr/search.h): options, models, and what came out. */
#include "core/structs.h"
#include "search/greedy.h"

#include <string.h>

enum { K_DEFAULT = 3, K_MAX = 65536, GENERATIONS_DEFAULT = 20, MODEL_NAME_MAX = 255 };

static emr_status check_search_options(emr_search_options *o, emr_error *error)
{
    if (o->partner > EMR_SEARCH_PARTNER_NONE)
        return emr_fail(error, EMR_EINVAL, "emr_search_create: partner %u is none of emr_search_partner",
                        o->partner);
    if (o->pool > EMR_SEARCH_POOL_LAST)
        return emr_fail(error, EMR_EINVAL, "emr_search_create: pool %u is none of emr_search_pool", o->pool);
    if (o->k > K_MAX)
        return emr_fail(error, EMR_EINVAL, "emr_search_create: k is %u, more than %u", o->k, (uint64_t)K_MAX);
    if (o->use_stop_kinship && o->stop_kinship != o->stop_kinship)
        return emr_fail(error, EMR_EINVAL, "emr_search_create: stop_kinship is no number");
    if (!o->k)
        o->k = K_DEFAULT;
    if (!o->max_generations)
        o->max_generations = GENERATIONS_DEFAULT;
    return EMR_OK;
}

emr_status emr_search_create(emr_search **search, const emr_search_options *given, emr_error *error)
{
    emr_search_options options;
    emr_allocator allocator;
    if (!search)
        return emr_fail(error, EMR_EINVAL, "emr_search_create: NULL");
    *search = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_search_options, error);
    if (!status)
        status = check_search_options(&options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options.allocator, error);
    if (status)
        return status;
    emr_search *s = emr_allocate_array(&allocator, 1, sizeof *s);
    if (!s)
        return emr_no_memory(error, NULL);
    s->allocator = allocator;
    s->options = options;
    s->models.allocator = &s->allocator;
    s->best.numbers = emr_allocate_array(&allocator, options.k, sizeof(uint32_t));
    s->merged.numbers = emr_allocate_array(&allocator, options.k, sizeof(uint32_t));
    if (!s->best.numbers || !s->merged.numbers) {
        emr_search_destroy(&s);
        return emr_no_memory(error, NULL);
    }
    *search = s;
    return EMR_OK;
}

void emr_search_destroy(emr_search **search)
{
    if (!search || !*search)
        return;
    emr_search *s = *search;
    emr_allocator allocator = s->allocator;
    emr_candidates_free(&s->models);
    emr_release(&allocator, s->best.numbers);
    emr_release(&allocator, s->merged.numbers);
    emr_release(&allocator, s);
    *search = NULL;
}

emr_status emr_search_add_model(emr_search *s, const char *name, emr_error *error)
{
    if (!s || !name)
        return emr_fail(error, EMR_EINVAL, "emr_search_add_model: NULL");
    if (s->has_begun)
        return emr_fail(error, EMR_ESTATE, "emr_search_add_model: the search has begun");
    if (!*name || strlen(name) > MODEL_NAME_MAX)
        return emr_fail(error, EMR_EINVAL, "emr_search_add_model: '%K': a name has 1 to 255 bytes", name);
    if (emr_is_candidate_name(name))
        return emr_fail(error, EMR_EINVAL,
                        "emr_search_add_model: '%K': the search gives such names itself: choose another",
                        name);
    emr_status status = emr_candidates_append(&s->models, emr_copy_string(&s->allocator, name), error);
    s->n_added += !status;
    return status;
}

emr_status emr_search_run(emr_search *s, const emr_search_host *given, emr_error *error)
{
    if (!s || !given)
        return emr_fail(error, EMR_EINVAL, "emr_search_run: NULL");
    if (s->has_begun)
        return emr_fail(error, EMR_ESTATE, "emr_search_run: a search runs once");
    emr_status status = EMR_TAKE(&s->host, given, emr_search_host, error);
    if (!status && (!s->host.merge || !s->host.evaluate))
        status = emr_fail(error, EMR_EINVAL, "emr_search_run: merge and evaluate are needed");
    if (!status && !s->n_added)
        status = emr_fail(error, EMR_EINVAL, "emr_search_run: no model was added");
    if (status)
        return status;
    s->has_begun = true;
    status = emr_search_greedily(s, error);
    s->has_ended = !status;
    return status;
}

emr_status emr_search_get_candidate(const emr_search *s, uint32_t i, emr_search_candidate *candidate)
{
    if (!s || !candidate)
        return EMR_EINVAL;
    if (i >= s->models.n)
        return EMR_ENOTFOUND;
    return EMR_GIVE(candidate, &s->models.nodes[i].about, emr_search_candidate);
}

emr_status emr_search_get_result(const emr_search *s, emr_search_result *result)
{
    if (!s || !result)
        return EMR_EINVAL;
    return s->has_ended ? EMR_GIVE(result, &s->result, emr_search_result) : EMR_ESTATE;
}
