/* slices.c - see slices.h. A tensor is [before][axis][after]; a unit's numbers come by `before`, by the entry's outer index, and then
 * as they lie. */
#include "slices.h"

#include "weights.h"

enum { VALUES = 512 };

emr_status fit_slices_create(fit_slices *s, const fit_host *host, const emr_permutation *p,
                             const emr_tensor *tensor, const spec_group *g, const spec_axis *a,
                             emr_error *error)
{
    *s = (fit_slices){
        .group = g, .axis = a, .before = 1, .after = 1, .n_units = (size_t)spec_part_units(g, a->part)};
    emr_status status = fit_view_create(&s->view, host, p, tensor, a, error);
    if (status)
        return status;
    if (!emr_dtype_is_float(emr_tensor_dtype(tensor))) {
        fit_view_destroy(&s->view);
        return emr_error_format(error, EMR_EUNSUPPORTED, "group '%s': tensor '%T' is no float", g->name,
                                emr_tensor_name(tensor));
    }
    for (uint32_t i = 0; i < emr_tensor_rank(tensor); i++) {
        uint64_t length = emr_tensor_shape(tensor)[i];
        s->before *= i < a->axis ? length : 1;
        s->after *= i > a->axis ? length : 1;
    }
    s->run = a->inner * s->after;
    s->n_rows = s->before * a->outer * s->run;
    return EMR_OK;
}

void fit_slices_destroy(fit_slices *s)
{
    fit_view_destroy(&s->view);
}

typedef struct reading {
    const fit_slices *slices;
    uint64_t first;
    size_t n;
    fit_panel *panels;
    atomic_flag has_failed;
    emr_status status;
    emr_error error;
} reading;

/* Where numbers [k, ...) of a unit begin in the tensor. */
static uint64_t place_of(const fit_slices *s, uint64_t k, uint64_t unit)
{
    uint64_t slab = k / s->run, t = k % s->run;
    uint64_t before = slab / s->axis->outer, o = slab % s->axis->outer;
    uint64_t length = emr_tensor_shape(s->view.source)[s->axis->axis];
    return (before * length + spec_place(s->group, s->axis, o, unit, 0)) * s->after + t;
}

/* n numbers of the tensor, as f64. */
static bool read_values(reading *r, uint64_t first, size_t n, double *values, void *scratch)
{
    unsigned char stored[VALUES * 8];
    emr_error error;
    emr_status status = fit_view_read(&r->slices->view, first, n, stored, scratch, &error);
    if (!status)
        (void)emr_convert(EMR_DTYPE_F64, values, emr_tensor_dtype(r->slices->view.source), stored, n);
    if (status && !atomic_flag_test_and_set(&r->has_failed)) {
        r->error = error;
        r->status = status;
    }
    return !status;
}

static void put(const reading *r, uint64_t unit, size_t k, double value)
{
    r->panels[unit / FIT_TILE * FIT_SLICE_ROWS + k][unit % FIT_TILE] = value;
}

/* Units one by one, each in runs: where runs are long. */
static void read_units(void *arg, size_t panel)
{
    reading *r = arg;
    const fit_slices *s = r->slices;
    double values[FIT_SLICE_ROWS];
    void *scratch = fit_allocate(s->view.host, fit_view_scratch(&s->view), 1);
    for (uint64_t unit = panel * FIT_TILE; scratch && unit < (panel + 1) * FIT_TILE && unit < s->n_units;
         unit++)
        for (size_t k = 0; k < r->n;) {
            uint64_t left = s->run - (r->first + k) % s->run;
            size_t some = left < r->n - k ? (size_t)left : r->n - k;
            if (!read_values(r, place_of(s, r->first + k, unit), some, values, scratch))
                break;
            for (size_t i = 0; i < some; i++)
                put(r, unit, k + i, values[i]);
            k += some;
        }
    if (!scratch && !atomic_flag_test_and_set(&r->has_failed))
        r->status = fit_no_memory(&r->error);
    fit_release(s->view.host, scratch);
}

/* All units of one row: where a unit has one number at a time. */
static void read_row(void *arg, size_t k)
{
    reading *r = arg;
    const fit_slices *s = r->slices;
    double values[VALUES];
    void *scratch = fit_allocate(s->view.host, fit_view_scratch(&s->view), 1);
    size_t together = s->axis->stride ? s->group->head_dim : s->n_units; /* units that lie side by side */
    for (size_t unit = 0; scratch && unit < s->n_units;) {
        size_t some = together - unit % together;
        some = some < VALUES ? some : VALUES;
        if (!read_values(r, place_of(s, r->first + k, unit), some, values, scratch))
            break;
        for (size_t i = 0; i < some; i++)
            put(r, unit + i, k, values[i]);
        unit += some;
    }
    if (!scratch && !atomic_flag_test_and_set(&r->has_failed))
        r->status = fit_no_memory(&r->error);
    fit_release(s->view.host, scratch);
}

emr_status fit_slices_read(const fit_slices *s, uint64_t first, size_t n, fit_panel *panels, emr_error *error)
{
    reading r = {.slices = s, .first = first, .n = n, .panels = panels, .has_failed = ATOMIC_FLAG_INIT};
    if (s->run == 1)
        fit_for(s->view.host, n, read_row, &r);
    else
        fit_for(s->view.host, fit_n_panels(s->n_units), read_units, &r);
    if (r.status && error)
        *error = r.error;
    return r.status;
}
