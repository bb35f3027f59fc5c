/* kinds.c - what a bundle's modulators are, and how good: for people and as JSON. */
#include "cli.h"

#include <math.h>

bool has_masks(const emr_modulation_spec *spec)
{
    return spec->kind == EMR_MODULATOR_KIND_MASK || spec->kind == EMR_MODULATOR_KIND_TWO_SIDED;
}

static const char *modulator_kind_name(emr_modulator_kind kind)
{
    static const char *const names[] = {"default", "mask", "two-sided", "sign", "thin", "levels"};
    return kind < sizeof names / sizeof *names ? names[kind] : "?";
}

static double share_of(uint64_t part, uint64_t all)
{
    return all ? (double)part / (double)all : 0;
}

emr_status describe_task(modulator_facts *facts, const emr_bundle *b, uint32_t task)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_task_info t = EMR_INIT(emr_task_info);
    emr_tensor_info x = EMR_INIT(emr_tensor_info);
    *facts = (modulator_facts){.spec = EMR_INIT(emr_modulation_spec), .fidelity = EMR_INIT(emr_fidelity)};
    emr_status status = emr_bundle_get_info(b, &info);
    if (!status)
        status = emr_bundle_get_task(b, task, &t);
    if (!status)
        status = emr_bundle_get_modulation(b, task, &facts->spec, &facts->fidelity);
    if (status)
        return status;
    facts->has_mask = has_masks(&facts->spec);
    for (uint32_t i = 0; facts->has_mask && emr_bundle_get_tensor(b, i, &x) == EMR_OK; i++)
        facts->unified_bytes += x.unified_bytes;
    facts->coded_bytes = t.coded_bytes;
    facts->bits = 8 * share_of(t.coded_bytes, info.merged_params);
    if (facts->has_mask)
        facts->bits += 8 * share_of(facts->unified_bytes, info.merged_params) / info.n_elected;
    facts->density = facts->has_mask ? share_of(t.mask_ones, info.merged_params) : (double)NAN;
    return EMR_OK;
}

const char *modulator_text(const emr_modulation_spec *s, char text[64])
{
    const char *rule = rule_name(s->rescale), *per = per_name(s->rescale_per);
    const char *nearest = s->mask_rule == EMR_MASK_RULE_NEAREST ? ", nearest" : "";
    if (has_masks(s))
        snprintf(text, 64, "%s%s, %s per %s", modulator_kind_name(s->kind), nearest, rule, per);
    else if (s->kind == EMR_MODULATOR_KIND_THIN)
        snprintf(text, 64, "thin 1/%u, %s", s->thinning, rule);
    else if (s->kind == EMR_MODULATOR_KIND_LEVELS)
        snprintf(text, 64, "%u levels, %s", s->n_levels, rule);
    else
        snprintf(text, 64, "sign%s, %s", s->without_columns ? " without columns" : "", rule);
    return text;
}

json_t *modulator_json(const emr_modulation_spec *s)
{
    json_t *o =
        json_pack("{s:s, s:s}", "kind", modulator_kind_name(s->kind), "rescale", rule_name(s->rescale));
    if (has_masks(s)) {
        json_object_set_new(o, "rescale_per", json_string(per_name(s->rescale_per)));
        json_object_set_new(o, "mask",
                            json_string(s->mask_rule == EMR_MASK_RULE_NEAREST ? "nearest" : "agree"));
        return o;
    }
    json_object_set_new(o, "vectors", json_string(emr_dtype_name(s->vectors_dtype)));
    if (s->kind == EMR_MODULATOR_KIND_SIGN)
        json_object_set_new(o, "columns", json_boolean(!s->without_columns));
    if (s->kind == EMR_MODULATOR_KIND_THIN) {
        json_object_set_new(o, "thinning", json_integer(s->thinning));
        json_object_set_new(o, "seed", json_integer(s->seed));
    }
    if (s->kind == EMR_MODULATOR_KIND_LEVELS)
        json_object_set_new(o, "levels", json_integer(s->n_levels));
    return o;
}

static json_t *number_json(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

void add_facts_json(json_t *object, const modulator_facts *f)
{
    json_object_set_new(object, "modulator", modulator_json(&f->spec));
    json_object_set_new(object, "bits", number_json(f->bits));
    json_object_set_new(object, "error", number_json((double)f->fidelity.error));
    json_object_set_new(object, "cosine", number_json((double)f->fidelity.cosine));
    json_object_set_new(object, "coefficient", number_json((double)f->fidelity.coefficient));
    json_object_set_new(object, "density", number_json(f->density));
}

void print_facts_head(void)
{
    printf("%-36s %8s %8s %8s %11s %8s", "modulator", "bits", "error", "cosine", "coefficient", "density");
}

static void print_number(double number, int width)
{
    if (isfinite(number))
        printf(" %*.4f", width, number);
    else
        printf(" %*s", width, "-");
}

void print_facts(const modulator_facts *f)
{
    char text[64];
    printf("%-36s", modulator_text(&f->spec, text));
    print_number(f->bits, 8);
    print_number((double)f->fidelity.error, 8);
    print_number((double)f->fidelity.cosine, 8);
    print_number((double)f->fidelity.coefficient, 11);
    print_number(f->density, 8);
}
