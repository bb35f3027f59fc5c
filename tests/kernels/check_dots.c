/* check_dots.c - see check_dots.h. Vectors of all lengths that begin anywhere, one to nine beside each other,
 * of all magnitudes that have a product. */
#include "check_dots.h"

#include "numeric/dots.h"

#include <string.h>

enum { OTHERS_MAX = 9, LONGEST = 700, CASES = 400 };

void check_dots(const emr_kernels *kernels, counts *n)
{
    static float values[OTHERS_MAX + 1][LONGEST + 16];
    if (!kernels->dots)
        return;
    for (int k = 0; k < CASES; k++) {
        const float *vectors[OTHERS_MAX + 1];
        double reference[OTHERS_MAX], other[OTHERS_MAX];
        size_t n_others = 1 + below(OTHERS_MAX), length = below(chance(2) ? 40 : LONGEST);
        flavour f = (flavour)below(ANY_BITS);
        for (size_t v = 0; v <= n_others; v++) {
            fill_values((uint8_t *)values[v], EMR_DTYPE_F32, LONGEST + 16, f);
            vectors[v] = values[v] + below(16);
        }
        emr_dots_c(vectors[0], vectors + 1, n_others, length, reference);
        kernels->dots(vectors[0], vectors + 1, n_others, length, other);
        count(n, memcmp(reference, other, n_others * sizeof *other) == 0);
    }
}
