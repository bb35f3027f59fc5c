/* draw.h - numbers drawn at random: word i of a seed is the i-th output of splitmix64 (Steele, Lea and Flood, 2014) that starts with it,
 * so any can be had by its number. docs/fitting.md tells hosts. */
#ifndef EMR_FIT_DRAW_H
#define EMR_FIT_DRAW_H

#include "host.h"

/* i from 0. */
uint64_t fit_draw(uint64_t seed, uint64_t i);

/* (k + 1/2) / 2^53 of the word's upper 53 bits k, in f64: above 0, at most 1. */
double fit_draw_uniform(uint64_t seed, uint64_t i);

/* n numbers from word `first` on, uniform in +-1/sqrt(columns): the first weights of a linear layer, as PyTorch's. */
void fit_draw_weights(double *weights, size_t n, size_t columns, uint64_t seed, uint64_t first);

/* Brings n numbers into a random order (Fisher and Yates), by the words from *state's seed on: *state is the seed of those that
 * follow. */
void fit_shuffle(size_t *numbers, size_t n, uint64_t *state);

/* Batches of n samples, in an order at random, which is a new one each time that all were taken. */
typedef struct fit_drawing {
    size_t *rows; /* the n_batch samples of the batch; NULL: all of them, in order */
    size_t n_batch;
    size_t *order; /* as samples are taken */
    size_t n;
    size_t next;
    uint64_t seed;
} fit_drawing;

/* Where n_batch is at least n there is nothing to draw. False: there is no memory; destroy it all the same. */
bool fit_drawing_create(fit_drawing *drawing, const fit_host *host, size_t n, size_t n_batch, uint64_t seed);
void fit_drawing_destroy(fit_drawing *drawing, const fit_host *host);

/* The next batch's rows. */
void fit_draw_batch(fit_drawing *drawing);

#endif
