/* adapter_weights.c - see adapter_weights.h. A reader's scratch holds a panel of the factor whose columns are
 * the weight's, as floats; for any model of today that is all of it, and it stays from one computation to the
 * next. A panel is used in tiles of a few columns, for all rows that are asked for, while its part is in the
 * nearest cache. Every element's sum goes over the rank in ascending order, so panels, tiles and ranges
 * change no bit. */
#include "checkpoint/adapter_weights.h"

#include "numeric/convert.h"

#include <string.h>

enum {
    TILE = 32,       /* columns */
    PANEL = 1 << 20, /* floats at most */
    LEFT = 4 * EMR_ADAPTED_RANK_MAX
};

typedef struct workspace {
    const emr_adapted *loaded; /* whose panel lies here */
    uint64_t first;            /* its first column */
    float values[EMR_ADAPTED_COUNT];
    float left[LEFT]; /* of the other factor, some rows of the weight */
    float panel[];
} workspace;

/* Columns of a panel, a multiple of the tile's; the columns behind the weight's last are zeros. */
static size_t panel_stride(const emr_adapted *a)
{
    uint64_t all = a->columns > PANEL ? PANEL : emr_round_up(a->columns, TILE);
    return (size_t)emr_min(all, PANEL / a->rank / TILE * TILE);
}

size_t emr_adapted_scratch(const emr_adapted *a)
{
    return sizeof(workspace) + (a->b ? (size_t)a->rank * panel_stride(a) * sizeof(float) : 0);
}

/* Columns of the weight are rows of B. */
static emr_status load_transposed(const emr_adapted *a, workspace *w, size_t width, size_t stride,
                                  emr_error *error)
{
    size_t rank = (size_t)a->rank, most = LEFT / rank, n;
    emr_status status = EMR_OK;
    for (size_t done = 0; !status && done < width; done += n) {
        n = (size_t)emr_min(most, width - done);
        status = emr_tensor_read_floats(a->b, (w->first + done) * rank, n * rank, w->left, error);
        for (size_t j = 0; !status && j < n; j++)
            for (size_t k = 0; k < rank; k++)
                w->panel[k * stride + done + j] = w->left[j * rank + k];
    }
    return status;
}

static emr_status load_panel(const emr_adapted *a, workspace *w, uint64_t first, emr_error *error)
{
    size_t stride = panel_stride(a), rank = (size_t)a->rank,
           width = (size_t)emr_min(stride, a->columns - first);
    emr_status status = EMR_OK;
    if (w->loaded == a && w->first == first)
        return EMR_OK;
    w->loaded = NULL;
    w->first = first;
    memset(w->panel, 0, rank * stride * sizeof(float));
    if (!a->a)
        w->panel[0] = 1;
    else if (a->transposed)
        status = load_transposed(a, w, width, stride, error);
    else
        for (size_t k = 0; !status && k < rank; k++)
            status =
                emr_tensor_read_floats(a->a, k * a->columns + first, width, w->panel + k * stride, error);
    if (!status)
        w->loaded = a;
    return status;
}

/* Rows of the weight: [row][rank], or where it is transposed [rank][row]. */
static emr_status load_left(const emr_adapted *a, workspace *w, uint64_t row, size_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    if (!a->transposed)
        return emr_tensor_read_floats(a->b, row * a->rank, n * (size_t)a->rank, w->left, error);
    for (size_t k = 0; !status && k < a->rank; k++)
        status = emr_tensor_read_floats(a->a, k * a->rows + row, n, w->left + k * n, error);
    return status;
}

static void sum_tile(float sums[TILE], const float *left, size_t left_step, const float *panel, size_t stride,
                     size_t rank)
{
    float sum[TILE] = {0};
    for (size_t k = 0; k < rank; k++) {
        float factor = left[k * left_step];
        for (size_t j = 0; j < TILE; j++)
            sum[j] += factor * panel[k * stride + j];
    }
    memcpy(sums, sum, sizeof sum);
}

/* What of a row's columns [begin, end) lies in the range of `count` elements from `first` on. */
static void clip_columns(uint64_t row_first, uint64_t first, size_t count, uint64_t *begin, uint64_t *end)
{
    if (row_first + *begin < first)
        *begin = first - row_first;
    if (row_first + *end > first + count)
        *end = first + count - row_first;
}

/* The panel's columns of `n` rows from `row` on. */
static void add_panel(const emr_adapted *a, workspace *w, uint64_t row, size_t n, uint64_t first,
                      size_t count)
{
    size_t stride = panel_stride(a), rank = (size_t)a->rank, row_step = a->transposed ? 1 : rank,
           rank_step = a->transposed ? n : 1;
    uint64_t panel_end = emr_min(a->columns, w->first + stride);
    float sums[TILE];
    for (uint64_t tile = w->first; tile < panel_end; tile += TILE) {
        for (size_t i = 0; i < n; i++) {
            uint64_t row_first = (row + i) * a->columns, begin = tile, end = emr_min(tile + TILE, panel_end);
            clip_columns(row_first, first, count, &begin, &end);
            if (begin >= end)
                continue;
            sum_tile(sums, w->left + i * row_step, rank_step, w->panel + (tile - w->first), stride, rank);
            float *values = w->values + (row_first + begin - first);
            for (size_t j = 0; j < end - begin; j++)
                values[j] += sums[begin - tile + j] * a->scale;
        }
    }
}

static emr_status add_product(const emr_adapted *a, workspace *w, uint64_t first, size_t count,
                              emr_error *error)
{
    uint64_t row = first / a->columns, end = (first + count - 1) / a->columns + 1, n;
    emr_status status = EMR_OK;
    for (; !status && row < end; row += n) {
        n = emr_min(end - row, LEFT / a->rank);
        for (uint64_t column = 0; !status && column < a->columns; column += panel_stride(a)) {
            status = load_panel(a, w, column, error); /* before `left`, which it may use */
            if (!status)
                status = load_left(a, w, row, (size_t)n, error);
            if (!status)
                add_panel(a, w, row, (size_t)n, first, count);
        }
    }
    return status;
}

emr_status emr_adapted_values(const emr_adapted *a, void *scratch, uint64_t first, size_t count,
                              const float **values, emr_error *error)
{
    workspace *w = scratch;
    *values = w->values;
    emr_status status = emr_tensor_read_floats(a->weight, first, count, w->values, error);
    return status || !a->b || !count ? status : add_product(a, w, first, count, error);
}

emr_status emr_adapted_compute(const emr_computation *c, emr_error *error)
{
    const emr_adapted *a = c->user;
    workspace *w = c->scratch;
    const float *values;
    emr_status status = emr_adapted_values(a, w, c->first, c->count, &values, error);
    if (status)
        return status;
    for (size_t i = 0; a->factors && i < c->count; i++)
        w->values[i] *= a->factors[(c->first + i) / a->run % a->n_factors];
    for (size_t i = 0; i < c->count; i++)
        if (w->values[i] != w->values[i]) /* which NaN comes out of a sum of two differs between compilers */
            w->values[i] = emr_f32_from_bits(0x7fc00000);
    emr_store_f32(a->weight->dtype, c->out, w->values, c->count);
    return EMR_OK;
}
