/* recipe_combine.c - a recipe as combinations. */
#include "combining.h"

emr_status open_recipe(combine_job *j, const arguments *a, emr_error *error)
{
    (void)j;
    return fail_with(error, EMR_EUNSUPPORTED, a->config, "not yet");
}
void close_recipe(combine_job *j)
{
    (void)j;
}
json_t *recipe_models_json(const recipe_job *recipe)
{
    (void)recipe;
    return json_object();
}
