/* fuzz_recipe.c - any text as a recipe of mergekit: it is refused in a sentence, or its settings have values, each in its
 * parameter's range, the same whoever asks. An input is the text. */
#include "fuzz.h"

#include "recipe.h"
#include "recipe_names.h"

#include <math.h>

/* A value between those that were checked, or the initial one, which may be that it must be set. */
static void check_value(const recipe *r, const recipe_place *place, const emr_method_parameter *p)
{
    double value = recipe_value(r, place, p), again = recipe_value(r, place, p);
    promise(isnan(value) ? isnan(p->initial) && isnan(again) : value >= p->least && value <= p->most);
    promise(memcmp(&value, &again, sizeof value) == 0);
}

static void check_places(const recipe *r, const recipe_module *module, const recipe_slice *slice,
                         const recipe_source *source)
{
    static const char *const tensors[] = {"model.layers.3.self_attn.q_proj.weight", "lm_head.weight", ""};
    static const double depths[] = {0, 1.0 / 3, 0.5, 1};
    for (uint32_t i = 0; i < r->method->n_parameters; i++)
        for (size_t t = 0; t < 3; t++)
            for (size_t k = 0; k < 4; k++) {
                const recipe_place place = {module, slice, source, tensors[t], depths[k]};
                check_value(r, &place, &r->method->parameters[i]);
            }
}

/* Models have numbers, layers, and are in a slice once; a base is one of them. */
static void check_slice(const recipe *r, const recipe_module *module, const recipe_slice *slice)
{
    bool has_base = slice->base == RECIPE_NO_MODEL;
    promise(slice->n_sources > 0);
    for (size_t i = 0; i < slice->n_sources; i++) {
        const recipe_source *s = &slice->sources[i];
        promise(s->model < r->n_models && (s->first < s->end) == module->has_ranges);
        has_base = has_base || s->model == slice->base;
        for (size_t k = 0; k < i; k++)
            promise(slice->sources[k].model != s->model);
    }
    promise(has_base);
    check_places(r, module, slice, NULL);
    for (size_t i = 0; i < slice->n_sources && i < 8; i++)
        check_places(r, module, slice, &slice->sources[i]);
}

static void check_recipe(const recipe *r)
{
    promise(r->method && r->n_modules && r->n_models &&
            (r->base == RECIPE_NO_MODEL || r->base < r->n_models));
    for (size_t i = 0; i < r->n_models; i++)
        promise(r->models[i].path && *r->models[i].path);
    for (size_t m = 0; m < r->n_modules && m < 8; m++)
        for (size_t s = 0; s < r->modules[m].n_slices && s < 8; s++)
            check_slice(r, &r->modules[m], &r->modules[m].slices[s]);
}

/* The text as a tensor's name: a layer's number is where it says, and can be put back. */
static void check_name(const char *text)
{
    layer_place place, again;
    if (!find_layer(text, &place))
        return;
    char *renamed = renumber_layer(text, &place, 123456), *back;
    promise(renamed && find_layer(renamed, &again) && again.layer == 123456);
    promise(again.stack_length == place.stack_length && strcmp(renamed + again.end, text + place.end) == 0);
    back = renumber_layer(renamed, &again, place.layer);
    promise(back && find_layer(back, &again) && again.layer == place.layer);
    free(back);
    free(renamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    emr_error error = {.text = ""};
    recipe r;
    char *text = (char *)fuzz_copy(data, size), *name = malloc(size + 1);
    promise(name != NULL);
    if (size)
        memcpy(name, data, size);
    name[size] = '\0';
    emr_status status = recipe_read(&r, text, size, "recipe.yml", &error);
    if (!status)
        status = recipe_check(&r, &error);
    promise(status == EMR_OK || status == EMR_EINVAL);
    if (fuzz_status(status, &error) == EMR_OK)
        check_recipe(&r);
    recipe_free(&r);
    check_name(name);
    free(name);
    free(text);
    return 0;
}
