/* recipe_bases.c - the base of each slice of a recipe, and how many other models it has. */
#include "recipe_reading.h"

#include <string.h>

/* Models as a whole have the base as their last source, if it is none yet. */
static void add_base_source(const recipe *r, recipe_slice *slice)
{
    for (size_t i = 0; i < slice->n_sources; i++)
        if (slice->sources[i].model == r->base)
            return;
    slice->sources[slice->n_sources++] = (recipe_source){.model = r->base, .line = slice->line};
}

/* Of slerp it is mergekit that asks for one, where t is 0. */
static bool needs_base(const emr_method *m)
{
    return m->base == EMR_METHOD_BASE_REQUIRED || m->base == EMR_METHOD_BASE_BESIDE ||
           strcmp(m->name, "slerp") == 0;
}

/* Every slice's base is one of its sources, or there is none. */
static emr_status name_base(const recipe_reader *d, const recipe_module *m, recipe_slice *slice)
{
    const recipe *r = d->r;
    bool needs_one = needs_base(r->method);
    if (slice->base == RECIPE_NO_MODEL)
        slice->base = r->base;
    if (slice->base == RECIPE_NO_MODEL)
        return needs_one ? FAIL(slice->line, "%s needs a 'base_model'", r->method->name) : EMR_OK;
    if (!m->has_ranges)
        add_base_source(r, slice);
    for (size_t i = 0; i < slice->n_sources; i++)
        if (slice->sources[i].model == slice->base)
            return EMR_OK;
    if (needs_one || r->method->base == EMR_METHOD_BASE_OPTIONAL)
        return FAIL(slice->line, "the base_model '%.200s' must be one of the slice's sources with %s",
                    r->models[slice->base].path, r->method->name);
    slice->base = RECIPE_NO_MODEL; /* an input like others, which is none here */
    return EMR_OK;
}

static emr_status name_bases(const recipe_reader *d)
{
    emr_status status = EMR_OK;
    for (size_t m = 0; m < d->r->n_modules; m++)
        for (size_t s = 0; !status && s < d->r->modules[m].n_slices; s++)
            status = name_base(d, &d->r->modules[m], &d->r->modules[m].slices[s]);
    return status;
}

/* How many inputs each slice has, and may have. */
static emr_status check_counts(const recipe_reader *d, const recipe_slice *slice)
{
    const emr_method *method = d->r->method;
    size_t n_tasks =
        slice->n_sources - (slice->base != RECIPE_NO_MODEL && method->base != EMR_METHOD_BASE_INPUT);
    size_t least = method->min_tasks ? method->min_tasks : 1;
    if (method->base == EMR_METHOD_BASE_INPUT)
        return EMR_OK; /* the method's own matter: the base may count */
    if (n_tasks < least)
        return FAIL(slice->line, "%s needs at least %zu model%s%s here, not %zu", method->name, least,
                    least == 1 ? "" : "s", method->base ? " besides the base" : "", n_tasks);
    if (method->max_tasks && n_tasks > method->max_tasks)
        return FAIL(slice->line, "%s takes at most %u model%s%s here, not %zu", method->name,
                    method->max_tasks, method->max_tasks == 1 ? "" : "s",
                    method->base ? " besides the base" : "", n_tasks);
    return EMR_OK;
}

static emr_status check_all_counts(const recipe_reader *d)
{
    emr_status status = EMR_OK;
    for (size_t m = 0; m < d->r->n_modules; m++)
        for (size_t s = 0; !status && s < d->r->modules[m].n_slices; s++)
            status = check_counts(d, &d->r->modules[m].slices[s]);
    return status;
}

emr_status settle_bases(const recipe_reader *d)
{
    emr_status status = name_bases(d);
    return status ? status : check_all_counts(d);
}
