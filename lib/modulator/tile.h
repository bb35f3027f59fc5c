/* tile.h - some vectors of a batch on their way along one row. What is shared by multiply.c, which makes
 * tiles, and by the two that know how to multiply by the weights of a family of kinds:
 *
 *     multiply_elected.c     kinds with unified values: base, unified values and codes become weights
 *     multiply_coded.c       kinds without: the base's product, and beside it that of what codes stand for */
#ifndef EMR_MODULATOR_TILE_H
#define EMR_MODULATOR_TILE_H

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

/* Of a tile of kinds without: what emr_step_dot wants for the vectors of one task at a time; and of each
 * vector, the stretch that it is in, and those before. */
typedef struct emr_coded_work {
    float scale[EMR_DOT_VECTORS];
    _Alignas(64) float stretch[EMR_DOT_VECTORS][EMR_LANES];
    _Alignas(64) float steps[EMR_DOT_VECTORS][EMR_LANES];
    _Alignas(64) uint32_t codes[EMR_DOT_COLUMNS]; /* up to 32 bits each, where they are differences */
    _Alignas(64) uint32_t kept[EMR_DOT_WORDS];
    _Alignas(64) uint8_t columns[EMR_LANES * 2];
} emr_coded_work;

typedef struct emr_tile {
    const emr_multiplication *m;
    const emr_multiplier *of;     /* the tile's */
    const emr_kind *kind;         /* of all, where they have unified values; else NULL */
    size_t first, n;              /* vectors */
    size_t same[EMR_DOT_VECTORS]; /* the first vector of the tile with that one's task */
    size_t last[EMR_DOT_VECTORS]; /* of a first one: the last vector with its task */
    emr_code_kernels kernels[EMR_DOT_VECTORS];
    emr_reach reached[EMR_DOT_VECTORS];
    _Alignas(64) float lanes[EMR_DOT_VECTORS][EMR_LANES];
    /* copies, where columns do not fill EMR_LANES */
    _Alignas(64) float x[EMR_DOT_VECTORS][EMR_LANES];
    _Alignas(64) uint8_t base[EMR_LANES * 8];
    union {
        emr_elected_work elected;
        emr_coded_work coded;
    } work;
} emr_tile;

/* Some columns of a row of the product; fewer than EMR_LANES only at its end. */
typedef struct emr_stripe {
    uint64_t column, at; /* the first; its parameter in the tensor */
    size_t n;
    const uint8_t *base;
} emr_stripe;

/* Sees to it that parameter `at` of the tensor is within a vector's reach; says whether it moved, if asked.
 * */
emr_status emr_tile_reach(emr_tile *tile, size_t vector, uint64_t at, emr_window_parts parts, bool *moved,
                          emr_error *error);

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

/* Adds the products of a stripe to the tile's lanes. */
emr_status emr_multiply_elected(emr_tile *tile, const emr_stripe *stripe, emr_error *error);
emr_status emr_multiply_coded(emr_tile *tile, const emr_stripe *stripe, emr_error *error);

/* A row of a coded tile begins; and ends, which adds to the lanes what is beside the base's product. */
void emr_begin_coded_row(emr_tile *tile);
void emr_end_coded_row(emr_tile *tile);

#endif
