/* page_kept.c - which tensors are not merged, and why: a line for each reason. */
#include "page.h"

#include <stdlib.h>
#include <string.h>

/* The line of a reason; the last one takes what has no room any more. */
static page_reason *find_reason(page_reasons *all, const char *reason)
{
    char text[PAGE_TEXT];
    uint32_t i = 0;
    clean_text(reason, PAGE_NAME, text);
    while (i < all->n && strcmp(all->all[i].reason, text) != 0)
        i++;
    if (i == PAGE_REASONS)
        i--;
    if (i == all->n) {
        bool is_last = i + 1 == PAGE_REASONS;
        strcpy(all->all[i].reason, is_last ? "other reasons" : text);
        all->n++;
    }
    return &all->all[i];
}

static void add_example(page_reason *r, const char *name)
{
    char text[PAGE_TEXT];
    clean_text(side_file_name(name) ? side_file_name(name) : name, PAGE_NAME, text);
    for (uint32_t i = 0; i < r->n_examples; i++)
        if (strcmp(r->examples[i], text) == 0)
            return;
    if (r->n_examples < PAGE_EXAMPLES)
        strcpy(r->examples[r->n_examples++], text);
}

/* ---- checkpoints: what the plan of a merge says */

static void gather_planned(page *p)
{
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(p->plan, i, &t) == EMR_OK; i++) {
        if (t.action == EMR_ACTION_MERGE)
            continue;
        page_reason *r =
            find_reason(&p->reasons, side_file_name(t.name) ? "a file beside the weights" : t.reason);
        r->n++;
        r->params += is_no_weight(t.name) ? 0 : t.count;
        r->bytes += t.count / 8 * emr_dtype_bits(t.dtype) + t.count % 8 * emr_dtype_bits(t.dtype) / 8;
        r->n_copies += t.n_private;
        add_example(r, t.name);
    }
}

/* ---- bundles: what can be told from what is there */

static emr_status describe_private(emr_model *model, const emr_bundle *b, uint32_t task, emr_error *error)
{
    emr_private_info x = EMR_INIT(emr_private_info);
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && emr_bundle_get_private(b, task, i, &x) == EMR_OK; i++) {
        const emr_tensor_desc desc = {
            .size = sizeof desc, .name = x.name, .shape = x.shape, .rank = x.rank, .dtype = x.dtype};
        if (!emr_model_find_tensor(model, x.name))
            status = emr_model_add(model, &desc, error);
    }
    return status;
}

/* The names, dtypes and shapes that a bundle has: for what tensors are to their model (emr/role.h), no bytes are
 * needed. */
static emr_status describe_bundle(emr_model **model, const page *p, emr_error *error)
{
    emr_tensor_info x = EMR_INIT(emr_tensor_info);
    emr_status status = emr_model_create(model, NULL, error);
    for (uint32_t i = 0; !status && emr_bundle_get_tensor(p->bundle, i, &x) == EMR_OK; i++) {
        const emr_tensor_desc desc = {
            .size = sizeof desc, .name = x.name, .shape = x.shape, .rank = x.rank, .dtype = x.dtype};
        status = emr_model_add(*model, &desc, error);
    }
    for (uint32_t t = 0; !status && t < p->n_tasks; t++)
        status = describe_private(*model, p->bundle, t, error);
    return status;
}

static const char *role_reason(const emr_model *model, const char *name)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    bool has_role = tensor && emr_tensor_get_role(tensor, &role) == EMR_OK && role.role != EMR_ROLE_WEIGHT;
    return has_role ? role.family : NULL;
}

static bool same_dimensions(const emr_tensor *x, const emr_private_info *own)
{
    uint32_t rank = emr_tensor_rank(x);
    return rank == own->rank &&
           (!rank || memcmp(emr_tensor_shape(x), own->shape, rank * sizeof *own->shape) == 0);
}

static const char kept_apart[] = "kept apart when the bundle was made";

/* Patterns are not known any more; what the base is like is, where it is at hand. */
static const char *private_reason(const page *p, const emr_model *described, const emr_private_info *own)
{
    const emr_model *base = p->models.inputs.base;
    const emr_tensor *x = base ? emr_model_find_tensor(base, own->name) : NULL;
    const char *role = role_reason(described, own->name);
    if (side_file_name(own->name))
        return "a file beside the weights";
    if (!emr_dtype_is_float(own->dtype))
        return "not a float";
    if (role)
        return role;
    if (base && !x)
        return "not in the base";
    return x && !same_dimensions(x, own) ? "its shape is not the base’s" : kept_apart;
}

static void gather_private(page *p, const emr_model *described)
{
    emr_private_info own = EMR_INIT(emr_private_info);
    for (uint32_t t = 0; t < p->n_tasks; t++)
        for (uint32_t i = 0; emr_bundle_get_private(p->bundle, t, i, &own) == EMR_OK; i++) {
            page_reason *r = find_reason(&p->reasons, private_reason(p, described, &own));
            r->n_copies++;
            r->bytes += own.bytes;
            add_example(r, own.name);
        }
}

/* Of the base's tensors that are not merged; a task may have its own all the same. */
static void gather_base_kept(page *p, const emr_model *described)
{
    emr_tensor_info x = EMR_INIT(emr_tensor_info);
    for (uint32_t i = 0; emr_bundle_get_tensor(p->bundle, i, &x) == EMR_OK; i++) {
        const char *role = x.merged ? NULL : role_reason(described, x.name);
        if (x.merged)
            continue;
        page_reason *r = find_reason(&p->reasons, !emr_dtype_is_float(x.dtype) ? "not a float"
                                                  : role                       ? role
                                                                               : kept_apart);
        r->n++;
        r->params += x.count;
        add_example(r, x.name);
    }
}

emr_status page_gather_kept(page *p, emr_error *error)
{
    emr_model *described = NULL;
    emr_status status = EMR_OK;
    if (!p->bundle) {
        gather_planned(p);
        return EMR_OK;
    }
    status = describe_bundle(&described, p, error);
    if (!status) {
        gather_base_kept(p, described);
        gather_private(p, described);
    }
    emr_model_destroy(&described);
    return status;
}
