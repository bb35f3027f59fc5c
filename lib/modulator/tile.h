/* tile.h - some vectors of a batch on their way along one row. What is shared by multiply.c, which makes
 * tiles, and by the two that know how to multiply by the weights of a family of kinds:
 *
 *     multiply_elected.c     kinds with unified values: base, unified values and codes become weights
 *     multiply_coded.c       kinds without: the base's product, and beside it that of what codes stand for */
#ifndef EMR_MODULATOR_TILE_H
#define EMR_MODULATOR_TILE_H

#include "modulator/block_values.h"
#include "modulator/multiply.h"

/* A vector's window: parameters [first, end) of the tensor. */
typedef struct emr_reach {
    uint64_t first, end;
    emr_code_window w;
} emr_reach;

/* Of a tile of kinds with unified values: what emr_dot wants, a kind's number of words and scales for each
 * vector. */
typedef struct emr_elected_work {
    float scales[EMR_DOT_VECTORS * EMR_SCALES_MAX];
    _Alignas(64) uint32_t codes[EMR_DOT_VECTORS * EMR_DOT_WORDS];
    _Alignas(64) uint8_t unified[EMR_DOT_COLUMNS * 4]; /* where they do not lie in one piece */
} emr_elected_work;

enum {
#ifdef EMR_FREESTANDING
    EMR_PANEL_COLUMNS =
        2 * EMR_DOT_COLUMNS, /* whose codes of up to 4 bits are at hand for all rows of a block */
#else
    EMR_PANEL_COLUMNS = 2048, /* likewise */
#endif
    EMR_PANEL_WORDS = EMR_PANEL_COLUMNS * 4 / 32
};

/* Of a tile of kinds without: what emr_step_dot wants for the vectors of one task at a time, in all rows of a
 * block; and of each vector and row the stretch that it is in, and those before. */
typedef struct emr_coded_work {
    emr_reach reached[EMR_DOT_ROWS];
    float scale[EMR_DOT_ROWS];
    const uint8_t *in_place[EMR_DOT_ROWS]; /* where a row's codes lie, if in one piece and not copied */
    struct {
        size_t column; /* where in the panel a row's next stretch begins */
        float scale;
    } next[EMR_DOT_ROWS];
    union {
        struct {
            _Alignas(64) float stretch[EMR_DOT_VECTORS][EMR_DOT_ROWS][EMR_LANES];
            _Alignas(64) float steps[EMR_DOT_VECTORS][EMR_DOT_ROWS][EMR_LANES];
        };
        _Alignas(64) float x[EMR_DOT_VECTORS][EMR_DOT_COLUMNS]; /* before: a stripe's, for the base */
    };
    _Alignas(64) uint32_t codes[EMR_DOT_ROWS][EMR_PANEL_WORDS];
    _Alignas(64) uint8_t columns[EMR_PANEL_COLUMNS * 2];
    _Alignas(64) uint8_t few_columns[EMR_LANES * 2]; /* a copy, where they do not fill EMR_LANES */
} emr_coded_work;

typedef struct emr_tile {
    const emr_multiplication *m;
    const emr_multiplier *of;     /* the tile's */
    const emr_kind *kind;         /* of all, where they have unified values; else NULL */
    size_t first, n;              /* vectors */
    size_t same[EMR_DOT_VECTORS]; /* the first vector of the tile with that one's task */
    size_t last[EMR_DOT_VECTORS]; /* of a first one: the last vector with its task */
    emr_code_kernels kernels[EMR_DOT_VECTORS];
    emr_reach reached[EMR_DOT_VECTORS]; /* of kinds with unified values */
    _Alignas(64) float lanes[EMR_DOT_ROWS][EMR_DOT_VECTORS][EMR_LANES];
    /* copies, where columns do not fill EMR_LANES */
    _Alignas(64) float x[EMR_DOT_VECTORS][EMR_LANES];
    _Alignas(64) uint8_t base[EMR_LANES * 8];
    _Alignas(64) float values[EMR_BLOCK_ROOM(EMR_DOT_COLUMNS)]; /* of a stripe, where the base is in blocks */
    union {
        emr_elected_work elected;
        emr_coded_work coded;
    } work;
} emr_tile;

/* Some columns of a row of the product; fewer than EMR_LANES only at its end. */
typedef struct emr_stripe {
    uint64_t column, at; /* the first; its parameter in the tensor */
    size_t n;
    const uint8_t *base; /* its values; of a base in blocks, the tensor's first block; NULL: none is read */
} emr_stripe;

/* The first stripe of a row of the product, and the next. There is none where n is 0. */
emr_stripe emr_first_stripe(const emr_tile *tile, uint64_t row);
void emr_next_stripe(const emr_tile *tile, emr_stripe *stripe);

/* Sees to it that parameter `at` of the tensor is within reach, by the windows of a vector's task; says
 * whether it moved, if asked. */
emr_status emr_tile_reach(const emr_tile *tile, size_t vector, emr_reach *reach, uint64_t at,
                          emr_window_parts parts, bool *moved, emr_error *error);

/* The base's values of a stripe: where they lie, or where blocks are dequantised to, once for all vectors of the
 * tile. NULL: none is read. */
const void *emr_stripe_values(emr_tile *tile, const emr_stripe *stripe);

/* What emr_dot says about base and vectors of a stripe. A row's last columns are copied, with zeros behind
 * them. */
emr_dot emr_tile_dot(emr_tile *tile, const emr_stripe *stripe);

/* Copies n columns of some vectors, from `column` on, to lane `lane` and on of tile->x, and zeros around
 * them. */
void emr_tile_pad(emr_tile *tile, size_t vector, size_t n_vectors, uint64_t column, size_t lane, size_t n);

/* Bits from bit `bit` of `from` on: a whole number of words, */
void emr_copy_words(uint32_t *to, const uint8_t *from, size_t bit, size_t n_words);
/* or n bits to bit `at` of `to` and on, which are 0. */
void emr_copy_bits(uint32_t *to, size_t at, const uint8_t *from, size_t bit, size_t n);

/* Adds the products of a row to the first of tile->lanes; of some rows to one each. They are 0. */
emr_status emr_multiply_elected(emr_tile *tile, uint64_t row, emr_error *error);
emr_status emr_multiply_coded(emr_tile *tile, uint64_t row, size_t n_rows, emr_error *error);

#endif
