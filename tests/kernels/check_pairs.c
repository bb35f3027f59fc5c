/* check_pairs.c - see check_pairs.h. Blocks of all lengths, one vector to eleven, all dtypes, values of every sort,
 * with a base and without. */
#include "check_pairs.h"

#include "numeric/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VECTORS_MAX = 11, CASES = 3000, WORDS = EMR_PAIR_BLOCK / 64, STRIDE = EMR_PAIR_BLOCK + 8 };

/* One case, and what comes of it. */
typedef struct pairs_case {
    size_t n, n_vectors;
    emr_pair_source sources[VECTORS_MAX];
} pairs_case;

typedef struct pairs_result {
    emr_vector_sums vectors[VECTORS_MAX];
    bool finite[VECTORS_MAX];
    double numbers[VECTORS_MAX][STRIDE];
    emr_signs signs[VECTORS_MAX][WORDS];
    emr_pair_sums pairs[VECTORS_MAX][VECTORS_MAX];
    uint64_t same[VECTORS_MAX][VECTORS_MAX], both[VECTORS_MAX][VECTORS_MAX];
} pairs_result;

/* Twice, so that there are sums to add to. */
static void compute_pairs(pairs_result *to, const emr_pair_kernels *k, const pairs_case *c)
{
    size_t n_words = (c->n + 63) / 64;
    memset(to, 0, sizeof *to);
    for (size_t time = 0; time < 2; time++) {
        emr_signs signs[VECTORS_MAX * WORDS] = {{0, 0}};
        for (size_t v = 0; v < c->n_vectors; v++) {
            to->finite[v] =
                k->read(&to->vectors[v], to->numbers[v], signs + v * n_words, &c->sources[v], c->n);
            if (!to->finite[v]) { /* what there is then is not said */
                memset(to->numbers[v], 0, sizeof to->numbers[v]);
                memset(signs + v * n_words, 0, n_words * sizeof *signs);
            }
            memcpy(to->signs[v], signs + v * n_words, n_words * sizeof *signs);
        }
        for (size_t v = 0; v + 1 < c->n_vectors; v++) {
            uint32_t others = (uint32_t)(c->n_vectors - v - 1);
            k->add(&to->pairs[v][v + 1], to->numbers[v], to->numbers[v + 1], STRIDE, others, n_words * 64);
            k->agree(&to->same[v][v + 1], &to->both[v][v + 1], to->signs[v], signs + (v + 1) * n_words,
                     others, n_words);
        }
    }
}

static uint8_t *values_at_an_end(emr_dtype dtype, size_t n, bool finite)
{
    uint8_t *p = malloc(n * emr_float_size(dtype));
    if (!p)
        abort();
    fill_values(p, dtype, n, finite ? (flavour)below(HUGE_VALUES) : (flavour)below(N_FLAVOURS));
    return p;
}

static void check_case(const emr_kernels *kernels, counts *n)
{
    static pairs_result got, want;
    pairs_case c = {.n = 1 + below(EMR_PAIR_BLOCK), .n_vectors = 1 + below(VECTORS_MAX)};
    uint8_t *memory[VECTORS_MAX][2] = {{NULL, NULL}};
    bool one_dtype = chance(2);
    emr_dtype dtype = all_dtypes[below(6)];
    for (size_t v = 0; v < c.n_vectors; v++) {
        emr_pair_source *s = &c.sources[v];
        s->dtype = one_dtype ? dtype : all_dtypes[below(6)];
        s->base_dtype = one_dtype ? dtype : all_dtypes[below(6)];
        s->values = memory[v][0] = values_at_an_end(s->dtype, c.n, !chance(4));
        if (!chance(4) || s->dtype == EMR_DTYPE_F64)
            s->base = memory[v][1] = values_at_an_end(s->base_dtype, c.n, !chance(8));
    }
    compute_pairs(&want, &emr_pairs_c, &c);
    compute_pairs(&got, &kernels->pairs, &c);
    bool same = memcmp(&got, &want, sizeof got) == 0;
    if (!same)
        printf("%s: pairs: %zu vectors of %zu, dtype %u: differ\n", kernels->name, c.n_vectors, c.n,
               (unsigned)dtype);
    count(n, same);
    for (size_t v = 0; v < c.n_vectors; v++) {
        free(memory[v][0]);
        free(memory[v][1]);
    }
}

void check_pairs(const emr_kernels *kernels, counts *n)
{
    for (size_t i = 0; kernels->pairs.read && i < CASES; i++)
        check_case(kernels, n);
}
