/* root.c - see root.h. */
#include "numeric/root.h"

#include "core/bytes.h"

/* Newton's steps from a guess by the exponent's half; each doubles the digits that are right. */
double emr_square_root(double x)
{
    if (!(x > 0) || x > 1.7976931348623157e308) /* 0, NaN, infinity */
        return x;
    double scale = 1, root;
    while (x < 0x1p-1000) {
        x *= 0x1p200;
        scale *= 0x1p-100;
    }
    root = emr_f64_from_bits((emr_f64_bits(x) >> 1) + (0x1ff8ull << 48));
    for (int i = 0; i < 6; i++)
        root = (root + x / root) / 2;
    return root * scale;
}
