/* tiles_template.h - the kernel for one instruction set, bit for bit as tiles.c has it. Included by each variant's file, which
 * defines a vector `v` of V_WIDTH doubles, v_load, v_store, v_set, v_mul, v_add, v_sub, v_fused (x * y + z), and
 * V_ROWS and V_VECTORS: the part of a tile, V_ROWS x V_VECTORS * V_WIDTH, whose sums stay in registers. */
#include "tiles.h"

#define INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef enum { ADD_EXACT, ADD, SUBTRACT } adding;

static INLINE v add_product(adding how, v sum, v x, v y)
{
    if (how == ADD_EXACT)
        return v_fused(x, y, sum);
    return how == ADD ? v_add(sum, v_mul(x, y)) : v_sub(sum, v_mul(x, y));
}

/* Rows [i, i + V_ROWS) and V_VECTORS vectors from column j on. */
static INLINE void add_to_part(adding how, fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n,
                               size_t i, size_t j)
{
    v sums[V_ROWS][V_VECTORS];
    UNROLL
    for (size_t r = 0; r < V_ROWS; r++)
        UNROLL
    for (size_t c = 0; c < V_VECTORS; c++)
        sums[r][c] = v_load(&tile[i + r][j + c * V_WIDTH]);
    for (size_t k = 0; k < n; k++) {
        v y[V_VECTORS];
        UNROLL
        for (size_t c = 0; c < V_VECTORS; c++)
            y[c] = v_load(&b[k][j + c * V_WIDTH]);
        UNROLL
        for (size_t r = 0; r < V_ROWS; r++) {
            v x = v_set(a[k][i + r]);
            UNROLL
            for (size_t c = 0; c < V_VECTORS; c++)
                sums[r][c] = add_product(how, sums[r][c], x, y[c]);
        }
    }
    UNROLL
    for (size_t r = 0; r < V_ROWS; r++)
        UNROLL
    for (size_t c = 0; c < V_VECTORS; c++)
        v_store(&tile[i + r][j + c * V_WIDTH], sums[r][c]);
}

static INLINE void add_to_tile(adding how, fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n)
{
    for (size_t j = 0; j < FIT_TILE; j += V_VECTORS * V_WIDTH)
        for (size_t i = 0; i < FIT_TILE; i += V_ROWS)
            add_to_part(how, tile, a, b, n, i, j);
}

static void tile_add_exact(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n)
{
    add_to_tile(ADD_EXACT, tile, a, b, n);
}

static void tile_add(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n)
{
    add_to_tile(ADD, tile, a, b, n);
}

static void tile_subtract(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n)
{
    add_to_tile(SUBTRACT, tile, a, b, n);
}
