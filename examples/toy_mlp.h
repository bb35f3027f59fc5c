/* toy_mlp.h - what engine_switch.c, multi_tenant.c and quantised_base.c run: a small network of two layers that
 * all tasks share and a head of each task's own, as a base and some fine-tuned models, and the bundle that they
 * make. Nothing here is about using a bundle; see those examples for that. */
#ifndef TOY_MLP_H
#define TOY_MLP_H

#include <emr/emr.h>

enum { TOY_INPUTS = 64, TOY_HIDDEN = 96, TOY_CLASSES = 5, TOY_TASKS = 4 };

/* Names and sizes of its tensors: matrices of so many rows and columns, F32. The last one is the head, which
 * the base does not have. */
enum { TOY_LAYERS = 2, TOY_TENSORS = 3 };
typedef struct toy_tensor {
    const char *name;
    size_t rows, columns;
} toy_tensor;
extern const toy_tensor toy_tensors[TOY_TENSORS];

/* The number of weights of the two layers, of which tensor i begins at toy_offset(i). */
size_t toy_offset(size_t tensor);

typedef struct toy {
    float *base;        /* the layers' weights, one after another */
    emr_model *model;   /* the base as a model over them */
    emr_buffer *bundle; /* all tasks */
} toy;

toy toy_create(void);
void toy_destroy(toy *t);

/* Some input, another for each request. */
void toy_input(size_t request, float *x);

/* What the network does between its matrices. */
void toy_activate(float *x, size_t n);

/* y = W x the plain way, in double: what the examples check their results with. */
void toy_multiply(const float *w, size_t rows, size_t columns, const float *x, float *y);

size_t toy_largest(const float *scores, size_t n);

/* Ends the program with the sentence if a call failed. */
void toy_must(emr_status status, const emr_error *error);

#endif
