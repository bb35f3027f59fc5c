/* page_bundle.c - what a bundle says without its base: how dense its masks are and how large its rescalers, by layer,
 * kind and tensor. Every mask is read once. */
#include "page.h"

enum { RESCALERS_AT_ONCE = 1024 };

static emr_status sum_rescalers(emr_modulator *m, uint32_t tensor, double *sum, double *n, emr_error *error)
{
    float numbers[RESCALERS_AT_ONCE];
    uint64_t all = emr_modulator_n_rescalers(m, tensor);
    emr_status status = EMR_OK;
    *sum = 0;
    *n = (double)all;
    for (uint64_t first = 0; !status && first < all; first += RESCALERS_AT_ONCE) {
        size_t some = all - first < RESCALERS_AT_ONCE ? (size_t)(all - first) : RESCALERS_AT_ONCE;
        status = emr_modulator_read_rescalers(m, tensor, first, some, numbers, error);
        for (size_t i = 0; !status && i < some; i++)
            *sum += (double)numbers[i];
    }
    return status;
}

static void add_to_cell(page_cell *cell, const page_cell *more)
{
    cell->bits += more->bits;
    cell->ones += more->ones;
    cell->rescalers += more->rescalers;
    cell->n_rescalers += more->n_rescalers;
}

static emr_status tell_masks_read(page *p, uint64_t more, emr_error *error)
{
    const emr_resources *r = &p->models.inputs.session.resources;
    p->mask_done += more;
    const emr_progress progress = {sizeof progress, p->mask_done, p->mask_total};
    return r->progress(r->progress_user, &progress, error);
}

static emr_status gather_mask(page *p, emr_modulator *m, uint32_t task, uint32_t tensor, emr_error *error)
{
    const page_task *t = &p->tasks[task];
    const char *name = emr_modulator_tensor_name(m, tensor);
    emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
    page_cell found = {.bits = 0};
    emr_status status = EMR_OK;
    if (t->facts.has_mask) {
        status = emr_modulator_get_stats(m, tensor, &stats, error);
        found.bits = (double)stats.count;
        found.ones = (double)stats.ones;
    }
    if (!status)
        status = sum_rescalers(m, tensor, &found.rescalers, &found.n_rescalers, error);
    if (status)
        return status;
    uint32_t column = page_column_of(&p->layers, emr_statistics_layer_of(name));
    uint32_t kind = page_kind_of(&p->kinds, emr_statistics_kind_of(name));
    add_to_cell(page_cell_of(p, &p->layers, column, task), &found);
    add_to_cell(page_cell_of(p, &p->kinds, kind, task), &found);
    if (p->shown_at[tensor] < p->n_shown) {
        p->tensors[p->shown_at[tensor]].bits += found.bits;
        p->tensors[p->shown_at[tensor]].ones += found.ones;
    }
    uint64_t bytes = t->facts.has_mask ? t->info.mask_bytes : t->info.coded_bytes;
    double part = page_share((double)emr_modulator_tensor_count(m, tensor), (double)p->params);
    return tell_masks_read(p, part > 0 ? (uint64_t)((double)bytes * part) : 0, error);
}

emr_status page_gather_masks(page *p, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < p->n_tasks; t++) {
        emr_modulator *m = NULL;
        status = emr_bundle_open_modulator(&m, p->bundle, t, NULL, error);
        for (uint32_t i = 0; !status && i < emr_modulator_n_tensors(m); i++)
            status = gather_mask(p, m, t, i, error);
        emr_modulator_destroy(&m);
    }
    return status;
}
