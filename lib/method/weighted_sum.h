/* weighted_sum.h - what most methods of whole directions come to: sums over a tensor are turned into a
 * coefficient for each input, and out = sum of coefficient_t * input_t, in f64 in the order of the inputs and
 * rounded once. */
#ifndef EMR_METHOD_WEIGHTED_SUM_H
#define EMR_METHOD_WEIGHTED_SUM_H

#include "emr/method.h"

/* Elements [at, at + n) of the chunk. */
void emr_weigh_inputs(const emr_method_chunk *chunk, size_t at, size_t n, const double *coefficients);

/* The same with one coefficient for all inputs. */
void emr_weigh_alike(const emr_method_chunk *chunk, size_t at, size_t n, double coefficient);

/* The callback of a method whose `found` begins with the coefficients. */
emr_status emr_combine_weighed(const emr_method_chunk *chunk, emr_error *error);

/* The inputs' Gram matrix, <input_i, input_j> in row i and column j, as the sums of a stage; at most
 * EMR_GRAM_TASKS tasks and a base. */
enum { EMR_GRAM_TASKS = 1023 };
uint32_t emr_gram_numbers(const emr_method_tensor *tensor);
void emr_gram_sums(const emr_method_chunk *chunk, double *sums);

/* The length of input i. */
double emr_gram_length(const double *gram, uint32_t n_inputs, uint32_t i);

/* sum weight_i * weight_j * gram_ij: the square of a weighted sum's length, which rounding may leave below 0.
 * */
double emr_gram_square(const double *gram, uint32_t n_inputs, const double *weights);

#endif
