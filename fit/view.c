/* view.c - see view.h. Where what lies together is short, a whole stretch of the source along the last axis is read, and elements
 * are picked out of it. */
#include "view.h"

#include <string.h>

enum { SHORT_BYTES = 512, STRETCH_BYTES_MAX = 1 << 20 };

#define TAKEN UINT32_C(0x80000000) /* of an index while it is made: an entry of the spec has set it */

static uint64_t axis_length(const fit_view *v, uint32_t axis)
{
    return emr_tensor_shape(v->source)[axis];
}

static emr_status misfit(const fit_view *v, const spec_group *g, const char *why, emr_error *error)
{
    return emr_error_format(error, EMR_EMISMATCH, "group '%s' of the permutation spec: tensor '%T' %s",
                            g->name, emr_tensor_name(v->source), why);
}

static emr_status begin_index(fit_view *v, const spec_group *g, uint32_t axis, emr_error *error)
{
    if (v->index[axis])
        return EMR_OK;
    uint64_t length = axis_length(v, axis);
    if (length >= TAKEN)
        return misfit(v, g, "has an axis of 2147483648 or more", error);
    v->index[axis] = fit_allocate(v->host, (size_t)length, sizeof **v->index);
    if (!v->index[axis])
        return fit_no_memory(error);
    for (uint32_t i = 0; i < length; i++)
        v->index[axis][i] = i;
    return EMR_OK;
}

static emr_status take_axis(fit_view *v, const spec_group *g, const group_units *units, const spec_axis *a,
                            emr_error *error)
{
    uint64_t n = spec_part_units(g, a->part);
    if (a->axis >= emr_tensor_rank(v->source) ||
        spec_place(g, a, a->outer - 1, n - 1, a->inner - 1) >= axis_length(v, a->axis))
        return misfit(v, g, "has fewer axes or elements than the group", error);
    emr_status status = begin_index(v, g, a->axis, error);
    for (uint64_t o = 0; !status && o < a->outer; o++)
        for (uint64_t unit = 0; unit < n; unit++)
            for (uint64_t i = 0; i < a->inner; i++) {
                uint32_t *index = &v->index[a->axis][spec_place(g, a, o, unit, i)];
                if (*index & TAKEN)
                    return misfit(v, g, "has an element that belongs to two entries", error);
                *index = (uint32_t)spec_place(g, a, o, fit_permuted_unit(g, units, a->part, unit), i) | TAKEN;
            }
    return status;
}

/* Ends what take_axis began, and forgets axes that are as they were. */
static void settle_axes(fit_view *v)
{
    for (uint32_t axis = 0; axis < SPEC_RANK_MAX; axis++) {
        bool is_moved = false;
        uint64_t length = v->index[axis] ? axis_length(v, axis) : 0;
        for (uint32_t i = 0; i < length; i++) {
            v->index[axis][i] &= ~TAKEN;
            is_moved = is_moved || v->index[axis][i] != i;
        }
        if (!is_moved) {
            fit_release(v->host, v->index[axis]);
            v->index[axis] = NULL;
        } else {
            v->n_axes = axis + 1;
        }
    }
    v->inner = 1;
    for (uint32_t axis = v->n_axes; axis < emr_tensor_rank(v->source); axis++)
        v->inner *= axis_length(v, axis);
}

emr_status fit_view_create(fit_view *v, const fit_host *host, const emr_permutation *p,
                           const emr_tensor *tensor, const spec_axis *without, emr_error *error)
{
    *v = (fit_view){.source = tensor, .host = host, .bytes = emr_dtype_bits(emr_tensor_dtype(tensor)) / 8};
    emr_status status = EMR_OK;
    for (size_t i = 0; p && !status && i < p->spec->n_groups; i++) {
        const spec_group *g = &p->spec->groups[i];
        for (size_t k = 0; !status && k < g->n_axes; k++)
            if (&g->axes[k] != without && strcmp(g->axes[k].tensor, emr_tensor_name(tensor)) == 0)
                status = take_axis(v, g, &p->groups[i], &g->axes[k], error);
    }
    if (!status)
        settle_axes(v);
    if (!status && v->n_axes && emr_dtype_bits(emr_tensor_dtype(tensor)) % 8)
        status = emr_error_format(error, EMR_EUNSUPPORTED,
                                  "tensor '%T' has elements of less than a byte, which cannot be "
                                  "permuted",
                                  emr_tensor_name(tensor));
    if (status)
        fit_view_destroy(v);
    return status;
}

void fit_view_destroy(fit_view *v)
{
    for (uint32_t axis = 0; axis < SPEC_RANK_MAX; axis++) {
        fit_release(v->host, v->index[axis]);
        v->index[axis] = NULL;
    }
}

/* Bytes of the source along the last axis, of which elements are picked; 0: pieces are read as they lie. */
static size_t stretch_bytes(const fit_view *v)
{
    if (!v->n_axes || v->inner * v->bytes >= SHORT_BYTES)
        return 0;
    uint64_t bytes = axis_length(v, v->n_axes - 1) * v->inner * v->bytes;
    return bytes <= STRETCH_BYTES_MAX ? (size_t)bytes : 0;
}

size_t fit_view_scratch(const fit_view *v)
{
    return stretch_bytes(v);
}

/* Which stretch of the source the out's stretch number `at` is. */
static uint64_t source_stretch(const fit_view *v, uint64_t at)
{
    uint64_t source = 0, weight = 1;
    for (uint32_t axis = v->n_axes - 1; axis-- > 0;) {
        uint64_t length = axis_length(v, axis), x = at % length;
        source += (v->index[axis] ? v->index[axis][x] : x) * weight;
        weight *= length;
        at /= length;
    }
    return source;
}

/* Elements [x, x + n) of a stretch, which is the source's number `stretch`. */
static emr_status read_stretch(const fit_view *v, uint64_t stretch, uint64_t x, size_t n, unsigned char *out,
                               void *scratch, emr_error *error)
{
    const uint32_t *index = v->index[v->n_axes - 1];
    uint64_t length = axis_length(v, v->n_axes - 1) * v->inner, at = stretch * length;
    size_t whole = stretch_bytes(v);
    emr_status status = whole ? emr_tensor_read(v->source, at * v->bytes, scratch, whole, error) : EMR_OK;
    while (!status && n) {
        uint64_t from = index[x / v->inner] * v->inner + x % v->inner;
        size_t run = v->inner - x % v->inner < n ? (size_t)(v->inner - x % v->inner) : n;
        if (whole)
            memcpy(out, (const unsigned char *)scratch + from * v->bytes, run * v->bytes);
        else
            status = emr_tensor_read(v->source, (at + from) * v->bytes, out, run * v->bytes, error);
        out += run * v->bytes;
        x += run;
        n -= run;
    }
    return status;
}

emr_status fit_view_read(const fit_view *v, uint64_t first, size_t n, void *out, void *scratch,
                         emr_error *error)
{
    if (!v->n_axes)
        return emr_tensor_read(v->source, first * v->bytes, out, n * v->bytes, error);
    uint64_t length = axis_length(v, v->n_axes - 1) * v->inner;
    unsigned char *to = out;
    emr_status status = EMR_OK;
    while (!status && n) {
        uint64_t x = first % length;
        size_t some = length - x < n ? (size_t)(length - x) : n;
        status = read_stretch(v, source_stretch(v, first / length), x, some, to, scratch, error);
        to += some * v->bytes;
        first += some;
        n -= some;
    }
    return status;
}
