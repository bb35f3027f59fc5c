/* correlation.c - Pearson's correlation from sums; see match.h. */
#include "match.h"

#include <math.h>

double fit_deviation(double n, double sum, double square)
{
    double mean = sum / n, variance = square / n - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

double fit_correlation(double n, double product, double sum_a, double sum_b, double deviations)
{
    const double least = 1e-7;
    return (product / n - sum_a / n * (sum_b / n)) / (deviations > least ? deviations : least);
}
