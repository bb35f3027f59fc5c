/* draw.h - random numbers of a method's inputs. The key of an input's tensor is
 *
 *     XXH64(tensor's name, seed: XXH64(input's name, seed: the combination's seed))
 *
 * and element i has the word of position i (numeric/philox.h): neither the order of tasks and tensors nor chunks and threads
 * change it. */
#ifndef EMR_METHOD_DRAW_H
#define EMR_METHOD_DRAW_H

#include "emr/method.h"

#include "numeric/philox.h"

uint64_t emr_draw_key(const emr_method_tensor *tensor, uint32_t input);
emr_random_kernels emr_draw_kernels(const emr_method_tensor *tensor);

#endif
