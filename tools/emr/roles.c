/* roles.c - tells a user which tensors are no weights, and which codes a merge leaves as they are. */
#include "cli.h"

#include <string.h>

void print_role(const emr_tensor *tensor)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    if (emr_tensor_get_role(tensor, &role) || role.role == EMR_ROLE_WEIGHT)
        return;
    printf("  %s: %s", emr_role_name(role.role), role.family);
    if (role.code) {
        printf(", of ");
        print_name(emr_tensor_name(role.code), 0);
    }
}

void add_role(json_t *row, const emr_tensor *tensor)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    if (emr_tensor_get_role(tensor, &role))
        return;
    json_object_set_new(row, "role", json_string(emr_role_name(role.role)));
    json_object_set_new(row, "family", role.family ? json_string(role.family) : json_null());
    json_object_set_new(row, "code", role.code ? json_string(emr_tensor_name(role.code)) : json_null());
    json_object_set_new(row, "can_dequantise", json_boolean(role.can_dequantise));
}

/* How many tensors of a model are codes of each family. Families are static strings, one each. */
typedef struct census {
    struct {
        const char *family;
        uint32_t n, can_dequantise;
    } rows[32];
    size_t n;
} census;

static void count_codes(census *c, const emr_model *model)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    c->n = 0;
    for (uint32_t i = 0; emr_tensor_get_role(emr_model_tensor(model, i), &role) == EMR_OK; i++) {
        size_t k = 0;
        if (role.role != EMR_ROLE_CODE)
            continue;
        while (k < c->n && strcmp(c->rows[k].family, role.family) != 0)
            k++;
        if (k == sizeof c->rows / sizeof c->rows[0])
            continue;
        if (k == c->n)
            c->rows[c->n++].n = 0;
        c->rows[k].family = role.family;
        c->rows[k].can_dequantise = role.can_dequantise;
        c->rows[k].n++;
    }
}

static void print_note(const census *c, const char *whose)
{
    for (size_t i = 0; i < c->n; i++)
        complain(0, "note: %u tensor%s of %s: %s, codes that are kept with their scales, not merged%s",
                 c->rows[i].n, c->rows[i].n == 1 ? "" : "s", whose, c->rows[i].family,
                 c->rows[i].can_dequantise
                     ? "; --dequantise merges the weights that they stand for"
                     : "; to merge these weights, give checkpoints that are not quantised");
}

/* The first model that has any speaks for all: where they differ, the merge has said so. */
void note_codes(const arguments *a, const emr_model *base, emr_model *const *models)
{
    census c;
    char whose[300];
    c.n = 0;
    if (base)
        count_codes(&c, base);
    if (c.n && !base_is_made(a)) {
        print_note(&c, "the base");
        return;
    }
    for (size_t t = 0; t < a->n_tasks; t++) {
        count_codes(&c, models[t]);
        snprintf(whose, sizeof whose, "task '%s'", a->tasks[t].name);
        if (c.n) {
            print_note(&c, whose);
            return;
        }
    }
}
